"""What a file system says of an entry; equal signatures mean that nothing was changed."""

from __future__ import annotations

import os
import struct

#: st_mode, size in bytes, mtime and ctime in ns, inode, device: six numbers of eight bytes.
SIGNATURE = struct.Struct("=qqqqQQ")
NO_SIGNATURE = bytes(SIGNATURE.size)
_CTIME = 3 * 8  # where it stands


def signature(info: os.stat_result) -> bytes:
    """Return the signature of a file or link."""
    return SIGNATURE.pack(
        info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev
    )


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two signatures are of one unchanged file, its ctime apart.

    A hard link made or removed elsewhere changes the ctime of all its names, not what they hold.
    """
    return one[:_CTIME] == other[:_CTIME] and one[_CTIME + 8 :] == other[_CTIME + 8 :]


def changed_ns(signatures: bytes) -> memoryview[int]:
    """Return when each of these joined signatures' entries was last changed in any way (ctime)."""
    return memoryview(signatures).cast("q")[3::6]
