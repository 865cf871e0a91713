"""Limits on what a handler and its services may use: systemd run-time properties, never unit files.

Each handler has the slice azure-vmextensions-NAME.slice below azure-vmextensions.slice; of a multi-config handler
each instance has azure-vmextensions-NAME.INSTANCE.slice. The version is not part of the name, so that an operator's
overrides survive updates. Without systemd there are no limits, and a limit that cannot be set is no reason to fail.

Source: extensions 1.5.
"""

from __future__ import annotations

from waagent.extensions.commands import slice_of
from waagent.extensions.handler import Quotas
from waagent.system import System


def apply(system: System, name: str, quotas: Quotas, instance: str = "") -> None:
    """Set the quota on the slice in which commands run, and those of the services that systemd has loaded."""
    if not system.is_directory("/run/systemd/system"):
        return
    if quotas.cpu is not None:
        _set(system, slice_of(name, instance), quotas.cpu)
    for unit, cpu in quotas.services.items():
        if cpu is not None and _loaded(system, unit):
            _set(system, unit, cpu)


def reset(system: System, name: str, quotas: Quotas, instances: tuple[str, ...] = ("",)) -> None:
    """Take the quotas back: the handler is removed, or its new version has none."""
    if not system.is_directory("/run/systemd/system"):
        return
    if quotas.cpu is not None:
        for instance in instances:
            _set(system, slice_of(name, instance), None)
    for unit, cpu in quotas.services.items():
        if cpu is not None and _loaded(system, unit):
            _set(system, unit, None)


def dropped(old: Quotas, new: Quotas) -> Quotas:
    """What the old version was limited in, and the new one is not."""
    services = {unit: cpu for unit, cpu in old.services.items() if new.services.get(unit) is None}
    return Quotas(old.cpu if new.cpu is None else None, services)


def _set(system: System, unit: str, cpu: float | None) -> None:
    value = f"{cpu:g}%" if cpu is not None else ""
    accounting = ("CPUAccounting=yes",) if cpu is not None else ()
    system.run("systemctl", "set-property", "--runtime", unit, *accounting, f"CPUQuota={value}", ok=None, limit=20)


def _loaded(system: System, unit: str) -> bool:
    result = system.run("systemctl", "show", "--property=LoadState", "--value", unit, ok=None, reads=True, limit=20)
    return result.status == 0 and result.stdout.strip() == "loaded"
