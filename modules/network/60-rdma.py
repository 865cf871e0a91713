"""Set the RDMA interface up, on VM sizes that have one: modules of the kernel, driver, address.

The platform names the address in the goal state, or the host in its key-value pool; where the host names a version
of its driver as well, the machine is of the old kind that needs this very driver. A machine without an address in
either waits for nothing. Nothing is restarted: where a driver that was installed counts after the next restart,
that is said.

Reads     OS.EnableRDMA, OS.CheckRdmaDriver, OS.UpdateRdmaDriver; /var/lib/hyperv/.kvp_pool_0;
          <Lib.Dir>/SharedConfig.xml
Changes   modules of the kernel; the address of the RDMA interface; on the old kind /etc/dat.conf and the driver
Publishes rdma.kind (sr-iov, network-direct), rdma.interfaces {name: address}
Skips     when RDMA is not asked for, or there is no such interface
Fails     NetworkError, CommandFailed
"""

from __future__ import annotations

from waagent.config.values import rdma_enabled
from waagent.errors import GoalStateInvalid
from waagent.fabric import shared_config
from waagent.machine import rdma
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import kvp

MODULE = Module(
    summary="Set up RDMA",
    frequency="per-boot",
    reads=("OS.EnableRDMA", "OS.CheckRdmaDriver", "OS.UpdateRdmaDriver"),
    limit=1800.0,
)


def run(ctx: Context) -> Outcome:
    if not rdma_enabled(ctx.config):
        return skipped("OS.EnableRDMA=n")
    version = kvp.read(ctx.system, "NdDriverVersion")
    told = _of_goal_state(ctx)
    if version is None:
        if not ctx.system.exists(kvp.OF_THE_HOST):
            ctx.note(f"there is no {kvp.OF_THE_HOST}: the machine is taken for one that needs no special driver")
        return _sr_iov(ctx, rdma.pairs(kvp.read(ctx.system, "IPoIB_Data") or ""), told)
    if ctx.config.switch("OS.CheckRdmaDriver"):
        left = rdma.have_driver(ctx.system, ctx.profile, version, update=ctx.config.switch("OS.UpdateRdmaDriver"))
        if left:
            ctx.note(left)
    if told is None:
        return skipped("the platform gives this machine no RDMA address")
    return _outcome(ctx, "network-direct", rdma.direct(ctx.system, ctx.profile, version, told.mac, told.address))


def _sr_iov(ctx: Context, wanted: dict[str, str], told: shared_config.Rdma | None) -> Outcome:
    if not wanted and told is not None:
        wanted = {told.mac: told.address}
    if not wanted:
        return skipped("the platform gives this machine no RDMA address")
    loaded = rdma.load_modules(ctx.system, ctx.profile)
    if not rdma.wait_for_device(ctx.system):
        return skipped(f"no RDMA device came in time; modules loaded: {', '.join(loaded) or 'none'}")
    if not rdma.wait_for_interfaces(ctx.system, wanted):
        ctx.note(f"not every interface came in time: {', '.join(f'{mac} ({ip})' for mac, ip in wanted.items())}")
    return _outcome(ctx, "sr-iov", rdma.configure(ctx.system, wanted))


def _of_goal_state(ctx: Context) -> shared_config.Rdma | None:
    try:
        return shared_config.rdma(ctx.system.read(f"{ctx.lib}/SharedConfig.xml"))
    except OSError:
        return None
    except GoalStateInvalid as error:
        ctx.note(str(error))
        return None


def _outcome(ctx: Context, kind: str, done: list[rdma.Set]) -> Outcome:
    if not done:
        return skipped("no interface here has the address that the platform gives for RDMA")
    ctx.publish("rdma", {"kind": kind, "interfaces": {each.interface: each.address for each in done}})
    told = ", ".join(f"{each.interface} has {each.address}" for each in done)
    return changed(told) if any(each.changed for each in done) else unchanged(told)
