"""Fetching ahead: who waits gets the release, the reason, or the very error that nobody foresaw."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest

from tests.unit.extensions.conftest import Bed, single
from waagent.errors import ExtensionError, SystemRefused
from waagent.extensions.ahead import AT_ONCE, Ahead
from waagent.extensions.apply import Summary
from waagent.extensions.packages import Release
from waagent.fabric.desired import Handler

NAMES = [f"Contoso.Test.H{number}" for number in range(AT_ONCE + 3)]


class Broken(Bed):
    """Something that nobody foresaw happens to all but the last handler."""

    when = "releases"

    def releases(self, handler: Handler) -> Sequence[Release]:
        if self.when == "releases" and handler.name != NAMES[-1]:
            raise ZeroDivisionError(handler.name)
        return super().releases(handler)

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        if self.when == "fetch" and handler.name != NAMES[-1]:
            raise ZeroDivisionError(handler.name)
        super().fetch(handler, release, zip_path, accept)


@pytest.fixture
def broken(bed: Bed) -> Broken:
    made = Broken(bed.folder)
    for name in NAMES:
        made.publish(name, "1.0.0")
    return made


def patiently(work: Callable[[], object]) -> object:
    """What the work returns or raises; a test that waits for ever fails instead."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert ended, "it waits for ever"
    return ended[0]


@pytest.mark.parametrize("when", ["releases", "fetch"])
def test_what_nobody_foresaw_is_raised_where_it_is_waited_for_and_holds_up_no_other(
    broken: Broken, when: str
) -> None:
    broken.when = when
    handlers = [single(name) for name in NAMES]
    ahead = Ahead(broken.system, broken.layout, broken, handlers, lambda name, version: True)
    for handler in handlers[:-1]:
        wait = ahead.release if when == "releases" else ahead.trouble
        error = patiently(lambda wait=wait, handler=handler: wait(handler))  # type: ignore[misc]
        assert isinstance(error, ZeroDivisionError) and error.args == (handler.name,)
    assert patiently(lambda: ahead.release(handlers[-1])) == Release("1.0.0", ("https://packages/1.0.0",))
    assert patiently(lambda: ahead.trouble(handlers[-1])) is None


def test_the_engine_does_not_wait_for_a_thread_that_died(broken: Broken) -> None:
    summary = patiently(lambda: broken.process(*(single(name) for name in NAMES)))
    assert isinstance(summary, Summary)
    results = [fate.result for fate in summary.fates]
    assert results == ["failed"] * (len(NAMES) - 1) + ["succeeded"]


def test_a_machine_that_refuses_while_versions_are_looked_up_fails_that_handler_alone(bed: Bed) -> None:
    for name in NAMES[:2]:
        bed.publish(name, "1.0.0")
    releases = bed.releases

    def refuse(handler: Handler) -> Sequence[Release]:
        if handler.name == NAMES[0]:
            raise SystemRefused("cannot write /run/x: No space left on device")
        return releases(handler)

    bed.releases = refuse  # type: ignore[method-assign]
    summary = bed.process(*(single(name) for name in NAMES[:2]))
    assert [fate.result for fate in summary.fates] == ["failed", "succeeded"]
    assert "No space left" in bed.entry(NAMES[0])["formattedMessage"]["message"]
    ahead = Ahead(bed.system, bed.layout, bed, [single(NAMES[0])], lambda name, version: True)
    assert isinstance(patiently(lambda: ahead.release(single(NAMES[0]))), ExtensionError)
