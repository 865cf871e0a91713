"""docs/simulator.md: its commands parse, its rules and faults are the ones there are."""
from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from waagent.simulator import RULES
from waagent.simulator.cli import parser
from waagent.simulator.faults import ANSWERS, CONTENT
from waagent.simulator.goal_state import Extension, Family, RemoteUser

PAGE = (Path(__file__).resolve().parents[3] / "docs/simulator.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(line, comments=True)[1:] for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
            for line in map(str.strip, block.splitlines()) if line.startswith("waagent-simulator")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_are_understood(words):
    assert callable(parser().parse_args(words).run)


def test_all_rules_are_listed_with_their_words():
    section = PAGE.partition("## What is refused")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", section, re.MULTILINE)) == RULES


def test_all_faults_are_listed():
    for name in [*CONTENT, *ANSWERS]:
        assert f"`{name}`" in PAGE, name


def test_the_sample_goal_state_can_be_read():
    sample = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    assert Extension.of(sample["extensions"][0]).name == "Contoso.Sim.Monitor"
    assert Family.of(sample["families"][0]).version == "3.1.0.4"
    assert RemoteUser.of(sample["remote_users"][0]).name == "oncall"
