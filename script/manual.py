"""The manual pages, made from the same tables as the reference: waagent_8() and conf_5() give their troff text."""

from __future__ import annotations

import importlib
import inspect

from reference import arguments_of, kind_of, old_words, told_of

from waagent import __version__
from waagent.cli.__main__ import verbs
from waagent.config import settings
from waagent.runner import protocol
from waagent.runner.places import STAGES

FILES = (
    ("/etc/waagent.conf, /etc/waagent.conf.d/NN\\-name.conf", "options; see waagent.conf(5)"),
    ("/etc/waagent/hooks.d/<stage>/NN\\-name", "steps of the administrator"),
    ("/etc/waagent/hooks.d/on\\-<event>/NN\\-name", "hooks of an event"),
    ("/etc/waagent/stages/<stage>.yaml", "replaces the shipped file of a stage"),
    ("/etc/waagent/distro.d/*.yaml", "single keys of the distro profile"),
    ("/usr/lib/waagent/{stages,modules,data}", "what the package brings"),
    ("/usr/local/lib/waagent/modules/<stage>/", "steps of the site"),
    ("/var/lib/waagent/instance/", "what is known of this instance"),
    ("/run/waagent/status.json", "what ran in this boot"),
    ("/var/log/waagent.log", "the log"),
)


def waagent_8() -> str:
    parts = [_head("WAAGENT", 8, "Linux guest agent for Azure")]
    parts.append(".SH NAME\nwaagent \\- Linux guest agent for Azure, as boot stages of numbered steps\n")
    parts.append(".SH SYNOPSIS\n.B waagent\n.I VERB\n.RI [ options ]\n")
    parts.append(
        ".SH DESCRIPTION\nEverything the agent does is a numbered step in a stage; a step is a file that can be "
        f"listed, read, replaced or masked. The stages are {', '.join(STAGES)}; systemd starts them through the "
        "units waagent\\-<stage>.service. waagent.service is the watcher, which follows the goal state.\n"
    )
    parts.append(".SH VERBS\nEvery verb takes \\fB\\-\\-root\\fR \\fIDIR\\fR: act on the machine in DIR.\n")
    for verb in verbs():
        file = importlib.import_module(f"waagent.cli.{verb.replace('-', '_')}")
        parts.append(f".SS waagent {_roff(verb)}\n.nf\n{_roff(inspect.cleandoc(file.__doc__ or ''))}\n.fi\n")
        for words, told in arguments_of(file):
            parts.append(f".TP\n\\fB{_roff(words)}\\fR\n{_roff(told)}\n")
    parts.append(f".SH OLD COMMAND LINE\n.nf\n{_roff(old_words())}\n.fi\n")
    parts.append(".SH HOOKS\nA program in a directory of steps is given this environment:\n")
    parts += [f".TP\n.B {_roff(name)}\n{_roff(told)}\n" for name, told in protocol.VARIABLES]
    parts.append(".PP\nIts exit status means:\n")
    parts += [f".TP\n.B {_roff(status)}\n{_roff(told)}\n" for status, told in protocol.STATUSES]
    parts.append(".SH FILES\n")
    parts += [f".TP\n.I {path}\n{_roff(told)}\n" for path, told in FILES]
    parts.append(".SH SEE ALSO\n.BR waagent.conf (5),\n.BR systemd.unit (5)\n")
    return "".join(parts)


def conf_5() -> str:
    parts = [_head("WAAGENT.CONF", 5, "options of waagent")]
    parts.append(".SH NAME\nwaagent.conf \\- options of the Linux guest agent for Azure\n")
    parts.append(".SH SYNOPSIS\n/etc/waagent.conf\n.br\n/etc/waagent.conf.d/NN\\-name.conf\n.br\n")
    parts.append("/usr/lib/waagent/conf.d/NN\\-name.conf\n")
    parts.append(
        ".SH DESCRIPTION\nOne Name=value per line; # begins a comment. The files of the directories are read after "
        "the first one, in order of their numbers; a later value wins. A value that cannot be used is reported "
        "with file and line, and the default holds. \\fBwaagent config check\\fR tells what is wrong, "
        "\\fBwaagent config show\\fR what holds and why.\n"
    )
    for section, title in settings.SECTIONS:
        parts.append(f".SH {_roff(title.upper())}\n")
        for option in settings.OPTIONS:
            if option.section == section and option.in_use:
                default = f"the value of {option.follows}" if option.follows else option.written(option.default)
                kind = kind_of(option).replace("`", "")
                kept = default if default != "None" else "unset"
                told = f"{told_of(option)}. ({kind}; default: {kept})"
                parts.append(f".TP\n.B {_roff(option.name)}\n{_roff(told)}\n")
    parts.append(".SH SEE ALSO\n.BR waagent (8)\n")
    return "".join(parts)


def _head(name: str, section: int, title: str) -> str:
    made = '.\\" Made by script/generate-reference from the code.\n'
    return f'{made}.TH {name} {section} "" "waagent {__version__}" "{title}"\n'


def _roff(text: str) -> str:
    """Text as troff wants it: no escapes, and no line that begins like a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.splitlines())
