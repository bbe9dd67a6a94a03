"""The verbs about remotes: `dsa remote add`, `list`, `show`, `remove`, `default`, `doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from dsa.cli.common import remote_names, verb, verbs
from dsa.cli.help import Mending, Verbs
from dsa.cli.run import Run
from dsa.errors import AccessError, DsaError, NotFoundError, UsageError

if TYPE_CHECKING:
    from dsa.config.settings import Remote
    from dsa.reports import DoctorReport

THEME = "Set up"

Name = Annotated[str, Argument(help="The remote's name", autocompletion=remote_names)]
Options = Annotated[
    list[str] | None,
    Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="What there is to say about it beside its URL (repeatable); docs/configuration.md lists them",
    ),
]
Project = Annotated[
    bool, Option("--project", help="In the project's settings (.dsa/config.toml), not in yours")
]


class _Remotes(Verbs):
    usual = "list"


def remote(_: Run) -> None:
    """Give stores names: `dsa remote add lab s3://bucket/folder`, then `lab:some-set@1` names a revision there."""


def add(
    run: Run,
    name: Annotated[str, Argument(help="Its name, such as `lab`")],
    url: Annotated[str, Argument(help="Its path or URL, such as `s3://bucket/folder`")],
    option: Options = None,
    project: Project = False,
    no_check: Annotated[
        bool, Option("--no-check", help="Do not try out what it can do (`dsa remote doctor`)")
    ] = False,
) -> None:
    """Name a store, and try out what it can do; for a remote that is there, set more options.

    Credentials are not among them: they stay where AWS's tools, OpenSSH and others keep them.
    Exit 6 if it can neither be read nor written; it has its name all the same.
    """
    from dsa.config import edit
    from dsa.config.settings import Remote

    file = _file(project=project)
    new = Remote(name, _whole(url), read_options(option or []), str(file))
    is_new = edit.add_remote(file, new)
    done = f"{name} is {new.url}" if is_new else f"{name} is {new.url} already"
    run.say(f"{done}, says {file}")
    report, problem, code = (None, None, 0)
    if not no_check:
        report, problem, code = _examined(run, edit.remote_of(file, name))
    if run.json:
        facts = {"name": name, "url": new.url, "options": dict(new.options), "file": str(file)}
        doctor = report.as_json() if report else None
        run.told(facts | {"changed": is_new, "doctor": doctor, "problem": problem})
    elif report is not None:
        run.show(report)
    run.leave(code)


def _examined(run: Run, place: Remote) -> tuple[DoctorReport | None, str | None, int]:
    """Let doctor look at a remote that was added; what goes wrong with that takes nothing back.

    Return also the exit code, which is doctor's own.
    """
    from dsa.cli import console
    from dsa.config.settings import value
    from dsa.verbs.doctor import doctor

    try:
        report = doctor(place.connect(value(run.layers, "jobs")), place.name)
    except DsaError as error:
        problem = f"{place.name} could not be examined: {error}"
        console.say(console.harmless(f"dsa: warning: {problem}"))
        return None, problem, error.exit_code
    return report, None, _code(report)


def list_(run: Run) -> None:
    """List the remotes: name, URL, and which one is the default."""
    settings = run.settings
    rows = [_facts(one, settings.default) for one in settings.remotes.values()]
    run.rows(rows, _lines)


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    from dsa.cas.names import printable
    from dsa.cli.console import columns

    cells = (
        (row["name"], printable(row["url"]), "default" if row["is_default"] else "") for row in rows
    )
    return (line.rstrip() for line in columns(cells))


def show(run: Run, name: Name) -> None:
    """Tell a remote's URL and options, where they are configured, and what doctor found."""
    from dsa.cas.names import printable
    from dsa.cli import console
    from dsa.config import verdicts

    place = run.settings.remote(name)
    facts = _facts(place, run.settings.default)
    known = verdicts.remembered(run.settings.connect(place))
    facts["doctor"] = known and {"date": known.date, "claims": known.claims, "words": known.words}
    if run.json:
        return run.told(facts)
    console.out(name)
    console.out(f"  url      {printable(str(facts['url']))}")
    for option, text in facts["options"].items():
        console.out(f"  option   {printable(f'{option} = {text}')}")
    console.out(f"  from     {printable(place.source)}")
    if facts["is_default"]:
        console.out("  default  yes")
    if known is None:
        return run.say(f"`dsa remote doctor {name}` tries out what it can do")
    return console.out(f"  doctor   {console.when(known.date)}: {console.harmless(known.words)}")


def remove(run: Run, name: Name, project: Project = False) -> None:
    """Forget a remote; the store itself is not touched."""
    from dsa.config import edit

    files = [_file(project=True)] if project else _files_with(run, name)
    if not files:
        raise NotFoundError(
            f"no remote is called {name}", hint="`dsa remote list` lists what there is"
        )
    was_default = edit.remove_remote(files[-1], name)
    facts = {"name": name, "file": str(files[-1]), "was_default": was_default}
    lines = [f"{name} is forgotten, in {files[-1]}"]
    if was_default:
        lines.append("it was the default: there is none now")
    if len(files) > 1:
        lines.append(f"{files[-2]} has a remote of this name, too: that is {name} now")
    run.told(facts, *lines)


def default(
    run: Run,
    name: Annotated[
        str | None, Argument(help="The remote's name", autocompletion=remote_names)
    ] = None,
    unset: Annotated[bool, Option("--unset", help="Name none: your own store is used")] = False,
    project: Project = False,
) -> None:
    """Say which remote is used where no store is named; without a name, tell which it is."""
    from dsa.config import edit
    from dsa.config.layers import user_file

    if name is not None and unset:
        raise UsageError("NAME and --unset exclude each other", hint="give one of them")
    file = _file(project=True) if project else user_file()
    if name is not None:
        run.settings.remote(name)
        edit.set_value(file, "default", name)
        return run.told({"default": name, "file": str(file)}, f"{name} is the default, says {file}")
    if unset:
        edit.unset(file, "default")
        return run.told({"default": None, "file": str(file)}, f"{file} names no default any more")
    if run.json:
        return run.told({"default": run.settings.default})
    return run.rows([run.settings.default] if run.settings.default else [])


def doctor(
    run: Run,
    place: Annotated[
        str | None,
        Argument(
            metavar="NAME_OR_URL",
            help="A remote, or a path or URL (default: the store in force)",
            autocompletion=remote_names,
        ),
    ] = None,
    option: Options = None,
) -> None:
    """Try out what a store can do, on files of its own that it removes again; remember it for pushes.

    Exit 6 if it can neither be read nor written.
    """
    report = run.store(place, options=read_options(option or [])).doctor()
    run.show(report)
    run.leave(_code(report))


def _code(report: DoctorReport) -> int:
    found = report.examination
    return 0 if found.read.can or found.write.can else AccessError.exit_code


def read_options(given: Iterable[str]) -> dict[str, str]:
    """Return `KEY=VALUE` texts as options; `UsageError` where one is none, or comes twice."""
    options: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError("an option is KEY=VALUE", hint="such as --option region=eu-west-1")
        if key in options:
            raise UsageError(f"the option {key} is given twice")
        options[key] = value
    return options


def _facts(place: Remote, default: str | None) -> dict[str, Any]:
    from dsa.config.secrets import shown
    from dsa.remotes.urls import without_credentials

    return {
        "name": place.name,
        "url": without_credentials(place.url),
        "options": shown("", place.options),
        "is_default": place.name == default,
        "file": place.source,
    }


def _whole(url: str) -> str:
    """Return a local path as it is found from everywhere; a URL in its usual form."""
    from dsa.remotes.urls import tidied

    if not url.strip():
        raise UsageError("an empty text is no store", hint="`.` is the current folder")
    return tidied(url) if "://" in url else str(Path(url).expanduser().absolute())


def _file(*, project: bool) -> Path:
    from dsa.config import layers

    return layers.project_file_to_write(Path()) if project else layers.user_file()


def _files_with(run: Run, name: str) -> list[Path]:
    """Return the files that configure a remote; what the last one says is in force."""
    return [Path(layer.source) for layer in run.layers if name in layer.remotes]


def register(app: typer.Typer) -> None:
    """Add these verbs to the app."""
    group = verbs(app, THEME, remote, _Remotes)
    verb(group, kind=Mending)(add)
    verb(group, name="list")(list_)
    verb(group)(show)
    verb(group, kind=Mending)(remove)
    verb(group, kind=Mending)(default)
    verb(group)(doctor)
