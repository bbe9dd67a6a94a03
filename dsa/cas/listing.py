"""A manifest's listing as columns: joined in order, its rows are the trees themselves.

Nothing here makes a Python object per file. Rows are sorted by `folder` as bytes, inside a folder
in git's order, so that a folder's rows are one run, and every folder stands before those inside
it. docs/format.md, "Index".
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas.ids import ID_BYTES, SHA256_BYTES
from dsa.cas.names import BAD_NAME_REGEX
from dsa.cas.trees import (
    EMPTY_SHA256,
    EMPTY_TREE,
    EXECUTABLE,
    FILE,
    FOLDER,
    LINK,
    MAX_TREE_BYTES,
    tree_id,
)

SCHEMA = pa.schema(
    [
        pa.field("folder", pa.dictionary(pa.int32(), pa.string())),
        pa.field("name", pa.string()),
        pa.field("mode", pa.uint32()),
        pa.field("size", pa.int64()),
        pa.field("files", pa.int64()),
        pa.field("sha1", pa.binary(ID_BYTES)),
        pa.field("sha256", pa.binary(SHA256_BYTES)),
        pa.field("pack", pa.binary(ID_BYTES)),
        pa.field("offset", pa.int64()),
    ]
)

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_DEPTH = 256

_SLAB_ROWS = 131_072  # joined at once: bounds the memory of the joined texts
_MODES = pa.array([FILE, EXECUTABLE, LINK, FOLDER], pa.uint32())
_MODE_TEXTS = pa.array([b"100644 ", b"100755 ", b"120000 ", b"40000 "], pa.binary())
_NUL = pa.scalar(b"\0", pa.binary())
_SPACE = pa.scalar(b" ", pa.binary())
_NOTHING = pa.scalar(b"", pa.binary())


@dataclass(frozen=True, slots=True)
class FolderSum:
    """What stands for a folder in the one above it: raw digests, and counts of all below it."""

    tree: bytes = EMPTY_TREE.raw
    sha256: bytes = EMPTY_SHA256.raw
    size: int = 0  # bytes
    files: int = 0  # files and links
    folders: int = 0  # the folder itself not counted


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of a listing, its folders' rows right, and what its root comes to."""

    table: pa.Table
    root: FolderSum


@dataclass(frozen=True, slots=True)
class Run:
    """The rows `start` to `stop` of one folder; an empty folder has none."""

    folder: str
    start: int
    stop: int


def runs(table: pa.Table) -> list[Run]:
    """Return the runs of equal `folder`, in order."""
    folders = one_chunk(table["folder"])
    if len(folders) == 0:
        return []
    encoded = pc.run_end_encode(folders.indices)
    ends = encoded.run_ends.to_pylist()
    names = folders.dictionary.take(encoded.values).to_pylist()
    return [
        Run(name, start, stop) for name, start, stop in zip(names, [0, *ends], ends, strict=False)
    ]


def seal(table: pa.Table) -> Listing:
    """Compute every folder's row (size, files, sha1, sha256) from the files and links below it.

    What `table` has in the folders' rows does not matter. Raises: ValueError where a folder that
    has rows has no row itself, or a size that cannot be.
    """
    table = table.combine_chunks()
    is_folder = pc.equal(one_chunk(table["mode"]), FOLDER)
    positions = pc.indices_nonzero(is_folder).to_pylist()
    names = one_chunk(table["name"]).take(pa.array(positions, pa.int64())).to_pylist()
    sizes = _running_sizes(table, is_folder)
    sums: dict[str, FolderSum] = {}
    sealed: list[FolderSum] = []  # of the folders' rows, from the last to the first
    row = len(positions) - 1
    # From the end, so that every folder comes before the one that it is in.
    for slab in reversed(_slabs(runs(table))):
        trees, lines = _joined(table, slab[0].start, slab[-1].stop)
        for run in reversed(slab):
            inside: list[tuple[int, FolderSum]] = []
            while row >= 0 and positions[row] >= run.start:
                path = f"{run.folder}/{names[row]}" if run.folder else names[row]
                child = sums.pop(path, FolderSum())
                inside.append((row, child))
                sealed.append(child)
                row -= 1
            inside.reverse()
            sums[run.folder] = _sum_of(
                run, slab[0].start, inside, positions, names, sizes, trees, lines
            )
    root = sums.pop("", FolderSum())
    if sums:
        raise ValueError(f"the folder {min(sums)!r} has files but no row of its own")
    sealed.reverse()
    return Listing(_with_folders(table, is_folder, sealed), root)


def _sum_of(
    run: Run,
    base: int,
    inside: list[tuple[int, FolderSum]],
    positions: list[int],
    names: list[str],
    sizes: memoryview,
    trees: _Texts,
    lines: _Texts,
) -> FolderSum:
    """Return what a folder comes to; `inside` are its subfolders as (number in `positions`, sum)."""
    body: list[bytes | memoryview] = []
    text: list[bytes | memoryview] = []
    at = run.start
    for number, child in inside:
        position = positions[number]
        name = names[number].encode()
        body += (trees[at - base : position - base], b"40000 %s\0%s" % (name, child.tree))
        line = b"40000 %d %s %s\0" % (child.size, child.sha256.hex().encode(), name)
        text += (lines[at - base : position - base], line)
        at = position + 1
    body.append(trees[at - base : run.stop - base])
    text.append(lines[at - base : run.stop - base])
    joined = b"".join(body)
    if len(joined) > MAX_TREE_BYTES:
        raise ValueError(f"the folder {run.folder!r} is larger than a tree may be")
    digest = hashlib.sha256()
    for piece in text:
        digest.update(piece)
    direct = sizes[run.stop] - sizes[run.start]
    return FolderSum(
        tree=tree_id(joined).raw,
        sha256=digest.digest(),
        size=direct + sum(child.size for _, child in inside),
        files=run.stop - run.start - len(inside) + sum(child.files for _, child in inside),
        folders=len(inside) + sum(child.folders for _, child in inside),
    )


def _running_sizes(table: pa.Table, is_folder: pa.Array) -> memoryview:
    """Return n + 1 running totals of the sizes of files and links, in bytes."""
    sizes = pc.if_else(is_folder, 0, one_chunk(table["size"]))
    if len(sizes) and pc.min(sizes).as_py() < 0:
        raise ValueError("a size below zero")
    try:
        totals = pc.cumulative_sum_checked(pa.concat_arrays([pa.array([0], pa.int64()), sizes]))
    except pa.ArrowInvalid as error:
        raise ValueError("sizes that add up to more than can be") from error
    return memoryview(totals.buffers()[1]).cast("q")


def _with_folders(table: pa.Table, is_folder: pa.Array, sealed: list[FolderSum]) -> pa.Table:
    """Return the table with the folders' rows set."""
    columns = {
        "size": pa.array([folder.size for folder in sealed], pa.int64()),
        "sha1": fixed(b"".join(folder.tree for folder in sealed), ID_BYTES),
        "sha256": fixed(b"".join(folder.sha256 for folder in sealed), SHA256_BYTES),
    }
    for name, values in columns.items():
        at = table.schema.get_field_index(name)
        column = pc.replace_with_mask(one_chunk(table[name]), is_folder, values)
        table = table.set_column(at, SCHEMA.field(name), column)
    files = pa.array([folder.files for folder in sealed], pa.int64())
    files = pc.replace_with_mask(pa.nulls(len(table), pa.int64()), is_folder, files)
    return table.set_column(table.schema.get_field_index("files"), SCHEMA.field("files"), files)


def tree_bodies(table: pa.Table, wanted: Iterable[Run]) -> Iterator[tuple[Run, bytes]]:
    """Yield the tree of each of these runs, without its header, from a sealed table."""
    for slab in _slabs(list(wanted)):
        rows = pa.concat_tables([table.slice(run.start, run.stop - run.start) for run in slab])
        trees, _ = _joined(rows.combine_chunks(), 0, len(rows), with_lines=False)
        at = 0
        for run in slab:
            count = run.stop - run.start
            yield run, bytes(trees[at : at + count])
            at += count


def digests(rows: pa.Table) -> tuple[bytes, bytes]:
    """Return the tree id and the SHA-256 of the one folder whose sealed rows these are, in order."""
    trees, lines = _joined(rows.combine_chunks(), 0, len(rows))
    return tree_id(bytes(trees[0 : len(rows)])).raw, hashlib.sha256(lines[0 : len(rows)]).digest()


def problems(table: pa.Table) -> Iterator[str]:
    """Yield what is wrong with rows that came from a store: nulls, modes, names, order, limits."""
    for column in ("folder", "name", "mode", "size", "sha1", "sha256"):
        if table[column].null_count:
            yield f"the column {column} has nulls"
            return
    folders, names, modes = table["folder"].cast(pa.string()), table["name"], table["mode"]
    if not pc.all(pc.is_in(modes, value_set=_MODES), min_count=0).as_py():
        yield "a mode that no tree may hold"
    bad = names.filter(bad_names(names))
    if len(bad):
        yield f"a name that no folder may hold: {bad[0].as_py()!r}"
    lengths = pc.add(pc.binary_length(folders), pc.binary_length(names))
    if len(table) and pc.max(lengths).as_py() >= MAX_PATH_BYTES:
        yield f"a path of more than {MAX_PATH_BYTES} bytes"
    if len(table) and pc.max(pc.count_substring(folders, "/")).as_py() >= MAX_DEPTH - 1:
        yield f"folders deeper than {MAX_DEPTH}"
    if not is_sorted(table):
        yield "rows out of order, or a name twice"


def bad_names(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which names no folder may hold."""
    return pc.or_(
        pc.match_substring_regex(names, BAD_NAME_REGEX),
        pc.greater(pc.binary_length(names), MAX_NAME_BYTES),
    )


def is_sorted(table: pa.Table) -> bool:
    """Whether rows are sorted by folder, then in git's order, with no name twice in a folder."""
    if len(table) < 2:
        return True
    folders = one_chunk(table["folder"]).cast(pa.string()).cast(pa.binary())
    slash = pc.if_else(pc.equal(one_chunk(table["mode"]), FOLDER), pa.scalar(b"/"), _NOTHING)
    names = one_chunk(table["name"]).cast(pa.binary())
    order = pc.binary_join_element_wise(names, slash, _NOTHING)
    count = len(table) - 1
    same = pc.equal(folders.slice(0, count), folders.slice(1))
    ordered = pc.if_else(
        same,
        pc.less(order.slice(0, count), order.slice(1)),
        pc.less(folders.slice(0, count), folders.slice(1)),
    )
    if not pc.all(ordered).as_py():
        return False
    # `a` and `a/` may stand apart in git's order with names such as `a.b` between them.
    folder_names = names.filter(pc.equal(one_chunk(table["mode"]), FOLDER))
    files = table.filter(
        pc.and_(
            pc.not_equal(table["mode"], FOLDER),
            pc.is_in(table["name"].cast(pa.binary()), value_set=folder_names),
        )
    )
    if not len(files):
        return True
    both = pa.concat_tables([files, table.filter(pc.equal(table["mode"], FOLDER))]).select(
        ["folder", "name"]
    )
    both = both.set_column(0, "folder", both["folder"].cast(pa.string()))
    return len(both.group_by(["folder", "name"]).aggregate([])) == len(both)


def is_leaf(table: pa.Table) -> pa.Array:
    """Return which rows of a sealed listing are files, links, or folders with nothing in them."""
    is_empty = pc.equal(table["sha1"], pa.scalar(EMPTY_TREE.raw, pa.binary(ID_BYTES)))
    return one_chunk(pc.or_(pc.not_equal(table["mode"], FOLDER), is_empty))


def paths(table: pa.Table) -> pa.Array:
    """Return the full path of every row."""
    folders = one_chunk(table["folder"])
    if isinstance(folders, pa.DictionaryArray):
        folders = folders.cast(pa.string())
    slash = pc.if_else(pc.equal(folders, ""), "", "/")
    return pc.binary_join_element_wise(folders, slash, one_chunk(table["name"]), "")


def fixed(data: bytes | memoryview, width: int) -> pa.FixedSizeBinaryArray:
    """Return raw digests, joined, as a column."""
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(data) // width, [None, pa.py_buffer(data)]
    )


def numbers(values: array[int], kind: pa.DataType) -> pa.Array:
    """Return numbers as a column of the type that has their width."""
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def raw(column: pa.Array | pa.ChunkedArray) -> memoryview:
    """Return the bytes of a column of fixed width (digests), joined."""
    array = one_chunk(column)
    width = array.type.byte_width
    return memoryview(array.buffers()[1])[
        array.offset * width : (array.offset + len(array)) * width
    ]


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else joined.chunk(0)


class _Texts:
    """The texts of rows, joined: a slice of rows is a slice of bytes."""

    def __init__(self, array: pa.BinaryArray) -> None:
        offsets = memoryview(array.buffers()[1]).cast("i")
        self._offsets = offsets[array.offset : array.offset + len(array) + 1]
        self._data = memoryview(array.buffers()[2] or b"")

    def __getitem__(self, rows: slice) -> memoryview:
        return self._data[self._offsets[rows.start] : self._offsets[rows.stop]]


def _joined(
    table: pa.Table, start: int, stop: int, *, with_lines: bool = True
) -> tuple[_Texts, _Texts]:
    """Return the rows' entries in the tree, and their lines in the folder's SHA-256."""
    rows = table.slice(start, stop - start)
    mode = _MODE_TEXTS.take(pc.index_in(one_chunk(rows["mode"]), value_set=_MODES))
    name = one_chunk(rows["name"]).cast(pa.binary())
    sha1 = one_chunk(rows["sha1"]).cast(pa.binary())
    trees = _Texts(pc.binary_join_element_wise(mode, name, _NUL, sha1, _NOTHING))
    if not with_lines:
        return trees, trees
    size = one_chunk(rows["size"]).cast(pa.string()).cast(pa.binary())
    digits = fixed(raw(rows["sha256"]).hex().encode(), 2 * SHA256_BYTES).cast(pa.binary())
    parts = (mode, size, _SPACE, digits, _SPACE, name, _NUL)
    return trees, _Texts(pc.binary_join_element_wise(*parts, _NOTHING))


def _slabs(all_runs: list[Run]) -> list[list[Run]]:
    """Cut the runs into groups of about as many rows as are joined at once."""
    slabs: list[list[Run]] = []
    rows = _SLAB_ROWS
    for run in all_runs:
        if rows >= _SLAB_ROWS:
            slabs.append([])
            rows = 0
        slabs[-1].append(run)
        rows += run.stop - run.start
    return slabs
