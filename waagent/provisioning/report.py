"""What the platform is told about this boot: ready, or why not.

    report = decide(by, marker, vm_id, boot)       None: nothing is to be told
    deliver(session, report, ...)                  over the wire server, and by KVP where the network fails
    read_marker, write_marker                      <Lib.Dir>/provisioned, the VM id that was reported ready

The marker is written when Ready was accepted, never before: killed in between, the next boot reports once more, and
several Ready reports are harmless. So the marker alone says whether the last report was Ready; a boot with a marker
of this VM tells nothing. With provisioning switched off Ready is told at each boot. When a step that is essential
failed, the platform gets the first one's reason (which it counts) and message, as reason=…|…, the form that its
tools know from other agents; the next boot tries again.

Source: provisioning 4.8, 4.9, 4.10, wire-protocol 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from waagent import __version__
from waagent.errors import FabricError, SystemRefused
from waagent.fabric import health
from waagent.fabric.retry import HEALTH
from waagent.instance.store import same_id
from waagent.provisioning import kvp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from waagent.fabric.retry import Policy
    from waagent.fabric.wire import WireServer
    from waagent.system import System

    class Result(Protocol):
        """A waagent.module.StepResult."""

        @property
        def stage(self) -> str: ...
        @property
        def step(self) -> str: ...
        @property
        def kind(self) -> str: ...
        @property
        def message(self) -> str: ...
        @property
        def reason(self) -> str: ...
        @property
        def essential(self) -> bool: ...


MARKER = "provisioned"
DOCUMENTATION = "https://aka.ms/linuxprovisioningerror"
NOBODY, DISABLED, ALREADY = "nobody", "disabled", "already"


class Report(NamedTuple):
    """ready, or not, with what is told: description as the platform's tools read it, summary for our log."""

    ready: bool
    description: str
    summary: str


def decide(by: str, marker: str | None, vm_id: str, boot: Iterable[Result], stamp: str) -> Report | None:
    """by: the fact provisioning.by; marker: what read_marker gave; boot: how the steps of this boot ended."""
    if by == NOBODY or (is_reported(marker, vm_id) and by != DISABLED):
        return None
    failed = next((result for result in boot if result.essential and result.kind == "failed"), None)
    if failed is None or by in (DISABLED, ALREADY):
        fields = {"result": "success", "agent": f"waagent/{__version__}", "vm_id": vm_id, "timestamp": stamp}
        return Report(True, described(fields), "ready")
    step = f"{failed.stage}.{failed.step}"
    told = failure(failed.reason or "provisioning failed", failed.message, vm_id, stamp, step=step)
    return told._replace(summary=f"{step} failed: {failed.message}")


def failure(reason: str, detail: str, vm_id: str, stamp: str, *, step: str = "") -> Report:
    """That this machine cannot be provisioned; step: where it failed, "" for what is none of the agent's."""
    fields = {
        "result": "error",
        "reason": reason,
        "agent": f"waagent/{__version__}",
        "vm_id": vm_id,
        "timestamp": stamp,
        "documentation_url": DOCUMENTATION,
        "step": step,
        "detail": detail,
    }
    return Report(False, described(fields), f"{reason}: {detail}" if detail else reason)


def is_reported(marker: str | None, vm_id: str) -> bool:
    """Whether the marker names this VM; ids differ in byte order between generations and agents."""
    return bool(marker) and same_id(marker or "", vm_id)


def read_marker(system: System, lib: str) -> str | None:
    try:
        return system.read_text(f"{lib}/{MARKER}").strip()
    except OSError:
        return None


def write_marker(system: System, lib: str, vm_id: str) -> bool:
    return system.write(f"{lib}/{MARKER}", f"{vm_id}\n", mode=0o600)


def described(fields: dict[str, str]) -> str:
    """key=value joined by "|"; a value that holds | or ' or a line break is quoted by '."""
    return "|".join(f"{key}={_quoted(value)}" for key, value in fields.items() if value)


def deliver(
    system: System,
    wire: Callable[[], WireServer],
    report: Report,
    note: Callable[[str], None],
    policy: Policy = HEALTH,
) -> None:
    """Raises FabricError when the wire server could not be told; KVP has been told then.

    wire is called when it is needed: finding the wire server may be what fails.
    """
    try:
        kvp.publish(system, kvp.REPORT, report.description)
    except SystemRefused as error:
        note(f"{error}, continuing without it")
    server = wire()
    goal = server.goal_state()
    if report.ready:
        server.report_ready(goal, policy)
    else:
        server.report_not_ready(goal, health.FAILED, report.description, policy)


def settle(
    system: System,
    wire: Callable[[], WireServer],
    report: Report,
    lib: str,
    vm_id: str,
    note: Callable[[str], None],
) -> None:
    """Deliver, and after an accepted Ready write the marker. Raises FabricError, SystemRefused."""
    try:
        deliver(system, wire, report, note)
    except FabricError as error:
        error.message = f"{error.message}; the platform is told at the next opportunity"
        raise
    if report.ready:
        write_marker(system, lib, vm_id)


def _quoted(value: str) -> str:
    plain = " ".join(value.split("\n")).strip()
    return "'" + plain.replace("'", "''") + "'" if "|" in plain or "'" in plain else plain
