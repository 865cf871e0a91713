"""The events that run hooks: /etc/waagent/hooks.d/on-<event>/NN-name.

An event's hooks run one after the other, right after the step that caused it, each time it happens (a frequency in
their header means nothing). Those of extension-started and extension-finished run at once: before the operation
begins, and before the next one does; the operation waits for them. They get the event's data in the input document
under `event`. How they end is recorded and changes nothing else.

A step of a packager or an admin may emit events of its own: any name in a-z, 0-9 and "-".
"""

from __future__ import annotations

from typing import NamedTuple


class HookEvent(NamedTuple):
    """name, when it happens, and the names of its data."""

    name: str
    when: str
    data: tuple[str, ...] = ()


EVENTS = (
    HookEvent("ready", "the machine was reported ready to the platform", ("vm_id",)),
    HookEvent("failed", "provisioning failed, and that was reported to the platform", ("description", "summary")),
    HookEvent("goal-state", "the steps that wait for a new goal state have run"),
    HookEvent("hostname-changed", "the machine has another host name", ("name", "before")),
    HookEvent(
        "extension-started",
        "a command of an extension's handler is about to run: install, enable, update, disable or uninstall",
        ("handler", "version", "operation", "extension", "sequence"),
    ),
    HookEvent(
        "extension-finished",
        "it has ended; result is succeeded, failed or timed-out",
        ("handler", "version", "operation", "extension", "sequence", "result", "seconds"),
    ),
    HookEvent("deprovision", "the machine is about to be made an image: traces of this instance are removed next"),
)
NAMES = tuple(event.name for event in EVENTS)
