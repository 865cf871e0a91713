"""The command line of the agent before version 3: -daemon, --version, /help, and no verb at all.

Any run of "-" and "/" may stand before the word, or none; the last command wins; flags may stand anywhere. A word
that is neither gives the usage. Unlike before, a wrong word gives exit status 2, and so does a command of the old
line that this version does not have. Source: provisioning 1.1 to 1.3.
"""

from __future__ import annotations

import sys

COMMANDS = {"version": ("version",), "daemon": ("daemon",), "start": ("daemon", "--background")}
HELP = ("help", "usage", "?", "h")
FLAGS = ("verbose", "force", "debug", "full")
# Commands of the old line that are known by name and not part of this version.
ABSENT = (
    "deprovision+user", "deprovision", "register-service", "run-exthandlers", "show-configuration",
    "collect-logs", "setup-firewall", "serialconsole",
)  # fmt: skip


def main(arguments: list[str], verbs: list[str]) -> int:
    """Run what the old words ask for."""
    command: tuple[str, ...] = ()
    for argument in arguments:
        word = argument.lstrip("-/")
        if not word or word in FLAGS:
            continue
        if word in HELP:
            print(usage(verbs))
            return 0
        if word in COMMANDS:
            command = COMMANDS[word]
            continue
        absent = next((name for name in ABSENT if word == name or word.startswith(f"{name}=")), None)
        if absent is not None:
            print(f"waagent: this version has no -{absent}", file=sys.stderr)
            return 2
        print(f"waagent: {argument!r} is no command; see waagent help", file=sys.stderr)
        return 2
    if not command:
        print(usage(verbs))
        return 0
    from waagent.cli.__main__ import main as run

    return run(list(command))


def usage(verbs: list[str]) -> str:
    """What can be asked for, one line a verb."""
    import importlib

    from waagent.cli import text

    rows = [("watch", "stay, follow the goal state, report (run by waagent.service)")]
    for verb in verbs:
        rows.append((verb, importlib.import_module(f"waagent.cli.{verb.replace('-', '_')}").SUMMARY))
    lines = ["usage: waagent VERB [options]; waagent VERB --help tells more", "", text.columns(sorted(rows), "  ")]
    lines += ["", "The old words work too: -version, -daemon, -start, -help; with one dash, two, or none."]
    return "\n".join(lines)
