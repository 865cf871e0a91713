#!/usr/bin/python3
"""What the engine itself costs: per step, and at every start of the program. Prints JSON.

    bench/engine.py [--hooks N] [--runs N] [--root-in DIR]

hooks     a stage of N hooks of `true`, run by `waagent stage` in a process of its own: the whole, the processor
          time of all of it, what the hooks' processes took, what the engine added, and how long N bare spawns of
          the same file take here
modules   the same with N Python steps that return at once
starts    wall time of verbs, each in a fresh process, beside a Python that does nothing (seconds: median, least)

The fake root lies in --root-in (default: the first of /run, /dev/shm and /tmp that can be written, as /run is a
tmpfs on a booted machine). The state directory lies there too, so the cost of syncing /var to a real disk is left
out: `durable_writes` counts what a run of the hooks stage syncs (null without strace); multiply by your disk. A
fake root costs the engine some time that a real one does not: it resolves every link itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
LAUNCHER = """#!{python} -I
import sys
sys.path.insert(0, {top!r})
from waagent.cli.__main__ import main
sys.exit(main())
"""
NOTHING_DUE = "every: 100000, frequency: always"
PYTHON_STEP = """\"\"\"Nothing.\"\"\"
from waagent.module import Context, Module, Outcome, unchanged
MODULE = Module(summary="Nothing", frequency="always")
def run(ctx: Context) -> Outcome:
    return unchanged("nothing to do")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hooks", type=int, default=100, help="how many steps")
    parser.add_argument("--runs", type=int, default=11, help="how often each verb is started")
    parser.add_argument("--root-in", metavar="DIR", help="where the fake root is made")
    args = parser.parse_args()
    where = args.root_in or next(path for path in ("/run", "/dev/shm", "/tmp") if os.access(path, os.W_OK))
    with tempfile.TemporaryDirectory(prefix="waagent-bench-", dir=where) as folder:
        bench = Bench(Path(folder))
        report = {
            "schema": 1,
            "where": {
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "root_in": where,
                "load": os.getloadavg()[0],
            },
            "hooks": bench.hooks(args.hooks),
            "modules": bench.modules(args.hooks),
            "starts": bench.starts(args.runs),
        }
    print(json.dumps(report, indent=1))
    return 0


class Bench:
    """A fake root with the shipped stages and profiles and no modules, and a program to run on it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        vendor = self.root / "usr/lib/waagent"
        shutil.copytree(TOP / "stages", vendor / "stages")
        shutil.copytree(TOP / "data/distros", vendor / "data/distros")
        for name in ("proc/sys/kernel/random", "var/log", "var/lib", "run", "etc", "tmp"):
            (self.root / name).mkdir(parents=True)
        (self.root / "proc/sys/kernel/random/boot_id").write_text("bench\n")
        (self.root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
        shutil.copy(TOP / "waagent.conf", self.root / "etc/waagent.conf")
        self.program = folder / "waagent"
        self.program.write_text(LAUNCHER.format(python=sys.executable, top=str(TOP)))
        self.program.chmod(0o755)

    def put(self, stage: str, name: str, text: str) -> Path:
        path = self.root / f"etc/waagent/hooks.d/{stage}/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def waagent(self, *words: str) -> float:
        """Run a verb and return the seconds it took."""
        began = time.monotonic()
        ran = subprocess.run(
            [str(self.program), *words, "--root", str(self.root)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        took = time.monotonic() - began
        if ran.returncode not in (0, 3):
            raise SystemExit(f"bench: waagent {' '.join(words)} ended with {ran.returncode}: {ran.stderr[-500:]}")
        return took

    def hooks(self, count: int) -> dict[str, Any]:
        hook = self.put("local", "10-hook0.sh", "#!/bin/sh\ntrue\n")
        began = time.monotonic()
        for _ in range(count):
            os.waitpid(os.posix_spawn(str(hook), [str(hook)], {}), 0)
        bare = time.monotonic() - began
        for number in range(count):
            self.put("local", f"{10 + number % 90}-hook{number}.sh", "#!/bin/sh\ntrue\n")
        hook.unlink(missing_ok=True)
        self.put("local", "10-hook0.sh", "#!/bin/sh\ntrue\n")
        told = self._stage("local", count)
        told["bare_spawns"] = round(bare, 4)
        told["durable_writes"] = self._durable("local")
        return told

    def modules(self, count: int) -> dict[str, Any]:
        for number in range(count):
            self.put("network", f"{10 + number % 90}-step{number}.py", PYTHON_STEP)
        return self._stage("network", count)

    def _stage(self, stage: str, count: int) -> dict[str, Any]:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        whole = self.waagent("stage", stage)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        boot = json.loads((self.root / "run/waagent/status.json").read_text())
        steps = boot["stages"][stage]["steps"]
        failed = [step for step in steps if step["outcome"] == "failed"]
        if len(steps) != count or failed:
            raise SystemExit(f"bench: {len(steps)} of {count} steps ran, {len(failed)} failed: {failed[:1]}")
        engine = [step["engine"] for step in steps]
        return {
            "steps": count,
            "whole": round(whole, 4),
            "processor": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 4),
            "in_steps": round(sum(step["seconds"] for step in steps), 4),
            "in_engine": round(sum(engine), 4),
            "engine_per_step_median": round(statistics.median(engine), 5),
            "engine_per_step_most": round(max(engine), 5),
        }

    def _durable(self, stage: str) -> int | None:
        """How many fsync calls one more run of the stage makes; None without strace."""
        if shutil.which("strace") is None:
            return None
        trace = self.root / "tmp/trace"
        subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=fsync", "-o", str(trace), str(self.program), "stage", stage,
             "--force", "--root", str(self.root)],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return sum("fsync(" in line for line in trace.read_text().splitlines())

    def starts(self, runs: int) -> dict[str, dict[str, float]]:
        self.put("periodic", "50-later.sh", f"#!/bin/sh\n# waagent: {{{NOTHING_DUE}}}\ntrue\n")
        self.waagent("stage", "periodic")
        found = {}
        bare = [_bare_python() for _ in range(runs)]
        found["python that does nothing"] = _told(bare)
        for words in (("stage", "periodic"), ("status",), ("query", "--list-keys"), ("steps",), ("version",)):
            if words[0] == "query":
                folder = self.root / "var/lib/waagent/instance"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "public.json").write_text('{"schema": 1, "vm_id": "x", "facts": {}, "secrets": []}')
            label = "stage periodic, nothing due" if words[0] == "stage" else " ".join(words)
            found[label] = _told([self.waagent(*words) for _ in range(runs)])
        return found


def _bare_python() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
    return time.monotonic() - began


def _told(times: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(times), 4), "least": round(min(times), 4)}


if __name__ == "__main__":
    sys.exit(main())
