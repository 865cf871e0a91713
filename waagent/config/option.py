"""One option of waagent.conf, as the table in settings.py declares it.

Option
    name        as written in the file; letter case counts (the u of Autoupdate.Frequency is small)
    kind        "switch" (y or n), "integer", "text" or "choice" (one of `choices`, any letter case)
    default     bool, int or str; None for a text or integer that is unset by default
    follows     name of the option whose value is the default of this one, instead of `default`
    meaning     one line for the sample file, the manual and `waagent config explain`
    section     heading in the sample file
    shipped     what the sample file sets; None: the sample shows the default in a comment
    low, high   range of an integer, both ends allowed
    unit        of an integer: "seconds", "MiB", "bytes", "percent of one CPU"
    example     a good value for the message about a bad one
    path        a text that must be an absolute path
    pattern     a regular expression that a text must match as a whole
    secret      the value may contain a password (user:password@host): shown redacted
    since       version that brought the option; "" where it has always been there
    status      "live", "legacy" (works, better not used), "alias" (same as `instead`) or "removed" (no effect)
    instead     the option to use in place of a legacy, alias or removed one
    listed      `waagent -show-configuration` of the incumbent prints it; tools parse that list
    note        where documentation, code and shipped file of the incumbent differ, what was chosen and why
    steps       names of the steps (or parts) that read it

An Option is a constant. It imports nothing, so that a lean process may read the table.

Source: provisioning 2.3 to 2.6, guest-operations 2.8, 3.8, 4.10, 13.2, the incumbent's manual.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Value = Union[bool, int, str, None]


class Option:
    """See the module's docstring for the fields."""

    __slots__ = (
        "choices", "default", "example", "follows", "high", "instead", "kind", "listed", "low", "meaning",
        "name", "note", "path", "pattern", "secret", "section", "shipped", "since", "status", "steps", "unit",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        kind: str,
        default: Value,
        meaning: str,
        *,
        section: str = "",
        shipped: str | None = None,
        follows: str = "",
        low: int | None = None,
        high: int | None = None,
        unit: str = "",
        choices: tuple[str, ...] = (),
        example: str = "",
        path: bool = False,
        pattern: str = "",
        secret: bool = False,
        since: str = "",
        status: str = "live",
        instead: str = "",
        listed: bool = True,
        note: str = "",
        steps: tuple[str, ...] = (),
    ) -> None:
        self.name, self.kind, self.default, self.meaning = name, kind, default, meaning
        self.section, self.shipped, self.follows = section, shipped, follows
        self.low, self.high, self.unit, self.choices, self.example = low, high, unit, choices, example
        self.path, self.pattern, self.secret = path, pattern, secret
        self.since, self.status, self.instead, self.listed = since, status, instead, listed
        self.note, self.steps = note, steps

    def __repr__(self) -> str:
        return f"Option({self.name!r}, {self.kind!r}, {self.default!r})"

    @property
    def in_use(self) -> bool:
        """True for an option that has a value; false for an alias and for a removed one."""
        return self.status in ("live", "legacy")

    def written(self, value: Value) -> str:
        """The value as waagent.conf spells it: y, n, a number, the text, None for unset."""
        if value is None or (self.kind == "integer" and self.default is None and value == 0):
            return "None"
        if isinstance(value, bool):
            return "y" if value else "n"
        return str(value)

    @property
    def expected(self) -> str:
        """What a right value looks like, for the message about a wrong one."""
        if self.kind == "switch":
            return "expected y or n"
        if self.kind == "choice":
            return f"expected one of {', '.join(self.choices)}"
        if self.kind == "integer":
            return f"expected a whole number{self._of_unit()}{self._range()}{self._for_example()}"
        if self.path:
            return f"expected an absolute path{self._for_example()}"
        return f"expected a plain name{self._for_example()}" if self.pattern else "expected text"

    def _of_unit(self) -> str:
        return f" of {self.unit}" if self.unit else ""

    def _range(self) -> str:
        if self.low is None or self.low == 0:
            return f" up to {self.high}" if self.high is not None else ""
        return f" from {self.low} to {self.high}" if self.high is not None else f", {self.low} or more"

    def _for_example(self) -> str:
        shown = self.example or self.shipped or self.written(self.default)
        return "" if shown in ("", "None") else f", for example {shown}"
