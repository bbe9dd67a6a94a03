"""Rows of a scan, cut into batches that fit a worker's buffer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dsa.cas import layout
from dsa.cas.packs import HEADER_BYTES
from dsa.workers.packer import BUFFER_BYTES
from dsa.workers.signature import SIGNATURE
from dsa.worktree.scan import Folder, Scan

_BATCH_FILES = 4_096


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a scan, by number, with what the scan knows of each."""

    rows: list[int]
    paths: list[str]
    sizes: list[int]
    signatures: bytes

    @property
    def is_large(self) -> bool:
        """Whether this is one file that becomes an object in a file of its own."""
        return self.sizes[0] >= layout.LOOSE_FROM_BYTES


def places(scan: Scan, rows: Iterable[int]) -> Iterator[tuple[Folder, int]]:
    """Yield the folder of each row (ascending), and its place in there."""
    folders = iter(scan.folders)
    folder, start = next(folders), 0
    for row in rows:
        while row >= start + len(folder.names):
            start += len(folder.names)
            folder = next(folders)
        yield folder, row - start


def paths_of(scan: Scan, rows: Iterable[int]) -> Iterator[str]:
    """Yield the path of each row (ascending)."""
    for folder, at in places(scan, rows):
        yield f"{folder.path}/{folder.names[at]}" if folder.path else folder.names[at]


def batches(scan: Scan, rows: list[int]) -> Iterator[Batch]:
    """Cut rows (ascending) into batches that fit a worker's buffer; a large file is one by itself."""
    batch, room = Batch([], [], [], b""), BUFFER_BYTES
    signatures: list[bytes] = []
    for row, (folder, at) in zip(rows, places(scan, rows), strict=True):
        path = f"{folder.path}/{folder.names[at]}" if folder.path else folder.names[at]
        size = folder.sizes[at]
        known = folder.signatures[at * SIGNATURE.size : (at + 1) * SIGNATURE.size]
        if size >= layout.LOOSE_FROM_BYTES:
            yield Batch([row], [path], [size], known)
            continue
        if batch.rows and (room < size + HEADER_BYTES or len(batch.rows) == _BATCH_FILES):
            yield Batch(batch.rows, batch.paths, batch.sizes, b"".join(signatures))
            batch, room, signatures = Batch([], [], [], b""), BUFFER_BYTES, []
        batch.rows.append(row)
        batch.paths.append(path)
        batch.sizes.append(size)
        signatures.append(known)
        room -= size + HEADER_BYTES
    if batch.rows:
        yield Batch(batch.rows, batch.paths, batch.sizes, b"".join(signatures))


def bytes_of(scan: Scan, rows: list[int]) -> int:
    """Return the size of these rows' files, in bytes."""
    return sum(folder.sizes[at] for folder, at in places(scan, rows))
