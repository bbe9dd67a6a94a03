"""The verbs that look: datasets, revisions, ls, show, log, diff."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import Rev, of_one_store, verb
from dsa.cli.run import Run

THEME = "Look"


def datasets(run: Run) -> None:
    """List the datasets of a store, a name a line."""
    run.rows(run.store().datasets())


def revisions(
    run: Run,
    dataset: Annotated[
        str | None,
        Argument(
            metavar="[REMOTE:]DATASET",
            help="Only of this dataset (default: of all)",
            callback=of_one_store,
        ),
    ] = None,
    long: Annotated[
        bool,
        Option("--long", "-l", help="Also when, who, how many files, how large, and the message"),
    ] = False,
) -> None:
    """List revisions, one DATASET@REVISION a line."""
    from dsa.cli import listings

    found = run.store().revisions(dataset)
    if run.json:
        run.rows(listings.revision_fields(found, is_long=long))
    elif long:
        run.rows(found, listings.long_revisions)
    else:
        run.rows(found)


def ls(
    run: Run,
    revision: Rev,
    prefix: Annotated[str, Argument(help="A folder or file in it (default: its root)")] = "",
    long: Annotated[
        bool, Option("--long", "-l", help="Also mode, size, number of files below, and id")
    ] = False,
    recursive: Annotated[
        bool, Option("--recursive", "-R", help="All files below, and empty folders")
    ] = False,
    sha256sum: Annotated[
        bool, Option("--sha256sum", help="All regular files below, as `sha256sum -c` reads them")
    ] = False,
    null: Annotated[
        bool, Option("--null", "-0", help="End each path with NUL, and escape nothing in it")
    ] = False,
    parquet: Annotated[
        str | None,
        Option(
            "--parquet",
            metavar="FILE",
            help="Write the table of all files below into a Parquet file instead",
        ),
    ] = None,
) -> None:
    r"""List a folder of a revision.

    A path a line, folders with a slash at the end. Control characters in a path are written as \n
    or \x1b; --null and --json give every path exactly.
    """
    from dsa.cli import forms

    form = forms.chosen(long=long, sha256sum=sha256sum, null=null, parquet=parquet, json=run.json)
    found = run.store()[revision]
    if parquet is not None:
        found.write_parquet(parquet, prefix)
        return run.say(f"wrote {parquet}")
    entries = found.walk(prefix) if recursive or sha256sum else found.ls(prefix)
    return run.rows(form.keep(entries), form.lines, end=form.end)


def show(run: Run, revision: Rev) -> None:
    """Tell what a revision is: who made it, when and why, how large, what it shares with its parent."""
    run.show(run.store()[revision].show())


def log(
    run: Run,
    dataset: Annotated[
        str, Argument(metavar="[REMOTE:]DATASET", help="The dataset", callback=of_one_store)
    ],
) -> None:
    """Tell the story of a dataset, newest first: when, who, why, and what changed in numbers."""
    from dsa.cli import listings

    run.rows(run.store().log(dataset), listings.log)


def diff(
    run: Run,
    old: Annotated[
        str,
        Argument(
            metavar="A",
            help="A revision, or a folder: it begins with . / or ~",
            callback=of_one_store,
        ),
    ],
    new: Annotated[str, Argument(metavar="B", help="Another one", callback=of_one_store)],
    exit_code: Annotated[bool, Option("--exit-code", help="Exit with 1 if they differ")] = False,
) -> None:
    """List what turns A into B, each a revision or a folder; lines as of `dsa status`."""
    with run.progress() as progress:
        report = run.store().diff(old, new, progress=progress)
    run.show(report)
    run.leave(1 if exit_code and not report.is_clean else 0)


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for function in (datasets, revisions, ls, show, log, diff):
        verb(app, THEME)(function)
