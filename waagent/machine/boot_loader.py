"""Options that the boot loader gives to the kernel: the serial console, so that a boot can be watched from outside.

add_console(system, profile, lib)        the files that were changed, [] when they say so already; MachineError
add(system, profile, lib, options, what) the same with other options

What the options are, in which files and line they belong, and what makes the boot loader read them again is data:
the profile's kernel.console-options, console-files (patterns allowed), console-key and console-update. The key is

    NAME     the list NAME="…" of a file of the shell. Files are read one after the other, and an assignment takes
             the place of earlier ones, as those of cloud images in grub.d do: every one gets the options. Where
             there is none, the first file gets one.
    kernel   every line that begins with this word, in the first file that exists (GRUB 1)
    *        the whole first file that exists: one line of options in a file called cmdline, else one line for each

All or nothing: where the boot loader cannot be made to read them, the files are as they were, and it can be tried
again. Which files are about to be changed is written down before, in <lib>/boot-loader.json, until the boot loader
has read them: after a power cut they say so already, and the boot loader does not know.

Source: provisioning 8.2, 8.3.
"""

from __future__ import annotations

import fnmatch
import json
import posixpath
from typing import TYPE_CHECKING

from waagent.errors import MachineError, WaagentError
from waagent.machine import shell_lists
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile


NOTE = "boot-loader.json"


def add_console(system: System, profile: DistroProfile, lib: str) -> list[str]:
    return add(system, profile, lib, profile.texts("kernel.console-options"), "the serial console")


def add(system: System, profile: DistroProfile, lib: str, options: tuple[str, ...], what: str) -> list[str]:
    """`what` the options are for, in the words of a message."""
    patterns = profile.texts("kernel.console-files")
    files = _existing(system, patterns)
    if not files:
        known = " or ".join(patterns) or "boot loader that this agent knows"
        raise MachineError(f"cannot set {what}: there is no {known}")
    key = profile.text("kernel.console-key") or "*"
    if key in ("*", "kernel"):
        del files[1:]
    before = {file: system.read(file).decode("utf-8", "surrogateescape") for file in files}
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
    unread = _unread(system, lib, options)
    if not changed and not unread:
        return []
    commands = _commands(system, profile, options, what)
    _note_unread(system, lib, options, unread or list(changed))
    try:
        for file, text in changed.items():
            _write(system, file, text)
        _update(system, commands, what, list(changed))
    except WaagentError:
        for file in changed:
            _write(system, file, before[file])
        if not unread:
            _note_unread(system, lib, options, [])
        raise
    _note_unread(system, lib, options, [])
    return list(changed) or unread


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


def _write(system: System, file: str, text: str) -> None:
    system.write(file, text.encode("utf-8", "surrogateescape"))  # whatever bytes a comment has


def _unread(system: System, lib: str, options: tuple[str, ...]) -> list[str]:
    """The files that were given these options, and the boot loader may not have read them since."""
    return _all_unread(system, lib).get(" ".join(options), [])


def _note_unread(system: System, lib: str, options: tuple[str, ...], files: list[str]) -> None:
    noted, path = _all_unread(system, lib), posixpath.join(lib, NOTE)
    noted[" ".join(options)] = files
    noted = {given: files for given, files in noted.items() if files}
    quietly = system.quietly()
    if not noted:
        quietly.remove(path)
        return
    if not system.is_directory(lib):
        quietly.make_directory(lib, 0o711)
    quietly.write(path, json.dumps(noted) + "\n", mode=0o600)


def _all_unread(system: System, lib: str) -> dict[str, list[str]]:
    try:
        noted = json.loads(system.read(posixpath.join(lib, NOTE)))
    except (OSError, ValueError):
        return {}
    noted = noted if isinstance(noted, dict) else {}
    return {given: [str(file) for file in files] for given, files in noted.items() if isinstance(files, list)}


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
        as_before = f"; {' and '.join(files)} {are} as before" if files else ""
        raise MachineError(f"cannot set {what}: {'; '.join(failed)}{as_before}")
