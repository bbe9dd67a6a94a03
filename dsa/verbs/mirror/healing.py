"""Which of the revisions that both stores have are hurt at the target: then mirroring them again mends them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.ids import ID_BYTES
from dsa.cas.listing import Listing
from dsa.cas.objects import Objects


def lost(objects: Objects) -> pa.Array:
    """Return the ids of what is recorded as damaged, and not known to lie in another place, too."""
    ids = pa.array(sorted({oid for oid, _ in objects.damaged}), pa.binary(ID_BYTES))
    if not len(ids):
        return ids
    located = listing.one_chunk(objects.locations.find(ids)["id"])
    return ids.filter(pc.invert(pc.is_in(ids, value_set=located)))


def needs_any(sealed: Listing, ids: pa.Array) -> bool:
    """Whether a file or a tree of a revision is one of these objects."""
    held = pa.concat_arrays(
        [listing.one_chunk(sealed.table["sha1"]), listing.fixed(sealed.root.tree, ID_BYTES)]
    )
    return bool(pc.any(pc.is_in(held, value_set=ids), min_count=0).as_py())
