from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsa.cli.app import make_app
from dsa.cli.docs import page
from dsa.cli.help import Verbs

COMMON = {"--store", "-s", "--jobs", "-j", "--json", "--quiet", "-q", "--debug", "--log-file"}
VERBS = [
    "init",
    "push",
    "manifest",
    "checkout",
    "status",
    "cat",
    "datasets",
    "revisions",
    "ls",
    "show",
    "log",
    "diff",
    "mirror",
    "verify",
    "whereis",
    "cache",
    "remote",
    "config",
]
GROUPS = {
    "cache": ["list", "pin", "unpin", "drop"],
    "remote": ["add", "list", "show", "remove", "default", "doctor"],
    "config": ["show", "set", "unset", "import-datajoint"],
}


def test_the_page_is_what_the_app_says() -> None:
    written = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert written == page(make_app()), "run `python -m dsa.cli.docs > docs/cli.md`"


def test_all_verbs_are_there() -> None:
    commands = make_app().commands
    assert list(commands) == VERBS
    groups = {name: one for name, one in commands.items() if isinstance(one, Verbs)}
    assert {name: list(one.commands) for name, one in groups.items()} == GROUPS
    assert all(one.usual in one.commands for one in groups.values())


def test_the_page_tells_of_every_verb_in_a_group() -> None:
    told = page(make_app())
    for group, verbs in GROUPS.items():
        assert all(f"### dsa {group} {verb}\n" in told for verb in verbs)


@pytest.mark.parametrize(
    "verb", [*VERBS, *(f"{group} {verb}" for group, verbs in GROUPS.items() for verb in verbs)]
)
def test_every_verb_takes_the_common_options_and_explains_all_others(verb: str) -> None:
    command: Any = make_app()
    for name in verb.split():
        command = command.commands[name]
    options = {option for param in command.params for option in param.opts}
    assert options >= COMMON
    assert command.help
    assert all(getattr(param, "help", None) for param in command.params)
