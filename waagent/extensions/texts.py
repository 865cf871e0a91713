"""Texts that go to the platform, at a bounded length. LEAN; secrets are taken out by waagent.system.redact.

shorten(text, n)     text of n or more characters becomes its first n and " ... [TRUNCATED]"; once, however often
combine(out, err)    both streams of a command under their headings, 3200 characters at most; of a stream that is
                   too long the end is kept, because that is where a failure is explained

Source: extensions 3.8, 7.5; wire-protocol 7.6.
"""

from __future__ import annotations

OUTPUT = 3200
TRUNCATED = " ... [TRUNCATED]"


def shorten(text: str, length: int) -> str:
    if len(text) < length or (len(text) == length + len(TRUNCATED) and text.endswith(TRUNCATED)):
        return text
    return text[:length] + TRUNCATED


def combine(out: str, err: str, length: int = OUTPUT) -> str:
    heads = "[stdout]\n", "\n\n[stderr]\n"
    if len(out) + len(err) + sum(map(len, heads)) >= length:
        each = (length - sum(map(len, heads))) // 2
        spare_out, spare_err = max(0, each - len(out)), max(0, each - len(err))
        out, err = _tail(out, each + spare_err), _tail(err, each + spare_out)
    return heads[0] + out + heads[1] + err


def _tail(text: str, length: int) -> str:
    return text[len(text) - length :] if len(text) > length else text
