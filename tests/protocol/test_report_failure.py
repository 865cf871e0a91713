"""waagent report-failure (row 93): a failure told to the platform where nothing but Python is there yet."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waagent.cli.__main__ import main
from waagent.provisioning import kvp
from waagent.simulator import Simulator

TOP = Path(__file__).resolve().parents[2]
PROGRAM = (
    "import sys; sys.path.insert(0, {top!r}); from waagent.cli.__main__ import main; status = main(sys.argv[1:]); "
    "heavy = {{'yaml', 'requests', 'cryptography', 'configobj'}} & set(sys.modules); "
    "sys.exit(99 if heavy else status)"
)

pytestmark = pytest.mark.row("field-demands", 93)


@pytest.fixture
def sim() -> Iterator[Any]:
    with Simulator() as sim:
        sim.machine("vm01").publish(extensions=[])
        yield sim
        assert not sim.violations and not sim.errors


def endpoint(sim: Any) -> str:
    return f"127.0.0.1:{sim.wire_port}:{sim.plugin_port}"


def test_row_93_from_an_empty_root_with_pythons_own_library(tmp_path: Path, sim: Any) -> None:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM.format(top=str(TOP)), "report-failure"]
    words = ["root disk not found", "waited 90 s for /dev/disk/by-label/root", "--endpoint", endpoint(sim)]
    ran = subprocess.run([*command, *words, "--root", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    report = sim.machine("vm01").reports.health[-1]
    assert (report.state, report.substatus) == ("NotReady", "ProvisioningFailed")
    assert report.description.startswith("result=error|reason=root disk not found|agent=waagent/")
    assert report.description.endswith("|detail=waited 90 s for /dev/disk/by-label/root")
    assert list(tmp_path.iterdir()) == []


def test_row_93_the_key_value_pool_has_it_even_without_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = tmp_path / kvp.POOL[1:]
    pool.parent.mkdir(parents=True)
    pool.touch()
    words = ["x", "y", "--endpoint", "127.0.0.1:9:9", "--limit", "0.1", "--root", str(tmp_path)]
    assert main(["report-failure", *words]) == 1
    assert b"PROVISIONING_REPORT" in pool.read_bytes() and b"reason=x" in pool.read_bytes()
    assert "pool has it" in capsys.readouterr().err


def test_row_93_it_waits_for_a_network_that_is_coming_up(tmp_path: Path, sim: Any) -> None:
    sim.fault("/machine*comp=goalstate*", status=503, count=1)
    assert main(["report-failure", "x", "--endpoint", endpoint(sim), "--root", str(tmp_path)]) == 0
    assert sim.machine("vm01").reports.provisioning_state == "Failed"


def test_the_detail_may_come_from_a_pipe(
    tmp_path: Path, sim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("line one\nline two | 'quoted'\n"))
    assert main(["report-failure", "x", "-", "--endpoint", endpoint(sim), "--root", str(tmp_path)]) == 0
    assert "detail='line one line two | ''quoted'''" in sim.machine("vm01").reports.health[-1].description


@pytest.mark.parametrize("words", [[" "], ["x", "--limit", "0"]], ids=str)
def test_wrong_arguments(words: list[str], tmp_path: Path) -> None:
    assert main(["report-failure", *words, "--root", str(tmp_path)]) == 2


def test_a_look_at_what_would_be_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report-failure", "x", "--dry-run", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("result=error|reason=x|agent=waagent/")
