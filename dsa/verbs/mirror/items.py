"""What has to travel, object by object, and in which pieces: whole packs, ranges, files of their own. Pure.

Rows are those of a listing; Python objects are made of one pack's rows at a time.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.ids import ObjectId
from dsa.cas.objects import Wanted
from dsa.cas.packs import HEADER_BYTES, MAX_BYTES, Directory, bytes_with_directory, directory_of
from dsa.workers.checker import Places
from dsa.workers.packer import FinishedPack

#: The most that is read of a pack at once; so much of each request lies in memory.
RANGE_BYTES = 4 * 1024 * 1024


class Item(NamedTuple):
    """An object that is wanted: raw digests, size in bytes, and where the source says it lies."""

    oid: bytes
    sha256: bytes
    size: int
    pack: bytes | None = None  # raw id; None: a file of its own
    offset: int | None = None

    def wanted(self) -> Wanted:
        """Return it without its place, as the object store asks for it."""
        return Wanted(ObjectId(self.oid), self.size, self.sha256)


def items(rows: pa.Table) -> list[Item]:
    """Return rows of a listing as items."""
    names = ("sha1", "sha256", "size", "pack", "offset")
    return list(map(Item, *(rows[name].to_pylist() for name in names)))


@dataclass(frozen=True, slots=True)
class Group:
    """The wanted objects of one pack, in the order in which they lie there."""

    pack: ObjectId
    items: list[Item]

    @property
    def key(self) -> str:
        """Where the pack lies."""
        return layout.pack_key(self.pack)

    @property
    def size(self) -> int | None:
        """What the pack's file measures if these are all that it holds; None: that cannot be."""
        at = 0
        for item in self.items:
            if item.offset != at + HEADER_BYTES:
                return None
            at = item.offset + item.size
        size = bytes_with_directory(at, len(self.items))
        return size if size <= MAX_BYTES else None

    def directory(self) -> Directory:
        """Return what the pack's directory holds if these are all its entries; without CRCs."""
        sizes = array("I", [item.size for item in self.items])
        ids = b"".join(item.oid for item in self.items)
        return directory_of(ids, sizes, array("I", bytes(4 * len(sizes))))

    def places(self) -> Places:
        """Return them as what is said of the pack."""
        return Places(
            b"".join(item.oid for item in self.items),
            b"".join(item.sha256 for item in self.items),
            [item.offset or 0 for item in self.items],
            [item.size for item in self.items],
        )

    def finished(self, staged: str, directory: Directory) -> FinishedPack:
        """Return the pack as one that waits in the staging folder."""
        return FinishedPack(
            staged, self.pack.raw, directory, b"".join(item.sha256 for item in self.items)
        )

    def ranges(self) -> Iterator[list[Item]]:
        """Yield runs of objects that lie side by side, each up to what is read at once.

        An object that is large enough for a file of its own is a run by itself.

        Nothing between two of them is ever read: it may be another dataset's.
        """
        run: list[Item] = []
        end = begin = 0
        for item in self.items:
            at = item.offset or 0
            is_large = max(item.size, run[0].size if run else 0) >= layout.LOOSE_FROM_BYTES
            is_far = at != end + HEADER_BYTES or at + item.size - begin > RANGE_BYTES
            if run and (is_large or is_far):
                yield run
                run = []
            if not run:
                begin = at
            run.append(item)
            end = at + item.size
        if run:
            yield run


def in_packs(rows: pa.Table) -> Iterator[Group]:
    """Yield the objects that lie in packs, pack by pack, in the order in which rows first name them."""
    packed = rows.filter(pc.and_(pc.is_valid(rows["pack"]), pc.is_valid(rows["offset"])))
    if not len(packed):
        return
    packs = listing.one_chunk(packed["pack"])
    rank = pc.index_in(packs, value_set=pc.unique(packs))
    order = pa.table({"rank": rank, "offset": packed["offset"]})
    order_of = pc.sort_indices(order, sort_keys=[("rank", "ascending"), ("offset", "ascending")])
    packed = packed.take(order_of)
    start = 0
    for end in pc.run_end_encode(rank.take(order_of)).run_ends.to_pylist():
        found = items(packed.slice(start, end - start))
        assert found[0].pack is not None
        yield Group(ObjectId(found[0].pack), found)
        start = end


def loose(rows: pa.Table) -> pa.Table:
    """Return the rows of objects that have files of their own."""
    return rows.filter(pc.or_(pc.is_null(rows["pack"]), pc.is_null(rows["offset"])))
