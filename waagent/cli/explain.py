"""waagent explain [CODE]: what a failure means that was reported, and what to do about it.

CODE is a reason ("disk set-up failed"), a number from the status of an extension (1007), the name of an error, or
the whole text of a report ("result=error|reason=…"). Without it all codes are listed.

Exit status: 0; 1 when there is no such code.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap

from waagent.cli import catalogue, text

SUMMARY = "tell what a code of a failure means, and what to do"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from waagent.system import System


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", nargs="*", help="a reason, a number, or a report; all codes when left out")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    words = " ".join(args.code)
    found = catalogue.find(words) if words else list(catalogue.ENTRIES)
    if not found:
        near = catalogue.near(words)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "; waagent explain lists all codes"
        print(f"waagent explain: there is no code {words!r}{hint}", file=sys.stderr)
        return 1
    if args.format == "json":
        entries = [{key: value for key, value in entry._asdict().items() if key != "name"} for entry in found]
        print(json.dumps({"schema": 1, "codes": entries}, indent=1))
    elif words:
        print("\n\n".join(map(render, found)))
    else:
        print(text.columns([(entry.code, entry.meaning) for entry in found]))
    return 0


def render(entry: catalogue.Entry) -> str:
    rows = (("", entry.meaning), ("what to do: ", entry.advice), ("seen in: ", entry.told))
    wrapper = textwrap.TextWrapper(100, initial_indent="  ", subsequent_indent="  ")
    lines = [wrapper.fill(label + value) for label, value in rows]
    return "\n".join([entry.code, *lines])


__all__ = ["SUMMARY", "arguments", "main", "render"]
