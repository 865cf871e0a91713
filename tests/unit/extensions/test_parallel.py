"""Extensions.Parallel: handlers of one level side by side, dependencies and instances in their order all the same."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, multi, settings, single
from waagent.errors import SystemRefused
from waagent.extensions.journal import Journal
from waagent.fabric.desired import Settings

NAMES = ("Contoso.Test.One", "Contoso.Test.Two", "Contoso.Test.Three")
# Says that it is here, and waits up to 5 s until as many are here as it was told.
MEET = """
touch "$BASE/../meeting.$VERB.$(basename "$BASE")"
for i in $(seq 500); do
    [ "$(ls -d "$BASE"/../meeting.$VERB.* | wc -l)" -ge COUNT ] && break
    sleep 0.01
done
[ "$(ls -d "$BASE"/../meeting.$VERB.* | wc -l)" -ge COUNT ] || exit 9
[ "$VERB" != enable ] || status success met
"""


def parallel(bed: Bed, count: int) -> None:
    bed.rules = replace(bed.rules, parallel=count)


def test_as_many_as_allowed_run_at_the_same_time(bed: Bed) -> None:
    parallel(bed, 3)
    for name in NAMES:
        bed.publish(name, "1.0.0", {"install": MEET.replace("COUNT", "3"), "enable": MEET.replace("COUNT", "3")})
    summary = bed.process(*(single(name) for name in NAMES))
    assert not summary.failed
    assert [fate.label for fate in summary.fates] == list(NAMES)
    assert {entry["status"] for entry in bed.entries()} == {"Ready"}


def test_one_at_a_time_is_the_default_and_two_are_not_three(bed: Bed) -> None:
    for count, expected in ((1, 2), (2, 3)):
        parallel(bed, count)
        for name in NAMES:
            leave = """trap 'rm -f "$BASE/../meeting.$VERB.$(basename "$BASE")"' EXIT\n"""  # who has gone is not here
            wants = leave + MEET.replace("COUNT", str(expected)).replace("seq 500", "seq 20")
            bed.publish(name, f"{count}.0.0", {"install": wants})
        first = bed.process(*(single(name, f"{count}.0.0") for name in NAMES)).fates[0]
        assert first.result == "failed", f"{expected} ran at once where {count} may"
        for left in Path(bed.layout.lib).glob("meeting.*"):
            left.unlink()
        bed.process(*(single(name, f"{count}.0.0", state="uninstall") for name in NAMES))


def test_a_level_begins_when_the_one_below_has_succeeded(bed: Bed) -> None:
    parallel(bed, 3)
    late = "( sleep 0.4; date +%s%N > ../below; status success late ) > /dev/null 2>&1 &"
    bed.publish(NAMES[0], "1.0.0", {"enable": late})
    bed.publish(NAMES[1], "1.0.0", {"enable": "status success soon"})
    bed.publish(NAMES[2], "1.0.0", {"install": "[ -e ../below ]", "enable": "status success above"})
    assert not bed.process(single(NAMES[2], level=2), single(NAMES[0], level=1), single(NAMES[1], level=1)).failed


def test_a_failure_skips_the_levels_above_and_no_neighbour(bed: Bed) -> None:
    parallel(bed, 2)
    bed.publish(NAMES[0], "1.0.0", {"install": "exit 3"})
    bed.publish(NAMES[1], "1.0.0", {"enable": "status success fine"})
    bed.publish(NAMES[2], "1.0.0")
    summary = bed.process(single(NAMES[0], level=1), single(NAMES[1], level=1), single(NAMES[2], level=2))
    assert [fate.result for fate in summary.fates] == ["failed", "succeeded", "skipped"]
    assert NAMES[0] in summary.fates[2].message


def test_instances_of_one_handler_stay_one_after_the_other(bed: Bed) -> None:
    parallel(bed, 4)
    alone = "mkdir ../alone || exit 4; sleep 0.05; rmdir ../alone; status success alone"
    bed.publish(NAMES[0], "1.0.0", {"enable": alone}, {"supportsMultipleExtensions": True})
    bed.publish(NAMES[1], "1.0.0")
    instances = [Settings(name, 0) for name in ("A", "B", "C")]
    assert not bed.process(multi(NAMES[0], "1.0.0", *instances), single(NAMES[1])).failed
    assert [line.split()[0] for line in bed.ran() if NAMES[0] in line] == ["install", "enable", "enable", "enable"]
    for instance in ("A", "B", "C"):
        assert settings(bed.instance(NAMES[0], instance))["status"] == "success"


def test_removals_run_side_by_side_too(bed: Bed) -> None:
    parallel(bed, 3)
    for name in NAMES:
        bed.publish(name, "1.0.0", {"uninstall": MEET.replace("COUNT", "3")})
    bed.process(*(single(name) for name in NAMES))
    assert not bed.process(*(single(name, state="uninstall") for name in NAMES)).failed
    assert not list(Path(bed.layout.lib).glob("Contoso*"))


def test_what_nobody_foresaw_in_one_lane_fails_that_lane_alone(bed: Bed) -> None:
    parallel(bed, 3)
    for name in NAMES:
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    engine = bed.engine()
    write = engine._journal.doing

    def doing(pair: str, operation: object) -> None:
        if NAMES[1] in pair and getattr(operation, "verb", "") == "install":
            raise KeyError("a bug")
        write(pair, operation)  # type: ignore[arg-type]

    engine._journal.doing = doing  # type: ignore[assignment,method-assign]
    summary = engine.process(bed.desired(*(single(name) for name in NAMES)))
    assert [fate.result for fate in summary.fates if fate.label == NAMES[1]] == ["failed"]
    assert {bed.state(name, "1.0.0") for name in (NAMES[0], NAMES[2])} == {"Enabled"}


def test_the_journal_holds_several_operations(bed: Bed) -> None:
    parallel(bed, 3)
    for name in NAMES:
        bed.publish(name, "1.0.0", {"enable": f'{MEET.replace("COUNT", "3")}\ncp "{bed.layout.journal}" ../seen.{name}'})
    assert not bed.process(*(single(name) for name in NAMES)).failed
    seen = max(
        (json.loads(path.read_text())["operations"] for path in Path(bed.layout.lib).glob("seen.*")), key=len
    )
    assert len(seen) == 3
    assert {operation["step"]["verb"] for operation in seen.values()} <= {"enable", "install", "settings"}
    assert Journal(bed.system, bed.layout).interrupted() == []
    assert not os.path.exists(bed.layout.running)


def test_a_journal_that_cannot_be_written_fails_the_run_not_the_process(bed: Bed) -> None:
    parallel(bed, 2)
    for name in NAMES:
        bed.publish(name, "1.0.0")
    os.makedirs(f"{bed.layout.journal}/in-the-way")
    with pytest.raises(SystemRefused):
        bed.process(*(single(name) for name in NAMES))
