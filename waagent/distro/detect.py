"""What distribution this is: the facts that profiles are matched with, and the choice among them.

facts(root) -> Facts
    release     fields of /etc/os-release (or /usr/lib/os-release), ID in lower case
    kernel      what uname prints; "" below another root, where it would be the wrong machine's
choose(facts, headers, root) -> Choice(profile, id, version, exact)

The order: a path that only one system has (appliances hide behind another system's os-release), then ID, then each
word of ID_LIKE, then the kernel's name, then _default. `exact` is false where only ID_LIKE matched: the version is
then the derivative's own, and no exception for releases of the system it is like applies.

Source: provisioning 10.1, 10.2; os-release(5).
"""

from __future__ import annotations

import os
import re

from waagent.distro.version import satisfies
from waagent.system.files import under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
DEFAULT = "_default"


class Facts:
    """What the system says about itself."""

    __slots__ = ("kernel", "release")

    def __init__(self, release: Mapping[str, str], kernel: str = "") -> None:
        self.release, self.kernel = dict(release), kernel


class Choice:
    """The profile that fits: its name, the id and version of the system, whether it fits by more than likeness."""

    __slots__ = ("exact", "id", "profile", "version")

    def __init__(self, profile: str, id: str, version: str, exact: bool) -> None:
        self.profile, self.id, self.version, self.exact = profile, id, version, exact


def facts(root: str) -> Facts:
    """The facts of the machine below root; empty ones where it says nothing."""
    kernel = os.uname().sysname if os.path.abspath(root) == "/" else ""
    for path in OS_RELEASE:
        try:
            with open(under(root, path), encoding="utf-8", errors="replace") as file:
                return Facts(parse_os_release(file.read()), kernel)
        except OSError:
            continue
    return Facts({}, kernel)


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of os-release, quotes undone; ID and ID_LIKE in lower case. Junk is skipped."""
    fields = {}
    for line in text.split("\n"):
        found = re.match(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if not found:
            continue
        name, value = found[1], found[2].strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
            value = re.sub(r"\\(.)", r"\1", value)
        fields[name] = value.strip().lower() if name in ("ID", "ID_LIKE") else value.strip()
    return fields


def choose(found: Facts, headers: Mapping[str, Mapping[str, Any]], root: str) -> Choice:
    """The profile whose match fits best. headers: the `match` of every profile, by its name."""
    id_, version = found.release.get("ID", ""), found.release.get("VERSION_ID", "")
    for name, match in headers.items():
        if any(_exists(root, path) for path in words(match.get("path"))):
            ids = [word.lower() for word in words(match.get("ID"))]
            return Choice(name, id_ if id_ in ids else (ids or [name])[0], _version(match, version, root), True)
    for exact, ids in ((True, [id_]), (False, found.release.get("ID_LIKE", "").split())):
        for wanted in ids:
            for name, match in headers.items():
                if wanted and wanted in (word.lower() for word in words(match.get("ID"))):
                    return Choice(name, id_ or wanted, version, exact)
    for name, match in headers.items():
        if found.kernel and found.kernel in words(match.get("kernel")):
            release = os.uname().release.partition("-")[0]
            return Choice(name, (words(match.get("ID")) or [name])[0], version or release, True)
    return Choice(DEFAULT, id_ or "unknown", version, False)


def applies(when: Mapping[str, Any], choice: Choice, release: Mapping[str, str]) -> bool:
    """True if every field of a quirk's condition holds for this system."""
    for field, condition in when.items():
        if field == "VERSION_ID":
            if not choice.exact or not any(satisfies(choice.version, term) for term in words(condition)):
                return False
            continue
        value = choice.id if field == "ID" else release.get(field, "")
        wanted = words(condition)
        refused = [word[1:] for word in wanted if word.startswith("!")]
        if value in refused or (len(refused) < len(wanted) and value not in wanted):
            return False
    return True


def _exists(root: str, path: str) -> bool:
    try:
        return os.path.exists(under(root, path))
    except OSError:
        return False


def _version(match: Mapping[str, Any], version: str, root: str) -> str:
    """The version out of the file that this system keeps it in; os-release's where there is no such file."""
    if "version-file" not in match:
        return version
    try:
        with open(under(root, match["version-file"]), encoding="utf-8", errors="replace") as file:
            found = re.search(match["version-pattern"], file.read(), re.MULTILINE)
    except OSError:
        return version
    return ".".join(group for group in found.groups() if group) if found else version


def words(value: Any) -> list[str]:
    """A value or list of values of a match as a list of texts."""
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]
