"""Row 58 of the scenarios: another VM on the same disk lets go of what led to the first one's host, and no more."""

from __future__ import annotations

import pytest

MODULE = "local/17-former-instance.py"
OTHER = "11111111-2222-3333-4444-555555555555"
LIB = "/var/lib/waagent"
HANDLER = f"{LIB}/Contoso.Watch-1.0.0"

GOES = (
    f"{LIB}/goal-state.json", f"{LIB}/SharedConfig.xml", f"{LIB}/HostingEnvironmentConfig.xml", f"{LIB}/Incarnation",
    f"{LIB}/partition", f"{LIB}/Protocol", f"{LIB}/WireServerEndpoint", f"{LIB}/published_hostname",
    f"{LIB}/fast_track.json", f"{LIB}/initial_goal_state", f"{LIB}/waagent_rsm_update",
    f"{LIB}/waagent_initial_update", f"{LIB}/ExtensionsConfig.1.xml", f"{LIB}/GoalState.1.xml",
    f"{LIB}/ABCD.prv", f"{LIB}/ABCD.crt", f"{LIB}/TransportPrivate.pem", f"{LIB}/disable_agent", f"{LIB}/CustomData",
    f"{HANDLER}/config/0.settings", f"{HANDLER}/status/0.status", f"{HANDLER}/mrseq", f"{HANDLER}/config/HandlerStatus",
    "/var/lib/dhcp/dhclient.leases", "/var/db/dhclient.leases.em0", "/run/systemd/netif/leases/2",
    "/etc/systemd/system/walinuxagent-network-setup.service",
    "/etc/systemd/system/walinuxagent.service.d/12-CPUQuota.conf",
)  # fmt: skip
STAYS = (
    f"{LIB}/provisioned", f"{LIB}/ovf-env.xml", f"{HANDLER}/HandlerManifest.json", f"{HANDLER}/config/HandlerState",
    "/etc/ssh/ssh_host_rsa_key", "/home/ada/x", "/etc/resolv.conf", "/etc/machine-id", "/root/.bash_history",
    "/etc/systemd/system/walinuxagent.service.d/50-admin.conf",
)  # fmt: skip


@pytest.mark.row("field-demands", 136)
@pytest.mark.row("provisioning", 58)
def test_58_disk_that_was_another_vm(module, ctx, put):
    real = {path: put(path, '{"version": 1}') for path in (*GOES, *STAYS)}
    ctx.facts["provisioning"]["previous"] = OTHER
    assert module.run(ctx).kind == "changed"
    assert [path for path in GOES if real[path].exists()] == []
    assert [path for path in STAYS if not real[path].exists()] == []
    assert module.run(ctx).kind == "unchanged"


@pytest.mark.row("provisioning", 58)
def test_58_instance_that_never_became_ready_counts_too(module, ctx, put):
    put(f"{LIB}/instances/{OTHER}/public.json", "{}")
    lease = put("/var/lib/dhcp/dhclient.leases")
    assert module.run(ctx).kind == "changed"
    assert not lease.exists()


def test_first_vm_of_a_disk_keeps_its_lease(module, ctx, put):
    """Its leases may tell where the wire server is."""
    lease = put("/var/lib/dhcp/dhclient.leases")
    put(f"{LIB}/instances/{ctx.facts['vm']['id']}/public.json", "{}")
    put(f"{LIB}/instances/unidentified/public.json", "{}")
    assert module.run(ctx).kind == "skipped"
    assert lease.exists()


@pytest.mark.row("provisioning", 57)
def test_57_same_id_in_the_other_byte_order_is_the_same_vm(module, ctx, put):
    from waagent.instance.store import swapped

    ctx.facts["provisioning"]["previous"] = swapped(ctx.facts["vm"]["id"]).upper()
    lease = put("/var/lib/dhcp/dhclient.leases")
    assert module.run(ctx).kind == "skipped"
    assert lease.exists()
