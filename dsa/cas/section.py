"""A file that is made of something else's bytes: seekable, of a known size."""

from __future__ import annotations

import io
from abc import abstractmethod


class Section(io.RawIOBase):
    """`size` bytes that `bytes_at` gives; to be read from any place."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._at = 0

    @abstractmethod
    def bytes_at(self, at: int, want: int) -> bytes:
        """Return at least one and at most `want` bytes from a place on; empty only where there are none."""

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read into a buffer; 0 at the end."""
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is newer than 3.11
        want = max(0, min(len(room), self.size - self._at))
        data = self.bytes_at(self._at, want) if want else b""
        room[: len(data)] = data
        self._at += len(data)
        return len(data)
