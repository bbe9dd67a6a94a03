"""Unfinished files of a folder that several processes write to: locked while somebody is at work, else cleaned.

A name says on which host, and in which start of it, it was made: elsewhere its lock may not be seen.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from dsa.errors import DsaError, NoRoomError, TakenError

try:
    import fcntl
except ImportError:  # a system without these locks
    fcntl = None  # type: ignore[assignment]

_TRIES = 100
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def own_folder(above: Path) -> Iterator[Path]:
    """Make a folder, locked until it is removed at the end; what killed processes left in `above` goes."""
    from shutil import rmtree

    clean(above)
    path, descriptor = _make(above, _make_folder)
    try:
        yield path
    finally:
        rmtree(path, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def own_temporary_folder() -> Iterator[Path]:
    """Make a folder, as `own_folder` does, among the temporary files of this machine.

    That its disk is full is told with how to move it.
    """
    with _own_temporary_folder() as folder, telling_full_disk():
        yield folder


@contextmanager
def _own_temporary_folder() -> Iterator[Path]:
    import tempfile

    above = Path(tempfile.gettempdir(), f"dsa-{os.getuid() if hasattr(os, 'getuid') else ''}")
    with suppress(FileExistsError):
        above.mkdir(mode=0o700)
    found = above.lstat()
    is_ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    if not stat.S_ISDIR(found.st_mode) or not is_ours or found.st_mode & 0o022:
        # Somebody else was there first, and could put their files in the place of ours.
        with tempfile.TemporaryDirectory(prefix="dsa-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    with own_folder(above) as path:
        yield path


@contextmanager
def telling_full_disk() -> Iterator[None]:
    """Say of a full disk that it is that of temporary files: nothing else may be written here meanwhile."""
    import tempfile

    folder = Path(tempfile.gettempdir())
    try:
        yield
    except (OSError, NoRoomError) as error:
        if isinstance(error, OSError) and error.errno not in _FULL:
            raise
        raise NoRoomError(
            f"no space left among the temporary files in {folder}",
            hint="free some space there, or let the variable TMPDIR name another folder",
        ) from error


@contextmanager
def consumed(staged: Path) -> Iterator[None]:
    """Remove a staged file at the end, whatever happens; where its name is taken it is still needed."""
    is_needed = False
    try:
        yield
    except TakenError:
        is_needed = True
        raise
    finally:
        if not is_needed:
            staged.unlink(missing_ok=True)


@contextmanager
def own_file(above: Path) -> Iterator[tuple[Path, int]]:
    """Make a file, open for writing and locked; at the end it is closed, and gone if it still has this name."""
    path, descriptor = _make(above, _make_file)
    try:
        yield path, descriptor
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


def clean(above: Path) -> None:
    """Remove the files and folders of processes of this host that were killed since it was started."""
    from shutil import rmtree

    prefix = _prefix()
    for name in os.listdir(above):
        path = above / name
        if not name.startswith(prefix) or (descriptor := _take(path)) is None:
            continue
        try:
            if path.is_dir():
                rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _make(above: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make something under a new name and lock it; return its path and the descriptor that holds the lock."""
    for _ in range(_TRIES):
        path = above / f"{_prefix()}{uuid4().hex}"
        try:
            descriptor = make(path)
        except FileNotFoundError:
            if not above.is_dir():
                raise
            continue  # cleaned before it was opened
        if _is_mine(path, descriptor):
            return path, descriptor
        os.close(descriptor)
    raise DsaError(f"{above}: whatever is made there is taken away at once")


def _is_mine(path: Path, descriptor: int) -> bool:
    """Lock what was just made; False if somebody took it for left behind before it was locked."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # no locks on this file system: nobody cleans either
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _take(path: Path) -> int | None:
    """Lock what lies there until the descriptor is closed; None where somebody has it, or locks fail."""
    if fcntl is None:
        return None
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        descriptor = os.open(path, flags)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _make_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _prefix() -> str:
    from dsa.cas.site import (
        boot_id,
    )  # workers, which import this for its neighbours, start without it

    return f"{socket.gethostname()}.{boot_id()}.".replace("/", "_")
