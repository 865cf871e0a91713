"""What the platform is told beside what commands leave: refusals, failures, skips, and the goal state as a whole.

A status is written where the platform looks: the handler's status in the directory of the version that was wanted,
and for instances (and for denials) an "error" status file for the number of the settings. A status that cannot be
written is noted; the other handlers go on.

Source: extensions 4.7, 5.4, 8.1, 9.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from waagent.errors import ExtensionError
from waagent.extensions import codes
from waagent.extensions import handler as handlers
from waagent.extensions.boundary import noted
from waagent.extensions.journal import agent_start, boot_id, read_json, save_json
from waagent.extensions.layout import Layout, objection
from waagent.extensions.plan import Operation, Pair, Refusal
from waagent.fabric.desired import ENABLED, Desired, Handler
from waagent.system import System

_OPERATION_NAMES = {
    "download": "Download",
    "initialise": "Download",
    "install": "Install",
    "enable": "Enable",
    "disable": "Disable",
    "uninstall": "UnInstall",
    "update": "Update",
}


class Fate(NamedTuple):
    """How one pair fared: label, succeeded | failed | skipped, and why."""

    label: str
    result: str
    message: str = ""


class Verdicts:
    def __init__(self, system: System, layout: Layout, notes: list[str]) -> None:
        """notes: what could not be written goes there."""
        self._system, self._layout, self._notes = system, layout, notes

    def show(self, wanted: tuple[Handler, ...], mode: str) -> None:
        """Tell the status report which handlers there are, at which versions (report.py)."""
        shown = [
            {
                "name": handler.name,
                "version": handler.version,
                "state": handler.state,
                "multi_config": handler.multi_config,
                "settings": [
                    {
                        "instance": one.name if handler.multi_config else "",
                        "sequence": one.sequence,
                        "state": one.state,
                    }
                    for one in handler.settings
                ],
            }
            for handler in wanted
            if "/" not in handler.name + handler.version
        ]
        document = {"mode": mode, "handlers": shown}
        save_json(self._system, self._layout, self._layout.current, document, durable=False)

    def record(self, desired: Desired, aggregate: dict[str, object] | None, done: bool = True) -> None:
        """Write down that this goal state is done; a held one leaves the last aggregate as it is."""
        before = read_json(self._system, self._layout.processed).get("aggregate")
        if aggregate is not None:
            aggregate = {**aggregate, "timestamp": self._system.clock.stamp(), "sequence": desired.sequence}
        document = {
            "identity": desired.identity if done else "",
            "boot": boot_id(self._system),
            "agent": agent_start(self._system),
            "aggregate": aggregate if aggregate is not None else before,
        }
        save_json(self._system, self._layout, self._layout.processed, document)

    def fail(self, pair: Pair, operation: Operation | None, error: ExtensionError) -> None:
        """Tell the platform why this pair failed, at the level where it looks."""
        version = operation.target if operation else pair.handler.version
        name = _OPERATION_NAMES.get(operation.verb) if operation else "Download"
        of_instance = bool(pair.instance) and operation is not None and operation.verb == "enable"
        denied = error.facts.get("denied") is True
        if of_instance:
            message = f"{pair.label} could not be enabled: [MultiConfigExtensionEnableError] {error.message}"
            self._error_status(pair, version, name, -1, message)
            return
        self._handler_status(pair, version, error.code, error.message, denied)
        if pair.instance or denied:
            self._error_status(pair, version, name, error.code, error.message, overwrite=denied)

    def refuse(self, pair: Pair, refusal: Refusal) -> Fate:
        """Report a pair that is not processed; its message is at both levels when it was to be enabled."""
        wanted = pair.handler.state == ENABLED
        code = refusal.code
        if code is None:
            code = codes.ENABLE_FAILED if wanted else codes.DISABLE_FAILED
        version = self._reported_version(pair)
        if version is not None:
            denied = refusal.code is None
            self._handler_status(pair, version, code, refusal.message, denied)
            # Of a removal that is denied only the handler tells: the platform waits for its entry to vanish.
            if wanted if denied else pair.instance:
                self._error_status(pair, version, refusal.operation, code, refusal.message, overwrite=denied)
        return Fate(pair.label, "failed", refusal.message)

    def skip(self, pair: Pair, version: str, why: str) -> Fate:
        message = f"{pair.label} was skipped: {why}"
        known = self._system.exists(self._layout.handler_status(pair.handler.name, version))
        if not pair.instance or not known:
            self._handler_status(pair, version, -1, message, False)
        self._error_status(pair, version, "ExtensionProcessing", -1, message)
        return Fate(pair.label, "skipped", message)

    def _reported_version(self, pair: Pair) -> str | None:
        """The version whose directory a refusal is written to; None when its names cannot be."""
        instances = tuple(one.name for one in pair.handler.settings)
        if objection(pair.handler.name, pair.handler.version, instances):
            return None
        return pair.handler.version

    def _handler_status(self, pair: Pair, version: str, code: int, message: str, denied: bool) -> None:
        self.write(
            lambda: handlers.write_status(
                self._system,
                self._layout,
                pair.handler.name,
                version,
                handlers.NOT_READY,
                code,
                message,
                denied=denied,
                multi_config=pair.handler.multi_config,
            )
        )

    def _error_status(
        self, pair: Pair, version: str, operation: str | None, code: int, message: str, overwrite: bool = False
    ) -> None:
        if pair.settings is None:
            return
        self.write(
            lambda: handlers.write_error_status(
                self._system,
                self._layout,
                pair.handler.name,
                version,
                pair.instance,
                pair.sequence,
                operation=operation,
                code=code,
                message=message,
                overwrite=overwrite,
            )
        )

    def write(self, action: Callable[[], object]) -> None:
        """What cannot be written, for whatever reason, is noted; the other handlers go on."""
        with noted(self._notes):
            action()
