"""Large files: hash while copying, in bounded memory; reflinks where the file system has them."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256

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

    All of it is read, or `size` bytes (fewer at the file's end) from byte `start`.

    With `parallel` a second thread computes the SHA-256: hashing releases the interpreter's lock.
    A `durable` copy is synced, so that publishing it is only a rename. No half a copy stays after
    an error.
    """
    first, second = sha1(usedforsecurity=False), sha256()
    buffers = [bytearray(_PIECE), bytearray(_PIECE)]
    done = 0
    with ExitStack() as stack:
        output = -1
        if target is not None:
            output = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            stack.callback(os.close, output)
        pool = stack.enter_context(ThreadPoolExecutor(1)) if parallel else None
        try:
            pending = None
            while True:
                room = memoryview(buffers[0])
                if size is not None:
                    room = room[: size - done]
                count = os.preadv(source, [room], start + done) if room else 0
                if not count:
                    break
                piece = room[:count]
                if pool:
                    if pending:
                        pending.result()
                    pending = pool.submit(second.update, piece)
                else:
                    second.update(piece)
                first.update(piece)
                if target is not None:
                    _write_all(output, piece)
                done += count
                buffers.reverse()  # the thread may still be reading the other one
            if pending:
                pending.result()
            if target is not None and durable:
                os.fsync(output)
        except BaseException:
            if target is not None:
                with suppress(FileNotFoundError):
                    os.unlink(target)
            raise
    return Digests(first.digest(), second.digest(), done)


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
