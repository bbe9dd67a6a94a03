"""Packs: one ZIP file that holds many small objects, and that any unzip reads.

Pure: bytes in, bytes out. docs/format.md, "Packs".
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate

from dsa.cas.ids import ID_BYTES, ObjectId

MAX_ENTRIES = 65_534
MAX_BYTES = 2**31 - 1
TARGET_BYTES = 64 * 1024 * 1024

_NAME_BYTES = 40
_DOS_DATE = 0x21  # 1980-01-01
_VERSION = 10  # 1.0, host 0 (MS-DOS): all that a stored entry needs

_LOCAL = struct.Struct("<4s5H3L2H40s")
_CENTRAL = struct.Struct("<4s6H3L5H2L40s")
_END = struct.Struct("<4s4H2LH")

HEADER_BYTES = _LOCAL.size  # an entry's bytes begin this far behind its local header
_RECORD_BYTES = _CENTRAL.size
_END_BYTES = _END.size


@dataclass(frozen=True, slots=True)
class PackEntry:
    """An object in a pack; `offset` is that of its first byte."""

    id: ObjectId
    offset: int
    size: int
    crc: int


def write_header(buffer: bytearray | memoryview, at: int, oid: bytes, size: int, crc: int) -> None:
    """Write the local header of an object (raw id) whose bytes begin at `at + HEADER_BYTES`."""
    _LOCAL.pack_into(
        buffer, at, b"PK\x03\x04", _VERSION, 0, 0, 0, _DOS_DATE, crc, size, size, _NAME_BYTES, 0,
        oid.hex().encode(),
    )  # fmt: skip


def bytes_with_directory(at: int, entries: int) -> int:
    """Return how large a pack of so many entries that end at byte `at` is in the end."""
    return at + entries * _RECORD_BYTES + _END_BYTES


@dataclass(frozen=True, slots=True)
class Directory:
    """The entries of a pack in order, as columns; `ids` are raw and joined."""

    ids: bytes
    offsets: list[int]  # of the objects' first bytes
    sizes: array[int]
    crcs: array[int]

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[PackEntry]:
        for at, (offset, size, crc) in enumerate(
            zip(self.offsets, self.sizes, self.crcs, strict=True)
        ):
            yield PackEntry(
                ObjectId(self.ids[at * ID_BYTES : (at + 1) * ID_BYTES]), offset, size, crc
            )

    @property
    def end(self) -> int:
        """Where the last object ends, and the directory begins."""
        return self.offsets[-1] + self.sizes[-1] if self.offsets else 0


def directory_of(ids: bytes, sizes: array[int], crcs: array[int]) -> Directory:
    """Return the directory of a pack whose entries these are, one behind the other."""
    begins = accumulate((HEADER_BYTES + size for size in sizes), initial=HEADER_BYTES)
    return Directory(ids, list(begins)[:-1], sizes, crcs)


def directory_bytes(entries: Directory) -> bytes:
    """Return the directory and the end record of a pack."""
    like = (b"PK\x01\x02", _VERSION, _VERSION, 0, 0, 0, _DOS_DATE)
    digits = entries.ids.hex().encode()
    names = (digits[at : at + _NAME_BYTES] for at in range(0, len(digits), _NAME_BYTES))
    columns = zip(entries.crcs, entries.sizes, entries.offsets, names, strict=True)
    records = b"".join(
        _CENTRAL.pack(*like, crc, size, size, _NAME_BYTES, 0, 0, 0, 0, 0, at - HEADER_BYTES, name)
        for crc, size, at, name in columns
    )
    count = len(entries)
    return records + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(records), entries.end, 0)


def read_directory(read: Callable[[int, int], bytes], size: int) -> Directory:
    """Return the entries of a pack; a ValueError if anything is not as it must be.

    `read(start, length)` returns bytes of the file, which has `size` bytes. Local headers are
    not read here: bytes are hashed whenever they are used, and `verify` compares the headers.
    """
    if not _END_BYTES <= size <= MAX_BYTES:
        raise ValueError(f"a pack cannot have {size} bytes")
    end = read(size - _END_BYTES, _END_BYTES)
    if len(end) != _END_BYTES:
        raise ValueError("the pack is shorter than its size says")
    magic, disk, first_disk, here, count, length, start, comment = _END.unpack(end)
    if magic != b"PK\x05\x06" or disk or first_disk or here != count or comment:
        raise ValueError("the pack does not end with a plain ZIP end record")
    if (
        count > MAX_ENTRIES
        or length != count * _RECORD_BYTES
        or start + length + _END_BYTES != size
    ):
        raise ValueError("the pack's directory does not fit its end record")
    records = read(start, length)
    if len(records) != length:
        raise ValueError("the pack is shorter than its directory says")
    return _directory(records, start)


def _directory(records: bytes, end: int) -> Directory:
    """Read a directory's records, which must tile the pack up to byte `end`.

    They all have one size, so a field of all of them is a few slices with a stride.
    """
    count = len(records) // _RECORD_BYTES
    for at, wanted in _CONSTANT:
        if records[at::_RECORD_BYTES] != bytes((wanted,)) * count:
            raise ValueError("a directory record is not that of a plain stored entry")
    crcs, packed, sizes, offsets = (_numbers(records, at) for at in (16, 20, 24, 42))
    if packed != sizes:
        raise ValueError("a directory record is not that of a plain stored entry")
    begins = list(accumulate((HEADER_BYTES + size for size in sizes), initial=0))
    if begins.pop() != end or begins != offsets.tolist():
        raise ValueError("the pack's entries leave a gap, overlap, or do not end at its directory")
    names = _field(records, _RECORD_BYTES - _NAME_BYTES, _NAME_BYTES)
    try:
        ids = bytes.fromhex(names.decode("ascii"))
    except ValueError:
        ids = b""
    if ids.hex().encode() != names:
        raise ValueError("an entry of the pack is not named by an id")
    if len(set(struct.iter_unpack(f"{ID_BYTES}s", ids))) != count:
        raise ValueError("a name is in the pack twice")
    return Directory(ids, [HEADER_BYTES + begin for begin in begins], sizes, crcs)


def _field(records: bytes, at: int, width: int) -> bytes:
    """Return the bytes of one field of all records, joined."""
    joined = bytearray(len(records) // _RECORD_BYTES * width)
    for number in range(width):
        joined[number::width] = records[at + number :: _RECORD_BYTES]
    return bytes(joined)


def _numbers(records: bytes, at: int) -> array[int]:
    """Return a field of four bytes of all records."""
    values = array("I", _field(records, at, 4))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _constant_bytes() -> list[tuple[int, int]]:
    """Return the bytes that are the same in every record, by place."""
    like = (b"PK\x01\x02", _VERSION, _VERSION, 0, 0, 0, _DOS_DATE)
    zeros = _CENTRAL.pack(*like, 0, 0, 0, _NAME_BYTES, 0, 0, 0, 0, 0, 0, b"")
    free = {*range(16, 28), *range(42, _RECORD_BYTES)}  # CRC and sizes; offset and name
    return [(at, value) for at, value in enumerate(zeros) if at not in free]


_CONSTANT = _constant_bytes()


def check_header(header: bytes, entry: PackEntry) -> None:
    """Raise ValueError unless these are the bytes of the entry's local header."""
    wanted = bytearray(HEADER_BYTES)
    write_header(wanted, 0, entry.id.raw, entry.size, entry.crc)
    if header != wanted:
        raise ValueError(f"the header of {entry.id} in the pack differs from the directory")
