"""What a place can do, found out by trying: nothing is believed because a kind of server usually does it.

All is tried on files of random names below `site/doctor/`, which no reader looks at, and which
are removed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from uuid import uuid4

from dsa.cas import layout
from dsa.cas.backend import Attesting, Backend
from dsa.cas.ids import ObjectId
from dsa.errors import AccessError, DsaError

WRITERS = 8
_ROUNDS = 5
_SHORT_ROUNDS = 2
_SLOWEST_SECONDS = 120.0  # until all writers of a round are at its start

_CONTENT = bytes(range(256)) * 4
_MOST_BYTES = 1024 * 1024  # of a store's own file


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a place can do one thing, and what was seen, in plain words."""

    can: bool | None  # None: it could not be found out
    words: str


NOTHING_YET = Answer(None, "nothing is here yet that could be read")
_SILENT = Answer(None, "not tried: see the line before")
UNTRIED = Answer(None, "not tried: nothing can be written here")


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about a place; an answer each."""

    url: str
    read: Answer
    list: Answer
    write: Answer = UNTRIED
    delete: Answer = UNTRIED
    put_if_absent: Answer = UNTRIED  # one after the other
    race: Answer = UNTRIED  # put-if-absent by several at once
    ranges: Answer = UNTRIED
    sha1_accepted: Answer = UNTRIED
    sha1_refused: Answer = UNTRIED  # when it is wrong
    sha1_given: Answer = UNTRIED
    left_behind: tuple[str, ...] = ()  # files of this examination that could not be removed
    requests: int = 0
    seconds: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether somebody answered, and there is nothing that could be read."""
        return self.read == NOTHING_YET

    @property
    def claims(self) -> Answer:
        """Whether of several pushes of one name exactly one wins."""
        return self.race if self.put_if_absent.can else self.put_if_absent

    @property
    def attests(self) -> bool | None:
        """Whether the SHA-1 that the server gives for a file can stand for reading it."""
        seen = {one.can for one in (self.sha1_accepted, self.sha1_refused, self.sha1_given)}
        return False if False in seen else None if None in seen else True


def examine(backend: Backend) -> Examination:
    """Try out all that a store has to do, and clean up; what it cannot do is an answer, no error."""
    began, requests = time.monotonic(), backend.traffic.requests
    with _trying(backend) as trial:
        found: dict[str, Answer] = {"write": trial.writes()}
        if found["write"].can:
            found |= {
                "read": trial.reads(),
                "list": trial.lists(),
                "ranges": _reads_ranges(backend, trial.written, _CONTENT),
                "put_if_absent": trial.puts_if_absent(),
            }
            if found["put_if_absent"].can and backend.claims is False:
                found["race"] = Answer(False, _LOOKS_FIRST)
            elif found["put_if_absent"].can:
                found["race"] = trial.races(_ROUNDS)
            else:
                found["race"] = Answer(found["put_if_absent"].can, "not tried: see the line before")
            found |= trial.attests()
            found["delete"] = trial.deletes()
        elif found["write"].can is None:  # nobody answers: every further question takes as long
            found |= dict.fromkeys(("list", "write"), _SILENT) | {"read": found["write"]}
        else:
            found |= _only_reads(backend)
            read = found["read"]
            is_silent = read.can is None and read != NOTHING_YET
            found["list"] = _SILENT if is_silent else _lists(backend)
            for name in ("list", "write"):
                if found[name] == read:
                    found[name] = replace(read, words="for the same reason")
    return Examination(
        backend.url,
        **found,
        left_behind=tuple(trial.left_behind),
        requests=backend.traffic.requests - requests,
        seconds=time.monotonic() - began,
    )


def examine_claims(backend: Backend) -> Answer:
    """Try out only whether of several writers exactly one wins: a few requests.

    Raises: `AccessError` where nothing can be written, or nobody answers.
    """
    with _trying(backend) as trial:
        answer = trial.puts_if_absent(may_raise=True)
        if not answer.can:
            return answer
        # Whoever looks first may still win by luck: a race proves nothing then.
        is_lost = backend.claims is False
        return Answer(False, _LOOKS_FIRST) if is_lost else trial.races(_SHORT_ROUNDS)


@contextmanager
def _trying(backend: Backend) -> Iterator[_Trial]:
    """Give a trial; its files are removed at the end, and folders of this machine that it made."""
    trial = _Trial(backend)
    # A local store that is still to be made is not made by examining it.
    above = _missing_folders(backend, (f"{layout.SITE}tmp/", layout.DOCTOR))
    try:
        yield trial
    finally:
        trial.clean()
        for folder in above:
            with suppress(OSError):  # somebody else put something there meanwhile
                os.rmdir(folder)


def _missing_folders(backend: Backend, prefixes: Iterable[str]) -> list[Path]:
    """Return the folders of this machine that keys below `prefixes` will make, the innermost first."""
    paths = [path for prefix in prefixes if (path := backend.local_path(f"{prefix}x"))]
    folders = {folder for path in paths for folder in path.parents if not folder.exists()}
    return sorted(folders, key=lambda folder: len(folder.parts), reverse=True)


class _Trial:
    """One examination under way: its files, and the questions."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._name = f"{layout.DOCTOR}{uuid4().hex}"
        self._keys: list[str] = []
        self.written = ""  # the file that `writes` wrote
        self.left_behind: list[str] = []

    def key(self, name: str) -> str:
        """Return a key of this trial's own, to be removed at its end."""
        self._keys.append(f"{self._name}.{name}")
        return self._keys[-1]

    def clean(self) -> None:
        """Remove what was written; what could not be is told."""
        for key in self._keys:
            try:
                self._backend.remove(key)
            except DsaError:
                self.left_behind.append(key)
        self._keys = []

    # --- the questions --------------------------------------------------------------------------

    def writes(self) -> Answer:
        """Write a file."""
        self.written = self.key("written")

        def written() -> str | None:
            try:
                self._backend.write(self.written, _CONTENT)
            except KeyError:
                return "the place itself is not there"
            return None

        answer = _asked(written, "files can be written")
        if not answer.can:
            self._keys.clear()  # nothing to remove: nobody should be told that it was left behind
        return answer

    def reads(self) -> Answer:
        """Read back what was written."""

        def same() -> str | None:
            data = self._backend.read(self.written)
            return None if data == _CONTENT else f"{len(data)} other bytes came back"

        return _asked(same, "what was written is read back")

    def lists(self) -> Answer:
        """List the folder of what was just written."""

        def listed() -> str | None:
            keys = {info.key for info in self._backend.list(layout.DOCTOR)}
            return None if self.written in keys else "a file that was just written is not listed"

        return _asked(listed, "folders are listed, what was just written too")

    def puts_if_absent(self, *, may_raise: bool = False) -> Answer:
        """Write one file twice, if it is not there; with `may_raise` an error is not an answer."""
        key = self.key("claimed")

        def kept() -> str | None:
            try:
                is_first = self._backend.create(key, b"first")
            except DsaError as error:
                try:
                    self._backend.write(key, b"first")
                except DsaError:
                    self._keys.remove(key)
                    raise  # nothing can be written, with or without a condition
                if isinstance(error, AccessError) and error.is_outage:
                    raise error from None  # nobody answered just then: that says nothing
                return _REFUSES
            is_second = self._backend.create(key, b"second")
            if not is_first:
                return "a file that was not there was taken for one that was"
            if is_second or self._backend.read(key) != b"first":
                return _IGNORES
            return None

        if may_raise:
            wrong = kept()
            return Answer(wrong is None, wrong or _KEEPS)
        return _asked(kept, _KEEPS)

    def races(self, rounds: int) -> Answer:
        """Let several writers write one file at once, if it is not there; each time exactly one has to win."""
        start = Barrier(WRITERS, timeout=_SLOWEST_SECONDS)

        def put(writer: int, key: str) -> bool:
            with suppress(BrokenBarrierError):
                start.wait()
            return self._backend.create(key, f"writer {writer}".encode())

        def won() -> str | None:
            # The threads stay the same, so that from the second round on all are connected.
            with ThreadPoolExecutor(WRITERS, thread_name_prefix="dsa-doctor") as pool:
                for number in range(rounds):
                    key = self.key(f"race{number}")
                    futures = [pool.submit(put, writer, key) for writer in range(WRITERS)]
                    winners = [at for at, future in enumerate(futures) if future.result()]
                    if len(winners) != 1:
                        return f"{len(winners)} of {WRITERS} writers at once were told that they were first"
                    if self._backend.read(key) != f"writer {winners[0]}".encode():
                        return (
                            "the file holds what a writer wrote who was told that it was too late"
                        )
            return None

        return _asked(
            won, f"of {WRITERS} writers at once exactly one wins, {rounds} times of {rounds}"
        )

    def attests(self) -> dict[str, Answer]:
        """Declare a right and a wrong SHA-1, and ask for one back."""
        names = ("sha1_accepted", "sha1_refused", "sha1_given")
        backend = self._backend
        if not isinstance(backend, Attesting):
            return dict.fromkeys(names, Answer(False, "this kind of store has no SHA-1 checksums"))
        right, wrong = self.key("right"), self.key("wrong")
        sha1 = ObjectId.of(_CONTENT).raw
        accepted = _asked(
            lambda: backend.write_attested(right, _CONTENT, sha1),
            "a file with its SHA-1 declared is accepted",
        )
        if not accepted.can:
            untried = Answer(accepted.can, "not tried: see the line before")
            return dict.fromkeys(names, untried) | {"sha1_accepted": accepted}

        def given() -> str | None:
            there = backend.attested(right)
            if there is None:
                return "the server does not give the SHA-1 back"
            return None if there == sha1 else "the server gives another SHA-1 back"

        try:
            backend.write_attested(wrong, _CONTENT, ObjectId.of(b"something else").raw)
            refused = Answer(False, "a wrong SHA-1 is accepted, so it is not checked")
        except AccessError as error:  # whatever it was, it was not the checksum
            refused = Answer(None, str(error))
        except DsaError:
            refused = Answer(True, "a wrong SHA-1 is refused")
        return {
            "sha1_accepted": accepted,
            "sha1_refused": refused,
            "sha1_given": _asked(given, "the server gives a file's SHA-1 back"),
        }

    def deletes(self) -> Answer:
        """Remove a file."""

        def gone() -> str | None:
            self._backend.remove(self.written)
            return (
                None
                if self._backend.info(self.written) is None
                else "a deleted file is still there"
            )

        return _asked(gone, "files can be deleted")


_KEEPS = "a file that is there is kept when it is to be written only if it is not"
_IGNORES = (
    "the store accepts the condition `only if it is not there`, and ignores it: it overwrites"
)
_LOOKS_FIRST = (
    "this kind of store can only look first and write then, so that two at once may both win"
)
_REFUSES = "the store refuses the condition `only if it is not there`"


def _asked(ask: Callable[[], str | None], words: str) -> Answer:
    """Return the answer to a question: `ask` returns what is wrong, None if nothing is."""
    try:
        wrong = ask()
    except KeyError as error:
        wrong = f"{error.args[0] if error.args else 'a file'} was written, and is not there"
    except AccessError as error:
        return Answer(None if error.is_outage else False, str(error))
    except DsaError as error:
        wrong = str(error)
    return Answer(wrong is None, wrong or words)


def _only_reads(backend: Backend) -> dict[str, Answer]:
    """Read what others wrote: a store's own file, and ranges of it."""
    try:
        content = backend.read(layout.STORE, 0, _MOST_BYTES)
    except KeyError:
        return {"read": NOTHING_YET}
    except AccessError as error:
        return {"read": Answer(None if error.is_outage else False, str(error))}
    except DsaError as error:
        return {"read": Answer(False, str(error))}
    return {
        "read": Answer(True, f"{layout.STORE} is read"),
        "ranges": _reads_ranges(backend, layout.STORE, content),
    }


def _reads_ranges(backend: Backend, key: str, content: bytes) -> Answer:
    """Read ranges of a file with this content, wherever they lie."""
    size = len(content)
    ranges = {
        "the first bytes": (0, 10),
        "bytes in the middle": (size // 3, size // 3),
        "a range that ends behind the end": (size - 5, 100),
        "a range that begins behind the end": (size + 10, 10),
    }

    def right() -> str | None:
        for what, (start, length) in ranges.items():
            data = backend.read(key, start, length)
            if data != content[start : start + length]:
                return f"{what}: {len(data)} wrong bytes came"
        return None

    return _asked(right, "parts of files are read by themselves")


def _lists(backend: Backend) -> Answer:
    try:
        next(iter(backend.children("")), None)
    except AccessError as error:
        if not error.is_outage and not error.is_refusal:  # it is not that kind of place
            return _asked(lambda: _names_nothing(backend), _LISTED)
        return Answer(None if error.is_outage else False, str(error))
    except DsaError as error:
        return Answer(False, str(error))
    return Answer(True, "folders are listed")


def _names_nothing(backend: Backend) -> str | None:
    """Look for what a place knows from the store's own `listing/`."""
    names_any = next(iter(backend.list(layout.REFS)), None) is not None
    return None if names_any else "folders are not listed, and listing/ names no dataset"


_LISTED = "datasets and revisions are, by the store's own listing/; folders are not"
