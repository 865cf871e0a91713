"""What the commands of the old command line do that have no verb of their own.

    show_configuration   Key = Value, one per line, sorted: a format that tools parse
    register_service     have the agent start at boot, and start it now
    setup_firewall       let only root talk to one address
    serial_console       have the kernel's messages on the first serial port
    start                the daemon, in the background

Each takes the System and returns the exit status; 1 with a line on standard error when it could not be done.

Source: provisioning 1.3, 1.4, 8.3.
"""

from __future__ import annotations

import sys
from ipaddress import AddressValueError, IPv4Address

from waagent.system import System


def show_configuration(system: System) -> int:
    from waagent import config
    from waagent.config import render
    from waagent.config.parse import MAIN
    from waagent.runner.situation import situation

    profile, loaded = situation(system)
    main = config.chosen(profile.text("configuration.file")) or MAIN
    try:
        empty = not system.read_text(main).strip()
    except OSError as error:
        return _failed(f"cannot read {main}: {error.strerror}")
    if empty:
        return _failed(f"{main} is empty")
    for problem in loaded.problems:
        print(problem, file=sys.stderr)
    print(render.show(loaded), end="")
    return 0


def register_service(system: System) -> int:
    from waagent.runner.situation import situation

    profile, _ = situation(system)
    agent = profile.text("services.agent") or "waagent"
    # With systemd the whole agent is one target: stages, watcher and timer.
    whole = f"{agent}.target" if profile.text("system.init") == "systemd" else agent
    status = 0
    for verb, told, service in (
        ("register", "Registering", whole),
        ("stop", "Stopping", agent),
        ("start", "Starting", whole),
    ):
        print(f"{told} the WALinuxAgent service", flush=True)
        command = profile.command(f"services.{verb}", service=service)
        if not command:
            status = _failed(f"this system has no command to {verb} a service")
            continue
        answer = system.run(*command, ok=None, limit=300)
        if answer.status != 0 and verb != "stop":  # what does not run cannot be stopped
            status = _failed(f"{' '.join(command)} ended with status {answer.status}: {answer.stderr.strip()}")
    return status


def setup_firewall(system: System, address: str) -> int:
    from waagent.machine import firewall
    from waagent.runner.situation import situation

    try:
        IPv4Address(address)
    except AddressValueError:
        return _failed(f"cannot set up the firewall: {address} is no IPv4 address")
    profile, _ = situation(system)
    done = firewall.ensure(system, profile, address)
    print(f"only root may talk to {address}" + ("" if done else "; that was so already"))
    return 0


def serial_console(system: System) -> int:
    from waagent.machine import boot_loader
    from waagent.runner.situation import situation

    profile, loaded = situation(system)
    files = boot_loader.add_console(system, profile, loaded.text("Lib.Dir") or "/var/lib/waagent")
    print(f"the serial console is set in {', '.join(files)}" if files else "the serial console is set already")
    return 0


def _failed(message: str) -> int:
    print(f"waagent: {message}", file=sys.stderr)
    return 1
