"""Where everything of an extension lies, and which names may become file names. LEAN; paths of the machine.

    LIB/NAME-VER/                 base directory of one handler version, split at its last hyphen
        HandlerManifest.json  HandlerEnvironment.json  heartbeat.log  mrseq  package_validated
        config/  HandlerState  HandlerStatus  7.settings  Alpha.3.settings  Alpha.HandlerState
        status/  7.status  Alpha.3.status
    LIB/NAME__VER.zip             the package, while it is unpacked or when an image brought it
    LIB/extensions/               the engine's own: journal.json  processed.json  current.json  downloads.json
                                  ours.json  running/
    SPARE/NAME-VER.HandlerStatus  in memory: what config/ had no room for
    LOG/NAME/                     CommandExecution.log  CommandExecution_Alpha.log  events/

Source: extensions 1.1, 2.1.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

LIB, LOGS, SPARE = "/var/lib/waagent", "/var/log/azure", "/run/waagent/extensions"

_HANDLER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
_VERSION = re.compile(r"\d+(\.\d+)*(\.?(alpha|beta|rc)\d*)?")
_INSTANCE = re.compile(r"[^/\x00-\x1f]{1,160}")
AGENT = "WALinuxAgent"  # packages of the agent itself lie in LIB under this name and are never touched


class Layout:
    """The three roots, and every path below them."""

    __slots__ = ("lib", "logs", "spare")

    def __init__(self, lib: str = LIB, logs: str = LOGS, spare: str = SPARE) -> None:
        self.lib, self.logs, self.spare = lib.rstrip("/"), logs.rstrip("/"), spare.rstrip("/")

    def base(self, name: str, version: str) -> str:
        return f"{self.lib}/{name}-{version}"

    def package(self, name: str, version: str) -> str:
        return f"{self.lib}/{name}__{version}.zip"

    def fresh(self, name: str, version: str) -> str:
        """Where a package is unpacked before it becomes the base directory."""
        return f"{self.lib}/.{name}-{version}.fresh"

    def prefetched(self, name: str, version: str) -> str:
        """A package that was fetched ahead of the handler's turn."""
        return f"{self.lib}/.{name}-{version}.fetched"

    def stale(self, name: str, version: str) -> str:
        """Where a base directory waits to be deleted."""
        return f"{self.lib}/.{name}-{version}.stale"

    def replaced(self, name: str, version: str) -> str:
        """Where a base directory waits until the fresh one has its place; it comes back if that never happens."""
        return f"{self.lib}/.{name}-{version}.replaced"

    def config(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/config"

    def status(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/status"

    def manifest(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/HandlerManifest.json"

    def environment(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/HandlerEnvironment.json"

    def heartbeat(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/heartbeat.log"

    def sequence(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/mrseq"

    def validated(self, name: str, version: str) -> str:
        return f"{self.base(name, version)}/package_validated"

    def state(self, name: str, version: str, instance: str = "") -> str:
        """The handler's state, or with an instance's name that instance's."""
        return f"{self.config(name, version)}/{instance + '.' if instance else ''}HandlerState"

    def handler_status(self, name: str, version: str) -> str:
        return f"{self.config(name, version)}/HandlerStatus"

    def spare_status(self, name: str, version: str) -> str:
        """The status that could not be written to its place: it counts while it is there."""
        return f"{self.spare}/{name}-{version}.HandlerStatus"

    def settings_file(self, name: str, version: str, instance: str, sequence: int) -> str:
        return f"{self.config(name, version)}/{instance + '.' if instance else ''}{sequence}.settings"

    def status_file(self, name: str, version: str, instance: str, sequence: int) -> str:
        return f"{self.status(name, version)}/{instance + '.' if instance else ''}{sequence}.status"

    def log(self, name: str) -> str:
        return f"{self.logs}/{name}"

    def events(self, name: str) -> str:
        return f"{self.logs}/{name}/events"

    def command_log(self, name: str, instance: str = "") -> str:
        return f"{self.logs}/{name}/CommandExecution{'_' + instance if instance else ''}.log"

    @property
    def own(self) -> str:
        return f"{self.lib}/extensions"

    @property
    def journal(self) -> str:
        return f"{self.own}/journal.json"

    @property
    def processed(self) -> str:
        return f"{self.own}/processed.json"

    @property
    def current(self) -> str:
        return f"{self.own}/current.json"

    @property
    def downloads(self) -> str:
        return f"{self.own}/downloads.json"

    @property
    def ours(self) -> str:
        return f"{self.own}/ours.json"

    @property
    def running(self) -> str:
        return f"{self.own}/running"


def split(directory: str) -> Optional[tuple[str, str]]:
    """("Contoso.Tools.DiskWatch", "3.4.0") for the name of a base directory; None for any other name."""
    name, hyphen, version = directory.rpartition("-")
    if not hyphen or name == AGENT or not _HANDLER.fullmatch(name) or not _VERSION.fullmatch(version):
        return None
    return name, version


def split_package(file: str) -> Optional[tuple[str, str]]:
    """The handler's name and version for the name of a package file; None for any other name."""
    if not file.endswith(".zip"):
        return None
    name, mark, version = file[: -len(".zip")].rpartition("__")
    if not mark or name == AGENT or not _HANDLER.fullmatch(name) or not _VERSION.fullmatch(version):
        return None
    return name, version


def objection(name: str, version: str, instances: tuple[str, ...] = ()) -> str:
    """Why these names cannot become file names; "" when they can."""
    if not _HANDLER.fullmatch(name) or name == AGENT:
        return f"the handler's name {name[:80]!r} cannot be the name of a directory"
    if not _VERSION.fullmatch(version):
        return f"the handler's version {version[:80]!r} is not a version"
    for instance in instances:
        if not _INSTANCE.fullmatch(instance) or instance.startswith("."):
            return f"the extension's name {instance[:80]!r} cannot be the name of a file"
    return ""
