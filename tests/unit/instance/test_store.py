"""The facts of an instance: public, secret, and whose."""

from __future__ import annotations

import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waagent.errors import InstanceError
from waagent.instance.store import Store, find, same_id, swapped
from waagent.system import System

ONE = "b4e8d6f0-1a2c-4d3e-8f90-a1b2c3d4e5f6"
ONE_SWAPPED = "f0d6e8b4-2c1a-3e4d-8f90-a1b2c3d4e5f6"
TWO = "00000000-1111-2222-3333-444444444444"


def test_facts_are_kept_public_and_secret_apart(system: System) -> None:
    store = Store(system)
    assert store.open(ONE)
    store.publish({"ovf": {"user_name": "bob"}, "hooks.a.b": 1}, {"ovf": {"password": "open sesame"}})
    again = Store(system)
    assert again.vm_id == ONE
    assert again.facts == {"ovf": {"user_name": "bob"}, "hooks": {"a": {"b": 1}}}
    assert again.secrets == {"ovf": {"password": "open sesame"}}
    public = system.path("/var/lib/waagent/instance/public.json")
    assert json.loads(public.read_text())["secrets"] == ["ovf.password"]
    assert "sesame" not in public.read_text()
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert stat.S_IMODE(public.with_name("secret.json").stat().st_mode) == 0o600


def test_anyone_may_reach_the_public_file_and_nothing_else(system: System) -> None:
    Store(system).open(ONE)
    modes = {
        name: stat.S_IMODE(os.stat(system.path(f"/var/lib/waagent/{name}")).st_mode)
        for name in ("", "instances", f"instances/{ONE}", f"instances/{ONE}/sem")
    }
    assert modes == {"": 0o711, "instances": 0o755, f"instances/{ONE}": 0o755, f"instances/{ONE}/sem": 0o700}


def test_a_fact_is_replaced_as_a_whole_and_none_removes(system: System) -> None:
    store = Store(system)
    store.open(ONE)
    store.publish({"ovf": {"a": 1, "b": 2}}, {"ovf.password": "x"})
    store.publish({"ovf": {"b": 3}}, {"ovf.password": None})
    assert Store(system).facts == {"ovf": {"b": 3}}
    assert Store(system).secrets == {"ovf": {}}
    assert "password" not in system.read_text("/var/lib/waagent/instance/public.json")


def test_the_other_byte_order_is_the_same_machine(system: System) -> None:
    assert swapped(ONE) == ONE_SWAPPED
    assert same_id(ONE.upper(), ONE_SWAPPED)
    store = Store(system)
    store.open(ONE)
    assert not store.open(ONE_SWAPPED)
    assert store.vm_id == ONE


def test_another_vm_is_a_fresh_instance_and_the_old_secrets_go(system: System) -> None:
    store = Store(system)
    store.open(ONE)
    store.publish({"ovf.user_name": "bob"}, {"ovf.password": "open sesame"})
    system.write(f"/var/lib/waagent/instances/{ONE}/sem/local.user.done", "{}")
    assert store.open(TWO)
    assert (store.facts, store.secrets) == ({}, {})
    assert os.readlink(system.path("/var/lib/waagent") / "instance") == f"instances/{TWO}"
    assert not system.exists(f"/var/lib/waagent/instances/{ONE}/secret.json")
    assert system.listing(f"/var/lib/waagent/instances/{TWO}/sem") == []


@pytest.mark.parametrize("bad", ["", "  ", "../../etc", "a/b", ".hidden"])
def test_an_id_that_is_none_is_refused(system: System, bad: str) -> None:
    with pytest.raises(InstanceError, match="that is no VM id"):
        Store(system).open(bad)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"facts": 3}', b"\xff\xfe"])
def test_a_damaged_file_counts_as_empty(system: System, damage: bytes) -> None:
    Store(system).open(ONE)
    system.write("/var/lib/waagent/instance/public.json", damage)
    store = Store(system)
    assert store.facts == {}
    store.publish({"x": 1}, {})
    assert Store(system).facts == {"x": 1}


def test_find_goes_through_lists_and_misses_politely() -> None:
    tree = {"ovf": {"public_keys": [{"path": "/a"}]}}
    assert find(tree, "ovf.public_keys.0.path") == "/a"
    for key in ("ovf.none", "ovf.public_keys.1", "ovf.public_keys.x", ""):
        with pytest.raises(KeyError):
            find(tree, key)


@given(st.text(max_size=60))
def test_swapping_twice_is_nothing(text: str) -> None:
    assert swapped(swapped(text)) == text
    assert same_id(text, text)
