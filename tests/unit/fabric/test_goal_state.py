"""The goal state document to values."""

from __future__ import annotations

import pytest

from tests.unit.fabric.samples import CONTAINER, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import goal_state, hosting
from waagent.fabric.goal_state import GoalState


def test_the_sample() -> None:
    goal = goal_state.parse(sample("goal_state.xml"))
    assert goal.incarnation == "1"
    assert goal.container_id == CONTAINER
    assert goal.instance_id == "7c20e9d1-45ab-4f38-b6d7-0192a8c3e5f6._simvm01"
    assert goal.deployment_id == "7c20e9d1-45ab-4f38-b6d7-0192a8c3e5f6"
    # As written: percent signs and the port stay.
    assert goal.certificates == (
        f"http://168.63.129.16:80/machine/{CONTAINER}/7c20e9d1%2D45ab%2D4f38%2Db6d7%2D0192a8c3e5f6.%5Fsimvm01"
        "?comp=certificates&incarnation=1"
    )
    assert "comp=remoteaccessinfo" in goal.remote_access
    assert GoalState.from_json(goal.to_json()) == goal


def test_optional_links_are_empty_when_absent() -> None:
    goal = goal_state.parse(
        "<GoalState><Incarnation>7</Incarnation><Container><ContainerId>c</ContainerId><RoleInstanceList>"
        "<RoleInstance><InstanceId>i</InstanceId></RoleInstance></RoleInstanceList></Container></GoalState>"
    )
    assert goal == GoalState("7", "c", "i")


def test_the_first_role_instance_counts() -> None:
    roles = "".join(f"<RoleInstance><InstanceId>{name}</InstanceId></RoleInstance>" for name in ("one", "two"))
    goal = goal_state.parse(
        "<GoalState><Incarnation>7</Incarnation><Container><ContainerId>c</ContainerId>"
        f"<RoleInstanceList>{roles}</RoleInstanceList></Container></GoalState>"
    )
    assert goal.instance_id == "one"


@pytest.mark.parametrize(
    ("cut", "element"),
    [
        ("Incarnation", "Incarnation"),
        ("ContainerId", "Container/ContainerId"),
        ("RoleInstance", goal_state.INCOMPLETE),
        ("InstanceId", "InstanceId"),
    ],
)
def test_a_missing_part_is_named(cut: str, element: str) -> None:
    text = sample("goal_state.xml").decode()
    begin, end = text.index(f"<{cut}>"), text.index(f"</{cut}>") + len(cut) + 3
    with pytest.raises(GoalStateInvalid) as raised:
        goal_state.parse(text[:begin] + text[end:])
    assert raised.value.facts["element"] == element


def test_the_names_for_telemetry() -> None:
    names = hosting.parse(sample("hosting_environment.xml"))
    assert names == ("_simvm01", "_simvm01", "7c20e9d1-45ab-4f38-b6d7-0192a8c3e5f6")
    assert hosting.parse("<HostingEnvironmentConfig/>") == ("", "", "")
