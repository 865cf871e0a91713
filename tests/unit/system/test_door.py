"""The door to the machine: confined to its root, foreseeable, journalled, atomic."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Script
from waagent.errors import CommandFailed, PlanRefused, SystemRefused
from waagent.system import System, effects, files


def journal(system: System) -> list[tuple[str, str]]:
    return [(r.effect.kind, r.effect.path) for r in effects.read(str(system.path(effects.JOURNAL)))]


# -- confinement ---------------------------------------------------------------------------------------------


def test_an_absolute_link_stays_inside_the_root(system: System) -> None:
    outside = Path(system.root).parent / "outside"
    outside.mkdir()
    os.symlink("/../../outside", Path(system.root) / "etc/up")
    os.symlink("/var/log", Path(system.root) / "etc/logs")
    system.write("/etc/logs/x", "1")
    assert (Path(system.root) / "var/log/x").read_text() == "1"
    assert system.path("/etc/up/x") == Path(system.root) / "outside/x"
    assert system.path("/../../../etc/passwd") == Path(system.root) / "etc/passwd"


@given(st.lists(st.sampled_from(["..", ".", "etc", "up", "loop", "a", ""]), min_size=1, max_size=12))
def test_no_path_leaves_the_root(parts: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")
        os.makedirs(os.path.join(root, "etc"))
        os.symlink("../../../..", os.path.join(root, "etc/up"))
        os.symlink("/etc/up/../..", os.path.join(root, "up"))
        os.symlink("loop", os.path.join(root, "loop"))
        try:
            found = files.under(root, "/" + "/".join(parts))
        except OSError as error:
            assert error.errno == 40
            return
        assert found == root or found.startswith(root + "/")
        assert ".." not in found[len(root) :].split("/")


def test_a_relative_path_is_a_mistake(system: System) -> None:
    with pytest.raises(ValueError, match="not an absolute path"):
        system.read("etc/passwd")


def test_programs_of_another_root_run_inside_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    system = System(root)
    result = system.run("/bin/pwd", ok=None, reads=True)
    assert result.status in (126, 127), "there is no /bin/pwd in the root, so none may have run"


# -- writing -------------------------------------------------------------------------------------------------


def test_write_tells_whether_anything_changed(system: System) -> None:
    assert system.write("/etc/hostname", "vm1\n")
    assert not system.write("/etc/hostname", "vm1\n")
    assert system.write("/etc/hostname", "vm2\n")
    assert system.write("/etc/hostname", "vm2\n", mode=0o600)
    assert journal(system) == [("write", "/etc/hostname")] * 3


def test_write_keeps_mode_and_owner_of_the_old_file(system: System) -> None:
    path = system.path("/etc/x")
    path.write_text("old")
    os.chown(path, 12, 34)
    path.chmod(0o640)
    system.write("/etc/x", "new")
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, 12, 34)


def test_a_secret_is_never_wider_than_0600_not_even_for_a_moment(system: System) -> None:
    system.path("/etc/key").write_text("old")
    system.path("/etc/key").chmod(0o644)
    system.write("/etc/key", "new", secret=True)
    assert files.mode_of(str(system.path("/etc/key"))) == 0o600


def test_a_failed_write_leaves_the_old_content_and_no_litter(system: System) -> None:
    small = system.path("/small")
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(small)], check=True)
    try:
        system.write("/small/x", "good")
        with pytest.raises(SystemRefused, match=r"cannot write /small/x: No space left on device"):
            system.write("/small/x", "y" * 50_000)
        assert system.read_text("/small/x") == "good"
        assert system.listing("/small") == ["x"]
    finally:
        subprocess.run(["umount", str(small)], check=True)


KILLED_WRITER = """
import os, signal, sys
from waagent.system import files
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomic(sys.argv[1], b"hunter2", 0o600, None)
"""


@pytest.mark.parametrize("act", ["write", "remove", "write what is there"])
def test_what_a_killed_writer_left_goes_with_the_next_write_or_removal_of_the_file(system: System, act: str) -> None:
    system.make_directory("/srv")
    if act == "write what is there":
        system.write("/srv/secret.json", "{}", mode=0o600)
    top = Path(files.__file__).resolve().parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(system.path("/srv/secret.json"))], cwd=top)
    assert killed.returncode == -signal.SIGKILL
    left = system.listing("/srv")[0]
    assert left.startswith(".secret.json.") and system.read(f"/srv/{left}") == b"hunter2"
    system.write("/srv/others", "1")
    assert left in system.listing("/srv"), "it is another file's"
    if act != "remove":
        assert system.write("/srv/secret.json", "{}", mode=0o600) == (act == "write")
        assert system.listing("/srv") == ["others", "secret.json"]
    else:
        system.remove("/srv/secret.json")
        assert system.listing("/srv") == ["others"]


def test_what_a_living_writer_has_begun_and_what_only_looks_like_it_stay(system: System) -> None:
    system.make_directory("/srv")
    begun = Path(system.path("/srv")) / ".x.12ab.new"
    (begun.parent / ".x.new").write_text("of somebody else")
    (begun.parent / ".x.y.new").write_text("of somebody else")
    with open(begun, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        system.write("/srv/x", "1")
        assert system.listing("/srv") == [".x.12ab.new", ".x.new", ".x.y.new", "x"]
    system.write("/srv/x", "2")
    assert system.listing("/srv") == [".x.new", ".x.y.new", "x"]


def test_a_directory_of_names_that_do_not_come_again_is_swept_as_a_whole(system: System) -> None:
    system.make_directory("/srv")
    for name in (".a.json.1f.new", ".b.2.new", ".bashrc.new", "c.3.new", ".d.zz.new", "a.json"):
        (Path(system.path("/srv")) / name).write_text("")
    files.sweep_directory(str(system.path("/srv")))
    assert system.listing("/srv") == [".bashrc.new", ".d.zz.new", "a.json", "c.3.new"]


def test_threads_write_one_file_and_make_one_directory_at_the_same_time(system: System) -> None:
    """Each write is a whole one, whoever sweeps meanwhile, and nothing is left of any."""
    begin = threading.Barrier(8)
    raised: list[BaseException] = []

    def work(number: int) -> None:
        begin.wait()
        try:
            for turn in range(150):
                system.make_directory(f"/srv/{turn}")
                system.write("/srv/0/x", f"{number} {turn} " + "x" * number * 100, durable=False)
                assert system.read_text("/srv/0/x").count(" ") == 2
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert system.listing("/srv/0") == ["x"]


def test_a_missing_directory_is_told(system: System) -> None:
    with pytest.raises(SystemRefused, match="its directory does not exist"):
        system.write("/nowhere/x", "1")


def test_directories_links_owners_and_removal_are_idempotent(system: System) -> None:
    assert system.make_directory("/srv/a/b", 0o700)
    assert not system.make_directory("/srv/a/b", 0o700)
    assert system.set_mode("/srv/a/b", 0o750)
    assert system.set_owner("/srv/a/b", 1, 2)
    assert not system.set_owner("/srv/a/b", 1, 2)
    assert system.link("/srv/l", "a/b")
    assert not system.link("/srv/l", "a/b")
    assert system.link("/srv/l", "a")
    assert os.readlink(system.path("/srv") / "l") == "a"
    assert system.remove("/srv/l")
    assert not system.remove("/srv/l")
    assert system.remove_tree("/srv/a")
    assert not system.remove_tree("/srv/a")


def test_remove_tree_never_follows_a_link_nor_takes_the_root(system: System) -> None:
    system.write("/etc/keep", "1")
    system.make_directory("/srv")
    system.link("/srv/l", "/etc")
    assert system.remove_tree("/srv/l")
    assert system.exists("/etc/keep")
    with pytest.raises(SystemRefused, match="mount point or the root"):
        system.remove_tree("/")


def test_poke_sets_a_kernel_knob_in_place(system: System) -> None:
    knob = system.path("/proc/sys/kernel/hostname")
    knob.write_text("old\n")
    inode = knob.stat().st_ino
    assert system.poke("/proc/sys/kernel/hostname", "vm1")
    assert knob.stat().st_ino == inode
    assert not system.poke("/proc/sys/kernel/hostname", "vm1")
    with pytest.raises(SystemRefused, match="cannot read /proc/sys/none"):
        system.poke("/proc/sys/none", "1")


# -- programs ------------------------------------------------------------------------------------------------


def test_a_program_that_fails_tells_all_but_its_input(system: System, script: Script) -> None:
    script.on("chpasswd", "-e", status=1, stderr="chpasswd: line 1: no such user\n")
    with pytest.raises(CommandFailed) as caught:
        system.run("chpasswd", "-e", stdin="bob:open sesame")
    assert str(caught.value).startswith("chpasswd -e exited with status 1 after")
    assert str(caught.value).endswith('"chpasswd: line 1: no such user"')
    assert "sesame" not in repr(vars(caught.value))
    assert script.inputs == [b"bob:open sesame"]
    assert "sesame" not in system.path(effects.JOURNAL).read_text()


def test_programs_run_for_real() -> None:
    system = System(journalling=False)
    result = system.run("sh", "-c", "cat; echo err >&2; exit 3", stdin="in", ok=(3,))
    assert (result.status, result.stdout, result.stderr) == (3, "in", "err\n")
    assert system.run("no-such-program", ok=None).status == 127
    assert system.run("/etc/passwd", ok=None).status == 126
    assert system.run("sh", "-c", "kill -9 $$", ok=None).status == 137
    assert system.run("sh", "-c", "echo $LC_ALL; pwd", reads=True).stdout == "C\n/\n"


def test_a_program_over_its_limit_is_ended_with_its_children() -> None:
    system = System(journalling=False)
    with pytest.raises(CommandFailed, match="ran over its time limit") as caught:
        system.run("sh", "-c", "echo begun; sleep 61.5 & sleep 61.5", limit=0.5)
    assert caught.value.status == 124
    assert caught.value.stdout == "begun\n"
    assert subprocess.run(["pgrep", "-f", "sleep 61.5"]).returncode == 1


def test_what_only_asks_is_not_journalled(system: System, script: Script) -> None:
    script.on("blkid")
    script.on("mkfs")
    system.run("blkid", reads=True)
    system.run("mkfs")
    assert journal(system) == [("run", "")]


# -- planning ------------------------------------------------------------------------------------------------


def test_a_planning_system_does_nothing_and_remembers_all(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/old").write_text("old")
    script = Script()
    script.on("blkid", stdout="ext4\n")
    system = System(tmp_path, execute=script.execute, planning=True)
    assert system.write("/etc/new", "1")
    assert not system.write("/etc/new", "1")
    assert system.read_text("/etc/new") == "1"
    assert system.remove("/etc/old")
    assert not system.exists("/etc/old")
    with pytest.raises(FileNotFoundError):
        system.read("/etc/old")
    system.make_directory("/srv")
    assert system.run("mkfs", "/dev/sdb1").status == 0
    assert system.run("blkid", reads=True).stdout == "ext4\n"
    with pytest.raises(PlanRefused):
        system.unforeseeable("something odd")
    assert sorted(os.listdir(tmp_path)) == ["etc"]
    assert sorted(os.listdir(tmp_path / "etc")) == ["old"]
    assert [effect.kind for effect in system.effects] == ["write", "remove", "directory", "run"]


# -- the journal ---------------------------------------------------------------------------------------------


def test_the_journal_survives_a_torn_line_and_is_cut_to_its_newer_half(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "LIMIT", 20_000)
    for number in range(200):
        system.write("/etc/x", str(number))
    path = system.path(effects.JOURNAL)
    assert path.stat().st_size < 20_500
    with path.open("a") as stream:
        stream.write('{"time": "2026')
    records = list(effects.read(str(path)))
    assert 20 < len(records) < 200
    assert records[-1].effect.path == "/etc/x"
    assert files.mode_of(str(path)) == 0o600


def test_an_effect_counts_even_when_the_journal_cannot_be_written(system: System) -> None:
    system.make_directory("/var/lib/waagent")
    system.path(effects.JOURNAL).unlink()
    system.path(effects.JOURNAL).mkdir()
    assert system.write("/etc/x", "1")
    assert system.read_text("/etc/x") == "1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("place", ["tree/in a way", "tree"])
@pytest.mark.parametrize("way", ["", "link"])
def test_a_tree_in_which_something_is_mounted_stays(tmp_path: Path, place: str, way: str) -> None:
    """It is somebody else's, also when it is of the same file system (a bind mount), or the way there has a link."""
    home = tmp_path / "home"
    precious, point, tree = tmp_path / "precious", home / place, home / "tree"
    precious.mkdir()
    point.mkdir(parents=True)
    (precious / "thesis").write_text("two years")
    (tmp_path / "link").symlink_to(home)
    named = tmp_path / way / "tree" if way else tree
    program = "import sys; from waagent.system import System; System('/', journalling=False).remove_tree(sys.argv[1])"
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", 'mount --bind "$1" "$2"; shift 2; exec "$@"', "sh", precious, point,
         sys.executable, "-c", program, named],
        cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True,
    )  # fmt: skip
    assert f"something is mounted on {point}; unmount it" in ran.stderr
    assert (precious / "thesis").read_text() == "two years"
    assert System("/", journalling=False).remove_tree(str(named))
    assert not tree.exists()
