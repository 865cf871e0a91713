"""The artifacts profile: whether the platform holds the extensions of this VM back.

on_hold(content) -> bool. A spare instance of a scale set is on hold until it is needed. Whatever cannot be read
means "not on hold": a broken profile must not keep extensions from a VM that is in use.

The text may live in a page blob and then ends in blanks or NULs.

Source: wire-protocol 2.7 (artifacts profile and onHold).
"""

from __future__ import annotations

import json

SIZE = 1024 * 1024


def on_hold(content: bytes) -> bool:
    try:
        document = json.loads(content[:SIZE].decode("utf-8-sig").rstrip("\0 \t\r\n"))
    except (ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    value = next((value for key, value in document.items() if key.lower() == "onhold"), False)
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")
