"""What options make of the engine: restarts of the agent, quotas, package managers, the root of signatures, hooks."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Script
from tests.unit.extensions.conftest import Bed, single
from waagent.extensions import signature
from waagent.extensions.apply import is_processed
from waagent.extensions.steps import Rules, Steps
from waagent.machine import package_locks
from waagent.system import System

NAME = "Contoso.Test.Probe"


# -- restarts of the agent -----------------------------------------------------------------------------------


@pytest.fixture
def start(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the watcher says that it has begun."""
    from waagent.extensions import journal

    file = bed.folder / "agent-start"
    monkeypatch.setattr(journal, "AGENT_START", str(file))
    return file


@pytest.mark.row("extensions", 5)
def test_5_a_restarted_agent_enables_once_more_and_installs_nothing(bed: Bed, start: Path) -> None:
    bed.publish(NAME, "1.0.0")
    start.write_text("1\n")
    desired = bed.desired(single(NAME))
    bed.engine().process(desired)
    assert bed.verbs() == ["install", "enable"]
    assert is_processed(bed.system, bed.layout, desired.identity)
    start.write_text("2\n")
    assert not is_processed(bed.system, bed.layout, desired.identity)
    bed.engine().process(desired)
    assert bed.verbs() == ["enable"]
    assert is_processed(bed.system, bed.layout, desired.identity)


@pytest.mark.row("field-demands", 161)
def test_161_a_handler_that_restarts_the_agent_is_not_enabled_for_ever(bed: Bed, start: Path) -> None:
    bed.publish(NAME, "1.0.0", {"enable": f'echo restarted >> "{start}"'})
    desired = bed.desired(single(NAME))
    bed.engine().process(desired)
    assert is_processed(bed.system, bed.layout, desired.identity)


# -- quotas --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "limited"),
    [
        (Rules(), True),
        (Rules(enforce_limits=False), False),
        (Rules(unlimited=("customscript", "probe")), False),
        (Rules(unlimited=("customscript", "runcommand")), True),
    ],
)
def test_quotas_are_set_unless_the_options_say_otherwise(
    bed: Bed, system: System, script: Script, rules: Rules, limited: bool
) -> None:
    from waagent.extensions import handler
    from waagent.extensions.journal import Journal

    os.makedirs(system.path("/run/systemd/system"))
    unit = f"azure-vmextensions-{NAME}.slice"
    argv = ("systemctl", "set-property", "--runtime", unit, "CPUAccounting=yes", "CPUQuota=40%")
    if limited:
        script.on(*argv)
    steps = Steps(system, bed.layout, bed, rules, Journal(system, bed.layout), lambda event, **data: None)
    steps._limit(NAME, handler.HandlerManifest({}, quotas=handler.Quotas(40.0)))
    assert [effect.argv for effect in system.effects if effect.argv] == ([argv] if limited else [])


# -- package managers ----------------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 163)
def test_163_a_busy_package_manager_is_waited_for_and_not_for_ever(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = bed.folder / "lock"
    monkeypatch.setattr(package_locks, "LOCKED", (("dpkg", str(lock)),))
    bed.publish(NAME, "1.0.0")
    bed.rules = replace(bed.rules, package_wait=0.6)
    lock.touch()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        stream = open(lock, "r+")  # noqa: SIM115
        fcntl.lockf(stream, fcntl.LOCK_EX)
        os.write(writer, b".")
        os.close(writer)
        signal_wait()
    os.read(reader, 1)
    began = bed.system.clock.monotonic()
    summary = bed.process(single(NAME))
    assert not summary.failed
    assert bed.system.clock.monotonic() - began >= 1.2
    assert any("install" in note and f"dpkg (process {child}) still works" in note for note in summary.notes)
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert not any("still works" in note for note in bed.process(single(NAME, sequence=1)).notes)


def signal_wait() -> None:
    import time

    time.sleep(60)
    os._exit(0)


# -- the root of signatures ----------------------------------------------------------------------------------


def test_where_the_root_of_signatures_lies() -> None:
    assert signature.roots("/lib", "/etc/own.pem") == ("/etc/own.pem",)
    assert signature.roots("/lib") == (
        "/etc/waagent/extension-root.pem",
        "/usr/lib/waagent/data/extension-root.pem",
        "/lib/microsoft_root_certificate.pem",
    )


def test_a_named_root_that_is_not_there_is_told(bed: Bed) -> None:
    bed.rules = Rules(check_signatures=True, signature_roots=("/nonexistent/root.pem",))
    bed.publish(NAME, "1.0.0")
    summary = bed.process(single(NAME, signature="AAAA"))
    assert not summary.failed
    assert any("/nonexistent/root.pem" in note for note in summary.notes)


# -- hooks ---------------------------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 62)
def test_hooks_are_told_of_every_command_with_its_result(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "exit 3"})
    bed.process(single(NAME, sequence=4))
    told = {"handler": NAME, "version": "1.0.0", "extension": "", "sequence": 4}
    seen = [(event, {key: value for key, value in data.items() if key != "seconds"}) for event, data in bed.events]
    assert seen == [
        ("extension-started", {**told, "operation": "install"}),
        ("extension-finished", {**told, "operation": "install", "result": "succeeded"}),
        ("extension-started", {**told, "operation": "enable"}),
        ("extension-finished", {**told, "operation": "enable", "result": "failed"}),
    ]
