"""The part of a push that writes: children first, the ref last. docs/format.md, "Orders and marks"."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from hashlib import sha256
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import indexes, listing
from dsa.cas.ids import ID_BYTES, BlobId, ObjectId, TreeId
from dsa.cas.index import write_index
from dsa.cas.listing import Listing, Run
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER, tree_header
from dsa.errors import DamageError, DsaError
from dsa.progress import Progress
from dsa.verbs.marked import Marked
from dsa.verbs.presence import Presence, check_collisions
from dsa.verbs.reading import ingest
from dsa.verbs.sink import Sink, Totals
from dsa.verbs.survey import Survey
from dsa.workers.packer import Packer

logger = logging.getLogger(__name__)

_TREES_AT_ONCE_BYTES = 4 * 1024 * 1024


class Sending:
    """A push under its mark, with a staging folder of its own; a context manager."""

    def __init__(
        self, store: ObjectStore, surveyed: Survey, dataset: str, revision: str, progress: Progress
    ) -> None:
        self._store = store
        self._backend = store.backend
        self._survey = surveyed
        self._marked = Marked(store, dataset, revision, progress)
        self._progress = progress
        self.totals = Totals()

    def __enter__(self) -> Self:
        self._marked.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._marked.__exit__(kind, error, trace)

    def objects(self, parent: Published | None) -> Listing:
        """Send every file and tree that the store lacks; return the listing, with all places.

        What `parent` covers is not looked up.
        """
        surveyed = self._survey
        listings = self._covered(parent)
        if parent is not None and listings and self._is_as(parent):
            (made,) = listings
            self.totals.share(made.table.filter(pc.not_equal(made.table["mode"], FOLDER)))
            return made
        covered = [made.table for made in listings]
        presence = Presence(self._store.objects, covered)
        with Sink(self._backend, presence, self._marked.staging, self._progress) as sink:
            self._send_files(self._missing_rows(presence), sink)
            table = surveyed.table()
            if len(self._lost(table, presence)):
                # Two equal files, and the one to be sent changed: the other one has to be sent.
                self._send_files(self._lost_rows(presence), sink)
                table = surveyed.table()
                self._check_all_there(self._lost(table, presence))
            check_collisions(table)
            sealed = listing.seal(table)
            self._send_trees(sealed, presence, sink)
            self.totals.share(table.filter(pc.not_equal(table["mode"], FOLDER)))
        return Listing(self._with_places(sealed.table, covered), sealed.root)

    def _covered(self, parent: Published | None) -> list[Listing]:
        """Return the listing of what the parent covers; one that is damaged covers nothing, and stops no push."""
        if parent is None:
            return []
        try:
            return [self._store.indexes.listing(parent)]
        except DamageError as error:
            logger.warning("%s; nothing that %s holds is relied on", error, parent)
            return []

    def _send_files(self, rows: list[int], sink: Sink) -> None:
        surveyed, before = self._survey, self.totals.files_read
        ingest(
            surveyed.scan,
            surveyed.digests,
            rows,
            sink,
            self.totals,
            surveyed.follow_links,
            self._progress,
        )
        surveyed.files_read += self.totals.files_read - before
        surveyed.digests.unknown = []

    def manifest(self, sealed: Listing, info: RevisionInfo) -> Published:
        """Write `revision.json`, the manifest and the index."""
        manifest, revision_json = describe(sealed, info)
        for data in (revision_json, manifest.encode()):
            self._marked.loose(data)
        staged = self._marked.staging / "index"
        write_index(staged, sealed, manifest, revision_json)
        data = staged.read_bytes()
        indexes.publish(self._backend, staged, manifest.id)
        self._backend.flush()
        made = Published(info.dataset, info.revision, manifest.id, manifest, info, revision_json)
        self._store.indexes.trust(data, made)
        return made

    def ref(self, published: Published) -> bool:
        """Publish: from here on readers see the revision; False if another push was first."""
        if not self._marked.ref(published):
            return False  # or the answer to this push's own was lost: the ref tells in both cases
        if self._marked.found_abandoned_gc:
            # It may have gone on, and deleted what this push relied on.
            self._store.refresh()
            if self.objects(None).root.tree != published.manifest.data.raw:
                raise DamageError(
                    f"{published} was published beside a gc that had been left behind, and its files "
                    "changed before they could be looked at again",
                    hint=f"`dsa verify {self._store.called(published)}` tells whether anything is missing",
                )
        return True

    def _is_as(self, parent: Published) -> bool:
        """Whether the folder holds just what its parent holds, as the stat cache alone tells."""
        if self._survey.digests.unknown or self._store.objects.damaged:
            return False
        root = listing.seal(self._survey.table()).root
        there = (parent.manifest.data.raw, parent.info.sha256.raw)
        return (root.tree, root.sha256) == there

    def _missing_rows(self, presence: Presence) -> list[int]:
        """Return the rows to read: those whose digests are unknown, and those that the store lacks."""
        from dsa.worktree.columns import table_of

        surveyed = self._survey
        if len(surveyed.digests.unknown) == surveyed.files:
            return surveyed.digests.unknown
        table = table_of(surveyed.scan, surveyed.digests)
        there = presence.is_there(table)
        missing = pc.and_(pc.invert(there), pc.not_equal(table["mode"], FOLDER))
        rows: list[int] = pc.indices_nonzero(listing.one_chunk(missing)).to_pylist()
        return rows

    def _lost(self, table: pa.Table, presence: Presence) -> pa.Table:
        """Return the files of a listing that are neither there nor were written now.

        No ref may name one: this holds whatever happened to the files meanwhile.
        """
        written = listing.fixed(bytes(self.totals.rows.ids), ID_BYTES)
        known = pc.or_(pc.is_in(table["sha1"], value_set=written), pc.equal(table["mode"], FOLDER))
        rest = table.filter(pc.invert(known))
        return rest.filter(pc.invert(presence.is_there(rest))) if len(rest) else rest

    def _lost_rows(self, presence: Presence) -> list[int]:
        """Return the rows of the scan that `_lost` finds."""
        from dsa.worktree.columns import table_of

        table = table_of(self._survey.scan, self._survey.digests)
        lost = listing.paths(self._lost(table, presence))
        rows: list[int] = pc.indices_nonzero(
            pc.is_in(listing.paths(table), value_set=lost)
        ).to_pylist()
        return rows

    def _check_all_there(self, lost: pa.Table) -> None:
        """Refuse what cannot be sent: what a partial worktree left in another store, above all."""
        if not len(lost):
            return
        tree, paths = self._survey.worktree, listing.paths(lost).to_pylist()
        if tree is None or tree.selection.everything:
            raise DsaError(
                f"{len(paths)} files in {self._survey.scan.root} kept changing while they were sent",
                hint="nothing was published; push again when nobody writes to them",
                problems=paths,
            )
        raise DsaError(
            f"{self._store.url} lacks {len(paths)} files that were not selected in this worktree of {tree}",
            hint=f"push to {tree.store}, or check out all of {tree} first",
            problems=paths,
        )

    def _send_trees(self, sealed: Listing, presence: Presence, sink: Sink) -> None:
        """Put new trees into a pack; the empty tree needs none, whoever reads it knows it."""
        self._progress.start("sending trees")
        trees = Totals()  # the report counts files
        packer = Packer("", str(self._marked.staging), False, False, sink.is_near)
        try:
            for pending in new_trees(sealed, presence):
                sink.packs(packer.add(pending), trees)
            sink.packs(packer.finish(), trees)
            sink.drain()
        finally:
            packer.close()
        self.totals.healed += trees.healed

    def _with_places(self, table: pa.Table, covered: list[pa.Table]) -> pa.Table:
        """Fill in where every file lies: what was written now, what the parent knew, the locations."""
        names = ["id", "pack", "offset"]
        known = [self.totals.rows.table().select(names)]
        for parent in covered:
            files = parent.filter(pc.not_equal(parent["mode"], FOLDER))
            known.append(files.select(["sha1", "pack", "offset"]).rename_columns(names))
        places = pa.concat_tables(known).combine_chunks()
        at = pc.index_in(table["sha1"], value_set=listing.one_chunk(places["id"]))
        is_file = pc.not_equal(table["mode"], FOLDER)
        lost = table.filter(pc.and_(pc.is_null(at), is_file))
        if len(lost):
            located = self._store.objects.locations.find(pc.unique(lost["sha1"]))
            places = pa.concat_tables([places, located.select(names)]).combine_chunks()
            at = pc.index_in(table["sha1"], value_set=listing.one_chunk(places["id"]))
        at = listing.one_chunk(pc.if_else(is_file, at, None))
        for name in ("pack", "offset"):
            column = table.schema.get_field_index(name)
            taken = listing.one_chunk(places[name]).take(at)
            table = table.set_column(column, listing.SCHEMA.field(name), taken)
        return table


def describe(sealed: Listing, info: RevisionInfo) -> tuple[Manifest, bytes]:
    """Return the manifest and the bytes of `revision.json` of a listing."""
    try:
        revision_json = info.encode()
    except ValueError as error:
        raise DsaError(str(error)) from error
    tree = TreeId(ObjectId(sealed.root.tree))
    return Manifest(tree, BlobId(ObjectId.of(revision_json))), revision_json


def new_trees(sealed: Listing, presence: Presence) -> Iterator[list[tuple[bytes, bytes, bytes]]]:
    """Yield the trees that the store lacks, as what a pack is made of (id, SHA-256, bytes), a few MiB at once."""
    pending: list[tuple[bytes, bytes, bytes]] = []
    size = 0
    for _, body in listing.tree_bodies(sealed.table, missing_trees(sealed, presence)):
        data = tree_header(len(body)) + body
        pending.append((ObjectId.of(data).raw, sha256(data).digest(), data))
        size += len(data)
        if size >= _TREES_AT_ONCE_BYTES:
            yield pending
            pending, size = [], 0
    if pending:
        yield pending


def missing_trees(sealed: Listing, presence: Presence) -> list[Run]:
    """Return the folders whose trees the store lacks, each tree once, in order."""
    table = sealed.table
    folders = table.filter(pc.equal(table["mode"], FOLDER))
    root = listing.fixed(sealed.root.tree, ID_BYTES)
    ids = pa.concat_arrays([listing.one_chunk(folders["sha1"]), root])
    paths = [*listing.paths(folders).to_pylist(), ""]
    new = presence.new_trees(ids).to_pylist()
    chosen = {
        oid: path for oid, path, is_new in zip(ids.to_pylist(), paths, new, strict=True) if is_new
    }
    wanted = set(chosen.values())
    return [run for run in listing.runs(table) if run.folder in wanted]
