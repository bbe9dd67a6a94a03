"""What is sent to S3, from a stream or from the disk: whole, or cut into parts; in bounded memory."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from dsa.remotes.s3session import Body

MIB = 1024 * 1024
PART_BYTES = 16 * MIB
MOST_PARTS = 10_000  # S3's own limit
PARTS_AT_ONCE = 4

#: Parts of one stream are under way in memory up to here, but always one.
STREAM_BYTES = 128 * MIB

#: A stream waits in memory up to here, larger ones on the disk, until it is known to be right.
SPOOL_BYTES = 8 * MIB


def part_sizes(size: int) -> list[int]:
    """Return the sizes of a large file's parts: all alike but the last, and never too many."""
    each = max(PART_BYTES, -(-size // MOST_PARTS))
    return [min(each, size - start) for start in range(0, size, each)]


def parts_at_once(size: int) -> int:
    """Return how many parts of a stream of so many bytes go at once: fewer where they are large."""
    return max(1, min(PARTS_AT_ONCE, STREAM_BYTES // max(part_sizes(size), default=1)))


class WrongLength(Exception):
    """A stream has fewer or more bytes than was said."""


def parts_of_stream(source: BinaryIO, size: int) -> Iterator[Body]:
    """Read a stream part by part, each into memory. Raises: `WrongLength`."""
    for length in part_sizes(size):
        data = bytearray()
        while len(data) < length and (piece := source.read(min(MIB, length - len(data)))):
            data += piece
        if len(data) < length:
            raise WrongLength
        yield Body.of(data)
    if source.read(1):
        raise WrongLength


def parts_of_file(file: BinaryIO, size: int) -> Iterator[Body]:
    """Yield the parts of a file of the disk: none of them is in memory."""
    start = 0
    for length in part_sizes(size):
        yield Body(reader(file, start), length)
        start += length


def spool(size: int) -> BinaryIO:
    """Return where a stream waits: in memory or on the disk."""
    if size <= SPOOL_BYTES:
        return io.BytesIO()
    return cast(BinaryIO, tempfile.TemporaryFile(prefix="dsa-"))


def reader(file: BinaryIO, offset: int = 0) -> Callable[[int, int], bytes | memoryview]:
    """Return how to read a file from an offset on, at any place and from any thread."""
    if isinstance(file, io.BytesIO):
        view = memoryview(file.getvalue())[offset:]
        return lambda start, length: view[start : start + length]
    file.flush()
    descriptor = file.fileno()
    return lambda start, length: os.pread(descriptor, length, offset + start)
