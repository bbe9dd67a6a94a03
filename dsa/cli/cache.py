"""The verbs about the cache: `dsa cache list`, `pin`, `unpin`, `drop`."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import Rev, of_one_store, verb, verbs
from dsa.cli.help import Verbs
from dsa.cli.run import Run
from dsa.errors import UsageError

THEME = "Keep"


class _Cache(Verbs):
    usual = "list"


def cache(_: Run) -> None:
    """Show, pin and drop what is kept here of remotes; without a verb: `list`.

    The cache is used where its folder is there or configured (`cache.folder`, `cache.limit`), and by
    `dsa checkout --cache`. What was used the longest ago goes first when it is full.
    """


def list_(run: Run) -> None:
    """List what is in the cache: size, when it was last used, its name in a store, and what pins it."""
    run.show(run.store().cached())


def pin(run: Run, revision: Rev) -> None:
    """Fetch what the cache lacks of a revision, and keep all of it there whatever the limit is."""
    with run.progress() as progress:
        report = run.store().pin(revision, progress=progress)
    run.show(report)


def unpin(run: Run, revision: Rev) -> None:
    """Let a revision's files leave the cache again."""
    run.show(run.store().unpin(revision))


def drop(
    run: Run,
    revision: Annotated[
        str | None, Argument(metavar="REV", help="Only its files", callback=of_one_store)
    ] = None,
    everything: Annotated[bool, Option("--all", help="Everything that is not pinned")] = False,
) -> None:
    """Remove files from the cache; what is pinned stays."""
    if everything == (revision is not None):
        raise UsageError("give a REV or --all", hint="dsa cache drop --all")
    run.show(run.store().drop_cached(revision))


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    group = verbs(app, THEME, cache, _Cache)
    verb(group, name="list")(list_)
    for function in (pin, unpin, drop):
        verb(group)(function)
