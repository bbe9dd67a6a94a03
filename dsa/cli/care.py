"""The verbs of a keeper: verify, whereis."""

from __future__ import annotations

from typing import Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import Rev, of_one_store, remote_names, verb
from dsa.cli.run import Run
from dsa.errors import AccessError, DamageError, NotFoundError, UsageError

THEME = "Keep"


def verify(
    run: Run,
    revisions: Annotated[
        list[str] | None,
        Argument(metavar="REV", help="Only these (default: everything)", callback=of_one_store),
    ] = None,
    everything: Annotated[bool, Option("--all", help="Everything, as without REV")] = False,
    remote: Annotated[
        str | None,
        Option(
            "--remote",
            metavar="NAME",
            help="Check the remote of this name, as --store NAME does",
            autocompletion=remote_names,
        ),
    ] = None,
    data: Annotated[bool, Option("--data", help="Read and hash every byte, too")] = False,
    read: Annotated[
        bool,
        Option("--read", help="With --data: read what the store's own checksums vouch for, too"),
    ] = False,
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
    is damaged is recorded in the store, so that the next push of the same data heals it. With
    --data, a file is not read where the store's server gives its right SHA-1, if `dsa remote doctor`
    found that trustworthy.
    """
    specs = _meant(revisions or [], everything, folder)
    with run.progress() as progress:
        store = run.store(_named(run, remote, specs))
        report = (
            store.verify(specs, data=data or read, record=not dry_run, read=read, progress=progress)
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


def _named(run: Run, remote: str | None, specs: tuple[str, ...]) -> str | None:
    """Return the remote's name if there is one of that name, and nothing else names a store."""
    if remote is None:
        return None
    from dsa.cas.names import split_remote

    if run.store_option not in (None, remote) or any(split_remote(spec)[0] for spec in specs):
        raise UsageError("two stores are named", hint="name one: by --remote, --store or NAME:REV")
    return run.settings.remote(remote).name


def whereis(
    run: Run,
    revision: Rev,
) -> None:
    """Tell which remotes, and the store in force, hold a revision completely.

    With the evidence: listed (the store's tables name it all, looked at now), attested (its server
    gave the right checksums) or read (`dsa verify --data` read every byte), and the date of each.
    Exit 3 if no store holds it, 6 if none could be asked.
    """
    report = run.store().whereis(revision)
    run.show(report)
    missing = NotFoundError.exit_code if report.is_answered else AccessError.exit_code
    run.leave(0 if report.is_somewhere else missing)


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for function in (verify, whereis):
        verb(app, THEME)(function)
