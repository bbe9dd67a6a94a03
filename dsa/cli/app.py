"""The command line as a whole: all verbs, and the way from arguments to an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import TextIOWrapper
from typing import Annotated

import typer
from typer import Option
from typer.main import get_command

from dsa._version import __version__
from dsa.cli import cache, care, config, consume, errors, look, publish, remote, sites
from dsa.cli.common import with_common
from dsa.cli.help import Verbs
from dsa.cli.run import Run
from dsa.errors import EXIT_CODES, UsageError

EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {text}" for code, text in EXIT_CODES.items())


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"dsa {__version__}\n")
        raise typer.Exit


def root(
    _: Run,
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Show the version")
    ] = False,
) -> None:
    """Publish folders as revisions that never change; check them out anywhere, every byte verified.

    `dsa push DATASET REVISION` publishes the current folder, `dsa checkout DATASET DIR` fetches it.
    """


def make_app() -> Verbs:
    """Build all commands."""
    app = typer.Typer(cls=Verbs, rich_markup_mode=None, epilog=EPILOG)
    app.callback(cls=Verbs)(with_common(root))
    for theme in (publish, consume, look, sites, care, cache, remote, config):
        theme.register(app)
    command = get_command(app)
    assert isinstance(command, Verbs)
    return command


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing escapes as an exception."""
    this = Run(os.environ)
    if isinstance(sys.stdout, TextIOWrapper):  # a locale that lacks a letter is no reason to fail
        encoding = sys.stdout.encoding if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace", newline="\n")
    try:
        command = make_app()
        if not arguments and "_DSA_COMPLETE" not in this.environ:
            with redirect_stdout(sys.stderr):
                command.main(["--help"], prog_name="dsa", standalone_mode=False, obj=this)
            return UsageError.exit_code
        code = command.main(list(arguments), prog_name="dsa", standalone_mode=False, obj=this)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # told to the user, all of them
        this.json = this.json or "--json" in arguments
        this.debug = this.debug or "--debug" in arguments
        return errors.tell(error, this)
    return int(code or 0)
