"""Hand the machine over where System Center Virtual Machine Manager looks after it.

Its disc has a file linuxosconfiguration.xml and an installer of its own agent, which is started. This agent then
does nothing more in this boot: no provisioning, no disks, no reports; the units of the later stages are not
started. A daemon waits five minutes and ends.

Reads     DetectScvmmEnv, DVD.MountPoint; the discs in the drives
Changes   /run/waagent/handed-over; the disc stays mounted; the installer runs
Publishes provisioning.by=nobody, provisioning.reason
Skips     when DetectScvmmEnv=n; when no disc is VMM's
Fails     MediaMissing when the installer cannot be started; this agent goes on then
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning import report, scvmm

MODULE = Module(
    summary="Hand over to System Center VMM",
    frequency="always",
    reads=("DetectScvmmEnv", "DVD.MountPoint"),
    limit=120.0,
)


def run(ctx: Context) -> Outcome:
    if not ctx.config.switch("DetectScvmmEnv"):
        return skipped("DetectScvmmEnv=n")
    if scvmm.handed_over(ctx.system):
        return unchanged("the agent of VMM looks after this machine")
    if ctx.system.planning:
        ctx.system.unforeseeable("what is on the discs")
    disc = scvmm.find(ctx.system, ctx.profile, ctx.config.text("DVD.MountPoint") or "/mnt/cdrom/secure")
    if disc is None:
        return skipped(f"no disc has {scvmm.MARKER}")
    scvmm.launch(ctx.system, disc)
    told = f"the agent of VMM is being installed from {disc.device} and looks after this machine"
    ctx.system.make_directory("/run/waagent")
    ctx.system.write(scvmm.HANDED_OVER, told + "\n", mode=0o644)
    ctx.publish("provisioning", {"by": report.NOBODY, "reason": told, "previous": None})
    return changed(told)
