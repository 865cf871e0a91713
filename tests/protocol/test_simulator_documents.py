"""The simulator's documents, asked for over HTTP by an independent client and compared with the protocol's samples."""
from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
import zipfile

import pytest

from waagent.simulator import SimulatorError

from .simulator_client import (
    WIRE,
    XML,
    ask,
    block_upload,
    certificates_in,
    decrypt,
    goal_state,
    handler_status,
    health,
    open_bundle,
    plugin_headers,
    status_document,
    telemetry,
    transport,
)

MONITOR = {"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"collectLogs": True, "interval": 60},
           "protected": {"token": "s3cret"}}
RUN = {"name": "Contoso.Sim.RunCommand", "version": "1.2.0", "instances": [
    {"name": "prepareDisk", "public": {"source": {"script": "mkdir -p /srv/app"}},
     "depends_on": ["Contoso.Sim.Monitor"]},
    {"name": "startApp", "public": {"x": "<&>"}, "sequence": 3,
     "depends_on": ["Contoso.Sim.RunCommand/prepareDisk", "Contoso.Sim.Monitor"]}]}


@pytest.fixture
def machine(sim):
    return sim.machine("simvm01", user="simadmin", ssh_keys=["ssh-ed25519 AAAA me"], custom_data="#cloud-config\n")


def handler_zip() -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("HandlerManifest.json", json.dumps([{"handlerManifest": {"installCommand": "a"}}]))
    return output.getvalue()


def shape(element: ElementTree.Element) -> object:
    """Names of elements and attributes, without values, ids or repetitions."""
    children = []
    for child in element:
        one = shape(child)
        if one not in children:
            children.append(one)
    return (element.tag, tuple(sorted(element.attrib)), tuple(children))


@pytest.mark.wire("11/wire-server", "10/version-check")
def test_versions_need_no_headers_and_list_ours(sim, machine):
    answer = ask(f"{sim.wire_url}/?comp=versions")
    assert answer.status == 200
    assert "2012-11-30" in [one.text for one in answer.xml.findall("Supported/Version")]


@pytest.mark.wire("11/wire-server", "2.1/verbatim")
def test_goal_state_has_the_shape_of_the_sample(sim, machine):
    answer = ask(f"{sim.wire_url}/machine/?comp=goalstate", headers=WIRE)
    root = answer.xml
    assert [child.tag for child in root] == ["Version", "Incarnation", "Machine", "Container"]
    role = root.find("Container/RoleInstanceList/RoleInstance")
    assert role.findtext("InstanceId") == f"{machine.deployment_id}._simvm01"
    url = role.findtext("Configuration/ExtensionsConfig")
    escaped = machine.deployment_id.replace("-", "%2D") + ".%5Fsimvm01"
    assert url == (f"{sim.wire_url}/machine/{machine.container_id}/{escaped}"
                   "?comp=config&type=extensionsConfig&incarnation=1")
    name = role.findtext("Configuration/ConfigName")
    assert name.split(".")[0] == machine.deployment_id
    assert root.find("Container/RemoteAccessInfo") is None


@pytest.mark.wire("2.1/verbatim")
def test_goal_state_urls_carry_the_port_of_the_host_header(sim, machine):
    answer = ask(f"{sim.wire_url}/machine/?comp=goalstate", headers={**WIRE, "Host": "168.63.129.16"})
    assert b"<SharedConfig>http://168.63.129.16:80/machine/" in answer.body


@pytest.mark.wire("11/faults.move")
def test_goal_state_follows_every_publication(sim, machine):
    first = goal_state(sim)
    machine.publish([MONITOR])
    second = goal_state(sim)
    assert (first.incarnation, second.incarnation) == ("1", "2")
    assert first.container == second.container
    moved = machine.move()
    third = goal_state(sim)
    assert third.container == moved != second.container
    assert third.incarnation == second.incarnation
    assert third.config_name != second.config_name


@pytest.mark.wire("11/wire-server")
@pytest.mark.parametrize("kind", ["HostingEnvironmentConfig", "SharedConfig", "FullConfig"])
def test_configuration_documents(sim, machine, kind):
    answer = ask(goal_state(sim).urls[kind], headers=WIRE)
    assert answer.status == 200
    assert answer.xml.tag == kind


@pytest.mark.wire("11/wire-server")
def test_hosting_environment_names_the_tenant_certificate(sim, machine):
    root = ask(goal_state(sim).urls["HostingEnvironmentConfig"], headers=WIRE).xml
    assert root.find("Incarnation").get("instance") == "_simvm01"
    assert root.find("Role").get("name") == "_simvm01"
    assert root.find("Deployment").get("name") == machine.deployment_id
    stored = root.find("StoredCertificates/StoredCertificate").get("certificateId")
    assert stored == f"sha1:{machine.tenant_certificate.thumbprint}"


@pytest.mark.wire("11/wire-server")
def test_shared_config_leads_from_the_instance_to_its_address(sim, machine):
    root = ask(goal_state(sim).urls["SharedConfig"], headers=WIRE).xml
    name = root.find("Incarnation").get("instance")
    instance = root.find(f"Instances/Instance[@id='{name}']")
    assert instance.get("address") == "10.20.0.4"
    public = instance.find("InputEndpoints/Endpoint").get("loadBalancedPublicAddress")
    assert public == "203.0.113.17:22"


# --- certificates ------------------------------------------------------------------------------------------------

@pytest.mark.wire("11/certificates")
@pytest.mark.parametrize("cipher, algorithm", [("AES128_CBC", "aes-128-cbc"), ("DES_EDE3_CBC", "des-ede3-cbc"),
                                               (None, "aes-128-cbc")])
def test_certificates_open_with_the_transport_key(sim, machine, tmp_path, cipher, algorithm):
    ssh = machine.add_ssh_certificate()
    key, certificate, header = transport(tmp_path)
    headers = {**WIRE, "x-ms-guest-agent-public-x509-cert": header}
    if cipher:
        headers["x-ms-cipher-name"] = cipher
    answer = ask(goal_state(sim).urls["Certificates"], headers=headers)
    assert answer.xml.findtext("Format") == "Pkcs7BlobWithPfxContents"
    der = base64.b64decode(answer.xml.findtext("Data"))
    printed = subprocess.run(["openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER"], input=der,
                             capture_output=True, check=True).stdout.decode()
    assert algorithm in printed
    assert "subjectKeyIdentifier" in printed
    assert "issuerAndSerialNumber" not in printed

    pem = open_bundle(answer, key, certificate)
    prints = [hashlib.sha1(one).hexdigest().upper() for one in certificates_in(pem)]
    assert sorted(prints) == sorted([machine.tenant_certificate.thumbprint, ssh.thumbprint])
    assert pem.count("PRIVATE KEY-----") == 2  # one key: its BEGIN and END
    assert all(len(line) <= 64 for line in answer.xml.findtext("Data").splitlines())


@pytest.mark.wire("11/certificates")
def test_the_bundle_has_the_algorithms_of_the_platform(sim, machine, tmp_path):
    key, certificate, header = transport(tmp_path)
    machine.add_key_pair("/home/simadmin/.ssh/id_rsa")
    answer = ask(goal_state(sim).urls["Certificates"],
                 headers={**WIRE, "x-ms-guest-agent-public-x509-cert": header})
    pem = open_bundle(answer, key, certificate)
    assert pem.count("-----BEGIN PRIVATE KEY-----") == 2
    info = subprocess.run(["openssl", "pkcs12", "-info", "-noout", "-password", "pass:", "-in",
                           str(tmp_path / "Certificates.pfx")], capture_output=True, text=True, check=True).stderr
    assert "MAC: sha1, Iteration 2000" in info
    assert info.count("Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2000") == 2


@pytest.mark.wire("11/certificates")
def test_a_certificate_without_subject_key_identifier_is_refused(sim, machine, tmp_path):
    _, _, header = transport(tmp_path, subject_key_identifier=False)
    answer = ask(goal_state(sim).urls["Certificates"],
                 headers={**WIRE, "x-ms-guest-agent-public-x509-cert": header})
    assert answer.status == 400
    assert [one.rule for one in sim.violations] == ["transport-certificate"]
    sim.clear_violations()


@pytest.mark.wire("11/faults.aes-refused")
def test_a_machine_can_refuse_aes(sim, tmp_path):
    sim.machine("old", ciphers=["DES_EDE3_CBC"])
    _, _, header = transport(tmp_path)
    url = goal_state(sim).urls["Certificates"]
    headers = {**WIRE, "x-ms-guest-agent-public-x509-cert": header}
    assert ask(url, headers={**headers, "x-ms-cipher-name": "AES128_CBC"}).status == 400
    assert ask(url, headers={**headers, "x-ms-cipher-name": "DES_EDE3_CBC"}).status == 200


@pytest.mark.wire("11/wire-server")
def test_remote_users_come_encrypted_in_utf_16(sim, machine, tmp_path):
    machine.publish(remote_users=[{"name": "jit_oncall", "password": "Pä55word!",
                                   "expiration": "Wed, 25 Nov 2026 18:00:00 GMT"}])
    key, _, header = transport(tmp_path)
    answer = ask(goal_state(sim).urls["RemoteAccessInfo"],
                 headers={**WIRE, "x-ms-guest-agent-public-x509-cert": header, "x-ms-cipher-name": "AES128_CBC"})
    user = answer.xml.find("Users/User")
    assert user.findtext("Name") == "jit_oncall"
    assert user.findtext("Expiration") == "Wed, 25 Nov 2026 18:00:00 GMT"
    password = decrypt(base64.b64decode(user.findtext("Password")), key)
    assert password.decode("utf-16-le") == "Pä55word!"
    machine.publish(remote_users=None)
    assert "RemoteAccessInfo" not in goal_state(sim).urls


# --- extensions --------------------------------------------------------------------------------------------------

def extensions_config(sim):
    return ask(goal_state(sim).urls["ExtensionsConfig"], headers=WIRE).xml


@pytest.mark.wire("11/wire-server")
def test_extensions_config_says_what_was_published(sim, machine):
    machine.publish([MONITOR, RUN, {"name": "Contoso.Sim.Old", "version": "2.0.7", "state": "uninstall"}],
                    families=[{"name": "Prod", "version": "3.1.0.4", "uris": ["http://a/b"],
                               "is_version_from_rsm": True, "is_vm_enabled_for_rsm": False}],
                    required_features=["MultipleExtensionsPerHandler"])
    root = extensions_config(sim)
    assert root.get("goalStateIncarnation") == "2"
    family = root.find("GuestAgentExtension/GAFamilies/GAFamily")
    assert [child.tag for child in family] == ["IsVMEnabledForRSMUpgrades", "IsVersionFromRSM", "Name", "Uris",
                                               "Version"]
    assert family.findtext("IsVMEnabledForRSMUpgrades") == "false"
    assert root.findtext("RequiredFeatures/RequiredFeature/Name") == "MultipleExtensionsPerHandler"
    states = {one.get("name"): one.get("state") for one in root.findall("Plugins/Plugin")}
    assert states == {"Contoso.Sim.Monitor": "enabled", "Contoso.Sim.RunCommand": "enabled",
                      "Contoso.Sim.Old": "uninstall"}
    assert [one.get("name") for one in root.findall("PluginSettings/Plugin")] == [
        "Contoso.Sim.Monitor", "Contoso.Sim.RunCommand"]

    single = root.find("PluginSettings/Plugin[@name='Contoso.Sim.Monitor']/RuntimeSettings")
    handler = json.loads(single.text)["runtimeSettings"][0]["handlerSettings"]
    assert single.get("seqNo") == "0"
    assert handler["publicSettings"] == {"collectLogs": True, "interval": 60}
    assert handler["protectedSettingsCertThumbprint"] == machine.tenant_certificate.thumbprint

    multi = root.find("PluginSettings/Plugin[@name='Contoso.Sim.RunCommand']")
    levels = {one.get("name"): one.get("dependencyLevel") for one in multi.findall("DependsOn")}
    assert levels == {"prepareDisk": "1", "startApp": "2"}
    named = {one.get("name"): one for one in multi.findall("ExtensionRuntimeSettings")}
    assert named["startApp"].get("seqNo") == "3"
    assert json.loads(named["startApp"].text)["runtimeSettings"][0]["handlerSettings"] == {
        "publicSettings": {"x": "<&>"}}
    assert [one.attrib for one in multi.findall("DependsOn[@name='startApp']/DependsOnExtension")] == [
        {"extension": "prepareDisk", "handler": "Contoso.Sim.RunCommand"}, {"handler": "Contoso.Sim.Monitor"}]
    meta = root.find("InVMGoalStateMetaData")
    assert sorted(meta.attrib) == ["activityId", "correlationId", "createdOnTicks", "inSvdSeqNo"]


@pytest.mark.wire("11/certificates")
def test_protected_settings_open_with_the_tenant_key(sim, machine, tmp_path):
    machine.publish([MONITOR])
    text = extensions_config(sim).find("PluginSettings/Plugin/RuntimeSettings").text
    blob = json.loads(text)["runtimeSettings"][0]["handlerSettings"]["protectedSettings"]
    key = tmp_path / "tenant.key"
    key.write_text(machine.tenant_certificate.key)
    assert json.loads(decrypt(base64.b64decode(blob), key)) == {"token": "s3cret"}


def test_sequence_numbers_count_up_only_when_settings_change(sim, machine):
    numbers = []
    for interval in (60, 60, 30):
        machine.publish([{"name": "A.B", "version": "1.0", "public": {"interval": interval}}])
        numbers.append(extensions_config(sim).find("PluginSettings/Plugin/RuntimeSettings").get("seqNo"))
    assert numbers == ["0", "0", "1"]


@pytest.mark.wire("11/host-plugin")
def test_fast_track_keeps_the_incarnation_and_changes_the_etag(sim, machine):
    machine.publish([MONITOR])
    fabric = goal_state(sim)
    url = f"{sim.plugin_url}/vmSettings"
    first = ask(url, headers=plugin_headers(fabric))
    assert first.status == 200
    assert first.json()["extensionGoalStatesSource"] == "Fabric"
    assert ask(url, headers=plugin_headers(fabric, **{"If-None-Match": first.headers["etag"]})).status == 304

    etag = machine.publish([{**MONITOR, "public": {"interval": 30}}, RUN], source="fasttrack")
    second = ask(url, headers=plugin_headers(fabric, **{"if-none-match": first.headers["etag"]}))
    assert second.status == 200
    assert second.headers["etag"] == etag
    document = second.json()
    assert document["extensionGoalStatesSource"] == "FastTrack"
    assert goal_state(sim).incarnation == fabric.incarnation
    monitor, run = document["extensionGoalStates"]
    assert monitor["settingsSeqNo"] == 1
    assert json.loads(monitor["settings"][0]["publicSettings"]) == {"interval": 30}
    assert run["isMultiConfig"] is True
    assert [(one["extensionName"], one["seqNo"], one["extensionState"]) for one in run["settings"]] == [
        ("prepareDisk", 0, "enabled"), ("startApp", 3, "enabled")]
    assert [(one["name"], one["dependencyLevel"]) for one in run["dependsOn"]] == [("prepareDisk", 1), ("startApp", 2)]
    # ExtensionsConfig still holds the older fabric goal state
    assert extensions_config(sim).find("PluginSettings/Plugin/RuntimeSettings").get("seqNo") == "0"


@pytest.mark.wire("11/faults.fast-track-stops")
def test_a_node_without_fast_track_answers_404(sim):
    sim.machine("old", vm_settings_supported=False)
    assert ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(goal_state(sim))).status == 404


@pytest.mark.wire("11/host-plugin")
def test_hold_is_in_the_profile_and_in_vm_settings(sim, machine):
    machine.publish([MONITOR], on_hold=True)
    profile = extensions_config(sim).findtext("InVMArtifactsProfileBlob")
    assert ask(profile).json()["onHold"] is True
    assert ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(goal_state(sim))).json()["onHold"] is True


@pytest.mark.wire("11/host-plugin", "11/storage")
def test_packages_come_directly_and_through_the_host(sim, machine):
    content = handler_zip()
    sim.add_package(content, "Contoso.Sim.Monitor", "1.9.1")
    sim.add_package(content, "Contoso.Sim.Monitor", "1.10.0", internal=True)
    machine.publish([MONITOR])
    plugin = extensions_config(sim).find("Plugins/Plugin")
    manifest = ask(plugin.get("location")).xml
    assert [one.findtext("Version") for one in manifest.findall("Plugins/Plugin")] == ["1.9.1"]
    assert [one.findtext("Version") for one in manifest.findall("InternalPlugins/Plugin")] == ["1.10.0"]
    uris = [one.text for one in manifest.findall("Plugins/Plugin/Uris/Uri")]
    assert len(uris) == 2
    assert ask(uris[1]).body == content
    through = ask(f"{sim.plugin_url}/extensionArtifact", headers=plugin_headers(
        goal_state(sim), **{"x-ms-artifact-location": uris[0], "x-ms-verify-from-artifacts-blob": "true"}))
    assert through.body == content
    assert sim.requests[-1].headers["x-ms-verify-from-artifacts-blob"] == "true"
    other = ask(f"{sim.plugin_url}/extensionArtifact", headers=plugin_headers(
        goal_state(sim), **{"x-ms-artifact-location": "https://elsewhere.example/no/such"}))
    assert other.status == 502


# --- reports -----------------------------------------------------------------------------------------------------

@pytest.mark.wire("11/wire-server")
def test_health_moves_the_provisioning_state(sim, machine):
    fabric = goal_state(sim)
    assert machine.reports.provisioning_state == "Creating"
    for path, body, expected in (
            ("/machine?comp=health", health(fabric, "NotReady", "Provisioning", "Starting"), "Provisioning"),
            ("/machine/?comp=health", health(fabric, "NotReady", "ProvisioningFailed", "no disk"), "Failed"),
            ("/machine?comp=health", health(fabric), "Ready")):
        assert ask(f"{sim.wire_url}{path}", "POST", XML, body).status == 200
        assert machine.reports.provisioning_state == expected
    machine.wait_for("ready", 1)
    assert [one.description for one in machine.reports.health] == ["Starting", "no disk", ""]


@pytest.mark.wire("10/health", "10/health-success")
def test_json_health_of_azure_init(sim, machine):
    answer = ask(f"{sim.wire_url}/provisioning/health", "POST", {"Content-Type": "application/json"},
                 json.dumps({"state": "Ready"}).encode())
    assert answer.status == 201
    assert machine.reports.provisioning_state == "Ready"


@pytest.mark.wire("11/host-plugin", "11/storage")
def test_status_through_the_host_and_directly(sim, machine):
    machine.publish([MONITOR])
    root = extensions_config(sim)
    url = root.findtext("StatusUploadBlob")
    assert root.find("StatusUploadBlob").get("statusBlobType") == "BlockBlob"
    fabric = goal_state(sim)
    content = json.dumps(status_document(handler_status("Contoso.Sim.Monitor", "1.9.1", 0), sequence="2")).encode()
    answer = ask(f"{sim.plugin_url}/status", "PUT",
                 plugin_headers(fabric, **{"Content-type": "application/json"}), block_upload(url, content))
    assert answer.status == 200
    entry = machine.wait_for("extension=Contoso.Sim.Monitor", 1)
    assert entry["runtimeSettingsStatus"]["sequenceNumber"] == 0
    machine.wait_for("goal-state", 1)
    answer = ask(url, "PUT", {"x-ms-version": "2014-02-14", "x-ms-blob-type": "BlockBlob",
                              "x-ms-date": "2026-11-23T09:16:12Z"}, content)
    assert answer.status == 201
    assert machine.reports.status_count == 2
    summary = machine.reports.summary()
    assert summary["extensions"][0]["status_message"] == "done"


@pytest.mark.wire("11/storage", "11/faults.page-blob")
def test_status_as_page_blob(sim):
    machine = sim.machine("paged", status_blob_type="PageBlob")
    machine.publish([])
    url = extensions_config(sim).findtext("StatusUploadBlob")
    content = json.dumps(status_document()).encode()
    size = -(-len(content) // 512) * 512
    common = {"x-ms-version": "2014-02-14", "x-ms-date": "2026-11-23T09:16:12Z"}
    created = ask(url, "PUT", {**common, "x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(size),
                               "Content-Length": "0"}, b"")
    assert created.status == 201
    written = ask(f"{url}&comp=page", "PUT",
                  {**common, "x-ms-page-write": "update", "x-ms-range": f"bytes=0-{size - 1}"},
                  content.ljust(size, b"\x00"))
    assert written.status == 201
    assert machine.reports.status["version"] == "1.1"
    misaligned = ask(f"{url}&comp=page", "PUT", {**common, "x-ms-page-write": "update", "x-ms-range": "bytes=0-99"},
                     b"x" * 100)
    assert misaligned.status == 416
    assert [one.rule for one in sim.violations] == ["page-alignment"]
    sim.clear_violations()


@pytest.mark.wire("11/wire-server", "11/host-plugin")
def test_telemetry_properties_observations_and_logs_are_kept(sim, machine):
    fabric = goal_state(sim)
    body = telemetry(("Name", "WALinuxAgent", "mt:wstr"), ("Operation", "HeartBeat", "mt:wstr"),
                     ("OperationSuccess", "True", "mt:bool"), ("Message", 'a <b> "c" & d', "mt:wstr"),
                     ("Duration", "0", "mt:uint64"))
    assert ask(f"{sim.wire_url}/machine?comp=telemetrydata", "POST", XML, body).status == 200
    event = machine.reports.events("HeartBeat")[0]
    assert event.parameters["Message"] == 'a <b> "c" & d'

    properties = (f"<RoleProperties><Container><ContainerId>{fabric.container}</ContainerId><RoleInstances>"
                  f"<RoleInstance><Id>{fabric.instance}</Id><Properties><Property name='CertificateThumbprint' "
                  "value='9f86'/></Properties></RoleInstance></RoleInstances></Container></RoleProperties>")
    assert ask(f"{sim.wire_url}/machine?comp=roleProperties", "POST", XML, properties.encode()).status == 202
    assert machine.reports.properties == {"CertificateThumbprint": "9f86"}

    observation = {"Api": "reporttargethealth", "Version": "1.0", "Source": "WALinuxAgent", "Observations": [
        {"ObservationName": "GuestAgentPluginHeartbeat", "IsHealthy": True, "Description": "", "Value": ""}]}
    assert ask(f"{sim.wire_url}/HealthService", "POST", {"Content-Type": "application/json"},
               json.dumps(observation).encode()).status == 200
    assert machine.reports.observations[-1][1]["ObservationName"] == "GuestAgentPluginHeartbeat"

    assert ask(f"{sim.plugin_url}/vmAgentLog", "PUT", {
        "x-ms-version": "2015-09-01", "x-ms-containerid": fabric.container,
        "x-ms-vmagentlog-deploymentid": machine.deployment_id, "x-ms-client-name": "WALinuxAgent",
        "x-ms-client-version": "3.0", "x-ms-client-correlationid": machine.vm_id}, handler_zip()).status == 200
    assert machine.reports.logs[1] == handler_zip()


# --- metadata service --------------------------------------------------------------------------------------------

@pytest.mark.wire("5.5/no-header", "10/imds")
def test_metadata_needs_its_header_and_leaves_out_what_is_newer(sim, machine):
    url = f"{sim.imds_url}/metadata/instance"
    old = ask(f"{url}?api-version=2018-02-01", headers={"Metadata": "True"}).json()
    assert sorted(old["compute"]) == [
        "location", "name", "offer", "osType", "placementGroupId", "platformFaultDomain", "platformUpdateDomain",
        "publisher", "resourceGroupName", "sku", "subscriptionId", "tags", "version", "vmId", "vmScaleSetName",
        "vmSize", "zone"]
    interface = old["network"]["interface"][0]
    assert interface["macAddress"] and interface["ipv4"]["ipAddress"][0]["privateIpAddress"]
    compute = ask(f"{url}/compute?api-version=2018-02-01", headers={"Metadata": "True"}).json()
    assert compute == old["compute"]
    new = ask(f"{url}?api-version=2021-08-01&extended=true", headers={"Metadata": "true"}).json()
    assert new["compute"]["osProfile"]["disablePasswordAuthentication"] == "true"
    assert new["compute"]["publicKeys"][0]["keyData"] == "ssh-ed25519 AAAA me"
    assert new["extended"]["compute"]["ppsType"] == "None"
    text = ask(f"{url}/compute/osProfile/adminUsername?api-version=2021-02-01&format=text",
               headers={"Metadata": "true"})
    assert text.body == b"simadmin"
    assert not sim.violations
    assert ask(f"{url}?api-version=2018-02-01").status == 400
    assert ask(url, headers={"Metadata": "true"}).status == 400
    assert [one.rule for one in sim.violations] == ["imds-header", "imds-version"]
    sim.clear_violations()


def test_attested_document_is_signed_by_the_tenant_key(sim, machine, tmp_path):
    answer = ask(f"{sim.imds_url}/metadata/attested/document?api-version=2020-09-01&nonce=1234",
                 headers={"Metadata": "true"}).json()
    (tmp_path / "ca.pem").write_text(machine.tenant_certificate.certificate)
    content = subprocess.run(["openssl", "cms", "-verify", "-inform", "DER", "-CAfile", str(tmp_path / "ca.pem"),
                              "-purpose", "any"], input=base64.b64decode(answer["signature"]), capture_output=True,
                             check=True).stdout
    assert json.loads(content)["nonce"] == "1234"
    assert json.loads(content)["vmId"] == machine.vm_id


# --- provisioning medium -----------------------------------------------------------------------------------------

@pytest.mark.wire("2.9/document")
def test_ovf_env_follows_the_schema(sim, tmp_path):
    machine = sim.machine("web-01", user="ops", password="Tr1cky&<pass>\"word'", custom_data=b"\x00\x01",
                          ssh_keys=["ssh-rsa AAAA a", ("ssh-rsa BBBB b", "/home/ops/keys")])
    wrapped = machine.add_ssh_certificate()
    pair = machine.add_key_pair("$HOME/ops/.ssh/id_rsa")
    path = machine.write_media(tmp_path / "dvd")
    ovf, wa = "{http://schemas.dmtf.org/ovf/environment/1}", "{http://schemas.microsoft.com/windowsazure}"
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{ovf}Environment"
    settings = root.find(f"{wa}ProvisioningSection/{wa}LinuxProvisioningConfigurationSet")
    assert root.findtext(f"{wa}ProvisioningSection/{wa}Version") == "1.0"
    assert settings.findtext(f"{wa}HostName") == "web-01"
    assert settings.findtext(f"{wa}UserPassword") == "Tr1cky&<pass>\"word'"
    assert settings.findtext(f"{wa}DisableSshPasswordAuthentication") == "false"
    assert base64.b64decode(settings.findtext(f"{wa}CustomData")) == b"\x00\x01"
    keys = settings.findall(f"{wa}SSH/{wa}PublicKeys/{wa}PublicKey")
    assert [(one.findtext(f"{wa}Path"), one.findtext(f"{wa}Value")) for one in keys[:2]] == [
        ("/home/ops/.ssh/authorized_keys", "ssh-rsa AAAA a"), ("/home/ops/keys", "ssh-rsa BBBB b")]
    assert keys[2].findtext(f"{wa}Fingerprint") == wrapped.thumbprint
    assert settings.findtext(f"{wa}SSH/{wa}KeyPairs/{wa}KeyPair/{wa}Fingerprint") == pair.thumbprint
    platform = root.find(f"{wa}PlatformSettingsSection/{wa}PlatformSettings")
    assert platform.findtext(f"{wa}ProvisionGuestAgent") == "true"


@pytest.mark.wire("11/medium")
@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_the_dvd_holds_the_document_and_is_private(machine, tmp_path):
    image = tmp_path / "dvd.iso"
    assert machine.write_iso(image) == "genisoimage"
    read = subprocess.run(["isoinfo", "-J", "-x", "/ovf-env.xml", "-i", str(image)], capture_output=True, check=True)
    assert read.stdout.decode() == machine.ovf_env()
    assert image.stat().st_mode & 0o777 == 0o600
    # The volume recognition sequence of UDF, which the platform's DVD has beside ISO 9660.
    assert b"NSR02" in image.read_bytes()[0x8000:0x18000]


def test_without_a_program_for_images_the_message_says_so(machine, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match="none of genisoimage, mkisofs, xorriso is installed"):
        machine.write_iso(tmp_path / "dvd.iso")
    assert not (tmp_path / "dvd.iso").exists()
