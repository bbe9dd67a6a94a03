"""The stat cache: digests of files that were not changed since they were read.

One Arrow file with a row for each folder, whose columns hold that folder's names, signatures and
digests, each joined: an unchanged folder is known by two comparisons of bytes.

A digest is kept only of an entry that was changed (ctime) before `stamp`, a moment before its
content was read. A change after that moment gives a later ctime, so it cannot hide.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsa.cas.ids import ID_BYTES, SHA256_BYTES
from dsa.cas.trees import FOLDER
from dsa.workers.signature import SIGNATURE, changed_ns
from dsa.worktree.atomic import replacing
from dsa.worktree.scan import Folder, Scan

logger = logging.getLogger(__name__)

_VERSION = b"2"
_NO_ID = bytes(ID_BYTES)

#: File systems stamp changes with a clock that ticks; a tick is at most 10 ms on Linux.
_TICK_NS = 10_000_000


@dataclass(slots=True)
class Digests:
    """Raw digests of a scan's rows, joined; zeros for folders and for what is not known."""

    sha1: bytearray
    sha256: bytearray
    unknown: list[int] = field(default_factory=list)  # rows of files and links, ascending

    def set(self, row: int, sha1: bytes, sha256: bytes) -> None:
        """Fill in the digests of this row, or, joined, of as many rows from there on."""
        self.sha1[row * ID_BYTES : row * ID_BYTES + len(sha1)] = sha1
        self.sha256[row * SHA256_BYTES : row * SHA256_BYTES + len(sha256)] = sha256

    def drop(self, rows: list[int]) -> None:
        """Forget rows (ascending) that were taken out of the scan."""
        out = set(rows)
        kept = [row for row in range(len(self.sha1) // ID_BYTES) if row not in out]
        numbers = {row: at for at, row in enumerate(kept)}
        self.sha1 = bytearray(b"".join(self.sha1_of(row) for row in kept))
        self.sha256 = bytearray(b"".join(self.sha256_of(row) for row in kept))
        self.unknown = [numbers[row] for row in self.unknown if row in numbers]

    def sha1_of(self, row: int) -> bytes:
        """Return one row's SHA-1."""
        return bytes(self.sha1[row * ID_BYTES : (row + 1) * ID_BYTES])

    def sha256_of(self, row: int) -> bytes:
        """Return one row's SHA-256."""
        return bytes(self.sha256[row * SHA256_BYTES : (row + 1) * SHA256_BYTES])


@dataclass(frozen=True, slots=True)
class _Known:
    """What the cache says of one folder."""

    names: bytes
    signatures: bytes
    sha1: bytes
    sha256: bytes
    is_complete: bool  # no file in it is unknown


def fill(path: Path | None, scan: Scan) -> Digests:
    """Return the digests that the cache at `path` knows for a scan."""
    cache = _load(path) if path else {}
    rows = len(scan)
    digests = Digests(bytearray(rows * ID_BYTES), bytearray(rows * SHA256_BYTES))
    row = 0
    for folder in scan.folders:
        known = cache.get(folder.path)
        count = len(folder.names)
        if known is None:
            digests.unknown += (row + at for at, mode in enumerate(folder.modes) if mode != FOLDER)
        elif (
            known.signatures == folder.signatures
            and known.names == _joined(folder)
            and known.is_complete
        ):
            digests.sha1[row * ID_BYTES : (row + count) * ID_BYTES] = known.sha1
            digests.sha256[row * SHA256_BYTES : (row + count) * SHA256_BYTES] = known.sha256
        else:
            _fill_folder(digests, row, folder, known)
        row += count
    return digests


def _fill_folder(digests: Digests, row: int, folder: Folder, known: _Known) -> None:
    """Look up the entries of a folder in which something changed."""
    width = SIGNATURE.size
    if known.names == _joined(folder):
        # The same names: take all digests at once, and take back those of what was changed.
        digests.set(row, known.sha1, known.sha256)
        for at, mode in enumerate(folder.modes):
            part = slice(at * width, (at + 1) * width)
            is_same = known.signatures[part] == folder.signatures[part]
            if mode != FOLDER and not (is_same and digests.sha1_of(row + at) != _NO_ID):
                digests.set(row + at, _NO_ID, bytes(SHA256_BYTES))
                digests.unknown.append(row + at)
        return
    names = {name: at for at, name in enumerate(known.names.split(b"\0"))}
    for here, (name, mode) in enumerate(zip(folder.names, folder.modes, strict=True)):
        if mode == FOLDER:
            continue
        place = names.get(name.encode())
        mine = folder.signatures[here * width : (here + 1) * width]
        if place is not None and known.signatures[place * width : (place + 1) * width] == mine:
            sha1 = known.sha1[place * ID_BYTES : (place + 1) * ID_BYTES]
            if sha1 != _NO_ID:
                sha256 = known.sha256[place * SHA256_BYTES : (place + 1) * SHA256_BYTES]
                digests.set(row + here, sha1, sha256)
                continue
        digests.unknown.append(row + here)


def save(path: Path, scan: Scan, digests: Digests, stamp_ns: int) -> None:
    """Write the cache; one that cannot be written only costs time later, and is no error."""
    import pyarrow as pa

    names, sha1s, sha256s, complete = [], [], [], []
    row = 0
    for folder in scan.folders:
        count = len(folder.names)
        sha1 = bytes(digests.sha1[row * ID_BYTES : (row + count) * ID_BYTES])
        if max(changed_ns(folder.signatures), default=0) >= stamp_ns:
            sha1 = _without_young(folder, sha1, stamp_ns)
        sha1s.append(sha1)
        complete.append(_NO_ID not in sha1 or not any(_unknown(folder, sha1)))
        names.append(_joined(folder))
        sha256s.append(bytes(digests.sha256[row * SHA256_BYTES : (row + count) * SHA256_BYTES]))
        row += count
    table = pa.table(
        {
            "folder": pa.array([folder.path for folder in scan.folders], pa.string()),
            "names": pa.array(names, pa.large_binary()),
            "signatures": pa.array(
                [folder.signatures for folder in scan.folders], pa.large_binary()
            ),
            "sha1": pa.array(sha1s, pa.large_binary()),
            "sha256": pa.array(sha256s, pa.large_binary()),
            "is_complete": pa.array(complete, pa.bool_()),
        }
    )
    facts = {b"dsa.statcache": _VERSION, b"dsa.check": _check(table)}
    table = table.replace_schema_metadata(facts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(path, durable=False) as partial,
            pa.ipc.new_file(partial, table.schema) as writer,
        ):
            writer.write_table(table)
    except OSError as error:
        logger.warning("the stat cache %s cannot be written: %s", path, error)


def wait_for_tick(signatures: bytes) -> int:
    """Return a moment (ns) later than every change in these entries; waits a tick for young ones.

    A file changed within the clock's present tick could be changed again without a trace.
    """
    left = max(changed_ns(signatures), default=0) + 2 * _TICK_NS - time.time_ns()
    if 0 < left <= 2 * _TICK_NS:
        time.sleep(left / 1e9)
    return time.time_ns() - _TICK_NS


def _without_young(folder: Folder, sha1: bytes, stamp_ns: int) -> bytes:
    return b"".join(
        _NO_ID if changed >= stamp_ns else sha1[at * ID_BYTES : (at + 1) * ID_BYTES]
        for at, changed in enumerate(changed_ns(folder.signatures))
    )


def _unknown(folder: Folder, sha1: bytes) -> Iterator[bool]:
    """Yield for each entry whether it is a file or link with no digest."""
    for at, mode in enumerate(folder.modes):
        yield mode != FOLDER and sha1[at * ID_BYTES : (at + 1) * ID_BYTES] == _NO_ID


def _joined(folder: Folder) -> bytes:
    return "\0".join(folder.names).encode()


def _load(path: Path) -> dict[str, _Known]:
    """Read the cache; empty if there is none, or if it is not exactly what was written."""
    import pyarrow as pa

    if not os.path.exists(path):
        return {}
    try:
        with pa.memory_map(os.fspath(path)) as source:
            table = pa.ipc.open_file(source).read_all()
            table.validate(full=True)
            facts = table.schema.metadata or {}
            if any(column.null_count for column in table.columns):
                raise ValueError("it has empty fields")
            if facts.get(b"dsa.statcache") != _VERSION or facts.get(b"dsa.check") != _check(table):
                raise ValueError("it was written by another release, or damaged")
            columns = [
                table[name].to_pylist()
                for name in ("names", "signatures", "sha1", "sha256", "is_complete")
            ]
            folders = table["folder"].to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        logger.warning("the stat cache %s is not used: %s", path, error)
        return {}
    return {folder: _Known(*known) for folder, *known in zip(folders, *columns, strict=True)}


def _check(table: object) -> bytes:
    """Return a digest of the cache's content: it lies on a disk that may fail like any other."""
    import pyarrow as pa

    assert isinstance(table, pa.Table)
    digest = hashlib.sha1(usedforsecurity=False)
    for column in table.columns:
        for chunk in column.chunks:
            for value in chunk.buffers():
                if value is not None:
                    digest.update(value)
    return digest.hexdigest().encode()
