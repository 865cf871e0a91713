"""Whatever handlers write, a report has at most 1 MiB, and one of them never takes the place of the others."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from tests.unit.extensions.conftest import Bed, settings, single
from waagent.extensions import report, status
from waagent.fabric.status import GoalStateOutcome, document

NAME, OTHER = "Contoso.Test.Probe", "Contoso.Test.Other"
HUGE = "é" * 1_700_000  # 3.4 MB in a file


@pytest.fixture
def ready(bed: Bed) -> Bed:
    for name in (NAME, OTHER):
        bed.publish(name, "1.0.0", {"enable": "status success fine"})
    bed.process(single(NAME), single(OTHER))
    return bed


def whole(entries: list[dict[str, Any]]) -> bytes:
    outcome = GoalStateOutcome("1", "2026-11-23T09:17:40Z", -1, "x" * report.OUTCOME_LIMIT)
    return document("2026-11-23T09:17:40Z", "3.0.0", ("n" * 64, "debian", "12"), handlers=entries, goal_state=outcome)


def sub(**more: Any) -> dict[str, Any]:
    return {"name": "a", "status": "success", "formattedMessage": {"lang": "en", "message": "b"}, **more}


@pytest.mark.parametrize(
    "fields",
    [
        {"operation": HUGE},
        {"configurationAppliedTime": HUGE},
        {"code": HUGE},
        {"formattedMessage": {"lang": HUGE, "message": "x"}},
        {"formattedMessage": {"lang": "en", "message": HUGE}},
        {"substatus": [sub(code=HUGE)]},
        {"substatus": [sub(name=HUGE)]},
        {"substatus": [sub(name={"x": HUGE})]},
        {"substatus": [sub(formattedMessage={"lang": HUGE, "message": "x"})]},
        {"substatus": [{"status": "error"}] * 150_000},
        {"name": HUGE},
    ],
    ids=["operation", "time", "code", "lang", "message", "sub-code", "sub-name", "sub-object", "sub-lang", "many", "name"],
)
def test_no_field_of_a_status_file_makes_the_report_too_big(ready: Bed, fields: dict[str, Any]) -> None:
    inner = {"status": "success", "code": 0, "operation": "Enable", **fields}
    content = json.dumps([{"status": inner}], ensure_ascii=False).encode()
    assert content[:10] and len(content) < status.FILE_LIMIT
    Path(ready.layout.status_file(NAME, "1.0.0", "", 0)).write_bytes(content)
    entries = ready.entries()
    # Cut where it is read, so that the reports of many do not each grow to megabytes first.
    assert len(json.dumps(entries)) < report.BLOB_LIMIT
    assert len(whole(report.fitted(entries))) <= report.BLOB_LIMIT
    assert settings(ready.entry(OTHER))["formattedMessage"]["message"] == "fine"
    assert settings(ready.entry(NAME))["status"] == "success"


def test_a_number_of_a_million_digits_is_no_work(ready: Bed) -> None:
    path = Path(ready.layout.status_file(NAME, "1.0.0", "", 0))
    path.write_text('[{"status": {"status": "success", "code": ' + "7" * 1_000_000 + "}}]")
    before = time.process_time()
    assert settings(ready.entry(NAME))["code"] == 1012
    assert time.process_time() - before < 1.0
    path.write_text('[{"status": {"status": "success", "code": NaN, "substatus": [{"status": "error", "code": -Infinity}]}}]')
    told = settings(ready.entry(NAME))
    assert (told["status"], told["code"], told["substatus"][0]["code"]) == ("success", 0, 0)


def test_a_text_that_was_cut_is_not_cut_again() -> None:
    shared = {"lang": "en-US", "message": "m" * 4000}
    entries = [{"handlerName": "a", "formattedMessage": shared} for _ in range(300)]
    cut = report.fitted(entries, 400_000)
    assert cut[0]["formattedMessage"]["message"].count("TRUNCATED") == 1


texts = some.sampled_from(["", "x", "é", "\U0001f600", '"', "\\", "\x00", "\ud800", "https://a/b?sig=x "])
long_texts = some.builds(lambda text, times: text * times, texts, some.sampled_from([0, 1, 60, 1_000, 20_000, 300_000]))
codes = some.one_of(some.integers(-(10**30), 10**30), long_texts, some.none(), some.just([1]), some.floats())
messages = some.one_of(
    some.none(),
    some.fixed_dictionaries({"lang": long_texts, "message": some.one_of(some.none(), long_texts, some.integers())}),
)
subs = some.fixed_dictionaries(
    {"status": some.sampled_from(status.STATES)},
    optional={"name": some.one_of(some.none(), long_texts), "code": codes, "formattedMessage": messages},
)
files = some.fixed_dictionaries(
    {"status": some.one_of(some.sampled_from(status.STATES), long_texts)},
    optional={
        "name": long_texts,
        "operation": long_texts,
        "configurationAppliedTime": long_texts,
        "code": codes,
        "formattedMessage": messages,
        "substatus": some.builds(lambda one, times: one * times, some.lists(subs, max_size=4), some.sampled_from([1, 50])),
    },
)
entries_of = some.builds(
    lambda inner, message, state, instance: (inner, message, state, instance),
    files, some.one_of(some.none(), long_texts), some.sampled_from(status.HANDLER_STATES), some.booleans(),
)  # fmt: skip


@how(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(some.lists(entries_of, min_size=1, max_size=4), some.sampled_from([1, 1, 40, 400]))
def test_the_total_holds_whatever_comes_in(handlers: list[tuple[Any, ...]], times: int) -> None:
    entries = []
    for inner, message, state, instance in handlers:
        text = json.dumps([{"status": inner}])
        if len(text) > status.FILE_LIMIT:
            continue
        for _ in range(times):
            top = status.entry(NAME, "1.0.0", state, 0, message)
            wrapped = report._wrap(status.parse(text, NAME), 0, "i" * 160 if instance else "", 0.0)
            entries.append({**top, "runtimeSettingsStatus": wrapped})
            if times > 1 and len(text) > 200_000:
                break
    before = len(entries)
    fitted = report.fitted(entries)
    assert len(whole(fitted)) <= report.BLOB_LIMIT
    if before <= 400:
        assert len(fitted) == before
    assert {entry["handlerName"] for entry in fitted} <= {NAME}


def test_when_even_that_is_too_much_the_last_entries_go() -> None:
    entries = [status.entry(f"Contoso.Test.N{number}", "1.0.0", "Ready", 0, "fine") for number in range(20_000)]
    fitted = report.fitted(entries)
    assert len(json.dumps(fitted)) <= report.ENTRIES_LIMIT
    assert fitted == entries[: len(fitted)]
    assert len(fitted) > 2_000
