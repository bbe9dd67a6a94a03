"""Checkout: the folder is what the revision says, and a person's work is never touched."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from treetools import (
    EMPTY,
    ODD,
    Exec,
    Link,
    Thing,
    Tree,
    assert_same,
    ended,
    look,
    make,
    run_python,
    snapshot,
)

import dsa
from dsa.errors import ConflictError, DamageError, DsaError, NotFoundError, UsageError

TREE: Tree = {"a.txt": b"hello", "sub/b.bin": b""}
LARGE = b"\0" * 300_000


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    return dsa.open(tmp_path / "store", create=True)


class Sets:
    """Push trees as revisions of `ds`, 1, 2, …"""

    def __init__(self, store: dsa.Store, tmp_path: Path) -> None:
        self.store, self.folder, self.count = store, tmp_path / "sources", 0

    def __call__(self, *trees: Tree) -> None:
        for tree in trees:
            self.count += 1
            source = make(self.folder / str(self.count), tree)
            self.store.push("ds", str(self.count), source, author="a <b@c>")


@pytest.fixture
def push(store: dsa.Store, tmp_path: Path) -> Sets:
    return Sets(store, tmp_path)


def times(root: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in root.rglob("*") if path.name != "lock"}


# --- what comes out -------------------------------------------------------------------------------


def test_every_odd_thing_comes_out_as_it_was(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push(ODD)
    report = store.checkout("ds", tmp_path / "new" / "deep" / "w")
    assert report.written == sum(thing is not EMPTY for thing in ODD.values())
    assert report.copied + report.cloned == report.written
    assert_same(push.folder / "1", tmp_path / "new" / "deep" / "w")
    assert dsa.status(tmp_path / "new" / "deep" / "w").is_clean


def test_an_empty_revision_makes_an_empty_folder(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({"x/y": EMPTY})
    (tmp_path / "empty").mkdir()
    store.push("none", "1", tmp_path / "empty")
    for _ in range(2):
        store.checkout("none", tmp_path / "w")
        assert look(tmp_path / "w") == {}
        store.checkout("ds", tmp_path / "w2")
        assert look(tmp_path / "w2") == {"x/y": EMPTY}


def test_what_is_not_there_is_named_and_makes_no_folder(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="no store"):
        store.checkout("ds@1", tmp_path / "w")
    push(TREE)
    for spec, what in ("nope@1", "dataset nope"), ("nope", "dataset nope"), ("ds@9", "revision 9"):
        with pytest.raises(NotFoundError, match=what):
            store.checkout(spec, tmp_path / "w")
    with pytest.raises(NotFoundError, match="nothing in ds@1 matches"):
        store.checkout("ds@1", tmp_path / "w", only=["a.txt", "nope"])
    assert not (tmp_path / "w").exists()


def test_a_revision_is_found_by_name_by_id_and_as_the_newest(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(TREE, {**TREE, "c": b""})
    manifest = store["ds@1"].manifest
    for spec, revision in [
        ("ds", "2"),
        ("ds@latest", "2"),
        ("ds@1", "1"),
        (f"ds@{manifest[:7]}", "1"),
        (f"ds@{manifest}", "1"),
    ]:
        assert store.checkout(spec, tmp_path / "w").revision == revision


def test_the_folder_is_the_worktree_around_or_a_new_one(
    store: dsa.Store, push: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(TREE, {**TREE, "c": b""})
    store.push("other/name", "1", push.folder / "1")
    monkeypatch.chdir(tmp_path)
    assert store.checkout("other/name").folder == str(tmp_path / "name")
    store.checkout("ds@1", tmp_path / "w")
    monkeypatch.chdir(tmp_path / "w" / "sub")
    assert store.checkout("ds@2").folder == str(tmp_path / "w")
    assert store.checkout("other/name").folder == str(tmp_path / "w" / "sub" / "name")


def test_a_second_checkout_touches_nothing(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push({**ODD})
    store.checkout("ds", tmp_path / "w")
    before = times(tmp_path / "w")
    report = store.checkout("ds", tmp_path / "w")
    assert (report.written, report.removed, report.unchanged) == (
        0,
        0,
        sum(thing is not EMPTY for thing in ODD.values()),
    )
    after = times(tmp_path / "w")
    assert {path: when for path, when in after.items() if "/.dsa" not in path} == {
        path: when for path, when in before.items() if "/.dsa" not in path
    }


def test_into_a_folder_that_holds_it_already_writes_nothing(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(ODD)
    make(tmp_path / "w", ODD)
    before = {path: path.lstat().st_ino for path in (tmp_path / "w").rglob("*")}
    report = store.checkout("ds", tmp_path / "w")
    assert report.written == 0
    after = {path: path.lstat().st_ino for path in before}
    assert before == after
    assert dsa.status(tmp_path / "w").is_clean


SWITCHES: list[tuple[Tree, Tree]] = [
    ({"a": b"1"}, {"a": b"2"}),
    ({"a": b"1", "b": b"2"}, {"b": b"1", "a": b"2"}),
    ({"a": b"1"}, {"b": b"1"}),
    ({"a": b"1"}, {"a": Exec(b"1")}),
    ({"a": Exec(b"1")}, {"a": b"2"}),
    ({"a": b"1"}, {"a": Link("b"), "b": b"1"}),
    ({"a": Link("b"), "b": b"1"}, {"a": b"1"}),
    ({"a": Link("b")}, {"a": Link("c")}),
    ({"a": b"1"}, {"a/b/c": b"1"}),
    ({"a/b/c": b"1", "a/d": b""}, {"a": b"1"}),
    ({"a/b": b"1"}, {"a": Link("c"), "c/b": b"1"}),
    ({"a": Link("c"), "c/b": b"1"}, {"a/b": b"1"}),
    ({"a": EMPTY}, {"a": b""}),
    ({"a": b""}, {"a": EMPTY}),
    ({"a": EMPTY, "b": b""}, {"b": b""}),
    ({"a/b/c/d": b"", "x": b""}, {"x": b""}),
    ({"a/b": EMPTY}, {"a": EMPTY}),
    ({"l": LARGE, "m": b"x"}, {"l": b"x", "m": LARGE}),
    ({"a.b": b"", "a/c": b"", "a0": b""}, {"a": b"", "a.b/c": b"", "a0/d": b""}),
]


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
@pytest.mark.parametrize(("one", "other"), SWITCHES)
def test_a_worktree_is_switched_in_place(
    store: dsa.Store, push: Sets, tmp_path: Path, one: Tree, other: Tree, link: bool
) -> None:
    push(one, other)
    tree = tmp_path / "w"
    for revision, target in [("1", one), ("2", other), ("1", one)]:
        store.checkout(f"ds@{revision}", tree, link=link)
        assert look(tree) == dict(target)
        assert dsa.status(tree).is_clean
        assert dsa.status(tree).revision == revision


def test_equal_large_files_that_are_linked_can_all_go_and_change(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    """All of them are one file with several names: removing one changes what is told of the others."""
    push(
        {"a": LARGE, "b": LARGE, "c": LARGE, "d": LARGE},
        {"0": LARGE, "c": b"new", "d": LARGE[1:]},
        {"x": b""},
    )
    tree = tmp_path / "w"
    for revision in ("1", "2", "1", "3"):
        store.checkout(f"ds@{revision}", tree, link=True)
        assert_same(push.folder / revision, tree)


def test_deleted_files_come_back(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push(ODD)
    tree = tmp_path / "w"
    store.checkout("ds", tree)
    (tree / "plain.txt").unlink()
    shutil.rmtree(tree / "folder")
    report = store.checkout("ds", tree)
    assert report.written == 4
    assert_same(push.folder / "1", tree)


# --- a person's work ------------------------------------------------------------------------------


def test_edited_files_stop_everything_and_all_are_named(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(
        {"a": b"1", "b": b"1", "c": b"1", "sub/d": b"1", "gone": b"1"},
        {"a": b"2", "b": b"2", "c": b"2", "sub/d": b"2", "new": b"2"},
    )
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    make(tree, {"a": b"mine", "sub/d": Link("../b"), "new": b"mine too", "free": b""})
    before = snapshot(tree)
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds@2", tree)
    assert caught.value.exit_code == 4
    assert list(caught.value.problems) == ["a", "new", "sub/d"]
    after = snapshot(tree)
    assert after == before
    report = store.checkout("ds@2", tree, force=True)
    assert report.replaced == ("a", "new", "sub/d")
    assert report.kept == ("free",)
    assert look(tree) == look(push.folder / "2") | {"free": b""}


def test_an_edit_of_the_same_revision_is_kept_until_forced(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(TREE)
    tree = tmp_path / "w"
    store.checkout("ds", tree)
    (tree / "a.txt").write_bytes(b"jello")
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds", tree)
    assert list(caught.value.problems) == ["a.txt"]
    assert (tree / "a.txt").read_bytes() == b"jello"
    store.checkout("ds", tree, force=True)
    assert look(tree) == TREE


def test_files_in_a_folder_of_somebody_elses_are_safe(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(TREE)
    tree = make(tmp_path / "w", {"a.txt": b"mine", "other": b""})
    before = snapshot(tree)
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds", tree)
    assert list(caught.value.problems) == ["a.txt"]
    assert snapshot(tree) == before


def test_unknown_files_stay_unless_cleaned_and_ignored_ones_always(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({**TREE, ".dsaignore": b"*.log\nbuild/\n"})
    tree = tmp_path / "w"
    store.checkout("ds", tree)
    mine: dict[str, Thing] = {
        "extra": b"",
        "sub/extra": Link("b.bin"),
        "x.log": b"",
        "build/x": b"",
        "my/own": b"",
        "hollow": EMPTY,
    }
    make(tree, mine)
    report = store.checkout("ds", tree)
    assert set(report.kept) == {"extra", "sub/extra", "x.log", "build/x", "my/own"}
    assert look(tree) == look(push.folder / "1") | mine
    planned = store.checkout("ds", tree, clean=True, dry_run=True)
    assert look(tree) == look(push.folder / "1") | mine
    report = store.checkout("ds", tree, clean=True)
    assert (report.removed, planned.removed) == (3, 3)
    assert set(report.kept) == {"x.log", "build/x"}
    assert look(tree) == look(push.folder / "1") | {"x.log": b"", "build/x": b""}


def test_an_unknown_file_keeps_its_folder(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push({"d/e/f": b"", "x": b""}, {"x": b""})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    make(tree, {"d/mine": b"m"})
    assert store.checkout("ds@2", tree).kept == ("d/mine",)
    assert look(tree) == {"x": b"", "d/mine": b"m"}


def test_an_edited_file_that_the_target_lacks_stays(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({"a": b"1", "x": b""}, {"x": b""})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    (tree / "a").write_bytes(b"mine")
    report = store.checkout("ds@2", tree)
    assert report.edited == ("a",)
    assert look(tree) == {"a": b"mine", "x": b""}


IN_THE_WAY: list[tuple[Tree, Tree, list[str]]] = [
    ({"x": b"1"}, {"x/mine": b"m"}, ["x/mine"]),
    ({"x": b"1"}, {"x/y/mine": b"m", "x/other": b""}, ["x/other", "x/y/mine"]),
    ({"x/y": b"1"}, {"x": b"mine"}, ["x"]),
    ({"x/y": b"1"}, {"x": Link("elsewhere")}, ["x"]),
    ({"x/y/z": b"1"}, {"x/y": b"mine"}, ["x/y"]),
    ({"x": b"1"}, {"x": Link("y")}, ["x"]),
    ({"x": b"1"}, {"x/.git/config": b"mine"}, ["x/.git"]),
    ({"x": b"1"}, {"x/y/.git/config": b"mine"}, ["x/y/.git"]),
    ({"x": b"1"}, {"x/.dsa/worktree.json": b"mine"}, ["x/.dsa"]),
    ({"x": Link("y")}, {"x/.git/config": b"mine"}, ["x/.git"]),
    ({"x": EMPTY}, {"x": b"mine"}, ["x"]),
]


@pytest.mark.parametrize(("target", "there", "named"), IN_THE_WAY)
def test_what_is_in_the_way_is_named_before_anything_is_written(
    store: dsa.Store, push: Sets, tmp_path: Path, target: Tree, there: Tree, named: list[str]
) -> None:
    push({**target, "0": b"", "zz": b""})
    tree = make(tmp_path / "w", there)
    before = snapshot(tree)
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds", tree)
    assert list(caught.value.problems) == named
    assert snapshot(tree) == before


def test_strange_things_in_the_way_are_named(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push({"x": b"1", "y/z": b"", "ok": b""})
    tree = make(tmp_path / "w", {"x": EMPTY})
    os.mkfifo(tree / "y")
    (tree / "x" / os.fsdecode(b"d\xff")).mkdir()
    (tree / os.fsdecode(b"f\xff")).touch()
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds", tree)
    assert len(caught.value.problems) == 2
    assert sorted(os.listdir(os.fsencode(tree))) == [b"f\xff", b"x", b"y"]
    with pytest.raises(ConflictError):
        store.checkout("ds", tree, force=True)
    (tree / "x" / os.fsdecode(b"d\xff")).rmdir()
    store.checkout("ds", tree, force=True)
    assert (tree / "y" / "z").exists()
    assert (tree / os.fsdecode(b"f\xff")).exists()


def test_an_unknown_file_in_the_way_goes_only_by_force_and_clean_together(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({"x": b"1"})
    tree = make(tmp_path / "w", {"x/mine": b"m"})
    for force in (False, True):
        with pytest.raises(ConflictError):
            store.checkout("ds", tree, force=force, clean=not force)
        assert look(tree) == {"x/mine": b"m"}
    store.checkout("ds", tree, force=True, clean=True)
    assert look(tree) == {"x": b"1"}


def test_a_dry_run_says_what_would_be_done(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push({"a": b"1", "b": b"1"}, {"a": b"22", "c": b"333"})
    tree = tmp_path / "w"
    plan = store.checkout("ds@1", tree, dry_run=True)
    assert (plan.dry_run, plan.written, plan.bytes_written) == (True, 2, 2)
    assert not tree.exists()
    store.checkout("ds@1", tree)
    before = snapshot(tree)
    plan = store.checkout("ds@2", tree, dry_run=True)
    assert (plan.written, plan.bytes_written, plan.removed) == (2, 5, 1)
    assert snapshot(tree) == before
    make(tree, {"a": b"mine"})
    with pytest.raises(ConflictError):
        store.checkout("ds@2", tree, dry_run=True)


def test_a_file_or_the_store_itself_is_no_place(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(TREE)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", Path(store.url), Path(store.url, "objects")):
        with pytest.raises(ConflictError):
            store.checkout("ds", place)


def test_only_one_checkout_works_in_a_folder(store: dsa.Store, push: Sets, tmp_path: Path) -> None:
    push(TREE)
    code = (
        "import sys, pathlib; from dsa.worktree.workplace import working_in\n"
        "with working_in(pathlib.Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    with run_python(code, tmp_path / "w", stdin=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ConflictError, match="another checkout"):
            store.checkout("ds", tmp_path / "w")
        ended(other)
    store.checkout("ds", tmp_path / "w")


# --- a part of a revision -------------------------------------------------------------------------

PARTS: Tree = {
    "top.csv": b"0",
    "data/a.csv": b"1",
    "data/b.txt": b"2",
    "data/deep/a.csv": b"3",
    "data/deep/er/c": b"4",
    "other/a.csv": b"5",
    "hollow/inner": EMPTY,
    "link": Link("data/a.csv"),
}


@pytest.mark.parametrize(
    ("only", "paths"),
    [
        (["top.csv"], {"top.csv"}),
        (["data"], {path for path in PARTS if path.startswith("data/")}),
        (["./data/deep/"], {"data/deep/a.csv", "data/deep/er/c"}),
        (["*.csv"], {"top.csv"}),
        (["*/a.csv"], {"data/a.csv", "other/a.csv"}),
        (["**/a.csv"], {"data/a.csv", "data/deep/a.csv", "other/a.csv"}),
        (["data/**"], {path for path in PARTS if path.startswith("data/")}),
        (["re:a\\.csv$"], {"data/a.csv", "data/deep/a.csv", "other/a.csv"}),
        (["hollow"], {"hollow/inner"}),
        (["link", "data/b.txt"], {"link", "data/b.txt"}),
        (["data/a.csv", "other/a.csv"], {"data/a.csv", "other/a.csv"}),
        (["**"], set(PARTS)),
    ],
)
def test_a_selection_keeps_the_tree(
    store: dsa.Store, push: Sets, tmp_path: Path, only: list[str], paths: set[str]
) -> None:
    push(PARTS)
    tree = tmp_path / "w"
    store.checkout("ds", tree, only=only)
    assert look(tree) == {path: PARTS[path] for path in paths}
    status = dsa.status(tree)
    assert status.is_clean
    assert status.selection == (() if only == ["**"] else tuple(only))


@pytest.mark.parametrize("only", [[""], ["re:("], ["re:"], ["[b-a]"]])
def test_a_selector_that_cannot_be_read_is_refused(
    store: dsa.Store, push: Sets, tmp_path: Path, only: list[str]
) -> None:
    push(PARTS)
    with pytest.raises(UsageError):
        store.checkout("ds", tmp_path / "w", only=only)
    assert not (tmp_path / "w").exists()


def test_a_selection_is_remembered_and_widened_and_narrowed(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(PARTS, {**PARTS, "data/a.csv": b"new", "other/a.csv": b"new", "data/n": b"n"})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree, only=["data", "top.csv"])
    report = store.checkout("ds@2", tree)
    assert report.written == 2
    assert any("--only" in warning for warning in report.warnings)
    wanted = look(push.folder / "2")
    part = {path: wanted[path] for path in wanted if path.startswith(("data/", "top.csv"))}
    assert look(tree) == part
    # narrower: what nobody edited goes, the rest is named
    (tree / "data" / "b.txt").write_bytes(b"mine")
    report = store.checkout("ds@2", tree, only=["top.csv"])
    assert report.edited == ("data/b.txt",)
    assert look(tree) == {"top.csv": b"0", "data/b.txt": b"mine"}
    (tree / "data" / "b.txt").unlink()
    # wider again, and all
    store.checkout("ds@2", tree, only=["top.csv", "other"])
    assert look(tree) == {"top.csv": b"0", "other/a.csv": b"new"}
    store.checkout("ds@2", tree, only=["**"])
    assert look(tree) == wanted
    assert dsa.status(tree).selection == ()


def test_another_dataset_does_not_inherit_the_selection(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(PARTS)
    store.push("other", "1", make(tmp_path / "o", {"q": b"q"}))
    store.checkout("ds", tmp_path / "w", only=["top.csv"])
    store.checkout("other", tmp_path / "w")
    assert look(tmp_path / "w") == {"q": b"q"}


def test_a_push_carries_over_what_was_not_selected(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(PARTS)
    tree = tmp_path / "w"
    store.checkout("ds", tree, only=["data/deep", "top.csv"])
    report = store.push("ds", "same", tree)
    assert report.data == store["ds@1"].data
    assert report.objects_new == 0
    make(tree, {"data/deep/new": b"new", "top.csv": b"changed", "fresh/x": b"f"})
    shutil.rmtree(tree / "data" / "deep" / "er")
    changes = {change.path for change in dsa.status(tree).changes}
    assert changes == {"data/deep/new", "top.csv", "fresh/x", "data/deep/er/c"}
    store.push("ds", "2", tree)
    store.checkout("ds@2", tmp_path / "all")
    wanted = {**PARTS, "data/deep/new": b"new", "top.csv": b"changed", "fresh/x": b"f"}
    del wanted["data/deep/er/c"]
    assert look(tmp_path / "all") == wanted
    # emptied wholly: the folder goes, what was not selected beside it stays
    shutil.rmtree(tree / "data")
    store.push("ds", "3", tree)
    store.checkout("ds@3", tmp_path / "all")
    wanted = {path: thing for path, thing in wanted.items() if not path.startswith("data/deep")}
    assert look(tmp_path / "all") == wanted


def test_a_part_is_pushed_without_what_the_publisher_ignores(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    ignores = {".dsaignore": b"*.tmp\n", "data/.dsaignore": b"*.log\n", "other/.dsaignore": b"x\n"}
    push({**PARTS, **ignores})
    tree = tmp_path / "w"
    store.checkout("ds", tree, only=["data/deep/a.csv"])
    assert set(look(tree)) == {".dsaignore", "data/.dsaignore", "data/deep/a.csv"}
    assert dsa.status(tree).is_clean
    make(tree, {"a.tmp": b"", "data/deep/b.tmp": b"", "data/deep/c.log": b""})
    report = store.push("ds", "2", tree)
    assert report.left_out == {"ignored": 3, ".dsa": 1}
    assert report.data == store["ds@1"].data


def test_what_stands_where_something_was_not_selected_is_no_second_entry(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    """A file named like a folder that was left in the store: both cannot be in one revision."""
    push(PARTS)
    tree = tmp_path / "w"
    store.checkout("ds", tree, only=["top.csv"])
    make(tree, {"data": b"a file"})
    with pytest.raises(DsaError) as caught:
        store.push("ds", "2", tree)
    assert caught.value.problems == ("data",)
    assert [revision.revision for revision in store.revisions("ds")] == ["1"]
    (tree / "data").unlink()
    make(tree, {"other/a.csv": b"mine", "link/x": b"a folder where a link was"})
    store.push("ds", "2", tree)
    store.checkout("ds@2", tmp_path / "all")
    wanted = {**PARTS, "other/a.csv": b"mine", "link/x": b"a folder where a link was"}
    del wanted["link"]
    assert look(tmp_path / "all") == wanted


def test_a_part_is_not_pushed_to_a_store_that_lacks_the_rest(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(PARTS)
    tree = tmp_path / "w"
    store.checkout("ds", tree, only=["top.csv"])
    elsewhere = dsa.open(tmp_path / "elsewhere", create=True)
    with pytest.raises(DsaError, match="not selected") as caught:
        elsewhere.push("ds", "2", tree)
    assert "data/b.txt" in caught.value.problems
    assert list(elsewhere.datasets()) == []


# --- damage ---------------------------------------------------------------------------------------


def lose(store: dsa.Store, path: str, spec: str = "ds") -> Path:
    """Remove a large file's object from the store."""
    sha1 = store[spec].files[path].sha1
    found = Path(store.url, "objects", sha1[:2], sha1[2:])
    found.unlink()
    return found


@pytest.mark.parametrize("many", [0, 3_000], ids=["here", "by workers"])
def test_what_is_missing_is_named_and_all_else_is_written(
    store: dsa.Store, push: Sets, tmp_path: Path, many: int
) -> None:
    rest = {f"n/{number}": b"%d" % number for number in range(many)}
    push({"a": b"a", "lost": LARGE, "wrong": LARGE + b"w", "z": Exec(LARGE + b"z"), **rest})
    lose(store, "lost")
    sha1 = store["ds"].files["wrong"].sha1
    wrong = Path(store.url, "objects", sha1[:2], sha1[2:])
    wrong.chmod(0o644)
    wrong.write_bytes(LARGE + b"x")
    tree = tmp_path / "w"
    for link in (False, True):
        with pytest.raises(DamageError) as caught:
            store.checkout("ds", tree, link=link)
        assert caught.value.exit_code == 5
        assert [problem.split(":")[0] for problem in caught.value.problems] == ["lost", "wrong"]
        assert look(tree) == {"a": b"a", "z": Exec(LARGE + b"z"), **rest}
    wrong.write_bytes(LARGE + b"w")
    store.push("again", "1", make(tmp_path / "heal", {"x": b"unrelated"}))
    with pytest.raises(DamageError):
        store.checkout("ds", tree)
    assert (tree / "wrong").read_bytes() == LARGE + b"w"


def test_a_damaged_file_does_not_replace_a_good_one(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({"f": LARGE}, {"f": LARGE + b"2"})
    store.checkout("ds@1", tmp_path / "w")
    lose(store, "f", "ds@2")
    with pytest.raises(DamageError):
        store.checkout("ds@2", tmp_path / "w")
    assert look(tmp_path / "w") == {"f": LARGE}
    # nobody's work is in there: the way back is open
    store.checkout("ds@1", tmp_path / "w")
    assert dsa.status(tmp_path / "w").is_clean


# --- hard links -----------------------------------------------------------------------------------


def test_linked_files_are_read_only_and_the_rest_is_copied(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push({"small": b"s", "large": LARGE, "exec": Exec(LARGE + b"e"), "link": Link("small")})
    tree = tmp_path / "w"
    report = store.checkout("ds", tree, link=True)
    assert report.linked == 1
    assert report.copied + report.cloned == 3
    assert look(tree) == look(push.folder / "1")
    sha1 = store["ds"].files["large"].sha1
    stored = Path(store.url, "objects", sha1[:2], sha1[2:])
    assert (tree / "large").samefile(stored)
    assert stat.S_IMODE((tree / "large").stat().st_mode) & 0o222 == 0
    assert stat.S_IMODE((tree / "exec").stat().st_mode) & 0o300 == 0o300
    if os.geteuid():
        with pytest.raises(PermissionError):
            (tree / "large").write_bytes(b"")
    # equal files are left as they are, an edited copy is somebody's work, and the store is safe
    assert store.checkout("ds", tree, link=True).written == 0
    (tree / "large").unlink()
    (tree / "large").write_bytes(b"mine")
    with pytest.raises(ConflictError):
        store.checkout("ds", tree, link=True)
    store.checkout("ds", tree, force=True, link=True)
    store.push("ds", "2", make(tmp_path / "x", {"large": Exec(LARGE)}))
    store.checkout("ds@2", tree)
    assert look(tree) == {"large": Exec(LARGE)}
    assert stat.S_IMODE(stored.stat().st_mode) & 0o333 == 0
    assert stored.read_bytes() == LARGE


# --- file systems ---------------------------------------------------------------------------------


def test_a_worktree_state_that_cannot_be_read_is_named(
    store: dsa.Store, push: Sets, tmp_path: Path
) -> None:
    push(TREE)
    tree = tmp_path / "w"
    store.checkout("ds", tree)
    (tree / ".dsa" / "worktree.json").write_text("{}")
    with pytest.raises(DamageError, match=r"worktree\.json"):
        store.checkout("ds", tree)
    shutil.rmtree(tree / ".dsa")
    (tmp_path / "elsewhere").mkdir()
    (tree / ".dsa").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamageError, match="link"):
        store.checkout("ds", tree)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    mount = Mount(tmp_path)
    yield mount
    mount.unmount()


class Mount:
    """File systems of a test's own; needs to be root."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.made: list[Path] = []

    def unmount(self) -> None:
        for place in self.made:
            subprocess.run(["umount", "-l", place], check=False, capture_output=True)

    def ram(self, size: str) -> Path:
        return self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs")

    def image(self, make_fs: list[str], size_bytes: int) -> Path:
        if shutil.which(make_fs[0]) is None:
            pytest.skip(f"there is no {make_fs[0]}")
        image = self.tmp_path / f"image{len(self.made)}"
        with image.open("wb") as file:
            file.truncate(size_bytes)
        made = subprocess.run([*make_fs, str(image)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"{make_fs[0]}: {made.stderr.strip()}")
        return self._mount("-o", "loop", str(image))

    def _mount(self, *arguments: str) -> Path:
        place = self.tmp_path / f"mount{len(self.made)}"
        place.mkdir()
        done = subprocess.run(["mount", *arguments, place], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        self.made.append(place)
        return place


@pytest.mark.parametrize("room", [300_000, 1_000_000, 2_300_000, 3_900_000])
def test_a_full_disk_ends_a_push_in_one_word_and_it_goes_on_when_there_is_room(
    mounted: Mount, tmp_path: Path, room: int
) -> None:
    place = mounted.ram("6m")
    folder = make(tmp_path / "t", {"small/" + str(n): os.urandom(20_000) for n in range(100)})
    make(folder, {"large": os.urandom(2_000_000)})
    store = dsa.open(place / "store", create=True)
    store.push("first", "1", make(tmp_path / "one", {"f": b"1"}))
    ballast = place / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(place).free - room))
    with pytest.raises(DsaError, match=r"space|full") as caught:
        store.push("ds", "1", folder)
    assert caught.value.exit_code == 1
    assert list(store.datasets()) == ["first"]
    assert list(Path(store.url, "site", "tmp").iterdir()) == []
    ballast.unlink()
    assert store.push("ds", "1", folder).is_new
    store.checkout("ds", tmp_path / "w")
    assert_same(folder, tmp_path / "w")


def test_a_full_disk_ends_a_checkout_in_one_word_and_it_goes_on_when_there_is_room(
    store: dsa.Store, push: Sets, mounted: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = mounted.ram("40m")
    push({f"{n}/f": os.urandom(2_000) for n in range(1500)} | {"large": os.urandom(3_000_000)})
    ballast = place / "ballast"
    tree = place / "w"
    ballast.write_bytes(b"\0" * 37_000_000)
    with pytest.raises(DsaError, match="free") as caught:
        store.checkout("ds", tree)
    assert caught.value.exit_code == 1
    assert not tree.exists()
    # the room was there when it was looked at, and is not when it is needed
    usage = shutil.disk_usage(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 40))
    with pytest.raises(DsaError, match=r"space|full"):
        store.checkout("ds", tree)
    monkeypatch.undo()
    wanted = look(push.folder / "1")
    assert all(wanted[path] == thing for path, thing in look(tree).items() if thing is not EMPTY)
    ballast.unlink()
    store.checkout("ds", tree)
    assert_same(push.folder / "1", tree)
    # nothing is to be written: it does not matter how full it is
    ballast.write_bytes(b"\0" * (shutil.disk_usage(place).free - 1_000_000))
    assert store.checkout("ds", tree).written == 0


AS_NOBODY = """
import os, sys, dsa, dsa.errors
top = sys.argv[1]
store = dsa.open(top + "/store", create=True)
store.push("ds", "1", top + "/t")
store.checkout("ds", top + "/warm")  # all that is needed is imported now
os.setgroups([])
os.setegid(65534)
os.seteuid(65534)
store = dsa.open(top + "/store")
for verb, *words in [
    ("checkout", "ds", top + "/w"),
    ("checkout", "ds", top + "/closed folder/sub/w"),
    ("push", "ds", "2", top + "/open"),
    ("push own", "ds", "2", top + "/closed file"),
    ("push own", "ds", "2", top + "/closed folder"),
    ("checkout", "ds", top + "/mine"),
    ("checkout", "ds", top + "/unreadable"),
]:
    try:
        place = dsa.open(top + "/own/store", create=True) if "own" in verb else store
        getattr(place, verb.split()[0])(*words)
        print("fine")
    except dsa.errors.DsaError as error:
        print(error.exit_code, error, list(error.problems))
"""


def test_without_permission_the_thing_is_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to be root, to act as somebody else")
    with tempfile.TemporaryDirectory() as made:
        top = Path(made)
        top.chmod(0o755)
        make(top / "t", TREE)
        make(top / "open", {"x": b""})
        make(top / "closed file", {"f": b"", "g": b""})
        make(top / "closed folder", {"sub/f": b""})
        make(top / "mine", {})
        make(top / "own", {})
        os.chown(top / "own", 65534, 65534)
        make(top / "unreadable", {"a.txt": b"mine"})
        os.chown(top / "mine", 65534, 65534)
        os.chown(top / "unreadable", 65534, 65534)
        (top / "unreadable" / "a.txt").chmod(0o600)
        (top / "closed file" / "f").chmod(0o600)
        (top / "closed folder" / "sub").chmod(0o700)
        said = ended(run_python(AS_NOBODY, top)).splitlines()
        assert [line.partition(" ")[0] for line in said] == ["6", "6", "6", "6", "6", "fine", "6"]
        for line, named in zip(said, ["/w", "sub/w", "store", "['f: ", "sub"], strict=False):
            assert named in line
        assert "a.txt" in said[-1]
        assert look(top / "mine") == TREE
        assert look(top / "unreadable") == {"a.txt": b"mine"}
        assert not (top / "w").exists()
        assert [revision.revision for revision in dsa.open(top / "store").revisions()] == ["1"]


@pytest.mark.slow
def test_names_that_the_file_system_takes_for_one_are_refused_before_any_write(
    store: dsa.Store, push: Sets, mounted: Mount
) -> None:
    push(
        {"README": b"1", "readme": b"2", "stra\u00dfe": b"3", "x/a": b""},
        {"readme": b"3", "x/a": b""},
    )
    place = mounted.image(["mkfs.ext4", "-q", "-O", "casefold", "-E", "encoding=utf8"], 32 << 20)
    folded = place / "folded"
    folded.mkdir()
    if subprocess.run(["chattr", "+F", folded], capture_output=True).returncode:
        pytest.skip("this system does not fold cases")
    with pytest.raises(ConflictError, match="apart") as caught:
        store.checkout("ds@1", folded / "w")
    assert "README" in caught.value.problems[0]
    assert not (folded / "w").exists()
    store.checkout("ds@1", folded / "w", only=["readme", "x"])
    store.checkout("ds@2", folded / "w")
    assert look(folded / "w") == {"readme": b"3", "x/a": b""}
    store.checkout("ds@1", place / "w")


@pytest.mark.slow
@pytest.mark.parametrize(
    "make_fs", [["mkfs.xfs", "-q"], ["mkfs.btrfs", "-q"]], ids=["xfs", "btrfs"]
)
def test_reflinks_are_used_unasked(mounted: Mount, tmp_path: Path, make_fs: list[str]) -> None:
    place = mounted.image(make_fs, 512 << 20)
    folder = make(place / "t", {"large": LARGE, "exec": Exec(LARGE + b"e"), "small": b"s"})
    store = dsa.open(place / "store", create=True)
    store.push("ds", "1", folder)
    report = store.checkout("ds", place / "w")
    assert (report.cloned, report.copied) == (2, 1)
    assert_same(folder, place / "w")
    (place / "w" / "large").write_bytes(b"mine")
    assert store["ds"].read("large") == LARGE
