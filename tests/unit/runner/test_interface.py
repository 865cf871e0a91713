"""The interfaces for steps of others: names and signatures do not change without a new version of API.

To add a name: run this file with PRINT_INTERFACE=1 and put what it prints into tests/data/interface-1.json. Taking one
away or changing it needs API + 1 in waagent/module.py, and a file of that number.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from typing import Any

import pytest

import waagent.module as module
from tests.unit.runner.conftest import TOP, Machine
from waagent.config.values import Config
from waagent.distro.profile import DistroProfile
from waagent.runner.protocol import DOCUMENT, PROXIES, STATUSES, VARIABLES
from waagent.system import System

FILE = TOP / f"tests/data/interface-{module.API}.json"


def interface() -> dict[str, Any]:
    """Everything that a step of others can rely on, as names and signatures."""
    found: dict[str, Any] = {name: _shape(getattr(module, name)) for name in module.__all__}
    found["ctx.system"] = _methods(System)
    found["ctx.config"] = _methods(Config)
    found["ctx.profile"] = _methods(DistroProfile)
    found["environment"] = [name for name, _ in VARIABLES]
    found["document"] = [name for name, _ in DOCUMENT]
    found["statuses"] = [status for status, _ in STATUSES]
    return found


def _shape(thing: Any) -> Any:
    if dataclasses.is_dataclass(thing):
        fields = {field.name: str(field.type) for field in dataclasses.fields(thing) if field.name[0] != "_"}
        return {"fields": fields, **_methods(thing)}
    if inspect.isclass(thing):
        return "class"
    return str(inspect.signature(thing)) if callable(thing) else thing


def _methods(kind: type) -> dict[str, str]:
    found = {}
    for name, member in vars(kind).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            found[name] = "property" if isinstance(member, property) else str(inspect.signature(member))
    return found


def test_the_interface_of_steps_is_as_its_version_says() -> None:
    now = json.loads(json.dumps(interface()))
    if os.environ.get("PRINT_INTERFACE"):
        FILE.write_text(json.dumps(now, indent=1) + "\n")
    kept = json.loads(FILE.read_text())
    for part, promised in kept.items():
        there = now.get(part)
        if isinstance(promised, dict):
            for name, shape in promised.items():
                if name == "fields":
                    missing = {key: value for key, value in shape.items() if there["fields"].get(key) != value}
                    assert not missing, f"{part}: {missing} is not there any more: needs API {module.API + 1}"
                else:
                    assert there.get(name) == shape, f"{part}.{name} was {shape}: needs API {module.API + 1}"
        elif isinstance(promised, list):
            assert set(promised) <= set(there), f"{part}: needs API {module.API + 1}"
        else:
            assert there == promised, f"{part}: needs API {module.API + 1}"
    mine = {part for part in now if not part.startswith("ctx.")}
    assert all(now[part] == kept.get(part) for part in mine), "names were added: write them down (see the first lines)"


def test_a_program_gets_the_variables_of_the_table_and_no_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    machine.add("admin/local/20-x.sh", f"#!/usr/bin/python3\nimport os, json, sys\njson.dump([list(os.environ), "
                f"list(json.load(sys.stdin))], open('{machine.root}/tmp/given', 'w'))\n")  # fmt: skip
    assert machine.run().status == 0
    names, document = json.loads((machine.root / "tmp/given").read_text())
    assert set(names) - {"LC_CTYPE"} == {name for name, _ in VARIABLES} | {"https_proxy"}
    assert document == [name for name, _ in DOCUMENT]


def test_a_step_of_others_needs_no_other_import(machine: Machine) -> None:
    machine.add(
        "admin/local/20-x.py",
        "from waagent.module import *\nMODULE = Module(summary='x')\n"
        "def run(ctx: Context) -> Outcome:\n    raise WaagentError('cannot do it: no reason')\n",
        0o644,
    )
    assert machine.run().records[0]["message"] == "cannot do it: no reason"
