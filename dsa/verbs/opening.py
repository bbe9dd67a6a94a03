"""Reading one file of a revision: verified, from wherever its bytes can be had."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from hashlib import sha1, sha256
from pathlib import Path
from typing import BinaryIO

from dsa.cas.objects import VERIFY_FIRST_BYTES, Objects, Span, Wanted, is_object
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.errors import AccessError, DamageError, MissingObjectError
from dsa.remotes import ranges
from dsa.remotes.cache import Cache
from dsa.remotes.ranges import Partial, RangeFile
from dsa.remotes.staging import telling_full_disk
from dsa.verbs.sources import Source, Sources

_READ_BYTES = 128 * 1024
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reading:
    """What a revision's files are read from: its store, then others that hold the same manifest."""

    store: ObjectStore
    published: Published
    sources: Sources | None = None
    cache: Cache | None = None

    def stores(self, wanted: Wanted) -> Iterator[tuple[ObjectStore, Wanted, Source | None]]:
        """Yield each store with what is wanted of it: where an object lies is said for the first alone."""
        yield self.store, wanted, None
        if self.sources is not None:
            for source in self.sources.further(self.published):
                if source.store is not self.store:
                    yield source.store, replace(wanted, pack=None, offset=None), source

    def stood_in(self, source: Source | None, error: Exception | None) -> None:
        """Say that a store other than the first gave what that could not."""
        if source is not None and self.sources is not None:
            self.sources.stood_in(source, "the file comes", str(error))


def open_object(reading: Reading, wanted: Wanted, *, verify: bool = True) -> BinaryIO:
    """Open an object for reading, seekable; see `dsa.Revision.open`."""
    failure: AccessError | DamageError | None = None
    for store, there, source in reading.stores(wanted):
        try:
            found = _open(store.objects, there, reading.cache, verify)
        except (AccessError, DamageError) as error:
            failure = failure or error
            continue
        reading.stood_in(source, failure)
        return found
    assert failure is not None  # the first store gave one
    raise failure


def copy_object(
    reading: Reading, wanted: Wanted, write: Callable[[bytes | memoryview], object]
) -> None:
    """Give an object's bytes to `write`; one of 64 MiB or more is verified on the way.

    Where a store goes away in the middle of a large one, the next goes on from there. Raises:
    `DamageError` at the end where a large object was wrong.
    """
    if wanted.size is not None and wanted.size < VERIFY_FIRST_BYTES:
        with open_object(reading, wanted) as file:
            write(file.read())
        return
    digest = sha1(usedforsecurity=False) if wanted.sha256 is None else sha256()
    done = 0
    failure: AccessError | DamageError | None = None
    for store, there, source in reading.stores(wanted):
        try:
            for data in _pieces(store.objects, there, reading.cache, done):
                if source is not None and failure is not None:
                    reading.stood_in(source, failure)
                    failure = None
                digest.update(data)
                done += len(data)
                write(data)
        except (AccessError, MissingObjectError) as error:
            failure = failure or error
            continue
        if digest.digest() != (wanted.sha256 or wanted.id.raw):
            raise store.objects.lost(wanted, found=True)
        return
    assert failure is not None
    raise failure


def _open(objects: Objects, wanted: Wanted, cache: Cache | None, verify: bool) -> BinaryIO:
    if objects.backend.local_path("") is not None:
        return objects.open(wanted)
    found = False
    for span in objects.spans(wanted):
        if verify or span.size < VERIFY_FIRST_BYTES:
            file = _from_cache(cache, span, wanted) or _fetched(objects, span, wanted, cache)
        else:
            file = _unverified(objects, span)
        if file is not None:
            return file
        found = True
    raise objects.lost(wanted, found)


def _from_cache(cache: Cache | None, span: Span, wanted: Wanted) -> BinaryIO | None:
    """Open a span of a file in the cache if all of it is right; a wrong file is dropped."""
    if cache is None or cache.path(span.key) is None:
        return None
    with suppress(AccessError, KeyError):  # it is not ours to read, or gone meanwhile
        with cache.using(span.key), suppress(DamageError):
            here = Objects(cache.files)
            return here.open_at(span, wanted)
        cache.drop(span.key)
    return None


def _fetched(objects: Objects, span: Span, wanted: Wanted, cache: Cache | None) -> BinaryIO | None:
    """Bring a span to this machine and open it; None if it is missing or wrong there."""
    backend = objects.backend
    is_file = span.key.startswith("objects/")
    with suppress(KeyError):
        if span.size < VERIFY_FIRST_BYTES:
            data = b"".join(ranges.stream(backend, span.key, span.start, span.size))
            if not is_object(data, wanted):
                return None
            if is_file and cache is not None and cache.takes(span.size):
                with cache.optional():
                    cache.write(span.key, data)
            return io.BytesIO(data)
        if is_file and cache is not None and cache.takes(span.size):
            with cache.optional():
                if cache.receive(backend, span.key, span.size, wanted.sha256) is None:
                    return None
            # What others write to as well is hashed once more, in the file that is given out.
            if (file := _from_cache(cache, span, wanted)) is not None:
                return file
        return _in_temporary_file(objects, span, wanted)
    return None


def _in_temporary_file(objects: Objects, span: Span, wanted: Wanted) -> BinaryIO | None:
    with (
        tempfile.TemporaryDirectory(prefix="dsa-", ignore_cleanup_errors=True) as folder,
        telling_full_disk(),
    ):
        digest = wanted.sha256 or wanted.id.raw
        partial = Partial(Path(folder, "object"), span.size, digest)
        with closing(partial):
            if not ranges.fetch(objects.backend, span.key, span.start, partial):
                return None
            return partial.path.open("rb")  # it stays open when its name goes


def _unverified(objects: Objects, span: Span) -> BinaryIO | None:
    info = objects.backend.info(span.key)
    if info is None or info.size < span.start + span.size:
        return None
    raw = RangeFile(objects.backend, span.key, span.start, span.size)
    return io.BufferedReader(raw, _READ_BYTES)


def _pieces(objects: Objects, wanted: Wanted, cache: Cache | None, start: int) -> Iterator[bytes]:
    """Yield a large object's bytes from byte `start`, unverified, read ahead.

    Where a file goes meanwhile the next place goes on. Raises: `MissingObjectError` where no place
    has the rest.
    """
    for span in objects.spans(wanted):
        kept = _from_cache(cache, span, wanted)
        if kept is not None:
            with kept:
                kept.seek(start)
                while piece := kept.read(_PIECE_BYTES):
                    yield piece
            return
        backend = objects.backend
        try:
            for piece in ranges.stream(backend, span.key, span.start + start, span.size - start):
                start += len(piece)
                yield piece
        except KeyError:
            continue
        return
    raise objects.lost(wanted, found=False)
