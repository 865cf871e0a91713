"""One handler version on disk: its manifest, its state, its status, the files it expects to find.

HandlerManifest     commands {"install", "uninstall", "update", "enable", "disable"} -> str, report_heartbeat,
                    install_after_update, continue_on_update_failure, multi_config (bools), quotas (Quotas),
                    signing (dict, of signed packages), odd_booleans (names of booleans that are none)
states              NotInstalled, Installed, Enabled, FailedUpgrade; one word in config/HandlerState
status              {"name", "version", "status": Ready|NotReady, "code", "message"}; in config/HandlerStatus

All files are replaced atomically. Failures are ExtensionError with the platform's code: 1002 no manifest,
1003 a manifest that cannot be used, -1 what cannot be written.

Source: extensions 1.2 - 1.5, 2.2 - 2.5.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions import codes
from waagent.extensions.layout import Layout
from waagent.system import Effect, System, foreign

NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE = "NotInstalled", "Installed", "Enabled", "FailedUpgrade"
READY, NOT_READY = "Ready", "NotReady"

COMMANDS = ("install", "uninstall", "update", "enable", "disable")
MANIFEST = "HandlerManifest.json"
MANIFEST_LIMIT = 1024 * 1024
AGENT_MARK = "waagent"  # in status files the agent wrote on a handler's behalf


@dataclass(frozen=True)
class Quotas:
    """cpu in percent of one processor or None; services: unit name -> percent or None."""

    cpu: float | None = None
    services: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class HandlerManifest:
    commands: Mapping[str, str]
    report_heartbeat: bool = False
    install_after_update: bool = True
    continue_on_update_failure: bool = False
    multi_config: bool = False
    quotas: Quotas = Quotas()
    signing: Mapping[str, str] = field(default_factory=dict)
    odd_booleans: tuple[str, ...] = ()

    def command(self, verb: str, handler: str) -> str:
        """The command line of this verb. Raises ExtensionError(1003) when the manifest has none that may run."""
        line = self.commands.get(verb, "")
        words = line.split()
        if not words:
            raise ExtensionError(
                f"cannot {verb} {handler}: its HandlerManifest.json has no {verb}Command",
                handler=handler,
                code=codes.MANIFEST_INVALID,
            )
        if ".." in words[0].split("/"):
            raise ExtensionError(
                f"cannot {verb} {handler}: its {verb}Command {words[0][:200]!r} leads out of the package",
                handler=handler,
                code=codes.MANIFEST_INVALID,
            )
        return line


def parse_manifest(text: str, handler: str) -> HandlerManifest:
    """Element 0 of HandlerManifest.json. Raises ExtensionError(1003)."""
    try:
        document = foreign.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise _unusable(handler, f"is not JSON ({error})") from error
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        raise _unusable(handler, "is not an array with an object in it")
    body = document[0].get("handlerManifest")
    if not isinstance(body, dict):
        raise _unusable(handler, 'has no object "handlerManifest"')
    commands = {verb: body.get(f"{verb}Command") for verb in COMMANDS}
    booleans = ("reportHeartbeat", "continueOnUpdateFailure", "supportsMultipleExtensions")
    mode = body.get("updateMode")
    signing = document[0].get("signingInfo")
    return HandlerManifest(
        commands={verb: line for verb, line in commands.items() if isinstance(line, str)},
        report_heartbeat=_lenient(body.get("reportHeartbeat")),
        install_after_update=not isinstance(mode, str) or mode.strip().lower() == "updatewithinstall",
        continue_on_update_failure=_lenient(body.get("continueOnUpdateFailure")),
        multi_config=_lenient(body.get("supportsMultipleExtensions")),
        quotas=_quotas(document[0].get("resourceLimits")),
        signing={str(name): str(value) for name, value in signing.items()} if isinstance(signing, dict) else {},
        odd_booleans=tuple(name for name in booleans if name in body and not isinstance(body[name], bool)),
    )


def _lenient(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value.lower() == "true")


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= sys.float_info.max else None


def _quotas(limits: Any) -> Quotas:
    if not isinstance(limits, dict):
        return Quotas()
    services: dict[str, float | None] = {}
    for service in limits.get("services") or () if isinstance(limits.get("services"), list) else ():
        name = service.get("name") if isinstance(service, dict) else None
        if isinstance(name, str) and name and "/" not in name:
            unit = name if name.endswith((".service", ".slice", ".scope")) else f"{name}.service"
            services[unit] = _number(service.get("cpuQuotaPercentage"))
    return Quotas(_number(limits.get("cpuQuotaPercentage")), services)


def _unusable(handler: str, why: str) -> ExtensionError:
    return ExtensionError(
        f"[ExtensionError] cannot use HandlerManifest.json of {handler}: it {why}",
        handler=handler,
        code=codes.MANIFEST_INVALID,
    )


def read_manifest(system: System, layout: Layout, name: str, version: str) -> HandlerManifest:
    """Raises ExtensionError: 1002 when it cannot be read, 1003 when it cannot be used."""
    return _read(system, layout.manifest(name, version), name)


def _read(system: System, path: str, name: str) -> HandlerManifest:
    try:
        text = system.read_foreign(path, MANIFEST_LIMIT).decode("utf-8-sig")
    except OSError as error:
        raise ExtensionError(
            f"[ExtensionError] cannot read {path}: {error.strerror or error}",
            handler=name,
            code=codes.MANIFEST_MISSING,
        ) from error
    except UnicodeDecodeError as error:
        raise _unusable(name, f"is not UTF-8 ({error.reason} at byte {error.start})") from error
    return parse_manifest(text, name)


# -- state and status ----------------------------------------------------------------------------------------


def read_state(system: System, layout: Layout, name: str, version: str) -> str:
    """The state on disk; a missing file means NotInstalled, unknown content counts as Installed."""
    try:
        word = system.read_foreign(layout.state(name, version), 64).decode("ascii", "replace").strip()
    except OSError:
        return NOT_INSTALLED
    return word if word in (NOT_INSTALLED, INSTALLED, ENABLED, FAILED_UPGRADE) else INSTALLED


def write_state(system: System, layout: Layout, name: str, version: str, state: str) -> None:
    make_folders(system, layout, name, version)
    system.write(layout.state(name, version), state, mode=0o600)


def instances(system: System, layout: Layout, name: str, version: str) -> dict[str, bool]:
    """The multi-config instances that have a state on disk, and whether they are enabled."""
    found = {}
    folder = layout.config(name, version)
    try:
        files = system.listing(folder)
    except OSError:  # the handler has put something else in its place
        return {}
    for file in files:
        instance, _, last = file.rpartition(".")
        if last == "HandlerState" and instance:
            try:
                word = system.read_foreign(f"{folder}/{file}", 64)
            except OSError:
                continue
            found[instance] = word.strip() == b"enabled"
    return found


def enabled_instances(system: System, layout: Layout, name: str, version: str) -> frozenset[str]:
    return frozenset(one for one, enabled in instances(system, layout, name, version).items() if enabled)


def write_instance_state(
    system: System, layout: Layout, name: str, version: str, instance: str, state: str
) -> None:
    system.write(layout.state(name, version, instance), state, mode=0o600)


def forget_instance(system: System, layout: Layout, name: str, version: str, instance: str) -> None:
    """Remove the settings, status and state files of one instance; the state last, it tells of the others."""
    for folder, ending in (
        (layout.config(name, version), ".settings"),
        (layout.status(name, version), ".status"),
    ):
        for file in system.listing(folder):
            number = file[len(instance) + 1 : -len(ending)] if file.endswith(ending) else ""
            if file.startswith(f"{instance}.") and number.lstrip("-").isdigit():
                system.remove(f"{folder}/{file}")
    system.remove(layout.state(name, version, instance))


def write_status(
    system: System,
    layout: Layout,
    name: str,
    version: str,
    status: str,
    code: int,
    message: str,
    *,
    denied: bool = False,
    multi_config: bool = False,
) -> None:
    """Keep the last status of the handler. `denied`: a policy or option forbids it, so heartbeats do not count.

    Where the disk has no room for it, or something else lies in its place, it is kept in memory, so that the
    platform hears of it all the same. Raises SystemRefused or OSError then, too.
    """
    document = {
        "name": name,
        "version": version,
        "status": status,
        "code": code,
        "message": message,
        "supports_multi_config": multi_config,
        "extension_status": None,
        "denied": denied,
    }
    text, spare, quiet = json.dumps(document), layout.spare_status(name, version), system.quietly()
    try:
        make_folders(system, layout, name, version)
        system.write(layout.handler_status(name, version), text, mode=0o600)
    except (SystemRefused, OSError):
        quiet.make_directory(layout.spare, 0o700)
        quiet.write(spare, text, mode=0o600)
        raise
    quiet.remove(spare)


def write_error_status(
    system: System,
    layout: Layout,
    name: str,
    version: str,
    instance: str,
    sequence: int,
    *,
    operation: str | None,
    code: int,
    message: str,
    overwrite: bool,
) -> bool:
    """Write the extension's status file on its behalf, with status "error"; false if one exists and stays."""
    path = layout.status_file(name, version, instance, sequence)
    if sequence < 0 or (system.exists(path) and not overwrite):
        return False
    make_folders(system, layout, name, version)
    status = {
        "name": instance or name,
        "operation": operation,
        "status": "error",
        "code": code,
        "formattedMessage": {"lang": "en-US", "message": message},
    }
    document = [{"version": 1.0, "timestampUTC": system.clock.stamp(), "writtenBy": AGENT_MARK, "status": status}]
    return system.write(path, json.dumps(document), mode=0o600)


def withdraw_error_status(
    system: System, layout: Layout, name: str, version: str, instance: str, sequence: int
) -> None:
    """Remove a status file that the agent wrote earlier: what is about to run has not failed yet."""
    path = layout.status_file(name, version, instance, sequence)
    try:
        document = foreign.loads(system.read_foreign(path, MANIFEST_LIMIT).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return
    first = document[0] if isinstance(document, list) and document else None
    if isinstance(first, dict) and first.get("writtenBy") == AGENT_MARK:
        system.remove(path)


def make_folders(system: System, layout: Layout, name: str, version: str) -> None:
    """Have the handler's directory, config/ and status/, for root alone: others may pass the state directory."""
    for folder in (layout.base(name, version), layout.config(name, version), layout.status(name, version)):
        system.make_directory(folder, 0o700)


# -- what a handler expects ----------------------------------------------------------------------------------


def write_environment(system: System, layout: Layout, name: str, version: str) -> None:
    """HandlerEnvironment.json and the folders it names."""
    make_folders(system, layout, name, version)
    for folder, mode in ((layout.log(name), 0o755), (layout.events(name), 0o700)):
        if not system.is_directory(folder):  # an administrator's later chmod is kept
            system.make_directory(folder, mode)
    document = [
        {
            "name": name,
            "version": 1.0,
            "handlerEnvironment": {
                "logFolder": layout.log(name),
                "configFolder": layout.config(name, version),
                "statusFolder": layout.status(name, version),
                "heartbeatFile": layout.heartbeat(name, version),
                "eventsFolder": layout.events(name),
                "eventsFolder_preview": layout.events(name),
            },
        }
    ]
    system.write(layout.environment(name, version), json.dumps(document), mode=0o644)


def initialise(system: System, layout: Layout, name: str, version: str) -> HandlerManifest:
    """Make an unpacked package ready to run: modes, manifest, folders, environment. Returns the manifest.

    Raises ExtensionError: -1 without a manifest or when a file cannot be written, 1003 when it cannot be used or
    lacks a command.
    """
    base = layout.base(name, version)
    _make_executable(system, base)
    below = find_manifest(str(system.path(base)))
    if below is None:
        raise ExtensionError(
            f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError]"
            " HandlerManifest.json was not found in the package",
            handler=name,
        )
    found = f"{base}/{below}"
    try:
        content = system.read_foreign(found, MANIFEST_LIMIT)
        if content.startswith(b"\xef\xbb\xbf") or found != layout.manifest(name, version):
            system.write(layout.manifest(name, version), content[3:] if content[:3] == b"\xef\xbb\xbf" else content)
        manifest = read_manifest(system, layout, name, version)
        for verb in COMMANDS:
            manifest.command(verb, name)
        write_environment(system, layout, name, version)
    except (SystemRefused, OSError) as error:
        raise ExtensionError(
            f"the artifacts of {name} {version} could not be downloaded: [ExtensionDownloadError] {error}",
            handler=name,
        ) from error
    return manifest


def _make_executable(system: System, base: str) -> None:
    """Add the owner's execute bit to every regular file: archives do not carry it reliably."""
    count = 0
    for folder, _, files in os.walk(str(system.path(base))):
        for file in files:
            path = os.path.join(folder, file)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and not mode & stat.S_IXUSR:
                os.chmod(path, stat.S_IMODE(mode) | stat.S_IXUSR)
                count += 1
    if count:
        system.note(Effect("mode", base, note=f"u+x on {count} files below it"))


def manifest_of(system: System, tree: str, name: str) -> HandlerManifest:
    """The manifest that an unpacked tree brings, wherever it lies in it. Raises ExtensionError: 1002, 1003."""
    below = find_manifest(str(system.path(tree)))
    return _read(system, f"{tree}/{below or MANIFEST}", name)


def find_manifest(tree: str) -> str | None:
    """Where in this directory the manifest lies: at its root, else the first one of a walk in order of names."""
    for folder, folders, files in os.walk(tree):
        folders.sort()
        if MANIFEST in files and not os.path.islink(os.path.join(folder, MANIFEST)):
            return os.path.normpath(os.path.join(os.path.relpath(folder, tree), MANIFEST))
    return None
