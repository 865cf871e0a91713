"""One operation of a plan, carried out: commands with their environment, and what they change on disk.

Steps.perform(pair, operation) does one and raises ExtensionError when it failed and nothing tolerates that;
Steps.settle(...) draws the consequences of a command, also of one that an earlier process started.

Rules       what waagent.conf and the fabric say about running extensions
Announce    announce(event, **data) tells the hooks, and returns when they are through: "extension-started" before a
            command runs, "extension-finished" before what comes next; never twice at once

Source: extensions 3.5, 4.3 - 4.7.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from waagent import events
from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions import codes, commands, packages, quotas, signature
from waagent.extensions import handler as handlers
from waagent.extensions import policy as policies
from waagent.extensions import proof as proofs
from waagent.extensions import settings as settings_files
from waagent.extensions.commands import Command, Ended, Running
from waagent.extensions.journal import Journal
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release, Source
from waagent.extensions.plan import IF_CONTINUE, IGNORE, Operation, Pair, Refusal, Update
from waagent.extensions.policy import Policy
from waagent.fabric.desired import ENABLED, Desired
from waagent.machine import package_locks
from waagent.system import Effect, System

NOT_RUN = "NOT_RUN"
# What the platform calls the commands in events.
EVENT_OF = {
    "install": "Install", "enable": "Enable", "update": "Update", "disable": "Disable", "uninstall": "UnInstall",
}  # fmt: skip
SHIMS = "/usr/lib/waagent/data/python-shims"
DEPENDENCY_WAIT = 90 * 60.0

Announce = Callable[..., None]


@dataclass(frozen=True)
class Rules:
    """enabled and policy decide what runs at all; limits are seconds for each verb; features go to the handlers.

    parallel: so many handlers of one level may run side by side. enforce_limits: whether the manifests' quotas are
    set; unlimited: parts of names of handlers that get none, in lower case. package_wait: seconds to wait before a
    command while the package manager is busy. shims: whether handlers in Python find what newer ones have dropped.
    telemetry: whether events are kept for the platform's people.
    """

    enabled: bool = True
    policy: Policy | None = None
    policy_error: str = ""
    deny_user_changes: bool = False
    wire_address: str = "168.63.129.16"
    limits: Mapping[str, float] = field(default_factory=lambda: dict(commands.LIMITS))
    features: tuple[tuple[str, str], ...] = (("ExtensionTelemetryPipeline", "1.0"),)
    dependency_wait: float = DEPENDENCY_WAIT
    dependency_poll: float = 1.0
    check_signatures: bool = False
    signature_roots: tuple[str, ...] = ()
    openssl: str = "openssl"
    parallel: int = 1
    package_wait: float = 0.0
    enforce_limits: bool = True
    unlimited: tuple[str, ...] = ()
    config_file: str = "/etc/waagent.conf"
    shims: bool = False
    telemetry: bool = True

    def refusals(self, desired: Desired) -> dict[str, Refusal]:
        """Which handlers are not processed, and why."""
        return policies.refusals(
            desired,
            enabled=self.enabled,
            policy=self.policy,
            policy_error=self.policy_error,
            deny_user_changes=self.deny_user_changes,
            config_file=self.config_file,
        )


class Steps:
    def __init__(
        self,
        system: System,
        layout: Layout,
        source: Source,
        rules: Rules,
        journal: Journal,
        announce: Announce,
        run: Callable[[System, Layout, Command, Callable[[Running], None]], Ended] = commands.run,
    ) -> None:
        self._system, self._layout, self._source = system, layout, source
        self._rules, self._journal, self._announce, self._run = rules, journal, announce, run
        self.releases: dict[str, Release] = {}  # handler -> what was chosen for it in this goal state
        self.unavailable: dict[str, ExtensionError] = {}  # handler -> why its package could not be fetched
        self.notes: list[str] = []  # failures that were tolerated, for the log
        self.signatures = signature.Signatures(
            system,
            openssl=rules.openssl,
            roots=rules.signature_roots or signature.roots(layout.lib),
            wanted=rules.check_signatures,
            policy=rules.policy,
            notes=self.notes,
        )
        self._signed: set[tuple[str, str]] = set()  # packages whose signature was good
        self._unproven: dict[tuple[str, str], ExtensionError] = {}  # installed versions that may not run
        self._scopes = True  # until systemd-run turns out not to work
        self._telling = threading.Lock()
        self._folders: dict[str, str] = {}  # pair id -> where its last command left its output and its end

    def perform(self, pair: Pair, operation: Operation) -> None:
        if operation.update:
            self._update(operation)  # the record of an update is there before its first step
        on_files: Callable[[Pair, Operation], None] | None = {
            "download": self._download,
            "initialise": self._initialise,
            "settings": self._settings,
            "carry": self._carry,
            "remove": self._remove,
            "forget": self._forget,
            "check": self._check,
            "idle": self._idle,
        }.get(operation.verb)
        try:
            self._journal.doing(pair.id, operation)
            self.clear(pair)
            if on_files is None:
                self._command(pair, operation)
        except (SystemRefused, OSError) as error:
            raise _stopped(operation, error) from error  # what cannot be written down is not done
        try:
            if on_files is not None:
                on_files(pair, operation)
        except (SystemRefused, OSError) as error:
            self._weigh(pair, operation, _stopped(operation, error))

    def clear(self, pair: Pair) -> None:
        """Forget the pair's last command, once the journal does not name it any more."""
        folder = self._folders.pop(pair.id, "")
        if folder:
            commands.clear(self._system, self._layout, folder)

    def _update(self, operation: Operation) -> Update:
        update = self._journal.updates.get(operation.handler)
        if update is None or (update.old, update.new) != (operation.update, operation.target):
            update = Update(operation.update, operation.target, {})
            self._journal.begin_update(operation.handler, update)
        return update

    # -- files -----------------------------------------------------------------------------------------------

    def _download(self, pair: Pair, operation: Operation) -> None:
        name, version = operation.handler, operation.version
        handlers.write_state(self._system, self._layout, name, version, handlers.NOT_INSTALLED)
        if name in self.unavailable:
            raise self.unavailable[name]
        release = self.releases.get(name) or Release(version, ())
        self.signatures.demand(pair.handler)
        check = partial(self.signatures.good, pair.handler)
        good = packages.place(self._system, self._layout, pair.handler, release, self._source, check)
        handlers.write_state(self._system, self._layout, name, version, handlers.NOT_INSTALLED)
        if good:
            self._signed.add((name, version))

    def _initialise(self, pair: Pair, operation: Operation) -> None:
        name, version = operation.handler, operation.version
        manifest = handlers.initialise(self._system, self._layout, name, version)
        for odd in manifest.odd_booleans:
            self.notes.append(f"{name} {version}: {odd} in HandlerManifest.json is no boolean")
        self._system.remove(self._layout.validated(name, version))  # a package may bring one along
        if (name, version) in self._signed:
            try:
                good = self.signatures.names_agree(pair.handler, version, manifest)
            except ExtensionError:
                remove_version(self._system, self._layout, name, version)
                raise
            if good:
                self._system.write(self._layout.validated(name, version), b"", mode=0o600)
        self._require_multi_config(pair, manifest)
        self._limit(name, manifest, operation.instance)

    def _check(self, pair: Pair, operation: Operation) -> None:
        name, version = operation.handler, operation.version
        if (name, version) not in self._unproven:  # else another instance has had this answer
            release = self.releases.get(name) or Release(version, ())
            proof = proofs.prove(self._system, self._layout, pair.handler, release, self._source, self.signatures)
            if proof is None:
                return
            self._unproven[name, version] = proof
        raise self._unproven[name, version]

    def _limit(self, name: str, manifest: handlers.HandlerManifest, instance: str = "") -> None:
        """Set the manifest's quotas, unless the options say otherwise; what is set holds until the next boot."""
        excluded = any(part in name.lower() for part in self._rules.unlimited)
        if self._rules.enforce_limits and not excluded:
            quotas.apply(self._system, name, manifest.quotas, instance)

    def _settings(self, pair: Pair, operation: Operation) -> None:
        name, version, instance = operation.handler, operation.version, operation.instance
        if self._system.exists(self._layout.manifest(name, version)):
            self._require_multi_config(pair, handlers.read_manifest(self._system, self._layout, name, version))
        handlers.make_folders(self._system, self._layout, name, version)
        settings_files.write(self._system, self._layout, name, version, instance, pair.settings)
        missing = settings_files.missing_key(self._system, self._layout, pair.settings)
        if missing:  # the handler will find out, too; it may not need them
            self.notes.append(f"{pair.label}: its protected settings cannot be read here: {missing}")
        handlers.withdraw_error_status(self._system, self._layout, name, version, instance, operation.sequence)

    def _require_multi_config(self, pair: Pair, manifest: handlers.HandlerManifest) -> None:
        if pair.handler.multi_config and not manifest.multi_config:
            raise ExtensionError(
                f"the goal state's entry for {pair.handler.name} cannot be used: [ExtensionsGoalStateError] it has"
                " several extensions, which the handler does not support (supportsMultipleExtensions in its"
                " manifest); try again with a new operation on the VM",
                handler=pair.handler.name,
            )

    def _carry(self, pair: Pair, operation: Operation) -> None:
        """mrseq and the files of status/ go from the old version to the new one, with their times."""
        name, old, new = operation.handler, operation.update, operation.target
        system, layout = self._system, self._layout
        found = [(layout.sequence(name, old), layout.sequence(name, new))]
        for file in system.listing(layout.status(name, old)):
            found.append((f"{layout.status(name, old)}/{file}", f"{layout.status(name, new)}/{file}"))
        for source, target in found:
            real = str(system.path(source))
            if os.path.isfile(real) and not os.path.islink(real):
                shutil.copy2(real, str(system.path(target)))
        system.note(Effect("write", layout.base(name, new), note=f"mrseq and status files of {old}"))

    def _remove(self, pair: Pair, operation: Operation) -> None:
        name, version = operation.handler, operation.version
        try:
            limits = handlers.read_manifest(self._system, self._layout, name, version).quotas
            if pair.handler.state == ENABLED:  # its other version stays, with quotas of its own
                target = operation.target or pair.handler.version
                other = handlers.read_manifest(self._system, self._layout, name, target)
                limits = quotas.dropped(limits, other.quotas)
        except ExtensionError:  # without a manifest there were no quotas
            pass
        else:
            several = tuple(one.name for one in pair.handler.settings) if pair.handler.multi_config else ()
            quotas.reset(self._system, name, limits, several or ("",))
        remove_version(self._system, self._layout, name, version)

    def _forget(self, pair: Pair, operation: Operation) -> None:
        handlers.forget_instance(
            self._system, self._layout, operation.handler, operation.version, operation.instance
        )

    def _idle(self, pair: Pair, operation: Operation) -> None:
        """When the last instance is disabled, the handler as a whole is installed and no more."""
        name, version = operation.handler, operation.version
        listed = {one.name for one in pair.handler.settings}
        if not handlers.enabled_instances(self._system, self._layout, name, version) & listed:
            self._set(operation, handlers.INSTALLED, "Plugin disabled", pair)

    # -- commands --------------------------------------------------------------------------------------------

    def _command(self, pair: Pair, operation: Operation) -> None:
        name, version = operation.handler, operation.version
        if operation.by_mode:
            target = handlers.read_manifest(self._system, self._layout, name, operation.target)
            if not target.install_after_update:
                handlers.write_state(self._system, self._layout, name, version, handlers.INSTALLED)
                return
        command = Command(operation.verb, name, version, operation.instance, "", {}, 0.0)
        began = self._system.clock.monotonic()
        self._tell("extension-started", operation)
        ended: Ended | None = None
        try:
            manifest = handlers.read_manifest(self._system, self._layout, name, version)
            if operation.verb == "enable":
                self._limit(name, manifest, operation.instance)
            command = command._replace(
                line=manifest.command(operation.verb, name),
                environment=self.environment(pair, operation),
                limit=self._rules.limits[operation.verb],
                scope=self._scopes,
            )

            def starting(running: Running) -> None:
                self._folders[pair.id] = running.folder
                self._journal.running(pair.id, command, running)

            self._wait_for_packages(operation)
            ended = self._run(self._system, self._layout, command, starting)
            if ended.scopeless:
                self._scopes = False
                self.notes.append(f"{operation}: systemd-run does not work; no scopes from here on")
        except ExtensionError as error:
            self.consequences(pair, operation, error)
        else:
            self.settle(pair, operation, command, ended)
        finally:
            self.finished(operation, ended, self._system.clock.monotonic() - began)

    def _wait_for_packages(self, operation: Operation) -> None:
        """Wait a while for whoever works with the package manager: many handlers install packages."""
        if self._rules.package_wait <= 0:
            return
        began = self._system.clock.monotonic()
        holder = package_locks.wait(self._system, self._rules.package_wait)
        waited = self._system.clock.monotonic() - began
        if holder:
            self.notes.append(f"{operation}: began although {holder} still works, after {waited:.0f} s")
        elif waited >= 1:
            self.notes.append(f"{operation}: waited {waited:.0f} s for the package manager")

    def _tell(self, event: str, operation: Operation, **more: Any) -> None:
        """Have the hooks run, one event at a time."""
        with self._telling:
            self._announce(
                event, handler=operation.handler, version=operation.version, operation=operation.verb,
                extension=operation.instance, sequence=operation.sequence, **more,
            )  # fmt: skip

    def finished(self, operation: Operation, ended: Ended | None, seconds: float) -> None:
        """Tell the hooks, and the platform's people, how a command has ended; None: it could not be started."""
        result = "failed"
        if ended is not None:
            result = "timed-out" if ended.timed_out else "succeeded" if ended.status == 0 else "failed"
        if self._rules.telemetry:
            self._record(operation, ended, result, seconds)
        self._tell("extension-finished", operation, result=result, seconds=round(seconds, 1))

    def _record(self, operation: Operation, ended: Ended | None, result: str, seconds: float) -> None:
        """An event; what a command printed stays on the machine."""
        how = f"{result}, exit status {ended.status}" if ended is not None and not ended.timed_out else result
        named = f"{operation.verb} of {operation.instance}" if operation.instance else operation.verb
        event = events.Event(
            EVENT_OF.get(operation.verb, "Unknown"),
            f"{named} {how}",
            ok=result == "succeeded",
            milliseconds=round(seconds * 1000),
            name=operation.handler,
            version=operation.version,
            task="extensions",
        )
        events.record(self._system, self._layout.lib, event)

    def settle(self, pair: Pair, operation: Operation, command: Command, ended: Ended) -> None:
        """What the end of a command means; of an update the journal knows it before anything follows from it.

        May be told twice. Raises ExtensionError when the command failed and nothing tolerates that.
        """
        error = None
        if ended.timed_out or ended.status != 0:
            line = commands.full_line(self._layout, command)
            error = commands.failure(command, ended, line, self._system, self._layout)
        self.consequences(pair, operation, error)

    def consequences(self, pair: Pair, operation: Operation, error: ExtensionError | None) -> None:
        if error is not None:
            self._weigh(pair, operation, error)  # raises what is not tolerated
        name, version, instance = operation.handler, operation.version, operation.instance
        code = str(error.facts.get("exit_code", error.code)) if error is not None else "0"
        if operation.verb == "install":
            self._set(operation, handlers.INSTALLED, "Plugin installed but not enabled", pair)
        elif operation.verb == "enable":
            if instance:
                handlers.write_instance_state(self._system, self._layout, name, version, instance, "enabled")
            self._set(operation, handlers.ENABLED, "Plugin enabled", pair)
        elif operation.verb == "disable":
            self._disabled(pair, operation, code)
        elif operation.verb == "update":
            self._journal.update(name, self._update(operation)._replace(updated=True))
        elif operation.verb == "uninstall":
            if operation.update:
                self._journal.update(name, self._update(operation)._replace(uninstalled=code))
            self._uninstalled(operation)

    def _uninstalled(self, operation: Operation) -> None:
        """Have it in the state, should the directory outlive this; it goes next, so no harm in failing."""
        name, version = operation.handler, operation.version
        try:
            if self._system.is_directory(self._layout.base(name, version)):
                handlers.write_state(self._system, self._layout, name, version, handlers.NOT_INSTALLED)
        except SystemRefused as error:
            self.notes.append(f"{operation}: {error}")

    def _disabled(self, pair: Pair, operation: Operation, code: str) -> None:
        name, version, instance = operation.handler, operation.version, operation.instance
        if operation.update:
            update = self._update(operation)
            self._journal.update(name, update._replace(disabled={**update.disabled, instance: code}))
        if not instance:
            self._set(operation, handlers.INSTALLED, "Plugin disabled", pair)
            return
        handlers.write_instance_state(self._system, self._layout, name, version, instance, "disabled")
        if operation.update or pair.handler.state != ENABLED:
            unwanted = {one.name for one in pair.handler.settings if one.state != ENABLED}
            if instance in unwanted:
                handlers.forget_instance(self._system, self._layout, name, version, instance)
            if not handlers.enabled_instances(self._system, self._layout, name, version):
                self._set(operation, handlers.INSTALLED, "Plugin disabled", pair)

    def _weigh(self, pair: Pair, operation: Operation, error: ExtensionError) -> None:
        """Raise the error of a step, in the shape the platform is told, unless somebody tolerates it."""
        name = operation.handler
        if operation.failure == IGNORE:
            self.notes.append(f"{operation}: {error}; that is tolerated")
            return
        if operation.failure == IF_CONTINUE:
            target = handlers.read_manifest(self._system, self._layout, name, operation.target)
            if target.continue_on_update_failure:
                self.notes.append(f"{operation}: {error}; {operation.target} continues on update failure")
                return
            raise ExtensionError(
                f"[ExtensionUpdateError] {operation.verb} of the old version {operation.version} failed, and"
                f" continueOnUpdateFailure of {operation.target} is false: {error}",
                handler=name,
                code=codes.UPDATE_FAILED,
            ) from error
        if operation.verb == "update":
            handlers.write_state(self._system, self._layout, name, operation.target, handlers.FAILED_UPGRADE)
        raise error

    def _set(self, operation: Operation, state: str, message: str, pair: Pair) -> None:
        """State and handler status of the operation's version, always together."""
        name, version = operation.handler, operation.version
        handlers.write_state(self._system, self._layout, name, version, state)
        ready = handlers.READY if state == handlers.ENABLED else handlers.NOT_READY
        handlers.write_status(
            self._system, self._layout, name, version, ready, 0, message, multi_config=pair.handler.multi_config
        )

    def environment(self, pair: Pair, operation: Operation) -> dict[str, str]:
        """The variables of extensions 3.5."""
        verb, name, version = operation.verb, operation.handler, operation.version
        environment = {
            "AZURE_GUEST_AGENT_EXTENSION_PATH": self._layout.base(name, version),
            "AZURE_GUEST_AGENT_EXTENSION_VERSION": version,
            "AZURE_GUEST_AGENT_WIRE_PROTOCOL_ADDRESS": self._rules.wire_address,
            "ConfigSequenceNumber": str(operation.sequence),
        }
        if operation.instance:
            environment["ConfigExtensionName"] = operation.instance
        if self._rules.shims:
            inherited = os.environ.get("PYTHONPATH")
            environment["PYTHONPATH"] = f"{SHIMS}:{inherited}" if inherited else SHIMS
        if self._rules.features:
            features = [{"Key": key, "Value": value} for key, value in self._rules.features]
            environment["AZURE_GUEST_AGENT_EXTENSION_SUPPORTED_FEATURES"] = json.dumps(features)
        update = self._journal.updates.get(name)
        if update is not None and update.new != pair.handler.version:
            update = None
        if verb in ("install", "enable"):
            code = update.uninstalled if update is not None and update.uninstalled else NOT_RUN
            environment["AZURE_GUEST_AGENT_UNINSTALL_CMD_EXIT_CODE"] = code
        if verb == "update" and update is not None:
            environment["VERSION"] = update.new
            environment["AZURE_GUEST_AGENT_UPDATING_FROM_VERSION"] = update.old
            if pair.handler.multi_config:
                codes = [
                    {"extensionName": one.name, "exitCode": update.disabled.get(one.name, NOT_RUN)}
                    for one in pair.handler.settings
                ]
                environment["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODES_MULTIPLE_EXTENSIONS"] = json.dumps(codes)
            else:
                environment["AZURE_GUEST_AGENT_DISABLE_CMD_EXIT_CODE"] = update.disabled.get("", NOT_RUN)
        return environment


def _stopped(operation: Operation, error: Exception) -> ExtensionError:
    what = f"{operation.verb} of {operation.handler} stopped: {error}"
    return ExtensionError(f"[ExtensionError] {what}", handler=operation.handler)


def remove_version(system: System, layout: Layout, name: str, version: str) -> None:
    """Delete a version's directory and package. Handlers delete files of their own meanwhile; that is no error.

    The directory is renamed first: one that was deleted half would not be known as a handler's any more.
    """
    base, stale = layout.base(name, version), layout.stale(name, version)
    system.remove_tree(stale)
    if system.exists(base):
        system.rename(base, stale)
    for attempt in range(5):
        try:
            system.remove_tree(stale)
            break
        except SystemRefused:
            if attempt == 4:
                raise
            system.clock.sleep(0.2)
    system.remove(layout.package(name, version))
    system.quietly().remove(layout.spare_status(name, version))
