"""The guarded parser: what it takes, what it refuses, and that it always says so by GoalStateInvalid."""

from __future__ import annotations

import pytest

from waagent.errors import GoalStateInvalid
from waagent.fabric import xml


@pytest.mark.wire("2.1/success", "1.4/success")
def test_byte_order_marks_padding_and_declarations_do_not_matter() -> None:
    plain = '<?xml version="1.0" encoding="utf-16"?><A><B> ä </B></A>'
    for content in (
        plain,
        plain.encode(),
        b"\xef\xbb\xbf" + plain.encode(),
        plain.encode() + b"\0\0 \r\n\0",
        b"\n" + plain.encode(),
        plain.encode("utf-16"),
    ):
        assert xml.text(xml.parse(content, "it", "A"), "B") == "ä"


def test_prefixes_and_namespaces_are_dropped() -> None:
    root = xml.parse('<n:A xmlns:n="urn:x" xmlns="urn:y" n:b="1" c="2"><n:D/></n:A>', "it", "A")
    assert root.attrib == {"b": "1", "c": "2"}
    assert root.find("D") is not None


def test_text_joins_cdata_and_pieces() -> None:
    root = xml.parse("<A><B>one <![CDATA[<two>]]> three</B><C/></A>", "it")
    assert xml.text(root, "B") == "one <two> three"
    assert xml.text(root, "C") is None
    assert xml.text(root, "X/Y") is None


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not well-formed"),
        ("<A>", "not well-formed"),
        ("<A></B>", "not well-formed"),
        ("<A>&nothing;</A>", "not well-formed"),
        ('<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>', "document type"),
        ('<!DOCTYPE A SYSTEM "file:///etc/passwd"><A/>', "document type"),
        ("<A>" * 100 + "</A>" * 100, "nested more than 64"),
        ("<A>" + "<B/>" * 100_001 + "</A>", "more than 100000 elements"),
        ("x" * (16 * 1024 * 1024 + 1), "over the limit"),
        (b"<A>\xff\xfe</A>", "not well-formed"),
        (b"\xff\xfe<", "encoding is broken"),
        ("<A>\ud800</A>", "encoding is broken"),
        ("<B/>", "is a <B>, not a <A>"),
    ],
)
def test_everything_else_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(GoalStateInvalid, match=message) as raised:
        xml.parse(content, "the test document", "A")
    assert raised.value.facts["document"] == "the test document"


def test_flags_have_three_states() -> None:
    root = xml.parse("<A><T>TRUE</T><F>no</F></A>", "it")
    assert [xml.flag(root, name) for name in "TFX"] == [True, False, None]
