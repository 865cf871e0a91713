"""Extensions 12.8: the policy file, the switch, signatures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions import policy
from waagent.extensions.policy import Policy, PolicyInvalid
from waagent.extensions.steps import Rules
from waagent.system import System

NAME = "Contoso.Test.Probe"
PATH = "/etc/waagent_policy.json"


def parse(**policies: Any) -> Policy:
    return policy.parse(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": policies}), PATH)


def allow(*names: str) -> Rules:
    return Rules(policy=parse(allowListedExtensionsOnly=True, extensions={name: {} for name in names}))


@pytest.mark.row("field-demands", 66, 67)
@pytest.mark.row("extensions", 107)
def test_107_a_handler_that_is_not_listed_is_not_downloaded(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.rules = allow("Contoso.Other.Thing")
    bed.process(single(NAME))
    assert (bed.fetched, bed.ran()) == ([], [])
    entry = bed.entry(NAME)
    assert (entry["status"], entry["code"]) == ("NotReady", 1009)
    assert PATH in entry["formattedMessage"]["message"]
    assert (settings(entry)["status"], settings(entry)["code"]) == ("error", 1009)


@pytest.mark.row("field-demands", 66, 67)
@pytest.mark.row("extensions", 108, 114)
def test_108_114_removal_needs_permission_too_and_works_when_it_is_given(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"})
    bed.process(single(NAME))
    bed.ran()
    bed.rules = allow()
    bed.process(single(NAME, state="uninstall"))
    assert bed.ran() == []
    assert (bed.entry(NAME)["status"], bed.entry(NAME)["code"]) == ("NotReady", 1010)
    assert bed.state(NAME, "1.0.0") == "Enabled"
    bed.rules = Rules()
    bed.process(single(NAME))
    assert bed.verbs() == ["enable"]
    assert (bed.entry(NAME)["status"], settings(bed.entry(NAME))["status"]) == ("Ready", "success")


def test_a_denial_overwrites_the_status_of_its_number(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"})
    bed.process(single(NAME))
    bed.rules = allow()
    bed.process(single(NAME))
    assert settings(bed.entry(NAME))["code"] == 1009


@pytest.mark.row("extensions", 109)
def test_109_case_does_not_matter(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.rules = allow(NAME.upper())
    bed.process(single(NAME))
    assert bed.entry(NAME)["status"] == "Ready"


@pytest.mark.row("extensions", 110)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"policyVersion": 1}',
        '{"policyVersion": "1"}',
        '{"policyVersion": "9"}',
        '{"policyVersion": "0.1.1"}',
        '{"policyVersion": "0.1.0a"}',
        '{"policyVersion": "0.1.0", "other": 1}',
        '{"policyVersion": "0.1.0", "extensionPolicies": []}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": "true"}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"AllowListedExtensionsOnly": true}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"extensions": ["x"]}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"extensions": {"x": []}}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"extensions": {"x": {"signatureRequired": 1}}}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"extensions": {"x": {"more": 1}}}}',
        "[" * 100_000,
    ],
)
def test_110_what_is_not_exactly_a_policy_is_invalid(text: str) -> None:
    with pytest.raises(PolicyInvalid, match="no extension is processed until it is corrected"):
        policy.parse(text, PATH)


@pytest.mark.row("extensions", 110)
def test_110_an_invalid_policy_refuses_everything(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.rules = Rules(policy_error="[InvalidPolicyError] cannot use it")
    bed.process(single(NAME))
    assert (bed.ran(), bed.entry(NAME)["code"]) == ([], 1009)
    assert "[InvalidPolicyError]" in bed.entry(NAME)["formattedMessage"]["message"]


def test_a_policy_in_full() -> None:
    found = parse(
        allowListedExtensionsOnly=True,
        signatureRequired=True,
        extensions={
            "A.B": {"signatureRequired": False, "runtimePolicy": {"x": 1}},
            "C.D": {"signatureRequired": None},
        },
    )
    assert (found.allows("a.b"), found.allows("X.Y")) == (True, False)
    assert (found.requires_signature("A.b"), found.requires_signature("C.D")) == (False, True)
    assert parse().allows("anything")
    assert policy.parse('{"policyVersion": "0.1", "extensionPolicies": null}', PATH).allows("anything")


def test_the_file_is_read_from_the_machine(system: System) -> None:
    assert policy.read(system, PATH) is None
    system.path(PATH).write_bytes(b"\xef\xbb\xbf" + b'{"policyVersion": "0.0.1"}')
    assert policy.read(system, PATH) == Policy(PATH)
    system.path(PATH).write_bytes(b"\xff")
    with pytest.raises(PolicyInvalid, match="not UTF-8"):
        policy.read(system, PATH)


@pytest.mark.row("field-demands", 71)
@pytest.mark.row("field-demands", 71, 72)
def test_row_71_user_changes_can_be_denied(bed: Bed) -> None:
    bed.rules = Rules(deny_user_changes=True)
    access = "Microsoft.OSTCExtensions.VMAccessForLinux"
    bed.publish(access, "1.0.0")
    bed.publish(NAME, "1.0.0")
    bed.process(single(access), single(NAME))
    assert (bed.entry(access)["code"], bed.entry(NAME)["status"]) == (1009, "Ready")


@pytest.mark.row("field-demands", 68)
def test_row_68_the_image_s_policy_cannot_be_relaxed(bed: Bed, system: System) -> None:
    listed = '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true, "extensions": %s}}'
    image, own = system.path(policy.IMAGE_POLICY), system.path(PATH)
    image.parent.mkdir(parents=True, exist_ok=True)
    assert policy.in_force(system, PATH) is None
    image.write_text(listed % f'{{"{NAME}": {{"signatureRequired": true}}, "A.B": {{}}}}')
    own.write_text(listed % f'{{"{NAME}": {{"signatureRequired": false}}, "X.Y": {{}}}}')
    for path in (PATH, None):  # None: Policy.Enabled=n
        found = policy.in_force(system, path)
        assert found is not None
        assert [found.allows(name) for name in (NAME, "X.Y")] == [True, False]
        assert found.allows("A.B") is (path is None)
        assert found.requires_signature(NAME)
    own.unlink()
    found = policy.in_force(system, PATH)
    bed.publish("X.Y", "1.0.0")
    bed.rules = Rules(policy=found)
    bed.process(single("X.Y"))
    assert bed.ran() == []
    assert "that is the image's and cannot be relaxed" in bed.entry("X.Y")["formattedMessage"]["message"]
    image.write_text("nonsense")
    with pytest.raises(PolicyInvalid, match=policy.IMAGE_POLICY):
        policy.in_force(system, None)


def test_names_that_cannot_be_directories_touch_nothing(bed: Bed) -> None:
    before = sorted(path.name for path in bed.folder.iterdir())
    bed.process(single("../../evil"), single("Contoso.Test-x"), single("Contoso.Test.Y", "../1"))
    assert sorted(path.name for path in bed.folder.iterdir()) == before
    assert sorted(path.name for path in Path(bed.layout.lib).iterdir()) == ["extensions"]


def test_one_handler_named_twice_in_different_case(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME), single(NAME.lower()))
    assert bed.entry(NAME)["status"] == "Ready"
    assert bed.entry(NAME.lower())["code"] == -1


# -- signatures ----------------------------------------------------------------------------------------------

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
    bed.rules = Rules(policy=parse(signatureRequired=True))
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
    bed.rules = Rules(policy=parse(signatureRequired=True), signature_roots=(str(shipped),))
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
        check_signatures=True, policy=parse(signatureRequired=True) if required else None, openssl=str(old)
    )
    bed.publish(NAME, "1.0.0", top=SIGNING)
    summary = bed.process(single(NAME, signature="AAAA"))
    assert bed.verbs() == ([] if required else ["install", "enable"])
    assert not Path(bed.layout.validated(NAME, "1.0.0")).exists()
    told = bed.entry(NAME)["formattedMessage"]["message"] if required else "".join(summary.notes)
    assert "unknown option -no_check_time" in told
