"""`python -m dsa.cli.docs` writes docs/cli.md: the app's own words, and the table of exit codes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from dsa.cli import common
from dsa.cli.app import make_app
from dsa.cli.help import Verbs, names, panels
from dsa.config.keys import KEYS
from dsa.errors import EXIT_CODES

HEAD = """\
# The command line

<!-- Written by `python -m dsa.cli.docs > docs/cli.md`; a test holds it up to date. -->

{about}

REV is `[REMOTE:]DATASET[@REVISION]`: `some-set@000`, or `some-set` for the newest, or `some-set@4b825dc`
for a manifest's id by at least 7 of its digits; `lab:some-set@000` is the one in the remote `lab`, and
`lab:some-set` may stand for a dataset, too. Where a revision or a folder may stand, a text that begins
with `.`, `/` or `~` is a folder. [Configuration](configuration.md) tells how stores get names.
"""

OUTPUT = """\
## Output

* Data goes to stdout, all else to stderr: `dsa diff A B | wc -l` counts changes, for the totals are not in it.
* `--json` prints the same account as JSON on stdout: lists as one array, an element a line, all else as one
  object. An error is `{"error", "kind", "exit_code", "hint", "problems"}`, and its text is on stderr as ever.
  A list that fails half-way ends without its `]`: no part passes for the whole.
* Control characters and the like in a name are written as `\\n`, `\\x1b` or `\\u202e`, so that a name is one
  line and cannot steer a terminal. `dsa ls --null`, `--json` and `--sha256sum` give names exactly.
* Progress shows on a terminal only, and only after a second.
* When the reader of stdout goes away (`dsa ls … | head`), dsa ends without a word, as other programs do:
  by the signal SIGPIPE, which a shell reports as 141.
* `--quiet` silences all but data and errors; `--debug` adds the traceback to an error.

## Environment

| variable | what it says | setting |
|---|---|---|
"""

AFTER_VARIABLES = """
An empty variable is as good as none. With `DSA_LOGLEVEL`, and no log file, the log goes to stderr.
All settings, and where else they come from, are in [configuration](configuration.md).
"""


def page(app: Verbs) -> str:
    """Return the whole page, in Markdown."""
    parts = [
        HEAD.format(about=_prose(app.help)),
        *_options(app.params, "## Options before the verb"),
    ]
    for theme, verbs in app.themes().items():
        parts.append(f"## {theme}\n")
        for name in verbs:
            parts += _verb(name, app.commands[name])
    parts.append(OUTPUT + "\n".join(_variables()))
    parts += [AFTER_VARIABLES, "## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(parts) + "\n"


def _verb(name: str, command: Any) -> Iterator[str]:
    if isinstance(command, Verbs):
        yield f"### dsa {name}\n"
        yield f"{_prose(command.help)}\n"
        if command.usual is not None:
            yield f"`dsa {name}` alone is `dsa {name} {command.usual}`.\n"
        for inner, one in command.commands.items():
            yield from _verb(f"{name} {inner}", one)
        return
    yield f"### dsa {name}\n"
    yield f"```\ndsa {name} {' '.join(command.collect_usage_pieces(None))}\n```\n"
    yield f"{_prose(command.help)}\n"
    for heading, params in panels(command.params).items():
        if heading != common.PANEL:
            yield f"{heading}:\n"
            yield from _list(params)


def _variables() -> Iterator[str]:
    for key in KEYS.values():
        if key.variable:
            setting = f"`{key.name}`" if key.in_files else ""
            yield f"| `{key.variable}` | {key.meaning} | {setting} |"


def _options(params: Iterable[Any], heading: str) -> Iterator[str]:
    yield f"{heading}\n"
    for panel, group in panels(params).items():
        if panel == common.PANEL:
            yield f"{panel}:\n"
        yield from _list(group)


def _list(params: Iterable[Any]) -> Iterator[str]:
    for param in params:
        yield f"* `{names(param)}`: {param.help or ''}"
    yield ""


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "")


if __name__ == "__main__":
    sys.stdout.write(page(make_app()))
