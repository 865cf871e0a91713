"""waagent analyze: every form of it, on a boot that really ran."""

from __future__ import annotations

import json
import time
from xml.etree import ElementTree

import pytest

from tests.unit.cli.conftest import Waagent
from tests.unit.runner.conftest import Machine
from waagent.cli.boot_plot import svg

SVG = "{http://www.w3.org/2000/svg}"


def test_show_tells_stages_and_steps_in_order(booted: Machine, waagent: Waagent) -> None:
    said = waagent("analyze", "show")
    assert said.status == 0
    assert said.out.startswith("boot boot-1, ")
    assert ": degraded; " in said.out
    places = [said.out.index(word) for word in ("local at +0.000 s", "network at", "config at", "final at", "hello (on ready)")]
    assert places == sorted(places)
    assert "failed after" in said.out


def test_json_accounts_for_all_the_time(booted: Machine, waagent: Waagent) -> None:
    whole = waagent("analyze", "show", "--format", "json").json()
    assert whole["schema"] == 1
    assert [stage["name"] for stage in whole["stages"]] == ["local", "network", "config", "final"]
    for stage in whole["stages"]:
        spent = sum(step["seconds"] + step["engine"] for step in stage["steps"])
        assert spent <= stage["seconds"] + 0.005
        assert spent >= stage["seconds"] - 0.05, "time that is put down to nobody"
    assert whole["engine"] == pytest.approx(sum(stage["engine"] for stage in whole["stages"]), abs=1e-3)


def test_blame_has_the_dearest_first_and_the_engines_share(booted: Machine, waagent: Waagent) -> None:
    whole = waagent("analyze", "blame", "--format", "json").json()
    costs = [step["seconds"] + step["engine"] for step in whole["steps"]]
    assert costs == sorted(costs, reverse=True)
    assert all(step["engine"] > 0 for step in whole["steps"])
    text = waagent("analyze", "blame").out.splitlines()
    assert text[2].split() == ["step", "engine"]
    assert len(text) == 3 + len(whole["steps"])


def test_plot_is_a_picture_and_the_same_for_the_same_boot(booted: Machine, waagent: Waagent) -> None:
    said = waagent("analyze", "plot")
    assert waagent("analyze", "plot").out == said.out
    root = ElementTree.fromstring(said.out)
    words = [text.text or "" for text in root.iter(f"{SVG}text")]
    for word in ("local", "network", "config", "final", "identify", "hello", "disk"):
        assert word in words
    assert "user" not in words, "a step that was skipped for nothing is not drawn"
    assert any("1 step skipped" in word for word in words)
    width = float(root.attrib["width"])
    for bar in root.iter(f"{SVG}rect"):
        assert 0 <= float(bar.get("x", "0")) <= width
        assert float(bar.get("x", "0")) + float(bar.attrib["width"]) <= width + 1
    out = booted.root / "boot.svg"
    assert waagent("analyze", "plot", "--output", str(out)).status == 0
    assert out.read_text() == said.out


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.9, 9.0, 61.0, 5000.0])
def test_a_plot_of_any_length_is_drawn(seconds: float) -> None:
    step = {"name": "a\x07b&<c" * 9, "at": 0.0, "seconds": seconds, "engine": 0.001, "outcome": "changed", "message": '"'}
    stage = {"name": "local", "state": "done", "at": 0.0, "seconds": seconds, "startup": 0.0, "engine": 0.001}
    whole = {"state": "done", "seconds": seconds, "inside": seconds, "engine": 0.001, "startup": 0.0, "version": "3"}
    root = ElementTree.fromstring(svg({**whole, "stages": [{**stage, "steps": [step]}]}))
    ticks = [text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "middle"]
    assert 1 <= len(ticks) <= 11


def test_an_empty_boot_is_drawn_too() -> None:
    whole = {"state": "done", "seconds": 0.0, "inside": 0.0, "engine": 0.0, "startup": 0.0, "version": "3", "stages": []}
    ElementTree.fromstring(svg(whole))


def test_earlier_boots_are_found_by_number_and_by_id(booted: Machine, waagent: Waagent) -> None:
    booted.reboot("boot-2")
    booted.run("local")
    assert [boot["id"] for boot in waagent("analyze", "boots", "--format", "json").json()["boots"]] == ["boot-2", "boot-1"]
    for name in ("1", "-1", "boot-1"):
        whole = waagent("analyze", "show", f"--boot={name}", "--format", "json").json()
        assert (whole["boot_id"], len(whole["stages"])) == ("boot-1", 4)
    assert waagent("analyze", "show", "--format", "json").json()["boot_id"] == "boot-2"


def test_a_boot_of_the_past_that_never_ended_was_cut_off(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/local/10-x.py")
    machine.run("local")
    machine.reboot("boot-2")
    machine.run("local")
    assert waagent("analyze", "show", "--boot", "1", "--format", "json").json()["state"] == "cut off"


def test_a_boot_that_is_not_there_is_told(machine: Machine, waagent: Waagent) -> None:
    said = waagent("analyze", "show")
    assert (said.status, said.out) == (1, "")
    assert "no stage has run yet" in said.err
    machine.module("vendor/local/10-x.py")
    machine.run("local")
    said = waagent("analyze", "blame", "--boot", "7")
    assert said.status == 1
    assert "there is no boot '7': 0 earlier ones are kept" in said.err


def test_a_record_of_an_older_version_is_read(machine: Machine, waagent: Waagent) -> None:
    """Without engine and startup, which came later."""
    step = {"name": "x", "path": "/p", "outcome": "changed", "message": "m", "at": 5.0, "seconds": 1.0, "essential": False}
    stage = {"state": "done", "start": "t", "at": 5.0, "seconds": 1.1, "refused": [], "notes": [], "steps": [step]}
    folder = machine.root / "var/lib/waagent/boots"
    folder.mkdir(parents=True)
    boot = {"schema": 1, "boot_id": "old0", "stages": {"local": stage}}
    (folder / "20260101T000000Z_old0.json").write_text(json.dumps(boot))
    assert "x" in waagent("analyze", "show", "--boot", "old0").out
    assert waagent("analyze", "plot", "--boot", "old0").status == 0


def test_a_step_that_is_tried_later_leaves_the_boot_as_it_was(booted: Machine, waagent: Waagent) -> None:
    before = waagent("analyze", "show", "--format", "json").json()
    time.sleep(0.2)
    assert waagent("stage", "local", "--only", "identify").status == 0
    after = waagent("analyze", "show", "--format", "json").json()
    assert (after["seconds"], after["stages"][0]["at"]) == (before["seconds"], before["stages"][0]["at"])
    assert [step["name"] for step in after["stages"][0]["later"]] == ["identify"]
    assert "run again later: identify: " in waagent("analyze", "show").out
    assert waagent("stage", "config", "--only", "disk").status == 1
    assert waagent("status").status == 2


def test_another_step_that_works_does_not_hide_one_that_failed(machine: Machine, waagent: Waagent) -> None:
    machine.module("vendor/config/20-disk.py", "return 1/0")
    machine.module("vendor/config/30-fine.py", frequency="always")
    for stage in ("local", "network", "config", "final"):
        machine.run(stage)
    assert waagent("stage", "config", "--only", "fine").status == 0
    assert waagent("status", "--format", "json").json()["stages"]["config"]["state"] == "failed"
