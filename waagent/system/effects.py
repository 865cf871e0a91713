"""What the agent did to the machine, and why: one record for each effect.

The journal is /var/lib/waagent/effects.jsonl (root only), one JSON object a line:

    time    str, UTC          stage   str        step    str       reason  str, outcome wanted by the step
    kind    str: write, remove, mode, owner, directory, link, poke, rename, run
    path    str, absolute, for effects on files                    argv    list of str, for programs
    note    str, e.g. "created 412 bytes mode 0440"; never content: secrets stay out

It is cut to its newer half when it grows over 4 MiB, so that it never needs care.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

JOURNAL = "/var/lib/waagent/effects.jsonl"
LIMIT = 4 * 1024 * 1024


class Effect(NamedTuple):
    """One change of the machine: what kind, on what, and a note for people."""

    kind: str
    path: str = ""
    argv: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.path or " ".join(self.argv), self.note) if part)


class Record(NamedTuple):
    """An effect with the time, the stage and the step that caused it."""

    time: str
    stage: str
    step: str
    effect: Effect

    def line(self) -> bytes:
        fields: dict[str, object] = {"time": self.time, "stage": self.stage, "step": self.step}
        fields["kind"] = self.effect.kind
        if self.effect.path:
            fields["path"] = self.effect.path
        if self.effect.argv:
            fields["argv"] = list(self.effect.argv)
        if self.effect.note:
            fields["note"] = self.effect.note
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def append(journal: str, records: list[Record]) -> None:
    """Append the records to the journal file (made 0600 when new). Raises OSError."""
    os.makedirs(os.path.dirname(journal), exist_ok=True)
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, b"".join(record.line() for record in records))
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    if size > LIMIT:
        _halve(journal)


def read(journal: str) -> Iterator[Record]:
    """Yield the records, oldest first; lines that a power cut left half-written are passed over."""
    try:
        stream = open(journal, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            try:
                fields = json.loads(line)
                effect = Effect(
                    fields["kind"], fields.get("path", ""), tuple(fields.get("argv", ())), fields.get("note", "")
                )
                yield Record(fields["time"], fields["stage"], fields["step"], effect)
            except (ValueError, KeyError, TypeError):
                continue


def _halve(journal: str) -> None:
    """Keep the newer half, from a line's start."""
    with open(journal, "rb") as stream:
        stream.seek(LIMIT // 2)
        stream.readline()
        kept = stream.read()
    fresh = journal + ".new"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(kept)
    os.replace(fresh, journal)
