"""Indexes of a store that is far: the end of one says what it is, and then no more is fetched than is read.

One request gives an index's footer with the `revision.json` in it, and of a small index all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import pyarrow as pa

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ManifestId
from dsa.cas.index import IndexFile, IndexProblem, open_index
from dsa.cas.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

#: As much as is fetched first: the footer of an index of 1,000,000 rows has 56 KB.
TAIL_BYTES = 64 * 1024

_MAX_FOOTER_BYTES = 64 * 1024 * 1024
_LEAST_BYTES = 12  # `PAR1` at both ends, and the footer's length
_KEPT_OPEN = 8  # indexes, as far as they were fetched


@runtime_checkable
class Tailed(Protocol):
    """A place that gives the end of a file in one request, without being asked for its size before."""

    def tail(self, key: str, length: int) -> tuple[bytes, int]:
        """Return the last `length` bytes of a file, all if it has fewer, and its size.

        `KeyError` if there is no such file.
        """


def tail(backend: Backend, key: str, length: int) -> tuple[bytes, int]:
    """Return what `Tailed.tail` does, of any place."""
    if isinstance(backend, Tailed):
        return backend.tail(key, length)
    info = backend.info(key)
    if info is None:
        raise KeyError(key)
    start = max(0, info.size - length)
    return backend.read(key, start, length), info.size


class Sparse:
    """A file of a far place in memory, as far as it was fetched; the rest of `buffer` means nothing."""

    def __init__(self, read: Callable[[int, int], bytes], end: bytes, size: int) -> None:
        if len(end) > size:
            raise IndexProblem("its end is longer than the whole")
        self._read = read
        self.size = size
        try:
            self.buffer = pa.allocate_buffer(size)
        except pa.ArrowException as error:
            raise IndexProblem(f"{size} bytes are too many for it") from error
        self._bytes = memoryview(self.buffer).cast("B")
        self._have = [(size - len(end), size)]  # sorted, apart
        self._bytes[size - len(end) :] = end

    @property
    def is_whole(self) -> bool:
        """Whether all of it was fetched."""
        return self._have == [(0, self.size)]

    def need(self, start: int, end: int) -> None:
        """Fetch what is missing of a range that lies in the file, in one request where it is one piece."""
        for first, last in self._missing(start, end):
            data = self._read(first, last - first)
            if len(data) != last - first:
                raise IndexProblem("it ends before its end")
            self._bytes[first:last] = data
            self._take(first, last)

    def _missing(self, start: int, end: int) -> list[tuple[int, int]]:
        found = []
        for first, last in self._have:
            if start < min(first, end):
                found.append((start, min(first, end)))
            start = max(start, last)
        if start < end:
            found.append((start, end))
        return found

    def _take(self, start: int, end: int) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self._have, (start, end)]):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], last))
            else:
                merged.append((first, last))
        self._have = merged


class FarIndexes:
    """The indexes of one far store; what was fetched of the last few is remembered."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._open: OrderedDict[ManifestId, Sparse] = OrderedDict()

    def describe(self, oid: ManifestId) -> tuple[Manifest, bytes] | None:
        """Return the manifest and the `revision.json` that an index carries; None where it has none.

        They are proven: the manifest that they come to has this id.
        """
        try:
            opened = self.opened(self.sparse(oid))
        except (IndexProblem, KeyError):
            return None
        manifest = opened.described()
        if manifest is None or opened.revision_json is None or manifest.id != oid:
            return None
        return manifest, opened.revision_json

    def sparse(self, oid: ManifestId) -> Sparse:
        """Return the file of an index, at least its end; `KeyError` if it is not there."""
        found = self._open.pop(oid, None)
        if found is None:
            key = layout.index_key(oid)
            end, size = tail(self._backend, key, TAIL_BYTES)
            found = Sparse(lambda start, length: self._backend.read(key, start, length), end, size)
        self._open[oid] = found
        while len(self._open) > _KEPT_OPEN:
            self._open.popitem(last=False)
        return found

    def opened(self, sparse: Sparse) -> IndexFile:
        """Open an index; its row groups are fetched when they are read."""
        size = sparse.size
        if size < _LEAST_BYTES:
            raise IndexProblem("it is too short for one")
        sparse.need(size - 8, size)
        length = int.from_bytes(sparse.buffer.slice(size - 8, 4), "little")
        if length > min(size - 8, _MAX_FOOTER_BYTES):
            raise IndexProblem(f"it claims to end with a header of {length} bytes")
        sparse.need(size - 8 - length, size)
        return open_index(sparse.buffer, size, need=sparse.need)

    def forget(self, oid: ManifestId) -> None:
        """Let go of what was fetched of an index."""
        self._open.pop(oid, None)
