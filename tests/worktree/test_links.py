"""Where links lead through other links, held against what the kernel says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treetools import Link, make

from dsa.cas.names import leaves_tree
from dsa.worktree.links import leading_out


@pytest.mark.parametrize(
    ("links", "out"),
    [
        ({}, []),
        ({"s/t/up": "../..", "x": "s/t/up/.."}, ["x"]),
        ({"s/t/up": "../..", "x": "s/t/up/./a"}, []),
        ({"s/t/up": "../..", "x": "s/t/up/..", "y": "x", "d/z": "../y/a"}, ["x", "y", "d/z"]),
        ({"s/up": "..", "a": "s/up/b", "b": "s/up/.."}, ["a", "b"]),
        ({"a": "b", "b": "a", "c": "c", "d": "c/../../.."}, []),
        ({"a": "a/.."}, []),
        ({"d/a": "/etc"}, ["d/a"]),
        ({"d/a": "../x", "e": "d/../d/a"}, []),
        ({"a": "nothing/here/..//./"}, []),
    ],
)
def test_links_that_lead_out(links: dict[str, str], out: list[str]) -> None:
    assert leading_out(links) == out


def test_a_chain_ends_where_the_kernel_ends_it() -> None:
    links = {f"{n}": f"{n + 1}" for n in range(100)} | {"s/up": "..", "100": "s/up/.."}
    out = leading_out(links)
    assert "99" in out
    assert "10" not in out


FOLDERS = ["", "s", "s/t", "s/t/u"]
targets = st.lists(
    st.sampled_from(["..", "..", ".", "s", "t", "u", "l", "m"]), min_size=1, max_size=6
).map("/".join)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(FOLDERS), st.sampled_from("lm")).map(
            lambda place: "/".join(filter(None, place))
        ),
        targets,
        max_size=6,
    )
)
def test_what_the_kernel_finds_outside_is_found(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str]
) -> None:
    links = {
        path: target
        for path, target in links.items()
        if not leaves_tree(path.rpartition("/")[0], target)
    }
    root = tmp_path_factory.mktemp("t") / "1" / "2" / "3" / "4" / "5" / "6" / "7"
    (root / "s" / "t" / "u").mkdir(parents=True)
    make(root, {path: Link(target) for path, target in links.items()})
    found = leading_out(links)
    for path in links:
        if not (root / path).exists():
            continue
        real = Path(os.path.realpath(root / path))
        if not real.is_relative_to(root):
            assert path in found
