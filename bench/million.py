"""A store with one revision of a million files, of which there is only the index.

It is built straight from the library: making a million files to list one folder of them would
measure nothing else. Such a store has no objects, so `verify` and `checkout` would fail on it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pyarrow as pa

from bench.data import ListingSet
from dsa.cas import layout, listing
from dsa.cas.ids import ID_BYTES, SHA256_BYTES, BlobId, ObjectId, Sha256, TreeId
from dsa.cas.index import write_index
from dsa.cas.manifest import Manifest, RevisionInfo, now
from dsa.cas.refs import Ref
from dsa.cas.storefile import make_store as make_empty
from dsa.cas.trees import FILE, FOLDER
from dsa.remotes.local import LocalBackend


def make_store(folder: Path, shape: ListingSet) -> str:
    """Make a store with the revision `bench@1`; return one of its folders, from the middle."""
    backend = LocalBackend(folder)
    make_empty(backend)
    sealed = listing.seal(_rows(shape))
    root = sealed.root
    info = RevisionInfo(
        dataset="bench",
        revision="1",
        created=now(),
        author_name="Bench",
        author_email="bench@example.org",
        message="",
        files=root.files,
        folders=root.folders,
        bytes=root.size,
        sha256=Sha256(root.sha256),
    )
    text = info.encode()
    manifest = Manifest(TreeId(ObjectId(root.tree)), BlobId(ObjectId.of(text)))
    for data in (text, manifest.encode()):
        backend.create(layout.object_key(ObjectId.of(data)), data)
    with backend.staging() as staging:
        write_index(staging / "index", sealed, manifest, text)
        backend.publish(staging / "index", layout.index_key(manifest.id))
    backend.create(layout.ref_key("bench", "1"), Ref(manifest.id).encode())
    backend.flush()
    return f"folder-{shape.folders // 2:06}"


def _rows(shape: ListingSet) -> pa.Table:
    """Return the rows of a listing: folders in the root, the same number of files in each."""
    random = Random(shape.files)
    inside = shape.files // shape.folders
    folders = [f"folder-{number:06}" for number in range(shape.folders)]
    rows = shape.folders * (inside + 1)
    indices = [0] * shape.folders + [
        at for at in range(1, shape.folders + 1) for _ in range(inside)
    ]
    names = folders + [f"file-{number:05}.bin" for number in range(inside)] * shape.folders
    modes = [FOLDER] * shape.folders + [FILE] * shape.folders * inside
    columns = {
        "folder": pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), ["", *folders]),
        "name": pa.array(names, pa.string()),
        "mode": pa.array(modes, pa.uint32()),
        "size": pa.array([100 if mode == FILE else 0 for mode in modes], pa.int64()),
        "files": pa.nulls(rows, pa.int64()),
        "sha1": listing.fixed(random.randbytes(rows * ID_BYTES), ID_BYTES),
        "sha256": listing.fixed(random.randbytes(rows * SHA256_BYTES), SHA256_BYTES),
        "pack": pa.nulls(rows, pa.binary(ID_BYTES)),
        "offset": pa.nulls(rows, pa.int64()),
    }
    return pa.table(columns).cast(listing.SCHEMA)
