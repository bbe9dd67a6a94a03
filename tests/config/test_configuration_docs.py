"""docs/configuration.md and the code say the same."""

from __future__ import annotations

import re

from pages import ROOT

from dsa.config.keys import KEYS
from dsa.config.settings import known_options
from dsa.remotes.options import COMMON

PAGE = (ROOT / "docs" / "configuration.md").read_text()
URLS = ("s3://bucket/x", "sftp://host/x", "https://host/x", "ftp://host/x")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    table = re.search(r"^\|.*?\n(?!\|)", PAGE[PAGE.index(heading) :], re.DOTALL | re.MULTILINE)
    assert table is not None
    lines = table[0].strip().split("\n")[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(text: str | None) -> str:
    return f"`{text}`" if text else ""


def test_the_table_of_settings_is_complete() -> None:
    assert rows("## Settings") == [
        [
            *(code(key.name), key.kind.expected, key.meaning),
            *(code(key.variable), code(key.flag)),
        ]
        for key in KEYS.values()
        if key.in_files
    ]


def test_the_table_of_options_is_complete() -> None:
    expected = {("all", code(name), text) for name, text in COMMON.items()}
    for url in URLS:
        scheme = code(url.partition("//")[0] + "//")
        expected |= {(scheme, code(name), text) for name, text in known_options(url).items()}
    table = {(kind.split(",")[0], name, text) for kind, name, text in rows("## Remotes")}
    assert table == expected


def test_what_is_set_outside_files_is_named() -> None:
    for key in KEYS.values():
        for name in (key.variable, key.flag):
            assert name is None or f"`{name}`" in PAGE
