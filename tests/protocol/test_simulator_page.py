"""The simulator's web page in a real browser: what it shows, that it follows by itself, that nothing on it fails.

script/screenshot makes the picture of the documentation with the last of these tests.
"""
from __future__ import annotations

import json
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.talk import LIB, Talk
from tests.unit.runner.conftest import Machine as Guest
from waagent.fabric.hosting import Names
from waagent.simulator import Machine, Simulator
from waagent.telemetry.columns import Columns
from waagent.telemetry.send import send

from . import browser
from .browser import Browser
from .simulator_client import (
    WIRE,
    XML,
    ask,
    block_upload,
    goal_state,
    handler_status,
    health,
    plugin_headers,
    status_document,
    telemetry,
)

ADDRESSES = {"web-01": "127.0.1.1", "web-02": "127.0.1.2", "db-01": "127.0.1.3"}
MONITOR, BACKUP, SCRIPT = "Contoso.Sim.Monitor", "Contoso.Sim.Backup", "Contoso.Sim.RunCommand"


@pytest.fixture(scope="module", autouse=True)
def _browser_is_there() -> None:
    why = browser.missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"the page cannot be tested here: {why}", pytrace=False)
    if why:
        pytest.skip(f"the page is not tested here: {why}")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as made:
        yield made


@pytest.fixture
def sim(certificate: Any) -> Iterator[Simulator]:
    with Simulator(control_port=0, shared_certificate=certificate) as made:
        yield made


@pytest.fixture
def tab(sim: Simulator, chromium: Browser) -> Iterator[Browser]:
    """The browser, which may not have complained when the test is over; it has left the page when the simulator ends."""
    chromium.complaints.clear()
    yield chromium
    chromium.open("about:blank")
    assert chromium.complaints == []


def agent(sim: Simulator, name: str) -> Machine:
    return sim.machine(name, host_name=name, user="ada", addresses=[ADDRESSES[name]])


def report_health(sim: Simulator, name: str, *words: str) -> None:
    source = ADDRESSES[name]
    body = health(goal_state(sim, source), *words)
    assert ask(f"{sim.wire_url}/machine?comp=health", "POST", XML, body, source).status == 200


def report_status(sim: Simulator, name: str, *handlers: dict) -> None:
    source = ADDRESSES[name]
    found = goal_state(sim, source)
    config = ask(found.urls["ExtensionsConfig"], headers=XML, source=source).xml
    document = status_document(*handlers, sequence=found.incarnation)
    document["guestOSInfo"] = {"computerName": name, "osName": "debian", "osVersion": "12", "version": "3.0.0"}
    document["aggregateStatus"]["guestAgentStatus"]["version"] = "3.0.0"
    upload = block_upload(config.findtext("StatusUploadBlob"), json.dumps(document).encode())
    headers = plugin_headers(found, **{"Content-Type": "application/json"})
    assert ask(f"{sim.plugin_url}/status", "PUT", headers, upload, source).status == 200


def report_stage(sim: Simulator, name: str, message: str, milliseconds: int) -> None:
    body = telemetry(
        ("Name", "WALinuxAgent", "mt:wstr"), ("Operation", "Stage", "mt:wstr"),
        ("OperationSuccess", "True", "mt:bool"), ("Message", message, "mt:wstr"),
        ("Duration", str(milliseconds), "mt:uint64"),
        ("OpcodeName", time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.localtime()), "mt:wstr"),
        ("ContainerId", sim.machine(name).container_id, "mt:wstr"))
    url = f"{sim.wire_url}/machine?comp=telemetrydata"
    assert ask(url, "POST", {**XML, "x-ms-containerid": sim.machine(name).container_id}, body, ADDRESSES[name]).status == 200


def test_machines_appear_and_their_state_follows_by_itself(sim: Simulator, tab: Browser) -> None:
    tab.open(f"{sim.control_url}/")
    assert "No machine yet" in tab.text()
    agent(sim, "web-01")
    tab.wait_for("document.querySelector('tbody .state')?.innerText === 'Creating'")
    report_health(sim, "web-01", "NotReady", "Provisioning", "Starting")
    tab.wait_for("document.querySelector('tbody .state')?.innerText === 'Provisioning'")
    report_health(sim, "web-01")
    tab.wait_for("document.querySelector('tbody .state.good')?.innerText === 'Ready'")
    # The same document all along: what changed was put in by the script.
    assert tab.evaluate("performance.getEntriesByType('navigation').length") == 1
    assert tab.evaluate("performance.getEntriesByType('resource').length") >= 3


def test_extension_status_and_its_message_follow(sim: Simulator, tab: Browser) -> None:
    agent(sim, "web-01").publish([{"name": MONITOR, "version": "1.9.1"}])
    tab.open(f"{sim.control_url}/machines/web-01")
    assert "No extension reported" in tab.text()
    report_status(sim, "web-01", handler_status(MONITOR, "1.9.1", 0, "transitioning", message="installing <b>probes</b>"))
    tab.wait_for("document.body.innerText.includes('installing <b>probes</b>')")
    assert "transitioning" in tab.text()
    report_status(sim, "web-01", handler_status(MONITOR, "1.9.1", 0, "error", message="no probe answers"))
    tab.wait_for("document.body.innerText.includes('no probe answers')")
    assert tab.evaluate("[...document.querySelectorAll('.state.bad')].some(one => one.innerText === 'error')")
    assert tab.evaluate("document.querySelectorAll('main b').length") == 0


def test_requests_appear_live_and_the_machine_has_its_own(sim: Simulator, tab: Browser) -> None:
    for name in ("web-01", "web-02"):
        agent(sim, name)
    tab.open(f"{sim.control_url}/")
    goal_state(sim, ADDRESSES["web-01"])
    tab.wait_for("document.body.innerText.includes('GET /machine/?comp=goalstate')")
    ask(f"{sim.wire_url}/machine/?comp=goalstate", source=ADDRESSES["web-02"])
    tab.wait_for("document.body.innerText.includes('wire-version')")
    tab.evaluate("document.querySelector('a[href=\"/machines/web-02\"]').click()")
    tab.wait_for("location.pathname === '/machines/web-02' && document.readyState === 'complete'")
    requests = tab.text("section.requests")
    assert requests.count("/machine/?comp=goalstate") == 1
    assert "400" in requests


def test_a_page_whose_simulator_is_gone_says_so(sim: Simulator, chromium: Browser) -> None:
    agent(sim, "web-01")
    chromium.open(f"{sim.control_url}/")
    assert chromium.text("#live") == "live"
    sim.stop()
    chromium.wait_for("document.querySelector('#live').innerText !== 'live'")
    assert "no answer since" in chromium.text("#live")
    assert "web-01" in chromium.text("main")
    # A refused connection is the browser's to log.
    assert all("ERR_CONNECTION_REFUSED" in one for one in chromium.complaints)
    chromium.open("about:blank")


def test_signatures_of_storage_urls_are_not_shown(sim: Simulator, tab: Browser) -> None:
    agent(sim, "web-01")
    config = ask(goal_state(sim, ADDRESSES["web-01"]).urls["ExtensionsConfig"], headers=XML).xml
    upload = config.findtext("StatusUploadBlob")
    signature = re.search(r"sig=([^&]+)", upload)[1]
    ask(upload, source=ADDRESSES["web-01"])
    tab.open(f"{sim.control_url}/")
    assert "/blob/status/" in tab.text()
    assert signature not in tab.evaluate("document.documentElement.outerHTML")


def scene(sim: Simulator) -> None:
    """A small fleet on an ordinary day: one machine at work, one on its way, one that failed."""
    first = agent(sim, "web-01")
    first.publish([{"name": MONITOR, "version": "1.9.1"}, {"name": BACKUP, "version": "2.4.0"},
                   {"name": SCRIPT, "version": "1.2.0"}])
    report_health(sim, "web-01", "NotReady", "Provisioning", "stage local")
    for number, (stage, milliseconds) in enumerate((("local", 412), ("network", 188), ("config", 243), ("final", 96))):
        report_stage(sim, "web-01", f"stage {stage}: {12 - 2 * number} steps, all well", milliseconds)
    report_health(sim, "web-01")
    parts = handler_status(SCRIPT, "1.2.0", 0, "transitioning", message="step 2 of 3")
    parts["runtimeSettingsStatus"]["settingsStatus"]["status"]["substatus"] = [
        {"name": "prepare", "status": "success", "code": 0, "formattedMessage": {"lang": "en", "message": "14 files checked"}},
        {"name": "deploy", "status": "transitioning", "code": 0, "formattedMessage": {"lang": "en", "message": "copying"}}]
    for _ in range(2):
        report_status(
            sim, "web-01", handler_status(MONITOR, "1.9.1", 3, message="42 probes, each within 100 ms"),
            handler_status(BACKUP, "2.4.0", 0, "error", message="vault eu-7 does not answer: tried 3 times in 30 s"), parts)
    agent(sim, "web-02").publish([{"name": MONITOR, "version": "1.9.1"}])
    report_health(sim, "web-02", "NotReady", "Provisioning", "stage network")
    agent(sim, "db-01")
    report_health(sim, "db-01", "NotReady", "ProvisioningFailed", "user ada: the password is refused by pam_pwquality")
    sim.fault("/vmSettings", machine="web-02", status=503, count=3)
    found = goal_state(sim, ADDRESSES["web-02"])
    ask(f"{sim.plugin_url}/vmSettings", headers=plugin_headers(found), source=ADDRESSES["web-02"])
    ask(f"{sim.wire_url}/machine/?comp=goalstate", headers={**WIRE, "x-ms-version": "2031-01-01"}, source=ADDRESSES["db-01"])


def test_the_stages_that_the_agent_tells_are_listed(sim: Simulator, tab: Browser, tmp_path: Path) -> None:
    """From a stage's run in the real engine to the page of its machine."""
    sim.machine("vm01")
    guest = Guest(tmp_path / "root")
    guest.module("vendor/local/10-one.py", "return changed('made <it>')")
    guest.module("vendor/network/10-two.py", "raise RuntimeError('x')")
    guest.run("local")
    guest.run("network")
    talk = Talk(tmp_path, sim)
    assert send(talk.system, LIB, talk.wire.telemetry, Columns.of(talk.system, {}.get, Names())).left == 0
    tab.open(f"{sim.control_url}/machines/vm01")
    shown = tab.text()
    assert "Stages" in shown and "stage local: 1 step, all well" in shown
    assert "stage network: 1 step, 1 failed: two" in shown
    assert not sim.violations


def test_the_picture_of_the_documentation(sim: Simulator, tab: Browser, tmp_path: Path) -> None:
    """One machine's page and the overview fit their window in both colour schemes; the overview is the picture."""
    scene(sim)
    where = Path(os.environ.get("WAAGENT_SCREENSHOT") or tmp_path / "simulator.png")
    for width, height, path in ((420, 900, "/"), (1200, 1000, "/machines/web-01"), (1200, 1000, "/")):
        tab.resize(width, height)
        for dark in (True, False):
            tab.dark(dark)
            tab.open(f"{sim.control_url}{path}")
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than {width}"
            name = f"{'dark' if dark else 'light'}-{width}{path.replace('/', '-')}.png"
            (tmp_path / name).write_bytes(tab.screenshot())
    picture = tab.screenshot()
    where.write_bytes(picture)
    assert struct.unpack(">II", picture[16:24]) == (1200, 1000)
    assert len(picture) < 300_000
