"""Stop the agent, so that nothing writes state again while it is taken away, nor afterwards.

The watcher, the timer of the periodic steps and workers end; they start again with the next boot. Without systemd
the daemon that owns the pid file is ended as well.

Reads     Pid.File
Changes   stops services.agent and the units of deprovision.stop
Skips     for a mounted image, in which nothing runs
Fails     MachineError when one cannot be stopped; nothing has been removed then, and nothing will be
"""

from __future__ import annotations

from waagent.machine import services
from waagent.module import Context, Module, Outcome, changed, skipped, unchanged
from waagent.provisioning.deprovision import requested

MODULE = Module(
    summary="Stop the agent", frequency="always", reads=("Pid.File",), limit=300.0, on_failure="stop"
)


def run(ctx: Context) -> Outcome:
    if requested(ctx.event_data).offline:
        return skipped("nothing runs in a mounted image")
    agent = ctx.profile.text("services.agent") or "waagent"
    names = [f"{agent}.service", *ctx.profile.texts("deprovision.stop")]
    if ctx.profile.text("system.init") != "systemd":
        names = [agent]
    stopped = services.stop(ctx.system, ctx.profile, *names)
    if _end_daemon(ctx):
        stopped.append("the daemon of the pid file")
    return changed(f"stopped {', '.join(stopped)}") if stopped else unchanged("the agent does not run")


def _end_daemon(ctx: Context) -> bool:
    """End the process that the pid file names, if it is still one of ours."""
    try:
        pid = int(ctx.system.read_text(ctx.config.text("Pid.File") or "/var/run/waagent.pid").strip())
        command = ctx.system.read(f"/proc/{pid}/cmdline")
    except (OSError, ValueError):
        return False
    if b"waagent" not in command:
        return False
    return ctx.system.run("kill", str(pid), ok=None).status == 0
