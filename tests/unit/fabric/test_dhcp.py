"""Our own DHCP question and its answer, byte by byte (wire-protocol 1.2); and when it is asked."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.unit.fabric.samples import FakeClock
from waagent.fabric import dhcp
from waagent.fabric.dhcp import Asker, Offer
from waagent.system import System, broadcast

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

MAC, TRANSACTION = bytes.fromhex("000d3a010203"), b"\x01\x02\x03\x04"
AZURE = bytes((168, 63, 129, 16))


def reply(*options: tuple[int, bytes], mac: bytes = MAC, transaction: bytes = TRANSACTION, tail: bytes = b"\xff") -> bytes:
    head = struct.pack("!BBBB4sHH", 2, 1, 6, 0, transaction, 0, 0) + bytes(16) + mac + bytes(10 + 64 + 128)
    listed = b"".join(bytes((code,)) if code == 0 else bytes((code, len(value))) + value for code, value in options)
    return head + dhcp.COOKIE + b"\x35\x01\x02" + listed + tail


@pytest.mark.wire("1.2/0x00", "1.2/0x04", "1.2/0x0A", "1.2/0x1C", "1.2/0xEC", "1.2/0xF0")
def test_the_question() -> None:
    asked = dhcp.discover(MAC, TRANSACTION, everybody=False)
    assert len(asked) == 244
    assert asked[:4] == b"\x01\x01\x06\x00"
    assert (asked[0x04:0x08], asked[0x0A:0x0C], asked[0x1C:0x22]) == (TRANSACTION, b"\0\0", MAC)
    assert asked[0xEC:] == bytes((99, 130, 83, 99, 53, 1, 1, 255))
    assert not any(asked[0x0C:0x1C] + asked[0x22:0xEC])
    assert dhcp.discover(MAC, TRANSACTION, everybody=True)[0x0A] == 0x80


@pytest.mark.row("provisioning", 87, 88)
@pytest.mark.wire("1.2/option-3", "1.2/option-245", "1.2/option-249", "1.2/pad")
@pytest.mark.parametrize(
    ("options", "offer"),
    [
        (((245, AZURE),), Offer("168.63.129.16")),
        (((0, b""), (0, b""), (245, AZURE), (0, b"")), Offer("168.63.129.16")),  # padding has no length
        (((3, b"\x0a\0\0\x01\x0a\0\0\x02"), (245, AZURE)), Offer("168.63.129.16", "10.0.0.1")),
        (((245, AZURE[:3]),), Offer()),
        (((245, AZURE + b"\0"),), Offer()),
        (((245, b""),), Offer()),
        (((245, bytes(4)),), Offer()),
        (((245, b"\x7f\0\0\x01"),), Offer()),
        (((3, b"\x0a\0\0"),), Offer()),
        (((121, b"\x18\xc0\xa8\x01\x0a\0\0\x01"),), Offer()),
        (((249, b"\x20" + AZURE + b"\x0a\0\0\x01"),), Offer(routes=(("168.63.129.16/32", "10.0.0.1"),))),
        (
            ((249, b"\x00\x0a\0\0\x01" + b"\x0c\xac\x1f\x0a\0\0\x02" + b"\x21\x01"),),
            Offer(routes=(("0.0.0.0/0", "10.0.0.1"), ("172.16.0.0/12", "10.0.0.2"))),
        ),
        (((249, b"\x18\x0a\0\0"),), Offer()),
    ],
)
def test_what_an_offer_says(options: tuple[tuple[int, bytes], ...], offer: Offer) -> None:
    assert dhcp.parse(reply(*options), MAC, TRANSACTION) == offer


@pytest.mark.row("provisioning", 87)
@pytest.mark.wire("1.2/reply")
def test_options_after_the_end_or_cut_off_do_not_count() -> None:
    assert dhcp.parse(reply((245, AZURE), tail=b"\xff\xf5\x04\x01\x02\x03\x04"), MAC, TRANSACTION) == Offer("168.63.129.16")
    assert dhcp.parse(reply(tail=b"\xf5\x04\xa8\x3f"), MAC, TRANSACTION) == Offer()
    assert dhcp.parse(reply(tail=b"\0\0\0\xf5"), MAC, TRANSACTION) == Offer()


@pytest.mark.row("provisioning", 87)
@pytest.mark.wire("1.2/reply")
def test_answers_to_others_are_none() -> None:
    good = reply((245, AZURE))
    assert dhcp.parse(good, MAC, b"\0\0\0\0") is None
    assert dhcp.parse(good, bytes(6), TRANSACTION) is None
    assert dhcp.parse(good.replace(dhcp.COOKIE, bytes(4)), MAC, TRANSACTION) is None
    assert dhcp.parse(good[:0xF5], MAC, TRANSACTION) is None
    assert dhcp.parse(b"\x01" + good[1:], MAC, TRANSACTION) is None  # somebody's question
    assert dhcp.parse(good.replace(b"\x35\x01\x02", b"\x35\x01\x06"), MAC, TRANSACTION) is None  # a NAK
    assert dhcp.parse(good.replace(b"\x35\x01\x02", b"\x00\x00\x00"), MAC, TRANSACTION) is None  # plain BOOTP


@pytest.mark.wire("1.2/option-3", "1.2/option-249")
def test_the_gateway_to_an_address() -> None:
    offer = Offer(None, "10.0.0.1", (("0.0.0.0/0", "10.0.0.2"), ("168.63.129.16/32", "10.0.0.3")))
    assert [offer.gateway_to("168.63.129.16"), offer.gateway_to("8.8.8.8")] == ["10.0.0.3", "10.0.0.2"]
    assert Offer(None, "10.0.0.1").gateway_to("8.8.8.8") == "10.0.0.1"
    assert Offer().gateway_to("8.8.8.8") is None


@pytest.mark.wire("1.2/reply")
@hypothesis.given(st.binary(max_size=300))
def test_any_options_are_taken(tail: bytes) -> None:
    offer = dhcp.parse(reply(tail=tail), MAC, TRANSACTION)
    assert offer is None or isinstance(offer, Offer)


@pytest.mark.wire("1.2/reply")
@hypothesis.given(st.binary(max_size=600))
def test_any_packet_is_survived(packet: bytes) -> None:
    assert dhcp.parse(packet, MAC, TRANSACTION) is None
    broadcast.payload_of(packet, 68)


@hypothesis.given(st.lists(st.tuples(st.integers(1, 254).filter(lambda code: code != 53), st.binary(max_size=40)), max_size=12))
def test_options_come_out_as_they_went_in(listed: list[tuple[int, bytes]]) -> None:
    field = b"".join(b"\0" + bytes((code, len(value))) + value for code, value in listed)
    assert list(dhcp.options(field + b"\xff junk")) == listed


@hypothesis.given(st.binary(max_size=400), st.integers(1, 65535), st.integers(1, 65535))
def test_a_frame_gives_back_its_payload(payload: bytes, source: int, port: int) -> None:
    packet = broadcast.frame(payload, source, port)
    assert broadcast.payload_of(packet + b"\0" * 6, port) == payload  # a short frame is padded on the wire
    assert broadcast._checksum(packet[:20]) == 0
    assert broadcast.payload_of(packet, port ^ 1) is None
    assert broadcast.payload_of(packet[:-1], port) is None


@hypothesis.given(st.data())
def test_a_damaged_frame_is_none_or_within_its_bounds(data: hypothesis.strategies.DataObject) -> None:
    packet = bytearray(broadcast.frame(b"x" * 40, 67, 68))
    packet[data.draw(st.integers(0, 27))] = data.draw(st.integers(0, 255))
    found = broadcast.payload_of(bytes(packet), 68)
    assert found is None or len(found) <= 40


@pytest.mark.parametrize("mac", ["", "00:0d:3a:01:02", "00:0d:3a:01:02:0g", "00:00:00:00:00:00", "01:00:5e:00:00:01", "0:d:3a:1:2:3"])
def test_what_is_no_address_of_an_interface(mac: str) -> None:
    assert dhcp.mac_bytes(mac) is None


def test_the_address_of_an_interface() -> None:
    assert dhcp.mac_bytes("00:0D:3a:01:02:03\n") == MAC


# -- when it is asked -------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The questions; nobody answers them."""
    questions: list[bytes] = []

    def ask(interface: str, question: bytes, **_: object) -> None:
        questions.append(question)

    monkeypatch.setattr(broadcast, "ask", ask)
    return questions


def asker(system: System, notes: list[str], mac: str = "00:0d:3a:01:02:03") -> tuple[Asker, FakeClock]:
    clock = FakeClock()
    system.clock = clock
    return Asker(system, "eth0", mac, notes.append), clock


@pytest.mark.wire("1.2/tries")
def test_five_questions_with_growing_pauses(system: System, asked: list[bytes]) -> None:
    notes: list[str] = []
    asking, clock = asker(system, notes)
    times = []
    for _ in range(300):
        before = len(asked)
        assert asking.wire_server() is None
        if len(asked) > before:
            times.append(round(clock.passed))
        clock.sleep(1.0)
    assert times == [0, 1, 11, 41, 101]
    assert [question[0x0A] for question in asked] == [0, 0x80, 0x80, 0x80, 0x80]
    assert notes == ["no DHCP server answered on eth0 within 5 s"]


@pytest.mark.wire("1.2/tries")
def test_an_answer_is_remembered(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    count = []

    def ask(interface: str, question: bytes, accept: Callable[[bytes], object], **_: object) -> object:
        count.append(interface)
        assert accept(b"junk") is None
        return accept(reply((245, AZURE), transaction=question[4:8]))

    monkeypatch.setattr(broadcast, "ask", ask)
    asking, _ = asker(system, [])
    assert [asking.wire_server(), asking.wire_server()] == ["168.63.129.16"] * 2
    assert count == ["eth0"]


@pytest.mark.wire("1.2/tries")
def test_a_plan_or_a_machine_without_ethernet_asks_nothing(system: System, asked: list[bytes]) -> None:
    asking, _ = asker(system, [], mac="")
    assert asking.wire_server() is None
    asking, _ = asker(system, [])
    system.planning = True
    assert asking.wire_server() is None
    assert asked == []


def test_a_system_that_cannot_is_not_asked_again(system: System) -> None:
    notes: list[str] = []
    system.clock = FakeClock()
    asking = Asker(system, "nosuchlink0", "00:0d:3a:01:02:03", notes.append)
    assert [asking.wire_server() for _ in range(3)] == [None] * 3
    assert len(notes) == 1
    assert "cannot ask for the wire server by DHCP on nosuchlink0" in notes[0]
