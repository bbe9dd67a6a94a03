from __future__ import annotations

import re
from pathlib import Path

import pages
import pytest


@pytest.mark.parametrize(
    "name", ["README.md", pytest.param("docs/tutorial.md", marks=pytest.mark.slow)]
)
def test_the_commands_print_what_the_page_says(name: str, home: Path) -> None:
    pages.check(pages.ROOT / name, home)


def test_the_targets_that_the_readme_names_are_there() -> None:
    readme = (pages.ROOT / "README.md").read_text()
    makefile = (pages.ROOT / "Makefile").read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", readme, re.MULTILINE))
    assert named >= {"demo", "test"}
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_a_block_that_prints_something_else_is_noticed(home: Path) -> None:
    page = home / "page.md"
    page.write_text("```sh\necho one\n```\n\n```text\ntwo\n```\n")
    with pytest.raises(AssertionError, match=r"page.md, line 1: it prints\none"):
        pages.check(page, home)


def test_only_what_varies_is_passed_over() -> None:
    one = f"pushed a@1 to /s in 0.3 s\n  manifest  {'0' * 40}\n  new       1 object"
    other = f"pushed a@1 to /s\n  manifest  {'1' * 40}\n  new       1 object"
    assert pages.what_matters(one) == pages.what_matters(other)
    assert pages.what_matters(one) != pages.what_matters(other.replace("1 object", "2 objects"))


def test_blocks_are_read_with_what_they_print() -> None:
    page = (
        "```sh\na\n```\n```text\nA\n```\n\n```python\nb\n```\nwords\n\n```text\nno\n```\n"
        "<!-- not run -->\n```sh\nc\n```\n"
    )
    first, second = pages.blocks(page)
    assert (first.language, first.text, first.prints, first.line) == ("sh", "a\n", "A\n", 1)
    assert second == pages.Block("python", "b\n", "", 8)


def test_what_blocks_print_now_is_written_where_it_matters(home: Path) -> None:
    page = home / "page.md"
    page.write_text(
        "```sh\necho a in 0.2 s\n```\n```text\na in 0.1 s\n```\n"
        "```sh\npwd\n```\n\n```text\n```\nend\n"
    )
    pages.write(page, home)
    assert page.read_text() == (
        "```sh\necho a in 0.2 s\n```\n```text\na in 0.1 s\n```\n"
        f"```sh\npwd\n```\n\n```text\n{pages.HOME}\n```\nend\n"
    )
