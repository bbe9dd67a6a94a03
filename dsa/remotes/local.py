"""A store on a local disk, at the disk's speed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dsa.cas import layout
from dsa.cas.backend import FileInfo, Traffic, is_kept
from dsa.errors import AccessError, ConflictError, DsaError, NoRoomError
from dsa.remotes import staging

_TMP = "site/tmp"
_PIECE = 1 << 20
_READ_ONLY = 0o444

#: Errors that say that there is no such file: also a link to itself, and a socket.
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)

#: Errors that say that a file system, or a system, cannot do this at all.
_CANNOT = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


class LocalBackend:
    """Files below a folder; new ones take the group and the mode bits of that folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: set[str] = set()  # that hold a new name and are not synced yet
        self._made: set[str] = set()  # that are known to exist

    def __getstate__(self) -> Path:
        return self.root

    def __setstate__(self, root: Path) -> None:
        self.__init__(root)  # type: ignore[misc]  # a process of its own begins with nothing unsynced

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.root)

    @property
    def place(self) -> str:
        """The same."""
        return self.url

    @property
    def jobs(self) -> int:
        """One call at a time: a disk has no latency that is worth hiding."""
        return 1

    @property
    def traffic(self) -> Traffic:
        """Nothing: there is no server."""
        return Traffic()

    @property
    def claims(self) -> bool | None:
        """Yes: `link()` and exclusive creation have one winner."""
        return True

    def exists(self) -> bool:
        """Whether the folder is there and holds anything."""
        with _translated(self.root):
            try:
                with os.scandir(self.root) as entries:
                    return any(True for _ in entries)
            except FileNotFoundError:
                return False
            except NotADirectoryError:
                raise ConflictError(f"{self.root} is a file, not a folder") from None

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file."""
        with self.open(key) as file, _translated(key):
            there = max(0, os.fstat(file.fileno()).st_size - start)
            want = there if length is None else min(length, there)
            pieces: list[bytes] = []
            while want and (piece := os.pread(file.fileno(), want, start)):  # at most 2 GiB a call
                pieces.append(piece)
                want, start = want - len(piece), start + len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading."""
        with _translated(key):
            try:
                descriptor = os.open(self.root / key, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    os.close(descriptor)
                    raise KeyError(key)
                return os.fdopen(descriptor, "rb", buffering=0)
            except OSError as error:
                if error.errno in _NO_FILE:
                    raise KeyError(key) from None
                raise

    def info(self, key: str) -> FileInfo | None:
        """Return a file's size and time."""
        with _translated(key):
            try:
                found = (self.root / key).stat()
            except OSError as error:
                if error.errno in _NO_FILE:
                    return None
                raise
        if not stat.S_ISREG(found.st_mode):
            return None
        return FileInfo(key, found.st_size, found.st_mtime)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield the files below a folder, but for temporary ones."""
        with _translated(prefix):
            try:
                with os.scandir(self.root / prefix) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in found:
            key = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if key != _TMP:
                    yield from self.list(f"{key}/")
            else:
                with _translated(key), suppress(FileNotFoundError):
                    info = entry.stat(follow_symlinks=False)
                    yield FileInfo(key, info.st_size, info.st_mtime)

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        with _translated(prefix):
            try:
                with os.scandir(self.root / prefix) as entries:
                    found = sorted(
                        (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
                    )
            except (FileNotFoundError, NotADirectoryError):
                return
        for name, is_folder in found:
            yield f"{name}/" if is_folder else name

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet: a temporary file, then a link to the name."""
        with self._staged(data, key) as staged:
            return self._claim(staged, key, data)

    def write(self, key: str, data: bytes) -> None:
        """Write or replace a file: a temporary file, then a rename."""
        with self._staged(data, key) as staged:
            with _translated(key):
                staged.replace(self._place(key))
            self.flush()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a folder in `site/tmp` of this store; what killed processes left there goes."""
        with ExitStack() as stack:
            above = self._folder(_TMP)
            with _translated(_TMP):
                own = stack.enter_context(staging.own_folder(above))
            yield own

    def publish(self, staged: Path, key: str) -> None:
        """Sync a finished file and give it its name; content of this name that is there is kept."""
        with _translated(key), staging.consumed(staged):
            target = self._place(key)
            there = self.info(key)  # None for what is no file: it is none of a store's
            if there is not None and is_kept(there, staged.stat().st_size, self.url):
                return
            with staged.open("rb") as file:
                os.fsync(file.fileno())
            staged.chmod(self._mode() & _READ_ONLY)
            self._take_group(staged)
            staged.rename(target)

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        """Write a stream to a temporary file, and publish that if it is right."""
        with self.staging() as folder:
            staged = folder / "sent"
            with _translated(key), staged.open("xb") as file:
                copy(source, file, size)
            if staged.stat().st_size != size or not is_right():
                return False
            self.publish(staged, key)
        return True

    def flush(self, *, also: Iterable[str] = ()) -> None:
        """Sync the folders that got new names, and those of `also` that are there."""
        with _translated(self.root):
            wanted = {key.rstrip("/") for key in also}
            there = {key for key in wanted if (self.root / key).is_dir()}
        for key in there | self._folders:
            # A name that comes while this folder is synced puts it back for the next flush.
            self._folders.discard(key)
            try:
                with _translated(key):
                    _sync_folder(self.root / key)
            except BaseException:
                self._folders.add(key)
                raise

    def remove(self, key: str) -> None:
        """Remove a file."""
        with _translated(key), suppress(FileNotFoundError, NotADirectoryError):
            (self.root / key).unlink()

    def local_path(self, key: str) -> Path | None:
        """Return the file's path."""
        return self.root / key

    @contextmanager
    def _staged(self, data: bytes, key: str) -> Iterator[Path]:
        """Give a finished temporary file; gone at the end, if it has still this name."""
        with ExitStack() as stack:
            above = self._folder(_TMP)
            with _translated(_TMP):
                path, descriptor = stack.enter_context(staging.own_file(above))
                self._fill(descriptor, data, key)
                self._take_group(path)
            yield path

    def _fill(self, descriptor: int, data: bytes, key: str) -> None:
        """Write all of a new file and sync it."""
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]  # at most 2 GiB a call
        os.fchmod(descriptor, self._mode() & _mask(key))
        os.fsync(descriptor)

    def _claim(self, staged: Path, key: str, data: bytes) -> bool:
        """Give a finished temporary file its name; False if something has that name."""
        with _translated(key):
            target = self._place(key)
            try:
                if not _has_done(os.link, staged, target) and not _has_done(
                    _rename_to_new, staged, target
                ):
                    self._create_in_place(target, data, key)
            except FileExistsError:
                return False
        self.flush()
        return True

    def _create_in_place(self, target: Path, data: bytes, key: str) -> None:
        """Create a file exclusively and then write it: only a kill in between leaves it torn.

        For file systems that have no better way: docs/decisions/0013-refs-without-links.md.
        """
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            self._fill(descriptor, data, key)
            self._take_group(target)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
        finally:
            os.close(descriptor)

    def _place(self, key: str) -> Path:
        """Return where a new file goes, its folder made; the folder is synced at the next flush."""
        parent = key.rpartition("/")[0]
        folder = self._folder(parent)
        self._folders.add(parent)
        return folder / key.rpartition("/")[2]

    def _folder(self, key: str) -> Path:
        path = self.root / key
        if key in self._made:
            return path
        with _translated(key):
            if key:
                # Whoever made it, its name may not be synced yet.
                self._folder(key.rpartition("/")[0])
                self._folders.add(key.rpartition("/")[0])
                if not path.is_dir():
                    with suppress(FileExistsError):
                        path.mkdir()
                        path.chmod(self._mode())
                        self._take_group(path)
            elif not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                _sync_folder(path.parent)
        self._made.add(key)
        return path

    def _mode(self) -> int:
        return stat.S_IMODE(self.root.stat().st_mode)

    def _take_group(self, path: Path) -> None:
        """Give a new file the group of the store's root, where the system lets us."""
        group = self.root.stat().st_gid
        if path.stat().st_gid != group:
            with suppress(PermissionError):
                os.chown(path, -1, group)


def _mask(key: str) -> int:
    """Return the mode bits that a file may have: what is named by its content never changes."""
    return 0o666 if layout.id_of_key(key) is None else _READ_ONLY


def _has_done(way: Callable[[Path, Path], None], staged: Path, target: Path) -> bool:
    """Try a way to give a file its name; False where this file system does not have it."""
    try:
        way(staged, target)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename to a name that nothing has: renameat2 of Linux, ENOSYS elsewhere."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target)) from None
    names = os.fsencode(source), os.fsencode(target)
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    """Copy a stream, but no more than a byte beyond `size`: enough to see that it is too long."""
    left = size + 1
    while left and (piece := source.read(min(_PIECE, left))):
        target.write(piece)
        left -= len(piece)


@contextmanager
def _translated(thing: str | Path) -> Iterator[None]:
    """Turn the system's errors into dsa's, once."""
    try:
        yield
    except OSError as error:
        raise translate(error, str(thing)) from error


def translate(error: OSError, thing: str) -> DsaError:
    """Return dsa's error for one of the system's."""
    name = str(error.filename) if error.filename else thing
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoomError(
            f"no space left while writing {name}", hint="free some space and run the command again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(f"no permission: {name}: {error.strerror}", is_refusal=True)
    return DsaError(f"{name}: {error.strerror or error}")
