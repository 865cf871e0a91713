"""Options that do something, and options that do not yet: what the pages say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from waagent.cli.__main__ import main
from waagent.config import render, settings

TOP = Path(__file__).resolve().parents[3]
# Read by the configuration itself, for another option's default.
INDIRECT = {"Debug.EnableExtensionPolicy"}
READ = re.compile(r'"([A-Za-z]+\.[A-Z][A-Za-z0-9]+|EnableOverProvisioning|DetectScvmmEnv)"')


def named() -> set[str]:
    """Every option that a file outside of the configuration names, in a call or as a period."""
    files = [*(TOP / "waagent").rglob("*.py"), *(TOP / "modules").rglob("*.py")]
    return {
        name
        for file in files
        if file.relative_to(TOP).parts[:2] not in (("waagent", "config"), ("waagent", "simulator"))
        for name in READ.findall(file.read_text(encoding="utf-8"))
    }


def test_every_option_is_read_somewhere_or_says_that_it_has_no_effect() -> None:
    live = {option.name for option in settings.OPTIONS if option.in_use} - INDIRECT
    assert live - named() == settings.WITHOUT_EFFECT


def test_the_pages_say_so() -> None:
    assert "no effect in this version" in render.sample().split("OS.AllowHTTP=")[0].rsplit("#", 2)[1]
    assert "effect:   none in this version" in render.explain("OS.AllowHTTP")
    assert "effect:" not in render.explain("Extensions.GoalStatePeriod")
    table = (TOP / "docs/reference/options.md").read_text(encoding="utf-8").splitlines()
    without = {line.split("`")[1] for line in table if "No effect in this version" in line}
    assert without == settings.WITHOUT_EFFECT
    manual = (TOP / "docs/man/waagent.conf.5").read_text(encoding="utf-8")
    assert manual.count("No effect in this version") == len(without)


def test_explain_names_the_steps_that_read_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "explain", "OS.SudoersDir"]) == 0
    assert "read by:  local/sudo" in capsys.readouterr().out
