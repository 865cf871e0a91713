"""cloud-init beside this agent: is it enabled, what has it left behind.

    enabled(system)                       as the incumbent asks: the unit is "enabled", or the service runs
    document(system, lib, vm_id)          the provisioning document it copied for this VM, or None
    errors(system)                        what it says went wrong, one line each

cloud-init copies the document to <lib>/ovf-env.xml with the password taken out, and closes the directory while it
does. A copy of another VM, in an image that was not generalised, is not taken: cloud-init names the VM that it
provisioned in its own instance-id, and writes the copy anew when that changes.

Source: provisioning 4.1, 4.10; boot-stages-and-hooks A6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.instance import ovf
from waagent.instance.store import same_id
from waagent.provisioning import media

if TYPE_CHECKING:
    from waagent.system import System

UNIT = "cloud-init-local.service"
INSTANCE = "/var/lib/cloud/data/instance-id"
RESULT = "/run/cloud-init/result.json"


def enabled(system: System) -> bool:
    """A program that is missing or fails says no."""
    if system.which("systemctl") is not None:
        answer = system.run("systemctl", "is-enabled", UNIT, reads=True, ok=None, limit=30)
        if answer.stdout.strip() == "enabled":
            return True
    if system.which("service") is not None:
        return system.run("service", "cloud-init", "status", reads=True, ok=None, limit=30).status == 0
    return False


def document(system: System, lib: str, vm_id: str) -> ovf.ProvisioningDocument | None:
    """Raises OvfInvalid."""
    path = media.path_of(lib)
    try:
        status = system.status(path)
        raw = system.read(path)
    except OSError:
        return None
    if not _this_vm(system, vm_id) and not _this_boot(system, status.st_mtime):
        return None
    return ovf.parse(raw)


def errors(system: System) -> list[str]:
    """Empty while it has not come to its end."""
    import json

    try:
        found = json.loads(system.read(RESULT))["v1"]["errors"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [str(one).splitlines()[0][:300] for one in found if str(one)] if isinstance(found, list) else []


def _this_vm(system: System, vm_id: str) -> bool:
    try:
        return same_id(system.read_text(INSTANCE).strip(), vm_id)
    except OSError:
        return False


def _this_boot(system: System, written: float) -> bool:
    return written >= system.clock.now().timestamp() - system.clock.boot()
