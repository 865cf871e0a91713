"""The documents we make: health, role properties, observations, telemetry, status, storage requests."""

from __future__ import annotations

import base64
import json
from xml.etree import ElementTree

import pytest

from waagent.fabric import health, status, telemetry, upload

URL = "https://store.example/$system/vm.status?sv=1&sk=system-1&sig=SECRET%3d"


@pytest.mark.wire("5.1/Ready", "5.1/body")
def test_ready() -> None:
    root = ElementTree.fromstring(health.ready("1", "c", "i"))
    assert root.findtext("GoalStateIncarnation") == "1"
    assert root.findtext("Container/ContainerId") == "c"
    assert root.findtext("Container/RoleInstanceList/Role/InstanceId") == "i"
    assert root.findtext("Container/RoleInstanceList/Role/Health/State") == "Ready"
    assert root.find(".//Details") is None


@pytest.mark.wire("5.1/ProvisioningFailed", "5.1/body")
def test_not_ready_says_why_and_is_well_formed_whatever_the_text_holds() -> None:
    told = health.not_ready("1", "c", "i", "ProvisioningFailed", 'a<b> & "c" \0 \ud800 \uffff ä')
    root = ElementTree.fromstring(told)
    assert root.findtext(".//State") == "NotReady"
    assert root.findtext(".//SubStatus") == "ProvisioningFailed"
    assert root.findtext(".//Description") == 'a<b> & "c"       ä'


@pytest.mark.wire("5.1/body")
def test_a_description_is_cut_by_encoded_bytes() -> None:
    for text in ("x" * 10_000, "ä" * 10_000, "<" * 10_000, "\U0001f600" * 5_000):
        cut = health.fit(text)
        assert 4080 <= len(cut.encode()) <= 4096
        assert cut.endswith("...")
    assert health.fit("short") == "short"
    assert health.fit("x" * 4096) == "x" * 4096


@pytest.mark.wire("5.2/body")
def test_role_properties() -> None:
    root = ElementTree.fromstring(health.role_properties("c", "i", [("CertificateThumbprint", 'a"b')]))
    found = root.find("Container/RoleInstances/RoleInstance/Properties/Property")
    assert found is not None
    assert found.attrib == {"name": "CertificateThumbprint", "value": 'a"b'}


@pytest.mark.wire("5.7/body")
def test_observations_keep_their_limits() -> None:
    seen = [
        health.observation("n" * 100, healthy=False, description="d" * 200, value=str(number) * 200)
        for number in range(15)
    ]
    body = json.loads(health.observations(seen))
    assert (body["Api"], body["Version"]) == ("reporttargethealth", "1.0")
    assert len(body["Observations"]) == 10
    first = body["Observations"][0]
    assert (len(first["ObservationName"]), len(first["Description"]), len(first["Value"])) == (64, 128, 128)
    assert first["Value"].startswith("5")


@pytest.mark.wire("5.4/body")
def test_a_telemetry_event_has_typed_values() -> None:
    event = telemetry.event(1, [("Name", 'a "<]]>'), ("Ok", True), ("Duration", 5), ("Value", 1.5)])
    root = ElementTree.fromstring(event)
    inner = ElementTree.fromstring(f"<r>{root.text}</r>")
    assert [(one.get("Name"), one.get("Value"), one.get("T")) for one in inner] == [
        ("Name", 'a "<]]>', "mt:wstr"),
        ("Ok", "True", "mt:bool"),
        ("Duration", "5", "mt:uint64"),
        ("Value", "1.5", "mt:float64"),
    ]


@pytest.mark.wire("5.4/body")
def test_batches_stay_below_the_limit() -> None:
    events = [telemetry.event(1, [("Message", "x" * size)]) for size in [20_000] * 7 + [70_000]]
    made, oversize = telemetry.batches(telemetry.OPERATIONS, events)
    assert oversize == [7]
    assert [batch.places for batch in made] == [(0, 1, 2), (3, 4, 5), (6,)]
    documents = [batch.document for batch in made]
    assert [document.count(b"<Event ") for document in documents] == [3, 3, 1]
    assert all(len(document) < 64512 + 200 for document in documents)
    assert ElementTree.fromstring(documents[0]).find("Provider") is not None
    assert telemetry.batches(telemetry.LOGS, []) == ([], [])


@pytest.mark.wire(
    "5.3/guestAgentStatus.status", "5.3/updateStatus", "5.3/inSvdSeqNo", "5.3/outcome", "5.3/supportedFeatures"
)
def test_the_status_document() -> None:
    entry = {"handlerName": "A.B", "handlerVersion": "1", "status": "Ready", "code": 0, "message": f"see {URL} now"}
    document = json.loads(
        status.document(
            "2026-11-23T09:17:40Z",
            "3.0.0",
            ("simvm01", "debian", "12"),
            handlers=[entry],
            goal_state=status.GoalStateOutcome("1", "2026-11-23T09:17:31Z"),
            update=status.UpdateOutcome("3.0.0", "no such version"),
            features=[status.MULTI_CONFIG, status.FAST_TRACK],
        )
    )
    assert (document["version"], document["timestampUTC"]) == ("1.1", "2026-11-23T09:17:40Z")
    aggregate = document["aggregateStatus"]
    assert aggregate["guestAgentStatus"]["status"] == "Ready"
    assert aggregate["guestAgentStatus"]["updateStatus"]["code"] == 1
    assert aggregate["handlerAggregateStatus"][0]["message"] == "see https://store.example/$system/vm.status?<redacted> now"
    outcome = aggregate["vmArtifactsAggregateStatus"]["goalStateAggregateStatus"]
    assert (outcome["inSvdSeqNo"], outcome["status"], outcome["code"]) == ("1", "Success", 0)
    assert document["guestOSInfo"] == {
        "computerName": "simvm01",
        "osName": "debian",
        "osVersion": "12",
        "version": "3.0.0",
    }
    assert document["supportedFeatures"][1] == {"Key": "FastTrack", "Value": "1.0"}


@pytest.mark.wire("5.3/updateStatus", "5.3/vmArtifactsAggregateStatus", "5.3/handlerAggregateStatus")
def test_before_the_first_goal_state_and_without_updates_these_parts_are_absent() -> None:
    aggregate = json.loads(status.document("s", "3", ("a", "b", "c")))["aggregateStatus"]
    assert set(aggregate) == {"guestAgentStatus", "handlerAggregateStatus"}
    assert "updateStatus" not in aggregate["guestAgentStatus"]


@pytest.mark.wire("5.3/handlerAggregateStatus")
def test_one_handler_that_cannot_be_expressed_does_not_silence_the_others() -> None:
    circle: dict[str, object] = {"handlerName": "A.Circle", "handlerVersion": "2"}
    circle["self"] = circle
    bad = [circle, {"handlerName": "A.Bytes", "x": b"\xff"}, {"handlerName": "A.Nan", "x": float("nan")}]
    entries = json.loads(
        status.document("s", "3", ("a", "b", "c"), handlers=[*bad, {"handlerName": "A.Good", "text": "\ud800"}])
    )["aggregateStatus"]["handlerAggregateStatus"]
    assert [entry["handlerName"] for entry in entries] == ["A.Circle", "A.Bytes", "A.Nan", "A.Good"]
    assert [entry.get("status") for entry in entries] == ["NotReady"] * 3 + [None]


@pytest.mark.wire("5.3/outcome")
def test_a_failed_goal_state() -> None:
    outcome = status.GoalStateOutcome("1", "s", status.UNSUPPORTED_FEATURES, "feature X is not supported")
    document = json.loads(status.document("s", "3", ("a", "b", "c"), goal_state=outcome))
    found = document["aggregateStatus"]["vmArtifactsAggregateStatus"]["goalStateAggregateStatus"]
    assert (found["status"], found["code"]) == ("Failed", 2001)


def headers_of(body: bytes) -> dict[str, str]:
    return {entry["headerName"]: entry["headerValue"] for entry in json.loads(body)["headers"]}


@pytest.mark.wire("3.7/body")
def test_a_block_blob_is_described_in_one_request() -> None:
    payload = "ä".encode() * 29
    (body,) = upload.descriptions(URL, "BlockBlob", payload, "2026-11-23T09:16:12Z")
    assert json.loads(body)["requestUri"] == URL
    assert base64.b64decode(json.loads(body)["content"]) == payload
    assert headers_of(body) == {
        "Content-Length": "58",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-date": "2026-11-23T09:16:12Z",
        "x-ms-version": "2014-02-14",
    }


@pytest.mark.wire("3.7/body")
def test_a_page_blob_is_created_and_written_in_padded_slices() -> None:
    payload = b"x" * (4 * 1024 * 1024 + 1300)
    create, first, second = upload.descriptions(URL, "PageBlob", payload, "s")
    assert "content" not in json.loads(create)
    assert headers_of(create)["x-ms-blob-content-length"] == str(4 * 1024 * 1024 + 1536)
    assert headers_of(create)["Content-Length"] == "0"
    assert json.loads(first)["requestUri"] == URL + "&comp=page"
    assert headers_of(first)["x-ms-range"] == "bytes=0-4194303"
    assert headers_of(second)["x-ms-range"] == "bytes=4194304-4195839"
    content = base64.b64decode(json.loads(second)["content"])
    assert (len(content), content[1300:]) == (1536, b" " * 236)
    assert upload.page_url("https://a/b") == "https://a/b?comp=page"
