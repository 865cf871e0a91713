"""The unit files against the stages' own files, and against the facts that a review would look for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "data" / "systemd"
BOOT = ("local", "network", "config", "final")
STAGES = (*BOOT, "periodic")


class Unit:
    """A unit file as {section: {key: [values]}}: systemd lets a key come more than once."""

    def __init__(self, name: str) -> None:
        self.sections: dict[str, dict[str, list[str]]] = {}
        section = ""
        for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                self.sections.setdefault(section, {}).setdefault(key, []).append(value)

    def words(self, section: str, key: str) -> list[str]:
        return " ".join(self.sections.get(section, {}).get(key, [])).split()

    def one(self, section: str, key: str) -> str:
        (value,) = self.sections[section][key]
        return value


def stage(name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "stages" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def seconds(text: str) -> int:
    units = {"s": 1, "m": 60, "min": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)\s*(min|h|m|s)\b", text))


@pytest.mark.parametrize("name", STAGES)
def test_unit_runs_the_stage_that_names_it(name: str) -> None:
    unit = Unit(stage(name)["unit"])
    assert unit.one("Service", "ExecStart") == f"/usr/sbin/waagent stage {name}"
    assert unit.one("Service", "Type") == "oneshot"


@pytest.mark.parametrize("name", STAGES)
def test_unit_gives_the_stage_its_budget_and_a_little_more(name: str) -> None:
    """oneshot units have no limit of their own: without one a hung stage blocks the boot for ever."""
    limit = seconds(Unit(f"waagent-{name}.service").one("Service", "TimeoutStartSec"))
    budget = seconds(stage(name)["budget"])
    assert budget + 60 <= limit <= budget * 1.2


@pytest.mark.parametrize("name", BOOT)
def test_boot_stage_stays_active_and_pulls_in_the_one_before_it_without_needing_it(name: str) -> None:
    unit = Unit(f"waagent-{name}.service")
    assert unit.one("Service", "RemainAfterExit") == "yes"
    assert not unit.words("Unit", "Requires"), "a failed stage must not cancel the next one"
    before = BOOT[BOOT.index(name) - 1] if name != "local" else None
    if before is not None:
        assert f"waagent-{before}.service" in unit.words("Unit", "After")
        assert f"waagent-{before}.service" in unit.words("Unit", "Wants")


@pytest.mark.row("field-demands", 45, 46, 57, 61)
def test_local_stage_is_over_before_anything_lets_a_person_in() -> None:
    before = Unit("waagent-local.service").words("Unit", "Before")
    assert {"network-pre.target", "ssh.service", "ssh.socket", "sshd.service", "sshd.socket"} <= set(before)
    assert "network-pre.target" in Unit("waagent-local.service").words("Unit", "Wants"), "a passive target must be pulled in"


def test_periodic_service_may_run_again() -> None:
    assert "RemainAfterExit" not in Unit("waagent-periodic.service").sections["Service"]


def test_timer_fires_first_and_then_again_and_seldom() -> None:
    """The watcher asks; a timer as frequent as that would be the larger part of what an idle agent costs."""
    timer = Unit("waagent-periodic.timer").sections["Timer"]
    for name in ("OnBootSec", "OnActiveSec", "OnUnitInactiveSec"):
        assert seconds(timer[name][0]) == 300


def test_target_wants_everything_and_makes_no_cycle() -> None:
    target = Unit("waagent.target")
    wanted = set(target.words("Unit", "Wants"))
    assert {f"waagent-{name}.service" for name in BOOT} <= wanted
    assert {"waagent.service", "waagent-periodic.timer", "waagent-ready.target"} <= wanted
    assert target.words("Install", "WantedBy") == ["multi-user.target"]
    assert "multi-user.target" in target.words("Unit", "After")


def test_only_the_target_is_enabled() -> None:
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".timer", ".target") and path.name != "waagent.target":
            assert not Unit(path.name).words("Install", "WantedBy"), path.name


def test_watcher_leaves_extensions_alone_and_is_watched() -> None:
    service = Unit("waagent.service").sections["Service"]
    assert service["Type"] == ["notify"]
    assert service["KillMode"] == ["mixed"]
    assert service["Restart"] == ["always"]
    assert service["Slice"] == ["azure.slice"]
    assert seconds(service["WatchdogSec"][0]) >= 60


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*.service")))
def test_service_never_leaves_the_machine_s_own_view_of_its_disks(name: str) -> None:
    """Each of these gives the unit a mount namespace: disks mounted there would be seen by nobody else."""
    private = {
        "ProtectSystem", "ReadOnlyPaths", "PrivateTmp", "ProtectHome", "PrivateDevices", "PrivateMounts",
        "ProtectHostname", "ProtectKernelTunables", "ProtectClock", "ProtectKernelModules", "NoNewPrivileges",
    }  # fmt: skip
    assert not private & set(Unit(name).sections["Service"])


def test_slices_come_before_the_slices_target_without_default_dependencies() -> None:
    for name in ("azure.slice", "azure-vmextensions.slice"):
        unit = Unit(name)
        assert unit.one("Unit", "DefaultDependencies") == "no"
        assert unit.words("Unit", "Before") == ["slices.target"]


def test_logrotate_keeps_the_policy_of_the_reference() -> None:
    text = (ROOT / "data" / "logrotate" / "waagent").read_text(encoding="utf-8")
    found = set(re.findall(r"^\s+(.*)$", text, re.MULTILINE))
    assert {"size 20M", "rotate 50", "compress", "dateext", "dateformat -%Y-%m-%d-%s", "notifempty", "missingok"} <= found


def test_version_is_the_same_everywhere() -> None:
    library = re.search(r'__version__ = "(.+)"', (ROOT / "waagent" / "__init__.py").read_text(encoding="utf-8"))
    assert library is not None
    spec = re.search(r"^Version:\s+(\S+)", (ROOT / "rpm" / "waagent.spec").read_text(encoding="utf-8"), re.MULTILINE)
    deb = re.match(r"waagent \(([^)]+)\)", (ROOT / "debian" / "changelog").read_text(encoding="utf-8"))
    assert spec is not None and deb is not None
    assert library.group(1) == spec.group(1) == deb.group(1)


def test_udev_rules_name_every_disk_of_the_reference() -> None:
    rules = (ROOT / "data" / "udev" / "66-azure-storage.rules").read_text(encoding="utf-8")
    for identity in ("?00000000-0000-*", "?00000000-0001-*", "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}"):
        assert identity in rules
    labels = re.findall(r'LABEL="([^"]+)"', rules)
    for goto in re.findall(r'GOTO="([^"]+)"', rules):
        assert goto in labels, f"GOTO {goto} leads nowhere"


@pytest.mark.row("field-demands", 126)
def test_the_stage_of_the_resource_disk_starts_when_cloud_init_has_had_its_chance_to_take_it() -> None:
    before = {"cloud-init.service", "cloud-init-network.service", "cloud-config.service"}  # of any version
    assert before <= set(Unit("waagent-config.service").words("Unit", "After"))
