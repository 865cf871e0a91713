"""The web page of the simulator, as a cloud portal would show it: plain HTML from the server.

    /                   machines, violations, the latest requests
    /machines/NAME      one machine: provisioning, stages, extensions with their messages, its requests

The script of look.py keeps it current; without script the browser reloads by itself. Everything shown passes
`html.escape`, signatures of storage URLs are left out, and the page loads nothing from anywhere.
"""
from __future__ import annotations

import re
import time
from html import escape
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import quote

from .listener import Request, Response
from .look import SCRIPT, STYLE
from .record import RequestRecord, Violation
from .reports import part
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

GOOD = ("ready", "success", "succeeded", "enabled")
BAD = ("failed", "error", "notready", "unresponsive")
REQUESTS_SHOWN = 40
SIGNATURE = re.compile(r"(\bsig=)[^&\s]+", re.IGNORECASE)
GUID = re.compile(r"\b([0-9a-f]{8})(?:(?:-|%2D)[0-9a-f]{4}){3}(?:-|%2D)[0-9a-f]{12}", re.IGNORECASE)


def handle(simulator: Simulator, request: Request, parts: list[str]) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise Refused(405, f"{request.method} is not allowed here")
    with simulator.lock:
        if parts == [""]:
            title, content = "Machines", _overview(simulator)
        elif len(parts) == 2 and parts[0] == "machines" and parts[1] in simulator.machines:
            title, content = parts[1], _machine(simulator, simulator.machines[parts[1]])
        else:
            raise Refused(404, f"no such page: {request.path}")
    if not request.parameters.get("part"):
        content = ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
                   f'<title>{escape(title)} · simulated fabric</title>'
                   '<meta name="viewport" content="width=device-width">'
                   '<noscript><meta http-equiv="refresh" content="5"></noscript>'
                   f"<style>{STYLE}</style></head><body>"
                   '<header><h1><a href="/">Simulated fabric</a></h1><span id="live">live</span></header>'
                   f"<main>{content}</main><script>{SCRIPT}</script>"
                   "</body></html>")
    return Response(200, content, "text/html; charset=utf-8", {
        "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                                   "connect-src 'self'; form-action 'none'; base-uri 'none'"})


def _state(value: object, detail: str = "") -> str:
    """A state in its colour. Not ready because it is being provisioned is no failure."""
    if not value:
        return '<span class="none">-</span>'
    text = str(value)
    if detail == "Provisioning":
        return f'<span class="state wait">{escape(text)}</span>'
    kind = "good" if text.lower() in GOOD else "bad" if text.lower() in BAD else "wait"
    return f'<span class="state {kind}">{escape(text)}</span>'


def _section(title: str, content: str, more: str = "", kind: str = "") -> str:
    """One card; `more` is said beside the title, `kind` is a class for it."""
    beside = f" <small>{escape(more)}</small>" if more else ""
    return f'<section class="{kind}"><h2>{escape(title)}{beside}</h2>{content}</section>'


def _table(heads: tuple[str, ...], rows: list[str], empty: str) -> str:
    """Rows below their heads; a head that starts with # stands above numbers."""
    if not rows:
        return f'<p class="none">{escape(empty)}</p>'
    head = "".join(f'<th class="n">{escape(one[1:])}</th>' if one.startswith("#") else f"<th>{escape(one)}</th>"
                   for one in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _target(method: str, target: str) -> str:
    """A request's line: ids shortened to be read, whole in the tooltip, without signature in either."""
    whole = _unsigned(f"{method} {target}")
    short = GUID.sub(r"\1…", whole)
    return f'<code title="{escape(whole)}">{escape(short)}</code>'


def _unsigned(text: str) -> str:
    return SIGNATURE.sub(r"\1…", text)


def _ago(when: Optional[float]) -> str:
    if not when:
        return "never"
    seconds = max(0, time.time() - when)
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _overview(simulator: Simulator) -> str:
    rows = []
    for machine in simulator.machines.values():
        summary = machine.reports.summary()
        agent = summary["agent"] or {}
        shown = [f"<li>{escape(str(one['name']))} {_state(one['status'] or one['handler_status'])}</li>"
                 for one in summary["extensions"]]
        rows.append(f'<tr><td><a href="/machines/{quote(machine.name)}">{escape(machine.name)}</a></td>'
                    f"<td>{_state(summary['provisioning']['state'])}</td>"
                    f"<td>{_last_word(summary)}</td>"
                    f"<td>{escape(str(agent.get('version') or '-'))}</td><td><ul>{''.join(shown) or '-'}</ul></td>"
                    f'<td class="n">{machine.incarnation}</td>'
                    f'<td class="t">{_ago(summary["last_seen"])}</td></tr>')
    heads = ("Machine", "Provisioning", "Its last word", "Agent", "Extensions", "#Incarnation", "Last seen")
    listed = _table(heads, rows, "No machine yet: waagent-simulator machine create vm01")
    states = [one.reports.provisioning_state for one in simulator.machines.values()]
    count = ", ".join(f"{states.count(one)} {one}" for one in sorted(set(states)))
    latest = _requests(simulator.requests.after(0, REQUESTS_SHOWN))
    return (_section("Machines", listed, count) + _violations(list(simulator.violations)) + _faults(simulator)
            + _section("Requests", latest, "the latest first", "requests"))


def _clock(moment: str) -> str:
    """The time of day of an ISO time, as it was reported; anything else as it is."""
    found = re.match(r"\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)", moment)
    return found[1] if found else moment


def _last_word(summary: dict[str, Any]) -> str:
    """What the last health report said; Ready says nothing."""
    reports = summary["provisioning"]["reports"]
    words = reports[-1]["description"] if reports else ""
    return escape(words) if words else '<span class="none">-</span>'


def _faults(simulator: Simulator) -> str:
    rows = [f"<tr><td>{escape(one.describe())}</td>"
            f"<td><code>{escape(one.method or 'any')} {escape(one.path)}</code>"
            f'</td><td class="n">{one.met}{"" if one.count is None else f" of {one.count}"}</td></tr>'
            for one in simulator.faults]
    return _section("Faults", _table(("Fault", "Meets", "#Met"), rows, "")) if rows else ""


def _violations(found: list[Violation]) -> str:
    if not found:
        return ""
    rows = [f'<tr><td class="n">{one.request_number}</td><td>{escape(one.machine or "-")}</td>'
            f'<td><span class="state bad">{escape(one.rule)}</span></td>'
            f'<td class="wide">{escape(_unsigned(one.message))}{_target(*_split(one.request))}</td></tr>'
            for one in reversed(found[-20:])]
    return _section("Violations", _table(("#Request", "Machine", "Rule", "What"), rows, ""), str(len(found)))


def _split(request: str) -> tuple[str, str]:
    method, _, target = request.partition(" ")
    return method, target


def _requests(found: list[RequestRecord]) -> str:
    rows = []
    for one in reversed(found):
        when = time.strftime("%H:%M:%S", time.localtime(one.time))
        status = "reset" if one.status == 0 else str(one.status)
        kind = "bad" if one.rules or one.fault or one.status == 0 or one.status >= 400 else ""
        note = escape(", ".join([*one.rules, one.fault] if one.fault else one.rules))
        rows.append(f'<tr><td class="t">{when}</td><td>{escape(one.machine or "-")}</td>'
                    f'<td class="t">{escape(one.service.replace("_", " "))}</td>'
                    f'<td class="wide">{_target(one.method, one.target)}</td>'
                    f'<td class="n soft">{one.seconds * 1000:.1f} ms</td>'
                    f'<td class="n {kind}">{status}</td><td class="note bad">{note}</td></tr>')
    return _table(("Time", "Machine", "Service", "Request", "#Took", "#Status", "Note"), rows, "No request yet.")


def _extension(one: dict[str, Any]) -> str:
    name = escape(str(one["name"])) + (f" / {escape(str(one['instance']))}" if one["instance"] else "")
    sub = "".join(
        f"<li>{escape(str(sub['name']))}: {_state(sub['status'])} {escape(str(sub['message'] or ''))}</li>"
        for sub in one["substatus"])
    message = escape(str(one["status_message"] or one["message"] or ""))
    sequence = "-" if one["sequence"] is None else one["sequence"]
    return (f"<tr><td>{name}</td><td>{escape(str(one['version']))}</td><td>{_state(one['handler_status'])}</td>"
            f"<td>{_state(one['status'])}</td><td class=\"n\">{sequence}</td><td class=\"n\">"
            f"{one['code'] if one['status_code'] is None else one['status_code']}</td>"
            f"<td>{message}{f'<ul>{sub}</ul>' if sub else ''}</td></tr>")


def _machine(simulator: Simulator, machine: Machine) -> str:
    summary = machine.reports.summary()
    agent = summary["agent"] or {}
    system = agent.get("os") or {}
    goal = summary["goal_state"] or {}
    facts = {
        "Provisioning": _state(summary["provisioning"]["state"]),
        "Agent": escape(f"{agent.get('version', '-')} {agent.get('message') or ''}"),
        "System": escape(f"{system.get('osName', '-')} {system.get('osVersion', '')}"),
        "Host name": escape(str(system.get("computerName") or machine.host_name)),
        "VM id": f"<code>{escape(machine.vm_id)}</code>",
        "Container": f"<code>{escape(machine.container_id)}</code>",
        "Goal state": escape(
            f"incarnation {machine.incarnation}, {machine.vm_settings_source}, ETag {machine.etag}"),
        "Processed": _state(goal.get("status")) + " " + escape(str(
            part(goal, "formattedMessage").get("message") or "")),
        "Status report": escape(f"{summary['status_uploads']} uploads, the last {_ago(summary['status_time'])}"),
        "Last seen": escape(_ago(summary["last_seen"])),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items())
    health = [f'<tr><td class="t">{time.strftime("%H:%M:%S", time.localtime(one["time"]))}</td>'
              f"<td>{_state(one['state'], one['substatus'])}</td><td>{escape(one['substatus'])}</td>"
              f"<td>{escape(one['description'])}</td></tr>" for one in summary["provisioning"]["reports"]]
    stages = [f"<tr><td>{_state('success' if one['success'] else 'failed')}</td><td>{escape(one['message'])}</td>"
              f'<td class="n">{"-" if one["milliseconds"] is None else one["milliseconds"]} ms</td>'
              f'<td class="t">{escape(_clock(str(one["time"])))}</td></tr>' for one in summary["stages"]]
    extensions = _table(("Extension", "Version", "Handler", "Settings", "#Sequence", "#Code", "Message"),
                        [_extension(one) for one in summary["extensions"]], "No extension reported.")
    wanted = [f"<tr><td>{escape(one.name)}</td><td>{escape(one.version)}</td><td>{_state(one.state)}</td></tr>"
              for one in (machine.fast_goal or machine.fabric_goal).extensions]
    requests = [one for one in simulator.requests.after(0, 2000) if one.machine == machine.name][-REQUESTS_SHOWN:]
    own = [one for one in simulator.violations if one.machine == machine.name]
    told = _table(("Time", "State", "Substatus", "Description"), health, "No report yet.")
    return (_section(machine.name, f"<dl>{listed}</dl>") + _section("Provisioning", told)
            + (_section("Stages", _table(("Outcome", "Message", "#Took", "Time"), stages, "")) if stages else "")
            + _section("Extensions", extensions, "as reported")
            + _section("Extensions", _table(("Extension", "Version", "State"), wanted, "None."), "as published")
            + _violations(own) + _section("Requests", _requests(requests), "the latest first", "requests"))
