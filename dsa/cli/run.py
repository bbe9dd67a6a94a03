"""One run of the command line: what the common options and the environment say, and where output goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from dsa.progress import SILENT, Progress

if TYPE_CHECKING:
    from dsa.config.layers import Layer
    from dsa.config.settings import Settings
    from dsa.reports import Report
    from dsa.store import Store

Row = TypeVar("Row")


@dataclass(slots=True)
class Run:
    """Every command gets one as its first argument; `environ` is the only way to the environment."""

    environ: Mapping[str, str]
    store_option: str | None = None
    jobs_option: str | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False
    log_file: str | None = None
    logs_here: bool = False  # a log goes to stderr

    _layers: tuple[Layer, ...] | None = None
    _settings: Settings | None = None

    @property
    def options(self) -> dict[str, str]:
        """What the common options set, by the name of the setting."""
        given = {"store": self.store_option, "jobs": self.jobs_option, "log.file": self.log_file}
        return {name: text for name, text in given.items() if text}

    @property
    def settings(self) -> Settings:
        """All settings in force, from files, environment and options."""
        if self._settings is None:
            from dsa.config.settings import merge

            self._settings = merge(self.layers)
        return self._settings

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Where settings come from; nothing is checked yet, so that what is wrong can be mended."""
        if self._layers is None:
            from dsa.config.layers import read_layers

            self._layers = read_layers(Path(), self.environ, self.options)
        return self._layers

    def working(self) -> AbstractContextManager[None]:
        """Keep to the number of worker processes that is set while the context lasts."""
        from dsa.config.settings import value

        jobs = value(self.layers, "jobs")
        if jobs is None:
            return nullcontext()
        from dsa.workers.crew import at_most

        return at_most(jobs)

    def store(
        self, name_or_url: str | None = None, *, options: Mapping[str, str] | None = None
    ) -> Store:
        """Return a store by name, path or URL, else the one in force; nothing is looked at yet."""
        from dsa.store import Store

        return Store.at(name_or_url, self.settings, options=options)

    def progress(self) -> AbstractContextManager[Progress]:
        """Draw progress on a terminal while the context lasts; stay silent elsewhere."""
        if (
            self.quiet
            or self.logs_here
            or self.environ.get("TERM") == "dumb"
            or not sys.stderr.isatty()
        ):
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

    def told(self, facts: Mapping[str, object], *lines: str) -> None:
        """Tell what was done: as lines on stderr, or with `--json` as one object of facts on stdout."""
        from dsa.cli import console

        if self.json:
            console.out(console.as_json(facts, indent=2))
        for line in lines:
            self.say(line)

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
