"""What DHCP clients keep, as they write it; and what somebody may have put in its place."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modules.conftest import profile_of
from tests.unit.fabric.samples import NOW
from waagent.fabric import leases
from waagent.system import System

AZURE = bytes((168, 63, 129, 16))

DHCLIENT = """\
default-duid "\\000\\001\\000\\001+\\327\\304\\362\\000\\015:\\001\\002\\003";
lease {
  interface "eth0";
  fixed-address 10.0.0.4;
  server-name "RD0003FFA1B2C3";
  option subnet-mask 255.255.255.0;
  option dhcp-lease-time 4294967295;
  option routers 10.0.0.1;
  option dhcp-message-type 5;
  option dhcp-server-identifier 168.63.129.16;
  option domain-name-servers 168.63.129.16;
  option dhcp-renewal-time 4294967295;
  option unknown-245 VALUE;
  option rfc3442-classless-static-routes 0,10,0,0,1,32,168,63,129,16,10,0,0,1,32,169,254,169,254,10,0,0,1;
  option dhcp-rebinding-time 4294967295;
  option domain-name "a1b2.bx.internal.cloudapp.net";
  renew 0 2162/12/30 15:48:37;
  rebind 0 2162/12/30 15:48:37;
  expire 0 2162/12/30 15:48:37;
}
"""
NETWORKD = """\
# This is private data. Do not parse.
ADDRESS=10.0.0.4
NETMASK=255.255.255.0
ROUTER=10.0.0.1
SERVER_ADDRESS=168.63.129.16
NEXT_SERVER=168.63.129.16
MTU=1500
T1=infinity
T2=infinity
LIFETIME=infinity
DNS=168.63.129.16
DOMAINNAME=a1b2.bx.internal.cloudapp.net
ROUTES=0.0.0.0/0,10.0.0.1 168.63.129.16/32,10.0.0.1 169.254.169.254/32,10.0.0.1
CLIENTID=ff0a1b2c3d00020000ab11c0ffee
OPTION_245=VALUE
"""
NETWORKMANAGER = """\
[device]
managed=true
connection-uuid=5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03
perm-hw-addr-fake=00:0D:3A:01:02:03
route-metric-default-aspired=100
route-metric-default-effective=100

[dhcp4]
ip_address=10.0.0.4
dhcp_server_identifier=168.63.129.16
private_245=VALUE
"""


def dhcpcd(value: bytes) -> bytes:
    """The packet, as dhcpcd keeps it."""
    head = b"\x02\x01\x06\x00" + b"\x0a\x0b\x0c\x0d" + bytes(8) + bytes((10, 0, 0, 4)) + bytes(8)
    head += bytes.fromhex("000d3a010203") + bytes(10 + 64 + 128)
    listed = ((53, b"\5"), (54, AZURE), (1, b"\xff\xff\xff\0"), (3, bytes((10, 0, 0, 1))), (245, value))
    return head + leases.COOKIE + b"".join(bytes((code, len(told))) + told for code, told in listed) + b"\xff"


def escaped(value: bytes) -> str:
    """As dhclient writes what it takes for text."""
    return '"' + "".join(f"\\{byte:03o}" for byte in value) + '"'


CLIENTS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "dhclient": (
        "/var/lib/dhcp/dhclient.eth0.leases",
        lambda value: DHCLIENT.replace("VALUE", ":".join(f"{byte:x}" for byte in value) or '""').encode(),
    ),
    "dhclient, as text": (
        "/var/lib/NetworkManager/dhclient-eth0.lease",
        lambda value: DHCLIENT.replace("VALUE", escaped(value)).encode(),
    ),
    "networkd": ("/run/systemd/netif/leases/2", lambda value: NETWORKD.replace("VALUE", value.hex()).encode()),
    "NetworkManager": (
        "/run/NetworkManager/devices/2",
        lambda value: NETWORKMANAGER.replace("VALUE", ":".join(f"{byte:02x}" for byte in value)).encode(),
    ),
    "dhcpcd": ("/var/lib/dhcpcd/eth0.lease", lambda value: dhcpcd(value[:255])),
}


@pytest.fixture
def globs(tmp_path: Path) -> list[str]:
    """Of a system that no profile knows: all clients."""
    profile = profile_of(tmp_path / "root", "none", "1")
    return [pattern for patterns in profile.get("network.leases").values() for pattern in patterns]


def put(system: System, path: str, content: bytes) -> Path:
    real = system.path(path)
    real.parent.mkdir(parents=True, exist_ok=True)
    real.write_bytes(content)
    return real


@pytest.mark.wire("1.3/dhclient", "1.3/networkd", "1.3/NetworkManager", "1.3/dhcpcd")
@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_s_own_form_is_read(system: System, globs: list[str], client: str) -> None:
    path, written = CLIENTS[client]
    put(system, path, written(AZURE))
    assert leases.find(system, globs, NOW) == ["168.63.129.16"]


@pytest.mark.wire("1.3/dhclient", "1.3/networkd", "1.3/NetworkManager", "1.3/dhcpcd")
@pytest.mark.parametrize(
    "value",
    [b"", AZURE[:1], AZURE[:3], AZURE + b"\0", AZURE + AZURE, bytes(4), b"\x7f\0\0\x01", b"\xe0\0\0\x01", b"\xff" * 4, AZURE * 60],
    ids=lambda value: value.hex()[:20] or "empty",
)
@pytest.mark.parametrize("client", CLIENTS)
def test_an_option_of_the_wrong_length_or_no_host_s_is_none(system: System, globs: list[str], client: str, value: bytes) -> None:
    path, written = CLIENTS[client]
    put(system, path, written(value))
    assert leases.find(system, globs, NOW) == []


@pytest.mark.parametrize("client", CLIENTS)
def test_a_file_that_is_damaged_hides_none_that_is_sound(system: System, globs: list[str], client: str) -> None:
    path, written = CLIENTS[client]
    for number, content in enumerate((b"", os.urandom(5000), written(AZURE)[:-20][:240], written(AZURE[:3]))):
        put(system, f"{path.rpartition('/')[0]}/dhclient.{number}.leases.lease.leases", content)
    put(system, path, written(AZURE))
    assert leases.find(system, globs, NOW) == ["168.63.129.16"]


def test_the_lease_of_another_link_is_one_more_to_try(system: System, globs: list[str]) -> None:
    """Which of them is the wire server is found out by asking; the newest is asked first."""
    for name, value, changed in (("2", AZURE, 2000), ("3", b"\x0a\0\0\x63", 1000)):
        os.utime(put(system, f"/run/systemd/netif/leases/{name}", NETWORKD.replace("VALUE", value.hex()).encode()), (changed, changed))
    assert leases.find(system, globs, NOW) == ["168.63.129.16", "10.0.0.99"]


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.parent.parent / "pipe")
    path.symlink_to("../pipe")


def _huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(NETWORKD.replace("VALUE", "0a000063").encode())
        stream.truncate(100 * 1024 * 1024)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [_pipe, _link_to_a_pipe, _huge, _socket, _circle, Path.mkdir, lambda path: path.symlink_to("no")])
def test_what_is_no_plain_file_is_passed_over_at_once(system: System, globs: list[str], make: Callable[[Path], object]) -> None:
    good = put(system, "/run/systemd/netif/leases/2", NETWORKD.replace("VALUE", AZURE.hex()).encode())
    make(good.parent / "3")
    began = time.monotonic()
    assert leases.find(system, globs, NOW) == ["168.63.129.16"]
    assert time.monotonic() - began < 2


HALF = leases.SIZE // 2 - 10


@pytest.mark.parametrize(
    "content",
    [
        b"lease " * (HALF // 3),
        b'lease { "' + b'\\"' * HALF,
        b'lease { "' + b'\\"' * (HALF - 1) + b"\\",
        b"lease { " + b'"' * HALF,
        b"245" * (HALF // 3) + b"=",
        b"245=" + b"a" * HALF + b"x",
        b"245=" + b"\n" * HALF + b"x",
        b"\n" * HALF,
        bytes(236) + leases.COOKIE + b"\x01\x00" * HALF,
    ],
    ids=lambda value: repr(value[:12]),
)
def test_a_file_that_is_made_to_take_long_does_not(content: bytes) -> None:
    began = time.monotonic()
    assert leases.parse(content, NOW) is None
    assert time.monotonic() - began < 5
