"""Writing a checkout's files: by workers, from one store, and what that lacks from the next.

Of each store the likeliest place of an object is read first, then, from a server, the same place
once more where wrong bytes came, then where its locations say, then wherever else it may lie.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing
from dsa.cas.ids import ObjectId
from dsa.cas.names import count
from dsa.cas.objects import Span, Wanted
from dsa.cas.revisions import Published
from dsa.errors import AccessError
from dsa.progress import Progress
from dsa.remotes.cache import Cache
from dsa.verbs import jobs
from dsa.verbs.fetching import Fetching, whole_packs
from dsa.verbs.jobs import FAR, NEAR, Expected
from dsa.verbs.sources import Source, Sources
from dsa.workers.crew import Crew, Script, crew_size
from dsa.workers.signature import NO_SIGNATURE, SIGNATURE
from dsa.workers.writer import Job, Writer, Written

_REFUSED = "not permitted"
_KEEP_GOING = "what was written stays; when the store can be reached, the same command goes on"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a checkout; `temporary` goes with this run, `partials` when a checkout is done."""

    root: Path
    temporary: Path
    partials: Path


@dataclass(slots=True)
class Writing:
    """Writes rows of a listing; `signatures` (joined, of all rows) say what became of each."""

    sources: Sources
    first: Source
    published: Published
    target: pa.Table
    place: Place
    expected: Expected
    signatures: bytearray
    link: bool
    cache: Cache | None
    progress: Progress
    done: Written = field(default_factory=Written)  # the counts alone
    lost: list[str] = field(
        default_factory=list
    )  # what no store has as it should be, or is hostile
    refused: list[str] = field(default_factory=list)
    _settled: set[int] = field(default_factory=set)  # rows that are not tried again

    def write(self, rows: pa.Array) -> None:
        """Write these rows; what cannot be is in `lost` and `refused`, all else is written.

        Raises: `AccessError` where the first store went away, and no other has what is left.
        """
        sizes = self.target["size"].take(rows)
        total = pc.sum(sizes, min_count=0).as_py()
        self.progress.start("writing", files=len(rows), size_bytes=total)
        if self.first.backend.local_path("") is None:
            rows = self._write_near(rows)
        hands = _Hands(self, self.first)
        left = hands.write(rows)
        if not left:
            return
        down, wrong = hands.down, hands.wrong
        lost = f"{count(len(left), 'file')} {'is' if len(left) == 1 else 'are'} "
        lost += (
            "missing or damaged" if hands.refused is None else "missing, damaged or not permitted"
        )
        failure = str(down or f"{lost} in {self.first.store.url}")
        for source in self.sources.further(self.published):
            still = _Hands(self, source).write(pa.array(left, pa.int64()))
            if len(still) < len(left):
                came = f"{len(left) - len(still):,} of {'it' if len(left) == 1 else 'them'} came"
                self.sources.stood_in(source, came, failure)
            left = still
            if not left:
                return
        if down is not None:
            raise AccessError(
                str(down),
                hint=_KEEP_GOING,
                is_outage=down.is_outage,
                is_refusal=down.is_refusal,
            ) from down
        named = [
            f"{self._path(row)}: the object {ObjectId(self.target['sha1'][row].as_py())} is {wrong[row]}"
            for row in left
        ]
        if hands.refused is not None and all(wrong[row] == _REFUSED for row in left):
            raise AccessError(
                f"{self.first.store.url} does not permit to read {count(len(left), 'file')} of "
                f"{self.published}; all others are written: {hands.refused}",
                hint="who keeps the store can permit it; then the same command goes on",
                problems=sorted(named),
                is_refusal=True,
            )
        self.lost += named

    def _write_near(self, rows: pa.Array) -> pa.Array:
        """Write what a store of this machine has, whatever it has it for; return the other rows."""
        near = self.sources.near()
        if near is None or near.backend.local_path("") is None:
            return rows
        return pa.array(_Hands(self, near).write_known(rows), pa.int64())

    def take(self, job: Job, written: Written) -> list[int]:
        """Note what a worker did; return the positions in the job whose bytes were not right."""
        for row, made in zip(job.rows, written.signatures, strict=True):
            self.signatures[row * SIGNATURE.size : (row + 1) * SIGNATURE.size] = made
        for texts, reasons in ((self.refused, written.refused), (self.lost, written.hostile)):
            for at, reason in reasons.items():
                texts.append(f"{self._path(job.rows[at])}: {reason}")
                self._settled.add(job.rows[at])
        self.done.copied += written.copied
        self.done.linked += written.linked
        self.done.cloned += written.cloned
        return written.lost

    def unwritten(self, rows: Iterable[int]) -> list[int]:
        """Return those of these rows that may still be written."""
        size = SIGNATURE.size
        return [
            row
            for row in rows
            if self.signatures[row * size : (row + 1) * size] == NO_SIGNATURE
            and row not in self._settled
        ]

    def _path(self, row: int) -> str:
        folder, name = self.target["folder"][row].as_py(), self.target["name"][row].as_py()
        return f"{folder}/{name}" if folder else str(name)


class _Hands:
    """What is written from one store."""

    def __init__(self, writing: Writing, source: Source) -> None:
        self._all = writing
        self._store = source.store
        self._backend = source.backend
        self._is_far = self._backend.local_path("") is None
        self._how = FAR if self._is_far else NEAR
        self._tried: dict[int, set[tuple[str, int]]] = {}  # by row, where its bytes were not right
        self.down: AccessError | None = None
        self.wrong: dict[int, str] = {}  # by row, what is wrong with its object here
        self._fetching: Fetching | None = None
        if self._is_far:
            place, progress = writing.place, writing.progress
            self._fetching = Fetching(
                self._backend,
                place.temporary,
                place.partials,
                writing.cache,
                lambda count: progress.advance(size_bytes=count),
            )

    def write(self, rows: pa.Array) -> list[int]:
        """Write what this store has of these rows; return the others."""
        self._try(self._all.target, rows, self._whole_packs(rows))
        if self.down is None and not self._tried:
            return []  # none of a million rows is looked at
        self._try_again()
        self._try_locations(self._left())
        self._try_anywhere()
        return self._all.unwritten(rows.to_pylist())

    def write_known(self, rows: pa.Array) -> list[int]:
        """Write those of these rows that this store's locations know; return the others."""
        self._try_locations(rows.to_pylist())
        return self._all.unwritten(rows.to_pylist())

    def _try(self, table: pa.Table, rows: pa.Array, packs: dict[str, int] | None = None) -> None:
        """Write rows whose places `table` says."""
        if len(rows) and self.down is None:
            wanted = jobs.cut(table, rows, self._all.expected, self._how)
            size = pc.sum(table["size"].take(rows), min_count=0).as_py()
            self._carry_out(wanted, crew_size(len(rows), size), packs)

    def _carry_out(
        self, wanted: Iterator[Job], count: int, packs: dict[str, int] | None = None
    ) -> None:
        place = self._all.place
        link = self._all.link and not self._is_far  # a cache is for files that come and go
        arguments = (str(place.root), str(place.temporary), link, count == 1)
        with (
            closing(self._brought(wanted, packs)) as brought,
            Crew(count, Writer, *arguments) as crew,
        ):
            crew.run(lambda: self._script(brought))
        if self._fetching is not None:
            self.down = self._fetching.down

    def _brought(
        self, wanted: Iterator[Job], packs: dict[str, int] | None
    ) -> Generator[Job, None, None]:
        """Yield the jobs with the paths of their bytes on this machine."""
        if self._fetching is not None:
            yield from self._fetching.bring(wanted, packs)
            return
        for job in wanted:
            path = self._backend.local_path(job.key)
            job.path = None if path is None else str(path)
            yield job

    def _script(self, brought: Iterator[Job]) -> Script:
        for job in brought:
            done: Written = yield ("write", (job,))
            lost = self._all.take(job, done)
            for at in lost:
                self._tried.setdefault(job.rows[at], set()).add((job.key, job.offsets[at]))
            if self._fetching is not None:
                if lost:
                    self._fetching.distrust(job)
                self._fetching.release(job)
            self._all.progress.advance(
                files=len(job.rows) - len(lost),
                size_bytes=sum(job.sizes) - sum(job.sizes[at] for at in lost) - job.counted,
            )

    def _whole_packs(self, rows: pa.Array) -> dict[str, int] | None:
        """Return the sizes of the packs that the cache is to get whole."""
        if self._all.cache is None or not self._is_far:
            return None
        packed = self._all.target.take(rows).select(["pack", "offset", "size"])
        distinct = packed.filter(pc.is_valid(packed["pack"])).group_by(["pack", "offset"])
        sizes = distinct.aggregate([("size", "max")]).group_by("pack")
        wanted = sizes.aggregate([("size_max", "sum")])
        by_key = {
            layout.pack_key(ObjectId(pack)): size
            for pack, size in zip(
                wanted["pack"].to_pylist(), wanted["size_max_sum"].to_pylist(), strict=True
            )
        }
        try:
            return whole_packs(self._backend, self._all.cache, by_key)
        except AccessError as error:
            self.down = error
            return None

    def _left(self) -> list[int]:
        return [] if self.down is not None else self._all.unwritten(sorted(self._tried))

    def _try_again(self) -> None:
        """Ask a server once more where wrong bytes came: they may have been hurt on the way."""
        if self._fetching is not None:
            gone = self._fetching.missing
            rows = [
                row for row in self._left() if not any(key in gone for key, _ in self._tried[row])
            ]
            self._try(self._all.target, pa.array(rows, pa.int64()))

    def _try_locations(self, rows: list[int]) -> None:
        """Read what is left (ascending rows) from where the locations say that it lies, if that is elsewhere."""
        if not rows:
            return
        wanted = pa.array(rows, pa.int64())
        some = self._all.target.take(wanted)
        try:
            found = self._store.objects.locations.find(listing.one_chunk(some["sha1"]))
        except AccessError as error:
            self.down = error
            return
        if not len(found):
            return
        places: dict[bytes, list[tuple[int, bytes, bytes | None, int | None]]] = {}
        columns = (found[name].to_pylist() for name in ("id", "size", "sha256", "pack", "offset"))
        for oid, *place in zip(*columns, strict=True):
            places.setdefault(oid, []).append(tuple(place))
        packs, offsets, chosen = some["pack"].to_pylist(), some["offset"].to_pylist(), []
        facts = (some[name].to_pylist() for name in ("sha1", "size", "sha256"))
        for at, (row, oid, size, check) in enumerate(zip(rows, *facts, strict=True)):
            for there, digest, pack, offset in places.get(oid, ()):
                where = _place_of(oid, pack, offset)
                if (
                    where
                    and (there, digest) == (size, check)
                    and where not in self._tried.get(row, ())
                ):
                    packs[at], offsets[at] = pack, offset
                    chosen.append(at)
                    break
        self._try(*_moved(self._all.target, rows, packs, offsets, chosen))

    def _try_anywhere(self) -> None:
        """Look for what is left wherever else an object may lie, one by one."""
        for row in self._left():
            self.wrong[row] = _REFUSED if self._is_refused(row) else "missing"
            for span in self._spans(row):
                if self.wrong[row] != _REFUSED:
                    self.wrong[row] = "damaged"
                if (span.key, span.start) in self._tried[row]:
                    continue
                only = pa.array([row], pa.int64())
                job = next(jobs.cut(self._all.target, only, self._all.expected))
                self._carry_out(iter((jobs.elsewhere(job, 0, span),)), 1)
                if not self._all.unwritten((row,)):
                    break

    def _spans(self, row: int) -> Iterator[Span]:
        """Yield where the object of a row may lie, while the store can be asked."""
        columns = (self._all.target[name][row].as_py() for name in ("sha1", "size", "sha256"))
        oid, size, check = columns
        try:
            for span in self._store.objects.spans(Wanted(ObjectId(oid), size, check)):
                if self.down is not None:
                    return
                yield span
        except AccessError as error:
            if not error.is_refusal:
                self.down = error

    @property
    def refused(self) -> AccessError | None:
        """Why single files were not given, if any were not: somebody does not permit it."""
        refused = self._fetching.refused if self._fetching is not None else {}
        return next(iter(refused.values()), None)

    def _is_refused(self, row: int) -> bool:
        refused = self._fetching.refused if self._fetching is not None else {}
        return any(key in refused for key, _ in self._tried[row])


def _place_of(oid: bytes, pack: bytes | None, offset: int | None) -> tuple[str, int] | None:
    """Return the key and the first byte of a place that the locations name, None for one that cannot be."""
    if pack is None:
        return layout.object_key(ObjectId(oid)), 0
    return None if offset is None or offset < 0 else (layout.pack_key(ObjectId(pack)), offset)


def _moved(
    target: pa.Table,
    rows: Sequence[int],
    packs: list[bytes | None],
    offsets: list[int | None],
    chosen: list[int],
) -> tuple[pa.Table, pa.Array]:
    """Return the listing with other places for some of its rows, and the rows that are chosen."""
    table = target
    at = pa.array(rows, pa.int64())
    is_moved = pc.is_in(pa.array(range(len(target)), pa.int64()), value_set=at)
    for name, values in (("pack", packs), ("offset", offsets)):
        column = listing.one_chunk(target[name])
        new = pc.replace_with_mask(column, is_moved, pa.array(values, column.type))
        table = table.set_column(table.schema.get_field_index(name), name, new)
    return table, pa.array([rows[index] for index in chosen], pa.int64())
