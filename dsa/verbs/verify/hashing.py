"""Reading what a store holds: jobs for workers, and what a store's own checksums save of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dsa.cas import layout
from dsa.cas.backend import Attesting, Backend
from dsa.errors import AccessError, MissingObjectError, NotFoundError
from dsa.progress import Progress
from dsa.remotes.transfer import as_done
from dsa.workers.checker import Checker, Places, Verdict, check_answered, tries
from dsa.workers.crew import Crew, Script, cores

Result = TypeVar("Result")

#: Below this much work starting a process costs more than it saves.
PROCESS_FILES = 2_000
PROCESS_BYTES = 64 * 1024 * 1024

#: Threads that read from a server at once: each has a buffer, and a piece that is on its way.
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Job:
    """A file to hash; `rows` are the numbers of the rows that say what it holds."""

    method: str  # of Checker
    key: str
    places: Places
    rows: Sequence[int]
    size: int  # bytes to read, about
    file_size: int | None = None  # of all of the file, where it is known


def run(
    backend: Backend, jobs: Sequence[Job], take: Callable[[Job, Verdict], None], progress: Progress
) -> None:
    """Do all jobs, by several workers where that pays, and hand every verdict to `take`.

    Raises: `AccessError` where a server does not answer; what it holds is not known then.
    """
    if not jobs:
        return
    total = sum(job.size for job in jobs)
    progress.start("hashing", files=len(jobs), size_bytes=total)
    # Large ones first, so that no worker is left with one at the end.
    waiting = iter(sorted(jobs, key=lambda job: -job.size))

    def script() -> Script:
        for job in waiting:
            verdict = yield (job.method, (job.key, job.places, job.file_size))
            take(job, verdict)
            progress.advance(files=1, size_bytes=job.size)

    threads = backend.jobs > 1
    if threads:
        count = min(backend.jobs, _MOST_THREADS, len(jobs))
    else:
        pays = total > PROCESS_BYTES or len(jobs) > PROCESS_FILES
        count = min(cores(), len(jobs)) if pays and _travels(backend) else 1
    parallel = count <= 1 and cores() > 1
    with Crew(max(1, count), Checker, backend, parallel, threads=threads) as crew:
        crew.run(script)


def vouched_for(backend: Backend, sizes: Mapping[str, int], progress: Progress) -> set[str]:
    """Return those of these files (key -> size) whose SHA-1, as their server gives it, is their name's."""
    if not isinstance(backend, Attesting):
        return set()
    server: Attesting = backend
    progress.start("asking for checksums", files=len(sizes))

    def is_right(key: str) -> bool:
        try:
            return server.attested(key) == raw_id(key)
        except KeyError:
            return False  # reading it will tell
        except AccessError as error:
            check_answered(backend, error)
            return False

    right = set()
    for key, vouched in as_done(sizes, is_right, backend.jobs):
        progress.advance(files=1)
        if vouched:
            right.add(key)
    return right


def each(backend: Backend, call: Callable[[bytes], object], items: Iterable[bytes]) -> None:
    """Call for every item: one after another here, several at once where that waits for a network.

    Of as many items as a store holds only some are handed to threads at a time.
    """
    if backend.jobs == 1:
        for item in items:
            call(item)
    else:
        for _ in as_done(items, call, backend.jobs):
            pass


def surely(backend: Backend, call: Callable[[], Result]) -> Result:
    """Call again where a server's bytes were wrong: they may have become so on their way."""
    for _ in range(tries(backend) - 1):
        try:
            return call()
        except (AccessError, KeyError, MissingObjectError, NotFoundError):
            raise  # no bytes at all
        except Exception:  # noqa: BLE001  # whatever wrong bytes make of a decoder
            continue
    return call()


def raw_id(key: str) -> bytes:
    """Return the raw id in the key of a file that is named by one."""
    oid = layout.id_of_key(key)
    assert oid is not None
    return oid.raw


def _travels(backend: Backend) -> bool:
    """Whether a worker process can have this backend; one in memory cannot be sent."""
    try:
        pickle.dumps(backend)
    except (TypeError, AttributeError, pickle.PicklingError):
        return False
    return True
