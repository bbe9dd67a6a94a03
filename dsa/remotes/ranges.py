"""Large files in parallel ranges: as a stream in order, as a file that grows, as a file to seek in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dsa.cas.backend import Backend
from dsa.cas.ids import SHA256_BYTES
from dsa.cas.section import Section
from dsa.remotes.transfer import in_order

if TYPE_CHECKING:
    from hashlib import _Hash

#: The most that is asked for at once.
PIECE_BYTES = 8 * 1024 * 1024
_WINDOW_BYTES = 128 * 1024 * 1024  # all that is asked for at one time
_LEAST_BYTES = 1024 * 1024

_FIRST_BYTES = 256 * 1024
_HASHED_BYTES = 1024 * 1024


def cut(start: int, size: int, jobs: int) -> Iterator[tuple[int, int]]:
    """Yield (start, length) of the ranges to ask for, so that `jobs` of them at once are bounded memory."""
    piece = min(PIECE_BYTES, max(_LEAST_BYTES, _WINDOW_BYTES // max(1, jobs)))
    for at in range(start, start + size, piece):
        yield at, min(piece, start + size - at)


def stream(backend: Backend, key: str, start: int, size: int) -> Iterator[bytes]:
    """Yield a range of a file in order, several pieces read ahead; fewer bytes where the file ends.

    Raises: `KeyError` if there is no such file.
    """

    def read(piece: tuple[int, int]) -> bytes:
        return backend.read(key, *piece)

    for (_, wanted), data in in_order(cut(start, size, backend.jobs), read, backend.jobs):
        yield data
        if len(data) != wanted:
            return


class Partial:
    """A file that grows from its beginning and is hashed on the way.

    What an earlier run left under its name is hashed and gone on with: its length is always that
    of a valid beginning. Only `finish` says whether all of it is right. It stays one open file
    until `close`: a lock that was taken on it is one on all that is written.
    """

    def __init__(self, path: Path, size: int, digest: bytes, file: int | None = None) -> None:
        """Name the file; `digest` is the raw SHA-1 or SHA-256 that the whole must have.

        `file` is its descriptor where it is open already, to read and to write; it becomes this
        object's own.
        """
        self.path = path
        self.size = size
        self.digest = digest
        self.length = 0
        self._file = -1 if file is None else file
        self._hash: _Hash | None = None  # None: not begun

    def begin(self) -> int:
        """Open the file, made if need be; return how many bytes of it are there already."""
        if self._hash is not None:
            return self.length
        if self._file < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.open(self.path, flags, 0o666)
        if os.fstat(self._file).st_size > self.size:
            os.ftruncate(self._file, 0)
        self._hash = self._new_hash()
        while piece := os.pread(self._file, _HASHED_BYTES, self.length):
            self._hash.update(piece)
            self.length += len(piece)
        return self.length

    def add(self, data: bytes) -> None:
        """Append what comes next."""
        assert self._hash is not None
        view = memoryview(data)
        at = self.length
        while view:
            count = os.pwrite(self._file, view, at)
            view, at = view[count:], at + count
        self._hash.update(data)
        self.length = at

    def finish(self) -> bool:
        """Whether all of it came and is right; if not, it is emptied, and may be begun anew."""
        assert self._hash is not None
        if self.length == self.size and self._hash.digest() == self.digest:
            return True
        os.ftruncate(self._file, 0)
        self._hash, self.length = self._new_hash(), 0
        return False

    def moved(self, path: Path) -> Partial:
        """Go on elsewhere with what is here, which is read and hashed once more; this file is gone."""
        path.unlink(missing_ok=True)
        other = Partial(path, self.size, self.digest)
        other.begin()
        while left := self.length - other.length:
            piece = os.pread(self._file, min(left, _HASHED_BYTES), other.length)
            if not piece:
                break
            other.add(piece)
        self.discard()
        return other

    def discard(self) -> None:
        """Remove the file, then close it: who holds its lock removes no other's."""
        with suppress(OSError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file and leave what is there for the next run."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _new_hash(self) -> _Hash:
        return sha256() if len(self.digest) == SHA256_BYTES else sha1(usedforsecurity=False)


def fetch(
    backend: Backend,
    key: str,
    start: int,
    partial: Partial,
    advance: Callable[[int], object] = lambda _: None,
) -> bool:
    """Bring a range of a file into `partial` and say whether it is right; a wrong one is fetched once anew.

    It stays open, but for a wrong one, which is gone. Raises: `KeyError` if there is no such file;
    what came until an error stays.
    """
    for _ in range(2):
        have = partial.begin()
        advance(have)
        if have < partial.size:
            for data in stream(backend, key, start + have, partial.size - have):
                partial.add(data)
                advance(len(data))
        came = partial.length
        if partial.finish():
            return True
        advance(-came)
    partial.discard()
    return False


class RangeFile(Section):
    """A range of a store's file, read as it is asked for; nothing is verified.

    Who reads on gets more at once each time, up to 8 MiB; who jumps begins small again.
    """

    def __init__(self, backend: Backend, key: str, start: int, size: int) -> None:
        super().__init__(size)
        self._backend = backend
        self._key = key
        self._start = start
        self._data = b""
        self._data_at = 0
        self._ahead = _FIRST_BYTES

    def bytes_at(self, at: int, want: int) -> bytes:
        """Return what was read ahead, else read."""
        if not self._data_at <= at < self._data_at + len(self._data):
            self._fetch(want)
        begin = at - self._data_at
        return self._data[begin : begin + want]

    def _fetch(self, want: int) -> None:
        goes_on = bool(self._data) and self._at == self._data_at + len(self._data)
        self._ahead = min(2 * self._ahead, PIECE_BYTES) if goes_on else _FIRST_BYTES
        length = min(max(want, self._ahead), self.size - self._at)
        try:
            self._data = self._backend.read(self._key, self._start + self._at, length)
        except KeyError:
            raise OSError(f"{self._key} is gone from {self._backend.url}") from None
        self._data_at = self._at
