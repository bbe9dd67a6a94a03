"""The index: written, read, proven whole and folder by folder; every lie in it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import Folder, Leaf, entries_of, folders, info_of, rows_of, sum_of, table_of, walk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsa.cas.ids import BlobId, ObjectId, TreeId
from dsa.cas.index import (
    ROW_GROUP,
    IndexFile,
    IndexProblem,
    most_bytes,
    open_index,
    prove,
    prove_files,
    prove_folder,
    prove_rows,
    write_index,
)
from dsa.cas.listing import FolderSum, Listing
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.trees import FOLDER

real_files = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
ONE: Folder = {"a": {"f": Leaf(b"1"), "g": {}}, "b": {"a": {"x": Leaf(b"xyz")}}, "c": Leaf(b"")}


def revision(root: FolderSum, **said: Any) -> tuple[Manifest, RevisionInfo]:
    info = info_of(root, **said)
    return Manifest(TreeId(ObjectId(root.tree)), BlobId(ObjectId.of(info.encode()))), info


def written(tmp_path: Path, table: pa.Table, manifest: Manifest, info: RevisionInfo) -> IndexFile:
    path = tmp_path / uuid4().hex
    write_index(path, Listing(table, FolderSum()), manifest, info.encode())
    return open_index(path, path.stat().st_size)


@given(folders)
@real_files
def test_what_is_written_is_proven(tmp_path: Path, folder: Folder) -> None:
    root = sum_of(folder)
    manifest, info = revision(root)
    opened = written(tmp_path, table_of(rows_of(folder)), manifest, info)
    proven = prove(opened, manifest, info)
    assert proven.root == root
    assert proven.table.to_pylist() == rows_of(folder)
    assert opened.manifest() == manifest.id
    assert opened.revision_json == info.encode()
    assert opened.rows == root.files + root.folders


@given(folders)
@real_files
def test_every_folder_is_proven_from_the_row_above_it(tmp_path: Path, folder: Folder) -> None:
    root = sum_of(folder)
    opened = written(tmp_path, table_of(rows_of(folder)), *revision(root))
    for path, inside in walk(folder):
        there = sum_of(inside)
        rows = prove_folder(opened.folder(path), there.tree, there.sha256)
        assert rows["name"].to_pylist() == [entry.name for entry, *_ in entries_of(inside)]
        with pytest.raises(IndexProblem):
            prove_folder(opened.folder(path), there.tree, bytes(32))
        with pytest.raises(IndexProblem):
            prove_folder(opened.folder(path), bytes(20), there.sha256)


@given(folders.filter(bool), st.data())
@settings(max_examples=150)
def test_a_lie_in_any_row_is_found(folder: Folder, drawn: st.DataObject) -> None:
    rows = rows_of(folder)
    at = drawn.draw(st.integers(0, len(rows) - 1))
    row = rows[at]
    lies: dict[str, Any] = {
        "folder": row["folder"] + "x",
        "name": row["name"] + "x",
        "mode": 0o100755 if row["mode"] != 0o100755 else 0o100644,
        "size": row["size"] + 1,
        "files": 0 if row["files"] is None else row["files"] + 1,
        "sha1": bytes(20),
        "sha256": bytes(32),
    }
    key = drawn.draw(st.sampled_from(sorted(lies)))
    root = sum_of(folder)
    with pytest.raises(IndexProblem):
        prove_rows(
            table_of([*rows[:at], {**row, key: lies[key]}, *rows[at + 1 :]]), *revision(root)
        )
    for wrong in (rows[:at] + rows[at + 1 :], [*rows[: at + 1], *rows[at:]]):
        with pytest.raises(IndexProblem):
            prove_rows(table_of(wrong), *revision(root))


def test_folders_rows_may_be_computed_but_not_told_wrongly() -> None:
    root = sum_of(ONE)
    manifest, info = revision(root)
    rows = rows_of(ONE)
    at = next(number for number, row in enumerate(rows) if row["mode"] == FOLDER)
    wrong = table_of([*rows[:at], {**rows[at], "size": 99}, *rows[at + 1 :]])
    with pytest.raises(IndexProblem, match="a folder's row"):
        prove_rows(wrong, manifest, info)
    assert prove_files(wrong, manifest, info).table.to_pylist() == rows


@pytest.mark.parametrize("key", ["files", "folders", "bytes", "sha256"])
def test_what_the_revision_json_says_is_checked(tmp_path: Path, key: str) -> None:
    root = sum_of(ONE)
    manifest, info = revision(root)
    value = info.sha256.of(b"other") if key == "sha256" else getattr(info, key) + 1
    manifest, info = revision(root, **{key: value})
    with pytest.raises(IndexProblem):
        prove(written(tmp_path, table_of(rows_of(ONE)), manifest, info), manifest, info)


def test_an_index_of_other_data_is_refused(tmp_path: Path) -> None:
    manifest, info = revision(sum_of(ONE))
    other = {**ONE, "c": Leaf(b"other")}
    opened = written(tmp_path, table_of(rows_of(other)), *revision(sum_of(other)))
    with pytest.raises(IndexProblem, match="other data"):
        prove(opened, manifest, info)
    opened = written(tmp_path, table_of(rows_of(other)), manifest, info)  # it only says it is
    with pytest.raises(IndexProblem, match="do not come to"):
        prove(opened, manifest, info)


def test_a_folder_is_found_in_whatever_row_group_it_is(tmp_path: Path) -> None:
    wide = {f"{number:05d}": Leaf(b"") for number in range(ROW_GROUP + 10)}
    folder: Folder = {"a": wide, "b": {"f": Leaf(b"1")}, "c": {"g": Leaf(b"2"), "none": {}}}
    opened = written(tmp_path, table_of(rows_of(folder)), *revision(sum_of(folder)))
    assert opened.parquet.groups == 2
    assert len(opened.folder("a")) == len(wide)
    assert opened.folder("b")["name"].to_pylist() == ["f"]
    assert opened.folder("")["name"].to_pylist() == ["a", "b", "c"]
    assert len(opened.folder("c/none")) == len(opened.folder("zzz")) == 0


def test_a_long_revision_json_is_not_repeated(tmp_path: Path) -> None:
    manifest, info = revision(sum_of(ONE), message="x" * 70_000)
    opened = written(tmp_path, table_of(rows_of(ONE)), manifest, info)
    assert opened.revision_json is None
    assert opened.manifest() is None
    prove(opened, manifest, info)


@given(st.data())
@settings(max_examples=200)
def test_a_changed_file_is_refused_or_harmless(drawn: st.DataObject) -> None:
    data, manifest, info = _whole()
    at = drawn.draw(st.integers(0, len(data) - 1))
    bad = bytearray(data)
    bad[at] ^= drawn.draw(st.integers(1, 255))
    try:
        proven = prove(open_index(pa.py_buffer(bytes(bad)), len(bad)), manifest, info)
    except IndexProblem:
        return
    checked = [name for name in proven.table.column_names if name not in ("pack", "offset")]
    assert (
        proven.table.select(checked).to_pylist()
        == table_of(rows_of(ONE)).select(checked).to_pylist()
    )


def test_no_byte_of_the_footer_ends_the_process() -> None:
    """Arrow's own view of a column chunk calls `terminate` over a footer that contradicts itself."""
    data, manifest, info = _whole()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for at in range(footer, footer + 400):  # the schema, and some more
        bad = data[:at] + bytes([data[at] ^ 2]) + data[at + 1 :]  # of a column: optional or not
        try:
            prove(open_index(pa.py_buffer(bad), len(bad)), manifest, info)
        except IndexProblem:
            refused += 1
    assert refused > 150


_WHOLE: list[tuple[bytes, Manifest, RevisionInfo]] = []


def _whole() -> tuple[bytes, Manifest, RevisionInfo]:
    if not _WHOLE:
        import tempfile

        manifest, info = revision(sum_of(ONE))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index"
            write_index(path, Listing(table_of(rows_of(ONE)), FolderSum()), manifest, info.encode())
            _WHOLE.append((path.read_bytes(), manifest, info))
    return _WHOLE[0]


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"x" * 1000]
)
def test_garbage_is_no_index(data: bytes) -> None:
    with pytest.raises(IndexProblem):
        open_index(pa.py_buffer(data), len(data))


@pytest.mark.parametrize(
    "facts",
    [{}, {"dsa.format": "1"}, {"dsa.data": "0" * 40}, {"dsa.format": "2", "dsa.data": "0" * 40},
     {"dsa.format": "1", "dsa.data": "x"}],
)  # fmt: skip
def test_facts_that_are_missing_or_wrong_are_refused(tmp_path: Path, facts: dict[str, str]) -> None:
    path = tmp_path / "index"
    table = table_of(rows_of(ONE))
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        if facts:
            writer.add_key_value_metadata(facts)
        writer.write_table(table)
    with pytest.raises(IndexProblem):
        open_index(path, path.stat().st_size)


def test_an_index_is_never_larger_than_may_be(tmp_path: Path) -> None:
    folder: Folder = {"d" * 255: {"e" * 255: {f"{n:0255d}": Leaf(b"") for n in range(200)}}}
    opened = written(tmp_path, table_of(rows_of(folder)), *revision(sum_of(folder)))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size < most_bytes(opened.rows)
