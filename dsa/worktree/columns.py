"""A scan and its digests as the columns of a listing."""

from __future__ import annotations

from array import array
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.ids import ID_BYTES, SHA256_BYTES
from dsa.cas.trees import FOLDER
from dsa.errors import DsaError
from dsa.workers.signature import SIGNATURE
from dsa.worktree.scan import Folder, Scan
from dsa.worktree.selection import Selection
from dsa.worktree.statcache import Digests


def table_of(scan: Scan, digests: Digests) -> pa.Table:
    """Return a listing's rows for what was scanned; folders' rows and unknown digests are zeros."""
    indices, modes, sizes = array("i"), array("I"), array("q")
    names: list[pa.Array] = []
    pending: list[str] = []
    for number, folder in enumerate(scan.folders):
        indices.extend([number] * len(folder.names))
        modes.extend(folder.modes)
        sizes.extend(folder.sizes)
        pending += folder.names
        if len(pending) >= 65_536:
            names.append(pa.array(pending, pa.string()))
            pending = []
    names.append(pa.array(pending, pa.string()))
    rows = len(modes)
    dictionary = pa.array([folder.path for folder in scan.folders], pa.string())
    folders = pa.DictionaryArray.from_arrays(listing.numbers(indices, pa.int32()), dictionary)
    columns = [
        folders,
        pa.concat_arrays(names),
        listing.numbers(modes, pa.uint32()),
        listing.numbers(sizes, pa.int64()),
        pa.nulls(rows, pa.int64()),
        listing.fixed(bytes(digests.sha1), ID_BYTES),
        listing.fixed(bytes(digests.sha256), SHA256_BYTES),
        pa.nulls(rows, pa.binary(ID_BYTES)),
        pa.nulls(rows, pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=listing.SCHEMA)


def scan_of(root: Path, table: pa.Table, signatures: bytes) -> tuple[Scan, Digests]:
    """Return a listing's rows as the scan that finds them on disk with these signatures."""
    found = Scan(root)
    names, modes, sizes = (table[name] for name in ("name", "mode", "size"))
    for run in listing.runs(table):
        rows = slice(run.start, run.stop)
        found.folders.append(
            Folder(
                run.folder,
                names[rows].to_pylist(),
                array("I", modes[rows].to_pylist()),
                array("q", sizes[rows].to_pylist()),
                signatures[run.start * SIGNATURE.size : run.stop * SIGNATURE.size],
            )
        )
    return found, Digests(
        bytearray(listing.raw(table["sha1"])), bytearray(listing.raw(table["sha256"]))
    )


def carried_over(scanned: pa.Table, base: pa.Table, selection: Selection) -> pa.Table:
    """Return the scanned rows, and with them what was not selected of the revision checked out.

    A path that was not selected but is there is taken as it is there: somebody put it there.
    Raises: `DsaError` for a file that stands where a folder was left out.
    """
    paths = listing.paths(base)
    unselected = pa.array([not chosen for chosen in selection.mask(paths.to_pylist())], pa.bool_())
    absent = pc.invert(pc.is_in(paths, value_set=listing.paths(scanned)))
    carried = base.filter(pc.and_(listing.is_leaf(base), pc.and_(unselected, absent)))
    is_folder = pc.equal(scanned["mode"], FOLDER)
    have, files = (
        set(listing.paths(scanned.filter(mask)).to_pylist())
        for mask in (is_folder, pc.invert(is_folder))
    )
    have |= set(listing.paths(carried.filter(pc.equal(carried["mode"], FOLDER))).to_pylist())
    # A folder comes along when anything in it does.
    wanted = _above(pc.unique(carried["folder"].cast(pa.string())).to_pylist())
    blocked = sorted(wanted & files)
    if blocked:
        raise DsaError(
            f"{len(blocked)} files stand in the place of folders that were not selected here",
            hint="rename them, or select those folders with `dsa checkout --only`",
            problems=blocked,
        )
    rows = (scanned, carried, _folders(sorted(wanted - have)))
    return in_order(pa.concat_tables([plain(table) for table in rows]))


def _above(folders: list[str]) -> set[str]:
    """Return these folders and all that they are in, but for the root."""
    found: set[str] = set()
    for path in folders:
        folder = path
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _folders(paths: list[str]) -> pa.Table:
    """Return rows for folders."""
    split = [path.rpartition("/") for path in paths]
    rows = len(paths)
    table = {
        "folder": pa.array([folder for folder, _, _ in split], pa.string()).dictionary_encode(),
        "name": pa.array([name for _, _, name in split], pa.string()),
        "mode": pa.array([FOLDER] * rows, pa.uint32()),
        "size": pa.array([0] * rows, pa.int64()),
        "files": pa.nulls(rows, pa.int64()),
        "sha1": listing.fixed(bytes(ID_BYTES * rows), ID_BYTES),
        "sha256": listing.fixed(bytes(SHA256_BYTES * rows), SHA256_BYTES),
        "pack": pa.nulls(rows, pa.binary(ID_BYTES)),
        "offset": pa.nulls(rows, pa.int64()),
    }
    return pa.table(table)


def plain(table: pa.Table) -> pa.Table:
    """Return a listing's rows with `folder` as plain text, so that tables can be joined."""
    return table.set_column(0, "folder", table["folder"].cast(pa.string()))


def in_order(table: pa.Table) -> pa.Table:
    """Return rows (with plain folders) sorted as a listing is."""
    slash = pc.if_else(pc.equal(table["mode"], FOLDER), "/", "")
    keyed = table.append_column("order", pc.binary_join_element_wise(table["name"], slash, ""))
    at = pc.sort_indices(keyed, sort_keys=[("folder", "ascending"), ("order", "ascending")])
    rows = table.take(at).combine_chunks()
    return rows.set_column(0, "folder", listing.one_chunk(rows["folder"]).dictionary_encode()).cast(
        listing.SCHEMA
    )
