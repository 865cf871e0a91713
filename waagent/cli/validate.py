"""waagent validate FILE...: tell what is wrong in a file before a boot does, with the line and what would be right.

What a file is, is found out by its name, its place and its content; --as says it where that cannot be known:

    conf      waagent.conf, or a file of waagent.conf.d
    ovf       ovf-env.xml, the provisioning document
    stage     a stage file, stages/<stage>.yaml
    distro    a distro profile, or a file of distro.d with single keys of one
    hook      a Python step or a program: name, owner, mode, header, interpreter, syntax

Nothing is run but an interpreter's own syntax check. Exit status: 0 nothing wrong, 1 something is, 2 a file that
cannot be read or of which is not known what it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import NamedTuple

from waagent.system import System

SUMMARY = "tell what is wrong in a configuration, document, stage, profile or hook"
KINDS = ("conf", "ovf", "stage", "distro", "hook")


class Finding(NamedTuple):
    """One thing that is wrong; line 0 is the file as a whole. A note is worth knowing and no fault."""

    line: int
    message: str
    note: bool = False


class Unknown(Exception):
    """It cannot be known what a file is. Never leaves this file."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="+")
    parser.add_argument("--as", dest="kind", choices=KINDS, help="what the files are")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def main(args: argparse.Namespace, system: System) -> int:
    worst = 0
    report = []
    for file in args.file:
        try:
            with open(file, "rb") as stream:
                content = stream.read(8 * 1024 * 1024)
            kind = args.kind or kind_of(file, content)
        except (OSError, Unknown) as error:
            told = error.strerror if isinstance(error, OSError) else str(error)
            print(f"waagent validate: {file}: {told}", file=sys.stderr)
            worst = 2
            continue
        found = check(kind, file, content, system)
        if any(not finding.note for finding in found):
            worst = max(worst, 1)
        report.append({"file": file, "kind": kind, "findings": [finding._asdict() for finding in found]})
        if args.format == "text":
            _say(file, kind, found)
    if args.format == "json":
        print(json.dumps({"schema": 1, "files": report}, indent=1))
    return worst


def _say(file: str, kind: str, found: list[Finding]) -> None:
    for finding in found:
        place = f"{file}:{finding.line}" if finding.line else file
        print(f"{place}: {'note: ' if finding.note else ''}{finding.message}")
    if not found:
        print(f"{file}: nothing wrong ({kind})")


def kind_of(file: str, content: bytes) -> str:
    """Which of KINDS a file is. Raises Unknown."""
    from waagent.runner import refusal

    name, folder = os.path.basename(file), os.path.basename(os.path.dirname(os.path.abspath(file)))
    head = content.lstrip(b"\xef\xbb\xbf \t\r\n")
    if name.endswith(".xml") or head.startswith((b"<?xml", b"<")):
        return "ovf"
    if name.endswith((".yaml", ".yml")):
        return _yaml_kind(folder, content)
    if name.endswith(".conf") or folder == "waagent.conf.d":
        return "conf"
    if head.startswith(b"#!") or b"MODULE" in content or refusal.NAME.match(name) or "hooks.d" in file:
        return "hook"
    raise Unknown(f"cannot tell what this is; say it with --as {'|'.join(KINDS)}")


def _yaml_kind(folder: str, content: bytes) -> str:
    if folder in ("stages", "distros", "distro.d"):
        return "stage" if folder == "stages" else "distro"
    keys = {line.split(b":")[0].strip() for line in content.splitlines() if b":" in line and line[:1].isalpha()}
    return "stage" if keys & {b"order", b"unit", b"budget", b"runs", b"sources"} else "distro"


def check(kind: str, file: str, content: bytes, system: System) -> list[Finding]:
    """All that is wrong in a file of this kind, by line."""
    from waagent.cli import validate_hook

    if kind == "conf":
        found = _conf(file, content)
    elif kind == "ovf":
        found = _ovf(content)
    elif kind == "stage":
        found = _stage(file, content)
    elif kind == "distro":
        found = _distro(file, content, system)
    else:
        found = [Finding(*finding) for finding in validate_hook.check(file, content, system)]
    return sorted(found, key=lambda finding: finding.line)


def _conf(file: str, content: bytes) -> list[Finding]:
    from waagent import config
    from waagent.config.scan import decode

    text, problems = decode(content, file)
    loaded = config.from_text(text, file)
    return [
        Finding(problem.line, problem.message, problem.severity == "note")
        for problem in [*problems, *loaded.problems]
    ]


def _ovf(content: bytes) -> list[Finding]:
    import re

    from waagent.errors import OvfInvalid
    from waagent.instance import ovf

    try:
        document = ovf.parse(content)
    except OvfInvalid as error:
        element = str(error.facts.get("element", ""))
        at = re.search(r"line (\d+)", error.message)
        if at:
            line = int(at[1])
        else:
            line = next(
                (number for number, text in enumerate(content.splitlines(), 1) if element.encode() in text), 0
            )
        return [Finding(line, error.message)]
    found = []
    if not document.password and not document.public_keys:
        found.append(Finding(0, "neither a password nor a public key: nobody will be able to log in", note=True))
    return found


def _stage(file: str, content: bytes) -> list[Finding]:
    from waagent.runner import definition
    from waagent.runner.places import EVERY_STAGE

    name = os.path.basename(file).rpartition(".")[0]
    found = [Finding(line, told) for line, _, told in definition.check(name, content)[1]]
    if name not in EVERY_STAGE:
        known = ", ".join(EVERY_STAGE)
        found.insert(0, Finding(0, f"there is no stage {name!r}: a stage file is named {known} .yaml"))
    return found


def _distro(file: str, content: bytes, system: System) -> list[Finding]:
    from waagent.distro import detect, files, profile
    from waagent.errors import ConfigError
    from waagent.system.vendor import profiles_directory

    try:
        said = files.read(file)
        known = files.read(os.path.join(profile.directory(profiles_directory(system)), f"{detect.DEFAULT}.yaml"))
    except ConfigError as error:
        message = error.message.partition(f"{file}:{error.facts.get('line', 0)}: ")[2] or error.message
        return [Finding(int(str(error.facts.get("line", 0))), message)]
    override = os.path.basename(os.path.dirname(os.path.abspath(file))) == "distro.d"
    found = [Finding(files.line_of(file, keys), wrong) for keys, wrong in profile.mistakes(said, known, file)]
    if override:
        for key in (key for key in profile.HEADER if key in said):
            told = f"{key} belongs into a whole profile, not into single keys of one"
            found.append(Finding(files.line_of(file, (key,)), told))
        if os.stat(file).st_mode & 0o022:
            found.append(Finding(0, "others may write it, so it does not count; chmod go-w it"))
    else:
        base = said.get("based-on")
        folders = (profile.directory(profiles_directory(system)), os.path.dirname(os.path.abspath(file)))
        if base and not any(os.path.exists(f"{folder}/{base}.yaml") for folder in folders):
            found.append(Finding(files.line_of(file, ("based-on",)), f"based-on {base}: there is no such profile"))
    return found
