"""Extensions 12.8: the policy file, the switch, signatures."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, kill_before, multi, pack, settings, single
from waagent.extensions import policy
from waagent.extensions.packages import Release
from waagent.extensions.policy import Policy, PolicyInvalid
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Settings
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
    assert f"not in the allow list of {PATH} (extensionPolicies.extensions)" in entry["formattedMessage"]["message"]
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
        '{"policyVersion": "0.1.0", "extensionPolicies": {"deniedExtensions": ["A.*"], "deniedExtensions": []}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"signatureRequired": true}, "extensionPolicies": {}}',
        '{"policyVersion": "0.1.0", "extensionPolicies": {"extensions": {"A.B": {"signatureRequired": true}, "a.b": {}}}}',
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


# -- the deny list -------------------------------------------------------------------------------------------


@pytest.mark.row("field-demands", 66, 67)
@pytest.mark.parametrize(
    ("entry", "name", "denied"),
    [
        ("Contoso.Test.Probe", "Contoso.Test.Probe", True),
        ("contoso.test.PROBE", "Contoso.Test.Probe", True),
        ("Contoso.Test.Probe", "Contoso.Test.Probe2", False),
        ("Contoso.*", "contoso.Test.Probe", True),
        ("Contoso.Test.*", "Contoso.Test.Probe", True),
        ("Contoso.*", "Contoso", False),
        ("Contoso.*", "Contoso2.Test.Probe", False),
        ("Test.*", "Contoso.Test.Probe", False),
    ],
)
def test_what_an_entry_of_the_deny_list_means(entry: str, name: str, denied: bool) -> None:
    assert parse(deniedExtensions=["Fabrikam.Other.Thing", entry]).allows(name) is not denied


@pytest.mark.parametrize(
    "entries",
    ["Contoso.Test.Probe", {"Contoso.Test.Probe": {}}, [1], [None], [""], ["*"], ["Contoso.*.Probe"], ["Contoso*"],
     [".*"], ["Contoso.Test.Probe "], ["Contoso.Test.Probe\n"], ["Contoso.**"], ["Contoso/Probe"], [["Contoso"]]],
)  # fmt: skip
def test_an_entry_that_would_deny_nothing_makes_the_policy_invalid(entries: Any) -> None:
    with pytest.raises(PolicyInvalid, match=r"extensionPolicies\.deniedExtensions"):
        parse(deniedExtensions=entries)


def test_the_attribute_may_be_absent_empty_or_null() -> None:
    for document in ({}, {"deniedExtensions": []}, {"deniedExtensions": None}):
        assert parse(**document).allows(NAME)


@pytest.mark.row("field-demands", 66, 67)
def test_a_denied_handler_is_neither_fetched_nor_removed_though_it_is_in_the_allow_list(bed: Bed) -> None:
    other = "Contoso.Other.Thing"
    for name in (NAME, other):
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    listed: dict[str, Any] = {name: {} for name in (NAME, other)}
    denying = parse(allowListedExtensionsOnly=True, extensions=listed, deniedExtensions=["Contoso.Test.*"])
    bed.rules = Rules(policy=denying)
    bed.process(single(NAME), single(other))
    assert bed.fetched == [f"{other} 1.0.0"]
    entry = bed.entry(NAME)
    assert (entry["status"], entry["code"], settings(entry)["code"]) == ("NotReady", 1009, 1009)
    told = entry["formattedMessage"]["message"]
    assert f"it is in the deny list of {PATH} (extensionPolicies.deniedExtensions names 'Contoso.Test.*')" in told
    assert "take it out there" in told
    bed.rules = Rules()
    bed.process(single(NAME), single(other))
    bed.ran()
    bed.rules = Rules(policy=denying)
    bed.process(single(NAME, state="uninstall"), single(other))
    assert {line.split()[1] for line in bed.ran()} == {f"{other}-1.0.0"}
    assert (bed.entry(NAME)["code"], bed.state(NAME, "1.0.0")) == (1010, "Enabled")


@pytest.mark.row("field-demands", 68)
@pytest.mark.parametrize("by", ["image", "own"])
def test_either_file_can_deny_and_neither_can_take_it_back(bed: Bed, system: System, by: str) -> None:
    image, own = system.path(policy.IMAGE_POLICY), system.path(PATH)
    image.parent.mkdir(parents=True, exist_ok=True)
    denying = '{"policyVersion": "0.1.0", "extensionPolicies": {"deniedExtensions": ["Contoso.Test.*"]}}'
    allowing = (
        '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true, "deniedExtensions": [],'
        f' "extensions": {{"{NAME}": {{}}, "A.B": {{}}}}}}}}'
    )
    image.write_text(denying if by == "image" else allowing)
    own.write_text(allowing if by == "image" else denying)
    found = policy.in_force(system, PATH)
    assert found is not None
    assert [found.allows(name) for name in (NAME, "A.B", "X.Y")] == [False, True, False]
    bed.publish(NAME, "1.0.0")
    bed.rules = Rules(policy=found)
    bed.process(single(NAME))
    told = bed.entry(NAME)["formattedMessage"]["message"]
    assert bed.fetched == []
    assert (policy.IMAGE_POLICY if by == "image" else PATH) in told
    assert ("cannot be relaxed" in told) == (by == "image")


# -- the file ------------------------------------------------------------------------------------------------


def test_the_file_is_read_from_the_machine(system: System) -> None:
    assert policy.read(system, PATH) is None
    system.path(PATH).write_bytes(b"\xef\xbb\xbf" + b'{"policyVersion": "0.0.1"}')
    assert policy.read(system, PATH) == Policy(PATH)
    system.path(PATH).write_bytes(b"\xff")
    with pytest.raises(PolicyInvalid, match="not UTF-8"):
        policy.read(system, PATH)


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


REQUIRED = Rules(policy=parse(signatureRequired=True))
RULE = f"{PATH} (extensionPolicies: signatureRequired) requires a signed package"


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
    bed.rules = Rules(check_signatures=True, policy=parse(signatureRequired=True, extensions={NAME: {"signatureRequired": False}}))
    bed.process(single(NAME))
    assert (bed.fetched, bed.verbs()) == ([], ["enable"])
