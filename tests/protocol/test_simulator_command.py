"""The command waagent-simulator as a separate process, with its control API, state file and web page."""
from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from waagent.simulator import SimulatorError
from waagent.simulator.client import Client

from .simulator_client import (
    XML,
    ask,
    block_upload,
    goal_state,
    handler_status,
    health,
    plugin_headers,
    status_document,
)

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "waagent.simulator"]


class Running:
    """A simulator process and its addresses."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--host", "127.0.0.1", "--wire-port", "0", "--plugin-port", "0", "--imds-port", "0",
             "--control", "0", *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        urls = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            found = re.match(r"(.*?)\s+(http\S+|off)$", line.strip())
            urls[found[1]] = found[2]
        self.wire_url, self.plugin_url = urls["wire server"], urls["host plugin"]
        self.imds_url, self.control_url = urls["metadata"], urls["control"]

    def run(self, *arguments: str, status: int = 0, stdin: str = "") -> str:
        done = self.ended(*arguments, stdin=stdin)
        assert done.returncode == status, done
        return done.stdout if status == 0 else done.stdout + done.stderr

    def ended(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, input=stdin,
                              env={**os.environ, "WAAGENT_SIMULATOR": self.control_url}, timeout=60, check=False)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.stdout.close()
        return self.process.wait(timeout=20)


@pytest.fixture
def fabric(tmp_path):
    running = Running("--state", str(tmp_path / "state.sqlite"))
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


def handler_directory(root: Path, version: str = "1.2.0") -> Path:
    directory = root / f"Contoso.Sim.Tool-{version}"
    directory.mkdir(parents=True)
    (directory / "HandlerManifest.json").write_text(json.dumps([{"handlerManifest": {"enableCommand": "go"}}]))
    return directory


def report_status(fabric: Running, *handlers: dict, sequence: str) -> None:
    found = goal_state(fabric)
    root = ask(found.urls["ExtensionsConfig"], headers=XML).xml
    content = json.dumps(status_document(*handlers, sequence=sequence)).encode()
    answer = ask(f"{fabric.plugin_url}/status", "PUT",
                 plugin_headers(found, **{"Content-Type": "application/json"}),
                 block_upload(root.findtext("StatusUploadBlob"), content))
    assert answer.status == 200


@pytest.mark.row("field-demands", 171)
def test_an_image_builder_tests_an_image(fabric, tmp_path):
    """The whole way: machine, medium, package, extension, reports, violations."""
    fabric.run("machine", "create", "vm01", "--user", "ada", "--ssh-key", "ssh-ed25519 AAAA ada")
    printed = fabric.run("media", "vm01", str(tmp_path / "dvd"))
    assert "<UserName>ada</UserName>" in Path(printed.strip()).read_text()
    assert fabric.run("package", "add", str(handler_directory(tmp_path))).startswith("Contoso.Sim.Tool 1.2.0")
    fabric.run("publish", "vm01", "--extension", "Contoso.Sim.Tool=1.2.0", "--public", '{"a": 1}',
               "--protected", '{"token": "x"}')
    assert "NotReported" not in fabric.run("reported", "--wait", "ready", "--timeout", "0.3", status=1)
    found = goal_state(fabric)
    assert ask(f"{fabric.wire_url}/machine?comp=health", "POST", XML, health(found)).status == 200
    report_status(fabric, handler_status("Contoso.Sim.Tool", "1.2.0", 0, message="all is well"), sequence="2")
    missed = fabric.run("reported", "--wait", "failed", "--timeout", "0.3", status=1)
    assert re.search(r", last seen \d+ s ago$", missed.strip())
    fabric.run("reported", "--wait", "ready", "--timeout", "5")
    document = json.loads(fabric.run("reported", "vm01", "--wait", "extension=Contoso.Sim.Tool", "--format", "json"))
    assert document["provisioning"]["state"] == "Ready"
    assert document["extensions"][0]["status_message"] == "all is well"
    text = fabric.run("reported")
    assert "Contoso.Sim.Tool 1.2.0 Ready" in text
    assert "PUT /status" in fabric.run("requests")
    assert fabric.run("violations") == ""

    ask(f"{fabric.wire_url}/machine/?comp=goalstate")
    assert "wire-version: x-ms-version is missing" in fabric.run("violations", "--clear", status=1)
    assert fabric.run("violations") == ""


@pytest.mark.wire("11/state")
def test_state_survives_a_kill(tmp_path):
    state = str(tmp_path / "state.sqlite")
    first = Running("--state", state)
    first.run("machine", "create", "vm01", "--password", "hunter22!")
    first.run("package", "add", str(handler_directory(tmp_path)))
    first.run("publish", "vm01", "--extension", "Contoso.Sim.Tool=1.2.0", "--protected", '{"token": "x"}',
              "--source", "fasttrack")
    first.run("fault", "add", "--path", "/health", "--status", "503")
    found = goal_state(first)
    ask(f"{first.wire_url}/machine?comp=health", "POST", XML, health(found))
    ask(f"{first.wire_url}/machine/?comp=goalstate")
    first.run("machine", "move", "vm01")
    settings = ask(f"{first.plugin_url}/vmSettings", headers=plugin_headers(goal_state(first)))
    shown = first.run("machine", "show", "vm01")
    first.stop(signal.SIGKILL)

    second = Running("--state", state)
    try:
        assert second.run("machine", "show", "vm01") == shown
        assert "hunter22!" not in shown
        again = ask(f"{second.plugin_url}/vmSettings", headers=plugin_headers(goal_state(second)))
        assert again.headers["etag"] == settings.headers["etag"]
        one, other = again.json()["extensionGoalStates"], settings.json()["extensionGoalStates"]
        assert one[0]["settings"] == other[0]["settings"]
        assert json.loads(second.run("reported", "--format", "json"))["provisioning"]["state"] == "Ready"
        assert ask(f"{second.plugin_url}/health").status == 503
        assert "wire-version" in second.run("violations", status=1)
        assert second.run("package", "list").startswith("Contoso.Sim.Tool 1.2.0")
        stale = ask(f"{second.plugin_url}/vmSettings", headers=plugin_headers(found))
        assert stale.status == 410
        assert oct(os.stat(state).st_mode & 0o777) == "0o600"
    finally:
        second.stop()


class Operator(threading.Thread):
    """Publishes to one machine without a pause, as long as somebody answers; the last label that was answered."""

    def __init__(self, control_url: str, name: str) -> None:
        super().__init__(daemon=True)
        self.client, self.name, self.answered = Client(control_url), name, 0

    def run(self) -> None:
        path = self.client.machine(self.name, "publish")
        with contextlib.suppress(SimulatorError, http.client.HTTPException):
            while True:
                self.answered = int(self.client.ask("POST", path, {"on_hold": self.answered % 2 == 0})["label"])


def addresses_of(running: Running) -> list[str]:
    ports = [url.rpartition(":")[2] for url in (running.wire_url, running.plugin_url, running.imds_url)]
    return ["--wire-port", ports[0], "--plugin-port", ports[1], "--imds-port", ports[2]]


@pytest.mark.wire("11/state", "11/machines")
def test_it_is_killed_in_the_middle_of_work_and_nothing_that_it_answered_is_lost(tmp_path):
    state = ["--state", str(tmp_path / "state.sqlite")]
    names = ["vm01", "vm02", "vm03"]
    running = Running(*state, *[word for name in names for word in ("--machine", name)])
    places = addresses_of(running)
    for pause in (0.2, 0.45, 0.7):
        operators = [Operator(running.control_url, name) for name in names]
        for one in operators:
            one.start()
        end = time.monotonic() + pause
        while time.monotonic() < end:  # meanwhile agents ask
            assert goal_state(running).incarnation
        running.stop(signal.SIGKILL)
        for one in operators:
            one.join(10)
            assert not one.is_alive()
        running = Running(*state, *places)
        for one in operators:
            kept = json.loads(running.run("machine", "show", one.name))["incarnation"]
            assert kept in (one.answered, one.answered + 1)  # what it was about may be there, or not
        assert goal_state(running).incarnation == str(json.loads(running.run("machine", "show", "vm01"))["incarnation"])
        assert running.run("violations") == ""
    assert running.stop() == 0


@pytest.mark.wire("11/medium")
@pytest.mark.skipif(shutil.which("genisoimage") is None, reason="genisoimage is not installed")
def test_the_medium_as_an_image(fabric, tmp_path):
    fabric.run("machine", "create", "vm01", "--user", "ada")
    fabric.run("media", "vm01", "--iso", str(tmp_path / "dvd.iso"))
    read = subprocess.run(["isoinfo", "-J", "-x", "/ovf-env.xml", "-i", str(tmp_path / "dvd.iso")],
                          capture_output=True, check=True, text=True)
    assert "<UserName>ada</UserName>" in read.stdout


def test_packages_of_a_directory_are_served_and_picked_up_later(tmp_path):
    handler_directory(tmp_path / "packages")
    running = Running("--packages", str(tmp_path / "packages"), "--machine", "vm01")
    try:
        assert running.run("package", "list").split() == ["Contoso.Sim.Tool", "1.2.0,", *running.run(
            "package", "list").split()[2:]]
        handler_directory(tmp_path / "packages", "1.3.0")
        running.run("publish", "vm01", "--extension", "Contoso.Sim.Tool=1.3.0")
        assert "Contoso.Sim.Tool 1.3.0" in running.run("package", "list")
        shutil.make_archive(str(tmp_path / "packages/Contoso.Sim.Zip-2.0"), "zip", handler_directory(tmp_path))
        assert running.ended("publish", "vm01", "--extension", "Contoso.Sim.Zip=2.0").stderr == ""
        unserved = running.ended("publish", "vm01", "--extension", "Contoso.Sim.Zip=2.1")
        assert (unserved.returncode, unserved.stderr.split(";")[0]) == (
            0, "note: no package of Contoso.Sim.Zip 2.1 is served here")
        running.run("publish", "vm01", "--remove", "Contoso.Sim.Zip")
        running.run("publish", "vm01", "--remove", "Contoso.Sim.Tool", "--source", "fasttrack")
        assert json.loads(running.run("machine", "show", "vm01"))["fast_goal"]["extensions"] == []
        running.run("publish", "vm01", "-", stdin='{"extensions": [{"name": "A.B", "version": "1"}], "on_hold": true}')
        assert json.loads(running.run("machine", "show", "vm01"))["fabric_goal"]["on_hold"] is True
    finally:
        running.stop()


def test_mistakes_are_told_in_one_line(fabric, tmp_path):
    fabric.run("machine", "create", "vm01")
    for arguments, text in (
            (("machine", "create", "vm01"), "machine vm01 exists already"),
            (("publish", "nobody", "--hold"), "there is no machine nobody; known are vm01"),
            (("publish", "vm01", "--extension", "A.B"), "expected NAME=VERSION"),
            (("publish", "vm01", "--extension", "A.B=1", "--public", "{"), "--public is not JSON"),
            (("publish", "vm01", "-"), "- is not JSON"),
            (("reported", "vm01", "--wait", "sunshine"), "cannot wait for 'sunshine'"),
            (("package", "add", str(tmp_path / "none.zip")), "no such file or directory"),
            (("fault", "clear", "99", "--control", "1"), "cannot reach the simulator at 127.0.0.1:1")):
        printed = fabric.run(*arguments, status=2)
        assert text in printed
        assert printed.count("\n") == 1, printed


def test_faults_by_command(fabric):
    fabric.run("machine", "create", "vm01")
    number = fabric.run("fault", "add", "--path", "/health", "--status", "503", "--count", "1",
                        "--header", "Retry-After=3").strip()
    answer = ask(f"{fabric.plugin_url}/health")
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert ask(f"{fabric.plugin_url}/health").status == 200
    assert "met 1" in fabric.run("fault", "list")
    assert fabric.run("fault", "clear", number) == "1 removed\n"
    assert fabric.run("fault", "list") == ""


# --- web page ----------------------------------------------------------------------------------------------------

def page(fabric: Running, path: str = "/") -> str:
    answer = ask(f"{fabric.control_url}{path}")
    assert answer.status == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return answer.body.decode()


def test_the_page_shows_machines_extensions_and_requests(fabric):
    assert "No machine yet" in page(fabric)
    fabric.run("machine", "create", "vm01")
    fabric.run("publish", "vm01", "--extension", "Contoso.Sim.Tool=1.2.0", "--public", "{}")
    ask(f"{fabric.wire_url}/machine?comp=health", "POST", XML,
        health(goal_state(fabric), "NotReady", "ProvisioningFailed", "no &lt;script&gt; disk"))
    report_status(fabric, handler_status("Contoso.Sim.Tool", "1.2.0", 0, "error", message="<b>broken</b>"),
                  sequence="2")
    front, own = page(fabric), page(fabric, "/machines/vm01")
    assert '<a href="/machines/vm01">vm01</a>' in front
    assert '<span class="state bad">Failed</span>' in front
    assert "&lt;b&gt;broken&lt;/b&gt;" in own
    assert "no &lt;script&gt; disk" in own
    assert "<b>broken" not in own
    assert "PUT /status" in own
    part = page(fabric, "/machines/vm01?part=1")
    assert part.startswith('<section class=""><h2>vm01</h2>')
    assert ask(f"{fabric.control_url}/machines/none").status == 404


@pytest.mark.parametrize("method, path, headers, status", [
    ("GET", "/api/machines", {"Host": "evil.example"}, 403),
    ("POST", "/api/machines", {"Content-Type": "text/plain"}, 415),
    ("POST", "/api/machines", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ("OPTIONS", "/api/machines", {}, 404),
])
def test_a_page_from_elsewhere_can_do_nothing_here(fabric, method, path, headers, status):
    host, _, port = fabric.control_url[len("http://"):].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    connection.request(method, path, b'{"name": "vm01"}' if method == "POST" else None, headers)
    answer = connection.getresponse()
    assert answer.status == status
    assert not [one for one, _ in answer.getheaders() if one.lower().startswith("access-control")]
    connection.close()
