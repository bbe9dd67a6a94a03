"""What is read of a mirror's source: each piece verified by both digests before anyone gets it.

All methods may be called from several threads; what they stage is the caller's.
"""

from __future__ import annotations

import os
from functools import partial
from hashlib import sha1, sha256
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.cas.objects import Window as Part
from dsa.cas.packs import read_directory
from dsa.errors import DamageError
from dsa.remotes.batch import fetch
from dsa.remotes.local import LocalBackend, translate
from dsa.remotes.ranges import stream
from dsa.verbs.mirror.items import Group, Item
from dsa.verbs.mirror.streams import Hashing, Pieces, Readable
from dsa.workers.checker import Checker
from dsa.workers.crew import cores
from dsa.workers.packer import FinishedPack
from dsa.workers.stream import clone, copy_hashed

_PIECE = 8 * 1024 * 1024


class Reader:
    """Reads objects of one store, into memory or into a staging folder; None for what is not right there."""

    def __init__(self, backend: Backend, staging: Path) -> None:
        self._backend = backend
        self._staging = staging
        self.is_near = backend.local_path(layout.PACKS) is not None
        self.jobs = cores() if self.is_near else backend.jobs

    def is_whole(self, group: Group) -> bool:
        """Whether a pack holds what is wanted of it, and nothing else."""
        size = group.size
        if size is None:
            return False
        found = self._backend.info(group.key)
        return found is not None and found.size == size

    def pack(self, group: Group) -> FinishedPack | None:
        """Bring a whole pack into the staging folder; None if it is not what it should be."""
        name = f"{group.pack}.zip"
        staged = self._staging / name
        try:
            self._stage(group.key, staged, group.size or 0)
            verdict = Checker(LocalBackend(self._staging), False).pack(name, group.places())
            with staged.open("rb") as file:
                directory = read_directory(partial(_read_at, file), staged.stat().st_size)
            is_right = not (verdict.name_differs or verdict.problems or verdict.wrong)
            if is_right and directory.ids == group.directory().ids:
                return group.finished(str(staged), directory)
        except (KeyError, ValueError):
            pass
        staged.unlink(missing_ok=True)
        return None

    def run(self, run: list[Item]) -> list[bytes | None] | Path | None:
        """Read a run: the objects' bytes, or, of a large one, a staged file; None for what is wrong."""
        first, last = run[0], run[-1]
        assert first.pack is not None
        key, start = layout.pack_key(ObjectId(first.pack)), first.offset or 0
        if first.size >= layout.LOOSE_FROM_BYTES:
            try:
                with self.opened(key, start, first.size) as file:
                    return self.save(file, first)
            except KeyError:
                return None
        try:
            data = memoryview(
                self._backend.read(key, start, (last.offset or 0) + last.size - start)
            )
        except KeyError:
            return [None] * len(run)
        pieces = (data[(item.offset or 0) - start :][: item.size] for item in run)
        return [
            bytes(piece) if is_right(piece, item) else None
            for item, piece in zip(run, pieces, strict=True)
        ]

    def near(self, item: Item) -> Path | None:
        """Copy a file of this machine, hashed as it is copied; None if it is not right."""
        staged = self._staging / uuid4().hex
        try:
            with self._backend.open(layout.object_key(ObjectId(item.oid))) as file:
                if clone(file.fileno(), str(staged)):
                    return _kept_if_right(staged, item)
                made = copy_hashed(file.fileno(), str(staged), durable=False)
        except KeyError:
            return None
        if (made.sha1, made.sha256, made.size) == (item.oid, item.sha256, item.size):
            return staged
        staged.unlink()
        return None

    def batch(self, batch: list[Item]) -> list[Path | None]:
        """Fetch loose objects into the staging folder; None for those that are not right."""
        keys = [layout.object_key(ObjectId(item.oid)) for item in batch]
        most = max(item.size for item in batch)
        came = fetch(self._backend, keys, self._staging, most_bytes=most)
        found: list[Path | None] = []
        for item, key in zip(batch, keys, strict=True):
            path = came[key]
            if not isinstance(path, Path):
                if not isinstance(path, KeyError | DamageError):
                    raise path
                found.append(None)
                continue
            found.append(_kept_if_right(path, item))
        return found

    def opened(self, key: str, start: int, size: int) -> Readable:
        """Open a range of a file, to be read once: from far away in several requests at once."""
        if self.is_near:
            return Part(self._backend.open(key), start, size)
        return Pieces(stream(self._backend, key, start, size))

    def save(self, file: Readable, item: Item) -> Path | None:
        """Write a stream to the staging folder, hashed on the way; None if it is not the object."""
        staged = self._staging / uuid4().hex
        reader, left = Hashing(file), item.size + 1
        with staged.open("xb") as target:
            while left and (piece := reader.read(min(1 << 20, left))):
                target.write(piece)
                left -= len(piece)
        if reader.has(item):
            return staged
        staged.unlink()
        return None

    def _stage(self, key: str, staged: Path, size: int) -> None:
        """Copy a file of the source, at most `size` bytes of it, into a new file."""
        try:
            if self.is_near:
                with self._backend.open(key) as file:
                    if not clone(file.fileno(), str(staged)):
                        _copy(file, staged, size)
                return
            with staged.open("xb") as target:
                at = 0
                while at < size and (data := self._backend.read(key, at, min(_PIECE, size - at))):
                    target.write(data)
                    at += len(data)
        except OSError as error:
            raise translate(error, str(staged)) from error


def is_right(content: bytes | memoryview, item: Item) -> bool:
    """Whether these bytes are the object, by its size and both digests."""
    return (
        len(content) == item.size
        and sha1(content, usedforsecurity=False).digest() == item.oid
        and sha256(content).digest() == item.sha256
    )


def _kept_if_right(path: Path, item: Item) -> Path | None:
    """Return the path of a file that is this object, by both digests; remove one that is not."""
    with path.open("rb") as file:
        made = copy_hashed(file.fileno(), None)
    if (made.sha1, made.sha256, made.size) == (item.oid, item.sha256, item.size):
        return path
    path.unlink()
    return None


def _copy(file: BinaryIO, staged: Path, size: int) -> None:
    """Copy a file of this machine without reading it, no more than `size` bytes."""
    with staged.open("xb") as target:
        while size and (count := os.sendfile(target.fileno(), file.fileno(), None, size)):
            size -= count


def _read_at(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)
