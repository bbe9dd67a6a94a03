"""Checking where objects lie: locations against packs and loose objects, at array speed.

What the tables do not settle is read: every place that something speaks against is hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

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
from dsa.remotes.transfer import in_order
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.hashing import Job, each, raw_id, run, surely, vouched_for
from dsa.verbs.verify.judgement import count, judge
from dsa.verbs.verify.names import check_keys
from dsa.verbs.verify.rows import entry_keys, row_keys
from dsa.workers.checker import NO_FILE, Places, Verdict, check_answered


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
        self.files_read = 0
        self.files_attested = 0
        self.bytes_attested = 0

    @property
    def packs(self) -> int:
        """How many packs were looked at."""
        return len(self._pack_sizes)

    # --- what is said ---------------------------------------------------------------------------

    def read_parts(self) -> None:
        """Read all parts of the locations; rows that cannot be are named and dropped."""
        tables = [self.rows]
        infos = check_keys(self._backend.list(layout.LOCATIONS), self._problems)
        for info, part in in_order(infos, lambda info: self._part(info.key), self._backend.jobs):
            if isinstance(part, DamageError):
                self._problems.add("bad locations", info.key, str(part))
                continue
            if isinstance(part, DsaError):
                self._problems.unreadable(info.key, part)
                continue
            self.bytes_read += info.size
            tables.append(_with_part(self._sound(info.key, part), len(self._parts)))
            self._parts.append(info.key)
        self.rows = pa.concat_tables(tables).combine_chunks()

    def _part(self, key: str) -> pa.Table | DsaError:
        """Return what a part says, or why it cannot be read."""
        try:
            return surely(self._backend, lambda: read_part(self._backend, key))
        except DsaError as error:
            check_answered(self._backend, error)
            return error

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
                f"{count(bad, 'row')} cannot be: sizes or offsets make no sense",
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
            self._pack_sizes[raw_id(info.key)] = info.size
        for info in check_keys(self._backend.list(layout.OBJECTS), self._problems):
            self._loose_sizes[raw_id(info.key)] = info.size
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
        attest: bool = False,
        progress: Progress,
    ) -> None:
        """Hold every row against what is there.

        `needed` (id, size, sha256) is what revisions say of their files; all of `trees` are read;
        `only` are the ids that count, None: all; `read` are loose objects that were read before. With
        `data` everything is read; with `attest` too, files whose right SHA-1 the store's server
        gives are read no further than without `data`.
        """
        if only is not None:
            self.rows = self.of(only)
        self.rows = self.rows.sort_by(
            [("pack", "ascending"), ("offset", "ascending")]
        ).combine_chunks()
        progress.start("checking locations", files=len(self.rows))
        hashed = pc.or_(pc.is_in(self.rows["id"], value_set=trees), self._doubted(needed))
        hashed = listing.one_chunk(hashed)
        runs = list(self._pack_runs())
        self._look_at(runs)
        vouched = self._vouched(read, progress) if data and attest else {}
        jobs = [
            *self._pack_jobs(runs, hashed, vouched, data=data),
            *self._loose_jobs(hashed, vouched, read, data=data),
        ]
        progress.advance(files=len(self.rows))
        self.files_read = len(jobs)
        for job in jobs:
            vouched.pop(job.key, None)  # it is read all the same: something speaks against it
        self.files_attested, self.bytes_attested = len(vouched), sum(vouched.values())
        run(self._backend, jobs, self._take, progress)

    def _look_at(self, runs: list[tuple[bytes, int, int]]) -> None:
        """Ask for packs' directories and loose objects' sizes, several at once on a network."""
        start = len(self.rows) - self.rows["pack"].null_count
        each(self._backend, self.loose_size, pc.unique(self.rows["id"].slice(start)).to_pylist())
        each(self._backend, self._directory, [pack for pack, _, _ in runs])

    def _vouched(self, read: set[bytes], progress: Progress) -> dict[str, int]:
        """Return the files (key -> size) whose right SHA-1 the store's server gives."""
        sizes = {
            layout.pack_key(ObjectId(pack)): size
            for pack, size in self._pack_sizes.items()
            if size is not None
        }
        sizes |= {
            layout.object_key(ObjectId(oid)): size
            for oid, size in self._loose_sizes.items()
            if size is not None and oid not in read
        }
        right = vouched_for(self._backend, sizes, progress)
        return {key: size for key, size in sizes.items() if key in right}

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

    def _pack_jobs(
        self,
        runs: list[tuple[bytes, int, int]],
        hashed: pa.Array,
        vouched: dict[str, int],
        *,
        data: bool,
    ) -> Iterator[Job]:
        """Yield what to read of packs: with `data` all of those that nobody vouches for.

        Else only the rows to be hashed, and all of a pack that its directory and rows disagree on.
        """
        agreed = self._agreed(runs)
        with_rows = set()
        for pack, start, stop in runs:
            with_rows.add(pack)
            is_wanted = data and layout.pack_key(ObjectId(pack)) not in vouched
            if self._pack_size(pack) is None:
                self._note(pack, start, stop)
            elif (is_wanted and self._listed) or (
                pc.sum(agreed.slice(start, stop - start)).as_py() != stop - start
            ):
                yield self._job("pack", pack, range(start, stop))
            elif is_wanted:
                yield self._job("ranges", pack, range(start, stop))
            else:
                rows = pc.indices_nonzero(hashed.slice(start, stop - start)).to_pylist()
                if rows:
                    yield self._job("ranges", pack, [start + row for row in rows])
        rest = sorted(self._pack_sizes.keys() - with_rows) if self._listed else []
        each(self._backend, self._directory, rest)
        for pack in rest:
            is_wanted = data and layout.pack_key(ObjectId(pack)) not in vouched
            if is_wanted or isinstance(self._directory(pack), str):
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
                keys.append(entry_keys(pack, directory))
            if stop - begin > 1_000_000 or number == len(runs) - 1:
                said = row_keys(self.rows.slice(begin, stop - begin).combine_chunks())
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
                self._directories[pack] = surely(
                    self._backend,
                    lambda: read_directory(partial(self._backend.read, key), size),
                )
            except KeyError:
                self._directories[pack] = NO_FILE
            except (DsaError, ValueError) as error:
                if isinstance(error, DsaError):
                    check_answered(self._backend, error)
                self._directories[pack] = str(error)
        return self._directories[pack]

    def _loose_jobs(
        self, hashed: pa.Array, vouched: dict[str, int], read: set[bytes], *, data: bool
    ) -> Iterator[Job]:
        """Yield the loose objects to read: with `data` all that nobody vouches for, else the doubted ones."""
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
            elif (data and key not in vouched) or any(
                wanted[at - start] or sizes[at - start] != there for at in numbers
            ):
                yield self._loose_job(oid, numbers)
        for oid in sorted(self._loose_sizes.keys() - rows.keys() - read) if data else ():
            if self._listed and layout.object_key(ObjectId(oid)) not in vouched:
                yield self._loose_job(oid, ())

    def _loose_job(self, oid: bytes, rows: Sequence[int]) -> Job:
        size = self.loose_size(oid)
        key = layout.object_key(ObjectId(oid))
        return Job("loose", key, self._places(rows), rows, size or 0, size)

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
        return Job(
            method, layout.pack_key(ObjectId(pack)), places, rows, size, self._pack_size(pack)
        )

    def _places(self, rows: Sequence[int]) -> Places:
        taken = self.rows.take(pa.array(rows, pa.int64())).combine_chunks()
        offsets = pc.fill_null(taken["offset"], 0).to_pylist()
        ids, sha256s = bytes(listing.raw(taken["id"])), bytes(listing.raw(taken["sha256"]))
        return Places(ids, sha256s, offsets, taken["size"].to_pylist())

    def hash_loose(self, ids: Iterable[bytes], progress: Progress) -> None:
        """Read those of these objects that have files of their own; no row speaks of them."""
        ids = list(ids)
        each(self._backend, self.loose_size, ids)
        jobs = [self._loose_job(oid, ()) for oid in ids if self.loose_size(oid) is not None]
        run(self._backend, jobs, self._take, progress)

    def _take(self, job: Job, verdict: Verdict) -> None:
        self.bytes_read += verdict.bytes_read
        self._verdicts.append((job, verdict))
        self._wrong.update({job.rows[number]: why for number, why in verdict.wrong.items()})
        if job.method == "loose" and (verdict.name_differs or verdict.is_missing):
            self._bad_loose.add(raw_id(job.key))

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
        each(self._backend, self._directory, sorted(self._pack_sizes))
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
                self._problems.unreadable(job.key, verdict.unreadable, ids=self._ids(job.rows))
            else:
                damaged |= judge(
                    job,
                    verdict,
                    self._problems,
                    healed=lambda oid, pack: (oid, pack) in self._on_record and oid in whole,
                    part_of=lambda row: self._parts[self.rows["part"][row].as_py()],
                )
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


def _with_part(table: pa.Table, part: int) -> pa.Table:
    return table.append_column("part", pa.array([part] * len(table), pa.int32()))
