"""What requests to the host plugin show of it, told to the health service (wire-protocol 5.7)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricError
from waagent.fabric import host_calls, poll
from waagent.fabric.host_calls import ARTIFACT, STATUS, VERSIONS, judge
from waagent.fabric.session import open_session
from waagent.system.http import Http
from waagent.watcher.host_health import HostHealth
from waagent.watcher.reporting import Reporter
from waagent.watcher.settings import DEFAULTS, Settings

WORDS: dict[str, Any] = {name: getattr(DEFAULTS, name) for name in Settings.__slots__}


def seen(vm: Any, name: str) -> list[tuple[bool, str, str]]:
    return [
        (one["IsHealthy"], one["Description"], one["Value"])
        for _, one in vm.reports.observations
        if one["ObservationName"] == name
    ]


@pytest.fixture
def boot(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> Talk:
    """Its clock of the boot goes with the pauses that nobody waits for."""
    monkeypatch.setattr(talk.clock, "boot", lambda: 1000.0 + talk.clock.passed, raising=False)
    return talk


def pass_time(talk: Talk, seconds: float) -> None:
    talk.clock.sleep(seconds)


def failing(attempt: Any) -> None:
    with pytest.raises(FabricError):
        attempt()


# -- the rule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ARTIFACT, STATUS])
@pytest.mark.parametrize(
    ("status", "fails"), [(500, True), (503, True), (504, True), (502, False), (404, False), (410, False)]
)
def test_five_minutes_of_5xx_but_502_make_it_unhealthy(name: str, status: int, fails: bool) -> None:
    healthy, since = judge(name, status, None, 100.0)
    assert healthy and since == (100.0 if fails else None)
    assert judge(name, status, since, 399.9)[0]
    assert judge(name, status, since, 400.0)[0] is not fails
    assert judge(name, 200, since, 9999.0) == (True, None)


def test_no_answer_says_nothing_of_artifacts_and_all_of_versions() -> None:
    assert judge(ARTIFACT, 0, 50.0, 60.0) == (True, 50.0)
    assert judge(VERSIONS, 0, None, 60.0) == (False, None)
    assert [judge(VERSIONS, status, None, 0.0)[0] for status in (200, 404, 502, 500)] == [True, True, True, False]


def test_a_time_of_an_earlier_boot_counts_from_now() -> None:
    assert judge(STATUS, 500, 9999.0, 10.0) == (True, 10.0)


# -- workers ----------------------------------------------------------------------------------------------------


@pytest.mark.wire("5.7/GuestAgentPluginVersions")
def test_each_versions_call_is_told(talk: Talk, vm: Any, sim: Any) -> None:
    sim.fault("/versions*", status=500, count=1)
    assert not talk.plugin.available()
    assert talk.plugin.available() and talk.plugin.available()
    assert seen(vm, VERSIONS) == [(False, "", "500 Internal Server Error"), (True, "", "")]


@pytest.mark.wire("5.7/GuestAgentPluginArtifact")
def test_artifacts_are_told_once_a_minute_and_unhealthy_after_five(boot: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    sim.fault("/extensionArtifact*", status=500)
    for _ in range(25):
        failing(lambda: boot.plugin.artifact("https://store.example/package.zip", limit=1000))
        pass_time(boot, 15.0)
    told = seen(vm, ARTIFACT)
    assert [healthy for healthy, _, _ in told] == [True, True, True, True, True, False, False]
    assert {(caller, value) for _, caller, value in told} == {("WireClient", "500 Internal Server Error")}


@pytest.mark.wire("5.7/GuestAgentPluginStatus")
def test_one_worker_goes_on_where_another_was(boot: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    sim.fault("/status*", status=503)
    for _ in range(7):
        one = open_session(boot.system, boot.session.config, boot.endpoint.text, LIB, boot.notes.append)
        failing(lambda one=one: one.plugin.upload_status("https://store.example/s", "BlockBlob", b"{}"))
        pass_time(boot, 60.0)
    assert [healthy for healthy, _, _ in seen(vm, STATUS)] == [True] * 5 + [False] * 2


def test_a_file_that_somebody_spoilt_counts_as_absent(boot: Talk, vm: Any, sim: Any) -> None:
    boot.system.make_directory("/run/waagent")
    for content in (b"{", b"[]", b'{"GuestAgentPluginVersions": 1}', b'{"GuestAgentPluginStatus": {"since": "x"}}'):
        boot.system.write(host_calls.FILE, content)
        host_calls.Teller(boot.system, boot.http, boot.endpoint).saw(STATUS, 200)
    assert len(seen(vm, STATUS)) == 4


def test_a_health_service_that_does_not_listen_changes_nothing(talk: Talk, vm: Any, sim: Any) -> None:
    sim.fault("/HealthService*", reset=True)
    assert talk.plugin.available()


def test_switched_off_nothing_is_told(tmp_path: Path, vm: Any, sim: Any) -> None:
    assert Talk(tmp_path, sim, conf="Monitor.HostHealth=n\n").plugin.available()
    assert Talk(tmp_path, sim, planning=True).plugin.available()
    assert not vm.reports.observations


# -- the watcher ------------------------------------------------------------------------------------------------


@pytest.mark.wire("5.7/GuestAgentPluginStatus", "5.7/request")
def test_uploads_of_the_watcher_are_told_with_its_report_of_each_minute(
    tmp_path: Path, talk: Talk, vm: Any, sim: Any
) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    settings = Settings(**{**WORDS, "lib": str(talk.root / "var/lib/waagent")})
    reporter = Reporter(Http(), settings)
    host = HostHealth(Http(), settings, service=f"127.0.0.1:{sim.imds_port}")
    known = talk.known()

    def minute(now: float) -> None:
        reporter.turn(known, now)
        host.turn(known, now, reporter.observed)

    minute(0.0)
    assert seen(vm, STATUS) == [(True, "", "")]
    assert len(sim.requests.select(path="/HealthService")) == 1  # no request more than without it
    sim.fault("/status*", status=500)
    for number in range(1, 8):
        minute(60.0 * number)
    assert [healthy for healthy, _, _ in seen(vm, STATUS)] == [True] * 6 + [False] * 2
    assert "500" in seen(vm, STATUS)[-1][2]
    sim.faults.clear()
    minute(600.0)
    assert seen(vm, STATUS)[-1] == (True, "", "")


def test_the_watcher_stays_lean() -> None:
    heavy = ("dataclasses", "pathlib", "subprocess", "logging", "argparse", "http.client", "email", "urllib.parse")
    top = str(Path(poll.__file__).parents[2])
    code = f"import sys; sys.path.insert(0, {top!r}); import waagent.watcher.main; "
    code += f"print([one for one in {heavy!r} if one in sys.modules])"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
