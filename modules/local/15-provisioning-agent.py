"""Decide who provisions this instance: this agent, cloud-init, nobody.

The decision is made once for an instance and stands, so that nothing that happens later (cloud-init switched off,
the marker written) lets a machine that is in use be provisioned again.

    provisioning.by   waagent      the steps of this agent do it
                      cloud-init   cloud-init does it; the steps of this agent are skipped
                      already      it was done before this agent came: <Lib.Dir>/provisioned names this VM
                      disabled     Provisioning.Agent=disabled; decided anew at each boot
                      nobody       nothing says what to do (set by instance-media); decided anew at each boot
    provisioning.reason, provisioning.previous (the other VM that this disk was provisioned as, or null)

Reads     Provisioning.Agent; <Lib.Dir>/provisioned; whether cloud-init is enabled
Fails     ProvisioningError when Provisioning.Agent=waagent and cloud-init is enabled: both would do it

Source: provisioning 4.1, 4.8.
"""

from __future__ import annotations

from waagent.errors import ProvisioningError
from waagent.instance import smbios
from waagent.module import Context, Module, Outcome, changed, unchanged
from waagent.provisioning import cloud_init

MODULE = Module(
    summary="Decide who provisions this instance",
    frequency="always",
    reads=("Provisioning.Agent",),
    essential=True,
)

FINAL = ("waagent", "cloud-init", "already")


def run(ctx: Context) -> Outcome:
    decided = ctx.fact("provisioning.by")
    if decided in FINAL:
        return unchanged(f"{decided}: decided when this instance was new")
    previous = _marker(ctx)
    by, reason = _decide(ctx, previous)
    other = previous if previous and by != "already" else None
    if other:
        ctx.note(f"this disk was provisioned as VM {other} before: the image was not generalised")
    told = {"by": by, "reason": reason, "previous": other}
    known = ctx.facts.get("provisioning")
    ctx.publish("provisioning", told)
    return unchanged(f"{by}: {reason}") if known == told else changed(f"{by}: {reason}")


def _decide(ctx: Context, previous: str | None) -> tuple[str, str]:
    agent = ctx.config.text("Provisioning.Agent") or "auto"
    if agent == "disabled":
        return "disabled", "Provisioning.Agent=disabled"
    if previous is not None and (not previous or smbios.same(previous, ctx.fact("vm.id", ""))):
        return "already", f"{ctx.lib}/provisioned names this VM"
    if agent == "cloud-init":
        return "cloud-init", "Provisioning.Agent=cloud-init"
    enabled = cloud_init.enabled(ctx.system)
    if agent == "waagent" and enabled:
        raise ProvisioningError(
            "cannot provision: cloud-init is enabled, and Provisioning.Agent=waagent asks this agent to do it; "
            "disable cloud-init-local.service, or set Provisioning.Agent=auto"
        )
    if enabled:
        return "cloud-init", "Provisioning.Agent=auto and cloud-init is enabled"
    return "waagent", f"Provisioning.Agent={agent} and cloud-init is not enabled"


def _marker(ctx: Context) -> str | None:
    """The VM that this disk was provisioned as; "" for a marker that does not say, None without one."""
    try:
        return ctx.system.read_text(f"{ctx.lib}/provisioned").strip()
    except OSError:
        return None
