"""Find out who this machine is, before anything else depends on it.

The VM id names the instance: another id than at the last boot means a new machine made of this disk, and
everything that is done once for an instance is done again.

Reads     the firmware (SMBIOS, device tree), the environment of process 1 in a container
Publishes vm.id, vm.source, vm.azure, vm.generation, vm.container
Fails     InstanceError when the machine has no id; the former instance stays the current one
"""

from __future__ import annotations

from waagent.instance import smbios
from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(summary="Find out who this machine is", frequency="always", limit=30.0)


def run(ctx: Context) -> Outcome:
    found = smbios.identify(ctx.system)
    before = ctx.fact("vm.id")
    vm_id = before if before and smbios.same(before, found.vm_id) else found.vm_id
    vm = {
        "id": vm_id,
        "source": found.source,
        "azure": found.azure,
        "generation": found.generation,
        "container": found.container,
    }
    ctx.publish("vm", vm)
    where = (
        "an Azure VM" if found.azure else f"a container ({found.container})" if found.container else "no Azure VM"
    )
    told = f"VM id {vm_id} from {found.source}; this is {where}"
    return unchanged(told) if vm == ctx.facts.get("vm") else changed(told)
