"""Cutting what a checkout writes into jobs for its workers, in the order in which bytes lie in packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.ids import SHA256_BYTES, ObjectId
from dsa.cas.objects import Span
from dsa.workers.writer import SPAN_BYTES, Job

_CHUNK_ROWS = 16_384  # of which Python objects are made at once


@dataclass(frozen=True, slots=True)
class Cut:
    """How a store's bytes are best asked for; all in bytes, but for `rows`."""

    span: int  # what is read at once
    gap: int  # read over rather than read twice
    alone: int  # from here on a packed object is streamed, like a loose one
    rows: int  # at most, of one job


#: Of a disk, where asking again costs nothing.
NEAR = Cut(span=SPAN_BYTES, gap=64 * 1024, alone=1024 * 1024, rows=2_048)
#: Of a server, where asking again costs as much as a mebibyte.
FAR = Cut(span=SPAN_BYTES, gap=1024 * 1024, alone=SPAN_BYTES, rows=8_192)

#: The signature of what a row's file replaces: empty for nothing, None where nothing can be there.
Expected = Callable[[int], bytes | None]


def cut(target: pa.Table, write: pa.Array, expected: Expected, how: Cut = NEAR) -> Iterator[Job]:
    """Yield jobs for the rows `write` of a listing: large objects one by one, then spans of packs.

    Where asking costs (FAR), equal large objects are one job, so that they are fetched once.
    """
    rows = target.take(write).append_column("row", write.cast(pa.int64()))
    is_alone = pc.or_(pc.is_null(rows["pack"]), pc.greater_equal(rows["size"], how.alone))
    alone = rows.filter(is_alone)
    if how is FAR:
        alone = alone.take(pc.sort_indices(alone, sort_keys=[("pack", "ascending"), *_SAME]))
    for chunk in _chunks(alone, how):
        start = 0
        for at in range(1, len(chunk.rows) + 1):
            if how is NEAR or at == len(chunk.rows) or not chunk.is_same(start, at):
                yield chunk.job(start, at, expected, is_large=True)
                start = at
    packed = rows.filter(pc.invert(is_alone))
    order = pc.sort_indices(packed, sort_keys=[("pack", "ascending"), ("offset", "ascending")])
    for chunk in _chunks(packed.take(order), how):
        start = 0
        for at in range(1, len(chunk.rows) + 1):
            if at == len(chunk.rows) or not chunk.lies_beside(start, at):
                yield chunk.job(start, at, expected, is_large=False)
                start = at


_SAME = (("offset", "ascending"), ("sha1", "ascending"))


def elsewhere(job: Job, at: int, span: Span) -> Job:
    """Return the job for one file of `job` whose bytes lie in another place."""
    return Job(
        key=span.key,
        start=span.start,
        size=span.size,
        is_large=span.size >= NEAR.alone,
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

    def __init__(self, table: pa.Table, how: Cut) -> None:
        self._how = how
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
            and self.offsets[at] + self.sizes[at] - self.offsets[start] <= self._how.span
            and self.offsets[at] - self.offsets[at - 1] - self.sizes[at - 1] <= self._how.gap
            and at - start < self._how.rows
        )

    def is_same(self, start: int, at: int) -> bool:
        """Whether two rows are one object, in one place."""
        return (
            self.packs[at] == self.packs[start]
            and self.offsets[at] == self.offsets[start]
            and self.sizes[at] == self.sizes[start]
            and self.sha1[at] == self.sha1[start]
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


def _chunks(table: pa.Table, how: Cut) -> Iterator[_Chunk]:
    for start in range(0, len(table), _CHUNK_ROWS):
        yield _Chunk(table.slice(start, _CHUNK_ROWS).combine_chunks(), how)
