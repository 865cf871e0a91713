"""Everything one process needs to talk with the fabric, set up from the configuration.

    session = open_session(ctx.system, ctx.config, ctx.fact("fabric.endpoint"), ctx.lib, ctx.note)
    session.wire       WireServer         session.plugin       HostPlugin (gets the ids by itself)
    session.artifacts  Artifacts          session.internet     Internet
    session.http       the client that all link-local requests share

    state = session.fetch(before)         all that is new (fetch.py)
    facts(state)                          what is published as fabric.*

Nothing is asked and nothing heavy imported before it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from waagent.fabric import cache, endpoint
from waagent.fabric.artifacts import Artifacts
from waagent.fabric.host_calls import Teller
from waagent.fabric.host_plugin import HostPlugin
from waagent.fabric.internet import Internet
from waagent.fabric.wire import WireServer
from waagent.system.http import Http

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.config import Config
    from waagent.fabric.cache import FabricState
    from waagent.system import System


@dataclass(frozen=True)
class Session:
    http: Http
    wire: WireServer
    plugin: HostPlugin
    internet: Internet
    artifacts: Artifacts
    lib: str
    config: Config
    note: Callable[[str], None]

    @property
    def openssl(self) -> str:
        return self.config.text("OS.OpensslPath") or "/usr/bin/openssl"

    def fetch(self, before: FabricState | None, *, force: bool = False) -> FabricState:
        """The goal state of now; force: all documents, whatever the incarnation. What is new is kept in history/.

        Raises FabricError.
        """
        from waagent.fabric import fetch, history

        sources = fetch.Sources(
            self.wire,
            self.plugin,
            self.artifacts,
            self.lib,
            openssl=self.openssl,
            fast_track=self.config.switch("Debug.EnableFastTrack"),
            period=float(self.config.integer("Extensions.GoalStatePeriod")),
        )
        state = fetch.fetch(sources, before, self.note, force=force)
        history.save(self.wire.system, self.lib, state, sources.kept, self.note)
        return state

    def update(self, *, force: bool = False) -> tuple[FabricState | None, FabricState]:
        """Fetch what is new and keep it on disk; the state before and the state now."""
        system = self.wire.system
        before = cache.read(system, self.lib)
        now = self.fetch(before, force=force)
        cache.write(system, now, self.lib)
        return before, now


def open_session(
    system: System, config: Config, where: str | None, lib: str, note: Callable[[str], None]
) -> Session:
    """where: text of the endpoint; None is the well-known address."""
    http = Http(system.clock)
    place = endpoint.parse(where or endpoint.WIRE_SERVER)
    wire = WireServer(system, http, place, note)
    saw = Teller(system, http, place).saw if config.switch("Monitor.HostHealth") else None
    plugin = HostPlugin(system, http, place, refresh=wire.goal_state, note=note, saw=saw)
    internet = Internet(
        system.clock,
        host=config.text("HttpProxy.Host"),
        port=config.integer("HttpProxy.Port") or None,
        environment=os.environ,
    )
    artifacts = Artifacts(system, internet, plugin, note=note)
    return Session(http, wire, plugin, internet, artifacts, lib, config, note)


def facts(state: FabricState) -> dict[str, Any]:
    """The facts below "fabric."."""
    return {
        "endpoint": state.endpoint,
        "container_id": state.goal.container_id,
        "role_instance_id": state.goal.instance_id,
        "role_config_name": state.goal.config_name,
        "incarnation": state.goal.incarnation,
        "thumbprints": state.thumbprints,
    }
