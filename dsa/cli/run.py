"""One run of the command line: what the common options and the environment say, and where output goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from dsa.progress import SILENT, Progress

if TYPE_CHECKING:
    from dsa.reports import Report
    from dsa.store import Store

Row = TypeVar("Row")


@dataclass(slots=True)
class Run:
    """Every command gets one as its first argument; `environ` is the only way to the environment."""

    environ: Mapping[str, str]
    store_option: str | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False
    log_file: str | None = None

    @property
    def store_url(self) -> str | None:
        """The store that `--store` or `DSA_STORE` names; None: the default store."""
        return self.store_option or self.environ.get("DSA_STORE") or None

    @property
    def log_level(self) -> str | None:
        """What `DSA_LOGLEVEL` says; None: not set."""
        return self.environ.get("DSA_LOGLEVEL") or None

    def store(self, *, create: bool = False) -> Store:
        """Open the store in force."""
        import dsa

        return dsa.open(self.store_url, create=create)

    def progress(self) -> AbstractContextManager[Progress]:
        """Draw progress on a terminal while the context lasts; stay silent elsewhere."""
        logs_here = self.log_level is not None and self.log_file is None
        if self.quiet or logs_here or self.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
            return nullcontext(SILENT)
        from dsa.cli.progress import Drawing

        return Drawing()

    def show(self, report: Report) -> None:
        """Print a report: what was asked for on stdout, what there is to say about it on stderr."""
        from dsa.cli import console, text

        if self.json:
            console.out(console.as_json(report, indent=2))
            return
        data, remarks = text.read(report)
        for line in data:
            console.out(line)
        for line in () if self.quiet else remarks:
            console.say(line)

    def rows(
        self,
        rows: Iterable[Row],
        lines: Callable[[Iterable[Row]], Iterable[str]] | None = None,
        *,
        end: str = "\n",
    ) -> None:
        """Print rows as they come, each by its `str` or as `lines` makes them.

        With `--json` they are one array, a row a line.

        A failure half-way leaves the array open, so that nobody takes a part for the whole.
        """
        from dsa.cli import console

        if self.json:
            lines, end = console.json_array, "\n"
        for line in map(str, rows) if lines is None else lines(rows):
            console.out(line, end=end)

    def say(self, line: str) -> None:
        """Tell a person something that is not data."""
        from dsa.cli import console

        if not (self.quiet or self.json):
            console.say(console.harmless(line))

    def leave(self, exit_code: int) -> NoReturn:
        """End the command, all being said."""
        raise typer.Exit(exit_code)
