"""What a step's process tells the stage: one JSON object through the result pipe.

kind, message    the outcome: changed, unchanged, skipped, failed       reason   fixed text of a failure
published        {dotted key: value or null}                            secrets  the same, root only
notes            list of str         events   list of [name, data]      effects  list of str, what was done
planned          {real path: base64 or null}, plan mode only: files as they would be

seconds          how long its processes lived; the stage fills it in
temporary        a program said (exit status 75) that trying again may help
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

KINDS = ("changed", "unchanged", "skipped", "failed")


@dataclass
class Report:
    kind: str
    message: str = ""
    reason: str = ""
    published: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    planned: dict[str, bytes | None] = field(default_factory=dict)
    seconds: float = 0.0
    temporary: bool = False

    def encode(self) -> bytes:
        """As JSON. Raises TypeError when a published value is none."""
        fields = dict(self.__dict__)
        fields["planned"] = {
            path: None if content is None else base64.b64encode(content).decode()
            for path, content in self.planned.items()
        }
        return json.dumps(fields).encode()

    @classmethod
    def decode(cls, data: bytes) -> Report:
        """The inverse. Raises ValueError for anything else."""
        fields = json.loads(data)
        if not isinstance(fields, dict) or fields.get("kind") not in KINDS:
            raise ValueError("not a report")
        fields["events"] = [(str(name), dict(data)) for name, data in fields.get("events", [])]
        fields["planned"] = {
            path: None if content is None else base64.b64decode(content)
            for path, content in fields.get("planned", {}).items()
        }
        return cls(**fields)
