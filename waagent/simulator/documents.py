"""The documents that the wire server and the host plugin serve, rendered from a Machine.

Every function is pure: machine (and the base URL under which the client sees the fabric) in, text out. XML is
written by hand, element by element, so that what is served can be compared with the protocol's samples; every value
passes `_text` or `_attribute`.

Source: wire-protocol 1.4, 2.1, 2.5, 2.6, 2.7, 2.8, 3.4, 6.1.
"""
from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Optional
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from .errors import SimulatorError
from .goal_state import Extension, Family, Goal, RemoteUser, Settings

if TYPE_CHECKING:
    from .machine import Machine

DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
WIRE_VERSIONS = ("2015-04-05", "2012-11-30", "2012-09-15", "2012-05-15", "2011-12-31", "2011-10-15", "2011-08-31",
                 "2011-04-07", "2010-12-15", "2010-28-10")


def _text(value: object) -> str:
    return escape(str(value), {"\r": "&#13;"})  # a bare carriage return would come out as a line feed


def _attribute(value: object) -> str:
    return quoteattr(str(value))


def check(machine: Machine, goal: Goal) -> None:
    """SimulatorError if something that was given cannot stand in a document (a control character, say)."""
    for kind, text in (("ExtensionsConfig", extensions_config(machine, goal, "http://storage")),
                       ("SharedConfig", shared_config(machine)),
                       ("HostingEnvironmentConfig", hosting_environment(machine)),
                       ("GoalState", goal_state(machine, "http://fabric")),
                       ("ovf-env.xml", machine.ovf_env())):
        try:
            ElementTree.fromstring(text.encode("utf-8"))
        except (ElementTree.ParseError, UnicodeError) as error:
            raise SimulatorError(f"cannot write {kind} for {machine.name}: {error}; "
                                 "a name or value holds a character that XML does not have") from None


def escaped_instance(machine: Machine) -> str:
    """The role instance id as it stands in goal state URLs: `-` and `_` percent-encoded."""
    return machine.instance_id.replace("-", "%2D").replace("_", "%5F")


def versions() -> str:
    listed = "\n".join(f"    <Version>{one}</Version>" for one in WIRE_VERSIONS)
    return (f"{DECLARATION}<Versions>\n  <Preferred>\n    <Version>{WIRE_VERSIONS[0]}</Version>\n  </Preferred>\n"
            f"  <Supported>\n{listed}\n  </Supported>\n</Versions>")


def machine_path(machine: Machine) -> str:
    return f"/machine/{machine.container_id}/{escaped_instance(machine)}"


def goal_state(machine: Machine, base: str) -> str:
    """`base` is scheme, host and port without a slash: http://168.63.129.16:80."""
    incarnation = machine.incarnation
    place = f"{base}{machine_path(machine)}"

    def config(kind: str) -> str:
        return _text(f"{place}?comp=config&type={kind}&incarnation={incarnation}")

    remote = ""
    if machine.remote_users is not None:
        url = _text(f"{place}?comp=remoteaccessinfo&incarnation={incarnation}")
        remote = f"    <RemoteAccessInfo>{url}</RemoteAccessInfo>\n"
    certificates = _text(f"{place}?comp=certificates&incarnation={incarnation}")
    return f"""{DECLARATION}<GoalState {XSI} xsi:noNamespaceSchemaLocation="goalstate10.xsd">
  <Version>2012-11-30</Version>
  <Incarnation>{incarnation}</Incarnation>
  <Machine>
    <ExpectedState>Started</ExpectedState>
    <StopRolesDeadlineHint>300000</StopRolesDeadlineHint>
    <LBProbePorts>
      <Port>16001</Port>
    </LBProbePorts>
    <ExpectHealthReport>FALSE</ExpectHealthReport>
  </Machine>
  <Container>
    <ContainerId>{machine.container_id}</ContainerId>
{remote}    <RoleInstanceList>
      <RoleInstance>
        <InstanceId>{_text(machine.instance_id)}</InstanceId>
        <State>Started</State>
        <Configuration>
          <HostingEnvironmentConfig>{config("hostingEnvironmentConfig")}</HostingEnvironmentConfig>
          <SharedConfig>{config("sharedConfig")}</SharedConfig>
          <ExtensionsConfig>{config("extensionsConfig")}</ExtensionsConfig>
          <FullConfig>{config("fullConfig")}</FullConfig>
          <Certificates>{certificates}</Certificates>
          <ConfigName>{_text(machine.config_name)}</ConfigName>
        </Configuration>
      </RoleInstance>
    </RoleInstanceList>
  </Container>
</GoalState>
"""


def _deployment(machine: Machine) -> str:
    name = machine.deployment_id
    return f"""  <Deployment name="{name}" guid="{{{machine.guid("deployment")}}}" incarnation="0">
    <Service name="SimulatedService" guid="{{00000000-0000-0000-0000-000000000000}}" />
    <ServiceInstance name="{name}.0" guid="{{{machine.guid("service")}}}" />
  </Deployment>
  <Incarnation number="1" instance={_attribute(machine.role_name)} guid="{{{machine.guid("instance")}}}" />"""


def hosting_environment(machine: Machine) -> str:
    stored = "\n".join(
        f'    <StoredCertificate name={_attribute(f"Stored{index}{one.name}")} '
        f'certificateId="sha1:{one.thumbprint}" storeName="My" configurationLevel="System" />'
        for index, one in enumerate(machine.certificates))
    role = _attribute(machine.role_name)
    model = _attribute(f"<m role={role} />")
    incarnation = machine.incarnation
    return f"""{DECLARATION}<HostingEnvironmentConfig version="1.0.0.0" goalStateIncarnation="{incarnation}">
  <StoredCertificates>
{stored}
  </StoredCertificates>
{_deployment(machine)}
  <Role guid="{{{machine.guid("role")}}}" name={role} hostingEnvironmentVersion="1" software="" \
softwareType="ApplicationPackage" entryPoint="" parameters="" settleTimeSeconds="0" />
  <HostingEnvironmentSettings name="full" runtime="simulated_runtime_1.0.0.0.zip">
    <CAS mode="full" />
    <PrivilegeLevel mode="max" />
    <AdditionalProperties><CgiHandlers></CgiHandlers></AdditionalProperties>
  </HostingEnvironmentSettings>
  <ApplicationSettings>
    <Setting name="__ModelData" value={model} />
  </ApplicationSettings>
  <ResourceReferences>
    <Resource name="DiagnosticStore" type="directory" request="Simulated.Policy" sticky="true" size="1" \
path={_attribute(machine.instance_id + ".DiagnosticStore" + chr(92))} disableQuota="false" />
  </ResourceReferences>
</HostingEnvironmentConfig>
"""


def shared_config(machine: Machine) -> str:
    role = _attribute(machine.role_name)
    address = machine.private_address
    return f"""{DECLARATION}<SharedConfig version="1.0.0.0" goalStateIncarnation="{machine.incarnation}">
{_deployment(machine)}
  <Role guid="{{{machine.guid("role")}}}" name={role} settleTimeSeconds="0" />
  <LoadBalancerSettings timeoutSeconds="0" waitLoadBalancerProbeCount="8">
    <Probes>
      <Probe name={role} />
    </Probes>
  </LoadBalancerSettings>
  <OutputEndpoints>
    <Endpoint name={_attribute(machine.role_name + ":openInternalEndpoint")} type="SFS">
      <Target instance={role} endpoint="openInternalEndpoint" />
    </Endpoint>
  </OutputEndpoints>
  <Instances>
    <Instance id={role} address="{address}">
      <FaultDomains randomId="0" updateId="0" updateCount="0" />
      <InputEndpoints>
        <Endpoint name="SSH" address="{address}:22" protocol="tcp" \
hostName={_attribute(machine.role_name + "ContractContract")} isPublic="true" \
loadBalancedPublicAddress="{machine.public_address}:22" enableDirectServerReturn="false" isDirectAddress="false" \
disableStealthMode="false">
          <LocalPorts>
            <LocalPortRange from="22" to="22" />
          </LocalPorts>
        </Endpoint>
      </InputEndpoints>
    </Instance>
  </Instances>
</SharedConfig>
"""


def full_config(machine: Machine) -> str:
    """The union of the two documents; nobody is known to fetch it."""
    parts = (hosting_environment(machine), shared_config(machine))
    inner = "".join(text.replace(DECLARATION, "") for text in parts)
    return f'{DECLARATION}<FullConfig version="1.0.0.0">\n{inner}</FullConfig>\n'


def certificates(data: Optional[bytes], incarnation: int, form: str = "Pkcs7BlobWithPfxContents") -> str:
    """`data` is DER CMS, or None for a machine without certificates."""
    content = ""
    if data is not None:
        text = base64.b64encode(data).decode()
        lines = "\n".join(text[start:start + 64] for start in range(0, len(text), 64))
        content = f"  <Data>{lines}\n</Data>\n"
    return (f'{DECLARATION}<CertificateFile {XSI} xsi:noNamespaceSchemaLocation="certificates10.xsd">\n'
            f"  <Version>2012-11-30</Version>\n  <Incarnation>{incarnation}</Incarnation>\n"
            f"  <Format>{form}</Format>\n{content}</CertificateFile>\n")


def remote_access(users: list[RemoteUser], passwords: list[bytes], incarnation: int) -> str:
    """`passwords` are DER CMS of the UTF-16 text, one per user."""
    items = []
    for user, password in zip(users, passwords):
        groups = "".join(f"        <GroupName>{_text(group)}</GroupName>\n" for group in user.groups)
        items.append(f"""    <User>
      <Name>{_text(user.name)}</Name>
      <Password>{base64.b64encode(password).decode()}</Password>
      <Expiration>{_text(user.expiration)}</Expiration>
      <Groups>
{groups}      </Groups>
    </User>
""")
    return (f"{DECLARATION}<RemoteAccess>\n  <Version>1</Version>\n  <Incarnation>{incarnation}</Incarnation>\n"
            f"  <Users>\n{''.join(items)}  </Users>\n</RemoteAccess>\n")


# --- extensions, XML ---------------------------------------------------------------------------------------------

def extensions_config(machine: Machine, goal: Goal, blobs: str) -> str:
    """`blobs` is the base URL of the blob store as the client reaches it."""
    families = "".join(_family(machine, one, blobs) for one in goal.families)
    features = "".join(f"    <RequiredFeature>\n      <Name>{_text(name)}</Name>\n    </RequiredFeature>\n"
                       for name in goal.required_features)
    required = f"  <RequiredFeatures>\n{features}  </RequiredFeatures>\n" if features else ""
    plugins = "".join(_plugin(machine, one, blobs) for one in goal.extensions)
    levels = goal.levels()
    settings = "".join(_plugin_settings(one, levels) for one in goal.extensions)
    profile = _text(machine.profile_url(blobs))
    status = ""
    if machine.status_upload:
        status = (f'  <StatusUploadBlob statusBlobType="{machine.status_blob_type}">'
                  f"{_text(machine.status_url(blobs))}</StatusUploadBlob>\n")
    return f"""{DECLARATION}<Extensions version="1.0.0.0" goalStateIncarnation="{machine.incarnation}">
  <GuestAgentExtension xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
    <GAFamilies>
{families}    </GAFamilies>
    <Location>{_text(machine.location)}</Location>
    <ServiceName>CRP</ServiceName>
  </GuestAgentExtension>
{required}{status}  <Plugins>
{plugins}  </Plugins>
  <PluginSettings>
{settings}  </PluginSettings>
  <InVMArtifactsProfileBlob>{profile}</InVMArtifactsProfileBlob>
  <InVMGoalStateMetaData inSvdSeqNo="{goal.sequence}" createdOnTicks="{goal.ticks}" \
activityId="{goal.activity_id}" correlationId="{goal.correlation_id}" />
</Extensions>
"""


def _family(machine: Machine, family: Family, blobs: str) -> str:
    lines = ["      <GAFamily>\n"]
    if family.from_version is not None:
        lines.append(f"        <FromVersion>{_text(family.from_version)}</FromVersion>\n")
    if family.is_vm_enabled_for_rsm is not None:
        value = str(family.is_vm_enabled_for_rsm).lower()
        lines.append(f"        <IsVMEnabledForRSMUpgrades>{value}</IsVMEnabledForRSMUpgrades>\n")
    if family.is_version_from_rsm is not None:
        lines.append(f"        <IsVersionFromRSM>{str(family.is_version_from_rsm).lower()}</IsVersionFromRSM>\n")
    lines.append(f"        <Name>{_text(family.name)}</Name>\n        <Uris>\n")
    lines += [f"          <Uri>{_text(uri)}</Uri>\n" for uri in machine.family_uris(family, blobs)]
    lines.append("        </Uris>\n")
    if family.version is not None:
        lines.append(f"        <Version>{_text(family.version)}</Version>\n")
    lines.append("      </GAFamily>\n")
    return "".join(lines)


def _plugin(machine: Machine, extension: Extension, blobs: str) -> str:
    where = machine.manifest_urls(extension, blobs)
    signature = ""
    if extension.signature and extension.state != "uninstall":
        signature = f" encodedSignature={_attribute(extension.signature)}"
    failover = f" failoverlocation={_attribute(where[1])}" if len(where) > 1 else ""
    head = (f"    <Plugin name={_attribute(extension.name)} version={_attribute(extension.version)} "
            f"location={_attribute(where[0] if where else '')} state={_attribute(extension.state)} "
            f'autoUpgrade="{str(extension.auto_upgrade).lower()}"{failover} runAsStartupTask="false" isJson="true" '
            f'useExactVersion="true"{signature}')
    if len(where) < 3:
        return f"{head} />\n"
    more = "".join(f"        <additionalLocation>{_text(url)}</additionalLocation>\n" for url in where[2:])
    return f"{head}>\n      <additionalLocations>\n{more}      </additionalLocations>\n    </Plugin>\n"


def _runtime_settings(settings: Settings) -> str:
    """The JSON text of a settings node; absent fields stay absent."""
    inner: dict[str, Any] = {}
    if settings.encrypted:
        inner["protectedSettingsCertThumbprint"] = settings.thumbprint
        inner["protectedSettings"] = settings.encrypted
    if settings.public is not None:
        inner["publicSettings"] = settings.public
    return json.dumps({"runtimeSettings": [{"handlerSettings": inner}]}, indent=2)


def _plugin_settings(extension: Extension, levels: dict[tuple[str, str], int]) -> str:
    if not extension.all_settings():
        return ""
    lines = [f"    <Plugin name={_attribute(extension.name)} version={_attribute(extension.version)}>\n"]
    for instance in extension.instances:
        level = levels[extension.name, instance.name]
        if level or instance.depends_on:
            lines.append(_depends_on(level, instance.depends_on, instance.name))
    if not extension.instances:
        level = levels[extension.name, ""]
        if level or extension.depends_on:
            lines.append(_depends_on(level, extension.depends_on, ""))
    for settings in extension.settings:
        lines.append(f'      <RuntimeSettings seqNo="{settings.sequence}">'
                     f"{_text(_runtime_settings(settings))}</RuntimeSettings>\n")
    for instance in extension.instances:
        lines.append(f'      <ExtensionRuntimeSettings seqNo="{instance.settings.sequence}" '
                     f"name={_attribute(instance.name)} state={_attribute(instance.state)}>"
                     f"{_text(_runtime_settings(instance.settings))}</ExtensionRuntimeSettings>\n")
    lines.append("    </Plugin>\n")
    return "".join(lines)


def _depends_on(level: int, names: list[str], instance: str) -> str:
    own = f" name={_attribute(instance)}" if instance else ""
    items = []
    for name in names:
        handler, _, other = name.partition("/")
        extension = f"extension={_attribute(other)} " if other else ""
        items.append(f"        <DependsOnExtension {extension}handler={_attribute(handler)} />\n")
    return f'      <DependsOn dependencyLevel="{level}"{own}>\n{"".join(items)}      </DependsOn>\n'


# --- extensions, JSON --------------------------------------------------------------------------------------------

def vm_settings(machine: Machine, goal: Goal, source: str, blobs: str) -> str:
    document: dict[str, Any] = {
        "hostGAPluginVersion": machine.host_plugin_version,
        "vmSettingsSchemaVersion": "0.0",
        "activityId": goal.activity_id,
        "correlationId": goal.correlation_id,
        "inSvdSeqNo": goal.sequence,
        "extensionsLastModifiedTickCount": goal.ticks,
        "extensionGoalStatesSource": source,
        "onHold": goal.on_hold,
    }
    if machine.status_upload:
        document["statusUploadBlob"] = {"statusBlobType": machine.status_blob_type,
                                        "value": machine.status_url(blobs)}
    document["inVMMetadata"] = {
        "subscriptionId": machine.subscription_id, "resourceGroupName": machine.resource_group,
        "vmName": machine.name, "location": machine.location, "vmId": machine.vm_id, "vmSize": machine.vm_size,
        "osType": "Linux",
        "vmImage": {key: machine.image[key] for key in ("publisher", "offer", "sku", "version")},
    }
    document["requiredFeatures"] = [{"name": name} for name in goal.required_features]
    document["gaFamilies"] = [_json_family(machine, one, blobs) for one in goal.families]
    levels = goal.levels()
    document["extensionGoalStates"] = [_json_extension(machine, one, levels, blobs) for one in goal.extensions]
    return json.dumps(document, indent=2)


def _json_family(machine: Machine, family: Family, blobs: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": family.name}
    for key, value in (("version", family.version), ("fromVersion", family.from_version),
                       ("isVersionFromRSM", family.is_version_from_rsm),
                       ("isVMEnabledForRSMUpgrades", family.is_vm_enabled_for_rsm)):
        if value is not None:
            found[key] = value
    found["uris"] = machine.family_uris(family, blobs)
    return found


def _json_extension(machine: Machine, extension: Extension, levels: dict[tuple[str, str], int],
                    blobs: str) -> dict[str, Any]:
    where = machine.manifest_urls(extension, blobs)
    found: dict[str, Any] = {"name": extension.name, "version": extension.version}
    if where:
        found["location"] = where[0]
    if len(where) > 1:
        found["failoverlocation"] = where[1]
    found["additionalLocations"] = where[2:]
    found.update({"state": extension.state, "autoUpgrade": extension.auto_upgrade, "runAsStartupTask": False,
                  "isJson": True, "useExactVersion": True})
    if extension.signature and extension.state != "uninstall":
        found["encodedSignature"] = extension.signature
    pairs = extension.all_settings()
    if pairs:
        found["settingsSeqNo"] = pairs[0][1].sequence
    found["isMultiConfig"] = extension.is_multi_config
    if pairs:
        found["settings"] = [_json_settings(extension, name, one) for name, one in pairs]
    depends_on = []
    if extension.instances:
        for instance in extension.instances:
            level = levels[extension.name, instance.name]
            if level or instance.depends_on:
                depends_on.append({"dependsOnExtension": _json_targets(instance.depends_on),
                                   "dependencyLevel": level, "name": instance.name})
    elif levels[extension.name, ""] or extension.depends_on:
        depends_on.append({"dependsOnExtension": _json_targets(extension.depends_on),
                           "dependencyLevel": levels[extension.name, ""]})
    if depends_on:
        found["dependsOn"] = depends_on
    return found


def _json_settings(extension: Extension, name: str, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if settings.encrypted:
        found["protectedSettingsCertThumbprint"] = settings.thumbprint
        found["protectedSettings"] = settings.encrypted
    if settings.public is not None:
        found["publicSettings"] = json.dumps(settings.public)
    if name:
        state = next(one.state for one in extension.instances if one.name == name)
        found.update({"seqNo": settings.sequence, "extensionName": name, "extensionState": state})
    return found


def _json_targets(names: list[str]) -> list[dict[str, str]]:
    found = []
    for name in names:
        handler, _, instance = name.partition("/")
        found.append({"extension": instance, "handler": handler} if instance else {"handler": handler})
    return found


# --- packages and profile ----------------------------------------------------------------------------------------

def manifest(versions_with_uris: list[tuple[str, list[str]]], internal: list[tuple[str, list[str]]]) -> str:
    def plugin(version: str, uris: list[str]) -> str:
        items = "".join(f"        <Uri>{_text(uri)}</Uri>\n" for uri in uris)
        return (f"    <Plugin>\n      <Version>{_text(version)}</Version>\n      <Uris>\n{items}      </Uris>\n"
                "    </Plugin>\n")

    hidden = "".join(plugin(*one) for one in internal)
    if hidden:
        hidden = f"  <InternalPlugins>\n{hidden}  </InternalPlugins>\n"
    public = "".join(plugin(*one) for one in versions_with_uris)
    return (f'{DECLARATION}<PluginVersionManifest xmlns:i="http://www.w3.org/2001/XMLSchema-instance">\n'
            f"  <Plugins>\n{public}  </Plugins>\n{hidden}</PluginVersionManifest>\n")


def artifacts_profile(machine: Machine) -> str:
    return json.dumps({
        "inVMArtifactsProfileBlobSeqNo": machine.fabric_goal.sequence, "profileId": machine.guid("profile"),
        "onHold": machine.fabric_goal.on_hold, "certificateThumbprint": None, "encryptedHealthChecks": None,
        "encryptedApplicationProfile": None})
