"""What goes into an archive of logs, in which order, and up to which size. Rows: guest operations, section 12."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modules.conftest import profile_of, put  # noqa: F401 - a fixture
from waagent.errors import MachineError, PlanRefused
from waagent.logs import collect, manifest
from waagent.system import System

LIB, LOG, EXTENSIONS = "/var/lib/waagent", "/var/log/waagent.log", "/var/log/azure"
Put = Callable[..., Path]


@pytest.fixture
def system(system: System) -> System:
    return System(system.root, execute=system._execute, journalling=False)


@pytest.fixture
def pack(system: System, tmp_path: Path) -> Callable[..., zipfile.ZipFile]:
    def run(full: bool = False, secrets: tuple[str, ...] = (), distro: str = "debian") -> zipfile.ZipFile:
        profile = profile_of(tmp_path / "root", distro, "12")
        sources = manifest.sources(profile, LIB, EXTENSIONS, LOG, full=full)
        made = collect.collect(system, sources, f"{LIB}/logcollector", full=full, secrets=secrets)
        assert made.files == len(zipfile.ZipFile(system.path(made.archive)).namelist()) - 1
        return zipfile.ZipFile(system.path(made.archive))

    return run


def results(archive: zipfile.ZipFile) -> str:
    return archive.read("results.txt").decode()


def test_a_normal_collection(pack: Callable[..., zipfile.ZipFile], put: Put, system: System) -> None:  # noqa: F811
    for path in (
        LOG, f"{LOG}.1", f"{EXTENSIONS}/A.B/handler.log", f"{EXTENSIONS}/A.B/1/deep.log", "/etc/os-release", "/etc/hostname",
        "/etc/waagent.conf", "/var/log/syslog", "/var/log/auth.log", "/var/log/dmesg.0", f"{LIB}/ovf-env.xml",
        f"{LIB}/A.B-1.0/status/0.status", f"{LIB}/A.B-1.0/config/0.settings", f"{LIB}/A.B-1.0/config/HandlerState",
        f"{LIB}/history/one.zip", f"{LIB}/history/2026-11-23T09-20-00__1/waagent_status.json", "/run/waagent/status.json",
        # not of a normal collection, or of none
        "/etc/fstab", "/var/log/kern.log", "/var/log/dpkg.log", "/var/log/wtmp", f"{LIB}/instance/secret.json",
        f"{LIB}/AB.prv", f"{LIB}/goal-state.json", "/etc/shadow",
    ):  # fmt: skip
        put(path, f"content of {path}\n")
    archive = pack()
    names = archive.namelist()
    assert names[:2] == ["var/log/waagent.log", "run/waagent/status.json"]
    assert names[2:7] == [
        "var/lib/waagent/history/one.zip",
        "var/lib/waagent/history/2026-11-23T09-20-00__1/waagent_status.json", "var/log/azure/A.B/handler.log", "var/log/azure/A.B/1/deep.log",
        "var/log/waagent.log.1",
    ]  # fmt: skip
    assert names[7:-1] == sorted(names[7:-1])
    assert set(names[7:-1]) == {
        "etc/hostname", "etc/os-release", "etc/waagent.conf", "var/lib/waagent/A.B-1.0/config/0.settings",
        "var/lib/waagent/A.B-1.0/config/HandlerState", "var/lib/waagent/A.B-1.0/status/0.status",
        "var/lib/waagent/ovf-env.xml", "var/log/auth.log", "var/log/dmesg.0", "var/log/syslog",
    }  # fmt: skip
    assert archive.read("etc/hostname") == b"content of /etc/hostname\n"
    assert all(info.compress_type == zipfile.ZIP_DEFLATED for info in archive.infolist())
    for name in ("logs.zip", "results.txt"):
        assert system.path(f"{LIB}/logcollector/{name}").stat().st_mode & 0o777 == 0o600


def test_the_results_tell(pack: Callable[..., zipfile.ZipFile], put: Put, system: System) -> None:  # noqa: F811
    put(LOG, "12345\n")
    lines = results(pack(full=True)).splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING) ", line) for line in lines)
    assert "full mode" in lines[0]
    assert any("Listing of /etc/udev/rules.d" in line for line in lines)
    assert any("-rw-r--r--" in line and line.endswith("6 waagent.log") for line in lines)
    assert any(line.endswith("adding file /var/log/waagent.log as var/log/waagent.log, 6 bytes") for line in lines)
    assert system.read_text(f"{LIB}/logcollector/results.txt").startswith(lines[0])


@pytest.mark.parametrize(
    ("distro", "path"),
    [("debian", "/etc/fstab"), ("debian", "/var/log/dpkg.log"), ("debian", "/var/log/kern.log"),
     ("debian", "/etc/resolv.conf"), ("debian", f"{LIB}/SharedConfig.xml"), ("debian", f"{LIB}/provisioned"),
     ("debian", "/run/systemd/netif/leases/2"), ("rhel", "/var/log/secure"), ("rhel", "/var/log/messages")],
)  # fmt: skip
def test_a_full_collection_has_more(
    pack: Callable[..., zipfile.ZipFile], put: Put, distro: str, path: str  # noqa: F811
) -> None:
    put(path, "x\n")
    assert path[1:] in pack(full=True, distro=distro).namelist()
    assert path[1:] not in pack(distro=distro).namelist()


def test_secrets_do_not_enter(pack: Callable[..., zipfile.ZipFile], put: Put) -> None:  # noqa: F811
    put(f"{LIB}/ovf-env.xml", "<x><UserPassword>swordfish1</UserPassword><CustomData>c2VjcmV0</CustomData></x>")
    put(f"{LIB}/A.B-1.0/config/0.settings", '{"protectedSettings": "MIIBsecret", "publicSettings": {"a": "https://b/c?sig=abc"}}')
    put("/etc/waagent.conf", "HttpProxy.Host=http://me:swordfish2@proxy\n")
    put("/var/log/syslog", "ada used swordfish3\n")
    put("/var/log/syslog.2.gz", gzip.compress(b"https://b/c?sv=1&sig=swordfish4\n"))
    put("/var/log/auth.log.1.xz", lzma.compress(b"swordfish3 again\n"))
    put(f"{EXTENSIONS}/A.B/tool.zip", b"PK swordfish5")
    put(f"{EXTENSIONS}/A.B/server.key", "swordfish6")
    archive = pack(secrets=("swordfish3",))
    everything = b"".join(archive.read(name) for name in archive.namelist())
    for secret in (b"swordfish", b"c2VjcmV0", b"MIIBsecret", b"sig=abc"):
        assert secret not in everything
    assert "var/log/syslog.2" in archive.namelist()
    assert "var/log/auth.log.1" in archive.namelist()
    assert "tool.zip may hold secrets; left out" in results(archive)


def test_links_are_followed_for_root_only(pack: Callable[..., zipfile.ZipFile], put: Put, system: System) -> None:  # noqa: F811
    put("/etc/secret.pem", "key\n")
    put("/usr/lib/os-release", "ID=x\n")
    root = system.path("/")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    folder = root / EXTENSIONS[1:] / "A.B"
    folder.mkdir(parents=True)
    (folder / "sly.log").symlink_to("../../../../etc/secret.pem")
    (folder / "dangling.log").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.log")
    if os.geteuid() == 0:
        put("/home/file", "x\n")
        (folder / "foreign.log").symlink_to("../../../../home/file")
        os.chown(folder / "foreign.log", 12345, 12345, follow_symlinks=False)
    archive = pack()
    assert archive.namelist() == ["etc/os-release", "results.txt"]


@pytest.mark.row("guest-operations", 64)
def test_the_end_of_a_long_log_is_taken(
    pack: Callable[..., zipfile.ZipFile], put: Put, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(collect, "FILE_LIMIT", 1000)
    put("/var/log/syslog", "".join(f"line {number:4}\n" for number in range(400)))
    archive = pack()
    (name,) = [name for name in archive.namelist() if "syslog" in name]
    assert name == "truncated__var_log_syslog"
    lines = archive.read(name).decode().splitlines()
    assert lines[-1] == "line  399"
    assert lines[0] == "line  301" and len("\n".join(lines)) < 1000


@pytest.mark.row("guest-operations", 65)
def test_a_long_compressed_log_is_left_out(
    pack: Callable[..., zipfile.ZipFile], put: Put, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(collect, "FILE_LIMIT", 1000)
    put("/var/log/syslog.2.gz", gzip.compress(os.urandom(2000)))
    put("/var/log/syslog.3.gz", gzip.compress(b"0123456789abcdef\n" * 1000))
    put("/var/log/syslog.4.gz", b"no gzip at all")
    archive = pack()
    assert "var/log/syslog.2" not in archive.namelist()
    assert "syslog.2.gz is compressed" in results(archive)
    assert len(archive.read("var/log/syslog.3")) == 1000, "unpacked it is cut"
    assert "cannot add /var/log/syslog.4.gz" in results(archive)


@pytest.mark.row("guest-operations", 66)
def test_what_comes_first_is_in_when_there_is_too_much(
    pack: Callable[..., zipfile.ZipFile], put: Put, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(collect, "TOTAL_LIMIT", 1000)
    put(LOG, "a" * 400)
    put(f"{EXTENSIONS}/A.B/handler.log", "b" * 400)
    put("/etc/hostname", "c" * 300)
    put("/etc/os-release", "d" * 10)
    archive = pack()
    assert archive.namelist() == ["var/log/waagent.log", "var/log/azure/A.B/handler.log", "results.txt"]
    assert "would be more than 1000 bytes altogether; stopping here" in results(archive)


def test_so_many_files_may_fail_and_no_more(system: System, put: Put, tmp_path: Path) -> None:  # noqa: F811
    sources = manifest.sources(profile_of(tmp_path / "root"), LIB, EXTENSIONS, LOG, full=False)
    for number in range(collect.ERRORS):
        put(f"/var/log/syslog.{number}.gz", b"no gzip at all")
    collect.collect(system, sources, f"{LIB}/logcollector")
    before = system.read(f"{LIB}/logcollector/logs.zip")
    put("/var/log/syslog.9.gz", b"no gzip at all")
    with pytest.raises(MachineError, match="cannot collect logs into"):
        collect.collect(system, sources, f"{LIB}/logcollector")
    assert system.read(f"{LIB}/logcollector/logs.zip") == before, "the archive of before stays"
    assert system.listing(f"{LIB}/logcollector") == ["logs.zip", "results.txt"]


def test_what_the_watch_raises_ends_it(system: System, put: Put, tmp_path: Path) -> None:  # noqa: F811
    put(LOG, "x\n")

    def watch() -> None:
        raise MachineError("too much")

    with pytest.raises(MachineError, match="too much"):
        collect.collect(
            system, manifest.sources(profile_of(tmp_path / "root"), LIB, EXTENSIONS, LOG, full=False),
            f"{LIB}/logcollector", watch=watch,
        )  # fmt: skip
    assert system.listing(f"{LIB}/logcollector") == ["results.txt"]


def test_a_dry_run_cannot_tell(tmp_path: Path, system: System) -> None:
    planning = System(system.root, planning=True)
    with pytest.raises(PlanRefused):
        collect.collect(planning, manifest.Sources((), ()), f"{LIB}/logcollector")
