"""Do as the platform says when it wants no agent on this VM.

The document's flag ProvisionGuestAgent=false means that the machine is provisioned and reported, and then left
alone: the watcher finds <Lib.Dir>/disable_agent and idles.

Reads     ovf.provision_guest_agent
Changes   <Lib.Dir>/disable_agent

Source: provisioning 4.2 row 20.
"""

from __future__ import annotations

from waagent.module import Context, Module, Outcome, changed, unchanged

MODULE = Module(
    summary="Switch the agent off where the platform wants none",
    frequency="per-instance",
    when=("ovf.provision_guest_agent",),
)


def run(ctx: Context) -> Outcome:
    told = str(ctx.fact("ovf.provision_guest_agent"))
    if told.lower() != "false":
        return unchanged(f"the agent stays (ProvisionGuestAgent is {told[:40]!r})")
    if not ctx.system.write(f"{ctx.lib}/disable_agent", b"", mode=0o644):
        return unchanged("the agent is switched off")
    return changed("the agent is switched off after this boot: the document says ProvisionGuestAgent=false")
