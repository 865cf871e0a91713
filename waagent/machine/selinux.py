"""SELinux labels of files that the agent wrote.

mark(system, kind, path) gives a file a type that the policy does not know its place for: a swap file, say, of which
swapon wants swapfile_t wherever it lies.

restore(system, path) gives the path, and what is below it, the label that the policy has for it. Nothing happens
where SELinux is off or restorecon is missing. A label that cannot be set is no failure of the file: false is
returned.

Source: provisioning 4.5 and 8.7, field demand 152.
"""

from __future__ import annotations

from waagent.system import System


def enabled(system: System) -> bool:
    return system.exists("/sys/fs/selinux/enforce")


def restore(system: System, *paths: str) -> bool:
    """Set the policy's labels; false when there was nothing to do or it did not work."""
    if not paths or not enabled(system) or system.which("restorecon") is None:
        return False
    return system.run("restorecon", "-R", *paths, ok=None).status == 0


def mark(system: System, kind: str, path: str) -> bool:
    """Set the file's type; false when there was nothing to do or it did not work."""
    if not enabled(system) or system.which("chcon") is None:
        return False
    return system.run("chcon", "-t", kind, path, ok=None).status == 0
