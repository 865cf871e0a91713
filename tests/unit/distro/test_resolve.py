"""Detection, layering, overrides, the cache, and what is said about a profile that is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waagent import distro
from waagent.distro import cache, detect, profile
from waagent.distro.version import key, satisfies
from waagent.errors import ConfigError
from waagent.system import System

SHIPPED = Path(__file__).resolve().parents[3] / "data"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("etc/waagent/distro.d", "run"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED / "distros", tmp_path / "data" / "distros")
    return tmp_path / "data"


def put(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o644)
    return file


def release(root: Path, text: str) -> None:
    put(root / "etc/os-release", text)


# --- detection


@pytest.mark.row("provisioning", 97)
def test_an_unknown_system_gets_the_default(root: Path) -> None:
    for text in (None, "", "garbage\0\n=\n", "ID=plan9\nVERSION_ID=4\n"):
        if text is not None:
            release(root, text)
        found = distro.load(str(root), str(SHIPPED))
        assert found.name == "default"
        assert found.text("services.ssh") == "sshd"
        assert not found.switch("remote-users.supported")
    assert (found.id, found.version) == ("plan9", "4")


@pytest.mark.parametrize(
    "id_,like,expected",
    [
        ("linuxmint", "ubuntu debian", "ubuntu"),
        ("raspbian", "debian", "debian"),
        ("amzn", "centos rhel fedora", "rhel"),
        ("nobara", "fedora", "fedora"),
        ("manjaro", "arch", "arch"),
        ("odd", "unheard-of suse", "suse"),
        ("odd", "unheard-of", "default"),
    ],
)
def test_a_derivative_gets_what_it_is_like(root: Path, id_: str, like: str, expected: str) -> None:
    release(root, f'ID={id_}\nID_LIKE="{like}"\nVERSION_ID="1"\n')
    found = distro.load(str(root), str(SHIPPED))
    assert found.name == expected
    assert found.id == id_
    assert id_ in found.names


def test_a_derivative_s_version_is_not_taken_for_the_original_s(root: Path) -> None:
    release(root, 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="6"\n')
    assert distro.load(str(root), str(SHIPPED)).text("system.init") == "systemd"


@pytest.mark.row("provisioning", 98)
def test_a_system_without_version_is_taken_for_a_new_one(root: Path) -> None:
    release(root, "ID=debian\nPRETTY_NAME='Debian GNU/Linux trixie/sid'\n")
    assert distro.load(str(root), str(SHIPPED)).text("system.init") == "systemd"


MARKERS = [
    ("etc/photon-release", "VMware Photon", "ID=other\nVERSION_ID=1\n", "photonos", "photon", "1"),
    ("etc/mariner-release", "CBL-Mariner 2.0", "", "azurelinux", "azurelinux", ""),
    ("etc/alpaquita-release", "", "ID=alpaquita\nVERSION_ID=23\n", "alpine", "alpaquita", "23"),
    ("etc/euleros-release", "", "ID=centos\nVERSION_ID=7\n", "euleros", "euleros", "7"),
    ("etc/UnionTech-release", "", "ID=uos\nVERSION_ID=20\n", "euleros", "uos", "20"),
    ("shared/vadc/x", "", "ID=centos\nVERSION_ID=7\n", "bigip", "bigip", "13.1.0"),
    ("etc/cp-release", "Check Point Gaia R80.10", "ID=rhel\nVERSION_ID=5\n", "gaia", "gaia", "270.55"),
    ("home/guestshell/azure/x", "", "ID=centos\nVERSION_ID=7\n", "iosxe", "iosxe", "7"),
    ("etc/openwrt_release", "DISTRIB_RELEASE='21.02.1'\n", "", "openwrt", "openwrt", "21.02.1"),
]


@pytest.mark.parametrize("path,text,os_release,name,id_,version", MARKERS, ids=[row[3] + row[0] for row in MARKERS])
def test_a_path_that_only_one_system_has_decides(
    root: Path, path: str, text: str, os_release: str, name: str, id_: str, version: str
) -> None:
    release(root, os_release)
    put(root / path, text)
    put(root / "VERSION", "Product: BIG-IP\nVersion: 13.1.0\n")
    put(root / "etc/cloud-version", "release: R80.10\ntake: 270\nbuild: 55\n")
    found = distro.load(str(root), str(SHIPPED))
    assert (found.name, found.id, found.version) == (name, id_, version)


@pytest.mark.parametrize("kernel,name", [("FreeBSD", "freebsd"), ("OpenBSD", "openbsd"), ("Linux", "default")])
def test_a_kernel_without_os_release_decides(root: Path, kernel: str, name: str) -> None:
    assert profile.resolve(str(root), str(SHIPPED), detect.Facts({}, kernel)).name == name


def test_os_release_below_usr_counts_when_there_is_none_in_etc(root: Path) -> None:
    put(root / "usr/lib/os-release", "ID=alpine\n")
    assert distro.load(str(root), str(SHIPPED)).name == "alpine"
    (root / "etc/os-release").symlink_to("/usr/lib/os-release")
    assert distro.load(str(root), str(SHIPPED)).name == "alpine"


def test_os_release_quoting() -> None:
    text = 'ID="Rocky"\nNAME=\'A B\'\nX="a\\"b\\$"\n# ID=no\n bad line\nVERSION_ID=9.3 \n'
    assert detect.parse_os_release(text) == {"ID": "rocky", "NAME": "A B", "X": 'a"b$', "VERSION_ID": "9.3"}


@given(st.text())
def test_no_os_release_raises(text: str) -> None:
    facts = detect.Facts(detect.parse_os_release(text))
    detect.choose(facts, {"a": {"ID": "a"}}, "/nonexistent")


# --- versions


@pytest.mark.row("provisioning", 98)
@pytest.mark.parametrize("less,more", [("9.9", "9.10"), ("12", "12.1"), ("8beta", "8.1"), ("", "1"), ("sid", "1")])
def test_order_of_versions(less: str, more: str) -> None:
    assert key(less) < key(more)


@pytest.mark.parametrize(
    "version,condition,expected",
    [
        ("18.04", ">=18.04 <24.10", True),
        ("24.10", ">=18.04 <24.10", False),
        ("20.04", "20.04", True),
        ("20.4", "20.04", True),
        ("20.04", "!20.04", False),
        ("8", "<=8", True),
        ("8.1", ">8", True),
        ("", "<9", False),
        ("", ">=9", False),
        ("", "!9", True),
    ],
)
def test_conditions(version: str, condition: str, expected: bool) -> None:
    assert satisfies(version, condition) is expected


@given(st.text(), st.text())
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert (key(one) < key(other)) + (key(one) > key(other)) + (key(one) == key(other)) == 1


# --- layers and access


def test_origin_says_which_file_set_a_key(root: Path, data: Path) -> None:
    release(root, "ID=ubuntu\nVERSION_ID=14.04\n")
    put(root / "etc/waagent/distro.d/50-site.yaml", "ssh: {drop-ins: site.d}\n")
    found = distro.load(str(root), str(data))
    where = data / "distros"
    assert found.origin("paths.log") == str(where / "_default.yaml")
    assert found.origin("services.ssh") == str(where / "debian.yaml")
    assert found.origin("package.name") == str(where / "ubuntu.yaml")
    assert found.origin("system.init") == f"{where / 'ubuntu.yaml'} quirk 3"
    assert found.origin("ssh.drop-ins") == "/etc/waagent/distro.d/50-site.yaml"
    assert found.origin("ssh").count(",") >= 1
    assert found.names == ("ubuntu", "debian")


def test_accessors_know_their_types(root: Path) -> None:
    release(root, "ID=debian\nVERSION_ID=12\n")
    found = distro.load(str(root), str(SHIPPED))
    assert found.text("services.network") is None
    assert found.switch("ssh.edit") is True
    assert found.texts("firewall.tools") == ("nft", "iptables")
    assert found.command("services.start", service="ssh") == ("systemctl", "start", "ssh")
    assert found.commands("hostname.last-resort", interface="eth0") == (("ifdown", "eth0"), ("ifup", "eth0"))
    assert found.mapping("resource-disk.force")["xfs"] == "-f"
    for accessor, wrong in (
        (found.text, "ssh.edit"),
        (found.switch, "services.ssh"),
        (found.texts, "hostname.last-resort"),
        (found.commands, "services.start"),
        (found.mapping, "services.start"),
    ):
        with pytest.raises(TypeError):
            accessor(wrong)
    with pytest.raises(KeyError, match=r"no key services\.sssh.*did you mean services\.ssh"):
        found.get("services.sssh")
    with pytest.raises(KeyError):
        found.command("services.start")


def test_a_profile_does_not_change(root: Path) -> None:
    found = distro.load(str(root), str(SHIPPED))
    found.as_dict()["services"]["ssh"] = "x"
    found.get("services")["ssh"] = "x"
    assert found.text("services.ssh") == "sshd"
    with pytest.raises(AttributeError):
        found.name = "x"


def test_braces_in_a_command_can_be_written(root: Path) -> None:
    found = profile.resolve(str(root), str(SHIPPED), detect.Facts({"ID": "bigip"}))
    command = found.command("users.create", name="eve")
    assert "eve" in command and command.count("{") == command.count("}") == 2


def test_chains_of_profiles(root: Path, data: Path) -> None:
    put(data / "distros/mint.yaml", "summary: x\nmatch: {ID: mint}\nbased-on: ubuntu\nssh: {drop-ins: m.d}\n")
    release(root, "ID=mint\nVERSION_ID=21\n")
    found = distro.load(str(root), str(data))
    assert found.names == ("mint", "ubuntu", "debian")
    assert found.text("package.name") == "walinuxagent"


def test_a_circle_of_profiles_is_an_error(root: Path, data: Path) -> None:
    put(data / "distros/a.yaml", "match: {ID: a}\nbased-on: b\n")
    put(data / "distros/b.yaml", "match: {ID: b}\nbased-on: a\n")
    release(root, "ID=a\n")
    with pytest.raises(ConfigError, match="in a circle: a → b → a"):
        distro.load(str(root), str(data))
    put(data / "distros/b.yaml", "match: {ID: b}\nbased-on: nothing\n")
    with pytest.raises(ConfigError, match=r"b\.yaml: based-on nothing: there is no such profile"):
        distro.load(str(root), str(data))


MISTAKES = [
    ("services: {shh: x}", "2: services.shh is no key of a distro profile; did you mean ssh?"),
    ("servces:\n  ssh: x", "2: servces is no key of a distro profile; did you mean services?"),
    ("ssh:\n  reload: []\n  edit: maybe", "4: ssh.edit: expected true or false, found 'maybe'"),
    (
        "ssh: {reload: systemctl}",
        "2: ssh.reload: expected a list of texts, or of lists of texts, found 'systemctl'",
    ),
    (
        "ssh: {reload: [a, [b]]}",
        "2: ssh.reload: expected a list of texts, or of lists of texts, found ['a', ['b']]",
    ),
    ("ssh: yes", "2: ssh: expected a mapping, found True"),
    ("services: {ssh: 22}", "2: services.ssh: expected a text (put it in quotes) or null, found 22"),
    ("configuration: {defaults: {Logs.Verbose: y, X: 1}}", "2: configuration.defaults.X: expected a text, found 1"),
    ("match: {Id: x}", "2: match: Id is neither a field of os-release nor one of path, kernel, version-file"),
    ("match: x", "2: match: expected a mapping"),
    ("quirks: [{when: {}, set: {}}]", "2: quirk 1: expected the keys when, set, because, until, all of them"),
    ("quirks: [{when: {}, set: {x: 1}, because: x, until: x}]", "2: quirk 1: x is no key of a distro profile"),
    ("quirks: x", "2: quirks: expected a list"),
    ("a: [", "3: "),
    ("- a", "1: "),
]


@pytest.mark.parametrize("text,message", MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_mistake_in_a_shipped_profile_names_file_line_and_what_is_right(
    root: Path, data: Path, text: str, message: str
) -> None:
    path = put(data / "distros/mine.yaml", f"{'' if text == '- a' else 'summary: x'}\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        distro.load(str(root), str(data))
    assert str(caught.value).startswith(f"{path}:{message}") or text == "- a"
    assert caught.value.facts["file"] == str(path)


def test_without_profiles_there_is_one_clear_error(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read distro profiles in .*: No such file"):
        distro.load(str(root), str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"there is no _default\.yaml"):
        distro.load(str(root), str(tmp_path / "empty"))


# --- overrides


def test_overrides_change_single_keys_in_the_order_of_their_names(root: Path) -> None:
    release(root, "ID=debian\nVERSION_ID=12\n")
    folder = root / "etc/waagent/distro.d"
    put(folder / "20-b.yaml", "services: {ssh: b}\nconfiguration: {defaults: {Logs.Verbose: 'y'}}\n")
    put(folder / "10-a.yaml", "services: {ssh: a, network: a}\n")
    put(folder / "30-c.yaml", "")
    put(folder / "99-x.yml", "services: {ssh: x}\n")
    found = distro.load(str(root), str(SHIPPED))
    assert (found.text("services.ssh"), found.text("services.network")) == ("b", "a")
    assert found.mapping("configuration.defaults")["Logs.Verbose"] == "y"
    assert found.mapping("configuration.defaults")["OS.EnableFirewall"] == "n"
    assert found.problems == ()


def test_a_bad_override_is_a_problem_and_its_good_keys_count(root: Path) -> None:
    folder = root / "etc/waagent/distro.d"
    put(folder / "10-a.yaml", "services:\n  shh: a\n  ssh: b\nbased-on: debian\n")
    put(folder / "20-b.yaml", "{")
    put(folder / "30-c.yaml", "- a")
    (folder / "40-d.yaml").symlink_to("/nowhere")
    found = distro.load(str(root), str(SHIPPED))
    assert found.text("services.ssh") == "b"
    assert [problem.partition(": ")[0] for problem in found.problems] == [
        "/etc/waagent/distro.d/10-a.yaml:2",
        "/etc/waagent/distro.d/10-a.yaml:4",
        "/etc/waagent/distro.d/20-b.yaml:2",
        "/etc/waagent/distro.d/30-c.yaml:1",
        "cannot read /etc/waagent/distro.d/40-d.yaml",
    ]
    assert "did you mean ssh?; continuing without this key" in found.problems[0]


@pytest.mark.parametrize("mode", [0o666, 0o664])
def test_an_override_that_others_may_write_is_refused(root: Path, mode: int) -> None:
    put(root / "etc/waagent/distro.d/10-a.yaml", "services: {ssh: evil}\n").chmod(mode)
    found = distro.load(str(root), str(SHIPPED))
    assert found.text("services.ssh") == "sshd"
    assert "chmod go-w" in found.problems[0]


# --- the cache


def kept(root: Path, data: Path) -> distro.DistroProfile:
    found = profile.resolve(str(root), str(data))
    end = time.monotonic() + 10  # files of this moment are not kept: another run may be compiling the library
    while not cache.remember(System(root), found, str(data)):
        assert time.monotonic() < end, "it is never kept"
        time.sleep(0.1)
    again = cache.remembered(str(root), str(data))
    assert again is not None
    return again


def test_the_cache_gives_the_same_profile(root: Path) -> None:
    release(root, "ID=ubuntu\nVERSION_ID=14.04\n")
    put(root / "etc/waagent/distro.d/10-a.yaml", "services: {shh: x, ssh: y}\n")
    fresh = profile.resolve(str(root), str(SHIPPED))
    again = kept(root, SHIPPED)
    for name in ("name", "id", "version", "names", "problems", "origins"):
        assert getattr(again, name) == getattr(fresh, name)
    assert again.as_dict() == fresh.as_dict()
    assert (root / "run/waagent/kept/profile.json").stat().st_mode & 0o777 == 0o600
    assert not cache.remember(System(root), fresh, str(SHIPPED))


def test_the_cache_is_not_used_when_anything_changed(root: Path, data: Path) -> None:
    release(root, "ID=debian\nVERSION_ID=12\n")
    override = root / "etc/waagent/distro.d/10-a.yaml"
    changes: list[Callable[[], object]] = [
        lambda: release(root, "ID=ubuntu\nVERSION_ID=22.04\n"),
        lambda: put(override, "services: {ssh: y}\n"),
        lambda: put(override, "services: {ssh: zz}\n"),
        lambda: override.chmod(0o600),
        override.unlink,
        lambda: put(data / "distros/mine.yaml", "summary: x\n"),
        lambda: os.utime(data / "distros/mine.yaml", ns=(1, 1)),
    ]
    for change in changes:
        kept(root, data)
        change()
        assert cache.remembered(str(root), str(data)) is None
    assert distro.load(str(root), str(data)).name == "ubuntu"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "null", '{"format": 2}'])
def test_a_damaged_cache_is_ignored(root: Path, text: str) -> None:
    put(root / "run/waagent/kept/profile.json", text)
    assert distro.load(str(root), str(SHIPPED)).name == "default"


def test_a_cache_that_others_may_write_is_ignored(root: Path) -> None:
    kept(root, SHIPPED)
    file = root / "run/waagent/kept/profile.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["value"]["data"]["services"]["ssh"] = "evil"
    file.write_text(json.dumps(content), encoding="utf-8")
    assert distro.load(str(root), str(SHIPPED)).text("services.ssh") == "evil"
    file.chmod(0o666)
    assert distro.load(str(root), str(SHIPPED)).text("services.ssh") == "sshd"


def test_planning_keeps_nothing(root: Path) -> None:
    system = System(root, planning=True)
    assert not cache.remember(system, distro.load(str(root), str(SHIPPED)), str(SHIPPED))
    assert not (root / "run/waagent").exists()


def test_with_the_cache_no_yaml_is_imported(root: Path) -> None:
    kept(root, SHIPPED)
    code = (
        f"import sys; sys.path.insert(0, {str(SHIPPED.parent)!r})\n"
        f"from waagent import distro; distro.load({str(root)!r}, {str(SHIPPED)!r}); print(*sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "yaml" not in told.stdout.split()
