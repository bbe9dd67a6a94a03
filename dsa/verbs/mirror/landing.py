"""Where a mirror's objects go: the sink of a push, and what only a mirror does with it."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha1, sha256
from typing import BinaryIO, Protocol, runtime_checkable

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.verbs.mirror.items import Group, Item
from dsa.verbs.sink import Sink, Totals
from dsa.workers.packer import LargeFile

#: What a large object that is sent straight on may take of a backend's memory, at a guess.
_STREAM_WEIGHT = 128 * 1024 * 1024

_PIECE = 1 << 20

#: What is read once, in order.
Readable = BinaryIO | io.RawIOBase


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
        wrong: Callable[[], object],
    ) -> None:
        """Let the server copy a whole pack; nobody here reads it."""

        def note(is_copied: bool) -> None:
            if is_copied:
                self._note_pack(totals, group.finished("", group.directory()))
            else:
                wrong()

        if any(self.presence.is_on_record(item.oid, group.pack.raw) for item in group.items):
            wrong()  # that name is the one of damaged bytes
            return
        call = partial(self._copy, place, source, group.key, group.size or 0)
        self._outlet.put(call, note, size=group.size or 0, weight=0)

    def copy_loose(
        self,
        place: ServerSide,
        source: Backend,
        item: Item,
        totals: Totals,
        wrong: Callable[[], object],
    ) -> None:
        """Let the server copy a loose object; nobody here reads it."""
        made = LargeFile(item.oid, item.sha256, None)

        def note(is_copied: bool) -> None:
            if is_copied:
                self._note_loose(made, item.size, totals, None)
            else:
                wrong()

        if self.presence.is_damaged(item.oid):
            wrong()
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
                return self.backend.send(buffered, key, item.size, lambda: reader.has(item))
        return False

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


class Pieces(io.RawIOBase):
    """A stream of the pieces that an iterator yields; closing it ends the iterator."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into a buffer; 0 at the end."""
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is newer than 3.11
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(room), len(self._left))
        room[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        """End the iterator too."""
        if isinstance(self._pieces, Generator):
            self._pieces.close()
        super().close()


class Hashing(io.RawIOBase):
    """A stream that is hashed as it is read; `check` is called at each read, and may raise."""

    def __init__(self, source: Readable, check: Callable[[], object] = lambda: None) -> None:
        self._source = source
        self._check = check
        self._sha1 = sha1(usedforsecurity=False)
        self._sha256 = sha256()
        self._size = 0

    def has(self, item: Item) -> bool:
        """Whether what was read is this object, by both digests."""
        return (self._size, self._sha1.digest(), self._sha256.digest()) == (
            item.size,
            item.oid,
            item.sha256,
        )

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into a buffer; 0 at the end."""
        self._check()
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is newer than 3.11
        data = self._source.read(len(room)) or b""
        count = len(data)
        room[:count] = data
        self._sha1.update(data)
        self._sha256.update(data)
        self._size += count
        return count
