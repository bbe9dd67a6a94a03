"""What dsa stores, read by programs that are not ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from dvc_objects.db import ObjectDB
from dvc_objects.fs.local import LocalFileSystem
from treetools import EMPTY, Exec, Link, Thing, make

import dsa
from dsa.cas.objectstore import ObjectStore
from dsa.remotes.local import LocalBackend

LARGE = os.urandom(300_000)
FOLDER: dict[str, Thing] = {
    "README.txt": b"Hello.\n",
    "same.txt": b"Hello.\n",
    "README.d/a": b"a",
    "README.d/b/c": b"",
    "README.d/b/run": Exec(b"#!/bin/sh\n"),
    "README-2": b"between README and README/\n",
    "large": LARGE,
    "links/up": Link("../README.txt"),
    "nothing": EMPTY,
    'ünï cödé, "q"\nline': b"odd\n",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with two revisions of one dataset."""
    root = tmp_path_factory.mktemp("foreign")
    folder = make(root / "folder", FOLDER)
    opened = dsa.open(root / "store", create=True)
    opened.push("some-set", "1", folder, message="first")
    (folder / "README.txt").write_text("Hello again.\n")
    opened.push("some-set", "2", folder)
    return root / "store"


def files(store: Path, kind: str) -> list[Path]:
    found = sorted(path for path in (store / kind).rglob("*") if path.is_file())
    assert found
    return found


def run(*command: str | Path, stdin: bytes | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=True)
    return done.stdout.decode()


def test_sha1sum_of_a_loose_object_is_its_name(store: Path) -> None:
    for path in files(store, "objects"):
        assert run("sha1sum", path).split()[0] == path.parent.name + path.name
    assert len(files(store, "objects")) == 1 + 2 + 2  # large; manifests; revision.json


@pytest.mark.parametrize("kind", ["packs", "locations"])
def test_sha1sum_of_a_pack_or_a_part_is_its_name(store: Path, kind: str) -> None:
    for path in files(store, kind):
        assert run("sha1sum", path).split()[0] == path.stem


@pytest.mark.parametrize("kind", ["objects", "packs", "locations"])
def test_what_is_named_by_its_bytes_is_read_only_for_all(store: Path, kind: str) -> None:
    assert {path.stat().st_mode & 0o222 for path in files(store, kind)} == {0}


@pytest.mark.skipif(not shutil.which("unzip"), reason="needs unzip")
def test_unzip_takes_every_pack_and_each_entry_is_what_its_name_says(
    store: Path, tmp_path: Path
) -> None:
    entries = 0
    for path in files(store, "packs"):
        assert "No errors detected" in run("unzip", "-tq", path)
        run("unzip", "-q", path, "-d", tmp_path / path.stem)
        for entry in (tmp_path / path.stem).iterdir():
            assert run("sha1sum", entry).split()[0] == entry.name
            entries += 1
    assert entries > 10


def test_git_agrees_on_the_id_of_every_tree(store: Path) -> None:
    opened = ObjectStore(LocalBackend(store))
    seen = 0
    for revision in ("1", "2"):
        published = opened.revisions.get("some-set", revision)
        todo = [published.id, published.manifest.data]
        while todo:
            oid = todo.pop()
            body = read_tree(store, str(oid)).partition(b"\0")[2]
            git = run("git", "hash-object", "-t", "tree", "--stdin", "--literally", stdin=body)
            assert git.strip() == str(oid)
            seen += 1
            if oid != published.id:
                todo += [entry.id for entry in opened.objects.tree(oid) if entry.mode == 0o40000]
    assert seen == 2 * (1 + 5)


def read_tree(store: Path, oid: str) -> bytes:
    """Return an object, found by unzip."""
    loose = store / "objects" / oid[:2] / oid[2:]
    if loose.exists():
        return loose.read_bytes()
    for path in files(store, "packs"):
        done = subprocess.run(["unzip", "-p", path, oid], capture_output=True)
        if done.returncode == 0:
            return done.stdout
    assert oid == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    return b"tree 0\0"


def index_of(store: Path, revision: str) -> Path:
    ref = (store / "refs/some-set" / f"@{revision}").read_text().strip()
    return store / "index" / f"{ref}.parquet"


def source(store: Path) -> dict[str, bytes]:
    """Return the bytes of every file of revision 2, read from where it was pushed."""
    folder = store.parent / "folder"
    return {
        path.relative_to(folder).as_posix(): os.fsencode(os.readlink(path))
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def check_rows(rows: list[tuple[str, str, int, int, bytes, bytes]], store: Path) -> None:
    """Compare an index's rows (folder, name, mode, size, sha1, sha256) with the files themselves."""
    found = {f"{row[0]}/{row[1]}".lstrip("/"): row[2:] for row in rows if row[2] != 0o40000}
    assert found == {
        path: (
            0o120000 if path == "links/up" else 0o100755 if path.endswith("run") else 0o100644,
            len(data),
            hashlib.sha1(data).digest(),
            hashlib.sha256(data).digest(),
        )
        for path, data in source(store).items()
    }


def test_plain_pyarrow_reads_an_index(store: Path) -> None:
    table = pq.read_table(index_of(store, "2"))
    columns = ("folder", "name", "mode", "size", "sha1", "sha256")
    rows = [tuple(row[column] for column in columns) for row in table.to_pylist()]
    check_rows(rows, store)
    assert pq.read_metadata(index_of(store, "2")).metadata[b"dsa.format"] == b"1"


def test_duckdb_reads_an_index(store: Path) -> None:
    query = "select folder, name, mode, size, sha1, sha256 from read_parquet(?)"
    with duckdb.connect() as connection:
        rows = connection.execute(query, [str(index_of(store, "2"))]).fetchall()
        folders = connection.execute(
            "select name, size, files from read_parquet(?) where folder = '' and mode = 16384",
            [str(index_of(store, "2"))],
        ).fetchall()
    check_rows(rows, store)
    assert folders == [("README.d", 11, 3), ("links", 13, 1), ("nothing", 0, 0)]


def test_duckdb_reads_the_locations_and_the_bytes_are_where_they_say(store: Path) -> None:
    query = 'select id, size, sha256, pack, "offset" from read_parquet(?)'
    with duckdb.connect() as connection:
        rows = connection.execute(query, [str(store / "locations" / "*.parquet")]).fetchall()
    assert len(rows) == len({row[0] for row in rows}) > 10
    for oid, size, check, pack, offset in rows:
        if pack is None:
            data = (store / "objects" / oid.hex()[:2] / oid.hex()[2:]).read_bytes()
        else:
            whole = (store / "packs" / f"{pack.hex()}.zip").read_bytes()
            data = whole[offset : offset + size]
        assert (len(data), hashlib.sha1(data).digest()) == (size, oid)
        assert hashlib.sha256(data).digest() == check


def test_plain_pyarrow_reads_the_locations_sorted_by_id(store: Path) -> None:
    parts = [pq.read_table(path) for path in files(store, "locations")]
    assert {column for part in parts for column in part.schema.names} == {
        "id", "size", "sha256", "pack", "offset",
    }  # fmt: skip
    for part in parts:
        ids = part["id"].to_pylist()
        assert ids == sorted(set(ids))


def test_dvc_objects_reads_the_loose_objects(store: Path) -> None:
    local: Any = LocalFileSystem
    db: Any = ObjectDB(local(), str(store / "objects"), read_only=True)
    names = {path.parent.name + path.name for path in files(store, "objects")}
    assert set(db.all()) == names
    assert hashlib.sha1(LARGE).hexdigest() in names
    for oid in names:
        found = db.get(oid)
        assert db.exists(oid)
        assert found.oid == oid
        assert db.exists_prefix(oid[:10]) == oid
        with db.fs.open(found.path, "rb") as file:
            assert hashlib.sha1(file.read()).hexdigest() == oid
    with db.fs.open(db.get(hashlib.sha1(LARGE).hexdigest()).path, "rb") as file:
        assert file.read() == LARGE
    assert not db.exists("0" * 40)
