"""Fetch all that is new since the last time, and say what the goal state is now.

    state = fetch(Sources(...), before, note)        before: cache.read(...), None the first time
    cache.write(system, state, lib)

Order of requests: goal state, vmSettings; then, when the incarnation is new (or `force`), the documents it names:
ExtensionsConfig, HostingEnvironmentConfig, SharedConfig, Certificates, RemoteAccessInfo, and the artifacts profile
of ExtensionsConfig. That one lies on the internet, whose client is loaded while the fabric answers.
Nothing is kept unless all of it could be fetched: a failure raises (FabricError), the last state stays in force and
the next period repeats it all. Three things do not fail it: certificates that cannot be opened, a profile that
cannot be read, and a host plugin in trouble: what it served last then counts as its document.

When protected settings want a certificate that was not delivered (a machine that was resumed from hibernation has
new ones under an old incarnation), everything is fetched again at once, and once more a period later.

Changes    <lib>/<thumbprint>.crt and .prv, the transport pair, <lib>/SharedConfig.xml (read by other software),
           <lib>/GoalState.1.xml (other software looks for its name)

Source: wire-protocol 2.2 to 2.8, 8.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from waagent.errors import FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric import (
    artifacts_profile,
    certificates,
    choice,
    extensions_config,
    hosting,
    origin,
    remote_access,
)
from waagent.fabric.cache import FabricState
from waagent.fabric.host_plugin import CHANGED, UNCHANGED, HostPlugin
from waagent.fabric.wire import AES

if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.fabric.artifacts import Artifacts
    from waagent.fabric.desired import Desired
    from waagent.fabric.extensions_config import Document
    from waagent.fabric.goal_state import GoalState
    from waagent.fabric.wire import WireServer

SHARED_CONFIG = "SharedConfig.xml"
PLACEHOLDER, NOTHING = "GoalState.1.xml", "<xml>the goal state is not kept in this file</xml>"
PROFILE_TOTAL = 20.0
TROUBLE = (FabricUnreachable, FabricRejected, GoalStateInvalid)


@dataclass(frozen=True)
class Sources:
    """Whom to ask, and how.

    fast_track   whether vmSettings may be asked for       period   seconds to wait for a late certificate
    openssl      path of the program                       lib      the state directory
    kept         gets what was new, by the names of history.py
    """

    wire: WireServer
    plugin: HostPlugin
    artifacts: Artifacts
    lib: str
    openssl: str = "/usr/bin/openssl"
    fast_track: bool = True
    period: float = 6.0
    kept: dict[str, bytes] = field(default_factory=dict)


def fetch(
    sources: Sources, before: FabricState | None, note: Callable[[str], None], *, force: bool = False
) -> FabricState:
    state = _once(sources, before, note, force=force)
    for wait in (0.0, sources.period):
        wanted = state.desired if state.desired is not None and state.desired.source == "fasttrack" else None
        if wanted is None or (before is not None and before.desired == wanted):
            return state
        missing = choice.missing(wanted, state.thumbprints)
        if not missing or sources.wire.system.planning:
            return state
        if wait:
            sources.wire.system.clock.sleep(wait)
        note(f"certificate {', '.join(missing)} was not delivered; fetching everything again")
        state = _once(sources, state, note, force=True)
    if state.desired is not None and (missing := choice.missing(state.desired, state.thumbprints)):
        note(f"certificate {', '.join(missing)} is still missing; settings protected by it cannot be opened")
    return state


def _once(sources: Sources, before: FabricState | None, note: Callable[[str], None], *, force: bool) -> FabricState:
    wire, plugin = sources.wire, sources.plugin
    goal = wire.goal_state()
    plugin.goal = goal
    state = before if before is not None else FabricState(wire.endpoint.text, goal)
    state = replace(state, endpoint=wire.endpoint.text, fetched=wire.system.clock.stamp())
    state, vm_settings_changed, stopped = _vm_settings(sources, state, note, force=force)
    wire_changed = force or stopped or before is None or _is_other(before.goal, goal)
    if wire_changed:
        state = _documents(sources, goal, state, note)
    # The ids of now, also when the incarnation is the old one.
    goal = replace(goal, container_id=plugin.goal.container_id, config_name=plugin.goal.config_name)
    state = replace(state, goal=goal)
    if vm_settings_changed and not wire_changed:
        state = _missing_certificates(sources, state, note)
    if stopped:
        # The wire server's word is the only one now, be it older than what the host plugin said before.
        outdated = choice.is_outdated(state.fabric, state.fast_track_created)
        return replace(state, desired=state.fabric, outdated=outdated, fast_track_created="")
    desired = choice.choose(
        state.desired,
        state.fabric,
        state.fast_track,
        wire_changed=wire_changed,
        vm_settings_changed=vm_settings_changed,
    )
    return replace(
        state,
        desired=desired,
        outdated=state.outdated and desired == state.desired,
        fast_track_created=desired.created if desired is not None and desired.source == "fasttrack" else "",
    )


def _is_other(before: GoalState, now: GoalState) -> bool:
    """Another incarnation; or, on the disk of an image, that of another machine under the same number."""
    return (before.incarnation, before.instance_id) != (now.incarnation, now.instance_id)


def _vm_settings(
    sources: Sources, state: FabricState, note: Callable[[str], None], *, force: bool
) -> tuple[FabricState, bool, bool]:
    """The state with the host plugin's word; whether that is new; whether fast track was served and is no more."""
    served = bool(state.fast_track_created)
    if not sources.fast_track:
        return replace(state, fast_track=None, etag="", fast_track_supported=False), False, served
    try:
        answer = sources.plugin.vm_settings("" if force else state.etag)
    except TROUBLE as error:
        note(f"{error}; continuing with what it served last")
        refused = str(error.facts.get("etag", ""))
        if refused and refused != state.refused_etag:
            sources.kept["VmSettings.json"] = sources.plugin.vm_settings_text
        return replace(state, refused_etag=refused), False, False
    state = replace(state, refused_etag="")
    if answer.kind == UNCHANGED:
        return replace(state, fast_track_supported=True), False, False
    if answer.kind == CHANGED and answer.settings is not None:
        document = answer.settings.desired if answer.settings.is_fast_track else None
        if document is not None and answer.etag != state.etag:
            sources.kept["VmSettings.json"] = sources.plugin.vm_settings_text
        fresh = replace(state, fast_track=document, etag=answer.etag, fast_track_supported=True)
        return fresh, document is not None and answer.etag != state.etag, False
    return replace(state, fast_track=None, etag="", fast_track_supported=False), False, served


def _documents(
    sources: Sources, goal: GoalState, state: FabricState, note: Callable[[str], None]
) -> FabricState:
    """The state with all documents of this incarnation."""
    wire = sources.wire
    sources.kept["GoalState.xml"] = wire.goal_state_text
    document = _extensions(sources, goal, note)
    names = state.names
    if goal.hosting_environment:
        environment = wire.document(goal.hosting_environment, hosting.DOCUMENT)
        sources.kept["HostingEnvironmentConfig.xml"] = environment
        with origin.told(goal.hosting_environment):
            names = hosting.parse(environment)
    if goal.shared_config:
        shared = wire.document(goal.shared_config, "the shared config document")
        sources.kept[SHARED_CONFIG] = shared
        quiet = wire.system.quietly()
        quiet.write(f"{sources.lib}/{SHARED_CONFIG}", shared, secret=True)
        quiet.write(f"{sources.lib}/{PLACEHOLDER}", NOTHING, secret=True)
    state = replace(state, names=names)
    if wire.system.planning:
        note("certificates and remote users are left out of a plan: opening them takes files")
        return replace(state, fabric=_with_profile(sources, document, note))
    delivered: tuple[certificates.Certificate, ...] = ()
    if goal.certificates:
        delivered = certificates.fetch(wire, goal.certificates, sources.lib, sources.openssl, note) or ()
    users = None
    if goal.remote_access:
        transport = certificates.ensure_transport(wire.system, sources.lib)
        content = wire.encrypted_document(goal.remote_access, remote_access.DOCUMENT, transport.header, AES)
        sources.kept["RemoteAccess.xml"] = content
        with origin.told(goal.remote_access):
            users = remote_access.parse(content)
    fabric = _with_profile(sources, document, note)
    return replace(state, fabric=fabric, certificates=delivered, remote_users=users)


def _extensions(sources: Sources, goal: GoalState, note: Callable[[str], None]) -> Document | None:
    if not goal.extensions_config:
        return None
    content = sources.wire.document(goal.extensions_config, extensions_config.DOCUMENT)
    sources.kept["ExtensionsConfig.xml"] = content
    with origin.told(goal.extensions_config):
        document = extensions_config.parse(content, goal.incarnation)
    for told in document.notes:
        note(told)
    if document.profile_url:
        sources.artifacts.internet.prepare()
    return document


def _with_profile(sources: Sources, document: Document | None, note: Callable[[str], None]) -> Desired | None:
    """What the document desires, on hold if its profile says so."""
    if document is None or not document.profile_url:
        return document.desired if document is not None else None
    try:
        found = sources.artifacts.fetch(
            [document.profile_url], limit=artifacts_profile.SIZE, what="the artifacts profile", total=PROFILE_TOTAL
        )
    except TROUBLE as error:
        note(f"{error}; taking the VM as not on hold")
        return document.desired
    return replace(document.desired, on_hold=artifacts_profile.on_hold(found.body))


def _missing_certificates(sources: Sources, state: FabricState, note: Callable[[str], None]) -> FabricState:
    """A fast track goal state brings no certificates: make sure that the files of the last ones are there."""
    system = sources.wire.system
    gone = [name for name in state.thumbprints if not system.exists(f"{sources.lib}/{name}.crt")]
    if not gone or not state.goal.certificates or system.planning:
        return state
    delivered = certificates.fetch(sources.wire, state.goal.certificates, sources.lib, sources.openssl, note)
    return state if delivered is None else replace(state, certificates=delivered)
