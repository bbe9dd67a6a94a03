"""`dsa.json`: what says that a folder is a store. docs/format.md, "Layout"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID, uuid4

from dsa.cas import layout, strictjson
from dsa.cas.backend import Backend
from dsa.cas.manifest import now
from dsa.errors import ConflictError, DamageError, DsaError, NotFoundError

_MAX_BYTES = 1024 * 1024
_KNOWN_FEATURES: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class StoreFile:
    """What `dsa.json` says; `features` are the names in `requires_to_write` that nobody here knows."""

    id: str
    unknown_to_write: tuple[str, ...]

    @classmethod
    def read(cls, backend: Backend) -> Self:
        """Read it; `NotFoundError` where there is no store, `DsaError` for one from the future."""
        try:
            data = backend.read(layout.STORE, 0, _MAX_BYTES)
        except KeyError:
            what = (
                "is no store: it has no dsa.json"
                if backend.exists()
                else "is no store: nothing is there"
            )
            raise NotFoundError(
                f"{backend.url} {what}", hint="`dsa init` or the first push makes one"
            ) from None
        try:
            return cls._decode(strictjson.loads(data, what=layout.STORE), backend.url)
        except ValueError as error:
            raise DamageError(f"{layout.STORE} of {backend.url}: {error}") from error

    @classmethod
    def _decode(cls, value: dict[str, Any], url: str) -> Self:
        store = str(UUID(str(value.get("store"))))
        to_read, to_write = (value.get(key, []) for key in ("requires", "requires_to_write"))
        for names in (to_read, to_write):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("requires and requires_to_write are lists of names")
        unknown = sorted(set(to_read) - _KNOWN_FEATURES)
        number = value.get("format")
        if type(number) is not int:
            raise ValueError("format is not a number")
        if number != 1:
            unknown = [f"format {number}", *unknown]
        if unknown:
            raise DsaError(
                f"the store {url} needs what this release of dsa does not know: {', '.join(unknown)}",
                hint="use a newer release",
            )
        return cls(store, tuple(sorted(set(to_write) - _KNOWN_FEATURES)))

    def check_writable(self, url: str) -> None:
        """Refuse every change to a store that needs more than this release knows."""
        if self.unknown_to_write:
            raise DsaError(
                f"to change the store {url}, dsa must know: {', '.join(self.unknown_to_write)}",
                hint="use a newer release; reading works",
            )


def make_store(backend: Backend) -> tuple[StoreFile, bool]:
    """Make an empty place a store; the store there, and whether it was made now.

    Raises: `ConflictError` where something else lies.
    """
    if check_place(backend):
        text = {
            "format": 1,
            "store": str(uuid4()),
            "created": now(),
            "requires": [],
            "requires_to_write": [],
        }
        if backend.create(layout.STORE, strictjson.dumps(text)):
            return StoreFile(str(text["store"]), ()), True
    return StoreFile.read(backend), False


def check_place(backend: Backend) -> bool:
    """Whether a store can be made here: False where one is, `ConflictError` where something else is."""
    names = set(backend.children(""))
    if layout.STORE in names:
        return False
    # The temporary files of another maker may be there already: they are no other thing.
    if names - {"site/"}:
        if backend.info(layout.STORE) is not None:  # made meanwhile
            return False
        raise ConflictError(
            f"{backend.url} holds something that is no store", hint="name an empty or a new folder"
        )
    return True
