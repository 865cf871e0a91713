"""A link that stays down after a new name was announced."""

from __future__ import annotations

import pytest

from tests.modules.conftest import profile_of
from waagent.errors import NetworkError
from waagent.machine import link_recovery
from waagent.system.clock import Clock

RESTART = ("systemctl", "restart", "NetworkManager")
STATE = ("nmcli", "-g", "general.state", "device", "show", "eth0")
LINK = "/sys/class/net/eth0/operstate"


class Hasty(Clock):
    def sleep(self, seconds: float) -> None:
        self.slept = seconds


@pytest.fixture
def rhel(system, tmp_path, program):
    program("nmcli")
    system.clock = Hasty()
    return profile_of(tmp_path / "root", "rhel", "8.4")


@pytest.mark.row("provisioning", 93)
def test_a_link_that_is_down_is_brought_back(system, script, put, rhel) -> None:
    put(LINK, "down\n")
    script.on(*STATE, stdout="30 (disconnected)\n")

    def restarted() -> None:
        put(LINK, "up\n")
        script.on(*STATE, stdout="100 (connected)\n")

    script.on(*RESTART, effect=restarted)
    assert "eth0 was down and is up again" in link_recovery.recover(system, rhel, "eth0")
    assert link_recovery.recover(system, rhel, "eth0") == ""
    assert script.ran.count(RESTART) == 1 and system.clock.slept == 5.0


@pytest.mark.row("provisioning", 93)
def test_one_that_stays_down_is_a_failure(system, script, put, rhel) -> None:
    put(LINK, "down\n")
    script.on(*STATE, stdout="20 (unavailable)\n")
    script.on(*RESTART)
    with pytest.raises(NetworkError, match="the link is down and NetworkManager says 20"):
        link_recovery.recover(system, rhel, "eth0")


@pytest.mark.parametrize("content", ["NM_CONTROLLED=no\n", 'BOOTPROTO=dhcp\nNM_CONTROLLED="no"\n'])
def test_a_link_that_is_not_its_own_is_left_alone(system, script, put, rhel, content) -> None:
    put(LINK, "down\n")
    put("/etc/sysconfig/network-scripts/ifcfg-eth0", content)
    assert link_recovery.recover(system, rhel, "eth0") == "" and script.ran == []


@pytest.mark.parametrize(("distro", "version"), [("rhel", "6.10"), ("rhel", "9.4"), ("debian", "12"), ("ubuntu", "24.04")])
def test_other_releases_need_no_recovery(system, script, put, rhel, tmp_path, distro, version) -> None:
    put(LINK, "down\n")
    assert link_recovery.recover(system, profile_of(tmp_path / "root", distro, version), "eth0") == ""
    assert script.ran == []
