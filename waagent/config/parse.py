"""From files to Config: read, merge, check.

    load(root, profile_path)     what the machine below root is configured to; the way everybody gets a Config
    from_text(text, file)        one text, for tests and for `waagent validate`
    defaults()                   no file at all

Files, later ones win, option by option:

    1. profile_path, the file of this distribution; /etc/waagent.conf where the profile names none
    2. drop-ins, sorted by number, then name (dropins.py):
       /usr/lib/waagent/conf.d/NN-name.conf    of packages
       /etc/waagent.conf.d/NN-name.conf        of the admin; the same name replaces, empty or /dev/null masks

Nothing in a file can stop the boot: what cannot be used is a Problem with file, line, option and what would be
right, and the default is used. `defaults` are values that a distro profile supplies for options that no file sets.

scan.py knows the syntax of a line; ConfigObj holds the files as such and merges them; check() knows the types.

Source: provisioning 2.2 to 2.4.
"""

from __future__ import annotations

from waagent.config import dropins, settings
from waagent.config.option import Option
from waagent.config.scan import Assignment, decode, scan
from waagent.config.values import Config, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from waagent.config.option import Value

MAIN = "/etc/waagent.conf"


class Unusable(Exception):
    """A value that does not fit its option. Never leaves this file."""


def defaults() -> Config:
    """The configuration of a machine without any file."""
    return _resolve([], {}, "", [], [])


def from_text(text: str, file: str = "waagent.conf") -> Config:
    """The configuration that one text amounts to."""
    assignments, problems = scan(text, file)
    return _resolve([assignments], {}, "", problems, [file])


def load(
    root: str = "/",
    profile_path: str | None = None,
    defaults: Mapping[str, str] | None = None,
    origin: str = "distro profile",
) -> Config:
    """The configuration of the machine below root. Reads only; a file that cannot be read is a problem."""
    problems: list[Problem] = []
    files: list[str] = []
    layers: list[list[Assignment]] = []
    extra, refused = dropins.find(root)
    for path in [profile_path or MAIN, *extra]:
        try:
            raw = dropins.read(root, path)
        except OSError as error:
            problems.append(Problem(path, 0, "", f"cannot read it: {error.strerror}; continuing without it"))
            continue
        text, undecoded = decode(raw, path)
        assignments, odd = scan(text, path)
        problems += undecoded + odd
        layers.append(assignments)
        files.append(path)
    return _resolve(layers, defaults or {}, origin, [*refused, *problems], files)


def _resolve(
    layers: Iterable[list[Assignment]],
    supplied: Mapping[str, str],
    origin: str,
    problems: list[Problem],
    files: list[str],
) -> Config:
    table = settings.by_name()
    problems = list(problems)
    effective = _merge([_known(layer, table, problems) for layer in layers])
    given: dict[str, Value] = {}
    mentioned = {name: found for name, found in effective.items() if found.value is not None}
    sources: dict[str, str] = {}
    for name, found in mentioned.items():
        try:
            given[name] = check(table[name], found.value or "")
            sources[name] = found.place
        except Unusable as why:
            shown = redact(found.value or "") if table[name].secret else found.value
            problems.append(Problem(found.file, found.line, name, f"{name}={shown}: {why}"))
    values: dict[str, Value] = {}
    for option in (option for option in settings.OPTIONS if option.in_use):
        if option.name in given:
            values[option.name] = given[option.name]
        elif option.name in supplied and supplied[option.name] != "None":
            values[option.name], sources[option.name] = _supplied(option, supplied, origin, problems)
        else:
            values[option.name] = 0 if option.kind == "integer" and option.default is None else option.default
    _follow(values, sources, mentioned)
    _conflicts(mentioned, problems)
    return Config(values, sources, frozenset(given), problems, files)


def _known(layer: list[Assignment], table: Mapping[str, Option], problems: list[Problem]) -> list[Assignment]:
    """The assignments of one file to options in use, under their proper names; the others become problems."""
    kept: dict[str, Assignment] = {}
    for found in layer:
        option = table.get(found.name)
        if option is None:
            near = settings.suggest(found.name)
            told = f"{found.name[:80]} is no option" + (f"; did you mean {near}?" if near else "; it is ignored")
            problems.append(Problem(found.file, found.line, found.name, told))
        elif option.status == "removed":
            told = f"{option.name} has no effect any more"
            told += f"; {option.instead} is used instead" if option.instead else "; the line can go"
            problems.append(Problem(found.file, found.line, option.name, told, "note"))
        elif option.status == "alias":
            told = f"{option.name} is another spelling of {option.instead}; better write that"
            problems.append(Problem(found.file, found.line, option.name, told, "note"))
            kept.setdefault(option.instead, Assignment(found.file, found.line, option.instead, found.value))
        else:
            kept[found.name] = found
    return list(kept.values())


def _merge(layers: list[list[Assignment]]) -> dict[str, Assignment]:
    """The last assignment to each option over all files. Values go in quotes, which ConfigObj keeps as they are."""
    if not any(layers):
        return {}
    from configobj import ConfigObj  # type: ignore[import-untyped]

    merged = ConfigObj(interpolation=False, list_values=False)
    by_place: dict[int, Assignment] = {}
    for layer in layers:
        lines = [f'{found.name} = "{number}"' for number, found in enumerate(layer, start=len(by_place))]
        by_place.update(enumerate(layer, start=len(by_place)))
        merged.merge(ConfigObj(lines, interpolation=False, list_values=False))
    return {name: by_place[int(merged[name].strip('"'))] for name in merged}


def _supplied(
    option: Option, supplied: Mapping[str, str], origin: str, problems: list[Problem]
) -> tuple[Value, str]:
    try:
        return check(option, supplied[option.name]), origin
    except Unusable as why:
        problems.append(Problem(origin, 0, option.name, f"{option.name}={supplied[option.name]}: {why}"))
        return option.default, "default"


def _follow(values: dict[str, Value], sources: dict[str, str], mentioned: Mapping[str, Assignment]) -> None:
    """Options whose default is another option's value take it, unless a file mentions them."""
    for option in settings.OPTIONS:
        if option.follows and option.name not in mentioned and option.name not in sources:
            values[option.name] = values[option.follows]
            if option.follows in sources:
                sources[option.name] = sources[option.follows]


def _conflicts(mentioned: Mapping[str, Assignment], problems: list[Problem]) -> None:
    for option in settings.OPTIONS:
        if option.status == "legacy" and option.name in mentioned and option.instead in mentioned:
            old, new = mentioned[option.name], mentioned[option.instead]
            told = f"{option.name} does not count, because {option.instead} is set ({new.place})"
            problems.append(Problem(old.file, old.line, option.name, told, "note"))


def check(option: Option, text: str) -> Value:
    """The typed value of a text; Unusable, saying what would be right, where it does not fit."""
    if option.kind == "switch":
        if text.lower() not in ("y", "n"):
            raise Unusable(_wrong(option, text))
        return text.lower() == "y"
    if option.kind == "integer":
        try:
            number = int(text)
        except ValueError:
            raise Unusable(_wrong(option, text)) from None
        if (option.low is not None and number < option.low) or (option.high is not None and number > option.high):
            raise Unusable(_wrong(option, text))
        return number
    if option.kind == "choice":
        if text.lower() not in option.choices:
            raise Unusable(_wrong(option, text))
        return text.lower()
    if option.path and (not text.startswith("/") or "\0" in text):
        raise Unusable(_wrong(option, text))
    if option.pattern:
        import re

        if not re.fullmatch(option.pattern, text):
            raise Unusable(_wrong(option, text))
    return text


def _wrong(option: Option, text: str) -> str:
    expected = option.expected
    return expected if text else f"the value is empty, {expected}"


def redact(text: str) -> str:
    """The text with the password of user:password@host replaced."""
    before, at, host = text.rpartition("@")
    if not at:
        return text
    scheme, slashes, account = before.rpartition("://")
    user = account.partition(":")[0]
    return f"{scheme}{slashes}{user}:***@{host}"
