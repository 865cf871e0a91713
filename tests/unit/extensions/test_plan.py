"""The planner, with generated machines and goal states: what it says must lead to what is wanted, and not further."""

from __future__ import annotations

from dataclasses import replace

import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import given  # noqa: E402
from hypothesis import settings as profile  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from waagent.extensions import plan, version  # noqa: E402
from waagent.extensions.handler import ENABLED, FAILED_UPGRADE, INSTALLED, NOT_INSTALLED  # noqa: E402
from waagent.extensions.plan import Observed, OnDisk, Operation, Pair, Refusal, Update  # noqa: E402
from waagent.fabric.desired import Desired, Handler, Settings  # noqa: E402

COMMANDS = ("install", "enable", "disable", "update", "uninstall")
NAMES = ("A.One", "B.Two", "C.Three")
VERSIONS = ("1.0", "1.0.1", "1.10", "2.0.0.0")
INSTANCES = ("x", "y", "z")


@st.composite
def handlers(draw: st.DrawFn, name: str) -> Handler:
    multi = draw(st.booleans())
    state = draw(st.sampled_from(("enabled", "enabled", "enabled", "disabled", "uninstall")))
    if multi:
        names = draw(st.lists(st.sampled_from(INSTANCES), min_size=1, unique=True))
    else:
        names = [name] if draw(st.booleans()) else []
    found = tuple(
        Settings(
            one,
            draw(st.integers(0, 9)),
            draw(st.sampled_from(("enabled", "disabled"))) if multi else "enabled",
            level=draw(st.integers(0, 3)),
        )
        for one in names
    )
    return Handler(name, draw(st.sampled_from(VERSIONS)), state, settings=found, multi_config=multi)


@st.composite
def wanted(draw: st.DrawFn) -> Desired:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return Desired("fabric", "incarnation:1", handlers=tuple(draw(handlers(name)) for name in names))


@st.composite
def machines(draw: st.DrawFn) -> Observed:
    found, updates = [], {}
    for name in NAMES:
        there = draw(st.lists(st.sampled_from(VERSIONS), unique=True, max_size=3))
        for one in there:
            state = draw(st.sampled_from((NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE)))
            enabled = frozenset(draw(st.lists(st.sampled_from(INSTANCES)))) if state == ENABLED else frozenset()
            found.append(OnDisk(name, one, state, enabled, checked=draw(st.booleans())))
        if len(there) > 1 and draw(st.booleans()):
            codes = {"": "0"} if draw(st.booleans()) else {}
            uninstalled = draw(st.sampled_from(("", "0")))
            updates[name] = Update(there[0], there[1], codes, bool(uninstalled) or draw(st.booleans()), uninstalled)
    return Observed(tuple(found), updates)


def carried_out(desired: Desired, observed: Observed) -> tuple[Observed, list[Operation]]:
    turns = plan.plan(desired, observed)
    for turn in turns:
        observed = plan.after_turn(turn.pair, turn.operations, observed)
    return observed, [one for turn in turns for one in turn.operations]


@profile(max_examples=400, deadline=None)
@given(wanted(), machines())
def test_the_plan_leads_to_what_is_wanted(desired: Desired, observed: Observed) -> None:
    end, _ = carried_out(desired, observed)
    for handler in desired.handlers:
        here = end.find(handler.name, handler.version)
        if handler.state == "uninstall":
            assert end.versions(handler.name) == ()
        elif handler.state == "enabled":
            assert here is not None
            on = [one for one in handler.settings if one.state == "enabled"]
            assert here.state == (ENABLED if on or not handler.settings else here.state)
            assert here.state in (ENABLED, INSTALLED)
            if handler.multi_config:
                listed = {one.name for one in handler.settings}
                assert here.instances & listed == {one.name for one in on}
            assert handler.name not in end.updates
        else:
            installed = end.installed(handler.name)
            listed = {one.name for one in handler.settings}
            assert (
                installed is None
                or installed.state == INSTALLED
                or (handler.multi_config and installed.instances - listed)
            )


@profile(max_examples=400, deadline=None)
@given(wanted(), machines())
def test_a_second_time_only_what_is_enabled_is_enabled_again(desired: Desired, observed: Observed) -> None:
    end, _ = carried_out(desired, observed)
    _, again = carried_out(desired, end)
    assert {one.verb for one in again} <= {"settings", "enable", "idle"}
    assert [one for one in again if one.verb == "enable"] == [
        one for turn in plan.plan(desired, end) for one in turn.operations if one.verb == "enable"
    ]


@profile(max_examples=400, deadline=None)
@given(wanted(), machines(), st.data())
def test_cut_off_at_any_point_it_goes_on_without_repeating_a_command(
    desired: Desired, observed: Observed, data: st.DataObject
) -> None:
    straight, operations = carried_out(desired, observed)
    cut = data.draw(st.integers(0, len(operations)))
    half = observed
    for operation in operations[:cut]:
        half = plan.after(operation, half)
    resumed, rest = carried_out(desired, half)
    assert resumed == straight or set(resumed.handlers) == set(straight.handlers)
    once = {one.verb for one in operations} - {"enable", "settings", "idle", "download", "initialise", "carry"}
    for verb in once & set(COMMANDS):
        before = [str(one) for one in operations[:cut] if one.verb == verb]
        after = [str(one) for one in rest if one.verb == verb]
        whole = [str(one) for one in operations if one.verb == verb]
        assert sorted(before + after) == sorted(whole), verb


@profile(max_examples=400, deadline=None)
@given(wanted(), machines())
def test_rules_that_hold_in_every_plan(desired: Desired, observed: Observed) -> None:
    turns = plan.plan(desired, observed)
    keys = [turn.pair.key for turn in turns]
    assert keys == sorted(keys)
    assert len(turns) == sum(max(1, len(handler.settings)) for handler in desired.handlers)
    for turn in turns:
        verbs = [one.verb for one in turn.operations]
        for command in ("install", "enable"):
            if command in verbs:
                assert "settings" in verbs[: verbs.index(command)], "settings come before commands"
        if "install" in verbs and "update" not in verbs and "remove" not in verbs:
            assert verbs.index("download") < verbs.index("initialise") < verbs.index("install")
        assert verbs.count("install") <= 1 and verbs.count("update") <= 1
        assert all(one.handler == turn.pair.handler.name for one in turn.operations), "nobody touches another"
        if "update" in verbs:
            updated = next(one for one in turn.operations if one.verb == "update")
            higher = max((updated.update, updated.target), key=version.key)
            assert updated.version == higher, "the higher version's update command runs"


@profile(max_examples=200, deadline=None)
@given(wanted(), machines(), st.sampled_from(NAMES))
def test_a_refused_handler_gets_no_operation(desired: Desired, observed: Observed, name: str) -> None:
    for turn in plan.plan(desired, observed, {name: Refusal("no")}):
        assert (turn.refusal is not None) == (turn.pair.handler.name == name)
        assert turn.refusal is None or turn.operations == ()


@profile(max_examples=400, deadline=None)
@given(wanted(), machines())
def test_where_signatures_are_required_nothing_runs_unchecked_and_removals_stay(
    desired: Desired, observed: Observed
) -> None:
    turns = plan.plan(desired, observed, signed=lambda handler: True)
    disk = observed
    for turn in turns:
        if turn.pair.key < 0 and turn.pair.handler.state != "enabled":
            assert turn.operations == plan.turn(turn.pair, disk)
        for one in turn.operations:
            here = disk.find(one.handler, one.version)
            if one.verb in ("install", "update", "enable") and one.version == one.target:
                assert here is not None and here.checked, one
            if one.verb == "check":
                assert here is not None and not here.checked, "once is enough"
            disk = plan.after(one, disk)
        disk = plan.after_turn(turn.pair, (), disk)


@profile(max_examples=200, deadline=None)
@given(wanted(), machines())
def test_the_planner_changes_nothing_and_has_no_moods(desired: Desired, observed: Observed) -> None:
    copy = Observed(tuple(observed.handlers), dict(observed.updates))
    assert plan.plan(desired, observed) == plan.plan(desired, observed)
    assert observed == copy


def test_an_update_step_by_step() -> None:
    desired = Desired("fabric", "1", handlers=(Handler("A.B", "2.0", settings=(Settings("A.B", 3),)),))
    observed = Observed((OnDisk("A.B", "1.0", ENABLED),))
    (turn,) = plan.plan(desired, observed)
    assert [str(one) for one in turn.operations] == [
        "download A.B 2.0",
        "initialise A.B 2.0",
        "settings A.B 2.0",
        "disable A.B 1.0",
        "carry A.B 2.0",
        "update A.B 2.0",
        "uninstall A.B 1.0",
        "remove A.B 1.0",
        "install A.B 2.0",
        "enable A.B 2.0",
    ]
    assert turn.operations[-2].by_mode
    assert [one.sequence for one in turn.operations] == [3] * 10


def test_who_is_awaited() -> None:
    low, high = (
        Handler("A", "1", settings=(Settings("A", 0),)),
        Handler("B", "1", settings=(Settings("B", 0, level=1),)),
    )
    gone = replace(low, name="C", state="uninstall")
    ordered = plan.pairs(Desired("fabric", "1", handlers=(high, low, gone)))
    assert [(pair.handler.name, pair.key, plan.awaited(pair, ordered)) for pair in ordered] == [
        ("C", -1, False),
        ("A", 0, True),
        ("B", 1, False),
    ]
    assert Pair(low, None, 0).sequence == 0
