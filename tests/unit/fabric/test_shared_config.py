"""The RDMA address of the shared configuration."""

from __future__ import annotations

import pytest

from waagent.errors import GoalStateInvalid
from waagent.fabric import shared_config

INSTANCES = '<SharedConfig version="1"><Instances><Instance id="a" {} /></Instances></SharedConfig>'


@pytest.mark.parametrize("mac", ["00155D33FF1D", "00155d33ff1d", "00:15:5d:33:ff:1d", "00-15-5D-33-FF-1D"])
def test_the_address_of_this_machine(mac) -> None:
    found = shared_config.rdma(INSTANCES.format(f'rdmaMacAddress="{mac}" rdmaIPv4Address="172.16.0.4"'))
    assert found == ("00:15:5d:33:ff:1d", "172.16.0.4")


@pytest.mark.parametrize(
    "attributes",
    ["", 'rdmaMacAddress="00155D33FF1D"', 'rdmaMacAddress="155D33FF1D" rdmaIPv4Address="172.16.0.4"',
     'rdmaMacAddress="00155D33FF1D" rdmaIPv4Address=""', 'rdmaMacAddress="zz155D33FF1D" rdmaIPv4Address="1.2.3.4"'],
)  # fmt: skip
def test_a_machine_without_one(attributes) -> None:
    assert shared_config.rdma(INSTANCES.format(attributes)) is None


@pytest.mark.parametrize("content", [b"", b"<SharedConfig>", b"<Other/>"])
def test_what_is_no_such_document(content) -> None:
    with pytest.raises(GoalStateInvalid):
        shared_config.rdma(content)
