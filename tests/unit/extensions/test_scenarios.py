"""Every scenario of the test plan (1 to 127) has a test that carries its number.

A test's name begins with its numbers, test_24_25_…; those of rooms that name theirs otherwise are listed here.
"""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
OURS = ("unit/extensions/*.py", "modules/test_extensions.py", "protocol/test_extensions_over_the_wire.py")
SCENARIOS = {*map(str, range(1, 128)), "35a", "35b", "35c", "35d", "35e"}

ELSEWHERE = {
    "19": "test_settings_are_found_by_name_in_any_case",
    "71": "test_states_and_levels_of_instances",
    "74": "test_a_dead_channel_costs_one_attempt_and_the_other_is_remembered",
    "75": "test_the_next_location_is_taken",
    "77": "test_stale_ids_are_healed",
    "78": "test_both_channels_in_trouble_are_tried_again",
    "88": "test_a_trickle_ends_at_the_deadline",
    "104": "test_a_goal_state_without_a_place_for_the_report_is_fetched_once_more",
    "121": "test_so_many_events_of_one_handler_and_the_newest_file_first",
    "122": "test_what_is_not_taken_is_counted_by_reason",
    "123": "test_every_other_file_goes_too",
    "125": "test_what_a_handler_wrote_is_not_lost_while_nothing_can_be_sent",
}


def named(*patterns: str) -> set[str]:
    files = [file for pattern in patterns for file in TESTS.glob(pattern)]
    return {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}


def test_every_scenario_is_claimed() -> None:
    numbers = [re.match(r"test((?:_\d+[a-e]?(?=_))+)_", name) for name in named(*OURS)]
    claimed = {number for match in numbers if match for number in match[1][1:].split("_")}
    assert not sorted(SCENARIOS - claimed - ELSEWHERE.keys())
    assert not set(ELSEWHERE.values()) - named("**/*.py")
