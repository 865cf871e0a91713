"""LIB/history/: what was asked for lately, without its secrets (wire-protocol 7.6, 8.3)."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from tests.unit.fabric.samples import sample
from waagent.fabric import history

FOLDER = f"{LIB}/history"
EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}
USER = {"name": "jit", "password": "pw", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}


@pytest.mark.wire("8.3/incarnation", "8.3/incarnation-etag", "8.3/packed")
def test_an_entry_for_each_change_the_older_ones_packed(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    talk.session.update()
    first = f"2026-11-23T09-20-00__{vm.incarnation}"
    assert talk.system.listing(FOLDER) == [first]
    assert talk.system.listing(f"{FOLDER}/{first}") == [
        "Certificates.json", "ExtensionsConfig.xml", "GoalState.xml", "HostingEnvironmentConfig.xml", "RemoteAccess.xml",
        "SharedConfig.xml", "waagent_status.json",
    ]  # fmt: skip
    summary = json.loads(talk.system.read(f"{FOLDER}/{first}/Certificates.json"))
    assert summary == [{"thumbprint": vm.tenant_certificate.thumbprint, "hasPrivateKey": True}]
    talk.clock.sleep(60)
    talk.session.update()  # nothing new, no entry
    assert talk.system.listing(FOLDER) == [first]
    etag = vm.publish(extensions=[EXTENSION], source="fasttrack")
    talk.session.update()
    second = f"2026-11-23T09-21-00__{vm.incarnation}-{etag}"
    assert talk.system.listing(FOLDER) == [f"{first}.zip", second]
    assert talk.system.listing(f"{FOLDER}/{second}") == ["Certificates.json", "VmSettings.json", "waagent_status.json"]
    with zipfile.ZipFile(io.BytesIO(talk.system.read(f"{FOLDER}/{first}.zip"))) as packed:
        assert "ExtensionsConfig.xml" in packed.namelist()


@pytest.mark.wire("7.6/saved")
def test_nothing_of_it_is_secret_and_nobody_else_may_read_it(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[EXTENSION], remote_users=[USER])
    _, state = talk.session.update()
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    talk.clock.sleep(1)
    _, state = talk.session.update()
    assert state.desired is not None
    protected = state.desired.handlers[0].settings[0].protected
    assert protected
    for path in sorted(talk.system.path(FOLDER).rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                texts = [packed.read(name) for name in packed.namelist()]
        else:
            texts = [path.read_bytes()] if path.is_file() else []
        for text in texts:
            assert b"sig=" not in text, path
            assert protected.encode() not in text, path
    config = next(talk.system.path(FOLDER).rglob("VmSettings.json")).read_text()
    assert "***REDACTED***" in config
    assert json.loads(config)["extensionGoalStates"][0]["settings"][0]["publicSettings"]


@pytest.mark.row("guest-operations", 76)
@pytest.mark.wire("8.3/fifty")
def test_fifty_entries_stay(talk: Talk, vm: Any) -> None:
    for number in range(60):
        talk.system.make_directory(FOLDER, mode=0o700)
        talk.system.write(f"{FOLDER}/2026-10-{number // 24 + 1:02}T{number % 24:02}-00-00__{number}.zip", b"x")
    talk.system.write(f"{FOLDER}/notes-of-an-admin", b"stay")
    vm.publish(extensions=[])
    talk.session.update()
    listed = talk.system.listing(FOLDER)
    assert len(listed) == history.ENTRIES + 1
    assert listed[0] == "2026-10-01T11-00-00__11.zip"
    assert "notes-of-an-admin" in listed


@pytest.mark.wire("8.3/disk")
def test_a_disk_that_refuses_stops_no_goal_state(talk: Talk, vm: Any) -> None:
    talk.system.write(FOLDER, b"a file in its place")
    vm.publish(extensions=[EXTENSION])
    _, state = talk.session.update()
    assert state.desired is not None
    assert any("cannot keep a record of the goal state" in note for note in talk.notes)


@pytest.mark.wire("7.6/saved")
@pytest.mark.parametrize("name", ["extensions_config.xml", "vm_settings.json", "remote_access.xml"])
def test_the_samples_lose_their_secrets_and_nothing_else(name: str) -> None:
    document = sample(name)
    clean = history.redacted(document, [])
    assert b"sig=" not in clean
    assert b"MII" not in clean
    assert b"***REDACTED***" in clean
    assert b"91C920EFC143E059B8180AFD5A41EAC58D1EAEC6" in clean or name == "remote_access.xml"
    if name.endswith(".json"):
        assert json.loads(clean).keys() == json.loads(document).keys()


@pytest.mark.wire("7.6/saved")
def test_escaped_json_and_urls_without_a_query() -> None:
    document = b"<a>{&quot;protectedSettings&quot;: &quot;MIIsecret&quot;} https://a/b https://a/b?x=1 https://a/b?SIG=s</a>"
    expected = b"<a>{&quot;protectedSettings&quot;: &quot;***REDACTED***&quot;} https://a/b https://a/b?x=1 https://a/b?***REDACTED***</a>"
    assert history.redacted(document, ["MIIsecret"]) == expected


@pytest.mark.row("guest-operations", 75)
@pytest.mark.wire("7.6/saved")
def test_a_secret_that_cannot_be_taken_out_is_not_kept() -> None:
    assert b"MIIsecret" not in history.redacted(b"<a>MIIsecret</a>", ["MIIsecret"])
    assert b"not kept" in history.redacted(b"<a>MIIsecret</a>", ["MIIsecret"])


@pytest.mark.wire("8.3/etag", "3.4/parse-failure")
def test_vm_settings_that_cannot_be_used_are_kept_once(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    talk.session.update()
    talk.clock.sleep(60)
    etag = vm.publish(extensions=[{**EXTENSION, "version": "2.0"}], source="fasttrack")
    sim.fault("/vmSettings", transform=lambda body: body.replace(b'"enabled"', b'"odd"'))
    talk.session.update()
    talk.clock.sleep(60)
    talk.session.update()
    newest = talk.system.listing(FOLDER)[-1]
    assert newest == f"2026-11-23T09-21-00__{etag}"
    kept = talk.system.read_text(f"{FOLDER}/{newest}/VmSettings.json")
    assert '"odd"' in kept
    assert "sig=" not in kept
    assert "***REDACTED***" in kept
