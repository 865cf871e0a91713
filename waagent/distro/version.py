"""Versions of distributions: how they compare, and conditions such as ">=8.6 <10".

key(text) splits a version into its runs of digits (compared as numbers) and of other characters (as text); dots
only separate. So 9.10 > 9.9, 12 < 12.1, and where a number meets a word the word is less, which makes 8beta < 8.1.

satisfies(version, condition): every blank-separated term has to hold: "20.04" (equal), "!20.04", "<9", "<=9", ">8",
">=8.6". A system without a version satisfies no term but "!…": rolling releases are never taken for old ones.

Source: provisioning 10.1.
"""

from __future__ import annotations

import re

OPERATORS = ("<=", ">=", "<", ">", "!")


def key(text: str) -> list[tuple[int, int, str]]:
    """A list that sorts as versions do."""
    runs = re.findall(r"[0-9]+|[^0-9.]+", text)
    return [(1, int(run), "") if run[0] in "0123456789" else (0, 0, run) for run in runs]


def satisfies(version: str, condition: str) -> bool:
    """True if the version fulfils every term of the condition."""
    return all(_holds(version, term) for term in condition.split())


def _holds(version: str, term: str) -> bool:
    operator = next((sign for sign in OPERATORS if term.startswith(sign)), "")
    mine, other = key(version), key(term[len(operator) :])
    if operator == "!":
        return mine != other
    if not mine:
        return False
    if operator == "<":
        return mine < other
    if operator == "<=":
        return mine <= other
    if operator == ">":
        return mine > other
    if operator == ">=":
        return mine >= other
    return mine == other
