"""Options that the boot loader gives to the kernel: the serial console, so that a boot can be watched from outside.

add_console(system, profile)        the file that was changed, or "" when it says so already; MachineError
add(system, profile, options, what) the same with other options

What the options are, in which file and line they belong, and what makes the boot loader read the file again is
data: the profile's kernel.console-options, console-files, console-key and console-update. The key is

    NAME     the assignment NAME="…" of a shell file, the option goes before its closing quote; it is added where
             it is missing
    kernel   every line that begins with this word (GRUB 1)
    *        the whole file: one line of options in a file called cmdline, else one line for each option

Source: provisioning 8.2, 8.3.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from waagent.errors import MachineError
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile


def add_console(system: System, profile: DistroProfile) -> str:
    return add(system, profile, profile.texts("kernel.console-options"), "the serial console")


def add(system: System, profile: DistroProfile, options: tuple[str, ...], what: str) -> str:
    """`what` the options are for, in the words of a message."""
    files = profile.texts("kernel.console-files")
    file = next((each for each in files if system.exists(each)), None)
    if file is None:
        known = " or ".join(files) or "boot loader that this agent knows"
        raise MachineError(f"cannot set {what}: there is no {known}")
    before = system.read_text(file)
    after = edited(before, profile.text("kernel.console-key") or "*", options, posixpath.basename(file))
    if after == before:
        return ""
    system.write(file, after)
    _update(system, profile, file, options)
    return file


def edited(text: str, key: str, options: tuple[str, ...], name: str = "") -> str:
    """The text with the options that it lacks. Pure."""
    lines = text.splitlines()
    if key == "*":
        if name == "cmdline":
            line = " ".join(lines)
            return _with(line, options) + "\n"
        lines += [option for option in options if option not in [line.strip() for line in lines]]
    elif key == "kernel":
        lines = [_with(line, options) if line.split()[:1] == ["kernel"] else line for line in lines]
    else:
        assignment = re.compile(rf"^(\s*{re.escape(key)}\s*=\s*)([\"']?)(.*?)\2\s*$")
        matches = [assignment.match(line) for line in lines]
        if not any(matches):
            lines.append(f'{key}="{" ".join(options)}"')
        for number, match in enumerate(matches):
            if match is not None:
                quote = match.group(2) or '"'
                lines[number] = f"{match.group(1)}{quote}{_with(match.group(3), options)}{quote}"
    fresh = "".join(f"{line}\n" for line in lines)
    return text if fresh.rstrip("\n") == text.rstrip("\n") else fresh


def _with(line: str, options: tuple[str, ...]) -> str:
    missing = [option for option in options if option not in line.split()]
    if not missing:
        return line
    return " ".join([line.rstrip(), *missing] if line.strip() else missing)


def _update(system: System, profile: DistroProfile, file: str, options: tuple[str, ...]) -> None:
    """Have the boot loader take it up, by the first command that is installed. Raises MachineError."""
    commands = profile.commands("kernel.console-update", options=" ".join(options))
    failed = ""
    for command in commands:
        if system.which(command[0]) is None:
            continue
        answer = system.run(*command, ok=None, limit=300)
        if answer.status == 0:
            return
        failed = f"{command[0]} ended with status {answer.status}"
    if commands:
        failed = failed or f"there is no {', '.join(command[0] for command in commands)}"
        raise MachineError(f"cannot make the boot loader read {file} again: {failed}; the file is changed")
