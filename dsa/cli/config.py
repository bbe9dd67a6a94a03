"""The verbs about settings: `dsa config`, with `set`, `unset` and `import-datajoint`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from dsa.cli.common import verb, verbs
from dsa.cli.help import Mending, Verbs
from dsa.cli.remote import THEME, Project
from dsa.cli.run import Run
from dsa.errors import UsageError

if TYPE_CHECKING:
    from dsa.config.datajoint import Plan

Key = Annotated[str, Argument(help="The setting, such as `jobs` or `remotes.lab.region`")]


class _Settings(Verbs):
    usual = "show"


def config(_: Run) -> None:
    """Show and change settings; later ones win: yours, the project's, the environment's, options."""


def show(run: Run) -> None:
    """List every setting, its value, and where that comes from."""
    from dsa.cli import console
    from dsa.config.settings import merge, settings_shown

    run.rows([asdict(row) for row in settings_shown(run.layers)], _lines)
    try:
        merge(run.layers)
    except UsageError as error:
        console.say(console.harmless(f"dsa: warning: {error}"))


def _lines(rows: Iterable[Mapping[str, str | None]]) -> Iterator[str]:
    from dsa.cas.names import printable
    from dsa.cli.console import columns

    return columns(
        (
            printable(row["key"] or ""),
            "-" if row["value"] is None else printable(row["value"]),
            "default" if row["source"] is None else printable(row["source"]),
        )
        for row in rows
    )


def set_(
    run: Run,
    key: Key,
    value: Annotated[str, Argument(help="Its value, such as `8`, `20 GB` or `true`")],
    project: Project = False,
) -> None:
    """Set a setting."""
    from dsa.config import edit

    file = _file(run, key, project=project)
    edit.set_value(file, key, value)
    run.told({"key": key, "value": value, "file": str(file)}, f"{key} is {value}, says {file}")


def unset(run: Run, key: Key, project: Project = False) -> None:
    """Take a setting out of a file, so that what else says something about it holds."""
    from dsa.config import edit

    file = _file(run, key, project=project)
    edit.unset(file, key)
    run.told({"key": key, "file": str(file)}, f"{file} says nothing of {key} any more")


def import_datajoint(
    run: Run,
    file: Annotated[
        str | None,
        Argument(
            help="A DataJoint configuration (default: dj_local_conf.json here, else ~/.datajoint_config.json)"
        ),
    ] = None,
    write_credentials: Annotated[
        bool,
        Option(
            "--write-credentials",
            help="Add its keys to the AWS credentials file, a profile for each remote",
        ),
    ] = False,
    project: Project = False,
    dry_run: Annotated[
        bool, Option("--dry-run", "-n", help="Say what it would do, write nothing")
    ] = False,
) -> None:
    """Take remotes, log level and log file from the `djarchive.*` values of a DataJoint configuration.

    Its keys are never written into dsa's files, nor shown.
    """
    from dsa.config import credentials, datajoint, edit

    source = Path(file) if file is not None else datajoint.default_file(Path(), Path.home())
    plan = datajoint.read(source)
    target = _file(run, "", project=project)
    named = run.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    profiles = Path(named).expanduser() if named else credentials.default_file()
    if write_credentials:
        for name, keys in plan.keys.items():
            credentials.has_profile(profiles, name, keys)
    edit.check_addable(target, plan.remotes)
    plan = _settable(plan, target)
    if not dry_run:
        for name, keys in plan.keys.items() if write_credentials else ():
            credentials.add_profile(profiles, name, keys)
        for place in plan.remotes:
            edit.add_remote(target, place)
        for key, text in plan.settings.items():
            edit.set_value(target, key, text)
    facts = {
        "file": str(target),
        "remotes": [
            {"name": place.name, "url": place.url, "options": dict(place.options)}
            for place in plan.remotes
        ],
        "settings": dict(plan.settings),
        "profiles": sorted(plan.keys),
        "credentials_file": str(profiles) if write_credentials and plan.keys else None,
        "remarks": list(plan.remarks),
        "dry_run": dry_run,
    }
    run.told(facts, *_told(plan, target, profiles if write_credentials else None, dry_run=dry_run))


def _settable(plan: Plan, target: Path) -> Plan:
    """Return a plan without the settings that its file may not have, with a remark for each."""
    from dsa.config import edit

    settings, remarks = {}, list(plan.remarks)
    for key, text in plan.settings.items():
        try:
            edit.check_value(target, key, text)
        except UsageError as error:
            remarks.append(f"{error}: left out")
        else:
            settings[key] = text
    return replace(plan, settings=settings, remarks=tuple(remarks))


def _told(plan: Plan, target: Path, profiles: Path | None, *, dry_run: bool) -> Iterator[str]:
    would = "would be " if dry_run else ""
    yield f"{'would be written' if dry_run else 'written'} to {target}:"
    for place in plan.remotes:
        options = ", ".join(f"{key}={text}" for key, text in place.options.items())
        yield f"  remote {place.name}: {place.url} ({options})"
    for key, text in plan.settings.items():
        yield f"  {key} = {text}"
    for name in plan.keys:
        if profiles is not None:
            yield f"its keys {would or 'are '}in {profiles}, as the profile {name}"
        else:
            yield (
                f"the keys of {name} were left where they are: `aws configure --profile {name}`"
                " asks for them, or --write-credentials takes them over"
            )
    yield from plan.remarks


def _file(run: Run, key: str, *, project: bool) -> Path:
    """Return the file to change: the project's if asked for, or if it alone has the remote that `key` is of."""
    from dsa.config import layers

    if project:
        return layers.project_file_to_write(Path())
    if key.startswith("remotes."):
        name = key.removeprefix("remotes.").rpartition(".")[0]
        having = [layer.source for layer in run.layers if name in layer.remotes]
        if having:
            return Path(having[-1])
    return layers.user_file()


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    group = verbs(app, THEME, config, _Settings)
    verb(group, kind=Mending)(show)
    verb(group, kind=Mending, name="set")(set_)
    verb(group, kind=Mending)(unset)
    verb(group, kind=Mending, name="import-datajoint")(import_datajoint)
