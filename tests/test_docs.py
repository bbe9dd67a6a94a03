"""The docs and the code say the same, and every link leads somewhere."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from pages import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("bench/*.md")])
ARCHITECTURE = DOCS / "architecture.md"
DECISIONS = DOCS / "decisions"

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def named(page: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, what in it) for all that a page names as `module.py` or `module.py:Name.name`."""
    for found in re.finditer(r"`([a-z0-9_/]+\.py)(?::([A-Za-z_.]+))?`", page.read_text()):
        if (DOCS / found[1]).exists():  # the small reader lies beside the pages
            continue
        yield found[1], found[2] or ""


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, made as the usual renderers make them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_architecture_names_every_module_and_no_other() -> None:
    modules = {str(path.relative_to(ROOT / "dsa")) for path in (ROOT / "dsa").rglob("*.py")}
    packages = {"cas", "remotes", "verbs", "workers", "worktree"}  # their __init__ is a docstring
    empty = {f"{package}/__init__.py" for package in packages}
    assert {module for module, _ in named(ARCHITECTURE)} == modules - empty


def test_what_the_architecture_names_in_a_module_is_there() -> None:
    places = [(module, name) for module, name in named(ARCHITECTURE) if name]
    assert len(places) > 20
    for module, name in places:
        found = importlib.import_module(f"dsa.{module.removesuffix('.py').replace('/', '.')}")
        for part in name.split("."):
            assert hasattr(found, part), f"{module}:{name}"
            found = getattr(found, part)


def test_the_list_of_decisions_is_complete_and_in_order() -> None:
    listed = re.findall(
        r"^\* \[(.+)\]\((.+)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE
    )
    pages = sorted(page for page in DECISIONS.glob("*.md") if page.name != "README.md")
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in pages]
    assert listed == list(zip(titles, (page.name for page in pages), strict=True))
    assert [title[:4] for title in titles] == [f"{n:04}" for n in range(1, len(pages) + 1)]


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("0*.md")), ids=lambda page: page.name[:4])
def test_a_decision_has_its_four_parts_and_fits_a_screen(page: Path) -> None:
    text = page.read_text()
    parts = ["**Context.**", "**Choice.**", "**Turned down.**", "**What follows.**"]
    assert sorted(parts, key=text.index) == parts
    assert text.count("\n") <= 40


def test_the_map_of_the_docs_has_every_page() -> None:
    linked = {(DOCS / link).resolve() for link in _LINK.findall((DOCS / "README.md").read_text())}
    assert set(DOCS.glob("*.md")) - {DOCS / "README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = page.parent / unquote(path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_pages_call_each_verb_by_its_one_name() -> None:
    glossary = (DOCS / "glossary.md").read_text()
    verbs = glossary[glossary.index("And the verbs:") :]
    avoided = {
        word.strip()
        for row in re.findall(r"^\|[^|]+\|[^|]+\|([^|]+)\|$", verbs, re.MULTILINE)
        for word in row.split(",")
    } - {"not", "---"}
    assert {"upload", "download"} <= avoided
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(avoided))})s?\b", re.IGNORECASE)
    for name in (
        "README.md",
        "CHANGELOG.md",
        "docs/tutorial.md",
        "docs/architecture.md",
        "docs/cli.md",
    ):
        assert pattern.findall((ROOT / name).read_text()) == [], name
