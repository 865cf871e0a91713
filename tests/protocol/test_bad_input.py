"""Every document damaged in every way: a typed error that says what and from where, the last good state stays, and the
polling goes on (wire-protocol 2, 3.4, 7.5)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricError

USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}


def extension(number: int) -> dict[str, Any]:
    return {"name": "Contoso.Sim.Monitor", "version": f"1.{number}", "public": {}, "protected": {"s": 2}}


def version(talk: Talk) -> int:
    """The number of the extension that the state on disk wants."""
    fields = json.loads(talk.system.read_text(f"{LIB}/goal-state.json"))
    return int(fields["desired"]["handlers"][0]["version"].partition(".")[2])


class Document(NamedTuple):
    path: str
    fails: bool = True  # the update; else it is noted and the rest counts
    source: str = "fabric"
    parsed: bool = True


DOCUMENTS = {
    "2.1/document": Document("/machine/?comp=goalstate"),
    "2.7/document": Document("*type=extensionsConfig*"),
    "2.5/hosting-environment": Document("*type=hostingEnvironmentConfig*"),
    "2.5/shared-config": Document("*type=sharedConfig*", parsed=False),
    "2.6/Data": Document("*comp=certificates*", fails=False),
    "2.8/document": Document("*comp=remoteaccessinfo*"),
    "3.4/document": Document("/vmSettings", fails=False, source="fasttrack"),
}
# On the way: no document arrives whole.
WAY: dict[str, dict[str, Any]] = {
    "truncated": {"truncate": 40},
    "reset": {"reset": True},
    "redirect": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/elsewhere"}},
    "gone": {"status": 410},
    "refused": {"status": 400, "body": "see https://a.example/?sig=SECRET"},
    "huge": {"transform": lambda body: body + b" " * (17 * 1024 * 1024)},
}
# In the document: all of it arrives, and nothing can be made of it.
INSIDE: dict[str, dict[str, Any]] = {
    "empty": {"content": "empty"},
    "cut": {"transform": lambda body: body[: len(body) // 2]},
    "binary": {"transform": lambda body: bytes(range(256)) * 8},
    "entities": {
        "transform": lambda body: b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;"><!ENTITY d "&c;&c;">]><a>&d;</a>'
    },
    "outside entity": {"transform": lambda body: b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'},
    "deep XML": {"transform": lambda body: b"<a>" * 100_000 + b"</a>" * 100_000},
    "deep JSON": {"transform": lambda body: b'{"a":' * 100_000 + b"1" + b"}" * 100_000},
    "a list": {"transform": lambda body: b"[1, 2]"},
    "a number": {"transform": lambda body: b"1" * 10_000},
    "another document": {"transform": lambda body: b"<Nothing/>"},
    "a page of a proxy": {"transform": lambda body: b"<html><body>Sign in</body></html>"},
}


@pytest.mark.wire("7.5/documents", "2.2/failure")
@pytest.mark.parametrize("row", DOCUMENTS)
def test_a_damaged_document(talk: Talk, vm: Any, sim: Any, row: str) -> None:
    document = DOCUMENTS[row]
    vm.publish(extensions=[extension(0)], remote_users=[USER])
    vm.publish(extensions=[extension(0)], remote_users=[USER], source="fasttrack")
    talk.session.update()
    damages = {**WAY, **INSIDE} if document.parsed else WAY
    for number, (damage, fault) in enumerate(damages.items(), 1):
        before = talk.known()
        vm.publish(extensions=[extension(number)], source=document.source)
        sim.fault(document.path, **fault)
        talk.notes.clear()
        if document.fails:
            with pytest.raises(FabricError) as raised:
                talk.session.update()
            told = str(raised.value)
            assert (talk.known(), version(talk)) == (before, number - 1), damage
        else:
            talk.session.update()
            told = " ".join(talk.notes)
            assert version(talk) == (number - 1 if document.source == "fasttrack" else number), damage
        assert "cannot " in told or document.path == "/vmSettings", damage  # which is asked once, by one request
        assert "http://127.0.0.1:" in told, (damage, told)
        assert "SECRET" not in told
        polled = talk.poll(talk.known())
        assert polled.changed or polled.errors or not document.fails, damage
        # Nothing of it lasts: the next answer that is good counts.
        sim.clear_faults()
        assert talk.poll(talk.known()).errors == ()
        talk.session.update()
        assert version(talk) == number, damage
