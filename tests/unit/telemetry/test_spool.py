"""Event files read back, whatever is in them (guest-operations 6.2, 6.4, extensions 10.4), and made complete."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from waagent import events
from waagent.events import Event
from waagent.fabric import telemetry
from waagent.fabric.hosting import Names
from waagent.system import System
from waagent.telemetry import spool
from waagent.telemetry.columns import Columns

LIB = "/var/lib/waagent"
FOLDER = f"{LIB}/events"
FACTS = {
    "imds.location": "simregion1", "imds.subscriptionId": "s-1", "imds.resourceGroupName": "rg-sim",
    "imds.vmId": "v-1", "imds.publisher": "debian", "fabric.container_id": "c-1",
}  # fmt: skip
COMMON = [
    "GAVersion", "ContainerId", "OpcodeName", "EventTid", "EventPid", "TaskName", "OSVersion", "ExecutionMode", "RAM",
    "Processors", "KeywordName", "TenantName", "RoleName", "RoleInstanceName", "Location", "SubscriptionId",
    "ResourceGroupName", "VMId", "ImageOrigin",
]  # fmt: skip
OPERATION = ["Name", "Version", "Operation", "OperationSuccess", "Message", "Duration"]
LOG = ["EventName", "CapabilityUsed", "Context1", "Context2", "Context3"]


def put(system: System, name: str, content: bytes) -> None:
    system.path(FOLDER).mkdir(parents=True, exist_ok=True)
    system.path(f"{FOLDER}/{name}").write_bytes(content)


def file(number: int = 1, **parameters: object) -> bytes:
    listed = [{"name": name, "value": value} for name, value in parameters.items()]
    return json.dumps({"eventId": number, "providerId": "P", "parameters": listed}).encode()


def known(system: System, **facts: Any) -> Columns:
    return Columns.of(system, {**FACTS, **facts}.get, Names("vm_0", "_role", "tenant"))


def completed(system: System, content: bytes) -> dict[str, object]:
    (raw,) = spool.parse(content, 0.0)
    return dict(known(system).complete(raw))


@pytest.mark.wire("5.4/body")
def test_what_was_recorded_is_sent_with_all_columns_in_their_order(system: System) -> None:
    events.record(system, LIB, Event("Stage", "stage local: 3 steps, all well", milliseconds=412, task="local"))
    ((found,), unusable) = spool.read(system, LIB)
    assert not unusable
    columns = known(system).complete(found.events[0])
    assert [name for name, _ in columns] == [*OPERATION, *COMMON, "ExtensionType", "IsInternal"]
    told = dict(columns)
    assert told["ContainerId"] == "c-1" and told["RoleInstanceName"] == "vm_0" and told["ImageOrigin"] == 3
    assert str(told["GAVersion"]).startswith("WALinuxAgent-") and told["ExecutionMode"] == "IAAS"
    assert json.loads(str(told["KeywordName"]))["CpuArchitecture"]


def test_what_is_not_known_yet_is_never_left_out(system: System) -> None:
    (raw,) = spool.parse(file(Operation="Stage"), 0.0)
    told = dict(Columns.of(system, {}.get, None).complete(raw))
    assert list(told)[6:25] == COMMON
    assert told["TenantName"] == "TenantName_UNINITIALIZED" and told["VMId"] == "VMId_UNINITIALIZED"
    assert told["ContainerId"] == "00000000-0000-0000-0000-000000000000" and told["ImageOrigin"] == 0


@pytest.mark.parametrize(("publisher", "origin"), [("debian", 3), (None, 1), ("", 1)], ids=str)
def test_where_the_image_came_from(system: System, publisher: str | None, origin: int) -> None:
    assert dict(known(system, **{"imds.publisher": publisher}).machine)["ImageOrigin"] == origin


def test_the_system_is_described(system: System) -> None:
    system.path("/etc/os-release").write_text('ID=simlinux\nVERSION_ID="9.1"\n')
    system.path("/proc/sys/kernel/osrelease").write_text("6.8.0\n")
    system.path("/proc/meminfo").write_text("MemTotal:        4005316 kB\n")
    told = dict(known(system).machine)
    assert (told["OSVersion"], told["RAM"]) == ("Linux:simlinux-9.1-n/a:6.8.0", 3911)


def test_a_handlers_event_sets_six_columns_and_no_more(system: System) -> None:
    told = completed(
        system,
        file(Name="A.B", Version="1.2", Operation="Enable", OperationSuccess=False, Message="m", Duration=5,
             ContainerId="forged", VMId="forged", TaskName="forged", Extra="x"),
    )  # fmt: skip
    assert told["Name"] == "A.B" and told["Duration"] == 5
    assert "forged" not in told.values() and "Extra" not in told
    assert told["OpcodeName"] == "1970-01-01T00:00:00.000000Z"


def test_nobody_can_say_that_an_event_is_from_another_machine(system: System) -> None:
    told = completed(system, file(Operation="Stage", VMId="forged", OSVersion="forged", Location="forged"))
    assert "forged" not in told.values()


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"Duration": "12"}, ("Duration", 12)), ({"Duration": -1}, ("Duration", 0)), ({"Duration": 1e400}, ("Duration", 0)),
        ({"Duration": None}, ("Duration", 0)), ({"OperationSuccess": "true"}, ("OperationSuccess", True)),
        ({"OperationSuccess": "no"}, ("OperationSuccess", False)), ({"OperationSuccess": 1}, ("OperationSuccess", True)),
        ({"Message": {"a": [1]}}, ("Message", '{"a": [1]}')), ({"Message": None}, ("Message", "")),
        ({"EventPid": "77"}, ("EventPid", 77)), ({"EventTid": "x"}, ("EventTid", 0)),
    ],
    ids=str,
)  # fmt: skip
def test_columns_have_their_type(system: System, given_: dict[str, Any], told: tuple[str, object]) -> None:
    name, value = told
    found = completed(system, file(Operation="Stage", **given_))[name]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"null", b"7", b'"text"', b"{}", b"[[]]", b'{"eventId": 1}', b"[" * 100_000,
        b'{"eventId": true, "providerId": "P", "parameters": [{"name": "a", "value": 1}]}',
        b'{"eventId": 1, "providerId": "", "parameters": [{"name": "a", "value": 1}]}',
        b'{"eventId": 1, "providerId": "P", "parameters": []}',
        b'{"eventId": 1, "providerId": "P", "parameters": [{"value": 1}]}',
        b"<Data><Provider/></Data>",
    ],
    ids=lambda content: repr(content[:40]),
)  # fmt: skip
def test_a_file_that_is_no_event_is_named_with_the_reason(system: System, content: bytes) -> None:
    put(system, "1.tld", content)
    put(system, "2.waagent.tld", file(Operation="Stage"))
    files, unusable = spool.read(system, LIB)
    assert [found.name for found in files] == ["2.waagent.tld"]
    assert list(unusable) == ["1.tld"] and unusable["1.tld"]


def test_a_link_a_directory_and_a_huge_file_are_not_read(system: System) -> None:
    put(system, "1.tld", b"x" * (spool.LARGEST + 1))
    system.path(f"{FOLDER}/2.tld").symlink_to("/etc/shadow")
    system.path(f"{FOLDER}/3.tld").mkdir()
    files, unusable = spool.read(system, LIB)
    assert not files and sorted(unusable) == ["1.tld", "2.tld", "3.tld"]


def test_one_file_may_hold_several_events(system: System) -> None:
    put(system, "1.waagent.tld", b"[" + file(Operation="a") + b"," + file(7, EventName="b") + b"]")
    ((found,), _) = spool.read(system, LIB)
    assert [raw.number for raw in found.events] == [1, 7]
    assert [name for name, _ in known(system).complete(found.events[1])] == [*LOG, *COMMON]


JSON = some.recursive(
    some.none() | some.booleans() | some.floats() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = some.sampled_from([*OPERATION, *COMMON, *LOG]) | some.text(min_size=1, max_size=8)
SHAPED = some.fixed_dictionaries(
    {
        "eventId": some.sampled_from([1, 4, 7]) | JSON,
        "providerId": some.text(min_size=1) | JSON,
        "parameters": some.lists(some.fixed_dictionaries({"name": NAMES, "value": JSON}), max_size=6) | JSON,
    }
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=some.binary() | JSON.map(lambda found: json.dumps(found).encode()) | SHAPED.map(
    lambda found: json.dumps(found).encode()))  # fmt: skip
def test_whatever_a_file_holds_it_is_refused_or_becomes_a_document(system: System, content: bytes) -> None:
    try:
        found = spool.parse(content, 1.0)
    except ValueError as error:
        assert str(error)
        return
    made = [telemetry.event(raw.number, known(system).complete(raw)) for raw in found]
    for document in telemetry.batches(found[0].provider, made)[0] if found else ():
        (provider,) = ElementTree.fromstring(document.document)
        for event in provider:
            for parameter in ElementTree.fromstring(f"<e>{event.text}</e>"):
                assert parameter.attrib["T"] in ("mt:wstr", "mt:bool", "mt:uint64", "mt:float64")
                if parameter.attrib["T"] == "mt:uint64":
                    assert parameter.attrib["Value"].isdigit()
