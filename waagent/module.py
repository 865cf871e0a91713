"""The contract of a step: what a module declares, what it is given, what it returns. Read this first.

A Python step (a shipped module, a packager's, or an admin's hook) is a file NN-name.py with

    MODULE = Module(summary="…", frequency="per-instance")
    def run(ctx: Context) -> Outcome: …

`run` returns changed(…), unchanged(…) or skipped(…), each with one sentence, or raises a WaagentError that tells
the admin what to do. It runs in a process of its own: what it does to that process reaches nobody else. Running
it twice in a row changes nothing the second time.

This module is the whole interface for steps that are not shipped with the agent: what __all__ names, and what a
Context holds. It is versioned by API: within one version names are added and never changed or taken away. The rest
of the library is private. docs/reference/module-api.md lists all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from waagent.errors import WaagentError

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile
    from waagent.system import System

__all__ = ["API", "Context", "Module", "Outcome", "StepResult", "WaagentError", "changed", "skipped", "unchanged"]

API = 1

FREQUENCIES = ("per-instance", "per-boot", "always", "once")
FAILURE_RULES = ("continue", "stop")
# A path that a shell and Python expand to the same names: no blanks, quotes or other signs of the shell.
WATCHABLE = re.compile(r"(?!.*(//|/\.\.?(/|$)))/[A-Za-z0-9_.:@%+,=*?\[\]!/-]+")


@dataclass(frozen=True)
class Module:
    """What a step declares about itself.

    summary      one line for `waagent steps` and the docs
    frequency    per-instance (again for a new VM id), per-boot, always (each time the stage runs), once (per disk)
    every        periodic stage: seconds between runs, or the name of an option that holds them
    watching     periodic stage: paths or patterns ("/sys/block/sd*/device/timeout"); at its period it runs only
                 if a file has changed, come or gone since its last run, or that failed; once an hour anyway
    on           periodic stage: events that make it run ("goal-state")
    reads        options it reads, patterns allowed ("ResourceDisk.*"); for the docs and `config explain`
    when         facts that have to hold, "provisioning.by=waagent"; else it is skipped with that reason
    distros      names of distro profiles it is for; empty: all
    limit        seconds it may take
    on_failure   continue, or stop: the steps after it in this stage do not run
    essential    its failure means that the machine is not provisioned: NotReady is reported instead of Ready
    secrets      names of secret facts a program wants in its input document
    imports      shipped steps: libraries that are slow to load; the engine does so while an earlier step works
    """

    summary: str
    frequency: str = "per-boot"
    every: str | int | None = None
    watching: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    when: tuple[str, ...] = ()
    distros: tuple[str, ...] = ()
    limit: float = 60.0
    on_failure: str = "continue"
    essential: bool = False
    secrets: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.frequency not in FREQUENCIES:
            raise ValueError(f"frequency {self.frequency!r} is not one of {', '.join(FREQUENCIES)}")
        if self.on_failure not in FAILURE_RULES:
            raise ValueError(f"on_failure {self.on_failure!r} is not one of {', '.join(FAILURE_RULES)}")
        if self.limit <= 0:
            raise ValueError(f"limit {self.limit!r} is not a number of seconds above 0")
        if self.watching and self.every is None:
            raise ValueError("watching goes with every: how often the files are looked at")
        for path in self.watching:
            if not WATCHABLE.fullmatch(path):
                raise ValueError(f"watching {path!r} is no absolute path in letters, digits and _.:@%+,=-")


@dataclass(frozen=True)
class Outcome:
    """How a step ended: kind is changed, unchanged or skipped; message is one sentence for the log."""

    kind: str
    message: str = ""


def changed(message: str) -> Outcome:
    return Outcome("changed", message)


def unchanged(message: str) -> Outcome:
    return Outcome("unchanged", message)


def skipped(reason: str) -> Outcome:
    return Outcome("skipped", reason)


@dataclass(frozen=True)
class StepResult:
    """How an earlier step of this boot ended, for the steps that report."""

    stage: str
    step: str
    kind: str  # changed, unchanged, skipped, failed
    message: str
    reason: str = ""
    essential: bool = False


@dataclass
class Context:
    """What a step is given.

    system    the door to the machine            config   the options of waagent.conf
    profile   what this distribution is like     stage, step   who is running
    event     the event that caused a periodic run ("goal-state"), or None, with its data in event_data
    boot      results of the steps that have run in this boot, oldest first; a stage that should have run before
              this one and did not come to its end is there too, as a failed, essential result without a step
    lib       the state directory, normally /var/lib/waagent
    """

    system: System
    config: Config
    profile: DistroProfile
    stage: str = ""
    step: str = ""
    event: str | None = None
    event_data: Mapping[str, Any] = field(default_factory=dict)
    boot: tuple[StepResult, ...] = ()
    lib: str = "/var/lib/waagent"
    facts: dict[str, Any] = field(default_factory=dict)
    secret_facts: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    published_secrets: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _tell: Callable[[str, dict[str, Any]], None] | None = field(default=None, repr=False)

    def fact(self, key: str, default: Any = None) -> Any:
        """A public fact by its dotted key: fact("ovf.user_name"); what this step published counts too."""
        return _find(self.published, key, _find(self.facts, key, default))

    def secret(self, key: str, default: Any = None) -> Any:
        """A secret fact by its dotted key. Never log what it returns."""
        return _find(self.published_secrets, key, _find(self.secret_facts, key, default))

    def publish(self, key: str, value: Any, secret: Any = None) -> None:
        """Set the fact `key` to a JSON value, and the secret fact of the same key to `secret`.

        Kept when the step succeeds; a key that was there is replaced as a whole, None removes it.
        """
        self.published[key] = value
        if secret is not None:
            self.published_secrets[key] = secret

    def forget_secret(self, key: str) -> None:
        """Remove a secret fact that is not needed any more."""
        self.published_secrets[key] = None

    def note(self, message: str) -> None:
        """One more line for the log, beside the outcome: something worth knowing that is no failure."""
        self.notes.append(message)

    def emit(self, event: str, **data: Any) -> None:
        """Have the hooks of on-<event>/ run after this step."""
        self.events.append((event, data))

    def announce(self, event: str, **data: Any) -> None:
        """Have the hooks of on-<event>/ run now, and return when they have ended, however that was.

        Their time is this step's time. Where nobody runs hooks meanwhile it is the same as emit. Not to be called
        from two threads at once.
        """
        if self._tell is None:
            self.emit(event, **data)
        else:
            self._tell(event, data)


def _find(facts: Mapping[str, Any], key: str, default: Any) -> Any:
    """Look a dotted key up: whole first (as published), then part by part."""
    if key in facts:
        return facts[key] if facts[key] is not None else default
    for end in range(len(key) - 1, 0, -1):
        if key[end] == "." and key[:end] in facts:
            value: Any = facts[key[:end]]
            for part in key[end + 1 :].split("."):
                if not isinstance(value, Mapping) or part not in value:
                    return default
                value = value[part]
            return value if value is not None else default
    return default
