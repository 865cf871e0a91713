"""What is kept for a boot while the files that it was made from stay as they are."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waagent.system import System, kept

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps anything")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/run").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / name).write_text("one")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    return tmp_path / "root"


def paths(root: Path) -> list[str]:
    top = root.parent
    return [*(str(top / name) for name in ("a", "b", "link", "absent")), *kept.folder(str(top / "folder"))]


def keep(root: Path, value: Any = "kept") -> Any:
    time.sleep(0.05)
    made_from = kept.stamp(paths(root), "another thing")
    kept.write(System(root), "x", made_from, value)
    return made_from


def found(root: Path) -> Any:
    return kept.read(str(root), "x", kept.stamp(paths(root), "another thing"))


def test_it_is_there_while_nothing_changes(root: Path) -> None:
    keep(root, {"odd \udc80": [1, None, "ü"]})
    assert found(root) == {"odd \udc80": [1, None, "ü"]}
    assert kept.read(str(root), "x", kept.stamp(paths(root), "a third thing")) is None
    assert kept.read(str(root), "y", kept.stamp(paths(root), "another thing")) is None
    file = root / "run/waagent/kept/x.json"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def same_time(path: Path, content: str) -> None:
    """Another content of the same size, with the time that it had: only the inode's own time tells."""
    before = path.stat()
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "a").write_text("two and more"),
    "same size and time": lambda top: same_time(top / "a", "two"),
    "replaced by an older one": lambda top: (shutil.copy2(top / "b", top / "c"), (top / "c").rename(top / "a")),
    "time": lambda top: os.utime(top / "a", (1, 1)),
    "mode": lambda top: (top / "a").chmod(0o600),
    "owner": lambda top: os.chown(top / "a", 1, 1),
    "gone": lambda top: (top / "a").unlink(),
    "come": lambda top: (top / "absent").write_text(""),
    "link": lambda top: ((top / "link").unlink(), (top / "link").symlink_to("b")),
    "what the link leads to": lambda top: ((top / "a").unlink(), (top / "a").write_text("one")),
    "put into the directory": lambda top: (top / "folder/new").write_text(""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_makes_it_worthless(root: Path, change: str) -> None:
    keep(root)
    assert found(root) == "kept"
    CHANGES[change](root.parent)
    assert found(root) is None


def test_a_file_that_may_still_change_unseen_keeps_nothing(root: Path) -> None:
    made_from = kept.stamp(paths(root), "another thing")
    (root.parent / "a").write_text("six")
    made_from = kept.stamp(paths(root), "another thing")
    assert not kept.write(System(root), "x", made_from, "kept")


def test_the_stamp_of_before_counts(root: Path) -> None:
    time.sleep(0.05)
    made_from = kept.stamp(paths(root))
    (root.parent / "a").write_text("changed while it was read")
    kept.write(System(root), "x", made_from, "old")
    assert kept.read(str(root), "x", kept.stamp(paths(root))) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"stamp": 5}', "[" * 100_000, "\udc80"])
def test_a_damaged_file_is_none(root: Path, content: str) -> None:
    keep(root)
    (root / "run/waagent/kept/x.json").write_text(content, errors="surrogateescape")
    assert found(root) is None


@pytest.mark.parametrize("harm", ["mode", "owner", "link"])
def test_a_file_that_others_could_have_written_does_not_count(root: Path, harm: str) -> None:
    keep(root)
    file = root / "run/waagent/kept/x.json"
    if harm == "mode":
        file.chmod(0o660)
    elif harm == "owner":
        os.chown(file, 1, 1)
    else:
        file.rename(root / "elsewhere")
        file.symlink_to(root / "elsewhere")
    assert found(root) is None


def test_planning_and_a_full_run_keep_nothing(root: Path) -> None:
    made_from = keep(root)
    assert not kept.write(System(root, planning=True), "y", made_from, 1)
    shutil.rmtree(root / "run")
    (root / "run").write_text("no directory")
    assert not kept.write(System(root), "x", made_from, 1)
    assert found(root) is None


def test_a_value_that_is_no_json_is_not_kept(root: Path) -> None:
    time.sleep(0.05)
    made_from = kept.stamp(paths(root), "another thing")
    assert not kept.write(System(root), "x", made_from, {1: object()})
    assert found(root) is None


def test_what_is_kept_is_one_file_replaced_as_a_whole(root: Path) -> None:
    keep(root)
    keep(root, "later")
    assert os.listdir(root / "run/waagent/kept") == ["x.json"]
    assert json.loads((root / "run/waagent/kept/x.json").read_text())["value"] == "later"
