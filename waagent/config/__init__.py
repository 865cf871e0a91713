"""The configuration of the agent: one declared table of options, and what the files make of it.

settings.py   the table (OPTIONS)           option.py   what a row says
parse.py      files -> Config               scan.py     lines -> assignments
dropins.py    which files count             render.py   the table as text
values.py     Config, also from JSON for a lean process

Everybody else calls `waagent.config.load(root)` and passes the Config on. Importing this package is cheap;
load() is not (it imports configobj), which is why a lean process uses values.from_json.
"""

from __future__ import annotations

from waagent.config.values import Config, Problem, from_json, rdma_enabled, update_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONFIGURATION", "Config", "Problem", "chosen", "defaults", "from_json", "from_text", "load", "rdma_enabled",
    "update_mode",
]  # fmt: skip


CONFIGURATION = "WAAGENT_CONFIGURATION"


def chosen(profile_path: str | None) -> str | None:
    """The file that this command was told to read (-configuration-path, kept in the environment for the processes
    that it starts), else the one of the distribution."""
    import os

    return os.environ.get(CONFIGURATION) or profile_path


def load(
    root: str = "/",
    profile_path: str | None = None,
    defaults: Mapping[str, str] | None = None,
    origin: str = "distro profile",
) -> Config:
    """The configuration of the machine below root; see parse.load."""
    from waagent.config import parse

    return parse.load(root, profile_path, defaults, origin)


def from_text(text: str, file: str = "waagent.conf") -> Config:
    """The configuration that one text amounts to."""
    from waagent.config import parse

    return parse.from_text(text, file)


def defaults() -> Config:
    """The configuration of a machine without any file."""
    from waagent.config import parse

    return parse.defaults()
