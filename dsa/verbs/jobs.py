"""Cutting what a checkout writes into jobs for its workers, in the order in which bytes lie in packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.cas.objects import Span
from dsa.workers.writer import SPAN_BYTES, Job

_JOB_ROWS = 2_048
_GAP_BYTES = 64 * 1024  # read over rather than read twice
_ALONE_BYTES = 1024 * 1024  # from here on a packed file is streamed, like a loose one
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
        return 0 if self.pack is None else self.offset or 0


def cut(
    target: pa.Table, write: pa.Array, expected: Callable[[int], bytes | None]
) -> Iterator[Job]:
    """Yield jobs for the rows `write` of a listing: large files one by one, then spans of packs.

    `expected(row)` is the signature of what a row's file replaces, as `Job` has it.
    """
    rows = target.take(write).append_column("row", write.cast(pa.int64()))
    rows = rows.set_column(0, "folder", rows["folder"].cast(pa.string())).select(_COLUMNS)
    alone = pc.or_(pc.is_null(rows["pack"]), pc.greater_equal(rows["size"], _ALONE_BYTES))
    for row in _rows(rows.filter(alone)):
        yield _job([row], expected)
    packed = rows.filter(pc.invert(alone)).sort_by([("pack", "ascending"), ("offset", "ascending")])
    pending: list[_Row] = []
    for row in _rows(packed):
        if pending and not _lies_beside(pending, row):
            yield _job(pending, expected)
            pending = []
        pending.append(row)
    if pending:
        yield _job(pending, expected)


def elsewhere(job: Job, at: int, span: Span) -> Job:
    """Return the job for one file of `job` whose bytes lie in another place."""
    return Job(
        key=span.key,
        start=span.start,
        size=span.size,
        is_large=span.size >= _ALONE_BYTES,
        rows=[job.rows[at]],
        folders=[job.folders[at]],
        names=[job.names[at]],
        modes=[job.modes[at]],
        offsets=[span.start],
        sizes=[job.sizes[at]],
        sha256s=[job.sha256s[at]],
        expected=[job.expected[at]],
    )


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


def _job(rows: list[_Row], expected: Callable[[int], bytes | None]) -> Job:
    first = rows[0]
    if first.pack is None:
        key = layout.object_key(ObjectId(first.sha1))
    else:
        key = layout.pack_key(ObjectId(first.pack))
    return Job(
        key=key,
        start=first.start,
        size=max(row.start + row.size for row in rows) - first.start,
        is_large=first.pack is None or first.size >= _ALONE_BYTES,
        rows=[row.row for row in rows],
        folders=[row.folder for row in rows],
        names=[row.name for row in rows],
        modes=[row.mode for row in rows],
        offsets=[row.start for row in rows],
        sizes=[row.size for row in rows],
        sha256s=[row.sha256 for row in rows],
        expected=[expected(row.row) for row in rows],
    )
