"""A place's own business, never mirrored: marks of pushes and gc, and damage. docs/format.md, "Orders and marks"."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dsa.cas import layout, strictjson
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.cas.manifest import now

logger = logging.getLogger(__name__)

PUSH_TOO_OLD_SECONDS = 7 * 24 * 3600.0
GC_ABANDONED_SECONDS = 3600.0

_DONE = ".done"
_MAX_MARK_BYTES = 64 * 1024
_MAX_RECORD_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Mark:
    """A push that is under way, so that no gc deletes what it relies on."""

    backend: Backend
    key: str

    @classmethod
    def begin(cls, backend: Backend, dataset: str, revision: str) -> Mark:
        """Write a mark; it names host, boot and process, so that on its own host a dead one is known."""
        key = f"{layout.PENDING}{uuid4()}"
        mark = {
            "dataset": dataset,
            "revision": revision,
            "created": now(),
            "host": socket.gethostname(),
            "boot": boot_id(),
            "process": os.getpid(),
        }
        backend.create(key, strictjson.dumps(mark))
        return cls(backend, key)

    def is_too_old(self, fresh: str) -> bool:
        """Whether so much time went by that a gc may pass this push by.

        On the store's clock: `fresh` is the key of a file that this push has just written.
        """
        mine, last = self.backend.info(self.key), self.backend.info(fresh)
        return mine is None or last is None or last.modified - mine.modified >= PUSH_TOO_OLD_SECONDS

    def end(self) -> None:
        """Say that the push is over, whatever came of it; the mark itself is gc's to remove."""
        self.backend.create(self.key + _DONE, b"")


def running_gc(backend: Backend, since: Mark) -> tuple[list[str], list[str]]:
    """Return the marks of gcs that are alive, and of those that were left behind.

    One is left behind when it was not renewed for an hour before this push's own mark.
    """
    mine = backend.info(since.key)
    marks = {info.key: info for info in backend.list(layout.GC)}
    alive: list[str] = []
    abandoned: list[str] = []
    for key, info in marks.items():
        # condemned/ is a record, not a mark.
        if "/" in key.removeprefix(layout.GC) or key.endswith(_DONE) or key + _DONE in marks:
            continue
        is_alive = mine is None or mine.modified - info.modified < GC_ABANDONED_SECONDS
        (alive if is_alive else abandoned).append(key)
    return alive, abandoned


def boot_id() -> str:
    """Return what names this start of this machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


#: A place of an object: its raw id, and the raw id of the pack it lies in (None: loose).
Place = tuple[bytes, bytes | None]


def read_damaged(backend: Backend) -> frozenset[Place]:
    """Return the places that are recorded as damaged; a record that cannot be read is passed by."""
    places: set[Place] = set()
    for info in backend.list(layout.DAMAGED):
        try:
            places |= read_record(backend, info.key)
        except ValueError as error:
            logger.warning(
                "%s in %s cannot be read and is ignored: %s", info.key, backend.url, error
            )
    return frozenset(places)


def read_record(backend: Backend, key: str) -> set[Place]:
    """Return the places in one record of damage; a ValueError if it is none."""
    try:
        value = strictjson.loads(backend.read(key, 0, _MAX_RECORD_BYTES), what=key)
        return {
            (ObjectId.parse(place["id"]).raw, None if pack is None else ObjectId.parse(pack).raw)
            for place in value["places"]
            for pack in (place["pack"],)
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{key} is no record of damage: {error!r}") from error


def record_damaged(backend: Backend, places: Iterable[Place]) -> int:
    """Write down places that are damaged, but for those that are on record; return how many are new."""
    fresh = sorted(
        set(places) - read_damaged(backend), key=lambda place: (place[0], place[1] or b"")
    )
    if fresh:
        record = {
            "created": now(),
            "places": [{"id": oid.hex(), "pack": pack and pack.hex()} for oid, pack in fresh],
        }
        backend.create(f"{layout.DAMAGED}{uuid4()}.json", strictjson.dumps(record))
    return len(fresh)
