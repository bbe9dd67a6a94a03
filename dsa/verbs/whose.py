"""Which paths of which revisions an object belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.ids import ID_BYTES
from dsa.cas.indexes import Indexes
from dsa.cas.objects import Objects
from dsa.cas.revisions import Published, Revisions
from dsa.errors import DsaError


def published(revisions: Revisions) -> Iterator[Published]:
    """Yield every revision that can be read; the others are passed by."""
    for dataset in revisions.datasets():
        for name in revisions.names(dataset):
            with suppress(DsaError):
                yield revisions.get(dataset, name)


def names_of(rows: pa.Table, revision: str, ids: pa.Array) -> Iterator[tuple[bytes, str]]:
    """Yield (raw id, `dataset@revision:path`) for the rows of a listing that have one of these ids."""
    found = rows.filter(pc.is_in(rows["sha1"], value_set=ids))
    for oid, path in zip(found["sha1"].to_pylist(), listing.paths(found).to_pylist(), strict=True):
        yield oid, f"{revision}:{path}"


def first_name(
    objects: Objects, oid: bytes, among: Iterable[Published] | None = None
) -> str | None:
    """Return `dataset@revision:path` of some file with this content."""
    indexes = Indexes(objects, None)
    ids = pa.array([oid], pa.binary(ID_BYTES))
    for revision in published(Revisions(objects)) if among is None else among:
        with suppress(DsaError):
            for _, name in names_of(indexes.listing(revision).table, str(revision), ids):
                return name
    return None
