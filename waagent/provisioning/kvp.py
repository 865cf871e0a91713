"""Tell the host something without a network: the key-value pool that Hyper-V reads.

read(system, key) is what the host has written for that key in /var/lib/hyperv/.kvp_pool_0, None if nothing; the
last record counts.

publish(system, key, value) appends one record to /var/lib/hyperv/.kvp_pool_1 and returns whether it did; where the
pool does not exist (no Hyper-V, no hv_kvp_daemon) it does nothing. The value is cut to 1023 bytes.

A record is a key of 512 bytes and a value of 2048, NUL padded; all who append hold an exclusive lock. The host
collects the pool when a health report comes in, so this goes first.

Source: provisioning 4.10, wire-protocol 10.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from waagent.errors import SystemRefused
from waagent.system.effects import Effect

if TYPE_CHECKING:
    from waagent.system import System

POOL = "/var/lib/hyperv/.kvp_pool_1"
OF_THE_HOST = "/var/lib/hyperv/.kvp_pool_0"
REPORT = "PROVISIONING_REPORT"
KEY_BYTES, VALUE_BYTES, VALUE_LIMIT = 512, 2048, 1023


def publish(system: System, key: str, value: str) -> bool:
    """Raises SystemRefused when the pool is there and cannot be written."""
    if not system.exists(POOL):
        return False
    written = record(key, value)
    if not system.planning:
        try:
            descriptor = os.open(system.path(POOL), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX)
                os.write(descriptor, written)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SystemRefused(f"cannot append to {POOL}: {error.strerror or error}", path=POOL) from error
    system.note(Effect("write", POOL, note=f"appended {key}"))
    return True


def read(system: System, key: str) -> str | None:
    """A pool that is absent, cut off or unreadable has as much as can be read of it."""
    try:
        pool = system.read(OF_THE_HOST)
    except OSError:
        return None
    size, found = KEY_BYTES + VALUE_BYTES, None
    for at in range(0, len(pool) - size + 1, size):
        name, value = pool[at : at + KEY_BYTES], pool[at + KEY_BYTES : at + size]
        if name.split(b"\0", 1)[0] == key.encode():
            found = value.split(b"\0", 1)[0].decode("utf-8", "replace")
    return found


def record(key: str, value: str) -> bytes:
    cut = value.encode("utf-8", "replace")[:VALUE_LIMIT].decode("utf-8", "ignore").encode("utf-8")
    name = key.encode("utf-8", "replace")[: KEY_BYTES - 1]
    return name.ljust(KEY_BYTES, b"\0") + cut.ljust(VALUE_BYTES, b"\0")
