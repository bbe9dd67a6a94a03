"""Listings of published revisions: from an index that proves itself, else from the trees."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import index, layout, listing
from dsa.cas.ids import ObjectId, sha256_of
from dsa.cas.index import IndexFile, IndexProblem
from dsa.cas.listing import FolderSum, Listing
from dsa.cas.objects import Objects, Wanted
from dsa.cas.parquet import in_memory
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER, TreeEntry
from dsa.errors import DamageError, MissingObjectError, NotFoundError

logger = logging.getLogger(__name__)


class Indexes:
    """Listings of one store's revisions; `cache` is a folder of this client's own (None: none).

    The cache remembers which index files were proven, by their SHA-256, and holds the indexes
    that had to be made anew.
    """

    def __init__(self, objects: Objects, cache: Path | None) -> None:
        self._objects = objects
        self._backend = objects.backend
        self._cache = cache

    def listing(self, published: Published) -> Listing:
        """Return a revision's whole listing, every row of it proven."""
        info = published.info
        try:
            data = self._bytes(published)
            opened = index.open_index(in_memory(data), len(data))
            verdict = self._verdict(data, published)
            if verdict and os.path.exists(verdict) and opened.data == published.manifest.data:
                root = FolderSum(
                    opened.data.raw, info.sha256.raw, info.bytes, info.files, info.folders
                )
                return Listing(opened.read(), root)
            proven = index.prove(opened, published.manifest, info)
            self.trust(data, published)
            return proven
        except IndexProblem as error:
            logger.warning("the index of %s is not used: %s", published, error)
            return self._anew(published)

    def trust(self, data: bytes, published: Published) -> None:
        """Remember that the bytes of an index are proven: this client made them itself."""
        verdict = self._verdict(data, published)
        if verdict is not None:
            with suppress(OSError):
                verdict.parent.mkdir(parents=True, exist_ok=True)
                verdict.touch()

    def folder(self, published: Published, path: str) -> pa.Table:
        """Return the rows of one folder ("" is the root), proven along the way from the manifest.

        Raises: `NotFoundError` if there is no such folder.
        """
        try:
            return self._chain(published, path)
        except IndexProblem as error:
            logger.warning("the index of %s is not used: %s", published, error)
            rows = self._anew(published).table
            if path and row_of(rows, path)["mode"] != FOLDER:
                raise NotFoundError(f"{path} is not a folder in {published}") from None
            return rows.filter(pc.equal(rows["folder"].cast(pa.string()), path))

    def _chain(self, published: Published, path: str) -> pa.Table:
        opened = self._open(published)
        if opened.data != published.manifest.data:
            raise IndexProblem("it belongs to other data")
        tree, check = published.manifest.data.raw, published.info.sha256.raw
        rows = index.prove_folder(opened.folder(""), tree, check)
        walked = ""
        for name in path.split("/") if path else ():
            found = rows.filter(pc.equal(rows["name"], name))
            walked = f"{walked}/{name}" if walked else name
            if len(found) == 0:
                raise NotFoundError(f"there is no {walked} in {published}")
            if found["mode"][0].as_py() != FOLDER:
                raise NotFoundError(f"{walked} is not a folder in {published}")
            tree, check = found["sha1"][0].as_py(), found["sha256"][0].as_py()
            rows = index.prove_folder(opened.folder(walked), tree, check)
        return rows

    def _open(self, published: Published) -> IndexFile:
        key = layout.index_key(published.id)
        for path in (self._backend.local_path(key), self._own(published)):
            if path and os.path.exists(path):
                return index.open_index(path, path.stat().st_size)
        data = self._bytes(published)
        return index.open_index(in_memory(data), len(data))

    def _bytes(self, published: Published) -> bytes:
        own = self._own(published)
        if own and os.path.exists(own):  # False too where the cache may not be read
            return own.read_bytes()
        key = layout.index_key(published.id)
        found = self._backend.info(key)
        rows = published.info.files + published.info.folders
        if found is not None and found.size > index.most_bytes(rows):
            raise IndexProblem(f"it has {found.size} bytes, too many for {rows} files and folders")
        try:
            return self._backend.read(key)
        except KeyError:
            raise IndexProblem("it is missing") from None

    def _own(self, published: Published) -> Path | None:
        return self._cache and self._cache / "index" / f"{published.id}.parquet"

    def _verdict(self, data: bytes, published: Published) -> Path | None:
        # The revision.json too: one tree may stand for two contents, its SHA-256 does not.
        digest = sha256(data)
        digest.update(published.revision_json)
        return self._cache and self._cache / "proven" / digest.hexdigest()

    def _anew(self, published: Published) -> Listing:
        """Make a listing from the trees and the locations, and keep it in the cache."""
        table = from_trees(self._objects, published)
        try:
            sealed = index.prove_files(table, published.manifest, published.info)
        except IndexProblem as error:
            raise DamageError(
                f"the trees of {published} in {self._backend.url}: {error}"
            ) from error
        own = self._own(published)
        if own is not None:
            with suppress(OSError):
                own.parent.mkdir(parents=True, exist_ok=True)
                partial = own.with_name(uuid4().hex)
                index.write_index(partial, sealed, published.manifest, published.revision_json)
                partial.replace(own)
        return sealed


def from_trees(objects: Objects, published: Published) -> pa.Table:
    """Return a listing's rows by walking the trees; folders' sizes and SHA-256 are left to `seal`.

    Raises: `MissingObjectError`, naming everything that no location and no file is known of.
    """
    folders: list[tuple[str, list[TreeEntry]]] = []
    stack = [("", objects.tree(published.manifest.data))]
    limit = published.info.files + published.info.folders
    rows = 0
    while stack:
        path, entries = stack.pop()
        folders.append((path, entries))
        rows += len(entries)
        # A hostile tree may name one subtree many times over, level upon level.
        if rows > limit or path.count("/") >= listing.MAX_DEPTH:
            raise DamageError(f"the trees of {published} hold more than its revision.json says")
        for entry in entries:
            if entry.mode == FOLDER:
                below = f"{path}/{entry.name}" if path else entry.name
                stack.append((below, objects.tree(entry.id)))
    folders.sort(key=lambda folder: folder[0].encode())
    return _rows(objects, published, folders)


def _rows(
    objects: Objects, published: Published, folders: list[tuple[str, list[TreeEntry]]]
) -> pa.Table:
    flat = [(path, entry) for path, entries in folders for entry in entries]
    blobs = sorted({entry.id.raw for _, entry in flat if entry.mode != FOLDER})
    known = _known(objects, blobs)
    lost = [
        f"{path}/{entry.name}".lstrip("/")
        for path, entry in flat
        if entry.mode != FOLDER and entry.id.raw not in known
    ]
    if lost:
        raise MissingObjectError(
            f"{objects.backend.url} lacks {len(lost)} of the files of {published}", problems=lost
        )
    empty = (0, bytes(32), None, None)
    found = [known[entry.id.raw] if entry.mode != FOLDER else empty for _, entry in flat]
    columns = {
        "folder": pa.array([path for path, _ in flat], pa.string()).dictionary_encode(),
        "name": [entry.name for _, entry in flat],
        "mode": [entry.mode for _, entry in flat],
        "size": [place[0] for place in found],
        "files": [None] * len(flat),
        "sha1": [entry.id.raw for _, entry in flat],
        "sha256": [place[1] for place in found],
        "pack": [place[2] for place in found],
        "offset": [place[3] for place in found],
    }
    arrays = [
        columns[field.name] if field.name == "folder" else pa.array(columns[field.name], field.type)
        for field in listing.SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=listing.SCHEMA)


def _known(
    objects: Objects, blobs: list[bytes]
) -> dict[bytes, tuple[int, bytes, bytes | None, int | None]]:
    """Return size, SHA-256 and place of objects: from the locations, else by reading them."""
    known: dict[bytes, tuple[int, bytes, bytes | None, int | None]] = {}
    table = objects.locations.find(pa.array(blobs, pa.binary(20)))
    columns = (table[name].to_pylist() for name in ("id", "size", "sha256", "pack", "offset"))
    for oid, *place in zip(*columns, strict=True):
        known.setdefault(oid, tuple(place))
    for oid in blobs:
        if oid not in known:
            with suppress(DamageError), objects.open(Wanted(ObjectId(oid))) as file:
                digest = sha256_of(file)
                known[oid] = (file.tell(), digest, None, None)
    return known


def row_of(rows: pa.Table, path: str) -> dict[str, object]:
    """Return the row of a path among a listing's rows; `NotFoundError` if there is none."""
    folder, _, name = path.rpartition("/")
    mask = pc.and_(pc.equal(rows["folder"].cast(pa.string()), folder), pc.equal(rows["name"], name))
    found = rows.filter(mask).to_pylist()
    if not found:
        raise NotFoundError(f"there is no {path}")
    return dict(found[0])
