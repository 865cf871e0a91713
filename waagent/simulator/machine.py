"""One simulated virtual machine: identity, what its owner asked for, its goal states, what it reported.

A Machine is made by `Simulator.machine(name, ...)`. Its methods may be called from any thread; the server thread
reads it under the simulator's lock. Rendered documents are kept until something changes.

    publish(...)              a new goal state, by the wire server (new incarnation) or by fast track (new ETag)
    move()                    the VM moves to another node: new container id and config name, same incarnation
    rotate_certificate(...)   a new tenant certificate, with or without a new incarnation
    ovf_env(), write_media(), write_iso()
    wait_for(what, timeout)   until the machine has reported something
    reports                   see reports.py

Source: wire-protocol 0.3, 2, 3.3, 3.4; provisioning 3.5.
"""
from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Optional, Union
from urllib.parse import quote

from . import documents, keys, media
from .errors import NotReported, SimulatorError
from .goal_state import Extension, Family, Goal, RemoteUser, Settings, ticks_now
from .reports import Reports, part

if TYPE_CHECKING:
    from .simulator import Simulator

# How long an incarnation may still be named in reports after a newer one was published, in seconds.
GRACE = 60.0

# Attributes that a caller may give to Simulator.machine() and that a restart brings back; with their defaults.
PLAIN: dict[str, Any] = {
    "vm_id": None, "host_name": None, "user": "azureuser", "password": None,
    "disable_password_authentication": None, "provision_guest_agent": True,
    "container_id": None, "deployment_id": None, "role_name": None,
    "location": "simregion1", "vm_size": "Standard_Sim2s", "subscription_id": None, "resource_group": "rg-sim",
    "private_address": "10.20.0.4", "public_address": "203.0.113.17", "mac_address": "00224805A1B2", "tags": "",
    "zone": "", "scale_set": "", "user_data": None, "pps_type": "None",
    "status_blob_type": "BlockBlob", "status_upload": True,
    "host_plugin_version": "1.0.8.161", "vm_settings_supported": True, "sas_expires": "9999-01-01T00:00:00Z",
}
IMAGE = {"publisher": "contoso", "offer": "simlinux", "sku": "9", "version": "9.1.20261101"}
UNSET: Any = object()


class Machine:
    """See the module's docstring. Attributes of PLAIN may be set directly; call `touch()` afterwards."""

    vm_id: str
    host_name: str
    user: str
    password: Optional[str]
    disable_password_authentication: bool
    provision_guest_agent: bool
    container_id: str
    deployment_id: str
    role_name: str
    location: str
    vm_size: str
    subscription_id: str
    resource_group: str
    private_address: str
    public_address: str
    mac_address: str
    tags: str
    zone: str
    scale_set: str
    user_data: Optional[str]
    pps_type: str
    status_blob_type: str
    status_upload: bool
    host_plugin_version: str
    vm_settings_supported: bool
    sas_expires: str

    def __init__(self, simulator: Simulator, name: str, given: dict[str, Any]) -> None:
        self.simulator = simulator
        self.name = name
        for key, default in PLAIN.items():
            setattr(self, key, given.get(key, default))
        self.vm_id = self.vm_id or str(uuid.uuid4())
        self.host_name = self.host_name or name
        self.container_id = self.container_id or str(uuid.uuid4())
        self.deployment_id = self.deployment_id or str(uuid.uuid4())
        self.subscription_id = self.subscription_id or str(uuid.uuid5(uuid.NAMESPACE_DNS, "sim.example"))
        self.role_name = self.role_name or f"_{name}"
        self.ssh_keys: list[tuple[str, Optional[str]]] = [_with_path(one) for one in given.get("ssh_keys", ())]
        self.ssh_fingerprints: list[tuple[str, Optional[str]]] = [
            _with_path(one) for one in given.get("ssh_fingerprints", ())]
        self.ssh_key_pairs: list[tuple[str, str]] = [(one[0], one[1]) for one in given.get("ssh_key_pairs", ())]
        if given.get("disable_password_authentication") is None:
            self.disable_password_authentication = not self.password
        custom = given.get("custom_data")
        self.custom_data: Optional[bytes] = custom.encode() if isinstance(custom, str) else custom
        self.platform_settings: dict[str, str] = {"PreprovisionedVm": "false"}
        self.platform_settings.update(given.get("platform_settings", {}))
        self.image: dict[str, str] = {**IMAGE, **given.get("image", {})}
        self.addresses: set[str] = set(given.get("addresses", ()))
        self.ciphers: set[str] = set(given.get("ciphers", keys.CIPHERS))
        self.retired_containers: list[str] = []
        self.retired_config_names: list[str] = []
        self.blob_key = secrets.token_hex(16)
        self.config_number = 1
        self.incarnation = 1
        self.certificates_incarnation = 1
        self.superseded: dict[int, float] = {}
        self.fabric_goal = Goal()
        self.fast_goal: Optional[Goal] = None
        self.etag = _new_etag()
        self.remote_users: Optional[list[RemoteUser]] = None
        self.certificates: list[keys.Certificate] = []
        self.sequences: dict[str, tuple[str, int]] = {}
        self.reprovision_data: Optional[str] = None
        self.reports = Reports()
        self.throttle: list[float] = []
        self._rendered: dict[tuple[str, str], bytes] = {}
        self._encrypted: dict[tuple[Any, ...], bytes] = {}

    # --- identity -------------------------------------------------------------------------------------------------

    @property
    def instance_id(self) -> str:
        return f"{self.deployment_id}.{self.role_name}"

    @property
    def config_name(self) -> str:
        one = self.deployment_id
        return f"{one}.0.{one}.0.{self.role_name}.{self.config_number}.xml"

    @property
    def tenant_certificate(self) -> keys.Certificate:
        return self.certificates[0]

    def guid(self, purpose: str) -> str:
        """A GUID that belongs to this machine and purpose, the same at every start."""
        return str(uuid.uuid5(uuid.UUID(self.vm_id), purpose))

    def secrets(self) -> list[str]:
        """Texts that must never be reported back."""
        found = [self.password] if self.password else []
        return [*found, *(one.password for one in self.remote_users or ())]

    # --- provisioning medium --------------------------------------------------------------------------------------

    def ovf_env(self) -> str:
        return media.ovf_env(self)

    def write_media(self, directory: Union[str, os.PathLike[str]]) -> str:
        """Write ovf-env.xml into a directory; returns the file's path."""
        return media.write_directory(self.ovf_env(), directory)

    def write_iso(self, path: Union[str, os.PathLike[str]]) -> str:
        """Write a DVD image; returns the name of the program that made it."""
        return media.write_image(self.ovf_env(), path)

    # --- certificates ---------------------------------------------------------------------------------------------

    def add_certificate(self, certificate: Optional[keys.Certificate] = None, *, name: str = "",
                        with_key: bool = True) -> keys.Certificate:
        """Put one more certificate into the bundle (a new one unless given)."""
        made = certificate or keys.make_certificate(name or "Simulated Certificate", name, with_key=with_key)
        with self.simulator.lock:
            self.certificates.append(made)
            self._certificates_changed()
        return made

    def add_ssh_certificate(self, path: Optional[str] = None) -> keys.Certificate:
        """A key that comes by certificate: in the bundle without private key, as Fingerprint in ovf-env.xml."""
        made = self.add_certificate(name="Simulated SSH Key Wrapper", with_key=False)
        self.ssh_fingerprints.append((made.thumbprint, path))
        self.touch()
        return made

    def add_key_pair(self, path: str) -> keys.Certificate:
        """A private key to be deployed at `path`: in the bundle with its key, as KeyPair in ovf-env.xml."""
        made = self.add_certificate(name="Simulated Key Pair", with_key=True)
        self.ssh_key_pairs.append((made.thumbprint, path))
        self.touch()
        return made

    def rotate_certificate(self, new_incarnation: bool = True) -> keys.Certificate:
        """Replace the tenant certificate and encrypt all protected settings anew."""
        made = keys.make_certificate("Simulated Fabric Certificate Generator", "TenantEncryptionCert", domain=True)
        goals = [goal for goal in (self.fabric_goal, self.fast_goal) if goal is not None]
        for goal in goals:
            for extension in goal.extensions:
                for _, settings in extension.all_settings():
                    _encrypt(settings, made, force=True)
        with self.simulator.lock:
            self.certificates[0] = made
            self._certificates_changed()
            if new_incarnation:
                self._next_incarnation()
        self.touch()
        return made

    def _certificates_changed(self) -> None:
        self.certificates_incarnation += 1
        self._encrypted.clear()
        self.touch()

    def encrypted_bundle(self, presented: str, cipher: str) -> bytes:
        """The bundle as CMS for the presented certificate (PEM); blocks on openssl the first time."""
        key = ("bundle", presented, cipher, self.certificates_incarnation)
        found = self._encrypted.get(key)
        if found is None:
            plain = self._encrypted.get(("pfx", self.certificates_incarnation))
            if plain is None:
                plain = self.simulator.pfx(self.certificates)
                self._encrypted["pfx", self.certificates_incarnation] = plain
            found = keys.encrypt_to_presented(plain, presented, cipher)
            self._keep(key, found)
        return found

    def encrypted_password(self, user: RemoteUser, presented: str, cipher: str) -> bytes:
        key = ("password", user.name, user.password, presented, cipher)
        found = self._encrypted.get(key)
        if found is None:
            found = keys.encrypt_to_presented(user.password.encode("utf-16-le"), presented, cipher)
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[Any, ...], value: bytes) -> None:
        while len(self._encrypted) > 16:
            self._encrypted.pop(next(iter(self._encrypted)), None)
        self._encrypted[key] = value

    # --- goal states ----------------------------------------------------------------------------------------------

    def publish(self, extensions: Optional[Iterable[Union[Extension, dict[str, Any]]]] = None, *,
                source: str = "fabric", remote_users: Any = UNSET, on_hold: Optional[bool] = None,
                families: Optional[Iterable[Union[Family, dict[str, Any]]]] = None,
                required_features: Optional[list[str]] = None, ticks: Optional[int] = None,
                sequence: Optional[int] = None) -> str:
        """Publish a goal state and return its label: the incarnation (fabric) or the ETag (fasttrack).

        Whatever is not given stays as it was. Sequence numbers of settings that have none count up by themselves
        when the content changes. `remote_users` None takes the RemoteAccessInfo element out of the goal state.
        """
        if source not in ("fabric", "fasttrack"):
            raise SimulatorError(f"cannot publish: source is {source!r}; known are fabric and fasttrack")
        before = self.fast_goal or self.fabric_goal
        listed = before.extensions if extensions is None else [Extension.of(one) for one in extensions]
        goal = Goal(
            listed,
            list(before.families) if families is None else [Family.of(one) for one in families],
            list(before.required_features if required_features is None else required_features),
            before.on_hold if on_hold is None else on_hold,
            max(ticks_now(), before.ticks + 1) if ticks is None else ticks,
            sequence=before.sequence + 1 if sequence is None else sequence)
        documents.check(self, goal)
        for extension in goal.extensions:
            for instance, settings in extension.all_settings():
                self._number(extension.name, instance, settings)
                _encrypt(settings, self.tenant_certificate)
        with self.simulator.lock:
            if remote_users is not UNSET:
                self.remote_users = None if remote_users is None else [RemoteUser.of(one) for one in remote_users]
            if source == "fabric":
                self.fabric_goal = goal
                self.fast_goal = None
                self._next_incarnation()
            else:
                self.fast_goal = goal
            self.etag = _new_etag()
            self.touch()
            return str(self.incarnation) if source == "fabric" else self.etag

    def _number(self, handler: str, instance: str, settings: Settings) -> None:
        key = f"{handler.lower()}/{instance}"
        digest = settings.digest()
        last = self.sequences.get(key)
        if settings.sequence is None:
            settings.sequence = 0 if last is None else last[1] if last[0] == digest else last[1] + 1
        self.sequences[key] = (digest, settings.sequence)

    def _next_incarnation(self) -> None:
        self.superseded[self.incarnation] = time.time()
        self.incarnation += 1

    def move(self) -> str:
        """Move to another node: new container id and role config name under the same incarnation."""
        with self.simulator.lock:
            self.retired_containers.append(self.container_id)
            self.retired_config_names.append(self.config_name)
            self.container_id = str(uuid.uuid4())
            self.config_number += 1
            self.simulator.forget_containers()
            self.touch()
            return self.container_id

    @property
    def vm_settings_source(self) -> str:
        return "Fabric" if self.fast_goal is None else "FastTrack"

    def incarnation_state(self, text: str) -> str:
        """current, recent (named within GRACE of being superseded), stale, or unknown."""
        if text == str(self.incarnation):
            return "current"
        when = self.superseded.get(int(text)) if text.isdigit() else None
        if when is None:
            return "unknown"
        return "recent" if time.time() - when < GRACE else "stale"

    # --- URLs -----------------------------------------------------------------------------------------------------

    def status_url(self, blobs: str) -> str:
        return self._signed(blobs, f"/status/$system/{self.name}.{self.vm_id}.status", "w")

    def profile_url(self, blobs: str) -> str:
        return self._signed(blobs, f"/status/$system/{self.name}.{self.vm_id}.vmSettings", "r")

    def _signed(self, blobs: str, path: str, permission: str) -> str:
        expires = quote(self.sas_expires, safe="").replace("%3A", "%3a")
        signature = quote(self.signature(path, permission), safe="")
        return f"{blobs}{path}?sv=2018-03-28&sr=b&sk=system-1&sig={signature}&se={expires}&sp={permission}"

    def signature(self, path: str, permission: str) -> str:
        text = f"{path}\n{permission}\n{self.sas_expires}".encode()
        return base64.b64encode(hmac.new(self.blob_key.encode(), text, hashlib.sha256).digest()).decode()

    def manifest_urls(self, extension: Extension, blobs: str) -> list[str]:
        if extension.locations is not None:
            return extension.locations
        return [f"{blobs}/{account}/packages/{extension.name}_{self.location}_manifest.xml"
                for account in ("primary", "secondary")]

    def family_uris(self, family: Family, blobs: str) -> list[str]:
        if family.uris is not None:
            return family.uris
        if not self.simulator.blobs.versions(f"GuestAgent.{family.name}"):
            return []
        return [f"{blobs}/{account}/packages/GuestAgent.{family.name}_{self.location}_manifest.xml"
                for account in ("primary", "secondary")]

    # --- rendering ------------------------------------------------------------------------------------------------

    def touch(self) -> None:
        """Something changed: forget rendered documents, save, wake up who waits."""
        with self.simulator.lock:
            self._rendered.clear()
            self.simulator.machine_changed(self)

    def rendered(self, kind: str, base: str, render: Callable[[], str]) -> bytes:
        found = self._rendered.get((kind, base))
        if found is None:
            if len(self._rendered) > 64:
                self._rendered.clear()
            found = render().encode("utf-8")
            self._rendered[kind, base] = found
        return found

    def goal_state_document(self, base: str) -> bytes:
        return self.rendered("goalstate", base, lambda: documents.goal_state(self, base))

    def extensions_document(self, blobs: str) -> bytes:
        return self.rendered("extensions", blobs,
                             lambda: documents.extensions_config(self, self.fabric_goal, blobs))

    def vm_settings_document(self, blobs: str) -> bytes:
        goal = self.fast_goal or self.fabric_goal
        return self.rendered("vmsettings", blobs,
                             lambda: documents.vm_settings(self, goal, self.vm_settings_source, blobs))

    # --- waiting --------------------------------------------------------------------------------------------------

    def wait_for(self, what: Union[str, Callable[[Machine], Any]], timeout: float = 30.0) -> Any:
        """Wait until `what` holds and return its value; NotReported says what was seen instead.

        `what` is a callable that gets the machine, or one of: `ready`, `provisioning`, `failed`, `status` (an
        upload after this call), `goal-state` (the current goal state is reported as processed), `extension=NAME` or
        `extension=NAME/INSTANCE` (its current sequence number is reported with a final status).
        """
        test = self.condition(what) if isinstance(what, str) else what
        return self.simulator.wait(lambda: test(self), timeout, lambda: self._unmet(what, timeout))

    def _unmet(self, what: object, timeout: float) -> NotReported:
        seen = self.reports
        return NotReported(
            f"{self.name} did not report {what if isinstance(what, str) else 'what was waited for'} within "
            f"{timeout:g} s: provisioning state {seen.provisioning_state}, {len(seen.health)} health reports, "
            f"{seen.status_count} status uploads, extensions "
            f"{[(one['name'], one['handler_status'], one['sequence'], one['status']) for one in _brief(seen)]}")

    def condition(self, what: str, seen: Optional[int] = None) -> Callable[[Machine], Any]:
        """The test behind a name of `wait_for`; `status` counts uploads beyond `seen` (default: beyond now)."""
        name, _, value = what.partition("=")
        if name in ("ready", "provisioning", "failed") and not value:
            return lambda machine: machine.reports.provisioning_state.lower() == name
        if name == "status" and not value:
            before = self.reports.status_count if seen is None else seen
            return lambda machine: machine.reports.status if machine.reports.status_count > before else None
        if name == "goal-state" and not value:
            return Machine.goal_state_reported
        if name == "extension" and value:
            handler, _, instance = value.partition("/")
            return lambda machine: machine.extension_reported(handler, instance)
        raise SimulatorError(f"cannot wait for {what!r}; known are ready, provisioning, failed, status, "
                             "goal-state, extension=NAME, extension=NAME/INSTANCE, or a callable")

    def goal_state_reported(self) -> Optional[dict[str, Any]]:
        """goalStateAggregateStatus if it is about the goal state in force, else None."""
        found = part(self.reports.status, "aggregateStatus", "vmArtifactsAggregateStatus",
                     "goalStateAggregateStatus")
        wanted = self.incarnation if self.fast_goal is None else self.fast_goal.sequence
        return found if found and str(found.get("inSvdSeqNo")) == str(wanted) else None

    def extension_reported(self, handler: str, instance: str = "") -> Optional[dict[str, Any]]:
        """The handler's entry once it is final for the goal state in force, else None."""
        goal = self.fast_goal or self.fabric_goal
        wanted = next((one for one in goal.extensions if one.name.lower() == handler.lower()), None)
        entry = self.reports.extension(handler, instance)
        if wanted is not None and wanted.state == "uninstall":
            return {"handlerName": handler, "status": "NotInstalled"} \
                if entry is None and self.goal_state_reported() else None
        if entry is None or wanted is None or entry.get("handlerVersion") != wanted.version:
            return None
        sequences = [one.sequence for name, one in wanted.all_settings() if not instance or name == instance]
        runtime = part(entry, "runtimeSettingsStatus")
        if not sequences:
            return entry if entry.get("status") in ("Ready", "NotReady", "Unresponsive") else None
        if runtime.get("sequenceNumber") not in sequences:
            return None
        status = part(runtime, "settingsStatus", "status").get("status")
        return entry if status in ("success", "error", "warning") else None

    # --- persistence ----------------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Everything but the reports; see `restore`."""
        found = {key: getattr(self, key) for key in PLAIN}
        found.update({
            "name": self.name, "ssh_keys": self.ssh_keys, "ssh_fingerprints": self.ssh_fingerprints,
            "ssh_key_pairs": self.ssh_key_pairs,
            "custom_data": None if self.custom_data is None else base64.b64encode(self.custom_data).decode(),
            "platform_settings": self.platform_settings, "image": self.image, "addresses": sorted(self.addresses),
            "ciphers": sorted(self.ciphers), "retired_containers": self.retired_containers,
            "retired_config_names": self.retired_config_names, "blob_key": self.blob_key,
            "config_number": self.config_number, "incarnation": self.incarnation,
            "certificates_incarnation": self.certificates_incarnation,
            "superseded": {str(key): value for key, value in self.superseded.items()},
            "fabric_goal": self.fabric_goal.as_dict(),
            "fast_goal": None if self.fast_goal is None else self.fast_goal.as_dict(), "etag": self.etag,
            "remote_users": None if self.remote_users is None else [one.as_dict() for one in self.remote_users],
            "certificates": [list(one) for one in self.certificates], "sequences": self.sequences,
            "reprovision_data": self.reprovision_data,
        })
        return found

    @classmethod
    def restore(cls, simulator: Simulator, given: dict[str, Any]) -> Machine:
        custom = given["custom_data"]
        machine = cls(simulator, given["name"],
                      {**given, "custom_data": None if custom is None else base64.b64decode(custom)})
        for key in ("retired_containers", "retired_config_names", "blob_key", "config_number", "incarnation",
                    "certificates_incarnation", "etag", "reprovision_data"):
            setattr(machine, key, given[key])
        machine.superseded = {int(key): value for key, value in given["superseded"].items()}
        machine.fabric_goal = Goal.of(given["fabric_goal"])
        machine.fast_goal = None if given["fast_goal"] is None else Goal.of(given["fast_goal"])
        users = given["remote_users"]
        machine.remote_users = None if users is None else [RemoteUser.of(one) for one in users]
        machine.certificates = [keys.Certificate(*one) for one in given["certificates"]]
        machine.sequences = {key: (value[0], value[1]) for key, value in given["sequences"].items()}
        return machine


def _with_path(given: Any) -> tuple[str, Optional[str]]:
    if isinstance(given, str):
        return given, None
    return given[0], given[1]


def _new_etag() -> str:
    return str(secrets.randbits(64) | 1 << 63)


def _encrypt(settings: Settings, certificate: keys.Certificate, force: bool = False) -> None:
    if settings.protected is None or (settings.encrypted and not force):
        return
    import json
    settings.encrypted = keys.encrypt_settings(json.dumps(settings.protected).encode(), certificate.certificate)
    settings.thumbprint = certificate.thumbprint


def _brief(seen: Reports) -> list[dict[str, Any]]:
    extensions: list[dict[str, Any]] = seen.summary()["extensions"]
    return extensions
