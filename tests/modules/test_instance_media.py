"""The provisioning document gets from the disc, or from an image builder's file, into the facts."""

from __future__ import annotations

import os

import pytest

from tests.modules.conftest import VM_ID
from tests.unit.instance.documents import KEY, document
from waagent.errors import MediaMissing, OvfInvalid
from waagent.instance import ovf

MODULE = "local/20-instance-media.py"
COPY = "/var/lib/waagent/ovf-env.xml"
MOUNT = ("mount", "-o", "ro,nosuid,nodev,noexec", "-t", "udf,iso9660,vfat", "/dev/sr0", "/mnt/cdrom/secure")
UMOUNT = ("umount", "/mnt/cdrom/secure")
OTHER = "11111111-2222-3333-4444-555555555555"


class Slept:
    """A clock whose hours pass at once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.naps.append(seconds)

    def stamp(self) -> str:
        return "2026-11-23T00:00:00Z"


@pytest.fixture(autouse=True)
def clock(ctx):
    ctx.system.clock = Slept()
    return ctx.system.clock


@pytest.fixture
def disc(script, put):
    """A disc in /dev/sr0 that mount makes readable."""

    def insert(content: bytes = document(password="pass-of-12345"), name: str = "ovf-env.xml") -> None:
        put("/dev/sr0")
        place = f"/mnt/cdrom/secure/{name}"
        script.on(*MOUNT, effect=lambda: put(place, content))
        script.on(*UMOUNT)

    return insert


def test_the_disc_is_read_and_let_go_of(module, ctx, script, disc):
    disc()
    outcome = module.run(ctx)
    assert (outcome.kind, outcome.message) == ("changed", "read ovf-env.xml from /dev/sr0")
    assert ctx.published["ovf"]["user_name"] == "operator1"
    assert ctx.published_secrets["ovf"] == {"password": "pass-of-12345"}
    assert ctx.published["media"] == {"device": "/dev/sr0", "from": "disc"}
    assert script.ran == [MOUNT, UMOUNT]


@pytest.mark.wire("8.2/ovf-env.xml")
def test_the_copy_is_redacted_and_only_roots(module, ctx, disc):
    disc()
    module.run(ctx)
    kept = ctx.system.path(COPY)
    assert b"pass-of-12345" not in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "pass-of-12345" not in str(ctx.system.effects)


@pytest.mark.row("field-demands", 99)
@pytest.mark.row("provisioning", 19)
def test_row_19_no_device_is_an_error_that_lists_what_there_is(module, ctx, put, clock):
    put("/dev/null")
    with pytest.raises(MediaMissing, match=r"no device in /dev is called sr\[0-9\].*there are: null"):
        module.run(ctx)
    assert not ctx.published
    assert clock.seconds == pytest.approx(25, abs=1)


@pytest.mark.row("provisioning", 20)
def test_row_20_a_disc_that_cannot_be_mounted_is_tried_every_five_seconds(module, ctx, script, put, clock):
    put("/dev/sr0")
    script.on(*MOUNT, status=32, stderr="mount: no medium found on /dev/sr0.")
    with pytest.raises(MediaMissing, match=r"/dev/sr0: .*no medium found"):
        module.run(ctx)
    assert clock.naps == [5.0] * 5


@pytest.mark.row("field-demands", 98)
def test_a_disc_that_becomes_readable_after_ten_seconds_is_read(module, ctx, script, put, clock):
    put("/dev/sr0")
    tries = []

    def mount() -> None:
        tries.append(1)
        if len(tries) >= 4:
            put("/mnt/cdrom/secure/ovf-env.xml", document())

    script.on(*MOUNT, effect=mount)
    script.on(*UMOUNT)
    module.run(ctx)
    assert clock.seconds == 10


@pytest.mark.row("field-demands", 97)
@pytest.mark.row("provisioning", 21)
def test_row_21_a_disc_mounted_elsewhere_is_read_there_and_stays(module, ctx, script, put):
    put("/dev/sr0")
    put("/media/my disc/ovf-env.xml", document())
    put("/proc/self/mounts", "/dev/sr0 /media/my\\040disc udf ro 0 0\n")
    module.run(ctx)
    assert ctx.published["ovf"]["host_name"] == "web-01"
    assert script.ran == []


@pytest.mark.row("provisioning", 22)
def test_row_22_a_disc_without_the_file_is_named(module, ctx, disc):
    disc(b"x", "other.xml")
    with pytest.raises(MediaMissing, match=r"/dev/sr0: there is no ovf-env\.xml on it"):
        module.run(ctx)


def test_the_second_device_is_read_when_the_first_is_not_it(module, ctx, script, put):
    put("/dev/sr0")
    put("/dev/sr1")
    script.on(*MOUNT, status=32, stderr="wrong fs type")
    second = (*MOUNT[:-2], "/dev/sr1", MOUNT[-1])
    script.on(*second, effect=lambda: put("/mnt/cdrom/secure/ovf-env.xml", document()))
    script.on(*UMOUNT)
    module.run(ctx)
    assert ctx.published["media"]["device"] == "/dev/sr1"


@pytest.mark.row("provisioning", 24)
def test_row_24_a_malformed_document_fails_at_once(module, ctx, disc, clock):
    disc(b"<Environment")
    with pytest.raises(OvfInvalid):
        module.run(ctx)
    assert clock.seconds == 0


def test_a_drive_with_two_names_is_read_once(ctx, put):
    from waagent.provisioning import media

    put("/dev/sr0")
    os.symlink("sr0", ctx.system.path("/dev") / "cdrom0")
    assert media.devices(ctx.system, ctx.profile) == ["/dev/sr0"]


def test_a_drive_with_two_names_is_read_once_on_the_running_system(tmp_path, monkeypatch):
    """In a fake root links are gone before names are compared; here they are not."""
    from types import SimpleNamespace

    from waagent.provisioning import media
    from waagent.system import System

    (tmp_path / "sr0").touch()
    (tmp_path / "cdrom0").symlink_to("sr0")
    running, profile = System("/"), SimpleNamespace(texts=lambda key: ("*cdrom*", "*sr*"))
    monkeypatch.setattr(running, "listing", lambda path: [f"..{tmp_path}/cdrom0", f"..{tmp_path}/sr0"])
    assert media.devices(running, profile) == [f"/dev/..{tmp_path}/cdrom0"]


def test_what_an_image_builder_left_is_used_and_not_touched_yet(module, ctx, put):
    put(COPY, document(password="pass-of-12345"), 0o600)
    assert module.run(ctx).kind == "changed"
    assert ctx.published_secrets["ovf"]["password"] == "pass-of-12345"
    assert ctx.published["media"] == {"device": None, "from": "copy"}
    assert b"pass-of-12345" in ctx.system.path(COPY).read_bytes()


def test_the_disc_wins_over_a_file(module, ctx, disc, put):
    disc()
    put(COPY, document(host="old"))
    module.run(ctx)
    assert ctx.published["ovf"]["host_name"] == "web-01"


@pytest.mark.parametrize("kept", [
    ovf.redact(document(password="a-b-c-d-e-f"), f"read for VM {OTHER}"),
    ovf.redact(document(), f"read for VM {OTHER}"),
    document(password="*"), document(password="REDACTED"),
])  # fmt: skip
def test_a_document_of_another_life_is_never_used(module, ctx, put, kept):
    put(COPY, kept)
    outcome = module.run(ctx)
    assert outcome.kind == "skipped"
    assert ctx.fact("provisioning.by") == "already"
    assert "ovf" not in ctx.published


def test_a_file_older_than_the_marker_of_another_vm_is_left_over(module, ctx, put):
    os.utime(put(COPY, document()), (1000, 1000))
    put("/var/lib/waagent/provisioned", OTHER)
    module.run(ctx)
    assert ctx.fact("provisioning.by") == "already"


def test_a_file_newer_than_the_marker_of_another_vm_is_for_this_one(module, ctx, put):
    os.utime(put("/var/lib/waagent/provisioned", OTHER), (1000, 1000))
    put(COPY, document())
    module.run(ctx)
    assert ctx.published["ovf"]["host_name"] == "web-01"


def test_a_disk_attached_to_a_new_vm_without_a_disc_stays_as_it_is(module, ctx, clock):
    ctx.facts["provisioning"]["previous"] = OTHER
    outcome = module.run(ctx)
    assert outcome.kind == "skipped" and OTHER in outcome.message
    assert ctx.fact("provisioning.by") == "already"
    assert clock.seconds == pytest.approx(25, abs=1)


LEFT_OVER = {
    "of another VM": ovf.redact(document(host="old", password="a-b-c-d-e-f"), f"read for VM {OTHER}"),
    "of another VM, without a password from the start": ovf.redact(document(host="old"), f"read for VM {OTHER}"),
    "of another agent": document(host="old", password="REDACTED"),
    "of this VM, whose password is not known any more": ovf.redact(
        document(host="old", password="a-b-c-d-e-f"), f"read for VM {VM_ID}"
    ),
    "damaged": b"<Environment",
}


@pytest.mark.row("field-demands", 98, 99)
@pytest.mark.parametrize("vm_id", [VM_ID, ""])
@pytest.mark.parametrize("kept", LEFT_OVER)
def test_a_left_over_copy_makes_no_late_disc_too_late(module, ctx, script, put, clock, kept, vm_id):
    ctx.facts["vm"]["id"] = vm_id
    put(COPY, LEFT_OVER[kept])
    put("/dev/sr0")
    tries = []

    def mount() -> None:
        tries.append(1)
        if len(tries) >= 4:
            put("/mnt/cdrom/secure/ovf-env.xml", document(password="pass-of-12345"))

    script.on(*MOUNT, effect=mount)
    script.on(*UMOUNT)
    assert module.run(ctx).message == "read ovf-env.xml from /dev/sr0"
    assert clock.seconds == 10
    assert ctx.fact("provisioning.by") == "waagent"
    assert ctx.published_secrets["ovf"] == {"password": "pass-of-12345"}


def test_this_vms_copy_without_its_password_is_what_remains_without_a_disc(module, ctx, put):
    put(COPY, LEFT_OVER["of this VM, whose password is not known any more"])
    assert module.run(ctx).kind == "changed"
    assert ctx.published["ovf"]["host_name"] == "old" and not ctx.published_secrets.get("ovf")
    assert ctx.notes == ["the medium is gone, and the copy of what it said has no password: none is set"]


def test_a_damaged_file_is_named_when_no_disc_comes(module, ctx, put):
    put(COPY, b"<Environment")
    with pytest.raises(OvfInvalid):
        module.run(ctx)


@pytest.mark.row("field-demands", 55)
def test_a_machine_outside_of_azure_without_a_medium_is_left_alone_at_once(module, ctx, clock):
    ctx.facts["vm"]["azure"] = False
    assert module.run(ctx).kind == "skipped"
    assert ctx.fact("provisioning.by") == "nobody"
    assert clock.seconds == 0


def test_cut_off_and_run_again_it_reads_the_disc_again(module, ctx, disc):
    disc(document(password="pass-of-12345", keys=(("/home/x/.ssh/authorized_keys", "", KEY),)))
    module.run(ctx)
    ctx.published.clear()
    ctx.published_secrets.clear()
    module.run(ctx)
    assert ctx.published_secrets["ovf"]["password"] == "pass-of-12345"
    assert ovf.note_of(ctx.system.path(COPY).read_bytes()) == f"read for VM {VM_ID}"
