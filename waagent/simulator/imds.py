"""The instance metadata service: 169.254.169.254.

    GET /metadata/instance[/path]?api-version=…[&format=text]    needs `Metadata: true`, no X-Forwarded-For
    GET /metadata/reprovisiondata?api-version=…                  404 until the pool VM gets its owner
    GET /metadata/attested/document?api-version=…                a signed document
    GET /metadata/versions                                       the known versions

Fields that a later api-version added are left out for earlier ones.

Source: wire-protocol 5.5, 10; observed-behaviour "The protocol".
"""
from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any

from . import keys
from .listener import Answer, Later, Request, Response
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

VERSIONS = ("2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01", "2018-04-02",
            "2018-10-01", "2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01",
            "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
            "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01",
            "2021-11-15", "2021-12-13", "2022-05-01", "2023-07-01", "2023-11-15", "2024-07-17", "2025-04-07")
JSON = "application/json; charset=utf-8"
DATE = re.compile(r"^\d{4}-\d\d-\d\d$")


def error_document(refused: Refused) -> Response:
    """How the metadata service words an error."""
    body: dict[str, Any] = {"error": refused.message}
    if refused.code == "versions":
        body["newest-versions"] = list(reversed(VERSIONS[-3:]))
    return Response(refused.status, json.dumps(body), JSON, refused.headers)


def handle(simulator: Simulator, request: Request) -> Answer:
    if not request.path.startswith("/metadata/"):
        raise Refused(404, "Not found", "unknown-path")
    if request.method != "GET":
        raise Refused(405, "Method not allowed", "method", headers={"Allow": "GET"})
    if request.header("x-forwarded-for"):
        raise Refused(400, "Bad request. X-Forwarded-For header is not allowed", "imds-header")
    if request.header("metadata").lower() != "true":
        raise Refused(400, "Bad request. Required metadata header not specified", "imds-header")
    machine = simulator.identify(request)
    if machine is None:
        raise Refused(404, "no machine is known for this address")
    request.machine = machine.name
    path = request.path.rstrip("/")
    if path == "/metadata/versions":
        return Response(200, json.dumps({"apiVersions": list(VERSIONS)}), JSON)
    version = request.parameters.get("api-version", "")
    if version not in VERSIONS and not (DATE.match(version) and version > VERSIONS[0] and version < VERSIONS[-1]):
        raise Refused(400, "Bad request. api-version is invalid or was not specified in the request.",
                      "imds-version", "versions")
    if path == "/metadata/instance" or path.startswith("/metadata/instance/"):
        return _instance(simulator, request, machine, path[len("/metadata/instance"):], version)
    if path == "/metadata/reprovisiondata":
        if machine.reprovision_data is None:
            raise Refused(404, "Not found")
        return Response(200, machine.reprovision_data, "text/xml; charset=utf-8")
    if path == "/metadata/attested/document":
        return _attested(request, machine)
    raise Refused(404, "Not found", "unknown-path")


def _instance(simulator: Simulator, request: Request, machine: Machine, path: str, version: str) -> Response:
    extended = request.parameters.get("extended", "").lower() == "true"
    if extended and version < "2021-01-01":
        raise Refused(400, "Bad request. extended is not known in this version", code="versions")
    wants_text = request.parameters.get("format", "").lower() == "text"

    def render() -> str:
        value: Any = instance(machine, version, extended)
        for part in path.strip("/").split("/"):
            if not part:
                continue
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, ValueError, TypeError):
                raise Refused(404, "Not found") from None
        if not wants_text:
            return json.dumps(value)
        if isinstance(value, dict):
            return "\n".join(key + ("/" if isinstance(one, (dict, list)) else "") for key, one in value.items())
        if isinstance(value, list):
            return "\n".join(f"{index}/" for index in range(len(value)))
        return str(value)

    body = machine.rendered(f"imds {version} {extended} {wants_text}", path, render)
    return Response(200, body, "text/plain; charset=utf-8" if wants_text else JSON)


def instance(machine: Machine, version: str, extended: bool) -> dict[str, Any]:
    """The document of one api-version."""
    compute: dict[str, Any] = {
        "location": machine.location, "name": machine.name, "offer": machine.image["offer"], "osType": "Linux",
        "platformFaultDomain": "0", "platformUpdateDomain": "0", "publisher": machine.image["publisher"],
        "sku": machine.image["sku"], "version": machine.image["version"], "vmId": machine.vm_id,
        "vmSize": machine.vm_size,
    }
    if version >= "2017-08-01":
        compute.update({"placementGroupId": "", "resourceGroupName": machine.resource_group,
                        "subscriptionId": machine.subscription_id, "tags": machine.tags})
    if version >= "2017-12-01":
        compute.update({"vmScaleSetName": machine.scale_set, "zone": machine.zone})
    if version >= "2018-04-02":
        compute["publicKeys"] = [
            {"keyData": value, "path": path or f"/home/{machine.user}/.ssh/authorized_keys"}
            for value, path in machine.ssh_keys]
        compute["plan"] = {"name": "", "product": "", "publisher": ""}
        compute["azEnvironment"] = "AzurePublicCloud"
        compute["provider"] = "Microsoft.Compute"
    if version >= "2019-06-01":
        compute["storageProfile"] = _storage(machine)
    if version >= "2020-06-01":
        compute["osProfile"] = {
            "adminUsername": machine.user, "computerName": machine.host_name,
            "disablePasswordAuthentication": str(machine.disable_password_authentication).lower()}
    if version >= "2021-01-01":
        compute["userData"] = "" if machine.user_data is None \
            else base64.b64encode(machine.user_data.encode()).decode()
    subnet = machine.private_address.rsplit(".", 1)[0] + ".0"
    network = {"interface": [{
        "ipv4": {"ipAddress": [{"privateIpAddress": machine.private_address,
                                "publicIpAddress": machine.public_address}],
                 "subnet": [{"address": subnet, "prefix": "24"}]},
        "ipv6": {"ipAddress": []},
        "macAddress": machine.mac_address.replace(":", "").upper()}]}
    found: dict[str, Any] = {"compute": dict(sorted(compute.items())), "network": network}
    if extended:
        found["extended"] = {"compute": {"hasCustomData": machine.custom_data is not None,
                                         "ppsType": machine.pps_type}}
    return found


def _storage(machine: Machine) -> dict[str, Any]:
    return {"dataDisks": [],
            "imageReference": {"id": "", **machine.image},
            "osDisk": {"caching": "ReadWrite", "createOption": "FromImage", "diskSizeGB": "30",
                       "name": f"{machine.name}_OsDisk_1", "osType": "Linux"},
            "resourceDisk": {"size": "16384"}}


def _attested(request: Request, machine: Machine) -> Answer:
    nonce = request.parameters.get("nonce", "")
    if len(nonce) > 32:
        raise Refused(400, "Bad request. nonce is longer than 32 characters")
    content = {
        "nonce": nonce or str(int(time.time())), "plan": {"name": "", "product": "", "publisher": ""},
        "timeStamp": {"createdOn": _stamp(time.time()), "expiresOn": _stamp(time.time() + 21600)},
        "vmId": machine.vm_id, "subscriptionId": machine.subscription_id, "sku": machine.image["sku"]}
    certificate = machine.tenant_certificate

    def sign() -> Response:
        signature = keys.sign(json.dumps(content).encode(), certificate)
        return Response(200, json.dumps({"encoding": "pkcs7", "signature": base64.b64encode(signature).decode()}),
                        JSON)
    return Later(sign)


def _stamp(when: float) -> str:
    return time.strftime("%m/%d/%y %H:%M:%S -0000", time.gmtime(when))
