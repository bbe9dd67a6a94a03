"""Writing a checkout's files. Runs in a worker, and reads nothing but files of this machine.

Every byte is hashed before, or while, it is written to a temporary file; only right ones get
their final name, by a rename. A file that is replaced is looked at once more just before.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import uuid4

from dsa.cas.ids import SHA256_BYTES
from dsa.cas.names import leaves_tree
from dsa.cas.trees import EXECUTABLE, FILE, LINK
from dsa.errors import ConflictError, DamageError, DsaError
from dsa.remotes.local import translate
from dsa.workers.folders import Folders, name_new
from dsa.workers.signature import NO_SIGNATURE, is_same, signature
from dsa.workers.stream import clone, copy_hashed

#: What one job reads at once from a pack.
SPAN_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Job:
    """Files to write whose bytes lie together: a span of one pack, or one large object.

    All lists run side by side. `expected` is the signature of what is replaced, empty where
    nothing may be there, None where nothing can be there: the folder is new. `path` and what is
    below it are set when the bytes are on this machine.
    """

    key: str  # the store's file
    start: int
    size: int  # of the span, in bytes
    is_large: bool  # one object, streamed and never held in memory
    rows: list[int]
    folders: list[str]
    names: list[str]
    modes: list[int]
    offsets: list[int]  # in the file at `key`
    sizes: list[int]
    sha256s: bytes  # raw, joined
    expected: list[bytes | None]
    path: str | None = None  # where these bytes lie on this machine; None: they could not be had
    base: int = 0  # the byte of the store's file that `path` begins with
    is_ready: bool = False  # `path` is ours, and was hashed: it becomes the file itself
    counted: int = 0  # bytes that the progress was told of while they came

    def sha256(self, at: int) -> bytes:
        """Return the SHA-256 that one of the files must have."""
        return self.sha256s[at * SHA256_BYTES : (at + 1) * SHA256_BYTES]


@dataclass(slots=True)
class Written:
    """What came of a job: the new signatures side by side with its rows, and what went wrong."""

    signatures: list[bytes] = field(default_factory=list)  # NO_SIGNATURE: not written
    lost: list[int] = field(default_factory=list)  # positions whose bytes are missing or wrong
    refused: dict[int, str] = field(default_factory=dict)  # position -> why it was not written
    hostile: dict[int, str] = field(default_factory=dict)  # position -> what no push would send
    copied: int = 0
    linked: int = 0
    cloned: int = 0


_MAX_TARGET_BYTES = 4095  # more than this no system takes


class Writer:
    """Writes into the folder `root`, with temporary files in `staging` on the same file system."""

    def __init__(self, root: str, staging: str, link: bool, parallel: bool) -> None:
        self._folders = Folders(root)
        self._staging = staging
        self._link = link
        self._parallel = parallel
        self._buffer = bytearray()
        self._path = ""
        self._file = -1
        self._name = os.path.join(staging, uuid4().hex)

    def write(self, job: Job) -> Written:
        """Write a job's files; what is wrong with one of them does not stop the others."""
        done = Written()
        span = None if job.is_large else self._span(job)
        for at, name in enumerate(job.names):
            mode, expected = job.modes[at], job.expected[at]
            try:
                if job.is_large:
                    made = self._stream(job, at, done)
                else:
                    content = self._content(job, at, span)
                    made = content is not None and self._make(job.folders[at], mode, content)
                    done.copied += made
                if not made:
                    done.lost.append(at)
                    done.signatures.append(NO_SIGNATURE)
                    continue
                done.signatures.append(self._name_it(job.folders[at], name, expected))
            except DsaError as error:
                (done.hostile if isinstance(error, DamageError) else done.refused)[at] = str(error)
                done.signatures.append(NO_SIGNATURE)
                with suppress(FileNotFoundError):
                    os.unlink(self._name)
            except OSError as error:
                with suppress(FileNotFoundError):
                    os.unlink(self._name)
                raise translate(error, name) from error
        return done

    def close(self) -> None:
        """Close what is open."""
        if self._file >= 0:
            os.close(self._file)
        self._folders.close()

    def _span(self, job: Job) -> memoryview | None:
        """Read a job's span of a pack; None if the pack is not there."""
        if job.path is None:
            return None
        try:
            if job.path != self._path:
                self._open(job.path)
            if len(self._buffer) < job.size:
                self._buffer = bytearray(max(job.size, SPAN_BYTES))
            view = memoryview(self._buffer)[: job.size]
            count, start = 0, job.start - job.base
            while count < job.size:
                more = os.preadv(self._file, [view[count:]], start + count)
                if not more:
                    break
                count += more
            return view[:count]
        except OSError:
            return None

    def _open(self, path: str) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file, self._path = -1, ""
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self._path = path

    def _content(self, job: Job, at: int, span: memoryview | None) -> memoryview | None:
        """Return a file's bytes if they are right."""
        if span is None:
            return None
        begin = job.offsets[at] - job.start
        content = span[begin : begin + job.sizes[at]]
        if len(content) != job.sizes[at] or sha256(content).digest() != job.sha256(at):
            return None
        return content

    def _make(self, folder: str, mode: int, content: bytes | memoryview) -> bool:
        """Write right bytes to the temporary name."""
        if mode == LINK:
            target = bytes(content)
            if b"\0" in target or leaves_tree(folder, os.fsdecode(target)):
                raise DamageError(f"a link that leaves the tree, to {os.fsdecode(target)!r}")
            os.symlink(target, self._name)
            return True
        descriptor = os.open(self._name, _CREATE, _permissions(mode))
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        return True

    def _stream(self, job: Job, at: int, done: Written) -> bool:
        """Bring a large object to the temporary name by the cheapest way; False if its bytes are wrong."""
        mode, wanted = job.modes[at], (job.sizes[at], job.sha256(at))
        if mode == LINK:
            if job.sizes[at] > _MAX_TARGET_BYTES:
                raise DamageError(f"a link to {job.sizes[at]} bytes")
            content = self._content(job, at, self._span(job))
            done.copied += content is not None
            return content is not None and self._make(job.folders[at], mode, content)
        if job.path is None:
            return False
        if job.is_ready and at == len(job.names) - 1:
            os.rename(job.path, self._name)
            _set_executable(self._name, mode == EXECUTABLE)
            done.copied += 1
            return True
        try:
            source = os.open(job.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        try:
            start = job.start - job.base
            is_whole = start == 0 and os.fstat(source).st_size == job.size
            if self._link and is_whole and mode == FILE and _may_link(job.path, self._staging):
                if self._hash(source, None, job, mode) != wanted:
                    return False
                os.link(job.path, self._name)
                done.linked += 1
                return True
            is_clone = is_whole and clone(source, self._name, _permissions(mode))
            if is_clone:
                with open(self._name, "rb") as made:
                    found = self._hash(made.fileno(), None, job, mode)
            else:
                found = self._hash(source, self._name, job, mode)
            if found != wanted:
                os.unlink(self._name)
                return False
            done.cloned += is_clone
            done.copied += not is_clone
            return True
        finally:
            os.close(source)

    def _hash(self, source: int, target: str | None, job: Job, mode: int) -> tuple[int, bytes]:
        """Read a job's bytes, copying them to `target`; return their size and SHA-256."""
        digests = copy_hashed(
            source,
            target,
            start=job.start - job.base,
            size=job.size,
            parallel=self._parallel,
            durable=False,
            mode=_permissions(mode),
        )
        return digests.size, digests.sha256

    def _name_it(self, folder: str, name: str, expected: bytes | None) -> bytes:
        """Give the temporary file its final name, if there is still what was expected."""
        place = self._folders.descriptor(folder)
        if expected:
            try:
                there = signature(os.stat(name, dir_fd=place, follow_symlinks=False))
            except FileNotFoundError:
                there = b""
            if not is_same(there, expected):
                raise ConflictError("it was changed while the checkout ran")
            os.rename(self._name, name, dst_dir_fd=place)
        else:
            name_new(self._name, place, name)
        return signature(os.stat(name, dir_fd=place, follow_symlinks=False))


_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _permissions(mode: int) -> int:
    """Return a new file's permissions, before the person's umask."""
    return 0o777 if mode == EXECUTABLE else 0o666


def _set_executable(path: str, is_executable: bool) -> None:
    """Let those execute a new file who may read it, or nobody."""
    there = os.stat(path).st_mode
    wanted = there | (there & 0o444) >> 2 if is_executable else there & ~0o111
    if wanted != there:
        os.chmod(path, wanted & 0o7777)


def _may_link(path: str, staging: str) -> bool:
    """Whether a hard link can be made, and would be read-only like the object."""
    info = os.stat(path)
    return not info.st_mode & 0o222 and info.st_dev == os.stat(staging).st_dev
