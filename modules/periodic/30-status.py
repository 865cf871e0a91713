"""Report the status of the agent and its extensions, at once after a goal state was processed.

The watcher reports every few seconds through the host plugin; this step reports without waiting for it, and is the
one that goes to the blob directly when the host plugin does not take a report (event "status"). A goal state that
names no place for the report may be one in the making: all of it is fetched once more.

Reads     LIB/goal-state.json, LIB/extensions/, the handlers' status files
Changes   the status blob; LIB/history/, where the report is kept; LIB/goal-state.json when it named no place
Skips     when the goal state names no place for the report
Fails     FabricUnreachable, FabricRejected: the report could be delivered by neither way
"""

from __future__ import annotations

import os

from waagent import __version__
from waagent.errors import FabricError, FabricRejected, FabricUnreachable
from waagent.extensions import report
from waagent.extensions.layout import SPARE
from waagent.fabric import blobs, cache, local_copy, session, status
from waagent.module import Context, Module, Outcome, changed, skipped
from waagent.system.effects import Effect

MODULE = Module(
    summary="Report the status of agent and extensions",
    frequency="always",
    on=("goal-state", "status"),
    reads=("HttpProxy.*", "Debug.EnableFastTrack"),
    limit=120.0,
    imports=("waagent.fabric.session", "waagent.fabric.status", "waagent.extensions.report"),
)


def run(ctx: Context) -> Outcome:
    state = cache.read(ctx.system, ctx.lib)
    if state is None:
        return skipped("no goal state is known yet")
    talk = session.open_session(ctx.system, ctx.config, state.endpoint, ctx.lib, ctx.note)
    if state.desired is None or not state.desired.status_blob:
        state = _once_more(ctx, talk, state)
    desired = state.desired
    if desired is None or not desired.status_blob:
        return skipped("the goal state names no place for the status report")
    host = (os.uname().nodename, ctx.profile.id, ctx.profile.version)
    lib = str(ctx.system.path(ctx.lib))
    stamp = ctx.system.clock.stamp()
    entries = report.fitted(report.handler_statuses(lib, spare=str(ctx.system.path(SPARE))))
    payload = status.document(
        stamp,
        __version__,
        host,
        handlers=entries,
        goal_state=report.goal_state_outcome(lib),
        features=status.features(
            fast_track=ctx.config.switch("Debug.EnableFastTrack"), served=state.fast_track_supported
        ),
    )
    told = f"{len(entries)} entries, {len(payload)} bytes"
    talk.plugin.goal = state.goal
    try:
        # The second time it knows better ids, and takes the report with those.
        for _ in range(2):
            if talk.plugin.upload_status(desired.status_blob, desired.status_blob_type, payload):
                _keep(ctx, lib, payload)
                return changed(f"reported through the host plugin: {told}")
    except (FabricUnreachable, FabricRejected) as error:
        ctx.note(f"{error}; reporting directly")
    if ctx.system.planning:
        ctx.system.note(Effect("upload", "the status blob", note=told))
        return changed(f"would report directly: {told}")
    blobs.upload(talk.internet, stamp, desired.status_blob, desired.status_blob_type, payload)
    _keep(ctx, lib, payload)
    return changed(f"reported directly: {told}")


def _keep(ctx: Context, lib: str, payload: bytes) -> None:
    """What was taken, for support."""
    if ctx.system.planning:
        return
    try:
        local_copy.keep(lib, payload)
    except OSError as error:
        ctx.note(f"cannot keep the report in {ctx.lib}/{local_copy.FOLDER}: {error.strerror or error}")


def _once_more(ctx: Context, talk: session.Session, state: cache.FabricState) -> cache.FabricState:
    """The whole goal state as of now; the one at hand when it cannot be had."""
    try:
        return talk.update(force=True)[1]
    except FabricError as error:
        ctx.note(f"the goal state names no place for the status report; fetching it once more: {error}")
        return state
