"""What differs: between two revisions, two folders, a worktree and what is checked out in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.names import is_folder, parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.trees import FOLDER
from dsa.errors import DsaError, NotFoundError
from dsa.progress import SILENT, Progress
from dsa.reports import Change, DiffReport, StatusReport
from dsa.verbs.survey import Survey, survey
from dsa.worktree.scan import scan
from dsa.worktree.statcache import Digests
from dsa.worktree.state import Worktree, base_table, refuse_unfinished

#: From a revision as a person names it to the store it is in, and its name there.
FindStore = Callable[[str], tuple[ObjectStore | None, str]]


def diff(find_store: FindStore, a: str, b: str, *, progress: Progress = SILENT) -> DiffReport:
    """Say what turns `a` into `b`; each is a revision, or a folder that begins with `.`, `/` or `~`."""
    old, new = (_side(find_store, text, progress) for text in (a, b))
    found = changes(old, new)
    return DiffReport(a, b, tuple(found), totals(found))


def status(folder: Path, *, progress: Progress = SILENT) -> StatusReport:
    """Say how the worktree around a folder differs from what is checked out in it."""
    refuse_unfinished(folder)
    tree = Worktree.around(folder)
    if tree is None:
        raise NotFoundError(
            f"nothing is checked out in {folder.absolute()} or above it",
            hint="`dsa checkout DATASET@REVISION DIR` does; `dsa diff` compares any two folders",
        )
    surveyed = survey(tree.root, progress=progress)
    surveyed.read_unknown(progress)
    surveyed.remember()
    sealed = listing.seal(surveyed.table())
    found: list[Change] = []
    if (sealed.root.tree, sealed.root.sha256) != (tree.data.raw, tree.sha256.raw):
        found = changes(_base(tree), sealed.table)
    return StatusReport(
        folder=str(tree.root),
        store=tree.store,
        dataset=tree.dataset,
        revision=tree.revision,
        manifest=str(tree.manifest),
        selection=tree.selection.selectors,
        changes=tuple(found),
        totals=totals(found),
        files_read=surveyed.files_read,
        left_out=dict(surveyed.scan.left_out),
    )


def verify_folder(
    store: ObjectStore, folder: Path, spec: str, *, progress: Progress = SILENT
) -> DiffReport:
    """Read every file of a folder, whatever its stat cache says, and compare it with a revision."""
    wanted = _revision(store, spec)
    found = scan(folder)
    rows = len(found)
    digests = Digests(bytearray(20 * rows), bytearray(32 * rows))
    at = 0
    for part in found.folders:
        digests.unknown += (at + here for here, mode in enumerate(part.modes) if mode != FOLDER)
        at += len(part.modes)
    surveyed = Survey(found, digests, None, False, 0)
    surveyed.read_unknown(progress)
    differences = changes(wanted, listing.seal(surveyed.table()).table)
    # What no revision can hold differs too: a FIFO, a link that leaves the tree.
    differences += [Change("added", path) for path in found.strange]
    return DiffReport(spec, str(folder), tuple(differences), totals(differences))


def changes(old: pa.Table, new: pa.Table) -> list[Change]:
    """Return what turns one sealed listing into the other, sorted by path.

    Contents are told apart by their SHA-256; folders that are equal are passed over whole. A file that went and one that came with
    the same content and kind are one that was renamed. Of folders only empty ones are named.
    """
    old, new = _differing_folders(old, new)
    old_paths, new_paths = listing.paths(old), listing.paths(new)
    at = pc.index_in(new_paths, value_set=old_paths)
    both = listing.one_chunk(pc.is_valid(at))
    modified = _modified(old.take(at.filter(both)), new.filter(both), new_paths.filter(both))
    came = _rows(new.filter(pc.invert(both)), new_paths.filter(pc.invert(both)))
    gone = pc.invert(pc.is_in(old_paths, value_set=new_paths))
    went = _rows(old.filter(gone), old_paths.filter(gone))
    found = [*modified, *_moves(went, came)]
    return sorted(found, key=lambda change: change.path.encode())


def totals(found: Sequence[Change]) -> Mapping[str, int]:
    """Return how many changes there are of each kind, and the bytes that came and went."""
    kinds = Counter(change.kind for change in found)
    moved = [change for change in found if change.kind not in ("renamed", "mode")]
    return {
        **{kind: kinds[kind] for kind in ("added", "removed", "modified", "renamed", "mode")},
        "bytes_added": sum(change.new_size or 0 for change in moved),
        "bytes_removed": sum(change.old_size or 0 for change in moved),
    }


def _differing_folders(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Drop the rows of folders that have the same tree in the same place on both sides."""
    trees = []
    for table in (old, new):
        folders = table.filter(pc.equal(table["mode"], FOLDER))
        trees.append(
            dict(
                zip(listing.paths(folders).to_pylist(), folders["sha256"].to_pylist(), strict=True)
            )
        )
    same = pa.array(
        [path for path, check in trees[0].items() if trees[1].get(path) == check], pa.string()
    )
    if not len(same):
        return old, new
    rest = [
        table.filter(pc.invert(pc.is_in(_folders(table), value_set=same))) for table in (old, new)
    ]
    return rest[0], rest[1]


def _folders(table: pa.Table) -> pa.Array:
    return listing.one_chunk(table["folder"]).cast(pa.string())


def _modified(old: pa.Table, new: pa.Table, paths: pa.Array) -> list[Change]:
    is_file = pc.and_(pc.not_equal(old["mode"], FOLDER), pc.not_equal(new["mode"], FOLDER))
    same_kind = pc.equal(pc.equal(old["mode"], FOLDER), pc.equal(new["mode"], FOLDER))
    same = pc.and_(
        pc.equal(old["mode"], new["mode"]),
        pc.or_(pc.invert(is_file), pc.equal(old["sha256"], new["sha256"])),
    )
    wanted = listing.one_chunk(pc.or_(pc.invert(same_kind), pc.invert(same)))
    found = []
    columns = ("mode", "size", "sha256")
    sides = [table.filter(wanted).select(columns).to_pylist() for table in (old, new)]
    for path, was, is_now in zip(paths.filter(wanted).to_pylist(), *sides, strict=True):
        found.append(
            Change(
                kind="mode" if was["sha256"] == is_now["sha256"] else "modified",
                path=path,
                old_size=was["size"],
                new_size=is_now["size"],
                old_mode=f"{was['mode']:o}",
                new_mode=f"{is_now['mode']:o}",
            )
        )
    return found


Row = tuple[str, int, int, bytes]  # path, mode, size, raw SHA-256


def _rows(table: pa.Table, paths: pa.Array) -> list[Row]:
    """Return files, links, and folders that have no file below them."""
    leaf = listing.is_leaf(table)
    rows = table.filter(leaf)
    columns = (rows["mode"].to_pylist(), rows["size"].to_pylist(), rows["sha256"].to_pylist())
    return list(zip(paths.filter(leaf).to_pylist(), *columns, strict=True))


def _moves(went: list[Row], came: list[Row]) -> list[Change]:
    """Pair what went with what came by content; the rest was removed and added."""
    by_content: dict[tuple[bytes, int], list[Row]] = {}
    for row in reversed(went):
        by_content.setdefault((row[3], row[1]), []).append(row)
    found: list[Change] = []
    paired: set[str] = set()
    for path, mode, size, check in came:
        # Empty files are all alike: pairing them says nothing.
        partners = by_content.get((check, mode)) if size and mode != FOLDER else None
        if partners:
            partner = partners.pop()
            paired.add(partner[0])
            found.append(
                Change(
                    "renamed", path, partner[0], partner[2], size, f"{partner[1]:o}", f"{mode:o}"
                )
            )
        else:
            found.append(Change("added", path, new_size=size, new_mode=f"{mode:o}"))
    for path, mode, size, _ in went:
        if path not in paired:
            found.append(Change("removed", path, old_size=size, old_mode=f"{mode:o}"))
    return found


def _side(find_store: FindStore, text: str, progress: Progress) -> pa.Table:
    if is_folder(text):
        surveyed = survey(Path(text).expanduser(), progress=progress)
        surveyed.read_unknown(progress)
        surveyed.remember()
        return listing.seal(surveyed.table()).table
    store, spec = find_store(text)
    if store is None:
        raise NotFoundError(
            f"there is no store to look for {text} in", hint="name one with --store"
        )
    return _revision(store, spec)


def _revision(store: ObjectStore, spec: str) -> pa.Table:
    published = store.revisions.get(*store.revisions.resolve(parse_spec(spec)))
    return store.indexes.listing(published).table


def _base(tree: Worktree) -> pa.Table:
    table = base_table(tree.root, tree.manifest)
    if table is None:
        raise DsaError(
            f"what {tree} holds is no longer known in {tree.root}",
            hint=f"run `dsa checkout {tree} {tree.root}` once more",
        )
    return table
