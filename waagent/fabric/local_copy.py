"""What was reported last, for support: waagent_status.json in the newest entry of LIB/history/. Lean.

    keep(lib, payload)      payload: the status blob as it was taken; true when it was written down

Written when something in it is new. A report that differs from the one in the file by the times of its making
alone leaves the file as it is, so that a machine on which nothing happens writes nothing; timestampUTC in it says
since when this has been the report. Secrets were taken out of it before. Raises OSError; paths of this process.

Source: extensions 8.4.
"""

from __future__ import annotations

import json
import os

from waagent.fabric.status import without_times
from waagent.system.files import write_atomic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

FOLDER = "history"
FILE, NOTHING = "waagent_status.json", b"{}"


def keep(lib: str, payload: bytes) -> bool:
    entry = newest(lib)
    if entry is None:
        return False
    path = f"{entry}/{FILE}"
    try:
        with open(path, "rb") as stream:
            before = stream.read()
    except FileNotFoundError:
        before = b""
    if _same(before, payload):
        return False
    write_atomic(path, payload, 0o600, None, durable=False)
    return True


def newest(lib: str) -> Optional[str]:
    """The entry of the goal state in force: the one that is not packed yet."""
    try:
        names = os.listdir(f"{lib}/{FOLDER}")
    except OSError:
        return None
    entries = [name for name in names if name[:1].isdigit() and "__" in name and not name.endswith(".zip")]
    return f"{lib}/{FOLDER}/{max(entries)}" if entries else None


def _same(before: bytes, now: bytes) -> bool:
    try:
        return bool(without_times(json.loads(before)) == without_times(json.loads(now)))
    except (ValueError, RecursionError):
        return before == now
