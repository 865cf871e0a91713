"""Services of the machine, with the commands of the distro profile.

is_active, is_enabled     ask; false also where the system cannot say
stop                      have them stopped; MachineError when one goes on
reload_ssh                make a running sshd read its keys and settings again; false when it does not run

Nothing is ever started here: in the early stages of a boot sshd has not been started yet, will read its files
when it is, and starting it before its turn would put it before what it is ordered after.

Source: provisioning 4.2 row 17, 10.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from waagent.errors import CommandFailed, MachineError, SshError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile


def is_active(system: System, profile: DistroProfile, service: str) -> bool:
    return _says_yes(system, profile.command("services.is-active", service=service))


def is_enabled(system: System, profile: DistroProfile, service: str) -> bool:
    return _says_yes(system, profile.command("services.is-enabled", service=service))


def stop(system: System, profile: DistroProfile, *services: str) -> list[str]:
    """Have none of them run, patterns ("x@*.service") allowed; returns those that did. Raises MachineError.

    The command is given in any case: one that is just starting counts as inactive, and would be missed.
    """
    stopped = []
    for service in services:
        command = profile.command("services.stop", service=service)
        ask = profile.command("services.is-active", service=service)
        if "." in service and profile.text("system.init") == "systemd":  # a unit; `service` knows services alone
            command, ask = ("systemctl", "stop", service), ("systemctl", "is-active", "--quiet", service)
        if not command or system.which(command[0]) is None:
            continue
        ran = _says_yes(system, ask)
        answer = system.run(*command, ok=None, limit=120)
        if ran and not system.planning and _says_yes(system, ask):
            told = (answer.stderr.strip() or f"status {answer.status}").splitlines()[-1]
            raise MachineError(f"cannot stop {service}: it goes on ({told}); stop it, then try again")
        if ran:
            stopped.append(service)
    return stopped


def reload_ssh(system: System, profile: DistroProfile) -> bool:
    """Have sshd take up changed files if it runs. Raises SshError when it runs and will not."""
    service = profile.text("services.ssh") or "sshd"
    if not is_active(system, profile, service):
        return False
    command = profile.command("ssh.reload") or profile.command("services.restart", service=service)
    if not command:
        return False
    try:
        system.run(*command)
    except CommandFailed as error:
        raise SshError(
            f"cannot make {service} read its settings again: {error}; it runs on with the old ones"
        ) from error
    return True


def _says_yes(system: System, command: tuple[str, ...]) -> bool:
    if not command or system.which(command[0]) is None:
        return False
    return system.run(*command, reads=True, ok=None, limit=30).status == 0
