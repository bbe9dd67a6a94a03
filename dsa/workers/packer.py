"""Reading files once: both digests, and their bytes into packs. Runs in a worker.

Small files are read into one reused buffer in which a pack grows in place; what turns out to be
new is written with a single call. Large files are streamed into a file of their own.
"""

from __future__ import annotations

import errno
import os
from array import array
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha1, sha256
from pathlib import Path
from uuid import uuid4
from zlib import crc32

from dsa.cas.ids import ID_BYTES, SHA256_BYTES, ObjectId
from dsa.cas.layout import pack_key
from dsa.cas.packs import (
    HEADER_BYTES,
    MAX_ENTRIES,
    TARGET_BYTES,
    Directory,
    bytes_with_directory,
    directory_bytes,
    directory_of,
    write_header,
)
from dsa.errors import DsaError
from dsa.remotes.local import translate
from dsa.workers.signature import SIGNATURE, signature
from dsa.workers.stream import HashedCopy, clone

#: A batch of small files fits in the buffer: the sum of their sizes and headers.
BUFFER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Hashed:
    """A batch's raw digests, joined; those of files that could not be read are zeros."""

    sha1: bytes
    sha256: bytes
    failed: dict[int, str]  # position in the batch -> why; "" where it changed while it was read

    def of(self, number: int) -> tuple[bytes, bytes]:
        """Return both digests of one file."""
        return (
            self.sha1[number * ID_BYTES : (number + 1) * ID_BYTES],
            self.sha256[number * SHA256_BYTES : (number + 1) * SHA256_BYTES],
        )


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack that waits in the staging folder to be published; columns, for it has thousands."""

    staged: str
    id: bytes
    entries: Directory
    sha256s: bytes  # raw, joined


@dataclass(frozen=True, slots=True)
class LargeFile:
    """A large file's raw digests, and its copy in the staging folder (None: only hashed)."""

    sha1: bytes
    sha256: bytes
    staged: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """A file where a person has it, and what the scan saw of it."""

    path: str
    signature: bytes
    follow_links: bool

    def open(self) -> int | None:
        """Return a descriptor; None where it is no longer what the scan saw, or cannot be opened."""
        try:
            descriptor = os.open(self.path, _flags(self.follow_links))
        except OSError:
            return None
        if signature(os.fstat(descriptor)) == self.signature:
            return descriptor
        os.close(descriptor)
        return None


class Packer:
    """Hashes files below `root`, and builds packs in `staging`. One batch at a time.

    What is only staged to be sent elsewhere need not be `durable` here.
    """

    def __init__(
        self, root: str, staging: str, follow_links: bool, parallel: bool, durable: bool = True
    ) -> None:
        self._root = root
        self._staging = staging
        self._parallel = parallel  # hash one large file with two threads
        self._durable = durable
        self._flags = _flags(follow_links)
        self._buffer = bytearray()
        self._batch: list[tuple[int, int, bytes, bytes]] = []  # position, size, sha1, sha256
        self._pack: _OpenPack | None = None
        self._large: _Large | None = None

    def hash(self, paths: list[str], sizes: list[int], signatures: bytes) -> Hashed:
        """Read a batch of small files and links into the buffer and return their digests.

        `signatures` are those of the scan: a file that no longer has its own was changed.
        """
        if not self._buffer:
            self._buffer = bytearray(BUFFER_BYTES + HEADER_BYTES + 1)
        view = memoryview(self._buffer)
        ids, checks = bytearray(), bytearray()
        failed: dict[int, str] = {}
        self._batch = []
        at = 0
        width = SIGNATURE.size
        for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
            start = at + HEADER_BYTES
            # One byte more than expected, to see a file that grew.
            room = view[start : start + size + 1]
            wanted = signatures[number * width : (number + 1) * width]
            problem = self._read(path, room, size, wanted)
            if problem is None:
                content = view[start : start + size]
                oid, check = sha1(content, usedforsecurity=False).digest(), sha256(content).digest()
                self._batch.append((start, size, oid, check))
                at = start + size
            else:
                failed[number] = problem
                oid, check = bytes(20), bytes(32)
                self._batch.append((start, -1, oid, check))
            ids += oid
            checks += check
        return Hashed(bytes(ids), bytes(checks), failed)

    def keep(self, new: bytes) -> list[FinishedPack]:
        """Put those files of the last batch into the pack for which `new` has a 1; return full packs."""
        view = memoryview(self._buffer)
        kept = _Entries()
        finished: list[FinishedPack] = []
        begin = at = 0  # what is to be written next lies in the buffer from `begin` to `at`
        for (start, size, oid, check), wanted in zip(self._batch, new, strict=True):
            if not wanted or size < 0:
                continue
            if not self._open_pack().has_room(len(kept) + 1, at - begin + HEADER_BYTES + size):
                self._open_pack().append(view[begin:at], kept)
                finished.append(self._finish())
                kept, begin = _Entries(), at
            content = view[start : start + size]
            crc = crc32(content)
            if at + HEADER_BYTES != start:  # something before it was not new: close the gap
                view[at + HEADER_BYTES : at + HEADER_BYTES + size] = content
            write_header(view, at, oid, size, crc)
            kept.add(oid, size, crc, check)
            at += HEADER_BYTES + size
        if len(kept):
            self._open_pack().append(view[begin:at], kept)
        if self._pack and self._pack.size >= TARGET_BYTES:
            finished.append(self._finish())
        self._batch = []
        return finished

    def add(self, objects: list[tuple[bytes, bytes, bytes]]) -> list[FinishedPack]:
        """Put objects made in memory (sha1, sha256, content) into the pack, such as trees."""
        finished: list[FinishedPack] = []
        pieces: list[bytes] = []
        entries, size = _Entries(), 0
        for oid, check, content in objects:
            if not self._open_pack().has_room(len(entries) + 1, size + HEADER_BYTES + len(content)):
                self._open_pack().append(b"".join(pieces), entries)
                finished.append(self._finish())
                pieces, entries, size = [], _Entries(), 0
            header, entry = _entry(oid, check, len(content), crc32(content))
            pieces += (header, content)
            entries.extend(entry)
            size += len(header) + len(content)
        if pieces:
            self._open_pack().append(b"".join(pieces), entries)
        if self._pack and self._pack.size >= TARGET_BYTES:
            finished.append(self._finish())
        return finished

    def finish(self) -> list[FinishedPack]:
        """Finish the pack that is still open."""
        return [self._finish()] if self._pack else []

    def large(self, path: str, wanted: bytes, copy: bool) -> LargeFile | str:
        """Hash a large file, and copy it into the staging folder while it is read.

        A reflink is tried first: then the copy costs nothing, and it is the copy that is hashed.
        Returns why it failed, "" where the file changed while it was read.
        """
        problem = self.begin_large(path, wanted, copy)
        if problem is not None:
            return problem
        while self.read_large(1 << 62):
            pass
        return self.end_large()

    def begin_large(self, path: str, wanted: bytes, copy: bool) -> str | None:
        """Begin what `large` does in one go; return why it failed, None where it did not."""
        source = os.path.join(self._root, path)
        staged = os.path.join(self._staging, uuid4().hex) if copy else None
        try:
            descriptor = os.open(source, self._flags)
        except OSError as error:
            return _gone(error)
        with ExitStack() as stack:
            stack.callback(os.close, descriptor)
            try:
                if not self._is_unchanged(descriptor, wanted):
                    return ""
                if staged and clone(descriptor, staged):
                    made = os.open(staged, os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, made)
                    hashing = HashedCopy(made, None, parallel=self._parallel)
                else:
                    hashing = HashedCopy(
                        descriptor, staged, parallel=self._parallel, durable=self._durable
                    )
            except OSError as error:
                raise translate(error, path) from error
            self._large = _Large(path, staged, descriptor, wanted, hashing, stack.pop_all())
        return None

    def read_large(self, most: int) -> int:
        """Go on by about `most` bytes; return how many it were, 0 at the end."""
        assert self._large
        try:
            return self._large.hashing.step(most)
        except OSError as error:
            raise translate(error, self._large.path) from error

    def end_large(self) -> LargeFile | str:
        """Return what `large` does, when all was read."""
        large, self._large = self._large, None
        assert large
        with large.open:
            try:
                digests = large.hashing.finish()
                if not self._is_unchanged(large.descriptor, large.wanted):
                    if large.staged:
                        os.unlink(large.staged)
                    return ""
            except OSError as error:
                raise translate(error, large.path) from error
        return LargeFile(digests.sha1, digests.sha256, large.staged)

    def close(self) -> None:
        """Drop the pack that is still open, and the large file that is still read."""
        if self._pack:
            self._pack.drop()
        if self._large:
            self._large.hashing.drop()
            self._large.open.close()

    def _read(self, path: str, room: memoryview, size: int, wanted: bytes) -> str | None:
        """Read one small file or link into `room`; return why it failed, "" where it was changed."""
        full = os.path.join(self._root, path)
        try:
            descriptor = os.open(full, self._flags)
        except OSError as error:
            if error.errno == errno.ELOOP:  # it is a link
                return self._read_link(full, room, size, wanted)
            return _gone(error)
        try:
            count = os.readv(descriptor, [room]) if len(room) else 0
            while 0 < count < size:
                more = os.readv(descriptor, [room[count:]])
                if not more:
                    break
                count += more
            unchanged = count == size and signature(os.fstat(descriptor)) == wanted
        except OSError as error:
            return error.strerror or str(error)
        finally:
            os.close(descriptor)
        return None if unchanged else ""

    def _read_link(self, full: str, room: memoryview, size: int, wanted: bytes) -> str | None:
        try:
            target = os.fsencode(os.readlink(full))
            if len(target) != size or signature(os.lstat(full)) != wanted:
                return ""
        except OSError as error:
            return _gone(error)
        room[:size] = target
        return None

    def _is_unchanged(self, descriptor: int, wanted: bytes) -> bool:
        return signature(os.fstat(descriptor)) == wanted

    def _open_pack(self) -> _OpenPack:
        if self._pack is None:
            path = os.path.join(self._staging, uuid4().hex)
            self._pack = _OpenPack(path, durable=self._durable)
        return self._pack

    def _finish(self) -> FinishedPack:
        pack, self._pack = self._open_pack(), None
        return pack.finish()


@dataclass(frozen=True, slots=True)
class _Large:
    """A large file that is being read."""

    path: str
    staged: str | None
    descriptor: int
    wanted: bytes  # its signature
    hashing: HashedCopy
    open: ExitStack  # closes what is open


class _Entries:
    """Entries of a pack on their way into it: columns that grow."""

    def __init__(self) -> None:
        self.ids = bytearray()
        self.sizes = array("I")
        self.crcs = array("I")
        self.sha256s = bytearray()

    def __len__(self) -> int:
        return len(self.sizes)

    def add(self, oid: bytes, size: int, crc: int, check: bytes) -> None:
        self.ids += oid
        self.sizes.append(size)
        self.crcs.append(crc)
        self.sha256s += check

    def extend(self, more: _Entries) -> None:
        self.ids += more.ids
        self.sizes.extend(more.sizes)
        self.crcs.extend(more.crcs)
        self.sha256s += more.sha256s


def _entry(oid: bytes, check: bytes, size: int, crc: int) -> tuple[bytes, _Entries]:
    """Return the local header of one object, and its entry."""
    header, entry = bytearray(HEADER_BYTES), _Entries()
    write_header(header, 0, oid, size, crc)
    entry.add(oid, size, crc, check)
    return bytes(header), entry


class _OpenPack:
    """A pack that grows in a file of the staging folder."""

    def __init__(self, path: str, *, durable: bool = True) -> None:
        self.path = path
        self.size = 0
        self._durable = durable
        self._digest = sha1(usedforsecurity=False)
        self._entries = _Entries()
        self._file = Path(path).open("xb", buffering=0)  # noqa: SIM115  # finish and drop close it

    def has_room(self, entries: int, size: int) -> bool:
        count = len(self._entries) + entries
        return count <= MAX_ENTRIES and bytes_with_directory(self.size + size, count) < 2**31

    def append(self, data: bytes | memoryview, entries: _Entries | None = None) -> None:
        """Write what comes next, and note the entries that begin in it."""
        self._write(data)
        self.size += len(data)
        if entries is not None:
            self._entries.extend(entries)

    def finish(self) -> FinishedPack:
        made = self._entries
        directory = directory_of(bytes(made.ids), made.sizes, made.crcs)
        self._write(directory_bytes(directory))
        try:
            if self._durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise translate(error, self.path) from error
        self._file.close()
        return FinishedPack(self.path, self._digest.digest(), directory, bytes(made.sha256s))

    def drop(self) -> None:
        self._file.close()
        Path(self.path).unlink(missing_ok=True)

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise translate(error, self.path) from error


def pack_alone(staging: str, staged: str, oid: bytes, check: bytes) -> FinishedPack:
    """Turn a hashed copy in the staging folder into a pack of one entry.

    For a large object whose loose file is damaged: that name is taken, and only `repair`
    replaces what is there.
    """
    size = os.path.getsize(staged)
    crc = 0
    with open(staged, "rb") as content:
        while piece := content.read(1 << 20):
            crc = crc32(piece, crc)
    pack = _OpenPack(os.path.join(staging, uuid4().hex))
    pack.append(*_entry(oid, check, size, crc))
    with open(staged, "rb") as content:
        while piece := content.read(1 << 20):
            pack.append(piece)
    os.unlink(staged)
    return pack.finish()


def with_another_name(pack: FinishedPack) -> FinishedPack:
    """Add an object of random bytes to a finished pack, so that its name becomes another one."""
    made = _OpenPack(f"{pack.staged}-renamed")
    left = pack.entries.end
    if not made.has_room(len(pack.entries) + 1, left + HEADER_BYTES + _SALT_BYTES):
        made.drop()
        raise DsaError(
            f"the store's pack {ObjectId(pack.id)} is damaged, and too full to be sent under another name",
            hint=f"move {pack_key(ObjectId(pack.id))} out of the store, and push again",
        )
    with open(pack.staged, "rb") as source:
        while left and (piece := source.read(min(left, 1 << 20))):
            made.append(piece)
            left -= len(piece)
    kept = _Entries()
    kept.ids += pack.entries.ids
    kept.sizes.extend(pack.entries.sizes)
    kept.crcs.extend(pack.entries.crcs)
    kept.sha256s += pack.sha256s
    salt = os.urandom(_SALT_BYTES)
    header, entry = _entry(ObjectId.of(salt).raw, sha256(salt).digest(), len(salt), crc32(salt))
    kept.extend(entry)
    made.append(header + salt, kept)
    os.unlink(pack.staged)
    # Nobody needs the new object: it gets no location.
    return replace(made.finish(), entries=pack.entries, sha256s=pack.sha256s)


_SALT_BYTES = 16


def _flags(follow_links: bool) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # not to wait for a FIFO's writer
    return flags if follow_links else flags | os.O_NOFOLLOW


def _gone(error: OSError) -> str:
    """Return "" for a file that is no longer what the scan saw, else why it cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return ""
    return error.strerror or str(error)
