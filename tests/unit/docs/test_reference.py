"""The documentation: the generated part is up to date, and what the rest says is there is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.runner.conftest import TOP
from waagent import errors
from waagent.cli import legacy
from waagent.cli.__main__ import verbs
from waagent.config import settings
from waagent.runner.hook_events import NAMES
from waagent.runner.protocol import VARIABLES

PAGES = sorted((TOP / "docs").rglob("*.md")) + [TOP / "hooks/README.md"]
WORDS_OF_OTHERS = re.compile(r"\b(TODO|FIXME|seamless\w*|blazing\w*|powerful|simply)\b", re.IGNORECASE)


@pytest.mark.row("field-demands", 56)
def test_the_reference_is_up_to_date() -> None:
    ran = subprocess.run([sys.executable, "script/generate-reference", "--check"], cwd=TOP, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_option_that_is_added_makes_the_reference_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOP / "script"))
    import reference  # type: ignore[import-not-found]

    before = reference.pages()
    option = settings.OPTIONS[0]
    monkeypatch.setattr(option, "meaning", "Something else")
    changed = {name for name, text in reference.pages().items() if text != before[name]}
    assert changed == {"reference/options.md", "man/waagent.conf.5"}


def test_the_reference_tells_what_each_old_word_does() -> None:
    page = (TOP / "docs/reference/verbs.md").read_text(encoding="utf-8").partition("## The words of the old")[2]
    manual = (TOP / "docs/man/waagent.8").read_text(encoding="utf-8").replace("\\-", "-")
    for word in (*legacy.COMMANDS, *legacy.FLAGS, "help", "setup-firewall=IP", f"{legacy.FILE}FILE"):
        assert re.search(rf"^    .*-{re.escape(word)}(  .*)?  +\S", page, re.MULTILINE), word
        assert f"-{word} " in manual, word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_commands_options_and_variables_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {*verbs(), "watch", "VERB"}
    for verb in re.findall(r"`waagent ([a-z][a-z-]+)", text):
        assert verb in known, f"{page}: waagent {verb}"
    for name in re.findall(r"\bWAAGENT_[A-Z_]+", text):
        assert name in {variable for variable, _ in VARIABLES} or not page.match("hooks/*") or name == "WAAGENT_SIMULATOR"
    for event in re.findall(r"hooks\.d/on-([a-z-]+)", text):
        assert event in NAMES, f"{page}: on-{event}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_the_words_are_ours(page: Path) -> None:
    found = WORDS_OF_OTHERS.search(page.read_text(encoding="utf-8"))
    assert found is None or page.name == "simulator.md", f"{page}: {found}"


@pytest.mark.row("field-demands", 92)
def test_every_reason_that_the_engine_gives_is_listed() -> None:
    listed = (TOP / "docs/reference/errors.md").read_text()
    known = {thing.reason for thing in vars(errors).values() if isinstance(thing, type) and issubclass(thing, errors.WaagentError)}
    for file in sorted((TOP / "waagent/runner").glob("*.py")):
        for reason in re.findall(r'Report\(\s*"failed",[^)]*?,\s*"([a-z ]+)"', file.read_text()):
            assert f"| {reason} |" in listed or reason in known, f"{file}: {reason!r}"


@pytest.mark.parametrize("page", ["waagent.8", "waagent.conf.5"])
def test_the_manual_pages_are_clean(page: str) -> None:
    path = TOP / "docs/man" / page
    assert path.read_text().isascii()
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    ran = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z", str(path)], capture_output=True, text=True)
    assert ran.stderr == ""
    for option in settings.OPTIONS:
        assert page != "waagent.conf.5" or not option.in_use or option.name.replace("-", "\\-") in path.read_text()
