"""The options that every verb takes, before and after its name, and how a function becomes a verb."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Annotated, Any

import typer

from dsa.cli.help import Verb, Verbs
from dsa.errors import DsaError

PANEL = "Common options, before or after the verb"


def _remember(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Keep a common option with the run; what stands after the verb wins over what stands before."""
    if value == "":
        raise typer.BadParameter("it is empty")
    if value and context.obj is not None:  # None: a shell asks for completions
        setattr(context.obj, param.name, value)
    return value


def remote_names(incomplete: str) -> list[str]:
    """Return the names of remotes that a shell may complete a text to."""
    from dsa.config.settings import load

    logging.getLogger("dsa").addHandler(logging.NullHandler())
    try:
        return [name for name in load().remotes if name.startswith(incomplete)]
    except DsaError:  # a shell wants names, or nothing
        return []


def _option(
    *names: str,
    text: str,
    metavar: str | None = None,
    complete: Callable[[str], list[str]] | None = None,
) -> Any:
    return typer.Option(
        *names,
        autocompletion=complete,
        help=text,
        metavar=metavar,
        callback=_remember,
        expose_value=False,
        is_eager=True,  # before anything that can fail, so that a failure is told as asked for
        rich_help_panel=PANEL,
    )


Store = Annotated[
    str | None,
    _option(
        "--store",
        "-s",
        metavar="STORE",
        text="The store: a remote's name, a path or a URL (default: DSA_STORE, the default remote, a store of yours)",
        complete=remote_names,
    ),
]
Jobs = Annotated[
    str | None,
    _option(
        "--jobs",
        "-j",
        metavar="N",
        text="Requests at once, and worker processes at most (default: DSA_JOBS, or as many as are good)",
    ),
]
Json = Annotated[bool, _option("--json", text="Print JSON on stdout, errors too")]
Quiet = Annotated[bool, _option("--quiet", "-q", text="Print nothing but data and errors")]
Debug = Annotated[bool, _option("--debug", text="Show where an error comes from")]
LogFile = Annotated[
    str | None,
    _option(
        "--log-file",
        metavar="FILE",
        text="Append a log; DSA_LOGLEVEL says how much (default: info)",
    ),
]


def of_one_store(context: typer.Context, value: Any) -> Any:
    """Refuse `remote:dataset` together with `--store`: each of them names the store."""
    from dsa.cas.names import is_folder

    texts = value if isinstance(value, list | tuple) else [value]
    for text in texts if context.obj is not None and context.obj.store_option else ():
        if text and not is_folder(text) and ":" in text:
            raise typer.BadParameter(f"{text} names a store, and so does --store")
    return value


Rev = Annotated[
    str,
    typer.Argument(
        metavar="REV", help="The revision: [REMOTE:]DATASET[@REVISION]", callback=of_one_store
    ),
]

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
COMMON = [
    inspect.Parameter("store_option", _KEYWORD, default=None, annotation=Store),
    inspect.Parameter("jobs_option", _KEYWORD, default=None, annotation=Jobs),
    inspect.Parameter("json", _KEYWORD, default=False, annotation=Json),
    inspect.Parameter("quiet", _KEYWORD, default=False, annotation=Quiet),
    inspect.Parameter("debug", _KEYWORD, default=False, annotation=Debug),
    inspect.Parameter("log_file", _KEYWORD, default=None, annotation=LogFile),
]
_CONTEXT = inspect.Parameter("context", _KEYWORD, annotation=typer.Context)


def with_common(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that typer gives the common options to, and that calls `function(run, …)`."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def command(context: typer.Context, **values: Any) -> None:
        function(context.obj, **{parameter.name: values[parameter.name] for parameter in own})

    functools.update_wrapper(command, function)
    command.__annotations__ = {}  # the signature says it all
    keywords = [parameter.replace(kind=_KEYWORD) for parameter in own]
    command.__signature__ = inspect.Signature([_CONTEXT, *keywords, *COMMON])  # type: ignore[attr-defined]
    return command


def verb(
    app: typer.Typer, panel: str | None = None, *, kind: type[Verb] = Verb, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function, whose first argument is the `Run`, a verb of `app`, listed under `panel`."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, cls=kind, rich_help_panel=panel)(with_common(function))
        return function

    return register


def verbs(
    app: typer.Typer, panel: str, function: Callable[..., None], kind: type[Verbs] = Verbs
) -> typer.Typer:
    """Make a function's name the name of several verbs, such as `dsa remote add`; it tells what they are for."""
    name = function.__name__
    group = typer.Typer(cls=kind, rich_markup_mode=None)
    group.callback(cls=kind)(with_common(function))
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group
