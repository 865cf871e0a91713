"""The planner over a machine's whole life: goal states, commands that fail and processes that die, in any order.

A model machine carries out what plan.turn says. A command may fail (and what the engine then does to the machine is
done), the process may die between any two operations. After each such history a goal state that is carried out in
peace leads to what it wants, and no command has run twice in a goal state without a cause.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

hypothesis = pytest.importorskip("hypothesis")

from hypothesis import settings as profile  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule  # noqa: E402

from tests.unit.extensions.test_plan import COMMANDS, wanted  # noqa: E402
from waagent.extensions import plan  # noqa: E402
from waagent.extensions.handler import ENABLED, FAILED_UPGRADE, INSTALLED  # noqa: E402
from waagent.extensions.plan import Observed, OnDisk, Operation, Pair  # noqa: E402
from waagent.fabric.desired import Desired  # noqa: E402


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Observed()
        self.desired = Desired("fabric", "")
        self.turns: set[str] = set()  # ids of pairs whose turn is over, as the journal has them
        self.ran: list[str] = []  # commands that went well in this goal state
        self.disturbed: set[str] = set()  # handlers with a failed command in this goal state

    @rule(desired=wanted())
    def a_goal_state_comes(self, desired: Desired) -> None:
        self.desired, self.turns, self.ran, self.disturbed = desired, set(), [], set()

    @rule(steps=st.integers(0, 12))
    def the_process_works_and_dies(self, steps: int) -> None:
        self._work(steps, fails=-1)

    @rule(fails=st.integers(0, 12))
    def a_command_fails_and_the_rest_goes_well(self, fails: int) -> None:
        self._work(1000, fails)

    @rule()
    def it_is_carried_out_in_peace(self) -> None:
        self._work(1000, fails=-1)
        if self.disturbed:  # a failed turn is over; only the next goal state takes it up again
            self.turns, self.ran, self.disturbed = set(), [], set()
            self._work(1000, fails=-1)
        for handler in self.desired.handlers:
            here = self.disk.find(handler.name, handler.version)
            if handler.state == "uninstall":
                assert self.disk.versions(handler.name) == ()
            elif handler.state == "enabled":
                wants = [one.name for one in handler.settings if one.state == "enabled"]
                assert here is not None
                assert here.state in ((ENABLED,) if wants or not handler.settings else (ENABLED, INSTALLED))
                listed = {one.name for one in handler.settings}
                assert not handler.multi_config or here.instances & listed == set(wants)
                assert handler.name not in self.disk.updates

    @rule(desired=wanted())
    def one_comes_and_is_carried_out_in_peace(self, desired: Desired) -> None:
        self.a_goal_state_comes(desired)
        self.it_is_carried_out_in_peace()

    @rule(desired=wanted(), steps=st.integers(1, 8))
    def one_comes_and_is_cut_off_once(self, desired: Desired, steps: int) -> None:
        self.a_goal_state_comes(desired)
        self._work(steps, fails=-1)
        self.it_is_carried_out_in_peace()

    @invariant()
    def no_command_ran_twice_without_cause(self) -> None:
        for command in set(self.ran):
            handler = command.split()[1].split("/")[0]
            if handler not in self.disturbed:
                assert self.ran.count(command) == 1, command

    def _work(self, steps: int, fails: int) -> None:
        """Go on with the goal state for so many operations; the command of number `fails` does not go well."""
        for pair in plan.pairs(self.desired):
            if pair.id in self.turns:
                continue
            well = True
            for operation in plan.turn(pair, self.disk):
                if steps <= 0:
                    return
                steps -= 1
                if operation.verb in COMMANDS:
                    fails -= 1
                    if fails == -1:
                        self.disturbed.add(operation.handler)
                        if operation.failure != plan.IGNORE:
                            self._failed(pair, operation)
                            well = False
                            break
                    else:
                        self.ran.append(str(operation))
                self.disk = plan.after(operation, self.disk)
            if well:
                self.disk = plan.after_turn(pair, (), self.disk)
            self.turns.add(pair.id)

    def _failed(self, pair: Pair, operation: Operation) -> None:
        """What the engine leaves: the update is given up, a failed update is marked."""
        updates = {name: one for name, one in self.disk.updates.items() if name != operation.handler}
        found = self.disk.handlers
        if operation.verb == "update":
            others = tuple(one for one in found if (one.name, one.version) != (operation.handler, operation.target))
            found = (*others, OnDisk(operation.handler, operation.target, FAILED_UPGRADE))
        self.disk = replace(self.disk, handlers=found, updates=updates)


TestLife = Life.TestCase
TestLife.settings = profile(max_examples=100, stateful_step_count=25, deadline=None)
