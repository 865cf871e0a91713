"""A boot as a picture: svg(timeline) draws what `waagent analyze show --format json` says.

One lane a step, one band a stage; the bar is the step's own time, the thin grey tail behind it the engine's. Steps
that had nothing to do and cost nothing are counted in the band's title, not drawn. The same timeline gives the same
bytes. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

from typing import Any

WIDTH = 960
MARGIN = 24
LABELS = 200  # the column of names on the left
RIGHT = 84  # room for the last bar's duration
LANE = 20
TITLE = 30
TOP = 86
LEGEND = 44
# A bar shorter than this could not be seen.
SHORTEST = 2.0
NOTHING = 0.0015

STYLE = """\
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #3b4252 }
.head { font-size: 17px; font-weight: 600; fill: #1f2937 }
.stage { font-size: 13px; font-weight: 600; fill: #1f2937 }
.soft { fill: #6b7280; font-size: 11px }
.paper { fill: #ffffff } .band { fill: #f3f5f8 } .rule { stroke: #d5dae1; stroke-width: 1 }
.changed { fill: #2f7ed8 } .unchanged { fill: #4fb0a5 } .skipped { fill: #b8c0cc }
.failed { fill: #d64545 } .running { fill: #e0a030 } .engine { fill: #9b7fc7 }
.whole { fill: #c3cad4 }
@media (prefers-color-scheme: dark) {
text { fill: #c9d1d9 } .head, .stage { fill: #f0f3f6 } .soft { fill: #8b949e }
.paper { fill: #14181d } .band { fill: #1d232b } .rule { stroke: #323a45 } .whole { fill: #4a5461 }
}
"""


def svg(timeline: dict[str, Any]) -> str:
    """The picture of a Timeline.as_dict(), as a whole SVG document."""
    stages = [(stage, *_visible(stage["steps"])) for stage in timeline["stages"]]
    height = TOP + sum(TITLE + LANE * len(shown) + 14 for _, shown, _ in stages) + LEGEND
    scale = _Scale(max(float(timeline["seconds"]), 0.001))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="Timeline of a boot">',
        f"<style>\n{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>',
        _text(MARGIN, 34, f"Boot: {timeline['state']} after {_span(timeline['seconds'])}", "head"),
        _text(MARGIN, 54, _account(timeline), "soft"),
    ]
    bottom = height - LEGEND
    places, y = [], float(TOP)
    for _, shown, _ in stages:
        places.append(y)
        tall = TITLE + LANE * len(shown) + 6
        wide = WIDTH - 2 * MARGIN + 20
        parts.append(f'<rect class="band" x="{MARGIN - 10}" y="{y:.1f}" width="{wide}" height="{tall}" rx="6"/>')
        y += tall + 8
    for second, told in scale.ticks():
        x = scale.x(second)
        parts.append(f'<line class="rule" x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(_text(x, TOP - 8, told, "soft", "middle"))
    for y, (stage, shown, left_out) in zip(places, stages):
        parts.append(_stage(stage, left_out, y, scale))
        parts += [_lane(step, y + TITLE + LANE * number, scale) for number, step in enumerate(shown)]
    parts.append(_legend(bottom + 22))
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """Seconds to pixels."""

    def __init__(self, seconds: float) -> None:
        self.step = next(
            step * 10.0**power
            for power in range(-4, 7)
            for step in (1, 2, 5)
            if seconds / (step * 10.0**power) <= 9
        )
        self.seconds = seconds
        self._width = WIDTH - MARGIN - LABELS - RIGHT

    def x(self, second: float) -> float:
        return MARGIN + LABELS + max(0.0, second) / self.seconds * self._width

    def ticks(self) -> list[tuple[float, str]]:
        count = int(self.seconds / self.step + 1e-9) + 1
        return [(self.step * i, f"{round(self.step * i, 4):g} s") for i in range(count)]


def _visible(steps: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The steps to draw, and how many are left out: skipped ones that cost nothing."""
    shown = [step for step in steps if step["outcome"] != "skipped" or step["seconds"] >= NOTHING]
    return shown, len(steps) - len(shown)


def _account(timeline: dict[str, Any]) -> str:
    return (
        f"{_span(timeline['inside'])} in steps, {_span(timeline['engine'])} in the engine, "
        f"{_span(timeline['startup'])} starting it; waagent {timeline['version']}"
    )


def _stage(stage: dict[str, Any], left_out: int, y: float, scale: _Scale) -> str:
    left = scale.x(stage["at"] - stage["startup"])
    width = max(scale.x(stage["at"] + stage["seconds"]) - left, SHORTEST)
    told = f"{_span(stage['seconds'])}"
    if stage["state"] != "done":
        told += f", {stage['state']}"
    if left_out:
        told += f"; {left_out} step{'s' if left_out > 1 else ''} skipped"
    # The words stand beside the bar, on the side where there is room.
    right = left + width + 8
    beside = (right, "start") if right < WIDTH - 220 else (left - 8, "end")
    return "\n".join(
        [
            _text(MARGIN, y + 19, str(stage["name"]), "stage"),
            f'<rect class="whole" x="{left:.1f}" y="{y + 11:.1f}" width="{width:.1f}" height="8" rx="4"/>',
            _text(beside[0], y + 19, told, "soft", beside[1]),
        ]
    )


def _lane(step: dict[str, Any], y: float, scale: _Scale) -> str:
    left = scale.x(step["at"])
    own = max(scale.x(step["at"] + step["seconds"]) - left, SHORTEST)
    engine = scale.x(step["at"] + step["engine"]) - scale.x(step["at"])
    end = left + own + engine
    title = f"{step['name']}: {step['outcome']}: {step['message']} (engine {_span(step['engine'])})"
    kind = step["outcome"]
    bars = [f'<rect class="{kind}" x="{left:.1f}" y="{y + 3:.1f}" width="{own:.1f}" height="13" rx="2"/>']
    if engine >= 0.5:
        bars.append(
            f'<rect class="engine" x="{left + own:.1f}" y="{y + 7:.1f}" width="{engine:.1f}" height="5" rx="1"/>'
        )
    room = end + 6 < WIDTH - MARGIN - 44
    place = (end + 6, "start") if room else (left - 6, "end")
    return "\n".join(
        [
            f"<g><title>{_escape(title)}</title>",
            _text(MARGIN + 12, y + 14, _short(str(step["name"]))),
            *bars,
            _text(place[0], y + 14, _span(step["seconds"]), "soft", place[1]),
            "</g>",
        ]
    )


def _legend(y: float) -> str:
    parts, x = [], float(MARGIN)
    for kind in ("changed", "unchanged", "skipped", "failed", "running", "engine"):
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y - 9:.1f}" width="12" height="12" rx="2"/>')
        parts.append(_text(x + 17, y + 1, kind, "soft"))
        x += 32 + 7 * len(kind)
    return "\n".join(parts)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{_escape(words)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= 27 else f"{name[:26]}…"


def _span(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _escape(words: str) -> str:
    words = "".join(char if char.isprintable() else "\ufffd" for char in words)
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
