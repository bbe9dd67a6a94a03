"""The forms that `dsa ls` can take: paths, long, sums, NUL-ended, table, JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dsa.cas.names import printable
from dsa.cli import listings
from dsa.errors import UsageError
from dsa.reports import Entry


@dataclass(frozen=True, slots=True)
class Form:
    """Which entries are kept, how they become lines, and what ends a line."""

    lines: Callable[[Iterable[Entry]], Iterable[str]]
    keep: Callable[[Iterable[Entry]], Iterable[Entry]] = iter
    end: str = "\n"


def chosen(*, long: bool, sha256sum: bool, null: bool, parquet: str | None, json: bool) -> Form:
    """Return the form that the options ask for; `UsageError` if they ask for two.

    `--json` prints the same entries as the form beside it.
    """
    given = {
        "--long": long,
        "--sha256sum": sha256sum,
        "--null": null,
        "--parquet": parquet is not None,
    }
    named = [name for name, is_given in given.items() if is_given]
    if json and not long and not sha256sum:
        named.append("--json")
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} ask for different forms", hint="give one of them")
    if sha256sum:
        return Form(_shown_sums, keep=listings.regular)
    if null:
        return Form(listings.raw_paths, end="\0")
    return Form(listings.long if long else listings.paths)


def _shown_sums(entries: Iterable[Entry]) -> Iterable[str]:
    """Write sums; raw, as `sha256sum -c` wants them, but not to a terminal."""
    lines = listings.sums(entries)
    return map(printable, lines) if sys.stdout.isatty() else lines
