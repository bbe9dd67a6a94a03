"""What a store says of itself in `listing/`, for a place that cannot say what is in a folder.

Refs, parts of locations and logs are found so, and nothing else. It is somebody's word, checked in
dsa/cas/listings.py; that a listing is missing is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from dsa.cas import history, layout, listings
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.concurrent import each
from dsa.errors import AccessError, DamageError

logger = logging.getLogger(__name__)

#: More entries than any log has; a server may have an answer for every name.
MOST_ENTRIES = 100_000


class Listed:
    """The listings of one place, read anew whenever something is asked."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._told: set[str] = set()

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield what lies below refs/, locations/ and log/; times are not known.

        `site/` is another place's business: nothing. Raises: `AccessError` for every other folder,
        `DamageError` for what is no listing.
        """
        if prefix.startswith(layout.REFS):
            yield from self._refs(prefix)
        elif prefix == layout.LOCATIONS:
            for key, size in listings.parse_parts(*self._read(listings.LOCATIONS)):
                yield FileInfo(key, size, 0.0)
        elif prefix.startswith(layout.LOG):
            for dataset in self._below(prefix.removeprefix(layout.LOG)):
                yield from self._log(dataset)
        elif not prefix.startswith(layout.SITE):
            raise AccessError(
                f"{self._backend.url} cannot list {prefix or 'its files'}: it is read by HTTP",
                hint="name revisions, or use the place itself (its path, s3:// or sftp://)",
            )

    def _refs(self, prefix: str) -> Iterator[FileInfo]:
        name = prefix.removeprefix(layout.REFS).removesuffix("/")
        if "@" in name:
            return  # a ref is no folder
        datasets = self._below(f"{name}/" if name else "")

        def revisions(dataset: str) -> dict[str, str]:
            key = listings.revisions_key(dataset)
            return listings.parse_revisions(*self._read(key, needed=dataset in datasets))

        wanted = sorted({*datasets, name} if name else datasets)
        for dataset, found in zip(wanted, each(wanted, revisions, self._backend.jobs), strict=True):
            for revision, ref in found.items():
                yield FileInfo(layout.ref_key(dataset, revision), len(ref), 0.0)

    def _below(self, folder: str) -> Sequence[str]:
        """Return the datasets that are listed and lie at or below a folder (with a final `/`; empty: all)."""
        datasets = listings.parse_datasets(*self._read(listings.DATASETS))
        return [dataset for dataset in datasets if f"{dataset}/".startswith(folder)]

    def _log(self, dataset: str) -> Iterator[FileInfo]:
        """Yield a dataset's log: its entries are numbered without a gap.

        It ends with the first that is none, which is for the reader to name.
        """
        for number in range(1, MOST_ENTRIES + 1):
            key = layout.log_key(dataset, number)
            try:
                data = self._backend.read(key, 0, history.MAX_ENTRY_BYTES + 1)
            except KeyError:
                return
            yield FileInfo(key, len(data), 0.0)
            try:
                history.LogState.decode(data)
            except ValueError:
                return
        raise DamageError(f"{self._backend.url}: the log of {dataset} does not end")

    def _read(self, key: str, *, needed: bool = True) -> tuple[str, bytes]:
        """Return how a listing is called, and what it holds; nothing where it is missing."""
        url = self._backend.url
        try:
            data = self._backend.read(key, 0, listings.MAX_BYTES + 1)
        except KeyError:
            data = b""
            if needed and key not in self._told:
                self._told.add(key)
                logger.warning(
                    "%s is missing in %s: either nothing was published there, or its listing/ is "
                    "not kept; what has a full name may be found all the same",
                    key,
                    url,
                )
        return f"{key} in {url}", data
