"""The `djarchive-manifest.csv`: what a push would take, and what a push holds a folder against."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from treetools import EMPTY, ODD, Link, look, make, snapshot, stored

import dsa
from dsa.errors import DsaError

NAME = "djarchive-manifest.csv"
TREE = {"a.txt": b"hello", "sub/b.bin": b""}
LINES = (
    b'"5","2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","a.txt"\n'
    b'"0","e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","sub/b.bin"\n'
)


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    return dsa.open(tmp_path / "store", create=True)


def test_the_two_lines_in_any_order_of_creation(tmp_path: Path) -> None:
    one = make(tmp_path / "one", TREE)
    other = make(tmp_path / "other", dict(reversed(TREE.items())))
    before = snapshot(one)
    assert dsa.manifest(one) == dsa.manifest(one) == dsa.manifest(other) == LINES
    assert snapshot(one) == before


def test_sha1_on_request(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"a": b"x"})
    wanted = f'"1","{hashlib.sha1(b"x").hexdigest()}","a"\n'
    assert dsa.manifest(folder, digest="sha1") == wanted.encode()


def test_hidden_files_are_listed_unless_skipped(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**TREE, ".git/c": b"", "sub/.h": b"h", ".x/y": b""})
    paths = [line.rpartition(b',"')[2][:-1] for line in dsa.manifest(folder).splitlines()]
    assert paths == [b".x/y", b"a.txt", b"sub/.h", b"sub/b.bin"]
    assert dsa.manifest(folder, skip_hidden=True) == LINES


def test_what_is_excluded_is_not_listed(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**TREE, "x.tmp": b"", ".dsaignore": b"y\n", "y": b""})
    lines = dsa.manifest(folder, exclude=["*.tmp", ".dsaignore"])
    assert lines == LINES


def test_quotes_commas_and_newlines_come_back(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", ODD)
    (folder / NAME).write_bytes(dsa.manifest(folder))
    report = store.push("ds", "1", folder)
    assert report.is_new
    assert report.left_out[NAME] == 1


def test_a_list_that_agrees_is_no_part_of_the_data(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**TREE, f"sub/{NAME}": b"data"})
    (folder / NAME).write_bytes(dsa.manifest(folder))
    report = store.push("ds", "1", folder)
    assert set(store["ds@1"].files) == {*TREE, f"sub/{NAME}"}
    assert report.left_out == {NAME: 1}
    assert not store.push("ds", "1", folder).is_new


@pytest.mark.parametrize("how", ["old", "crlf", "sha1", "unsorted"])
def test_lists_of_the_old_program_are_taken(store: dsa.Store, tmp_path: Path, how: str) -> None:
    folder = make(tmp_path / "t", {**TREE, "a,b.txt": b"comma"})
    listed = dsa.manifest(folder, digest="sha1" if how == "sha1" else "sha256")
    match how:
        case "crlf":
            listed = listed.replace(b"\n", b"\r\n")
        case "unsorted":
            listed = b"".join(reversed(listed.splitlines(keepends=True)))
    (folder / NAME).write_bytes(listed)
    assert store.push("ds", "1", folder).files == 3


PROBLEMS: dict[str, tuple[dict[str, bytes], list[str], str]] = {
    "untracked": ({"new": b""}, [], "untracked: new"),
    "altered": ({"a.txt": b"jello"}, [], "different: a.txt: sha256 2cf24dba5f"),
    "longer": ({"a.txt": b"hello!"}, [], "different: a.txt: 5 bytes listed, 6 found"),
    "missing": ({}, ["a.txt"], "missing: a.txt"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_folder_that_differs_from_its_list_is_refused(
    store: dsa.Store, tmp_path: Path, name: str
) -> None:
    folder = make(tmp_path / "t", TREE)
    (folder / NAME).write_bytes(LINES)
    more, less, said = PROBLEMS[name]
    make(folder, more)
    for path in less:
        (folder / path).unlink()
    with pytest.raises(DsaError) as caught:
        store.push("ds", "1", folder)
    assert caught.value.exit_code == 1
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(said)
    assert not Path(store.url).exists()


def test_all_that_differs_is_told_in_one_run(store: dsa.Store, tmp_path: Path) -> None:
    store.push("other", "1", make(tmp_path / "o", {"x": b""}))
    before = stored(Path(store.url))
    folder = make(tmp_path / "t", {**TREE, "c": b"c"})
    (folder / NAME).write_bytes(dsa.manifest(folder))
    make(folder, {"new": b"", "a.txt": b"jello"})
    (folder / "c").unlink()
    with pytest.raises(DsaError) as caught:
        store.push("ds", "1", folder)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "missing",
        "different",
        "untracked",
    ]
    assert "jello" not in str(caught.value.problems)
    assert stored(Path(store.url)) == before


def test_hidden_files_that_the_list_leaves_out_are_left_out(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(
        tmp_path / "t",
        {
            **TREE,
            ".hidden": b"h",
            "sub/.h": b"h",
            ".only/x": b"h",
            ".only/deep/y": b"h",
            ".kept/z": b"k",
            "e": EMPTY,
        },
    )
    listed = b"".join(
        line
        for line in dsa.manifest(folder).splitlines(keepends=True)
        if b".kept" in line or not (b'".' in line or b"/." in line)
    )
    (folder / NAME).write_bytes(listed)
    report = store.push("ds", "1", folder)
    store.checkout("ds", tmp_path / "w")
    assert look(tmp_path / "w") == {**TREE, ".kept/z": b"k", "e": EMPTY}
    assert report.left_out == {NAME: 1, "hidden, not in the list": 4}
    assert not store.push("ds", "1", folder).is_new


@pytest.mark.parametrize("content", [b'"x","y","z"\n', b"\xff\n", b'"1","abc","a"\n', b'"5"\n'])
def test_a_list_that_cannot_be_read_is_refused(
    store: dsa.Store, tmp_path: Path, content: bytes
) -> None:
    folder = make(tmp_path / "t", TREE)
    (folder / NAME).write_bytes(content)
    with pytest.raises(DsaError) as caught:
        store.push("ds", "1", folder)
    assert caught.value.exit_code == 1
    assert caught.value.problems
    assert not Path(store.url).exists()


def test_links_to_files_count_as_the_old_program_counted_them(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {**TREE, "l": Link("a.txt"), "d": Link("sub"), "no": Link("x")})
    listed = dsa.manifest(folder)
    assert b'"5","2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","l"' in listed
    assert b'"d"' not in listed
    (folder / NAME).write_bytes(listed)
    store.push("ds", "1", folder)
    assert store["ds@1"].files["l"].mode == "120000"
