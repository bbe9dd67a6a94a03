"""A store at the other end of a wire: nothing of it is a file of this machine, and every request is counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Lock

from dsa.cas.backend import FileInfo, Traffic
from dsa.cas.objectstore import ObjectStore
from dsa.errors import AccessError
from dsa.remotes.cache import Cache
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.reports import CheckoutReport
from dsa.verbs.checkout import Wish, checkout
from dsa.verbs.sources import RememberedRefs, Sources


class Far(MemoryBackend):
    """The files of a store's folder, served to several threads; subclasses hurt what they give."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        super().__init__(name)
        self._counting = Lock()
        self._traffic = Traffic()
        self.asked: Counter[str] = Counter()  # by the first segment of keys
        self.received: Counter[str] = Counter()  # bytes, by key
        if folder is not None:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self.create(path.relative_to(folder).as_posix(), path.read_bytes())

    @property
    def jobs(self) -> int:
        return 4

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def note(self, key: str, count: int = 0) -> None:
        with self._counting:
            self._traffic.requests += 1
            self._traffic.bytes_received += count
            self.asked[key.partition("/")[0]] += 1
            self.received[key] += count

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        try:
            data = self.hurt(key, start, super().read(key, start, length))
        except KeyError:
            self.note(key)
            raise
        self.note(key, len(data))
        return data

    def info(self, key: str) -> FileInfo | None:
        self.hurt(key, 0, b"")
        self.note(key)
        return super().info(key)

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        """Return what comes over the wire."""
        return data

    def data_bytes(self) -> int:
        """Return how many bytes of packs and objects came."""
        return sum(
            count for key, count in self.received.items() if key.startswith(("packs/", "objects/"))
        )


def is_data(key: str, data: bytes) -> bool:
    """Whether this is of files' contents: the rest is small, or stands under other names."""
    return bool(data) and (
        key.startswith("packs/") or (key.startswith("objects/") and len(data) > 10_000)
    )


class Down(Far):
    """A store that nobody can reach from request number `at` for data on."""

    def __init__(self, name: str, folder: Path | None = None, at: int = 0) -> None:
        super().__init__(name, folder)
        self.left = at
        self.is_down = False  # not even its refs

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        if self.is_down:
            raise AccessError(f"{self.url} does not answer", is_outage=True)
        if is_data(key, data):
            with self._counting:
                self.left -= 1
                if self.left < 0:
                    raise AccessError(f"{self.url} does not answer", is_outage=True)
        return data


class Flipping(Far):
    """A wire that flips a bit of each file's data, the first `times` times that it comes."""

    def __init__(self, name: str, folder: Path | None = None, times: int = 1) -> None:
        super().__init__(name, folder)
        self.times = times
        self.flipped: Counter[str] = Counter()  # by key

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        with self._counting:
            if is_data(key, data) and self.flipped[key] < self.times:
                self.flipped[key] += 1
                middle = len(data) // 2
                return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data


class Cutting(Far):
    """A wire that brings only the first half of each large answer, and says nothing of it."""

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        return data[: len(data) // 2] if is_data(key, data) else data


def opened(backend: Far) -> ObjectStore:
    return ObjectStore(backend)


def sources(
    first: Far,
    spec: str = "ds",
    *others: Far,
    refs: RememberedRefs | None = None,
    near: Path | None = None,
) -> Sources:
    """Return a revision of `first`, which the others may stand in for."""

    def rest() -> list[tuple[str, object]]:
        return [(other.url, lambda other=other: ObjectStore(other)) for other in others]

    local = None if near is None else LocalBackend(near)
    return Sources(
        first,
        lambda: ObjectStore(first),
        spec,
        rest,  # type: ignore[arg-type]  # lambdas
        refs,
        near=None if local is None else lambda: ObjectStore(local),
    )


def fetch(
    first: Far,
    folder: Path,
    *others: Far,
    spec: str = "ds",
    cache: Cache | None = None,
    refs: RememberedRefs | None = None,
    only: tuple[str, ...] = (),
    near: Path | None = None,
) -> CheckoutReport:
    """Check out what `first` holds."""
    found = sources(first, spec, *others, refs=refs, near=near)
    return checkout(found, folder, Wish(only=only), cache=cache)
