"""The last lines of script/test: how many tests of which kind ran, how long, and what failed.

    summary.py JUNIT_XML STATUS [WHAT WAS LEFT OUT]
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter


def main(report: str, status: str, left_out: str = "") -> None:
    kinds: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    failed = []
    try:
        tree = ET.parse(report)
        cases = list(tree.iter("testcase"))
        wall = sum(float(suite.get("time", 0)) for suite in tree.iter("testsuite"))
    except (ET.ParseError, FileNotFoundError):
        cases, wall = [], 0.0
    for case in cases:
        name = case.get("classname", "")
        parts = name.split(".")
        kind = parts[1] if len(parts) > 2 and parts[0] == "tests" else "house rules"
        outcome = "passed"
        for child in case:
            if child.tag in ("failure", "error"):
                outcome = "failed"
            elif child.tag == "skipped":
                outcome = "skipped"
        if outcome == "failed":
            failed.append(f"{name.replace('.', '/')}::{case.get('name')}")
        kinds.setdefault(kind, Counter())[outcome] += 1
        seconds[kind] += float(case.get("time", 0))  # type: ignore[assignment]
    print()
    for kind in sorted(kinds):
        counts = ", ".join(f"{number} {outcome}" for outcome, number in sorted(kinds[kind].items()))
        print(f"  {kind:12} {counts}; {seconds[kind]:.0f} s if it were one after the other")
    for name in failed:
        print(f"  failed: {name}")
    if left_out:
        print(f"  {left_out}")
    total = sum(sum(counts.values()) for counts in kinds.values())
    print(f"script/test: {'passed' if status == '0' else 'FAILED'} ({total} tests in {wall:.0f} s)")


if __name__ == "__main__":
    main(*sys.argv[1:])
