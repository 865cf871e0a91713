"""What docs/extensions.md shows can be typed: its commands, its policy, its hook."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP
from waagent.cli import extensions
from waagent.extensions import policy

PAGE = (TOP / "docs/extensions.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^waagent extensions ([^#\n]+)", PAGE, re.MULTILINE)
HOOK = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_is_understood(words: str) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    extensions.arguments(parser)
    assert parser.parse_args(shlex.split(words)).action in extensions.ACTIONS


def test_all_actions_are_shown() -> None:
    assert {words.split()[0] for words in COMMANDS} == set(extensions.ACTIONS)


def test_the_options_of_a_run_are_all_told() -> None:
    parser = argparse.ArgumentParser()
    extensions.arguments(parser)
    options = {word for action in parser._actions for word in action.option_strings if word.startswith("--")}
    assert [word for word in sorted(options - {"--help", "--lines"}) if f"{word} " not in PAGE and f"{word}`" not in PAGE] == []


def test_the_policy_is_one() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    found = policy.parse(text, "/etc/waagent_policy.json")
    names = ("Contoso.Tools.DiskWatch", "Contoso.Tools.DiskWipe", "Fabrikam.Tools.Probe", "Contoso.Other")
    assert [found.allows(name) for name in names] == [True, False, False, False]
    assert found.requires_signature(names[0])


@pytest.mark.parametrize(
    ("event", "stops"),
    [
        ('{"handler": "Contoso.Tools.DiskWatch", "operation": "install"}', True),
        ('{"handler": "Contoso.Tools.DiskWatch", "operation": "enable"}', False),
        ('{"handler": "Contoso.Tools.Other", "operation": "install"}', False),
    ],
)
def test_the_hook_does_what_it_says(tmp_path: Path, event: str, stops: bool) -> None:
    (text,) = HOOK
    (tmp_path / "hook").write_text(text)
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/asked"\n')
    for file in ("hook", "systemctl"):
        (tmp_path / file).chmod(0o755)
    ran = subprocess.run(
        [str(tmp_path / "hook")], input=f'{{"event": {event}}}', env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        text=True, capture_output=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    asked = tmp_path / "asked"
    assert (asked.read_text() if asked.exists() else "") == ("stop backup.timer\n" if stops else "")
