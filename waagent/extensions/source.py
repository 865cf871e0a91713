"""Manifests and packages from the internet or through the host, for packages.py.

A package that was fetched and turns out bad counts as one that its location does not have: the others are tried.
One that was put together from pieces is fetched as a whole before that.
Five minutes in all, then no further location is begun.

Source: extensions 6.1, 6.3, 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from waagent.errors import FabricUnreachable, MachineError
from waagent.extensions.packages import Release
from waagent.fabric import manifests
from waagent.fabric.artifacts import Artifacts
from waagent.fabric.desired import Handler
from waagent.system import System

TOTAL, MANIFEST_TOTAL = 300.0, 90.0  # seconds


class FabricSource:
    """fast_track: whether the goal state in use came from the host plugin (its artifacts are then verified).

    keep: gets each manifest as it came, with a name for its file, for support.
    """

    def __init__(
        self,
        system: System,
        artifacts: Artifacts,
        *,
        fast_track: bool = False,
        keep: Callable[[str, bytes], None] = lambda file, document: None,
    ) -> None:
        self._system, self._artifacts, self._fast_track, self._keep = system, artifacts, fast_track, keep
        self._manifest_urls: dict[str, str] = {}

    def releases(self, handler: Handler) -> Sequence[Release]:
        found = self._artifacts.fetch(
            handler.manifest_uris,
            verify=self._fast_track,
            what=f"the manifest of {handler.name}",
            total=MANIFEST_TOTAL,
        )
        self._manifest_urls[handler.name] = found.uri
        self._keep(f"{handler.name}.manifest.xml", found.body)
        offered = manifests.parse(found.body, f"the manifest of {handler.name}")
        return [Release(release.version, release.uris) for release in offered]

    def fetch(self, handler: Handler, release: Release, zip_path: str, accept: Callable[[], None]) -> None:
        left = list(release.uris)
        until = self._system.clock.monotonic() + TOTAL
        last: Exception | None = None
        repeated: set[str] = set()  # locations whose pieces did not fit together
        what = f"the package of {handler.name} {release.version}"
        while left and self._system.clock.monotonic() < until:
            found = self._artifacts.download(
                left,
                zip_path,
                verify=self._fast_track,
                manifest_url=self._manifest_urls.get(handler.name, ""),
                what=what,
            )
            try:
                accept()
                return
            except MachineError as error:
                last = error
                if found.pieced and found.uri not in repeated:
                    repeated.add(found.uri)
                else:
                    left.remove(found.uri)
        told = f"what {len(release.uris)} locations gave is bad; the last: {last}"
        raise FabricUnreachable(f"cannot use {what}: {told}")
