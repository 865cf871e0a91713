"""Fetch manifests and packages ahead, a few at a time, while earlier handlers have their turn.

    ahead = Ahead(system, layout, source, handlers, needed)
    ahead.release(handler)       the release that was chosen for it; waits; raises ExtensionError (or what nobody
                                 foresaw, as trouble() does)
    ahead.settled(handler)       the same without waiting; None when it is not known (yet)
    ahead.trouble(handler)       waits for its package; the ExtensionError if it could not be had, else None

A handler whose manifest or package cannot be fetched keeps only itself waiting. A package lies in its prefetched
file until packages.place takes it. What nobody foresaw is raised where the handler is waited for.

Source: extensions 6.1, 6.4.
"""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterable

from waagent.errors import ExtensionError, FabricError, MachineError, SystemRefused
from waagent.extensions import packages
from waagent.extensions.layout import Layout
from waagent.extensions.packages import Release, Source
from waagent.fabric.arrival import Kept
from waagent.fabric.desired import Handler
from waagent.machine.archive import ArchiveInvalid
from waagent.system import System

AT_ONCE = 4


class _Errand:
    """What one thread has to find out about one handler."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.chosen, self.finished = threading.Event(), threading.Event()
        self.release: Release | None = None
        self.error: ExtensionError | None = None
        self.trouble: ExtensionError | None = None
        self.unforeseen: BaseException | None = None


class Ahead:
    def __init__(
        self,
        system: System,
        layout: Layout,
        source: Source,
        handlers: Iterable[Handler],
        needed: Callable[[str, str], bool],
    ) -> None:
        """needed(name, version): whether the package will be wanted; handlers in the order of their turns."""
        self._system, self._layout, self._source, self._needed = system, layout, source, needed
        self._errands = {handler.name: _Errand(handler) for handler in handlers}
        self._left = list(self._errands.values())
        self._lock = threading.Lock()
        for _ in range(min(AT_ONCE, len(self._left))):
            threading.Thread(target=self._work, daemon=True).start()

    def release(self, handler: Handler) -> Release:
        errand = self._errands.get(handler.name)
        if errand is not None:
            errand.chosen.wait()
            if errand.unforeseen is not None:
                raise errand.unforeseen
            if errand.release is not None:
                return errand.release
        told = f"[ExtensionError] the versions of {handler.name} were not looked up to the end"
        raise (errand.error if errand else None) or ExtensionError(told, handler=handler.name)

    def settled(self, handler: Handler) -> Release | None:
        errand = self._errands.get(handler.name)
        return errand.release if errand is not None and errand.chosen.is_set() else None

    def trouble(self, handler: Handler) -> ExtensionError | None:
        errand = self._errands[handler.name]
        errand.finished.wait()
        if errand.unforeseen is not None:
            raise errand.unforeseen
        return errand.trouble

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._left:
                    return
                errand = self._left.pop(0)
            try:
                errand.release = packages.choose(errand.handler, self._source)
                errand.chosen.set()
                packages.forget_others(self._system, self._layout, errand.handler.name, errand.release.version)
                if errand.release.uris and self._needed(errand.handler.name, errand.release.version):
                    errand.trouble = self._fetch(errand.handler, errand.release)
            except ExtensionError as error:
                errand.error = error
            except BaseException as error:  # kept for who waits; the thread goes on to the other errands
                errand.unforeseen = error
            finally:
                errand.chosen.set()
                errand.finished.set()

    def _fetch(self, handler: Handler, release: Release) -> ExtensionError | None:
        path = self._layout.prefetched(handler.name, release.version)

        def accept() -> None:
            if not zipfile.is_zipfile(str(self._system.path(path))):
                raise ArchiveInvalid(f"cannot use {path}: it is no zip archive", archive=path)

        try:
            self._source.fetch(handler, release, path, accept)
        except (FabricError, MachineError, SystemRefused) as error:
            trouble = packages.not_downloaded(handler.name, release.version, error)
        else:
            return None
        try:
            Kept(self._system, path).taken()
        except SystemRefused:
            pass  # the next goal state begins with a sweep
        return trouble
