"""System: the machine we act on, and the only way to act on it.

In production the root is "/"; in a test or for an image it is a directory, and nothing outside of it is touched
(programs then run in a chroot). A System that is *planning* does nothing: effects are noted in `effects`, and
what was "written" is given back by later reads, so that a whole stage can be foreseen.

    read, read_text, exists, is_directory, listing, status     look; raise OSError as open() and stat() do
    read_foreign                                               the same of a file that somebody else may have made
    write, remove, remove_tree, make_directory, set_mode,
    set_owner, link, rename, poke                              act on files; return whether anything changed
    run                                                        run a program; reads=True for one that only asks

Each effect is journalled with the stage and step that `scoped` gave (waagent/system/effects.py). An effect that
the machine refuses raises SystemRefused, a program that ends badly CommandFailed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Optional

from waagent.errors import CommandFailed, PlanRefused, SystemRefused
from waagent.system import effects, files, foreign
from waagent.system.clock import Clock
from waagent.system.command import NOT_FOUND, PATH, TIMED_OUT, Result, execute
from waagent.system.effects import Effect

Execute = Callable[[tuple[str, ...], Optional[bytes], float, Optional[Mapping[str, str]]], Result]


class System:
    def __init__(
        self,
        root: str | os.PathLike[str] = "/",
        *,
        execute: Execute | None = None,
        clock: Clock | None = None,
        planning: bool = False,
        journalling: bool = True,
    ) -> None:
        self.root = os.path.abspath(os.fspath(root))
        self.clock = clock or Clock()
        self.planning = planning
        self.effects: list[Effect] = []
        self._execute = execute or self._execute_here
        self._journalling = journalling and not planning
        self._stage, self._step = "", ""
        self._planned: dict[str, bytes | None] = {}  # what plan mode would have on disk; None: removed

    def scoped(self, stage: str, step: str) -> System:
        """The same machine, with effects put down to this stage and step (and a fresh list of them)."""
        other = System.__new__(System)
        other.__dict__.update(self.__dict__)
        other._stage, other._step, other.effects = stage, step, []
        if self._execute == self._execute_here:
            other._execute = other._execute_here
        return other

    def quietly(self) -> System:
        """The same machine without a journal: for the agent's own state, which is no news to anybody."""
        other = self.scoped(self._stage, self._step)
        other._journalling = False
        return other

    @property
    def planned(self) -> dict[str, bytes | None]:
        """What plan mode would have written, by real path; None for what it would have removed."""
        return self._planned

    # -- looking ---------------------------------------------------------------------------------------------

    def path(self, path: str) -> Path:
        """Where the machine's absolute path lies for this process. For reading; effects go through the methods."""
        return Path(files.under(self.root, path))

    def read(self, path: str, limit: int = -1) -> bytes:
        real = files.under(self.root, path)
        if real in self._planned:
            return self._foreseen(real, path)
        with open(real, "rb") as stream:
            return stream.read(limit)

    def read_foreign(self, path: str, limit: int) -> bytes:
        """As read(), of a file that somebody else may have made: a plain one, never waited for (foreign.py)."""
        real = files.under(self.root, path, follow_last=False)
        if real in self._planned:
            return self._foreseen(real, path)[:limit]
        return foreign.read(real, limit)[0]

    def _foreseen(self, real: str, path: str) -> bytes:
        planned = self._planned[real]
        if planned is None:
            raise FileNotFoundError(errno.ENOENT, "planned to be removed", path)
        return planned

    def read_text(self, path: str) -> str:
        return self.read(path).decode("utf-8", "replace")

    def exists(self, path: str) -> bool:
        real = files.under(self.root, path)
        if real in self._planned:
            return self._planned[real] is not None
        return os.path.exists(real)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(files.under(self.root, path))

    def listing(self, path: str) -> list[str]:
        """Sorted names in a directory; an absent one is empty."""
        try:
            return sorted(os.listdir(files.under(self.root, path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def status(self, path: str) -> os.stat_result:
        """As lstat(): a link is described, not followed."""
        return os.lstat(files.under(self.root, path, follow_last=False))

    def which(self, program: str) -> str | None:
        """Where the program is on this machine, as an absolute path of the machine."""
        if "/" in program:
            return program if os.access(files.under(self.root, program), os.X_OK) else None
        for directory in PATH.split(":"):
            candidate = f"{directory}/{program}"
            real = files.under(self.root, candidate)
            if os.path.isfile(real) and os.access(real, os.X_OK):
                return candidate
        return None

    # -- acting on files -------------------------------------------------------------------------------------

    def write(
        self,
        path: str,
        content: str | bytes,
        *,
        mode: int | None = None,
        owner: tuple[int, int] | None = None,
        secret: bool = False,
        durable: bool = True,
    ) -> bool:
        """Replace the file atomically; false if content, mode and owner were so already.

        mode: of the file; when None that of the old file, else 0644 (0600 if secret). The directory has to exist.
        A link is followed to the file it names, inside the root. Not durable, and everything below /run: a power
        cut may take the change back, which saves the wait for the disk.
        """
        data = content.encode("utf-8") if isinstance(content, str) else content
        real = files.under(self.root, path)
        try:
            before: os.stat_result | None = os.stat(real)
        except FileNotFoundError:
            before = None
        if mode is None:
            mode = stat.S_IMODE(before.st_mode) if before and not secret else (0o600 if secret else 0o644)
        if self._already(real, data, mode, owner, before):
            if not self.planning:
                files.sweep(real)
            return False
        verb = "replaced by" if before else "created with"
        note = f"{verb} {len(data)} bytes, mode {mode:04o}" + (f", owner {owner[0]}:{owner[1]}" if owner else "")
        if self.planning:
            self._planned[real] = data
        else:
            if owner is None and before is not None:
                owner = (before.st_uid, before.st_gid)
            with _refusal("write", path):
                files.write_atomic(real, data, mode, owner, durable=durable and not path.startswith("/run/"))
        self._note(Effect("write", path, note=note))
        return True

    def _already(
        self, real: str, data: bytes, mode: int, owner: tuple[int, int] | None, before: os.stat_result | None
    ) -> bool:
        if real in self._planned:
            return self._planned[real] == data
        if before is None or not stat.S_ISREG(before.st_mode) or before.st_size != len(data):
            return False
        if stat.S_IMODE(before.st_mode) != mode or (owner and owner != (before.st_uid, before.st_gid)):
            return False
        with open(real, "rb") as stream:
            return stream.read() == data

    def remove(self, path: str, *, durable: bool = True) -> bool:
        """Remove a file or link (the link itself); false if there was none."""
        real = files.under(self.root, path, follow_last=False)
        if real in self._planned and self._planned[real] is None:
            return False
        if not self.planning:
            files.sweep(real)
        if not os.path.lexists(real) and real not in self._planned:
            return False
        if self.planning:
            self._planned[real] = None
        else:
            with _refusal("remove", path):
                os.unlink(real)
                if durable and not path.startswith("/run/"):
                    files.sync_directory(os.path.dirname(real))
        self._note(Effect("remove", path))
        return True

    def remove_tree(self, path: str) -> bool:
        """Remove a directory and all below it; links in it are removed, never followed.

        Nothing goes where something is mounted in it: that is somebody else's.
        """
        real = files.under(self.root, path, follow_last=False)
        if not os.path.lexists(real):
            return False
        if real == self.root or os.path.ismount(real):
            raise SystemRefused(f"cannot remove {path}: it is a mount point or the root", path=path)
        mounted = files.mounted_in(real)
        if mounted:
            told = f"cannot remove {path}: something is mounted on {', '.join(mounted)}; unmount it"
            raise SystemRefused(told, path=path)
        if not self.planning:
            with _refusal("remove", path):
                if os.path.islink(real) or not os.path.isdir(real):
                    os.unlink(real)
                else:
                    import shutil

                    shutil.rmtree(real)
        self._note(Effect("remove", path, note="with all below it"))
        return True

    def make_directory(self, path: str, mode: int = 0o755, owner: tuple[int, int] | None = None) -> bool:
        """Have a directory of this mode and owner; parents that are missing get mode 0755."""
        real = files.under(self.root, path)
        if not os.path.isdir(real):
            if not self.planning:
                with _refusal("create directory", path):
                    os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
                    try:
                        os.mkdir(real, 0o700)
                    except FileExistsError:  # another process or thread wants it, too
                        if not os.path.isdir(real):
                            raise
                    if owner is not None:
                        os.chown(real, *owner)
                    os.chmod(real, mode)
            self._note(Effect("directory", path, note=f"mode {mode:04o}"))
            return True
        changed = self.set_mode(path, mode)
        return (owner is not None and self.set_owner(path, *owner)) or changed

    def set_mode(self, path: str, mode: int) -> bool:
        real = files.under(self.root, path)
        if real in self._planned or stat.S_IMODE(os.stat(real).st_mode) == mode:
            return False
        if not self.planning:
            with _refusal("change the mode of", path):
                os.chmod(real, mode)
        self._note(Effect("mode", path, note=f"{mode:04o}"))
        return True

    def set_owner(self, path: str, uid: int, gid: int) -> bool:
        real = files.under(self.root, path, follow_last=False)
        if real in self._planned:
            return False
        now = os.lstat(real)
        if (now.st_uid, now.st_gid) == (uid, gid):
            return False
        if not self.planning:
            with _refusal("change the owner of", path):
                os.lchown(real, uid, gid)
        self._note(Effect("owner", path, note=f"{uid}:{gid}"))
        return True

    def link(self, path: str, target: str) -> bool:
        """Have a symbolic link at `path` that says `target`; replaces what is there, atomically."""
        real = files.under(self.root, path, follow_last=False)
        if os.path.islink(real) and os.readlink(real) == target:
            return False
        if not self.planning:
            temporary = f"{real}.new"
            with _refusal("link", path):
                if os.path.lexists(temporary):
                    os.unlink(temporary)
                os.symlink(target, temporary)
                os.replace(temporary, real)
                files.sync_directory(os.path.dirname(real))
        self._note(Effect("link", path, note=f"to {target}"))
        return True

    def rename(self, path: str, to: str) -> None:
        source = files.under(self.root, path, follow_last=False)
        target = files.under(self.root, to, follow_last=False)
        if not self.planning:
            with _refusal("rename", path):
                os.replace(source, target)
                files.sync_directory(os.path.dirname(target))
        self._note(Effect("rename", path, note=f"to {to}"))

    def sync_tree(self, path: str) -> None:
        """Have a directory and all below it on the disk, before something durable speaks of them."""
        if not self.planning:
            with _refusal("make durable", path):
                files.sync_tree(files.under(self.root, path))

    def poke(self, path: str, value: str) -> bool:
        """Write a kernel knob (/proc/sys, /sys) in place; false if it already has that value."""
        real = files.under(self.root, path)
        with _refusal("read", path), open(real, encoding="ascii", errors="replace") as stream:
            if stream.read().strip() == value.strip():
                return False
        if not self.planning:
            with _refusal("set", path), open(real, "w", encoding="ascii") as stream:
                stream.write(value)
        self._note(Effect("poke", path, note=value.strip()))
        return True

    # -- running programs ------------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        stdin: str | bytes | None = None,
        limit: float = 60.0,
        ok: Iterable[int] | None = (0,),
        reads: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a program and return its Result; CommandFailed unless its status is in `ok` (None: any will do).

        reads=True says that the program only asks: it runs in plan mode too and is not journalled.
        Secrets go in by stdin, never by argv: argv is journalled.
        """
        if self.planning and not reads:
            self._note(Effect("run", argv=argv))
            return Result(argv, 0)
        data = stdin.encode("utf-8") if isinstance(stdin, str) else stdin
        result = self._execute(argv, data, limit, env)
        if not reads and result.status != NOT_FOUND:
            note = "" if result.status == 0 else f"status {result.status}"
            self._note(Effect("run", argv=argv, note=note))
        if ok is not None and result.status not in tuple(ok):
            raise CommandFailed(result.argv, result.status, result.stdout, result.stderr, result.seconds)
        return result

    def unforeseeable(self, what: str) -> None:
        """Called before an effect that has no method here; refuses while planning. Raises PlanRefused."""
        if self.planning:
            raise PlanRefused(f"cannot foresee in plan mode: {what}")

    def note(self, effect: Effect) -> None:
        """Put down an effect that was made by other means (a network upload, a system call)."""
        self._note(effect)

    def _execute_here(
        self, argv: tuple[str, ...], stdin: bytes | None, limit: float, env: Mapping[str, str] | None
    ) -> Result:
        return execute(argv, stdin, limit, env, self.root)

    def _note(self, effect: Effect) -> None:
        self.effects.append(effect)
        if not self._journalling:
            return
        record = effects.Record(self.clock.stamp(), self._stage, self._step, effect)
        try:
            effects.append(files.under(self.root, effects.JOURNAL), [record])
        except OSError:
            # The effect itself has happened; a full or read-only disk must not turn it into a failure.
            return


class _refusal:
    """Turn the OSError of an effect into SystemRefused, with what was attempted on which path."""

    def __init__(self, attempt: str, path: str) -> None:
        self.attempt, self.path = attempt, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            hint = {
                errno.ENOSPC: "; free some space, the next boot tries again",
                errno.EROFS: "; the file system is read-only",
                errno.ENOENT: "; its directory does not exist" if self.attempt == "write" else "",
            }.get(error.errno or 0, "")
            raise SystemRefused(
                f"cannot {self.attempt} {self.path}: {error.strerror or error}{hint}", path=self.path
            ) from error


__all__ = ["NOT_FOUND", "TIMED_OUT", "Execute", "System"]
