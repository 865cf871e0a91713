"""Extensions 12.8: the policy file, the switch; signatures are in test_signed_packages.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import POLICY, Bed, policy_of, settings, single
from waagent.extensions import policy
from waagent.extensions.policy import Policy, PolicyInvalid
from waagent.extensions.steps import Rules
from waagent.system import System

NAME = "Contoso.Test.Probe"


def allow(*names: str) -> Rules:
    return Rules(policy=policy_of(allowListedExtensionsOnly=True, extensions={name: {} for name in names}))


@pytest.mark.row("field-demands", 66, 67)
@pytest.mark.row("extensions", 107)
def test_107_a_handler_that_is_not_listed_is_not_downloaded(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.rules = allow("Contoso.Other.Thing")
    bed.process(single(NAME))
    assert (bed.fetched, bed.ran()) == ([], [])
    entry = bed.entry(NAME)
    assert (entry["status"], entry["code"]) == ("NotReady", 1009)
    assert f"not in the allow list of {POLICY} (extensionPolicies.extensions)" in entry["formattedMessage"]["message"]
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
        policy.parse(text, POLICY)


@pytest.mark.row("extensions", 110)
def test_110_an_invalid_policy_refuses_everything(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.rules = Rules(policy_error="[InvalidPolicyError] cannot use it")
    bed.process(single(NAME))
    assert (bed.ran(), bed.entry(NAME)["code"]) == ([], 1009)
    assert "[InvalidPolicyError]" in bed.entry(NAME)["formattedMessage"]["message"]


def test_a_policy_in_full() -> None:
    found = policy_of(
        allowListedExtensionsOnly=True,
        signatureRequired=True,
        extensions={
            "A.B": {"signatureRequired": False, "runtimePolicy": {"x": 1}},
            "C.D": {"signatureRequired": None},
        },
    )
    assert (found.allows("a.b"), found.allows("X.Y")) == (True, False)
    assert (found.requires_signature("A.b"), found.requires_signature("C.D")) == (False, True)
    assert policy_of().allows("anything")
    assert policy.parse('{"policyVersion": "0.1", "extensionPolicies": null}', POLICY).allows("anything")


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
    assert policy_of(deniedExtensions=["Fabrikam.Other.Thing", entry]).allows(name) is not denied


@pytest.mark.parametrize(
    "entries",
    ["Contoso.Test.Probe", {"Contoso.Test.Probe": {}}, [1], [None], [""], ["*"], ["Contoso.*.Probe"], ["Contoso*"],
     [".*"], ["Contoso.Test.Probe "], ["Contoso.Test.Probe\n"], ["Contoso.**"], ["Contoso/Probe"], [["Contoso"]]],
)  # fmt: skip
def test_an_entry_that_would_deny_nothing_makes_the_policy_invalid(entries: Any) -> None:
    with pytest.raises(PolicyInvalid, match=r"extensionPolicies\.deniedExtensions"):
        policy_of(deniedExtensions=entries)


def test_the_attribute_may_be_absent_empty_or_null() -> None:
    for document in ({}, {"deniedExtensions": []}, {"deniedExtensions": None}):
        assert policy_of(**document).allows(NAME)


@pytest.mark.row("field-demands", 66, 67)
def test_a_denied_handler_is_neither_fetched_nor_removed_though_it_is_in_the_allow_list(bed: Bed) -> None:
    other = "Contoso.Other.Thing"
    for name in (NAME, other):
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    listed: dict[str, Any] = {name: {} for name in (NAME, other)}
    denying = policy_of(allowListedExtensionsOnly=True, extensions=listed, deniedExtensions=["Contoso.Test.*"])
    bed.rules = Rules(policy=denying)
    bed.process(single(NAME), single(other))
    assert bed.fetched == [f"{other} 1.0.0"]
    entry = bed.entry(NAME)
    assert (entry["status"], entry["code"], settings(entry)["code"]) == ("NotReady", 1009, 1009)
    told = entry["formattedMessage"]["message"]
    assert f"it is in the deny list of {POLICY} (extensionPolicies.deniedExtensions names 'Contoso.Test.*')" in told
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
    image, own = system.path(policy.IMAGE_POLICY), system.path(POLICY)
    image.parent.mkdir(parents=True, exist_ok=True)
    denying = '{"policyVersion": "0.1.0", "extensionPolicies": {"deniedExtensions": ["Contoso.Test.*"]}}'
    allowing = (
        '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true, "deniedExtensions": [],'
        f' "extensions": {{"{NAME}": {{}}, "A.B": {{}}}}}}}}'
    )
    image.write_text(denying if by == "image" else allowing)
    own.write_text(allowing if by == "image" else denying)
    found = policy.in_force(system, POLICY)
    assert found is not None
    assert [found.allows(name) for name in (NAME, "A.B", "X.Y")] == [False, True, False]
    bed.publish(NAME, "1.0.0")
    bed.rules = Rules(policy=found)
    bed.process(single(NAME))
    told = bed.entry(NAME)["formattedMessage"]["message"]
    assert bed.fetched == []
    assert (policy.IMAGE_POLICY if by == "image" else POLICY) in told
    assert ("cannot be relaxed" in told) == (by == "image")


# -- the file ------------------------------------------------------------------------------------------------


def test_the_file_is_read_from_the_machine(system: System) -> None:
    assert policy.read(system, POLICY) is None
    system.path(POLICY).write_bytes(b"\xef\xbb\xbf" + b'{"policyVersion": "0.0.1"}')
    assert policy.read(system, POLICY) == Policy(POLICY)
    system.path(POLICY).write_bytes(b"\xff")
    with pytest.raises(PolicyInvalid, match="not UTF-8"):
        policy.read(system, POLICY)


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
    image, own = system.path(policy.IMAGE_POLICY), system.path(POLICY)
    image.parent.mkdir(parents=True, exist_ok=True)
    assert policy.in_force(system, POLICY) is None
    image.write_text(listed % f'{{"{NAME}": {{"signatureRequired": true}}, "A.B": {{}}}}')
    own.write_text(listed % f'{{"{NAME}": {{"signatureRequired": false}}, "X.Y": {{}}}}')
    for path in (POLICY, None):  # None: Policy.Enabled=n
        found = policy.in_force(system, path)
        assert found is not None
        assert [found.allows(name) for name in (NAME, "X.Y")] == [True, False]
        assert found.allows("A.B") is (path is None)
        assert found.requires_signature(NAME)
    own.unlink()
    found = policy.in_force(system, POLICY)
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
