"""Cutting what a checkout writes into jobs for its workers, in the order in which bytes lie in packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.workers.writer import SPAN_BYTES, Job

_JOB_ROWS = 2_048
_GAP_BYTES = 64 * 1024  # read over rather than read twice
_COLUMNS = ["row", "folder", "name", "mode", "size", "sha1", "sha256", "pack", "offset"]


class _Row(NamedTuple):
    row: int
    folder: str
    name: str
    mode: int
    size: int
    sha1: bytes
    sha256: bytes
    pack: bytes | None
    offset: int | None

    @property
    def start(self) -> int:
        return self.offset or 0


def cut(
    target: pa.Table, write: pa.Array, expected: Callable[[int], bytes | None]
) -> Iterator[Job]:
    """Yield jobs for the rows `write` of a listing: loose objects one by one, then spans of packs.

    `expected(row)` is the signature of what a row's file replaces, as `Job` has it.
    """
    rows = target.take(write).append_column("row", write.cast(pa.int64()))
    rows = rows.set_column(0, "folder", rows["folder"].cast(pa.string())).select(_COLUMNS)
    is_packed = pc.is_valid(rows["pack"])
    for row in _rows(rows.filter(pc.invert(is_packed))):
        yield _job([row], expected, is_loose=True)
    packed = rows.filter(is_packed).sort_by([("pack", "ascending"), ("offset", "ascending")])
    pending: list[_Row] = []
    for row in _rows(packed):
        if pending and not _lies_beside(pending, row):
            yield _job(pending, expected, is_loose=False)
            pending = []
        pending.append(row)
    if pending:
        yield _job(pending, expected, is_loose=False)


def _rows(table: pa.Table) -> Iterator[_Row]:
    for batch in table.to_batches(max_chunksize=16_384):
        yield from map(_Row, *(column.to_pylist() for column in batch.columns))


def _lies_beside(pending: list[_Row], row: _Row) -> bool:
    """Whether a row's bytes belong to the span of those before it."""
    first, last = pending[0], pending[-1]
    return (
        row.pack == first.pack
        and row.start + row.size - first.start <= SPAN_BYTES
        and row.start - (last.start + last.size) <= _GAP_BYTES
        and len(pending) < _JOB_ROWS
    )


def _job(rows: list[_Row], expected: Callable[[int], bytes | None], *, is_loose: bool) -> Job:
    first = rows[0]
    pack = None if is_loose else first.pack
    start = 0 if is_loose else first.start
    end = max((0 if is_loose else row.start) + row.size for row in rows)
    return Job(
        key=layout.object_key(ObjectId(first.sha1))
        if pack is None
        else layout.pack_key(ObjectId(pack)),
        start=start,
        size=end - start,
        is_loose=is_loose,
        rows=[row.row for row in rows],
        folders=[row.folder for row in rows],
        names=[row.name for row in rows],
        modes=[row.mode for row in rows],
        offsets=[0 if is_loose else row.start for row in rows],
        sizes=[row.size for row in rows],
        sha256s=[row.sha256 for row in rows],
        expected=[expected(row.row) for row in rows],
    )
