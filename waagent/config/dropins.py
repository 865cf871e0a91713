"""Drop-in configuration: which files of conf.d count, and in what order.

find(root) -> (paths, problems). Files are NN-name.conf; the number is the order, the name the identity. The same
name in the administrator's directory replaces the package's, at its own number; an empty file or a link to
/dev/null masks it. A file without a number comes after all that have one. Not read, each with a problem: two files
of one name in one directory, a file that others may write, an ending other than .conf (left-overs of editors and
package managers are passed over silently).

read(root, path) follows links within root: an absolute link of a machine below root never leads out of it.

Source: boot-stages-and-hooks C2.
"""

from __future__ import annotations

import os
import stat

from waagent.config.values import Problem
from waagent.system.files import under

DIRECTORIES = ("/usr/lib/waagent/conf.d", "/etc/waagent.conf.d")  # lowest first
LEFT_OVERS = ("~", ".bak", ".orig", ".rej", ".swp", ".tmp", ".rpmsave", ".rpmnew", ".rpmorig")


def find(root: str) -> tuple[list[str], list[Problem]]:
    """Paths (as the machine below root sees them) of the drop-ins that count, in the order of reading."""
    problems: list[Problem] = []
    chosen: dict[str, tuple[int, str] | None] = {}
    for directory in DIRECTORIES:
        for name, entries in _by_name(root, directory, problems).items():
            if len(entries) > 1:
                both = " and ".join(file for _, file in entries)
                problems.append(Problem(directory, 0, "", f"{both} have one name, {name}; none of them is read"))
                continue
            number, file = entries[0]
            path = f"{directory}/{file}"
            try:
                counts = _counts(root, path, problems)
            except OSError as error:
                problems.append(Problem(path, 0, "", f"cannot read it: {error.strerror}; continuing without it"))
                continue
            if counts is not None:
                chosen[name] = (number, path) if counts else None
    order = sorted((number, name, path) for name, found in chosen.items() if found for number, path in [found])
    return [path for _, _, path in order], problems


def _by_name(root: str, directory: str, problems: list[Problem]) -> dict[str, list[tuple[int, str]]]:
    try:
        files = sorted(os.listdir(locate(root, directory)))
    except OSError:
        return {}
    names: dict[str, list[tuple[int, str]]] = {}
    for file in files:
        if not file.endswith(".conf") or file.startswith("."):
            if not (file.startswith(".") or file.endswith(LEFT_OVERS) or ".dpkg-" in file or ".ucf-" in file):
                told = "is not read: the name has to end in .conf"
                problems.append(Problem(f"{directory}/{file}", 0, "", told, "note"))
            continue
        number, dash, name = file[: -len(".conf")].partition("-")
        numbered = bool(dash and name and len(number) == 2 and number.isascii() and number.isdigit())
        identity = name if numbered else file[: -len(".conf")]
        names.setdefault(identity, []).append((int(number) if numbered else 100, file))
    return names


def _counts(root: str, path: str, problems: list[Problem]) -> bool | None:
    """True: read it. False: it masks its name. None: refused, with a problem."""
    real = locate(root, path)
    if real == locate(root, "/dev/null"):
        return False
    found = os.stat(real)
    if not stat.S_ISREG(found.st_mode):
        problems.append(Problem(path, 0, "", "is not read: it is not a regular file"))
        return None
    if found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        problems.append(Problem(path, 0, "", "is not read: others than its owner may write it; chmod go-w it"))
        return None
    return found.st_size > 0


def read(root: str, path: str) -> bytes:
    """The bytes of a file of the machine below root."""
    with open(locate(root, path), "rb") as file:
        return file.read()


def locate(root: str, path: str) -> str:
    """The real path of a file of the machine below root, links resolved as that machine would."""
    root = os.path.abspath(root)
    return os.path.realpath(path) if root == "/" else under(root, path)
