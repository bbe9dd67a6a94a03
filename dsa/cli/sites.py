"""The verb of a site that keeps copies: mirror."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from dsa.cas.names import is_folder, printable
from dsa.cli.common import verb
from dsa.cli.run import Run
from dsa.errors import ConflictError, DamageError, DsaError, UsageError

if TYPE_CHECKING:
    from dsa.reports import MirrorReport

THEME = "Keep"


def mirror(
    run: Run,
    source: Annotated[str, Argument(metavar="SRC", help="From: a remote's name, a path or a URL")],
    target: Annotated[
        str, Argument(metavar="DST", help="To: likewise; it becomes a store if it is none")
    ],
    revisions: Annotated[
        list[str] | None,
        Argument(metavar="DATASET[@REV]", help="All of a dataset, or one revision (repeatable)"),
    ] = None,
    everything: Annotated[bool, Option("--all", help="Everything that SRC publishes")] = False,
    withdrawals: Annotated[
        bool, Option("--withdrawals", help="Withdraw at DST what was withdrawn at SRC")
    ] = False,
    server_side: Annotated[
        bool,
        Option(
            "--server-side",
            help="Between two stores of one S3 server: let it copy; the bytes are not verified",
        ),
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Say what would travel, write nothing")
    ] = False,
) -> None:
    """Bring datasets of one store to another; only what is missing there travels, every byte verified.

    What DST has under the same name with other content is never overwritten (exit 4); what SRC
    does not have whole is not mirrored (exit 5). Everything else is, in both cases.
    """
    if run.store_option:
        raise UsageError("the stores are SRC and DST, not --store", hint="dsa mirror SRC DST --all")
    _refuse_mistyped(run, target)
    with run.progress() as progress:
        report = run.store(source).mirror(
            run.store(target),
            revisions or (),
            everything=everything,
            withdrawals=withdrawals,
            server_side=server_side,
            dry_run=dry_run,
            progress=progress,
        )
    run.show(report)
    error = _error(report)
    if error is not None and run.json:
        run.leave(error.exit_code)  # the report has it all
    if error is not None:
        raise error


def _refuse_mistyped(run: Run, target: str) -> None:
    """Refuse a bare name that is neither a remote nor a folder: it would become a new store here."""
    is_bare = not (is_folder(target) or "/" in target)
    if is_bare and target not in run.settings.remotes and not Path(target).is_dir():
        name = printable(target)
        raise UsageError(
            f"{name} is neither a remote nor a folder here",
            hint=f"write ./{name} for a new folder; `dsa remote add {name} URL` names a store",
        )


def _error(report: MirrorReport) -> DsaError | None:
    """Return what was not mirrored as an error; None where nothing stood in the way."""
    if report.is_clean:
        return None
    told = []
    if report.conflicts:
        told.append(f"{len(report.conflicts)} in conflict with what {report.target} has")
    if report.damaged:
        told.append(f"{len(report.damaged)} damaged")  # at which side, each of them says
    problems = [f"{name}: {why}" for name, why in {**report.conflicts, **report.damaged}.items()]
    return (DamageError if report.damaged else ConflictError)(
        f"not everything {'can be' if report.dry_run else 'was'} mirrored: {', '.join(told)}",
        hint="nothing of it was touched, and everything else is mirrored"
        if not report.dry_run
        else None,
        problems=problems,
    )


def register(app: typer.Typer) -> None:
    """Add this verb to the app."""
    verb(app, THEME)(mirror)
