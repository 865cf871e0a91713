"""Whatever is published comes out unchanged; whatever is sent in is answered, recorded and breaks nothing."""
from __future__ import annotations

import base64
import json
import socket
import xml.etree.ElementTree as ElementTree

import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from waagent.simulator import Simulator, SimulatorError, zip_directory  # noqa: E402
from waagent.simulator.goal_state import Extension, Goal  # noqa: E402
from waagent.simulator.machine import Machine  # noqa: E402

from .simulator_client import WIRE, XML, ask, block_upload, goal_state, plugin_headers  # noqa: E402

WA = "{http://schemas.microsoft.com/windowsazure}"
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Characters that XML can hold at all.
TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=20)
NAME = st.from_regex(r"[A-Z][a-z]{1,6}(\.[A-Z][a-z]{1,6}){1,2}", fullmatch=True)
VERSION = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,3}){1,3}", fullmatch=True)
VALUE = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                     max_leaves=8)
INSTANCE = st.fixed_dictionaries({"name": NAME, "public": VALUE, "state": st.sampled_from(["enabled", "disabled"])})
EXTENSION = st.one_of(
    st.fixed_dictionaries({"name": NAME, "version": VERSION, "public": VALUE,
                           "state": st.sampled_from(["enabled", "disabled", "uninstall"])}),
    st.fixed_dictionaries({"name": NAME, "version": VERSION, "instances": st.lists(
        INSTANCE, min_size=1, max_size=3, unique_by=lambda one: one["name"])}))
EXTENSIONS = st.lists(EXTENSION, max_size=4, unique_by=lambda one: one["name"])


@pytest.fixture(scope="module")
def sim(certificate):
    with Simulator(shared_certificate=certificate, keep_requests=100) as simulator:
        simulator.machine("vm01", password="hunter22!")
        yield simulator


def told(extension: dict) -> list:
    """What an agent should learn of one extension: instance, state, public settings."""
    if "instances" in extension:
        return sorted((one["name"], one["state"], json.dumps(one["public"], sort_keys=True))
                      for one in extension["instances"])
    return [] if extension["public"] is None else [("", "", json.dumps(extension["public"], sort_keys=True))]


def from_xml(plugin: ElementTree.Element) -> list:
    found = []
    for one in plugin:
        if one.tag in ("RuntimeSettings", "ExtensionRuntimeSettings"):
            inner = json.loads(one.text)["runtimeSettings"][0]["handlerSettings"]
            found.append((one.get("name", ""), one.get("state", ""),
                          json.dumps(inner.get("publicSettings"), sort_keys=True)))
    return sorted(found)


@FEW
@given(EXTENSIONS)
def test_extensions_come_out_of_both_documents_unchanged(sim, extensions):
    machine = sim.machine("vm01")
    machine.publish(extensions)
    root = ElementTree.fromstring(machine.extensions_document("http://storage"))
    assert [(one.get("name"), one.get("version"), one.get("state")) for one in root.findall("Plugins/Plugin")] == [
        (one["name"], one["version"], one.get("state", "enabled")) for one in extensions]
    nodes = {one.get("name"): from_xml(one) for one in root.findall("PluginSettings/Plugin")}
    assert nodes == {one["name"]: told(one) for one in extensions if told(one)}

    machine.publish(extensions, source="fasttrack")
    document = json.loads(machine.vm_settings_document("http://storage"))
    for one, wanted in zip(document["extensionGoalStates"], extensions):
        found = sorted((item.get("extensionName", ""), item.get("extensionState", ""),
                        json.dumps(json.loads(item.get("publicSettings", "null")), sort_keys=True))
                       for item in one.get("settings", ()))
        assert found == told(wanted)
    assert len(document["extensionGoalStates"]) == len(extensions)


@FEW
@given(EXTENSIONS, TEXT)
def test_a_machine_comes_back_as_it_was(sim, extensions, user):
    machine = sim.machine("vm01")
    machine.user = user or "ada"
    machine.publish(extensions)
    machine.publish(source="fasttrack", on_hold=True)
    again = Machine.restore(sim, json.loads(json.dumps(machine.as_dict())))
    assert again.as_dict() == machine.as_dict()
    assert again.vm_settings_document("x") == machine.vm_settings_document("x")
    assert again.extensions_document("x") == machine.extensions_document("x")
    assert again.goal_state_document("x") == machine.goal_state_document("x")
    assert again.ovf_env() == machine.ovf_env()
    machine.user = "ada"


@FEW
@given(TEXT, st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\ufffe\uffff"), max_size=20),
       st.binary(max_size=50))
def test_the_medium_holds_what_was_asked_for(certificate, user, password, custom):
    sim = Simulator(shared_certificate=certificate)
    try:
        machine = sim.machine("vm01", user=user, password=password, custom_data=custom)
    except SimulatorError as error:
        assert "a character that XML does not have" in str(error)
        assert any(ord(one) < 32 and one not in "\t\r\n" for one in password)
        return
    finally:
        sim.stop()
    root = ElementTree.fromstring(machine.ovf_env())
    chosen = root.find(f".//{WA}LinuxProvisioningConfigurationSet")
    assert chosen.findtext(f"{WA}UserName") == user
    assert (chosen.findtext(f"{WA}UserPassword") or "") == password
    assert base64.b64decode(chosen.findtext(f"{WA}CustomData")) == custom


@FEW
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6))
def test_levels_put_dependencies_first_or_name_the_circle(edges):
    names = [f"A.B{index}" for index in range(5)]
    wanted = {name: [names[to] for at, to in edges if names[at] == name] for name in names}
    goal = Goal([Extension.of({"name": name, "version": "1", "depends_on": list(dict.fromkeys(wanted[name]))})
                 for name in names])
    try:
        levels = goal.levels()
    except SimulatorError as error:
        assert "in a circle" in str(error)
        return
    for name in names:
        for other in wanted[name]:
            assert levels[name, ""] > levels[other, ""]


ENDPOINTS = [("wire", "POST", "/machine?comp=health", XML), ("wire", "POST", "/machine?comp=roleProperties", XML),
             ("wire", "POST", "/machine?comp=telemetrydata", XML),
             ("wire", "POST", "/HealthService", {"Content-Type": "application/json"}),
             ("wire", "POST", "/provisioning/health", {"Content-Type": "application/json"}),
             ("plugin", "PUT", "/status", {"Content-Type": "application/json"}),
             ("plugin", "PUT", "/vmAgentLog", {})]
JUNK = st.one_of(st.binary(max_size=200), VALUE.map(lambda value: json.dumps(value).encode()),
                 st.text(max_size=50).map(lambda text: f"<Health><Container>{text}</Container></Health>".encode(
                     "utf-8", "replace")))


@settings(FEW, max_examples=150)
@given(st.sampled_from(ENDPOINTS), JUNK)
def test_junk_is_answered_and_breaks_nothing(sim, endpoint, body):
    service, method, path, headers = endpoint
    if service == "plugin":
        headers = {**headers, **plugin_headers(goal_state(sim))}
    base = sim.wire_url if service == "wire" else sim.plugin_url
    sim.machine("vm01").throttle.clear()
    assert ask(f"{base}{path}", method, headers, body).status < 500
    assert sim.errors == []


@FEW
@given(VALUE | st.dictionaries(st.sampled_from(["version", "timestampUTC", "aggregateStatus"]), VALUE)
       | st.fixed_dictionaries({"version": st.just("1.1"), "timestampUTC": st.just("2026-11-23T09:17:40Z"),
                                "aggregateStatus": st.fixed_dictionaries({
                                    "guestAgentStatus": st.just({"status": "Ready", "version": "1"}) | VALUE,
                                    "handlerAggregateStatus": st.lists(VALUE | st.fixed_dictionaries({
                                        "handlerName": NAME, "handlerVersion": VERSION, "status": NAME,
                                        "code": st.integers(), "runtimeSettingsStatus": VALUE})) | VALUE,
                                    "vmArtifactsAggregateStatus": VALUE})}))
def test_any_status_document_can_be_shown(sim, document):
    """Storage takes whatever is uploaded; the summary and the page still work."""
    from waagent.simulator import page
    from waagent.simulator.listener import Request
    machine = sim.machine("vm01")
    body = block_upload(machine.status_url(sim.blob_url), json.dumps(document).encode())
    answer = ask(f"{sim.plugin_url}/status", "PUT",
                 {**plugin_headers(goal_state(sim)), "Content-Type": "application/json"}, body)
    assert answer.status == 200
    assert sim.errors == []
    assert json.dumps(machine.reports.summary())
    machine.condition("goal-state")(machine)
    machine.condition("extension=A.B")(machine)
    for path in ("/", "/machines/vm01"):
        assert page.handle(sim, Request("control", "GET", path, {}, b"", ""), path.strip("/").split("/")).status == 200


@settings(FEW, max_examples=60)
@given(st.binary(min_size=1, max_size=300).map(lambda junk: junk + b"\r\n\r\n"))
def test_any_bytes_on_a_connection_are_survived(sim, junk):
    with socket.create_connection(("127.0.0.1", sim.wire_port), timeout=5) as client:
        client.sendall(junk)
        client.shutdown(socket.SHUT_WR)
        try:
            while client.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert ask(f"{sim.wire_url}/?comp=versions", headers=WIRE).status == 200
    assert sim.errors == []


def test_a_package_is_the_same_whenever_it_is_zipped(tmp_path):
    directory = tmp_path / "Contoso.Sim.Tool-1.0"
    (directory / "bin").mkdir(parents=True)
    (directory / "HandlerManifest.json").write_text("[]")
    script = directory / "bin" / "go"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    first = zip_directory(directory)
    script.touch()
    assert zip_directory(directory) == first


@pytest.mark.parametrize("given, text", [
    ({"host_name": "a\x00b"}, "character that XML does not have"), ({"colour": "red"}, "machine has no field colour")])
def test_a_machine_that_cannot_be(sim, given, text):
    with pytest.raises(SimulatorError, match=text):
        sim.machine("other", **given)
    assert "other" not in sim.machines


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".hidden", "a?b"])
def test_names_that_no_url_could_hold(sim, name):
    with pytest.raises(SimulatorError, match="machine name"):
        sim.machine(name)
