"""The verbs of a consumer: checkout, status, cat."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import Rev, of_one_store, verb
from dsa.cli.run import Run

THEME = "Use"


def checkout(
    run: Run,
    revision: Annotated[
        str,
        Argument(
            metavar="DATASET[@REVISION]",
            help="What (default: the newest revision)",
            callback=of_one_store,
        ),
    ],
    folder: Annotated[
        str | None,
        Argument(
            metavar="DIR",
            help="Where to (default: the worktree you are in if it is of this dataset, else a new folder named like it)",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        Option(
            "--only",
            metavar="SELECTOR",
            help="Only these (repeatable): a path, a folder, a glob (** crosses /), or re:REGEX",
        ),
    ] = None,
    force: Annotated[bool, Option("--force", "-f", help="Overwrite edited files")] = False,
    clean: Annotated[
        bool, Option("--clean", help="Remove files that the revision does not have")
    ] = False,
    link: Annotated[
        bool,
        Option(
            "--link", help="Hard-link large files from the store, read-only, instead of copying"
        ),
    ] = False,
    cache: Annotated[
        bool | None,
        Option(
            "--cache/--no-cache",
            help="Keep what a remote gives in the cache, and take from it (default: if there is one)",
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Show the plan, write nothing")
    ] = False,
) -> None:
    """Make a folder hold a revision, every byte verified.

    Goes on where an earlier run stopped, and switches a worktree in place. If that would overwrite
    your own edits, nothing is written, and all of them are named (exit 4).
    """
    with run.progress() as progress:
        report = run.store().checkout(
            revision,
            folder,
            only=tuple(only or ()),
            force=force,
            clean=clean,
            link=link,
            dry_run=dry_run,
            cache=cache,
            progress=progress,
        )
    run.show(report)


def status(
    run: Run,
    folder: Annotated[
        str, Argument(metavar="DIR", help="The worktree (default: around the current folder)")
    ] = ".",
    exit_code: Annotated[
        bool, Option("--exit-code", help="Exit with 1 if there are changes")
    ] = False,
) -> None:
    """List how a worktree differs from what is checked out in it.

    A line is `A path` (added), `D path` (removed), `M path` (modified), `R old -> new` (renamed) or
    `X path (mode -> mode)`.
    """
    import dsa

    with run.progress() as progress:
        report = dsa.status(folder, progress=progress)
    run.show(report)
    run.leave(1 if exit_code and not report.is_clean else 0)


def cat(
    run: Run,
    revision: Rev,
    path: Annotated[str, Argument(help="The file in it")],
) -> None:
    """Write one file's bytes to stdout, as they are.

    Below 64 MiB every byte is verified before the first one comes out; a larger file streams, and
    ends with exit 5 if it was not what it should be. --json changes nothing here.
    """
    run.json = False
    found = run.store().revision(revision)
    sys.stdout.flush()
    try:
        found.cat(path, sys.stdout.buffer)
    finally:
        for warning in found.warnings:
            run.say(warning)


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for function in (checkout, status, cat):
        verb(app, THEME)(function)
