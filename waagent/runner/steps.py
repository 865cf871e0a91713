"""The steps of a stage: found in four directories, merged by name, ordered by number.

discover() reads files and runs nothing. It returns a Listing:

    steps     in the order in which they run        masked   names that a higher directory takes out
    refused   files that are never run, and why     notes    what does not stop anything but should be known

Source: DESIGN 3.3; boot-stages-and-hooks C2 and C4.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace

from waagent.errors import StageError
from waagent.module import Module
from waagent.runner import declaration, places, refusal
from waagent.system import System
from waagent.system.files import under
from waagent.system.vendor import vendor_directory


@dataclass(frozen=True)
class Step:
    """One step, ready to run.

    name      its identity           number   its place        kind     "python" or "program"
    path      as an admin knows it   real     where this process finds it
    rank      vendor, site, run or admin                       digest   sha256 of the file, hex
    module    what it declares       replaces paths of the lower files of the same name
    """

    stage: str
    name: str
    number: int
    path: str
    real: str
    rank: str
    kind: str
    module: Module
    digest: str = ""
    replaces: tuple[str, ...] = ()
    before: str = ""
    after: str = ""

    @property
    def semaphore(self) -> str:
        """Its name on disk; an override has one of its own, so that it runs where the module is already done."""
        suffix = "" if self.rank == "vendor" else f"@{self.rank}"
        return f"{self.stage}.{self.name}{suffix}"


@dataclass(frozen=True)
class Refused:
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: refused, not run: {self.reason}"


@dataclass(frozen=True)
class Masked:
    name: str
    by: str
    what: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    stage: str
    steps: tuple[Step, ...] = ()
    masked: tuple[Masked, ...] = ()
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    is_news: bool = True  # false where it is the one that an earlier pass of this boot found


@dataclass
class _Found:
    """What one directory holds: files by step name."""

    place: places.Place
    files: dict[str, tuple[int, str]] = field(default_factory=dict)  # name: (number, file name)


def discover(system: System, stage: str) -> Listing:
    """List the steps of a stage, or of an event's hooks ("on-ready")."""
    refused: list[Refused] = []
    chosen: dict[str, Step] = {}
    masked: dict[str, Masked] = {}
    for place in places.step_places(system, stage):
        found = _look_into(place, refused)
        for name, (number, file) in sorted(found.files.items()):
            shown = f"{place.shown}/{file}"
            below = chosen.get(name)
            try:
                step = _step(system, stage, place, name, number, file, below)
            except StageError as error:
                refused.append(Refused(shown, error.message))
                continue
            except OSError as error:
                refused.append(Refused(shown, f"cannot be read: {error.strerror}"))
                continue
            lower = (below.path, *below.replaces) if below else masked[name].what if name in masked else ()
            if step is None:
                chosen.pop(name, None)
                masked[name] = Masked(name, shown, lower)
            else:
                masked.pop(name, None)
                chosen[name] = replace(step, replaces=lower)
    notes: list[str] = []
    steps = _ordered(sorted(chosen.values(), key=lambda step: (step.number, step.name)), notes)
    return Listing(stage, tuple(steps), tuple(masked.values()), tuple(refused), tuple(notes))


def events(system: System) -> list[str]:
    """The names of the events that have a directory of hooks, in any place."""
    found: set[str] = set()
    for place in places.step_places(system, ""):
        try:
            found.update(name[3:] for name in os.listdir(place.real) if name.startswith("on-"))
        except OSError:
            continue
    return sorted(found)


def _look_into(place: places.Place, refused: list[Refused]) -> _Found:
    """List one directory; what does not fit goes to `refused`."""
    found = _Found(place)
    try:
        names = sorted(os.listdir(place.real))
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        refused.append(Refused(place.shown, f"cannot be listed: {error.strerror}"))
        return found
    names = [name for name in names if not refusal.is_document(name)]
    reason = refusal.of_directory(place.real, place.top)
    if reason is not None:
        refused.extend(Refused(f"{place.shown}/{name}", reason) for name in names)
        return found
    doubles: dict[str, list[str]] = {}
    for file in names:
        reason = refusal.of_name(file)
        if reason is not None:
            refused.append(Refused(f"{place.shown}/{_printable(file)}", reason))
            continue
        match = refusal.NAME.match(file)
        if match is not None:
            doubles.setdefault(match["name"], []).append(file)
    for name, files in doubles.items():
        if len(files) > 1:
            reason = f"the name {name!r} is there {len(files)} times: {', '.join(files)}; keep one"
            refused.extend(Refused(f"{place.shown}/{file}", reason) for file in files)
        else:
            found.files[name] = (int(files[0][:2]), files[0])
    return found


def _step(
    system: System, stage: str, place: places.Place, name: str, number: int, file: str, below: Step | None
) -> Step | None:
    """Check and read one file; None if it masks. Raises StageError with the reason of a refusal."""
    here = os.path.join(place.real, file)
    if os.path.islink(here) and os.readlink(here) == "/dev/null":
        return None
    top = place.top
    real = here
    if os.path.islink(here):
        real = _link_target(system, place, here)
        if not _within(real, top):
            top = vendor_directory(system)
        if not _within(real, top):
            raise StageError(f"links to {real}, outside the directories of steps' own file system root")
        reason = refusal.of_directory(os.path.dirname(real), top)
        if reason is not None:
            raise StageError(f"links to {real}: {reason}")
    python = file.endswith(".py")
    reason = refusal.of_file(real, top, program=not python)
    if reason is not None:
        raise StageError(reason)
    with open(real, "rb") as stream:
        content = stream.read()
    if not content:
        return None
    if python:
        declared = declaration.of_python(content, real)
    else:
        declared = declaration.of_program(
            content, real, below.module if below else None, places.LIMITS.get(stage, 60.0)
        )
    return Step(
        stage=stage,
        name=name,
        number=number,
        path=f"{place.shown}/{file}",
        real=real,
        rank=place.rank,
        kind="python" if python else "program",
        module=declared.module,
        digest=hashlib.sha256(content).hexdigest(),
        before=declared.before,
        after=declared.after,
    )


def _within(path: str, top: str) -> bool:
    return top in ("/", path) or path.startswith(top + "/")


def _link_target(system: System, place: places.Place, here: str) -> str:
    """Where a link leads, resolved inside the root. Raises StageError when it leads nowhere."""
    if place.top == system.root and system.root != "/":
        real = under(system.root, "/" + os.path.relpath(here, system.root))
        if not os.path.exists(real):
            # A link to a vendor file that lies outside this root (a checkout, in tests) is followed as it stands.
            real = os.path.realpath(here)
    else:
        real = os.path.realpath(here)
    if not os.path.exists(real):
        raise StageError(f"links to {os.readlink(here)}, which does not exist")
    return real


def _ordered(steps: list[Step], notes: list[str]) -> list[Step]:
    """Move each step whose header says before or after; what cannot be honoured is noted, its number stands."""
    by_name = {step.name: step for step in steps}
    for step in [step for step in steps if step.before or step.after]:
        for word, other in (("before", step.before), ("after", step.after)):
            if not other:
                continue
            told = f"{step.path}: its header says {word}: {other}, which"
            if other not in by_name:
                notes.append(f"{told} is no step here; it runs at its number")
                continue
            if _contradicted(step, word, other, by_name):
                notes.append(f"{told} makes a circle; it runs at its number")
                continue
            steps.remove(step)
            place = steps.index(by_name[other])
            steps.insert(place if word == "before" else place + 1, step)
    return steps


def _contradicted(step: Step, word: str, other: str, by_name: dict[str, Step]) -> bool:
    """Whether `other` wants, through any chain of headers, the opposite of what `step` wants."""

    def first(a: str, b: str, seen: frozenset[str]) -> bool:
        """Whether a chain of headers says that a runs before b."""
        if a in seen:
            return False
        targets = [by_name[a].before] if a in by_name and by_name[a].before else []
        targets += [item.name for item in by_name.values() if item.after == a]
        return b in targets or any(first(target, b, seen | {a}) for target in targets)

    if other == step.name:
        return True
    return first(other, step.name, frozenset()) if word == "before" else first(step.name, other, frozenset())


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
