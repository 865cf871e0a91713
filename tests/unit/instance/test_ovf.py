"""The provisioning document: what is read, what is refused, what may be kept."""

from __future__ import annotations

import pytest

from tests.unit.instance.documents import KEY, THUMBPRINT, document
from waagent.errors import OvfInvalid
from waagent.instance import ovf

TRICKY = "Tr1cky&<pass>\"word'\nsecond line"


@pytest.mark.wire("2.9/document")
def test_every_field_of_a_full_document_is_read() -> None:
    read = ovf.parse(
        document(
            password=TRICKY,
            disable="True",
            keys=(("/home/operator1/.ssh/authorized_keys", "", KEY), ("$HOME/x", THUMBPRINT, "")),
            pairs=(("$HOME/operator1/.ssh/id_rsa", THUMBPRINT),),
            custom_data="IyEvYmluL3NoCg==",
        )
    )

    assert (read.host_name, read.user_name, read.password) == ("web-01", "operator1", TRICKY)
    assert read.disable_ssh_password is True
    assert read.public_keys == (
        ovf.PublicKey("/home/operator1/.ssh/authorized_keys", "", KEY),
        ovf.PublicKey("$HOME/x", THUMBPRINT, ""),
    )
    assert read.key_pairs == (ovf.KeyPair("$HOME/operator1/.ssh/id_rsa", THUMBPRINT),)
    assert (read.custom_data, read.version, read.provision_guest_agent) == ("IyEvYmluL3NoCg==", "1.0", "true")
    assert read.configuration_set_type == "LinuxProvisioningConfiguration"
    assert read.guest_agent_package_name == ""
    assert not read.preprovisioned_vm


@pytest.mark.parametrize("password", ["", None])
def test_an_empty_password_beside_keys_is_none(password: str | None) -> None:
    read = ovf.parse(document(password=password, keys=(("$HOME/x", "", KEY),)))
    assert read.facts()["has_password"] is False
    assert "password" not in read.secrets()


def test_public_facts_have_no_secret_and_the_value_does_not_show_itself() -> None:
    read = ovf.parse(document(password="hunter2-hunter2", custom_data="c2VjcmV0"))

    assert "hunter2" not in repr(read) and "c2VjcmV0" not in repr(read)
    assert "hunter2" not in str(read.facts()) and "c2VjcmV0" not in str(read.facts())
    assert read.facts()["has_password"] is True
    assert read.secrets() == {"password": "hunter2-hunter2", "custom_data": "c2VjcmV0"}


@pytest.mark.row("provisioning", 23)
def test_row_23_a_byte_order_mark_and_padding_are_no_part_of_the_document() -> None:
    assert ovf.parse(b"\xef\xbb\xbf" + document() + b"\0" * 512) == ovf.parse(document())


@pytest.mark.row("provisioning", 24)
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0",
        b"no xml",
        b"<Environment",
        document()[:-20],
        b"\xff\xfe<\0a\0/\0>\0",
        document() + b"<more/>",
    ],
)
def test_row_24_malformed_documents_are_refused_by_name(raw: bytes) -> None:
    with pytest.raises(OvfInvalid, match=r"ovf-env\.xml: document: "):
        ovf.parse(raw)


@pytest.mark.row("provisioning", 25)
@pytest.mark.wire("2.9/required")
@pytest.mark.parametrize(
    "element",
    ["ProvisioningSection", "LinuxProvisioningConfigurationSet", "HostName", "UserName", "PlatformSettings",
     "PlatformSettingsSection", "ProvisionGuestAgent", "Version"],
)  # fmt: skip
def test_row_25_a_missing_element_is_named(element: str) -> None:
    text = document().decode()
    # Renamed where it stands; for Version that is the first one, of the provisioning section.
    for prefix in ("wa:", ""):
        text = text.replace(f"<{prefix}{element}>", f"<{prefix}Other>", 1).replace(
            f"</{prefix}{element}>", f"</{prefix}Other>", 1
        )
        text = text.replace(f"<{prefix}{element} ", f"<{prefix}Other ", 1)
    with pytest.raises(OvfInvalid) as caught:
        ovf.parse(text.encode())
    assert caught.value.facts["element"] == element


@pytest.mark.row("provisioning", 25)
@pytest.mark.parametrize("element", ["HostName", "UserName"])
def test_row_25_an_empty_element_is_as_good_as_a_missing_one(element: str) -> None:
    raw = document().replace(b"web-01", b" ") if element == "HostName" else document().replace(b"operator1", b"")
    with pytest.raises(OvfInvalid, match=f"{element}: it is empty"):
        ovf.parse(raw)


@pytest.mark.row("provisioning", 26)
def test_row_26_an_empty_guest_agent_flag_is_refused() -> None:
    with pytest.raises(OvfInvalid, match="ProvisionGuestAgent: it is empty"):
        ovf.parse(document(agent=""))


@pytest.mark.row("provisioning", 27, 28)
@pytest.mark.wire("2.9/ProvisionGuestAgent")
@pytest.mark.parametrize(
    ("text", "wanted"), [("false", False), ("False", False), ("true", True), ("bad data", True)]
)
def test_rows_27_28_only_false_switches_the_agent_off(text: str, wanted: bool) -> None:
    read = ovf.parse(document(agent=text))
    assert (read.guest_agent_wanted, read.provision_guest_agent) == (wanted, text)


@pytest.mark.row("provisioning", 29)
def test_row_29_a_newer_version_is_told_and_read() -> None:
    assert ovf.parse(document(version="2.0")).newer_than_known
    assert not ovf.parse(document(version="1.0")).newer_than_known


@pytest.mark.row("provisioning", 30)
@pytest.mark.parametrize(
    ("text", "said"), [(None, None), ("", None), ("TRUE", True), ("false", False), ("maybe", False)]
)
def test_row_30_whether_passwords_may_log_in_can_be_left_unsaid(text: str | None, said: bool | None) -> None:
    assert ovf.parse(document(disable=text)).disable_ssh_password is said


@pytest.mark.row("provisioning", 31)
@pytest.mark.wire("8.2/ovf-env.xml")
@pytest.mark.parametrize(
    "element",
    [
        "<UserPassword>{}</UserPassword>",
        "<wa:UserPassword>{}</wa:UserPassword>",
        "<UserPassword a='x>y' >{}</UserPassword>",
        "<UserPassword><![CDATA[{}]]></UserPassword>",
        "<UserPassword>\n {}\n</UserPassword\n>",
    ],
)
def test_row_31_the_copy_never_contains_the_password(element: str) -> None:
    secret = "Tr1cky-pass-word"
    raw = document(password="x").replace(b"<UserPassword>x</UserPassword>", element.format(secret).encode())
    assert secret in ovf.parse(raw).password

    kept = ovf.redact(raw, "read for VM 1")

    assert secret.encode() not in kept
    assert ovf.parse(kept).redacted
    assert ovf.note_of(kept) == "read for VM 1"


@pytest.mark.row("provisioning", 31)
def test_row_31_entities_and_line_ends_in_a_password_are_cut_with_it() -> None:
    kept = ovf.redact(document(password=TRICKY))
    assert ovf.parse(kept).password == "*"
    for part in (b"Tr1cky", b"word'", b"second"):
        assert part not in kept


def test_all_but_the_password_stays_byte_for_byte() -> None:
    raw = document(password="pass-of-12345", custom_data="IyEvYmluL3NoCg==")
    assert ovf.redact(raw) == raw.strip().replace(b"pass-of-12345", b"*")
    assert ovf.redact(document()) == document().strip()


def test_redacting_twice_changes_nothing() -> None:
    once = ovf.redact(document(password="abcabcabcabc"), "read for VM 1")
    assert ovf.redact(once, "read for VM 1") == once
    assert ovf.note_of(ovf.redact(once, "read for VM 2")) == "read for VM 2"


@pytest.mark.row("provisioning", 32)
@pytest.mark.wire("2.9/document")
def test_row_32_prefixes_do_not_matter() -> None:
    other = (
        document(password="p w", disable="true")
        .decode()
        .replace("ovf:", "q:")
        .replace(":ovf", ":q")
        .replace("wa:", "zz:")
        .replace(":wa=", ":zz=")
    )
    assert ovf.parse(other.encode()) == ovf.parse(document(password="p w", disable="true"))


def test_elements_of_other_namespaces_do_not_count() -> None:
    foreign = document().replace(b"<HostName>", b"<HostName xmlns='urn:other'>")
    with pytest.raises(OvfInvalid, match="HostName: it is missing"):
        ovf.parse(foreign)


def test_an_element_that_stands_twice_is_refused() -> None:
    twice = document().replace(b"<UserName>", b"<UserName>other</UserName><UserName>")
    with pytest.raises(OvfInvalid, match="UserName: it stands 2 times"):
        ovf.parse(twice)


def test_a_document_type_is_refused_before_an_entity_can_grow() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "xxxxxxxx"><!ENTITY y "&x;&x;">]>' + document()[39:]
    with pytest.raises(OvfInvalid, match="DOCTYPE"):
        ovf.parse(bomb)


def test_a_document_that_is_too_large_or_too_deep_is_refused() -> None:
    with pytest.raises(OvfInvalid, match="more than"):
        ovf.parse(b" " * (ovf.LIMIT + 1))
    with pytest.raises(OvfInvalid, match="deeper"):
        ovf.parse(b"<a>" * 100 + b"</a>" * 100)


@pytest.mark.parametrize("bad", ["../../etc/passwd", "xyz", "0123"])
def test_a_thumbprint_that_could_name_another_file_is_refused(bad: str) -> None:
    with pytest.raises(OvfInvalid, match="Fingerprint"):
        ovf.parse(document(keys=(("/home/a/.ssh/authorized_keys", bad, ""),)))


def test_a_key_needs_a_path_and_a_value_or_a_thumbprint() -> None:
    with pytest.raises(OvfInvalid, match="neither Value nor Fingerprint"):
        ovf.parse(document(keys=(("/home/a/k", "", ""),)))
    with pytest.raises(OvfInvalid, match="Path: it is empty"):
        ovf.parse(document(keys=(("", THUMBPRINT, ""),)))
