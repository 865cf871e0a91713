"""Accounts: look one up, make one, complete one that was half made.

Account     name, uid, gid, home, shell, comment, from /etc/passwd or (for directories behind NSS) getent
every       those of /etc/passwd
find        None when there is no such account          require   raises UserError instead
create      with the profile's command; an account that is there already is completed and otherwise left as it is
is_system   whether its uid is below UID_MIN            join      add to groups
delete      with the profile's command, the home, and the copies of the account files that still name it

A name is checked before it becomes an argument: what useradd may refuse is left to useradd, what could be taken
for an option, a path or shell text is refused here with UserError.

Source: provisioning 4.3.
"""

from __future__ import annotations

import posixpath
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from waagent.errors import CommandFailed, SystemRefused, UserError
from waagent.machine import cleaning
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

PASSWD = "/etc/passwd"  # noqa: S105 - a file name
GROUP = "/etc/group"
SHADOW = "/etc/shadow"
SKELETON = "/etc/skel"
FILES = (PASSWD, SHADOW, GROUP, "/etc/gshadow", "/etc/subuid", "/etc/subgid")

# useradd's own limit; a longer name would be cut in places (utmp, ps).
LONGEST_NAME = 32
_UNSAFE = re.compile(r"[^\w.@$+-]", re.ASCII)

# Where login.defs does not say.
UID_MIN = 100


class Account(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str
    shell: str
    comment: str = ""


def every(system: System) -> list[Account]:
    """The accounts of /etc/passwd."""
    return [account for account in map(_account, _lines(system, PASSWD)) if account is not None]


def find(system: System, name: str) -> Account | None:
    """The account of this name, or None."""
    for line in _lines(system, PASSWD):
        found = _account(line)
        if found is not None and found.name == name:
            return found
    if system.which("getent") is None or _UNSAFE.search(name) or name.startswith("-"):
        return None
    answer = system.run("getent", "passwd", name, reads=True, ok=None)
    found = _account(answer.stdout.strip()) if answer.status == 0 else None
    return found if found is not None and found.name == name else None


def require(system: System, name: str) -> Account:
    """The account of this name; in plan mode the one that would be made. Raises UserError."""
    found = find(system, name)
    if found is None and system.planning:
        first = uid_min(system)
        return Account(name, first, first, f"/home/{name}", "")
    if found is None:
        raise UserError(f"cannot set up {name}: there is no such account; the step user makes it", user=name)
    return found


def check_name(name: str) -> None:
    """Raises UserError when the name must not get near a command line or a sudoers file."""
    if not name:
        raise UserError("cannot create an account: its name is empty")
    shown = name[:40]
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(f"cannot create account {shown!r}: the name has {len(name.encode())} bytes, 32 are allowed")
    if name.startswith(("-", ".")) or "@" in name or _UNSAFE.search(name):
        odd = _UNSAFE.search(name)
        what = f"the character {odd.group()!r}" if odd else "its first character or an @"
        raise UserError(f"cannot create account {shown!r}: {what} is not allowed in a user name", user=shown)


def create(system: System, profile: DistroProfile, name: str, *, expires: str = "", comment: str = "") -> bool:
    """Have the account; false if it was there, whole. `expires` is YYYY-MM-DD. Raises UserError.

    An account that exists keeps its shell, groups and password. One that lacks its shadow line, its group or its
    home (the power failed while it was made) is completed.
    """
    check_name(name)
    present = find(system, name)
    if present is not None:
        return _complete(system, present)
    argv = list(profile.command("users.create", name=name))
    if not argv:
        raise UserError(
            f"cannot create account {name}: the profile of this system has no command for it", user=name
        )
    if profile.switch("users.create-home-base"):
        system.make_directory("/home")
    method = profile.text("users.method")
    options = list(profile.command("users.with-shell", name=name))
    if expires:
        options += profile.command("users.with-expiry", date=expires)
    if comment:
        options += profile.command("users.with-comment", comment=comment)
    if method == "useradd":
        if group_exists(system, name):
            options += ["-g", name]  # useradd would refuse to make the group of that name
        argv[-1:] = [*options, name]
    else:
        argv += options
    _make(system, name, tuple(argv))
    if system.planning or method not in ("useradd", "pw"):
        return True
    account = find(system, name)
    if account is None:
        raise UserError(
            f"cannot create account {name}: {argv[0]} succeeded, but there is no such account", user=name
        )
    if method == "useradd":
        _complete(system, account)
    return True


def _make(system: System, name: str, argv: tuple[str, ...]) -> None:
    """Run the command; that it complains does not count when the account is there then."""
    try:
        system.run(*argv, limit=120)
    except CommandFailed as error:
        if find(system, name) is None:
            told = (error.stderr.strip() or error.stdout.strip() or f"exit status {error.status}").splitlines()[-1]
            raise UserError(f"cannot create account {name}: {argv[0]} says: {told}", user=name) from error


def delete(system: System, profile: DistroProfile, name: str, homes: str = "/home") -> bool:
    """Have no account of this name, nor its home; false if there was neither. Raises UserError.

    An account of the system stays. A home whose account is gone already (the power failed in between) goes too, if
    it is nobody else's.
    """
    check_name(name)
    account = find(system, name)
    if account is None:
        return _delete_home(system, Account(name, -1, -1, f"{homes.rstrip('/')}/{name}", ""))
    if is_system(system, profile, account):
        raise UserError(f"cannot delete {name}: uid {account.uid} is an account of the system; it stays", user=name)
    command = profile.command("users.delete", name=name)
    if not command:
        raise UserError(f"cannot delete {name}: accounts cannot be deleted on this system", user=name)
    for path in profile.texts("users.before-delete"):
        if not system.exists(path) and system.is_directory(posixpath.dirname(path)):
            system.write(path, b"", mode=0o664)
    answer = system.run(*command, ok=None, limit=300)
    if not system.planning and find(system, name) is not None:
        told = (answer.stderr.strip() or answer.stdout.strip() or f"status {answer.status}").splitlines()[-1]
        raise UserError(f"cannot delete {name}: {command[0]} says: {told}", user=name)
    _delete_home(system, account)
    for file in FILES:
        if system.exists(f"{file}-") and system.exists(file):
            # The tools keep a copy from before their change: with his line, and the hash of his password.
            system.write(f"{file}-", system.read(file))
    return True


def _delete_home(system: System, account: Account) -> bool:
    """Remove what the command left of the home: only one that is his and nobody else's."""
    home = posixpath.normpath(account.home or "/")
    others = [each for each in every(system) if each.name != account.name]
    try:
        owner = system.status(home).st_uid
    except OSError:
        return False
    taken = any(each.home == home or each.home.startswith(f"{home}/") for each in others)
    his = owner == account.uid if account.uid >= 0 else owner != 0 and owner not in [each.uid for each in others]
    if taken or not his or home.count("/") < 2:
        return False
    try:
        return system.remove_tree(home)
    except SystemRefused:  # a file system of its own is mounted there
        cleaning.empty(system, home)
        return True


def uid_min(system: System, login_defs: str = "/etc/login.defs") -> int:
    """The first uid of ordinary accounts."""
    for line in _lines(system, login_defs):
        words = line.split()
        if len(words) > 1 and words[0] == "UID_MIN" and words[1].isdigit():
            return int(words[1])
    return UID_MIN


def is_system(system: System, profile: DistroProfile, account: Account) -> bool:
    """Whether the account belongs to the system; the profile may except some by name."""
    if account.name in profile.texts("users.never-system"):
        return False
    return account.uid < uid_min(system, profile.text("users.login-defs") or "/etc/login.defs")


def group_exists(system: System, name: str) -> bool:
    return any(line.split(":")[0] == name for line in _lines(system, GROUP))


def groups_of(system: System, name: str) -> set[str]:
    """The supplementary groups that /etc/group lists the account in."""
    found = set()
    for line in _lines(system, GROUP):
        fields = line.split(":")
        if len(fields) >= 4 and name in fields[3].split(","):
            found.add(fields[0])
    return found


def join(system: System, name: str, groups: tuple[str, ...]) -> bool:
    """Add the account to those of the groups that exist; false if it was in them."""
    missing = [group for group in groups if group_exists(system, group) and group not in groups_of(system, name)]
    if not missing:
        return False
    try:
        system.run("usermod", "-a", "-G", ",".join(missing), name)
    except CommandFailed as error:
        raise UserError(f"cannot add {name} to {', '.join(missing)}: {error}", user=name) from error
    return True


def _complete(system: System, account: Account) -> bool:
    """Add what an interrupted useradd left out, shadow line, group, home; true if anything was missing."""
    if not any(line.split(":")[0] == account.name for line in _lines(system, PASSWD)):
        return False  # it comes from a directory service, which looks after it
    changed = False
    if system.exists(SHADOW) and not any(line.split(":")[0] == account.name for line in _lines(system, SHADOW)):
        system.run("pwconv")
        changed = True
    if account.gid != 0 and str(account.gid) not in [
        (line.split(":") + ["", "", ""])[2] for line in _lines(system, GROUP)
    ]:
        system.run("groupadd", "-g", str(account.gid), account.name)
        changed = True
    uncommon = account.uid >= uid_min(system) and account.home not in ("", "/", "/nonexistent")
    if uncommon and not _has_home(system, account):
        _make_home(system, account)
        changed = True
    return changed


def _has_home(system: System, account: Account) -> bool:
    """Whether the home is there and was finished: it is made as root and given away last, with the skeleton in it.

    A home that root keeps for good (a jail for sftp) has something else in it.
    """
    try:
        status = system.path(account.home).stat()
    except OSError:
        return False
    unfinished = set(system.listing(account.home)) <= set(system.listing(SKELETON))
    return not (status.st_uid == 0 and account.uid != 0 and unfinished)


def _make_home(system: System, account: Account) -> None:
    system.make_directory(account.home, 0o700)
    _copy(system, SKELETON, account.home, account)
    system.set_owner(account.home, account.uid, account.gid)


def _copy(system: System, source: str, target: str, account: Account) -> None:
    """What the skeleton has, for the account. The home is still root's: nobody can play with links in it."""
    for name in system.listing(source):
        path, copy = f"{source}/{name}", f"{target}/{name}"
        status = system.status(path)
        if stat.S_ISDIR(status.st_mode):
            system.make_directory(copy, 0o755)
            _copy(system, path, copy, account)
            system.set_owner(copy, account.uid, account.gid)
        elif stat.S_ISREG(status.st_mode):
            system.write(copy, system.read(path), mode=status.st_mode & 0o755, owner=(account.uid, account.gid))


def _account(line: str) -> Account | None:
    fields = line.split(":")
    if len(fields) < 7 or not fields[2].isdigit() or not fields[3].isdigit():
        return None
    return Account(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6], fields[4])


def _lines(system: System, path: str) -> list[str]:
    try:
        return system.read_text(path).splitlines()
    except OSError:
        return []
