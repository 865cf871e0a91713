"""Who may use sudo: one file of rules that belongs to the agent, one line for each user.

allow(system, profile, directory, user, ask)   have the rule; ask: sudo asks for the user's password
withdraw(system, profile, directory, user)     have no rule for exactly this user
withdraw_all(…)                                the same in every file of the directory, whoever wrote it

The file is <directory>/waagent, mode 0440. New rules are checked with the profile's command (visudo -c) in a file
whose name sudo passes over (it has a dot), and only then renamed into place: a mistake here would take sudo from
everybody. A directory that is missing is made and included from the sudoers file beside it, once. With doas
(OpenBSD) the rules are lines of its one file.

Source: provisioning 4.4, field demands 131 and 156.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from waagent.errors import CommandFailed, UserError
from waagent.machine import users
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

NAME = "waagent"
HEADER = (
    "# Written by waagent: one rule for each user that the platform named. Changes to a user's line are lost.\n"
)
DOAS_ROOT = "permit keepenv nopass root"


def allow(system: System, profile: DistroProfile, directory: str, user: str, *, ask: bool) -> bool:
    """Let the user do everything as anyone; false if the rule was there. Raises UserError."""
    users.check_name(user)
    method = profile.text("sudo.method")
    if method == "none":
        return False
    if method == "doas":
        rule = f"permit keepenv {'persist' if ask else 'nopass'} {user}"
        file = profile.text("sudo.file") or "/etc/doas.conf"
        before = _lines(system, file)
        kept = _others(before, user, 3) if before else [DOAS_ROOT]
        return _put(system, profile, file, [*kept, rule], before, rule, 0o644)
    rule = f"{user} ALL=(ALL) ALL" if ask else f"{user} ALL=(ALL) NOPASSWD: ALL"
    made = _directory(system, profile, directory)
    file = posixpath.join(directory, NAME)
    before = _lines(system, file)
    kept = _others(before, user, 0) if before else [HEADER.rstrip("\n")]
    return _put(system, profile, file, [*kept, rule], before, rule, 0o440) or made


def withdraw(system: System, profile: DistroProfile, directory: str, user: str) -> bool:
    """Remove the user's rules, and only his; false if there were none. Raises UserError."""
    doas = profile.text("sudo.method") == "doas"
    file = (profile.text("sudo.file") or "/etc/doas.conf") if doas else posixpath.join(directory, NAME)
    before = _lines(system, file)
    kept = _others(before, user, 3 if doas else 0)
    if kept == before:
        return False
    if not doas and not any(_is_rule(line) for line in kept):
        return system.remove(file)
    return _write(system, profile, file, kept, 0o644 if doas else 0o440)


def withdraw_all(system: System, profile: DistroProfile, directory: str, user: str) -> list[str]:
    """Remove the rules that begin with exactly this user; returns the files that changed. Raises UserError.

    A file that had nothing but these rules goes. Of rules that name him among others, nothing is changed.
    """
    gone = []
    if withdraw(system, profile, directory, user):
        gone.append(posixpath.join(directory, NAME))
    if profile.text("sudo.method") == "doas":
        return gone
    for file in (posixpath.join(directory, name) for name in system.listing(directory)):
        before = _lines(system, file)
        kept = _others(before, user, 0)
        if kept == before:
            continue
        if any(_is_rule(line) for line in kept):
            _write(system, profile, file, kept, system.path(file).stat().st_mode & 0o777)
        else:
            system.remove(file)
        gone.append(file)
    return gone


def _put(
    system: System, profile: DistroProfile, file: str, lines: list[str], before: list[str], rule: str, mode: int
) -> bool:
    if rule in before and len(before) == len(lines):
        lines = before  # in its place; a rule that moved would be a change of nothing
    return _write(system, profile, file, lines, mode)


def _write(system: System, profile: DistroProfile, file: str, lines: list[str], mode: int) -> bool:
    content = "".join(f"{line}\n" for line in lines)
    if _same(system, file, content, mode):
        return False
    checked = posixpath.join(posixpath.dirname(file), f".{posixpath.basename(file)}.check")
    command = profile.command("sudo.check", file=checked)
    if command and system.which(command[0]) is not None and not system.planning:
        quiet = system.quietly()
        quiet.write(checked, content, mode=mode)
        try:
            quiet.run(*command, reads=True)
        except CommandFailed as error:
            told = (error.stdout.strip() or error.stderr.strip()).splitlines()
            raise UserError(
                f"cannot put the rules for sudo in place: {command[0]} refuses {file}"
                + (f": {told[0]}" if told else "")
                + "; it stays as it was"
            ) from error
        finally:
            quiet.remove(checked)
    return system.write(file, content, mode=mode, owner=_owner(system))


def _directory(system: System, profile: DistroProfile, directory: str) -> bool:
    """Have the directory of rules; true if it was made, and then the main file includes it."""
    if system.is_directory(directory):
        return False
    system.make_directory(directory, 0o750)
    main = posixpath.join(posixpath.dirname(directory), "sudoers")
    if not system.exists(main):
        return True  # sudo is not installed; its package brings a file that includes the directory
    lines = _lines(system, main)
    if any(line.split()[:1] in (["#includedir"], ["@includedir"]) and directory in line.split() for line in lines):
        return True
    mode = system.path(main).stat().st_mode & 0o777
    _write(system, profile, main, [*lines, f"#includedir {directory}"], mode)
    return True


def _same(system: System, file: str, content: str, mode: int) -> bool:
    try:
        return system.read_text(file) == content and system.path(file).stat().st_mode & 0o777 == mode
    except OSError:
        return False


def _owner(system: System) -> tuple[int, int] | None:
    """sudo reads only what root owns; below another root the owner of that tree is root enough."""
    return (0, 0) if system.root == "/" else None


def _others(lines: list[str], user: str, word: int) -> list[str]:
    """The lines without the rules of exactly this user."""
    return [line for line in lines if not (_is_rule(line) and _word(line, word, user))]


def _word(line: str, word: int, user: str) -> bool:
    words = line.split()
    return words[word : word + 1] == [user] or (word > 0 and words[-1:] == [user] and words[0] == "permit")


def _is_rule(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("#", "@"))


def _lines(system: System, path: str) -> list[str]:
    try:
        return system.read_text(path).splitlines()
    except OSError:
        return []
