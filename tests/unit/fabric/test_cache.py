"""The state on disk: it comes back as it was, the watcher finds its part, damage means "nothing known"."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace

import pytest

from tests.unit.fabric.samples import sample
from waagent.fabric import cache, extensions_config, goal_state, poll, remote_access, session, vm_settings
from waagent.fabric.cache import FabricState
from waagent.fabric.certificates import Certificate
from waagent.fabric.hosting import Names
from waagent.system import System

LIB = "/var/lib/waagent"


@pytest.fixture
def state() -> FabricState:
    fabric = extensions_config.parse(sample("extensions_config.xml"), "1").desired
    fast = vm_settings.parse(sample("vm_settings.json"), "77").desired
    return FabricState(
        "168.63.129.16",
        goal_state.parse(sample("goal_state.xml")),
        desired=fast,
        fabric=fabric,
        fast_track=fast,
        etag="77",
        fast_track_created=fast.created,
        fast_track_supported=True,
        certificates=(Certificate("AA", True), Certificate("BB", False)),
        remote_users=(*remote_access.parse(sample("remote_access.xml")), remote_access.RemoteUser("x", invalid="bad")),
        names=Names("vm", "role", "tenant"),
        fetched="2026-11-23T09:20:00Z",
    )


@pytest.mark.wire("8.1/fast_track.json")
def test_it_comes_back_as_it_was(system: System, state: FabricState) -> None:
    system.make_directory(LIB)
    for one in (state, FabricState("127.0.0.1:1:2", state.goal), replace(state, remote_users=None, outdated=True)):
        assert cache.write(system, one, LIB)
        assert cache.read(system, LIB) == one
        assert not cache.write(system, one, LIB)
    assert stat.S_IMODE(os.stat(system.path(cache.path(LIB))).st_mode) == 0o600


def test_the_watcher_s_part(system: System, state: FabricState) -> None:
    system.make_directory(LIB)
    cache.write(system, state, LIB)
    known = poll.known_of(system.read_text(cache.path(LIB)))
    assert known == state.known()
    assert known is not None
    assert (known.incarnation, known.etag, known.container_id) == ("1", "77", state.goal.container_id)
    assert known.status_blob.startswith("https://simstat01")


@pytest.mark.wire("8.1/fast_track.json")
@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: json.dumps({**json.loads(text), "schema": 99}),
        lambda text: json.dumps({**json.loads(text), "goal": {"x": 1}}),
        lambda text: json.dumps({**json.loads(text), "desired": {"source": "x"}}),
        lambda text: json.dumps({**json.loads(text), "certificates": [5]}),
        lambda text: json.dumps({**json.loads(text), "remote_users": [{"name": "x"}]}),
        lambda text: json.dumps({**json.loads(text), "remote_users": [{"expires": "x", "name": "", "password": ""}]}),
        lambda text: "[" * 100_000,
    ],
)
def test_damage_means_that_nothing_is_known(system: System, state: FabricState, damage: object) -> None:
    system.make_directory(LIB)
    assert callable(damage)
    system.write(cache.path(LIB), damage(json.dumps(state.to_json())))
    assert cache.read(system, LIB) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"known": []}', '{"known": {"endpoint": "x"}}', "[" * 100_000])
def test_damage_of_the_watcher_s_part(text: str) -> None:
    assert poll.known_of(text) is None


def test_without_a_file_nothing_is_known(system: System) -> None:
    assert cache.read(system, LIB) is None


def test_the_facts(state: FabricState) -> None:
    assert session.facts(state) == {
        "endpoint": "168.63.129.16",
        "container_id": state.goal.container_id,
        "role_instance_id": state.goal.instance_id,
        "role_config_name": state.goal.config_name,
        "incarnation": "1",
        "thumbprints": ["AA", "BB"],
    }
