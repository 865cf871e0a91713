"""A fake root with the shipped stages and no modules: a test adds the steps it is about."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import waagent.config
import waagent.distro
from waagent.runner.stage import StageOutcome, Wish, run_stage
from waagent.runner.steps import Listing, discover
from waagent.system import System

TOP = Path(__file__).resolve().parents[3]
FOLDERS = {
    "vendor": "usr/lib/waagent/modules",
    "site": "usr/local/lib/waagent/modules",
    "run": "run/waagent/hooks.d",
    "admin": "etc/waagent/hooks.d",
}


class Machine:
    def __init__(self, root: Path) -> None:
        self.root = root
        vendor = root / "usr/lib/waagent"
        vendor.mkdir(parents=True)
        shutil.copytree(TOP / "stages", vendor / "stages")
        for folder in ("proc/sys/kernel/random", "var/log", "var/lib", "run", "etc", "tmp"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self.reboot("boot-1")

    def reboot(self, boot_id: str) -> None:
        (self.root / "proc/sys/kernel/random/boot_id").write_text(boot_id + "\n")
        shutil.rmtree(self.root / "run", ignore_errors=True)
        (self.root / "run").mkdir()

    def add(self, where: str, content: str, mode: int = 0o755) -> Path:
        """Put a step at "rank/stage/NN-name"; content of a program begins with #!."""
        rank, rest = where.split("/", 1)
        path = self.root / FOLDERS[rank] / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(mode)
        return path

    def module(self, where: str, body: str = "return changed('done')", **declared: Any) -> Path:
        """Put a Python step whose run(ctx) has this body."""
        words = ", ".join(f"{name}={value!r}" for name, value in {"summary": "a step", **declared}.items())
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        text = (
            "import os, sys, time, signal\n"
            "from waagent.module import Module, changed, skipped, unchanged\n"
            f"MODULE = Module({words})\n\ndef run(ctx):\n{indented}\n"
        )
        return self.add(where, text, 0o644)

    def system(self, **words: Any) -> System:
        return System(self.root, **words)

    def steps(self, stage: str = "local") -> Listing:
        return discover(self.system(), stage)

    def run(self, stage: str = "local", conf: str = "", planning: bool = False, **wish: Any) -> StageOutcome:
        system = self.system(planning=planning)
        profile = waagent.distro.load(str(self.root), str(TOP / "data/distros"))
        return run_stage(system, stage, waagent.config.from_text(conf), profile, Wish(**wish))

    def log(self) -> str:
        return (self.root / "var/log/waagent.log").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")
