"""The provisioning document with generated contents: nothing gets lost, nothing secret stays, nothing else is raised."""

from __future__ import annotations

import pytest

from tests.unit.instance.documents import document
from waagent.errors import OvfInvalid
from waagent.instance import ovf

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

# What XML 1.0 can carry; carriage returns are turned into line feeds by every XML parser.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), max_size=40
)
words = texts.map(str.strip).filter(bool)


@given(host=words, user=words, password=texts, custom=texts.map(str.strip), flag=words)
@settings(max_examples=150, deadline=None)
def test_what_goes_in_comes_out(host: str, user: str, password: str, custom: str, flag: str) -> None:
    from xml.sax.saxutils import escape

    read = ovf.parse(document(host=host, user=user, password=password, custom_data=escape(custom), agent=flag))

    assert (read.host_name, read.user_name, read.password) == (host, user, password)
    assert (read.custom_data, read.provision_guest_agent) == (custom, flag)


@given(password=texts.map(lambda text: f"SECRET{text}TERCES"))
@settings(max_examples=150, deadline=None)
def test_a_redacted_copy_is_the_same_document_without_the_password(password: str) -> None:
    raw = document(password=password, disable="true")
    kept = ovf.redact(raw, "read for VM x")

    assert b"SECRET" not in kept and b"TERCES" not in kept
    before, after = ovf.parse(raw), ovf.parse(kept)
    assert after.password == "*"
    assert (after.host_name, after.user_name, after.disable_ssh_password) == (
        before.host_name,
        before.user_name,
        before.disable_ssh_password,
    )


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_rubbish_is_refused_and_nothing_else(raw: bytes) -> None:
    for reading in (ovf.parse, ovf.redact):
        try:
            reading(raw)
        except OvfInvalid:
            pass


@given(st.integers(0, 1200), st.binary(min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_a_damaged_document_is_read_or_refused(at: int, damage: bytes) -> None:
    raw = document(password="pass-of-12345")
    try:
        ovf.parse(raw[:at] + damage + raw[at + len(damage) :])
    except OvfInvalid as error:
        assert error.facts["element"]
