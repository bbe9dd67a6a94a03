"""What a person does with the cache: look at it, pin revisions in it, drop what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.cas.names import count
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.config import places
from dsa.config.settings import Settings
from dsa.config.verdicts import rfc3339
from dsa.errors import DamageError, MissingObjectError, NotFoundError
from dsa.progress import SILENT, Progress
from dsa.remotes.cache import Cache, Pin
from dsa.remotes.local import translate
from dsa.remotes.ranges import PIECE_BYTES
from dsa.remotes.transfer import in_order
from dsa.reports import CacheChange, CachedFile, CacheReport
from dsa.verbs.sources import Sources

_HINT = "`dsa cache` lists what there is"


def cache_of(settings: Settings) -> Cache:
    """Return the cache in force; its folder may not be there yet."""
    folder = settings.cache_folder or places.cache() / "store"
    return Cache(folder, settings.cache_limit)


def look(cache: Cache) -> CacheReport:
    """Say what is in the cache, the most recently used first."""
    kept = cache.kept()
    return CacheReport(
        folder=str(cache.folder),
        limit=cache.limit,
        bytes=sum(one.size for one in kept),
        files=tuple(
            CachedFile(
                key=one.key,
                size=one.size,
                used=rfc3339(datetime.fromtimestamp(one.used, UTC)),
                pinned=one.pinned,
            )
            for one in kept
        ),
        pins=tuple(f"{pin} from {pin.store}" for pin in cache.pins()),
    )


def pin(cache: Cache, sources: Sources, *, progress: Progress = SILENT) -> CacheChange:
    """Fetch what the cache lacks of a revision, whole packs too, and keep all of it from eviction."""
    source, published = sources.resolve()
    wanted = _Wanted(source.store, published)
    keys = wanted.keys()
    # Before anything is fetched: what comes later must not push out what came first.
    made = Pin(
        published.dataset,
        published.revision,
        str(published.id),
        sources.url,
        frozenset(keys),
    )
    cache.pin(made)
    absent = {key: size for key, size in keys.items() if cache.path(key) is None}
    total = sum(absent.values())
    progress.start("fetching", files=len(absent), size_bytes=total)
    small = [key for key, size in absent.items() if size <= PIECE_BYTES]
    backend = source.backend

    def fetch(key: str) -> bytes | None:
        try:
            return backend.read(key)
        except KeyError:
            return None

    lost = []
    try:
        for key, data in in_order(small, fetch, backend.jobs):
            if data is None or layout.id_of_key(key) != ObjectId.of(data):
                lost.append(key)
            else:
                cache.write(key, data)
                progress.advance(files=1, size_bytes=len(data))
        for key in absent.keys() - set(small):
            try:
                advance = lambda size: progress.advance(size_bytes=size)  # noqa: E731
                if cache.receive(backend, key, absent[key], advance=advance) is None:
                    lost.append(key)
                progress.advance(files=1)
            except KeyError:
                lost.append(key)
    except OSError as error:
        raise translate(error, str(cache.folder)) from error
    if lost:
        cache.unpin(made.manifest)
        raise DamageError(
            f"{source.store.url} lacks, or has damaged, {count(len(lost), 'file')} that {published} needs",
            hint="it is not pinned; `dsa checkout` finds what is whole elsewhere",
            problems=sorted(lost),
        )
    return CacheChange(
        folder=str(cache.folder),
        pinned=(str(published),),
        files_fetched=len(absent),
        bytes_fetched=total,
        warnings=tuple(sources.warnings),
    )


def unpin(cache: Cache, dataset: str, revision: str | None) -> CacheChange:
    """Let a revision's files be evicted again, of whatever store it was pinned from."""
    pins = _pins(cache, dataset, revision)
    if not pins:
        name = dataset if revision is None else f"{dataset}@{revision}"
        raise NotFoundError(f"{name} is not pinned", hint=_HINT)
    for one in pins:
        cache.unpin(one.manifest)
    with cache.optional():
        cache.make_room(0)
    return CacheChange(folder=str(cache.folder), unpinned=tuple(map(str, pins)))


def drop(cache: Cache, sources: Sources | None) -> CacheChange:
    """Remove a revision's files from the cache, or, of None, all files; what is pinned stays."""
    kept = cache.kept()
    if sources is not None:
        source, published = sources.resolve()
        keys = _Wanted(source.store, published).possible()
        kept = [one for one in kept if one.key in keys]
    gone = [one for one in kept if not one.pinned]
    for one in gone:
        cache.drop(one.key)
    return CacheChange(
        folder=str(cache.folder),
        files_dropped=len(gone),
        bytes_dropped=sum(one.size for one in gone),
        files_pinned=len(kept) - len(gone),
        warnings=() if sources is None else tuple(sources.warnings),
    )


def _pins(cache: Cache, dataset: str, revision: str | None) -> list[Pin]:
    """Return the pins of a dataset, or of one of its revisions by name or by its manifest's first digits."""
    found = [one for one in cache.pins() if one.dataset == dataset]
    if revision is None:
        return found
    exact = [one for one in found if one.revision == revision]
    return exact or [one for one in found if one.manifest.startswith(revision)]


class _Wanted:
    """The files of a store that a revision's objects lie in."""

    def __init__(self, store: ObjectStore, published: Published) -> None:
        self._store = store
        self._published = published
        table = store.indexes.listing(published).table
        self._table = table.filter(pc.not_equal(table["mode"], FOLDER))

    def keys(self) -> dict[str, int]:
        """Return the files to fetch and their sizes, first those that the index names.

        What is not there is looked for in the locations. Raises: `MissingObjectError`.
        """
        columns = (self._table[name].to_pylist() for name in ("sha1", "pack"))
        by_key: dict[str, set[bytes]] = {}
        for oid, pack in zip(*columns, strict=True):
            by_key.setdefault(_key(oid, pack), set()).add(oid)
        found, lost = self._sizes(by_key)
        if lost:
            ids = pa.array(sorted({oid for key in lost for oid in by_key[key]}), pa.binary(20))
            elsewhere: dict[str, set[bytes]] = {}
            rows = self._store.objects.locations.find(ids)
            for oid, pack in zip(rows["id"].to_pylist(), rows["pack"].to_pylist(), strict=True):
                if _key(oid, pack) not in lost:
                    elsewhere.setdefault(_key(oid, pack), set()).add(oid)
            more, _ = self._sizes(elsewhere)
            there = {oid for key in more for oid in elsewhere[key]}
            gone = set(ids.to_pylist()) - there
            if gone:
                raise MissingObjectError(
                    f"{self._store.url} lacks {count(len(gone), 'object')} of {self._published}",
                    problems=sorted(oid.hex() for oid in gone),
                )
            found |= more
        return found

    def possible(self) -> set[str]:
        """Return every file that an object may lie in, by the index and by its own name."""
        columns = (self._table[name].to_pylist() for name in ("sha1", "pack"))
        return {_key(oid, pack) for oid, pack in zip(*columns, strict=True)}

    def _sizes(self, keys: Iterable[str]) -> tuple[dict[str, int], set[str]]:
        """Return the sizes of those that are there, and those that are not."""
        backend = self._store.backend
        asked = dict(in_order(list(keys), backend.info, backend.jobs))
        found = {key: info.size for key, info in asked.items() if info is not None}
        return found, asked.keys() - found.keys()


def _key(oid: bytes, pack: bytes | None) -> str:
    if pack is None:
        return layout.object_key(ObjectId(oid))
    return layout.pack_key(ObjectId(pack))
