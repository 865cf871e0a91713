"""Extensions 12.6 in a booted guest: packages that do not come, come broken, or find no room."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from bed import Bed
from bed.scene import GOOD, LIB, PYTHON, WORKER, Day, Scene, base, pack, package, single


@pytest.fixture(scope="module")
def scene(bed: Bed) -> Scene:
    made = Scene(bed)
    made.offer(GOOD)
    return made


def manifest_of(scene: Scene, name: str, *places: str) -> str:
    """The address of a manifest that offers version 1.0.0 at these places, in this order."""
    uris = "".join(f"<Uri>{place}</Uri>" for place in places)
    text = f"<Plugin><Version>1.0.0</Version><Uris>{uris}</Uris></Plugin>"
    content = f"<PluginVersionManifest><Plugins>{text}</Plugins></PluginVersionManifest>"
    return scene.simulator.put_file(f"{name}.xml", content.encode())


@pytest.mark.row("extensions", 74, 76)
def test_74_76_what_does_not_come_directly_comes_through_the_host(scene: Scene) -> None:
    first, later = "Contoso.Shell.D74", "Contoso.Python.D76"
    scene.offer(first)
    scene.offer(later, program=PYTHON)
    scene.simulator.requests.clear()
    scene.simulator.fault("/blob/*_manifest.xml", service="blob", status=503)
    day = scene.process(single(first), single(GOOD))
    assert day.verdict(first) == ("Ready", 0)
    assert scene.fetched(first) == ["host_plugin"]  # the channel that worked is tried first
    scene.simulator.clear_faults()
    unplugged = scene.simulator.fault("/blob/*", service="blob", reset=True)
    day = scene.process(single(first), single(later), single(GOOD))
    assert day.verdict(later) == ("Ready", 0)
    assert day.is_good()
    scene.simulator.clear_faults(unplugged.number)
    scene.guest.succeed("rm /run/waagent/download-channel")


@pytest.mark.row("extensions", 77, 78)
@pytest.mark.parametrize("answer", [{"answer": "stale"}, {"status": 400}], ids=["77-moved", "78-cache"])
def test_77_78_a_host_that_stumbles_is_asked_again(scene: Scene, answer: dict[str, Any]) -> None:
    name = f"Contoso.Shell.D{''.join(answer)}"
    scene.offer(name)
    unplugged = scene.simulator.fault("/blob/*", service="blob", method="GET", reset=True)
    stumbles = scene.simulator.fault("/extensionArtifact", count=1, **answer)
    day = scene.process(single(name), single(GOOD))
    for fault in (unplugged, stumbles):
        scene.simulator.clear_faults(fault.number)
    scene.guest.succeed("rm /run/waagent/download-channel")
    assert stumbles.met == 1
    assert (day.verdict(name), day.is_good()) == (("Ready", 0), True)


@pytest.mark.row("extensions", 81)
def test_81_a_worker_is_killed_in_the_middle_of_a_download(scene: Scene) -> None:
    name = "Contoso.Python.D81"
    scene.offer(name, program=PYTHON, extra={"ballast": random.randbytes(3000)})
    trickle = scene.simulator.fault(f"*/{name}__1.0.0", drip=0.01)
    label = scene.machine.publish([single(name), single(GOOD)])
    scene.guest.wait_until_succeeds(f"test -e {LIB}/.{name}-1.0.0.fetched.part", 30)
    scene.guest.succeed(f"systemctl kill -s KILL {WORKER}")
    scene.simulator.clear_faults(trickle.number)
    scene.guest.succeed("systemctl restart waagent.service")
    day = scene.settled(label)
    assert (day.ran(name)[-2:], day.verdict(name)) == ([f"{verb} {name}-1.0.0 0 -" for verb in ("install", "enable")], ("Ready", 0))
    assert scene.guest.succeed(f"ls -A {LIB} | grep {name}").split() == [f"{name}-1.0.0"]


MOVED, GONE, NOWHERE, CUT = "Contoso.Shell.D75", "Contoso.Shell.D79", "Contoso.Python.D79", "Contoso.Python.D80"
STAGED, SPOILT, CLIMBS, NESTED = "Contoso.Shell.D82", "Contoso.Shell.D83", "Contoso.Shell.D84", "Contoso.Shell.D86"
EMPTY, ROOTED, NEWEST = "Contoso.Shell.D87", "Contoso.Python.D84", "Contoso.Shell.D89"


@pytest.fixture(scope="module")
def loaded(scene: Scene) -> Day:
    put_file = scene.simulator.put_file
    good, lost = put_file("good.zip", package()), scene.simulator.blob_url + "/files/lost"
    moved = [lost + ".xml", manifest_of(scene, MOVED, lost + ".zip", good)]
    gone = [manifest_of(scene, GONE, lost + "1.zip", lost + "2.zip")]
    whole = package(PYTHON)
    cut = [manifest_of(scene, CUT, put_file("cut1.zip", whole), put_file("cut2.zip", whole))]
    # Whichever of the two is asked for first gives half of it. What is lost is lost for the host, too.
    scene.simulator.fault("/blob/files/cut*.zip", count=1, transform=lambda body: body[: len(body) // 2])
    scene.simulator.fault("/extensionArtifact", status=404)
    scene.put(f"{LIB}/{STAGED}__1.0.0.zip", scene.offer(STAGED, extra={"staged": b"1"}))
    scene.offer(SPOILT)
    scene.put(f"{LIB}/{SPOILT}__1.0.0.zip", whole[:99])
    scene.offer(CLIMBS, extra={"../../../../var/tmp/climbed": b"1"})
    scene.offer(ROOTED, program=PYTHON, extra={"/var/tmp/climbed": b"1"})
    body = {f"{verb}Command": "sub/x.sh" for verb in ("install", "uninstall", "update", "enable", "disable")}
    text = b"\xef\xbb\xbf" + json.dumps([{"handlerManifest": body}]).encode()
    scene.simulator.add_package(pack({"sub/HandlerManifest.json": text, "sub/x.sh": b"#!/bin/sh\n"}), NESTED, "1.0.0")
    scene.simulator.add_package(pack({"x.sh": b"#!/bin/sh\n"}), EMPTY, "1.0.0")
    for version in ("4.0.0.0", "4.0.0.1", "4.1.0.0", "5.0"):
        scene.offer(NEWEST, version)
    scene.simulator.requests.clear()
    wanted = [single(name) for name in (STAGED, SPOILT, CLIMBS, ROOTED, NESTED, EMPTY, GOOD)]
    wanted += [single(MOVED, locations=moved), single(GONE, locations=gone), single(CUT, locations=cut)]
    day = scene.process(*wanted, single(NOWHERE, locations=[lost + "3.xml"]), single(NEWEST, "4.0"))
    scene.simulator.clear_faults()
    return day


@pytest.mark.row("extensions", 75)
def test_75_the_second_address_is_good(loaded: Day) -> None:
    assert (loaded.verbs(MOVED), loaded.verdict(MOVED)) == (["install", "enable"], ("Ready", 0))


@pytest.mark.row("extensions", 79)
def test_79_nothing_to_be_had(scene: Scene, loaded: Day) -> None:
    for name, code, kind in ((GONE, 1001, "[ExtensionDownloadError]"), (NOWHERE, -1, "[ExtensionError]")):
        assert (loaded.ran(name), loaded.verdict(name)) == ([], ("NotReady", code))
        assert kind in loaded.message(name)
        left = scene.guest.succeed(f"cd {LIB} && find . -path ./history -prune -o -path '*{name}*' -type f -print").split()
        assert set(left) <= {f"./{name}-1.0.0/config/{file}" for file in ("HandlerState", "HandlerStatus")}
    assert loaded.is_good()


@pytest.mark.row("extensions", 80)
def test_80_half_a_package_is_not_used(scene: Scene, loaded: Day) -> None:
    assert (loaded.verbs(CUT), loaded.verdict(CUT)) == (["install", "enable"], ("Ready", 0))
    asked = sorted(one.target for one in scene.simulator.requests if one.target.startswith("/blob/files/cut"))
    assert asked == ["/blob/files/cut1.zip", "/blob/files/cut2.zip"]
    assert scene.guest.succeed(f"ls -A {LIB} | grep '^\\..*{CUT}' || true") == ""


@pytest.mark.row("extensions", 82, 83)
def test_82_83_packages_that_the_image_brought(scene: Scene, loaded: Day) -> None:
    for name in (STAGED, SPOILT):
        assert (loaded.verbs(name), loaded.verdict(name)) == (["install", "enable"], ("Ready", 0))
    assert (scene.fetched(STAGED), len(scene.fetched(SPOILT))) == ([], 1)
    assert scene.guest.exists(f"{base(STAGED)}/staged")
    assert not scene.guest.exists(f"{LIB}/{SPOILT}__1.0.0.zip")


@pytest.mark.row("extensions", 84)
@pytest.mark.parametrize("name", [CLIMBS, ROOTED])
def test_84_a_package_that_leads_out_of_its_directory(scene: Scene, loaded: Day, name: str) -> None:
    assert (loaded.ran(name), loaded.verdict(name)) == ([], ("NotReady", 1001))
    assert not scene.guest.exists("/var/tmp/climbed")
    assert scene.guest.succeed("find / -xdev -name climbed") == ""


@pytest.mark.row("extensions", 86, 87)
def test_86_87_where_the_manifest_is(scene: Scene, loaded: Day) -> None:
    assert loaded.verdict(NESTED) == ("Ready", 0)
    assert scene.guest.read(f"{base(NESTED)}/HandlerManifest.json")[0] == "["
    assert loaded.verdict(EMPTY) == ("NotReady", -1)
    assert "HandlerManifest.json" in loaded.message(EMPTY)


@pytest.mark.row("extensions", 89)
def test_89_the_highest_version_that_fits(loaded: Day) -> None:
    assert (loaded.entry(NEWEST)["handlerVersion"], loaded.verdict(NEWEST)) == ("4.0.0.1", ("Ready", 0))


@pytest.mark.row("extensions", 117, 118, 119)
def test_117_118_119_signatures_that_are_not_good_are_noted(scene: Scene) -> None:
    """The root that they are to lead up to is the administrator's."""
    folder = scene.bed.directory

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "root.pem", "-days", "1", "-subj", "/CN=Root")

    def sign(content: bytes) -> str:
        (folder / "zip").write_bytes(content)
        words = ["-signer", "root.pem", "-inkey", "key", "-outform", "DER", "-out", "signature"]
        openssl("cms", "-sign", "-binary", "-in", "zip", *words)
        return base64.b64encode((folder / "signature").read_bytes()).decode()

    scene.guest.write("/etc/waagent/extension-root.pem", (folder / "root.pem").read_bytes())
    conf = "/etc/waagent.conf.d/60-signatures.conf"
    scene.guest.write(conf, "Debug.EnableSignatureValidation=y\n")
    kinds = {"Good": "1.0.0", "Forged": "1.0.0", "Renamed": "9.9"}
    signing = {kind: {"publisher": "Contoso.Signed", "type": kind, "version": said} for kind, said in kinds.items()}
    content = {kind: scene.offer(f"Contoso.Signed.{kind}", signing=signing[kind]) for kind in kinds}
    content["Forged"] += b"x"
    day = scene.process(*(single(f"Contoso.Signed.{kind}", signature=sign(content[kind])) for kind in kinds))
    marked = {kind: scene.guest.exists(f"{base(f'Contoso.Signed.{kind}')}/package_validated") for kind in kinds}
    assert marked == {"Good": True, "Forged": False, "Renamed": False}
    assert {day.verdict(f"Contoso.Signed.{kind}") for kind in kinds} == {("Ready", 0)}
    log = scene.guest.read("/var/log/waagent.log")
    assert "Contoso.Signed.Forged: its signature is not good" in log
    assert "Contoso.Signed.Renamed: its signingInfo names version '9.9'" in log
    # An openssl as of version 1.0, which cannot leave the time out of account.
    old = '#!/bin/sh\ncase "$*" in *-no_check_time*) echo unknown option >&2; exit 1;; esac\nexec openssl "$@"\n'
    scene.guest.write("/usr/local/bin/old-openssl", old, 0o755)
    scene.guest.write(conf, "Debug.EnableSignatureValidation=y\nOS.OpensslPath=/usr/local/bin/old-openssl\n")
    unchecked = scene.offer("Contoso.Signed.Unchecked", signing={**signing["Good"], "type": "Unchecked"})
    day = scene.process(single("Contoso.Signed.Unchecked", signature=sign(unchecked)))
    scene.guest.succeed(f"rm {conf}")
    assert day.verdict("Contoso.Signed.Unchecked") == ("Ready", 0)
    assert not scene.guest.exists(f"{base('Contoso.Signed.Unchecked')}/package_validated")


@pytest.fixture
def small_disk(scene: Scene) -> Iterator[None]:
    """For a moment the agent's state lies on a file system of its own, with 80 MiB to spare."""
    scene.guest.succeed(f"mount -t tmpfs -o size=150m tmpfs /mnt && cp -a {LIB}/. /mnt && chmod 711 /mnt")
    scene.guest.succeed(f"head -c 70M /dev/zero > /mnt/ballast && mount --bind /mnt {LIB} && umount /mnt")
    yield
    scene.guest.succeed(f"umount -l {LIB}")


@pytest.mark.row("extensions", 85)
def test_85_a_package_that_is_too_large_for_the_disk(scene: Scene, small_disk: None) -> None:
    name = "Contoso.Shell.D85"
    # Bigger than what is free, and not packed so tightly that it counts as a bomb.
    scene.offer(name, extra={"ballast": bytes(90 * 1024 * 1024) + random.randbytes(1024 * 1024)})
    day = scene.process(single(name), single(GOOD))
    assert (day.ran(name), day.verdict(name)) == ([], ("NotReady", 1001))
    assert scene.guest.succeed(f"ls -A {LIB} | grep {name}").split() == [f"{name}-1.0.0"]
    assert scene.guest.succeed(f"ls -A {base(name)}").split() == ["config", "status"]
    assert day.is_good()
    scene.guest.succeed(f"rm {LIB}/ballast")
    assert scene.process(single(name), single(GOOD)).verdict(name) == ("Ready", 0)


FILLS_THE_DISK = """
if os.path.exists("../ballast"):
    try:
        with open("fill", "wb", 0) as file:
            while True:
                file.write(b"y" * 4096)
    except OSError:
        sys.exit(0)
"""


@pytest.mark.row("extensions", 126)
def test_126_a_handler_fills_the_disk(scene: Scene, small_disk: None) -> None:
    name = "Contoso.Python.D126"
    scene.offer(name, program=PYTHON, do={"enable": FILLS_THE_DISK})
    label = scene.machine.publish([single(name)])
    scene.guest.wait_until_succeeds(f"test -e {base(name)}/fill && ! systemctl is-active -q {WORKER}")
    assert scene.state(name) == "Installed"
    told = scene.machine.reports.extension(name)
    assert told is not None
    assert told["status"] == "NotReady" and "No space left on device" in told["formattedMessage"]["message"]
    log = scene.guest.read("/var/log/waagent.log")
    assert f"cannot write {base(name)}/config/HandlerState: No space left on device" in log
    scene.guest.succeed(f"rm {LIB}/ballast {base(name)}/fill")
    scene.settled(label)
    day = scene.process(single(name), single(GOOD))
    assert (day.verbs(name), day.verdict(name)) == (["enable"], ("Ready", 0))
    assert day.is_good()


def test_the_fabric_has_not_failed(scene: Scene) -> None:
    assert not scene.simulator.errors
