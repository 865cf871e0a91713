"""The web page of the simulator, as a cloud portal would show it: plain HTML from the server.

    /                   machines, violations, the latest requests
    /machines/NAME      one machine: provisioning, stages, extensions with their messages, its requests

A short script fetches the same address with `?part=1` every two seconds and puts it into the page; without script
the browser reloads by itself. Everything shown passes `html.escape`; the page loads nothing from anywhere.
"""
from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import quote

from .listener import Request, Response
from .record import RequestRecord, Violation
from .reports import part
from .rules import Refused

if TYPE_CHECKING:
    from .machine import Machine
    from .simulator import Simulator

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #18794e; --bad: #c62a2f; --wait: #ad5700; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem 1.5rem; }
h1 { font-size: 1.4rem; } h1 a { color: inherit; text-decoration: none; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
.good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.state { font-weight: 600; white-space: nowrap; } .none { opacity: .6; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; }
dt { opacity: .7; } dd { margin: 0; }
@media (prefers-color-scheme: dark) { :root { --good: #4cc38a; --bad: #ff6369; --wait: #f1a10d; } }
"""
SCRIPT = """
const main = document.querySelector("main");
async function refresh() {
  try {
    const answer = await fetch(location.pathname + "?part=1");
    if (answer.ok) { main.innerHTML = await answer.text(); document.body.style.opacity = 1; }
  } catch (error) { document.body.style.opacity = .5; }
}
setInterval(() => { if (!document.hidden && !getSelection().toString()) refresh(); }, 2000);
"""
GOOD = ("ready", "success", "succeeded", "enabled")
BAD = ("failed", "error", "notready", "unresponsive")
REQUESTS_SHOWN = 40


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
                   f'<h1><a href="/">Simulated fabric</a></h1><main>{content}</main><script>{SCRIPT}</script>'
                   "</body></html>")
    return Response(200, content, "text/html; charset=utf-8", {
        "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                                   "connect-src 'self'; form-action 'none'; base-uri 'none'"})


def _state(value: object) -> str:
    if not value:
        return '<span class="none">-</span>'
    text = str(value)
    kind = "good" if text.lower() in GOOD else "bad" if text.lower() in BAD else "wait"
    return f'<span class="state {kind}">{escape(text)}</span>'


def _table(heads: tuple[str, ...], rows: list[str], empty: str) -> str:
    if not rows:
        return f'<p class="none">{escape(empty)}</p>'
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


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
                    f"<td>{escape(str(agent.get('version') or '-'))}</td><td><ul>{''.join(shown)}</ul></td>"
                    f'<td class="n">{machine.incarnation}</td><td>{_ago(summary["last_seen"])}</td></tr>')
    listed = _table(("Machine", "Provisioning", "Agent", "Extensions", "Incarnation", "Last seen"), rows,
                    "No machine yet: waagent-simulator machine create vm01")
    return (f"<h2>Machines</h2>{listed}{_violations(list(simulator.violations))}{_faults(simulator)}"
            f"<h2>Requests</h2>{_requests(simulator.requests.after(0, REQUESTS_SHOWN))}")


def _faults(simulator: Simulator) -> str:
    rows = [f"<tr><td>{escape(one.describe())}</td>"
            f"<td><code>{escape(one.method or 'any')} {escape(one.path)}</code>"
            f'</td><td class="n">{one.met}{"" if one.count is None else f" of {one.count}"}</td></tr>'
            for one in simulator.faults]
    return f"<h2>Faults</h2>{_table(('Fault', 'Meets', 'Met'), rows, '')}" if rows else ""


def _violations(found: list[Violation]) -> str:
    if not found:
        return ""
    rows = [f'<tr><td class="n">{one.request_number}</td><td>{escape(one.machine or "-")}</td>'
            f'<td class="bad">{escape(one.rule)}</td><td>{escape(one.message)}<br>'
            f"<code>{escape(one.request)}</code></td></tr>" for one in reversed(found[-20:])]
    return f"<h2>Violations ({len(found)})</h2>{_table(('Request', 'Machine', 'Rule', 'What'), rows, '')}"


def _requests(found: list[RequestRecord]) -> str:
    rows = []
    for one in reversed(found):
        when = time.strftime("%H:%M:%S", time.localtime(one.time))
        status = "reset" if one.status == 0 else str(one.status)
        kind = "bad" if one.rules or one.fault or one.status == 0 or one.status >= 400 else ""
        note = escape(", ".join([*one.rules, one.fault] if one.fault else one.rules))
        rows.append(f'<tr><td class="n">{when}</td><td>{escape(one.machine or "-")}</td>'
                    f"<td>{escape(one.service)}</td>"
                    f"<td><code>{escape(one.method)} {escape(one.target.split('&sig=')[0])}</code></td>"
                    f'<td class="n {kind}">{status}</td><td>{note}</td></tr>')
    return _table(("Time", "Machine", "Service", "Request", "Status", "Note"), rows, "No request yet.")


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
    health = [f'<tr><td class="n">{time.strftime("%H:%M:%S", time.localtime(one["time"]))}</td>'
              f"<td>{_state(one['state'])}</td><td>{escape(one['substatus'])}</td>"
              f"<td>{escape(one['description'])}</td></tr>" for one in summary["provisioning"]["reports"]]
    stages = [f"<tr><td>{escape(str(one['time']))}</td><td>{_state('success' if one['success'] else 'failed')}</td>"
              f'<td class="n">{"-" if one["milliseconds"] is None else one["milliseconds"]} ms</td>'
              f"<td>{escape(one['message'])}</td></tr>" for one in summary["stages"]]
    extensions = _table(("Extension", "Version", "Handler", "Settings", "Sequence", "Code", "Message"),
                        [_extension(one) for one in summary["extensions"]], "No extension reported.")
    wanted = [f"<tr><td>{escape(one.name)}</td><td>{escape(one.version)}</td><td>{_state(one.state)}</td></tr>"
              for one in (machine.fast_goal or machine.fabric_goal).extensions]
    requests = [one for one in simulator.requests.after(0, 2000) if one.machine == machine.name][-REQUESTS_SHOWN:]
    own = [one for one in simulator.violations if one.machine == machine.name]
    return (f"<h2>{escape(machine.name)}</h2><dl>{listed}</dl>"
            f"<h2>Provisioning reports</h2>"
            f"{_table(('Time', 'State', 'Substatus', 'Description'), health, 'None yet.')}"
            + (f"<h2>Stages</h2>{_table(('Time', 'Outcome', 'Took', 'Message'), stages, '')}" if stages else "")
            + f"<h2>Extensions, as reported</h2>{extensions}"
            f"<h2>Extensions, as published</h2>{_table(('Extension', 'Version', 'State'), wanted, 'None.')}"
            f"{_violations(own)}<h2>Requests</h2>{_requests(requests)}")
