"""One change of a file at a time: what was read is still what is there when it is replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: then only the threads of one process wait for each other
    fcntl = None  # type: ignore[assignment]

_threads = threading.RLock()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a file for one change; others, in this process or another, wait until it is done.

    Beside it lies an empty file as long. Where none can be made or locked, nobody waits: whether
    the file itself can be changed is said by who changes it.
    """
    if fcntl is None:
        with _threads:
            yield
        return
    lock = file.with_name(f".{file.name}.lock")
    made = [folder for folder in file.parents if not folder.exists()]
    descriptor = _taken(lock)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                lock.unlink()  # while it is held: nobody else can hold this one afterwards
            os.close(descriptor)
        for folder in made:  # those that nothing was put into
            with suppress(OSError):
                folder.rmdir()


def _taken(lock: Path) -> int | None:
    """Return the lock's descriptor; of one that was removed meanwhile, the next is taken."""
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        except (
            FileNotFoundError
        ):  # its folder was removed again by one who had nothing to put there
            continue
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:  # a file system without locks
            os.close(descriptor)
            with suppress(OSError):
                lock.unlink()
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
