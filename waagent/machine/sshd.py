"""Settings of sshd: a drop-in of ours where sshd_config includes drop-ins, else an edit of sshd_config itself.

configure(system, profile, ssh_dir, wanted, must)    SshdChange(changed, notes)
effective(system, ssh_dir)                           what sshd would use, outside Match blocks: keyword -> Setting

In sshd the first value of a keyword counts. So ours go to <drop-ins>/50-waagent.conf, and where a file before
that one says otherwise, the keywords in `must` (what the platform asked for) also to 00-waagent.conf; the others
yield. Where even that comes too late, or nothing includes drop-ins, sshd_config is edited: lines of the keyword
outside Match blocks are replaced, else ours stand before the first Match block, else at the end; before
everything where an Include wins.

The whole result is given to `sshd -t` before any file is put in place. That there are no host keys yet, or no
/run/sshd, is no mistake in the settings: both come later in a boot.

KbdInteractiveAuthentication and its older name ChallengeResponseAuthentication are one keyword; the older name is
the one that every sshd knows, so that is written.

Source: provisioning 4.5; sshd_config(5); field demand 157.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Optional

from waagent.errors import SshError
from waagent.machine import selinux
from waagent.system import System

if TYPE_CHECKING:
    from waagent.distro import DistroProfile

USUAL, FIRST = "50-waagent.conf", "00-waagent.conf"
CHECKED = "/run/waagent/sshd_config.check"
HEADER = "# Written by waagent from the provisioning document and waagent.conf; it is replaced when that changes.\n"

# Complaints of `sshd -t` that say nothing about settings.
EARLY = (
    "no hostkeys available",
    "privilege separation directory",
    "could not load host key",
    "unable to load host key",
)
INCLUDES_DEEP = 16

Overlay = Mapping[str, Optional[str]]


class Setting(NamedTuple):
    value: str
    file: str
    line: int


class SshdChange(NamedTuple):
    changed: bool
    notes: tuple[str, ...]


class Statement(NamedTuple):
    keyword: str  # small letters, aliases resolved
    value: str
    file: str
    line: int


def configure(
    system: System, profile: DistroProfile, ssh_dir: str, wanted: Mapping[str, str], must: Iterable[str] = ()
) -> SshdChange:
    """Have the settings. Raises SshError when sshd would not take them; then nothing was changed."""
    main = posixpath.join(ssh_dir, "sshd_config")
    need = {name: value for name, value in wanted.items() if name in set(must)}
    files, notes = _plan(system, profile, ssh_dir, main, wanted, need)
    changes = {path: content for path, content in files.items() if _differs(system, path, content)}
    if not changes:
        return SshdChange(False, notes)
    _check(system, profile, main, files)
    for path, content in changes.items():
        if content is None:
            system.remove(path)
        else:
            if not system.is_directory(posixpath.dirname(path)):
                system.make_directory(posixpath.dirname(path))
            system.write(path, content, mode=None if path == main else 0o600)
    selinux.restore(system, *(path for path, content in changes.items() if content is not None))
    return SshdChange(True, notes)


def effective(system: System, ssh_dir: str, overlay: Overlay | None = None) -> dict[str, Setting]:
    """The values outside Match blocks, first one counts; `overlay` stands for the files it names."""
    values: dict[str, Setting] = {}
    for found in _statements(system, ssh_dir, posixpath.join(ssh_dir, "sshd_config"), overlay or {}):
        values.setdefault(found.keyword, Setting(found.value, found.file, found.line))
    return values


def canonical(keyword: str) -> str:
    small = keyword.lower()
    return "kbdinteractiveauthentication" if small == "challengeresponseauthentication" else small


def edit(text: str, wanted: Mapping[str, str], *, first: bool = False) -> str:
    """The text of a sshd_config with the settings in it; `first`: before everything instead of at their place."""
    lines = text.splitlines()
    left = {canonical(name): f"{name} {value}" for name, value in wanted.items()}
    kept: list[str] = []
    insert: int | None = None  # before the Match block that is open at the end, or was first
    inside = False
    placed: set[str] = set()
    for line in lines:
        keyword, value = _split(line)
        if keyword == "match":
            inside = value.lower() != "all"
            if inside and insert is None:
                insert = len(kept)
        if not inside and keyword in left:
            if first or keyword in placed:
                continue
            placed.add(keyword)
            kept.append(left[keyword])
            continue
        kept.append(line)
    fresh = [line for name, line in left.items() if name not in placed]
    at = 0 if first else len(kept) if insert is None else insert
    kept[at:at] = fresh
    return "".join(f"{line}\n" for line in kept)


def _plan(
    system: System,
    profile: DistroProfile,
    ssh_dir: str,
    main: str,
    wanted: Mapping[str, str],
    need: Mapping[str, str],
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The files to have, None for one that has to go, and what is worth a note."""
    files: dict[str, str | None] = {}
    folder = posixpath.join(ssh_dir, profile.text("ssh.drop-ins") or "sshd_config.d")
    usual, first = posixpath.join(folder, USUAL), posixpath.join(folder, FIRST)
    text = _text(system, main, {}) or ""
    if _includes(system, ssh_dir, main, usual):
        files = {usual: HEADER + _lines(wanted), first: None}
        if not _overruled(system, ssh_dir, files, need):
            return files, _yielded(system, ssh_dir, files, wanted, need)
        before = _overruled(system, ssh_dir, files, need)
        files[first] = HEADER + _lines(need)
        over = _overruled(system, ssh_dir, files, need)
        if not over:
            told = ", ".join(sorted({setting.file for setting in before.values()}))
            return files, (
                f"{told} says otherwise; {first} stands before it",
                *_yielded(system, ssh_dir, files, wanted, need),
            )
        if not profile.switch("ssh.edit"):
            return files, tuple(_lost(over))
        files[main] = edit(text, {name: value for name, value in need.items() if canonical(name) in over})
        return files, ()
    if not profile.switch("ssh.edit"):
        return {}, (
            f"{main} is left as it is: this distribution's sshd settings are its own and include no drop-ins",
        )
    files = {main: edit(text, wanted)}
    if _overruled(system, ssh_dir, files, need):
        files = {main: edit(edit(text, wanted), need, first=True)}
    return files, tuple(_lost(_overruled(system, ssh_dir, files, need)))


def _overruled(system: System, ssh_dir: str, files: Overlay, need: Mapping[str, str]) -> dict[str, Setting]:
    """The needed keywords that would have another value, with who says so."""
    values = effective(system, ssh_dir, files)
    found = {canonical(name): (values.get(canonical(name)), value) for name, value in need.items()}
    return {
        name: now for name, (now, value) in found.items() if now is not None and now.value.lower() != value.lower()
    }


def _yielded(
    system: System, ssh_dir: str, files: Overlay, wanted: Mapping[str, str], need: Mapping[str, str]
) -> tuple[str, ...]:
    others = {name: value for name, value in wanted.items() if name not in need}
    return tuple(_lost(_overruled(system, ssh_dir, files, others)))


def _lost(over: Mapping[str, Setting]) -> Iterator[str]:
    for name, now in over.items():
        yield f"{now.file}:{now.line} sets {name} to {now.value}; it stays so"


def _check(system: System, profile: DistroProfile, main: str, files: Overlay) -> None:
    """Let sshd read the settings as they would be. Raises SshError."""
    command = profile.command("ssh.check")
    if not command or system.which(command[0]) is None or system.planning:
        return
    drop_ins = [content for path, content in sorted(files.items()) if path != main and content is not None]
    whole = "".join([*drop_ins, _text(system, main, files) or ""])
    quiet = system.quietly()
    quiet.make_directory(posixpath.dirname(CHECKED))
    quiet.write(CHECKED, whole, mode=0o600)
    try:
        answer = quiet.run(*command, "-f", CHECKED, reads=True, ok=None, limit=30)
    finally:
        quiet.remove(CHECKED)
    complaints = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
    about = [line for line in complaints if not any(word in line.lower() for word in EARLY)]
    if answer.status != 0 and (about or not complaints):
        raise SshError(
            f"cannot change the settings of sshd: {' '.join(command)} refuses them"
            + (f": {about[0].replace(CHECKED, main)}" if about else "")
            + f"; {main} and its drop-ins stay as they were"
        )


def _statements(system: System, ssh_dir: str, path: str, overlay: Overlay, depth: int = 0) -> Iterator[Statement]:
    """The statements outside Match blocks in the order sshd reads them, includes followed."""
    text = _text(system, path, overlay)
    if text is None or depth > INCLUDES_DEEP:
        return
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        keyword, value = _split(line)
        if keyword == "match":
            inside = value.lower() != "all"
        elif keyword == "include" and not inside:
            for pattern in value.split():
                for included in _glob(system, ssh_dir, pattern.strip('"'), overlay):
                    yield from _statements(system, ssh_dir, included, overlay, depth + 1)
        elif keyword and not inside:
            yield Statement(keyword, value.strip('"'), path, number)


def _includes(system: System, ssh_dir: str, main: str, path: str) -> bool:
    """Whether main includes the drop-in, outside Match blocks."""
    inside = False
    for line in (_text(system, main, {}) or "").splitlines():
        keyword, value = _split(line)
        if keyword == "match":
            inside = value.lower() != "all"
        elif keyword == "include" and not inside:
            patterns = (posixpath.join(ssh_dir, pattern.strip('"')) for pattern in value.split())
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns):
                return True
    return False


def _glob(system: System, ssh_dir: str, pattern: str, overlay: Overlay) -> list[str]:
    directory, name = posixpath.split(posixpath.join(ssh_dir, pattern))
    names = {found for found in system.listing(directory) if not found.startswith(".")}
    names |= {posixpath.basename(path) for path in overlay if posixpath.dirname(path) == directory}
    found = sorted(fnmatch.filter(names, name))
    return [f"{directory}/{each}" for each in found if not system.is_directory(f"{directory}/{each}")]


def _split(line: str) -> tuple[str, str]:
    """Keyword in small letters and its value; empty ones for blank lines and comments."""
    match = re.match(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+)(.*)", line)
    if match is None:
        return "", ""
    return canonical(match.group(1)), match.group(2).strip()


def _text(system: System, path: str, overlay: Overlay) -> str | None:
    if path in overlay:
        return overlay[path]
    try:
        return system.read_text(path)
    except OSError:
        return None


def _lines(settings: Mapping[str, str]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _differs(system: System, path: str, content: str | None) -> bool:
    if content is None:
        return system.exists(path)
    return _text(system, path, {}) != content
