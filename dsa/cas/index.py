"""The index: a manifest's listing as one Parquet file that proves itself. docs/format.md, "Index"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dsa.cas import listing
from dsa.cas.ids import BlobId, ManifestId, ObjectId, TreeId
from dsa.cas.listing import SCHEMA, Listing
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.parquet import SafeParquet
from dsa.cas.trees import FOLDER

ROW_GROUP = 16_384
_EMBEDDED_BYTES = 64 * 1024  # a longer revision.json is not repeated in the index
#: Bytes that one row may come to when it is decoded, whatever the file's header says.
_ROW_BYTES = 2 * listing.MAX_PATH_BYTES

#: The text columns, and the most bytes that a value of them may have.
_TEXTS = {"folder": listing.MAX_PATH_BYTES, "name": listing.MAX_NAME_BYTES}


#: What else stands in the file, and then some.
_MORE_BYTES = 1024 * 1024


class IndexProblem(ValueError):
    """An index that is not what its manifest says: it is ignored and made anew."""


def write_index(path: Path, sealed: Listing, manifest: Manifest, revision_json: bytes) -> None:
    """Write the index of a manifest; `path` must be new."""
    facts = {"dsa.format": "1", "dsa.data": str(manifest.data)}
    if len(revision_json) <= _EMBEDDED_BYTES:
        facts["dsa.revision"] = revision_json.decode()
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        use_dictionary=["folder", "mode", "pack"],
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        writer.add_key_value_metadata(facts)
        writer.write_table(sealed.table.select(SCHEMA.names).cast(SCHEMA), row_group_size=ROW_GROUP)


@dataclass(frozen=True, slots=True)
class IndexFile:
    """An open index whose header is in order; its rows are still to be proven."""

    parquet: SafeParquet
    data: TreeId
    revision_json: bytes | None

    @property
    def rows(self) -> int:
        """How many rows it has, by its header."""
        return self.parquet.rows

    def manifest(self) -> ManifestId | None:
        """The manifest that it belongs to, where it carries the whole `revision.json`."""
        made = self.described()
        return None if made is None else made.id

    def described(self) -> Manifest | None:
        """The manifest itself, where the whole `revision.json` is carried."""
        if self.revision_json is None:
            return None
        return Manifest(self.data, BlobId(ObjectId.of(self.revision_json)))

    def folder(self, folder: str) -> pa.Table:
        """Read one folder's rows, unproven."""
        found = [
            self._rows(group).filter(pc.field("folder") == folder)
            for group in range(self.parquet.groups)
            if self._may_hold(group, folder)
        ]
        return pa.concat_tables(found, promote_options="default") if found else SCHEMA.empty_table()

    def read(self) -> pa.Table:
        """Read all rows, unproven."""
        groups = [self._rows(group) for group in range(self.parquet.groups)]
        return (
            pa.concat_tables(groups).unify_dictionaries().combine_chunks()
            if groups
            else SCHEMA.empty_table()
        )

    def _may_hold(self, group: int, folder: str) -> bool:
        bounds = self.parquet.least_and_most(group, "folder")
        return bounds is None or bounds[0] <= folder <= bounds[1]

    def _rows(self, group: int) -> pa.Table:
        try:
            return self.parquet.read(group)
        except ValueError as error:
            raise IndexProblem(f"its rows cannot be read: {error}") from error


def open_index(
    source: BinaryIO | Path | pa.Buffer,
    size: int,
    need: Callable[[int, int], None] | None = None,
) -> IndexFile:
    """Open an index of `size` bytes; `IndexProblem` if its header cannot be trusted to be read on.

    Nothing is decoded yet. `folder` is decoded as a dictionary. `need` is `SafeParquet`'s.
    """
    try:
        parquet = SafeParquet(source, size, SCHEMA, _TEXTS, dictionaries=("folder",), need=need)
        data = TreeId(ObjectId.parse(parquet.facts.get(b"dsa.data", b"").decode("ascii")))
    except ValueError as error:
        raise IndexProblem(f"its header cannot be read: {error}") from error
    if parquet.facts.get(b"dsa.format") != b"1":
        raise IndexProblem("it has a format that this release does not know")
    return IndexFile(parquet, data, parquet.facts.get(b"dsa.revision"))


def most_bytes(rows: int) -> int:
    """Return how large the file of an index of so many rows may be; a sparse file may claim anything."""
    return rows * _ROW_BYTES + _MORE_BYTES


def prove(index: IndexFile, manifest: Manifest, info: RevisionInfo) -> Listing:
    """Read an index whole and check every row of it against the manifest; `IndexProblem` if it fails."""
    if index.data != manifest.data:
        raise IndexProblem("it belongs to other data")
    if index.rows != info.files + info.folders:
        raise IndexProblem(
            f"it has {index.rows} rows, and the revision {info.files + info.folders} files and folders"
        )
    return prove_rows(index.read(), manifest, info)


def prove_rows(table: pa.Table, manifest: Manifest, info: RevisionInfo) -> Listing:
    """Check a listing's rows against the manifest; `IndexProblem` if one of them is wrong."""
    sealed = prove_files(table, manifest, info)
    checked = ["size", "files", "sha1", "sha256"]
    if not sealed.table.select(checked).equals(table.select(checked).combine_chunks()):
        raise IndexProblem("a folder's row is not what the rows below it come to")
    return sealed


def prove_files(table: pa.Table, manifest: Manifest, info: RevisionInfo) -> Listing:
    """Check a listing's rows against the manifest, its folders' rows computed anew; `IndexProblem`."""
    for problem in listing.problems(table):
        raise IndexProblem(f"it has {problem}")
    try:
        sealed = listing.seal(table)
    except ValueError as error:
        raise IndexProblem(f"it has {error}") from error
    root = sealed.root
    if root.tree != manifest.data.raw or root.sha256 != info.sha256.raw:
        raise IndexProblem("its rows do not come to the revision's tree and SHA-256")
    if (root.files, root.folders, root.size) != (info.files, info.folders, info.bytes):
        raise IndexProblem("its rows do not come to the revision's files, folders and bytes")
    return sealed


def prove_folder(rows: pa.Table, tree: bytes, sha256: bytes) -> pa.Table:
    """Check one folder's rows against its raw digests in the folder above; `IndexProblem` if wrong."""
    for problem in listing.problems(rows):
        raise IndexProblem(f"it has {problem}")
    if not pc.all(pc.equal(pc.is_valid(rows["files"]), is_folder(rows)), min_count=0).as_py():
        raise IndexProblem("it has a number of files for what is no folder, or none for a folder")
    if listing.digests(rows) != (tree, sha256):
        raise IndexProblem("a folder's rows do not come to the folder's digests")
    return rows


def is_folder(table: pa.Table) -> pa.ChunkedArray:
    """Return which rows are folders."""
    return pc.equal(table["mode"], FOLDER)
