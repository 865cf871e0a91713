"""The files that a goal state leaves: names, modes, contents, how long they stay (wire-protocol 8.1)."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk

EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}
USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}


def modes(talk: Talk) -> dict[str, int]:
    folder = talk.system.path(LIB)
    return {name: stat.S_IMODE((folder / name).stat().st_mode) for name in talk.files}


@pytest.mark.wire(
    "8.1/Transport", "8.1/Certificates.xml", "8.1/Certificates.p7m", "8.1/Certificates.pfx", "8.1/Certificates.pem",
    "8.1/numbered", "8.1/THUMBPRINT", "8.1/SharedConfig.xml", "8.1/GoalState.1.xml",
)  # fmt: skip
def test_a_goal_state_leaves_these_files_and_no_other(talk: Talk, vm: Any) -> None:
    """The bundle is opened in memory: no Certificates.*, and no key under a number, lies on the disk in between."""
    wrapped = vm.add_ssh_certificate().thumbprint
    tenant = vm.tenant_certificate.thumbprint
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    written: list[str] = []
    real = talk.system.path(LIB)
    for _ in range(2):
        talk.session.update(force=True)
        written += [path.name for path in real.rglob("*") if path.is_file()]
    assert modes(talk) == {
        "GoalState.1.xml": 0o600,
        "SharedConfig.xml": 0o600,
        "TransportCert.pem": 0o600,
        "TransportPrivate.pem": 0o600,
        f"{tenant}.crt": 0o600,
        f"{tenant}.prv": 0o600,
        f"{wrapped}.crt": 0o600,
        "goal-state.json": 0o600,
        "history": 0o700,
    }
    assert not [name for name in written if name.startswith("Certificates.") and name != "Certificates.json"]
    assert "PRIVATE KEY" in talk.system.read_text(f"{LIB}/{tenant}.prv")
    assert talk.system.read_text(f"{LIB}/{tenant}.crt").startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.wire("8.1/SharedConfig.xml", "2.5/shared-config")
def test_other_software_finds_the_shared_config_as_it_was_sent(talk: Talk, vm: Any, sim: Any) -> None:
    sent: list[bytes] = []

    def keep(body: bytes) -> bytes:
        sent.append(body)
        return body

    sim.fault("*type=sharedConfig*", transform=keep)
    vm.publish(extensions=[])
    talk.session.update()
    assert talk.system.read(f"{LIB}/SharedConfig.xml") == sent[-1]
    vm.publish(extensions=[])
    talk.session.update()
    assert talk.system.read(f"{LIB}/SharedConfig.xml") == sent[-1] != sent[0]


@pytest.mark.wire("8.1/fast_track.json", "3.3/support")
def test_when_fast_track_was_served_last_outlives_the_process(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[], ticks=639310221300000000)
    vm.publish(extensions=[EXTENSION], source="fasttrack", ticks=639310285250000000)
    talk.session.update()
    assert "2026-11-23T11:02:05.0000000Z" in json.dumps(json.loads(talk.system.read_text(f"{LIB}/goal-state.json")))
    vm.publish(extensions=[EXTENSION], ticks=639310285250000001)
    _, state = talk.session.update()
    assert state.fast_track_created == ""
