"""The verbs of a publisher: init, push, manifest."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from typer import Argument, Option

from dsa.cli.common import of_one_store, remote_names, verb
from dsa.cli.run import Run
from dsa.errors import UsageError

THEME = "Publish"
DIGESTS: dict[str, Literal["sha256", "sha1"]] = {"sha256": "sha256", "sha1": "sha1"}


def init(
    run: Run,
    place: Annotated[
        str | None,
        Argument(
            metavar="NAME_OR_URL",
            help="A remote's name, a path or a URL (default: the store in force)",
            autocompletion=remote_names,
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Say what it would do, write nothing")
    ] = False,
) -> None:
    """Make a store; one that is there already is left as it is."""
    if place and run.store_option and place != run.store_option:
        raise UsageError("two stores are named, by --store and by NAME_OR_URL", hint="name one")
    run.show(run.store(place or None).init(dry_run=dry_run))


def push(
    run: Run,
    dataset: Annotated[
        str,
        Argument(
            metavar="[REMOTE:]DATASET",
            help="Name of the dataset, such as `lab/some-set`",
            callback=of_one_store,
        ),
    ],
    revision: Annotated[str, Argument(help="Name of the new revision, such as `1.0`")],
    path: Annotated[str, Argument(help="Folder to publish (default: the current one)")] = ".",
    message: Annotated[
        str | None, Option("--message", "-m", metavar="TEXT", help="What this revision is")
    ] = None,
    metadata: Annotated[
        list[str] | None,
        Option(
            "--metadata",
            metavar="KEY=VALUE|@FILE",
            help="A fact about it (repeatable): VALUE is JSON if it parses, else text; FILE holds a JSON object",
        ),
    ] = None,
    parent: Annotated[
        str | None,
        Option(
            "--parent",
            metavar="REV",
            help="What it follows (default: what is checked out, else the newest)",
        ),
    ] = None,
    author: Annotated[
        str | None,
        Option(
            "--author",
            metavar="'NAME <MAIL>'",
            help="Who publishes (default: DSA_AUTHOR, the setting `author`, git's user, your login)",
        ),
    ] = None,
    follow_links: Annotated[
        bool,
        Option("--follow-links", help="Take what symbolic links point at, instead of the links"),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        Option(
            "--exclude",
            metavar="GLOB",
            help="Leave out what matches (repeatable), as in a .dsaignore",
        ),
    ] = None,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Show the plan, write nothing")
    ] = False,
) -> None:
    """Publish a folder as a revision, which never changes afterwards.

    The same data under the same name again is "already there"; other data is a conflict (exit 4).
    """
    from dsa.cli import metadata as facts

    with run.progress() as progress:
        report = run.store().push(
            dataset,
            revision,
            path,
            message=None if message is None else facts.utf8(message, "message"),
            metadata=facts.read(metadata) if metadata else None,
            parent=parent,
            author=author,
            follow_links=follow_links,
            exclude=tuple(exclude or ()),
            dry_run=dry_run,
            progress=progress,
        )
    run.show(report)


def manifest(
    run: Run,
    folder: Annotated[str, Argument(metavar="DIR", help="The folder")],
    digest: Annotated[
        str,
        Option(
            "--digest", metavar="sha256|sha1", help="Which digest of each file (default: sha256)"
        ),
    ] = "sha256",
    output: Annotated[
        str | None,
        Option("--output", "-o", metavar="FILE", help="Write it there instead of to stdout"),
    ] = None,
    skip_hidden: Annotated[
        bool,
        Option(
            "--skip-hidden", help="Leave out what has a name that begins with a dot, at any depth"
        ),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        Option("--exclude", metavar="GLOB", help="Leave out what matches (repeatable)"),
    ] = None,
) -> None:
    """Print the djarchive-manifest.csv of the files that a push of a folder would take.

    A line is "SIZE","DIGEST","PATH"; lines are sorted by path. Nothing is written into DIR unless -o says so.
    """
    import dsa
    from dsa.cli import files

    if digest not in DIGESTS:
        raise UsageError(f"there is no digest '{digest}'", hint=f"it may be {' or '.join(DIGESTS)}")
    with run.progress() as progress:
        csv = dsa.manifest(
            folder,
            digest=DIGESTS[digest],
            skip_hidden=skip_hidden,
            exclude=tuple(exclude or ()),
            progress=progress,
        )
    files.write(run, csv, output, rows=lambda: files.csv_rows(csv, digest))


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    for function in (init, push, manifest):
        verb(app, THEME)(function)
