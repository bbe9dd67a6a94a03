"""Cutting what a checkout writes into jobs for its workers, in the order in which bytes lie in packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.ids import SHA256_BYTES, ObjectId
from dsa.cas.objects import Span
from dsa.workers.writer import SPAN_BYTES, Job

_JOB_ROWS = 2_048
_GAP_BYTES = 64 * 1024  # read over rather than read twice
_ALONE_BYTES = 1024 * 1024  # from here on a packed file is streamed, like a loose one
_CHUNK_ROWS = 16_384  # of which Python objects are made at once

#: The signature of what a row's file replaces: empty for nothing, None where nothing can be there.
Expected = Callable[[int], bytes | None]


def cut(target: pa.Table, write: pa.Array, expected: Expected) -> Iterator[Job]:
    """Yield jobs for the rows `write` of a listing: large files one by one, then spans of packs."""
    rows = target.take(write).append_column("row", write.cast(pa.int64()))
    is_alone = pc.or_(pc.is_null(rows["pack"]), pc.greater_equal(rows["size"], _ALONE_BYTES))
    for chunk in _chunks(rows.filter(is_alone)):
        for at in range(len(chunk.rows)):
            yield chunk.job(at, at + 1, expected, is_large=True)
    packed = rows.filter(pc.invert(is_alone))
    order = pc.sort_indices(packed, sort_keys=[("pack", "ascending"), ("offset", "ascending")])
    for chunk in _chunks(packed.take(order)):
        start = 0
        for at in range(1, len(chunk.rows) + 1):
            if at == len(chunk.rows) or not chunk.lies_beside(start, at):
                yield chunk.job(start, at, expected, is_large=False)
                start = at


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
        sha256s=job.sha256(at),
        expected=[job.expected[at]],
    )


class _Chunk:
    """Some rows as lists that run side by side; digests stay joined."""

    def __init__(self, table: pa.Table) -> None:
        folders = listing.one_chunk(table["folder"])
        names = folders.dictionary.to_pylist()
        self.rows: list[int] = table["row"].to_pylist()
        self.folders: list[str] = [names[number] for number in folders.indices.to_pylist()]
        self.names: list[str] = table["name"].to_pylist()
        self.modes: list[int] = table["mode"].to_pylist()
        self.sizes: list[int] = table["size"].to_pylist()
        self.sha1 = table["sha1"]
        self.sha256s = listing.raw(table["sha256"])
        packs = listing.one_chunk(table["pack"]).dictionary_encode()
        self.pack_names: list[bytes] = packs.dictionary.to_pylist()
        self.packs: list[int | None] = packs.indices.to_pylist()  # None: loose
        self.offsets: list[int] = [
            0 if pack is None else offset or 0
            for pack, offset in zip(self.packs, table["offset"].to_pylist(), strict=True)
        ]

    def lies_beside(self, start: int, at: int) -> bool:
        """Whether a row's bytes belong to the span of those from `start` up to it."""
        return (
            self.packs[at] == self.packs[start]
            and self.offsets[at] + self.sizes[at] - self.offsets[start] <= SPAN_BYTES
            and self.offsets[at] - self.offsets[at - 1] - self.sizes[at - 1] <= _GAP_BYTES
            and at - start < _JOB_ROWS
        )

    def job(self, start: int, stop: int, expected: Expected, *, is_large: bool) -> Job:
        """Return the job for the rows `start` to `stop`."""
        pack = self.packs[start]
        if pack is None:
            key = layout.object_key(ObjectId(self.sha1[start].as_py()))
        else:
            key = layout.pack_key(ObjectId(self.pack_names[pack]))
        rows = slice(start, stop)
        offsets, sizes = self.offsets[rows], self.sizes[rows]
        end = max(offset + size for offset, size in zip(offsets, sizes, strict=True))
        return Job(
            key=key,
            start=offsets[0],
            size=end - offsets[0],
            is_large=is_large,
            rows=self.rows[rows],
            folders=self.folders[rows],
            names=self.names[rows],
            modes=self.modes[rows],
            offsets=offsets,
            sizes=sizes,
            sha256s=bytes(self.sha256s[start * SHA256_BYTES : stop * SHA256_BYTES]),
            expected=[expected(row) for row in self.rows[rows]],
        )


def _chunks(table: pa.Table) -> Iterator[_Chunk]:
    for start in range(0, len(table), _CHUNK_ROWS):
        yield _Chunk(table.slice(start, _CHUNK_ROWS).combine_chunks())
