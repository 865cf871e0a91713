"""What docs/extensions.md shows can be typed: its commands, its smallest package, its policy, its hook."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP
from waagent.cli import extensions
from waagent.extensions import policy

PAGE = (TOP / "docs/extensions.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^waagent extensions ([^#\n]+)", PAGE, re.MULTILINE)
JSON = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
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


def test_the_smallest_package_is_one(tmp_path: Path) -> None:
    """With a program that does what the page says: the status of the page, under another name first."""
    manifest, status = (next(text for text in JSON if mark in text) for mark in ("installCommand", "formattedMessage"))
    program = (
        '#!/bin/sh\n[ "$1" = enable ] || exit 0\ngrep -q publicSettings "config/$ConfigSequenceNumber.settings" || exit 3\n'
        'cp status.json status/new && mv status/new "status/$ConfigSequenceNumber.status"\n'
    )
    with zipfile.ZipFile(tmp_path / "Contoso.Tools.DiskWatch-3.4.0.zip", "w") as package:
        for name, content in (("HandlerManifest.json", manifest), ("run.sh", program), ("status.json", status)):
            package.writestr(name, content)
    (tmp_path / "public.json").write_text("{}")
    ran = subprocess.run(
        [sys.executable, "-m", "waagent.cli", "extensions", "run", tmp_path / "Contoso.Tools.DiskWatch-3.4.0.zip",
         "--settings", tmp_path / "public.json", "--in", tmp_path],
        cwd=TOP, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "extension: success, code 0: watching 3 disks" in ran.stdout


def test_the_policy_is_one() -> None:
    (text,) = [text for text in JSON if "policyVersion" in text]
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
