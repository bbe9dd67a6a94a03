"""Bringing what a checkout writes to this machine: one sliding window of threads over all of it.

A small object comes with its neighbours, as a span of their pack; a large one in parallel ranges,
into a file that an interrupted checkout goes on with; everything between in one read each. With a
cache, files that it has are not asked for, and whole files go into it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from dsa.cas.backend import Backend
from dsa.errors import AccessError
from dsa.remotes import ranges
from dsa.remotes.cache import Cache
from dsa.remotes.ranges import PIECE_BYTES, Partial
from dsa.remotes.transfer import in_order
from dsa.workers.writer import Job


@dataclass(slots=True)
class _Whole:
    """A file, or a large object, that comes in several pieces, and the jobs that wait for it."""

    key: str
    start: int
    partial: Partial
    job: Job | None = None  # that it belongs to alone; None: a pack, and others come after it
    for_cache: bool = False
    is_cut: bool = False  # a piece did not come: nothing is appended any more
    is_done: bool = False  # all of it came, right or not
    path: Path | None = None  # where it lies, all right
    held: ExitStack = field(default_factory=ExitStack)


@dataclass(frozen=True, slots=True)
class _Piece:
    whole: _Whole
    start: int
    size: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class _After:
    """A job whose bytes lie in a file that comes before it in the window."""

    whole: _Whole
    job: Job


_Item = Job | _Piece | _After
_NOT_TRIED = bytes(bytearray(b"not tried"))  # an object of its own: the store is down


class Fetching:
    """Brings jobs' bytes from one store; `folder` holds what lasts only until a job is written.

    In `partials` large files grow; both are on the file system of the checkout. `advance` is told
    of bytes that came of large files.
    """

    def __init__(
        self,
        backend: Backend,
        folder: Path,
        partials: Path,
        cache: Cache | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._partials = partials
        self._cache = cache
        self._advance = advance
        self.down: AccessError | None = None  # why nothing more can be had
        self.missing: set[str] = set()  # keys that the store does not have
        self._grown: set[Path] = set()  # names that are, or were, taken in this run
        self._held: dict[int, ExitStack] = {}  # by job: the cache's files that are in use

    def bring(self, jobs: Iterable[Job], packs: dict[str, int] | None = None) -> Iterator[Job]:
        """Yield the jobs with the paths of their bytes, None where they could not be had.

        Begins nothing more, with `down` set, when the store cannot be reached: what came until
        then is still given out. `packs` are the sizes of those that are wanted whole in the
        cache. Each job is to be released.
        """
        wholes: list[_Whole] = []
        items = self._items(jobs, packs or {}, wholes)
        try:
            for item, came in in_order(items, self._call, self._backend.jobs):
                if isinstance(item, _Piece):
                    job = self._grow(item, came)
                elif isinstance(item, _After):
                    job = item.job if item.whole.is_done else None
                    if job is not None and item.whole.path is not None:
                        job.path, job.base = str(item.whole.path), 0
                else:
                    job = item if came is not _NOT_TRIED else None
                if job is not None:
                    self._hold(job)
                    yield job
        finally:
            for whole in wholes:
                whole.partial.close()
                whole.held.close()

    def release(self, job: Job) -> None:
        """A job is written: what was brought for it is not needed any more."""
        if job.path is not None and os.path.dirname(job.path) == str(self._folder):
            with suppress(OSError):
                os.unlink(job.path)
        if id(job) in self._held:
            self._held.pop(id(job)).close()

    def distrust(self, job: Job) -> None:
        """Drop the cache's file that a job's bytes were wrong in."""
        if self._cache is not None and job.path == str(self._cache.folder / job.key):
            self._cache.drop(job.key)

    def _items(
        self, jobs: Iterable[Job], packs: dict[str, int], wholes: list[_Whole]
    ) -> Iterator[_Item]:
        """Yield what there is to fetch, in order; `wholes` are those that are not done yet."""
        whole_packs: dict[str, _Whole] = {}
        for job in jobs:
            if self.down is not None:
                return
            whole = whole_packs.get(job.key)
            if whole is None and self._cache and (there := self._cache.path(job.key)):
                job.path, job.base = str(there), 0
                yield job
                continue
            if whole is None and job.key in packs and self._cache:
                whole = whole_packs[job.key] = self._for_cache(job.key, packs[job.key])
                wholes.append(whole)
                yield from self._pieces(whole)
            if whole is not None:
                yield _After(whole, job)
            elif job.is_large and job.size > PIECE_BYTES:
                if self._is_for_cache(job):
                    whole = self._for_cache(job.key, job.size, job.sha256(0), job)
                    wholes.append(whole)
                    yield from self._pieces(whole)
                else:
                    partial = Partial(self._growing(job.sha256(0)), job.size, job.sha256(0))
                    whole = _Whole(job.key, job.start, partial, job)
                    wholes.append(whole)
                    yield from self._pieces(whole)
            else:
                yield job

    def _growing(self, digest: bytes) -> Path:
        """Return the name under which a large file grows; two jobs for one content never share it."""
        path = self._partials / digest.hex()
        if path in self._grown:
            return path.with_name(uuid4().hex)
        self._grown.add(path)
        return path

    def _is_for_cache(self, job: Job) -> bool:
        is_loose = job.is_large and job.key.startswith("objects/")
        return self._cache is not None and is_loose and self._cache.takes(job.size)

    def _for_cache(
        self, key: str, size: int, digest: bytes | None = None, job: Job | None = None
    ) -> _Whole:
        assert self._cache is not None
        held = ExitStack()
        partial = held.enter_context(self._cache.receiving(key, size, digest))
        return _Whole(key, 0, partial, job, for_cache=True, held=held)

    def _pieces(self, whole: _Whole) -> Iterator[_Piece]:
        have = whole.partial.begin()
        if whole.job is not None:
            self._advance(have)
        pieces = list(ranges.cut(have, whole.partial.size - have, self._backend.jobs)) or [
            (have, 0)
        ]
        for start, size in pieces:
            yield _Piece(whole, start, size, (start, size) == pieces[-1])

    def _call(self, item: _Item) -> bytes | None:
        """Fetch one item, in a thread: a piece's bytes; None for all else, and for what is not there."""
        if isinstance(item, _After) or (isinstance(item, Job) and item.path is not None):
            return None
        if self.down is not None:
            return _NOT_TRIED
        key = item.whole.key if isinstance(item, _Piece) else item.key
        if key in self.missing:
            return None
        try:
            if isinstance(item, _Piece):
                whole = item.whole
                if not item.size:
                    return b""
                return self._backend.read(key, whole.start + item.start, item.size)
            data = self._backend.read(key, item.start, item.size)
        except KeyError:
            self.missing.add(key)
            return None
        except AccessError as error:
            self.down = error
            return _NOT_TRIED
        self._place(item, data)
        return None

    def _place(self, job: Job, data: bytes) -> None:
        """Put the bytes of a span, or of one object, into a file; those of an object only if they are right."""
        if job.is_large and (len(data) != job.size or sha256(data).digest() != job.sha256(0)):
            return
        if self._is_for_cache(job):
            assert self._cache is not None
            job.path = str(self._cache.write(job.key, data))
            return
        path = self._folder / uuid4().hex
        path.write_bytes(data)
        job.path, job.base, job.is_ready = str(path), job.start, job.is_large

    def _grow(self, piece: _Piece, data: bytes | None) -> Job | None:
        """Add a piece to its file; return the job that can be done now, if it belongs to one alone."""
        whole = piece.whole
        if data is _NOT_TRIED:
            whole.is_cut = True  # what is there stays for the next run
        if whole.is_cut:
            return None
        if data and whole.partial.length == piece.start:
            whole.partial.add(data)
            if whole.job is not None:
                self._advance(len(data))
        if not piece.is_last:
            return None
        whole.is_done = True
        is_right = whole.partial.finish()
        if is_right and whole.for_cache:
            assert self._cache is not None
            whole.path = self._cache.keep(whole.partial.path, whole.key)
        elif is_right:
            whole.path = whole.partial.path
        if whole.job is not None:
            whole.job.counted = whole.partial.length if is_right else 0
            self._advance(whole.job.counted - whole.partial.length)
            whole.job.path = None if whole.path is None else str(whole.path)
            whole.job.base, whole.job.is_ready = whole.start, not whole.for_cache
        whole.held.close()
        return whole.job

    def _hold(self, job: Job) -> None:
        if self._cache is not None and job.path == str(self._cache.folder / job.key):
            held = self._held[id(job)] = ExitStack()
            held.enter_context(self._cache.using(job.key))


def whole_packs(backend: Backend, cache: Cache, wanted: dict[str, int]) -> dict[str, int]:
    """Return the sizes of those packs of which more than half of the bytes are wanted, and that are not kept yet.

    `wanted` are the bytes wanted of each pack, by its key. Raises: `AccessError`.
    """
    absent = [key for key in wanted if cache.path(key) is None]
    return {
        key: info.size
        for key, info in in_order(absent, backend.info, backend.jobs)
        if info is not None and 2 * wanted[key] > info.size and cache.takes(info.size)
    }
