"""Listings of published revisions: from an index that proves itself, else from the trees."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import index, layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import ManifestId, ObjectId, sha256_of
from dsa.cas.index import IndexFile, IndexProblem
from dsa.cas.kept import INDEX, PROVEN, Kept
from dsa.cas.listing import FolderSum, Listing
from dsa.cas.objects import Objects, Wanted
from dsa.cas.parquet import in_memory
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER, TreeEntry
from dsa.errors import DamageError, MissingObjectError, NotFoundError, TakenError

if TYPE_CHECKING:
    from dsa.cas.far import FarIndexes, Sparse

logger = logging.getLogger(__name__)


#: A far index up to this size is fetched whole also for one folder: its row groups are not smaller.
_WHOLE_BYTES = 2 * 1024 * 1024


def publish(backend: Backend, staged: Path, manifest: ManifestId) -> None:
    """Give an index its name, under a mark; one of another size that is there is written anew.

    It may be a piece that an interrupted copy left. It may also be another writer's, with other
    hints: readers prove whatever they read, so that either will do.
    """
    key = layout.index_key(manifest)
    try:
        backend.publish(staged, key)
    except TakenError as error:
        logger.info("%s: it is written anew", error)
        backend.write(key, staged.read_bytes())
        staged.unlink()


class Indexes:
    """Listings of one store's revisions; `cache` is a folder of this client's own (None: none).

    The cache remembers which index files were proven, by their SHA-256, and holds the indexes
    that had to be made anew, and those that were fetched whole from a far store.
    """

    def __init__(self, objects: Objects, cache: Path | None) -> None:
        self._objects = objects
        self._backend = objects.backend
        self._cache = cache
        self._kept = Kept(cache) if cache is not None else objects.kept

    def listing(self, published: Published) -> Listing:
        """Return a revision's whole listing, every row of it proven."""
        for name in self._names(published):
            data = self._kept.read(name)
            if data is not None:
                try:
                    return self._believed(data, published)
                except IndexProblem as error:
                    self._drop(name, published, error)
        try:
            return self._believed(self._stored(published), published)
        except IndexProblem as error:
            logger.warning("the index of %s is not used: %s", published, error)
            return self._anew(published)

    def trust(self, data: bytes, published: Published) -> None:
        """Remember that the bytes of an index are proven: this client made them itself."""
        self._remember(data, published)
        if self._objects.far is not None:
            self._kept.write(self._fetched_name(published), data)
            for small in (published.manifest.encode(), published.revision_json):
                self._kept.write_object(small)

    def folder(self, published: Published, path: str) -> pa.Table:
        """Return the rows of one folder ("" is the root), proven along the way from the manifest.

        Raises: `NotFoundError` if there is no such folder.
        """
        for name in self._names(published) if self._objects.far is not None else ():
            kept = self._kept.path(name)
            if kept is not None:
                try:
                    return self._chain(_opened(kept), published, path)
                except IndexProblem as error:
                    self._drop(name, published, error)
        try:
            return self._chain(self._open(published), published, path)
        except IndexProblem as error:
            logger.warning("the index of %s is not used: %s", published, error)
            rows = self._anew(published).table
            if path and row_of(rows, path)["mode"] != FOLDER:
                raise NotFoundError(f"{path} is not a folder in {published}") from None
            return rows.filter(pc.equal(rows["folder"].cast(pa.string()), path))

    # --- proving --------------------------------------------------------------------------------

    def _believed(self, data: bytes, published: Published) -> Listing:
        """Return the listing in an index file that was proven before, or is now; `IndexProblem`."""
        info = published.info
        opened = index.open_index(in_memory(data), len(data))
        verdict = self._verdict(data, published)
        if verdict and self._kept.path(verdict) and opened.data == published.manifest.data:
            root = FolderSum(opened.data.raw, info.sha256.raw, info.bytes, info.files, info.folders)
            return Listing(opened.read(), root)
        proven = index.prove(opened, published.manifest, info)
        self._remember(data, published)
        return proven

    def _remember(self, data: bytes, published: Published) -> None:
        verdict = self._verdict(data, published)
        if verdict is not None:
            self._kept.write(verdict, b"")

    def _verdict(self, data: bytes, published: Published) -> str | None:
        # The revision.json too: one tree may stand for two contents, its SHA-256 does not.
        digest = sha256(data)
        digest.update(published.revision_json)
        return None if self._cache is None else f"{PROVEN}{digest.hexdigest()}"

    def _chain(self, opened: IndexFile, published: Published, path: str) -> pa.Table:
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

    # --- where an index comes from --------------------------------------------------------------

    def _open(self, published: Published) -> IndexFile:
        """Open the store's own index; of a far one that is large only what is read is fetched."""
        path = self._backend.local_path(layout.index_key(published.id))
        if path is not None:
            if os.path.exists(path):
                return _opened(path)
            for name in self._names(published):
                kept = self._kept.path(name)
                if kept is not None:
                    return _opened(kept)
            raise IndexProblem("it is missing")
        far = self._objects.far
        assert far is not None
        sparse = self._sparse(far, published)
        if sparse.size <= _WHOLE_BYTES:
            data = self._stored(published)
            return index.open_index(in_memory(data), len(data))
        return far.opened(sparse)

    def _stored(self, published: Published) -> bytes:
        """Return the store's own index; of a far store it is kept, too."""
        far = self._objects.far
        if far is None:
            key = layout.index_key(published.id)
            found = self._backend.info(key)
            self._check_size(found.size if found else 0, published)
            try:
                return self._backend.read(key)
            except KeyError:
                raise IndexProblem("it is missing") from None
        sparse = self._sparse(far, published)
        sparse.need(0, sparse.size)
        data: bytes = sparse.buffer.to_pybytes()
        if sparse.size > _WHOLE_BYTES:
            far.forget(published.id)  # one copy in memory is enough
        self._kept.write(self._fetched_name(published), data)
        return data

    def _sparse(self, far: FarIndexes, published: Published) -> Sparse:
        try:
            sparse = far.sparse(published.id)
        except KeyError:
            raise IndexProblem("it is missing") from None
        self._check_size(sparse.size, published)
        return sparse

    def _check_size(self, size: int, published: Published) -> None:
        rows = published.info.files + published.info.folders
        if size > index.most_bytes(rows):
            raise IndexProblem(f"it has {size} bytes, too many for {rows} files and folders")

    def _names(self, published: Published) -> tuple[str, ...]:
        """Return under which names an index may be kept: made anew, and fetched."""
        own = f"{INDEX}{published.id}.parquet"
        return (own,) if self._objects.far is None else (own, self._fetched_name(published))

    def _fetched_name(self, published: Published) -> str:
        # Of this place alone: in another one the same files may lie elsewhere.
        place = sha256(self._backend.place.encode()).hexdigest()[:16]
        return f"{INDEX}{published.id}-{place}.parquet"

    def _drop(self, name: str, published: Published, error: IndexProblem) -> None:
        logger.warning("the index of %s in the cache is not used: %s", published, error)
        self._kept.drop(name)

    def _anew(self, published: Published) -> Listing:
        """Make a listing from the trees and the locations, and keep it in the cache."""
        table = from_trees(self._objects, published)
        try:
            sealed = index.prove_files(table, published.manifest, published.info)
        except IndexProblem as error:
            raise DamageError(
                f"the trees of {published} in {self._backend.url}: {error}"
            ) from error
        if self._cache is not None:
            with TemporaryDirectory(prefix="dsa-") as folder:
                path = Path(folder) / "index"
                index.write_index(path, sealed, published.manifest, published.revision_json)
                self._kept.write(f"{INDEX}{published.id}.parquet", path.read_bytes())
        return sealed


def _opened(path: Path) -> IndexFile:
    try:
        return index.open_index(path, path.stat().st_size)
    except OSError as error:
        raise IndexProblem(f"it cannot be read: {error.strerror}") from error


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
