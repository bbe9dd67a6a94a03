"""One revision on its way: what the target lacks of it, its places there, and the ref at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum, auto

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import indexes, layout, listing
from dsa.cas.ids import ID_BYTES
from dsa.cas.index import write_index
from dsa.cas.listing import Listing
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.errors import DamageError
from dsa.progress import SILENT, Progress
from dsa.verbs.marked import Marked
from dsa.verbs.mirror.carrier import Carrier
from dsa.verbs.mirror.items import Item
from dsa.verbs.mirror.landing import Landing, ServerSide
from dsa.verbs.presence import Presence, check_collisions
from dsa.verbs.sending import new_trees
from dsa.verbs.sink import distinct

logger = logging.getLogger(__name__)

_ASKED_AT_ONCE = 16_384
_MOST_TABLES = 8

#: What is remembered of objects that the target has, as columns of a listing.
_KNOWN = ("mode", "size", "sha1", "sha256", "pack", "offset")


class Outcome(Enum):
    """What came of bringing a revision."""

    PUBLISHED = auto()
    LOST_RACE = auto()  # another writer published it, or something else
    WITHDRAWN = auto()  # from the source, while it was on its way


@dataclass(slots=True)
class Carried:
    """What travelled, and what did not have to; the fields are those of the report."""

    objects_sent: int = 0
    bytes_objects: int = 0
    objects_shared: int = 0
    bytes_shared: int = 0
    packs_whole: int = 0
    packs_new: int = 0
    objects_unread: int = 0
    healed: int = 0


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
        self.carried = Carried()

    def bring(self, published: Published) -> Outcome:
        """Bring one revision, unless somebody else publishes or withdraws it meanwhile.

        Raises: `DamageError` where the source does not have it whole, `CollisionError` where the
        target has another content under the id of one of its files.
        """
        sealed = self._source.indexes.listing(published)
        check_collisions(sealed.table)
        if self._marked is None or self._target is None:
            covered = [] if self._target is None else self._covered(published)
            missing = self._would_send(sealed, covered)
            self._share(sealed, missing)
            return Outcome.PUBLISHED
        covered = self._covered(published)
        missing = self._carry(published, sealed, covered)
        self._share(sealed, missing)
        placed = Listing(self._with_places(sealed.table, covered), sealed.root)
        self._describe(published, placed)
        if self._source.revisions.ref(published.dataset, published.revision) != Ref(published.id):
            return Outcome.WITHDRAWN
        is_first = self._marked.ref(published)
        if is_first and self._marked.found_abandoned_gc:
            # It may have gone on, and deleted what this relied on.
            self._target.refresh()
            self._sent.clear()
            self._carry(published, sealed, [])
        self._last = {published.dataset: placed.table.select(_KNOWN)}
        return Outcome.PUBLISHED if is_first else Outcome.LOST_RACE

    def heal(self, published: Published) -> None:
        """Send again what a revision needs that the target has published, and has lost; its ref stays as it is.

        Raises: like `bring`.
        """
        sealed = self._source.indexes.listing(published)
        check_collisions(sealed.table)
        if self._marked is None:
            self.carried.healed += len(self._would_send(sealed, []))
        else:
            self._carry(published, sealed, [])

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

    def _would_send(self, sealed: Listing, covered: list[pa.Table]) -> pa.Table:
        """Count what would travel; return it."""
        files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
        rest = files
        if self._target is not None:
            presence = Presence(self._target.objects, covered)
            rest = files.filter(pc.invert(presence.is_there(files)))
        for table in self._sent:
            rest = rest.filter(pc.invert(pc.is_in(rest["sha1"], value_set=_chunk(table["sha1"]))))
        rest = _each_once(rest)
        self._remember(rest.select(_KNOWN))
        self.carried.objects_sent += len(rest)
        self.carried.bytes_objects += _bytes(rest)
        return rest

    # --- writing --------------------------------------------------------------------------------

    def _carry(self, published: Published, sealed: Listing, covered: list[pa.Table]) -> pa.Table:
        """Bring files and trees; return the rows of the files that travelled."""
        assert self._target is not None
        assert self._marked is not None
        presence = Presence(self._target.objects, covered)
        missing = self._missing(published, sealed.table, presence)
        self._progress.start(
            f"mirroring {published}", files=len(missing), size_bytes=_bytes(missing)
        )
        is_far = self._target.backend.local_path(layout.PACKS) is None
        staging = self._marked.staging
        with Landing(
            self._target.backend, presence, staging, self._progress if is_far else SILENT
        ) as landing:
            carrier = Carrier(self._source, landing, staging, self._progress, self._server)
            try:
                lost = carrier.carry(missing)
                # Trees are made from the listing, which is proven against them.
                for trees in () if lost else new_trees(sealed, presence):
                    carrier.add(trees)
                carrier.finish()
            finally:
                carrier.close()
        self._note(carrier)
        if lost:
            raise self._incomplete(published, sealed.table, lost)
        return missing

    def _share(self, sealed: Listing, missing: pa.Table) -> None:
        """Count what was there before."""
        count, size = distinct(sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER)))
        self.carried.objects_shared += count - len(missing)
        self.carried.bytes_shared += size - _bytes(missing)

    def _note(self, carrier: Carrier) -> None:
        totals = carrier.totals
        self.carried.objects_sent += totals.objects_new
        self.carried.bytes_objects += totals.bytes_new
        self.carried.packs_whole += carrier.whole_packs
        self.carried.packs_new += carrier.new_packs
        self.carried.objects_unread += carrier.copied
        self.carried.healed += totals.healed
        if len(totals.rows):
            rows = totals.rows.table()
            sent = rows.rename_columns(
                ["sha1" if name == "id" else name for name in rows.column_names]
            )
            # Trees too are looked for by their ids alone: no mode is that of a folder here.
            modes = pa.repeat(pa.scalar(0, pa.uint32()), len(sent))
            self._remember(sent.append_column("mode", modes).select(_KNOWN))

    def _remember(self, table: pa.Table) -> None:
        self._sent.append(table)
        if len(self._sent) > _MOST_TABLES:
            self._sent = [pa.concat_tables(self._sent).combine_chunks()]

    def _incomplete(self, published: Published, table: pa.Table, lost: list[Item]) -> DamageError:
        ids = pa.array([item.oid for item in lost], pa.binary(ID_BYTES))
        paths = listing.paths(table.filter(pc.is_in(table["sha1"], value_set=ids))).to_pylist()
        return DamageError(
            f"{len(lost)} objects of it are missing or damaged in {self._source.url}",
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
        indexes.publish(backend, staged, published.id)
        backend.flush()
        self._target.indexes.trust(data, published)


def _bytes(files: pa.Table) -> int:
    """Return the size in bytes of all these rows."""
    return int(pc.sum(files["size"], min_count=0).as_py())


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
