"""The wire server client: every request, every kind of answer (wire-protocol 1.4, 2.1, 2.2 to 2.8, 5, 7.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from waagent.errors import FabricError, FabricRejected, FabricUnreachable, GoalStateInvalid
from waagent.fabric import discovery, health, remote_access, telemetry
from waagent.fabric.retry import Policy
from waagent.simulator import Simulator
from waagent.system.http import Http

GOAL_STATE = "/machine/?comp=goalstate"
BRIEF = Policy(attempts=2, base=1.0)


# -- versions and discovery -------------------------------------------------------------------------------------


@pytest.mark.wire("1.4/action")
def test_versions(talk: Talk) -> None:
    assert talk.wire.check_version() == "2012-11-30"


@pytest.mark.wire("1.4/action")
def test_a_server_of_another_protocol_is_refused(talk: Talk, sim: Any) -> None:
    sim.fault("/?comp=versions", transform=lambda body: body.replace(b"2012-11-30", b"2031-01-01"))
    with pytest.raises(FabricRejected, match="it speaks 2015-04-05"):
        talk.wire.check_version()


@pytest.mark.wire("1.1/order")
def test_discovery_takes_the_first_that_answers(talk: Talk) -> None:
    notes: list[str] = []
    dead = "127.0.0.1:1:1"
    options = {"known": dead, "well_known": talk.endpoint.text, "note": notes.append}
    assert discovery.find(talk.system, Http(), patience=60, **options) == talk.endpoint  # type: ignore[arg-type]
    assert (notes, talk.slept) == ([], [])


@pytest.mark.wire("1.1/rounds")
def test_discovery_waits_for_a_server_that_is_late(talk: Talk, sim: Any) -> None:
    sim.fault("/?comp=versions", status=503, count=3)
    notes: list[str] = []
    here = talk.endpoint.text
    found = discovery.find(talk.system, Http(), patience=60, known=here, well_known=here, note=notes.append)
    assert found == talk.endpoint
    assert talk.slept == [1.0, 2.0, 3.0]
    assert "answered after 6 s" in notes[0]


@pytest.mark.wire("1.1/rounds")
def test_discovery_gives_up_when_its_patience_is_over(talk: Talk) -> None:
    dead = "127.0.0.1:1:1"
    with pytest.raises(FabricUnreachable, match="cannot find the wire server: 6 rounds"):
        discovery.find(talk.system, Http(), patience=20, known=dead, well_known=dead)
    assert sum(talk.slept) <= 20


# -- the goal state ---------------------------------------------------------------------------------------------


@pytest.mark.wire("0.3/container-id", "0.3/role-instance", "0.3/config-name", "0.3/incarnation")
def test_the_ids_are_those_of_the_machine(talk: Talk, vm: Any) -> None:
    goal = talk.wire.goal_state()
    assert (goal.container_id, goal.instance_id, goal.config_name) == (vm.container_id, vm.instance_id, vm.config_name)
    assert goal.incarnation == str(vm.incarnation)


@pytest.mark.wire("0.3/move")
def test_a_moved_machine_has_new_ids_under_the_old_incarnation(talk: Talk, vm: Any) -> None:
    before = talk.wire.goal_state()
    vm.move()
    after = talk.wire.goal_state()
    assert after.incarnation == before.incarnation
    assert after.container_id == vm.container_id != before.container_id


@pytest.mark.wire("2.1/no-role-instance")
def test_a_goal_state_in_the_making_is_asked_for_again(talk: Talk, sim: Any, vm: Any) -> None:
    sim.fault(GOAL_STATE, content="no-role-instance", count=5)
    assert talk.wire.goal_state().instance_id == vm.instance_id
    assert talk.slept == [0.5] * 5


@pytest.mark.wire("2.1/no-role-instance")
def test_a_goal_state_that_stays_incomplete_fails_after_six_requests(talk: Talk, sim: Any) -> None:
    fault = sim.fault(GOAL_STATE, content="no-role-instance")
    with pytest.raises(GoalStateInvalid, match="RoleInstance"):
        talk.wire.goal_state()
    assert fault.met == 6


@pytest.mark.wire("2.1/later", "7.3/no-answer", "7.3/truncated")
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 429},
        {"status": 403},
        {"status": 503},
        {"truncate": 100},
        {"reset": True},
        {"silent": True, "delay": 0.0},
        {"garbage": 64},
    ],
    ids=str,
)
def test_transient_faults_are_ridden_out(talk: Talk, sim: Any, vm: Any, fault: dict[str, Any]) -> None:
    met = sim.fault(GOAL_STATE, count=2, **fault)
    if "silent" in fault:
        policy = Policy(timeout=0.3)
        assert talk.wire.goal_state(policy).instance_id == vm.instance_id
    else:
        try:
            goal = talk.wire.goal_state()
        except GoalStateInvalid:  # garbage may come as a well-formed answer: that is not asked for again at once
            assert "garbage" in fault
            sim.clear_faults()
            goal = talk.wire.goal_state()
        assert goal.instance_id == vm.instance_id
    assert met.met >= 1
    assert talk.notes or "garbage" in fault


@pytest.mark.wire("2.1/410", "7.3/410", "7.3/other-status", "7.1/redirects")
@pytest.mark.parametrize("status", [400, 404, 410, 302, 204])
def test_other_statuses_are_an_answer(talk: Talk, sim: Any, status: int) -> None:
    fault = sim.fault(GOAL_STATE, status=status)
    with pytest.raises(FabricRejected, match=f"cannot fetch the goal state: {status}") as raised:
        talk.wire.goal_state()
    assert fault.met == 1
    assert raised.value.facts["status"] == status


@pytest.mark.wire("2.1/success")
@pytest.mark.parametrize("content", ["bom", "nul-padding"])
def test_marks_and_padding_do_not_matter(talk: Talk, sim: Any, vm: Any, content: str) -> None:
    sim.fault(GOAL_STATE, content=content)
    assert talk.wire.goal_state().container_id == vm.container_id


@pytest.mark.wire("7.5/documents")
@pytest.mark.parametrize("content", ["empty", "cut-xml", "doctype", "deep"])
def test_a_document_that_cannot_be_used(talk: Talk, sim: Any, content: str) -> None:
    sim.fault(GOAL_STATE, content=content)
    with pytest.raises(GoalStateInvalid, match="cannot use the goal state"):
        talk.wire.goal_state()


@pytest.mark.wire("7.5/documents")
def test_an_endless_answer_ends(talk: Talk, sim: Any) -> None:
    sim.fault(GOAL_STATE, endless=True)
    with pytest.raises(FabricError, match=r"limit|no complete answer"):
        talk.wire.goal_state(Policy(attempts=1, timeout=1.0))


@pytest.mark.wire("7.1/timeouts")
def test_a_drip_ends_at_the_deadline(talk: Talk, sim: Any) -> None:
    sim.fault(GOAL_STATE, drip=0.2)
    with pytest.raises(FabricUnreachable, match="no complete answer"):
        talk.wire.goal_state(Policy(attempts=1, timeout=0.6))


# -- all documents ----------------------------------------------------------------------------------------------


@pytest.mark.wire("2.2/documents", "2.6/success", "2.8/success")
def test_the_first_fetch_brings_everything(talk: Talk, vm: Any, sim: Any) -> None:
    wrapped = vm.add_ssh_certificate()
    vm.publish(
        extensions=[{"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}, "protected": {"s": 2}}],
        remote_users=[{"name": "jit", "password": "gëheim", "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}],
        required_features=["MultipleExtensionsPerHandler"],
        families=[{"name": "Prod", "version": "3.1.0.4", "uris": ["https://a/"], "is_version_from_rsm": True}],
    )
    before, state = talk.session.update()
    assert before is None
    tenant = vm.tenant_certificate.thumbprint
    assert set(state.thumbprints) == {tenant, wrapped.thumbprint}
    assert {f"{tenant}.crt", f"{tenant}.prv", f"{wrapped.thumbprint}.crt", "SharedConfig.xml"} <= set(talk.files)
    assert state.desired is not None
    assert state.desired.source == "fabric"
    (handler,) = state.desired.handlers
    assert (handler.name, handler.settings[0].public, handler.settings[0].thumbprint) == (
        "Contoso.Sim.Monitor",
        {"a": 1},
        tenant,
    )
    assert state.desired.families[0].is_version_from_rsm is True
    assert state.remote_users is not None
    assert remote_access.password(talk.system, state.remote_users[0], LIB, "/usr/bin/openssl") == "gëheim"
    assert state.names.tenant == vm.deployment_id
    assert talk.notes == []
    asked = [record.headers for record in sim.requests.select(comp="certificates")]
    assert [headers["x-ms-cipher-name"] for headers in asked] == ["AES128_CBC"]


@pytest.mark.wire("2.2/unchanged")
def test_an_unchanged_goal_state_costs_two_requests(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[])
    _, first = talk.session.update()
    count = len(sim.requests)
    before, now = talk.session.update()
    assert len(sim.requests) - count == 2
    assert before == first
    assert now.desired == first.desired


@pytest.mark.wire("2.6/x-ms-cipher-name")
def test_triple_des_where_aes_is_refused(tmp_path: Path, sim: Any) -> None:
    vm = sim.machine("vm02", ciphers=["DES_EDE3_CBC"])
    vm.publish(extensions=[])
    talk = Talk(tmp_path, sim)
    _, state = talk.session.update()
    assert state.thumbprints == [vm.tenant_certificate.thumbprint]
    asked = [record.headers["x-ms-cipher-name"] for record in sim.requests.select(comp="certificates")]
    assert asked[-1] == "DES_EDE3_CBC"


@pytest.mark.wire("2.6/Format", "2.6/Data")
@pytest.mark.parametrize("content", ["no-data", "other-format"])
def test_no_certificates_are_no_failure(talk: Talk, sim: Any, vm: Any, content: str) -> None:
    fault = sim.fault("*comp=certificates*", content=content)
    _, state = talk.session.update()
    assert state.thumbprints == []
    assert fault.met == 1  # the other cipher is not tried
    assert any("no certificates" in note for note in talk.notes)


@pytest.mark.wire("2.6/failure")
def test_certificates_that_cannot_be_had_do_not_stop_the_goal_state(talk: Talk, sim: Any, vm: Any) -> None:
    fault = sim.fault("*comp=certificates*", status=400)
    vm.publish(extensions=[{"name": "A.B", "version": "1.0"}])
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers
    assert fault.met == 2
    assert any("AES128_CBC" in note and "DES_EDE3_CBC" in note for note in talk.notes)


@pytest.mark.wire("2.1/ExtensionsConfig", "2.1/Certificates")
def test_a_goal_state_without_certificates_and_extensions(talk: Talk, sim: Any) -> None:
    sim.fault(GOAL_STATE, content="no-extensions-config")
    _, state = talk.session.update()
    assert state.desired is None
    sim.clear_faults()
    sim.fault(GOAL_STATE, content="no-certificates")
    _, state = talk.session.update(force=True)
    assert state.certificates == ()
    assert state.desired is not None


@pytest.mark.wire("2.2/failure", "2.5/hosting-environment", "2.5/shared-config")
@pytest.mark.parametrize("path", ["*type=extensionsConfig*", "*type=sharedConfig*", "*type=hostingEnvironmentConfig*"])
def test_a_document_that_fails_keeps_the_last_good_goal_state(talk: Talk, sim: Any, vm: Any, path: str) -> None:
    vm.publish(extensions=[{"name": "A.B", "version": "1.0"}])
    _, good = talk.session.update()
    vm.publish(extensions=[{"name": "A.B", "version": "2.0"}])
    sim.fault(path, status=404)
    with pytest.raises(FabricRejected):
        talk.session.update()
    assert talk.known() == good.known()
    sim.clear_faults()
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.handlers[0].version == "2.0"


@pytest.mark.wire("2.2/documents", "8.1/THUMBPRINT")
def test_a_renewed_certificate_arrives_with_the_next_incarnation(talk: Talk, vm: Any) -> None:
    vm.publish(extensions=[])
    _, first = talk.session.update()
    vm.rotate_certificate()
    _, second = talk.session.update()
    assert second.thumbprints == [vm.tenant_certificate.thumbprint] != first.thumbprints
    assert f"{first.thumbprints[0]}.prv" in talk.files  # what was delivered stays


@pytest.mark.wire("2.7/onHold")
@pytest.mark.parametrize("held", [True, False])
def test_hold(talk: Talk, vm: Any, held: bool) -> None:
    vm.publish(extensions=[], on_hold=held)
    _, state = talk.session.update()
    assert state.desired is not None
    assert state.desired.on_hold is held


@pytest.mark.wire("2.7/onHold")
def test_a_profile_that_cannot_be_read_means_not_on_hold(talk: Talk, vm: Any, sim: Any) -> None:
    vm.publish(extensions=[], on_hold=True)
    sim.fault("*", service="blob", status=404)
    sim.fault("/extensionArtifact", status=404)
    _, state = talk.session.update()
    assert state.desired is not None
    assert not state.desired.on_hold
    assert any("not on hold" in note for note in talk.notes)
    assert not any("sig=" in note for note in talk.notes)


# -- reports ----------------------------------------------------------------------------------------------------


@pytest.mark.wire("5.1/Provisioning", "5.1/Ready")
def test_provisioning_then_ready(talk: Talk, vm: Any) -> None:
    goal = talk.wire.goal_state()
    talk.wire.report_not_ready(goal, health.PROVISIONING, "Starting")
    assert vm.reports.provisioning_state == "Provisioning"
    talk.wire.report_ready(goal)
    assert vm.reports.provisioning_state == "Ready"


@pytest.mark.wire("5.1/ProvisioningFailed")
def test_a_failure_and_its_reason(talk: Talk, vm: Any) -> None:
    talk.wire.report_not_ready(talk.wire.goal_state(), health.FAILED, "reason=<x> & y" + "ä" * 5000)
    assert vm.reports.provisioning_state == "Failed"
    told = vm.reports.health[-1].description
    assert told.startswith("reason=<x> & y")
    assert len(told.encode()) <= 4096


@pytest.mark.wire("5.1/stale")
def test_a_report_with_stale_ids_is_repeated_with_those_of_now(tmp_path: Path) -> None:
    with Simulator() as sim:
        vm = sim.machine("vm01")
        talk = Talk(tmp_path, sim)
        goal = talk.wire.goal_state()
        vm.move()
        fresh = talk.wire.report_ready(goal, BRIEF)
        assert vm.reports.provisioning_state == "Ready"
        assert fresh.container_id == vm.container_id


@pytest.mark.wire("5.1/failure", "7.3/health-report")
def test_a_report_waits_out_the_wire_server(talk: Talk, sim: Any, vm: Any) -> None:
    sim.fault("/machine*comp=health*", status=503, count=4)
    talk.wire.report_ready(talk.wire.goal_state())
    assert vm.reports.provisioning_state == "Ready"
    assert talk.slept == [10.0] * 4


@pytest.mark.wire("5.1/failure", "7.3/health-report")
def test_a_report_gives_up_after_five_minutes(talk: Talk, sim: Any) -> None:
    sim.fault("/machine*comp=health*", reset=True)
    with pytest.raises(FabricUnreachable, match="cannot report ready"):
        talk.wire.report_ready(talk.wire.goal_state())
    assert sum(talk.slept) <= 300


@pytest.mark.wire("5.2/body")
def test_role_properties(talk: Talk, vm: Any) -> None:
    talk.wire.role_properties(talk.wire.goal_state(), [("CertificateThumbprint", "9f86d081")])
    assert vm.reports.properties


@pytest.mark.wire("5.4/failure", "7.3/telemetry")
def test_telemetry(talk: Talk, vm: Any, sim: Any) -> None:
    event = telemetry.event(1, [("Name", "waagent"), ("Operation", "HeartBeat"), ("Message", "<ok> ]]>")])
    (batch,), _ = telemetry.batches(telemetry.OPERATIONS, [event])
    sim.fault("/machine*comp=telemetrydata*", status=429, count=1)
    talk.wire.telemetry(batch.document)
    (seen,) = vm.reports.events(operation="HeartBeat")
    assert seen.parameters["Message"] == "<ok> ]]>"
    assert talk.slept == [8.0]
    sim.violations.clear()  # this event has none of the common columns, which is a matter of its maker


@pytest.mark.wire("5.7/body")
def test_observations(talk: Talk, vm: Any) -> None:
    talk.wire.host_observations(health.observations([health.observation("GuestAgentPluginHeartbeat", healthy=True)]))
    assert vm.reports.observations


@pytest.mark.wire("9/plan")
def test_a_plan_asks_and_does_not_tell(tmp_path: Path, sim: Any, vm: Any) -> None:
    vm.publish(extensions=[{"name": "A.B", "version": "1.0"}])
    talk = Talk(tmp_path, sim, planning=True)
    _, state = talk.session.update()
    assert state.desired is not None
    talk.wire.report_ready(state.goal)
    talk.wire.telemetry(b"x")
    talk.plugin.upload_status("https://a/?sig=x", "BlockBlob", b"{}")
    assert vm.reports.health == []
    assert talk.files == []
    assert [effect.kind for effect in talk.system.effects] == ["upload"] * 3
    assert not sim.requests.select(method="POST")
    assert not sim.requests.select(method="PUT")
