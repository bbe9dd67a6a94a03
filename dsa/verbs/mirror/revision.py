"""One revision on its way: what the target lacks of it, its places there, and the ref at the end."""

from __future__ import annotations

import logging
from hashlib import sha256

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.index import write_index
from dsa.cas.listing import Listing
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER, tree_header
from dsa.errors import DamageError
from dsa.progress import SILENT, Progress
from dsa.verbs.marked import Marked
from dsa.verbs.mirror.carrier import Carrier
from dsa.verbs.mirror.items import Item
from dsa.verbs.mirror.landing import Landing, ServerSide
from dsa.verbs.presence import Presence, check_collisions
from dsa.verbs.sending import missing_trees
from dsa.verbs.sink import distinct

logger = logging.getLogger(__name__)

_ASKED_AT_ONCE = 16_384
_TREES_AT_ONCE_BYTES = 4 * 1024 * 1024
_MOST_TABLES = 8

#: What is remembered of objects that the target has, as columns of a listing.
_KNOWN = ("mode", "size", "sha1", "sha256", "pack", "offset")


class Copies:
    """Brings revisions of one store to another, one after the other; counts what it took.

    `target` None: there is no store yet; `marked` None: nothing is written, only counted.
    """

    def __init__(
        self,
        source: ObjectStore,
        target: ObjectStore | None,
        marked: Marked | None,
        progress: Progress,
        server: ServerSide | None = None,
    ) -> None:
        self._source = source
        self._target = target
        self._marked = marked
        self._progress = progress
        self._server = server
        self._sent: list[pa.Table] = []  # what this run sent, with its places there
        self._last: dict[str, pa.Table] = {}  # of the dataset that was brought last
        self.objects_sent = self.bytes_sent = self.objects_shared = self.bytes_shared = 0
        self.packs_whole = self.packs_new = self.objects_unread = 0

    def bring(self, published: Published) -> bool:
        """Bring one revision; False if another writer published it, or something else, meanwhile.

        Raises: `DamageError` where the source does not have it whole, `CollisionError` where the
        target has another content under the id of one of its files.
        """
        sealed = self._source.indexes.listing(published)
        check_collisions(sealed.table)
        if self._marked is None or self._target is None:
            self._count(published, sealed)
            return True
        placed = self._objects(published, sealed, self._covered(published))
        self._describe(published, placed)
        is_first = self._marked.ref(published)
        if is_first and self._marked.found_abandoned_gc:
            # It may have gone on, and deleted what this relied on.
            self._target.refresh()
            self._sent.clear()
            self._objects(published, sealed, [])
        self._last = {published.dataset: placed.table.select(_KNOWN)}
        return is_first

    # --- what is there already ------------------------------------------------------------------

    def _covered(self, published: Published) -> list[pa.Table]:
        """Return what needs no question: what this run sent, and what a revision there covers."""
        last = self._last.get(published.dataset)
        covering = self._covering(published) if last is None else last
        return [*self._sent, *([] if covering is None else [covering])]

    def _covering(self, published: Published) -> pa.Table | None:
        """Return the listing of the parent if the target has it, else of its newest revision."""
        assert self._target is not None
        revisions = self._target.revisions
        parent = published.info.parent
        try:
            if parent is not None and parent.dataset == published.dataset:
                ref = revisions.ref(parent.dataset, parent.revision)
                if ref is not None and not ref.is_withdrawn and ref.manifest == parent.manifest:
                    there = revisions.by_id(parent.dataset, parent.revision, ref.manifest)
                    return self._target.indexes.listing(there).table
            for newest in revisions.names(published.dataset)[:1]:
                there = revisions.get(published.dataset, newest)
                return self._target.indexes.listing(there).table
        except DamageError as error:
            logger.warning("%s; nothing that it covers is relied on", error)
        return None

    def _missing(self, published: Published, table: pa.Table, presence: Presence) -> pa.Table:
        """Return the rows of files that the target lacks, each object once."""
        files = table.filter(pc.not_equal(table["mode"], FOLDER))
        rest = _each_once(files.filter(pc.invert(presence.is_there(files))))
        new = bytearray()
        for start in range(0, len(rest), _ASKED_AT_ONCE):
            rows = rest.slice(start, _ASKED_AT_ONCE)

            def name_of(at: int, rows: pa.Table = rows) -> str:
                return f"{published}:{listing.paths(rows.slice(at, 1))[0].as_py()}"

            ids, checks = (bytes(listing.raw(rows[name])) for name in ("sha1", "sha256"))
            new += presence.ask(ids, checks, rows["size"].to_pylist(), name_of)
        return rest.filter(pa.array(map(bool, new), pa.bool_()))

    # --- a dry run ------------------------------------------------------------------------------

    def _count(self, published: Published, sealed: Listing) -> None:
        """Count what would travel."""
        files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
        rest = files
        if self._target is not None:
            presence = Presence(self._target.objects, self._covered(published))
            rest = files.filter(pc.invert(presence.is_there(files)))
        for table in self._sent:
            rest = rest.filter(pc.invert(pc.is_in(rest["sha1"], value_set=_chunk(table["sha1"]))))
        rest = _each_once(rest)
        self._remember(rest.select(_KNOWN))
        self._share(files, len(rest), pc.sum(rest["size"], min_count=0).as_py())
        self.objects_sent += len(rest)
        self.bytes_sent += pc.sum(rest["size"], min_count=0).as_py()

    def _share(self, files: pa.Table, objects: int, size: int) -> None:
        count, total = distinct(files)
        self.objects_shared += count - objects
        self.bytes_shared += total - size

    # --- writing --------------------------------------------------------------------------------

    def _objects(self, published: Published, sealed: Listing, covered: list[pa.Table]) -> Listing:
        """Bring files and trees; return the listing with its places at the target."""
        assert self._target is not None
        assert self._marked is not None
        presence = Presence(self._target.objects, covered)
        missing = self._missing(published, sealed.table, presence)
        size = pc.sum(missing["size"], min_count=0).as_py()
        self._progress.start(f"mirroring {published}", files=len(missing), size_bytes=size)
        is_far = self._target.backend.local_path(layout.PACKS) is None
        staging = self._marked.staging
        with Landing(
            self._target.backend, presence, staging, self._progress if is_far else SILENT
        ) as landing:
            carrier = Carrier(self._source, landing, staging, self._progress, self._server)
            try:
                lost = carrier.carry(missing)
                if not lost:
                    self._trees(sealed, presence, carrier)
                carrier.finish()
            finally:
                carrier.close()
        self._note(carrier)
        if lost:
            raise self._incomplete(published, sealed.table, lost)
        files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
        self._share(files, len(missing), size)
        return Listing(self._with_places(sealed.table, covered), sealed.root)

    def _trees(self, sealed: Listing, presence: Presence, carrier: Carrier) -> None:
        """Make the trees that the target lacks from the listing, which is proven against them."""
        pending: list[tuple[bytes, bytes, bytes]] = []
        size = 0
        for _, body in listing.tree_bodies(sealed.table, missing_trees(sealed, presence)):
            data = tree_header(len(body)) + body
            pending.append((ObjectId.of(data).raw, sha256(data).digest(), data))
            size += len(data)
            if size >= _TREES_AT_ONCE_BYTES:
                carrier.add(pending)
                pending, size = [], 0
        carrier.add(pending)

    def _note(self, carrier: Carrier) -> None:
        totals = carrier.totals
        self.objects_sent += totals.objects_new
        self.bytes_sent += totals.bytes_new
        self.packs_whole += carrier.whole_packs
        self.packs_new += carrier.new_packs
        self.objects_unread += carrier.copied
        if len(totals.rows):
            rows = totals.rows.table()
            names = {
                "id": "sha1",
                "size": "size",
                "sha256": "sha256",
                "pack": "pack",
                "offset": "offset",
            }
            sent = rows.select(list(names)).rename_columns(list(names.values()))
            # Trees too are looked for by their ids alone: no mode is that of a folder here.
            modes = pa.array([0], pa.uint32()).take(pa.array([0] * len(sent), pa.int8()))
            self._remember(sent.append_column("mode", modes).select(_KNOWN))

    def _remember(self, table: pa.Table) -> None:
        self._sent.append(table)
        if len(self._sent) > _MOST_TABLES:
            self._sent = [pa.concat_tables(self._sent).combine_chunks()]

    def _incomplete(self, published: Published, table: pa.Table, lost: list[Item]) -> DamageError:
        ids = pa.array([item.oid for item in lost], pa.binary(ID_BYTES))
        paths = listing.paths(table.filter(pc.is_in(table["sha1"], value_set=ids))).to_pylist()
        return DamageError(
            f"{len(lost)} objects of it are missing or damaged in {self._source.url}, so it was not published",
            hint=f"`dsa verify --data {published}` records what is damaged",
            problems=[f"{published}:{path}" for path in paths],
        )

    def _with_places(self, table: pa.Table, covered: list[pa.Table]) -> pa.Table:
        """Return the listing with places of the target; where the source's hold there too, with those."""
        assert self._target is not None
        places = ["sha1", "pack", "offset"]
        files = table.filter(pc.not_equal(table["mode"], FOLDER))
        known = [
            one.filter(pc.not_equal(one["mode"], FOLDER)).select(places)
            for one in (*self._sent, *covered)
        ]
        there = _chunks(known) if known else files.slice(0, 0).select(places)
        rest = files.filter(pc.invert(pc.is_in(files["sha1"], value_set=_chunk(there["sha1"]))))
        if len(rest):
            found = self._target.objects.locations.find(pc.unique(rest["sha1"]))
            found = found.select(["id", "pack", "offset"]).rename_columns(places)
            there = _chunks([there, found])
        is_right = pc.is_in(_triples(table), value_set=_chunk(_triples(there)))
        wrong = pc.and_(pc.invert(is_right), pc.not_equal(table["mode"], FOLDER))
        if not pc.any(wrong, min_count=0).as_py():
            return table
        at = pc.index_in(table["sha1"], value_set=_chunk(there["sha1"]))
        for name in ("pack", "offset"):
            taken = _chunk(there[name]).take(_chunk(at))
            column = pc.if_else(_chunk(wrong), taken, _chunk(table[name]))
            table = table.set_column(
                table.schema.get_field_index(name), listing.SCHEMA.field(name), column
            )
        return table

    def _describe(self, published: Published, placed: Listing) -> None:
        """Write `revision.json`, the manifest and the index."""
        assert self._target is not None
        assert self._marked is not None
        backend, staged = self._target.backend, self._marked.staging / "index"
        for data in (published.revision_json, published.manifest.encode()):
            self._marked.loose(data)
        write_index(staged, placed, published.manifest, published.revision_json)
        data = staged.read_bytes()
        backend.publish(staged, layout.index_key(published.id))
        backend.flush()
        self._target.indexes.trust(data, published)


def _each_once(files: pa.Table) -> pa.Table:
    """Return the first row of each object, in order."""
    ids = _chunk(files["sha1"])
    return files.take(pc.index_in(pc.unique(ids), value_set=ids))


def _triples(table: pa.Table) -> pa.ChunkedArray:
    """Return object and place of every row as one value."""
    pack = pc.fill_null(table["pack"].cast(pa.binary()), b"")
    offset = pc.fill_null(table["offset"].cast(pa.string()), "").cast(pa.binary())
    return pc.binary_join_element_wise(table["sha1"].cast(pa.binary()), pack, offset, b"/")


def _chunks(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).combine_chunks()


def _chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return listing.one_chunk(column)
