"""Profile files: reading YAML, checking what a file says against what there may be.

read(path) -> dict           the YAML mapping of one file; ConfigError with the line where it is none
check(section, known, file)  problems of one file's keys: unknown ones with a suggestion, values of a wrong kind
line_of(path, keys)          the line a key is in, for messages

Which keys there are, and of which kind, _default.yaml says: a key whose default is true or false is a switch, a
list is a list, a mapping a mapping (an empty one takes any keys), anything else a text or null.
"""

from __future__ import annotations

from waagent.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any


def read(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; {} for an empty file."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.load(file, Loader=loader)  # noqa: S506, it is one of the safe ones
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read distro profile {path}: {error}", file=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        what = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}:{line}: {what}", file=path, line=line) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}:1: expected a mapping of sections, found {type(found).__name__}", file=path, line=1
        )
    return found


def line_of(path: str, keys: Sequence[str]) -> int:
    """The line of a nested key, 0 where it cannot be found."""
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            node = yaml.compose(file, Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return 0
    line = 0
    for key in keys:
        pair = next((pair for pair in getattr(node, "value", []) if getattr(pair[0], "value", None) == key), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line


def check(
    said: Mapping[str, Any], known: Mapping[str, Any], path: str, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each key that is unknown or of a wrong kind, with what is wrong about it."""
    for key, value in said.items():
        here = (*above, str(key))
        if key not in known:
            if known or not above:
                yield here, f"{'.'.join(here)} is no key of a distro profile{_near(str(key), known)}"
            continue
        default = known[key]
        wrong = _kind(value, default)
        if wrong:
            yield here, f"{'.'.join(here)}: expected {wrong}, found {_shown(value)}"
        elif isinstance(default, dict) and default:
            yield from check(value, default, path, here)
        elif isinstance(default, dict):
            yield from ((((*here, str(name))), f"{'.'.join(here)}.{name}: expected a text, found {_shown(text)}")
                        for name, text in value.items() if not isinstance(text, str))  # fmt: skip


def _kind(value: Any, default: Any) -> str:
    """What was expected, where the value is of another kind than the default."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, list):
        return "" if isinstance(value, list) and _plain(value) else "a list of texts, or of lists of texts"
    if isinstance(default, dict):
        return "" if isinstance(value, dict) else "a mapping"
    return "" if value is None or isinstance(value, str) else "a text (put it in quotes) or null"


def _plain(items: list[Any]) -> bool:
    lists = [item for item in items if isinstance(item, list)]
    return all(isinstance(item, str) for item in items) or (
        len(lists) == len(items) and all(isinstance(word, str) for item in lists for word in item)
    )


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def _near(key: str, known: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, [str(name) for name in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
