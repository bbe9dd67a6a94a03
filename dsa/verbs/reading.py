"""Reading a scan's files: their digests, and what is new of them into the store.

One read for each file. Small files go to the workers in batches: a worker hashes a batch in its
buffer, hears which of it is new, and packs that.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.locations import LocationRows, write_part
from dsa.cas.packs import HEADER_BYTES
from dsa.cas.trees import EXECUTABLE, FILE, FOLDER, LINK
from dsa.errors import AccessError, CollisionError, DamageError, DsaError
from dsa.progress import SILENT, Progress
from dsa.verbs.presence import Presence
from dsa.workers.crew import Crew, Script, crew_size
from dsa.workers.packer import (
    BUFFER_BYTES,
    FinishedPack,
    Hashed,
    LargeFile,
    Packer,
    with_another_name,
)
from dsa.workers.signature import SIGNATURE, signature
from dsa.worktree.scan import Folder, Scan
from dsa.worktree.statcache import Digests

logger = logging.getLogger(__name__)

_BATCH_FILES = 4_096
_TRIES = 3
_PART_EVERY_PACKS = 16
_PART_EVERY_SECONDS = 15.0
_MAX_HEALED_BYTES = 1 << 30


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


@dataclass(slots=True)
class Totals:
    """What came of reading; sizes in bytes."""

    files_read: int = 0
    objects_new: int = 0
    bytes_new: int = 0
    objects_shared: int = 0
    bytes_shared: int = 0
    healed: int = 0
    rows: LocationRows = field(default_factory=LocationRows)  # every object that was written

    def share(self, files: pa.Table) -> None:
        """Count what was there before: all objects of these rows but the new ones."""
        count, size = distinct(files)
        self.objects_shared = count - self.objects_new
        self.bytes_shared = size - self.bytes_new


def hash_rows(
    scan: Scan, digests: Digests, rows: list[int], follow_links: bool, progress: Progress = SILENT
) -> int:
    """Fill in the digests of these rows, writing nothing; return how many files were read."""
    reader = _Reader(scan, digests, follow_links, progress, None)
    reader.run(rows)
    return reader.totals.files_read


def ingest(
    scan: Scan,
    digests: Digests,
    rows: list[int],
    sink: Sink,
    totals: Totals,
    follow_links: bool,
    progress: Progress = SILENT,
) -> None:
    """Read these rows once: fill in their digests, and put what is new into the store.

    Raises: `DsaError` naming all files that cannot be read or keep changing; `CollisionError`.
    """
    reader = _Reader(scan, digests, follow_links, progress, sink)
    reader.totals = totals
    reader.run(rows)


class Sink:
    """Where new objects go: packs and loose objects in a staging folder, then published.

    Locations are written after each batch of packs, so that a push that was interrupted finds
    what it had sent.
    """

    def __init__(self, backend: Backend, presence: Presence, staging: Path) -> None:
        self.backend = backend
        self.presence = presence
        self.staging = staging
        self._pending = LocationRows()
        self._packs = 0
        self._since = time.monotonic()

    def packs(self, finished: Iterable[FinishedPack], totals: Totals) -> None:
        """Publish finished packs."""
        for made in finished:
            pack = with_another_name(made) if self._is_spoilt(made) else made
            self.backend.publish(Path(pack.staged), layout.pack_key(ObjectId(pack.id)))
            for rows in (self._pending, totals.rows):
                rows.add_pack(pack.id, pack.entries, pack.sha256s)
            totals.objects_new += len(pack.entries)
            totals.bytes_new += sum(pack.entries.sizes)
            totals.healed += sum(map(self.presence.is_damaged, _ids(pack)))
            self._packs += 1
        late = time.monotonic() - self._since >= _PART_EVERY_SECONDS
        if self._packs >= _PART_EVERY_PACKS or (late and len(self._pending)):
            self.flush()

    def loose(self, made: LargeFile, size: int, totals: Totals) -> bool:
        """Publish a large object; False where its name is taken by other bytes."""
        assert made.staged is not None
        key = layout.object_key(ObjectId(made.sha1))
        there = self.backend.info(key)
        if there is not None and not self._is_whole(key, made):
            return False
        self.backend.publish(Path(made.staged), key)
        for rows in (self._pending, totals.rows):
            rows.add(made.sha1, size, made.sha256, None, None)
        totals.objects_new += 1
        totals.bytes_new += size
        totals.healed += self.presence.is_damaged(made.sha1)
        return True

    def flush(self) -> None:
        """Make all that was published durable, then say where it is."""
        if len(self._pending):
            self.backend.flush()
            write_part(self.backend, self._pending.table(), self.staging)
            self.backend.flush()
        self._pending = LocationRows()
        self._packs = 0
        self._since = time.monotonic()

    def _is_spoilt(self, pack: FinishedPack) -> bool:
        """Whether this name is that of a damaged pack: what is there is kept, and never trusted again."""
        if any(self.presence.is_on_record(oid, pack.id) for oid in _ids(pack)):
            return True
        digest = sha1(usedforsecurity=False)
        try:
            with self.backend.open(layout.pack_key(ObjectId(pack.id))) as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except KeyError:
            return False
        return digest.digest() != pack.id

    def _is_whole(self, key: str, made: LargeFile) -> bool:
        """Whether a loose object that no location knows is what it should be: an interrupted push's."""
        from hashlib import sha256

        digest = sha256()
        with self.backend.open(key) as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.digest() == made.sha256


def _ids(pack: FinishedPack) -> Iterator[bytes]:
    ids = pack.entries.ids
    return (ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


class _Reader:
    """One run over some rows of a scan."""

    def __init__(
        self,
        scan: Scan,
        digests: Digests,
        follow_links: bool,
        progress: Progress,
        sink: Sink | None,
    ) -> None:
        self._scan = scan
        self._digests = digests
        self._follow_links = follow_links
        self._progress = progress
        self._sink = sink
        self._again: list[int] = []
        self._refused: list[str] = []
        self.totals = Totals()

    def run(self, rows: list[int]) -> None:
        files, size = len(rows), _bytes_of(self._scan, rows)
        self._progress.start("reading", files=files, size_bytes=size)
        with self._crew(files, size) as crew:
            for tried in range(_TRIES):
                jobs = iter(batches(self._scan, rows))
                crew.run(partial(self._script, jobs))
                rows, self._again = self._again, []
                if not rows:
                    break
                time.sleep(0.05 * tried)
                rows = self._look_again(rows)
            self._refused += (
                f"{path}: it keeps changing while it is read" for path in paths_of(self._scan, rows)
            )
            leading_out = self._scan.links_leading_out()  # one may have changed since the scan
            self._refused += (f"{path}: {problem}" for path, problem in leading_out.items())
            self._complain()
            if self._sink:
                crew.run(self._finish)

    def _complain(self) -> None:
        """Say which files could not be read."""
        if not self._refused:
            return
        count, may_not = len(self._refused), os.strerror(errno.EACCES)
        what = f"{count} {'file' if count == 1 else 'files'} in {self._scan.root} cannot be read"
        problems = sorted(self._refused)
        if all(problem.endswith(may_not) for problem in problems):
            raise AccessError(what, problems=problems)
        raise DsaError(
            what, hint="run the command again when nobody writes to them", problems=problems
        )

    def _crew(self, files: int, size: int) -> Crew:
        jobs = crew_size(files, size)
        staging = str(self._sink.staging) if self._sink else ""
        return Crew(jobs, Packer, str(self._scan.root), staging, self._follow_links, jobs == 1)

    def _script(self, jobs: Iterator[Batch]) -> Script:
        for batch in jobs:
            if batch.is_large:
                yield from self._large(batch)
            else:
                hashed: Hashed = yield ("hash", (batch.paths, batch.sizes, batch.signatures))
                new = self._take(batch, hashed)
                if any(new):
                    finished = yield ("keep", (new,))
                    assert self._sink
                    self._sink.packs(finished, self.totals)
            self._progress.advance(files=len(batch.rows), size_bytes=sum(batch.sizes))

    def _take(self, batch: Batch, hashed: Hashed) -> bytes:
        """Note a batch's digests; return which of its objects are new."""
        for number, reason in hashed.failed.items():
            self._fail(batch, number, reason)
        sizes = [-1 if number in hashed.failed else size for number, size in enumerate(batch.sizes)]
        if hashed.failed or batch.rows[-1] - batch.rows[0] >= len(batch.rows):
            for number, row in enumerate(batch.rows):
                if sizes[number] >= 0:
                    self._digests.set(row, *hashed.of(number))
        else:
            self._digests.set(batch.rows[0], hashed.sha1, hashed.sha256)
        self.totals.files_read += len(batch.rows) - len(hashed.failed)
        if self._sink is None:
            return b""
        name_of = batch.paths.__getitem__
        return self._sink.presence.ask(hashed.sha1, hashed.sha256, sizes, name_of)

    def _large(self, batch: Batch) -> Script:
        """Hash one large file; copy it in the same read unless the store may have it."""
        sink, (row,), (path,), (size,) = self._sink, batch.rows, batch.paths, batch.sizes
        copy = sink is not None and not sink.presence.may_hold_large(size)
        made = yield ("large", (path, batch.signatures, copy))
        if isinstance(made, str):
            self._fail(batch, 0, made)
            return
        self._digests.set(row, made.sha1, made.sha256)
        self.totals.files_read += 1
        if sink is None:
            return
        is_new = any(sink.presence.ask(made.sha1, made.sha256, [size], lambda _: path))
        if is_new and made.staged is None:
            before = made
            made = yield ("large", (path, batch.signatures, True))
            if isinstance(made, str) or made.sha256 != before.sha256:
                sink.presence.unclaim(before.sha1)
                self._fail(batch, 0, made if isinstance(made, str) else "")
                return
        if is_new:
            yield from self._put_large(sink, path, made, size)
        elif made.staged is not None:
            os.unlink(made.staged)

    def _put_large(self, sink: Sink, path: str, made: LargeFile, size: int) -> Script:
        if not sink.presence.is_damaged(made.sha1) and sink.loose(made, size, self.totals):
            return
        if size >= _MAX_HEALED_BYTES:
            raise DamageError(
                f"the store's copy of {path} ({ObjectId(made.sha1)}) is damaged, and too large to be sent in a pack",
                hint=f"move {layout.object_key(ObjectId(made.sha1))} out of the store, and push again",
            )
        pack = yield ("pack_alone", (made.staged, made.sha1, made.sha256))
        sink.packs([pack], self.totals)

    def _finish(self) -> Script:
        finished = yield ("finish", ())
        assert self._sink
        self._sink.packs(finished, self.totals)

    def _fail(self, batch: Batch, number: int, reason: str) -> None:
        if reason:
            self._refused.append(f"{batch.paths[number]}: {reason}")
        else:
            self._again.append(batch.rows[number])

    def _look_again(self, rows: list[int]) -> list[int]:
        """Stat files anew that changed while they were read; those that are gone are refused."""
        left = []
        for row, (folder, at) in zip(sorted(rows), places(self._scan, sorted(rows)), strict=True):
            path = f"{folder.path}/{folder.names[at]}".lstrip("/")
            try:
                full = os.path.join(self._scan.root, path)
                info = os.stat(full) if self._follow_links else os.lstat(full)
                is_pushed_link = path in self._scan.links and _kind(info.st_mode) == stat.S_IFLNK
                problem = self._scan.link_problem(path) if is_pushed_link else None
            except OSError as error:
                self._refused.append(f"{path}: it went away while it was read ({error.strerror})")
                continue
            if _kind(info.st_mode) != _kind_of_mode(folder.modes[at]):
                self._refused.append(f"{path}: it became something else while it was read")
                continue
            if problem is not None:
                self._refused.append(f"{path}: {problem}")
                continue
            if folder.modes[at] != LINK:
                folder.modes[at] = EXECUTABLE if info.st_mode & 0o100 else FILE
            folder.sizes[at] = info.st_size
            width = SIGNATURE.size
            signatures = folder.signatures
            folder.signatures = (
                signatures[: at * width] + signature(info) + signatures[(at + 1) * width :]
            )
            left.append(row)
        return left


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


def check_collisions(table: pa.Table) -> None:
    """Refuse two files of one listing that have one SHA-1 and different SHA-256, naming both.

    Only where the digests do not pair up is each file looked at.
    """
    files = table.filter(pc.not_equal(table["mode"], FOLDER))
    parts = (files["sha1"].cast(pa.binary()), files["sha256"].cast(pa.binary()))
    if len(pc.unique(pc.binary_join_element_wise(*parts, b""))) == len(pc.unique(files["sha1"])):
        return
    seen: dict[bytes, tuple[bytes, str]] = {}
    columns = (files["sha1"].to_pylist(), files["sha256"].to_pylist())
    for path, oid, check in zip(listing.paths(files).to_pylist(), *columns, strict=True):
        first_check, first = seen.setdefault(oid, (check, path))
        if first_check != check:
            raise CollisionError(
                f"{first} and {path} have one SHA-1 ({oid.hex()}) and different contents",
                hint="one of the two was made to collide: neither may stand for the other",
                problems=[
                    f"{first}: SHA-256 {first_check.hex()}",
                    f"{path}: SHA-256 {check.hex()}",
                ],
            )


def distinct(files: pa.Table) -> tuple[int, int]:
    """Return how many different objects these rows are, and their bytes."""
    ids = listing.one_chunk(files["sha1"])
    first = pc.index_in(pc.unique(ids), value_set=ids)
    return len(first), pc.sum(files["size"].take(first), min_count=0).as_py()


def _bytes_of(scan: Scan, rows: list[int]) -> int:
    return sum(folder.sizes[at] for folder, at in places(scan, rows))


def _kind(mode: int) -> int:
    return mode & 0o170000


def _kind_of_mode(mode: int) -> int:
    return LINK if mode == LINK else 0o100000
