"""Rows of tables as bytes, so that many are held against many at once."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.ids import ID_BYTES
from dsa.cas.packs import Directory


def row_keys(rows: pa.Table) -> pa.Array:
    """Return (pack, id, offset, size) of every row as bytes."""
    return _keys(rows["pack"], rows["id"], pc.fill_null(rows["offset"], 0), rows["size"])


def entry_keys(pack: bytes, directory: Directory) -> pa.Array:
    """Return the same of every entry of a pack."""
    count = len(directory)
    return _keys(
        listing.fixed(pack * count, ID_BYTES),
        listing.fixed(directory.ids, ID_BYTES),
        pa.array(directory.offsets, pa.int64()),
        pa.array(directory.sizes, pa.int64()),
    )


def triples(table: pa.Table) -> pa.Array:
    """Return (id, size, sha256) of every row as bytes."""
    return _keys(table["id"], table["size"], table["sha256"])


def _keys(*columns: pa.Array | pa.ChunkedArray) -> pa.Array:
    arrays = [listing.one_chunk(column) for column in columns]
    texts = [
        (listing.fixed(_int_bytes(array), 8) if array.type == pa.int64() else array).cast(
            pa.binary()
        )
        for array in arrays
    ]
    return pc.binary_join_element_wise(*texts, pa.scalar(b"", pa.binary()))


def _int_bytes(array: pa.Array) -> memoryview:
    if not len(array):
        return memoryview(b"")
    return memoryview(array.buffers()[1])[array.offset * 8 : (array.offset + len(array)) * 8]
