"""Random folders as values, their listings as columns, and what they come to, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import BlobId, ObjectId, Sha256, TreeId
from dsa.cas.index import write_index
from dsa.cas.listing import FolderSum, Listing
from dsa.cas.locations import LocationRows, write_part
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.names import check_entry_name
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.trees import (
    EXECUTABLE,
    FILE,
    FOLDER,
    LINK,
    TreeEntry,
    encode_tree,
    folder_sha256,
    tree_header,
)


@dataclass(frozen=True)
class Leaf:
    """A file or link."""

    content: bytes
    mode: int = FILE


#: A folder: names, and what they are.
Folder = Mapping[str, Any]


def _is_name(text: str) -> bool:
    try:
        check_entry_name(text.encode("utf-8"))
    except ValueError:
        return False
    return True


#: Few letters, and those around `/` in git's order, so that names meet.
_LETTERS = st.sampled_from("ab.-0/ é\U0001f600\n\x01\x7f~").filter(lambda letter: letter != "/")
names = st.one_of(
    st.text(_LETTERS, min_size=1, max_size=4),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=6
    ),
).filter(_is_name)
leaves = st.builds(Leaf, st.binary(max_size=6), st.sampled_from([FILE, EXECUTABLE, LINK]))
folders = st.recursive(
    st.dictionaries(names, leaves, max_size=4),
    lambda below: st.dictionaries(names, st.one_of(leaves, below), max_size=5),
    max_leaves=12,
)


def entries_of(folder: Folder) -> list[tuple[TreeEntry, int, Sha256, FolderSum | None]]:
    """Return a folder's entries with sizes and SHA-256, as `encode_tree` and `folder_sha256` see them."""
    found: list[tuple[TreeEntry, int, Sha256, FolderSum | None]] = []
    for name, item in folder.items():
        if isinstance(item, Leaf):
            entry = TreeEntry(name, item.mode, ObjectId.of(item.content))
            found.append((entry, len(item.content), Sha256.of(item.content), None))
        else:
            below = sum_of(item)
            entry = TreeEntry(name, FOLDER, ObjectId(below.tree))
            found.append((entry, below.size, Sha256(below.sha256), below))
    return sorted(found, key=lambda item: item[0].name.encode() + b"/" * (item[0].mode == FOLDER))


def sum_of(folder: Folder) -> FolderSum:
    """Compute what a folder comes to, entry by entry."""
    entries = entries_of(folder)
    below = [item for *_, item in entries if item is not None]
    return FolderSum(
        tree=ObjectId.of(encode_tree(entry for entry, *_ in entries)).raw,
        sha256=folder_sha256((entry, size, check) for entry, size, check, _ in entries).raw,
        size=sum(size for _, size, *_ in entries),
        files=len(entries) - len(below) + sum(item.files for item in below),
        folders=len(below) + sum(item.folders for item in below),
    )


def walk(folder: Folder, path: str = "") -> list[tuple[str, Folder]]:
    """Return all folders with their paths."""
    found = [(path, folder)]
    for name, item in folder.items():
        if not isinstance(item, Leaf):
            found += walk(item, f"{path}/{name}" if path else name)
    return found


def rows_of(folder: Folder) -> list[dict[str, Any]]:
    """Return the rows of the whole listing, right and in order."""
    rows = []
    for path, inside in sorted(walk(folder), key=lambda item: item[0].encode()):
        for entry, size, check, below in entries_of(inside):
            rows.append(
                {
                    "folder": path,
                    "name": entry.name,
                    "mode": entry.mode,
                    "size": size,
                    "files": below.files if below else None,
                    "sha1": entry.id.raw,
                    "sha256": check.raw,
                    "pack": None,
                    "offset": None,
                }
            )
    return rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table with the types of a listing."""
    columns = {field.name: [row[field.name] for row in rows] for field in listing.SCHEMA}
    arrays = [
        pa.array(columns[field.name], pa.string()).dictionary_encode()
        if field.name == "folder"
        else pa.array(columns[field.name], field.type)
        for field in listing.SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=listing.SCHEMA)


def info_of(root: FolderSum, **said: Any) -> RevisionInfo:
    """Return a `revision.json` for a folder, of ds@1 unless said otherwise."""
    facts: dict[str, Any] = {
        "dataset": "ds",
        "revision": "1",
        "created": "2026-01-31T12:00:00.000Z",
        "author_name": "Ada",
        "author_email": "ada@example.org",
        "message": "",
        "files": root.files,
        "folders": root.folders,
        "bytes": root.size,
        "sha256": Sha256(root.sha256),
    }
    return RevisionInfo(**{**facts, **said})


def publish(backend: Backend, folder: Folder, *, with_index: bool = True, **said: Any) -> Published:
    """Publish a folder by hand, every object loose and with a location."""
    root = sum_of(folder)
    info = info_of(root, **said)
    text = info.encode()
    manifest = Manifest(TreeId(ObjectId(root.tree)), BlobId(ObjectId.of(text)))
    rows = LocationRows()
    contents = {
        item.content
        for _, inside in walk(folder)
        for item in inside.values()
        if isinstance(item, Leaf)
    }
    contents |= {
        encode_tree(entry for entry, *_ in entries_of(inside)) for _, inside in walk(folder)
    }
    contents.discard(tree_header(0))
    for content in contents:
        rows.add(ObjectId.of(content).raw, len(content), sha256(content).digest(), None, None)
    for content in [*contents, text, manifest.encode()]:
        backend.create(layout.object_key(ObjectId.of(content)), content)
    if contents:
        put_part(backend, rows.table())
    published = Published(info.dataset, info.revision, manifest.id, manifest, info, text)
    if with_index:
        put_index(backend, published, Listing(table_of(rows_of(folder)), root))
    backend.create(layout.ref_key(info.dataset, info.revision), Ref(manifest.id).encode())
    return published


def put_index(backend: Backend, published: Published, sealed: Listing) -> None:
    """Write the index of a revision, in place of any other."""
    with backend.staging() as staging:
        write_index(staging / "index", sealed, published.manifest, published.revision_json)
        backend.remove(layout.index_key(published.id))
        backend.publish(staging / "index", layout.index_key(published.id))


def put_part(backend: Backend, table: pa.Table) -> ObjectId:
    """Write a part of the locations, as a push does."""
    with backend.staging() as staging:
        return write_part(backend, table, staging)
