"""Our own DISCOVER against a real DHCP server on a wire of its own (wire-protocol 1.2), and discovery with it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol.links import FAR, NEAR, Link, missing

TOP = Path(__file__).resolve().parents[2]
WHY = missing("dnsmasq")

pytestmark = pytest.mark.skipif(bool(WHY) and os.environ.get("CI") != "true", reason=WHY)

ASK = f"""
import sys, time
from waagent.fabric.dhcp import Asker
from waagent.machine import network
from waagent.system import System
system = System(journalling=False)
asker = Asker(system, {NEAR!r}, network.mac(system, {NEAR!r}), print, timeout=float(sys.argv[1]))
began = time.monotonic()
told = [asker.wire_server() for _ in range(int(sys.argv[2]))][-1]
print("told", told, asker.offer and asker.offer.gateway, round(time.monotonic() - began))
"""

FIND = f"""
from pathlib import Path
from waagent import config
from waagent.fabric import discovery
from waagent.fabric.dhcp import Asker
from waagent.machine import network
from waagent.system import System
from waagent.system.http import Http
system = System(journalling=False)
asker = Asker(system, {NEAR!r}, network.mac(system, {NEAR!r}), print)
found = discovery.find(system, Http(), patience=30, known="127.0.0.1:1:1", well_known="127.0.0.1:2:2",
                       ask=asker.wire_server, note=print)
print("found", found.text)
"""


@pytest.fixture
def link() -> Iterator[Link]:
    assert not WHY, WHY
    with Link() as link:
        yield link


def serve(link: Link, folder: Path, *options: str) -> None:
    log = folder / "dnsmasq.log"
    link.there(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=far0"),
        *("--bind-interfaces", "--no-ping", "--log-facility=-", "--log-dhcp", f"--dhcp-leasefile={folder}/leases"),
        *(f"--pid-file={folder}/pid", "--user=root", "--dhcp-range=192.0.2.10,192.0.2.20,5m", *options),
        ready=lambda: "sockets bound" in log.read_text() or "DHCP, IP range" in log.read_text(),
        log=log,
    )


def ask(link: Link, timeout: float = 3.0, times: int = 1) -> list[str]:
    return link.here(sys.executable, "-c", ASK, str(timeout), str(times), cwd=TOP).splitlines()


@pytest.mark.wire("1.2/option-245")
def test_the_answer_of_a_real_server(link: Link, tmp_path: Path) -> None:
    serve(link, tmp_path, "--dhcp-option=245,a8:3f:81:10")
    assert ask(link) == [f"told 168.63.129.16 {FAR} 0"]
    # Nothing was taken: the server gave no lease.
    assert (tmp_path / "leases").read_text().strip() == ""


@pytest.mark.wire("1.2/reply")
def test_an_interface_that_has_its_address_already(link: Link, tmp_path: Path) -> None:
    serve(link, tmp_path, "--dhcp-option=245,a8:3f:81:10")
    link.give_address("192.0.2.10/24")
    assert ask(link) == [f"told 168.63.129.16 {FAR} 0"]


@pytest.mark.wire("1.2/option-245")
@pytest.mark.parametrize("value", ["a8:3f:81", "a8:3f:81:10:00", "00:00:00:00", "7f:00:00:01"])
def test_an_option_of_the_wrong_form_is_none(link: Link, tmp_path: Path, value: str) -> None:
    serve(link, tmp_path, f"--dhcp-option=245,{value}")
    said, told = ask(link)
    assert "tells no address of the wire server (option 245)" in said
    assert told == f"told None {FAR} 0"


@pytest.mark.wire("1.2/option-245")
def test_a_server_without_the_option(link: Link, tmp_path: Path) -> None:
    serve(link, tmp_path)
    assert ask(link)[-1] == f"told None {FAR} 0"


@pytest.mark.wire("1.2/tries")
def test_nobody_answers(link: Link) -> None:
    said, told = ask(link, timeout=1.0, times=2)  # the second question follows at once
    assert "no DHCP server answered on near0 within 1 s" in said
    assert told == "told None None 2"


GARBAGE = """
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"far0")
s.bind(("0.0.0.0", 67))
print("ready", flush=True)
while True:
    question, _ = s.recvfrom(2048)
    answer = b"\\x02" + question[1:240] + bytes((53, 1, 2, 245, 4, 168, 63, 129, 16, 255))
    other = answer[:4] + bytes(4) + answer[8:]
    for bad in (b"", b"x", os.urandom(500), question, answer[:245], other, answer[:240] + bytes(range(60, 250))):
        s.sendto(bad, ("255.255.255.255", 68))
    if sys.argv[1] == "then-good":
        s.sendto(answer, ("255.255.255.255", 68))
"""


@pytest.mark.wire("1.2/reply")
@pytest.mark.parametrize(("mode", "told"), [("then-good", "168.63.129.16"), ("only-bad", "None")])
def test_garbage_before_the_answer_is_passed_over(link: Link, tmp_path: Path, mode: str, told: str) -> None:
    log = tmp_path / "server.log"
    link.there(sys.executable, "-c", GARBAGE, mode, ready=lambda: "ready" in log.read_text(), log=log)
    found = ask(link, timeout=1.0)[-1].split()[1]
    assert found == told


@pytest.mark.wire("1.1/order", "9.1/1")
def test_discovery_asks_the_network_and_finds_a_fabric_there(link: Link, tmp_path: Path) -> None:
    serve(link, tmp_path, "--dhcp-option=245,c0:00:02:01")
    link.give_address("192.0.2.10/24")
    log = tmp_path / "simulator.log"
    link.there(
        *(sys.executable, "-m", "waagent.simulator", "serve", "--host", FAR, "--wire-port", "80"),
        *("--plugin-port", "32526", "--no-imds", "--control", "0", "--machine", "vm01"),
        ready=lambda: "ready" in log.read_text().splitlines(),
        log=log,
    )
    began = time.monotonic()
    assert link.here(sys.executable, "-c", FIND, cwd=TOP).splitlines()[-1] == f"found {FAR}"
    assert time.monotonic() - began < 10
