"""What lies in the place of a handler's files and is none: nobody waits for it, nobody is led astray by it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions import command_log, handler, report
from waagent.extensions.layout import Layout
from waagent.extensions.observe import observe
from waagent.system import System
from waagent.telemetry import extension_events, spool

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    """What hangs fails, after ten seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def ready(bed: Bed) -> Bed:
    for name in (NAME, OTHER):
        bed.publish(name, "1.0.0", {"enable": "status success fine"}, {"reportHeartbeat": True})
    bed.process(single(NAME), single(OTHER))
    for name in (NAME, OTHER):
        beat = [{"heartbeat": {"status": "Ready", "code": 0}}]
        Path(bed.layout.heartbeat(name, "1.0.0")).write_text(json.dumps(beat))
    return bed


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    os.mknod(path, 0o020600, os.makedev(1, 5))


def directory(path: Path) -> None:
    path.mkdir()


def link_out(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


KINDS = [
    pytest.param(pipe, id="pipe"),
    pytest.param(device, id="device", marks=pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")),
    pytest.param(directory, id="directory"),
    pytest.param(link_out, id="link"),
    pytest.param(link_to_zero, id="link-to-device"),
]
FILES: dict[str, Callable[[Layout], str]] = {
    "status": lambda layout: layout.status_file(NAME, "1.0.0", "", 0),
    "heartbeat": lambda layout: layout.heartbeat(NAME, "1.0.0"),
    "HandlerStatus": lambda layout: layout.handler_status(NAME, "1.0.0"),
    "HandlerState": lambda layout: layout.state(NAME, "1.0.0"),
    "HandlerManifest": lambda layout: layout.manifest(NAME, "1.0.0"),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_the_report_does_not_wait_for_what_is_no_file(ready: Bed, file: str, make: Callable[[Path], None]) -> None:
    path = Path(FILES[file](ready.layout))
    path.unlink()
    make(path)
    entry = ready.entry(NAME)
    other = ready.entry(OTHER)
    assert (other["status"], settings(other)["status"]) == ("Ready", "success")
    assert "root:" not in json.dumps(entry)
    if file == "status":
        assert (settings(entry)["status"], settings(entry)["code"]) == ("error", -1)
        assert "instead of a file" in str(settings(entry)) or "another directory" in str(settings(entry))
    if file == "HandlerStatus":  # the heartbeat is in order, and replaces no code
        assert (entry["status"], entry["code"]) == ("Ready", -1)
    if file == "heartbeat":
        assert (entry["status"], entry["code"]) == ("NotReady", -1)
    observe(ready.system, ready.layout)  # what a worker looks at


@pytest.mark.parametrize("make", KINDS)
def test_a_worker_does_not_wait_either(ready: Bed, make: Callable[[Path], None]) -> None:
    for instance in ("", "Alpha"):
        path = Path(ready.layout.status_file(NAME, "1.0.0", instance, 0))
        path.unlink(missing_ok=True)
        make(path)
        handler.withdraw_error_status(ready.system, ready.layout, NAME, "1.0.0", instance, 0)
    make(Path(ready.layout.state(NAME, "1.0.0", "Alpha")))
    assert handler.enabled_instances(ready.system, ready.layout, NAME, "1.0.0") == frozenset()


def test_a_status_file_may_be_a_link_to_one_beside_it(ready: Bed) -> None:
    path = Path(ready.layout.status_file(NAME, "1.0.0", "", 0))
    path.rename(path.with_name("current.status"))
    path.symlink_to("current.status")
    assert settings(ready.entry(NAME))["status"] == "success"


def test_in_a_report_about_what_is_on_disk_nothing_is_waited_for(ready: Bed) -> None:
    ready.process(single(NAME), required_features=("Teleport",))
    path = Path(ready.layout.status_file(NAME, "1.0.0", "", 0))
    path.unlink()
    os.mkfifo(path)
    assert [entry["handlerName"] for entry in report.handler_statuses(ready.layout.lib)] == [OTHER, NAME]


@pytest.mark.parametrize("file", ["²3.settings", "٣.settings"])
def test_a_settings_file_whose_number_is_none_kills_no_report(ready: Bed, file: str) -> None:
    (Path(ready.layout.config(NAME, "1.0.0")) / file).write_text("{}")
    ready.process(single(NAME), required_features=("Teleport",))
    assert [entry["runtimeSettingsStatus"]["sequenceNumber"] for entry in ready.entries()] == [0, 0]


@pytest.mark.parametrize("make", KINDS)
def test_events_that_are_no_files_go_and_are_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    system = System(tmp_path, journalling=False)
    own = tmp_path / "var/lib/waagent/events"
    own.mkdir(parents=True)
    make(own / "5.tld")
    files, unusable = spool.read(system, "/var/lib/waagent")
    assert (files, list(unusable)) == ([], ["5.tld"])
    folder = tmp_path / f"var/log/azure/{NAME}/events"
    folder.mkdir(parents=True)
    make(folder / "5.json")
    extension_events.collect(system, "/var/log/azure", "/var/lib/waagent")
    assert [path.name for path in folder.iterdir()] == (["5.json"] if make is directory else [])
    assert Path("/etc/passwd").exists()


# -- where others may write ----------------------------------------------------------------------------------


class Swapping(System):
    """A machine on which somebody puts a link in the place of the folder of events, while it is looked at."""

    swap: Callable[[], None] | None = None

    def listing(self, path: str) -> list[str]:
        found = super().listing(path)
        self._swap_after(path)
        return found

    def status(self, path: str) -> os.stat_result:
        found = super().status(path)
        self._swap_after(path)
        return found

    def _swap_after(self, path: str) -> None:
        if path.endswith("/events") and self.swap is not None:
            swap, self.swap = self.swap, None
            swap()


@pytest.mark.parametrize("whole", [False, True], ids=["events", "the handler's own folder"])
def test_a_link_put_in_the_place_of_the_folder_deletes_nothing_elsewhere(tmp_path: Path, whole: bool) -> None:
    system = Swapping("/", journalling=False)
    folder = tmp_path / f"log/{NAME}/events"
    folder.mkdir(parents=True)
    (folder / "1.json").write_text("[]")
    foreign = tmp_path / "precious"
    (foreign / "events").mkdir(parents=True)
    for place in (foreign, foreign / "events"):
        (place / "1.json").write_text("keep")
        (place / "notes").write_text("keep")

    def swap() -> None:
        place = folder.parent if whole else folder
        place.rename(tmp_path / "aside")
        place.symlink_to(foreign)

    system.swap = swap
    extension_events.collect(system, str(tmp_path / "log"), str(tmp_path / "lib"))
    assert system.swap is None
    left = sorted(str(path.relative_to(foreign)) for path in foreign.rglob("*") if path.is_file())
    assert left == ["1.json", "events/1.json", "events/notes", "notes"]


def test_a_log_of_commands_follows_no_link_when_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_log, "LIMIT", 1000)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / NAME
    folder.mkdir()
    log = folder / "CommandExecution.log"
    (folder / "CommandExecution.log.new").symlink_to(victim)
    for number in range(40):
        command_log.append(System("/", journalling=False), str(log), f"{number:03} " + "x" * 100)
    assert victim.read_text() == "precious"
    assert log.stat().st_size <= 2100
    assert log.read_text().splitlines()[-1].startswith("039 ")
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("make", KINDS)
def test_a_log_of_commands_that_is_none_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / NAME).mkdir()
    make(tmp_path / NAME / "CommandExecution.log")
    before = Path("/etc/passwd").read_bytes()
    command_log.append(System("/", journalling=False), str(tmp_path / NAME / "CommandExecution.log"), "x")
    assert Path("/etc/passwd").read_bytes() == before
