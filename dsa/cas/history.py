"""The dataset's own record: docs/format.md, "The dataset log".

Every entry is the whole new state; a writer adds the next number by put-if-absent, and whoever
loses the race reads again. Mirrors only move forward along it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from dsa.cas import layout, strictjson
from dsa.cas.backend import Backend
from dsa.cas.ids import Sha256
from dsa.errors import DamageError

MAX_ENTRY_BYTES = 16 * 1024 * 1024
_OWN = ("format", "uuid", "author", "created", "previous")


@dataclass(frozen=True, slots=True)
class LogState:
    """One entry of a dataset's log; `state` holds metadata, tags and whatever else is said."""

    uuid: str
    author: str
    created: str
    previous: Sha256 | None  # of the bytes of the entry before; None for the first
    state: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes of the entry."""
        previous = None if self.previous is None else str(self.previous)
        own = {"format": 1, "uuid": self.uuid, "author": self.author, "created": self.created}
        return strictjson.dumps({**self.state, **own, "previous": previous})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read an entry; a ValueError in one line if it is not as it must be."""
        value = strictjson.loads(data, what="the log entry")
        number = value.get("format")
        if type(number) is not int or number != 1:
            raise ValueError("the log entry's format is not 1")
        uuid, author, created = (value.get(key) for key in ("uuid", "author", "created"))
        previous = value.get("previous", 0)  # it must be there: null says that this is the first
        if not (isinstance(uuid, str) and isinstance(author, str) and isinstance(created, str)):
            raise ValueError("the log entry lacks uuid, author or created")
        if not isinstance(previous, str | None):
            raise ValueError("the log entry's previous is neither a SHA-256 nor null")
        return cls(
            uuid,
            author,
            created,
            previous=None if previous is None else Sha256.parse(previous),
            state={key: item for key, item in value.items() if key not in _OWN},
        )


def read_log(backend: Backend, dataset: str) -> Iterator[tuple[int, bytes, LogState]]:
    """Yield number (from 1), bytes and value of every entry, oldest first.

    Raises: `DamageError` where an entry cannot be read or does not follow from the one before.
    """
    previous: Sha256 | None = None
    number = 1
    while True:
        key = layout.log_key(dataset, number)
        try:
            data = backend.read(key, 0, MAX_ENTRY_BYTES)
            entry = LogState.decode(data)
        except KeyError:
            return
        except ValueError as error:
            raise DamageError(f"{key} in {backend.url}: {error}") from error
        if entry.previous != previous:
            raise DamageError(f"{key} in {backend.url} does not follow from the entry before it")
        yield number, data, entry
        previous = Sha256.of(data)
        number += 1


def append(
    backend: Backend, dataset: str, make: Callable[[LogState | None, Sha256 | None], LogState]
) -> int:
    """Add an entry and return its number.

    `make(last, previous)` builds it from the last entry (None: there is none) and the SHA-256 of
    that one's bytes; it is called again whenever another writer was faster.
    """
    while True:
        number, last, previous = 0, None, None
        for number, data, last in read_log(backend, dataset):  # noqa: B007  # the last ones are wanted
            previous = Sha256.of(data)
        if backend.create(layout.log_key(dataset, number + 1), make(last, previous).encode()):
            return number + 1
