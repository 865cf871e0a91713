"""A machine as in the runner's tests, with profiles and configuration; `waagent(…)` runs a verb on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unit.runner.conftest import TOP, Machine
from waagent.cli.__main__ import main


class Said(NamedTuple):
    """What a verb said and how it ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Waagent:
    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys

    def __call__(self, verb: str, *words: str) -> Said:
        self._capsys.readouterr()
        try:
            status = main([verb, *words, "--root", str(self.root)])
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        said = self._capsys.readouterr()
        return Said(status, said.out, said.err)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "root")
    shutil.copytree(TOP / "data/distros", made.root / "usr/lib/waagent/data/distros")
    (made.root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    shutil.copy(TOP / "waagent.conf", made.root / "etc/waagent.conf")
    return made


@pytest.fixture
def waagent(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Waagent:
    return Waagent(machine.root, capsys)


@pytest.fixture
def booted(machine: Machine) -> Machine:
    """A machine that has been through all boot stages, with one skipped and one failed step."""
    machine.module(
        "vendor/local/10-identify.py",
        "ctx.publish('vm', {'id': 'one'})\n"
        "ctx.publish('ovf', {'host_name': 'vm1', 'flag': True, 'keys': ['a', 'b']}, {'password': 'sesame street'})\n"
        "ctx.system.write('/etc/hostname', 'vm1\\n')\nreturn changed('knows <itself>')",
    )
    machine.module("vendor/local/20-user.py", when=("nothing.known",))
    machine.module("vendor/network/10-endpoint.py", "return unchanged('as before')")
    machine.module("vendor/config/20-disk.py", "raise RuntimeError('no disk')")
    machine.module("vendor/final/90-report.py", "ctx.emit('ready')\nreturn changed('told')")
    machine.add("admin/on-ready/10-hello.sh", "#!/bin/sh\nsleep 0.05\n")
    for stage in ("local", "network", "config", "final"):
        machine.run(stage)
    return machine
