"""From a published goal state to the status report, over HTTP: the periodic steps against the simulator."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.modules.conftest import load_module, profile_of, settle
from waagent import config as configuration
from waagent.errors import FabricRejected, FabricUnreachable
from waagent.module import Context, Outcome
from waagent.simulator import Simulator
from waagent.simulator.machine import Machine
from waagent.system import System
from waagent.watcher import worker as watcher_worker
from waagent.watcher.main import Watcher
from waagent.watcher.settings import Settings

HANDLERS = Path(__file__).resolve().parents[1] / "data" / "handlers"
HELLO, STEPS = "Demo.Hello", "Demo.Steps"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


class Worker:
    """The steps that a new goal state starts, in this process, with state in a directory."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.lib = folder / "lib"
        self.lib.mkdir(mode=0o711)
        text = (
            f"Extension.LogDir={folder}/log\nPolicy.PolicyFilePath={folder}/policy.json\nOS.OpensslPath=openssl\n"
        )
        endpoint = f"127.0.0.1:{simulator.wire_port}:{simulator.plugin_port}"
        self.ctx = Context(
            system=System("/", journalling=False),
            config=configuration.from_text(text),
            profile=profile_of(folder),
            lib=str(self.lib),
            facts={"fabric": {"endpoint": endpoint}, "vm": {"id": "1"}},
        )
        self.steps = {
            name: load_module(f"periodic/{name}.py") for name in ("10-goal-state", "20-extensions", "30-status")
        }

    def work(self) -> dict[str, Outcome]:
        ended = {}
        for name, module in self.steps.items():
            ended[name] = module.run(self.ctx)
            settle(self.ctx)
        return ended


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(imds_port=None) as running:
        yield running


@pytest.fixture
def machine(simulator: Simulator) -> Machine:
    return simulator.machine("vm01")


@pytest.fixture
def worker(simulator: Simulator, machine: Machine, tmp_path: Path) -> Worker:
    for name in (HELLO, STEPS):
        simulator.add_package(HANDLERS / name, name, "1.0.0")
    return Worker(simulator, tmp_path)


def entries(machine: Machine) -> list[dict[str, Any]]:
    assert machine.reports.status is not None
    found: list[dict[str, Any]] = machine.reports.status["aggregateStatus"]["handlerAggregateStatus"]
    return found


@pytest.mark.wire(
    "2.6/protectedSettings-thumbprint", "5.3/status", "5.3/code", "5.3/sequenceNumber", "5.3/inSvdSeqNo"
)
def test_a_handler_is_installed_opens_its_protected_settings_and_reports(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}, "protected": {"key": "k3y"}}])
    ended = worker.work()
    assert ended["20-extensions"].kind == "changed"
    (entry,) = entries(machine)
    assert (entry["handlerName"], entry["handlerVersion"], entry["status"]) == (HELLO, "1.0.0", "Ready")
    told = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    assert told["status"] == "success"
    assert told["formattedMessage"]["message"].startswith("hello, Ada; ")
    assert not told["formattedMessage"]["message"].endswith(" 0 characters were protected")
    assert machine.reports.status is not None
    aggregate = machine.reports.status["aggregateStatus"]["vmArtifactsAggregateStatus"]["goalStateAggregateStatus"]
    assert (aggregate["status"], aggregate["code"], aggregate["inSvdSeqNo"]) == ("Success", 0, "2")
    assert "k3y" not in machine.reports.status_text


@pytest.mark.wire("5.3/extensionName", "5.3/substatus", "5.3/status.status")
def test_fast_track_and_instances(worker: Worker, machine: Machine) -> None:
    instances = [
        {"name": "a", "public": {"steps": ["echo one", "true"]}},
        {"name": "b", "public": {"steps": ["false"]}},
    ]
    machine.publish([{"name": STEPS, "version": "1.0.0", "instances": instances}], source="fasttrack")
    worker.work()
    told = {entry["runtimeSettingsStatus"]["extensionName"]: entry for entry in entries(machine)}
    statuses = {name: entry["runtimeSettingsStatus"]["settingsStatus"]["status"] for name, entry in told.items()}
    assert {name: status["status"] for name, status in statuses.items()} == {"a": "success", "b": "error"}
    assert [sub["formattedMessage"]["message"] for sub in statuses["a"]["substatus"]] == ["one\n", ""]


def commands(worker: Worker) -> list[str]:
    """What HELLO was told to do, in order."""
    log = Path(str(worker.lib.parent), "log", HELLO, "CommandExecution.log").read_text()
    return re.findall(r"hello\.sh (\w+)", log)


@pytest.mark.row("extensions", 4)
def test_4_a_poll_without_a_change_runs_nothing_and_reports_with_new_times(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}}])
    worker.work()
    ran, (before,) = commands(worker), entries(machine)
    now = worker.ctx.system.clock.stamp()
    while worker.ctx.system.clock.stamp() == now:  # times are told in whole seconds
        time.sleep(0.02)
    assert worker.work()["20-extensions"].kind == "unchanged"
    assert commands(worker) == ran
    (after,) = entries(machine)
    times = [one["runtimeSettingsStatus"]["settingsStatus"].pop("timestampUTC") for one in (before, after)]
    assert times[0] < times[1]
    assert before == after


def told_by(machine: Machine) -> tuple[str, str]:
    (entry,) = entries(machine)
    status = entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    return status["status"], status["formattedMessage"]["message"]


@pytest.mark.wire("2.2/choice")
def test_another_source_of_the_goal_state_only_enables(worker: Worker, machine: Machine) -> None:
    hello = {"name": HELLO, "version": "1.0.0"}
    for number, source in enumerate(("fabric", "fasttrack", "fasttrack", "fabric")):
        machine.publish([{**hello, "public": {"name": f"Ada{number}"}}], source=source)
        assert worker.work()["20-extensions"].kind == "changed"
        assert worker.work()["20-extensions"].kind == "unchanged"
        assert told_by(machine)[1].startswith(f"hello, Ada{number}; ")
    assert commands(worker) == ["install", "enable", "enable", "enable", "enable"]


@pytest.mark.wire("2.3/outdated")
def test_extensions_wait_while_only_an_older_goal_state_can_be_had(
    worker: Worker, machine: Machine, simulator: Simulator
) -> None:
    """The host plugin stops serving fast track, and what the wire server has is from before: nothing goes back."""
    hello = {"name": HELLO, "version": "1.0.0"}
    machine.publish([], source="fabric", ticks=639310221300000000)
    machine.publish([{**hello, "public": {"name": "Ada"}}], source="fasttrack", ticks=639310221300000001)
    worker.work()
    simulator.fault("/vmSettings", status=404)
    ended = worker.work()
    assert (ended["20-extensions"].kind, ended["30-status"].kind) == ("skipped", "changed")
    assert commands(worker) == ["install", "enable"]
    assert told_by(machine)[0] == "success"  # still reported
    simulator.clear_faults()
    machine.publish([{**hello, "public": {"name": "Eva"}}], source="fabric", ticks=639310221300000002)
    assert worker.work()["20-extensions"].kind == "changed"
    assert told_by(machine)[1].startswith("hello, Eva; ")
    assert commands(worker) == ["install", "enable", "enable"]


@pytest.mark.wire("2.4/missing", "11/faults.rotated")
def test_after_hibernation_settings_for_the_new_certificate_open(worker: Worker, machine: Machine) -> None:
    """Guest-operations 1.17: the machine wakes up elsewhere, with another certificate under the same incarnation."""
    hello = {"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}, "protected": {"key": "k3y"}}
    machine.publish([hello])
    worker.work()
    before = told_by(machine)
    old = machine.tenant_certificate.thumbprint
    machine.rotate_certificate(new_incarnation=False)
    machine.move()
    assert worker.work()["20-extensions"].kind == "unchanged"
    machine.publish([hello], source="fasttrack")
    assert worker.work()["20-extensions"].kind == "changed"
    assert told_by(machine) == before  # as many characters were protected, so they were opened
    assert machine.tenant_certificate.thumbprint != old
    assert (worker.lib / f"{machine.tenant_certificate.thumbprint}.prv").exists()
    assert commands(worker) == ["install", "enable", "enable"]


@pytest.mark.wire("5.3/handlerAggregateStatus")
def test_uninstall_leaves_no_entry(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0"}])
    worker.work()
    machine.publish([{"name": HELLO, "version": "1.0.0", "state": "uninstall"}])
    worker.work()
    assert entries(machine) == []
    assert not (worker.lib / f"{HELLO}-1.0.0").exists()


@pytest.mark.row("extensions", 76)
@pytest.mark.wire("3.6/swap")
def test_76_everything_comes_through_the_host_when_storage_cannot_be_reached(
    worker: Worker, machine: Machine, simulator: Simulator
) -> None:
    simulator.fault("/blob/*", service="blob", status=503)
    machine.publish([{"name": HELLO, "version": "1.0.0"}])
    worker.work()
    assert entries(machine)[0]["status"] == "Ready"


@pytest.mark.row("extensions", 103)
@pytest.mark.wire("3.7/failure")
def test_103_a_report_that_the_host_does_not_take_goes_to_the_blob(
    worker: Worker, machine: Machine, simulator: Simulator
) -> None:
    simulator.fault("/status", service="host_plugin", status=500)
    machine.publish([{"name": HELLO, "version": "1.0.0"}])
    assert "directly" in worker.work()["30-status"].message
    assert entries(machine)[0]["status"] == "Ready"


@pytest.mark.row("field-demands", 166)
@pytest.mark.wire("3.7/failure")
@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 429, 500, 502, 503])
def test_a_report_that_nobody_takes_is_a_failure_that_is_told_and_made_good(
    worker: Worker, machine: Machine, simulator: Simulator, status: int
) -> None:
    machine.publish([])
    worker.work()
    assert machine.reports.status_count == 1
    simulator.fault("/status", service="host_plugin", status=status)
    simulator.fault("*", service="blob", method="PUT", status=status)
    with pytest.raises((FabricUnreachable, FabricRejected), match=str(status)) as raised:
        worker.steps["30-status"].run(worker.ctx)
    assert "sig=" not in str(raised.value)
    assert machine.reports.status_count == 1
    simulator.clear_faults()
    assert worker.steps["30-status"].run(worker.ctx).kind == "changed"
    assert machine.reports.status_count == 2


@pytest.mark.row("extensions", 107)
@pytest.mark.wire("5.3/status", "5.3/code")
def test_107_a_policy_that_does_not_list_a_handler(worker: Worker, machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(
        '{"policyVersion": "0.1.0", "extensionPolicies": {"allowListedExtensionsOnly": true, "extensions": {}}}'
    )
    worker.ctx.config = configuration.from_text(
        f"Policy.Enabled=y\nPolicy.PolicyFilePath={tmp_path}/policy.json\nExtension.LogDir={tmp_path}/log\n"
    )
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {}}])
    worker.work()
    (entry,) = entries(machine)
    assert (entry["status"], entry["code"]) == ("NotReady", 1009)
    assert entry["runtimeSettingsStatus"]["settingsStatus"]["status"]["code"] == 1009
    assert not (worker.lib / f"{HELLO}-1.0.0" / "HandlerManifest.json").exists()


@pytest.mark.row("field-demands", 75)
@pytest.mark.parametrize("source", ["fabric", "fasttrack"])
def test_a_signature_that_is_required_comes_with_the_goal_state(
    simulator: Simulator, worker: Worker, machine: Machine, tmp_path: Path, source: str
) -> None:
    """Installed before it is required, checked then, refused with one of something else, and removed."""
    package = signable(HANDLERS / HELLO, tmp_path / "package.zip")
    simulator.add_package(package.read_bytes(), HELLO, "1.0.0")

    def told(**more: Any) -> tuple[str, int]:
        machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}, **more}], source=source)
        worker.work()
        (entry,) = entries(machine)
        return entry["status"], entry["code"]

    assert told() == ("Ready", 0)
    (tmp_path / "policy.json").write_text(
        '{"policyVersion": "0.1.0", "extensionPolicies": {"signatureRequired": true}}'
    )
    worker.ctx.config = configuration.from_text(
        f"Policy.Enabled=y\nPolicy.PolicyFilePath={tmp_path}/policy.json\nExtension.LogDir={tmp_path}/log\n"
        f"Extensions.SignatureRoot={tmp_path}/root.pem\n"
    )
    assert told() == ("NotReady", 1009)
    assert told(signature=signed(tmp_path, package.read_bytes() + b"another")) == ("NotReady", 1009)
    good = signed(tmp_path, package.read_bytes())
    assert told(signature=good) == ("Ready", 0)
    assert (worker.lib / f"{HELLO}-1.0.0" / "package_validated").exists()
    machine.publish([{"name": HELLO, "version": "1.0.0", "state": "uninstall"}], source=source)
    worker.work()
    assert entries(machine) == []
    assert not (worker.lib / f"{HELLO}-1.0.0").exists()


def signable(handler: Path, archive: Path) -> Path:
    """The handler's package, with names in its manifest as signed packages have them."""
    publisher, _, kind = handler.name.rpartition(".")
    manifest = json.loads((handler / "HandlerManifest.json").read_text())
    manifest[0]["signingInfo"] = {"publisher": publisher, "type": kind, "version": "1.0.0"}
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("HandlerManifest.json", json.dumps(manifest))
        for path in handler.rglob("*"):
            if path.is_file() and path.name != "HandlerManifest.json":
                made.write(path, str(path.relative_to(handler)))
    return archive


def signed(folder: Path, content: bytes) -> str:
    """A signature for it that leads up to root.pem in the folder, as the goal state has it."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    if not (folder / "root.pem").exists():
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "root.pem", "-subj", "/CN=Root")
    (folder / "content").write_bytes(content)
    words = ("cms", "-sign", "-binary", "-in", "content", "-signer", "root.pem", "-inkey", "key", "-outform", "DER")
    openssl(*words, "-out", "signature")
    return base64.b64encode((folder / "signature").read_bytes()).decode()


def test_planning_notes_what_would_be_done(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0"}])
    worker.steps["10-goal-state"].run(worker.ctx)
    settle(worker.ctx)
    worker.ctx.system = System("/", planning=True)
    worker.steps["20-extensions"].run(worker.ctx)
    assert worker.ctx.notes == [
        f"would {verb} {HELLO} 1.0.0" for verb in ("download", "initialise", "settings", "install", "enable")
    ]
    assert not (worker.lib / f"{HELLO}-1.0.0").exists()


@pytest.mark.row("extensions", 104)
@pytest.mark.row("field-demands", 166)
@pytest.mark.wire("2.7/no-status-url")
def test_a_goal_state_without_a_place_for_the_report_is_fetched_once_more(
    worker: Worker, machine: Machine, simulator: Simulator
) -> None:
    """Wire-protocol 2.7, missing status URL: one forced refresh, and if it is still missing no report."""
    lacking = simulator.fault("*type=extensionsConfig*", content="no-status-blob", count=1)
    assert worker.work()["30-status"].kind == "changed"
    assert (lacking.met, machine.reports.status_count) == (1, 1)
    simulator.fault("*type=extensionsConfig*", content="no-status-blob")
    machine.publish([])
    assert worker.work()["30-status"].kind == "skipped"
    assert machine.reports.status_count == 1


@pytest.mark.wire("5.3/runtimeSettingsStatus", "5.3/formattedMessage", "5.3/substatus", "5.3/extensionName", "5.3/timestampUTC")
def test_what_a_report_leaves_out_and_what_stays_in_it(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0"}])  # without settings it has no status of its own
    worker.work()
    (entry,) = entries(machine)
    assert "runtimeSettingsStatus" not in entry
    assert entry.get("formattedMessage", {"message": "x"})["message"]
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}}])
    worker.work()
    (entry,) = entries(machine)
    assert "extensionName" not in entry["runtimeSettingsStatus"]
    assert "substatus" not in entry["runtimeSettingsStatus"]["settingsStatus"]["status"]
    first = machine.reports.status
    assert first is not None
    time.sleep(1.1)
    worker.work()
    second = machine.reports.status
    assert second is not None
    assert second["timestampUTC"] > first["timestampUTC"]
    processed = [one["aggregateStatus"]["vmArtifactsAggregateStatus"]["goalStateAggregateStatus"] for one in (first, second)]
    assert processed[0]["timestampUTC"] == processed[1]["timestampUTC"]


@pytest.mark.wire("9.1/23", "9.1/24", "9.2/etag")
@pytest.mark.parametrize("source", ["fabric", "fasttrack"])
def test_the_requests_of_a_worker_in_their_order(
    worker: Worker, machine: Machine, simulator: Simulator, source: str
) -> None:
    machine.publish([])
    worker.work()
    machine.publish([{"name": HELLO, "version": "1.0.0"}], source=source)
    simulator.requests.clear()
    worker.work()
    places = [one.headers.get("x-ms-artifact-location", one.target) for one in simulator.requests]  # by either channel
    asked = [place.rpartition("/")[2].partition("?sv=")[0] for place in places]
    manifest, package, status = (next(at for at, one in enumerate(asked) if part in one) for part in ("manifest", "__1.0.0", "status"))
    assert [one.partition("?")[0] for one in asked[:2]] == ["", "vmSettings"]
    assert 1 < manifest < package < status == len(asked) - 1
    assert len([one for one in asked if "manifest" in one or "__" in one]) == 2


def newest(worker: Worker) -> Path:
    (entry,) = [path for path in (worker.lib / "history").iterdir() if path.is_dir()]
    return entry


def watching(worker: Worker, **changes: Any) -> Watcher:
    settings = Settings(
        extensions=True, fast_track=changes.get("fast_track", True), host_health=False, initial=6, lib=str(worker.lib),
        os_name=worker.ctx.profile.id, os_version=worker.ctx.profile.version, period=6,
    )  # fmt: skip
    return Watcher(settings, start=lambda event: FakeWorker())


@pytest.mark.wire("8.3/waagent_status.json", "8.3/manifest.xml", "8.3/waagent_policy.json")
def test_support_finds_the_last_report_the_manifests_and_the_policy(
    worker: Worker, machine: Machine, tmp_path: Path
) -> None:
    worker.ctx.config = configuration.from_text(
        f"Policy.Enabled=y\nPolicy.PolicyFilePath={tmp_path}/policy.json\nExtension.LogDir={tmp_path}/log\n"
    )
    (tmp_path / "policy.json").write_text('{"policyVersion": "0.1.0"}')
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}}])
    worker.work()
    first = newest(worker)
    assert json.loads((first / "waagent_status.json").read_text()) == machine.reports.status
    assert (first / "waagent_policy.json").read_text() == '{"policyVersion": "0.1.0"}'
    manifest = (first / f"{HELLO}.manifest.xml").read_text()
    assert "<Version>1.0.0</Version>" in manifest
    assert "sig=" not in manifest
    assert {path.stat().st_mode & 0o777 for path in first.iterdir()} == {0o600}
    time.sleep(1.1)
    machine.publish([])
    worker.work()
    second = newest(worker)
    assert second != first
    assert json.loads((second / "waagent_status.json").read_text()) == machine.reports.status
    with zipfile.ZipFile(f"{first}.zip") as packed:
        assert HELLO in packed.read("waagent_status.json").decode()


@pytest.mark.row("field-demands", 83)
@pytest.mark.wire("8.3/waagent_status.json")
def test_the_copy_of_an_unchanged_report_is_not_written_again(worker: Worker, machine: Machine) -> None:
    machine.publish([{"name": HELLO, "version": "1.0.0", "public": {"name": "Ada"}}])
    worker.work()
    copy = newest(worker) / "waagent_status.json"
    watcher = watching(worker)
    written = copy.stat().st_mtime_ns, copy.stat().st_ino
    count, before = machine.reports.status_count, machine.reports.status
    time.sleep(1.1)
    for _ in range(3):
        watcher.reporter._taken_at -= 60
        watcher.turn()
    worker.steps["30-status"].run(worker.ctx)
    assert machine.reports.status_count == count + 4
    assert machine.reports.status != before  # newer times
    assert (copy.stat().st_mtime_ns, copy.stat().st_ino) == written
    status = worker.lib / f"{HELLO}-1.0.0/status/0.status"
    status.write_text(status.read_text().replace("success", "warning"))
    watcher.turn()
    assert json.loads(copy.read_text()) == machine.reports.status
    assert '"warning"' in copy.read_text()
    copy.unlink()  # an entry that is new has none; the next report is written though nothing in it is
    watcher.reporter._taken_at -= 60
    watcher.turn()
    assert json.loads(copy.read_text()) == machine.reports.status


@pytest.mark.wire("8.3/disk")
def test_a_disk_that_refuses_the_copy_stops_no_report(worker: Worker, machine: Machine) -> None:
    machine.publish([])
    worker.work()
    copy = newest(worker) / "waagent_status.json"
    copy.unlink()
    copy.mkdir()
    count = machine.reports.status_count
    watching(worker).turn()
    assert worker.steps["30-status"].run(worker.ctx).kind == "changed"
    assert machine.reports.status_count == count + 2
    assert any("cannot keep the report" in note for note in worker.ctx.notes)


FEATURES = {"MultipleExtensionsPerHandler": "1.0", "FastTrack": "1.0"}


@pytest.mark.wire("5.3/supportedFeatures")
@pytest.mark.parametrize(
    ("conf", "served", "told"),
    [("", True, FEATURES), ("", False, ["MultipleExtensionsPerHandler"]),
     ("Debug.EnableFastTrack=n\n", True, ["MultipleExtensionsPerHandler"])],
    ids=["served", "not served", "switched off"],
)  # fmt: skip
def test_a_worker_and_the_watcher_tell_of_the_same_features(
    worker: Worker, machine: Machine, simulator: Simulator, conf: str, served: bool, told: dict[str, str]
) -> None:
    worker.ctx = replace(worker.ctx, config=configuration.from_text(conf))
    machine.publish([])
    if not served:
        simulator.fault("/vmSettings", status=404)
    worker.work()
    watcher = watching(worker, fast_track=not conf)

    def features() -> list[str]:
        assert machine.reports.status is not None
        return [one["Key"] for one in machine.reports.status["supportedFeatures"]]

    assert features() == list(told)
    count = machine.reports.status_count
    watcher.turn()
    assert machine.reports.status_count == count + 1
    assert features() == list(told)
    if not conf:  # the host plugin of a node that the machine moves to is another
        simulator.clear_faults()
        if served:
            simulator.fault("/vmSettings", status=404)
        watcher.known.ask_vm_settings_at = 0.0
        watcher.turn()
        assert features() == list(FEATURES)[: 1 if served else 2]


class FakeWorker(watcher_worker.Worker):
    """Nothing to start here: the goal state is done."""

    def __init__(self) -> None:
        pass

    def busy(self) -> bool:
        return False

    def end(self) -> str:
        return "done"

    def start(self) -> None:
        pass
