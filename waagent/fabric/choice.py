"""Which of the two descriptions of the extensions counts: the wire server's or the host plugin's. Pure.

choose(in_use, fabric, fast_track, wire_changed, vm_settings_changed) -> Desired or None (none is known yet)

    wire server changed, a fast track document is at hand   the one that was created later
    only the wire server changed                            the wire server's
    only vmSettings changed                                 the fast track document
    the choice is older than what is in use                 what is in use stays

The comparison of the first line matters when a certificate was renewed: the incarnation goes up, yet the wire
server's document is older than the fast track one in force.

is_outdated(fabric, last_fast_track) tells that the host served fast track before, does so no more, and the wire
server only has what came before it: then status goes on, but extensions are left as they are.

missing(desired, thumbprints) are the certificates that protected settings want and that were not delivered.

Source: wire-protocol 2.2, 2.3, 2.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from waagent.fabric.desired import Desired


def choose(
    in_use: Desired | None,
    fabric: Desired | None,
    fast_track: Desired | None,
    *,
    wire_changed: bool,
    vm_settings_changed: bool,
) -> Desired | None:
    chosen: Desired | None
    if wire_changed and fabric is not None and fast_track is not None:
        # Equal times: the wire server's, whose certificates come along.
        chosen = fast_track if fast_track.created > fabric.created else fabric
    elif wire_changed and fabric is not None:
        chosen = fabric
    elif vm_settings_changed and fast_track is not None:
        chosen = fast_track
    else:
        return in_use
    if in_use is not None and chosen.created < in_use.created:
        return in_use
    return chosen


def is_outdated(fabric: Desired | None, last_fast_track: str) -> bool:
    """last_fast_track: when the last fast track goal state was created, "" when there was none."""
    return fabric is not None and bool(last_fast_track) and fabric.created < last_fast_track


def missing(desired: Desired, thumbprints: Iterable[str]) -> list[str]:
    """Thumbprints, upper case, in document order."""
    there = {thumbprint.upper() for thumbprint in thumbprints}
    wanted = (
        settings.thumbprint.upper()
        for handler in desired.handlers
        for settings in handler.settings
        if settings.protected and settings.thumbprint
    )
    return [thumbprint for thumbprint in dict.fromkeys(wanted) if thumbprint not in there]
