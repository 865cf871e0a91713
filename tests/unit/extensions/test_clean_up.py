"""What is deleted, what is not, and what happens when it cannot be: nobody else's extension suffers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.extensions.conftest import Bed, multi, single
from waagent.extensions import generalise, ours
from waagent.fabric.desired import Settings

NAME, GOOD = "Contoso.Test.Probe", "Contoso.Test.Good"


@pytest.fixture
def hold() -> Iterator[Callable[[Path], None]]:
    """Have a directory that nobody can delete, not even root, until the test is over."""
    held: list[Path] = []

    def seal(directory: Path) -> None:
        directory.mkdir(parents=True)
        (directory / "file").touch()
        if os.getuid() != 0:
            directory.chmod(0o500)
        elif subprocess.run(["chattr", "+i", directory / "file"], capture_output=True, check=False).returncode:
            pytest.skip("this file system knows no immutable files")
        held.append(directory)

    def there(directory: Path) -> list[Path]:
        """The directory above was renamed meanwhile."""
        return list(directory.parent.parent.glob(f"*/{directory.name}")) + [directory]

    yield seal
    for directory in held:
        for place in filter(Path.exists, there(directory)):
            place.chmod(0o700)
            if os.getuid() == 0:
                subprocess.run(["chattr", "-i", place / "file"], check=True)


def test_a_left_over_that_cannot_be_deleted_stops_nobody(bed: Bed, hold: Callable[[Path], None]) -> None:
    hold(Path(bed.layout.stale(NAME, "1.0.0"), "mount"))
    Path(bed.layout.fresh(NAME, "2.0.0")).mkdir()
    bed.publish(GOOD, "1.0.0")
    summary = bed.process(single(GOOD))
    assert not summary.failed
    assert bed.entry(GOOD)["status"] == "Ready"
    assert [note for note in summary.notes if f".{NAME}-1.0.0.stale" in note]
    assert not Path(bed.layout.fresh(NAME, "2.0.0")).exists(), "the others are swept all the same"


def test_an_old_version_that_cannot_be_deleted_does_not_stop_its_update(
    bed: Bed, hold: Callable[[Path], None]
) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    hold(bed.base(NAME, "1.0.0") / "mount")
    bed.ran()
    bed.publish(NAME, "1.1.0")
    summary = bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.verbs() == ["disable", "update", "uninstall", "install", "enable"]
    assert not summary.failed
    assert [note for note in summary.notes if note.startswith(f"remove {NAME} 1.0.0") and "tolerated" in note]
    assert bed.entry(NAME)["status"] == "Ready"
    bed.process(single(NAME, "1.1.0", sequence=2))
    assert bed.verbs() == ["enable"]


@pytest.mark.row("field-demands", 4)
def test_row_4_versions_that_came_to_nothing_go_when_the_wanted_one_is_there(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        bed.publish(NAME, version, {"update": "exit 1"})
        bed.process(single(NAME, version, sequence=1))
        assert bed.state(NAME, version) == "FailedUpgrade"
    here = Path(bed.layout.lib)
    assert len(list(here.glob(f"{NAME}-*"))) == 4, "while the wanted one is not there nothing goes"
    (here / f"{NAME}__1.2.0.zip").touch()
    bed.ran()
    bed.publish(NAME, "2.0.0", {"enable": "[ -e ../ready ] || exit 1"})
    bed.process(single(NAME, "2.0.0", sequence=2))
    assert bed.verbs() == ["update", "uninstall", "install", "enable"]
    assert len(list(here.glob(f"{NAME}-*"))) == 4, "its enable has failed"
    (here / "ready").touch()
    bed.process(single(NAME, "2.0.0", sequence=3))
    assert bed.verbs() == ["enable"], "nothing is run in what is left over"
    assert [path.name for path in here.glob(f"{NAME}*")] == [f"{NAME}-2.0.0"]


def test_an_installed_version_stays_while_the_wanted_one_cannot_be_had(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0")
    bed.process(single(NAME))
    bed.publish_raw(NAME, "1.1.0", b"no zip")
    bed.process(single(NAME, "1.1.0", sequence=1))
    bed.process(single(NAME, "1.0.0", sequence=2))
    assert (bed.state(NAME, "1.0.0"), bed.base(NAME, "1.1.0").exists()) == ("Enabled", False)


# -- whose handler it is -------------------------------------------------------------------------------------


def left_by_another_agent(bed: Bed, name: str) -> Path:
    """A handler as the incumbent leaves it: enabled, with its marks, and with no record of ours."""
    bed.publish(name, "1.0.0")
    bed.process(single(name))
    bed.ran()
    shutil.rmtree(bed.layout.own)
    return bed.base(name, "1.0.0")


@pytest.mark.row("field-demands", 74)
def test_row_74_what_another_agent_has_left_is_not_deleted(bed: Bed) -> None:
    theirs = left_by_another_agent(bed, NAME)
    before = sorted(theirs.rglob("*"))
    bed.publish(GOOD, "1.0.0")
    for _ in range(2):
        bed.process(single(GOOD))
        bed.process()
    assert sorted(theirs.rglob("*")) == before
    assert bed.state(NAME, "1.0.0") == "Enabled"
    assert not bed.base(GOOD, "1.0.0").exists(), "what is ours goes"


@pytest.mark.row("field-demands", 74)
@pytest.mark.parametrize("sequence", [0, 1])
def test_row_74_what_the_goal_state_names_is_taken_over(bed: Bed, sequence: int) -> None:
    left_by_another_agent(bed, NAME)
    bed.fetched.clear()
    bed.process(single(NAME, sequence=sequence))
    assert (bed.verbs(), bed.fetched) == (["enable"], [])
    bed.process()
    assert (bed.verbs(), bed.base(NAME, "1.0.0").exists()) == ([], False)


@pytest.mark.row("field-demands", 74)
def test_row_74_what_is_taken_over_can_be_updated_and_removed(bed: Bed) -> None:
    left_by_another_agent(bed, NAME)
    bed.publish(NAME, "1.1.0")
    bed.process(single(NAME, "1.1.0", sequence=1))
    assert bed.verbs() == ["disable", "update", "uninstall", "install", "enable"]
    shutil.rmtree(bed.layout.own)
    bed.process(single(NAME, "1.1.0", sequence=1, state="uninstall"))
    assert bed.verbs() == ["disable", "uninstall"]
    assert not list(Path(bed.layout.lib).glob(f"{NAME}*"))


def test_the_record_holds_what_is_named_and_what_is_not_gone_yet(bed: Bed, hold: Callable[[Path], None]) -> None:
    for name in (NAME, GOOD):
        bed.publish(name, "1.0.0")
    bed.process(single(NAME), single(GOOD))
    assert ours.read(bed.system, bed.layout) == {NAME, GOOD}
    bed.process(single(GOOD))
    assert ours.read(bed.system, bed.layout) == {GOOD}
    generalise.forget(bed.system, bed.layout)
    assert os.listdir(bed.layout.own) == ["ours.json"], "an image's handlers are still ours on the next machine"
    bed.process()
    assert not bed.base(GOOD, "1.0.0").exists()
    Path(bed.layout.ours).write_text(json.dumps({"names": 3}))
    assert ours.read(bed.system, bed.layout) == frozenset()


def test_another_agent_s_instances_go_with_their_handler(bed: Bed) -> None:
    bed.publish(NAME, "1.0.0", manifest={"supportsMultipleExtensions": True})
    bed.process(multi(NAME, "1.0.0", Settings("A", 0), Settings("B", 0)))
    shutil.rmtree(bed.layout.own)
    bed.ran()
    bed.process(multi(NAME, "1.0.0", Settings("A", 1, "disabled"), Settings("B", 1)))
    assert bed.ran() == [f"disable {NAME}-1.0.0 1 A", f"enable {NAME}-1.0.0 1 B"]
