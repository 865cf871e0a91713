"""Downloads that outlive their process, are continued or begun anew, and are what the storage says they are."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.servers import Storage
from tests.protocol.talk import LIB, Talk
from tests.unit.extensions.conftest import Bed
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.extensions.apply import Engine
from waagent.extensions.source import FabricSource
from waagent.fabric.arrival import Kept
from waagent.fabric.artifacts import Artifacts
from waagent.fabric.desired import Handler, Settings
from waagent.fabric.internet import Internet
from waagent.simulator import Simulator
from waagent.simulator.documents import manifest
from waagent.system import System

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes
PACKAGE = f"{LIB}/.A.B-1.0.fetched"

# A worker that fetches a package and is killed while it arrives.
WORKER = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from types import SimpleNamespace
from tests.protocol.talk import Talk
talk = Talk(Path({folder!r}), SimpleNamespace(wire_port=1, plugin_port=1))
talk.artifacts.plugin = None
talk.artifacts.download([{url!r}], {package!r})
"""


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content).digest()).decode()


@pytest.fixture
def storage() -> Iterator[Storage]:
    with Storage(CONTENT, '"v1"') as storage:
        yield storage


@pytest.fixture
def sim() -> Iterator[Any]:
    with Simulator(imds_port=None) as sim:
        sim.machine("vm01")
        yield sim


@pytest.fixture
def talk(tmp_path: Path, sim: Any) -> Talk:
    return Talk(tmp_path, sim)


def killed(tmp_path: Path, storage: Storage, stall: int = 400_000) -> Path:
    """What a process that was killed while it fetched has left."""
    storage.stalls = [stall]
    partial = tmp_path / "root" / f"{PACKAGE}.part".lstrip("/")
    program = WORKER.format(path=sys.path, folder=str(tmp_path), url=storage.url, package=PACKAGE)
    kill_when(partial, program)
    return partial


def kill_when(partial: Path, program: str) -> None:
    """Run a program of this Python, and kill it when enough has arrived."""
    process = subprocess.Popen([sys.executable, "-c", program])
    until = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size > 200_000):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.row("field-demands", 165)
@pytest.mark.row("extensions", 81)
@pytest.mark.wire("7.5/resumption")
@pytest.mark.parametrize("end", ["as it was", "cut off by a power failure"])
def test_81_165_a_download_goes_on_where_a_killed_process_was(tmp_path: Path, talk: Talk, storage: Storage, end: str) -> None:
    partial = killed(tmp_path, storage)
    if end != "as it was":
        os.truncate(partial, 150_000)
    there = partial.stat().st_size
    elsewhere = "http://127.0.0.1:1/package"
    found = talk.artifacts.download([elsewhere, storage.url], PACKAGE)
    assert (found.uri, found.pieced) == (storage.url, True)
    assert talk.system.read(PACKAGE) == CONTENT
    assert (storage.asked[-1]["range"], storage.asked[-1]["if-range"]) == (f"bytes={there}-", '"v1"')
    assert len(storage.asked) == 2
    Kept(talk.system, PACKAGE).taken()
    assert talk.files == []


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/resumption")
@pytest.mark.parametrize("change", ["version", "location", "record lost", "record damaged", "longer than the whole"])
def test_165_what_does_not_belong_together_is_fetched_as_a_whole(
    tmp_path: Path, talk: Talk, storage: Storage, change: str
) -> None:
    partial = killed(tmp_path, storage)
    fresh = CONTENT[::-1]
    storage.content, url = fresh, storage.url
    if change == "version":
        storage.tag = '"v2"'
    elif change == "location":
        url = storage.url + "/other"
    elif change == "record lost":
        talk.system.remove(f"{PACKAGE}.origin")
    elif change == "record damaged":
        talk.system.write(f"{PACKAGE}.origin", '{"tag": 1}')
    else:
        partial.write_bytes(CONTENT + b"x")
    talk.artifacts.download([url], PACKAGE)
    assert talk.system.read(PACKAGE) == fresh
    assert ("range" in storage.asked[-1]) == (change == "version")


@pytest.mark.wire("7.5/resumption")
def test_what_had_arrived_completely_costs_one_request(tmp_path: Path, talk: Talk, storage: Storage) -> None:
    talk.artifacts.download([storage.url], PACKAGE)
    now = talk.clock.now().timestamp()
    os.utime(talk.system.path(PACKAGE), (now, now))
    Kept(talk.system, PACKAGE).settle()  # its process was killed before it was of use
    assert not talk.system.exists(PACKAGE)
    talk.artifacts.download([storage.url], PACKAGE)
    assert talk.system.read(PACKAGE) == CONTENT
    assert [sent.get("range") for sent in storage.asked] == [None, f"bytes={len(CONTENT)}-"]


@pytest.mark.wire("7.5/resumption")
def test_what_is_left_is_settled_after_a_kill(tmp_path: Path, talk: Talk, storage: Storage) -> None:
    partial = killed(tmp_path, storage)
    kept = Kept(talk.system, PACKAGE)
    now = talk.clock.now().timestamp()
    os.utime(partial, (now, now - 3600))
    kept.settle()
    assert len(talk.files) == 2
    os.utime(partial, (now, now - 25 * 3600))
    kept.settle()
    assert talk.files == []


@pytest.mark.wire("7.5/resumption")
def test_a_download_that_is_given_up_for_now_goes_on_the_next_time(talk: Talk, storage: Storage) -> None:
    talk.artifacts.plugin = None
    storage.cuts = [300_000, *[0] * 20]
    with pytest.raises(FabricUnreachable):
        talk.artifacts.download([storage.url], PACKAGE)
    storage.cuts = []
    talk.artifacts.download([storage.url], PACKAGE)
    assert talk.system.read(PACKAGE) == CONTENT
    assert 0 < int(storage.asked[-1]["range"][6:-1]) <= 300_000


@pytest.mark.wire("7.5/resumption")
def test_nothing_stays_of_what_cannot_be_continued_or_is_not_there_any_more(talk: Talk, storage: Storage) -> None:
    talk.artifacts.plugin = None
    storage.tag, storage.cuts = "", [300_000] * 20
    with pytest.raises(FabricUnreachable):
        talk.artifacts.download([storage.url], PACKAGE)
    assert talk.files == []
    with pytest.raises(FabricRejected):
        talk.artifacts.download([storage.url], PACKAGE, limit=1000)
    assert talk.files == []


@pytest.mark.wire("7.5/resumption", "3.5/success")
def test_the_host_begins_anew_and_what_had_arrived_stays_until_it_does(
    tmp_path: Path, talk: Talk, storage: Storage, sim: Any
) -> None:
    sim.put_file("x", CONTENT[::-1])
    storage.url = storage.url.replace("package", "files/x")
    killed(tmp_path, storage)
    storage.throttle = ["2", "2"]
    host = sim.fault("/extensionArtifact", status=503, count=1)
    talk.artifacts.download([storage.url], PACKAGE)
    assert host.met == 1
    assert all("range" in sent for sent in storage.asked[1:]), "what had arrived was forgotten"
    assert talk.system.read(PACKAGE) == CONTENT[::-1]
    assert not [one for one in sim.requests.select(path="/extensionArtifact") if "range" in one.headers]
    assert not talk.system.exists(f"{PACKAGE}.origin")


# A worker that processes a goal state with one handler, and is killed while its package arrives.
PROCESS = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.protocol.test_resumption import engine
engine(Path({folder!r}), {listing!r})
"""


def engine(folder: Path, listing: str) -> Bed:
    """The real engine on a machine that has only the direct channel."""
    bed = Bed(folder)
    system = System("/", journalling=False)
    source = FabricSource(system, Artifacts(system, Internet(system.clock), None))
    wanted = Handler("A.B", "1.0", manifest_uris=(listing,), settings=(Settings("A.B", 0),))
    summary = Engine(system, bed.layout, source, bed.rules).process(bed.desired(wanted))
    assert not summary.failed, summary.failed
    return bed


@pytest.mark.row("field-demands", 165)
@pytest.mark.row("extensions", 81)
def test_81_165_a_worker_takes_up_the_download_of_the_one_that_was_killed(tmp_path: Path) -> None:
    content = Bed(tmp_path / "made").publish("A.B", "1.0", extra={"big": os.urandom(1_000_000)})
    with Storage(content, '"v1"') as storage, Storage(manifest([("1.0", [storage.url])], []).encode()) as listing:
        storage.stalls, storage.digest = [400_000], md5(content)
        folder = tmp_path / "machine"
        partial = folder / "lib/.A.B-1.0.fetched.part"
        program = PROCESS.format(path=sys.path, folder=str(folder), listing=listing.url)
        kill_when(partial, program)
        bed = engine(folder, listing.url)
        assert ["range" in sent for sent in storage.asked] == [False, True]
    assert bed.entry("A.B")["status"] == "Ready"
    assert not [name for name in os.listdir(bed.layout.lib) if name.startswith(".")]


# -- digests ----------------------------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/digest")
def test_165_what_is_not_what_the_storage_has_is_not_taken(talk: Talk, storage: Storage) -> None:
    talk.artifacts.plugin = None
    storage.digest = md5(CONTENT + b"x")
    with pytest.raises(FabricUnreachable, match="damaged on the way"):
        talk.artifacts.download([storage.url], PACKAGE)
    assert talk.files == []
    with pytest.raises(FabricUnreachable, match="damaged on the way"):
        talk.artifacts.fetch([storage.url], total=1.0)
    with Storage(CONTENT, '"v1"') as good:
        good.digest = md5(CONTENT)
        assert talk.artifacts.download([storage.url, good.url], PACKAGE).uri == good.url


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/digest")
def test_165_pieces_that_do_not_fit_are_fetched_as_a_whole(tmp_path: Path, talk: Talk, storage: Storage) -> None:
    storage.digest = md5(CONTENT)
    partial = killed(tmp_path, storage)
    with open(partial, "r+b") as file:  # a block that a power cut has taken
        file.write(bytes(4096))
    talk.artifacts.download([storage.url], PACKAGE)
    assert talk.system.read(PACKAGE) == CONTENT
    assert ["range" in sent for sent in storage.asked] == [False, True, False]


@pytest.mark.wire("7.5/digest")
@pytest.mark.parametrize("told", ["", "nonsense", "AAAA", "ä"])
def test_a_digest_that_is_none_says_nothing(talk: Talk, storage: Storage, told: str) -> None:
    storage.digest = told
    assert talk.artifacts.fetch([storage.url]).body == CONTENT


@pytest.mark.row("field-demands", 165)
@pytest.mark.wire("7.5/digest")
def test_165_a_digest_counts_on_the_host_channel_too(talk: Talk, sim: Any) -> None:
    url = sim.put_file("x.zip", CONTENT)
    sim.fault("*", service="blob", status=404)
    bad = sim.fault("/extensionArtifact", headers={"Content-MD5": md5(b"else")}, count=1)
    talk.artifacts.download([url], PACKAGE)
    assert bad.met == 1
    assert talk.system.read(PACKAGE) == CONTENT
    assert len(talk.slept) == 1


# -- threads ----------------------------------------------------------------------------------------------------


def test_threads_fetch_side_by_side_while_the_channels_change(talk: Talk, sim: Any) -> None:
    urls = [sim.put_file(f"{number}.zip", CONTENT[:number]) for number in range(4)]
    sim.fault("*", service="blob", status=500, probability=0.5)
    sim.fault("/extensionArtifact", status=500, probability=0.3)
    raised: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(60):
                talk.artifacts.download([urls[number]], f"{LIB}/{number}.zip")
                assert talk.system.read(f"{LIB}/{number}.zip") == CONTENT[:number]
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert talk.files == [f"{number}.zip" for number in range(4)]


def test_a_record_holds_no_secret(talk: Talk, storage: Storage) -> None:
    talk.artifacts.download([f"{storage.url}?sv=1&sig=SECRET"], PACKAGE)
    record = talk.system.read_text(f"{PACKAGE}.origin")
    assert "SECRET" not in record
    assert json.loads(record)["total"] == len(CONTENT)
    assert talk.system.status(f"{PACKAGE}.origin").st_mode & 0o777 == 0o600
