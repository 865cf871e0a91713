"""Options that the boot loader gives to the kernel: the serial console, so that a boot can be watched from outside.

add_console(system, profile)        the files that were changed, [] when they say so already; MachineError
add(system, profile, options, what) the same with other options

What the options are, in which files and line they belong, and what makes the boot loader read them again is data:
the profile's kernel.console-options, console-files (patterns allowed), console-key and console-update. The key is

    NAME     the list NAME="…" of a file of the shell. Files are read one after the other, and an assignment takes
             the place of earlier ones, as those of cloud images in grub.d do: every one gets the options. Where
             there is none, the first file gets one.
    kernel   every line that begins with this word, in the first file that exists (GRUB 1)
    *        the whole first file that exists: one line of options in a file called cmdline, else one line for each

All or nothing: where the boot loader cannot be made to read them, the files are as they were, and it can be tried
again.

Source: provisioning 8.2, 8.3.
"""

from __future__ import annotations

import fnmatch
import posixpath
from typing import TYPE_CHECKING

from waagent.errors import MachineError, WaagentError
from waagent.machine import shell_lists
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile


def add_console(system: System, profile: DistroProfile) -> list[str]:
    return add(system, profile, profile.texts("kernel.console-options"), "the serial console")


def add(system: System, profile: DistroProfile, options: tuple[str, ...], what: str) -> list[str]:
    """`what` the options are for, in the words of a message."""
    patterns = profile.texts("kernel.console-files")
    files = _existing(system, patterns)
    if not files:
        known = " or ".join(patterns) or "boot loader that this agent knows"
        raise MachineError(f"cannot set {what}: there is no {known}")
    key = profile.text("kernel.console-key") or "*"
    if key in ("*", "kernel"):
        del files[1:]
    before = {file: system.read_text(file) for file in files}
    assigned = key not in ("*", "kernel") and any(
        not each.carries for text in before.values() for each in shell_lists.assignments(text, key)
    )
    changed = {}
    for file, text in before.items():
        try:
            after = edited(text, key, options, posixpath.basename(file), adding=file == files[0] and not assigned)
        except MachineError as error:
            raise MachineError(f"cannot set {what} in {file}: {error}") from error
        if after != text:
            changed[file] = after
    if changed:
        commands = _commands(system, profile, options, what)
        try:
            for file, text in changed.items():
                system.write(file, text)
            _update(system, commands, what, list(changed))
        except WaagentError:
            for file in changed:
                system.write(file, before[file])
            raise
    return list(changed)


def edited(text: str, key: str, options: tuple[str, ...], name: str = "", *, adding: bool = True) -> str:
    """The text with the options that it lacks. adding: a list that is not assigned is added. Pure. MachineError."""
    lines = text.splitlines()
    if key == "*":
        if name == "cmdline":
            return _with(" ".join(lines), options) + "\n"
        lines += [option for option in options if option not in [line.strip() for line in lines]]
    elif key == "kernel":
        lines = [_with(line, options) if line.split()[:1] == ["kernel"] else line for line in lines]
    else:
        return _with_assignment(text, key, options) if adding else shell_lists.with_words(text, key, options)
    fresh = "".join(f"{line}\n" for line in lines)
    return text if fresh.rstrip("\n") == text.rstrip("\n") else fresh


def _with_assignment(text: str, key: str, options: tuple[str, ...]) -> str:
    found = shell_lists.assignments(text, key)
    if not all(each.carries for each in found):
        return shell_lists.with_words(text, key, options)
    missing = shell_lists.lacking(options, [word for each in found for word in each.words])
    if not missing:
        return text
    so_far = f"${shell_lists.variable(key)} " if found else ""
    line = f'{key}="{so_far}{" ".join(missing)}"\n'
    return f"{text.rstrip()}\n{line}" if text.strip() else line


def _existing(system: System, patterns: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in patterns:
        directory, _, name = pattern.rpartition("/")
        if "*" in name:
            found += [f"{directory}/{each}" for each in fnmatch.filter(system.listing(directory), name)]
        elif system.exists(pattern):
            found.append(pattern)
    return found


def _with(line: str, options: tuple[str, ...]) -> str:
    missing = shell_lists.lacking(options, line.split())
    if not missing:
        return line
    return " ".join([line.rstrip(), *missing] if line.strip() else missing)


def _commands(system: System, profile: DistroProfile, options: tuple[str, ...], what: str) -> list[tuple[str, ...]]:
    """Those of the profile that are installed. Raises MachineError where it names some and none is."""
    named = profile.commands("kernel.console-update", options=" ".join(options))
    found = [command for command in named if system.which(command[0]) is not None]
    if named and not found:
        programs = ", ".join(dict.fromkeys(command[0] for command in named))
        raise MachineError(f"cannot set {what}: the boot loader could not be told, there is no {programs}")
    return found


def _update(system: System, commands: list[tuple[str, ...]], what: str, files: list[str]) -> None:
    """By the first command that works. Raises MachineError."""
    failed = []
    for command in commands:
        answer = system.run(*command, ok=None, limit=300)
        if answer.status == 0:
            return
        why = answer.stderr.strip()[-300:] or "it says nothing"
        failed.append(f"{command[0]} ended with status {answer.status}: {why}")
    if failed:
        are = "is" if len(files) == 1 else "are"
        raise MachineError(f"cannot set {what}: {'; '.join(failed)}; {' and '.join(files)} {are} as before")
