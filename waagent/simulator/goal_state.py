"""What the control plane wants of one machine: the values behind ExtensionsConfig and vmSettings.

    Settings      public (any JSON value or None), protected (JSON value or None), encrypted form, sequence number
    Instance      one named instance of a multi-config handler: name, state, settings, depends_on
    Extension     one handler: name, version, state, settings or instances, depends_on, locations
    Family        an agent family for self-update: name, version, uris
    RemoteUser    a just-in-time account
    Goal          a complete desired set with its ticks and ids

All can be built from plain dicts (`Extension.of({...})`), which is how the control API and YAML-free tests describe
them, and turned back with `as_dict()`. `depends_on` lists handler names, or "handler/instance".

Source: wire-protocol 2.7, 3.4.
"""
from __future__ import annotations

import hashlib
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from .errors import SimulatorError

# Ticks are 100 ns since 0001-01-01; this is 1970-01-01.
EPOCH_TICKS = 621355968000000000
STATES = ("enabled", "disabled", "uninstall")


def ticks_now() -> int:
    return EPOCH_TICKS + time.time_ns() // 100


def _known(kind: str, given: dict[str, Any], names: tuple[str, ...]) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise SimulatorError(f"{kind} has no field {', '.join(unknown)}; known are {', '.join(names)}")


@dataclass
class Settings:
    """One numbered configuration. `sequence` None: counted up whenever the content changes."""

    public: Any = None
    protected: Any = None
    sequence: Optional[int] = None
    encrypted: str = ""
    thumbprint: str = ""

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.public, self.protected], sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {"public": self.public, "protected": self.protected, "sequence": self.sequence,
                "encrypted": self.encrypted, "thumbprint": self.thumbprint}

    @classmethod
    def of(cls, given: dict[str, Any]) -> Settings:
        return cls(given.get("public"), given.get("protected"), given.get("sequence"),
                   given.get("encrypted", ""), given.get("thumbprint", ""))


@dataclass
class Instance:
    """One instance of a multi-config handler."""

    name: str
    settings: Settings
    state: str = "enabled"
    depends_on: list[str] = field(default_factory=list)
    level: Optional[int] = None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Instance:
        _known("instance", given, ("name", "public", "protected", "sequence", "state", "depends_on", "level",
                                  "encrypted", "thumbprint"))
        if not given.get("name"):
            raise SimulatorError("instance has no name")
        return cls(given["name"], Settings.of(given),
                   given.get("state", "enabled"), list(given.get("depends_on", ())), given.get("level"))

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings.as_dict(), "state": self.state, "depends_on": self.depends_on,
                "level": self.level}


@dataclass
class Extension:
    """One handler of the goal state. Without settings and instances it is a handler that has none.

    locations     manifest URLs; None means the simulator's own blob store
    signature     base64 CMS over the package, as encodedSignature
    settings      [] none, one for single-config; more than one only to provoke an agent
    """

    name: str
    version: str
    state: str = "enabled"
    settings: list[Settings] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    depends_on: list[str] = field(default_factory=list)
    level: Optional[int] = None
    locations: Optional[list[str]] = None
    signature: str = ""
    multi_config: Optional[bool] = None
    auto_upgrade: bool = True

    FIELDS = ("name", "version", "state", "public", "protected", "sequence", "settings", "instances", "depends_on",
              "level", "locations", "signature", "multi_config", "auto_upgrade")

    @classmethod
    def of(cls, given: Union[Extension, dict[str, Any]]) -> Extension:
        if isinstance(given, Extension):
            return given
        _known("extension", given, cls.FIELDS)
        if not given.get("name") or not given.get("version"):
            raise SimulatorError("extension needs a name and a version")
        state = given.get("state", "enabled")
        if state not in STATES:
            raise SimulatorError(f"extension {given['name']} has state {state!r}; known are {', '.join(STATES)}")
        settings = [Settings.of(one) for one in given.get("settings", ())]
        if not settings and any(given.get(name) is not None for name in ("public", "protected", "sequence")):
            settings = [Settings.of(given)]
        return cls(given["name"], str(given["version"]), state, settings,
                   [Instance.of(one) for one in given.get("instances", ())], list(given.get("depends_on", ())),
                   given.get("level"), given.get("locations"), given.get("signature", ""),
                   given.get("multi_config"), given.get("auto_upgrade", True))

    @property
    def is_multi_config(self) -> bool:
        return bool(self.instances) if self.multi_config is None else self.multi_config

    def all_settings(self) -> list[tuple[str, Settings]]:
        """Every settings with the instance name it belongs to ("" for the handler itself)."""
        return [("", one) for one in self.settings] + [(one.name, one.settings) for one in self.instances]

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version, "state": self.state,
                "settings": [one.as_dict() for one in self.settings],
                "instances": [one.as_dict() for one in self.instances], "depends_on": self.depends_on,
                "level": self.level, "locations": self.locations, "signature": self.signature,
                "multi_config": self.multi_config, "auto_upgrade": self.auto_upgrade}


@dataclass
class Family:
    """An agent family. None leaves an element out, which differs from False (wire-protocol 6.4)."""

    name: str = "Prod"
    version: Optional[str] = None
    uris: Optional[list[str]] = None
    from_version: Optional[str] = None
    is_version_from_rsm: Optional[bool] = None
    is_vm_enabled_for_rsm: Optional[bool] = None

    @classmethod
    def of(cls, given: Union[Family, dict[str, Any]]) -> Family:
        if isinstance(given, Family):
            return given
        _known("family", given, tuple(cls.__dataclass_fields__))
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass
class RemoteUser:
    """A just-in-time account; `expiration` as RFC 1123 text in GMT, password in clear (encrypted when served)."""

    name: str
    password: str
    expiration: str
    groups: list[str] = field(default_factory=lambda: ["Administrators"])

    @classmethod
    def of(cls, given: Union[RemoteUser, dict[str, Any]]) -> RemoteUser:
        if isinstance(given, RemoteUser):
            return given
        _known("remote user", given, tuple(cls.__dataclass_fields__))
        missing = [name for name in ("name", "password", "expiration") if name not in given]
        if missing:
            raise SimulatorError(f"remote user lacks {', '.join(missing)}")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass
class Goal:
    """One published set of extensions."""

    extensions: list[Extension] = field(default_factory=list)
    families: list[Family] = field(default_factory=list)
    required_features: list[str] = field(default_factory=list)
    on_hold: bool = False
    ticks: int = field(default_factory=ticks_now)
    activity_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    correlation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 1

    def levels(self) -> dict[tuple[str, str], int]:
        """Dependency level per (handler, instance): as given, else one above the deepest dependency."""
        wanted: dict[tuple[str, str], tuple[Optional[int], list[str]]] = {}
        for extension in self.extensions:
            if extension.instances:
                for instance in extension.instances:
                    wanted[extension.name, instance.name] = (instance.level, instance.depends_on)
            else:
                wanted[extension.name, ""] = (extension.level, extension.depends_on)
        found: dict[tuple[str, str], int] = {}

        def level(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
            if key in above:
                names = " -> ".join("/".join(filter(None, one)) for one in (*above, key))
                raise SimulatorError(f"extensions depend on each other in a circle: {names}; give levels")
            if key not in found:
                given, depends_on = wanted[key]
                if given is not None:
                    found[key] = given
                else:
                    below = [level(other, (*above, key)) for name in depends_on for other in _targets(name, wanted)]
                    found[key] = 1 + max(below) if depends_on and below else int(bool(depends_on))
            return found[key]

        for key in wanted:
            level(key, ())
        return found

    def as_dict(self) -> dict[str, Any]:
        return {"extensions": [one.as_dict() for one in self.extensions],
                "families": [one.as_dict() for one in self.families],
                "required_features": self.required_features, "on_hold": self.on_hold, "ticks": self.ticks,
                "activity_id": self.activity_id, "correlation_id": self.correlation_id, "sequence": self.sequence}

    @classmethod
    def of(cls, given: dict[str, Any]) -> Goal:
        known = dict(given)
        known["extensions"] = [Extension.of(one) for one in known.get("extensions", ())]
        known["families"] = [Family.of(one) for one in known.get("families", ())]
        return cls(**known)


def _targets(name: str, wanted: dict[tuple[str, str], Any]) -> list[tuple[str, str]]:
    handler, _, instance = name.partition("/")
    return [key for key in wanted if key[0] == handler and (not instance or key[1] == instance)]
