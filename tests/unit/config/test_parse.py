"""From text to Config: the syntax, bad values, names that are old or wrong, precedence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waagent.config import Config, defaults, from_json, from_text, rdma_enabled, render, settings, update_mode
from waagent.config.option import Option
from waagent.config.scan import decode

# What provisioning 2.2 says about a line, by example: the line, and the text that an option ends up with.
LINES = {
    "plain": ("OS.HomeDir=/h", "/h"),
    "blanks around": ("  OS.HomeDir \t=  /h  ", "/h"),
    "carriage return": ("OS.HomeDir=/h\r", "/h"),
    "split at the first =": ("OS.HomeDir=/h=x", "/h=x"),
    "comment at the end": ("OS.HomeDir=/h # home", "/h"),
    "comment without blank": ("OS.HomeDir=/h#home", "/h"),
    "double quotes": ('OS.HomeDir="/h"', "/h"),
    "double quotes and comment": ('OS.HomeDir = "/h" # home', "/h"),
    "quotes in DOS files": ('OS.HomeDir="/h"\r', "/h"),
    "# in quotes stays": ('OS.HomeDir="/h#1"', "/h#1"),
    "open quote": ('OS.HomeDir="/h', "/h"),
    "byte order mark": ("\ufeffOS.HomeDir=/h", "/h"),
    "None": ("OS.HomeDir=None", "/home"),
    "quoted None": ('OS.HomeDir="None"', "/home"),
    "the last one wins": ("OS.HomeDir=/a\nOS.HomeDir=/h", "/h"),
    "None after a value": ("OS.HomeDir=/a\nOS.HomeDir=None", "/home"),
    "comment line": ("#OS.HomeDir=/h", "/home"),
    "indented comment": ("  # OS.HomeDir=/h", "/home"),
    "letter case of the name": ("os.homedir=/h", "/home"),
    "inside a section": ("[OS]\nOS.HomeDir=/h", "/h"),
    "vertical tab is no line end": ("X=1\x0bOS.HomeDir=/h", "/home"),
}


@pytest.mark.parametrize("line,expected", LINES.values(), ids=LINES)
def test_syntax(line: str, expected: str) -> None:
    assert from_text(line).text("OS.HomeDir") == expected


def test_single_quotes_stay() -> None:
    assert from_text("ResourceDisk.MountOptions='noatime'").text("ResourceDisk.MountOptions") == "'noatime'"
    assert from_text("ResourceDisk.MountOptions='x").text("ResourceDisk.MountOptions") == "'x"


@pytest.mark.row("provisioning", 10)
def test_an_empty_text_is_a_value_and_none_is_not() -> None:
    assert from_text("ResourceDisk.MountOptions=").text("ResourceDisk.MountOptions") == ""
    assert from_text("ResourceDisk.MountOptions=None").text("ResourceDisk.MountOptions") is None
    assert from_text("ResourceDisk.MountOptions=none").text("ResourceDisk.MountOptions") == "none"


@pytest.mark.parametrize("text,value", [("y", True), ("Y", True), ("n", False), ("N", False)])
def test_switch(text: str, value: bool) -> None:
    assert from_text(f"Logs.Verbose={text}").switch("Logs.Verbose") is value


@pytest.mark.parametrize("text,value", [("5", 5), ("+5", 5), (" 5 ", 5), ("1_000", 1000), ("007", 7)])
def test_integer(text: str, value: int) -> None:
    assert from_text(f"Extensions.GoalStatePeriod={text}").integer("Extensions.GoalStatePeriod") == value


@pytest.mark.parametrize("text", ["AUTO", "Auto", "cloud-init", "disabled"])
def test_choice_in_any_letter_case(text: str) -> None:
    assert from_text(f"Provisioning.Agent={text}").text("Provisioning.Agent") == text.lower()


def _scenario(number: int, line: str, option: str, value: object) -> Any:
    return pytest.param(line, option, value, marks=pytest.mark.row("provisioning", number), id=f"12.{number}: {line!r}")


SCENARIOS = [
    _scenario(8, 'Provisioning.Agent="auto"  ', "Provisioning.Agent", "auto"),
    _scenario(9, "Logs.Verbose=y#x", "Logs.Verbose", True),
    _scenario(9, "OS.EnableFIPS=yes", "OS.EnableFIPS", False),
    _scenario(10, "ResourceDisk.MountOptions=None", "ResourceDisk.MountOptions", None),
    _scenario(10, "ResourceDisk.MountOptions=none", "ResourceDisk.MountOptions", "none"),
    _scenario(11, "ResourceDisk.MountOptions=a=1,b=2", "ResourceDisk.MountOptions", "a=1,b=2"),
    _scenario(12, "ResourceDisk.SwapSizeMB=big", "ResourceDisk.SwapSizeMB", 0),
    _scenario(13, "OS.HomeDir=/a\nOS.HomeDir=/b", "OS.HomeDir", "/b"),
    # The quotes go whatever the line ends with.
    _scenario(14, 'OS.HomeDir="/h"\r\nLogs.Verbose=y\r\n', "OS.HomeDir", "/h"),
    _scenario(14, 'OS.HomeDir="/h"\r\nLogs.Verbose=y\r\n', "Logs.Verbose", True),
]


@pytest.mark.parametrize(("text", "option", "value"), SCENARIOS)
def test_scenarios(text: str, option: str, value: object) -> None:
    assert dict(from_text(text).items())[option] == value


# A bad value: the line, the option, its default, the whole message.
BAD = [
    ("ResourceDisk.SwapSizeMB=2G", "expected a whole number of MiB, for example 2048"),
    ("ResourceDisk.SwapSizeMB=-1", "expected a whole number of MiB, for example 2048"),
    ("Extensions.GoalStatePeriod=0", "expected a whole number of seconds, 1 or more, for example 6"),
    ("Extensions.GoalStatePeriod=6.5", "expected a whole number of seconds, 1 or more, for example 6"),
    ("HttpProxy.Port=65536", "expected a whole number from 1 to 65535, for example 3128"),
    ("Logs.Verbose=yes", "expected y or n"),
    ("Logs.Verbose=1", "expected y or n"),
    ("Logs.Verbose=", "the value is empty, expected y or n"),
    ("Provisioning.Agent=cloudinit", "expected one of auto, waagent, cloud-init, disabled"),
    ("OS.SshDir=ssh", "expected an absolute path, for example /etc/ssh"),
    ("Lib.Dir=", "the value is empty, expected an absolute path, for example /var/lib/waagent"),
    ("ResourceDisk.Filesystem=ext4; reboot", "expected a plain name, for example ext4"),
]


@pytest.mark.parametrize("line,message", BAD, ids=[line for line, _ in BAD])
def test_a_bad_value_is_reported_and_the_default_used(line: str, message: str) -> None:
    config = from_text(f"# one\n\n{line}\n", "/etc/waagent.conf")
    name = line.partition("=")[0]
    assert [str(problem) for problem in config.problems] == [f"/etc/waagent.conf:3: {line}: {message}"]
    assert config.problems[0].severity == "warning"
    assert dict(config.items())[name] == dict(defaults().items())[name]
    assert not config.was_set(name)
    assert config.source(name) == "default"


def test_an_unknown_name_is_reported_with_a_suggestion() -> None:
    problems = from_text("Provisioning.Agnet=auto\nlogs.verbose=y\nFoo.Bar=1").problems
    assert [str(problem) for problem in problems] == [
        "waagent.conf:1: Provisioning.Agnet is no option; did you mean Provisioning.Agent?",
        "waagent.conf:2: logs.verbose is no option; did you mean Logs.Verbose?",
        "waagent.conf:3: Foo.Bar is no option; it is ignored",
    ]


def test_removed_and_odd_lines_are_notes() -> None:
    config = from_text("Provisioning.Enabled=n\nLBProbeResponder=y\njust words\nLogs.Verbose=n\nLogs.Verbose=y\n")
    assert {problem.severity for problem in config.problems} == {"note"}
    assert sorted(str(problem) for problem in config.problems) == [
        "waagent.conf:1: Provisioning.Enabled has no effect any more; Provisioning.Agent is used instead",
        "waagent.conf:2: LBProbeResponder has no effect any more; the line can go",
        "waagent.conf:3: just words: expected Name=value; the line is ignored",
        "waagent.conf:5: Logs.Verbose is set in line 4 too; this later one counts",
    ]


def test_an_alias_counts_unless_the_option_itself_is_set() -> None:
    config = from_text("Home.Dir=/users")
    assert config.text("OS.HomeDir") == "/users"
    assert config.source("OS.HomeDir") == "waagent.conf:1"
    assert [problem.severity for problem in config.problems] == ["note"]
    assert from_text("OS.HomeDir=/a\nHome.Dir=/b").text("OS.HomeDir") == "/a"
    assert from_text("Home.Dir=/b\nOS.HomeDir=/a").text("OS.HomeDir") == "/a"


def test_a_password_does_not_show() -> None:
    config = from_text('HttpProxy.Host="http://user:s3cret@proxy"\nHttpProxy.Port=x')
    assert config.text("HttpProxy.Host") == "http://user:s3cret@proxy"
    assert "s3cret" not in render.show(config) + render.explain("HttpProxy.Host", config)
    assert "HttpProxy.Host = http://user:***@proxy" in render.show(config)


# guest-operations 2.8, the truth table: UpdateToLatestVersion, Enabled, what runs
UPDATES = [
    ("y", "y", "download"),
    ("y", "n", "download"),
    ("n", "y", "newest"),
    ("n", "n", "newest"),
    ("n", None, "newest"),
    (None, "y", "download"),
    (None, None, "download"),
    (None, "n", "installed"),
    ("maybe", "n", "download"),  # present, though invalid: it counts, with its default
    ("None", "n", "installed"),
]


@pytest.mark.row("provisioning", 15, 16)
@pytest.mark.parametrize("new,old,expected", UPDATES)
def test_updates(new: str | None, old: str | None, expected: str) -> None:
    text = "" if new is None else f"AutoUpdate.UpdateToLatestVersion={new}\n"
    text += "" if old is None else f"AutoUpdate.Enabled={old}\n"
    config = from_text(text)
    assert update_mode(config) == expected
    both = [problem for problem in config.problems if "does not count" in problem.message]
    assert len(both) == (1 if old and new not in (None, "None") else 0)


RDMA = [("", False), ("OS.EnableRDMA=y", True), ("OS.UpdateRdmaDriver=y", True), ("OS.CheckRdmaDriver=y", True),
        ("OS.CheckRdmaDriver=n", False), ("OS.CheckRdmaDriver=maybe", False)]  # fmt: skip


@pytest.mark.parametrize("text,expected", RDMA)
def test_rdma_is_on_when_any_of_three_says_so(text: str, expected: bool) -> None:
    assert rdma_enabled(from_text(text)) is expected


def test_the_first_period_follows_the_period() -> None:
    assert defaults().integer("Extensions.InitialGoalStatePeriod") == 6
    config = from_text("Extensions.GoalStatePeriod=20")
    assert config.integer("Extensions.InitialGoalStatePeriod") == 20
    assert config.source("Extensions.InitialGoalStatePeriod") == "waagent.conf:1"
    config = from_text("Extensions.GoalStatePeriod=20\nExtensions.InitialGoalStatePeriod=2")
    assert config.integer("Extensions.InitialGoalStatePeriod") == 2


def test_the_policy_switch_follows_its_older_form() -> None:
    assert from_text("Debug.EnableExtensionPolicy=y").switch("Policy.Enabled")
    assert not from_text("Debug.EnableExtensionPolicy=y\nPolicy.Enabled=n").switch("Policy.Enabled")


def test_accessors_know_their_types() -> None:
    config = defaults()
    for name in ("Nonsense", "Home.Dir", "LBProbeResponder"):
        for accessor in (config.switch, config.integer, config.text, config.was_set, config.source):
            with pytest.raises(KeyError, match=name):
                accessor(name)
    with pytest.raises(TypeError):
        config.switch("Extensions.GoalStatePeriod")
    with pytest.raises(TypeError):
        config.integer("Extensions.Enabled")
    with pytest.raises(TypeError):
        config.integer("OS.SshDir")
    for name in ("Extensions.Enabled", "Extensions.GoalStatePeriod"):
        with pytest.raises(TypeError):
            config.text(name)
    assert config.integer("HttpProxy.Port") == 0
    assert config.integer("OS.RootDeviceScsiTimeout") == 0
    with pytest.raises(TypeError):
        config.switch("HttpProxy.Host")


def test_a_config_does_not_change() -> None:
    config = defaults()
    with pytest.raises(AttributeError):
        config.files = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del config._values


def test_bytes_that_are_not_utf_8_are_replaced_and_reported() -> None:
    text, problems = decode(b"\xef\xbb\xbfa=1\nb=\xff\n", "f")
    assert text == "a=1\nb=\ufffd\n"
    assert [str(problem) for problem in problems] == ["f:2: byte 0xff is not UTF-8; save the file as UTF-8"]


def same(one: Config, other: Config) -> bool:
    return (
        list(one.items()) == list(other.items())
        and [one.source(name) for name, _ in one.items()] == [other.source(name) for name, _ in other.items()]
        and [one.was_set(name) for name, _ in one.items()] == [other.was_set(name) for name, _ in other.items()]
        and (one.problems, one.files) == (other.problems, other.files)
    )


@given(st.text())
def test_no_text_raises(text: str) -> None:
    config = from_text(text)
    assert {name for name, _ in config.items()} == {o.name for o in settings.OPTIONS if o.in_use}


NAMES = st.sampled_from([option.name for option in settings.OPTIONS])
ODD = st.text(alphabet="yn0123456789\"'#=[]{}$%,\\ \t\rNone/é\x00", max_size=20)


@given(st.lists(st.tuples(NAMES, st.sampled_from(["=", " = ", '="', "='''", '="""']), ODD), max_size=12))
def test_no_value_raises_and_json_keeps_everything(lines: list[tuple[str, str, str]]) -> None:
    config = from_text("\n".join("".join(line) for line in lines))
    assert same(from_json(config.to_json()), config)


@given(st.binary())
def test_no_bytes_raise(raw: bytes) -> None:
    text, problems = decode(raw, "f")
    from_text(text)
    assert len(problems) <= 1


def good(option: Option) -> st.SearchStrategy[str]:
    if option.kind == "switch":
        return st.sampled_from(["y", "n"])
    if option.kind == "integer":
        return st.integers(max(option.low or 0, 1), option.high or 10**9).map(str)
    if option.kind == "choice":
        return st.sampled_from(option.choices)
    words = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=12).filter(lambda text: text[0].isalnum())
    return words.map(lambda text: f"/{text}" if option.path else text).filter(lambda text: text != "None")


LIVE = [option for option in settings.OPTIONS if option.status == "live"]


@given(st.fixed_dictionaries({}, optional={option.name: good(option) for option in LIVE}))
def test_a_rendered_file_means_what_it_was_rendered_from(values: dict[str, str]) -> None:
    config = from_text(render.sample(values))
    assert config.problems == ()
    for name, text in values.items():
        option = settings.find(name)
        assert option.written(dict(config.items())[name]) == text
        assert config.was_set(name)
        assert config.source(name).startswith("waagent.conf:")


def test_the_sample_sets_what_it_ships_and_nothing_else() -> None:
    config = from_text(render.sample())
    for option in LIVE:
        assert config.was_set(option.name) is (option.shipped not in (None, "None")), option.name
