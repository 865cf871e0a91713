"""Extensions in a guest: packages of handlers that can be steered, goal states, and what became of them.

    scene = Scene(bed)                          orders a machine, boots it, waits until it is ready
    scene.offer("Contoso.Sh.One", "1.0.0", SHELL, manifest={…}, do={"enable": "sleep 3"})
    day = scene.process(single("Contoso.Sh.One", **{"enable.exit": 52}))    a goal state, from publication to report
    day.verbs("Contoso.Sh.One")                 the commands that ran for it, in order
    day.entry(…), day.inner(…), day.message(…)  what the fabric was told of it

The handlers are tests/data/handlers/Demo.Steered, in shell and in Python. A Day is what was seen then; later goal
states do not change it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

from bed.bed import Bed
from bed.verbs import until

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
STEERED = HANDLERS / "Demo.Steered"
SHELL, PYTHON = "handle.sh", "handle.py"
VERBS = ("install", "uninstall", "update", "enable", "disable")
LIB, LOGS, NOTES = "/var/lib/waagent", "/var/log/azure", "/var/tmp/handlers"
WORKER = "waagent-worker@goal-state.service"
GOOD = "Contoso.Shell.Good"  # the handler beside those that do harm, which must not suffer

Entry = dict[str, Any]


def single(name: str, version: str = "1.0.0", *, sequence: Optional[int] = None, **more: Any) -> dict[str, Any]:
    """A handler of a goal state with settings; what the goal state does not know of steers the handler."""
    of_goal_state = ("state", "level", "locations", "settings", "signature")
    known: dict[str, Any] = {key: more.pop(key) for key in of_goal_state if key in more}
    return {"name": name, "version": version, "public": more, "sequence": sequence, **known}


def several(name: str, version: str = "1.0.0", **instances: Mapping[str, Any]) -> dict[str, Any]:
    """A multi-config handler of a goal state; each instance with its own settings."""
    listed = []
    for instance, given in instances.items():
        public = dict(given)
        known: dict[str, Any] = {key: public.pop(key) for key in ("state", "level", "sequence") if key in public}
        listed.append({"name": instance, "public": public, **known})
    return {"name": name, "version": version, "instances": listed}


def pack(files: Mapping[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return output.getvalue()


def package(
    program: str = SHELL,
    manifest: Optional[Mapping[str, Any]] = None,
    do: Optional[Mapping[str, str]] = None,
    extra: Optional[Mapping[str, bytes]] = None,
    signing: Optional[Mapping[str, str]] = None,
) -> bytes:
    """A handler's package. manifest: what differs, None takes a key away; do: more for a verb, in its language."""
    body = {**{f"{verb}Command": f"{program} {verb}" for verb in VERBS}, **(manifest or {})}
    body = {key: value for key, value in body.items() if value is not None}
    named = {"signingInfo": signing} if signing else {}
    return pack(
        {
            "HandlerManifest.json": json.dumps([{"handlerManifest": body, **named}]).encode(),
            program: (STEERED / program).read_bytes(),
            **{f"do/{verb}": text.encode() for verb, text in (do or {}).items()},
            **(extra or {}),
        }
    )


class Day(NamedTuple):
    """One goal state: what the fabric was told at its end, and the commands that ran: (time, "verb name-version …")."""

    entries: list[Entry]
    lines: list[tuple[float, str]]
    aggregate: Entry

    def ran(self, name: str = "") -> list[str]:
        """ "verb NAME-VERSION number instance", of one handler or of all."""
        return [line for _, line in self.lines if not name or line.split()[1].rpartition("-")[0] == name]

    def verbs(self, name: str = "") -> list[str]:
        return [line.split()[0] for line in self.ran(name)]

    def find(self, name: str, instance: str = "") -> list[Entry]:
        found = [one for one in self.entries if one["handlerName"] == name]
        return [one for one in found if not instance or one["runtimeSettingsStatus"]["extensionName"] == instance]

    def entry(self, name: str, instance: str = "") -> Entry:
        (found,) = self.find(name, instance)
        return found

    def verdict(self, name: str, instance: str = "") -> tuple[str, int]:
        """Status and code of the handler."""
        entry = self.entry(name, instance)
        return entry["status"], entry["code"]

    def message(self, name: str) -> str:
        return str(self.entry(name)["formattedMessage"]["message"])

    def inner(self, name: str, instance: str = "") -> Entry:
        return inner(self.entry(name, instance))

    def is_good(self) -> bool:
        """Whether GOOD fared well."""
        return self.verdict(GOOD) == ("Ready", 0) and self.inner(GOOD)["status"] == "success"

    def told(self, name: str, instance: str = "") -> str:
        """The message of the extension's own status."""
        return str(self.inner(name, instance)["formattedMessage"]["message"])


def inner(entry: Mapping[str, Any]) -> Entry:
    """The extension's own status in an entry of the report."""
    found: Entry = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    return found


class Scene:
    def __init__(self, bed: Bed) -> None:
        self.bed, self.guest, self.simulator = bed, bed.guest, bed.fabric.simulator
        self.machine = bed.machine()
        quick = "Extensions.GoalStatePeriod=1\nExtensions.InitialGoalStatePeriod=1\n"
        self.guest.write("/etc/waagent.conf.d/50-quick.conf", quick)
        self.guest.boot()
        self.machine.wait_for("ready", timeout=90)

    def offer(self, name: str, version: str = "1.0.0", program: str = SHELL, **more: Any) -> bytes:
        """Serve a package made by package(); returns it."""
        content = package(program, **more)
        self.simulator.add_package(content, name, version)
        return content

    def process(self, *wanted: Mapping[str, Any], timeout: float = 120, **more: Any) -> Day:
        """Publish a goal state and wait until it is processed and reported."""
        begun = len(self._lines())
        label = self.machine.publish([dict(one) for one in wanted], **more)
        return self.settled(label, begun, timeout)

    def settled(self, label: str, begun: int = 0, timeout: float = 120) -> Day:
        """What there is to see once the goal state that publish() gave this label is processed."""
        self._settled(label, timeout)
        return self.day(begun)

    def again(self, do: Callable[[], object], timeout: float = 120) -> Day:
        """Do something that makes the agent process the goal state in force once more."""
        begun, before = len(self._lines()), self._mark()
        do()
        until(lambda: self._mark() != before, timeout, lambda: f"processed once more: {self.guest.journal()[-6000:]}")
        self._settled(str(self.machine.incarnation), timeout)
        return self.day(begun)

    def day(self, begun: int = 0) -> Day:
        status = self.machine.reports.status
        assert status is not None, "nothing has been reported yet"
        aggregate = status["aggregateStatus"]
        outcome = aggregate.get("vmArtifactsAggregateStatus", {}).get("goalStateAggregateStatus", {})
        return Day(aggregate["handlerAggregateStatus"], self._lines()[begun:], outcome)

    def await_entry(self, name: str, holds: Callable[[Entry], bool], timeout: float = 30) -> Entry:
        """The handler's entry, once a report says of it what is waited for."""

        def test(machine: object) -> Optional[Entry]:
            entry = self.machine.reports.extension(name)
            return entry if entry is not None and holds(entry) else None

        found: Entry = self.machine.wait_for(test, timeout)
        return found

    # -- the guest's disk ------------------------------------------------------------------------------------

    def state(self, name: str, version: str = "1.0.0", instance: str = "") -> str:
        """The word in HandlerState, "" without the file."""
        prefix = f"{instance}." if instance else ""
        return self.guest.run(["cat", f"{base(name, version)}/config/{prefix}HandlerState"]).out

    def environment(self, verb: str, name: str, version: str = "1.0.0", instance: str = "-") -> dict[str, str]:
        """Of the last command of this verb."""
        lines = self.guest.read(f"{NOTES}/{name}-{version}.{verb}.{instance}.env").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    # -- within ----------------------------------------------------------------------------------------------

    def put(self, path: str, content: bytes) -> None:
        """A file of root's alone in the guest."""
        self.guest.write(path, content, 0o600)

    def fetched(self, name: str) -> list[str]:
        """The requests for the handler's packages so far, each with the service it went to."""
        found = []
        for one in self.simulator.requests:
            place = one.headers.get("x-ms-artifact-location", one.target)
            if f"/{name}__" in place:
                found.append(one.service)
        return found

    def _lines(self) -> list[tuple[float, str]]:
        text = self.guest.run(["cat", f"{NOTES}/ran"]).out
        return [(float(line.split()[0]), line.partition(" ")[2]) for line in text.splitlines()]

    def _mark(self) -> str:
        return self.guest.run(["stat", "-c", "%i %Y", f"{LIB}/extensions/processed.json"]).out

    def _settled(self, label: str, timeout: float) -> None:
        """Until the goal state is marked as done, and the worker, which reports before it ends, is gone."""
        done = f"grep -q 'incarnation:{label}\"' {LIB}/extensions/processed.json && ! systemctl is-active -q {WORKER}"
        processed = lambda: self.guest.run(done).status == 0  # noqa: E731
        until(processed, timeout, lambda: f"goal state {label}: {self.guest.journal()[-6000:]}")


def base(name: str, version: str = "1.0.0") -> str:
    return f"{LIB}/{name}-{version}"
