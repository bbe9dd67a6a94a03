"""Results as a picture: SVG in plain text, readable on a light and on a dark page.

For every operation a bar per program, the fastest first: its seconds relative to `cp -a` and a sync
after it. The axis is linear, and ends at 2, or where dsa's own bars all fit: a peer's longer bar is
cut, and its number says how long it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

_ENDS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)  # where the axis may end
_WIDTH = 760
_NAMES = 96  # room for the programs' names
_NUMBERS = 150  # room for the numbers behind the bars
_ROW = 17
_BAR = 11
_GAP = 34  # room for an operation's name
_TOP = 62
_BOTTOM = 26

_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.operation { font-weight: 600; }
.faint { fill: #59636e; }
.peer { fill: #a3adb8; }
.dsa { fill: #0969da; }
.dsa-name { font-weight: 600; fill: #0969da; }
.grid { stroke: #d1d9e0; }
.one { stroke: #59636e; stroke-dasharray: 3 3; }
.cut { stroke: #ffffff; stroke-width: 2.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .faint { fill: #9198a1; }
  .peer { fill: #656c76; }
  .dsa { fill: #4493f8; }
  .dsa-name { fill: #4493f8; }
  .grid { stroke: #3d444d; }
  .one { stroke: #9198a1; }
  .cut { stroke: #0d1117; }
}
"""


def plots(found: dict[str, Any]) -> dict[str, str]:
    """Return a picture of every set that was held against a copy, by the set's name."""
    drawn = {one["name"]: draw(one) for one in found["sets"]}
    return {name: text for name, text in drawn.items() if text}


def draw(found: dict[str, Any]) -> str:
    """Return one set's picture as SVG; nothing where there is nothing to compare."""
    groups = list(_groups(found))
    if not groups:
        return ""
    end = _end(groups)
    height = _TOP + sum(_GAP + _ROW * len(rows) for _, rows in groups) + _BOTTOM
    title = f"{found['name']}: {found['about']}"
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="t">',
        f'<title id="t">{escape(title)}: seconds relative to cp -a and sync</title>',
        f"<style>{_STYLE}</style>",
        _text(0, 18, title, "title"),
        _text(0, 38, "seconds × those of cp -a and a sync after it; shorter is faster", "faint"),
        *_grid(height, end),
    ]
    at = _TOP
    for operation, rows in groups:
        lines.append(_text(0, at + _GAP - 12, operation, "operation"))
        at += _GAP
        for row in rows:
            lines += _bar(row, at, end)
            at += _ROW
    return "\n".join([*lines, "</svg>", ""])


def _groups(found: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield each operation with its rows, the fastest first, where more than one program has it."""
    rows = [row for row in found["rows"] if row["to_copy_sync"] and not _is_base(row)]
    for operation in dict.fromkeys(row["operation"] for row in rows):
        own = [row for row in rows if row["operation"] == operation]
        if len(own) > 1:
            yield operation, sorted(own, key=lambda row: row["to_copy_sync"])


def _is_base(row: dict[str, Any]) -> bool:
    return bool(row["program"] == "cp -a")


def _end(groups: list[tuple[str, list[dict[str, Any]]]]) -> float:
    """Return where the axis ends."""
    own = [row["to_copy_sync"] for _, rows in groups for row in rows if row["program"] == "dsa"]
    return next((end for end in _ENDS if end >= max(own, default=0)), _ENDS[-1])


def _grid(height: int, end: float) -> Iterator[str]:
    for ratio in sorted({0, 1, end / 2, end}):
        x = _x(ratio, end)
        kind = "one" if ratio == 1 else "grid"
        yield f'<line class="{kind}" x1="{x}" x2="{x}" y1="{_TOP}" y2="{height - _BOTTOM + 6}"/>'
        if ratio != 1 or end < 20:  # there its number would run into that of 0
            yield _text(x, height - 4, f"{ratio:g} ×", "faint", anchor="middle")


def _bar(row: dict[str, Any], y: int, most: float) -> Iterator[str]:
    ratio, name = row["to_copy_sync"], row["program"]
    is_own = name == "dsa"
    end = _x(min(ratio, most), most)
    kind = "dsa" if is_own else "peer"
    middle = y + _BAR - 1.5
    yield _text(_NAMES - 8, middle, name, "dsa-name" if is_own else "", anchor="end")
    width = max(1.5, end - _NAMES)
    yield f'<rect class="{kind}" x="{_NAMES}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="1.5"/>'
    if ratio > most:
        yield f'<path class="cut" d="M{end - 15:.1f} {y + _BAR + 1}l6 {-_BAR - 2}"/>'
    yield _text(end + 6, middle, f"{_number(ratio)} ×", "dsa-name" if is_own else "")
    yield _text(end + 60, middle, f"{_number(row['seconds'])} s", "faint")


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _x(ratio: float, end: float) -> float:
    return round(_NAMES + ratio / end * (_WIDTH - _NAMES - _NUMBERS), 1)


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:g}" y="{y:g}"{named}{placed}>{escape(text)}</text>'
