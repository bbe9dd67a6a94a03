from __future__ import annotations

from pathlib import Path

import pytest

from dsa.cli.app import make_app
from dsa.cli.docs import page

COMMON = {"--store", "-s", "--json", "--quiet", "-q", "--debug", "--log-file"}
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
    "verify",
]


def test_the_page_is_what_the_app_says() -> None:
    written = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert written == page(make_app()), "run `python -m dsa.cli.docs > docs/cli.md`"


def test_all_verbs_are_there() -> None:
    assert list(make_app().commands) == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_the_common_options_and_explains_all_others(verb: str) -> None:
    command = make_app().commands[verb]
    options = {option for param in command.params for option in param.opts}
    assert options >= COMMON
    assert command.help
    assert all(getattr(param, "help", None) for param in command.params)
