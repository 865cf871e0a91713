"""Lists of words that a file of the shell assigns: GRUB_CMDLINE_LINUX="quiet splash"  # as it is started.

    assignments(text, name)   [Assignment], in the order of the file
        words       what the value says, without quotes
        carries     whether it goes on from an earlier value: NAME+=…, or $NAME in it
        clear       whether the value can be understood
    lacking(words, there)     those of the words that are not there; "word,…" counts as word
    with_words(text, name, words)   the text in which each assignment that does not carry has the words that it
                                    lacks; MachineError for one that is not clear

A name may be several words, as in "set linux_append" of GRUB's own language; the last is the variable's.

What is understood: quotes of both kinds and none, mixed and over several lines, lines that go on behind a
backslash, `export`, comments. What is not: a value that a command makes. New words go before the last closing
quote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from waagent.errors import MachineError

_QUOTED = r""""(?:\\.|[^"\\])*"|'[^']*'|\\."""
_LOGICAL_LINE = re.compile(rf"""(?:(?:(?<=\s)|^)\#[^\n]*|{_QUOTED}|[^\n"'\\])*""", re.DOTALL | re.MULTILINE)
_VALUE = re.compile(rf"(?:{_QUOTED}|[^\s\"'\\;&|<>()`])*", re.DOTALL)
_PLAIN = re.compile(r"[\w=,./:@%+-]*")


class Assignment(NamedTuple):
    start: int  # of the value, in the text
    end: int
    words: tuple[str, ...]
    carries: bool
    clear: bool


def assignments(text: str, name: str) -> list[Assignment]:
    head = re.compile(rf"[ \t]*(?:export[ \t]+)?{re.escape(name)}(\+?)=")
    found = []
    at = 0
    while at < len(text):
        line = _LOGICAL_LINE.match(text, at)
        end = line.end() if line is not None else at
        if end < len(text) and text[end] != "\n":  # a quote that nobody closes
            end = (text.find("\n", end) + 1 or len(text) + 1) - 1
        begin = head.match(text, at, end)
        if begin is not None:
            found.append(_assignment(text, name, begin, end))
        at = end + 1
    return found


def _assignment(text: str, name: str, begin: re.Match[str], end: int) -> Assignment:
    value = _VALUE.match(text, begin.end(), end)
    stop = value.end() if value is not None else begin.end()
    told, after = text[begin.end() : stop], text[stop : stop + 1]
    words = tuple(word for word in re.split(r"[\s\"'\\]+", told) if word)
    carried = rf"\${{?{re.escape(variable(name))}\b"
    carries = begin.group(1) == "+" or re.search(carried, told) is not None
    clear = after in ("", "\n", "\r", " ", "\t", ";") and "$(" not in told and "`" not in told
    return Assignment(begin.end(), stop, words, carries, clear)


def variable(name: str) -> str:
    return name.rpartition(" ")[2]


def lacking(words: Iterable[str], there: Iterable[str]) -> list[str]:
    there = list(there)
    return [word for word in words if not any(each == word or each.startswith(f"{word},") for each in there)]


def with_words(text: str, name: str, words: Iterable[str]) -> str:
    for one in reversed(assignments(text, name)):
        missing = [] if one.carries else lacking(words, one.words)
        if not missing:
            continue
        if not one.clear:
            number = text.count("\n", 0, one.start) + 1
            raise MachineError(
                f"what line {number} assigns to {name} cannot be understood; add {' '.join(missing)} there"
            )
        text = text[: one.start] + _joined(text[one.start : one.end], " ".join(missing)) + text[one.end :]
    return text


def _joined(value: str, more: str) -> str:
    if value[-1:] in ("'", '"') and value[-2:-1] != "\\":
        inner = value[:-1]
        end = " " if inner[-1:].isspace() else ""  # so that NAME+="…" may follow
        gap = "" if end or inner in ("'", '"') else " "
        return f"{inner}{gap}{more}{end}{value[-1]}"
    if _PLAIN.fullmatch(value):
        return f'"{value} {more}"' if value else f'"{more}"'
    return f'{value}" {more}"'
