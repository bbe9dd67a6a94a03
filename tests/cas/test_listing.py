"""Listings as columns come to the same as folders that are computed one by one."""

from __future__ import annotations

import pyarrow as pa
import pytest
from folders import Folder, Leaf, entries_of, folders, rows_of, sum_of, table_of, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa.cas import listing
from dsa.cas.ids import ObjectId
from dsa.cas.listing import MAX_DEPTH, Run, digests, problems, runs, seal, tree_bodies
from dsa.cas.trees import FILE, FOLDER, encode_tree, tree_header

ONE: Folder = {"a": {"f": Leaf(b"1")}, "a.b": Leaf(b"22"), "a0": {"g": {}}, "é": Leaf(b"")}


@given(folders)
def test_seal_fills_in_what_folders_come_to(folder: Folder) -> None:
    right = rows_of(folder)
    empty = {"size": 0, "files": None, "sha1": bytes(20), "sha256": bytes(32)}
    unsealed = [{**row, **empty} if row["mode"] == FOLDER else row for row in right]
    sealed = seal(table_of(unsealed))
    assert sealed.root == sum_of(folder)
    assert sealed.table.to_pylist() == right
    assert list(problems(sealed.table)) == []


@given(folders)
@settings(max_examples=30)
def test_slabs_make_no_difference(folder: Folder) -> None:
    table = table_of(rows_of(folder))
    whole = seal(table)
    before = listing._SLAB_ROWS
    try:
        listing._SLAB_ROWS = 1
        assert seal(table).root == whole.root
        assert seal(table).table.equals(whole.table)
        assert list(tree_bodies(table, runs(table))) == bodies(folder)
    finally:
        listing._SLAB_ROWS = before


def bodies(folder: Folder) -> list[tuple[Run, bytes]]:
    at, found = 0, []
    for path, inside in sorted(walk(folder), key=lambda item: item[0].encode()):
        if inside:
            data = encode_tree(entry for entry, *_ in entries_of(inside))
            found.append((Run(path, at, at + len(inside)), data.partition(b"\0")[2]))
            at += len(inside)
    return found


@given(folders)
def test_runs_and_bodies_are_the_trees(folder: Folder) -> None:
    table = table_of(rows_of(folder))
    assert runs(table) == [run for run, _ in bodies(folder)]
    for run, body in tree_bodies(table, runs(table)):
        inside = dict(walk(folder))[run.folder]
        assert ObjectId.of(tree_header(len(body)) + body).raw == sum_of(inside).tree
        rows = table.slice(run.start, run.stop - run.start)
        assert digests(rows) == (sum_of(inside).tree, sum_of(inside).sha256)


@given(folders)
def test_paths_are_whole(folder: Folder) -> None:
    rows = rows_of(folder)
    expected = [f"{row['folder']}/{row['name']}" if row["folder"] else row["name"] for row in rows]
    assert listing.paths(table_of(rows)).to_pylist() == expected


def test_a_folder_without_a_row_is_refused() -> None:
    rows = [row for row in rows_of(ONE) if row["name"] != "a"]
    with pytest.raises(ValueError, match="'a' has files but no row"):
        seal(table_of(rows))


@pytest.mark.parametrize("sizes", [[-1], [2**63 - 1, 1], [2**62, 2**62]])
def test_sizes_that_cannot_be_are_refused(sizes: list[int]) -> None:
    rows = [
        {**row, "name": f"f{number}", "size": size}
        for number, size in enumerate(sizes)
        for row in rows_of({"f": Leaf(b"")})
    ]
    with pytest.raises(ValueError, match="size"):
        seal(table_of(rows))


@given(folders.filter(lambda folder: len(rows_of(folder)) > 1), st.data())
def test_rows_out_of_order_are_a_problem(folder: Folder, drawn: st.DataObject) -> None:
    rows = rows_of(folder)
    order = drawn.draw(
        st.permutations(range(len(rows))).filter(lambda order: order != sorted(order))
    )
    assert any("order" in problem for problem in problems(table_of([rows[at] for at in order])))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mode": 0o100600}, "mode"),
        ({"mode": 0}, "mode"),
        ({"name": ".."}, "name"),
        ({"name": "x/y"}, "name"),
        ({"name": ""}, "name"),
        ({"name": ".dsa"}, "name"),
        ({"name": "z" * 256}, "name"),
        ({"folder": "/".join(["d" * 200] * 21)}, "4096 bytes"),
        ({"folder": "/".join(["d"] * MAX_DEPTH)}, "deeper"),
        ({"sha1": None}, "nulls"),
        ({"size": None}, "nulls"),
        ({"name": None}, "nulls"),
        ({"folder": None}, "nulls"),
    ],
)
def test_rows_that_may_not_be_are_problems(change: dict[str, object], expected: str) -> None:
    rows = rows_of({"f": Leaf(b"x")})
    found = list(problems(table_of([{**rows[0], **change}])))
    assert any(expected in problem for problem in found), found


def test_a_name_twice_is_a_problem_even_where_the_order_parts_the_two() -> None:
    rows = rows_of({"a.b": Leaf(b""), "a": Leaf(b"")})
    folder = {**rows[0], "mode": FOLDER, "files": 0}
    # In git's order: the file `a`, then `a.b`, then the folder `a` as `a/`.
    assert any("twice" in problem for problem in problems(table_of([rows[0], rows[1], folder])))
    assert list(problems(table_of(rows))) == []
    assert list(problems(table_of([rows[1], folder]))) == []


def test_no_rows_are_an_empty_folder() -> None:
    empty = listing.SCHEMA.empty_table()
    assert seal(empty).root == listing.FolderSum()
    assert runs(empty) == []
    assert list(problems(empty)) == []
    assert listing.paths(empty).to_pylist() == []


def test_raw_digests_of_a_slice() -> None:
    column = pa.array([b"a" * 20, b"b" * 20, b"c" * 20], pa.binary(20))
    assert bytes(listing.raw(column.slice(1, 1))) == b"b" * 20
    assert listing.fixed(listing.raw(column), 20).equals(column)


def test_wide_folders_are_sealed_quickly() -> None:
    count = 50_000
    rows = rows_of({"f": Leaf(b"x")}) * count
    table = table_of([{**row, "name": f"{number:06d}"} for number, row in enumerate(rows)])
    root = seal(table).root
    assert (root.files, root.size) == (count, count)
    assert root.tree != bytes(20)
    assert FILE == 0o100644
