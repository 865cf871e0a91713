"""Run the custom data as a program, once, when the VM has been reported ready.

It is started at most once for an instance: a script that reboots the machine, or is cut off with it, is not
started again. What it prints and how it ended is kept. A script without an interpreter line is given to /bin/sh.

Reads     Provisioning.ExecuteCustomData; <Lib.Dir>/CustomData
Changes   what the owner's program changes; <Lib.Dir>/CustomData.log and CustomData.started, 0600
Publishes custom_data.status, custom_data.seconds
Skips     when Provisioning.ExecuteCustomData=n
Fails     ProvisioningError when it ends badly or runs over its limit; the VM stays ready
"""

from __future__ import annotations

from waagent.errors import ProvisioningError
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Run the custom data",
    frequency="per-instance",
    reads=("Provisioning.ExecuteCustomData",),
    when=("provisioning.by=waagent", "ovf.has_custom_data"),
    limit=3600.0,
)

# Ends it before the step itself is ended, so that its output is not lost.
LIMIT = 3540.0


def run(ctx: Context) -> Outcome:
    system, path = ctx.system, f"{ctx.lib}/CustomData"
    if not ctx.config.switch("Provisioning.ExecuteCustomData"):
        return skipped("Provisioning.ExecuteCustomData=n")
    if not system.exists(path):
        return skipped(f"there is no {path}")
    vm_id = str(ctx.fact("vm.id", ""))
    if system.exists(f"{path}.started") and system.read_text(f"{path}.started").startswith(vm_id):
        return unchanged("it was started before and is not started again")
    system.set_mode(path, 0o700)
    system.write(f"{path}.started", f"{vm_id} {system.clock.stamp()}\n", mode=0o600)
    argv = (path,) if system.read(path, 4)[:2] in (b"#!", b"\x7fE") else ("/bin/sh", path)
    ended = system.run(*argv, limit=LIMIT, ok=None)
    system.write(f"{path}.log", ended.stdout + ended.stderr, secret=True)
    ctx.publish("custom_data", {"status": ended.status, "seconds": round(ended.seconds, 1)})
    if ended.status:
        last = (ended.stderr.strip() or ended.stdout.strip() or "it printed nothing").splitlines()[-1]
        how = "ran over its limit" if ended.status == 124 else f"ended with status {ended.status}"
        raise ProvisioningError(
            f"the custom data {how} after {ended.seconds:.0f} s: {last[:200]} (all of it in {path}.log); "
            "it is not run again"
        )
    return changed(f"ran the custom data in {ended.seconds:.0f} s")
