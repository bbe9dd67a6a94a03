"""A store in memory that behaves as if it were far: several calls at once, each counted, some of them failing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from dsa.cas.backend import FileInfo, Traffic, is_kept
from dsa.cas.objectstore import ObjectStore
from dsa.cas.storefile import make_store
from dsa.errors import NotFoundError
from dsa.remotes.memory import MemoryBackend
from dsa.remotes.staging import consumed
from dsa.reports import PushReport
from dsa.verbs.push import Order, push

WRITING = ("create", "write", "publish", "send", "remove")


class FarBackend(MemoryBackend):
    """Counts what is asked of it, a request for each call; `before` is told each call, and may raise."""

    def __init__(self, jobs: int = 4) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], object] = lambda method, key: None
        self.most_at_once = 0
        self._at_once = 0
        self._jobs = jobs
        self._traffic = Traffic()
        self._counting = Lock()

    @property
    def jobs(self) -> int:
        """As many as the test says."""
        return self._jobs

    @property
    def traffic(self) -> Traffic:
        """What was asked."""
        return self._traffic

    def calls(self, *methods: str) -> Counter[str]:
        """Return how often each of these methods was called, by the folder of its key."""
        return Counter(
            f"{method} {key.partition('/')[0]}" for method, key in self.asked if method in methods
        )

    def _count(self, method: str, key: str) -> None:
        with self._counting:
            self.asked.append((method, key))
            self._traffic.requests += 1
        self.before(method, key)

    def _sent(self, size: int) -> None:
        with self._counting:
            self._traffic.bytes_sent += size

    def exists(self) -> bool:
        self._count("exists", "")
        return super().exists()

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._count("read", key)
        data = super().read(key, start, length)
        with self._counting:
            self._traffic.bytes_received += len(data)
        return data

    def info(self, key: str) -> FileInfo | None:
        self._count("info", key)
        return super().info(key)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        self._count("list", prefix)
        return super().list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        self._count("children", prefix)
        return super().children(prefix)

    def create(self, key: str, data: bytes) -> bool:
        self._count("create", key)
        self._sent(len(data))
        return super().create(key, data)

    def write(self, key: str, data: bytes) -> None:
        self._count("write", key)
        self._sent(len(data))
        super().write(key, data)

    def publish(self, staged: Path, key: str) -> None:
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self._count("publish", key)
            with consumed(staged):
                self._put(staged.read_bytes(), key)
        finally:
            with self._counting:
                self._at_once -= 1

    def _put(self, data: bytes, key: str) -> None:
        if not is_kept(MemoryBackend.info(self, key), len(data), self.url):
            MemoryBackend.create(self, key, data)
            self._sent(len(data))

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        self._count("send", key)
        is_kept(MemoryBackend.info(self, key), size, self.url)
        pieces: list[bytes] = []
        while piece := source.read(1 << 20):
            self._sent(len(piece))
            pieces.append(piece)
            self.before("sending", key)
        data = b"".join(pieces)
        if len(data) != size or not is_right():
            return False
        MemoryBackend.create(self, key, data)
        return True

    def flush(self, *, also: Iterable[str] = ()) -> None:
        """Nothing is asked: what a server confirmed, it has."""

    def remove(self, key: str) -> None:
        self._count("remove", key)
        super().remove(key)


def push_to(backend: MemoryBackend, folder: Path, name: str, **more: object) -> PushReport:
    """Push a folder as `dataset@revision` to a backend, which is made a store where it is none."""
    dataset, _, revision = name.partition("@")
    given = {key: more.pop(key) for key in ("dry_run", "progress") if key in more}
    cache = folder.parent / "client"

    def opened() -> ObjectStore | None:
        try:
            return ObjectStore(backend, cache)
        except NotFoundError:
            return None

    def made() -> ObjectStore:
        make_store(backend)
        return ObjectStore(backend, cache)

    order = Order(dataset, revision, folder, **more)  # type: ignore[arg-type]  # the test's
    return push(order, opened, made, backend.url, traffic=lambda: backend.traffic, **given)  # type: ignore[arg-type]
