"""What must not be in an image, and is: host keys, logs with names, histories, leases, hashes, keys, state.

And what ties the network to the hardware addresses of this machine, which no machine of the image will have.

find(system, profile, config, names, keep) -> [Trace(kind, where, remedy)]

    names   of the former machine (user, host name, VM id): searched as whole words in logs and in the files of
            accounts; where they are not known any more, what is there at all counts
    keep    accounts that are in the image on purpose: their home, keys, hash and sudo rules are no traces

It looks at files alone, so it works on a mounted image as on the running machine. What lies in /run is memory and
in no image. What it cannot know: names in files of other programs, data of services, what was unlinked and not
overwritten on the disk.

Source: provisioning 5.2, 7.6; field demand 131.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from waagent.machine import cleaning, users

if TYPE_CHECKING:
    from waagent.config import Config
    from waagent.distro import DistroProfile
    from waagent.system import System

HISTORIES = (".*_history", ".lesshst", ".viminfo")
JOURNAL = "/var/log/journal"
# utmp(5): the length of a record on Linux, and the kinds empty, run level, boot, change of the clock (two).
WTMP = "/var/log/wtmp"
RECORD = 384
NO_LOGINS = (0, 1, 2, 3, 4)
CLOUD_INIT = ("/var/lib/cloud/instances/*",)
# Files of the system that say a machine's or a person's name.
NAMED = ("/etc/hostname", "/etc/hosts", "/etc/mailname", "/etc/HOSTNAME", "/etc/myname", *users.FILES)
# Words that begin a line of sudoers without naming a person.
NOBODY = ("root", "ALL", "Defaults", "User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias")
HASH = re.compile(r"\$[0-9a-zA-Z]+\$|^[!*]*[./0-9A-Za-z]{13}$")
# Where names and settings of interfaces are tied to hardware addresses.
NETWORK = (
    "/etc/udev/rules.d/*net*.rules", "/etc/iftab", "/etc/systemd/network/*.link", "/etc/systemd/network/*.network",
    "/etc/netplan/*.yaml", "/etc/network/interfaces", "/etc/network/interfaces.d/*",
    "/etc/NetworkManager/system-connections/*", "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network/ifcfg-*",
)  # fmt: skip
ADDRESS = re.compile(r"(?i)(?<![0-9a-f:])(?!(?:00:){5}00|(?:ff:){5}ff)(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![0-9a-f:])")
HIGHEST_UID = 60000
LARGEST = 256 * 1024 * 1024
PIECE = 1024 * 1024


class Trace(NamedTuple):
    kind: str
    where: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}" + (f" ({self.remedy})" if self.remedy else "")


def find(
    system: System, profile: DistroProfile, config: Config, names: Iterable[str] = (), keep: Iterable[str] = ()
) -> list[Trace]:
    """All traces, in a fixed order; empty: none were found."""
    names, keep = tuple(name for name in names if len(name) > 2), tuple(keep)
    ssh_dir = config.text("OS.SshDir") or "/etc/ssh"
    lib = config.text("Lib.Dir") or "/var/lib/waagent"
    found = [
        *_host_keys(system, ssh_dir),
        *_logs(system, profile, config.text("Extension.LogDir") or "/var/log/azure"),
        *_named(system, names),
        *_histories(system, profile, keep),
        *_leases(system, profile),
        *_hardware_addresses(system),
        *_machine_ids(system, profile),
        *(Trace("agent state", f"{lib}/{name}") for name in system.listing(lib)),
        *(Trace("user data", path, "cloud-init clean") for path in cleaning.found(system, CLOUD_INIT)),
        *_accounts(system, profile, keep),
        *_sudoers(system, config.text("OS.SudoersDir") or "/etc/sudoers.d", keep),
        *_hashes(system, config.text("OS.PasswordPath") or users.SHADOW, keep),
    ]
    return list(dict.fromkeys(found))


def rotated(path: str) -> tuple[str, str]:
    """The patterns of what logrotate makes of a log."""
    return f"{path}.*", f"{path}-*"


def agent_logs(profile: DistroProfile) -> tuple[str, ...]:
    log = profile.text("paths.log") or "/var/log/waagent.log"
    return (log, *rotated(log))


def cloud_init_replaces_keys(system: System) -> bool:
    """Whether cloud-init is here and will delete host keys at the first boot, as it does unless told not to."""
    if system.which("cloud-init") is None:
        return False
    for path in ("/etc/cloud/cloud.cfg", *cleaning.found(system, ["/etc/cloud/cloud.cfg.d/*.cfg"])):
        text = _text(system, path)
        if re.search(r"^ssh_deletekeys:\s*(false|no|off|0)\b", text, re.MULTILINE | re.IGNORECASE):
            return False
    return True


def _host_keys(system: System, ssh_dir: str) -> Iterator[Trace]:
    if cloud_init_replaces_keys(system):
        return
    for path in cleaning.found(system, [f"{ssh_dir}/ssh_host_*key*"]):
        yield Trace("SSH host key", path, "set Provisioning.RegenerateSshHostKeyPair=y, or delete it")


def _logs(system: System, profile: DistroProfile, extensions: str) -> Iterator[Trace]:
    patterns = [*agent_logs(profile), f"{JOURNAL}/*/*", f"{extensions}/*"]
    for path in profile.texts("deprovision.logs"):
        patterns += [path, *rotated(path)]
    for path in cleaning.found(system, patterns):
        if _size(system, path) and not (path == WTMP and not _has_logins(system, path)):
            yield Trace("log", path)


def _named(system: System, names: tuple[str, ...]) -> Iterator[Trace]:
    """Logs and files of accounts that say one of the names."""
    if not names:
        return
    words = re.compile(rb"(?<![\w.-])(?:" + b"|".join(re.escape(name.encode()) for name in names) + rb")(?![\w-])")
    copies = [f"{path}-" for path in users.FILES]
    for path in [*NAMED, *copies, *_below(system, "/var/log"), *_below(system, "/etc/sudoers.d")]:
        word = _search(system, path, words)
        if word:
            yield Trace("name", f"{path} says {word}")


def _histories(system: System, profile: DistroProfile, keep: tuple[str, ...]) -> Iterator[Trace]:
    patterns = [] if "root" in keep else list(profile.texts("deprovision.remove"))
    for account in _people(system, profile, keep):
        patterns += [posixpath.join(account.home, name) for name in HISTORIES]
    for path in cleaning.found(system, patterns):
        if _size(system, path):
            yield Trace("history", path)


def _leases(system: System, profile: DistroProfile) -> Iterator[Trace]:
    folders = [f"{folder}/*" for folder in profile.texts("deprovision.empty")]
    for path in cleaning.found(system, [*folders, *profile.texts("deprovision.leases")]):
        if not path.startswith("/run/"):
            yield Trace("DHCP lease", path)


def _hardware_addresses(system: System) -> Iterator[Trace]:
    """In what configures the network; what cloud-init wrote it writes anew for each instance."""
    renewed = system.which("cloud-init") is not None
    for path in cleaning.found(system, NETWORK):
        text = _text(system, path)
        if renewed and "cloud-init" in text:
            continue
        lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", ";")))
        address = next((match.group() for match in map(ADDRESS.search, lines) if match), None)
        if address is not None:
            yield Trace("hardware address", f"{path} names {address}", "machines of the image have others")


def _machine_ids(system: System, profile: DistroProfile) -> Iterator[Trace]:
    if profile.text("deprovision.machine-id") == "keep":
        return
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            linked = stat.S_ISLNK(system.status(path).st_mode)
        except OSError:
            continue
        if not linked and _text(system, path).strip() not in ("", "uninitialized"):
            yield Trace("machine id", path)


def _accounts(system: System, profile: DistroProfile, keep: tuple[str, ...]) -> Iterator[Trace]:
    for account in _people(system, profile, keep):
        if account.name != "root":
            yield Trace("account", f"{account.name}, {account.home}", "deprovision --user, or --keep-account")
        for path in cleaning.found(system, [posixpath.join(account.home, ".ssh/authorized_keys*")]):
            if any(line.strip() and not line.lstrip().startswith("#") for line in _text(system, path).splitlines()):
                yield Trace("authorized keys", path)


def _sudoers(system: System, directory: str, keep: tuple[str, ...]) -> Iterator[Trace]:
    main = posixpath.join(posixpath.dirname(directory), "sudoers")
    for path in (main, *(f"{directory}/{name}" for name in system.listing(directory))):
        for line in _text(system, path).splitlines():
            word = (line.split() or ["#"])[0]
            if word[0] in "#@%+" or word.startswith("Defaults") or word in NOBODY or word in keep:
                continue
            yield Trace("sudo rule", f"{path} names {word}")


def _hashes(system: System, shadow: str, keep: tuple[str, ...]) -> Iterator[Trace]:
    for path in (shadow, f"{shadow}-"):
        for line in _text(system, path).splitlines():
            fields = line.split(":")
            if len(fields) > 1 and fields[0] not in keep and HASH.search(fields[1]):
                yield Trace("password hash", f"{path} has one of {fields[0]}")


def _people(system: System, profile: DistroProfile, keep: tuple[str, ...]) -> list[users.Account]:
    """Root and the ordinary accounts."""
    first = users.uid_min(system, profile.text("users.login-defs") or "/etc/login.defs")
    return [
        account
        for account in users.every(system)
        if account.name not in keep and (account.uid == 0 or first <= account.uid <= HIGHEST_UID)
    ]


def _below(system: System, directory: str) -> Iterator[str]:
    """Every plain file below a directory; links are not followed."""
    top = str(system.path(directory))
    for folder, _, files in os.walk(top):
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield directory + path[len(top) :]


def _search(system: System, path: str, words: re.Pattern[bytes]) -> str:
    """The first of the words in the file; pieces overlap, so that none is cut in two."""
    try:
        if _size(system, path) > LARGEST:
            return ""
        with open(system.path(path), "rb") as stream:
            tail = b""
            while True:
                piece = stream.read(PIECE)
                found = words.search(tail + piece)
                if found:
                    return found.group().decode("utf-8", "replace")
                if not piece:
                    return ""
                tail = piece[-256:]
    except OSError:
        return ""


def _has_logins(system: System, path: str) -> bool:
    """Whether a file of login records has one of a person; that the machine was started and stopped is none."""
    try:
        content = system.read(path)
    except OSError:
        return False
    if len(content) % RECORD:
        return True  # of another form: who knows
    kinds = [int.from_bytes(content[at : at + 2], sys.byteorder) for at in range(0, len(content), RECORD)]
    return any(kind not in NO_LOGINS for kind in kinds)


def _size(system: System, path: str) -> int:
    """Bytes of a file, of what a link leads to; for a directory 1 when something is in it."""
    try:
        if system.is_directory(path):
            return 1 if system.listing(path) else 0
        return os.stat(system.path(path)).st_size
    except OSError:
        return 0


def _text(system: System, path: str) -> str:
    try:
        return system.read_text(path)
    except OSError:
        return ""
