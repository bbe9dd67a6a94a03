"""`python -m bench.page`: the tables and plots of the docs, from what `--json` wrote.

    python -m bench.page --into docs/performance.md --plots docs/plots bench/results/*.json
    python -m bench.page --short small --into README.md bench/results/small.json

Without `--into` the text is printed. In a page it stands between two comments, see `_BEGIN`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import plot

_BEGIN = "<!-- figures: written by `python -m bench.page` -->"
_END = "<!-- end of figures -->"
_OWN = "dsa"
_BASE = "cp -a"
_AHEAD = 0.95  # of two figures that differ by less than 5 % none is ahead
_MACHINE = ("processor", "memory", "system", "python", "file system", "caution")

Found = dict[str, Any]  # what `--json` wrote
Row = dict[str, Any]


def main() -> int:
    """Write what was asked for; 2 if a page has no place for it."""
    options = _options()
    found = merged(json.loads(file.read_text()) for file in options.results)
    text = short(found, options.short) if options.short else full(found)
    if options.plots:
        options.plots.mkdir(parents=True, exist_ok=True)
        for name, drawn in plot.plots(found).items():
            (options.plots / f"{name}.svg").write_text(drawn)
    if options.into is None:
        print(text, end="")
        return 0
    page = options.into.read_text()
    if _BEGIN not in page or _END not in page:
        print(f"bench: {options.into} has no lines '{_BEGIN}' and '{_END}'", file=sys.stderr)
        return 2
    options.into.write_text(placed(page, text))
    return 0


def merged(results: Iterable[Found]) -> Found:
    """Return several runs of the same machine as one; of a set that is there twice the last one."""
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    sets: dict[str, Found] = {}
    for found in results:
        machine |= found["machine"]
        versions |= found["versions"]
        sets |= {one["name"]: one for one in found["sets"]}
    return {"machine": machine, "versions": versions, "sets": list(sets.values())}


def placed(page: str, text: str) -> str:
    """Return a page with this text in its place."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{text}\n{_END}{rest.partition(_END)[2]}"


def full(found: Found) -> str:
    """Return machine, a table of every set, and where a peer is ahead."""
    lines = [f"* {name}: {found['machine'][name]}" for name in _MACHINE if name in found["machine"]]
    lines += [
        "* " + ", ".join(f"{name} {said}".strip() for name, said in found["versions"].items())
    ]
    for one in found["sets"]:
        lines += ["", f"### The set {one['name']}", "", f"{_capital(one['about'])}.", *_copied(one)]
        lines += ["", *table(one)]
        if plot.draw(one):
            lines += ["", _picture(f"plots/{one['name']}.svg")]
        lines += _remarks(one)
    lines += ["", "### Where a peer is ahead", "", *ahead(found)]
    return "\n".join(lines) + "\n"


def short(found: Found, name: str) -> str:
    """Return what a first page shows of one set: its picture and its table."""
    one = next(one for one in found["sets"] if one["name"] == name)
    about = f"{_capital(one['about'])}; {found['machine']['processor']}."
    picture = _picture(f"docs/plots/{name}.svg")
    return "\n".join([about, *_copied(one), "", picture, "", *table(one)]) + "\n"


def table(one: Found) -> Iterator[str]:
    """Yield a line for every operation, a column for every program: seconds, ratio to cp -a + sync."""
    rows = {(row["operation"], row["program"]): row for row in one["rows"]}
    programs = [name for name in _unique(one, "program") if name != _BASE]
    operations = [name for name in _unique(one, "operation") if not name.startswith(_BASE)]
    failed = {(failure["operation"], failure["program"]) for failure in one["failures"]}
    yield "| | " + " | ".join(programs) + " |"
    yield "|---|" + "---:|" * len(programs)
    for operation in operations:
        there = [rows[operation, name] for name in programs if (operation, name) in rows]
        best = min((_measure(row) for row in there), default=0)
        cells = []
        for name in programs:
            row = rows.get((operation, name))
            if row:
                cells.append(_cell(row, is_best=len(there) > 1 and _measure(row) == best))
            else:
                cells.append("failed" if (operation, name) in failed else "")
        yield f"| {operation} | " + " | ".join(cells) + " |"
    yield _line("most memory, MB", one, programs, operations, "peak_bytes")
    yield _line("written by the first, MB", one, programs, operations[:1], "written_bytes")


def ahead(found: Found) -> Iterator[str]:
    """Yield a table of all that a peer does faster than dsa, only the fastest peer of each."""
    lines = []
    for one in found["sets"]:
        for operation in _unique(one, "operation"):
            rows = [row for row in one["rows"] if row["operation"] == operation]
            own = next((row for row in rows if row["program"] == _OWN), None)
            peers = [row for row in rows if row["program"] not in (_OWN, _BASE, "python -c pass")]
            if own and peers:
                best = min(peers, key=_measure)
                if _measure(best) < _AHEAD * _measure(own):
                    cells = [one["name"], operation, best["program"], _cell(best), _cell(own)]
                    lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return iter(["Nowhere in these tables."])
    return iter(
        ["| set | operation | fastest | its seconds | dsa's |", "|---|---|---|---:|---:|", *lines]
    )


def _unique(one: Found, what: str) -> Sequence[str]:
    return list(dict.fromkeys(row[what] for row in one["rows"]))


def _measure(row: Row) -> float:
    """Return what two rows are compared by: the ratio, which drifts less, where there is one."""
    return float(row["to_copy_sync"] or row["seconds"])


def _cell(row: Row, *, is_best: bool = False) -> str:
    seconds = row["seconds"]
    text = f"{seconds:.{3 if seconds < 0.1 else 2 if seconds < 10 else 0}f}"
    ratio = row["to_copy_sync"]
    if ratio is not None:
        text += f" ({ratio:.2f})" if ratio < 10 else f" ({ratio:,.0f})"
    return f"**{text}**" if is_best else text


def _line(
    name: str, one: Found, programs: Sequence[str], operations: Sequence[str], what: str
) -> str:
    cells = []
    for program in programs:
        values = [
            row[what]
            for row in one["rows"]
            if row["program"] == program and row["operation"] in operations
        ]
        known = [value for value in values if value is not None]
        cells.append(f"{max(known) / 1e6:,.0f}" if known else "")
    return f"| {name} | " + " | ".join(cells) + " |"


def _copied(one: Found) -> Iterator[str]:
    rows = {row["operation"]: row for row in one["rows"] if row["program"] == _BASE}
    if rows:
        plain, synced = rows[_BASE], rows[f"{_BASE} + sync"]
        yield (
            f"`cp -a` took {plain['seconds']:.2f} s, and {synced['seconds']:.2f} s with a sync after it "
            f"(medians of {plain['runs']})."
        )


def _remarks(one: Found) -> Iterator[str]:
    for program, why in one["once"].items():
        yield f"\n{program} was measured once only: {why}."
    for failure in one["failures"]:
        why = " ".join(failure["error"].split()).replace("`", "'")
        gone = "; then it was left out" if failure["program"] in one["gone"] else ""
        yield f"\nFailed: {failure['program']}, {failure['operation']}: `{why[:160]}`{gone}."


def _picture(path: str) -> str:
    return f"![seconds relative to cp -a and a sync after it]({path})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description="Write the docs' tables and plots from results."
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json")
    parser.add_argument("--short", metavar="SET", help="only the picture and the table of one set")
    parser.add_argument(
        "--into", type=Path, metavar="PAGE", help="put the text into its place there"
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write a plot of every set there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
