"""What the fabric said last, on disk: LIB/goal-state.json, mode 0600.

FabricState
    endpoint        str, text of the Endpoint
    goal            GoalState: ids and URLs
    desired         Desired, the extensions goal state in use; None when the platform gave none
    fabric, fast_track      Desired of either source as last fetched, None when there is none
    etag            str, of the last vmSettings document, also one that only mirrors the wire server's
    refused_etag    str, of a newer vmSettings document that cannot be used; "" when there is none
    fast_track_created      str, when the last fast track goal state in force was created; "" when there was none
    fast_track_supported    bool: the host plugin serves vmSettings
    outdated        bool: do not process the extensions of `desired`, report status only
    certificates    tuple of Certificate        remote_users    tuple of RemoteUser, None: no such document
    names           hosting.Names               fetched         str, UTC time of this state

read(system, lib) -> FabricState or None (absent, or not of this form: everything is fetched anew)
write(system, state, lib)   atomic, so that a reader finds the old state or the new one

The file's part "known" is what the watcher reads (poll.known_of). The state stays as it was while fetching fails.

Source: wire-protocol 2.2, 2.3.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from waagent.fabric.certificates import Certificate
from waagent.fabric.desired import Desired
from waagent.fabric.goal_state import GoalState
from waagent.fabric.hosting import Names
from waagent.fabric.poll import SERVED, Known
from waagent.fabric.remote_access import RemoteUser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from waagent.system import System

NAME = "goal-state.json"
SCHEMA = 1


@dataclass(frozen=True)
class FabricState:
    endpoint: str
    goal: GoalState
    desired: Desired | None = None
    fabric: Desired | None = None
    fast_track: Desired | None = None
    etag: str = ""
    refused_etag: str = ""
    fast_track_created: str = ""
    fast_track_supported: bool = False
    outdated: bool = False
    certificates: tuple[Certificate, ...] = ()
    remote_users: tuple[RemoteUser, ...] | None = None
    names: Names = field(default_factory=Names)
    fetched: str = ""

    @property
    def thumbprints(self) -> list[str]:
        return [certificate.thumbprint for certificate in self.certificates]

    def known(self) -> Known:
        """What the watcher needs."""
        return Known(
            self.endpoint,
            incarnation=self.goal.incarnation,
            container_id=self.goal.container_id,
            config_name=self.goal.config_name,
            instance_id=self.goal.instance_id,
            etag=self.etag,
            refused_etag=self.refused_etag,
            status_blob=self.desired.status_blob if self.desired else "",
            status_blob_type=self.desired.status_blob_type if self.desired else "",
            vm_settings=SERVED if self.fast_track_supported else "",
        )

    def to_json(self) -> dict[str, Any]:
        def document(desired: Desired | None) -> dict[str, Any] | None:
            return None if desired is None else desired.to_json()

        users = None
        if self.remote_users is not None:
            users = [
                {**user._asdict(), "expires": user.expires.isoformat() if user.expires else None}
                for user in self.remote_users
            ]
        return {
            "schema": SCHEMA,
            "known": self.known().to_json(),
            "endpoint": self.endpoint,
            "goal": self.goal.to_json(),
            "desired": document(self.desired),
            "fabric": document(self.fabric),
            "fast_track": document(self.fast_track),
            "etag": self.etag,
            "refused_etag": self.refused_etag,
            "fast_track_created": self.fast_track_created,
            "fast_track_supported": self.fast_track_supported,
            "outdated": self.outdated,
            "certificates": [certificate._asdict() for certificate in self.certificates],
            "remote_users": users,
            "names": self.names._asdict(),
            "fetched": self.fetched,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> FabricState:
        """The inverse of to_json. Raises KeyError, TypeError or ValueError for anything else."""
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema {fields['schema']!r} is not {SCHEMA}")

        def desired(name: str) -> Desired | None:
            return None if fields[name] is None else Desired.from_json(fields[name])

        users = fields["remote_users"]
        return cls(
            endpoint=str(fields["endpoint"]),
            goal=GoalState.from_json(fields["goal"]),
            desired=desired("desired"),
            fabric=desired("fabric"),
            fast_track=desired("fast_track"),
            etag=str(fields["etag"]),
            refused_etag=str(fields["refused_etag"]),
            fast_track_created=str(fields["fast_track_created"]),
            fast_track_supported=bool(fields["fast_track_supported"]),
            outdated=bool(fields["outdated"]),
            certificates=tuple(Certificate(**certificate) for certificate in fields["certificates"]),
            remote_users=None if users is None else tuple(_user(user) for user in users),
            names=Names(**fields["names"]),
            fetched=str(fields["fetched"]),
        )


def _user(fields: Mapping[str, Any]) -> RemoteUser:
    expires = fields["expires"]
    moment = None if expires is None else datetime.fromisoformat(expires).astimezone(timezone.utc)
    return RemoteUser(fields["name"], fields["password"], moment, fields["invalid"])


def path(lib: str) -> str:
    return f"{lib}/{NAME}"


def read(system: System, lib: str) -> FabricState | None:
    try:
        return FabricState.from_json(json.loads(system.read_text(path(lib))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write(system: System, state: FabricState, lib: str) -> bool:
    """False when the file says the same already. Raises SystemRefused."""
    return system.quietly().write(path(lib), json.dumps(state.to_json(), indent=1), secret=True)
