"""What bad handlers and goal states do: they suffer, the others and the machine's status do not."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions import command_log, commands
from waagent.system import System

NAME, GOOD = "Contoso.Test.Probe", "Contoso.Test.Good"


@pytest.fixture
def two(bed: Bed) -> Bed:
    """A machine for which a good handler is published beside the bad one of the test."""
    bed.publish(GOOD, "1.0.0", {"enable": "status success fine"})
    return bed


def good(bed: Bed) -> bool:
    entry = bed.entry(GOOD)
    return bool(entry["status"] == "Ready" and settings(entry)["status"] == "success")


def test_two_handlers_of_one_name_in_different_case(two: Bed) -> None:
    for name in (NAME, NAME.lower()):
        two.publish(name, "1.0.0", {"enable": "status success fine"})
    summary = two.process(single(NAME), single(NAME.lower()), single(GOOD))
    assert [fate.result for fate in summary.fates] == ["succeeded", "failed", "succeeded"]
    assert "named twice" in summary.fates[1].message
    assert {line.split()[1] for line in two.ran()} == {f"{NAME}-1.0.0", f"{GOOD}-1.0.0"}
    assert two.entry(NAME)["status"] == "Ready"
    assert (two.entry(NAME.lower())["status"], two.entry(NAME.lower())["code"]) == ("NotReady", -1)


@pytest.mark.parametrize(
    ("thumbprint", "words"),
    [
        ("0123456789ABCDEF0123456789ABCDEF01234567", "there is no key"),
        ("../../../../etc/passwd", "no thumbprint"),
        (None, "does not say"),
    ],
)
def test_settings_for_a_certificate_that_is_not_here(two: Bed, thumbprint: str | None, words: str) -> None:
    """The handler runs and says itself that it cannot decrypt; the log says why."""
    two.publish(NAME, "1.0.0", {"enable": 'ls "$BASE"/../*.prv || { status error undecryptable; exit 0; }'})
    summary = two.process(single(NAME, protected="AAAA", thumbprint=thumbprint), single(GOOD))
    assert any(words in note for note in summary.notes)
    assert settings(two.entry(NAME))["formattedMessage"]["message"] == "undecryptable"
    found = json.loads(Path(two.layout.settings_file(NAME, "1.0.0", "", 0)).read_text())
    assert found["runtimeSettings"][0]["handlerSettings"]["protectedSettingsCertThumbprint"] == thumbprint
    assert good(two)


def test_a_key_that_is_here_is_not_told_of(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    Path(bed.layout.lib, "ABCDEF.prv").touch()
    assert not bed.process(single(NAME, protected="AAAA", thumbprint="ABCDEF")).notes


@pytest.mark.row("field-demands", 164)
def test_a_handler_that_double_forks(two: Bed) -> None:
    """Its daemon, in a session of its own, holds all descriptors and writes the status much later."""
    daemon = "setsid sh -c 'sleep 1; cd \"$1\"; . ./late.sh' - \"$BASE\" &"
    late = b'printf \'[{"status": {"status": "success", "code": 0}}]\' > status/0.status\n'
    two.publish(NAME, "1.0.0", {"enable": daemon}, extra={"late.sh": late})
    began = time.monotonic()
    summary = two.process(single(NAME), single(GOOD))
    assert time.monotonic() - began < 1
    assert not summary.failed
    assert settings(two.entry(NAME))["status"] == "transitioning"
    assert good(two)
    until = time.monotonic() + 10
    while settings(two.entry(NAME))["status"] != "success" and time.monotonic() < until:
        time.sleep(0.05)
    assert settings(two.entry(NAME))["status"] == "success"


def test_a_handler_that_traps_sigterm_is_killed(two: Bed) -> None:
    two.rules = replace(two.rules, limits={**commands.LIMITS, "enable": 0.5})
    stubborn = "trap '' TERM INT HUP; echo stubborn; ( trap '' TERM; sleep 61 ) & sleep 62; sleep 63"
    two.publish(NAME, "1.0.0", {"enable": stubborn})
    began = time.monotonic()
    two.process(single(NAME), single(GOOD))
    assert time.monotonic() - began < 8
    assert two.entry(NAME)["code"] == 1011
    assert "stubborn" in two.entry(NAME)["formattedMessage"]["message"]
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not {"sleep 61", "sleep 62", "sleep 63"} & set(left.splitlines())
    assert good(two)


def test_a_gibibyte_on_stdout(two: Bed) -> None:
    two.publish(NAME, "1.0.0", {"install": "head -c 1073741824 /dev/zero; echo; echo the end; exit 3"})
    two.process(single(NAME), single(GOOD))
    message = two.entry(NAME)["formattedMessage"]["message"]
    assert "the end" in message
    assert len(message) < 2 * commands.texts.OUTPUT * 4
    assert not os.path.exists(two.layout.running)
    assert os.path.getsize(two.layout.command_log(NAME)) < 1024 * 1024
    assert good(two)


def test_the_log_of_commands_stays_small(tmp_path: Path) -> None:
    system, path = System("/", journalling=False), f"{tmp_path}/log/CommandExecution.log"
    for number in range(50):
        command_log.append(system, path, f"{number:04d} " + "x" * 1024 * 1024)
    assert os.path.getsize(path) <= 2 * command_log.LIMIT + 1024 * 1024
    lines = Path(path).read_text().splitlines()
    assert lines[-1].startswith("0049 ")
    assert all(line[4] == " " for line in lines)


@pytest.mark.parametrize("kind", ["blocks", "inodes"])
def test_a_handler_that_fills_its_log_directory(two: Bed, kind: str) -> None:
    """LOG is a file system of its own, and full: only who needs a new directory there fails, for as long as that is so."""
    os.makedirs(two.layout.logs, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=40", "tmpfs", two.layout.logs]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs to mount a small file system")
    own = two.layout.log(NAME)
    fill = f'yes > "{own}/own.log"' if kind == "blocks" else f'for i in $(seq 99); do touch "{own}/$i.log"; done'
    try:
        two.publish(NAME, "1.0.0", {"enable": f'[ $ConfigSequenceNumber = 2 ] || {{ {fill}; }}; status success full'})
        (two.base(GOOD, "1.0.0") / "config").mkdir(parents=True)
        (two.base(GOOD, "1.0.0") / "mrseq").write_text("4")
        (two.base(GOOD, "1.0.0") / "config/4.settings").write_text("{}")
        summary = two.process(single(NAME), single(GOOD))
        assert settings(two.entry(NAME))["status"] == "success"
        if kind == "blocks":  # a directory needs none, and what a command printed is not worth to fail for
            assert not summary.failed
            assert good(two)
        else:
            assert [fate.label for fate in summary.failed] == [GOOD]
            entry = two.entry(GOOD)
            assert (entry["status"], entry["code"]) == ("NotReady", -1)
            message = entry["formattedMessage"]["message"]
            assert f"cannot create directory {two.layout.log(GOOD)}: No space left on device; free some space" in message
        kept = {path: (two.base(GOOD, "1.0.0") / path).read_text() for path in ("mrseq", "config/4.settings")}
        assert kept == {"mrseq": "4", "config/4.settings": "{}"}
        again = two.process(single(NAME, sequence=1), single(GOOD, sequence=1))
        assert [fate.label for fate in again.failed] == ([] if kind == "blocks" else [GOOD])
        assert two.state(NAME, "1.0.0") == "Enabled"
        for path in Path(own).glob("*.log"):
            path.unlink()
        two.ran()
        assert not two.process(single(NAME, sequence=2), single(GOOD, sequence=2)).failed
        ran = [line.split()[0] for line in two.ran() if GOOD in line]
        assert ran == (["enable"] if kind == "blocks" else ["install", "enable"])
        assert good(two)
    finally:
        subprocess.run(["umount", two.layout.logs], check=True)


def test_a_status_file_that_is_not_utf8_hurts_only_its_extension(two: Bed) -> None:
    two.publish(NAME, "1.0.0", {"enable": "printf '[{\"status\": {\"status\": \"\\377\\376\"}}]' > status/0.status"})
    two.process(single(NAME), single(GOOD))
    assert (two.entry(NAME)["status"], settings(two.entry(NAME))["status"]) == ("Ready", "error")
    assert "UTF-8" in settings(two.entry(NAME))["formattedMessage"]["message"]
    assert good(two)


@pytest.mark.parametrize("verb", ["install", "enable", "disable", "uninstall"])
def test_a_handler_that_deletes_its_own_directory(two: Bed, verb: str) -> None:
    two.publish(NAME, "1.0.0", {verb: 'rm -rf "$BASE"'})
    two.process(single(NAME), single(GOOD))
    assert good(two)
    two.process(single(NAME, state="uninstall"), single(GOOD))
    assert good(two)
    two.publish(NAME, "1.0.0", {"enable": "status success fine"})
    two.process(single(NAME), single(GOOD))
    assert two.entry(NAME)["status"] == "Ready"


def test_a_zip_bomb(two: Bed) -> None:
    two.publish(NAME, "1.0.0", extra={"bomb": bytes(128 * 1024 * 1024)})
    two.process(single(NAME), single(GOOD))
    assert two.entry(NAME)["code"] == 1001
    assert "times as many" in two.entry(NAME)["formattedMessage"]["message"]
    assert not (two.base(NAME, "1.0.0") / "bomb").exists()
    assert good(two)


@pytest.mark.parametrize("line", ["../../../bin/true", "bin/../../x.sh enable", "/../etc/x"])
def test_a_manifest_with_a_command_outside_the_package(two: Bed, line: str) -> None:
    two.publish(NAME, "1.0.0", manifest={"enableCommand": line})
    two.process(single(NAME), single(GOOD))
    assert (two.entry(NAME)["status"], two.entry(NAME)["code"]) == ("NotReady", 1003)
    assert not [one for one in two.ran() if NAME in one]
    assert good(two)
