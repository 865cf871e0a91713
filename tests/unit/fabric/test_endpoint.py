"""Addresses, the order in which they are tried, and option 245 in the files of each DHCP client."""

from __future__ import annotations

import os

import pytest

from tests.unit.fabric.samples import NOW
from waagent.errors import FabricRejected
from waagent.fabric import endpoint, leases
from waagent.fabric.endpoint import Endpoint
from waagent.system import System


@pytest.mark.wire("0.1/wire-server", "0.1/host-plugin")
def test_urls_of_the_services() -> None:
    usual, other = Endpoint(), Endpoint("127.0.0.1", 8080, 8081)
    assert usual.wire("/?comp=versions") == "http://168.63.129.16/?comp=versions"
    assert usual.plugin("/status") == "http://168.63.129.16:32526/status"
    assert other.wire("/a") == "http://127.0.0.1:8080/a"
    assert (usual.text, other.text) == ("168.63.129.16", "127.0.0.1:8080:8081")
    assert [endpoint.parse(one.text) for one in (usual, other)] == [usual, other]


@pytest.mark.wire("1.1/fixed-address")
@pytest.mark.parametrize("text", ["", "a b", "http://x", "1.2.3.4:80", "x:0:1", "x:y:z", "x:80:99999", "ä", "x:²:1", "a/b"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(FabricRejected, match=r"expected 168\.63\.129\.16"):
        endpoint.parse(text)


def test_candidates_keep_their_order_and_come_once() -> None:
    texts = ["10.0.0.1", "no such thing", "10.0.0.2", "10.0.0.1", "168.63.129.16"]
    assert [one.text for one in endpoint.candidates(texts)] == ["10.0.0.1", "10.0.0.2", "168.63.129.16"]


def lease(option: str, expire: str = "never") -> bytes:
    return f'lease {{\n  interface "eth0";\n  {option}\n  expire {expire};\n}}\n'.encode()


@pytest.mark.wire("1.3/dhclient", "1.3/single-digit-bytes", "1.3/printable-bytes")
@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("option unknown-245 a8:3f:81:10;", "168.63.129.16"),
        ("option unknown-245 a8:3f:81:1;", "168.63.129.1"),
        ("option option-245 a:14:1e:28;", "10.20.30.40"),
        ('option unknown-245 "\\250?\\201\\020";', "168.63.129.16"),
        ('option unknown-245 "d\\"en";', "100.34.101.110"),
        ("option unknown-245 a8:3f:81;", None),
        ("option unknown-245 a8:3f:81:10:11;", None),
        ("option unknown-245 zz:3f:81:10;", None),
        ("option unknown-245 0:0:0:0;", None),
        ("option routers 10.0.0.1;", None),
    ],
)
def test_leases_of_dhclient(option: str, address: str | None) -> None:
    assert leases.parse(lease(option), NOW) == address


@pytest.mark.row("provisioning", 86)
@pytest.mark.wire("1.3/choice")
@pytest.mark.parametrize(
    ("expire", "counts"),
    [
        ("never", True),
        ("2 never", True),
        ("1 2026/11/23 09:20:01", True),
        ("1 2026/11/23 09:20:00", False),
        ("1 2026/11/23 09:20:01 UTC", True),
        ("epoch 1795425601", True),
        ("epoch 1000", False),
        ("1 2026/13/45 09:20:01", False),
        ("soon", False),
    ],
)
def test_expired_leases_do_not_count(expire: str, counts: bool) -> None:
    found = leases.parse(lease("option unknown-245 a8:3f:81:10;", expire), NOW)
    assert found == ("168.63.129.16" if counts else None)


@pytest.mark.row("provisioning", 86)
@pytest.mark.wire("1.3/choice")
def test_the_last_valid_lease_of_a_file_wins() -> None:
    old, new = lease("option unknown-245 1:2:3:4;"), lease("option unknown-245 5:6:7:8;")
    expired = lease("option unknown-245 9:9:9:9;", "1 2020/01/01 00:00:00")
    without = lease("option routers 10.0.0.1;")
    assert leases.parse(old + new + expired + without, NOW) == "5.6.7.8"
    assert leases.parse(b"lease { option unknown-245 1:2:3:4; }", NOW) is None  # without an end it counts as over


@pytest.mark.wire("1.3/networkd", "1.3/NetworkManager", "1.3/dhcpcd")
@pytest.mark.parametrize(
    ("content", "address"),
    [
        (b"# This is private data.\nADDRESS=10.0.0.4\nOPTION_245=a83f8110\n", "168.63.129.16"),
        (b"private_245=a8:3f:81:10\n", "168.63.129.16"),
        (b"new_unknown_245='168.63.129.16'\n", "168.63.129.16"),
        (b"OPTION_245=a83f81\n", None),
        (b"OPTION_2450=a83f8110\n", None),
        (b"\0" * 236 + b"\x63\x82\x53\x63" + b"\0\x35\1\5\xf5\4\xa8\x3f\x81\x10\xff", "168.63.129.16"),
        (b"\0" * 236 + b"\x63\x82\x53\x63" + b"\xf5\4\xa8\x3f", None),
        (b"\0" * 236 + b"\x63\x82\x53\x63" + b"\xff\xf5\4\xa8\x3f\x81\x10", None),
        (b"", None),
        (bytes(range(256)), None),
    ],
)
def test_leases_of_other_clients(content: bytes, address: str | None) -> None:
    assert leases.parse(content, NOW) == address


@pytest.mark.wire("1.3/choice")
def test_the_newest_file_comes_first(system: System) -> None:
    folder = system.path("/run/systemd/netif/leases")
    folder.mkdir(parents=True)
    for name, address, changed in (("2", "05060708", 1000), ("3", "01020304", 2000), ("4", "junk", 3000)):
        (folder / name).write_text(f"OPTION_245={address}\n")
        os.utime(folder / name, (changed, changed))
    globs = ["/run/systemd/netif/leases/*", "/var/lib/dhcp/dhclient.*.leases"]
    assert leases.find(system, globs, NOW) == ["1.2.3.4", "5.6.7.8"]
