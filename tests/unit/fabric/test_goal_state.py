"""The goal state document to values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.fabric.samples import CONTAINER, sample
from waagent.errors import GoalStateInvalid
from waagent.fabric import goal_state, hosting
from waagent.fabric.goal_state import GoalState


@pytest.mark.wire("2.1/document", "0.3/container-id", "0.3/role-instance", "0.3/config-name")
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


CONFIGURATION = (
    "<ConfigName>d.0</ConfigName><HostingEnvironmentConfig>h</HostingEnvironmentConfig><SharedConfig>s</SharedConfig>"
    "<ExtensionsConfig>e</ExtensionsConfig><FullConfig>f</FullConfig><Certificates>c</Certificates>"
)


def document(root: str = "", container: str = "", role: str = "", configuration: str = CONFIGURATION) -> str:
    return (
        f"<GoalState>{root}<Container><ContainerId>k</ContainerId>{container}<RoleInstanceList><RoleInstance>"
        f"<InstanceId>i</InstanceId>{role}<Configuration>{configuration}</Configuration></RoleInstance></RoleInstanceList>"
        "</Container><Incarnation>7</Incarnation></GoalState>"
    )


def without(name: str) -> str:
    begin, end = CONFIGURATION.index(f"<{name}>"), CONFIGURATION.index(f"</{name}>") + len(name) + 3
    return CONFIGURATION[:begin] + CONFIGURATION[end:]


WHOLE = GoalState("7", "k", "i", "d.0", extensions_config="e", hosting_environment="h", shared_config="s", certificates="c")
# What a document with or without an element says; the elements of document() come in an order of their own.
ELEMENTS: dict[str, list[tuple[str, GoalState]]] = {
    "2.1/Version": [(document(f"<Version>{text}</Version>"), WHOLE) for text in ("2010-12-15", "2012-11-30", "x", "")],
    "2.1/Incarnation": [
        (document().replace("<Incarnation>7", f"<Incarnation>{text}"), replace(WHOLE, incarnation=text))
        for text in ("007", "x7", "9" * 30)  # opaque
    ],
    "2.1/ExpectedState": [
        (document(f"<Machine><ExpectedState>{text}</ExpectedState></Machine>"), WHOLE) for text in ("Started", "Stopped", "")
    ],
    "2.1/Machine": [
        (
            document(
                "<Machine><StopRolesDeadlineHint>soon</StopRolesDeadlineHint><LBProbePorts><Port>x</Port></LBProbePorts>"
                "<ExpectHealthReport>TRUE</ExpectHealthReport></Machine>"
            ),
            WHOLE,
        ),
        (document("<Machine/>"), WHOLE),
    ],
    "2.1/ContainerId": [(document().replace("<ContainerId>k", "<ContainerId>\n K-1 "), replace(WHOLE, container_id="K-1"))],
    "2.1/RemoteAccessInfo": [
        (
            document(container="<RemoteAccessInfo>\n http://a:80/m%2D?x=1&amp;y=2 \n</RemoteAccessInfo>"),
            replace(WHOLE, remote_access="http://a:80/m%2D?x=1&y=2"),
        ),
        (document(), WHOLE),
    ],
    "2.1/InstanceId": [(document(role="<State>Stopped</State>"), WHOLE), (document(role="<State/>"), WHOLE)],
    "2.1/HostingEnvironmentConfig": [
        (document(configuration=without("HostingEnvironmentConfig")), replace(WHOLE, hosting_environment="")),
        (document(configuration=without("SharedConfig")), replace(WHOLE, shared_config="")),
    ],
    "2.1/ExtensionsConfig": [(document(configuration=without("ExtensionsConfig")), replace(WHOLE, extensions_config=""))],
    "2.1/FullConfig": [(document(configuration=without("FullConfig")), WHOLE)],
    "2.1/Certificates": [(document(configuration=without("Certificates")), replace(WHOLE, certificates=""))],
    "2.1/ConfigName": [
        (document(configuration=without("ConfigName") + "<ConfigName> d.0 </ConfigName>"), WHOLE),
        (document(configuration=without("ConfigName")), replace(WHOLE, config_name="")),
    ],
}  # fmt: skip


@pytest.mark.parametrize("row", ELEMENTS)
def test_elements(row: str) -> None:
    for text, expected in ELEMENTS[row]:
        assert goal_state.parse(text) == expected, text


@pytest.mark.wire("2.1/document")
def test_optional_links_are_empty_when_absent() -> None:
    goal = goal_state.parse(
        "<GoalState><Incarnation>7</Incarnation><Container><ContainerId>c</ContainerId><RoleInstanceList>"
        "<RoleInstance><InstanceId>i</InstanceId></RoleInstance></RoleInstanceList></Container></GoalState>"
    )
    assert goal == GoalState("7", "c", "i")


@pytest.mark.wire("2.1/RoleInstance")
def test_the_first_role_instance_counts() -> None:
    roles = "".join(f"<RoleInstance><InstanceId>{name}</InstanceId></RoleInstance>" for name in ("one", "two"))
    goal = goal_state.parse(
        "<GoalState><Incarnation>7</Incarnation><Container><ContainerId>c</ContainerId>"
        f"<RoleInstanceList>{roles}</RoleInstanceList></Container></GoalState>"
    )
    assert goal.instance_id == "one"


@pytest.mark.wire("2.1/RoleInstance", "2.1/InstanceId", "2.1/Incarnation", "2.1/ContainerId")
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


@pytest.mark.wire("2.5/hosting-environment")
def test_the_names_for_telemetry() -> None:
    names = hosting.parse(sample("hosting_environment.xml"))
    assert names == ("_simvm01", "_simvm01", "7c20e9d1-45ab-4f38-b6d7-0192a8c3e5f6")
    assert hosting.parse("<HostingEnvironmentConfig/>") == ("", "", "")
