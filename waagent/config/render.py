"""The table of options as text: sample file, explanation of one option, list of values.

    sample(values)         waagent.conf as shipped; `values` (name: text) are a distribution's own
    explain(name, config)  all there is to say about one option; with a Config also its value and its source
    show(config)           `Name = value`, sorted: what `waagent -show-configuration` prints and tools parse

Source: provisioning 1.4 (the form of the list), 2.5.
"""

from __future__ import annotations

from waagent.config import settings
from waagent.config.parse import redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from waagent.config.option import Option, Value
    from waagent.config.values import Config

KINDS = {"switch": "switch, y or n", "integer": "whole number", "text": "text", "choice": "one of"}

HEADER = """\
# waagent.conf: settings of waagent, the Linux guest agent for Azure
#
# One Name=value per line. A line that is commented out shows the default. Rather than editing this file, put
# your settings into /etc/waagent.conf.d/50-local.conf: they win, and survive upgrades without a question.
# More about an option: waagent config explain NAME. Check all files: waagent config check.
"""


def sample(values: Mapping[str, str] | None = None) -> str:
    """The text of waagent.conf. Legacy, removed and alias options stay out."""
    values = values or {}
    parts = [HEADER]
    for section, title in settings.SECTIONS:
        parts.append(f"\n# --- {title}\n")
        for option in settings.OPTIONS:
            if option.section != section or (option.status != "live" and option.name not in values):
                continue
            set_to = values.get(option.name, option.shipped)
            mark, text = ("#", option.written(option.default)) if set_to is None else ("", set_to)
            parts.append(f"\n# {_one_line(option)}\n{mark}{option.name}={text}\n")
    return "".join(parts)


def _one_line(option: Option) -> str:
    """The meaning, with choices or unit where the words do not say them, and whether it has any effect yet."""
    told = _meaning(option)
    return f"{told}; no effect in this version" if option.name in settings.WITHOUT_EFFECT else told


def _meaning(option: Option) -> str:
    if option.kind == "choice":
        missing = [choice for choice in option.choices if choice not in option.meaning]
        return f"{option.meaning} ({', '.join(option.choices)})" if missing else option.meaning
    if option.unit and option.unit not in option.meaning.lower():
        return f"{option.meaning} ({option.unit})"
    return option.meaning


def explain(name: str, config: Config | None = None) -> str:
    """Several lines about one option. KeyError, with a suggestion, for a name that is none."""
    option = settings.find(name)
    lines = [option.name, f"  {option.meaning}"]
    if option.kind == "choice":
        lines.append(f"  type:     one of {', '.join(option.choices)}")
    else:
        lines.append(f"  type:     {KINDS[option.kind]}{_limits(option)}")
    if option.in_use:
        lines.append(f"  default:  {_default(option)}")
    if option.shipped is not None and option.shipped != option.written(option.default):
        lines.append(f"  shipped:  waagent.conf sets {option.shipped}")
    if config is not None and option.in_use:
        value = dict(config.items())[name]
        told = "unset" if value is None else shown(option, value)
        lines.append(f"  value:    {told}, from {config.source(name)}")
    if option.since:
        lines.append(f"  since:    {option.since}")
    if option.status != "live":
        lines.append(f"  status:   {option.status}" + (f"; use {option.instead}" if option.instead else ""))
    if option.name in settings.WITHOUT_EFFECT:
        lines.append("  effect:   none in this version: it is accepted, because images carry it")
    if option.note:
        lines.append(f"  note:     {option.note}")
    return "\n".join(lines) + "\n"


def _limits(option: Option) -> str:
    if option.path:
        return ", an absolute path"
    unit = f" of {option.unit}" if option.unit else ""
    if option.low is not None and option.high is not None:
        return f"{unit}, {option.low} to {option.high}"
    return f"{unit}, {option.low} or more" if option.low else unit


def _default(option: Option) -> str:
    if option.follows:
        return f"the value of {option.follows}"
    return "unset" if option.default is None else option.written(option.default)


def show(config: Config, every: bool = False, origins: bool = False) -> str:
    """One line per option. `every`: also those that the incumbent's list leaves out. `origins`: with sources."""
    lines = []
    for name, value in sorted(config.items()):
        option = settings.find(name)
        if every or option.listed:
            # With the sources it is for people, who read it beside the file; the old list has Python's words.
            line = f"{name} = {shown(option, value) if origins else _python(option, value)}"
            lines.append(f"{line}  ({config.source(name)})" if origins else line)
    return "\n".join(lines) + "\n"


def shown(option: Option, value: Value) -> str:
    """The value as waagent.conf spells it, passwords redacted."""
    return redact(option.written(value)) if option.secret else option.written(value)


def _python(option: Option, value: Value) -> str:
    """True, False, None, a number or the text: what the incumbent's list contains."""
    return str(value) if isinstance(value, bool) else shown(option, value)
