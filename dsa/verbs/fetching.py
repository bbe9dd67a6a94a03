"""Bringing what a checkout writes to this machine: one sliding window of threads over all of it.

A small object comes with its neighbours, as a span of their pack; a large one in parallel ranges,
into a file that an interrupted checkout goes on with; everything between in one read each. With a
cache, files that it has are not asked for, and whole files go into it; where it fails, the
checkout goes on without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from dsa.cas.backend import Backend, FileInfo
from dsa.errors import AccessError, DsaError
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


logger = logging.getLogger(__name__)

_Item = Job | _Piece | _After
_NOT_TRIED = bytes(bytearray(b"not tried"))  # an object of its own: the store is down
_REFUSALS = 32  # so many keys one after the other: it is not about single files


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
        self.missing: set[str] = set()  # keys that the store does not have, or does not permit
        self.refused: dict[str, AccessError] = {}  # those of them that it does not permit
        self._refusals = 0  # since the last answer
        self._distrusted: set[str] = set()  # keys whose files in the cache are not used any more
        self._grown: set[Path] = set()  # names that are taken now
        self._wholes: dict[int, _Whole] = {}  # by their own id, those that are not done yet
        self._held: dict[int, ExitStack] = {}  # by job: the cache's files that are in use

    def bring(self, jobs: Iterable[Job], packs: dict[str, int] | None = None) -> Iterator[Job]:
        """Yield the jobs with the paths of their bytes, None where they could not be had.

        Begins nothing more, with `down` set, when the store cannot be reached: what came until
        then is still given out. `packs` are the sizes of those that are wanted whole in the
        cache. Each job is to be released.
        """
        items = self._items(jobs, packs or {})
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
            for whole in self._wholes.values():
                whole.partial.close()
                whole.held.close()
            self._wholes.clear()

    def release(self, job: Job) -> None:
        """A job is written: what was brought for it is not needed any more."""
        if job.path is not None:
            path = Path(job.path)
            self._grown.discard(path)
            if path.parent == self._folder:
                with suppress(OSError):
                    path.unlink()
        if id(job) in self._held:
            self._held.pop(id(job)).close()

    def distrust(self, job: Job) -> None:
        """Drop the cache's file that a job's bytes were wrong in."""
        if self._cache is not None and job.path == str(self._cache.folder / job.key):
            try:
                self._cache.drop(job.key)
            except DsaError as error:
                logger.warning("a wrong file stays in the cache: %s", error)
                self._distrusted.add(job.key)

    def _items(self, jobs: Iterable[Job], packs: dict[str, int]) -> Iterator[_Item]:
        """Yield what there is to fetch, in order."""
        whole_packs: dict[str, _Whole] = {}
        for job in jobs:
            if self.down is not None:
                return
            whole = whole_packs.get(job.key)
            if whole is None and (there := self._in_cache(job.key)):
                job.path, job.base = str(there), 0
                yield job
                continue
            if whole is None and job.key in packs:
                whole = self._for_cache(job.key, packs[job.key])
                if whole is not None:
                    whole_packs[job.key] = whole
                    yield from self._pieces(whole)
            if whole is not None:
                yield _After(whole, job)
            elif job.is_large and job.size > PIECE_BYTES:
                whole = self._large_for_cache(job)
                if whole is None:
                    partial = Partial(self._growing(job.sha256(0)), job.size, job.sha256(0))
                    whole = _Whole(job.key, job.start, partial, job)
                yield from self._pieces(whole)
            else:
                yield job

    def _in_cache(self, key: str) -> Path | None:
        return None if self._cache is None or key in self._distrusted else self._cache.path(key)

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

    def _large_for_cache(self, job: Job) -> _Whole | None:
        if not self._is_for_cache(job):
            return None
        return self._for_cache(job.key, job.size, job.sha256(0), job)

    def _for_cache(
        self, key: str, size: int, digest: bytes | None = None, job: Job | None = None
    ) -> _Whole | None:
        """Begin a file that is to be kept; None where the cache does not take it."""
        if self._cache is None or not self._cache.takes(size):
            return None
        held = ExitStack()
        with self._cache.optional():
            partial = held.enter_context(self._cache.receiving(key, size, digest))
            return _Whole(key, 0, partial, job, for_cache=True, held=held)
        return None

    def _pieces(self, whole: _Whole) -> Iterator[_Piece]:
        self._wholes[id(whole)] = whole
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
                data = self._backend.read(key, whole.start + item.start, item.size)
                self._refusals = 0
                return data
            data = self._backend.read(key, item.start, item.size)
            self._refusals = 0
        except KeyError:
            self.missing.add(key)
            return None
        except AccessError as error:
            if not error.is_refusal:
                self.down = error
                return _NOT_TRIED
            return self._refuse(key, error)
        self._place(item, data)
        return None

    def _refuse(self, key: str, error: AccessError) -> bytes | None:
        """Do without one file that the store does not permit, unless it permits none any more."""
        if key not in self.refused:
            logger.info("not permitted: %s", error)
            self._refusals += 1
        self.refused[key] = error
        self.missing.add(key)
        if self._refusals < _REFUSALS:
            return None
        self.down = error
        return _NOT_TRIED

    def _place(self, job: Job, data: bytes) -> None:
        """Put the bytes of a span, or of one object, into a file; those of an object only if they are right."""
        if job.is_large and (len(data) != job.size or sha256(data).digest() != job.sha256(0)):
            return
        if self._cache is not None and self._is_for_cache(job):
            with self._cache.optional():
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
            self._add(whole, data)
            if whole.job is not None:
                self._advance(len(data))
        if not piece.is_last:
            return None
        whole.is_done = True
        came = whole.partial.length
        whole.path = self._finished(whole)
        if whole.job is not None:
            whole.job.counted = 0 if whole.path is None else came
            self._advance(whole.job.counted - came)
            whole.job.path = None if whole.path is None else str(whole.path)
            whole.job.base, whole.job.is_ready = whole.start, not whole.for_cache
        whole.partial.close()
        whole.held.close()
        self._wholes.pop(id(whole), None)
        return whole.job

    def _add(self, whole: _Whole, data: bytes) -> None:
        if whole.for_cache:
            assert self._cache is not None
            with self._cache.optional():
                whole.partial.add(data)
                return
            self._leave_cache(whole)
        whole.partial.add(data)

    def _finished(self, whole: _Whole) -> Path | None:
        """Return where a file lies that came; None, and it is gone, where it is not right."""
        if whole.partial.finish():
            if whole.for_cache:
                assert self._cache is not None
                with self._cache.optional():
                    return self._cache.keep(whole.partial.path, whole.key)
                self._leave_cache(whole)
            if whole.partial.finish():
                return whole.partial.path
        whole.partial.discard()
        return None

    def _leave_cache(self, whole: _Whole) -> None:
        """Go on in the folder of the checkout with a file that the cache cannot take."""
        whole.partial = whole.partial.moved(self._growing(whole.partial.digest))
        whole.for_cache = False
        whole.held.close()

    def _hold(self, job: Job) -> None:
        if self._cache is not None and job.path == str(self._cache.folder / job.key):
            held = self._held[id(job)] = ExitStack()
            held.enter_context(self._cache.using(job.key))


def whole_packs(backend: Backend, cache: Cache, wanted: dict[str, int]) -> dict[str, int]:
    """Return the sizes of those packs of which more than half of the bytes are wanted, and that are not kept yet.

    `wanted` are the bytes wanted of each pack, by its key. Raises: `AccessError`.
    """

    def look(key: str) -> FileInfo | None:
        try:
            return backend.info(key)
        except AccessError as error:
            if error.is_refusal:
                return None  # what is read of it says so
            raise

    absent = [key for key in wanted if cache.path(key) is None]
    return {
        key: info.size
        for key, info in in_order(absent, look, backend.jobs)
        if info is not None and 2 * wanted[key] > info.size and cache.takes(info.size)
    }
