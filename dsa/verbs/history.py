"""The story of a dataset: its revisions, and what each changed against its parent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import pyarrow.compute as pc

from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.errors import DamageError, DsaError
from dsa.reports import LogEntry
from dsa.verbs.compare import changes, totals


def log(store: ObjectStore, dataset: str) -> Iterator[LogEntry]:
    """Yield the revisions of a dataset, newest first."""
    names = store.revisions.names(dataset)
    if not names:
        store.revisions.resolve(dataset)  # says what is missing
    damaged: list[str] = []
    for name in names:
        try:
            published = store.revisions.get(dataset, name)
            changed = _changes(store, published)
        except DamageError as error:
            damaged.append(str(error))
            continue
        info = published.info
        yield LogEntry(
            dataset=dataset,
            revision=name,
            manifest=str(published.id),
            created=info.created,
            author=info.author,
            message=info.message,
            parent=f"{info.parent.dataset}@{info.parent.revision}" if info.parent else None,
            files=info.files,
            bytes=info.bytes,
            changes=changed,
        )
    complain(damaged)


def complain(damaged: list[str]) -> None:
    """Raise what was wrong with revisions that were passed by, so that the others were told first."""
    if damaged:
        count = len(damaged)
        what = "revision" if count == 1 else "revisions"
        raise DamageError(f"{count} {what} cannot be read, and not listed", problems=damaged)


def shared_with_parent(store: ObjectStore, published: Published) -> tuple[int, int] | None:
    """Return how many files have a content that the parent has too, and their bytes.

    None without a parent, or where this store does not have it.
    """
    parent = _parent(store, published)
    if parent is None:
        return None
    rows, known = (store.indexes.listing(side).table for side in (published, parent))
    files = rows.filter(pc.not_equal(rows["mode"], FOLDER))
    shared = files.filter(pc.is_in(files["sha1"], value_set=known["sha1"].combine_chunks()))
    return len(shared), pc.sum(shared["size"], min_count=0).as_py()


def _changes(store: ObjectStore, published: Published) -> Mapping[str, int]:
    """Return the changes against the parent in numbers; against nothing where there is none here."""
    parent = _parent(store, published)
    rows = store.indexes.listing(published).table
    return totals(
        changes(store.indexes.listing(parent).table if parent else rows.slice(0, 0), rows)
    )


def _parent(store: ObjectStore, published: Published) -> Published | None:
    link = published.info.parent
    if link is not None:
        with suppress(DsaError):
            found = store.revisions.get(link.dataset, link.revision)
            if found.id == link.manifest:
                return found
    return None
