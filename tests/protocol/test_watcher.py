"""The watcher against the simulator: when it starts a worker, what it reports, what it survives."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from waagent.fabric import poll
from waagent.simulator import Simulator
from waagent.simulator.machine import Machine
from waagent.watcher.main import Watcher, _say_when
from waagent.watcher.settings import Settings
from waagent.watcher.worker import Worker

TOP = Path(__file__).resolve().parents[2]


class Stage:
    """Stands for the worker's program: counts its starts, and settles or does not settle the change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.run.mkdir()
        self.script = folder / "worker"
        self.script.write_text(f"#!/bin/sh\necho \"$@\" >>{folder}/starts\n")
        self.script.chmod(0o755)

    def worker(self, event: str) -> Worker:
        return Worker(event, [str(self.script)], str(self.run), systemd="/nonexistent")

    @property
    def starts(self) -> list[str]:
        file = self.folder / "starts"
        return file.read_text().splitlines() if file.exists() else []

    def completes(self, event: str = "goal-state", state: str = "done") -> None:
        (self.run / f"status.{event}.json").write_text(json.dumps({"stages": {"periodic": {"state": state}}}))

    def wait_for_starts(self, count: int) -> None:
        deadline = time.monotonic() + 5
        while len(self.starts) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.starts) == count


@pytest.fixture
def fabric() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator
        assert not simulator.violations


@pytest.fixture
def vm(fabric: Simulator) -> Machine:
    machine = fabric.machine("vm01")
    machine.publish(extensions=[])
    return machine


@pytest.fixture
def lib(tmp_path: Path, fabric: Simulator) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    (folder / "WireServerEndpoint").write_text(f"127.0.0.1:{fabric.wire_port}:{fabric.plugin_port}")
    return folder


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def watcher(lib: Path, stage: Stage, vm: Machine) -> Watcher:
    settings = Settings(
        extensions=True, fast_track=True, host_health=False, initial=1, lib=str(lib), os_name="debian",
        os_version="12", period=6,
    )  # fmt: skip
    return Watcher(settings, start=stage.worker)


def settle(watcher: Watcher, lib: Path, stage: Stage, vm: Machine, status_blob: str = "") -> None:
    """Do what a real worker does: write down the goal state of now."""
    known = poll.Known(
        watcher.known.endpoint,
        incarnation=str(vm.incarnation),
        container_id=vm.container_id,
        config_name=vm.config_name,
        instance_id=vm.instance_id,
        etag=vm.etag,
        status_blob=status_blob,
        status_blob_type="BlockBlob",
    )
    (lib / "goal-state.json").write_text(json.dumps({"known": known.to_json()}))
    stage.completes()


def test_the_first_turn_starts_a_worker_and_the_next_do_not(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)
    for _ in range(3):
        watcher.turn()
    time.sleep(0.2)
    assert stage.starts == ["stage periodic --event goal-state"]
    assert watcher.period == 6


def test_a_machine_without_room_for_a_process_keeps_its_watcher(
    watcher: Watcher, stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*words: object, **more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_spawnp", full)
        for _ in range(3):
            watcher._start_after = 0.0
            watcher.turn()
    assert capsys.readouterr().err.count("cannot start the worker: Resource temporarily unavailable") == 1
    watcher._start_after = 0.0
    watcher.turn()
    stage.wait_for_starts(1)
    assert "worker works again" in capsys.readouterr().err


def test_on_a_machine_that_is_no_azure_vm_nobody_is_asked(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    (lib / "instance").mkdir()
    facts = lib / "instance" / "public.json"
    facts.write_text(json.dumps({"schema": 1, "facts": {"provisioning": {"by": "nobody"}}}))
    for _ in range(3):
        watcher.turn()
    assert (len(fabric.requests), stage.starts) == (0, [])
    assert capsys.readouterr().err.count("this is no Azure VM") == 1
    for content in ('{"facts": {"provisioning": {"by": "waagent"}}}', '{"facts": {}}', "[", ""):
        before = len(fabric.requests)
        fresh = facts.with_suffix(".new")
        fresh.write_text(content)
        os.utime(fresh, (before, before))
        fresh.replace(facts)
        watcher.turn()
        assert len(fabric.requests) > before, content
    stage.wait_for_starts(1)


def test_a_watcher_that_begins_again_starts_a_worker_once(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)
    again = Watcher(watcher.settings, start=stage.worker)
    for _ in range(3):
        again.turn()
    stage.wait_for_starts(2)
    stage.completes()
    for _ in range(3):
        again.turn()
    time.sleep(0.2)
    assert len(stage.starts) == 2


def test_a_change_does_not_wait_for_the_pause_after_a_start_that_was_for_nothing(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine
) -> None:
    """As when a goal state is published just after the agent was started anew."""
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)
    again = Watcher(watcher.settings, start=stage.worker)
    again.turn()
    stage.wait_for_starts(2)
    vm.publish(extensions=[])
    again.turn()
    stage.wait_for_starts(3)
    again.turn()  # that worker did not settle it: now there is a pause
    time.sleep(0.2)
    assert len(stage.starts) == 3


def test_a_start_is_told_from_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "run/agent-start"
    _say_when(str(file))
    first = file.read_text()
    time.sleep(0.01)
    _say_when(str(file))
    assert file.read_text() != first
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.wire("9.2/period")
def test_a_new_goal_state_starts_a_worker(watcher: Watcher, lib: Path, stage: Stage, vm: Machine) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)
    watcher.turn()
    vm.publish(on_hold=True)
    watcher.turn()
    stage.wait_for_starts(2)


def test_a_worker_that_settles_nothing_is_started_again_only_later(
    watcher: Watcher, stage: Stage, vm: Machine
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    stage.completes()
    for _ in range(5):
        watcher.turn()
    time.sleep(0.2)
    assert len(stage.starts) == 1
    watcher._start_after = 0.0
    watcher.turn()
    stage.wait_for_starts(2)
    assert watcher._wait == 12.0


@pytest.mark.parametrize("way", ["incarnation", "etag"])
def test_a_worker_that_failed_is_followed_by_others_until_the_extensions_are_through(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator, way: str
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm, status_blob=_status_blob(vm, fabric))
    stage.completes(state="failed")
    processed = lib / "extensions/processed.json"
    processed.parent.mkdir()
    pauses = []
    for count, identity in enumerate((None, "", "incarnation:0"), 2):
        if identity is not None:
            processed.write_text(json.dumps({"identity": identity}))
        watcher.turn()
        watcher.turn()
        pauses.append(watcher._wait)
        stage.wait_for_starts(count)
        watcher._start_after = 0.0
    assert pauses == [6.0, 12.0, 24.0]
    identity = f"{way}:{vm.incarnation if way == 'incarnation' else vm.etag}"
    processed.write_text(json.dumps({"identity": identity}))
    for _ in range(3):
        watcher.turn()
    time.sleep(0.2)
    assert (len(stage.starts), watcher._wait) == (4, 0.0)
    processed.write_text(json.dumps({"identity": identity, "agent": "of an earlier start"}))
    watcher.turn()
    stage.wait_for_starts(5)


def test_a_worker_that_failed_at_something_else_is_followed_by_none(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)  # no goal state of extensions
    stage.completes(state="failed")
    for _ in range(3):
        watcher.turn()
        watcher._start_after = 0.0
    time.sleep(0.2)
    assert len(stage.starts) == 1


def test_a_worker_at_work_is_not_joined_by_another(watcher: Watcher, stage: Stage) -> None:
    import fcntl

    lock = os.open(stage.run / "periodic.goal-state.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    watcher.turn()
    time.sleep(0.2)
    assert stage.starts == []
    os.close(lock)
    watcher.turn()
    stage.wait_for_starts(1)


@pytest.mark.wire("9.2/period")
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 410}, {"reset": True}, {"garbage": 200}, {"truncate": 50}])
def test_a_fabric_in_trouble_stops_nothing(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator, fault: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm)
    watcher.turn()
    fabric.fault("/machine/?comp=goalstate", **fault)
    for _ in range(3):
        watcher.turn()
    said = capfd.readouterr().err
    assert said.count("watcher:") == 1, said
    assert "next try in 6 s" in said
    fabric.clear_faults()
    watcher.turn()
    assert "poll works again" in capfd.readouterr().err
    assert len(stage.starts) == 1


@pytest.mark.wire("7.3/no-answer")
def test_nobody_at_the_address_is_survived(lib: Path, stage: Stage, capfd: pytest.CaptureFixture[str]) -> None:
    (lib / "WireServerEndpoint").write_text("127.0.0.1:9:9")
    settings = Settings(
        extensions=True, fast_track=True, host_health=False, initial=1, lib=str(lib), os_name="debian",
        os_version="12", period=6,
    )  # fmt: skip
    watcher = Watcher(settings, start=stage.worker)
    watcher.turn()
    watcher.turn()
    assert capfd.readouterr().err.count("watcher:") == 1
    assert stage.starts == []


@pytest.mark.wire("9.2/period")
def test_the_status_goes_out_at_once_when_it_changes_and_once_a_minute_else(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm, _status_blob(vm, fabric))
    watcher.turn()
    watcher.turn()
    assert vm.reports.status_count == 1
    assert vm.reports.status["guestOSInfo"]["osName"] == "debian"
    watcher.reporter._taken_at -= 60
    watcher.turn()
    assert vm.reports.status_count == 2


@pytest.mark.wire("3.7/failure")
def test_a_refused_upload_is_left_to_a_worker(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm, _status_blob(vm, fabric))
    fabric.fault("/status", status=500)
    watcher.turn()
    watcher.turn()
    stage.wait_for_starts(2)
    assert stage.starts[1] == "stage periodic --event status"
    said = capfd.readouterr().err
    assert "a worker uploads it directly" in said
    assert "sig=" not in said or "sig=[" in said or "sig=*" in said


FAILURES: dict[str, dict[str, Any]] = {
    "reset": {"reset": True, "count": 2},  # a connection that was kept open is tried once more at once
    **{str(status): {"status": status} for status in (301, 400, 403, 404, 410, 429, 500, 502, 503)},
}


@pytest.mark.row("field-demands", 166)
@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
def test_row_166_a_status_that_was_not_taken_is_no_success_and_goes_out_again(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator, fault: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm, _status_blob(vm, fabric))
    fabric.fault("/status", **{"count": 1, **fault})
    watcher.turn()
    assert vm.reports.status_count == 0
    stale = fault == {"status": 410}  # no failure: the ids are asked for, and the next period tries again
    assert ("a worker uploads it directly" in capfd.readouterr().err) is not stale
    watcher.turn()
    assert vm.reports.status_count == 1
    assert ("status works again" in capfd.readouterr().err) is not stale


@pytest.mark.row("field-demands", 77)
def test_row_77_a_turn_without_news_takes_a_thousandth_of_a_processor(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, fabric: Simulator
) -> None:
    watcher.turn()
    stage.wait_for_starts(1)
    settle(watcher, lib, stage, vm, _status_blob(vm, fabric))
    watcher.turn()
    turns, before = 100, time.thread_time()
    for _ in range(turns):
        watcher.turn()
    each = (time.thread_time() - before) / turns
    assert each / watcher.period < 0.001, f"{each * 1000:.2f} ms in each period of {watcher.period:.0f} s"


def _status_blob(vm: Machine, fabric: Simulator) -> str:
    """The SAS URL that the goal state names."""
    return vm.status_url(fabric.blob_url)


def test_the_resident_process_stays_small() -> None:
    """What the watcher imports at its start: none of the libraries that a worker needs."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import waagent.watcher.main; "
        "heavy = {'requests', 'cryptography', 'yaml', 'configobj', 'subprocess', 'http.client', 'urllib.request', "
        "'argparse', 'logging', 'dataclasses', 'pathlib', 'email'}; print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", code, str(TOP)], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == "[]", f"{sys.executable}: {out}"


POLLS = """
import gc, os, sys
sys.path.insert(0, sys.argv[1])
from waagent.watcher import main, settings, worker

class Idle:
    busy, completed, start = (lambda self: False), (lambda self: True), (lambda self: None)
    end = lambda self: "done"

words = {name: getattr(settings.DEFAULTS, name) for name in settings.Settings.__slots__}
watcher = main.Watcher(settings.Settings(**{**words, "lib": sys.argv[2]}), start=lambda event: Idle())
watcher._begun = True
watcher.host_health.service = sys.argv[3]

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

for number in range(int(sys.argv[4])):
    if number % 10 == 0:  # a minute's worth: the unchanged report once more, the host's health
        watcher.reporter._taken_at -= 60.0
        watcher.host_health._asked_at -= 60.0
    watcher.turn()
    if number == 1000:
        before = resident()
print(resident() - before, resident())
"""


@pytest.mark.row("field-demands", 78)
def test_ten_thousand_polls_do_not_make_it_grow(
    watcher: Watcher, lib: Path, stage: Stage, vm: Machine, tmp_path: Path
) -> None:
    """The fabric is a server of the least kind, which answers as fast as it is asked."""
    with least_fabric() as port:
        settle(watcher, lib, stage, vm, "http://127.0.0.1/status?sig=x")
        (lib / "WireServerEndpoint").write_text(f"127.0.0.1:{port}:{port}")
        known = json.loads((lib / "goal-state.json").read_text())
        place = f"127.0.0.1:{port}:{port}"
        known["known"].update(endpoint=place, incarnation="1", container_id="c", config_name="n", instance_id="i")
        (lib / "goal-state.json").write_text(json.dumps(known))
        ran = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", POLLS, str(TOP), str(lib), f"127.0.0.1:{port}", "10000"],
            capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
    grown, resident = map(int, ran.stdout.split())
    assert grown < 1024 * 1024, f"{grown} bytes more after 10,000 polls, {resident} in all"
    assert ran.stderr == ""


@contextlib.contextmanager
def least_fabric() -> Iterator[int]:
    """One port that is wire server, host plugin and metadata service of a machine of which nothing changes."""
    goal = (
        b"<GoalState><Incarnation>1</Incarnation><ContainerId>c</ContainerId><InstanceId>i</InstanceId>"
        b"<ConfigName>n</ConfigName></GoalState>"
    )

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while True:
                first, length = stream.readline(), 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                stream.read(length)
                if not first:
                    return
                if b"vmSettings" in first:
                    connection.sendall(b"HTTP/1.1 304 Not Modified\r\n\r\n")
                else:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(goal), goal))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
