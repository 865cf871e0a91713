"""The command line of the agent before version 3: -daemon, --version, /help, and no word at all.

    -version  -help                     the versions; the usage. The other words need root
    -daemon  -start                     waagent daemon; with -start in the background
    -run-exthandlers                    waagent watch
    -deprovision  -deprovision+user     waagent deprovision; with --user
    -collect-logs                       waagent collect-logs
    -show-configuration                 every option as "Key = Value", one a line
    -register-service                   have the agent start at each boot, and start it now
    -setup-firewall=IP                  let only root talk to that address
    -serialconsole                      have the kernel's messages, and what is written on /dev/console, on the
                                        first serial port (ttyS0): the boot loader's files are changed, and it reads
                                        them again. Counts from the next boot on
    -force  -full  -verbose  -debug     beside one of them: do not ask; more logs; a log that says more; no effect
    -configuration-path:FILE            read this file instead of /etc/waagent.conf

Any run of "-" and "/" may stand before a word, or none; flags may stand anywhere; the last command wins; an empty
argument does not count. A word that is none of these gives the usage. Three things differ from before, on purpose:
a wrong word ends with status 2 instead of 0, what fails with status 1 instead of 0, and a word has to be spelled
out (once `-deprovisionX` deprovisioned).

Source: provisioning 1.1 to 1.3.
"""

from __future__ import annotations

import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from waagent.system import System

COMMANDS = (
    "deprovision+user", "deprovision", "daemon", "start", "register-service", "run-exthandlers", "version",
    "show-configuration", "collect-logs", "serialconsole",
)  # fmt: skip
FLAGS = ("verbose", "debug", "force", "full")
HELP = ("help", "usage", "?", "h")
FILE = "configuration-path:"
FIREWALL = re.compile(r"setup-firewall=([0-9.]{7,})")
# May be asked for by anybody.
FOR_ALL = ("version", "help")
# Verbs of this version that are old words as well, so that `waagent deprovision -force` works.
BOTH = ("deprovision", "daemon", "version", "collect-logs")


class Asked:
    """command ("help" when there is none), flags, configuration file, address; wrong: what is no word."""

    __slots__ = ("address", "command", "configuration", "flags", "wrong")

    def __init__(self) -> None:
        self.command, self.configuration, self.address, self.wrong = "help", "", "", ""
        self.flags: set[str] = set()


def parse(arguments: list[str]) -> Asked:
    """Pure, so that the table of all forms is a test."""
    asked = Asked()
    for argument in arguments:
        word = argument.lstrip("-/")
        firewall = FIREWALL.fullmatch(word)
        if not argument:
            continue
        if word.startswith(FILE):
            asked.configuration = word[len(FILE) :]
        elif word in COMMANDS:
            asked.command = word
        elif word in FLAGS:
            asked.flags.add(word)
        elif word in HELP:
            asked.command = "help"
        elif firewall is not None:
            asked.command, asked.address = "setup-firewall", firewall.group(1)
        else:
            asked.command, asked.wrong = "help", argument
            break
    return asked


def is_old(arguments: list[str]) -> bool:
    """Whether arguments that begin with a verb are nothing but old words."""
    asks_for_help = any(word in ("--help", "-h") for word in arguments[1:])
    return arguments[0] in BOTH and not asks_for_help and not parse(arguments).wrong


def main(arguments: list[str], verbs: list[str]) -> int:
    """Run what the old words ask for."""
    asked = parse(arguments)
    if asked.wrong:
        print(f"waagent: {asked.wrong!r} is no command; see waagent help", file=sys.stderr)
        print(usage(verbs))
        return 2
    if asked.configuration:
        if not os.path.isfile(asked.configuration):
            print(f"waagent: there is no configuration file {asked.configuration}", file=sys.stderr)
            print(usage(verbs))
            return 1
        os.environ["WAAGENT_CONFIGURATION"] = os.path.abspath(asked.configuration)
    if "verbose" in asked.flags:
        os.environ["WAAGENT_VERBOSE"] = "1"
    if asked.command == "help":
        print(usage(verbs))
        return 0
    if os.geteuid() != 0 and asked.command not in FOR_ALL:
        print(f"waagent: -{asked.command} needs root", file=sys.stderr)
        return 1
    return _run(asked)


def _run(asked: Asked) -> int:
    from waagent.cli.__main__ import main as verb

    force = ["--force"] if "force" in asked.flags else []
    words = {
        "version": ["version"],
        "daemon": ["daemon"],
        "start": ["daemon", "--background"],
        "run-exthandlers": ["watch"],
        "deprovision": ["deprovision", *force],
        "deprovision+user": ["deprovision", "--user", *force],
        "collect-logs": ["collect-logs", *(["--full"] if "full" in asked.flags else [])],
    }
    if asked.command in words:
        return verb(words[asked.command], old=False)
    return _old_command(asked)


def _old_command(asked: Asked) -> int:
    from waagent.cli import old_commands
    from waagent.errors import WaagentError
    from waagent.system import System

    commands: dict[str, Callable[[System], int]] = {
        "show-configuration": old_commands.show_configuration,
        "register-service": old_commands.register_service,
        "serialconsole": old_commands.serial_console,
        "setup-firewall": lambda system: old_commands.setup_firewall(system, asked.address),
    }
    try:
        return commands[asked.command](System())
    except WaagentError as error:
        print(f"waagent: {error.message}", file=sys.stderr)
        return 1


def usage(verbs: list[str]) -> str:
    """What can be asked for, one line a verb; a blank line before and after, as tools expect of the old usage."""
    import importlib

    from waagent.cli import text

    rows = [("watch", "stay, follow the goal state, report (run by waagent.service)")]
    for verb in verbs:
        rows.append((verb, importlib.import_module(f"waagent.cli.{verb.replace('-', '_')}").SUMMARY))
    old = " ".join(f"-{word}" for word in (*COMMANDS, "setup-firewall=IP", "help"))
    flags = " ".join(f"-{word}" for word in (*FLAGS, f"{FILE}FILE"))
    lines = ["", "usage: waagent VERB [options]; waagent VERB --help tells more", ""]
    lines += [text.columns(sorted(rows), "  "), "", "The old words work too, with one dash, two, or none:"]
    lines += [f"  {line}" for line in _wrapped(f"{old} {flags}", 100)]
    return "\n".join(lines) + "\n"


def _wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
