"""Where a mirror's objects go: the sink of a push, and what only a mirror does with it."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol, runtime_checkable

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.cas.packs import read_directory
from dsa.errors import TakenError
from dsa.verbs.mirror.items import Group, Item
from dsa.verbs.mirror.streams import Hashing, Readable
from dsa.verbs.sink import Sink, Totals
from dsa.workers.packer import LargeFile

logger = logging.getLogger(__name__)

#: What a large object that is sent straight on may take of a backend's memory, at a guess.
_STREAM_WEIGHT = 128 * 1024 * 1024

_PIECE = 1 << 20


@runtime_checkable
class ServerSide(Protocol):
    """A place whose server copies files by itself, from another place that it serves too."""

    def same_endpoint(self, other: Backend) -> bool:
        """Whether the same server serves the other place."""

    def copy_from(self, other: Backend, key: str) -> None:
        """Copy a file named by its content from there; `KeyError` if it is not there."""


class Landing(Sink):
    """Publishes what a mirror brings, and writes locations after each batch; a context manager."""

    def stream(
        self,
        open_source: Callable[[], Readable],
        item: Item,
        totals: Totals,
        wrong: Callable[[], object],
    ) -> None:
        """Send a large object on as it comes, hashed on the way; `wrong` is called where it was not sent."""
        made = LargeFile(item.oid, item.sha256, None)

        def note(is_sent: bool) -> None:
            if is_sent:
                self._note_loose(made, item.size, totals, None)
            else:
                wrong()

        call = partial(self._stream, open_source, item)
        self._outlet.put(call, note, size=item.size, weight=_STREAM_WEIGHT)

    def copy_pack(
        self,
        place: ServerSide,
        source: Backend,
        group: Group,
        totals: Totals,
        then: Callable[[bool], object],
    ) -> None:
        """Let the server copy a whole pack, nobody here reads it; `then` is told whether it did."""

        def note(is_copied: bool) -> None:
            if is_copied:
                self._note_pack(totals, group.finished("", group.directory()))
            then(is_copied)

        if any(self.presence.is_on_record(item.oid, group.pack.raw) for item in group.items):
            then(False)  # that name is the one of damaged bytes
            return
        call = partial(self._copy_pack, place, source, group)
        self._outlet.put(call, note, size=group.size or 0, weight=0)

    def copy_loose(
        self,
        place: ServerSide,
        source: Backend,
        item: Item,
        totals: Totals,
        then: Callable[[bool], object],
    ) -> None:
        """Let the server copy a loose object, nobody here reads it; `then` is told whether it did."""
        made = LargeFile(item.oid, item.sha256, None)

        def note(is_copied: bool) -> None:
            if is_copied:
                self._note_loose(made, item.size, totals, None)
            then(is_copied)

        if self.presence.is_damaged(item.oid):
            then(False)
            return
        key = layout.object_key(ObjectId(item.oid))
        call = partial(self._copy, place, source, key, item.size)
        self._outlet.put(call, note, size=item.size, weight=0)

    # --- in whichever thread --------------------------------------------------------------------

    def _stream(self, open_source: Callable[[], Readable], item: Item) -> bool:
        if self.presence.is_damaged(item.oid):
            return False  # its name is taken by other bytes: it goes into a pack
        key = layout.object_key(ObjectId(item.oid))
        with suppress(KeyError), open_source() as source:
            reader = Hashing(source, self._check_wanted)
            with io.BufferedReader(reader, _PIECE) as buffered:
                try:
                    return self.backend.send(buffered, key, item.size, lambda: reader.has(item))
                except TakenError as error:
                    logger.warning("%s: its content is sent in a pack", error)
        return False

    def _copy_pack(self, place: ServerSide, source: Backend, group: Group) -> bool:
        there = self.backend.info(group.key) is not None
        # What is said of the pack may be wrong, and its other bytes be anyone's.
        if not _holds_just(self.backend if there else source, group):
            return False
        return self._copy(place, source, group.key, group.size or 0)

    def _copy(self, place: ServerSide, source: Backend, key: str, size: int) -> bool:
        there = self.backend.info(key)
        if there is None:
            with suppress(KeyError):
                found = source.info(key)
                if found is not None and found.size == size:
                    place.copy_from(source, key)
                    return True
            return False
        return there.size == size


def _holds_just(backend: Backend, group: Group) -> bool:
    """Whether a pack's directory, which is read at once, names what is wanted of it and nothing else."""
    wanted, size = group.directory(), group.size or 0
    with suppress(KeyError, ValueError):
        tail = backend.read(group.key, wanted.end, size - wanted.end)

        def read(start: int, length: int) -> bytes:
            at = start - wanted.end
            return tail[at : at + length] if at >= 0 else b""

        return read_directory(read, size).ids == wanted.ids
    return False
