"""Where the trouble with one handler ends, whatever it is.

    with of_handler(name, what, notes):     a turn, or the settling of a command: nothing leaves but ExtensionError
    with noted(notes):                      what is only written or tidied: nothing leaves

A handler runs as root and controls what lies in its directories: links to themselves, trees deeper than Python
recurses, texts with which no program can be started. No list of exceptions covers that, so these two catch them
all. They are a boundary of the same kind as the runner's around a step, and the only ones here. What nobody foresaw
leaves the last line of its traceback, and its place, in the notes, which go to the log.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from waagent.errors import ExtensionError, WaagentError

LONGEST = 500  # characters of what an exception says


@contextmanager
def of_handler(name: str, what: str, notes: list[str]) -> Iterator[None]:
    """Raises ExtensionError of this handler for anything else that is raised; what: "the turn of NAME"."""
    try:
        yield
    except ExtensionError:
        raise
    except Exception as error:  # this handler's failure, and nobody else's
        told = error.message if isinstance(error, WaagentError) else _last_line(error)
        if not isinstance(error, WaagentError):
            notes.append(f"{what} stopped: {told}{_place(error)}")
        raise ExtensionError(f"[ExtensionError] {what} stopped: {told}", handler=name) from error


@contextmanager
def noted(notes: list[str]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what could not be written of one handler keeps no other from its turn
        notes.append(error.message if isinstance(error, WaagentError) else _last_line(error) + _place(error))


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(type(error), error)[-1].strip()[:LONGEST]


def _place(error: Exception) -> str:
    """Where in the agent's own code it came from."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if f"{os.sep}waagent{os.sep}" in file and file != __file__:
            place = f" ({os.path.basename(file)}, line {line})"
    return place
