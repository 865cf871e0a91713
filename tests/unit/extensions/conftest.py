"""A machine with real handlers: packages made on the fly, a source that hands them out, processes that really run."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from waagent.errors import FabricUnreachable, MachineError
from waagent.extensions import policy, report
from waagent.extensions.apply import Engine, Summary
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Desired, Handler, Settings
from waagent.system import System

POLICY = "/etc/waagent_policy.json"
VERBS = ("install", "uninstall", "update", "enable", "disable")
DATA = Path(__file__).resolve().parents[2] / "data" / "handlers"

# Writes one line per command into the record, then does what the test asks of that verb.
RUN = """#!/bin/sh
printf '%s %s %s %s\\n' "$1" "$(basename "$PWD")" "$ConfigSequenceNumber" "${ConfigExtensionName:--}" >> "RECORD"
env > "RECORD.$1.${ConfigExtensionName:--}"
BASE=$PWD
status() {
    name=${ConfigExtensionName:+$ConfigExtensionName.}$ConfigSequenceNumber
    printf '[{"status": {"operation": "Enable", "status": "%s", "code": 0,
        "formattedMessage": {"lang": "en-US", "message": "%s"}}}]' "$1" "$2" > "status/$name.status"
}
VERB=$1
[ ! -e "bin/$VERB.sh" ] || . "bin/$VERB.sh"
"""


class Bed:
    """Publish packages, process goal states, look at what happened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder / "record"
        self.system = System("/", journalling=False)
        self.layout = Layout(str(folder / "lib"), str(folder / "log"), str(folder / "spare"))
        os.makedirs(self.layout.lib, 0o711, exist_ok=True)
        self.published: dict[str, dict[str, bytes]] = {}
        self.unreachable: set[str] = set()  # handlers whose manifest cannot be fetched
        self.fetched: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.rules = Rules(dependency_poll=0.05)
        self.incarnation = 0

    # -- packages

    def publish(
        self,
        name: str,
        version: str,
        scripts: Mapping[str, str] | None = None,
        manifest: Mapping[str, Any] | None = None,
        top: Mapping[str, Any] | None = None,
        extra: Mapping[str, bytes] | None = None,
    ) -> bytes:
        """A handler that records its commands; scripts: verb -> shell text run by it, with BASE, status()."""
        body: dict[str, Any] = {f"{verb}Command": f"bin/run.sh {verb}" for verb in VERBS}
        body.update({"updateMode": "UpdateWithInstall"}, **(manifest or {}))
        body = {key: value for key, value in body.items() if value is not None}
        files = {
            "HandlerManifest.json": json.dumps([{"handlerManifest": body, **(top or {})}]).encode(),
            "bin/run.sh": RUN.replace("RECORD", str(self.record)).encode(),
        }
        files.update({f"bin/{verb}.sh": text.encode() for verb, text in (scripts or {}).items()})
        files.update(extra or {})
        content = pack({path: data for path, data in files.items() if data != b""})
        self.published.setdefault(name, {})[version] = content
        return content

    def publish_raw(self, name: str, version: str, content: bytes) -> None:
        self.published.setdefault(name, {})[version] = content

    # Source

    def releases(self, handler: Handler) -> Sequence[Release]:
        if handler.name in self.unreachable:
            raise FabricUnreachable("cannot fetch the manifest: 503 Service Unavailable")
        return [
            Release(version, (f"https://packages/{version}",)) for version in self.published.get(handler.name, {})
        ]

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        self.fetched.append(f"{handler.name} {release.version}")
        Path(zip_path).write_bytes(self.published[handler.name][release.version])
        try:
            accept()
        except MachineError as error:
            raise FabricUnreachable(
                f"no location of {handler.name} gave a good package; the last: {error}"
            ) from error

    # -- goal states

    def desired(self, *handlers: Handler, **more: Any) -> Desired:
        self.incarnation += 1
        identity = f"incarnation:{self.incarnation}"
        return Desired("fabric", identity, str(self.incarnation), handlers=handlers, **more)

    def engine(self) -> Engine:
        def announce(event: str, **data: Any) -> None:
            self.events.append((event, data))

        return Engine(self.system, self.layout, self, self.rules, announce)

    def process(self, *handlers: Handler, **more: Any) -> Summary:
        return self.engine().process(self.desired(*handlers, **more))

    # -- what happened

    def ran(self) -> list[str]:
        """Commands since the last call: "verb NAME-VERSION number instance"."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        self.record.unlink(missing_ok=True)
        return lines

    def verbs(self) -> list[str]:
        return [line.split()[0] for line in self.ran()]

    def environment(self, verb: str, instance: str = "-") -> dict[str, str]:
        lines = Path(f"{self.record}.{verb}.{instance}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def state(self, name: str, version: str, instance: str = "") -> str:
        path = Path(self.layout.state(name, version, instance))
        return path.read_text() if path.exists() else ""

    def entries(self) -> list[dict[str, Any]]:
        return report.handler_statuses(self.layout.lib, time.time() + 60, self.layout.spare)

    def entry(self, name: str) -> dict[str, Any]:
        (found,) = [entry for entry in self.entries() if entry["handlerName"] == name]
        return found

    def instance(self, name: str, instance: str) -> dict[str, Any]:
        (found,) = [
            entry
            for entry in self.entries()
            if entry["handlerName"] == name and entry["runtimeSettingsStatus"].get("extensionName") == instance
        ]
        return found

    def base(self, name: str, version: str) -> Path:
        return Path(self.layout.base(name, version))


def pack(files: Mapping[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return output.getvalue()


def settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The extension's own status in an entry."""
    found: dict[str, Any] = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    return found


def policy_of(**policies: Any) -> policy.Policy:
    return policy.parse(json.dumps({"policyVersion": "0.1.0", "extensionPolicies": policies}), POLICY)


def single(name: str, version: str = "1.0.0", sequence: int = 0, public: Any = None, **more: Any) -> Handler:
    """A single-config handler with settings."""
    keys = ("protected", "thumbprint", "level", "invalid")
    inner = {key: more.pop(key) for key in keys if key in more and key != "invalid"}
    return Handler(name, version, settings=(Settings(name, sequence, public=public, **inner),), **more)


def multi(name: str, version: str, *instances: Settings, **more: Any) -> Handler:
    return Handler(name, version, settings=instances, multi_config=True, **more)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the agent may catch it."""


def kill_before(bed: Bed, verb: str, *handlers: Handler) -> None:
    """Process a goal state and die before the first operation of this verb."""
    engine = bed.engine()
    perform = engine._steps.perform

    def deadly(pair: Any, operation: Any) -> None:
        if operation.verb == verb:
            raise Killed
        perform(pair, operation)

    engine._steps.perform = deadly  # type: ignore[method-assign]
    with pytest.raises(Killed):
        engine.process(bed.desired(*handlers))
    bed.incarnation -= 1  # the same goal state comes again


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    yield Bed(tmp_path)
