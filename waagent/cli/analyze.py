"""waagent analyze show | blame | plot | boots: where the time of a boot went.

    show     the stages and their steps in the order in which they ran
    blame    the steps by what they cost, with the engine's own share of each
    plot     a picture of the boot as SVG, on standard output or in --output FILE
    boots    the boots that are remembered

--boot chooses an earlier boot: 1 (or -1) is the one before this, 2 the one before that; or the beginning of a boot
id. Times are in seconds since the first stage of that boot began.

Exit status: 0, or 1 when there is no such boot.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from waagent.cli import text
from waagent.errors import WaagentError
from waagent.runner import journal
from waagent.runner.situation import state_directory
from waagent.system import System

SUMMARY = "show where the time of a boot went; draw it"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("show", "blame", "plot", "boots"))
    which = "an earlier boot: 1, 2, … or the start of its id"
    parser.add_argument("--boot", default="0", metavar="N|ID", help=which)
    parser.add_argument("--format", choices=("text", "json"), default="text", help="not for plot, which is SVG")
    parser.add_argument("--output", metavar="FILE", help="where plot writes; standard output when left out")
    parser.add_argument("--periodic", action="store_true", help="with the latest periodic passes")


def main(args: argparse.Namespace, system: System) -> int:
    known = boots(system)
    if args.do == "boots":
        print(json.dumps({"schema": 1, "boots": known}, indent=1) if args.format == "json" else _listed(known))
        return 0
    boot = _chosen(system, args.boot, known)
    over = boot["boot_id"] != journal.boot_id_of(system)
    timeline = Timeline(boot, periodic=args.periodic, over=over)
    if args.do == "plot":
        from waagent.cli import boot_plot

        picture = boot_plot.svg(timeline.as_dict())
        if args.output is None:
            print(picture, end="")
        else:
            with open(args.output, "w", encoding="utf-8") as stream:
                stream.write(picture)
        return 0
    if args.format == "json":
        print(json.dumps(timeline.as_dict(by_cost=args.do == "blame"), indent=1))
    else:
        print(timeline.show() if args.do == "show" else timeline.blame())
    return 0


class Timeline:
    """The record of a boot with every time counted from the start of its first stage."""

    def __init__(self, boot: dict[str, Any], *, periodic: bool = False, over: bool = False) -> None:
        """over: a boot of the past, in which nothing can be running any more."""
        self.boot = boot
        self.state = journal.state_of(boot)
        if over and self.state == "running":
            self.state = "cut off"
        names = [name for name in boot["stages"] if periodic or name in journal.BOOT_STAGES]
        stages = [{"name": name, **boot["stages"][name]} for name in names]
        self.stages = sorted(stages, key=lambda stage: float(stage["at"]))
        starts = [float(stage["at"]) - float(stage.get("startup", 0.0)) for stage in self.stages]
        starts += [float(step["at"]) for stage in self.stages for step in stage["steps"]]
        self.zero = min(starts, default=0.0)

    def as_dict(self, *, by_cost: bool = False) -> dict[str, Any]:
        """{schema, boot_id, state, start, seconds, engine, stages: [{name, state, at, seconds, startup, engine,
        steps: [{name, at, seconds, engine, outcome, message, …}], later: the same}]}; by_cost sorts the steps of
        all stages instead. `later` are steps that somebody ran again after the stage had ended.
        """
        stages = [self._stage(stage) for stage in self.stages]
        whole: dict[str, Any] = {
            "schema": 1,
            "boot_id": self.boot["boot_id"],
            "version": self.boot.get("version", ""),
            "state": self.state,
            "start": self.stages[0]["start"] if self.stages else "",
            "seconds": round(max((stage["at"] + stage["seconds"] for stage in stages), default=0.0), 3),
            "inside": round(sum(step["seconds"] for stage in stages for step in stage["steps"]), 4),
            "engine": round(sum(stage["engine"] for stage in stages), 4),
            "startup": round(sum(stage["startup"] for stage in stages), 3),
        }
        if by_cost:
            steps = [{"stage": stage["name"], **step} for stage in stages for step in stage["steps"]]
            whole["steps"] = sorted(steps, key=lambda step: (-step["seconds"] - step["engine"], step["name"]))
        else:
            whole["stages"] = stages
        return whole

    def _stage(self, stage: dict[str, Any]) -> dict[str, Any]:
        steps = [
            {
                "name": step["name"],
                "at": round(float(step["at"]) - self.zero, 3),
                "seconds": float(step["seconds"]),
                "engine": float(step.get("engine", 0.0)),
                "outcome": step["outcome"],
                "message": step["message"],
                "path": step["path"],
                **({"event": step["event"]} if "event" in step else {}),
            }
            for step in sorted(stage["steps"], key=lambda step: float(step["at"]))
        ]
        at = float(stage["at"]) - self.zero
        end = at + float(stage.get("seconds", 1e9)) + 0.05
        later = [step for step in steps if step["at"] > end]
        steps = [step for step in steps if step["at"] <= end]
        ends = [step["at"] + step["seconds"] + step["engine"] for step in steps]
        return {
            "name": stage["name"],
            "state": stage["state"],
            "at": round(at, 3),
            "seconds": float(stage.get("seconds", round(max(ends, default=at) - at, 3))),
            "startup": float(stage.get("startup", 0.0)),
            "engine": round(sum(step["engine"] for step in steps), 4),
            "steps": steps,
            "later": later,
        }

    def show(self) -> str:
        whole = self.as_dict()
        lines = [_headline(whole)]
        for stage in whole["stages"]:
            started = f", start-up {text.span(stage['startup'])}" if stage["startup"] else ""
            lines.append("")
            lines.append(
                f"{stage['name']} at +{stage['at']:.3f} s: {stage['state']} after {text.span(stage['seconds'])} "
                f"(engine {text.span(stage['engine'])}{started})"
            )
            rows = [
                (f"+{step['at']:.3f} s", text.span(step["seconds"]), step["outcome"], _name(step), step["message"])
                for step in stage["steps"]
            ]
            lines.append(text.columns(rows, "  ") if rows else "  (no steps)")
            for step in stage["later"]:
                took = text.span(step["seconds"])
                lines.append(f"  run again later: {step['name']}: {step['outcome']} in {took}: {step['message']}")
        return "\n".join(lines)

    def blame(self) -> str:
        whole = self.as_dict(by_cost=True)
        rows = [("step", "engine", "", "")]
        rows += [
            (text.span(one["seconds"]), text.span(one["engine"]), f"{one['stage']}/{_name(one)}", one["outcome"])
            for one in whole["steps"]
        ]
        return "\n".join([_headline(whole), "", text.columns(rows)])


def boots(system: System) -> list[dict[str, Any]]:
    """The boots that are remembered, newest first: number (0 is this one), id, start, state, seconds."""
    this = journal.boot_id_of(system)
    found = []
    folder = f"{state_directory(system)}/boots"
    for name in reversed(system.listing(folder)):
        stamp, _, boot_id = name[: -len(".json")].partition("_")
        if name.endswith(".json") and boot_id:
            found.append({"id": boot_id, "saved": stamp, "file": f"{folder}/{name}", "this": boot_id == this})
    number = 0
    for boot in found:
        number = 0 if boot["this"] else number + 1
        boot["number"] = number
    return found


def _chosen(system: System, wanted: str, known: list[dict[str, Any]]) -> dict[str, Any]:
    """The record of the boot that --boot names. Raises WaagentError."""
    this = journal.read(system)
    if wanted in ("0", "-0") or (len(wanted) >= 4 and str(this["boot_id"]).startswith(wanted)):
        if not this["stages"]:
            raise WaagentError("cannot show this boot: no stage has run yet; see waagent analyze boots")
        return this
    numbered = wanted.lstrip("-").isdigit() and len(wanted.lstrip("-")) < 4
    for boot in known:
        matches = boot["number"] == int(wanted.lstrip("-")) if numbered else boot["id"].startswith(wanted)
        if matches and not (numbered and boot["this"]):
            try:
                return dict(json.loads(system.read(boot["file"])))
            except (OSError, ValueError) as error:
                raise WaagentError(f"cannot read the record of boot {boot['id']}: {error}") from error
    count = sum(not boot["this"] for boot in known)
    raise WaagentError(f"there is no boot {wanted!r}: {count} earlier ones are kept; see waagent analyze boots")


def _listed(known: list[dict[str, Any]]) -> str:
    if not known:
        return "no boot is remembered yet"
    return text.columns([(str(boot["number"]), boot["id"], boot["saved"]) for boot in known])


def _headline(whole: dict[str, Any]) -> str:
    return (
        f"boot {whole['boot_id']}, {whole['start'] or 'not started'}: {whole['state']}; "
        f"{text.span(whole['seconds'])} from first to last step, {text.span(whole['inside'])} of them in steps, "
        f"{text.span(whole['engine'])} in the engine, {text.span(whole['startup'])} starting it"
    )


def _name(step: dict[str, Any]) -> str:
    """The step's name; an event hook with its event."""
    hook = os.sep + "on-" in step["path"]
    return f"{step['name']} (on {step['event']})" if hook and "event" in step else str(step["name"])
