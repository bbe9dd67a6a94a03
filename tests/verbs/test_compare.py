"""Diff and status: what came, went, changed and was renamed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from treetools import EMPTY, ODD, Exec, Link, Thing, make

import dsa
from dsa.errors import DsaError, NotFoundError

OLD: dict[str, Thing] = {
    "same": b"same",
    "edited": b"old",
    "mode": b"m",
    "gone": b"gone",
    "d/moved": b"moved along",
    "d/same": b"",
    "kind": b"k",
    "link": Link("same"),
    "hollow": EMPTY,
    "e0": b"",
}
NEW: dict[str, Thing] = {
    "same": b"same",
    "edited": b"newer",
    "mode": Exec(b"m"),
    "came": b"came",
    "f/moved": b"moved along",
    "d/same": b"",
    "kind": Link("k"),
    "link": Link("d"),
    "hollow too": EMPTY,
    "e1": b"",
}
CHANGES = {
    ("modified", "edited"),
    ("mode", "mode"),
    ("removed", "gone"),
    ("added", "came"),
    ("renamed", "f/moved"),
    ("modified", "kind"),
    ("modified", "link"),
    ("removed", "hollow"),
    ("added", "hollow too"),
    ("removed", "e0"),
    ("added", "e1"),
}


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    made = dsa.open(tmp_path / "store", create=True)
    made.push("ds", "1", make(tmp_path / "old", OLD))
    made.push("ds", "2", make(tmp_path / "new", NEW))
    return made


def named(report: dsa.reports.DiffReport | dsa.reports.StatusReport) -> set[tuple[str, str]]:
    return {(change.kind, change.path) for change in report.changes}


def test_revisions_and_folders_are_compared_alike(store: dsa.Store, tmp_path: Path) -> None:
    for old in ("ds@1", str(tmp_path / "old")):
        for new in ("ds@2", str(tmp_path / "new")):
            report = store.diff(old, new)
            # `kind` changed from a file to a link with the same bytes: its mode says so
            assert {kind for kind, path in named(report) if path == "kind"} <= {"mode", "modified"}
            rest = {change for change in named(report) if change[1] != "kind"}
            assert rest == {change for change in CHANGES if change[1] != "kind"}
            assert [change.path for change in report.changes] == sorted(
                change.path for change in report.changes
            )
            moved = next(change for change in report.changes if change.kind == "renamed")
            assert (moved.old_path, moved.path) == ("d/moved", "f/moved")
            assert report.totals["renamed"] == 1
            assert report.totals["added"] == 3


def test_a_side_against_itself_has_no_changes(store: dsa.Store, tmp_path: Path) -> None:
    for one, other in [("ds@1", "ds@1"), ("ds@2", str(tmp_path / "new"))]:
        report = store.diff(one, other)
        assert report.is_clean
        assert set(report.totals.values()) == {0}


def test_a_diff_turns_around(store: dsa.Store) -> None:
    there, back = store.diff("ds@1", "ds@2"), store.diff("ds@2", "ds@1")
    assert there.totals["bytes_added"] == back.totals["bytes_removed"]
    assert there.totals["added"] == back.totals["removed"]


def test_folders_need_no_store(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "none", create=True)
    make(tmp_path / "a", {"x": b"1"})
    make(tmp_path / "b", {"x": b"2"})
    assert named(store.diff(str(tmp_path / "a"), str(tmp_path / "b"))) == {("modified", "x")}
    assert not (tmp_path / "none").exists()
    with pytest.raises(NotFoundError):
        store.diff("ds@1", str(tmp_path / "a"))


def test_status_says_what_was_changed(store: dsa.Store, tmp_path: Path) -> None:
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    assert dsa.status(tree).is_clean
    for path in ("gone", "d/moved", "e0", "link", "kind"):
        (tree / path).unlink()
    (tree / "hollow").rmdir()
    for path, thing in NEW.items():
        if path not in ("same", "d/same"):
            make(tree, {path: thing})
    status = dsa.status(tree / "d")
    assert {change for change in named(status) if change[1] != "kind"} == {
        change for change in CHANGES if change[1] != "kind"
    }
    assert (status.dataset, status.revision, status.folder) == ("ds", "1", str(tree))


def test_status_needs_no_store_and_a_worktree(store: dsa.Store, tmp_path: Path) -> None:
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    shutil.rmtree(store.url)
    (tree / "same").write_bytes(b"other")
    assert named(dsa.status(tree)) == {("modified", "same")}
    with pytest.raises(NotFoundError):
        dsa.status(tmp_path / "old")


def test_what_a_push_refuses_is_named_by_status_too(store: dsa.Store, tmp_path: Path) -> None:
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    make(tree, {"bad": Link("/etc")})
    with pytest.raises(DsaError) as caught:
        dsa.status(tree)
    assert caught.value.problems[0].startswith("bad: ")


def test_a_plain_folder_is_verified_by_reading_it(store: dsa.Store, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    assert store.verify_folder(folder, "ds@1").is_clean
    (folder / "same").write_bytes(b"SAME")
    (folder / "extra").touch()
    assert named(store.verify_folder(folder, "ds@1")) == {("modified", "same"), ("added", "extra")}
    with pytest.raises(NotFoundError):
        store.verify_folder(tmp_path / "nowhere", "ds@1")


def test_odd_names_are_compared(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    store.push("odd", "1", make(tmp_path / "a", ODD))
    store.push("odd", "2", make(tmp_path / "b", {"x": b"only"}))
    report = store.diff("odd@1", "odd@2")
    assert report.totals["removed"] == len(ODD)
    assert report.totals["added"] == 1


def test_show_and_log_tell_what_is_shared(store: dsa.Store) -> None:
    shown = store["ds@2"].show()
    assert shown.shared_files is not None
    assert shown.shared_files >= 4
    assert [entry.revision for entry in store.log("ds")] == ["2", "1"]
    newest = next(iter(store.log("ds")))
    assert newest.parent == "ds@1"
    assert newest.changes["renamed"] == 1
