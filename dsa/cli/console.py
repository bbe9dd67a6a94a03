"""How values are written: lines, sizes, columns, JSON, and names that cannot harm a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from dsa.cas.names import count, printable


def out(line: str, *, end: str = "\n") -> None:
    """Write data to stdout."""
    sys.stdout.write(line + end)


def say(line: str) -> None:
    """Write a remark to stderr, after the data that was written so far."""
    sys.stdout.flush()
    sys.stderr.write(line + "\n")


def as_json(value: object, *, indent: int | None = None) -> str:
    """Write a report or a plain value as JSON, in ASCII: right in every locale, harmless on every terminal."""
    return _JSON[indent].encode(_plain(value) if hasattr(value, "as_json") else value)


def _plain(value: object) -> Any:
    """Make of a report, a mapping or an id what JSON has for it."""
    if hasattr(value, "as_json"):
        return value.as_json()
    return dict(value) if isinstance(value, Mapping) else str(value)


_JSON = {indent: json.JSONEncoder(indent=indent, default=_plain) for indent in (None, 2)}


def json_array(rows: Iterable[object]) -> Iterator[str]:
    """Yield the lines of one JSON array, an element a line; `[` comes with the first row."""
    before = "["
    for row in rows:
        line = as_json(row)
        if before == "[":
            yield before
        else:
            yield f"{before},"
        before = line
    yield from ["[]"] if before == "[" else [before, "]"]


def harmless(text: str) -> str:
    """Escape what could steer a terminal in a message, whose names may be escaped already."""
    return "\\".join(map(printable, text.split("\\")))


def lines_of(text: str) -> list[str]:
    """Split a person's text into lines that are safe to print."""
    return [printable(line) for line in text.replace("\r\n", "\n").split("\n")]


def size(size_bytes: int) -> str:
    """Write a size for a person, in decimal units: `999 bytes`, `1.5 kB`, `12 GB`."""
    if abs(size_bytes) < 1000:
        return count(size_bytes, "byte")
    value = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB", "PB", "EB"):
        value /= 1000
        if abs(value) < 999.5 or unit == "EB":
            break
    return f"{value:.1f} {unit}" if abs(value) < 9.95 else f"{value:.0f} {unit}"


def when(created: str) -> str:
    """Write an RFC 3339 time for a person, to the second."""
    return printable(f"{created[:10]} {created[11:19]} UTC" if created.endswith("Z") else created)


def columns(
    rows: Iterable[Sequence[str]], right: frozenset[int] = frozenset(), *, at_once: int = 1000
) -> Iterator[str]:
    """Align rows under one another; the last column is left as it is.

    Rows go out by the thousand, and widths only ever grow, so that a list of any length streams.
    """
    widths: Sequence[int] = ()
    rows = iter(rows)
    while batch := list(islice(rows, at_once)):
        longest = [max(map(len, cells)) for cells in zip(*batch, strict=True)][:-1]
        widths = [max(pair) for pair in zip(longest, widths or longest, strict=True)]
        cells = (f"{{:{'>' if at in right else '<'}{width}}}" for at, width in enumerate(widths))
        line = "  ".join([*cells, "{}"])
        yield from (line.format(*row) for row in batch)
