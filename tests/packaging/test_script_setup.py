"""script/setup on a machine that has nothing yet: what a bed asks for is what it installs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from bed import needs  # noqa: E402

ESSENTIAL = {"util-linux"}  # each Debian has it


@pytest.mark.parametrize(
    ("part", "programs"),
    [
        ("demo", needs.PROGRAMS),
        ("container", needs.PROGRAMS),
        ("demo-vm", {**needs.PROGRAMS, **needs.MACHINE_PROGRAMS}),
        ("vm", {**needs.PROGRAMS, **needs.MACHINE_PROGRAMS}),
    ],
)
def test_a_part_installs_what_its_beds_look_for(tmp_path: Path, part: str, programs: dict[str, str]) -> None:
    asked = tmp_path / "asked"
    for name, body in (("dpkg-query", "exit 1"), ("apt-get", f'echo "$@" >>{asked}')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["script/setup", "packages", part], cwd=ROOT, env={**os.environ, "PATH": path}, check=True)
    assert set(programs.values()) - ESSENTIAL <= set(asked.read_text().split())
