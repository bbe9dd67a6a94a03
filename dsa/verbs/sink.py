"""Where a push's new objects go: packs and loose objects, published, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import ID_BYTES, ObjectId, sha1_of, sha256_of
from dsa.cas.locations import LocationRows, write_part
from dsa.verbs.presence import Presence
from dsa.workers.packer import FinishedPack, LargeFile, with_another_name

_PART_EVERY_PACKS = 16
_PART_EVERY_SECONDS = 15.0


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
        try:
            with self.backend.open(layout.pack_key(ObjectId(pack.id))) as file:
                found = sha1_of(file)
        except KeyError:
            return False
        return found != pack.id

    def _is_whole(self, key: str, made: LargeFile) -> bool:
        """Whether a loose object that no location knows is what it should be: an interrupted push's."""
        with self.backend.open(key) as file:
            return sha256_of(file) == made.sha256


def _ids(pack: FinishedPack) -> Iterator[bytes]:
    ids = pack.entries.ids
    return (ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


def distinct(files: pa.Table) -> tuple[int, int]:
    """Return how many different objects these rows are, and their bytes."""
    ids = listing.one_chunk(files["sha1"])
    first = pc.index_in(pc.unique(ids), value_set=ids)
    return len(first), pc.sum(files["size"].take(first), min_count=0).as_py()
