"""Checking what is published: refs, manifests, indexes, and the trees where no index helps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import index, layout, listing
from dsa.cas.ids import ID_BYTES, SHA256_BYTES, ManifestId, ObjectId
from dsa.cas.index import IndexProblem
from dsa.cas.manifest import MAX_MANIFEST_BYTES, MAX_REVISION_BYTES, Manifest, RevisionInfo
from dsa.cas.names import check_dataset, check_revision, parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.parquet import in_memory
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.trees import EMPTY_TREE, FOLDER, MAX_TREE_BYTES, TreeEntry, decode_tree
from dsa.errors import AccessError, DamageError, DsaError, MissingObjectError, UsageError
from dsa.progress import Progress
from dsa.remotes.transfer import in_order
from dsa.verbs.verify.findings import Listed, Problems
from dsa.verbs.verify.hashing import surely
from dsa.verbs.verify.names import check_case
from dsa.workers.checker import check_answered

logger = logging.getLogger(__name__)

#: Rows that wait until those that say the same are made one.
_COMPACT_ROWS = 1_000_000

#: Revisions that are looked at together: their listings are in memory then.
_AT_ONCE = 4

#: (id, size, sha256) of files.
NEEDED = pa.schema(
    [
        pa.field("id", pa.binary(ID_BYTES)),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.binary(SHA256_BYTES)),
    ]
)
_PARTIAL = pa.schema([listing.SCHEMA.field(name) for name in ("folder", "name", "mode", "sha1")])

#: The rows of the locations for some ids.
Find = Callable[[pa.Array], pa.Table]


@dataclass(slots=True)
class Walked:
    """A revision without an index that proves itself: what its trees say, as far as they can be read."""

    published: Published
    table: pa.Table  # of _PARTIAL
    is_whole: bool
    lost: list[tuple[str, bytes]]  # folders and raw ids of trees that could not be read


@dataclass(slots=True)
class RevisionsCheck:
    """The revisions of a store, and what they need."""

    store: ObjectStore
    problems: Problems
    progress: Progress
    published: list[Published] = field(default_factory=list)
    without_index: list[Published] = field(default_factory=list)
    walked: dict[str, Walked] = field(default_factory=dict)
    count: int = 0  # refs that are not withdrawn
    bytes_read: int = 0
    read: set[bytes] = field(default_factory=set)  # raw ids of manifests and revision.json
    _lock: Lock = field(default_factory=Lock)
    _waiting: list[pa.Table] = field(default_factory=list)
    _trees: list[pa.Array] = field(default_factory=list)

    # --- refs, manifests ------------------------------------------------------------------------

    def read_all(self) -> None:
        """Look at every ref of the store."""
        names: list[tuple[str, str]] = []
        for info in self.store.backend.list(layout.REFS):
            dataset, at, revision = info.key.removeprefix(layout.REFS).rpartition("/@")
            if not at:
                text = "nothing of this name belongs to a store"
                self.problems.add("unknown file", info.key, text, is_damage=False)
                continue
            try:
                check_dataset(dataset)
                check_revision(revision)
            except UsageError as error:
                self.problems.add("bad ref", info.key, str(error))
                continue
            names.append((dataset, revision))
        check_case(names, self.problems)
        self.progress.start("checking revisions", files=len(names))
        self._read(sorted(names))

    def read_some(self, specs: list[str]) -> None:
        """Look at the revisions that a person named; `NotFoundError` if there is none of that name."""
        self.progress.start("checking revisions", files=len(specs))
        names: dict[tuple[str, str], None] = {}
        for spec in specs:
            parsed = parse_spec(spec)
            try:
                dataset, revision = self.store.revisions.resolve(parsed)
            except DamageError as error:
                key = layout.ref_key(parsed.dataset, parsed.revision or "")
                self.problems.add("bad ref", key, str(error), revisions=[str(parsed)])
                continue
            names[dataset, revision] = None
        self._read(list(names))

    def _read(self, names: list[tuple[str, str]]) -> None:
        """Look at revisions, several at once where that waits for a network."""
        at_once = min(_AT_ONCE, self.store.backend.jobs)
        for _, looked in in_order(names, lambda name: self._look(*name), at_once):
            self.progress.advance(files=1)
            self.count += looked is not None
            published, table = looked or (None, None)
            if published is None:
                continue
            self.published.append(published)
            if table is None:
                self.without_index.append(published)
                continue
            folders = table.filter(pc.equal(table["mode"], FOLDER))["sha1"]
            self._need(_files(table), listing.one_chunk(folders), published.manifest.data.raw)

    def _look(self, dataset: str, revision: str) -> tuple[Published | None, pa.Table | None] | None:
        """Return a revision and its proven listing, as far as there are any; None: nothing is published."""
        ref = self._ref(dataset, revision)
        if ref is None or ref.is_withdrawn:
            return None
        published = self._manifest(dataset, revision, ref.manifest)
        return published, self._index(published) if published else None

    def _ref(self, dataset: str, revision: str) -> Ref | None:
        key, name = layout.ref_key(dataset, revision), f"{dataset}@{revision}"
        try:
            ref = surely(self.store.backend, lambda: self.store.revisions.ref(dataset, revision))
            if ref is None:
                self.problems.add("bad ref", key, "it is no regular file", revisions=[name])
            return ref
        except DamageError as error:
            self.problems.add("bad ref", key, str(error), revisions=[name])
        except DsaError as error:
            check_answered(self.store.backend, error)
            self.problems.unreadable(key, error, revisions=[name])
        return None

    def _manifest(self, dataset: str, revision: str, oid: ManifestId) -> Published | None:
        name = f"{dataset}@{revision}"
        data = self._loose(oid, MAX_MANIFEST_BYTES, name)
        if data is None:
            return None
        try:
            manifest = Manifest.decode(data)
        except ValueError as error:
            self.problems.add("bad manifest", layout.object_key(oid), str(error), revisions=[name])
            return None
        text = self._loose(manifest.revision, MAX_REVISION_BYTES, name)
        if text is None:
            return None
        try:
            info = RevisionInfo.decode(text)
        except ValueError as error:
            key = layout.object_key(manifest.revision)
            self.problems.add("bad manifest", key, str(error), revisions=[name])
            return None
        if (info.dataset, info.revision) != (dataset, revision):
            detail = f"it names a revision.json that says {info.dataset}@{info.revision}"
            self.problems.add(
                "bad ref", layout.ref_key(dataset, revision), detail, revisions=[name]
            )
            return None
        return Published(dataset, revision, oid, manifest, info, text)

    def _loose(self, oid: ObjectId, limit: int, name: str) -> bytes | None:
        key = layout.object_key(oid)
        self.read.add(oid.raw)
        try:
            data = surely(self.store.backend, lambda: self.store.objects.loose(oid, limit))
        except MissingObjectError as error:
            self.problems.add("missing", key, str(error), revisions=[name])
        except DamageError as error:
            self.problems.add("damaged", key, str(error), revisions=[name])
        except DsaError as error:
            check_answered(self.store.backend, error)
            self.problems.unreadable(key, error, revisions=[name])
        else:
            self._count_bytes(len(data))
            return data
        return None

    def _count_bytes(self, number: int) -> None:
        with self._lock:
            self.bytes_read += number

    # --- what they need -------------------------------------------------------------------------

    def _index(self, published: Published) -> pa.Table | None:
        """Return what a revision's index lists, if it proves itself."""
        key, backend = layout.index_key(published.id), self.store.backend
        try:
            return surely(backend, lambda: self._proven(published))
        except AccessError as error:
            check_answered(backend, error)
            self.problems.unreadable(key, error, revisions=[str(published)])
        except Exception as error:  # noqa: BLE001  # whatever a hostile file makes of the decoder
            if isinstance(error, DsaError | OSError):
                check_answered(backend, error)
            self.problems.add("bad index", key, _line(error), revisions=[str(published)])
        return None

    def _proven(self, published: Published) -> pa.Table:
        key, backend = layout.index_key(published.id), self.store.backend
        info = backend.info(key)
        if info is None:
            raise IndexProblem("it is missing")
        rows = published.info.files + published.info.folders
        if info.size > index.most_bytes(rows):
            raise IndexProblem(f"it has {info.size} bytes, too many for {rows} files and folders")
        data = backend.read(key)
        self._count_bytes(len(data))
        opened = index.open_index(in_memory(data), len(data))
        if opened.manifest() not in (None, published.id):
            raise IndexProblem("the revision.json in it is another one")
        return index.prove(opened, published.manifest, published.info).table

    def _need(self, files: pa.Table, trees: pa.Array, root: bytes) -> None:
        self._waiting.append(files)
        self._trees += [trees, pa.array([root], pa.binary(ID_BYTES))]
        if sum(map(len, self._waiting)) + sum(map(len, self._trees)) > _COMPACT_ROWS:
            self._compact()

    def _compact(self) -> None:
        table = pa.concat_tables([NEEDED.empty_table(), *self._waiting])
        self._waiting = [table.group_by(NEEDED.names).aggregate([]).select(NEEDED.names)]
        trees = pa.concat_arrays([pa.array([], pa.binary(ID_BYTES)), *self._trees]).unique()
        self._trees = [trees.filter(pc.not_equal(trees, EMPTY_TREE.raw))]

    def needed(self) -> pa.Table:
        """Return (id, size, sha256) of the files of all revisions whose index is proven, each once."""
        self._compact()
        return self._waiting[0].combine_chunks()

    def trees(self) -> pa.Array:
        """Return the raw ids of all trees that are known to be needed, each once."""
        self._compact()
        return self._trees[0]

    def walked_blobs(self) -> pa.Array:
        """Return the raw ids of the files of revisions without an index, each once."""
        tables = [walked.table for walked in self.walked.values()]
        columns = [
            listing.one_chunk(table.filter(pc.not_equal(table["mode"], FOLDER))["sha1"])
            for table in tables
        ]
        return pa.concat_arrays([pa.array([], pa.binary(ID_BYTES)), *columns]).unique()

    # --- trees, where there is no index ---------------------------------------------------------

    def walk(self, find: Find) -> None:
        """Read the trees of the revisions that have no index to rely on."""
        for published in self.without_index:
            walked = self._walk(published, find)
            self.walked[str(published)] = walked
            folders = walked.table.filter(pc.equal(walked.table["mode"], FOLDER))["sha1"]
            self._need(
                NEEDED.empty_table(), listing.one_chunk(folders), published.manifest.data.raw
            )

    def _walk(self, published: Published, find: Find) -> Walked:
        known: dict[bytes, list[TreeEntry] | None] = {EMPTY_TREE.raw: []}
        level = [("", published.manifest.data.raw)]
        folders: list[tuple[str, list[TreeEntry]]] = []
        lost: list[tuple[str, bytes]] = []
        limit, rows, depth = published.info.files + published.info.folders, 0, 0
        while level:
            self._read_trees({oid for _, oid in level} - known.keys(), find, known)
            below: list[tuple[str, bytes]] = []
            for path, oid in level:
                entries = known[oid]
                if entries is None:
                    lost.append((path, oid))
                    continue
                rows += len(entries)
                if rows > limit or depth > listing.MAX_DEPTH:
                    detail = "its trees hold more than its revision.json says"
                    self.problems.add(
                        "bad manifest",
                        layout.object_key(published.id),
                        detail,
                        revisions=[str(published)],
                    )
                    return Walked(published, _partial(folders), False, [])
                folders.append((path, entries))
                below += [
                    (f"{path}/{entry.name}" if path else entry.name, entry.id.raw)
                    for entry in entries
                    if entry.mode == FOLDER
                ]
            level, depth = below, depth + 1
        return Walked(published, _partial(folders), not lost, lost)

    def _read_trees(
        self, ids: set[bytes], find: Find, known: dict[bytes, list[TreeEntry] | None]
    ) -> None:
        """Read trees from wherever a row says that they are, else from files of their own."""
        wanted = sorted(ids)
        rows = find(pa.array(wanted, pa.binary(ID_BYTES)))
        columns = (rows[name].to_pylist() for name in ("id", "pack", "offset", "size"))
        places: dict[bytes, list[tuple[str, int, int]]] = {oid: [] for oid in wanted}
        for oid, pack, offset, size in zip(*columns, strict=True):
            places[oid].append((_key(oid, pack), offset or 0, size))
        for oid in wanted:
            places[oid].append((_key(oid, None), 0, MAX_TREE_BYTES))

        def first(oid: bytes) -> list[TreeEntry] | None:
            for key, offset, size in places[oid]:
                entries = self._tree(oid, key, offset, size) if size <= MAX_TREE_BYTES else None
                if entries is not None:
                    return entries
            return None

        known.update(in_order(wanted, first, self.store.backend.jobs))

    def _tree(self, oid: bytes, key: str, offset: int, size: int) -> list[TreeEntry] | None:
        """Read a tree at one place; None if it is not there, or hostile: the latter is noted."""
        backend = self.store.backend

        def right() -> bytes:
            data = backend.read(key, offset, size)
            self._count_bytes(len(data))
            if ObjectId.of(data).raw != oid:
                raise DamageError(f"{key} holds other bytes than {oid.hex()}")
            return data

        try:
            data = surely(backend, right)
        except KeyError:
            return None
        except DsaError as error:
            check_answered(backend, error)
            return None
        try:
            return decode_tree(data)
        except ValueError as error:
            self.problems.add("bad tree", key, f"{oid.hex()}: {error}", ids=[oid])
            return []

    def settle(self, good: pa.Table) -> None:
        """Hold the revisions without an index against their `revision.json`, by rows that are good."""
        for name, walked in self.walked.items():
            table = _with_places(walked.table, good) if walked.is_whole else None
            if table is None:
                continue  # something is missing, which is a finding by itself
            try:
                index.prove_files(table, walked.published.manifest, walked.published.info)
            except (IndexProblem, pa.ArrowException) as error:
                key = layout.object_key(walked.published.id)
                self.problems.add("bad manifest", key, f"its trees: {error}", revisions=[name])

    # --- names ----------------------------------------------------------------------------------

    def listings(self) -> Iterator[Listed]:
        """Yield the rows of every revision, as far as they are known."""
        for published in self.published:
            walked = self.walked.get(str(published))
            root = published.manifest.data.raw
            if walked is None:
                try:
                    yield Listed(str(published), root, self._proven(published))
                except Exception as error:  # noqa: BLE001  # it was proven a moment ago
                    logger.warning(
                        "the index of %s changed while it was checked: %s", published, error
                    )
                continue
            yield Listed(str(published), root, walked.table)


def _files(table: pa.Table) -> pa.Table:
    files = table.filter(pc.not_equal(table["mode"], FOLDER))
    return files.select(["sha1", "size", "sha256"]).rename_columns(NEEDED.names).cast(NEEDED)


def _partial(folders: list[tuple[str, list[TreeEntry]]]) -> pa.Table:
    """Return the rows of these folders, in the order of a listing."""
    folders.sort(key=lambda folder: folder[0].encode())
    flat = [(path, entry) for path, entries in folders for entry in entries]
    columns = [
        pa.array([path for path, _ in flat], pa.string()).dictionary_encode(),
        pa.array([entry.name for _, entry in flat], pa.string()),
        pa.array([entry.mode for _, entry in flat], pa.uint32()),
        pa.array([entry.id.raw for _, entry in flat], pa.binary(ID_BYTES)),
    ]
    return pa.Table.from_arrays(columns, schema=_PARTIAL)


def _with_places(table: pa.Table, good: pa.Table) -> pa.Table | None:
    """Return a whole listing's rows, sizes and SHA-256 from the locations; None where one has none."""
    folder = listing.one_chunk(pc.equal(table["mode"], FOLDER))
    at = listing.one_chunk(pc.index_in(table["sha1"], value_set=listing.one_chunk(good["id"])))
    if pc.any(pc.and_(pc.is_null(at), pc.invert(folder)), min_count=0).as_py():
        return None
    at = pc.if_else(folder, None, at)
    taken = {
        name: listing.one_chunk(good[name]).take(at)
        for name in ("size", "sha256", "pack", "offset")
    }
    taken["size"] = pc.fill_null(taken["size"], 0)
    zeros = listing.fixed(bytes(SHA256_BYTES * len(table)), SHA256_BYTES)
    taken["sha256"] = pc.if_else(folder, zeros, taken["sha256"])
    columns = {name: table[name] for name in _PARTIAL.names}
    columns |= {**taken, "files": pa.nulls(len(table), pa.int64())}
    # What folders come to follows from the files, and is filled in by the proof.
    return pa.table({field.name: columns[field.name] for field in listing.SCHEMA}).cast(
        listing.SCHEMA
    )


def _key(oid: bytes, pack: bytes | None) -> str:
    return layout.object_key(ObjectId(oid)) if pack is None else layout.pack_key(ObjectId(pack))


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
