"""Extensions 9.5 and 12.8: packages that have to be signed, and what was installed before they had to be."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import POLICY, Bed, kill_before, multi, pack, policy_of, settings, single
from waagent.extensions.packages import Release
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Settings

NAME = "Contoso.Test.Probe"


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


@pytest.fixture
def sign(bed: Bed) -> Any:
    """Sign bytes with a certificate whose root lies where the agent looks."""
    folder = bed.folder / "keys"
    folder.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k",
        "-out",
        "c",
        "-days",
        "1",
        "-subj",
        "/CN=Root",
    )
    shutil.copy(folder / "c", Path(bed.layout.lib, "microsoft_root_certificate.pem"))

    def sign(content: bytes) -> str:
        (folder / "zip").write_bytes(content)
        openssl(
            "cms", "-sign", "-binary", "-in", "zip", "-signer", "c", "-inkey", "k", "-outform", "DER", "-out", "s"
        )
        return base64.b64encode((folder / "s").read_bytes()).decode()

    return sign


SIGNING = {"signingInfo": {"type": "probe", "publisher": "Contoso.Test", "version": "1.0.0"}}


@needs_openssl
def test_a_good_signature_leaves_its_mark(bed: Bed, sign: Any) -> None:
    bed.rules = Rules(check_signatures=True)
    content = bed.publish(NAME, "1.0.0", top=SIGNING)
    summary = bed.process(single(NAME, signature=sign(content)))
    assert Path(bed.layout.validated(NAME, "1.0.0")).read_bytes() == b""
    assert summary.notes == ()
    assert not list(Path(bed.layout.lib).glob("*_signature.pem"))


@pytest.mark.row("field-demands", 75)
@pytest.mark.row("extensions", 117, 118)
@needs_openssl
@pytest.mark.parametrize("case", ["117", "118", "unsigned", "off"])
def test_117_118_without_a_policy_a_bad_signature_is_noted_only(bed: Bed, sign: Any, case: str) -> None:
    bed.rules = Rules(check_signatures=case != "off")
    other = {"signingInfo": {**SIGNING["signingInfo"], "version": "9.9"}}
    content = bed.publish(NAME, "1.0.0", top=other if case == "118" else SIGNING)
    signed = {"117": sign(content + b"x"), "unsigned": ""}.get(case, sign(content))
    summary = bed.process(single(NAME, signature=signed))
    assert bed.entry(NAME)["status"] == "Ready"
    assert not Path(bed.layout.validated(NAME, "1.0.0")).exists()
    assert len(summary.notes) == (1 if case in ("117", "118") else 0)


@pytest.mark.row("field-demands", 75)
@needs_openssl
@pytest.mark.parametrize("signed", ["bad", "none", "garbage", "good"])
def test_with_a_policy_only_a_good_signature_runs(bed: Bed, sign: Any, signed: str) -> None:
    bed.rules = Rules(policy=policy_of(signatureRequired=True))
    content = bed.publish(NAME, "1.0.0", top=SIGNING)
    signature = {"bad": sign(b"other"), "none": "", "garbage": "%%%"}.get(signed, sign(content))
    bed.process(single(NAME, signature=signature))
    if signed == "good":
        assert bed.verbs() == ["install", "enable"]
        return
    assert bed.ran() == []
    entry = bed.entry(NAME)
    assert (entry["code"], settings(entry)["code"]) == (1009, 1009)
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()
    assert not Path(bed.layout.manifest(NAME, "1.0.0")).exists()


@needs_openssl
def test_the_root_that_is_shipped_is_microsoft_s_of_2011() -> None:
    """Its fingerprints as they are published; a package that somebody else has signed does not lead up to it."""
    file = Path(__file__).resolve().parents[3] / "data" / "extension-root.pem"
    words = ["openssl", "x509", "-in", str(file), "-noout", "-subject", "-fingerprint", "-sha256"]
    told = subprocess.run(words, check=True, capture_output=True, encoding="utf-8").stdout
    assert "Microsoft Root Certificate Authority 2011" in told
    assert "84:7D:F6:A7:84:97:94:3F:27:FC:72:EB:93:F9:A6:37:32:0A:02:B5:61:D0:A9:1B:09:E8:7A:78:07:ED:7C:61" in told
    verify = ["openssl", "verify", "-no_check_time", "-CAfile", str(file), str(file)]
    assert subprocess.run(verify, check=True, capture_output=True, encoding="utf-8").stdout.endswith("OK\n")


@needs_openssl
def test_a_signature_that_does_not_lead_up_to_the_shipped_root_is_not_good(bed: Bed, sign: Any) -> None:
    shipped = Path(__file__).resolve().parents[3] / "data" / "extension-root.pem"
    bed.rules = Rules(policy=policy_of(signatureRequired=True), signature_roots=(str(shipped),))
    content = bed.publish(NAME, "1.0.0", top=SIGNING)
    bed.process(single(NAME, signature=sign(content)))
    assert bed.ran() == []
    assert "is not good" in bed.entry(NAME)["formattedMessage"]["message"]


@pytest.mark.row("extensions", 119)
@pytest.mark.parametrize("required", [False, True])
def test_119_an_openssl_that_knows_no_such_check(bed: Bed, required: bool) -> None:
    """As version 1.0 does, which cannot leave the time out of account: nothing is checked, so nothing is good."""
    old = bed.folder / "openssl"
    old.write_text("#!/bin/sh\necho 'Usage cms options' >&2\necho 'unknown option -no_check_time' >&2\nexit 1\n")
    old.chmod(0o755)
    Path(bed.layout.lib, "microsoft_root_certificate.pem").touch()
    bed.rules = Rules(
        check_signatures=True, policy=policy_of(signatureRequired=True) if required else None, openssl=str(old)
    )
    bed.publish(NAME, "1.0.0", top=SIGNING)
    summary = bed.process(single(NAME, signature="AAAA"))
    assert bed.verbs() == ([] if required else ["install", "enable"])
    assert not Path(bed.layout.validated(NAME, "1.0.0")).exists()
    told = bed.entry(NAME)["formattedMessage"]["message"] if required else "".join(summary.notes)
    assert "unknown option -no_check_time" in told


REQUIRED = Rules(policy=policy_of(signatureRequired=True))
RULE = f"{POLICY} (extensionPolicies: signatureRequired) requires a signed package"


def refused(bed: Bed) -> str:
    """What the platform is told of a denial, at both levels."""
    entry = bed.entry(NAME)
    assert (entry["status"], entry["code"], settings(entry)["code"]) == ("NotReady", 1009, 1009)
    told = str(entry["formattedMessage"]["message"])
    assert settings(entry)["formattedMessage"]["message"] == told
    assert RULE in told
    return told


@pytest.mark.row("field-demands", 75)
@needs_openssl
@pytest.mark.parametrize("differs", ["type", "publisher", "version"])
@pytest.mark.parametrize("brought", [False, True])
def test_a_signed_package_of_another_handler_does_not_run(bed: Bed, sign: Any, differs: str, brought: bool) -> None:
    bed.rules = REQUIRED
    content = bed.publish(NAME, "1.0.0", top={"signingInfo": {**SIGNING["signingInfo"], differs: "9.9"}})
    if brought:
        Path(bed.layout.package(NAME, "1.0.0")).write_bytes(content)
    bed.process(single(NAME, signature=sign(content)))
    assert (bed.ran(), bed.fetched == []) == ([], brought)
    assert f"its signingInfo names {differs} '9.9'" in refused(bed)
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()
    assert sorted(path.name for path in bed.base(NAME, "1.0.0").iterdir()) == ["config", "status"]
    good = bed.publish(NAME, "1.0.0", {"enable": "status success fine"}, top=SIGNING)
    bed.process(single(NAME, signature=sign(good)))
    assert (bed.verbs(), settings(bed.entry(NAME))["status"]) == (["install", "enable"], "success")


@pytest.mark.row("extensions", 82)
@needs_openssl
@pytest.mark.parametrize("offered", [True, False])
def test_a_package_of_the_image_whose_signature_is_bad_makes_way_for_a_good_one(
    bed: Bed, sign: Any, offered: bool
) -> None:
    bed.rules = REQUIRED
    content = bed.publish(NAME, "1.0.0", {"enable": "status success fine"}, top=SIGNING)
    Path(bed.layout.package(NAME, "1.0.0")).write_bytes(pack({"HandlerManifest.json": b"[{}]"}))
    if not offered:
        bed.releases = lambda handler: [Release("1.0.0", ())]  # type: ignore[method-assign]
    bed.process(single(NAME, signature=sign(content)))
    assert not Path(bed.layout.package(NAME, "1.0.0")).exists()
    if offered:
        assert (bed.fetched, bed.verbs(), bed.entry(NAME)["status"]) == ([f"{NAME} 1.0.0"], ["install", "enable"], "Ready")
        assert Path(bed.layout.validated(NAME, "1.0.0")).exists()
    else:
        assert (bed.fetched, bed.ran()) == ([], [])
        assert "its signature is not good" in refused(bed)


@pytest.mark.row("field-demands", 75)
def test_what_the_goal_state_has_no_signature_of_is_not_even_fetched(bed: Bed) -> None:
    bed.rules = REQUIRED
    bed.publish(NAME, "1.0.0", top=SIGNING)
    bed.process(single(NAME))
    assert (bed.fetched, bed.ran()) == ([], [])
    assert "the goal state has no signature of this one; nothing was fetched" in refused(bed)


@needs_openssl
def test_a_mark_that_a_package_brings_along_is_none(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", top=SIGNING, extra={"package_validated": b"."})
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    assert not Path(bed.layout.validated(NAME, "1.0.0")).exists()


# -- what was installed before the policy came ---------------------------------------------------------------


@pytest.fixture
def installed(bed: Bed) -> bytes:
    """The package of a handler that was installed and enabled when nobody asked for signatures."""
    content = bed.publish(
        NAME, "1.0.0", {"enable": "date > own-file; status success fine"}, {"supportsMultipleExtensions": True}, SIGNING
    )
    bed.process(single(NAME))
    assert bed.verbs() == ["install", "enable"]
    bed.fetched.clear()
    bed.rules = REQUIRED
    return content


@pytest.mark.row("field-demands", 75)
@needs_openssl
@pytest.mark.parametrize("case", ["as it was", "changed", "gone", "manifest", "added"])
def test_what_is_installed_is_replaced_by_its_signed_package_once(
    bed: Bed, sign: Any, installed: bytes, case: str
) -> None:
    base = bed.base(NAME, "1.0.0")
    if case == "changed":
        (base / "bin/enable.sh").write_text("date > OWN-file; status success evil")
    elif case == "gone":
        (base / "bin/enable.sh").unlink()
    elif case == "manifest":
        (base / "HandlerManifest.json").write_text("[{}]")
    elif case == "added":  # what the signed files run if it is there
        (base / "bin/install.sh").write_text("exit 1")
    (base / "mrseq").write_text("0")
    for fetched, verbs in (([f"{NAME} 1.0.0"], ["install", "enable"]), ([], ["enable"])):
        bed.process(single(NAME, signature=sign(installed)))
        assert (bed.fetched, bed.verbs()) == (fetched, verbs)
        assert not (base / "bin/install.sh").exists()
        assert (base / "bin/enable.sh").read_text() == "date > own-file; status success fine"
        assert ((base / "mrseq").read_text(), bed.state(NAME, "1.0.0")) == ("0", "Enabled")
        assert settings(bed.entry(NAME))["status"] == "success"
        bed.fetched.clear()
    assert Path(bed.layout.validated(NAME, "1.0.0")).exists()
    assert not list(Path(bed.layout.lib).glob(".*"))


@needs_openssl
@pytest.mark.parametrize("verb", ["settings", "install", "enable"])
def test_a_kill_after_the_replacement_leaves_nothing_that_is_not_installed(
    bed: Bed, sign: Any, installed: bytes, verb: str
) -> None:
    kill_before(bed, verb, single(NAME, signature=sign(installed)))
    ran = bed.verbs()
    bed.process(single(NAME, signature=sign(installed)))
    assert ran + bed.verbs() == ["install", "enable"]
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("field-demands", 75)
@needs_openssl
@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("unsigned", "the goal state has no signature of this one"),
        ("bad", "its signature is not good"),
        ("names", "its signingInfo names version '9'"),
        ("unreachable", "what is installed cannot be checked"),
    ],
)
def test_what_is_installed_and_is_not_what_was_signed_is_not_enabled(
    bed: Bed, sign: Any, installed: bytes, case: str, why: str
) -> None:
    base = bed.base(NAME, "1.0.0")
    if case == "names":
        (base / "HandlerManifest.json").write_text(
            (base / "HandlerManifest.json").read_text().replace('"version": "1.0.0"', '"version": "9"')
        )
        bed.publish_raw(NAME, "1.0.0", pack({
            path: (base / path).read_bytes() for path in ("HandlerManifest.json", "bin/run.sh", "bin/enable.sh")
        }))  # fmt: skip
    elif case == "unreachable":
        bed.unreachable.add(NAME)
    content = bed.published[NAME]["1.0.0"]
    signature = {"unsigned": "", "bad": sign(b"other")}.get(case, sign(content))
    bed.process(single(NAME, signature=signature))
    assert bed.ran() == []
    told = refused(bed)
    assert why in told
    assert "1.0.0 stays as it is and is not enabled; remove the extension and add it again, or update it" in told
    assert bed.state(NAME, "1.0.0") == "Enabled"
    assert not Path(bed.layout.validated(NAME, "1.0.0")).exists()
    assert not list(Path(bed.layout.lib).glob(".*"))
    # It can be removed: removals never carry a signature.
    bed.process(single(NAME, state="uninstall"))
    assert (bed.verbs(), bed.entries()) == (["disable", "uninstall"], [])
    assert not base.exists()


@pytest.mark.row("field-demands", 75)
@needs_openssl
def test_an_update_to_a_signed_version_is_the_way_out(bed: Bed, sign: Any, installed: bytes) -> None:
    content = bed.publish(
        NAME, "1.0.1", {"enable": "status success fine"}, top={"signingInfo": {**SIGNING["signingInfo"], "version": "1.0.1"}}
    )
    bed.process(single(NAME, "1.0.1"))
    assert (bed.ran(), bed.state(NAME, "1.0.0")) == ([], "Enabled")  # the old one is kept for one that may run
    bed.process(single(NAME, "1.0.1", signature=sign(content)))
    assert bed.verbs() == ["disable", "update", "uninstall", "install", "enable"]
    assert bed.entry(NAME)["handlerVersion"] == "1.0.1"
    assert bed.entry(NAME)["status"] == "Ready"


@needs_openssl
def test_of_several_instances_one_that_is_to_go_is_disabled_and_the_package_is_fetched_once(bed: Bed, sign: Any) -> None:
    bed.publish(NAME, "1.0.0", None, {"supportsMultipleExtensions": True}, SIGNING)
    three = [Settings(name, 1) for name in ("A", "B", "C")]
    bed.process(multi(NAME, "1.0.0", *three))
    bed.ran()
    bed.fetched.clear()
    bed.rules = REQUIRED
    bed.process(multi(NAME, "1.0.0", Settings("A", 1, "disabled"), *three[1:], signature=sign(b"other")))
    assert [line.split()[0::3] for line in bed.ran()] == [["disable", "A"]]
    assert bed.fetched == [f"{NAME} 1.0.0"]
    assert {settings(one)["code"] for one in bed.entries()} == {1009}


@needs_openssl
def test_without_a_requirement_nothing_is_checked_again(bed: Bed, installed: bytes) -> None:
    bed.rules = Rules(check_signatures=True, policy=policy_of(signatureRequired=True, extensions={NAME: {"signatureRequired": False}}))
    bed.process(single(NAME))
    assert (bed.fetched, bed.verbs()) == ([], ["enable"])
