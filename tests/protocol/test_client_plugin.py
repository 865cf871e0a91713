"""Host plugin, fast track, downloads, uploads, metadata (wire-protocol 2.2 to 2.4, 3, 4, 5.3, 5.5)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricRejected, FabricUnreachable, GoalStateInvalid, PlanRefused, SystemRefused
from waagent.fabric import blobs, imds, status
from waagent.fabric.artifacts import CHANNEL
from waagent.fabric.poll import Known, put_status
from waagent.simulator import Simulator

EXTENSION = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}
VM_SETTINGS = "/vmSettings"


def payload(talk: Talk, filler: int = 0) -> bytes:
    return status.document(talk.clock.stamp(), "3.0.0", ("vm", "debian", "12"), message="x" * filler)


# -- the watcher's poll -----------------------------------------------------------------------------------------


@pytest.mark.wire("2.2/changed")
def test_nothing_known_means_everything_changed(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[], source="fabric")
    polled = talk.poll(Known())
    assert polled.changed == ("incarnation",)
    assert polled.answered
    assert polled.known.container_id == vm.container_id


@pytest.mark.wire("2.2/unchanged")
def test_after_the_worker_nothing_is_changed(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[EXTENSION])
    talk.session.update()
    polled = talk.poll(talk.known())
    assert (polled.changed, polled.errors, polled.moved) == ((), (), False)
    assert polled.known.status_blob


@pytest.mark.wire("2.2/changed", "2.1/Incarnation")
def test_a_new_incarnation_stays_changed_until_the_worker_has_fetched_it(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.publish(extensions=[EXTENSION])
    first = talk.poll(talk.known())
    assert first.changed == ("incarnation",)
    assert talk.poll(first.known).changed == ("incarnation",)
    talk.session.update()
    assert talk.poll(talk.known()).changed == ()


@pytest.mark.wire("2.2/changed", "3.4/304", "0.3/etag")
def test_fast_track_changes_by_etag_alone(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    etag = vm.publish(extensions=[EXTENSION], source="fasttrack")
    polled = talk.poll(talk.known())
    assert polled.changed == ("vm-settings",)
    assert talk.poll(talk.known(), fast_track=False).changed == ()
    _, state = talk.session.update()
    assert state.etag == etag
    assert talk.poll(talk.known()).changed == ()
    assert sim.requests.select(path=VM_SETTINGS)[-1].status == 304
    assert sim.requests.select(path=VM_SETTINGS)[-1].headers["if-none-match"] == etag


@pytest.mark.wire("0.3/move")
def test_a_moved_machine_is_no_change_of_its_goal_state(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.move()
    polled = talk.poll(talk.known())
    assert (polled.changed, polled.moved) == ((), True)
    assert polled.known.container_id == vm.container_id


@pytest.mark.wire("2.2/changed")
def test_another_machine_under_the_same_number_is_a_change(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    assert talk.poll(talk.known().but(instance_id="another._machine")).changed == ("incarnation",)


@pytest.mark.wire("3.4/404", "3.3/support", "9.2/6h")
def test_no_vm_settings_are_asked_for_again_after_six_hours(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    sim.fault(VM_SETTINGS, status=404)
    first = talk.poll(talk.known(), now=1000.0)
    assert first.errors == ()
    count = len(sim.requests.select(path=VM_SETTINGS))
    second = talk.poll(first.known, now=1000.0 + 6 * 3600 - 1)
    assert len(sim.requests.select(path=VM_SETTINGS)) == count
    talk.poll(second.known, now=1000.0 + 6 * 3600)
    assert len(sim.requests.select(path=VM_SETTINGS)) == count + 1


@pytest.mark.wire("3.3/version")
def test_an_old_host_plugin_is_not_asked_again(talk: Talk, vm: Any) -> None:
    vm.host_plugin_version = "1.0.8.132"
    vm.touch()
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    polled = talk.poll(Known(), now=5.0)
    assert "vm-settings" not in polled.changed
    assert polled.known.ask_vm_settings_at == 5.0 + 6 * 3600


@pytest.mark.wire("2.2/one-fails")
@pytest.mark.parametrize(
    "fault",
    [{"status": 400}, {"status": 500}, {"status": 502}, {"reset": True}, {"truncate": 50}, {"answer": "throttled"}],
    ids=str,
)
def test_trouble_of_the_host_plugin_does_not_hide_the_wire_server(
    talk: Talk, vm: Any, sim: Any, fault: dict[str, Any]
) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.publish(extensions=[EXTENSION])
    sim.fault(VM_SETTINGS, **fault)
    polled = talk.poll(talk.known().but(etag=""))
    assert polled.changed == ("incarnation",)
    assert len(polled.errors) == 1
    _, state = talk.session.update(force=True)
    assert state.desired is not None
    assert state.desired.handlers
    assert any("continuing with what it served last" in note for note in talk.notes)


@pytest.mark.wire("2.2/one-fails")
@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 410}, {"reset": True}, {"content": "empty"}, {"content": "no-role-instance"}], ids=str
)
def test_trouble_of_the_wire_server_does_not_hide_the_host_plugin(
    talk: Talk, vm: Any, sim: Any, fault: dict[str, Any]
) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    sim.fault("/machine/?comp=goalstate", **fault)
    polled = talk.poll(talk.known())
    assert polled.changed == ("vm-settings",)
    assert not polled.answered
    assert len(polled.errors) == 1


@pytest.mark.wire("3.4/410")
def test_stale_ids_are_healed_within_a_poll(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    sim.fault(VM_SETTINGS, answer="stale", count=1)
    polled = talk.poll(talk.known())
    assert (polled.changed, polled.errors) == (("vm-settings",), ())


# -- which goal state counts ------------------------------------------------------------------------------------


@pytest.mark.wire("2.2/choice")
def test_fast_track_and_back(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[{**EXTENSION, "version": "1.0"}], source="fabric", ticks=639310221300000000)
    talk.session.update()
    vm.publish(extensions=[{**EXTENSION, "version": "2.0"}], source="fasttrack", ticks=639310221300000001)
    _, state = talk.session.update()
    assert state.desired is not None
    assert (state.desired.source, state.desired.handlers[0].version) == ("fasttrack", "2.0")
    assert state.fast_track_supported
    # The tenant certificate is renewed: a new incarnation, whose extensions are older than the fast track ones.
    vm.rotate_certificate()
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers[0].version == "2.0"
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    vm.publish(extensions=[{**EXTENSION, "version": "3.0"}], source="fabric", ticks=639310221300000002)
    _, state = talk.session.update()
    assert state.desired is not None
    assert (state.desired.source, state.desired.handlers[0].version) == ("fabric", "3.0")


@pytest.mark.wire("2.3/outdated")
def test_fast_track_that_stops_leaves_an_outdated_goal_state(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[{**EXTENSION, "version": "1.0"}], source="fabric", ticks=639310221300000000)
    vm.publish(extensions=[{**EXTENSION, "version": "2.0"}], source="fasttrack", ticks=639310221300000001)
    talk.session.update()
    sim.fault(VM_SETTINGS, status=404)
    _, state = talk.session.update()
    assert state.outdated
    assert state.desired is not None
    assert state.desired.source == "fabric"
    assert state.desired.status_blob
    _, state = talk.session.update()
    assert state.outdated  # until something newer arrives
    sim.clear_faults()
    vm.publish(extensions=[{**EXTENSION, "version": "3.0"}], source="fabric", ticks=639310221300000002)
    _, state = talk.session.update()
    assert not state.outdated


@pytest.mark.wire("2.2/switched-off")
def test_fast_track_switched_off(tmp_path: Path, sim: Any, vm: Any) -> None:
    talk = Talk(tmp_path, sim, conf="Debug.EnableFastTrack=n\n")
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    _, state = talk.session.update()
    assert not sim.requests.select(path=VM_SETTINGS)
    assert state.desired is None or state.desired.source == "fabric"


@pytest.mark.wire("2.4/missing", "11/faults.rotated")
def test_a_certificate_that_fast_track_wants_is_fetched(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    vm.rotate_certificate(new_incarnation=False)
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    _, state = talk.session.update()
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    assert any("was not delivered" in note for note in talk.notes)
    assert f"{vm.tenant_certificate.thumbprint}.prv" in talk.files


@pytest.mark.wire("2.4/missing", "11/faults.late-certificate")
def test_a_certificate_that_never_comes_is_waited_for_one_period(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    sim.fault("*comp=certificates*", content="no-data")
    vm.rotate_certificate(new_incarnation=False)
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.source == "fasttrack"
    assert talk.slept == [6.0]
    assert "still missing" in talk.notes[-1]


@pytest.mark.wire("2.2/files", "9.2/etag")
def test_files_that_somebody_removed_come_back_with_fast_track(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    _, state = talk.session.update()
    (thumbprint,) = state.thumbprints
    talk.system.remove(f"{LIB}/{thumbprint}.crt")
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    talk.session.update()
    assert f"{thumbprint}.crt" in talk.files


@pytest.mark.wire("3.4/parse-failure")
@pytest.mark.parametrize("content", ["cut-xml", "empty"])
def test_vm_settings_that_cannot_be_used_leave_the_last_good_ones(talk: Talk, vm: Any, sim: Any, content: str) -> None:
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    _, good = talk.session.update()
    vm.publish(extensions=[], source="fasttrack")
    sim.fault(VM_SETTINGS, content=content)
    _, state = talk.session.update()
    assert state.desired == good.desired
    assert state.etag == good.etag
    sim.clear_faults()
    assert talk.poll(talk.known()).changed == ("vm-settings",)  # the damage may have been the way's
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers == ()


@pytest.mark.wire("3.4/parse-failure")
def test_vm_settings_that_are_wrong_start_one_worker(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    talk.session.update()
    vm.publish(extensions=[{**EXTENSION, "version": "2.0"}], source="fasttrack")
    sim.fault(VM_SETTINGS, transform=lambda body: body.replace(b'"enabled"', b'"odd"'))
    assert talk.poll(talk.known()).changed == ("vm-settings",)
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers[0].version == "1.9.1"
    assert any("not one of enabled, disabled, uninstall" in note for note in talk.notes)
    assert talk.poll(talk.known()).changed == ()
    vm.publish(extensions=[], source="fasttrack")
    assert talk.poll(talk.known()).changed == ("vm-settings",)


@pytest.mark.wire("3.4/case")
def test_mixed_case_keys(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    sim.fault(VM_SETTINGS, content="mixed-case")
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers[0].settings[0].public == {"a": 1}


@pytest.mark.wire("3.4/200")
def test_an_answer_without_etag_is_refused(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[EXTENSION], source="fasttrack")
    body = json.dumps({"hostGAPluginVersion": "1.0.8.161", "extensionGoalStatesSource": "FastTrack"})
    sim.fault(VM_SETTINGS, status=200, body=body)
    with pytest.raises(GoalStateInvalid, match="no ETag"):
        talk.plugin.vm_settings()


# -- status -----------------------------------------------------------------------------------------------------


@pytest.mark.wire("3.7/body", "3.7/success")
@pytest.mark.parametrize("kind", ["BlockBlob", "PageBlob"])
@pytest.mark.parametrize("filler", [0, 5 * 1024 * 1024])
def test_the_status_by_the_host_plugin(tmp_path: Path, sim: Any, kind: str, filler: int) -> None:
    vm = sim.machine("vm02", status_blob_type=kind)
    vm.publish(extensions=[])
    talk = Talk(tmp_path, sim)
    _, state = talk.session.update()
    known = talk.known()
    assert known.status_blob_type == kind
    text = payload(talk, filler)
    stamp = talk.clock.stamp()
    assert put_status(talk.http, talk.endpoint, known, known.status_blob, known.status_blob_type, text, stamp)
    assert vm.reports.status == json.loads(text)
    assert state.desired is not None
    assert talk.plugin.upload_status(state.desired.status_blob, kind, text)
    assert vm.reports.status_count == 2


@pytest.mark.wire("4.1/success", "4.2/pages")
@pytest.mark.parametrize("kind", ["BlockBlob", "PageBlob"])
@pytest.mark.parametrize("filler", [0, 5 * 1024 * 1024])
def test_the_status_directly(tmp_path: Path, sim: Any, kind: str, filler: int) -> None:
    vm = sim.machine("vm02", status_blob_type=kind)
    vm.publish(extensions=[])
    talk = Talk(tmp_path, sim)
    talk.session.update()
    known = talk.known()
    text = payload(talk, filler)
    blobs.upload(talk.internet, talk.clock.stamp(), known.status_blob, known.status_blob_type, text)
    assert vm.reports.status == json.loads(text)


@pytest.mark.wire("3.7/410")
def test_a_moved_machine_s_status_waits_for_the_next_period(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    known = talk.known()
    vm.move()
    assert not put_status(talk.http, talk.endpoint, known, known.status_blob, "BlockBlob", payload(talk), "s")
    known = talk.poll(known).known
    stamp = talk.clock.stamp()
    assert put_status(talk.http, talk.endpoint, known, known.status_blob, "BlockBlob", payload(talk), stamp)
    assert not talk.plugin.upload_status(known.status_blob, "BlockBlob", payload(talk))
    assert talk.plugin.upload_status(known.status_blob, "BlockBlob", payload(talk))


@pytest.mark.row("field-demands", 166)
@pytest.mark.wire("3.7/failure", "7.6/signatures")
def test_a_refused_status_is_a_typed_error_without_the_signature(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    talk.session.update()
    known = talk.known()
    sim.fault("/status", status=500, service="host_plugin")
    sim.fault("*", service="blob", method="PUT", status=403)
    with pytest.raises(FabricRejected, match="500"):
        put_status(talk.http, talk.endpoint, known, known.status_blob, "BlockBlob", payload(talk), talk.clock.stamp())
    with pytest.raises(FabricUnreachable, match="403") as raised:
        blobs.upload(talk.internet, talk.clock.stamp(), known.status_blob, "BlockBlob", payload(talk))
    assert "sig=" not in str(raised.value)


# -- downloads --------------------------------------------------------------------------------------------------


@pytest.fixture
def package(sim: Any) -> tuple[str, bytes]:
    content = bytes(range(256)) * 5000
    return sim.put_file("pkg/Contoso__1.0.zip", content), content


@pytest.mark.wire("3.6/direct", "6.2/fetch")
def test_a_document_directly(talk: Talk, package: tuple[str, bytes], sim: Any) -> None:
    url, content = package
    found = talk.artifacts.fetch([url])
    assert (found.uri, found.body) == (url, content)
    assert not sim.requests.select(service="host_plugin")


@pytest.mark.wire("6.5/package", "7.5/packages")
def test_a_file_is_complete_and_private(talk: Talk, package: tuple[str, bytes]) -> None:
    url, content = package
    talk.artifacts.download([url], f"{LIB}/Contoso__1.0.zip", manifest_url="https://m/", verify=True)
    path = talk.system.path(f"{LIB}/Contoso__1.0.zip")
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert talk.files == ["Contoso__1.0.zip"]


@pytest.mark.row("extensions", 74)
@pytest.mark.wire("3.6/swap", "3.5/x-ms-verify-from-artifacts-blob", "3.5/x-ms-artifact-manifest-location")
def test_a_dead_channel_costs_one_attempt_and_the_other_is_remembered(
    talk: Talk, package: tuple[str, bytes], sim: Any
) -> None:
    url, content = package
    dead = sim.fault("*", service="blob", reset=True)
    talk.artifacts.download([url], f"{LIB}/x.zip", manifest_url="https://m.example/", verify=True)
    assert talk.system.read(f"{LIB}/x.zip") == content
    assert talk.slept == []
    asked = sim.requests.select(path="/extensionArtifact")[-1].headers
    assert asked["x-ms-artifact-location"] == url
    assert asked["x-ms-artifact-manifest-location"] == "https://m.example/"
    assert asked["x-ms-verify-from-artifacts-blob"] == "true"
    assert talk.system.read_text(CHANNEL) == "host\n"
    before = dead.met
    talk.artifacts.fetch([url])
    assert dead.met == before
    sim.fault("/extensionArtifact", status=500)
    sim.clear_faults()
    sim.fault("/extensionArtifact", status=500)
    talk.artifacts.fetch([url])
    assert talk.system.read_text(CHANNEL) == "direct\n"


@pytest.mark.row("extensions", 78)
@pytest.mark.wire("3.6/both", "7.3/400-of-the-cache")
def test_both_channels_in_trouble_are_tried_again(talk: Talk, package: tuple[str, bytes], sim: Any) -> None:
    url, content = package
    sim.fault("*", service="blob", status=503, count=2)
    sim.fault("/extensionArtifact", status=400, count=2)  # the plugin's cache at fault
    assert talk.artifacts.fetch([url]).body == content
    assert talk.slept == [2, 3]


@pytest.mark.row("extensions", 77)
@pytest.mark.wire("3/410", "3/InvalidContainerConfiguration")
def test_stale_ids_are_healed(talk: Talk, package: tuple[str, bytes], sim: Any, vm: Any) -> None:
    url, content = package
    assert talk.plugin.goal.container_id == vm.container_id
    sim.fault("*", service="blob", status=404)
    for answer in ("stale", "invalid-container"):
        sim.fault("/extensionArtifact", answer=answer, count=1)
        assert talk.artifacts.fetch([url]).body == content
    assert talk.slept == []


@pytest.mark.wire("7.5/packages", "7.3/truncated")
@pytest.mark.parametrize("fault", [{"truncate": 1000}, {"truncate": -1}], ids=str)
def test_a_truncated_package_is_no_package(
    talk: Talk, package: tuple[str, bytes], sim: Any, fault: dict[str, Any]
) -> None:
    url, content = package
    sim.fault("*", service="blob", count=1, **fault)
    sim.fault("/extensionArtifact", count=1, **fault)
    talk.artifacts.download([url], f"{LIB}/x.zip")
    assert talk.system.read(f"{LIB}/x.zip") == content


@pytest.mark.row("extensions", 75)
@pytest.mark.wire("3.6/locations", "6.2/fetch")
def test_the_next_location_is_taken(talk: Talk, package: tuple[str, bytes], sim: Any) -> None:
    url, content = package
    missing = f"{sim.blob_url}/no/such/file"
    found = talk.artifacts.fetch([missing, url])
    assert (found.uri, found.body) == (url, content)


@pytest.mark.wire("3.6/nowhere")
def test_nothing_anywhere(talk: Talk, sim: Any) -> None:
    missing = f"{sim.blob_url}/no/such/file?sig=SECRET"
    with pytest.raises((FabricRejected, FabricUnreachable)) as raised:
        talk.artifacts.download([missing], f"{LIB}/x.zip")
    assert "cannot fetch the package from 1 locations: direct: " in str(raised.value)
    assert "SECRET" not in str(raised.value)
    assert talk.files == []
    assert sum(talk.slept) <= 300
    with pytest.raises(FabricRejected, match="names no location"):
        talk.artifacts.fetch([])
    with pytest.raises(FabricRejected, match="'no url at all' is no http"):
        talk.artifacts.fetch(["no url at all"])


@pytest.mark.wire("7.5/packages")
def test_limits_and_a_disk_that_refuses(talk: Talk, package: tuple[str, bytes], tmp_path: Path, sim: Any) -> None:
    url, _ = package
    with pytest.raises(FabricRejected, match="over the limit of 1000 bytes"):
        talk.artifacts.fetch([url], limit=1000)
    with pytest.raises(SystemRefused, match="cannot store the package"):
        talk.artifacts.download([url], f"{LIB}/missing/x.zip")
    with pytest.raises(PlanRefused):
        Talk(tmp_path, sim, planning=True).artifacts.download([url], f"{LIB}/x.zip")


@pytest.mark.wire("7.2/configured")
def test_a_proxy_that_asks_for_a_password(tmp_path: Path, sim: Any, vm: Any, package: tuple[str, bytes]) -> None:
    """The simulator itself plays the proxy: what arrives is an absolute request target with credentials."""
    url, _ = package
    talk = Talk(tmp_path, sim, conf=f"HttpProxy.Host=http://ann:s3cret@127.0.0.1:{sim.wire_port}\nHttpProxy.Port=1\n")
    talk.internet.request("GET", "http://store.example/x?sig=y")
    seen = sim.requests[-1]
    assert seen.target == "http://store.example/x?sig=y"
    assert seen.headers["proxy-authorization"].startswith("Basic ")
    assert talk.artifacts.fetch([url]).uri == url  # loopback and the fabric go straight
    sim.violations.clear()


@pytest.mark.wire("7.6/passwords")
def test_a_dead_proxy_does_not_betray_its_password(tmp_path: Path, sim: Any, vm: Any) -> None:
    talk = Talk(tmp_path, sim, conf="HttpProxy.Host=http://ann:s3cret@127.0.0.1:1\nHttpProxy.Port=1\n")
    for url in ("http://store.example/x?sig=y", "https://store.example/x?sig=y"):
        with pytest.raises(FabricUnreachable) as raised:
            talk.internet.request("GET", url)
        assert "s3cret" not in str(raised.value)
        assert "sig=y" not in str(raised.value)


@pytest.mark.wire("7.1/tls")
def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    files = [str(tmp_path / "key.pem"), str(tmp_path / "crt.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=127.0.0.1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", files[0], "-out", files[1]],
        check=True,
        capture_output=True,
    )
    with Simulator(blob_port=0, blob_tls=(files[1], files[0])) as sim:
        sim.machine("vm01").publish(extensions=[])
        url = sim.put_file("x.zip", b"content")
        assert url.startswith("https://")
        talk = Talk(tmp_path, sim)
        with pytest.raises(FabricUnreachable, match=r"(?i)certificate"):
            talk.internet.request("GET", url)
        assert not sim.requests.select(service="blob")


@pytest.mark.wire("3.8/failure", "7.3/logs")
def test_logs(talk: Talk, vm: Any, sim: Any) -> None:
    sim.fault("/vmAgentLog", status=503, count=1)
    talk.plugin.upload_log(b"PK\5\6" + b"\0" * 18)
    assert vm.reports.logs[1].startswith(b"PK")
    assert talk.slept == [1.0]


@pytest.mark.wire("3.1/action", "3.1/failure", "3.2/health")
def test_whether_the_host_plugin_is_there(talk: Talk, sim: Any) -> None:
    sim.fault("/versions", status=500, count=1)
    sim.fault("/health", status=500, count=1)
    assert (talk.plugin.available(), talk.plugin.available()) == (False, True)
    assert (talk.plugin.healthy(), talk.plugin.healthy()) == (False, True)
    count = len(sim.requests)
    assert talk.plugin.available()
    assert len(sim.requests) == count


# -- metadata ---------------------------------------------------------------------------------------------------


@pytest.mark.wire("5.5/success")
def test_metadata(talk: Talk, sim: Any, vm: Any) -> None:
    service = f"127.0.0.1:{sim.imds_port}"
    public, _ = imds.facts(imds.fetch_instance(talk.system, talk.http, service=service))
    assert public["vmId"] == vm.vm_id
    assert imds.probe(talk.http, service=service) == (True, "")


@pytest.mark.wire("5.5/later")
@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_metadata_that_comes_late(talk: Talk, sim: Any, status: int) -> None:
    sim.fault("/metadata/*", status=status, count=3)
    imds.fetch_instance(talk.system, talk.http, service=f"127.0.0.1:{sim.imds_port}")
    assert len(talk.slept) == 3


@pytest.mark.wire("5.5/versions")
def test_metadata_of_an_old_service(talk: Talk, sim: Any) -> None:
    sim.fault("/metadata/instance?api-version=2021*", status=400)
    imds.fetch_instance(talk.system, talk.http, service=f"127.0.0.1:{sim.imds_port}")
    assert "api-version=2019-06-01" in sim.requests[-1].query


@pytest.mark.wire("5.5/valid")
def test_the_heartbeat_of_the_metadata_service(talk: Talk, sim: Any) -> None:
    service = f"127.0.0.1:{sim.imds_port}"
    for fault, healthy in (
        ({"status": 500}, False),
        ({"status": 410}, False),
        ({"status": 429}, True),
        ({"status": 403}, True),
        ({"body": "{}", "status": 200}, False),
        ({"truncate": 20}, False),
    ):
        sim.clear_faults()
        sim.fault("/metadata/*", **fault)
        assert imds.probe(talk.http, service=service).healthy is healthy, fault
    assert imds.probe(talk.http, service="127.0.0.1:1").healthy is True
