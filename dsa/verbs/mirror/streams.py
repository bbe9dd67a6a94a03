"""Streams between two stores: pieces as one file, and a file that is hashed as it is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from hashlib import sha1, sha256
from typing import BinaryIO

from dsa.verbs.mirror.items import Item

#: What is read once, in order.
Readable = BinaryIO | io.RawIOBase


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
