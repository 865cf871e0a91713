"""When the facts are safe, the medium goes."""

from __future__ import annotations

from tests.unit.instance.documents import document
from waagent.instance import ovf

MODULE = "local/90-release-media.py"
COPY = "/var/lib/waagent/ovf-env.xml"


def test_the_disc_is_ejected(module, ctx, script, put, program):
    ctx.facts["media"] = {"device": "/dev/sr0", "from": "disc"}
    put("/dev/sr0")
    program("eject")
    script.on("eject", "/dev/sr0")
    assert module.run(ctx).kind == "changed"


def test_a_drive_that_will_not_open_is_no_failure(module, ctx, script, put, program):
    ctx.facts["media"] = {"device": "/dev/sr0", "from": "disc"}
    put("/dev/sr0")
    program("eject")
    script.on("eject", "/dev/sr0", status=1, stderr="eject: unable to eject")
    assert module.run(ctx).kind == "unchanged"


def test_a_virtio_disk_is_not_ejected(module, ctx, put, program):
    ctx.facts["media"] = {"device": "/dev/vdb", "from": "disc"}
    put("/dev/vdb")
    program("eject")
    assert module.run(ctx).kind == "unchanged"


def test_the_image_builders_file_loses_its_password_once(module, ctx, put):
    ctx.facts["media"] = {"device": None, "from": "copy"}
    kept = put(COPY, document(password="pass-of-12345"), 0o644)
    assert module.run(ctx).kind == "changed"
    assert ovf.parse(kept.read_bytes()).redacted
    assert kept.stat().st_mode & 0o777 == 0o600
    assert module.run(ctx).kind == "unchanged"
