"""Where a document came from, in the error that says that it cannot be used.

    with origin.told(url):
        goal = goal_state.parse(answer.body)      GoalStateInvalid: "cannot use the goal state: …; it came from http://…"
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from waagent.errors import GoalStateInvalid
from waagent.system.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def told(url: str) -> Iterator[None]:
    try:
        yield
    except GoalStateInvalid as error:
        shown = redact(url)
        raise GoalStateInvalid(f"{error.message}; it came from {shown}", **{**error.facts, "url": shown}) from error
