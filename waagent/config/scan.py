"""Lines of a configuration file: which are assignments, and to what. No types yet.

scan(text, file) -> (assignments, problems)
    Assignment    file, line, name, value (text; None where the file says None)

The rules are the incumbent's, so that every existing file means here what it meant there:

    comment         first character #            blank, or no "="    ignored (the latter with a note)
    split           at the first =               name                stripped; letter case counts
    value           cut at the first #, then double quotes and blanks stripped at both ends, then all white space;
                    single quotes stay
    None            exactly so: unset            twice in one file   the last one wins (with a note)

Deliberate differences, none of which changes a file that worked:

    # in a value that stands in double quotes stays:   HttpProxy.Host="http://u:p#w@proxy"     (was cut)
    an indented # is a comment too                      (was an option of the name "# Foo")
    quotes before a carriage return or tab are stripped (were kept, which made the value unusable)
    a byte order mark is skipped                        (was part of the first name)
    bytes that are not UTF-8 are replaced and reported  (stopped the agent)

Source: provisioning 2.2.
"""

from __future__ import annotations

from waagent.config.values import Problem

BLANKS = '" \t\r'


class Assignment:
    """One `name=value` of a file."""

    __slots__ = ("file", "line", "name", "value")

    def __init__(self, file: str, line: int, name: str, value: str | None) -> None:
        self.file, self.line, self.name, self.value = file, line, name, value

    @property
    def place(self) -> str:
        """file:line"""
        return f"{self.file}:{self.line}" if self.line else self.file


def decode(raw: bytes, file: str) -> tuple[str, list[Problem]]:
    """Bytes of a file as text. What is not UTF-8 becomes U+FFFD and one problem with the first such line."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        told = f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        return raw.decode("utf-8", errors="replace"), [Problem(file, line, "", told)]


def scan(text: str, file: str) -> tuple[list[Assignment], list[Problem]]:
    """The assignments of one file, one per name (the last), in the order of the file."""
    found: dict[str, Assignment] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name:
            shown = stripped if len(stripped) <= 40 else stripped[:37] + "..."
            problems.append(Problem(file, number, "", f"{shown}: expected Name=value; the line is ignored", "note"))
            continue
        earlier = found.pop(name, None)
        if earlier:
            told = f"{name} is set in line {earlier.line} too; this later one counts"
            problems.append(Problem(file, number, name, told, "note"))
        found[name] = Assignment(file, number, name, clean(value))
    return list(found.values()), problems


def clean(value: str) -> str | None:
    """The value without comment, quotes and white space; None for the word None."""
    quoted = value.strip()
    end = quoted.find('"', 1)
    if quoted.startswith('"') and end > 0 and quoted[end + 1 :].lstrip(BLANKS)[:1] in ("", "#"):
        value = quoted[1:end]
    else:
        value = value.partition("#")[0]
    value = value.strip(BLANKS).strip()
    return None if value == "None" else value
