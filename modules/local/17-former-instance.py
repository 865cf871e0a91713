"""Let go of what another VM left on this disk: what leads to its host, and what was meant for it.

A disk that is copied and started as another VM without being deprovisioned has the leases, certificates, goal state
and extension settings of the first. The engine has opened a new instance already (its steps run anew, the secrets
of the former are gone); accounts, keys and data of the owner are no business of this step: that is deprovisioning.

Reads     vm.id, provisioning.previous; Lib.Dir
Changes   DHCP leases; in Lib.Dir what the fabric said, certificates, custom data, the mark that switches the agent
          off; settings, status and sequence of extensions (they stay installed); units that an agent made
Skips     where this disk was no other VM before

Source: provisioning 5.6; field demand 136.
"""

from __future__ import annotations

from waagent.extensions import generalise
from waagent.extensions.layout import LOGS, Layout
from waagent.instance.store import UNIDENTIFIED, same_id
from waagent.machine import cleaning
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(
    summary="Let go of what another VM left on this disk",
    frequency="per-instance",
    reads=("Lib.Dir", "Extension.LogDir"),
    when=("vm.id",),
)

# What this agent and older ones keep in the state directory about one VM.
STATE = (
    "goal-state.json", "SharedConfig.xml", "HostingEnvironmentConfig.xml", "WireServerEndpoint", "Protocol",
    "Incarnation", "partition", "published_hostname", "fast_track.json", "initial_goal_state", "waagent_rsm_update",
    "waagent_initial_update", "Extensions.*.xml", "ExtensionsConfig.*.xml", "GoalState.*.xml", "Certificates.*",
    "TransportCert.pem", "TransportPrivate.pem", "*.crt", "*.prv", "CustomData*", "disable_agent",
    "waagent-network-setup.py",
)  # fmt: skip


def run(ctx: Context) -> Outcome:
    others = _others(ctx)
    if not others:
        return skipped("this disk was no other VM before")
    system, profile = ctx.system, ctx.profile
    gone = cleaning.remove(system, [f"{ctx.lib}/{name}" for name in STATE])
    gone += cleaning.remove(system, profile.texts("deprovision.leases"))
    for folder in profile.texts("deprovision.empty"):
        gone += cleaning.empty(system, folder)
    gone += generalise.forget(system, Layout(ctx.lib, ctx.config.text("Extension.LogDir") or LOGS))
    gone += cleaning.remove(system, _units(ctx))
    told = f"of VM {', '.join(others)}"
    return changed(f"removed {len(gone)} files {told}") if gone else unchanged(f"there is nothing left {told}")


def _others(ctx: Context) -> list[str]:
    """The other VMs that this disk has been."""
    mine = str(ctx.fact("vm.id", ""))
    known = [*ctx.system.listing(f"{ctx.lib}/instances"), str(ctx.fact("provisioning.previous") or "")]
    found = [each for each in known if each and each != UNIDENTIFIED and not same_id(each, mine)]
    return list(dict.fromkeys(each.lower() for each in found))


def _units(ctx: Context) -> list[str]:
    folders = [ctx.profile.text(key) for key in ("paths.runtime-units", "paths.units")]
    name = ctx.profile.text("services.incumbent") or "waagent"
    setup = f"{name}-network-setup.service"
    drop_ins = f"{name}.service.d/1[0-3]-*.conf"
    return [f"{folder}/{each}" for folder in folders if folder for each in (setup, f"*.wants/{setup}", drop_ins)]
