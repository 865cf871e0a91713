"""The configuration as the agent uses it: typed values, where each comes from, what was wrong in the files.

Config      immutable, made by parse.py or, in a lean process, from JSON:
    switch(name) -> bool          integer(name) -> int          text(name) -> str or None
    was_set(name) -> bool         a file sets it, with a value that could be used
    source(name) -> str           "/etc/waagent.conf:41", "default", or the profile that supplies the default
    but(name, value, source)      a Config with another value of one option
    items()                       (name, value) of every option in use, in the order of the table
    problems                      tuple of Problem; `severity` is "warning" (a value was not used) or "note"
    files                         the files that were read, in order

integer() gives 0 for the two options that are unset by default (HttpProxy.Port, OS.RootDeviceScsiTimeout). A name
that is not an option in use raises KeyError, an accessor of the wrong type TypeError: mistakes in our own code.

This file is lean: it imports nothing but, when asked for it, json. `to_json` contains every value, a proxy's
password too: write it with mode 0600.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import NoReturn

    from waagent.config.option import Value

FORMAT = 1  # of the JSON; another number is refused


class Problem:
    """Something in a configuration file that did not count. str() is the line for the log."""

    __slots__ = ("file", "line", "message", "option", "severity")

    def __init__(self, file: str, line: int, option: str, message: str, severity: str = "warning") -> None:
        self.file, self.line, self.option, self.message, self.severity = file, line, option, message, severity

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}"

    def __repr__(self) -> str:
        return f"Problem({self.file!r}, {self.line}, {self.option!r}, {self.message!r}, {self.severity!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.as_list() == other.as_list()

    def __hash__(self) -> int:
        return hash(tuple(self.as_list()))

    def as_list(self) -> list[str | int]:
        """The five fields, for JSON and comparison."""
        return [self.file, self.line, self.option, self.message, self.severity]


class Config:
    """Values of all options in use. See the module's docstring."""

    __slots__ = ("_files", "_problems", "_set", "_sources", "_values")
    _values: Mapping[str, Value]
    _sources: Mapping[str, str]
    _set: frozenset[str]
    _problems: tuple[Problem, ...]
    _files: tuple[str, ...]

    def __init__(
        self,
        values: Mapping[str, Value],
        sources: Mapping[str, str],
        given: Sequence[str] | frozenset[str] = (),
        problems: Sequence[Problem] = (),
        files: Sequence[str] = (),
    ) -> None:
        put = object.__setattr__
        put(self, "_values", dict(values))
        put(self, "_sources", dict(sources))
        put(self, "_set", frozenset(given))
        put(self, "_problems", tuple(problems))
        put(self, "_files", tuple(files))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Config does not change: {name}")

    def switch(self, name: str) -> bool:
        """The value of a y/n option."""
        value = self._value(name)
        if not isinstance(value, bool):
            raise TypeError(f"{name} is not a switch")
        return value

    def integer(self, name: str) -> int:
        """The value of a number; 0 where it is unset and has no default."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is not an integer")
        return value

    def text(self, name: str) -> str | None:
        """The value of a text or of a choice; None where it is unset and has no default."""
        value = self._value(name)
        if isinstance(value, int):
            raise TypeError(f"{name} is not a text")
        return value

    def was_set(self, name: str) -> bool:
        """True if a file sets the option to a value that could be used (None does not count)."""
        self._value(name)
        return name in self._set

    def source(self, name: str) -> str:
        """Where the value comes from: "file:line", "default" or the supplier of the default."""
        self._value(name)
        return self._sources.get(name, "default")

    def items(self) -> Iterator[tuple[str, Value]]:
        """Name and value of every option in use, in the order of the table."""
        return iter(self._values.items())

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What did not count in the files, in the order of reading."""
        return self._problems

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were read, in order; later ones win."""
        return self._files

    def _value(self, name: str) -> Value:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(f"no option {name} in use") from None

    def but(self, name: str, value: Value, source: str) -> Config:
        """The same with another value of one option."""
        self._value(name)
        return Config(
            {**self._values, name: value},
            {**self._sources, name: source},
            self._set | {name},
            self._problems,
            self._files,
        )

    def to_json(self) -> str:
        """All of it as one JSON object. Contains a proxy's password if there is one."""
        import json

        return json.dumps(
            {
                "format": FORMAT,
                "values": dict(self._values),
                "sources": {name: place for name, place in self._sources.items() if place != "default"},
                "set": sorted(self._set),
                "problems": [problem.as_list() for problem in self._problems],
                "files": list(self._files),
            },
            separators=(",", ":"),
        )


def from_json(text: str) -> Config:
    """The Config that to_json wrote. ValueError when the text is no such thing."""
    import json

    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"the resolved configuration is not of format {FORMAT}; resolve it again")
    return Config(
        document["values"],
        document["sources"],
        document["set"],
        [Problem(*fields) for fields in document["problems"]],
        document["files"],
    )


def rdma_enabled(config: Config) -> bool:
    """RDMA is on when any of its three options is y; the default of CheckRdmaDriver does not count.

    Source: provisioning 2.4.
    """
    if config.switch("OS.EnableRDMA") or config.switch("OS.UpdateRdmaDriver"):
        return True
    return config.was_set("OS.CheckRdmaDriver") and config.switch("OS.CheckRdmaDriver")


def update_mode(config: Config) -> str:
    """What the two update options add up to: "download", "newest" (on disk) or "installed" (by the package).

    Source: guest-operations 2.8, the truth table.
    """
    if config.switch("AutoUpdate.UpdateToLatestVersion"):
        return "download"
    followed = config.source("AutoUpdate.UpdateToLatestVersion") == config.source("AutoUpdate.Enabled")
    return "installed" if followed else "newest"
