"""The simulator: listening sockets, machines, packages, faults, and the record of what came in.

    with Simulator(host="127.0.0.1", wire_port=0, plugin_port=0, imds_port=0) as sim:
        machine = sim.machine("vm01", user="ada", ssh_keys=["ssh-ed25519 …"])
        sim.add_package("Contoso.Sim.Monitor-1.9.1/")
        machine.publish([{"name": "Contoso.Sim.Monitor", "version": "1.9.1", "public": {"a": 1}}])
        … start an agent …
        machine.wait_for("ready", timeout=30)
        assert not sim.violations

Which machine a request belongs to: the container id in its path, header or body; else the address it came from
(`addresses=` of the machine); else, if there is one machine only, that one; else the default machine.

One lock guards everything that requests read or change. Public methods take it themselves.
"""
from __future__ import annotations

import json
import logging
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable
from typing import Any, Callable, Optional, TypeVar, Union

from . import blobs, control, documents, host_plugin, imds, keys, wire
from .blobs import BlobStore
from .errors import SimulatorError
from .faults import Fault
from .listener import Answer, Later, Request, Response, Server
from .machine import PLAIN, Machine
from .packages import Package, from_bytes, read_package
from .record import RequestLog, RequestRecord, Violation
from .rules import Refused
from .store import Store

LOG = logging.getLogger("waagent.simulator")
Value = TypeVar("Value")
PROXY_HEADERS = ("via", "forwarded", "x-forwarded-host", "proxy-connection", "proxy-authorization")
LISTS = ("ssh_keys", "ssh_fingerprints", "ssh_key_pairs", "custom_data", "platform_settings", "image", "addresses",
         "ciphers")
VIOLATIONS_KEPT = 10000
ERRORS = {"wire": wire.error_document, "host_plugin": host_plugin.error_document, "imds": imds.error_document,
          "blob": blobs.error_document, "control": control.error_document}


class Simulator:
    """See the module's docstring.

    host, imds_host         addresses to bind (imds_host defaults to host)
    wire_port, plugin_port, imds_port   0 picks a free port; imds_port None: no metadata service
    blob_port               a listener of its own for storage, default None: behind `blob_prefix` of the wire port
    blob_url                base under which clients reach storage, default derived from the Host header
    wire_public_url         base of goal state URLs, default from the Host header
    packages                directory whose packages are served (see scan_packages)
    blob_tls                (certificate file, key file) for the blob listener: https
    control_port            the control API and web page on 127.0.0.1, default None: off
    state                   SQLite file; what is in it is taken up again
    keep_requests           how many requests the record holds
    shared_certificate      one tenant certificate for all machines (creating a thousand is then quick): True, or
                            a Certificate that the caller keeps (tests then make no keys at all)
    """

    def __init__(self, host: str = "127.0.0.1", wire_port: int = 0, plugin_port: int = 0,
                 imds_port: Optional[int] = 0, *, imds_host: Optional[str] = None,
                 blob_port: Optional[int] = None, blob_host: Optional[str] = None, blob_url: Optional[str] = None,
                 blob_prefix: str = "/blob", wire_public_url: Optional[str] = None,
                 packages: Optional[Union[str, os.PathLike[str]]] = None,
                 blob_tls: Optional[tuple[str, str]] = None,
                 control_port: Optional[int] = None, control_host: str = "127.0.0.1",
                 state: Optional[Union[str, os.PathLike[str]]] = None, keep_requests: int = 20000,
                 shared_certificate: Union[bool, keys.Certificate] = False) -> None:
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.machines: dict[str, Machine] = {}
        self.default_machine: Optional[Machine] = None
        self.requests = RequestLog(keep_requests)
        self.violations: deque[Violation] = deque(maxlen=VIOLATIONS_KEPT)
        self.errors: list[str] = []
        self.faults: list[Fault] = []
        self._fault_number = 0
        self.blobs = BlobStore(self)
        self.blob_prefix = blob_prefix
        self._blob_url = blob_url
        self._wire_public_url = wire_public_url
        self._packages_directory = packages
        self._scanned: dict[str, float] = {}
        self._blob_port = blob_port
        self._blob_scheme = "https" if blob_tls else "http"
        self._containers: Optional[dict[str, tuple[Machine, bool]]] = None
        self._addresses: dict[str, Machine] = {}
        self._pfx: dict[tuple[str, ...], bytes] = {}
        self._shared = bool(shared_certificate)
        self._shared_certificate = shared_certificate if isinstance(shared_certificate, keys.Certificate) else None
        self.store = None if state is None else Store(state)
        if self.store is not None:
            self._take_up(self.store)
        if packages is not None:
            self.scan_packages()
        self.host = host
        self.server = Server(self._dispatch, self._finish, self._broken, self._garbage)
        try:
            self.wire_port = self.server.open("wire", host, wire_port)
            self.plugin_port = self.server.open("host_plugin", host, plugin_port)
            self.imds_host = imds_host or host
            self.imds_port = None if imds_port is None else self.server.open("imds", self.imds_host, imds_port)
            self.blob_port = self.wire_port
            if blob_port is not None:
                self.blob_port = self.server.open("blob", blob_host or host, blob_port, _tls(blob_tls))
            self.control_port = None if control_port is None \
                else self.server.open("control", control_host, control_port)
        except OSError as error:
            self.server.stop()
            if self.store is not None:
                self.store.close()
            raise SimulatorError(f"cannot listen on {host}: {error}; is another simulator running, or do you lack "
                                 "the right to use low ports?") from error
        self._running = False

    # --- running --------------------------------------------------------------------------------------------------

    def start(self) -> Simulator:
        self.server.start()
        self._running = True
        return self

    def stop(self) -> None:
        self.server.stop()
        self._running = False
        if self.store is not None:
            self.store.close()

    def __enter__(self) -> Simulator:
        return self if self._running else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def wire_url(self) -> str:
        return f"http://{self.host}:{self.wire_port}"

    @property
    def plugin_url(self) -> str:
        return f"http://{self.host}:{self.plugin_port}"

    @property
    def imds_url(self) -> Optional[str]:
        return None if self.imds_port is None else f"http://{self.imds_host}:{self.imds_port}"

    @property
    def control_url(self) -> Optional[str]:
        return None if self.control_port is None else f"http://127.0.0.1:{self.control_port}"

    @property
    def blob_url(self) -> str:
        """Storage as seen by a client that uses `host` as its address."""
        if self._blob_url:
            return self._blob_url
        return f"{self._blob_scheme}://{self.host}:{self.blob_port}{self.blob_prefix}"

    def wire_base(self, request: Request) -> str:
        """Scheme, host and port of goal state URLs: as in the Host header, the port always written out."""
        if self._wire_public_url:
            return self._wire_public_url
        host = request.header("host")
        return f"http://{host}" if _has_port(host) else f"http://{host}:80"

    def blob_base(self, request: Request) -> str:
        if self._blob_url:
            return self._blob_url
        host = _without_port(request.header("host")) or self.host
        default = 443 if self._blob_scheme == "https" else 80
        port = "" if self.blob_port == default else f":{self.blob_port}"
        return f"{self._blob_scheme}://{host}{port}{self.blob_prefix}"

    # --- machines -------------------------------------------------------------------------------------------------

    def machine(self, name: str = "vm01", **given: Any) -> Machine:
        """Create a machine, or return it if it exists (then nothing else may be given).

        vm_id, host_name, user, password, ssh_keys (OpenSSH lines, or (line, path)), custom_data (text or bytes),
        disable_password_authentication, provision_guest_agent, platform_settings, addresses (client addresses),
        image, location, vm_size, container_id, deployment_id, … : see machine.PLAIN. The first machine is the
        default one.
        """
        with self.lock:
            found = self.machines.get(name)
        if found is not None:
            if given:
                raise SimulatorError(f"machine {name} exists already; change its attributes and call touch()")
            return found
        unknown = sorted(set(given) - set(PLAIN) - set(LISTS))
        if unknown:
            raise SimulatorError(f"machine has no field {', '.join(unknown)}; known are "
                                 f"{', '.join([*PLAIN, *LISTS])}")
        if not name or any(one in name for one in "/?#% \t\r\n&") or name.startswith("."):
            raise SimulatorError(f"machine name {name!r}: letters, digits, dots, hyphens and underscores only")
        machine = Machine(self, name, given)
        machine.certificates.append(self._tenant_certificate())
        documents.check(machine, machine.fabric_goal)
        with self.lock:
            self.machines[name] = machine
            if self.default_machine is None:
                self.default_machine = machine
            self.forget_containers()
            self.machine_changed(machine)
        return machine

    def _tenant_certificate(self) -> keys.Certificate:
        if self._shared and self._shared_certificate is not None:
            return self._shared_certificate
        made = keys.make_certificate("Simulated Fabric Certificate Generator", "TenantEncryptionCert", domain=True)
        self._shared_certificate = made
        return made

    def remove_machine(self, name: str) -> None:
        with self.lock:
            machine = self.machines.pop(name, None)
            if machine is None:
                raise SimulatorError(f"there is no machine {name}")
            if self.default_machine is machine:
                self.default_machine = next(iter(self.machines.values()), None)
            self.forget_containers()
            if self.store is not None:
                self.store.changed("machine", name, None)
                self.store.changed("report", name, None)

    def container(self, container: str) -> tuple[Optional[Machine], bool]:
        """The machine of a container id, and whether the id is the current one."""
        return self._by_container().get(container.lower(), (None, False))

    def _by_container(self) -> dict[str, tuple[Machine, bool]]:
        if self._containers is None:
            self._containers = {}
            self._addresses = {}
            for machine in self.machines.values():
                for old in machine.retired_containers:
                    self._containers[old.lower()] = (machine, False)
                for address in machine.addresses:
                    self._addresses[address] = machine
            for machine in self.machines.values():
                self._containers[machine.container_id.lower()] = (machine, True)
        return self._containers

    def forget_containers(self) -> None:
        """Container ids or client addresses changed."""
        self._containers = None

    def identify(self, request: Request) -> Optional[Machine]:
        """The machine of a request that carries no container id in its path or body."""
        containers = self._by_container()
        named = request.headers.get("x-ms-containerid")
        if named and named.lower() in containers:
            return containers[named.lower()][0]
        return self._addresses.get(request.client) or self.default_machine

    # --- packages -------------------------------------------------------------------------------------------------

    def add_package(self, path: Union[str, os.PathLike[str], bytes], name: Optional[str] = None,
                    version: Optional[str] = None, internal: bool = False) -> Package:
        """Serve a handler package: a zip, a directory with HandlerManifest.json, or the bytes of a zip."""
        found = from_bytes(path, "given as bytes", name, version) if isinstance(path, bytes) \
            else read_package(path, name, version)
        package = found._replace(internal=internal)
        with self.lock:
            self.blobs.add(package)
            if self.store is not None:
                self.store.write("INSERT OR REPLACE INTO package VALUES (?, ?, ?, ?)",
                                 package.name, package.version, int(internal), package.content)
        return package

    def scan_packages(self) -> list[Package]:
        """Serve what is new or changed in the packages directory: zips, and directories named Name-1.2.3."""
        found: list[Package] = []
        if self._packages_directory is None:
            return found
        root = os.fspath(self._packages_directory)
        try:
            names = sorted(os.listdir(root))
        except OSError as error:
            raise SimulatorError(f"cannot read packages directory {root}: {error.strerror}") from None
        for name in names:
            path = os.path.join(root, name)
            if not (name.endswith(".zip") or os.path.isfile(os.path.join(path, "HandlerManifest.json"))):
                continue
            changed = max((os.stat(os.path.join(where, one)).st_mtime
                           for where, _, files in os.walk(path) for one in files), default=os.stat(path).st_mtime)
            if self._scanned.get(path) != changed:
                found.append(self.add_package(path))
                self._scanned[path] = changed
        return found

    def add_agent_package(self, path: Union[str, os.PathLike[str], bytes], version: str,
                          family: str = "Prod") -> Package:
        """Serve an agent package of a family; publish(families=[{"name": family}]) then points to its manifest."""
        return self.add_package(path, f"GuestAgent.{family}", version)

    def put_file(self, name: str, content: bytes, content_type: str = "application/octet-stream") -> str:
        """Serve any bytes; returns the URL for a client that uses `host` as its address."""
        with self.lock:
            return self.blob_url + self.blobs.put_file(name, content, content_type)

    def pfx(self, certificates: list[keys.Certificate]) -> bytes:
        """The bundle of these certificates; made once. Called from worker threads."""
        key = tuple(one.thumbprint for one in certificates)
        found = self._pfx.get(key)
        if found is None:
            found = keys.pfx_bundle(certificates)
            if len(self._pfx) > 100:
                self._pfx.clear()
            self._pfx[key] = found
        return found

    # --- faults ---------------------------------------------------------------------------------------------------

    def fault(self, path: str = "*", **given: Any) -> Fault:
        """Inject a fault; see faults.py for what can be given. Faults are tried in the order they were added."""
        transform = given.pop("transform", None)
        made = Fault.of({"path": path, **given})
        made.transform = transform
        with self.lock:
            self._fault_number += 1
            made.number = self._fault_number
            self.faults.append(made)
            self.fault_met(made)
        return made

    def fault_met(self, fault: Fault) -> None:
        """Save a fault and how often it was met: a restart goes on counting. The lock is held."""
        if self.store is not None and fault.transform is None:
            self.store.changed("fault", str(fault.number), lambda: self._locked_json(fault.as_dict))

    def clear_faults(self, number: Optional[int] = None) -> int:
        """Remove one fault, or all; returns how many."""
        with self.lock:
            gone = [one for one in self.faults if number is None or one.number == number]
            self.faults = [one for one in self.faults if one not in gone]
            if self.store is not None:
                for one in gone:
                    self.store.changed("fault", str(one.number), None)
        return len(gone)

    # --- waiting --------------------------------------------------------------------------------------------------

    def wait(self, test: Callable[[], Optional[Value]], timeout: float, unmet: Callable[[], Exception]) -> Value:
        """Wait until `test` gives something true; it is asked again after every request."""
        with self._changed:
            found = self._changed.wait_for(test, timeout)
            if not found:
                raise unmet()
            return found

    def wait_for_request(self, test: Callable[[RequestRecord], Any], timeout: float = 10.0) -> RequestRecord:
        """The newest recorded request for which `test` holds, waiting for it if need be."""
        def newest() -> Optional[RequestRecord]:
            return next((one for one in reversed(list(self.requests)) if test(one)), None)
        return self.wait(newest, timeout, lambda: SimulatorError(
            f"no such request within {timeout:g} s; the last ones were {list(self.requests)[-5:]}"))

    # --- what handlers call ---------------------------------------------------------------------------------------

    def machine_changed(self, machine: Machine) -> None:
        """Save a machine and wake up who waits. The lock is held."""
        if self.store is not None and machine.name in self.machines:
            self.store.changed("machine", machine.name, lambda: self._locked_json(machine.as_dict))
        self._changed.notify_all()

    def reported(self, machine: Machine) -> None:
        """Save what a machine reported. The lock is held."""
        if self.store is not None:
            self.store.changed("report", machine.name, lambda: self._locked_json(machine.reports.as_dict))

    def _locked_json(self, content: Callable[[], dict[str, Any]]) -> str:
        with self.lock:
            return json.dumps(content())

    def check_secrets(self, request: Request, machine: Machine, text: str) -> None:
        """Record a violation if a reported text holds a password or a storage signature."""
        for secret in machine.secrets():
            if len(secret) >= 6 and secret in text:
                request.broken.append(("secret", f"a password of {machine.name} appears in what was reported"))
        if "&sig=" in text or "?sig=" in text:
            request.broken.append(("secret", "a storage signature (sig=) appears in what was reported"))

    # --- requests -------------------------------------------------------------------------------------------------

    def _dispatch(self, request: Request) -> Answer:
        if request.service == "control":
            return self._guarded(request, lambda: control.handle(self, request))
        with self.lock:
            request.number = self.requests.next_number()
            fault = self._fault_for(request) if self.faults else None
            request.fault = fault
            if fault is not None:
                self.fault_met(fault)
            if fault is not None and fault.preempts:
                machine = self.identify(request)
                request.machine = machine.name if machine is not None else ""
                return fault.instead()
            return self._guarded(request, lambda: self._route(request))

    def _guarded(self, request: Request, serve: Callable[[], Answer]) -> Answer:
        try:
            return serve()
        except Refused as refused:
            if refused.rule is not None:
                request.broken.append((refused.rule, refused.message))
            return ERRORS[request.service](refused)
        except Exception as error:  # a bug here must show up in the test that met it, not hang its client
            return self._broken(request, error)

    def _route(self, request: Request) -> Answer:
        self._check_transport(request)
        if request.service == "wire":
            path = self.blobs.strip(request.path)
            if path is not None and self._blob_port is None:
                request.service = "blob"
                return blobs.handle(self, request, path)
            return wire.handle(self, request)
        if request.service == "host_plugin":
            return host_plugin.handle(self, request)
        if request.service == "imds":
            return imds.handle(self, request)
        path = self.blobs.strip(request.path)
        return blobs.handle(self, request, request.path if path is None else path)

    def _check_transport(self, request: Request) -> None:
        if request.service != "blob" and self.blobs.strip(request.path) is None:
            through = [name for name in PROXY_HEADERS if name in request.headers]
            if through or (request.service == "wire" and "x-forwarded-for" in request.headers):
                raise Refused(400, f"the request came through a proxy ({', '.join(through) or 'x-forwarded-for'})",
                              "proxy")
        if not request.target.startswith("/"):
            raise Refused(400, f"the target is not a path: {request.target}", "proxy")
        if request.version == "HTTP/1.1" and not request.header("host"):
            raise Refused(400, "the Host header is missing", "http")

    def _fault_for(self, request: Request) -> Optional[Fault]:
        """The first fault that meets the request. Storage behind the wire port answers to both service names."""
        machine = self.identify(request)
        if request.path.startswith("/machine/") and len(request.path) > len("/machine/"):
            machine = self.container(request.path.split("/")[2])[0] or machine
        name = machine.name if machine is not None else ""
        own = request.service
        if own == "wire" and self.blobs.strip(request.path) is not None and self._blob_port is None:
            request.service = "blob"
        try:
            return next((one for one in self.faults if one.matches(request, name)), None)
        finally:
            request.service = own

    def _finish(self, request: Request, response: Response) -> Response:
        """Apply what is left of a fault, record the request, wake up who waits. Runs on the server's thread."""
        if request.service == "control":
            return response
        with self.lock:
            fault = request.fault
            if fault is not None and not fault.preempts:
                response = fault.applied(response)
            if not request.machine and request.client in self._addresses:  # refused before it was asked whose it is
                request.machine = self._addresses[request.client].name
            record = RequestRecord(request.number, request.received, request.service, request.client,
                                   request.method, request.target, request.headers, request.body)
            record.machine = request.machine
            record.status = 0 if response.reset or response.silent else response.status
            record.answer_size = len(response.body)
            record.seconds = time.time() - request.received
            record.fault = "" if fault is None else fault.describe()
            if request.broken:
                record.rules = tuple(rule for rule, _ in request.broken)
                for rule, message in request.broken:
                    self._violated(rule, message, request.machine, request.client,
                                   f"{request.method} {request.target}", request.number)
            self.requests.add(record)
            machine = self.machines.get(request.machine)
            if machine is not None:
                machine.reports.last_seen = request.received
                if not machine.reports.first_seen:
                    machine.reports.first_seen = request.received
            self._changed.notify_all()
        return response

    def _violated(self, rule: str, message: str, machine: str, client: str, line: str, number: int) -> None:
        violation = Violation(rule, message, machine, client, line, number)
        self.violations.append(violation)
        if self.store is not None:
            self.store.write("INSERT INTO violation (content) VALUES (?)", json.dumps(violation.as_dict()))

    def clear_violations(self) -> None:
        with self.lock:
            self.violations.clear()
            if self.store is not None:
                self.store.write("DELETE FROM violation")

    def _broken(self, request: Request, error: BaseException) -> Response:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        LOG.error("%s %s: %s", request.method, request.target, text)
        self.errors.append(text)
        return Response(500, f"the simulator failed: {error!r}", "text/plain")

    def _garbage(self, service: str, client: str, why: str) -> None:
        if service == "control":
            return
        with self.lock:
            self._violated("http", why, "", client, f"unreadable request to {service}", self.requests.next_number())
            self._changed.notify_all()

    # --- persistence ----------------------------------------------------------------------------------------------

    def _take_up(self, store: Store) -> None:
        for name, content in store.rows("machine"):
            self.machines[name] = Machine.restore(self, content)
        for name, content in store.rows("report"):
            if name in self.machines:
                self.machines[name].reports.restore(content)
        self.default_machine = next(iter(self.machines.values()), None)
        for name, version, archive, internal in store.packages():
            self.blobs.add(Package(name, version, archive, internal))
        for number, content in store.rows("fault"):
            known: dict[str, Any] = {key: content[key] for key in Fault.FIELDS}
            made = Fault.of(known)
            made.number, made.met, made.passed = int(number), content["met"], content["passed"]
            self.faults.append(made)
            self._fault_number = max(self._fault_number, made.number)
        for _, content in store.rows("violation"):
            self.violations.append(Violation(
                content["rule"], content["message"], content["machine"], content["client"], content["request"],
                content["request_number"], content["time"]))

    def flush(self) -> None:
        """Wait until the state is on disk (nothing to do without a state file)."""
        if self.store is not None:
            self.store.flush()


def _tls(files: Optional[tuple[str, str]]) -> Optional[object]:
    if files is None:
        return None
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].count(":") == 1 if host.startswith("[") else ":" in host


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if _has_port(host) else host


def sorted_machines(machines: Iterable[Machine]) -> list[Machine]:
    return sorted(machines, key=lambda one: one.name)


__all__ = ["Later", "Simulator", "sorted_machines"]
