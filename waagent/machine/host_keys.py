"""The SSH host keys: which there are, making new ones, their fingerprints.

    found(system, ssh_dir)              [HostKey(kind, path, fingerprint)] of the public keys that are there
    regenerate(system, ssh_dir, kind)   new keys of the kind ("rsa", …; "auto": all that this ssh-keygen makes by
                                        default), and no others; SshError
    complete(system, ssh_dir)           make keys only where there is none at all

New keys are made in a directory of their own in /run, which is memory, and then written over the old ones one by
one, each atomically. Cut off at any point there is a whole key for every kind that had one, and a next run, which
nothing remembers as done, makes new ones again: it converges. Who comes while another still makes keys (its stage
was killed, and it was not) waits for it: two at once could leave a public key that is not the private one's.

Fingerprints are SHA256:<Base64 without padding>, as ssh-keygen -l shows them.

Source: provisioning 4.5; field demands 47 and 50.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from waagent.errors import CommandFailed, SshError, SystemRefused
from waagent.machine import selinux
from waagent.machine.authorized_keys import key
from waagent.system import Effect, System

KINDS = ("rsa", "dsa", "ecdsa", "ed25519", "auto")
WORKSHOP = "/run/waagent/host-keys"
_NAME = re.compile(r"ssh_host_([a-z0-9_-]+)_key(\.pub)?")


class HostKey(NamedTuple):
    kind: str  # rsa, ecdsa, ed25519, …
    path: str  # of the public key
    fingerprint: str


def found(system: System, ssh_dir: str) -> list[HostKey]:
    """The public host keys, in order of their names; a file that holds no key is left out."""
    keys = []
    for name in system.listing(ssh_dir):
        match = _NAME.fullmatch(name)
        if match is None or not match.group(2):
            continue
        try:
            line = system.read_text(f"{ssh_dir}/{name}").strip()
            keys.append(HostKey(match.group(1), f"{ssh_dir}/{name}", fingerprint(line)))
        except (OSError, SshError):
            continue
    return keys


def fingerprint(line: str) -> str:
    """The fingerprint of a public key, given as a line. Raises SshError."""
    import base64
    import hashlib

    blob = key(line).blob
    digest = hashlib.sha256(base64.b64decode(blob + "=" * (-len(blob) % 4))).digest()
    return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


def regenerate(system: System, ssh_dir: str, kind: str) -> list[HostKey]:
    """Replace the host keys by new ones of this kind. Raises SshError; then the old ones are still there."""
    if kind not in KINDS:
        raise SshError(
            f"cannot make SSH host keys of type {kind!r}: Provisioning.SshHostKeyPairType takes {', '.join(KINDS)}"
        )
    if system.which("ssh-keygen") is None:
        raise SshError(
            "cannot make SSH host keys: there is no ssh-keygen; install the OpenSSH server and boot again"
        )
    old = [name for name in system.listing(ssh_dir) if name.startswith("ssh_host_") and "key" in name]
    if system.planning:
        _foresee(system, ssh_dir, kind)
        return []
    with _alone(system):
        quiet = system.quietly()
        quiet.remove_tree(WORKSHOP)
        quiet.make_directory(WORKSHOP, 0o700)
        try:
            made = _make(quiet, kind)
            for name in made:
                # The public half last: who reads a fingerprint must not read it before its key is there.
                content = quiet.read(f"{WORKSHOP}/{made[name]}")
                system.write(f"{ssh_dir}/{name}", content, mode=0o644 if name.endswith(".pub") else 0o600)
        finally:
            quiet.remove_tree(WORKSHOP)
    for name in old:
        if name not in made:
            system.remove(f"{ssh_dir}/{name}")
    selinux.restore(system, *(f"{ssh_dir}/{name}" for name in made))
    return found(system, ssh_dir)


@contextmanager
def _alone(system: System) -> Iterator[None]:
    """Wait for whoever makes keys at this moment; the lock goes with its process."""
    try:
        system.quietly().make_directory(posixpath.dirname(WORKSHOP), 0o755)
        descriptor = os.open(system.path(f"{WORKSHOP}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (SystemRefused, OSError):  # a full /run: the workshop will say so better
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def complete(system: System, ssh_dir: str, kind: str = "auto") -> bool:
    """Make keys where there is no whole pair: sshd does not start without. False if there was one."""
    names = system.listing(ssh_dir)
    if any(name.endswith("_key") and _NAME.fullmatch(name) and f"{name}.pub" in names for name in names):
        return False
    regenerate(system, ssh_dir, kind)
    return True


def _make(system: System, kind: str) -> dict[str, str]:
    """Make the keys in the workshop; gives name in ssh_dir -> path below the workshop, private before public."""
    try:
        if kind == "auto":
            # -A makes every default type; -f is the prefix of its fixed directory.
            system.make_directory(f"{WORKSHOP}/etc/ssh", 0o700)
            system.run("ssh-keygen", "-A", "-f", WORKSHOP, limit=300)
            folder = "etc/ssh"
        else:
            name = f"{WORKSHOP}/ssh_host_{kind}_key"
            system.run("ssh-keygen", "-q", "-N", "", "-t", kind, "-f", name, limit=300)
            folder = ""
    except CommandFailed as error:
        hint = "; this OpenSSH has no such keys any more" if kind == "dsa" else ""
        raise SshError(f"cannot make SSH host keys of type {kind}: {error}{hint}") from error
    names = [name for name in system.listing(posixpath.join(WORKSHOP, folder)) if _NAME.fullmatch(name)]
    if not any(name.endswith("_key") for name in names):
        raise SshError(f"cannot make SSH host keys of type {kind}: ssh-keygen succeeded without writing any")
    return {name: posixpath.join(folder, name) for name in sorted(names)}


def _foresee(system: System, ssh_dir: str, kind: str) -> None:
    for each in ("rsa", "ecdsa", "ed25519") if kind == "auto" else (kind,):
        for name in (f"ssh_host_{each}_key", f"ssh_host_{each}_key.pub"):
            system.note(Effect("write", f"{ssh_dir}/{name}", note="a new host key"))
