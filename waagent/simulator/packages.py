"""Handler packages: read from a zip or made from a directory, kept by name and version.

    read_package(path, name, version)   -> Package; SimulatorError says what is missing
    zip_directory(directory)            -> bytes, the same for the same content, with file modes

Name and version come from the arguments, else from a file name (`Name__1.2.3.zip`, `Name-1.2.3.zip`) or a directory
`Name-1.2.3`, else from `name` and `version` in HandlerManifest.json.

Source: extensions 1.1, 1.2; wire-protocol 6.1, 6.5.
"""
from __future__ import annotations

import io
import json
import os
import zipfile
from typing import NamedTuple, Optional, Union

from .errors import SimulatorError


class Package(NamedTuple):
    """One package; `internal` ones stand in InternalPlugins of the manifest."""

    name: str
    version: str
    content: bytes
    internal: bool = False

    @property
    def file_name(self) -> str:
        return f"{self.name}__{self.version}"


def zip_directory(directory: Union[str, os.PathLike[str]]) -> bytes:
    root = os.fspath(directory)
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for where, directories, files in os.walk(root):
            directories.sort()
            for file in sorted(files):
                path = os.path.join(where, file)
                info = zipfile.ZipInfo(os.path.relpath(path, root), (2020, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = (os.stat(path).st_mode & 0xFFFF) << 16
                with open(path, "rb") as source:
                    archive.writestr(info, source.read())
    return output.getvalue()


def read_package(path: Union[str, os.PathLike[str]], name: Optional[str] = None,
                 version: Optional[str] = None) -> Package:
    where = os.fspath(path)
    if os.path.isdir(where):
        content = zip_directory(where)
        stem, _, tail = os.path.basename(os.path.abspath(where)).rpartition("-")
    elif os.path.isfile(where):
        with open(where, "rb") as file:
            content = file.read()
        base = os.path.basename(where)
        base = base[:-4] if base.endswith(".zip") else base
        stem, _, tail = base.rpartition("__" if "__" in base else "-")
    else:
        raise SimulatorError(f"cannot read package {where}: no such file or directory")
    return from_bytes(content, where, name, version, stem, tail)


def from_bytes(content: bytes, where: str, name: Optional[str] = None, version: Optional[str] = None,
               stem: str = "", tail: str = "") -> Package:
    """The package in `content`; `stem` and `tail` are the guesses that the file name gives."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            manifest = _manifest(archive)
    except zipfile.BadZipFile as error:
        raise SimulatorError(f"cannot read package {where}: {error}; a zip archive was expected") from None
    if not _is_version(tail):
        stem = tail = ""
    name = name or stem or str(manifest.get("name", ""))
    version = version or tail or str(manifest.get("version", ""))
    if not name or not version:
        raise SimulatorError(f"cannot tell name and version of package {where}: name the file Name__1.2.3.zip or "
                             "Name-1.2.3.zip, the directory Name-1.2.3, or give both")
    if "-" in name:
        raise SimulatorError(f"package {where}: a handler name must not contain a hyphen, got {name!r}")
    return Package(name, version, content)


def _manifest(archive: zipfile.ZipFile) -> dict[str, object]:
    for entry in sorted(archive.namelist(), key=lambda one: one.count("/")):
        if entry.rsplit("/", 1)[-1] == "HandlerManifest.json":
            try:
                found = json.loads(archive.read(entry).decode("utf-8-sig"))
            except ValueError:
                return {}
            return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    return {}


def _is_version(text: str) -> bool:
    return bool(text) and all(part.isdigit() for part in text.split("."))


def version_key(version: str) -> tuple[tuple[int, str], ...]:
    """Sorts versions part by part as numbers; parts that are no numbers sort below."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in version.split("."))
