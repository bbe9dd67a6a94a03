"""Reading a scan's files: their digests, and what is new of them into the store.

One read for each file. Small files go to the workers in batches: a worker hashes a batch in its
buffer, hears which of it is new, and packs that.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from dsa.cas.trees import EXECUTABLE, FILE, LINK
from dsa.errors import AccessError, DsaError
from dsa.progress import SILENT, Progress
from dsa.verbs.batches import Batch, batches, bytes_of, paths_of, places
from dsa.verbs.sink import LARGEST_COPY_BYTES, Sink, Totals
from dsa.workers.crew import Call, Crew, Script, crew_size
from dsa.workers.packer import Hashed, LargeFile, Origin, Packer
from dsa.workers.signature import SIGNATURE, signature
from dsa.worktree.scan import Scan
from dsa.worktree.statcache import Digests

_TRIES = 3

#: What is larger is read in steps of this size, so that what is sent meanwhile is looked after.
#: Nothing that is sent straight is smaller.
_STEP_BYTES = LARGEST_COPY_BYTES


def hash_rows(
    scan: Scan, digests: Digests, rows: list[int], follow_links: bool, progress: Progress = SILENT
) -> int:
    """Fill in the digests of these rows, writing nothing; return how many files were read."""
    reader = _Reader(scan, digests, follow_links, progress, None)
    reader.run(rows)
    return reader.totals.files_read


def ingest(
    scan: Scan,
    digests: Digests,
    rows: list[int],
    sink: Sink,
    totals: Totals,
    follow_links: bool,
    progress: Progress = SILENT,
) -> None:
    """Read these rows once: fill in their digests, and put what is new into the store.

    Raises: `DsaError` naming all files that cannot be read or keep changing; `CollisionError`.
    """
    reader = _Reader(scan, digests, follow_links, progress, sink)
    reader.totals = totals
    reader.run(rows)


class _Reader:
    """One run over some rows of a scan."""

    def __init__(
        self,
        scan: Scan,
        digests: Digests,
        follow_links: bool,
        progress: Progress,
        sink: Sink | None,
    ) -> None:
        self._scan = scan
        self._digests = digests
        self._follow_links = follow_links
        self._progress = progress
        self._sink = sink
        self._again: list[int] = []
        self._refused: list[str] = []
        self._is_near = sink is None or sink.is_near
        self._has_straight = False
        self.totals = Totals()

    def run(self, rows: list[int]) -> None:
        files, size = len(rows), bytes_of(self._scan, rows)
        self._start(rows, size)
        with self._crew(files, size) as crew:
            for tried in range(_TRIES):
                jobs = iter(batches(self._scan, rows))
                crew.run(partial(self._script, jobs))
                if self._sink and self._has_straight:
                    crew.run(self._finish)  # packs do not wait for files that may take hours
                    self._sink.drain()  # one may have changed before it was sent
                rows, self._again = self._again, []
                if not rows:
                    break
                time.sleep(0.05 * tried)
                rows = self._look_again(rows)
            self._refused += (
                f"{path}: it keeps changing while it is read" for path in paths_of(self._scan, rows)
            )
            leading_out = self._scan.links_leading_out()  # one may have changed since the scan
            self._refused += (f"{path}: {problem}" for path, problem in leading_out.items())
            self._complain()
            if self._sink:
                crew.run(self._finish)
                self._sink.drain()

    def _start(self, rows: list[int], size: int) -> None:
        """Begin the stage; the bytes of a far store's line are those that it has, or was sent.

        What goes there straight is read twice, the first time at length: that counts as well.
        """
        stage = "reading"
        if self._sink and not self._is_near:
            sizes = (folder.sizes[at] for folder, at in places(self._scan, rows))
            twice = sum(filter(self._sink.sends_straight, sizes))
            stage, size = ("reading and sending" if twice else "sending"), size + twice
        self._progress.start(stage, files=len(rows), size_bytes=size)

    def _complain(self) -> None:
        """Say which files could not be read."""
        if not self._refused:
            return
        count, may_not = len(self._refused), os.strerror(errno.EACCES)
        what = f"{count} {'file' if count == 1 else 'files'} in {self._scan.root} cannot be read"
        problems = sorted(self._refused)
        if all(problem.endswith(may_not) for problem in problems):
            raise AccessError(what, problems=problems)
        raise DsaError(
            what, hint="run the command again when nobody writes to them", problems=problems
        )

    def _crew(self, files: int, size: int) -> Crew:
        jobs = crew_size(files, size)
        staging = str(self._sink.staging) if self._sink else ""
        arguments = str(self._scan.root), staging, self._follow_links, jobs == 1, self._is_near
        return Crew(jobs, Packer, *arguments)

    def _script(self, jobs: Iterator[Batch]) -> Script:
        for batch in jobs:
            if batch.is_large:
                new = yield from self._large(batch)
            else:
                hashed: Hashed = yield ("hash", (batch.paths, batch.sizes, batch.signatures))
                new = self._take(batch, hashed)
                if any(new):
                    finished = yield ("keep", (new,))
                    assert self._sink
                    self._sink.packs(finished, self.totals)
            self._advance(batch, new)

    def _advance(self, batch: Batch, new: bytes) -> None:
        """Say how far it is; what is sent to a far store counts when it was sent."""
        done = sum(batch.sizes)
        if not self._is_near:
            assert self._sink
            done -= sum(size for size, is_new in zip(batch.sizes, new, strict=True) if is_new)
            self._sink.settle()
        elif done > _STEP_BYTES:
            done = 0  # its steps were told
        self._progress.advance(files=len(batch.rows), size_bytes=done)

    def _take(self, batch: Batch, hashed: Hashed) -> bytes:
        """Note a batch's digests; return which of its objects are new."""
        for number, reason in hashed.failed.items():
            self._fail(batch, number, reason)
        sizes = [-1 if number in hashed.failed else size for number, size in enumerate(batch.sizes)]
        if hashed.failed or batch.rows[-1] - batch.rows[0] >= len(batch.rows):
            for number, row in enumerate(batch.rows):
                if sizes[number] >= 0:
                    self._digests.set(row, *hashed.of(number))
        else:
            self._digests.set(batch.rows[0], hashed.sha1, hashed.sha256)
        self.totals.files_read += len(batch.rows) - len(hashed.failed)
        if self._sink is None:
            return b""
        name_of = batch.paths.__getitem__
        return self._sink.presence.ask(hashed.sha1, hashed.sha256, sizes, name_of)

    def _large(self, batch: Batch) -> Generator[Call, Any, bytes]:
        """Hash one large file; copy it in the same read if it is to be copied and the store cannot have it.

        Returns whether it is new, as `_take` does.
        """
        sink, (row,), (path,), (size,) = self._sink, batch.rows, batch.paths, batch.sizes
        straight = sink is not None and sink.sends_straight(size)
        copy = sink is not None and not straight and not sink.presence.may_hold_large(size)
        made = yield from self._read_large(batch, copy)
        if isinstance(made, str):
            self._fail(batch, 0, made)
            return b"\0"
        self._digests.set(row, made.sha1, made.sha256)
        self.totals.files_read += 1
        if sink is None:
            return b"\0"
        if not any(sink.presence.ask(made.sha1, made.sha256, [size], lambda _: path)):
            if made.staged is not None:
                os.unlink(made.staged)
            return b"\0"
        if straight and not sink.needs_pack(made.sha1):
            self._send_straight(sink, batch, made)
            return b"\1"
        sink.check_fits(made.sha1, size)
        if made.staged is None:
            before = made
            made = yield from self._read_large(batch, True)
            if isinstance(made, str) or made.sha256 != before.sha256:
                sink.presence.unclaim(before.sha1)
                self._fail(batch, 0, made if isinstance(made, str) else "")
                return b"\0"
        sink.loose(made, size, self.totals)
        return b"\1"

    def _read_large(self, batch: Batch, copy: bool) -> Generator[Call, Any, LargeFile | str]:
        """Have a large file hashed; step by step where that takes a while."""
        (size,), arguments = batch.sizes, (batch.paths[0], batch.signatures, copy)
        made: LargeFile | str
        if size <= _STEP_BYTES:
            made = yield ("large", arguments)
            return made
        problem: str | None = yield ("begin_large", arguments)
        if problem is not None:
            return problem
        while count := (yield ("read_large", (_STEP_BYTES,))):
            if self._sink:
                self._sink.settle()
            if self._is_near or (self._sink and self._sink.sends_straight(size)):
                self._progress.advance(size_bytes=count)
        made = yield ("end_large", ())
        return made

    def _send_straight(self, sink: Sink, batch: Batch, made: LargeFile) -> None:
        def again() -> None:
            self.totals.files_read -= 1
            self._again += batch.rows

        self._has_straight = True
        full = os.path.join(self._scan.root, batch.paths[0])
        origin = Origin(full, batch.signatures, self._follow_links)
        sink.straight(origin, made, batch.sizes[0], self.totals, again)

    def _finish(self) -> Script:
        finished = yield ("finish", ())
        assert self._sink
        self._sink.packs(finished, self.totals)

    def _fail(self, batch: Batch, number: int, reason: str) -> None:
        if reason:
            self._refused.append(f"{batch.paths[number]}: {reason}")
        else:
            self._again.append(batch.rows[number])

    def _look_again(self, rows: list[int]) -> list[int]:
        """Stat files anew that changed while they were read; those that are gone are refused."""
        left = []
        for row, (folder, at) in zip(sorted(rows), places(self._scan, sorted(rows)), strict=True):
            path = f"{folder.path}/{folder.names[at]}".lstrip("/")
            try:
                full = os.path.join(self._scan.root, path)
                info = os.stat(full) if self._follow_links else os.lstat(full)
                is_pushed_link = path in self._scan.links and _kind(info.st_mode) == stat.S_IFLNK
                problem = self._scan.link_problem(path) if is_pushed_link else None
            except OSError as error:
                self._refused.append(f"{path}: it went away while it was read ({error.strerror})")
                continue
            if _kind(info.st_mode) != _kind_of_mode(folder.modes[at]):
                self._refused.append(f"{path}: it became something else while it was read")
                continue
            if problem is not None:
                self._refused.append(f"{path}: {problem}")
                continue
            if folder.modes[at] != LINK:
                folder.modes[at] = EXECUTABLE if info.st_mode & 0o100 else FILE
            folder.sizes[at] = info.st_size
            width = SIGNATURE.size
            signatures = folder.signatures
            folder.signatures = (
                signatures[: at * width] + signature(info) + signatures[(at + 1) * width :]
            )
            left.append(row)
        return left


def _kind(mode: int) -> int:
    return mode & 0o170000


def _kind_of_mode(mode: int) -> int:
    return LINK if mode == LINK else 0o100000
