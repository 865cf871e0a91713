"""The .deb as an administrator meets it: installed on a running machine, upgraded, removed, purged."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import Bed, package, tree

STAGES = ("local", "network", "config", "final")


@pytest.fixture(scope="module")
def machine() -> Iterator[Bed]:
    """A running Debian without the agent, with two versions of the package at hand."""
    with Bed(layers=[tree.base("bookworm")]) as bed:
        deb = package.build()
        bed.guest.write("/srv/now.deb", deb.read_bytes())
        bed.guest.write("/srv/next.deb", next_version(deb, bed.directory).read_bytes())
        bed.guest.boot()
        bed.guest.wait_until_booted()
        yield bed


def next_version(deb: Path, scratch: Path) -> Path:
    """The same package with a later version number."""
    tree, made = scratch / "unpacked", scratch / "next.deb"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text(encoding="utf-8").replace("Version: 3.0.0\n", "Version: 3.0.1\n"), encoding="utf-8")
    subprocess.run(["dpkg-deb", "--build", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def state(bed: Bed, unit: str) -> str:
    return bed.guest.run(["systemctl", "is-active", unit]).out.strip()


def pid(bed: Bed) -> str:
    return bed.guest.succeed("systemctl show waagent.service -P MainPID").strip()


def test_installing_starts_the_watcher_and_no_stage(machine: Bed) -> None:
    machine.guest.succeed("dpkg --install /srv/now.deb")
    assert state(machine, "waagent.service") == "active", machine.guest.journal("waagent.service")
    assert state(machine, "waagent-periodic.timer") == "active"
    for stage in STAGES:
        assert state(machine, f"waagent-{stage}.service") == "inactive", f"stage {stage} ran on a live machine"
    assert machine.guest.succeed("systemctl is-enabled waagent.target") == "enabled\n"
    assert machine.guest.succeed("stat -c %a /var/lib/waagent") == "711\n"
    assert machine.guest.succeed("waagent --version")


def test_installed_files_are_as_they_were_packed(machine: Bed) -> None:
    told = machine.guest.run("dpkg --verify waagent").out.splitlines()
    # The guest tree leaves documentation out of every package.
    assert [line for line in told if "/usr/share/doc/" not in line and "/usr/share/man" not in line] == []


def test_upgrade_restarts_the_watcher_and_keeps_changed_configuration(machine: Bed) -> None:
    machine.guest.succeed("echo '# mine' >>/etc/waagent.conf")
    before = pid(machine)
    machine.guest.succeed("dpkg --install /srv/next.deb")
    assert machine.guest.succeed("dpkg-query -W -f '${Version}' waagent") == "3.0.1"
    machine.guest.wait_for_unit("waagent.service")
    assert pid(machine) not in ("0", before)
    assert machine.guest.read("/etc/waagent.conf").endswith("# mine\n")
    for stage in STAGES:
        assert state(machine, f"waagent-{stage}.service") == "inactive", f"the upgrade ran stage {stage}"


def test_what_an_administrator_stopped_and_disabled_stays_so_through_an_upgrade(machine: Bed) -> None:
    machine.guest.succeed("systemctl disable --now waagent.service waagent-periodic.timer")
    machine.guest.succeed("dpkg --install /srv/now.deb && dpkg --install /srv/next.deb")
    assert state(machine, "waagent.service") == "inactive"
    assert state(machine, "waagent-periodic.timer") == "inactive"
    machine.guest.fail("systemctl is-enabled --quiet waagent.target")
    machine.guest.succeed("systemctl enable --now waagent.service waagent-periodic.timer")


def test_removing_stops_everything_and_keeps_what_an_administrator_may_want_back(machine: Bed) -> None:
    machine.guest.write("/var/lib/waagent/instances/x/secret.json", "{}")
    machine.guest.write("/etc/waagent/hooks.d/local/50-mine.sh", "#!/bin/sh\n", 0o755)
    machine.guest.succeed("dpkg --remove waagent")
    assert state(machine, "waagent.service") == "inactive"
    assert state(machine, "waagent-periodic.timer") == "inactive"
    assert not machine.guest.exists("/usr/sbin/waagent")
    assert not machine.guest.exists("/usr/lib/waagent")
    assert not machine.guest.exists("/usr/lib/python3/dist-packages/waagent")
    for kept in ("/etc/waagent.conf", "/var/lib/waagent/instances/x/secret.json"):
        assert machine.guest.exists(kept)


def test_purging_leaves_nothing_but_the_administrator_s_own_hook(machine: Bed) -> None:
    machine.guest.succeed("touch /var/log/waagent.log /var/log/waagent.log-2026-01-01-1.gz")
    machine.guest.succeed("dpkg --purge waagent")
    left = machine.guest.succeed(
        "find /etc /usr /var /lib -xdev \\( -name '*waagent*' -o -name '*walinuxagent*' -o -name 'azure*.slice' \\) "
        "-not -path '/var/lib/dpkg/*' -not -path '/var/log/journal/*'"
    )
    assert left.split() == ["/etc/waagent"]
    assert machine.guest.succeed("find /etc/waagent -type f") == "/etc/waagent/hooks.d/local/50-mine.sh\n"


def test_machine_boots_well_afterwards(machine: Bed) -> None:
    machine.guest.reboot()
    assert "waagent" not in machine.guest.succeed("systemctl list-units --all --failed --no-legend")
