"""A scan: every entry in the order of a listing, and what is not taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treetools import EMPTY, ODD, Exec, Link, make

from dsa.cas import listing
from dsa.errors import DsaError, NotFoundError
from dsa.verbs.reading import hash_rows
from dsa.worktree.columns import scan_of, table_of
from dsa.worktree.scan import Scan, drop, scan
from dsa.worktree.statcache import Digests


def digests(found: Scan) -> Digests:
    return Digests(bytearray(20 * len(found)), bytearray(32 * len(found)))


def listed(found: Scan) -> list[str]:
    return [
        f"{folder.path}/{name}".lstrip("/") for folder in found.folders for name in folder.names
    ]


def test_rows_come_in_the_order_of_a_listing(tmp_path: Path) -> None:
    found = scan(make(tmp_path, ODD))
    table = table_of(found, digests(found))
    assert listing.is_sorted(table)
    assert list(listing.problems(listing.seal(table).table)) == []
    wanted = set(ODD) | {
        str(above) for path in ODD for above in Path(path).parents if str(above) != "."
    }
    assert sorted(listed(found)) == sorted(wanted)
    assert listing.paths(table).to_pylist() == listed(found)


@settings(max_examples=40)
@given(
    st.sets(
        st.lists(
            st.sampled_from(["a", "a.b", "a0", "a-", "A", "é", "z"]), min_size=1, max_size=4
        ).map("/".join)
    )
)
def test_any_tree_is_sorted(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    leaves = {
        path: b"" for path in paths if not any(other.startswith(f"{path}/") for other in paths)
    }
    found = scan(make(tmp_path_factory.mktemp("t"), leaves))
    table = table_of(found, digests(found))
    assert listing.is_sorted(table)
    again, _ = scan_of(found.root, table, b"".join(folder.signatures for folder in found.folders))
    assert listed(again) == listed(found)


def test_modes_and_sizes(tmp_path: Path) -> None:
    make(tmp_path, {"f": b"123", "x": Exec(b"1"), "l": Link("some/where"), "d": EMPTY})
    folder = scan(tmp_path).folders[0]
    assert dict(zip(folder.names, zip(folder.modes, folder.sizes, strict=True), strict=True)) == {
        "f": (0o100644, 3),
        "x": (0o100755, 1),
        "l": (0o120000, 10),
        "d": (0o40000, 0),
    }


def test_only_the_owners_executable_bit_counts(tmp_path: Path) -> None:
    make(tmp_path, {"f": b""})
    (tmp_path / "f").chmod(0o655)
    assert scan(tmp_path).folders[0].modes[0] == 0o100644


def test_everything_is_seen_for_a_checkout(tmp_path: Path) -> None:
    make(
        tmp_path,
        {".dsaignore": b"x\n", "x": b"", "out": Link("/etc"), ".git/c": b"", "sub/.git/c": b"",
         "djarchive-manifest.csv": b"", ".DSA": b""},
    )  # fmt: skip
    os.mkfifo(tmp_path / "fifo")
    found = scan(tmp_path, everything=True)
    assert set(listed(found)) == {".dsaignore", "x", "out", "djarchive-manifest.csv", "sub"}
    assert sorted(found.strange) == [".DSA", "fifo"]
    assert sorted(found.closed) == [".git", "sub/.git"]


def test_what_is_ignored_is_named(tmp_path: Path) -> None:
    make(tmp_path, {"a": b"", "b/c": b"", "b/d": b"", "e": b""})
    found = scan(tmp_path, exclude=("b/", "a"))
    assert listed(found) == ["e"]
    assert found.left_out == {"ignored": 2}
    assert sorted(found.ignored) == ["a", "b/"]


def test_a_problem_is_told_by_check_and_not_before(tmp_path: Path) -> None:
    make(tmp_path, {"ok": b"", "bad": Link("/x")})
    (tmp_path / os.fsdecode(b"\xff")).touch()
    found = scan(tmp_path)
    assert listed(found) == ["ok"]
    with pytest.raises(DsaError, match="2 things") as caught:
        found.check()
    assert len(caught.value.problems) == 2


def test_links_are_followed_on_request_but_not_in_circles(tmp_path: Path) -> None:
    make(
        tmp_path / "t", {"f": b"1", "l": Link("f"), "d/x": b"", "e": Link("d"), "d/up": Link("..")}
    )
    found = scan(tmp_path / "t", follow_links=True)
    assert set(listed(found)) == {"f", "l", "d", "d/x", "e", "e/x"}
    assert [problem.split(":")[0] for problem in found.problems] == ["d/up", "e/up"]


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for path in ("f", "none"):
        with pytest.raises(NotFoundError):
            scan(tmp_path / path)


def test_files_are_taken_out_with_hidden_folders_that_are_empty_then(tmp_path: Path) -> None:
    make(tmp_path, {".a/b/c": b"", ".d/e": b"", ".d/f": b"", "g/.h": b"", "i": b""})
    found = scan(tmp_path)
    before = listed(found)
    gone = drop(found, {".a/b/c", ".d/e", "g/.h"}, "why")
    assert {before[row] for row in gone} == {".a", ".a/b", ".a/b/c", ".d/e", "g/.h"}
    assert set(listed(found)) == {".d", ".d/f", "g", "i"}
    assert found.left_out == {"why": 3}


def test_a_tick_hears_of_every_entry(tmp_path: Path) -> None:
    make(tmp_path, {f"{n % 3}/{n}": b"" for n in range(20)})
    heard: list[int] = []
    assert len(scan(tmp_path, tick=heard.append)) == sum(heard) == 23


def test_git_is_left_out_in_every_spelling(tmp_path: Path) -> None:
    spelt = [".git", ".GIT", "a/.Git", "a/git~1", "a/.git.", "a/.g\u200cit", "a/GIT~1"]
    make(tmp_path, {f"{path}/config": b"" for path in spelt} | {"a/.gitignore": b"", "a/git": b""})
    for everything in (False, True):
        found = scan(tmp_path, everything=everything)
        assert set(listed(found)) == {"a", "a/.gitignore", "a/git"}
        assert found.left_out == {".git": len(spelt)}
        assert sorted(found.closed) == sorted(spelt)


def test_a_link_that_leaves_through_another_is_refused(tmp_path: Path) -> None:
    tree = {"s/t/up": Link("../.."), "x": Link("s/t/up/.."), "y": Link("s/t/up/s")}
    make(tmp_path / "t", tree)
    found = scan(tmp_path / "t")
    (problem,) = found.problems
    assert problem.startswith("x: a link that leaves the tree through another link, to s/t/up/.. (")
    assert scan(tmp_path / "t", everything=True).problems == []
    (tmp_path / "t" / "x").unlink()
    assert scan(tmp_path / "t").problems == []


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"l": Link("/etc/passwd")}, "l: a link that leaves the tree, to /etc/passwd"),
        ({"l": Link("../x")}, "l: a link that leaves the tree, to ../x"),
        ({"l": Link("s/up/..")}, "l: a link that leaves the tree through another link, to s/up/.."),
        ({"m": Link("s/up")}, "l: a link that leaves the tree through another link, to m/.."),
    ],
)
def test_a_link_that_changes_after_the_scan_is_looked_at_again(
    tmp_path: Path, now: dict[str, Link], reason: str
) -> None:
    make(tmp_path, {"s/up": Link(".."), "l": Link("m/.."), "m": Link("s/t"), "s/t/f": b""})
    found = scan(tmp_path)
    found.check()
    make(tmp_path, now)
    rows = [row for row, path in enumerate(listed(found)) if path in ("l", "m")]
    with pytest.raises(DsaError) as caught:
        hash_rows(found, digests(found), rows, False)
    assert [problem.partition(" (")[0] for problem in caught.value.problems] == [reason]


def test_a_link_that_changes_to_a_good_one_is_taken(tmp_path: Path) -> None:
    make(tmp_path, {"l": Link("a"), "d/out": Link("b")})
    found, everything = scan(tmp_path), scan(tmp_path, everything=True)
    make(tmp_path, {"l": Link("d/x")})
    assert hash_rows(found, digests(found), [1], False) == 1
    make(tmp_path, {"l": Link("/etc")})  # a checkout asks only what is there
    assert hash_rows(everything, digests(everything), [1], False) == 1
