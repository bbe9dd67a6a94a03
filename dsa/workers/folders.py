"""Folders below a root, opened step by step: nothing is ever reached through a link."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import OrderedDict
from contextlib import suppress
from uuid import uuid4

from dsa.errors import ConflictError
from dsa.workers.signature import is_same, signature

_KEPT_OPEN = 128
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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

    def set_executable(self, folder: str, name: str, is_executable: bool) -> bytes:
        """Set or clear the executable bit of a file; return its new signature.

        A file with other names (hard links, maybe the store's own) becomes a copy first.
        """
        place = self.descriptor(folder)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        try:
            info = os.fstat(descriptor)
            mode = stat.S_IMODE(info.st_mode)
            wanted = mode | (mode & 0o444) >> 2 if is_executable else mode & ~0o111
            if info.st_nlink == 1:
                os.fchmod(descriptor, wanted)
            else:
                _replace_by_copy(descriptor, place, name, wanted | stat.S_IWUSR)
        finally:
            os.close(descriptor)
        return signature(os.stat(name, dir_fd=place, follow_symlinks=False))

    def close(self) -> None:
        """Close all descriptors."""
        for descriptor in (*self._open.values(), self._root):
            with suppress(OSError):
                os.close(descriptor)
        self._open.clear()


def _replace_by_copy(source: int, place: int, name: str, mode: int) -> None:
    partial = f".dsa-{uuid4().hex}"
    target = os.open(
        partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=place
    )
    try:
        with open(source, "rb", closefd=False) as reading, open(target, "wb") as writing:
            shutil.copyfileobj(reading, writing)
            os.fchmod(target, mode)
        os.rename(partial, name, src_dir_fd=place, dst_dir_fd=place)
    except BaseException:
        os.unlink(partial, dir_fd=place)
        raise
