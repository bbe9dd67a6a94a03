"""Packs written by hand, as docs/format.md describes them, so that dsa is not its own witness."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

from dsa.cas.ids import ObjectId
from dsa.cas.packs import PackEntry

LOCAL_BYTES = 70
RECORD_BYTES = 86
END_BYTES = 22

_DATE = (0, 0x21)  # 1980-01-01 00:00


def local_header(entry: PackEntry) -> bytes:
    """Return what stands before an object's bytes."""
    sizes = (entry.crc, entry.size, entry.size, 40, 0)
    return struct.pack("<4s5H3L2H", b"PK\3\4", 10, 0, 0, *_DATE, *sizes) + str(entry.id).encode()


def directory(entries: Iterable[PackEntry], end: int) -> bytes:
    """Return the directory and end record of a pack whose entries end at byte `end`."""
    records = [
        struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 10, 10, 0, 0, *_DATE, entry.crc, entry.size, entry.size,
            40, 0, 0, 0, 0, 0, entry.offset - LOCAL_BYTES,
        ) + str(entry.id).encode()
        for entry in entries
    ]  # fmt: skip
    count, length = len(records), RECORD_BYTES * len(records)
    return b"".join(records) + struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, count, count, length, end, 0
    )


def pack(
    contents: Iterable[bytes], ids: Iterable[ObjectId] | None = None
) -> tuple[bytes, list[PackEntry]]:
    """Return a pack of these contents and its entries; `ids` are theirs unless said otherwise."""
    contents = list(contents)
    data = bytearray()
    entries = []
    for content, oid in zip(contents, ids or map(ObjectId.of, contents), strict=True):
        entry = PackEntry(oid, len(data) + LOCAL_BYTES, len(content), crc32(content))
        data += local_header(entry) + content
        entries.append(entry)
    return bytes(data) + directory(entries, len(data)), entries
