"""Checking where objects lie: locations against packs and loose objects, at array speed.

What the tables do not settle is read: every place that something speaks against is hashed.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.locations import SCHEMA, read_part
from dsa.cas.packs import Directory, read_directory
from dsa.cas.site import Place
from dsa.errors import DamageError, DsaError
from dsa.progress import Progress
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.names import check_keys
from dsa.workers.checker import (
    NO_ENTRY,
    NO_FILE,
    OTHER_ENTRY,
    WRONG_SHA256,
    WRONG_SIZE,
    Checker,
    Places,
    Verdict,
)
from dsa.workers.crew import Crew, Script, cores

#: Below this much work starting a process costs more than it saves.
_PROCESS_FILES = 2_000
_PROCESS_BYTES = 64 * 1024 * 1024

_NAMED = 3  # objects that a finding names by their ids
_SINGLE = 1_000  # missing objects that are a finding each; the others share one


@dataclass(frozen=True, slots=True)
class Job:
    """A file to hash; `rows` are the numbers of the rows that say what it holds."""

    method: str  # of Checker
    key: str
    places: Places
    rows: Sequence[int]
    size: int  # bytes to read, about


class PlacesCheck:
    """What a store says it holds, and whether that is so."""

    def __init__(self, backend: Backend, on_record: frozenset[Place], problems: Problems) -> None:
        self._backend = backend
        self._on_record = on_record
        self._problems = problems
        self._parts: list[str] = []
        self._directories: dict[
            bytes, Directory | str
        ] = {}  # by raw pack id; a text: why there is none
        self._pack_sizes: dict[bytes, int | None] = {}
        self._loose_sizes: dict[bytes, int | None] = {}
        self._listed = False  # all packs and loose objects are known
        self._wrong: dict[int, str] = {}  # row -> why
        self._verdicts: list[tuple[Job, Verdict]] = []
        self._bad_loose: set[bytes] = set()
        self.rows = _with_part(SCHEMA.empty_table(), 0)
        self.bytes_read = 0

    @property
    def packs(self) -> int:
        """How many packs were looked at."""
        return len(self._pack_sizes)

    # --- what is said ---------------------------------------------------------------------------

    def read_parts(self) -> None:
        """Read all parts of the locations; rows that cannot be are named and dropped."""
        tables = [self.rows]
        for info in check_keys(self._backend.list(layout.LOCATIONS), self._problems):
            try:
                table = read_part(self._backend, info.key)
            except DamageError as error:
                self._problems.add("bad locations", info.key, str(error))
                continue
            except DsaError as error:
                self._problems.add("unreadable", info.key, str(error))
                continue
            self.bytes_read += info.size
            tables.append(_with_part(self._sound(info.key, table), len(self._parts)))
            self._parts.append(info.key)
        self.rows = pa.concat_tables(tables).combine_chunks()

    def _sound(self, key: str, table: pa.Table) -> pa.Table:
        packed = pc.is_valid(table["pack"])
        offset = pc.fill_null(table["offset"], 0)
        fits = pc.and_(pc.greater_equal(table["size"], 0), pc.greater_equal(offset, 0))
        sound = pc.and_(fits, pc.equal(packed, pc.is_valid(table["offset"])))
        bad = len(table) - (pc.sum(sound).as_py() or 0)
        if bad:
            self._problems.add(
                "bad locations",
                key,
                f"{_count(bad, 'row')} cannot be: sizes or offsets make no sense",
            )
        ids = listing.one_chunk(table["id"]).cast(pa.binary())
        if not pc.all(pc.less_equal(ids[:-1], ids[1:]), min_count=0).as_py():
            self._problems.add("bad locations", key, "its rows are not sorted by id")
        return table.filter(sound)

    def of(self, ids: pa.Array) -> pa.Table:
        """Return the rows of these objects, unproven."""
        return self.rows.filter(pc.is_in(self.rows["id"], value_set=ids))

    def loose_size(self, oid: bytes) -> int | None:
        """Return the size of an object's own file, None if it has none."""
        if oid not in self._loose_sizes and not self._listed:
            info = self._backend.info(layout.object_key(ObjectId(oid)))
            self._loose_sizes[oid] = info.size if info else None
        return self._loose_sizes.get(oid)

    def list_files(self) -> None:
        """List all packs and loose objects."""
        for info in check_keys(self._backend.list(layout.PACKS), self._problems):
            self._pack_sizes[_raw(info.key)] = info.size
        for info in check_keys(self._backend.list(layout.OBJECTS), self._problems):
            self._loose_sizes[_raw(info.key)] = info.size
        self._listed = True

    # --- what is so -----------------------------------------------------------------------------

    def check(
        self,
        needed: pa.Table,
        trees: pa.Array,
        *,
        only: pa.Array | None,
        read: set[bytes],
        data: bool,
        progress: Progress,
    ) -> None:
        """Hold every row against what is there.

        `needed` (id, size, sha256) is what revisions say of their files; all of `trees` are read;
        `only` are the ids that count, None: all; `read` are loose objects that were read before. With
        `data` everything is read.
        """
        if only is not None:
            self.rows = self.of(only)
        self.rows = self.rows.sort_by(
            [("pack", "ascending"), ("offset", "ascending")]
        ).combine_chunks()
        progress.start("checking locations", files=len(self.rows))
        doubted = self._doubted(needed)
        hashed = pc.or_(pc.is_in(self.rows["id"], value_set=trees), doubted)
        if data:
            hashed = pa.array([True] * len(self.rows), pa.bool_())
        jobs = [
            *self._pack_jobs(listing.one_chunk(hashed), whole=data and self._listed),
            *self._loose_jobs(listing.one_chunk(hashed), read, everything=data and self._listed),
        ]
        progress.advance(files=len(self.rows))
        self._run(jobs, progress)

    def _doubted(self, needed: pa.Table) -> pa.ChunkedArray:
        """Return which rows are on record as damaged, or contradicted by another row or a revision."""
        said = pa.concat_tables([self.rows.select(needed.column_names), needed])
        kinds = (
            said.group_by(needed.column_names)
            .aggregate([])
            .group_by("id")
            .aggregate([([], "count_all")])
        )
        contradicted = kinds.filter(pc.greater(kinds["count_all"], 1))["id"]
        recorded = pa.array(sorted({oid for oid, _ in self._on_record}), pa.binary(ID_BYTES))
        return pc.or_(
            pc.is_in(self.rows["id"], value_set=listing.one_chunk(contradicted)),
            pc.is_in(self.rows["id"], value_set=recorded),
        )

    def _pack_jobs(self, hashed: pa.Array, *, whole: bool) -> Iterator[Job]:
        """Yield what to read of packs: nothing of one that its directory and all rows agree on."""
        runs = list(self._pack_runs())
        agreed = self._agreed(runs)
        with_rows = set()
        for pack, start, stop in runs:
            with_rows.add(pack)
            if self._pack_size(pack) is None:
                self._note(pack, start, stop)
            elif whole or pc.sum(agreed.slice(start, stop - start)).as_py() != stop - start:
                yield self._job("pack", pack, range(start, stop))
            else:
                rows = pc.indices_nonzero(hashed.slice(start, stop - start)).to_pylist()
                if rows:
                    yield self._job("ranges", pack, [start + row for row in rows])
        for pack in sorted(self._pack_sizes.keys() - with_rows) if self._listed else ():
            if whole or isinstance(self._directory(pack), str):
                yield self._job("pack", pack, ())

    def _pack_runs(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield (raw pack id, first row, behind the last row); the rows of loose objects come last."""
        packed = listing.one_chunk(self.rows["pack"]).drop_null()
        if len(packed):
            encoded = packed.dictionary_encode()
            runs = pc.run_end_encode(encoded.indices)
            packs = encoded.dictionary.take(runs.values).to_pylist()
            ends = runs.run_ends.to_pylist()
            yield from zip(packs, [0, *ends], ends, strict=False)

    def _agreed(self, runs: list[tuple[bytes, int, int]]) -> pa.Array:
        """Return which rows of packs stand in their pack's directory, for all that `runs` cover."""
        verdicts: list[pa.Array] = []
        begin = 0
        keys: list[pa.Array] = []
        for number, (pack, _, stop) in enumerate(runs):
            directory = self._directory(pack)
            if not isinstance(directory, str):
                keys.append(_entry_keys(pack, directory))
            if stop - begin > 1_000_000 or number == len(runs) - 1:
                said = _row_keys(self.rows.slice(begin, stop - begin).combine_chunks())
                there = pa.concat_arrays(keys) if keys else pa.array([], pa.binary())
                verdicts.append(listing.one_chunk(pc.is_in(said, value_set=there)))
                begin, keys = stop, []
        return pa.concat_arrays(verdicts) if verdicts else pa.array([], pa.bool_())

    def _pack_size(self, pack: bytes) -> int | None:
        if pack not in self._pack_sizes and not self._listed:
            info = self._backend.info(layout.pack_key(ObjectId(pack)))
            self._pack_sizes[pack] = info.size if info else None
        return self._pack_sizes.get(pack)

    def _directory(self, pack: bytes) -> Directory | str:
        if pack not in self._directories:
            key, size = layout.pack_key(ObjectId(pack)), self._pack_size(pack)
            try:
                if size is None:
                    raise KeyError(key)
                self._directories[pack] = read_directory(
                    lambda start, length: self._backend.read(key, start, length), size
                )
            except KeyError:
                self._directories[pack] = NO_FILE
            except (DsaError, ValueError) as error:
                self._directories[pack] = str(error)
        return self._directories[pack]

    def _loose_jobs(self, hashed: pa.Array, read: set[bytes], *, everything: bool) -> Iterator[Job]:
        start = len(self.rows) - self.rows["pack"].null_count
        loose = self.rows.slice(start)
        rows: dict[bytes, list[int]] = {}
        for number, oid in enumerate(loose["id"].to_pylist(), start):
            rows.setdefault(oid, []).append(number)
        sizes = loose["size"].to_pylist()
        wanted = hashed.slice(start).to_pylist()
        for oid, numbers in rows.items():
            there = self.loose_size(oid)
            key = layout.object_key(ObjectId(oid))
            if there is None:
                self._note_missing(Job("loose", key, self._places(numbers), numbers, 0))
            elif everything or any(
                wanted[at - start] or sizes[at - start] != there for at in numbers
            ):
                yield Job("loose", key, self._places(numbers), numbers, there)
        for oid in sorted(self._loose_sizes.keys() - rows.keys() - read) if everything else ():
            key = layout.object_key(ObjectId(oid))
            yield Job("loose", key, self._places(()), (), self._loose_sizes[oid] or 0)

    def _note(self, pack: bytes, start: int, stop: int) -> None:
        rows = range(start, stop)
        self._note_missing(
            Job("pack", layout.pack_key(ObjectId(pack)), self._places(rows), rows, 0)
        )

    def _note_missing(self, job: Job) -> None:
        self._take(
            job, Verdict(is_missing=True, wrong=dict.fromkeys(range(len(job.rows)), NO_FILE))
        )

    def _job(self, method: str, pack: bytes, rows: Sequence[int]) -> Job:
        places = self._places(rows)
        size = (self._pack_size(pack) or 0) if method == "pack" else sum(places.sizes)
        return Job(method, layout.pack_key(ObjectId(pack)), places, rows, size)

    def _places(self, rows: Sequence[int]) -> Places:
        taken = self.rows.take(pa.array(rows, pa.int64())).combine_chunks()
        offsets = pc.fill_null(taken["offset"], 0).to_pylist()
        ids, sha256s = bytes(listing.raw(taken["id"])), bytes(listing.raw(taken["sha256"]))
        return Places(ids, sha256s, offsets, taken["size"].to_pylist())

    def hash_loose(self, ids: Iterable[bytes]) -> None:
        """Read loose objects that no row speaks of."""
        checker = Checker(self._backend, parallel=False)
        for oid in ids:
            job = Job("loose", layout.object_key(ObjectId(oid)), self._places(()), (), 0)
            self._take(job, checker.loose(job.key, job.places))

    def _run(self, jobs: list[Job], progress: Progress) -> None:
        total = sum(job.size for job in jobs)
        progress.start("hashing", files=len(jobs), size_bytes=total)
        pays = total > _PROCESS_BYTES or len(jobs) > _PROCESS_FILES
        count = min(cores(), len(jobs)) if pays and _travels(self._backend) else 1
        # Large ones first, so that no worker is left with one at the end.
        waiting = iter(sorted(jobs, key=lambda job: -job.size))

        def script() -> Script:
            for job in waiting:
                verdict = yield (job.method, (job.key, job.places))
                self._take(job, verdict)
                progress.advance(files=1, size_bytes=job.size)

        if jobs:
            with Crew(max(1, count), Checker, self._backend, count <= 1 and cores() > 1) as crew:
                crew.run(script)

    def _take(self, job: Job, verdict: Verdict) -> None:
        self.bytes_read += verdict.bytes_read
        self._verdicts.append((job, verdict))
        self._wrong.update({job.rows[number]: why for number, why in verdict.wrong.items()})
        if job.method == "loose" and (verdict.name_differs or verdict.is_missing):
            self._bad_loose.add(_raw(job.key))

    # --- what comes of it -----------------------------------------------------------------------

    def good(self) -> pa.Table:
        """Return the rows that nothing was found against."""
        if not self._wrong:
            return self.rows
        is_good = bytearray(b"\1" * len(self.rows))
        for row in self._wrong:
            is_good[row] = 0
        mask = pa.Array.from_buffers(pa.uint8(), len(is_good), [None, pa.py_buffer(is_good)])
        return self.rows.filter(mask.cast(pa.bool_()))

    def is_loose(self, oid: bytes, size: int | None) -> bool:
        """Whether an object lies in a file of its own, with the right size and nothing against it."""
        there = self.loose_size(oid)
        return there is not None and size in (None, there) and oid not in self._bad_loose

    def packed_without_location(self, ids: list[bytes]) -> dict[bytes, bytes]:
        """Return the packs (raw ids) that hold some of these objects by their directories."""
        if not ids:
            return {}
        if not self._listed:
            for info in self._backend.list(layout.PACKS):
                oid = layout.id_of_key(info.key)
                if oid is not None:
                    self._pack_sizes.setdefault(oid.raw, info.size)
        found: dict[bytes, bytes] = {}
        wanted = pa.array(ids, pa.binary(ID_BYTES))
        for pack in sorted(self._pack_sizes):
            directory = self._directory(pack)
            if not isinstance(directory, str):
                entries = listing.fixed(directory.ids, ID_BYTES)
                for oid in entries.filter(pc.is_in(entries, value_set=wanted)).to_pylist():
                    found.setdefault(oid, pack)
        return found

    def report(self, lost: set[bytes]) -> set[Place]:
        """Write down what is wrong; return the places that are damaged.

        `lost` are the ids of objects that no good place is left of.
        """
        whole = self._ids_with_another_place(lost)
        damaged: set[Place] = set()
        for job, verdict in self._verdicts:
            if verdict.unreadable:
                self._problems.add(
                    "unreadable", job.key, verdict.unreadable, ids=self._ids(job.rows)
                )
            else:
                damaged |= self._judge(job, verdict, whole)
        return damaged

    def _ids_with_another_place(self, lost: set[bytes]) -> set[bytes]:
        if not self._wrong:
            return set()
        wrong = pa.array(sorted(set(self._ids(self._wrong))), pa.binary(ID_BYTES))
        good = self.good()["id"]
        return set(good.filter(pc.is_in(good, value_set=wrong)).to_pylist()) - lost

    def _ids(self, rows: Iterable[int]) -> list[bytes]:
        ids: list[bytes] = self.rows["id"].take(pa.array(rows, pa.int64())).to_pylist()
        return ids

    def _judge(self, job: Job, verdict: Verdict, whole: set[bytes]) -> set[Place]:
        """Write down what was found of one file; return its places that are damaged."""
        pack = None if job.method == "loose" else _raw(job.key)
        groups: dict[tuple[str, str, bool], list[int]] = {}
        for number, why in verdict.wrong.items():
            oid = job.places.id(number)
            is_healed = (oid, pack) in self._on_record and oid in whole
            kind, subject = "damaged", job.key
            if verdict.is_missing:
                kind = "missing"
            elif _is_lie(why, verdict):
                kind, subject = (
                    "lying location",
                    self._parts[self.rows["part"][job.rows[number]].as_py()],
                )
            groups.setdefault((kind, subject, is_healed), []).append(number)
        for (kind, subject, is_healed), numbers in groups.items():
            details = [_told(job, verdict, numbers)]
            if subject == job.key:
                details += verdict.problems
            if is_healed:
                details.append("it was sent again, and is whole in another place")
            ids = {job.places.id(number) for number in numbers}
            told = "healed" if is_healed else kind
            self._problems.add(told, subject, "; ".join(details), ids=ids, is_damage=not is_healed)
        of_file = any(subject == job.key for _, subject, _ in groups)
        if not of_file and (verdict.problems or verdict.name_differs):
            details = verdict.problems or ["its bytes are not what its name says"]
            ids = {_raw(job.key)} if pack is None else set()
            self._problems.add("damaged", job.key, "; ".join(details), ids=ids)
            if pack is None:
                return {(_raw(job.key), None)}
        return {(job.places.id(number), pack) for number in verdict.wrong}


def report_lost(
    lost: dict[bytes, str], unlisted: dict[bytes, bytes], problems: Problems
) -> set[Place]:
    """Write down objects (raw ids, with why) that no row leads to; return what to put on record.

    `unlisted` are those that a pack (raw id) holds though no location says so. On record as a
    damaged loose object, such an object is sent again by the next push.
    """
    by_pack: dict[bytes, list[bytes]] = {}
    for oid, pack in unlisted.items():
        by_pack.setdefault(pack, []).append(oid)
    for pack, ids in by_pack.items():
        text = f"it holds {_count(len(ids), 'object')} that no location names"
        problems.add("no location", layout.pack_key(ObjectId(pack)), text, ids=ids)
    missing = [oid for oid in sorted(lost) if oid not in unlisted]
    for oid in missing[:_SINGLE]:
        problems.add("missing", layout.object_key(ObjectId(oid)), lost[oid], ids=[oid])
    if rest := missing[_SINGLE:]:
        problems.add(
            "missing", layout.OBJECTS, f"{_count(len(rest), 'more object')} of revisions", ids=rest
        )
    return {(oid, None) for oid in lost}


def _is_lie(why: str, verdict: Verdict) -> bool:
    """Whether the file is what its name says, so that it is the location that is wrong."""
    if why == WRONG_SHA256:
        return True
    return (
        why in (OTHER_ENTRY, NO_ENTRY, WRONG_SIZE)
        and not verdict.name_differs
        and not verdict.problems
    )


def _told(job: Job, verdict: Verdict, numbers: list[int]) -> str:
    """Say in words what is wrong with some of the objects that a file is said to hold."""
    if verdict.is_missing:
        return (
            "it is missing"
            if job.method == "loose"
            else f"it is missing, with {_count(len(numbers), 'object')}"
        )
    reasons = Counter(verdict.wrong[number] for number in numbers)
    texts = []
    for why, count in reasons.most_common():
        named = [job.places.id(number).hex() for number in numbers if verdict.wrong[number] == why]
        more = ", …" if count > _NAMED else ""
        texts.append(f"{', '.join(named[:_NAMED])}{more}: {why}")
    head = "" if job.method == "loose" else f"{_count(len(numbers), 'object')}: "
    return head + "; ".join(texts)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _with_part(table: pa.Table, part: int) -> pa.Table:
    return table.append_column("part", pa.array([part] * len(table), pa.int32()))


def _raw(key: str) -> bytes:
    oid = layout.id_of_key(key)
    assert oid is not None
    return oid.raw


def _row_keys(rows: pa.Table) -> pa.Array:
    """Return (pack, id, offset, size) of every row as bytes."""
    return _keys(rows["pack"], rows["id"], pc.fill_null(rows["offset"], 0), rows["size"])


def _entry_keys(pack: bytes, directory: Directory) -> pa.Array:
    count = len(directory)
    return _keys(
        listing.fixed(pack * count, ID_BYTES),
        listing.fixed(directory.ids, ID_BYTES),
        pa.array(directory.offsets, pa.int64()),
        pa.array(directory.sizes, pa.int64()),
    )


def triples(table: pa.Table) -> pa.Array:
    """Return (id, size, sha256) of every row as bytes."""
    return _keys(table["id"], table["size"], table["sha256"])


def _keys(*columns: pa.Array | pa.ChunkedArray) -> pa.Array:
    arrays = [listing.one_chunk(column) for column in columns]
    texts = [
        (listing.fixed(_int_bytes(array), 8) if array.type == pa.int64() else array).cast(
            pa.binary()
        )
        for array in arrays
    ]
    return pc.binary_join_element_wise(*texts, pa.scalar(b"", pa.binary()))


def _int_bytes(array: pa.Array) -> memoryview:
    if not len(array):
        return memoryview(b"")
    return memoryview(array.buffers()[1])[array.offset * 8 : (array.offset + len(array)) * 8]


def _travels(backend: Backend) -> bool:
    """Whether a worker process can have this backend; one in memory cannot be sent."""
    try:
        pickle.dumps(backend)
    except (TypeError, AttributeError, pickle.PicklingError):
        return False
    return True
