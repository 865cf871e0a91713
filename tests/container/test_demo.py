"""script/demo, as somebody calls it who has just cloned this."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def demo(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "script/demo", *words], cwd=TOP, input=given, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_demo_shows_a_guest_and_lets_somebody_in() -> None:
    ran = demo("--stay", given="sudo waagent query ovf.host_name; sudo waagent status\n")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shown, came_up, within = ran.stdout.partition("script/demo: the guest came up as asked\n")
    assert came_up
    for told in ("provisioning Ready", "SSH login    demo on demo-vm, root by sudo", "hello, world", "none of them against"):
        assert told in shown
    lines = within.splitlines()  # the system greets first
    assert lines[lines.index("demo-vm") + 1] == "status: done"


def test_a_word_that_it_does_not_know_is_refused() -> None:
    ran = demo("--stya")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "unknown word --stya" in ran.stderr
