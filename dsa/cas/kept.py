"""What a client keeps of a far store: files that never change, so that each is fetched once.

Nothing here is believed: whoever reads proves the bytes, by their id or against a manifest, and
drops what fails. A folder that cannot be written to, or is not there, does no harm.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from dsa.cas.ids import ObjectId

#: As much as is kept by default, in bytes.
LIMIT_BYTES = 1 << 30

PARTS = "parts/"  # of locations, by their ids
INDEX = "index/"  # of revisions: fetched, or made anew
SMALL = "small/"  # manifests and revision.json, by their ids

PROVEN = "proven/"  # empty files: the indexes that were proven

_FOLDERS = (PARTS, INDEX, SMALL, PROVEN)
_EMPTY_BYTES = 4096  # that an empty file counts as: it takes room all the same
_ROOM = 0.9  # of the limit is left when files are removed
_LOOK_AFTER = 1 / 16  # of the limit is written between two looks at the whole


class Kept:
    """Files by name below a folder of this client's own; None: nothing is kept.

    What was not used for longest goes first when there are more than `limit` bytes.
    """

    def __init__(self, folder: Path | None, limit: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit
        self._since_look = limit  # so that the first file that is written looks

    def path(self, name: str) -> Path | None:
        """Return where a file is kept; None where it is not, or may not be read."""
        if self._folder is None:
            return None
        path = self._folder / name
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError:
            return path if os.access(path, os.R_OK) else None
        return path

    def read(self, name: str) -> bytes | None:
        """Return a file that is kept, unproven; None where it is not."""
        path = self.path(name)
        try:
            return None if path is None else path.read_bytes()
        except OSError:
            return None

    def object(self, name: str, oid: ObjectId) -> bytes | None:
        """Return a file that is kept if its bytes have this id, else drop it."""
        data = self.read(name)
        if data is None or ObjectId.of(data) == oid:
            return data
        self.drop(name)
        return None

    def write(self, name: str, data: bytes) -> None:
        """Keep a file: all of it or nothing."""
        if self._folder is None or len(data) > self._limit:
            return
        path = self._folder / name
        partial = path.with_name(uuid4().hex)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(data)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        except OSError:
            return
        self._since_look += len(data) or _EMPTY_BYTES
        if self._since_look >= self._limit * _LOOK_AFTER:
            self._since_look = 0
            self._make_room()

    def write_object(self, data: bytes) -> None:
        """Keep a small object under its id."""
        self.write(f"{SMALL}{ObjectId.of(data)}", data)

    def drop(self, name: str) -> None:
        """Forget a file."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)

    def _make_room(self) -> None:
        """Remove what was not used for longest; another process may do the same meanwhile."""
        assert self._folder is not None
        found: list[tuple[float, int, str]] = []
        for folder in _FOLDERS:
            with suppress(OSError), os.scandir(self._folder / folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        size = status.st_size or _EMPTY_BYTES
                        found.append((status.st_mtime, size, entry.path))
        total = sum(size for _, size, _ in found)
        if total <= self._limit:
            return
        for _, size, path in sorted(found):
            if total <= self._limit * _ROOM:
                return
            with suppress(OSError):
                os.unlink(path)
                total -= size
