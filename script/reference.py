"""The pages of the reference, made from the code: pages() -> {path below docs/: text}.

What a page says stands in the code it describes: tables (options, program protocol, events), docstrings (steps,
verbs, errors), declarations (stages, MODULE). Nothing here adds facts of its own. Run by script/generate-reference.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from waagent import module
from waagent.cli import catalogue
from waagent.cli.__main__ import verbs
from waagent.config import settings
from waagent.config.option import Option
from waagent.config.values import Config
from waagent.distro.profile import DistroProfile
from waagent.runner import declaration, definition, durations, hook_events, places, protocol
from waagent.system import System

TOP = Path(__file__).resolve().parents[1]
MADE = "<!-- Made by script/generate-reference. Change the code that it names, then run that. -->\n\n"


RUNS = {"boot": "at boot", "timer": "on the timer and on events", "demand": "when a verb asks for it"}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check name those that are out of date."""
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: script/generate-reference [--check]", file=sys.stderr)
        return 2
    stale = []
    for name, text in pages().items():
        path = TOP / "docs" / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name}: {'out of date; run script/generate-reference' if check else 'written'}")
    return 1 if check and stale else 0


def pages() -> dict[str, str]:
    import wire_rows
    from manual import conf_5, waagent_8

    return {
        "fabric-coverage.md": wire_rows.written(),
        "reference/options.md": options(),
        "reference/stages.md": stages(),
        "reference/steps.md": steps(),
        "reference/programs.md": programs(),
        "reference/module-api.md": module_api(),
        "reference/verbs.md": verb_pages(),
        "reference/instance-data.md": instance_data(),
        "reference/errors.md": error_reasons(),
        "reference/records.md": records(),
        "man/waagent.8": waagent_8(),
        "man/waagent.conf.5": conf_5(),
    }


def options() -> str:
    parts = ["# Options of waagent.conf\n\n", MADE]
    parts.append(
        "The same, with the value on a machine and where it comes from: `waagent config explain NAME`. "
        "From `waagent/config/settings.py`.\n"
    )
    for section, title in settings.SECTIONS:
        parts.append(f"\n## {title}\n\n" + _table("Option", "Type", "Default", "Meaning"))
        for option in settings.OPTIONS:
            if option.section == section and option.in_use:
                told = _cell(told_of(option))
                parts.append(f"| `{option.name}` | {kind_of(option)} | {_default(option)} | {told} |\n")
    gone = [option for option in settings.OPTIONS if not option.in_use]
    parts.append("\n## Other spellings, and options without effect\n\n| Option | Now |\n|---|---|\n")
    for option in gone:
        told = f"use `{option.instead}`" if option.instead else "has no effect"
        parts.append(f"| `{option.name}` | {told} |\n")
    return "".join(parts)


def told_of(option: Option) -> str:
    """Meaning and note, and whether it does anything; without the last full stop."""
    sentences = [option.meaning, *([option.note] if option.note else [])]
    if option.name in settings.WITHOUT_EFFECT:
        sentences.append("no effect in this version: it is accepted, because images carry it")
    return ". ".join(_sentence(each) for each in sentences)


def kind_of(option: Option) -> str:
    """The type of an option in a few words."""
    if option.kind == "choice":
        return " or ".join(f"`{choice}`" for choice in option.choices)
    if option.kind == "switch":
        return "`y` or `n`"
    if option.path:
        return "absolute path"
    if option.kind != "integer":
        return "text"
    low, high = option.low or 0, option.high
    reach = f" {low} to {high}" if high is not None else f" {low} or more" if low else ""
    return f"number{reach}" + (f", {option.unit}" if option.unit else "")


def _default(option: Option) -> str:
    if option.follows:
        return f"that of `{option.follows}`"
    return "unset" if option.default is None else f"`{option.written(option.default)}`"


def stages() -> str:
    parts = ["# Stages\n\n", MADE, "From `stages/*.yaml`; an admin's copy goes to `/etc/waagent/stages/`.\n\n"]
    parts.append(_table("Stage", "Runs", "After", "Unit", "May use", "Time for all steps", "A failed step"))
    made = []
    for name in places.EVERY_STAGE:
        path = TOP / "stages" / f"{name}.yaml"
        made.append(definition.parse(name, path.read_bytes(), f"stages/{name}.yaml"))
    for stage in made:
        rule = "stops the stage" if stage.on_failure == "stop" else "does not stop the others"
        parts.append(
            f"| `{stage.name}` | {RUNS[stage.runs]} | {', '.join(stage.after) or 'nothing'} "
            f"| {f'`{stage.unit}`' if stage.unit else 'none'} "
            f"| {', '.join(stage.sources) or 'facts kept so far'} | {durations.text(stage.budget)} | {rule} |\n"
        )
    parts.append("\n" + "".join(f"**{stage.name}**: {stage.summary}.\n\n" for stage in made))
    parts.append("## Keys of a stage file\n\n```\n" + _block(definition.__doc__ or "", "summary") + "\n```\n\n")
    parts.append("## Events\n\nHooks in `on-<event>/` run when it happens.\n\n" + _table("Event", "When", "Data"))
    for event in hook_events.EVENTS:
        data = ", ".join(f"`{name}`" for name in event.data) or "none"
        parts.append(f"| `{event.name}` | {event.when} | {data} |\n")
    return "".join(parts)


def _block(docstring: str, first: str) -> str:
    """The indented table of a docstring that begins with the word `first`, without its indentation."""
    lines = inspect.cleandoc(docstring).splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().startswith(first))
    kept = []
    for line in lines[start:]:
        if not line.strip():
            break
        kept.append(line[4:] if line.startswith("    ") else line)
    return "\n".join(kept)


def shipped() -> Iterator[tuple[str, Path, str, module.Module]]:
    """(stage, file, docstring, declaration) of every shipped module, in the order in which they run."""
    for stage in places.EVERY_STAGE:
        for path in sorted((TOP / "modules" / stage).glob("[0-9][0-9]-*.py")):
            source = path.read_bytes()
            declared = declaration.of_python(source, str(path)).module
            yield stage, path, _for_readers(ast.get_docstring(ast.parse(source)) or ""), declared


def _for_readers(docstring: str) -> str:
    """Without the last paragraph that says where the facts were looked up."""
    kept, _, last = docstring.rpartition("\n\n")
    return kept if last.startswith("Source:") else docstring


def steps() -> str:
    parts = ["# Steps\n\n", MADE, "From the docstrings and `MODULE` of `modules/<stage>/*.py`. "]
    parts.append("A hook of the same name replaces a step; an empty file of that name masks it.\n")
    current = ""
    for stage, path, told, declared in shipped():
        if stage != current:
            parts.append(f"\n## {stage}\n")
            current = stage
        number, name = path.stem.split("-", 1)
        parts.append(f"\n### {name}\n\n`modules/{stage}/{number}-{name}.py` · {_rhythm(declared)}")
        parts.append(f" · limit {durations.text(declared.limit)}")
        if declared.watching:
            parts.append(f"\n\nWatching: {', '.join(f'`{path}`' for path in declared.watching)}")
        parts.append(" · essential" if declared.essential else "")
        parts.append(f" · only on {', '.join(declared.distros)}" if declared.distros else "")
        parts.append("\n")
        if declared.when:
            parts.append("\nOnly when " + " and ".join(f"`{condition}`" for condition in declared.when) + ".\n")
        parts.append(f"\n```\n{told}\n```\n")
    return "".join(parts)


def _rhythm(declared: module.Module) -> str:
    words = []
    if declared.every is not None:
        words.append(f"every {declared.every}" + ("" if isinstance(declared.every, str) else " s"))
    if declared.on:
        words.append(f"on {', '.join(declared.on)}")
    return " and ".join(words) or declared.frequency


def programs() -> str:
    parts = ["# What a program is given, and how it ends\n\n", MADE, "From `waagent/runner/protocol.py`.\n\n"]
    parts.append("## Environment\n\nThese, the proxy variables of the agent, and no others.\n\n")
    parts.append(_table("Variable", "Holds"))
    parts += [f"| `{name}` | {_cell(told)} |\n" for name, told in protocol.VARIABLES]
    parts.append("\n## Input document\n\nJSON, on standard input and in `$WAAGENT_INPUT`.\n\n")
    parts.append(_table("Key", "Holds"))
    parts += [f"| `{name}` | {_cell(told)} |\n" for name, told in protocol.DOCUMENT]
    parts.append("\n## Exit status\n\n" + _table("Status", "Outcome"))
    parts += [f"| {name} | {_cell(told)} |\n" for name, told in protocol.STATUSES]
    parts.append(
        "\n## Results file\n\n`$WAAGENT_OUTPUT`, at most 1 MiB: a JSON object, or lines `key=value`. `message` is "
        "the sentence of the outcome; everything else becomes a fact under `hooks.<step>.`.\n"
    )
    parts.append("\n## Header\n\nOne line in the first 4 KiB, a comment:\n\n```\n")
    parts.append("# waagent: {frequency: per-instance, limit: 30s, before: hostname, on-failure: stop}\n```\n\n")
    keys = ", ".join(f"`{key}`" for key in declaration.KEYS)
    limits = ", ".join(f"{durations.text(limit)} in {stage}" for stage, limit in places.LIMITS.items())
    parts.append(
        f"Keys: {keys}. They mean what the fields of `Module` mean ([module-api.md](module-api.md)); `before` and "
        f"`after` name a step of the same stage. Without a header: `per-boot`, a limit of 1m ({limits}), "
        "`on-failure: continue`. A program that replaces a module has that module's declaration but for what its "
        "header says.\n"
    )
    return "".join(parts)


def module_api() -> str:
    parts = [f"# The Python interface for steps, version {module.API}\n\n", MADE]
    parts.append("```\n" + inspect.cleandoc(module.__doc__ or "") + "\n```\n")
    for name in module.__all__:
        thing = getattr(module, name)
        if name == "API":
            continue
        if inspect.isclass(thing):
            parts.append(f"\n## {name}\n\n```\n{inspect.cleandoc(thing.__doc__ or '')}\n```\n")
            parts += _methods(thing, "") if name == "Context" else []
        else:
            parts.append(f"\n## {name}{_signature(thing)}\n")
    for title, kind in (("ctx.system", System), ("ctx.config", Config), ("ctx.profile", DistroProfile)):
        parts.append(f"\n## {title}\n")
        parts += _methods(kind, title + ".")
    return "".join(parts)


def _methods(kind: type, prefix: str) -> list[str]:
    parts = ["\n"]
    for name, member in vars(kind).items():
        if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
            continue
        shown = f"{prefix}{name}{'' if isinstance(member, property) else _signature(member)}"
        told = " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())
        parts.append(f"- `{shown}`{': ' + told if told else ''}\n")
    return parts


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")


def verb_pages() -> str:
    parts = ["# Verbs of the command line\n\n", MADE]
    parts.append("The same as `waagent VERB --help`. Every verb takes `--root DIR`.\n")
    for verb in verbs():
        file = importlib.import_module(f"waagent.cli.{verb.replace('-', '_')}")
        parts.append(f"\n## waagent {verb}\n\n```\n{inspect.cleandoc(file.__doc__ or '')}\n```\n\n")
        parts += [f"- `{words}`: {told}\n" for words, told in arguments_of(file)]
    from waagent.watcher import main as watch

    parts.append(f"\n## waagent watch\n\n```\n{_doc(watch)}\n```\n")
    parts.append(f"\n## The words of the old command line\n\n```\n{old_words()}\n```\n")
    return "".join(parts)


def old_words() -> str:
    from waagent.cli import legacy

    return _for_readers(_doc(legacy))


def records() -> str:
    """The files in which is written down what ran and what was done."""
    from waagent.runner import journal, log, semaphore
    from waagent.system import effects

    parts = ["# Records\n\n", MADE, "The verbs show all of this; these are the files, for programs.\n"]
    pages = {"What ran": journal, "What was done": effects, "The log": log, "What is done already": semaphore}
    for title, file in pages.items():
        parts.append(f"\n## {title}\n\n```\n{_doc(file)}\n```\n")
    return "".join(parts)


def _doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def arguments_of(file: Any) -> list[tuple[str, str]]:
    """(how it is written, what it does) of a verb's arguments, in their order."""
    parser = argparse.ArgumentParser(add_help=False)
    file.arguments(parser)
    found = []
    for action in parser._actions:
        choices = "|".join(map(str, action.choices)) if action.choices else ""
        value = choices or action.metavar or action.dest.upper()
        takes = "" if action.nargs == 0 else f" {value}"
        words = f"{', '.join(action.option_strings)}{takes}" if action.option_strings else str(value)
        told = action.help or ("the form of what is printed" if "--format" in action.option_strings else "")
        found.append((words, told or "which of these"))
    return found


def instance_data() -> str:
    from waagent.instance import ovf, store

    parts = ["# Instance data\n\n", MADE, "```\n" + inspect.cleandoc(store.__doc__ or "") + "\n```\n\n"]
    parts.append("`waagent query KEY` reads a fact; `waagent query --list-keys` lists those of a machine.\n\n")
    parts.append("## Who publishes what\n\n| Facts | Step | |\n|---|---|---|\n")
    for stage, path, told, _ in shipped():
        keys = sorted(set(_published(path)))
        line = " ".join(_labelled(told, "Publishes").split())
        if keys:
            name = path.stem.split("-", 1)[1]
            parts.append(f"| {', '.join(f'`{key}`' for key in keys)} | {stage}/{name} | {_cell(line)} |\n")
    parts.append("| `hooks.<step>.*` | every program | what it wrote into its results file |\n")
    document = _block(ovf.__doc__ or "", "ovf.host_name")
    parts.append(f"\n## Facts of the provisioning document\n\n```\n{document}\n```\n")
    return "".join(parts)


def _published(path: Path) -> Iterator[str]:
    """The keys of the publish calls in a module; what is only known when it runs becomes "*"."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        called = node.func if isinstance(node, ast.Call) and node.args else None
        if isinstance(node, ast.Call) and isinstance(called, ast.Attribute) and called.attr == "publish":
            key = node.args[0]
            if isinstance(key, ast.Constant):
                yield str(key.value)
            elif isinstance(key, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in key.values)


def _labelled(docstring: str, label: str) -> str:
    """What stands behind a label of a docstring ("Reads     …"), with its continued lines."""
    lines = docstring.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(f"{label} "):
            return " ".join([line[len(label) :], *_while_indented(lines[number + 1 :])])
    return ""


def _while_indented(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("   "):
            return
        yield line


def error_reasons() -> str:
    parts = ["# Reasons of failures, and codes of extensions\n\n", MADE]
    parts.append(
        "A failure has a message for people, which may change, and a reason, which is fixed: it is in "
        "`status.json` and in the report to the platform, and may be counted. `waagent explain REASON` shows the "
        "same on a machine; it takes the whole text of a report, too. From `waagent/cli/catalogue.py`.\n\n"
    )
    parts.append(_table("Reason", "Error", "Meaning", "What to do"))
    for one in catalogue.REASONS:
        name = f"`{one.name}`" if one.name else ""
        parts.append(f"| {one.code} | {name} | {_cell(one.meaning)} | {_cell(one.advice)} |\n")
    parts.append("\n## Codes in the status of extensions and of the goal state\n\n")
    parts.append(_table("Code", "Meaning", "What to do", "Seen in"))
    for one in catalogue.NUMBERS:
        parts.append(f"| {one.code} | {_cell(one.meaning)} | {_cell(one.advice)} | {one.told} |\n")
    return "".join(parts)


def _table(*titles: str) -> str:
    return f"| {' | '.join(titles)} |\n{'|---' * len(titles)}|\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    """With a capital, unless it begins with a value that is explained: "n: no downloads"."""
    return text if re.match(r"\w+: ", text) else text[:1].upper() + text[1:]
