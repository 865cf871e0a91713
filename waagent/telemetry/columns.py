"""The columns that every event carries: which VM, which system, which agent. The platform's tables have them all.

    known = Columns.of(system, facts, names)
    known.complete(raw) -> [(name, value), ...]     in the order the platform documents

A column that is not known yet is "<Name>_UNINITIALIZED", never left out.

Source: wire-protocol 5.4, guest-operations 6.2.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from waagent import __version__, events
from waagent.distro import detect
from waagent.fabric import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.fabric.hosting import Names
    from waagent.system import System
    from waagent.telemetry.spool import Raw, Value

NO_CONTAINER = "00000000-0000-0000-0000-000000000000"
ORIGIN_UNKNOWN, ORIGIN_CUSTOM, ORIGIN_PLATFORM = 0, 1, 3

_OWN: dict[int, tuple[tuple[str, Value], ...]] = {
    telemetry.OPERATION_EVENT: (
        ("Name", events.AGENT), ("Version", __version__), ("Operation", "Unknown"), ("OperationSuccess", True),
        ("Message", ""), ("Duration", 0),
    ),
    telemetry.METRIC_EVENT: (("Category", ""), ("Counter", ""), ("Instance", ""), ("Value", 0.0)),
    telemetry.LOG_EVENT: (
        ("EventName", ""), ("CapabilityUsed", ""), ("Context1", ""), ("Context2", ""), ("Context3", ""),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """container: id of the VM on its node; machine: what stays the same for all events of a run, in order."""

    container: str
    machine: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, system: System, fact: Callable[..., object], names: Names | None) -> Columns:
        """fact: looks up what the steps published; names: tenant, role and instance, of the goal state."""

        def told(column: str, found: object) -> tuple[str, Value]:
            return column, str(found) if found else f"{column}_UNINITIALIZED"

        publisher = fact("imds.publisher")
        known = fact("imds.vmId") is not None
        origin = (ORIGIN_PLATFORM if publisher else ORIGIN_CUSTOM) if known else ORIGIN_UNKNOWN
        machine = (
            ("OSVersion", _system_version(system)),
            ("ExecutionMode", "IAAS"),
            ("RAM", _memory(system)),
            ("Processors", os.cpu_count() or 1),
            ("KeywordName", json.dumps({"CpuArchitecture": os.uname().machine})),
            told("TenantName", names and names.tenant),
            told("RoleName", names and names.role),
            told("RoleInstanceName", names and names.vm),
            told("Location", fact("imds.location")),
            told("SubscriptionId", fact("imds.subscriptionId")),
            told("ResourceGroupName", fact("imds.resourceGroupName")),
            told("VMId", fact("imds.vmId")),
            ("ImageOrigin", origin),
        )
        return cls(str(fact("fabric.container_id") or NO_CONTAINER), machine)

    def complete(self, raw: Raw) -> list[tuple[str, Value]]:
        """All columns of an event. What it says itself counts, but for those that say which machine this is."""
        said = dict(raw.parameters)
        own = _OWN.get(raw.number, ())
        done = {name: said.pop(name, default) for name, default in own}
        if raw.number == telemetry.OPERATION_EVENT:
            done["OperationSuccess"] = _as_bool(done["OperationSuccess"])
            done["Duration"] = _as_number(done["Duration"])
        common: tuple[tuple[str, Value], ...] = (
            ("GAVersion", f"{events.AGENT}-{__version__}"),
            ("ContainerId", self.container),
            ("OpcodeName", events.stamp(raw.at)),
            ("EventTid", 0),
            ("EventPid", 0),
            ("TaskName", ""),
        )
        for name, default in common:
            found = said.pop(name, default)
            done[name] = _as_number(found) if name in ("EventTid", "EventPid") else found
        for name, found in self.machine:
            said.pop(name, None)
            done[name] = found
        done.update(said)
        if raw.number == telemetry.OPERATION_EVENT:
            done.setdefault("ExtensionType", "")
            done.setdefault("IsInternal", False)
        return list(done.items())


def _as_bool(found: Value) -> bool:
    return found if isinstance(found, bool) else str(found).strip().lower() in ("true", "1")


def _as_number(found: Value) -> int:
    """Anything that says a number of this size; 0 for all else."""
    text = str(int(found)) if isinstance(found, (bool, float)) and abs(found) < 2**53 else str(found).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


def _system_version(system: System) -> str:
    """Linux:<distribution>-<version>-<code name>:<kernel>"""
    release = detect.facts(system.root).release
    try:
        kernel = system.read_text("/proc/sys/kernel/osrelease").strip()
    except OSError:
        kernel = os.uname().release
    told = (release.get("ID", "linux"), release.get("VERSION_ID", ""), release.get("VERSION_CODENAME") or "n/a")
    return f"Linux:{'-'.join(told)}:{kernel}"


def _memory(system: System) -> int:
    """MiB; 0 where the kernel does not say."""
    try:
        for line in system.read_text("/proc/meminfo").splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
