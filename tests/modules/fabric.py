"""For tests of modules that talk with the fabric: the context's machine, with a simulator at its other end.

    pytestmark fixtures: sim, vm (a machine of it), joined (the context, whose system reaches the simulator)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.modules.conftest import VM_ID
from tests.protocol.talk import Talk
from waagent.module import Context, StepResult
from waagent.simulator import Simulator

LIB = "/var/lib/waagent"
FAILED = StepResult(
    "local", "user", "failed", "cannot create user 'x|y'", reason="user account failed", essential=True
)
HARMLESS = StepResult("network", "metadata", "failed", "no metadata", reason="platform unreachable")


@pytest.fixture
def sim() -> Iterator[Any]:
    with Simulator() as sim:
        yield sim
        assert not sim.violations
        assert not sim.errors


@pytest.fixture
def vm(sim: Any) -> Any:
    vm = sim.machine("vm01", vm_id=VM_ID)
    vm.publish(extensions=[])
    return vm


@pytest.fixture
def talk(tmp_path: Path, sim: Any, vm: Any, ctx: Context) -> Talk:
    return Talk(tmp_path, sim)


@pytest.fixture
def joined(ctx: Context, talk: Talk) -> Context:
    """The wire server has been found; nothing else is known."""
    ctx.system = talk.system
    ctx.facts["fabric"] = {"endpoint": talk.endpoint.text}
    return ctx


def marker(ctx: Context) -> str | None:
    path = f"{LIB}/provisioned"
    return ctx.system.read_text(path).strip() if ctx.system.exists(path) else None
