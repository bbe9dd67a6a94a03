"""Hashing what a store holds, to see whether it is what it is said to be. Runs in a worker.

Every file is read once, from its start to its end, into one reused buffer; one on a server by
ranges of the buffer's size. A file that cannot be read is a verdict too; only a server that does
not answer ends the work: that says nothing about what it holds.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, BinaryIO, cast
from zlib import crc32

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.ids import ID_BYTES, SHA256_BYTES
from dsa.cas.packs import (
    HEADER_BYTES,
    MAX_BYTES,
    Directory,
    PackEntry,
    check_header,
    read_directory,
)
from dsa.errors import AccessError, DamageError, DsaError
from dsa.workers.stream import copy_hashed

if TYPE_CHECKING:
    from hashlib import _Hash as _Digest

_BUFFER_BYTES = 8 * 1024 * 1024
_GAP_BYTES = 64 * 1024  # so much is read for nothing rather than read twice
_FAR_TRIES = 3
_MAX_TOLD = 10  # problems of one pack that are told one by one

WRONG_BYTES = "its bytes are not what its id says"
WRONG_SHA256 = "its SHA-256 is another one"
WRONG_SIZE = "its size is another one"
NO_ENTRY = "no entry of the pack begins there"
OTHER_ENTRY = "the pack has another entry there"
BEYOND = "it lies beyond the end of the file"
OVERLAPS = "it overlaps with another object"
NO_FILE = "the file is missing, or is no regular file"


@dataclass(frozen=True, slots=True)
class Places:
    """Objects that one file is said to hold, as columns: raw digests, joined; offsets and sizes in bytes."""

    ids: bytes
    sha256s: bytes
    offsets: Sequence[int]
    sizes: Sequence[int]

    def __len__(self) -> int:
        return len(self.sizes)

    def id(self, number: int) -> bytes:
        """Return the raw id of one object."""
        return self.ids[number * ID_BYTES : (number + 1) * ID_BYTES]

    def sha256(self, number: int) -> bytes:
        """Return the raw SHA-256 that one object is said to have."""
        return self.sha256s[number * SHA256_BYTES : (number + 1) * SHA256_BYTES]


@dataclass(slots=True)
class Verdict:
    """What came of checking one file of the store."""

    name_differs: bool = False  # the file's SHA-1 is not what its name says
    problems: list[str] = field(
        default_factory=list
    )  # of the file, apart from the objects asked about
    wrong: dict[int, str] = field(default_factory=dict)  # number among the places -> why
    unreadable: AccessError | None = None  # a refusal: nothing is known of what it holds
    is_missing: bool = False
    bytes_read: int = 0

    @property
    def is_bad(self) -> bool:
        """Whether the bytes that were read are not what they should be."""
        return bool(self.name_differs or self.problems or self.wrong) and not self.is_missing


#: Looks at an open file and writes down what it finds.
_Check = Callable[[str, BinaryIO, Places, Verdict], None]


class Checker:
    """Reads packs and loose objects of one store; `parallel` hashes one large file with two threads.

    `size` is a file's, in bytes, where it is known: a server is not asked for it again.
    """

    def __init__(self, backend: Backend, parallel: bool) -> None:
        self._backend = backend
        self._parallel = parallel
        self._buffer = bytearray(_BUFFER_BYTES)
        self._is_stopped = False

    def stop(self) -> None:
        """End a call that is under way in another thread."""
        self._is_stopped = True

    def pack(self, key: str, places: Places, size: int | None = None) -> Verdict:
        """Read a whole pack: its name, its directory, every entry, and what `places` say of it."""
        return self._guarded(key, places, size, self._pack)

    def ranges(self, key: str, places: Places, size: int | None = None) -> Verdict:
        """Read only the ranges of a file that `places` name."""
        return self._guarded(key, places, size, self._ranges)

    def loose(self, key: str, places: Places, size: int | None = None) -> Verdict:
        """Read a loose object; every one of `places` says what it is (offset 0)."""
        return self._guarded(key, places, size, self._loose)

    def _guarded(self, key: str, places: Places, size: int | None, check: _Check) -> Verdict:
        verdict = self._once(key, places, size, check)
        read = verdict.bytes_read
        # What is wrong may have become so on its way: only what stays wrong is damage.
        for _ in range(tries(self._backend) - 1):
            if not verdict.is_bad:
                break
            verdict = self._once(key, places, size, check)
            read += verdict.bytes_read
        verdict.bytes_read = read
        return verdict

    def _once(self, key: str, places: Places, size: int | None, check: _Check) -> Verdict:
        verdict = Verdict()
        try:
            with self._open(key, size) as file:
                check(key, file, places, verdict)
        except AccessError as error:
            check_answered(self._backend, error)
            verdict.unreadable = error
        except KeyError:
            verdict.is_missing = True
            verdict.wrong = dict.fromkeys(range(len(places)), NO_FILE)
        except (DsaError, OSError) as error:  # such as a disk that cannot read its blocks
            check_answered(self._backend, error)
            verdict.problems.append(f"it cannot be read: {error}")
            verdict.wrong = dict.fromkeys(range(len(places)), "it cannot be read")
        return verdict

    def _open(self, key: str, size: int | None) -> BinaryIO:
        if self._backend.local_path(key) is not None:
            return self._backend.open(key)
        from dsa.remotes.streams import Ranges

        if size is None:
            info = self._backend.info(key)
            if info is None:
                raise KeyError(key)
            size = info.size
        return cast(BinaryIO, Ranges(partial(self._backend.read, key), size))

    def _loose(self, key: str, file: BinaryIO, places: Places, verdict: Verdict) -> None:
        there = file.seek(0, io.SEEK_END)
        if len(places) and there not in places.sizes:  # a sparse file may claim to be endless
            verdict.problems.append(f"it has {there} bytes instead of {places.sizes[0]}")
            verdict.wrong = dict.fromkeys(range(len(places)), WRONG_SIZE)
            return
        file.seek(0)
        first, second, size = self._digests(file)
        verdict.bytes_read = size
        oid = bytes.fromhex(key[-ID_BYTES * 2 - 1 :].replace("/", ""))
        verdict.name_differs = first != oid
        for number in range(len(places)):
            if first != oid:
                verdict.wrong[number] = WRONG_BYTES
            elif size != places.sizes[number]:
                verdict.wrong[number] = WRONG_SIZE
            elif second != places.sha256(number):
                verdict.wrong[number] = WRONG_SHA256

    def _digests(self, file: BinaryIO) -> tuple[bytes, bytes, int]:
        try:
            descriptor = file.fileno()
        except io.UnsupportedOperation:
            first, second, size = sha1(usedforsecurity=False), sha256(), 0
            while count := self._fill(file, _BUFFER_BYTES):
                piece = memoryview(self._buffer)[:count]
                first.update(piece)
                second.update(piece)
                size += count
            return first.digest(), second.digest(), size
        made = copy_hashed(descriptor, None, parallel=self._parallel)
        return made.sha1, made.sha256, made.size

    def _pack(self, key: str, file: BinaryIO, places: Places, verdict: Verdict) -> None:
        size = file.seek(0, io.SEEK_END)
        directory = None
        try:
            directory = read_directory(lambda start, length: self._at(file, start, length), size)
        except ValueError as error:
            verdict.problems.append(str(error))
        file.seek(0)
        whole = sha1(usedforsecurity=False)
        if directory is not None:
            self._entries(file, directory, places, verdict, whole)
        while size <= MAX_BYTES and (count := self._fill(file, _BUFFER_BYTES)):
            whole.update(memoryview(self._buffer)[:count])
            verdict.bytes_read += count
        verdict.name_differs = f"{whole.hexdigest()}.zip" != key.rpartition("/")[2]
        if directory is None:
            self._ranges(key, file, places, verdict)

    def _entries(
        self, file: BinaryIO, directory: Directory, places: Places, verdict: Verdict, whole: _Digest
    ) -> None:
        """Hash every entry, in order, and hold against them what is said of the pack."""
        said: dict[int, list[int]] = {}
        for number, offset in enumerate(places.offsets):
            said.setdefault(offset, []).append(number)
        lost: list[str] = []
        for entry, header, first, second, crc in self._hashed(file, directory, whole):
            verdict.bytes_read += HEADER_BYTES + entry.size
            is_good = first == entry.id.raw
            numbers = said.pop(entry.offset, ())
            for number in numbers:
                if places.id(number) != entry.id.raw or places.sizes[number] != entry.size:
                    verdict.wrong[number] = OTHER_ENTRY
                elif not is_good:
                    verdict.wrong[number] = WRONG_BYTES
                elif places.sha256(number) != second:
                    verdict.wrong[number] = WRONG_SHA256
            if not is_good and not numbers:
                lost.append(
                    f"the bytes of {entry.id}, which no location names, are not what its id says"
                )
            if is_good and crc != entry.crc:
                lost.append(f"the CRC of {entry.id} is wrong")
            try:
                check_header(header, entry)
            except ValueError as error:
                lost.append(str(error))
        for numbers in said.values():
            verdict.wrong.update(dict.fromkeys(numbers, NO_ENTRY))
        verdict.problems += lost[:_MAX_TOLD]
        if len(lost) > _MAX_TOLD:
            verdict.problems.append(f"and {len(lost) - _MAX_TOLD} more")

    def _hashed(
        self, file: BinaryIO, directory: Directory, whole: _Digest
    ) -> Iterator[tuple[PackEntry, bytes, bytes, bytes, int]]:
        """Yield every entry with its local header, both digests and the CRC of its bytes."""
        for group in _groups(directory):
            start = group[0].offset - HEADER_BYTES
            length = group[-1].offset + group[-1].size - start
            if length > _BUFFER_BYTES:  # one large entry by itself
                (entry,) = group
                yield entry, *self._large(file, entry, whole)
                continue
            view = memoryview(self._buffer)[: self._fill(file, length)]
            whole.update(view)
            for entry in group:
                at = entry.offset - start
                content = view[at : at + entry.size]
                first, second = sha1(content, usedforsecurity=False), sha256(content)
                header = bytes(view[at - HEADER_BYTES : at])
                yield entry, header, first.digest(), second.digest(), crc32(content)

    def _large(
        self, file: BinaryIO, entry: PackEntry, whole: _Digest
    ) -> tuple[bytes, bytes, bytes, int]:
        header = bytes(memoryview(self._buffer)[: self._fill(file, HEADER_BYTES)])
        whole.update(header)
        first, second, crc = sha1(usedforsecurity=False), sha256(), 0
        left = entry.size
        while left and (count := self._fill(file, min(left, _BUFFER_BYTES))):
            piece = memoryview(self._buffer)[:count]
            whole.update(piece)
            first.update(piece)
            second.update(piece)
            crc = crc32(piece, crc)
            left -= count
        return header, first.digest(), second.digest(), crc

    def _ranges(self, key: str, file: BinaryIO, places: Places, verdict: Verdict) -> None:  # noqa: ARG002  # a _Check
        """Hash the ranges that places name, each once, in the order of the file."""
        size = file.seek(0, io.SEEK_END)
        said: dict[tuple[int, int], list[int]] = {}
        for number, span in enumerate(zip(places.offsets, places.sizes, strict=True)):
            if span[0] < 0 or span[1] < 0 or span[0] + span[1] > size:
                verdict.wrong[number] = BEYOND
            else:
                said.setdefault(span, []).append(number)
        end = 0
        spans: list[tuple[int, int]] = []
        for span in sorted(said):
            if span[0] < end and span[1]:  # nobody is made to hash the same bytes again and again
                verdict.wrong.update(dict.fromkeys(said[span], OVERLAPS))
                continue
            spans.append(span)
            end = sum(span)
        for (offset, length), first, second in self._hashed_spans(file, spans):
            verdict.bytes_read += length
            for number in said[offset, length]:
                if first != places.id(number):
                    verdict.wrong[number] = WRONG_BYTES
                elif second != places.sha256(number):
                    verdict.wrong[number] = WRONG_SHA256

    def _hashed_spans(
        self, file: BinaryIO, spans: list[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], bytes, bytes]]:
        """Yield ranges, in order and apart, with both digests; near ones are read together."""
        at = 0
        while at < len(spans):
            start, stop = spans[at][0], at
            while (
                stop < len(spans)
                and sum(spans[stop]) - start <= _BUFFER_BYTES
                and (stop == at or spans[stop][0] - sum(spans[stop - 1]) <= _GAP_BYTES)
            ):
                stop += 1
            file.seek(start)
            if stop == at:
                first, second, left = sha1(usedforsecurity=False), sha256(), spans[at][1]
                while left and (count := self._fill(file, min(left, _BUFFER_BYTES))):
                    piece = memoryview(self._buffer)[:count]
                    first.update(piece)
                    second.update(piece)
                    left -= count
                yield spans[at], first.digest(), second.digest()
                at += 1
                continue
            view = memoryview(self._buffer)[: self._fill(file, sum(spans[stop - 1]) - start)]
            for span in spans[at:stop]:
                content = view[span[0] - start : sum(span) - start]
                yield span, sha1(content, usedforsecurity=False).digest(), sha256(content).digest()
            at = stop

    def _at(self, file: BinaryIO, start: int, length: int) -> bytes:
        file.seek(start)
        return bytes(memoryview(self._buffer)[: self._fill(file, min(length, _BUFFER_BYTES))])

    def _fill(self, file: BinaryIO, length: int) -> int:
        """Read into the buffer until `length` bytes are there or the file ends; return how many."""
        view = memoryview(self._buffer)[:length]
        count = 0
        while count < length and (more := file.readinto(view[count:])):  # type: ignore[attr-defined]  # every binary file has it
            count += more
            if self._is_stopped:
                raise AccessError("stopped")
        return count


def tries(backend: Backend) -> int:
    """Return how often bytes have to be wrong before they count as damage: more often on a network."""
    return 1 if backend.local_path(layout.STORE) is not None else _FAR_TRIES


def check_answered(backend: Backend, error: Exception) -> None:
    """Raise, as an `AccessError`, what says nothing about the files of a store: that its server failed.

    What a server refuses is an answer; so is all that this machine says of its own files.
    """
    if tries(backend) == 1 or isinstance(error, DamageError | ValueError):
        return
    if not isinstance(error, AccessError):
        raise AccessError(f"{backend.url} could not be read: {error}") from error
    if not error.is_refusal:
        raise error


def _groups(directory: Directory) -> Iterator[list[PackEntry]]:
    """Cut a directory into runs of entries that fit the buffer; a larger entry stands alone."""
    group: list[PackEntry] = []
    start = 0
    for entry in directory:
        if group and entry.offset + entry.size - start > _BUFFER_BYTES:
            yield group
            group = []
        if not group:
            start = entry.offset - HEADER_BYTES
        group.append(entry)
    if group:
        yield group
