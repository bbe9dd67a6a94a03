"""The verb of a keeper: verify."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import of_one_store, verb
from dsa.cli.run import Run
from dsa.errors import DamageError, UsageError

THEME = "Keep"


def verify(
    run: Run,
    revisions: Annotated[
        list[str] | None,
        Argument(metavar="REV", help="Only these (default: everything)", callback=of_one_store),
    ] = None,
    everything: Annotated[bool, Option("--all", help="Everything, as without REV")] = False,
    data: Annotated[bool, Option("--data", help="Read and hash every byte, too")] = False,
    folder: Annotated[
        str | None,
        Option("--dir", metavar="DIR", help="Check this plain folder against one REV instead"),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Do not record what is damaged in the store")
    ] = False,
) -> None:
    """Check that a store is whole; damage, or a folder that differs, is exit 5.

    By default its structure: refs, trees, indexes, locations, and that all objects are there. What
    is damaged is recorded in the store, so that the next push of the same data heals it.
    """
    specs = _meant(revisions or [], everything, folder)
    with run.progress() as progress:
        store = run.store()
        report = (
            store.verify(specs, data=data, record=not dry_run, progress=progress)
            if folder is None
            else store.verify_folder(folder, specs[0], progress=progress)
        )
    run.show(report)
    run.leave(0 if report.is_clean else DamageError.exit_code)


def _meant(revisions: list[str], everything: bool, folder: str | None) -> tuple[str, ...]:
    """Return the revisions to look at; none are all."""
    if everything and revisions:
        raise UsageError("--all and REV exclude each other", hint="give one of them")
    if folder is not None and len(revisions) != 1:
        raise UsageError(
            "--dir checks a folder against one revision", hint="dsa verify --dir DIR REV"
        )
    return tuple(revisions)


def register(app: typer.Typer) -> None:
    """Add this verb to the app."""
    verb(app, THEME)(verify)
