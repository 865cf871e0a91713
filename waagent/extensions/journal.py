"""What the engine is doing and has done, so that a kill or a reboot at any point is resumed and not repeated.

LIB/extensions/journal.json, replaced atomically before every step, after a turn, when an update has come further:

    identity, boot   of the goal state being processed, and the boot in which; another one starts the turns afresh
    began            clock.monotonic() when its processing began: the wait for dependencies counts from here
    turns            pair id -> "succeeded", "failed" or "skipped" with its message
    updates          handler -> update under way (plan.Update); outlives the goal state
    operations       pair id -> the step being carried out with the command it runs; several when handlers run
                     side by side (Extensions.Parallel). It stands until the next step begins or the turn ends: what
                     followed from a command is then on disk, and until then it can be told again

LIB/extensions/processed.json, when a goal state is done: {"identity", "boot", "agent", "aggregate": null or
{"status", "code", "message", "timestamp", "sequence"}}; the aggregate goes into the status report. It counts for
one boot and one start of the agent: after either, every enabled handler is enabled once more. The start is read
when the goal state is done, so that a handler that restarts the agent is not enabled for ever.

Only updates outlive a boot, so only they make it wait for the disk; the rest has to survive a kill, no power cut.

Unreadable files count as absent: then everything is decided from the handlers' own directories. A Journal may be
used by several threads at once.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from typing import Any

from waagent.errors import SystemRefused
from waagent.extensions.commands import Command, Running
from waagent.extensions.layout import Layout
from waagent.extensions.plan import Operation, Update
from waagent.system import System

AGENT_START = "/run/waagent/agent-start"


def boot_id(system: System) -> str:
    try:
        return system.read_text("/proc/sys/kernel/random/boot_id").strip()
    except OSError:
        return ""


def agent_start(system: System) -> str:
    """What the watcher wrote down when it began; "" without a watcher."""
    try:
        return system.read_text(AGENT_START).strip()
    except OSError:
        return ""


def read_json(system: System, path: str) -> dict[str, Any]:
    try:
        document = json.loads(system.read(path).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


Interrupted = tuple[str, Operation, Command, Running]  # with the pair's id


class Journal:
    def __init__(self, system: System, layout: Layout) -> None:
        self._system, self._layout = system, layout
        fields = read_json(system, layout.journal)
        self.identity = str(fields.get("identity", ""))
        self.boot = str(fields.get("boot", ""))
        self.began = _seconds(fields.get("began"))
        self.turns: dict[str, tuple[str, str]] = {}
        self.updates: dict[str, Update] = {}
        self._operations: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        self.troubles: list[str] = []  # what could not be written down
        for pair, turn in _items(fields.get("turns")):
            if isinstance(turn, list) and len(turn) == 2:
                self.turns[pair] = (str(turn[0]), str(turn[1]))
        for handler, update in _items(fields.get("updates")):
            try:
                self.updates[handler] = Update(
                    update["old"], update["new"], dict(update["disabled"]), update["updated"], update["uninstalled"]
                )
            except (KeyError, TypeError, ValueError):
                continue
        self._lasting = bool(self.updates)  # whether what is on disk has to outlive a power cut
        for pair, operation in _items(fields.get("operations")):
            if isinstance(operation, dict):
                self._operations[pair] = operation

    def begin(self, identity: str) -> bool:
        """Start on a goal state; false if it goes on with one that was interrupted in this boot."""
        boot = boot_id(self._system)
        if (identity, boot) == (self.identity, self.boot) and self.began:
            return False
        self.identity, self.boot, self.began = identity, boot, self._system.clock.monotonic()
        self.turns = {}
        self.save()
        return True

    def finish(self) -> None:
        """The goal state is done: its turns are forgotten, so that the next run of it starts afresh."""
        with self._lock:
            self.identity, self.began, self.turns, self._operations = "", 0.0, {}, {}
            self.save()

    def doing(self, pair: str, operation: Operation) -> None:
        with self._lock:
            self._operations[pair] = {"step": operation._asdict(), "command": None, "running": None}
            self.save()

    def running(self, pair: str, command: Command, running: Running) -> None:
        with self._lock:
            self._operations[pair]["command"] = {**command._asdict(), "environment": {}}
            self._operations[pair]["running"] = running._asdict()
            self.save()

    def ended(self, pair: str, result: str, message: str) -> None:
        with self._lock:
            self.turns[pair] = (result, message)
            self._operations.pop(pair, None)
            self._save_if_possible()

    def begin_update(self, handler: str, update: Update) -> None:
        """An update begins; its first step writes that down."""
        with self._lock:
            self.updates[handler] = update

    def update(self, handler: str, update: Update) -> None:
        """How far an update has come: on disk before anything follows from it."""
        with self._lock:
            self.updates[handler] = update
            self._save_if_possible()

    def forget_update(self, handler: str) -> bool:
        """The update is over; whether there was one. The end of the turn writes that down."""
        with self._lock:
            return self.updates.pop(handler, None) is not None

    def interrupted(self) -> list[Interrupted]:
        """The commands that an earlier process was running when it died, if it was in this boot."""
        found: list[Interrupted] = []
        if self.boot != boot_id(self._system):
            return found
        for pair, fields in self._operations.items():
            try:
                step, command = Operation(**fields["step"]), Command(**fields["command"])
                found.append((pair, step, command, Running(**fields["running"])))
            except (KeyError, TypeError, ValueError):
                continue
        return found

    def settled(self) -> None:
        """Nothing of an earlier process is under way any more."""
        with self._lock:
            self._operations = {}
            self._save_if_possible()

    def _save_if_possible(self) -> None:
        """What has been done cannot be undone by a full disk: go on, and tell."""
        try:
            self.save()
        except SystemRefused as error:
            if error.message not in self.troubles:
                self.troubles.append(error.message)

    def save(self) -> None:
        """Raises SystemRefused."""
        with self._lock:
            document = {
                "identity": self.identity,
                "boot": self.boot,
                "began": self.began,
                "turns": {pair: list(turn) for pair, turn in self.turns.items()},
                "updates": {handler: {**update._asdict()} for handler, update in self.updates.items()},
                "operations": self._operations,
            }
            lasting = bool(self.updates) or self._lasting  # also when the last update has just been forgotten
            save_json(self._system, self._layout, self._layout.journal, document, durable=lasting)
            self._lasting = bool(self.updates)


def save_json(system: System, layout: Layout, path: str, document: object, *, durable: bool = True) -> None:
    """Replace one of the engine's own files. Raises SystemRefused."""
    quiet = system.quietly()  # nobody would ask `why` about these
    if not quiet.is_directory(layout.own):
        quiet.make_directory(layout.own, 0o700)
    quiet.write(path, json.dumps(document), mode=0o600, durable=durable)


def _seconds(value: Any) -> float:
    """0.0 for what is no time: then the goal state begins afresh."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= sys.float_info.max else 0.0


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, Mapping) else []
