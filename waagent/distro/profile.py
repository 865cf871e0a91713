"""The profile of this distribution: data/distros/*.yaml, resolved for this machine.

load(root, data_dir) -> DistroProfile. Laid on top of one another; later ones win, mappings are merged:

    1. _default.yaml, which lists every key there is
    2. the profiles the chosen one is based on, oldest first, and the chosen one (detect.py says which)
    3. the quirks of the chosen one that apply to this release (those of its bases count their own releases)
    4. /etc/waagent/distro.d/*.yaml, sorted by name: single keys of a packager or the administrator

DistroProfile
    name, id, version        of the profile; of the system (ID and VERSION_ID of os-release)
    names                    the profile and what it is based on, and the id: what a step's `distros` may say
    get(key)                 any value by dotted key, "services.ssh"; KeyError with a suggestion
    text(key)                str or None        switch(key)  bool        texts(key)   tuple of str
    mapping(key)             dict of str to str (configuration.defaults, resource-disk.force)
    command(key, **words)    a list of arguments with {words} filled in, () where nothing is to be done
    commands(key, **words)   a tuple of those
    origin(key)              the file that set it (with the number of the quirk, where it was one)
    as_dict(), problems      everything; what was wrong in the administrator's files (those keys are left out)

A mistake in a shipped profile is a ConfigError with file, line and suggestion; one in an administrator's file is a
problem, and the boot goes on without that key. An override that others may write is refused: it names commands.

Resolving costs the import of PyYAML and some milliseconds at every start of a stage, so cache.py keeps the result.

Source: provisioning 10; house rules of the profiles in _default.yaml.
"""

from __future__ import annotations

import copy
import os
import stat

from waagent.distro import detect, files
from waagent.errors import ConfigError
from waagent.system.files import under

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

OVERRIDES = "/etc/waagent/distro.d"
HEADER = ("summary", "match", "based-on", "quirks")
QUIRK = ("when", "set", "because", "until")
MATCH = ("path", "kernel", "version-file", "version-pattern")  # beside the fields of os-release, which are capitals


class DistroProfile:
    """See the module's docstring. Immutable."""

    __slots__ = ("_data", "_origins", "id", "name", "names", "problems", "version")
    name: str
    id: str
    version: str
    names: tuple[str, ...]
    problems: tuple[str, ...]
    _data: dict[str, Any]
    _origins: dict[str, str]

    def __init__(
        self,
        name: str,
        id: str,
        version: str,
        names: Sequence[str],
        data: Mapping[str, Any],
        origins: Mapping[str, str],
        problems: Sequence[str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "id", id)
        put(self, "version", version)
        put(self, "names", tuple(names))
        put(self, "problems", tuple(problems))
        put(self, "_data", dict(data))
        put(self, "_origins", dict(origins))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a DistroProfile does not change: {name}")

    def __repr__(self) -> str:
        return f"DistroProfile({self.name!r}, {self.id!r}, {self.version!r})"

    def get(self, key: str) -> Any:
        """The value of a dotted key, whatever its kind. A copy: changing it changes nothing."""
        return copy.deepcopy(self._find(key))

    def text(self, key: str) -> str | None:
        """The value of a text; None where there is none."""
        value = self._find(key)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{key} is not a text")
        return value

    def switch(self, key: str) -> bool:
        """The value of a true/false key."""
        value = self._find(key)
        if not isinstance(value, bool):
            raise TypeError(f"{key} is not a switch")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The value of a list of texts."""
        value = self._find(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError(f"{key} is not a list of texts")
        return tuple(value)

    def mapping(self, key: str) -> dict[str, str]:
        """The value of a mapping of texts."""
        value = self._find(key)
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise TypeError(f"{key} is not a mapping of texts")
        return dict(value)

    def command(self, key: str, **words: str) -> tuple[str, ...]:
        """The arguments of a command with {words} filled in; () where nothing is to be done."""
        return tuple(argument.format_map(words) for argument in self.texts(key))

    def commands(self, key: str, **words: str) -> tuple[tuple[str, ...], ...]:
        """Several commands, each as command() gives it."""
        value = self._find(key)
        if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
            raise TypeError(f"{key} is not a list of commands")
        return tuple(tuple(argument.format_map(words) for argument in item) for item in value)

    def origin(self, key: str) -> str:
        """The file that set the key; for a section, the files of its keys, separated by commas."""
        self._find(key)
        if key in self._origins:
            return self._origins[key]
        return ", ".join(sorted({file for name, file in self._origins.items() if name.startswith(f"{key}.")}))

    @property
    def origins(self) -> dict[str, str]:
        """Every key with the file that set it."""
        return dict(self._origins)

    def as_dict(self) -> dict[str, Any]:
        """All keys, nested, as _default.yaml lists them."""
        return copy.deepcopy(self._data)

    def _find(self, key: str) -> Any:
        here: Any = self._data
        for word in key.split("."):
            if not isinstance(here, dict) or word not in here:
                raise KeyError(f"no key {key} in a distro profile" + _suggestion(key, self._data))
            here = here[word]
        return here


def load(root: str, data_dir: str) -> DistroProfile:
    """The profile of the machine below root. data_dir holds the shipped profiles, or `distros/` with them."""
    from waagent.distro import cache

    return cache.remembered(root, data_dir) or resolve(root, data_dir)


def resolve(root: str, data_dir: str, found: detect.Facts | None = None) -> DistroProfile:
    """The same, from the files alone; `found` stands for another system's facts."""
    found = found or detect.facts(root)
    shipped = read_all(data_dir)
    choice = detect.choose(found, {name: each.get("match") or {} for name, each in shipped.items()}, root)
    chain = lineage(choice.profile, shipped, data_dir)
    data: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in chain:
        file = os.path.join(directory(data_dir), f"{name}.yaml")
        lay(data, origins, {key: value for key, value in shipped[name].items() if key not in HEADER}, file)
    for number, quirk in enumerate(shipped[choice.profile].get("quirks") or [], 1):
        if detect.applies(quirk["when"], choice, found.release):
            file = os.path.join(directory(data_dir), f"{choice.profile}.yaml")
            lay(data, origins, quirk["set"], f"{file} quirk {number}")
    default = {key: value for key, value in shipped[detect.DEFAULT].items() if key not in HEADER}
    problems = _overrides(root, default, data, origins)
    profile = "default" if choice.profile == detect.DEFAULT else choice.profile
    names = dict.fromkeys([profile, *(name for name in reversed(chain) if name != detect.DEFAULT), choice.id])
    return DistroProfile(profile, choice.id, choice.version, tuple(names), data, origins, problems)


def directory(data_dir: str) -> str:
    """Where the profiles are: data_dir/distros, or data_dir itself."""
    nested = os.path.join(data_dir, "distros")
    return nested if os.path.isdir(nested) else data_dir


def read_all(data_dir: str) -> dict[str, dict[str, Any]]:
    """Every shipped profile by name, checked. ConfigError for the first mistake."""
    where = directory(data_dir)
    try:
        names = sorted(file[: -len(".yaml")] for file in os.listdir(where) if file.endswith(".yaml"))
    except OSError as error:
        raise ConfigError(f"cannot read distro profiles in {where}: {error.strerror}", file=where) from error
    if detect.DEFAULT not in names:
        raise ConfigError(f"cannot read distro profiles in {where}: there is no {detect.DEFAULT}.yaml", file=where)
    shipped = {name: files.read(os.path.join(where, f"{name}.yaml")) for name in names}
    for name in names:
        path = os.path.join(where, f"{name}.yaml")
        for keys, wrong in mistakes(shipped[name], shipped[detect.DEFAULT], path):
            line = files.line_of(path, keys)
            raise ConfigError(f"{path}:{line}: {wrong}", file=path, line=line, key=".".join(keys))
    return shipped


def mistakes(
    profile: Mapping[str, Any], default: Mapping[str, Any], path: str
) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong in one profile: the keys that lead there, and the sentence."""
    known = {key: value for key, value in default.items() if key not in HEADER}
    found = list(files.check({key: value for key, value in profile.items() if key not in HEADER}, known, path))
    match = profile.get("match", {})
    if not isinstance(match, dict):
        found.append((("match",), "match: expected a mapping"))
    else:
        odd = [key for key in match if key not in MATCH and not str(key).isupper()]
        told = f"is neither a field of os-release nor one of {', '.join(MATCH)}"
        found += [(("match", str(key)), f"match: {key} {told}") for key in odd]
    quirks = profile.get("quirks") or []
    if not isinstance(quirks, list):
        return [*found, (("quirks",), "quirks: expected a list")]
    for number, quirk in enumerate(quirks, 1):
        if not isinstance(quirk, dict) or set(quirk) != set(QUIRK):
            found.append((("quirks",), f"quirk {number}: expected the keys {', '.join(QUIRK)}, all of them"))
        elif not isinstance(quirk["when"], dict) or not isinstance(quirk["set"], dict):
            found.append((("quirks",), f"quirk {number}: expected mappings in when and set"))
        else:
            found += [
                (("quirks",), f"quirk {number}: {wrong}") for _, wrong in files.check(quirk["set"], known, path)
            ]
    return found


def lineage(name: str, shipped: Mapping[str, Mapping[str, Any]], data_dir: str) -> list[str]:
    """The profile and what it is based on, oldest first, beginning with _default."""
    chain = [name]
    while chain[-1] != detect.DEFAULT:
        path = os.path.join(directory(data_dir), f"{chain[-1]}.yaml")
        base = shipped[chain[-1]].get("based-on") or detect.DEFAULT
        if base not in shipped:
            raise ConfigError(f"{path}: based-on {base}: there is no such profile", file=path, key="based-on")
        if base in chain:
            circle = " → ".join([*chain, base])
            raise ConfigError(f"{path}: based-on goes in a circle: {circle}", file=path, key="based-on")
        chain.append(base)
    return chain[::-1]


def lay(
    data: dict[str, Any], origins: dict[str, str], said: Mapping[str, Any], file: str, above: tuple[str, ...] = ()
) -> None:
    """Put `said` on top of `data`: mappings are merged, all else is replaced. Notes who set each key."""
    for key, value in said.items():
        here = (*above, key)
        if isinstance(value, dict):
            lay(data.setdefault(key, {}), origins, value, file, here)
            if not value:
                origins.setdefault(".".join(here), file)
        else:
            data[key] = copy.deepcopy(value)
            origins[".".join(here)] = file


def override_paths(root: str) -> list[str]:
    """Real paths of the administrator's files, in the order of reading."""
    try:
        where = under(os.path.abspath(root), OVERRIDES)
        return [os.path.join(where, file) for file in sorted(os.listdir(where)) if file.endswith(".yaml")]
    except OSError:
        return []


def _overrides(root: str, default: Mapping[str, Any], data: dict[str, Any], origins: dict[str, str]) -> list[str]:
    problems: list[str] = []
    for real in override_paths(root):
        shown = f"{OVERRIDES}/{os.path.basename(real)}"
        try:
            status = os.stat(under(os.path.abspath(root), shown))
            if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                problems.append(
                    f"{shown}: is not read: others than root may write it; chown root and chmod go-w it"
                )
                continue
            said = files.read(under(os.path.abspath(root), shown))
        except OSError as error:
            problems.append(f"cannot read {shown}: {error.strerror}; continuing without it")
            continue
        except ConfigError as error:
            problems.append(f"{error.message.replace(real, shown)}; continuing without this file")
            continue
        for keys, wrong in list(files.check(said, default, real)):
            problems.append(f"{shown}:{files.line_of(real, keys)}: {wrong}; continuing without this key")
            _drop(said, keys)
        lay(data, origins, said, shown)
    return problems


def _drop(said: dict[str, Any], keys: Sequence[str]) -> None:
    here = said
    for key in keys[:-1]:
        here = here[key]
    here.pop(keys[-1], None)


def _suggestion(key: str, data: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    every = [f"{section}.{name}" for section, keys in data.items() if isinstance(keys, dict) for name in keys]
    near = get_close_matches(key, every, n=1)
    return f"; did you mean {near[0]}?" if near else ""
