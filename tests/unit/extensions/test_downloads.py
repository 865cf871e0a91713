"""Extensions 12.6, as far as this room goes: packages, archives, versions. Channels are the fabric's tests."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, pack, single
from waagent.errors import FabricUnreachable, MachineError
from waagent.extensions import downloads, version
from waagent.extensions.apply import is_processed
from waagent.extensions.packages import Release
from waagent.fabric.desired import Handler
from waagent.machine.archive import ArchiveInvalid, Limits, unpack
from waagent.system import System
from waagent.system.clock import Clock

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"


@pytest.mark.row("extensions", 79)
def test_79_nothing_to_be_had(bed: Bed) -> None:
    bed.unreachable.add(NAME)
    bed.process(single(NAME))
    assert (bed.entry(NAME)["status"], bed.entry(NAME)["code"]) == ("NotReady", -1)
    assert "[ExtensionError]" in bed.entry(NAME)["formattedMessage"]["message"]
    bed.unreachable.clear()
    bed.publish_raw(NAME, "1.0.0", b"nonsense")
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == 1001
    left = [str(path.relative_to(bed.layout.lib)) for path in Path(bed.layout.lib).rglob("*") if path.is_file()]
    assert all("/config/Handler" in path or path.startswith("extensions/") for path in left), left


@pytest.mark.row("extensions", 80, 81)
def test_80_81_a_truncated_package_leaves_no_tree(bed: Bed) -> None:
    content = bed.publish(NAME, "1.0.0")
    bed.publish_raw(NAME, "1.0.0", content[: len(content) // 2])
    Path(bed.layout.package(NAME, "1.0.0")).write_bytes(content[:40])  # left by a kill
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == 1001
    assert not Path(bed.layout.manifest(NAME, "1.0.0")).exists()
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()
    bed.publish_raw(NAME, "1.0.0", content)
    bed.process(single(NAME))
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("extensions", 82)
def test_82_a_package_of_the_image_is_used_and_kept(bed: Bed) -> None:
    content = bed.publish(NAME, "1.0.0")
    staged = Path(bed.layout.package(NAME, "1.0.0"))
    staged.write_bytes(content)
    bed.process(single(NAME))
    assert (bed.fetched, bed.verbs()) == ([], ["install", "enable"])
    assert staged.exists()
    bed.process(single(NAME, state="uninstall"))
    assert not staged.exists()


@pytest.mark.row("extensions", 83)
def test_83_a_bad_package_of_the_image_is_deleted(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    Path(bed.layout.package(NAME, "1.0.0")).write_bytes(b"bad")
    bed.process(single(NAME))
    assert bed.fetched == [f"{NAME} 1.0.0"]
    assert bed.entry(NAME)["status"] == "Ready"
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()


@pytest.mark.row("extensions", 86)
def test_86_a_nested_manifest_with_bom_is_copied_to_the_root(bed: Bed) -> None:
    body = {f"{verb}Command": "sub/x.sh" for verb in ("install", "uninstall", "update", "enable", "disable")}
    text = b"\xef\xbb\xbf" + json.dumps([{"handlerManifest": body}]).encode()
    bed.publish_raw(NAME, "1.0.0", pack({"sub/HandlerManifest.json": text, "sub/x.sh": b"#!/bin/sh\n"}))
    bed.process(single(NAME))
    assert bed.entry(NAME)["status"] == "Ready"
    assert Path(bed.layout.manifest(NAME, "1.0.0")).read_bytes()[:1] == b"["


@pytest.mark.row("extensions", 87)
def test_87_no_manifest_in_the_package(bed: Bed) -> None:
    bed.publish_raw(NAME, "1.0.0", pack({"x.sh": b""}))
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == -1
    assert "HandlerManifest.json" in bed.entry(NAME)["formattedMessage"]["message"]


@pytest.mark.parametrize("text", [b"{}", b"[]", b"nonsense", b'[{"handlerManifest": null}]', b"\xff"])
def test_a_manifest_that_cannot_be_used(bed: Bed, text: bytes) -> None:
    bed.publish_raw(NAME, "1.0.0", pack({"HandlerManifest.json": text}))
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == 1003


@pytest.mark.row("extensions", 89)
def test_89_the_highest_version_that_matches(bed: Bed) -> None:
    for one in ("4.0.0.0", "4.0.0.1", "4.1.0.0", "5.0"):
        bed.publish(NAME, one)
    bed.process(single(NAME, "4.0"))
    assert bed.entry(NAME)["handlerVersion"] == "4.0.0.1"


def test_no_location_for_the_package(bed: Bed) -> None:
    from waagent.extensions.packages import Release

    bed.publish(NAME, "1.0.0")
    bed.releases = lambda handler: [Release("1.0.0", ())]  # type: ignore[method-assign]
    bed.process(single(NAME))
    assert bed.entry(NAME)["code"] == -1
    assert "[ExtensionDownloadError]" in bed.entry(NAME)["formattedMessage"]["message"]


def test_an_installed_handler_is_enabled_while_its_manifest_is_out_of_reach(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    bed.ran()
    bed.unreachable.add(NAME)
    assert not bed.process(single(NAME, sequence=1)).failed
    assert bed.verbs() == ["enable"]


def test_what_an_earlier_attempt_left_does_not_stay_but_for_its_records(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"install": "exit 1"}, extra={"old.txt": b"1"})
    bed.process(single(NAME))
    (bed.base(NAME, "1.0.0") / "mrseq").write_text("4")
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert not (bed.base(NAME, "1.0.0") / "old.txt").exists()
    assert (bed.base(NAME, "1.0.0") / "mrseq").read_text() == "4"
    assert [name for name in os.listdir(bed.layout.lib) if name.startswith(".")] == []


@pytest.mark.parametrize(
    "request_,candidate,fits",
    [
        ("4.0", "4.0.0.1", True),
        ("1.0.0", "1.0", False),
        ("1.9.1", "1.9.1.5", True),
        ("1.9.1", "1.9.2", False),
        ("1", "1.0.0", True),
    ],
)
def test_matching(request_: str, candidate: str, fits: bool) -> None:
    assert version.matches(request_, candidate) is fits


def test_order_of_versions() -> None:
    mixed = ["1.10.0", "1.9.1", "1.0", "1.0.0rc1", "1.0alpha", "1.0beta2", "1.0beta"]
    assert sorted(mixed, key=version.key) == [
        "1.0alpha",
        "1.0beta",
        "1.0beta2",
        "1.0.0rc1",
        "1.0",
        "1.9.1",
        "1.10.0",
    ]
    assert version.key("1.0") == version.key("1.0.0.0")


# -- archives ------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> System:
    root = tmp_path / "root"
    root.mkdir()
    return System(root, journalling=False)


def raw_zip(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as package:
        for entry, data in entries:
            package.writestr(entry, data)
    return output.getvalue()


def entry(name: str, kind: int) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = kind << 16
    return made


def refused(system: System, content: bytes, limits: Limits | None = None) -> str:
    system.path("/p.zip").write_bytes(content)
    with pytest.raises(MachineError) as caught:
        unpack(system, "/p.zip", "/tree", limits)
    assert sorted(path.name for path in system.path("/").iterdir()) == ["p.zip"], "something was left behind"
    return caught.value.message


@pytest.mark.row("extensions", 84)
@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x", "C:x", "\\x", "a/" + "n" * 300, "x/.."],
    ids=["84-parent", "84-inner", "84-absolute", "backslash", "drive", "drive-relative", "root", "long", "end"],
)
def test_84_names_that_lead_out_are_refused(here: System, name: str) -> None:
    assert "refused" in refused(here, raw_zip((name, b"x")))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(here: System, kind: int) -> None:
    assert "refused" in refused(here, raw_zip((entry("x", kind | 0o777), b"/etc/passwd")))


def test_limits_of_an_archive(here: System) -> None:
    assert "entries" in refused(here, raw_zip(*[(f"f{n}", b"") for n in range(5)]), Limits(entries=4))
    assert "unpacked" in refused(here, raw_zip(("a", b"x" * 1001)), Limits(unpacked=1000))
    bomb = raw_zip(("a", b"\0" * 4_000_000))
    assert "200 times" in refused(here, bomb, Limits(ratio_from=1_000_000))


def test_a_header_that_lies_about_sizes(here: System) -> None:
    content = bytearray(raw_zip(("a", b"x" * 5000)))
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")  # the size in the directory
    assert "cannot unpack" in refused(here, bytes(content))


@pytest.mark.row("field-demands", 165)
def test_damage_is_found(here: System) -> None:
    content = bytearray(zipped := raw_zip(("a", os.urandom(5000))))
    content[200] ^= 0xFF
    assert "cannot unpack" in refused(here, bytes(content))
    assert "cannot unpack" in refused(here, zipped[:-30])
    encrypted = bytearray(zipped)
    at = encrypted.rindex(b"PK\x01\x02")
    encrypted[at + 8] |= 1
    assert "encrypted" in refused(here, bytes(encrypted))


def test_a_file_where_a_directory_is_needed(here: System) -> None:
    assert "cannot unpack" in refused(here, raw_zip(("a", b"1"), ("a/b", b"2")))


def test_modes_are_plain_and_the_tree_appears_at_once(here: System) -> None:
    here.path("/p.zip").write_bytes(
        raw_zip((entry("bin/x", stat.S_IFREG | 0o4777), b"x"), (entry("d/", stat.S_IFDIR | 0o777), b""))
    )
    assert unpack(here, "/p.zip", "/tree") == 1
    assert stat.S_IMODE(here.status("/tree/bin/x").st_mode) == 0o644
    assert here.is_directory("/tree/d")
    with pytest.raises(ArchiveInvalid):
        here.path("/p.zip").write_bytes(b"")
        unpack(here, "/p.zip", "/other")


def test_packages_are_fetched_ahead_and_a_slow_one_keeps_only_itself_waiting(bed: Bed) -> None:
    import threading

    slow, quick = "Contoso.Test.Slow", "Contoso.Test.Quick"
    bed.publish(slow, "1.0.0")
    bed.publish(quick, "1.0.0")
    go_on = threading.Event()
    releases = bed.releases

    def stalling(handler: object) -> list[Release]:
        if getattr(handler, "name", "") == slow:
            assert go_on.wait(10), "the quick handler was kept waiting"
        return list(releases(handler))  # type: ignore[arg-type]

    bed.releases = stalling  # type: ignore[method-assign]
    announce = bed.events.append

    class Seen(list):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            go_on.set()
            announce(item)  # type: ignore[arg-type]

    bed.events = Seen()
    bed.process(single(quick), single(slow))
    assert bed.ran()[0] == f"install {quick}-1.0.0 0 -"
    assert [bed.entry(name)["status"] for name in (quick, slow)] == ["Ready", "Ready"]
    assert [name for name in os.listdir(bed.layout.lib) if name.startswith(".") or name.endswith(".zip")] == []


def test_what_a_killed_process_fetched_is_swept_away(bed: Bed) -> None:
    for left in (f".{NAME}-1.0.0.fetched", f".{NAME}-1.0.0.fetched.part"):
        Path(bed.layout.lib, left).write_bytes(b"x")
    os.makedirs(f"{bed.layout.lib}/.{NAME}-1.0.0.stale/config")
    os.makedirs(f"{bed.layout.lib}/.other")
    bed.process()
    assert sorted(os.listdir(bed.layout.lib)) == [".other", "extensions"]


@pytest.mark.row("field-demands", 143)
def test_row_143_a_download_that_fails_is_not_repeated_for_ever(bed: Bed) -> None:
    bed.publish_raw(NAME, "1.0.0", b"no archive")
    desired = bed.desired(single(NAME))
    bed.engine().process(desired)
    assert is_processed(bed.system, bed.layout, desired.identity)  # so no worker fetches it again in this boot
    assert bed.entry(NAME)["code"] == 1001
    tries = len(bed.fetched)
    bed.process(single(NAME, "1.0.0", 1))
    assert len(bed.fetched) == 2 * tries


class Later(Clock):
    """The machine's clock, so many seconds ahead."""

    ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)


@pytest.fixture
def clock(bed: Bed) -> Later:
    clock = Later()
    bed.system = System("/", clock=clock, journalling=False)
    return clock


def fetches(bed: Bed, handler: Handler, only: str = "") -> int:
    """How often another goal state with this handler fetches its package."""
    before = len(bed.fetched)
    bed.engine().process(bed.desired(handler), only=only)
    return len(bed.fetched) - before


@pytest.mark.row("field-demands", 143)
@pytest.mark.parametrize("kind", ["no archive", "install fails"])
def test_row_143_what_is_never_installed_is_fetched_ever_more_rarely(bed: Bed, clock: Later, kind: str) -> None:
    bed.publish(NAME, "1.0.0", {"install": "exit 3"})
    if kind == "no archive":
        bed.publish_raw(NAME, "1.0.0", b"no archive")
    bed.publish(NAME, "1.1.0")
    assert [fetches(bed, single(NAME)) for _ in range(downloads.FREE + 2)] == [1] * downloads.FREE + [0, 0]
    message = bed.entry(NAME)["formattedMessage"]["message"]
    assert bed.entry(NAME)["code"] == 1001
    assert "was fetched 5 times within a day and could not be installed; before 20" in message
    assert f"waagent extensions retry {NAME}" in message
    assert ("install ended with exit code 3" if kind == "install fails" else "it is no zip archive") in message
    for pause in (300, 600, 1200, 2400, 4800, 9600, 19200, 21600):  # the last is as long as they get
        clock.ahead += pause - 60
        assert fetches(bed, single(NAME)) == 0
        clock.ahead += 61
        assert fetches(bed, single(NAME)) == 1
    assert fetches(bed, single(NAME, "1.1.0")) == 1  # another version is another package
    assert bed.entry(NAME)["status"] == "Ready"
    assert not downloads_of(bed)


@pytest.mark.row("field-demands", 143)
def test_row_143_the_pause_ends_when_somebody_asks_and_after_a_day(bed: Bed, clock: Later) -> None:
    bed.publish_raw(NAME, "1.0.0", b"no archive")
    for _ in range(downloads.FREE):
        fetches(bed, single(NAME))
    assert fetches(bed, single(NAME)) == 0
    assert fetches(bed, single(NAME), only=NAME) == 1
    for _ in range(downloads.FREE):
        fetches(bed, single(NAME))
    assert fetches(bed, single(NAME)) == 0
    clock.ahead += downloads.FORGOTTEN
    assert fetches(bed, single(NAME)) == 1
    assert downloads_of(bed) == {f"{NAME} 1.0.0": 1}
    clock.ahead -= 2 * downloads.FORGOTTEN  # a clock that was set back is no reason to wait
    assert fetches(bed, single(NAME)) == 1


@pytest.mark.row("field-demands", 143)
def test_row_143_a_network_that_is_down_makes_no_pause(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.publish(NAME, "1.0.0")
    asked: list[str] = []

    def nobody(handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        asked.append(zip_path)
        raise FabricUnreachable("no route to host")

    with monkeypatch.context() as down:
        down.setattr(bed, "fetch", nobody)
        for _ in range(3 * downloads.FREE):
            bed.process(single(NAME))
    assert len(asked) == 3 * downloads.FREE
    assert fetches(bed, single(NAME)) == 1
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("field-demands", 143)
def test_row_143_bytes_of_a_day_are_limited_for_each_handler(
    bed: Bed, clock: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(bed.publish(NAME, "1.0.0", {"install": "exit 3"}))
    for version_ in ("1.0.1", "1.0.2"):
        bed.publish_raw(NAME, version_, bed.published[NAME]["1.0.0"])
    bed.publish(NAME, "1.1.0")
    bed.publish(OTHER, "1.0.0", {"install": "exit 3"})
    monkeypatch.setattr(downloads, "DAILY", 3 * size)
    assert [fetches(bed, single(NAME)) for _ in range(2)] == [1, 1]
    clock.ahead += 3600
    assert [fetches(bed, single(NAME, number)) for number in ("1.0.1", "1.0.2", "1.0.1")] == [1, 1, 0]
    message = bed.entry(NAME)["formattedMessage"]["message"]
    assert f"is one of those of which {4 * size} bytes were fetched within a day" in message
    assert "install ended with exit code 3" in message
    assert f"waagent extensions retry {NAME}" in message
    assert fetches(bed, single(OTHER)) == 1  # another handler is not to blame
    clock.ahead += downloads.FORGOTTEN - 3600 - 60  # the first two lie almost a day back
    assert fetches(bed, single(NAME, "1.0.1")) == 0
    clock.ahead += 61
    assert fetches(bed, single(NAME, "1.0.1")) == 1
    assert fetches(bed, single(NAME, "1.0.2")) == 0
    assert fetches(bed, single(NAME, "1.0.2"), only=NAME) == 1
    assert [fetches(bed, single(NAME, "1.0.2")) for _ in range(3)] == [1, 1, 0]
    assert fetches(bed, single(NAME, "1.1.0")) == 1  # it may be the repair
    assert bed.entry(NAME)["status"] == "Ready"
    assert not [key for key in downloads_of(bed) if NAME in key]


@pytest.mark.row("field-demands", 143)
def test_row_143_the_bytes_of_every_location_count(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.publish_raw(NAME, "1.0.0", b"no archive")
    fetch = bed.fetch

    def twice(handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        with pytest.raises(FabricUnreachable):
            fetch(handler, release, zip_path, accept)
        fetch(handler, release, zip_path, accept)

    monkeypatch.setattr(bed, "fetch", twice)
    monkeypatch.setattr(downloads, "DAILY", 2 * len(b"no archive"))
    assert (fetches(bed, single(NAME)), downloads_of(bed)) == (2, {f"{NAME} 1.0.0": 1})
    assert fetches(bed, single(NAME)) == 0


@pytest.mark.row("field-demands", 143)
@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1, "b": [1], "c": ["x", null, ""], "d": [1e999, 1, ""]}', b"\xff"])
def test_a_count_that_cannot_be_read_counts_for_nothing(bed: Bed, content: bytes) -> None:
    os.makedirs(bed.layout.own)
    Path(bed.layout.downloads).write_bytes(content)
    bed.publish(NAME, "1.0.0")
    assert fetches(bed, single(NAME)) == 1
    assert bed.entry(NAME)["status"] == "Ready"


def downloads_of(bed: Bed) -> dict[str, int]:
    """How often each package is known to have been fetched."""
    return {key: one[0] for key, one in json.loads(Path(bed.layout.downloads).read_text()).items()}


@pytest.mark.row("field-demands", 4)
def test_row_4_nothing_of_a_package_stays_but_what_was_unpacked(bed: Bed) -> None:
    for number in ("1.0.0", "1.1.0"):
        bed.publish(NAME, number)
        bed.process(single(NAME, number))
        kept = sorted(file.name for file in Path(bed.layout.lib).iterdir() if NAME in file.name)
        assert kept == [f"{NAME}-{number}"]


@pytest.mark.row("field-demands", 74)
def test_row_74_what_bears_no_mark_of_an_agent_is_never_deleted(bed: Bed) -> None:
    foreign = bed.base("Other.Agent.Tool", "2.0.0")
    (foreign / "config").mkdir(parents=True)
    (foreign / "HandlerManifest.json").write_text("[]")
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    assert (foreign / "HandlerManifest.json").exists()
