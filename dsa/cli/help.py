"""typer's commands as dsa wants them: help in plain text, quick to start, and every error designed.

typer draws its help with rich, whose import alone takes longer than all of `dsa --help` may; a plain
page says the same. Its checks of values go through pydantic, another tenth of a second in each run,
though a shell's arguments are text already.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, ClassVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from dsa.cli import errors, logs

Param = TyperArgument | TyperOption


def usage(param: Param) -> str:
    """Write an argument as it stands in the usage line, such as `[PATH]` or `REV...`."""
    name = metavar(param) + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def metavar(param: Param) -> str:
    """Name the value that a parameter takes."""
    return param.metavar or (param.name or "").upper()


def names(param: Param) -> str:
    """Write all the spellings of a parameter, such as `-s, --store STORE`."""
    if isinstance(param, TyperArgument):
        return metavar(param)
    spelled = ", ".join(sorted(param.opts, key=len) + param.secondary_opts)
    return spelled if param.is_flag else f"{spelled} {metavar(param)}"


def panels(params: Iterable[Any]) -> dict[str, list[Param]]:
    """Group parameters under the headings that help shows them by."""
    found: dict[str, list[Param]] = {"Arguments": [], "Options": []}
    for param in params:
        if isinstance(param, TyperArgument | TyperOption) and not param.hidden:
            kind = "Arguments" if isinstance(param, TyperArgument) else "Options"
            found.setdefault(param.rich_help_panel or kind, []).append(param)
    return {heading: group for heading, group in found.items() if group}


class _AsGiven:
    """The value as the shell gave it, instead of typer's way through pydantic."""

    def __init__(self, param: Param) -> None:
        self.nothing = () if param.multiple or param.nargs == -1 else None

    def coerce(self, value: Any, *_: Any, **__: Any) -> Any:
        return self.nothing if value is None else value


def _prepare(params: list[Any]) -> list[Any]:
    """Name arguments as manuals do, and spare typer the import of pydantic.

    A typer that works otherwise has no such attribute, and is left to its ways.
    """
    for param in params:
        if isinstance(param, TyperArgument):
            param.metavar = metavar(param)
        if isinstance(param, TyperArgument | TyperOption) and hasattr(param, "_runtime_param"):
            param._runtime_param = _AsGiven(param)  # type: ignore[assignment]
    return params


def _write(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    with formatter.section(heading):
        formatter.write_dl(rows)


class Verb(TyperCommand):
    """A command: plain help, and whatever goes wrong in it becomes an exit code here."""

    mends: ClassVar[bool] = False  # it works with settings that are wrong, too

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, `--help` too."""
        return _prepare(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Write the usage line as manuals do: `[OPTIONS] DATASET REVISION [PATH]`."""
        return [
            "[OPTIONS]",
            *(usage(param) for param in self.params if isinstance(param, TyperArgument)),
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List arguments and options under their headings."""
        for heading, params in panels(self.get_params(ctx)).items():
            _write(formatter, heading, [(names(param), param.help or "") for param in params])

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `typer.Exit` is the only exception that leaves it."""
        try:
            logs.start(ctx.obj, must=not self.mends)
            with nullcontext() if self.mends else ctx.obj.working():
                return super().invoke(ctx)
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # a ctrl-C or a closed pipe typer would take for its own
            raise typer.Exit(errors.tell(error, ctx.obj, verb=ctx.info_name)) from None


class Mending(Verb):
    """A command that changes settings, so that no wrong one stops it."""

    mends = True


class Verbs(TyperGroup):
    """Commands under one name; help lists them by theme. `usual` is what no name stands for."""

    usual: ClassVar[str | None] = None

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Take the usual command where none is named."""
        rest = super().parse_args(ctx, args)
        if self.usual is not None and not ctx._protected_args and not ctx.resilient_parsing:
            ctx._protected_args = [self.usual]
        return rest

    def get_params(self, ctx: Any) -> list[Any]:
        """Return all parameters, `--help` too."""
        return _prepare(super().get_params(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List the commands by theme, then the options."""
        for heading, commands in self.themes().items():
            _write(
                formatter,
                heading,
                [(name, self.commands[name].get_short_help_str(100)) for name in commands],
            )
        for heading, params in panels(self.get_params(ctx)).items():
            _write(formatter, heading, [(names(param), param.help or "") for param in params])

    def themes(self) -> dict[str, list[str]]:
        """Return the names of the commands by theme, in the order in which they were registered."""
        found: dict[str, list[str]] = {}
        for name, command in self.commands.items():
            found.setdefault(getattr(command, "rich_help_panel", None) or "Verbs", []).append(name)
        return found
