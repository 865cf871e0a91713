"""Extensions 12.7: what handlers write, and what is reported of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions import report, status
from waagent.extensions.apply import is_processed
from waagent.extensions.policy import Policy
from waagent.extensions.steps import Rules
from waagent.fabric.desired import Handler

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"


@pytest.fixture
def ready(bed: Bed) -> Bed:
    for name in (NAME, OTHER):
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    bed.process(single(NAME), single(OTHER))
    return bed


def write(bed: Bed, content: bytes | object, age: float = 3600.0) -> Path:
    path = Path(bed.layout.status_file(NAME, "1.0.0", "", 0))
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    os.utime(path, (time.time() - age,) * 2)
    return path


def told(bed: Bed) -> dict[str, Any]:
    """The extension status of the handler under test; the other one is always fine."""
    assert settings(bed.entry(OTHER))["status"] == "success"
    return settings(bed.entry(NAME))


def document(**more: Any) -> list[dict[str, Any]]:
    inner = {"name": "x", "operation": "Enable", "status": "success", "code": 0, **more}
    return [{"version": 1.0, "timestampUTC": "2025-03-04T09:15:22Z", "status": inner}]


def message(text: str | None) -> dict[str, Any]:
    return {"lang": "en-US", "message": text}


@pytest.mark.row("extensions", 90)
def test_90_no_file_is_transitioning(ready: Bed) -> None:
    Path(ready.layout.status_file(NAME, "1.0.0", "", 0)).unlink()
    assert (told(ready)["status"], told(ready)["code"]) == ("transitioning", 0)
    assert NAME in told(ready)["formattedMessage"]["message"]
    assert ready.entry(NAME)["status"] == "Ready"


@pytest.mark.row("extensions", 91, 92, 94)
@pytest.mark.parametrize(
    "content,code,words",
    [
        (b"garbage here", 1012, "garbage here"),
        (b'{"status": {"status": "success"}}', 1012, "not an array"),
        (b"[]", 1012, "no object"),
        (b"null", 1012, "not an array"),
        (b"[{}]", 1012, '"status"'),
        (b'[{"status": {}}]', 1012, '"status.status"'),
        (b'[{"status": {"status": "success", "formattedMessage": {"message": "x"}}}]', 1012, '"lang"'),
        (b'[{"status": {"status": "success", "substatus": [{"status": "sleeping"}]}}]', 1012, "sleeping"),
        (b'[{"status": {"status": "success", "substatus": [{}]}}]', 1012, "substatus[0]"),
        (b"[" * 100_000, 1012, "not JSON"),
        (b"\xff\xfe\x00nonsense", -1, "not UTF-8"),
    ],
    ids=["91", "92", "empty", "null", "no-status", "no-state", "no-lang", "94", "94-missing", "deep", "not-utf-8"],
)
def test_91_92_94_a_bad_file_hurts_only_its_extension(ready: Bed, content: bytes, code: int, words: str) -> None:
    write(ready, content)
    assert (told(ready)["status"], told(ready)["code"]) == ("error", code)
    assert words in told(ready)["formattedMessage"]["message"]
    assert ready.entry(NAME)["status"] == "Ready"


def test_how_much_of_a_bad_file_is_shown(ready: Bed) -> None:
    write(ready, b"x" * 9000)
    assert "x" * 2000 in told(ready)["formattedMessage"]["message"]
    assert "x" * 2001 not in told(ready)["formattedMessage"]["message"]
    write(ready, {"x": "y" * 9000})
    assert '{"x": "' + "y" * 4089 in told(ready)["formattedMessage"]["message"]
    assert "y" * 4090 not in told(ready)["formattedMessage"]["message"]


def test_a_directory_or_a_giant_in_its_place_hurts_nobody(ready: Bed) -> None:
    path = write(ready, b"")
    os.truncate(path, 100 * 1024 * 1024)
    os.utime(path, (1, 1))
    assert told(ready)["code"] == 1012
    path.unlink()
    path.mkdir()
    os.utime(path, (1, 1))
    assert told(ready)["code"] == -1


@pytest.mark.row("extensions", 93)
def test_93_an_unknown_state_is_an_error_and_the_rest_is_kept(ready: Bed) -> None:
    write(ready, document(status="Success", code=7, formattedMessage=message("hi")))
    assert (told(ready)["status"], told(ready)["code"]) == ("error", 7)
    assert told(ready)["formattedMessage"]["message"] == "hi"


@pytest.mark.row("extensions", 95)
def test_95_null_sub_statuses_are_passed_over(ready: Bed) -> None:
    write(ready, document(substatus=None))
    assert "substatus" not in told(ready)
    write(ready, document(substatus=[None, {"name": "a", "status": "warning", "formattedMessage": None}, None]))
    (sub,) = told(ready)["substatus"]
    assert (sub["name"], sub["status"], sub["code"]) == ("a", "warning", 0)


@pytest.mark.row("extensions", 96)
def test_96_an_oversize_file_is_cut(ready: Bed) -> None:
    subs = [{"name": f"sub {n}", "status": "success", "formattedMessage": message("s" * 11_500)} for n in range(41)]
    write(ready, document(formattedMessage=message("m" * 2000), substatus=subs))
    cut = told(ready)
    assert cut["formattedMessage"]["message"] == "m" * 1024 + " ... [TRUNCATED]"
    assert cut["substatus"][0]["formattedMessage"]["message"] == "s" * 10240 + " ... [TRUNCATED]"
    texts = [sub["name"] + sub["formattedMessage"]["message"] for sub in cut["substatus"]]
    assert len(cut["formattedMessage"]["message"]) + sum(map(len, texts)) <= 131072
    assert len(texts) == 12


@pytest.mark.row("extensions", 97)
def test_97_oversize_and_null_texts(ready: Bed) -> None:
    subs = [{"name": None, "status": "success", "formattedMessage": message(None)}]
    subs.append({"name": "big", "status": "success", "formattedMessage": message("x" * 200_000)})
    write(ready, document(formattedMessage=message(None), substatus=subs))
    assert [sub["name"] for sub in told(ready)["substatus"]] == ["", "big"]


@pytest.mark.row("extensions", 98)
def test_98_a_file_that_is_being_written_is_no_error_yet(ready: Bed) -> None:
    path = write(ready, b'[{"status": {"sta', age=-60)  # entries() looks a minute ahead
    assert told(ready)["status"] == "transitioning"
    os.utime(path, (time.time() - 60,) * 2)
    assert told(ready)["status"] == "error"


@pytest.mark.row("extensions", 99)
def test_99_a_code_may_be_a_text(ready: Bed) -> None:
    write(ready, document(code="53"))
    assert told(ready)["code"] == "53"


def test_signatures_of_urls_are_redacted(ready: Bed) -> None:
    url = "https://x.blob.example/a?sv=1&sig=SECRET"
    sub = {"name": "a", "status": "success", "formattedMessage": message(f"from {url}")}
    write(ready, document(formattedMessage=message(f"see {url} there"), substatus=[sub]))
    assert "SECRET" not in json.dumps(told(ready))
    assert "there" in told(ready)["formattedMessage"]["message"]


def test_a_bom_is_tolerated(ready: Bed) -> None:
    write(ready, b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert told(ready)["status"] == "success"


# -- heartbeat -----------------------------------------------------------------------------------------------


@pytest.fixture
def beating(bed: Bed) -> Bed:
    bed.publish(NAME, "1.0.0", {"enable": "status success fine"}, {"reportHeartbeat": True})
    bed.publish(OTHER, "1.0.0", {"enable": "status success fine"})
    bed.process(single(NAME), single(OTHER))
    return bed


def beat(bed: Bed, content: object, age: float = 0.0) -> dict[str, Any]:
    path = Path(bed.layout.heartbeat(NAME, "1.0.0"))
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    written = time.time() - age
    os.utime(path, (written, written))
    assert bed.entry(OTHER)["status"] == "Ready"
    (entry,) = [one for one in report.handler_statuses(bed.layout.lib, time.time()) if one["handlerName"] == NAME]
    return entry


def a_beat(state: str, **more: object) -> list[dict[str, object]]:
    return [{"version": 1.0, "heartbeat": {"status": state, "code": 0, **more}}]


def test_a_heartbeat_replaces_status_and_message(beating: Bed) -> None:
    entry = beat(beating, a_beat("ready", formattedMessage=message("alive")))
    assert (entry["status"], entry["formattedMessage"]["message"]) == ("Ready", "alive")
    assert beat(beating, a_beat("Installing", Message="x"))["status"] == "Installing"
    assert beat(beating, a_beat("Dancing"))["status"] == "NotReady"
    assert beat(beating, a_beat("Ready"))["formattedMessage"]["message"] == "Plugin enabled"


@pytest.mark.row("extensions", 100)
def test_100_an_old_heartbeat_is_unresponsive(beating: Bed) -> None:
    assert beat(beating, a_beat("Ready"), age=601)["status"] == "Unresponsive"
    assert beat(beating, a_beat("Ready"), age=599)["status"] == "Ready"
    assert beat(beating, a_beat("Ready"), age=-100)["status"] == "Ready"


@pytest.mark.row("extensions", 101)
def test_101_a_missing_heartbeat_shows_after_a_period_and_goes_when_it_comes(beating: Bed) -> None:
    now = time.time()
    first = [one for one in report.handler_statuses(beating.layout.lib, now) if one["handlerName"] == NAME]
    assert first[0]["status"] == "Ready"
    assert (beating.entry(NAME)["status"], beating.entry(NAME)["code"]) == ("NotReady", -1)
    entry = beat(beating, a_beat("Ready"))
    assert (entry["status"], entry["code"]) == ("Ready", 0)


@pytest.mark.row("extensions", 102)
@pytest.mark.parametrize("content", ["[]", "[null]", "nonsense", '[{"heartbeat": []}]', "{}"], ids=["102", *"bcde"])
def test_102_a_malformed_heartbeat(beating: Bed, content: str) -> None:
    beat(beating, content)
    assert (beating.entry(NAME)["status"], beating.entry(NAME)["code"]) == ("NotReady", -1)


@pytest.mark.row("extensions", 112)
def test_112_a_denied_handler_keeps_its_denial_and_tells_the_heartbeat(beating: Bed) -> None:
    beating.rules = Rules(policy=Policy("/etc/waagent_policy.json", allowed=frozenset()))
    beating.process(single(NAME), single(OTHER))
    path = Path(beating.layout.heartbeat(NAME, "1.0.0"))
    path.write_text(json.dumps(a_beat("Ready", formattedMessage=message("alive"))))
    entry = beating.entry(NAME)
    assert (entry["status"], entry["code"]) == ("NotReady", 1009)
    assert "alive" in entry["formattedMessage"]["message"]


# -- the report as a whole -----------------------------------------------------------------------------------


@pytest.mark.row("extensions", 106)
@pytest.mark.parametrize(
    "content", [b"", b"null", b"[1]", b"\xff", b'{"status": []}', b'{"status": "Dancing"}', b'{"status": null}', b"{}"]
)
def test_106_a_damaged_record_is_reported_and_hurts_nobody(ready: Bed, content: bytes) -> None:
    Path(ready.layout.handler_status(NAME, "1.0.0")).write_bytes(content)
    assert ready.entry(OTHER)["status"] == "Ready"
    assert (ready.entry(NAME)["status"], ready.entry(NAME)["code"]) == ("NotReady", -1)
    assert "cannot be used" in ready.entry(NAME)["formattedMessage"]["message"]


@pytest.mark.row("extensions", 105)
def test_105_unknown_required_features(ready: Bed) -> None:
    ready.ran()
    summary = ready.process(single(NAME, sequence=9, state="uninstall"), required_features=("Teleport",))
    assert (summary.kind, ready.ran()) == ("unsupported", [])
    assert [one["runtimeSettingsStatus"]["sequenceNumber"] for one in ready.entries()] == [0, 0]
    outcome = report.goal_state_outcome(ready.layout.lib)
    assert outcome is not None
    assert (outcome.code, outcome.sequence) == (2001, "2")
    assert "Teleport" in outcome.message
    assert ready.base(OTHER, "1.0.0").exists()


@pytest.mark.row("extensions", 120)
def test_120_on_hold_and_released(ready: Bed) -> None:
    ready.ran()
    before = report.goal_state_outcome(ready.layout.lib)
    ready.publish("Contoso.Test.Third", "1.0.0")
    summary = ready.process(single(NAME), single("Contoso.Test.Third"), on_hold=True)
    assert (summary.kind, ready.ran()) == ("held", [])
    assert [one["handlerName"] for one in ready.entries()] == [NAME]
    after = report.goal_state_outcome(ready.layout.lib)
    assert before is not None and after is not None
    assert (after.sequence, after.stamp) == (before.sequence, before.stamp)
    assert is_processed(ready.system, ready.layout, "incarnation:2")
    ready.process(single(NAME), single("Contoso.Test.Third"))
    assert ready.verbs() == ["enable", "install", "enable"]


def test_before_any_goal_state_there_is_nothing(bed: Bed) -> None:
    assert report.handler_statuses(bed.layout.lib) == []
    assert report.goal_state_outcome(bed.layout.lib) is None


def test_reports_go_on_while_a_handler_works(bed: Bed) -> None:
    seen: list[dict[str, Any]] = []
    bed.publish(NAME, "1.0.0")
    bed.publish(OTHER, "1.0.0")
    engine = bed.engine()
    announce = engine._steps._announce

    def look(event: str, **data: Any) -> None:
        announce(event, **data)
        seen.extend(one for one in bed.entries() if one["handlerName"] == NAME)

    engine._steps._announce = look
    engine.process(bed.desired(single(OTHER), single(NAME)))
    states = [
        (one["status"], one["code"], settings(one)["status"]) for one in seen if "runtimeSettingsStatus" in one
    ]
    assert states[0] == ("NotReady", 0, "transitioning")
    assert states[-1] == ("Ready", 0, "transitioning")


def test_fitted_sheds_sub_statuses_before_messages() -> None:
    def one(size: int) -> dict[str, Any]:
        inner = {"formattedMessage": message("m" * 500), "substatus": [{"x": "y" * size}]}
        return {"handlerName": "a", "runtimeSettingsStatus": {"settingsStatus": {"status": inner}}}

    entries = [one(10), one(90_000), one(20)]
    fitted = report.fitted(entries, 50_000)
    kept = ["substatus" in entry["runtimeSettingsStatus"]["settingsStatus"]["status"] for entry in fitted]
    assert kept == [True, False, True]
    tight = report.fitted([one(10) for _ in range(100)], 30_000)
    assert len(json.dumps(tight)) <= 30_000
    assert tight[0]["runtimeSettingsStatus"]["settingsStatus"]["status"]["formattedMessage"]["message"].endswith(
        "[TRUNCATED]"
    )


def test_the_newest_settings_file_gives_the_number(tmp_path: Path) -> None:
    for name, when in (("3.settings", 50), ("7.settings", 40), ("A.9.settings", 99), ("x.settings", 98)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (when, when))
    assert status.newest_sequence(str(tmp_path), "") == 3
    assert status.newest_sequence(str(tmp_path), "A") == 9
    assert status.newest_sequence(str(tmp_path), "B") == -1


def test_a_handler_without_settings_has_one_entry(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(Handler(NAME, "1.0.0"))
    (entry,) = bed.entries()
    assert set(entry) == {"handlerName", "handlerVersion", "status", "code", "useExactVersion", "formattedMessage"}


def test_the_report_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    program = (
        "import sys; import waagent.extensions.report;"
        "heavy = {'dataclasses','pathlib','subprocess','http','http.client','urllib','urllib.parse','logging','email',"
        "'argparse','typing','tempfile','shutil'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    top = Path(__file__).resolve().parents[3]
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(top)!r}); {program}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
