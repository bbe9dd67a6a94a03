"""Folders below a root, opened step by step: nothing is ever reached through a link."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import cast
from uuid import uuid4

from dsa.errors import ConflictError
from dsa.workers.signature import is_same, signature

_KEPT_OPEN = 128
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folders:
    """Descriptors of folders by their path ("" is the root), some of them kept open."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: OrderedDict[str, int] = OrderedDict()

    def descriptor(self, path: str) -> int:
        """Return an open folder; valid until the next call.

        Raises: `ConflictError` where a link or a file stands in its place, `FileNotFoundError`.
        """
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        parent, _, name = path.rpartition("/")
        try:
            made = os.open(name, _FLAGS, dir_fd=self.descriptor(parent))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise ConflictError(
                    f"{path} is a link or a file, where a folder was expected"
                ) from error
            raise
        self._open[path] = made
        if len(self._open) > _KEPT_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return made

    def make(self, path: str) -> bool:
        """Make a folder in one that is there; False if it is there already."""
        parent, _, name = path.rpartition("/")
        try:
            os.mkdir(name, dir_fd=self.descriptor(parent))
        except FileExistsError:
            return False
        return True

    def remove(self, path: str) -> bool:
        """Remove a folder if it is empty; False if it stays."""
        known = self._open.pop(path, None)
        if known is not None:
            os.close(known)
        parent, _, name = path.rpartition("/")
        try:
            os.rmdir(name, dir_fd=self.descriptor(parent))
        except OSError:
            return False
        return True

    def unlink(self, path: str, expected: bytes) -> None:
        """Remove a file, if it is still the one with this signature (empty: whatever it is).

        Raises: `ConflictError` if it was changed.
        """
        parent, _, name = path.rpartition("/")
        place = self.descriptor(parent)
        with suppress(FileNotFoundError):
            if expected and not is_same(
                signature(os.stat(name, dir_fd=place, follow_symlinks=False)), expected
            ):
                raise ConflictError(
                    f"{path} was changed while the checkout ran", hint="run it again"
                )
            os.unlink(name, dir_fd=place)

    def set_executable(
        self, folder: str, name: str, is_executable: bool, expected: bytes, staging: str
    ) -> bytes:
        """Set or clear the executable bit of the file with this signature; return its new one.

        A file with other names (hard links, maybe the store's own) becomes a copy first, made in
        `staging`. Raises: `ConflictError` if it was changed.
        """
        place = self.descriptor(folder)
        changed = ConflictError(
            f"{f'{folder}/' if folder else ''}{name} was changed while the checkout ran",
            hint="run it again",
        )
        try:
            descriptor = os.open(name, _READ, dir_fd=place)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOENT, errno.ENXIO):
                raise changed from error
            raise
        try:
            info = os.fstat(descriptor)
            if not is_same(signature(info), expected):
                raise changed
            mode = stat.S_IMODE(info.st_mode)
            wanted = mode | (mode & 0o444) >> 2 if is_executable else mode & ~0o111
            if info.st_nlink > 1:
                copied = _replace_by_copy(descriptor, place, name, wanted | stat.S_IWUSR, staging)
                if copied is None:
                    raise changed
                return copied
            os.fchmod(descriptor, wanted)
            made = os.fstat(descriptor)  # of this very file, whatever has its name now
            if (made.st_size, made.st_mtime_ns) != (info.st_size, info.st_mtime_ns):
                raise changed
            return signature(made)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._open.values(), self._root):
            with suppress(OSError):
                os.close(descriptor)
        self._open.clear()


def _replace_by_copy(source: int, place: int, name: str, mode: int, staging: str) -> bytes | None:
    """Put a copy in the place of an open file; None if that is another file by now."""
    expected = signature(os.fstat(source))
    partial = os.path.join(staging, uuid4().hex)
    try:
        with open(source, "rb", closefd=False) as reading, open(partial, "xb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fchmod(writing.fileno(), mode)
            with suppress(FileNotFoundError):
                there = os.stat(name, dir_fd=place, follow_symlinks=False)
                if is_same(signature(there), expected):
                    os.rename(partial, name, dst_dir_fd=place)
                    return signature(os.fstat(writing.fileno()))
        return None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial)


def _find_renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    try:
        found = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # an older glibc, or none
        return None
    number, text = ctypes.c_int, ctypes.c_char_p
    found.argtypes = (number, text, number, text, ctypes.c_uint)
    return cast("Callable[[int, bytes, int, bytes, int], int]", found)


_renameat2 = _find_renameat2()
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1


def name_new(source: str, place: int, name: str) -> None:
    """Move the file `source` to a name in an open folder, where nothing may be.

    Raises: `ConflictError` if something is there: somebody put it there meanwhile.
    """
    if _renameat2 is not None:
        old, new = os.fsencode(source), os.fsencode(name)
        if not _renameat2(_AT_FDCWD, old, place, new, _RENAME_NOREPLACE):
            return
        code = ctypes.get_errno()
        if code == errno.EEXIST:
            raise ConflictError(_PUT_THERE)
        if code not in (errno.EINVAL, errno.ENOSYS):  # not on this file system, or no such call
            raise OSError(code, os.strerror(code), name)
    with suppress(FileNotFoundError):
        os.lstat(name, dir_fd=place)
        raise ConflictError(_PUT_THERE)
    os.rename(source, name, dst_dir_fd=place)


_PUT_THERE = "something was put there while the checkout ran"
