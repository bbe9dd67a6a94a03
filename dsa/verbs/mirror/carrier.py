"""From one store to another: every object is hashed on the way, by both digests, whoever sent it.

What is wrong is looked for in the source's other places; what is nowhere right is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from dsa.cas import layout
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.objectstore import ObjectStore
from dsa.errors import DamageError
from dsa.progress import Progress
from dsa.remotes.transfer import Window, in_order
from dsa.verbs.mirror.items import Group, Item, in_packs, items, loose
from dsa.verbs.mirror.landing import Landing, ServerSide
from dsa.verbs.mirror.reader import Reader, is_right
from dsa.verbs.sink import Totals
from dsa.workers.packer import FinishedPack, LargeFile, Packer

#: So much of whole packs waits on this machine's disk to be checked, at most.
_STAGED_BYTES = 512 * 1024 * 1024

#: One batch of loose objects.
_BATCH_OBJECTS = 64
_BATCH_BYTES = 128 * 1024 * 1024

#: From this size on an object is fetched by ranges, several at once, rather than in a batch.
_LARGE_BYTES = 64 * 1024 * 1024


class Carrier:
    """Carries objects of one store to a landing; `finish` hands over what is packed last."""

    def __init__(
        self,
        source: ObjectStore,
        landing: Landing,
        staging: Path,
        progress: Progress,
        server: ServerSide | None = None,
    ) -> None:
        self._source = source
        self._backend = source.backend
        self._landing = landing
        self._reader = Reader(source.backend, staging)
        self._progress = progress
        self._server = server
        self._packer = Packer("", str(staging), False, False, landing.is_near)
        self._bad: list[Item] = []
        self.totals = Totals()
        self.whole_packs = self.new_packs = self.copied = 0

    def carry(self, rows: pa.Table) -> list[Item]:
        """Carry these objects (rows of a listing, each object once); return those that are nowhere right."""
        bad = self._try(rows)
        if bad:
            elsewhere = self._elsewhere(bad)
            found = set(elsewhere["sha1"].to_pylist())
            rest = [item for item in bad if item.oid not in found]
            bad = rest + (self._try(elsewhere) if len(elsewhere) else [])
        lost = [item for item in bad if not self._from_anywhere(item)]
        self._landing.drain()
        return lost + self._taken()

    def add(self, objects: list[tuple[bytes, bytes, bytes]]) -> None:
        """Put objects made here (raw sha1, sha256, content) behind those that are packed anew."""
        self._pack(self._packer.add(objects))

    def finish(self) -> None:
        """Hand over the pack that is still open."""
        self._pack(self._packer.finish())

    def close(self) -> None:
        """Drop what is unfinished."""
        self._packer.close()

    # --- one attempt ----------------------------------------------------------------------------

    def _try(self, rows: pa.Table) -> list[Item]:
        """Carry objects from where rows say they lie; return those that were not right there."""
        window = Window(self._reader.jobs, _STAGED_BYTES)
        parts: list[Group] = []  # packs that turned out not to be what they should be
        try:
            self._carry_ranges(self._ranges(rows, window, parts))
            window.drain()
            self._landing.drain()
        finally:
            window.close(patiently=False)
        self._carry_ranges(run for group in parts for run in group.ranges())
        self._carry_loose(loose(rows))
        self._landing.drain()
        return self._taken()

    def _ranges(self, rows: pa.Table, window: Window, parts: list[Group]) -> Iterator[list[Item]]:
        """Yield what is to be read of packs by ranges; whole packs are begun in the window."""
        for group, is_whole in in_order(in_packs(rows), self._reader.is_whole, self._reader.jobs):
            if not is_whole:
                yield from group.ranges()
            elif self._server is not None:
                self._copy_pack(group, parts)
            else:
                then = partial(self._took_pack, group, parts)
                window.add(partial(self._reader.pack, group), then, group.size or 0)

    def _taken(self) -> list[Item]:
        bad, self._bad = self._bad, []
        return bad

    # --- whole packs ----------------------------------------------------------------------------

    def _took_pack(self, group: Group, parts: list[Group], pack: FinishedPack | None) -> None:
        if pack is None:
            parts.append(group)
            return
        self.whole_packs += 1
        self._landing.packs([pack], self.totals)
        self._advance(group.items)

    def _copy_pack(self, group: Group, parts: list[Group]) -> None:
        assert self._server is not None

        def note(is_copied: bool) -> None:
            if is_copied:
                self.whole_packs += 1
                self.copied += len(group.items)
            else:
                parts.append(group)

        self._landing.copy_pack(self._server, self._backend, group, self.totals, note)

    # --- ranges of packs, packed anew -----------------------------------------------------------

    def _carry_ranges(self, runs: Iterable[list[Item]]) -> None:
        """Carry objects that lie side by side in packs; the small ones are packed anew."""
        for run, came in in_order(runs, self._reader.run, self._reader.jobs):
            if not isinstance(came, list):
                self._take([(run[0], came)])
                continue
            pairs = list(zip(run, came, strict=True))
            self._bad += [item for item, content in pairs if content is None]
            good = [(item.oid, item.sha256, data) for item, data in pairs if data is not None]
            self._pack(self._packer.add(good))
            self._advance(run)

    def _pack(self, finished: list[FinishedPack]) -> None:
        self.new_packs += len(finished)
        self._landing.packs(finished, self.totals)

    # --- files of their own ---------------------------------------------------------------------

    def _carry_loose(self, rows: pa.Table) -> None:
        wanted = items(rows)
        if self._server is not None:
            for item in wanted:
                self._copy_loose(item)
            self._landing.drain()
            wanted = self._taken()
        small = [item for item in wanted if item.size < _LARGE_BYTES]
        if self._reader.is_near:
            staged = in_order(small, self._reader.near, self._reader.jobs)
            self._take(((item, path) for item, path in staged))
        else:
            for batch, came in in_order(_batches(small), self._reader.batch, 2):
                self._take(zip(batch, came, strict=True))
        for item in wanted:
            if item.size >= _LARGE_BYTES:
                self._carry_large(item)

    def _copy_loose(self, item: Item) -> None:
        assert self._server is not None

        def note(is_copied: bool) -> None:
            if is_copied:
                self.copied += 1
            else:
                self._bad.append(item)

        self._landing.copy_loose(self._server, self._backend, item, self.totals, note)

    def _take(self, came: Iterable[tuple[Item, Path | None]]) -> None:
        for item, staged in came:
            if staged is None:
                self._bad.append(item)
            elif item.size < layout.LOOSE_FROM_BYTES:
                content = staged.read_bytes()
                staged.unlink()
                self._pack(self._packer.add([(item.oid, item.sha256, content)]))
            else:
                made = LargeFile(item.oid, item.sha256, str(staged))
                self._landing.loose(made, item.size, self.totals)
            self._advance([item])

    def _carry_large(self, item: Item) -> None:
        key = layout.object_key(ObjectId(item.oid))
        if self._landing.sends_straight(item.size):
            opened = partial(self._reader.opened, key, 0, item.size)
            self._landing.stream(opened, item, self.totals, partial(self._bad.append, item))
            return
        if self._reader.is_near:
            self._take([(item, self._reader.near(item))])
            return
        try:
            with self._reader.opened(key, 0, item.size) as file:
                self._take([(item, self._reader.save(file, item))])
        except KeyError:
            self._take([(item, None)])

    # --- where they are not where they should be ------------------------------------------------

    def _elsewhere(self, bad: list[Item]) -> pa.Table:
        """Return rows with another place of each object, as far as the source's locations know one."""
        by_id = {item.oid: item for item in bad}
        found = self._source.objects.locations.find(pa.array(list(by_id), pa.binary(ID_BYTES)))
        chosen: dict[bytes, Item] = {}
        columns = (found[name].to_pylist() for name in ("id", "size", "pack", "offset"))
        for oid, size, pack, offset in zip(*columns, strict=True):
            item = by_id[oid]
            if size == item.size and (pack, offset) != (item.pack, item.offset):
                chosen[oid] = item._replace(pack=pack, offset=offset)
        return _table(list(chosen.values()))

    def _from_anywhere(self, item: Item) -> bool:
        """Carry one object from whichever place has it."""
        wanted = item.wanted()
        try:
            if item.size < layout.LOOSE_FROM_BYTES:
                content = self._source.objects.read(wanted)
                if not is_right(content, item):
                    return False
                self._pack(self._packer.add([(item.oid, item.sha256, content)]))
                return True
            with self._source.objects.open(wanted) as file:
                staged = self._reader.save(file, item)
        except DamageError:
            return False
        if staged is not None:
            self._take([(item, staged)])
        return staged is not None

    def _advance(self, carried: list[Item]) -> None:
        size = sum(item.size for item in carried) if self._landing.is_near else 0
        self._progress.advance(files=len(carried), size_bytes=size)


def _batches(wanted: list[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in wanted:
        if batch and (len(batch) >= _BATCH_OBJECTS or size + item.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


def _table(found: list[Item]) -> pa.Table:
    """Return items as rows of a listing, as far as `items` and `in_packs` look at them."""
    return pa.table(
        {
            "sha1": pa.array([item.oid for item in found], pa.binary(ID_BYTES)),
            "sha256": pa.array([item.sha256 for item in found], pa.binary(32)),
            "size": pa.array([item.size for item in found], pa.int64()),
            "pack": pa.array([item.pack for item in found], pa.binary(ID_BYTES)),
            "offset": pa.array([item.offset for item in found], pa.int64()),
        }
    )
