"""Where a push's new objects go: packs and loose objects, published, and what came of them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import ID_BYTES, ObjectId, sha1_of, sha256_of
from dsa.cas.locations import LocationRows, write_part
from dsa.errors import DamageError, DsaError, TakenError
from dsa.progress import SILENT, Progress
from dsa.remotes.transfer import within
from dsa.verbs.outlet import Outlet
from dsa.verbs.presence import Presence
from dsa.workers.packer import FinishedPack, LargeFile, Origin, pack_alone, with_another_name
from dsa.workers.stream import HashedReader

logger = logging.getLogger(__name__)

_PART_EVERY_PACKS = 16
_PART_EVERY_SECONDS = 15.0
_FAR_PART_EVERY_SECONDS = 60.0  # every reader fetches every part
_PATIENCE_SECONDS = 5.0
_MAX_HEALED_BYTES = 1 << 30
_PIECE = 1 << 20

#: Larger files go to a far store from where they lie, with no copy on this machine.
LARGEST_COPY_BYTES = 128 * 1024 * 1024

#: What one such file may take of a backend's memory, at a guess: only a few at once.
_STRAIGHT_WEIGHT = 128 * 1024 * 1024


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
    """Where new objects go: packs and loose objects, published; a context manager.

    What is confirmed gets locations after each batch, so that a push that was interrupted finds
    what it had sent. After an error, too: that error comes out, whatever becomes of the locations.
    Into a far store several things go at once: what a method counts may be counted later, but
    before `drain` returns.
    """

    def __init__(
        self, backend: Backend, presence: Presence, staging: Path, progress: Progress = SILENT
    ) -> None:
        self.backend = backend
        self.presence = presence
        self.staging = staging
        self._outlet = Outlet(backend, progress)
        self._pending = LocationRows()
        self._packs = 0
        self._since = time.monotonic()
        self._taken: set[bytes] = set()  # large objects whose name another file was found to have

    @property
    def is_near(self) -> bool:
        """Whether the store is a folder of this machine."""
        return self._outlet.is_near

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._save(error)
            return
        try:
            self.flush()
        except BaseException as failed:
            self._save(failed)
            raise
        self._outlet.close()

    def packs(self, finished: Iterable[FinishedPack], totals: Totals) -> None:
        """Publish finished packs."""
        for made in finished:
            self._outlet.put(
                partial(self._publish_pack, made),
                partial(self._note_pack, totals),
                size=sum(made.entries.sizes),
                weight=os.path.getsize(made.staged),
            )

    def loose(self, made: LargeFile, size: int, totals: Totals) -> None:
        """Publish a large object; in a pack where its name is taken by other bytes."""
        assert made.staged is not None
        self._outlet.put(
            partial(self._publish_loose, made, Path(made.staged), size),
            partial(self._note_loose, made, size, totals),
            size=size,
            weight=size,
        )

    def sends_straight(self, size: int) -> bool:
        """Whether a file of this size needs no copy in the staging folder, if it is not damaged."""
        return not self.is_near and size > LARGEST_COPY_BYTES

    def straight(
        self,
        origin: Origin,
        made: LargeFile,
        size: int,
        totals: Totals,
        again: Callable[[], object],
    ) -> None:
        """Publish a large file from where it lies; it is hashed once more while it is sent.

        `again` is called where it is no longer what was hashed, or has to go into a pack: then
        nothing was written.
        """

        def note(is_sent: bool) -> None:
            if is_sent:
                self._note_loose(made, size, totals, None)
            else:
                self.presence.unclaim(made.sha1)
                again()

        self._outlet.put(
            partial(self._send, origin, made, size), note, size=size, weight=_STRAIGHT_WEIGHT
        )

    def settle(self) -> None:
        """Count what is confirmed by now."""
        self._outlet.settle()

    def drain(self) -> None:
        """Return when all that was handed over is published."""
        self._outlet.drain()

    def flush(self) -> None:
        """Make all that was handed over durable, then say where it is."""
        self.drain()
        self._write_locations()

    def needs_pack(self, oid: bytes) -> bool:
        """Whether the name of a large object is known to be taken, so that it goes into a pack."""
        return oid in self._taken or self.presence.is_damaged(oid)

    def check_fits(self, oid: bytes, size: int) -> None:
        """Refuse a large object that has to go into a pack, and is too large for one."""
        if self.needs_pack(oid):
            _check_fits_pack(layout.object_key(ObjectId(oid)), self.backend, size)

    def _save(self, error: BaseException) -> None:
        """Write the locations of what is confirmed when an error has ended it all."""
        is_patient = self.is_near or isinstance(error, Exception)
        self._outlet.close(patiently=is_patient)
        try:
            if is_patient:
                self._write_locations()
            else:  # a ctrl-C, it may be because nobody answers
                within(_PATIENCE_SECONDS, self._write_locations)
        except (DsaError, TimeoutError) as second:
            logger.warning("some of what was sent has no locations, and is sent again: %s", second)

    # --- in whichever thread --------------------------------------------------------------------

    def _publish_pack(self, made: FinishedPack) -> FinishedPack:
        """Publish a pack; return it as it was published."""
        is_on_record = any(self.presence.is_on_record(oid, made.id) for oid in _ids(made))
        key = layout.pack_key(ObjectId(made.id))
        # What is damaged there is kept, and never trusted again.
        is_spoilt = is_on_record or self._is_taken(key, lambda file: sha1_of(file) == made.id)
        if not is_spoilt:
            try:
                self.backend.publish(Path(made.staged), key)
                return made
            except TakenError as error:
                logger.warning("%s: its content is sent under another name", error)
        pack = with_another_name(made)
        self.backend.publish(Path(pack.staged), layout.pack_key(ObjectId(pack.id)))
        return pack

    def _publish_loose(self, made: LargeFile, staged: Path, size: int) -> FinishedPack | None:
        """Publish a large object; return the pack that it had to go into."""
        key = layout.object_key(ObjectId(made.sha1))
        is_taken = self.needs_pack(made.sha1) or self._is_taken(
            key, lambda file: sha256_of(file) == made.sha256
        )
        if not is_taken:
            try:
                self.backend.publish(staged, key)
                return None
            except TakenError as error:
                logger.warning("%s: its content is sent in a pack", error)
        _check_fits_pack(key, self.backend, size)
        return self._publish_pack(
            pack_alone(str(self.staging), str(staged), made.sha1, made.sha256)
        )

    def _send(self, origin: Origin, made: LargeFile, size: int) -> bool:
        """Send a file from where it lies; False where it is not what was hashed, or its name is taken."""
        descriptor = origin.open()
        if descriptor is None:
            return False
        # One digest is enough: equal SHA-256 means equal bytes, and so the SHA-1 of the key.
        reader = HashedReader(descriptor, origin.path, self._check_wanted)
        key = layout.object_key(ObjectId(made.sha1))
        with BufferedReader(reader, _PIECE) as source:
            try:
                return self.backend.send(source, key, size, lambda: reader.sha256() == made.sha256)
            except TakenError as error:
                logger.warning("%s: its content is sent in a pack", error)
                self._taken.add(made.sha1)
                return False

    def _is_taken(self, key: str, is_it: Callable[[BinaryIO], bool]) -> bool:
        """Whether other bytes have this name, which no location knows: an interrupted push's.

        Where reading is dear only the size is looked at, by the backend: what spoils a file of the
        right size is verify's to find, here as everywhere.
        """
        if not self.is_near:
            return False
        try:
            with self.backend.open(key) as file:
                return not is_it(file)
        except KeyError:
            return False

    def _check_wanted(self) -> None:
        """Raise where nobody waits any more for a file that is being sent."""
        if self._outlet.is_over:
            raise DsaError("the push has ended")

    # --- in the caller's thread -----------------------------------------------------------------

    def _note_pack(self, totals: Totals, pack: FinishedPack) -> None:
        for rows in (self._pending, totals.rows):
            rows.add_pack(pack.id, pack.entries, pack.sha256s)
        totals.objects_new += len(pack.entries)
        totals.bytes_new += sum(pack.entries.sizes)
        totals.healed += sum(map(self.presence.is_damaged, _ids(pack)))
        self._packs += 1
        self._write_if_due()

    def _note_loose(
        self, made: LargeFile, size: int, totals: Totals, pack: FinishedPack | None
    ) -> None:
        if pack is not None:
            self._note_pack(totals, pack)
            return
        for rows in (self._pending, totals.rows):
            rows.add(made.sha1, size, made.sha256, None, None)
        totals.objects_new += 1
        totals.bytes_new += size
        totals.healed += self.presence.is_damaged(made.sha1)
        self._write_if_due()

    def _write_if_due(self) -> None:
        every = _PART_EVERY_SECONDS if self.is_near else _FAR_PART_EVERY_SECONDS
        if self._packs >= _PART_EVERY_PACKS or time.monotonic() - self._since >= every:
            self._write_locations()

    def _write_locations(self) -> None:
        """Make what is confirmed durable, and say where it is."""
        if len(self._pending):
            self.backend.flush()
            write_part(self.backend, self._pending.table(), self.staging, self.presence.kept)
            self.backend.flush()
        self._pending = LocationRows()
        self._packs = 0
        self._since = time.monotonic()


def _ids(pack: FinishedPack) -> Iterator[bytes]:
    ids = pack.entries.ids
    return (ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))


def _check_fits_pack(key: str, backend: Backend, size: int) -> None:
    if size >= _MAX_HEALED_BYTES:
        raise DamageError(
            f"{key} in {backend.url} is damaged, and too large to be sent in a pack",
            hint=f"move {key} out of the store, and push again",
        )


def distinct(files: pa.Table) -> tuple[int, int]:
    """Return how many different objects these rows are, and their bytes."""
    ids = listing.one_chunk(files["sha1"])
    first = pc.index_in(pc.unique(ids), value_set=ids)
    return len(first), pc.sum(files["size"].take(first), min_count=0).as_py()
