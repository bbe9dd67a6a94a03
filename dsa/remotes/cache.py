"""The cache: whole files of remotes, on this machine, under the names that their content gives them.

A folder in a store's layout: `packs/<id>.zip` and `objects/ab/…`; `pins/` and `partial/` beside
them are its own. A name says what the bytes must be, so one cache serves all remotes, and several
processes at once: files come by rename, whoever reads one verifies its bytes and drops a wrong
one, and one that has gone meanwhile is only fetched again. A file's mtime is when it was last used.
An unfinished file is written to, renamed and removed only by who holds its lock.

What receives and keeps files raises `OSError` where the folder cannot be used: a cache only makes
things faster, so who can do without it does (`Cache.optional`).
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
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
_IDLE_SECONDS = 3600  # an unfinished file without a lock that nobody wrote to for so long
_ID_DIGITS = 40  # the name of an unfinished file that others may go on with
_LOOK_AFTER = 1 / 16  # of the limit is written between two looks at the whole: others write too

logger = logging.getLogger(__name__)


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
    """The cache in a folder; at most `limit` bytes (None: no limit), pinned files aside.

    Several processes that fill it at once may be over the limit by what each writes between two looks.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder
        self.limit = limit
        self.files = LocalBackend(folder)
        self._total: int | None = None  # bytes, about: others may write too
        self._since_look = 0  # bytes written since they were counted
        self._lock = Lock()
        self._is_clean = False
        self._is_off = False  # nothing more is written to it

    @contextmanager
    def optional(self) -> Iterator[None]:
        """Go on after the context where the cache's folder cannot be used in it; that is logged once.

        Nothing more `takes` its place in it then; what is there is still read.
        """
        try:
            yield
        except OSError as error:
            with self._lock:
                if not self._is_off:
                    logger.warning(
                        "nothing more is written to the cache %s: %s", self.folder, error
                    )
                self._is_off = True

    def path(self, key: str) -> Path | None:
        """Return where a store's file lies here, and note that it is used; None if it cannot be read here."""
        path = self.folder / key
        with suppress(OSError):  # of a cache that may only be read
            os.utime(path)
        return path if path.is_file() and os.access(path, os.R_OK) else None

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
        return not self._is_off and (self.limit is None or size <= self.limit)

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
        """Give the unfinished file that becomes `key`, begun; of several processes one goes on with it.

        The others, and other users, begin one of their own.
        """
        oid = layout.id_of_key(key)
        if oid is None:
            raise ValueError(f"{key} is not named by its content")
        if not self._is_clean:
            self._is_clean = True
            self.clean()
        path = self.folder / _PARTIAL / str(oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        locked = _claimed(path, os.O_RDWR | os.O_CREAT)
        if locked is None:
            path = path.with_name(uuid4().hex)
        partial = Partial(path, size, sha256 or oid.raw, locked)
        try:
            partial.begin()
            self.make_room(
                size, but=path
            )  # before the bytes come, and once more when all are there
            yield partial
        finally:
            if locked is None:
                partial.discard()
            partial.close()

    def keep(self, path: Path, key: str) -> Path:
        """Give a finished file, whose bytes were verified, its name; older ones make room."""
        target = self.folder / key
        status = path.stat()
        self.make_room(status.st_size, but=path)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.chmod(status.st_mode & 0o444)
        path.replace(target)
        with suppress(FileNotFoundError):  # evicted at once, by a process that wants the room
            os.utime(target)
        return target

    def write(self, key: str, data: bytes) -> Path:
        """Keep bytes that were verified."""
        partial = self.folder / _PARTIAL / uuid4().hex
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            return self.keep(partial, key)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise

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
        found = [replace(one, pinned=tuple(pinned.get(one.key, ()))) for one in self._files()]
        return sorted(found, key=lambda kept: (-kept.used, kept.key))

    def make_room(self, size: int, but: Path | None = None) -> int:
        """Evict what was used the longest ago until `size` more bytes fit; return the bytes evicted.

        What is pinned, or in use by another process, stays; unfinished files count, other than
        `but`, which holds these bytes already. Raises: `OSError` where a pin cannot be read, and
        what it pins would have to go.
        """
        if self.limit is None:
            return 0
        look_after = self.limit * _LOOK_AFTER
        with self._lock:
            self._since_look += size
            if self._total is not None and self._since_look < look_after:
                self._total += size
                if self._total <= self.limit:
                    return 0
            found = [*self._files(), *self._unfinished(but)]
            total, gone = sum(one.size for one in found) + size, 0
            if total > self.limit:
                pinned = self._pinned()
                for one in sorted(found, key=lambda one: one.used):
                    if total - gone <= self.limit - look_after:
                        break  # with some room, so that not every file to come looks anew
                    if one.key not in pinned and self._evict(one.key):
                        gone += one.size
            self._total, self._since_look = total - gone, 0
            return gone

    def _pinned(self) -> set[str]:
        """Return the keys that are pinned; of a pin that cannot be read nobody knows which."""
        try:
            return {key for pin in self.pins() for key in pin.keys}
        except DsaError as error:
            raise OSError(errno.ENOSPC, f"no room can be made, for {error}") from error

    def _files(self) -> Iterator[Kept]:
        """Yield the files that are here, in no order, not saying what pins them."""
        for prefix in (layout.PACKS, layout.OBJECTS):
            for info in self.files.list(prefix):
                if layout.id_of_key(info.key) is not None:
                    yield Kept(info.key, info.size, info.modified)

    def _unfinished(self, but: Path | None) -> Iterator[Kept]:
        """Yield the unfinished files; a key is one in this folder."""
        for path in (self.folder / _PARTIAL).glob("*"):
            with suppress(OSError):
                status = path.stat()
                if path != but:
                    yield Kept(f"{_PARTIAL}/{path.name}", status.st_size, status.st_mtime)

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
                    self._evict(f"{_PARTIAL}/{path.name}")

    def _pin_path(self, manifest: str) -> Path:
        return self.folder / _PINS / f"{ObjectId.parse(manifest)}.json"

    def _evict(self, key: str) -> bool:
        """Remove a file unless somebody uses it now, or it is not ours to remove."""
        path = self.folder / key
        if key.startswith(f"{_PARTIAL}/"):
            return self._abandon(path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True  # gone already
        except OSError:
            return False
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

    def _abandon(self, path: Path) -> bool:
        """Remove an unfinished file that nobody writes to; False if somebody may."""
        try:
            if len(path.name) != _ID_DIGITS:  # of one process alone, and not locked
                if path.stat().st_mtime > time.time() - _IDLE_SECONDS:
                    return False
                path.unlink()
                return True
            descriptor = _claimed(path, os.O_RDWR)
            if descriptor is None:
                return False
            try:
                path.unlink()
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True


def _claimed(path: Path, flags: int) -> int | None:
    """Open a file and lock it for this process alone; None where another has it, or it is another's."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
            return descriptor
    except OSError:
        pass  # taken, or finished by somebody else meanwhile
    os.close(descriptor)
    return None
