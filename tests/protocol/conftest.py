"""What every test of the wire starts with. A broken rule of the simulator, and a bug in it, fail the test at its end.

    certificate   one tenant certificate for all machines of the run: making one costs a tenth of a second
    sim           a simulator with nothing in it        vm     its machine vm01        talk   the real client at it

A test that breaks a rule on purpose ends with sim.clear_violations().
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.talk import Talk
from waagent.simulator import Simulator, make_certificate


@pytest.fixture(scope="session")
def certificate() -> Any:
    return make_certificate("Simulated Fabric Certificate Generator", "TenantEncryptionCert", domain=True)


@pytest.fixture
def sim(certificate: Any) -> Iterator[Any]:
    with Simulator(shared_certificate=certificate) as sim:
        yield sim
        assert not sim.violations
        assert not sim.errors


@pytest.fixture
def vm(sim: Any) -> Any:
    return sim.machine("vm01")


@pytest.fixture
def talk(tmp_path: Path, sim: Any, vm: Any) -> Talk:
    return Talk(tmp_path, sim)
