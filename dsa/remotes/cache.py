"""The cache: whole files of remotes, on this machine, under the names that their content gives them.

A folder in a store's layout: `packs/<id>.zip` and `objects/ab/…`; `pins/` and `partial/` beside
them are its own. A name says what the bytes must be, so one cache serves all remotes, and several
processes at once: files come by rename, whoever reads one verifies its bytes and drops a wrong
one, and one that has gone meanwhile is only fetched again. A file's mtime is when it was last used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

from dsa.cas import layout, strictjson
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.errors import DsaError
from dsa.remotes.local import LocalBackend, translate
from dsa.remotes.ranges import Partial, fetch

try:
    import fcntl
except ImportError:  # a system without these locks
    fcntl = None  # type: ignore[assignment]

_PINS = "pins"
_PARTIAL = "partial"
_STALE_SECONDS = 7 * 24 * 3600  # an unfinished file that nobody went on with for so long


@dataclass(frozen=True, slots=True)
class Kept:
    """One file in the cache: its key in a store, its size in bytes, when it was last used, and by what it is pinned."""

    key: str
    size: int
    used: float  # seconds since 1970, UTC
    pinned: tuple[str, ...] = ()  # `dataset@revision`


@dataclass(frozen=True, slots=True)
class Pin:
    """A revision whose files stay in the cache."""

    dataset: str
    revision: str
    manifest: str  # hex
    store: str  # where it was pinned from, as a person names it
    keys: frozenset[str]

    def __str__(self) -> str:
        return f"{self.dataset}@{self.revision}"


class Cache:
    """The cache in a folder; at most `limit` bytes (None: no limit), pinned files aside."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = limit
        self.files = LocalBackend(folder)
        self._total: int | None = None  # bytes, about: others may write too
        self._lock = Lock()
        self._is_clean = False

    def path(self, key: str) -> Path | None:
        """Return where a store's file lies here, and note that it is used; None if it is not here."""
        path = self.folder / key
        try:
            os.utime(path)
        except OSError:
            return path if path.is_file() else None  # of a cache that may only be read
        return path

    @contextmanager
    def using(self, key: str) -> Iterator[None]:
        """Keep a file from being evicted by other processes while the context lasts, if it is here."""
        try:
            descriptor = os.open(self.folder / key, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield
            return
        try:
            if fcntl is not None:
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)

    def takes(self, size: int) -> bool:
        """Whether a file of so many bytes would be kept at all."""
        return self.limit is None or size <= self.limit

    def receive(
        self,
        backend: Backend,
        key: str,
        size: int,
        sha256: bytes | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Path | None:
        """Fetch a whole file of a remote, in parallel ranges; None if its bytes are wrong there.

        It is verified by `sha256` (raw) where that is known, else by the SHA-1 in its name. What an
        interrupted run left is gone on with. Raises: `KeyError` if the remote does not have it.
        """
        with self.receiving(key, size, sha256) as partial:
            if not fetch(backend, key, 0, partial, advance):
                return None
            return self.keep(partial.path, key)

    @contextmanager
    def receiving(self, key: str, size: int, sha256: bytes | None = None) -> Iterator[Partial]:
        """Give the unfinished file that becomes `key`; of several processes one goes on with it, others begin anew."""
        oid = layout.id_of_key(key)
        if oid is None:
            raise ValueError(f"{key} is not named by its content")
        path = self.folder / _PARTIAL / str(oid)
        lock = self._locked(path)
        if lock is None:
            path = path.with_name(uuid4().hex)
        partial = Partial(path, size, sha256 or oid.raw)
        try:
            yield partial
        finally:
            partial.close()
            if lock is None:
                path.unlink(missing_ok=True)
            else:
                os.close(lock)

    def _locked(self, path: Path) -> int | None:
        """Open an unfinished file, made if need be, and lock it; None where another process has it."""
        if not self._is_clean:
            self._is_clean = True
            self.clean()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise translate(error, str(path)) from error
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except OSError:
            pass  # taken, or finished by somebody else meanwhile
        os.close(lock)
        return None

    def keep(self, path: Path, key: str) -> Path:
        """Give a finished file, whose bytes were verified, its name; older ones make room."""
        target = self.folder / key
        try:
            size = path.stat().st_size
            self.make_room(size)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.chmod(path.stat().st_mode & 0o444)
            path.replace(target)
            os.utime(target)
        except OSError as error:
            raise translate(error, str(target)) from error
        return target

    def write(self, key: str, data: bytes) -> Path:
        """Keep bytes that were verified."""
        partial = self.folder / _PARTIAL / uuid4().hex
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise translate(error, str(partial)) from error
        return self.keep(partial, key)

    def drop(self, key: str) -> int:
        """Remove a file, pinned or not; return its size, 0 if it was not here."""
        path = self.folder / key
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise translate(error, str(path)) from error
        return size

    def kept(self) -> list[Kept]:
        """Return what is here, the most recently used first."""
        pinned: dict[str, list[str]] = {}
        for pin in self.pins():
            for key in pin.keys:
                pinned.setdefault(key, []).append(str(pin))
        found = [
            Kept(info.key, info.size, info.modified, tuple(pinned.get(info.key, ())))
            for prefix in (layout.PACKS, layout.OBJECTS)
            for info in self.files.list(prefix)
            if layout.id_of_key(info.key) is not None
        ]
        return sorted(found, key=lambda kept: (-kept.used, kept.key))

    def make_room(self, size: int) -> int:
        """Evict what was used the longest ago until `size` more bytes fit; return the bytes evicted.

        What is pinned, or in use by another process, stays.
        """
        if self.limit is None:
            return 0
        with self._lock:
            if self._total is not None and self._total + size <= self.limit:
                self._total += size
                return 0
            kept = self.kept()
            total, gone = sum(one.size for one in kept), 0
            for one in reversed(kept):
                if total - gone + size <= self.limit:
                    break
                if not one.pinned and self._evict(one.key):
                    gone += one.size
            self._total = total - gone + size
            return gone

    def pins(self) -> Iterator[Pin]:
        """Yield the pins; one that cannot be read raises `DsaError`: nothing may be evicted then."""
        for path in sorted((self.folder / _PINS).glob("*.json")):
            try:
                value: dict[str, Any] = strictjson.loads(path.read_bytes(), what=str(path))
                yield Pin(
                    dataset=str(value["dataset"]),
                    revision=str(value["revision"]),
                    manifest=str(value["manifest"]),
                    store=str(value["store"]),
                    keys=frozenset(map(str, value["keys"])),
                )
            except FileNotFoundError:
                continue  # unpinned meanwhile
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DsaError(
                    f"{path} cannot be read: {error}", hint="remove this file"
                ) from error

    def pin(self, pin: Pin) -> None:
        """Keep a revision's files from eviction."""
        path = self._pin_path(pin.manifest)
        value = {
            "dataset": pin.dataset,
            "revision": pin.revision,
            "manifest": pin.manifest,
            "store": pin.store,
            "keys": sorted(pin.keys),
        }
        partial = path.with_name(f"{uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(strictjson.dumps(value))
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise translate(error, str(path)) from error

    def unpin(self, manifest: str) -> bool:
        """Let a revision's files be evicted again; False if it was not pinned."""
        path = self._pin_path(manifest)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise translate(error, str(path)) from error
        return True

    def clean(self) -> None:
        """Remove unfinished files that nobody goes on with."""
        before = time.time() - _STALE_SECONDS
        for path in (self.folder / _PARTIAL).glob("*"):
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()

    def _pin_path(self, manifest: str) -> Path:
        return self.folder / _PINS / f"{ObjectId.parse(manifest)}.json"

    def _evict(self, key: str) -> bool:
        """Remove a file unless somebody uses it now."""
        path = self.folder / key
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True  # gone already
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True
