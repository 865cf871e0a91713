"""bench/engine.py runs, and what it measures adds up; the figures themselves are for people."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.unit.runner.conftest import TOP


def test_the_bench_runs_and_adds_up() -> None:
    ran = subprocess.run(
        [sys.executable, str(TOP / "bench/engine.py"), "--hooks", "20", "--runs", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(ran.stdout)
    for part in ("hooks", "modules"):
        told = report[part]
        assert told["steps"] == 20
        assert told["in_steps"] + told["in_engine"] < told["whole"]
        assert told["engine_per_step_median"] > 0
    assert set(report["starts"]) >= {"python that does nothing", "stage periodic, nothing due", "status"}
    assert all(times["least"] <= times["median"] for times in report["starts"].values())
