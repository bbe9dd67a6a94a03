"""Large files: hash while copying, in bounded memory; reflinks where the file system has them."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256

from dsa.remotes.local import translate

_PIECE = 1 << 20
_FICLONE = 0x40049409  # Linux: make one file share the blocks of another


@dataclass(frozen=True, slots=True)
class Digests:
    """What was read: raw digests, and the size in bytes."""

    sha1: bytes
    sha256: bytes
    size: int


def copy_hashed(
    source: int,
    target: str | None,
    *,
    start: int = 0,
    size: int | None = None,
    parallel: bool = False,
    durable: bool = True,
    mode: int = 0o600,
) -> Digests:
    """Read an open file, hash it, and write it to the new file `target` (None: only hash it).

    As `HashedCopy`, in one go.
    """
    copy = HashedCopy(
        source, target, start=start, size=size, parallel=parallel, durable=durable, mode=mode
    )
    while copy.step():
        pass
    return copy.finish()


class HashedCopy:
    """An open file that is read, hashed, and written to the new file `target` (None: only hashed).

    All of it is read, or `size` bytes (fewer at the file's end) from byte `start`.

    With `parallel` a second thread computes the SHA-256: hashing releases the interpreter's lock.
    A `durable` copy is synced, so that publishing it is only a rename. No half a copy stays after
    an error.
    """

    def __init__(
        self,
        source: int,
        target: str | None,
        *,
        start: int = 0,
        size: int | None = None,
        parallel: bool = False,
        durable: bool = True,
        mode: int = 0o600,
    ) -> None:
        self._source, self._target = source, target
        self._start, self._size = start, size
        self._durable = durable
        self._sha1, self._sha256 = sha1(usedforsecurity=False), sha256()
        self._buffers = [bytearray(_PIECE), bytearray(_PIECE)]
        self._pending: Future[None] | None = None
        self._done = 0
        with ExitStack() as stack:
            self._output = -1
            if target is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._output = os.open(target, flags, mode)
                stack.callback(os.close, self._output)
            self._pool = stack.enter_context(ThreadPoolExecutor(1)) if parallel else None
            self._open = stack.pop_all()

    def step(self, most: int = 1 << 62) -> int:
        """Go on by about `most` bytes; return how many it were, 0 at the end."""
        count = 0
        try:
            while count < most and (piece := self._piece()):
                count += piece
        except BaseException:
            self.drop()
            raise
        return count

    def finish(self) -> Digests:
        """Return what was read, once all of it was."""
        try:
            if self._pending:
                self._pending.result()
            if self._target is not None and self._durable:
                os.fsync(self._output)
        except BaseException:
            self.drop()
            raise
        self._open.close()
        return Digests(self._sha1.digest(), self._sha256.digest(), self._done)

    def drop(self) -> None:
        """Forget it, the copy too."""
        self._open.close()
        if self._target is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._target)

    def _piece(self) -> int:
        room = memoryview(self._buffers[0])
        if self._size is not None:
            room = room[: self._size - self._done]
        count = os.preadv(self._source, [room], self._start + self._done) if room else 0
        if not count:
            return 0
        piece = room[:count]
        if self._pool:
            if self._pending:
                self._pending.result()
            self._pending = self._pool.submit(self._sha256.update, piece)
        else:
            self._sha256.update(piece)
        self._sha1.update(piece)
        if self._target is not None:
            _write_all(self._output, piece)
        self._done += count
        self._buffers.reverse()  # the thread may still be reading the other one
        return count


class HashedReader(io.RawIOBase):
    """An open file, hashed as it is read; closing it closes the descriptor.

    `check` is called at each read, and may raise. Errors of reading come out as dsa's, so that
    nobody takes them for those of a network.
    """

    def __init__(self, descriptor: int, path: str, check: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._path = path
        self._check = check
        self._digest = sha256()

    def sha256(self) -> bytes:
        """Return the raw SHA-256 of what was read."""
        return self._digest.digest()

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read into a buffer; 0 at the end."""
        self._check()
        room = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer is newer than 3.11
        try:
            count = os.readv(self._descriptor, [room]) if len(room) else 0
        except OSError as error:
            raise translate(error, self._path) from error
        self._digest.update(room[:count])
        return count

    def close(self) -> None:
        """Close the descriptor too."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def clone(source: int, target: str, mode: int = 0o600) -> bool:
    """Make the new file `target` share the blocks of an open file; False where that cannot be."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        fcntl.ioctl(descriptor, _FICLONE, source)
        return True
    except OSError:
        os.unlink(target)
        return False
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
