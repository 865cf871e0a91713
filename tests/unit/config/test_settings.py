"""The table of options against the reference, and what is derived from the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from waagent.config import defaults, render, settings
from waagent.config.option import Option

HERE = Path(__file__).resolve()
REFERENCE = HERE.parents[2] / "data" / "config" / "options.tsv"
SAMPLE = HERE.parents[3] / "waagent.conf"

KINDS = {"switch": {"switch"}, "int": {"integer"}, "string": {"text", "choice"}}

# Where we depart from the reference's code default on purpose: ours, and why.
DEFAULTS = {
    "Provisioning.RegenerateSshHostKeyPair": (
        "y",
        "the incumbent's manual says y; clones must not share host keys",
    ),
    "Provisioning.MonitorHostName": ("y", "the manual has both; shipped y; publishing interrupts nothing here"),
    "ResourceDisk.Format": ("y", "the manual and the shipped file say y"),
    "ResourceDisk.Filesystem": ("ext4", "the manual and the shipped file say ext4"),
}
KINDS_APART = {
    "OS.RootDeviceScsiTimeout": ("integer", "a number of seconds; the incumbent compares it as text"),
}
SHIPPED_APART = {
    "OS.EnableFirewallPeriod": ("300", "the rules are there before the network; to look twice a minute is all that idleness costs"),
}
LISTED_APART: dict[str, tuple[bool, str]] = {}


def rows() -> list[tuple[str, str, str, str, str]]:
    lines = REFERENCE.read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 5 for row in found)
    return found  # type: ignore[return-value]


def test_the_reference_has_all_its_rows() -> None:
    assert len(rows()) == 89


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_every_row_of_the_reference_is_in_the_table(row: tuple[str, str, str, str, str]) -> None:
    name, kind, default, conf, listed = row
    option = settings.find(name)
    if default == "-":
        assert option.status == "removed"
        assert name not in dict(defaults().items())
        return
    assert option.in_use
    assert option.kind in KINDS_APART.get(name, (KINDS[kind],))[0]
    assert option.listed is (listed == "yes")
    expected = DEFAULTS.get(name, (default,))[0]
    if expected.startswith("="):
        assert option.follows == expected[1:]
    else:
        assert option.written(option.default) == expected
    if conf == "-" or conf.startswith("#"):
        assert option.shipped is None
    else:
        assert option.shipped == SHIPPED_APART.get(name, (conf,))[0]


def test_departures_are_real_and_explained_in_the_table() -> None:
    stated = {name: default for name, _, default, _, _ in rows()}
    for name, (ours, why) in DEFAULTS.items():
        assert stated[name] != ours and why
        assert settings.find(name).note
    shipped = {name: conf for name, _, _, conf, _ in rows()}
    for name, (ours, why) in SHIPPED_APART.items():
        assert shipped[name] != ours and why
        assert settings.find(name).note


def test_options_that_the_reference_does_not_have_are_new_or_other_spellings() -> None:
    known = {row[0] for row in rows()}
    ours = {option.name: option for option in settings.OPTIONS if option.name not in known}
    assert {name for name, option in ours.items() if option.since == "3.0.0"} == {
        "Extensions.PackageManagerWait",
        "Extensions.PythonShims",
        "Extensions.Parallel",
        "Extensions.SignatureRoot",
        "Monitor.HostHealth",
        "Network.Manage",
        "Network.Metadata",
        "Policy.DenyUserChanges",
        "Policy.Enabled",
        "ResourceDisk.Device",
        "ResourceDisk.Stripe",
        "ResourceDisk.SwapFallback",
        "Telemetry.Enabled",
    }
    assert {name: option.status for name, option in ours.items() if option.since != "3.0.0"} == {
        "Home.Dir": "alias",
        "OS.SshdConfigPath": "removed",
        "Debug.AutoUpdateHotfixFrequency": "alias",
        "Debug.AutoUpdateNormalFrequency": "alias",
    }


def test_names_are_unique_and_sections_known() -> None:
    names = [option.name for option in settings.OPTIONS]
    assert len(set(names)) == len(names)
    assert {option.section for option in settings.OPTIONS} == {section for section, _ in settings.SECTIONS}


@pytest.mark.parametrize("option", settings.OPTIONS, ids=lambda option: option.name)
def test_every_option_is_well_formed(option: Option) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*(\.[A-Z][A-Za-z0-9]*)?", option.name)
    assert option.meaning and "\n" not in option.meaning and not option.meaning.endswith(".")
    assert option.kind in ("switch", "integer", "text", "choice")
    if option.kind == "choice":
        assert option.default in option.choices
    if option.instead:
        assert settings.find(option.instead).in_use
    if option.follows:
        other = settings.find(option.follows)
        assert other.kind == option.kind and other.default == option.default
    assert option.expected.startswith("expected ")


def test_the_sample_file_is_what_the_table_renders() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == render.sample(), "write render.sample() into it"


def test_the_sample_shows_every_live_option_and_no_other() -> None:
    shown = set(re.findall(r"^#?([A-Za-z0-9.]+)=", render.sample(), re.MULTILINE))
    assert shown == {option.name for option in settings.OPTIONS if option.status == "live"}


def test_a_sample_with_a_distribution_s_values_sets_them() -> None:
    text = render.sample({"ResourceDisk.Format": "n", "AutoUpdate.Enabled": "n"})
    assert "\nResourceDisk.Format=n\n" in text
    assert "\nAutoUpdate.Enabled=n\n" in text


@pytest.mark.parametrize("option", settings.OPTIONS, ids=lambda option: option.name)
def test_every_option_can_be_explained(option: Option) -> None:
    text = render.explain(option.name, defaults())
    assert text.startswith(f"{option.name}\n  {option.meaning}\n")
    assert ("value:" in text) is option.in_use
    assert ("default:" in text) is option.in_use


def test_an_option_that_nobody_has_set_is_explained_in_one_word() -> None:
    text = render.explain("ResourceDisk.Device", defaults())
    assert "  default:  unset\n" in text and "  value:    unset, from default\n" in text


def test_explaining_an_unknown_option_suggests_one() -> None:
    with pytest.raises(KeyError, match=r"did you mean Extensions\.Enabled"):
        render.explain("extensions.enabled")
    with pytest.raises(KeyError, match=r"did you mean ResourceDisk\.Format"):
        render.explain("ResourceDisk.Fromat")


def test_the_list_has_the_form_that_tools_parse() -> None:
    lines = render.show(defaults()).splitlines()
    assert lines == sorted(lines, key=lambda line: line.split(" = ")[0])
    assert "Extensions.Enabled = True" in lines
    assert "DetectScvmmEnv = False" in lines
    assert "HttpProxy.Port = None" in lines
    assert "HttpProxy.Host = None" in lines
    assert "Extensions.GoalStatePeriod = 6" in lines
    listed = {row[0] for row in rows() if row[4] == "yes"}
    assert listed <= {line.split(" = ")[0] for line in lines}
    unlisted = {row[0] for row in rows() if row[4] == "no"}
    assert not unlisted & {line.split(" = ")[0] for line in lines}
    assert "CGroups.Enabled = y  (default)" in render.show(defaults(), every=True, origins=True)
