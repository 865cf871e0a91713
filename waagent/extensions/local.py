"""Run a handler package here and now, without any fabric, in a tree of its own: for who writes handlers.

    bench = Bench(system, folder)              the tree: folder/lib and folder/log
    bench.protect(settings) -> (base64, thumbprint)    encrypted as the platform does it, keys where handlers look
    bench.run(package, settings, verbs)        -> bool; bench.done has a Done for each command that was run
    bench.status() -> list                     what the platform would be told, as in the status report

The commands, their order, environment, limits, files and statuses are the engine's own: plan.py decides, steps.py
performs. Nothing outside the tree is touched, except by the handler itself: no quotas, no journal of effects.
When a command is interrupted by an exception, such as Ctrl-C, its processes are ended.

Source: extensions 3.2, 3.5 - 3.9, 4.3 - 4.5.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from waagent.errors import ExtensionError, FabricUnreachable, MachineError, SystemRefused
from waagent.extensions import commands, layout, plan, report
from waagent.extensions.commands import Command, Ended, Running
from waagent.extensions.journal import Journal
from waagent.extensions.observe import observe
from waagent.extensions.packages import Release
from waagent.extensions.plan import Operation
from waagent.extensions.steps import Rules, Steps
from waagent.extensions.verdicts import Verdicts
from waagent.fabric.desired import ENABLED, UNINSTALL, Handler, Settings
from waagent.system import System

COMMANDS = ("install", "enable", "update", "disable", "uninstall")
FINAL = ("success", "error")


class Done(NamedTuple):
    """A command: verb, version of the directory, instance or "", command line, how it ended (None: not started)."""

    verb: str
    version: str
    instance: str
    line: str
    ended: Ended | None
    error: str = ""

    @property
    def well(self) -> bool:
        return self.ended is not None and self.ended.status == 0 and not self.ended.timed_out


class Package(NamedTuple):
    """A zip file and what its handler is called."""

    path: str
    name: str
    version: str


def package(path: str, name: str = "", version: str = "") -> Package:
    """What is not given comes from signingInfo of the manifest, else from a file name such as NAME-1.0.0.zip.

    Raises ExtensionError for what is no zip or has no usable names.
    """
    signing: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("HandlerManifest.json").decode("utf-8-sig"))
        signing = manifest[0].get("signingInfo") or {}
    except OSError as error:
        raise ExtensionError(f"cannot read {path}: {error.strerror or error}", handler="") from error
    except (zipfile.BadZipFile, EOFError, zlib.error) as error:
        told = f"cannot use {path}: it is no zip file, or damaged ({error})"
        raise ExtensionError(told, handler="") from error
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RuntimeError):
        pass  # the engine will say what is wrong with the manifest, or with the whole package
    if signing.get("publisher") and signing.get("type"):
        name = name or f"{signing['publisher']}.{signing['type']}"
    version = version or str(signing.get("version") or "")
    stem = os.path.basename(path)
    stem = stem[: -len(".zip")] if stem.lower().endswith(".zip") else stem
    parts = layout.split(stem) or layout.split_package(f"{stem}.zip")
    if parts is not None:
        name, version = name or parts[0], version or parts[1]
    name, version = name or stem, version or "1.0.0"
    wrong = layout.objection(name, version)
    if wrong:
        raise ExtensionError(f"cannot use {path}: {wrong}; say --name and --version", handler=name)
    return Package(path, name, version)


class Bench:
    def __init__(
        self,
        system: System,
        folder: str,
        limit: float = 0.0,
        openssl: str = "openssl",
        begun: Callable[[Command], None] = lambda command: None,
        over: Callable[[Done], None] = lambda done: None,
    ) -> None:
        """folder: absolute, has to exist. limit: seconds for every command instead of the usual ones.

        begun and over are called when a command begins and when it is over.
        """
        self.system, self.folder, self._openssl = system.quietly(), folder, openssl
        self.layout = layout.Layout(f"{folder}/lib", f"{folder}/log", f"{folder}/spare")
        for directory, mode in ((self.layout.lib, 0o711), (self.layout.logs, 0o755)):
            self.system.make_directory(directory, mode)
        self._begun, self._over = begun, over
        self.done: list[Done] = []
        self.notes: list[str] = []
        self._packages: dict[tuple[str, str], str] = {}
        self._journal = Journal(self.system, self.layout)
        limits = {verb: limit or seconds for verb, seconds in commands.LIMITS.items()}
        rules = Rules(limits=limits, enforce_limits=False)
        self._steps = Steps(self.system, self.layout, self, rules, self._journal, _nobody, self._command)
        self._verdicts = Verdicts(self.system, self.layout, self.notes)

    # -- protected settings ----------------------------------------------------------------------------------

    def protect(self, settings: Any) -> tuple[str, str]:
        """The settings as base64 CMS for a certificate made for this run, and its thumbprint.

        Raises CommandFailed when openssl cannot do it.
        """
        lib, run = self.layout.lib, self.system.run
        key, certificate = f"{lib}/throw-away.prv", f"{lib}/throw-away.crt"
        run(
            self._openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "2", "-subj",
            "/CN=throw-away", "-keyout", key, "-out", certificate,
        )  # fmt: skip
        der = self.system.read_text(certificate).split("-----")[2]
        thumbprint = hashlib.sha1(base64.b64decode("".join(der.split()))).hexdigest().upper()  # noqa: S324
        for old, ending, mode in ((key, "prv", 0o600), (certificate, "crt", 0o600)):
            self.system.rename(old, f"{lib}/{thumbprint}.{ending}")
            self.system.set_mode(f"{lib}/{thumbprint}.{ending}", mode)
        encrypted = run(
            self._openssl, "cms", "-encrypt", "-binary", "-aes256", "-outform", "PEM",
            f"{lib}/{thumbprint}.crt", stdin=json.dumps(settings),
        ).stdout  # fmt: skip
        return "".join(line for line in encrypted.split() if "-" not in line and line != "CMS"), thumbprint

    # -- running ---------------------------------------------------------------------------------------------

    def run(
        self, packed: Package, settings: tuple[Settings, ...], verbs: Sequence[str], multi_config: bool = False
    ) -> bool:
        """Have these commands of the package run, each after what has to be there for it; whether all went well.

        settings: those of the handler, none, or with multi_config those of each of its instances. Commands of an
        update (of a version that an earlier call has enabled) run whenever `update` does.
        """
        self._packages[packed.name, packed.version] = packed.path
        handler = Handler(packed.name, packed.version, settings=settings, multi_config=multi_config)
        well = True
        if set(verbs) & {"install", "enable", "update"}:
            well = self._turns(handler, ENABLED, verbs)
        if well and set(verbs) & {"disable", "uninstall"}:
            well = self._turns(handler, UNINSTALL, verbs)
        return well

    def _turns(self, handler: Handler, state: str, verbs: Sequence[str]) -> bool:
        handler = replace(handler, state=state)
        well = True
        for settings in handler.settings or (None,):
            well = self._turn(plan.Pair(handler, settings, 0), verbs) and well
        return well

    def _turn(self, pair: plan.Pair, verbs: Sequence[str]) -> bool:
        handler = pair.handler
        self._verdicts.show((replace(handler, state=ENABLED),), "")
        self._steps.releases[handler.name] = Release(handler.version, ("local",))
        operation: Operation | None = None
        try:
            for operation in plan.turn(pair, observe(self.system, self.layout, self._journal.updates)):
                wanted = operation.verb not in COMMANDS or operation.verb in verbs or operation.update != ""
                if operation.verb == "remove" and not operation.update:
                    wanted = False  # the tree as a whole goes, or is to be looked at
                if wanted:
                    self._steps.perform(pair, operation)
        except ExtensionError as error:
            self._verdicts.fail(pair, operation, error)
            self.notes.append(error.message)
            return False
        finally:
            self._journal.forget_update(handler.name)
            self._steps.clear(pair)
            self.notes += self._steps.notes
            self._steps.notes.clear()
        return True

    def _command(
        self, system: System, place: layout.Layout, command: Command, starting: Callable[[Running], None]
    ) -> Ended:
        line = commands.full_line(place, command)
        known: list[Running] = []

        def noted(running: Running) -> None:
            known.append(running)
            starting(running)

        self._begun(command)
        try:
            ended = commands.run(system, place, command, noted)
        except ExtensionError as error:
            self._note(Done(command.verb, command.version, command.instance, line, None, error.message))
            raise
        except BaseException:
            for running in known:
                commands.stop(system, running)
            raise
        self._note(Done(command.verb, command.version, command.instance, line, ended))
        return ended

    def _note(self, done: Done) -> None:
        self.done.append(done)
        self._over(done)

    # -- Source: the package is here ------------------------------------------------------------------------

    def releases(self, handler: Handler) -> Sequence[Release]:
        return [Release(version, ("local",)) for name, version in self._packages if name == handler.name]

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        try:
            shutil.copyfile(self._packages[handler.name, release.version], str(self.system.path(zip_path)))
            accept()
        except (MachineError, SystemRefused, OSError) as error:
            raise FabricUnreachable(str(error)) from error

    # -- looking ---------------------------------------------------------------------------------------------

    def status(self, now: float | None = None) -> list[dict[str, Any]]:
        lib, spare = (str(self.system.path(path)) for path in (self.layout.lib, self.layout.spare))
        return report.handler_statuses(lib, now, spare)

    def await_status(self, seconds: float) -> list[dict[str, Any]]:
        """The same, once every extension says success or error; at the latest after so many seconds."""
        until = time.monotonic() + seconds
        while True:
            found = self.status()
            if all(of_extension(entry) in (*FINAL, "") for entry in found) or time.monotonic() >= until:
                return found
            time.sleep(0.2)


def of_extension(entry: Mapping[str, Any]) -> str:
    """The extension's own status in an entry of the report, "" where it has no settings."""
    inner = entry.get("runtimeSettingsStatus")
    return str(inner["settingsStatus"]["status"]["status"]) if inner else ""


def _nobody(event: str, **data: Any) -> None:
    """Hooks have no part in this."""
