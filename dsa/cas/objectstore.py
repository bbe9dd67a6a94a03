"""The object store: a Backend that is a store, and everything the format lets one do with it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dsa.cas.backend import Backend
from dsa.cas.objects import Objects
from dsa.cas.revisions import Revisions
from dsa.cas.storefile import StoreFile

if TYPE_CHECKING:
    from dsa.cas.indexes import Indexes


class ObjectStore:
    """One store, open; `cache` is a folder of this client's own for verdicts and rebuilt indexes.

    Raises: `NotFoundError` where there is no store, `DsaError` for one that needs a newer release.
    """

    def __init__(self, backend: Backend, cache: Path | None = None) -> None:
        self.backend = backend
        self.file = StoreFile.read(backend)
        self._cache = cache
        self.refresh()

    def refresh(self) -> None:
        """Forget what was read of the store, so that what others wrote since then is seen."""
        self.objects = Objects(self.backend)
        self.revisions = Revisions(self.objects)
        self.__dict__.pop("indexes", None)

    @property
    def url(self) -> str:
        """How a person names this store."""
        return self.backend.url

    @cached_property
    def indexes(self) -> Indexes:
        """The listings of its revisions."""
        from dsa.cas.indexes import Indexes

        return Indexes(self.objects, self._cache)
