"""The real client against the simulator: a fake root whose openssl is the real one, a clock that need not wait.

    talk = Talk(tmp_path, sim)      session, wire, plugin, ... on it; notes is what was told; clock.slept the pauses
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.fabric.samples import FakeClock
from waagent import config as configuration
from waagent.fabric import poll
from waagent.fabric.endpoint import Endpoint
from waagent.fabric.session import open_session
from waagent.system import Result, System
from waagent.system.command import execute

LIB = "/var/lib/waagent"


class Talk:
    def __init__(self, folder: Path, sim: Any, conf: str = "", planning: bool = False) -> None:
        self.root = folder / "root"
        for name in ("var/lib/waagent", "run", "etc"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.clock = FakeClock()
        self.notes: list[str] = []
        self.system = System(
            self.root, execute=self._run, clock=self.clock, planning=planning, journalling=False
        )
        self.endpoint = Endpoint("127.0.0.1", sim.wire_port, sim.plugin_port)
        self.session = open_session(
            self.system, configuration.from_text(conf), self.endpoint.text, LIB, self.notes.append
        )
        self.http, self.wire, self.plugin = self.session.http, self.session.wire, self.session.plugin
        self.artifacts, self.internet = self.session.artifacts, self.session.internet

    @property
    def files(self) -> list[str]:
        return self.system.listing(LIB)

    @property
    def slept(self) -> list[float]:
        return self.clock.slept

    def known(self) -> poll.Known:
        known = poll.known_of(self.system.read_text(f"{LIB}/goal-state.json"))
        assert known is not None
        return known

    def poll(self, known: poll.Known, *, fast_track: bool = True, now: float = 1000.0) -> poll.Polled:
        return poll.poll(self.http, self.endpoint, known, fast_track, now=now)

    def _run(self, argv: tuple[str, ...], stdin: bytes | None, limit: float, env: Mapping[str, str] | None) -> Result:
        assert argv[0] == "/usr/bin/openssl"
        return execute(tuple(f"{self.root}{word}" if word.startswith(LIB) else word for word in argv), stdin, limit, env)
