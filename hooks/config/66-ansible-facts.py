"""Tell Ansible what the platform says about this machine, as local facts.

Ansible finds the file by itself: the values are under ansible_local.azure.

Reads     vm.id, ovf.host_name, imds
Changes   /etc/ansible/facts.d/azure.fact
Skips     when the metadata service has told nothing
Fails     SystemRefused when the file cannot be written
"""

from __future__ import annotations

import json

from waagent.module import Context, Module, Outcome, changed, skipped, unchanged

MODULE = Module(summary="Leave facts for Ansible", frequency="per-boot", limit=10)

FOLDER = "/etc/ansible/facts.d"
KEPT = ("location", "name", "resourceGroupName", "subscriptionId", "vmSize", "zone")


def run(ctx: Context) -> Outcome:
    told = ctx.fact("imds")
    if not isinstance(told, dict):
        return skipped("the metadata service has told nothing")
    facts = {key: told[key] for key in KEPT if key in told}
    facts["vm_id"], facts["host_name"] = ctx.fact("vm.id"), ctx.fact("ovf.host_name")

    # Everything goes through ctx.system: --root, --dry-run and `waagent why` work because of it.
    ctx.system.make_directory(FOLDER, 0o755)
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    if not ctx.system.write(f"{FOLDER}/azure.fact", text, mode=0o644):
        return unchanged("the facts are as before")
    return changed(f"left {len(facts)} facts in {FOLDER}/azure.fact")
