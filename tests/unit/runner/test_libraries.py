"""What the engine loads for later steps while an earlier one works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runner.conftest import Machine

SLOW = "import time\ntime.sleep(1)\nBY = __import__('os').getpid()\nopen(__file__ + '.loaded', 'w').close()\n"
BODY = "import {name}\nreturn changed(f'{{{name}.BY == os.getpid()}}')"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a library that takes a second to load and knows which process loaded it."""
    name = f"waagent_{request.node.name}"
    (tmp_path / f"{name}.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def steps(machine: Machine, rank: str, name: str, imports: tuple[str, ...]) -> list[str]:
    machine.module("vendor/local/20-first.py", "time.sleep(1)\nreturn changed('done')")
    machine.module(f"{rank}/local/30-second.py", BODY.format(name=name), imports=imports)
    return [record["message"] for record in machine.run().records]


def test_a_library_is_loaded_while_the_step_before_works(machine: Machine, library: str, tmp_path: Path) -> None:
    loaded = tmp_path / f"{library}.py.loaded"
    machine.module(
        "vendor/local/20-first.py",
        f"end = time.monotonic() + 30\n"
        f"while not os.path.exists({str(loaded)!r}) and time.monotonic() < end:\n    time.sleep(0.05)\n"
        f"return changed(str(os.path.exists({str(loaded)!r})))",
    )
    machine.module("vendor/local/30-second.py", BODY.format(name=library), imports=(library,))
    assert [record["message"] for record in machine.run().records] == ["True", "False"]


def test_what_cannot_be_loaded_is_the_step_s_own_trouble(machine: Machine, library: str) -> None:
    assert steps(machine, "vendor", library, ("no_such_library", library)) == ["done", "False"]


def test_only_shipped_steps_get_libraries_into_the_engine(machine: Machine, library: str) -> None:
    assert steps(machine, "admin", library, (library,)) == ["done", "True"]


def test_a_step_that_is_left_out_loads_nothing(machine: Machine, library: str) -> None:
    machine.module("vendor/local/20-first.py")
    machine.module("vendor/local/25-look.py", f"return changed(json.dumps({library!r} in sys.modules))\n")
    text = (machine.root / "usr/lib/waagent/modules/local/25-look.py").read_text()
    machine.add("vendor/local/25-look.py", f"import json\n{text}", 0o644)
    machine.module("vendor/local/30-second.py", imports=(library,))
    (record,) = machine.run(only=("look",)).records
    assert json.loads(record["message"]) is False
