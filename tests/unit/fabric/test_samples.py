"""The sample documents are of one machine: what they say of it agrees (wire-protocol 0.2)."""

from __future__ import annotations

import json

import pytest

from tests.unit.fabric.samples import CONTAINER, TENANT, sample
from waagent.fabric import extensions_config, goal_state, hosting, vm_settings

GOAL = goal_state.parse(sample("goal_state.xml"))
DEPLOYMENT = "7c20e9d1-45ab-4f38-b6d7-0192a8c3e5f6"
COMPUTE = json.loads(sample("imds_instance.json"))["compute"]
METADATA = json.loads(sample("vm_settings.json"))["inVMMetadata"]
FABRIC = extensions_config.parse(sample("extensions_config.xml"), GOAL.incarnation).desired
FAST = vm_settings.parse(sample("vm_settings.json"), "8402733151920467713").desired

VM = {
    "0.2/container-id": ([GOAL.container_id], CONTAINER),
    "0.2/deployment-id": ([GOAL.deployment_id, hosting.parse(sample("hosting_environment.xml")).tenant], DEPLOYMENT),
    "0.2/role-instance-id": ([GOAL.instance_id], f"{DEPLOYMENT}._simvm01"),
    "0.2/role-config-name": ([GOAL.config_name], f"{DEPLOYMENT}.0.{DEPLOYMENT}.0._simvm01.1.xml"),
    "0.2/vm-id": ([COMPUTE["vmId"], METADATA["vmId"]], "b4e8d6f0-1a2c-4d3e-8f90-a1b2c3d4e5f6"),
    "0.2/place": (
        [
            (COMPUTE["subscriptionId"], COMPUTE["resourceGroupName"], COMPUTE["name"], COMPUTE["location"]),
            (METADATA["subscriptionId"], METADATA["resourceGroupName"], METADATA["vmName"], METADATA["location"]),
        ],
        ("5d9b1e60-7c34-4a82-9f05-6e8d4b2a1c73", "rg-sim", "simvm01", "simregion1"),
    ),
    "0.2/tenant-certificate": (
        [one.settings[0].thumbprint for one in (FABRIC.handlers[0], FAST.handlers[0])], TENANT
    ),
    "0.2/fabric-goal-state": ([(FABRIC.sequence, FABRIC.created)], ("1", "2026-11-23T09:15:30.0000000Z")),
    "0.2/fast-track-goal-state": ([(FAST.identity, FAST.created)], ("etag:8402733151920467713", "2026-11-23T11:02:05.0000000Z")),
}  # fmt: skip


@pytest.mark.parametrize("row", VM)
def test_the_samples_agree(row: str) -> None:
    found, wanted = VM[row]
    assert found == [wanted] * len(found)
