"""OS.EnableFIPS: OpenSSL is told by the environment of every program that the agent starts, hooks included."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.runner.conftest import Machine
from waagent.module import Context
from waagent.runner import program
from waagent.runner.situation import FIPS, situation
from waagent.runner.steps import Step
from waagent.system import command


@pytest.mark.parametrize(("conf", "told"), [("", None), ("OS.EnableFIPS=n\n", None), ("OS.EnableFIPS=y\n", "1")])
def test_openssl_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch, conf: str, told: str | None) -> None:
    monkeypatch.setenv(FIPS, "")
    monkeypatch.delenv(FIPS)
    (machine.root / "etc/waagent.conf").write_text(conf)
    situation(machine.system())
    assert command.environment().get(FIPS) == told
    step = cast(Step, SimpleNamespace(stage="local", name="x", module=SimpleNamespace(frequency="always")))
    ctx = cast(Context, SimpleNamespace(event=None, fact=lambda key, default=None: default))
    assert program.environment(step, ctx, "/run/x", 30.0).get(FIPS) == told
    assert command.execute(("sh", "-c", f"echo ${FIPS}"), None, 10.0).stdout.strip() == (told or "")
