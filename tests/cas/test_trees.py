"""Trees: git's own bytes and ids, and nothing hostile is let in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dulwich.objects import Tree
from folders import Folder, entries_of, folders
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa.cas.ids import ObjectId, Sha256
from dsa.cas.trees import (
    EMPTY_SHA256,
    EMPTY_TREE,
    EXECUTABLE,
    FILE,
    FOLDER,
    LINK,
    TreeEntry,
    decode_tree,
    encode_tree,
    folder_sha256,
    tree_header,
    tree_id,
)

ID = ObjectId.of(b"x")


@given(folders)
def test_a_tree_is_what_dulwich_makes_of_it(folder: Folder) -> None:
    entries = [entry for entry, *_ in entries_of(folder)]
    tree = Tree()
    for entry in entries:
        tree.add(entry.name.encode(), entry.mode, str(entry.id).encode())  # type: ignore[arg-type]  # dulwich names its ids by a NewType
    data = encode_tree(reversed(entries))
    assert data == tree_header(len(tree.as_raw_string())) + tree.as_raw_string()
    assert str(ObjectId.of(data)).encode() == tree.id


@given(folders)
def test_what_is_encoded_is_decoded(folder: Folder) -> None:
    entries = [entry for entry, *_ in entries_of(folder)]
    data = encode_tree(entries)
    assert decode_tree(data) == entries
    assert encode_tree(decode_tree(data)) == data
    assert tree_id(data.partition(b"\0")[2]) == ObjectId.of(data)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@given(folders)
@settings(max_examples=15)
def test_git_gives_a_tree_the_same_id(folder: Folder) -> None:
    data = encode_tree(entry for entry, *_ in entries_of(folder))
    body = data.partition(b"\0")[2]
    command = ["git", "hash-object", "-t", "tree", "--stdin", "--literally"]
    said = subprocess.run(command, input=body, capture_output=True, check=True, cwd="/")
    assert said.stdout.decode().strip() == str(ObjectId.of(data))


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_git_writes_the_same_tree_from_real_files(tmp_path: Path) -> None:
    names = ["a", "a.b", "a-b", "a0", "ab", "b", "é", "z z"]
    for name in names:
        (tmp_path / name).mkdir() if name in ("a", "b") else (tmp_path / name).write_text("x")
    (tmp_path / "a/f").write_text("x")
    (tmp_path / "b/run").write_text("x")
    (tmp_path / "b/run").chmod(0o755)
    (tmp_path / "b/link").symlink_to("run")

    def git(*arguments: str) -> bytes:
        return subprocess.run(
            ["git", *arguments], cwd=tmp_path, capture_output=True, check=True
        ).stdout

    git("init", "-q")
    git("add", "-A")
    root = git("write-tree").decode().strip()
    body = git("cat-file", "tree", root)
    entries = decode_tree(tree_header(len(body)) + body)
    assert [entry.name for entry in entries] == ["a-b", "a.b", "a", "a0", "ab", "b", "z z", "é"]
    assert tree_id(body) == ObjectId.parse(root)
    below = next(entry for entry in entries if entry.name == "b")
    body = git("cat-file", "tree", str(below.id))
    modes = [entry.mode for entry in decode_tree(tree_header(len(body)) + body)]
    assert modes == [LINK, EXECUTABLE]


def test_the_empty_folder() -> None:
    assert encode_tree([]) == b"tree 0\0"
    assert str(EMPTY_TREE) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    assert folder_sha256([]) == EMPTY_SHA256 == Sha256.of(b"")
    assert decode_tree(b"tree 0\0") == []


def test_a_folders_sha256_is_that_of_its_lines() -> None:
    check = Sha256.of(b"")
    entries = [(TreeEntry("a", FOLDER, ID), 7, check), (TreeEntry("a.b", FILE, ID), 5, check)]
    lines = f"100644 5 {check} a.b\0" + f"40000 7 {check} a\0"
    assert folder_sha256(entries) == Sha256.of(lines.encode())


def raw(*entries: tuple[bytes, bytes], header: bytes | None = None) -> bytes:
    body = b"".join(mode + b" " + name + b"\0" + ID.raw for mode, name in entries)
    return (tree_header(len(body)) if header is None else header) + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"tree 0",
        b"blob 0\0",
        b"tree 00\0",
        b"tree  0\0",
        b"tree 1\0",
        raw((b"100644", b"a"), header=b""),
        raw((b"100644", b"a"), header=b"tree 28\0"),
        raw((b"100644", b"a"))[:-1],
        raw((b"100644", b"b"), (b"100644", b"a")),
        raw((b"100644", b"a"), (b"100644", b"a")),
        raw((b"100644", b"a"), (b"40000", b"a")),
        raw((b"100644", b"a"), (b"100644", b"a.b"), (b"40000", b"a")),  # a name twice, apart
        raw((b"40000", b"a"), (b"100644", b"a.b")),  # git sorts a folder as `a/`
        raw((b"040000", b"a")),
        raw((b"0100644", b"a")),
        raw((b"100664", b"a")),
        raw((b"100600", b"a")),
        raw((b"160000", b"a")),
        raw((b"", b"a")),
        raw((b"100644", b"")),
        raw((b"100644", b".")),
        raw((b"100644", b"..")),
        raw((b"100644", b"a/b")),
        raw((b"100644", b"\xff")),
        raw((b"100644", b"\xed\xa0\x80")),
        raw((b"100644", b"a" * 256)),
        raw((b"40000", b".dsa")),
        raw((b"100644", b".DSA")),
        raw((b"100644", b".dsa ")),
        raw((b"100644", b"DSA~1")),
        raw((b"100644", ".d\u200csa".encode())),
        raw((b"100644", b".dsa::$INDEX_ALLOCATION")),
        b"tree 25\0100644 a\0" + ID.raw[:10],
    ],
)
def test_a_tree_that_may_not_be_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_tree(data)


@given(folders, st.data())
@settings(max_examples=200)
def test_a_changed_tree_is_refused_or_is_another_tree(folder: Folder, data: st.DataObject) -> None:
    good = encode_tree(entry for entry, *_ in entries_of(folder))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = (
        good[:at]
        + bytes([data.draw(st.integers(0, 255).filter(lambda value: value != good[at]))])
        + good[at + 1 :]
    )
    try:
        entries = decode_tree(bad)
    except ValueError:
        return
    assert encode_tree(entries) == bad
