"""Streams to and from a server: read by ranges, sent in pieces."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from dsa.cas.section import Section

#: What a sequential reader asks for at once, and what a writer sends at once.
PIECE_BYTES = 4 * 1024 * 1024

# A server may lead on to a URL that is signed: whoever has it may read the file.
_QUERY = re.compile(r"""(://[^\s'"<>?]*\?|\?(?=[^\s'"<>]*=))[^\s'"<>]*""")
_LOGIN = re.compile(r"""://[^\s'"<>/@]*@""")


class Readable(Protocol):
    """What gives the next bytes of a stream."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; empty at the end."""


class Source:
    """A stream that remembers its own error, whatever others made of it on the way."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.error: Exception | None = None

    def read(self, size: int, /) -> bytes:
        """Read on."""
        try:
            return self._source.read(size)
        except Exception as error:
            self.error = error
            raise


def pieces(source: Readable, size: int) -> Iterator[bytes]:
    """Yield a stream in pieces, but no more than a byte beyond `size`: enough to see it is too long."""
    left = size + 1
    while left and (piece := source.read(min(PIECE_BYTES, left))):
        yield piece
        left -= len(piece)


class Ranges(Section):
    """A file that is read by ranges, `read(start, length)`; seekable, `size` bytes long."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(size)
        self._read = read

    def bytes_at(self, at: int, want: int) -> bytes:
        """Ask for just this."""
        return self._read(at, want)

    def readall(self) -> bytes:
        """Read all the rest with one request, where the library would make one for every 8 KiB."""
        data = self._read(self._at, self.size - self._at) if self._at < self.size else b""
        self._at += len(data)
        return data


def system_reason(error: OSError) -> str:
    """Return why a connection failed, in the system's words, without what asyncio says of the address."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error.strerror or error)


def one_line(error: object) -> str:
    """Return what an error says, on one line; URLs in it without their queries and logins."""
    text = " ".join((str(error) or type(error).__name__).split())
    return _LOGIN.sub("://", _QUERY.sub(r"\1…", text))
