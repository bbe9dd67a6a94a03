"""The object store: a Backend that is a store, and everything the format lets one do with it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dsa.cas.backend import Backend
from dsa.cas.kept import Kept
from dsa.cas.objects import Objects
from dsa.cas.revisions import Revisions, called
from dsa.cas.storefile import StoreFile

if TYPE_CHECKING:
    from dsa.cas.indexes import Indexes


class ObjectStore:
    """One store, open; `cache` is a folder of this client's own for verdicts and rebuilt indexes.

    `name` is the remote's, where it has one. Raises: `NotFoundError` where there is no store,
    `DsaError` for one that needs a newer release.
    """

    def __init__(self, backend: Backend, cache: Path | None = None, *, name: str = "") -> None:
        self.backend = backend
        self.name = name
        self.file = StoreFile.read(backend)
        self._cache = cache
        self._see(Objects(backend, Kept(cache)))

    def refresh(self) -> None:
        """Forget what was read of the store, so that what others wrote since then is seen."""
        self._see(self.objects.anew())

    def _see(self, objects: Objects) -> None:
        self.objects = objects
        self.revisions = Revisions(objects, self.name)
        self.__dict__.pop("indexes", None)

    @property
    def url(self) -> str:
        """How a person names this store."""
        return self.backend.url

    def called(self, thing: object) -> str:
        """Return a dataset or a revision of it as a person names it in a command."""
        return called(self.name, str(thing))

    @cached_property
    def indexes(self) -> Indexes:
        """The listings of its revisions."""
        from dsa.cas.indexes import Indexes

        return Indexes(self.objects, self._cache)
