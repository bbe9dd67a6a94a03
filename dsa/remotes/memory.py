"""A store in this process's memory: for tests, and for trying things out."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from uuid import uuid4

from dsa.cas.backend import FileInfo, Traffic, is_kept
from dsa.remotes.local import translate
from dsa.remotes.staging import consumed
from dsa.remotes.streams import pieces


class MemoryBackend:
    """Files in a dictionary; gone with the process, and not to be sent to another one."""

    def __init__(self, name: str | None = None) -> None:
        self.files: dict[str, tuple[bytes, float]] = {}
        self._name = name or uuid4().hex
        self._lock = Lock()

    @property
    def url(self) -> str:
        """`memory://` and a name."""
        return f"memory://{self._name}"

    @property
    def place(self) -> str:
        """The same."""
        return self.url

    @property
    def jobs(self) -> int:
        """One call at a time."""
        return 1

    @property
    def traffic(self) -> Traffic:
        """Nothing: there is no server."""
        return Traffic()

    @property
    def claims(self) -> bool | None:
        """Yes: a lock sees to it."""
        return True

    def exists(self) -> bool:
        """Whether there is any file."""
        return bool(self.files)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file."""
        data = self.files[key][0]
        return data[start:] if length is None else data[start : start + length]

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading."""
        return io.BytesIO(self.read(key))

    def info(self, key: str) -> FileInfo | None:
        """Return a file's size and time."""
        if key not in self.files:
            return None
        data, modified = self.files[key]
        return FileInfo(key, len(data), modified)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield the files below a folder."""
        for key, (data, modified) in sorted(self.files.items()):
            if key.startswith(prefix):
                yield FileInfo(key, len(data), modified)

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        names = {key[len(prefix) :].partition("/") for key in self.files if key.startswith(prefix)}
        yield from sorted({name + slash for name, slash, _ in names})

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet."""
        return self._claim(key, data)

    def _claim(self, key: str, data: bytes) -> bool:
        with self._lock:
            if key in self.files:
                return False
            self.files[key] = (bytes(data), time.time())
            return True

    def _take(self, key: str, data: bytes) -> None:
        if not self._claim(key, data):
            is_kept(MemoryBackend.info(self, key), len(data), self.url)

    def write(self, key: str, data: bytes) -> None:
        """Write or replace a file."""
        with self._lock:
            self.files[key] = (bytes(data), time.time())

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a temporary folder."""
        with tempfile.TemporaryDirectory(prefix="dsa-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def publish(self, staged: Path, key: str) -> None:
        """Take a finished file in; content of this name that is there is kept."""
        try:
            with consumed(staged):
                self._take(key, staged.read_bytes())
        except OSError as error:
            raise translate(error, key) from error

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        """Take a stream in if it is right."""
        data = b"".join(pieces(source, size))
        if len(data) != size or not is_right():
            return False
        self._take(key, data)
        return True

    def flush(self, *, also: Iterable[str] = ()) -> None:
        """Nothing waits to be written."""

    def remove(self, key: str) -> None:
        """Remove a file."""
        with self._lock:
            self.files.pop(key, None)

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002  # the protocol's
        """Return None: there are no files on disk."""
        return None
