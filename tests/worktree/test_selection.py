"""Selectors: what each of them takes, and that masks say what single paths say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.errors import UsageError
from dsa.worktree.selection import Selection

PATHS = [
    "a.csv",
    "b.txt",
    "data/a.csv",
    "data/deep/a.csv",
    "data/deep/er/x.bin",
    "data2/a.csv",
    "data[1].csv",
    "data1.csv",
    "new\nline.csv",
    "run[1]/x",
    "empty",
]


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ("a.csv", ["a.csv"]),
        ("./a.csv", ["a.csv"]),
        (".//./a.csv", ["a.csv"]),
        ("data", ["data/a.csv", "data/deep/a.csv", "data/deep/er/x.bin"]),
        ("data/", ["data/a.csv", "data/deep/a.csv", "data/deep/er/x.bin"]),
        ("data/deep", ["data/deep/a.csv", "data/deep/er/x.bin"]),
        ("empty/", ["empty"]),
        ("*.csv", ["a.csv", "data[1].csv", "data1.csv", "new\nline.csv"]),
        ("?.csv", ["a.csv"]),
        ("[ab].*", ["a.csv", "b.txt"]),
        ("[!a].*", ["b.txt"]),
        ("[a-b].txt", ["b.txt"]),
        ("data/*", ["data/a.csv"]),
        ("data/**", ["data/a.csv", "data/deep/a.csv", "data/deep/er/x.bin"]),
        ("**/a.csv", ["a.csv", "data/a.csv", "data/deep/a.csv", "data2/a.csv"]),
        ("data/**/a.csv", ["data/a.csv", "data/deep/a.csv"]),
        ("**.bin", ["data/deep/er/x.bin"]),
        ("data**.csv", [p for p in PATHS if p.startswith("data") and p.endswith(".csv")]),
        ("**", PATHS),
        ("*2/", ["data2/a.csv"]),
        ("data[1].csv", ["data[1].csv", "data1.csv"]),
        ("run[1]", ["run[1]/x"]),
        ("data?a.csv", []),
        ("data[/2]a.csv", []),
        ("data[!x]a.csv", []),
        ("data[+-9]a.csv", []),
        (".", PATHS),
        ("./", PATHS),
        ("re:x$", ["run[1]/x"]),
        ("re:^data.*/a", ["data/a.csv", "data/deep/a.csv", "data2/a.csv"]),
        ("re:(?i)EMPTY", ["empty"]),
        ("A.CSV", []),
        ("/a.csv", []),
        ("/", []),
        ("dat", []),
    ],
)
def test_a_selector_takes(selector: str, taken: list[str]) -> None:
    selection = Selection((selector,))
    assert [path for path in PATHS if selection.matches(path)] == taken
    assert selection.unmatched(PATHS) == ([] if taken else [selector])


@pytest.mark.parametrize(
    ("selector", "path"),
    [
        ("[]]", "]"),
        ("[]-a]", "^"),
        ("[!]]", "["),
        ("[a-]", "-"),
        ("[--a]", "."),
        ("[\\]", "\\"),
        ("[^]", "^"),
        ("[a&&b]", "&"),
        ("[[]", "["),
        ("[", "["),
        ("[!", "[!"),
        ("a[b", "a[b"),
        ("*.(x)", "a.(x)"),
        ("é*", "é漢"),
        ("***", "a/b"),
    ],
)
def test_odd_globs_mean_what_a_shell_means(selector: str, path: str) -> None:
    assert Selection((selector,)).matches(path)


def test_two_stars_inside_a_name_leave_the_slash_standing() -> None:
    assert Selection(("a**/b",)).mask(["a/b", "ax/b", "a/x/b", "ab"]) == [True, True, True, False]


@pytest.mark.parametrize(
    "selector", ["", "re:", "re:(", "re:a{3,2}", "re:(?P<a>x)(?P<a>y)", "[z-a]", "*[9-0]"]
)
def test_what_cannot_be_read_is_a_usage_error(selector: str) -> None:
    with pytest.raises(UsageError):
        Selection(("a.csv", selector))


def test_no_selector_takes_everything() -> None:
    assert Selection().everything
    assert Selection().mask(PATHS) == [True] * len(PATHS)
    assert Selection().unmatched([]) == []
    assert not Selection(("a.csv",)).everything


def test_selectors_that_take_nothing_are_named_once_and_in_order() -> None:
    selectors = ("z", "data", "re:q", "*.x", "z", "a.csv", "data/none")
    assert Selection(selectors).unmatched(PATHS) == ["z", "re:q", "*.x", "data/none"]
    assert Selection((".", "a")).unmatched([]) == [".", "a"]


def test_selections_are_equal_when_their_selectors_are() -> None:
    assert Selection(("a*",)) == Selection(("a*",))
    assert Selection(("a*",)) != Selection(("a",))
    assert len({Selection(("re:x",)), Selection(("re:x",))}) == 1


parts = st.text("ab*?[]!-.^\\&", min_size=1, max_size=4).filter(lambda p: p not in (".", ".."))
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)


@given(st.lists(paths, max_size=12), st.lists(paths, max_size=4))
def test_a_mask_says_what_each_selector_says_of_each_path(
    paths: list[str], selectors: list[str]
) -> None:
    try:
        selection = Selection(tuple(selectors))
    except UsageError:
        return
    singles = [Selection((selector,)) for selector in selectors]
    assert selection.mask(paths) == [
        not selectors or any(single.matches(path) for single in singles) for path in paths
    ]
    assert selection.unmatched(paths) == [
        selector
        for selector in dict.fromkeys(selectors)
        if not any(Selection((selector,)).mask(paths))
    ]


@given(paths, paths)
def test_a_path_takes_itself_and_what_lies_below(path: str, below: str) -> None:
    try:
        selection = Selection((path,))
    except UsageError:
        return
    assert selection.matches(path)
    assert selection.matches(f"{path}/{below}")


@pytest.mark.slow
def test_a_million_paths_take_seconds_at_most() -> None:
    paths = [f"folder{i // 1000:04}/sub/file{i:07}.csv" for i in range(1_000_000)]
    literals = tuple(f"folder{i:04}" for i in range(0, 1000, 2))
    for selectors in (literals, ("*/sub/*7.csv",), ("re:9\\.csv$",)):
        start = time.perf_counter()
        selection = Selection(selectors)
        assert 0 < sum(selection.mask(paths)) < len(paths)
        assert selection.unmatched(paths) == []
        assert time.perf_counter() - start < 10
