"""Rows of the protocol's tables that need a scene of their own, and bad input as a whole (wire-protocol 2, 3.7, 4, 5)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricError, FabricRejected, FabricUnreachable
from waagent.fabric import blobs, health
from waagent.fabric.poll import Known

EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}
USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}


# -- certificates and remote users ------------------------------------------------------------------------------


@pytest.mark.wire("2.6/x-ms-cipher-name")
def test_certificates_that_do_not_decrypt_are_asked_for_with_the_other_cipher(talk: Talk, sim: Any, vm: Any) -> None:
    def spoil(body: bytes) -> bytes:
        at = body.index(b"<Data>") + 900
        return body[:at] + (b"AAAA" if body[at : at + 4] != b"AAAA" else b"BBBB") + body[at + 4 :]

    sim.fault("*comp=certificates*", transform=spoil, count=1)
    vm.publish(extensions=[])
    _, state = talk.session.update()
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    asked = [one.headers["x-ms-cipher-name"] for one in sim.requests.select(comp="certificates")]
    assert asked == ["AES128_CBC", "DES_EDE3_CBC"]


@pytest.mark.wire("2.6/failure")
def test_certificates_that_never_decrypt_are_none_and_the_goal_state_counts(talk: Talk, sim: Any, vm: Any) -> None:
    sim.fault("*comp=certificates*", transform=lambda body: body.replace(b"<Data>M", b"<Data>A"))
    vm.publish(extensions=[EXTENSION])
    _, state = talk.session.update()
    assert state.thumbprints == []
    assert state.desired is not None
    assert state.desired.handlers
    assert not [name for name in talk.files if name.endswith((".prv", ".opened", ".pfx"))]


@pytest.mark.wire("2.8/failure")
@pytest.mark.parametrize("fault", [{"status": 404}, {"content": "cut-xml"}], ids=str)
def test_remote_users_that_cannot_be_had_fail_the_update(talk: Talk, sim: Any, vm: Any, fault: dict[str, Any]) -> None:
    vm.publish(extensions=[], remote_users=[USER])
    _, good = talk.session.update()
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    sim.fault("*comp=remoteaccessinfo*", **fault)
    with pytest.raises(FabricError):
        talk.session.update()
    assert talk.known() == good.known()
    assert [one.headers["x-ms-cipher-name"] for one in sim.requests.select(comp="remoteaccessinfo")][-1] == "AES128_CBC"


# -- both sources at once ---------------------------------------------------------------------------------------


@pytest.mark.wire("2.2/failure")
def test_fast_track_is_not_lost_when_the_documents_of_the_same_period_fail(talk: Talk, sim: Any, vm: Any) -> None:
    vm.publish(extensions=[], ticks=639310221300000000)
    talk.session.update()
    vm.publish(extensions=[EXTENSION], source="fasttrack", ticks=639310221300000009)
    vm.rotate_certificate()
    sim.fault("*type=sharedConfig*", status=404, count=1)
    with pytest.raises(FabricRejected):
        talk.session.update()
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.source == "fasttrack"
    assert state.desired.handlers
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]


# -- uploads and reports ----------------------------------------------------------------------------------------


def status_blob(talk: Talk, vm: Any) -> str:
    vm.publish(extensions=[])
    _, state = talk.session.update()
    assert state.desired is not None
    return state.desired.status_blob


@pytest.mark.wire("3.7/InvalidContainerConfiguration")
def test_a_container_that_is_invalid_for_a_status_is_no_staleness(talk: Talk, sim: Any, vm: Any) -> None:
    url = status_blob(talk, vm)
    sim.fault("/status", answer="invalid-container")
    with pytest.raises(FabricRejected, match="400"):
        talk.plugin.upload_status(url, "BlockBlob", b"{}")


@pytest.mark.wire("4.1/success")
@pytest.mark.parametrize(("status", "kind"), [(200, FabricRejected), (202, FabricRejected), (409, FabricRejected), (503, FabricUnreachable)])
@pytest.mark.parametrize("form", ["BlockBlob", "PageBlob"])
def test_a_direct_upload_is_done_with_201_alone(
    talk: Talk, sim: Any, vm: Any, form: str, status: int, kind: type[FabricError]
) -> None:
    url = status_blob(talk, vm)
    sim.fault("*", service="blob", method="PUT", status=status)
    with pytest.raises(kind, match=f"cannot upload .*: {status}") as raised:
        blobs.upload(talk.internet, talk.clock.stamp(), url, form, b"{}")
    assert "sig=" not in str(raised.value)


@pytest.mark.wire("5.2/success")
@pytest.mark.parametrize("status", [200, 201, 204])
def test_role_properties_are_taken_with_202_alone(talk: Talk, sim: Any, status: int) -> None:
    sim.fault("/machine*comp=roleProperties*", status=status)
    with pytest.raises(FabricRejected, match=f"{status}"):
        talk.wire.role_properties(talk.wire.goal_state(), [("CertificateThumbprint", "9f86d081")])


@pytest.mark.wire("5.1/success")
@pytest.mark.parametrize("status", [200, 201, 202])
def test_reports_are_taken_with_any_of_three(talk: Talk, sim: Any, status: int) -> None:
    sim.fault("/machine*comp=health*", status=status)
    talk.wire.report_not_ready(talk.wire.goal_state(), health.PROVISIONING, "Starting")
    assert talk.slept == []


@pytest.mark.wire("5.1/failure")
def test_a_report_whose_confirmation_is_lost_is_sent_again(talk: Talk, sim: Any, vm: Any) -> None:
    sim.fault("/machine*comp=health*", status=503, processed=True, count=1)
    talk.wire.report_ready(talk.wire.goal_state())
    assert [one.state for one in vm.reports.health] == ["Ready", "Ready"]


@pytest.mark.wire("3.1/action")
@pytest.mark.parametrize("listed", [b'["2014-01-01"]', b"[]", b"", b"garbage"])
def test_a_host_plugin_of_another_version_is_not_used(talk: Talk, sim: Any, listed: bytes) -> None:
    sim.fault("/versions", transform=lambda body: listed, count=1)
    assert (talk.plugin.available(), talk.plugin.available()) == (False, True)


# -- bad input as a whole: typed error, the last good state stays, polling goes on --------------------------------


BAD = {
    "truncated": {"truncate": 300},
    "cut XML": {"content": "cut-xml"},
    "entities": {"content": "doctype"},
    "deep": {"content": "deep"},
    "empty": {"content": "empty"},
    "another document": {"transform": lambda body: b"<Extensions/>"},
    "empty elements": {"transform": lambda body: b"<GoalState><Incarnation/><Container/></GoalState>"},
    "redirect": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    "too large": {"transform": lambda body: body + b" " * (17 * 1024 * 1024)},
}  # fmt: skip


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_of_the_goal_state(talk: Talk, sim: Any, vm: Any, case: str) -> None:
    vm.publish(extensions=[EXTENSION])
    _, good = talk.session.update()
    vm.publish(extensions=[])
    sim.fault("/machine/?comp=goalstate", **BAD[case])
    with pytest.raises(FabricError) as raised:
        talk.session.update()
    told = str(raised.value)
    assert "goal" in told
    assert "sig=" not in told
    assert talk.known() == good.known()
    assert talk.poll(talk.known()).errors or case in ("too large", "entities", "deep", "another document", "cut XML")
    sim.clear_faults()
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers == ()


@pytest.mark.wire("2.1/ConfigName")
def test_a_config_name_that_was_cut_off_stays_the_one_before(talk: Talk, sim: Any, vm: Any) -> None:
    vm.publish(extensions=[EXTENSION])
    talk.session.update()
    known = talk.known()
    sim.fault("/machine/?comp=goalstate", content="cut-xml")
    polled = talk.poll(known)
    assert (polled.known.config_name, polled.moved) == (known.config_name, False)
    # Nobody who does not know it asks the host plugin, which would refuse.
    count = len(sim.requests.select(path="/vmSettings"))
    talk.poll(Known())
    assert len(sim.requests.select(path="/vmSettings")) == count


@pytest.mark.wire("7.5/documents")
def test_unknown_elements_and_attributes_do_not_matter(talk: Talk, sim: Any, vm: Any) -> None:
    vm.publish(extensions=[EXTENSION])

    def more(body: bytes) -> bytes:
        for name in (b"GoalState", b"Container", b"Extensions", b"Plugins", b"CertificateFile"):
            body = body.replace(b"</" + name + b">", b"<News a='1'><Deeper>x</Deeper></News></" + name + b">")
        return body

    sim.fault("/machine/*", transform=more)
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers[0].name == EXTENSION["name"]
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]


@pytest.mark.wire("2.6/validity")
@pytest.mark.parametrize("year", [1970, 2000, 2037, 2099])
def test_a_clock_that_is_wrong(talk: Talk, vm: Any, monkeypatch: pytest.MonkeyPatch, year: int) -> None:
    moment = datetime(year, 1, 2, tzinfo=timezone.utc)
    monkeypatch.setattr(talk.clock, "now", lambda: moment)
    vm.publish(extensions=[EXTENSION])
    _, state = talk.session.update()
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    assert f"{state.thumbprints[0]}.prv" in talk.files
    talk.wire.report_ready(state.goal)
    # The clock is set right: the pair that was made under the wrong time is kept or made anew, and works.
    monkeypatch.undo()
    _, state = talk.session.update(force=True)
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    assert talk.system.exists(f"{LIB}/goal-state.json")
