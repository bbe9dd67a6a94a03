"""A store on any file system that fsspec reaches: what they have in common.

What a server can do better than this (S3, SFTP, HTTP) is in a subclass beside this module; all
that has none is a `GenericBackend`.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from dsa.cas.backend import FileInfo, Traffic, is_kept
from dsa.errors import AccessError, DsaError
from dsa.remotes.connections import Connections
from dsa.remotes.local import translate
from dsa.remotes.options import Options
from dsa.remotes.retry import is_timeout, retried
from dsa.remotes.staging import consumed, own_temporary_folder
from dsa.remotes.streams import PIECE_BYTES, Ranges, Readable, Source, one_line, pieces

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_TMP = "site/tmp/"
_TEMPORARY = re.compile(r"[0-9a-f]{32}")

#: Unfinished files that are older than this, by the store's clock, are nobody's any more.
_LEFT_SECONDS = 7 * 24 * 3600

#: That a server says nothing is told again after so long.
_SAID_FOR_SECONDS = 90.0


class FsspecBackend:
    """Files below a folder of an fsspec file system. Not every one can do all of it: then it says so.

    New files get a temporary name first, and then theirs by a rename.
    """

    #: Options beside the common ones, with what they mean.
    OPTIONS: ClassVar[dict[str, str]] = {}

    def __init__(self, url: str, options: Options) -> None:
        self._url = url if url.endswith("://") else url.rstrip("/")
        self._options = options
        self._traffic = Traffic()
        self._counting = threading.Lock()
        self._making = threading.Lock()
        self._connections = Connections[tuple[Any, str]](_is_async, type(self).hang_up)
        self._made: set[str] = set()  # folders that are known to exist
        self._unfinished: set[str] = set()  # temporary files without their name
        self._is_clean = False
        self._silent_since = -math.inf
        self.check_options()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._url, self._options)

    def check_options(self) -> None:
        """Refuse options that this kind of remote does not have; `UsageError`."""
        self._options.check(self.OPTIONS, self._url)

    # --- the connection -------------------------------------------------------------------------

    def connect(self) -> tuple[Any, str]:
        """Return a new fsspec file system, and the path of the store's folder in it.

        Foreign exceptions are translated by whoever asks.
        """
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(self._url, use_listings_cache=False, skip_instance_cache=True)
        return fs, root

    @property
    def fs(self) -> Any:
        """The fsspec file system: one for all threads where it is asynchronous, else one for each."""
        return self._connected()[0]

    def path(self, key: str) -> str:
        """Return where a key lies in the file system."""
        root: str = self._connected()[1]
        if not key or not root:  # the root of an archive has no name
            return root or key.rstrip("/")
        return f"{root.rstrip('/')}/{key}".rstrip("/")

    def _connected(self) -> tuple[Any, str]:
        return self._connections.get(self._connect)

    def _connect(self) -> tuple[Any, str]:
        try:
            return self.connect()
        except (*_NO_FILE, KeyError) as error:  # a file of the store it is not
            raise AccessError(f"no connection to {self.url}: {one_line(error)}") from error

    @staticmethod
    def hang_up(connection: tuple[Any, str]) -> None:
        """Close what `connect` returned; where fsspec does it itself, nothing."""

    def disconnect(self) -> None:
        """Forget this thread's connection: the next request makes a new one."""
        self._connections.drop()

    # --- errors ---------------------------------------------------------------------------------

    def ask(self, key: str, call: Callable[[], Result]) -> Result:
        """Make one request, again where its error passes; every other error is translated.

        `FileNotFoundError` comes out as `KeyError`.
        """
        return self._translating(key, lambda: self.again(partial(self._tried, call)))

    def again(self, call: Callable[[], Result]) -> Result:
        """Make one request, again where its error passes; others come out as they are."""
        return retried(
            call, self.passes, is_silence=self.is_silence, tell_silence=self._tell_silence
        )

    def is_silence(self, error: BaseException) -> bool:
        """Whether nobody answered for as long as one waits."""
        return is_timeout(error)

    def _tell_silence(self) -> None:
        """Warn, once for all the threads that wait for the same server."""
        now = time.monotonic()
        with self._counting:
            is_new = now - self._silent_since > _SAID_FOR_SECONDS
            self._silent_since = now
        if is_new:
            logger.warning("no answer from %s; trying again", self.server)

    @property
    def server(self) -> str:
        """Whom to name where nobody answers: the host."""
        return urlsplit(self._url).netloc.rpartition("@")[2] or self._url

    def _tried(self, call: Callable[[], Result]) -> Result:
        """Make one request, as it is; what went wrong in the middle of it leaves no connection."""
        self.count(requests=1)
        try:
            return call()
        except _ANSWERS:
            raise
        except Exception:
            self.disconnect()
            raise

    def _translating(self, key: str, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except (DsaError, KeyError):
            raise
        except Exception as error:
            raise self.translated(error, key) from error

    def count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        """Add to the traffic, from any thread."""
        with self._counting:
            self._traffic.requests += requests
            self._traffic.bytes_sent += sent
            self._traffic.bytes_received += received

    def passes(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        if isinstance(error, _ANSWERS):
            return False
        if isinstance(error, socket.gaierror):
            return error.errno == socket.EAI_AGAIN
        if isinstance(error, TimeoutError | ConnectionError | EOFError):
            return True
        return isinstance(error, OSError) and error.errno in _PASSING

    def translated(self, error: Exception, key: str) -> Exception:
        """Return dsa's error for one of the file system's; `KeyError` where there is no such file."""
        where = f"{self.url}/{key}" if key else self.url
        if isinstance(error, _NO_FILE):
            return KeyError(key)
        if isinstance(error, PermissionError):
            return AccessError(f"no permission: {where}: {one_line(error)}", is_refusal=True)
        if isinstance(error, socket.gaierror | TimeoutError | ConnectionError | EOFError) or (
            isinstance(error, OSError) and error.errno in _PASSING
        ):
            is_mute = isinstance(error, TimeoutError) and not str(error)
            why = "no answer" if is_mute else one_line(error)
            return AccessError(f"no connection to {self.url}: {why}", is_outage=True)
        if isinstance(error, NotImplementedError):
            return AccessError(f"{where}: this kind of store cannot do that: {one_line(error)}")
        if isinstance(error, OSError) and error.errno is not None and error.strerror:
            return translate(error, where)
        return AccessError(f"{where}: {one_line(error)}")

    # --- reading --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL as it was given, without a trailing slash."""
        return self._url

    @property
    def place(self) -> str:
        """The URL, and the options that are not about how it is used."""
        return json.dumps([self._url, dict(self._options.of_place)], sort_keys=True)

    @property
    def jobs(self) -> int:
        """As many as the option says."""
        return self._options.jobs

    @property
    def traffic(self) -> Traffic:
        """What was asked so far."""
        return self._traffic

    @property
    def options(self) -> Options:
        """What was said about it beside the URL."""
        return self._options

    @property
    def claims(self) -> bool | None:
        """No: `claim` looks first and renames then, so that two at once may both win."""
        return False

    def exists(self) -> bool:
        """Whether there is anything."""
        return any(True for _ in self.children(""))

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return a range of a file."""
        if length == 0:
            if self.info(key) is None:
                raise KeyError(key)
            return b""
        end = None if length is None else start + length
        data: bytes = self.ask(key, lambda: self._cat(key, start, end))
        self.count(received=len(data))
        return data

    def _cat(self, key: str, start: int, end: int | None) -> bytes:
        """Read a range; empty beyond the file's end."""
        data: bytes = self.fs.cat_file(self.path(key), start=start or None, end=end)
        return data

    def open(self, key: str) -> BinaryIO:
        """Open a file; it is read by ranges as it is asked for."""
        info = self.info(key)
        if info is None:
            raise KeyError(key)
        return io.BufferedReader(Ranges(partial(self.read, key), info.size), PIECE_BYTES)

    def info(self, key: str) -> FileInfo | None:
        """Return a file's size and time."""
        try:
            found = self.ask(key, lambda: self.fs.info(self.path(key)))
        except KeyError:
            return None
        return self.file_info(key, found) if found.get("type") == "file" else None

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield the files below a folder, one folder after the other, but for temporary ones."""
        for name, info in self._entries(prefix):
            key = f"{prefix}{name}"
            if info["type"] == "directory":
                if f"{key}/" != _TMP:
                    yield from self.list(f"{key}/")
            elif info["type"] == "file":
                yield self.file_info(key, info)
            elif (found := self.info(key)) is not None:  # a link
                yield found

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder."""
        for name, info in self._entries(prefix):
            yield f"{name}/" if info["type"] == "directory" else name

    def _entries(self, prefix: str) -> Sequence[tuple[str, dict[str, Any]]]:
        """Return what lies directly in a folder, by name; nothing where there is no such folder."""
        try:
            folder, found = self.ask(
                prefix, lambda: (self.path(prefix), self.fs.ls(self.path(prefix), detail=True))
            )
        except KeyError:
            return []
        own = folder.strip("/")
        entries = [
            (name.rpartition("/")[2], info)
            for name, info in ((info["name"].strip("/"), info) for info in found)
            if name != own  # asked for a file, many file systems answer with the file itself
        ]
        # And FTP's with the file in a folder of its name.
        if [name for name, _ in entries] == [own.rpartition("/")[2]] and self.info(prefix):
            return []
        return sorted(entries, key=itemgetter(0))

    def file_info(self, key: str, info: dict[str, Any]) -> FileInfo:
        """Return what a file system says of a file, in dsa's words."""
        modified = next((info[name] for name in _TIMES if info.get(name) is not None), None)
        return FileInfo(key, int(info["size"] or 0), seconds(modified))

    # --- writing --------------------------------------------------------------------------------

    def check_writable(self, key: str) -> None:
        """Raise `AccessError` where nothing can be written at all; else it is found out by trying."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet: exclusive only as far as `claim` is."""
        self.check_writable(key)
        if self.info(key) is not None:
            return False
        with self._temporary() as name:
            self._put_temporary(name, key, data)
            return self.claim(name, key, data)

    def claim(self, name: str, key: str, data: bytes) -> bool:
        """Give a temporary file its name if nothing has it; here by looking, just before."""
        if self.info(key) is not None:
            return False
        self._rename(name, key, lambda: self.read(key) == data)
        return True

    def write(self, key: str, data: bytes) -> None:
        """Write a temporary file and rename it."""
        self.check_writable(key)
        with self._temporary() as name:
            self._put_temporary(name, key, data)
            self._rename(name, key, lambda: self.read(key) == data)

    def _put_temporary(self, name: str, key: str, data: bytes) -> None:
        try:
            self.ask(key, lambda: self.put(name, data))
        except KeyError:
            raise self._taken_away(key) from None
        self.count(sent=len(data))

    def put(self, name: str, data: bytes) -> None:
        """Write all of a temporary file; it may be there, from a try that failed."""
        self.fs.pipe_file(self.path(name), data)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a temporary folder of this machine."""
        with own_temporary_folder() as folder:
            yield folder

    def publish(self, staged: Path, key: str) -> None:
        """Send a finished file; content of this name that is there is kept."""
        try:
            with consumed(staged):
                self._publish(staged, key)
        except OSError as error:
            raise translate(error, key) from error

    def _publish(self, staged: Path, key: str) -> None:
        self.check_writable(key)
        size = staged.stat().st_size
        if is_kept(self.info(key), size, self.url):
            return

        def send() -> int:  # a file can be read again, unlike a stream
            with staged.open("rb") as source:
                return self.pour(source, name, size)

        with self._temporary() as name:
            if self.ask(key, send) != size:
                raise DsaError(f"{staged} was changed while it was sent to {self.url}/{key}")
            self._rename(name, key, lambda: self._is_there(key, size))

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        """Write a stream to a temporary file, and rename that if it is right."""
        self.check_writable(key)
        if is_kept(self.info(key), size, self.url):
            return True
        own = Source(source)
        with self._temporary() as name:
            self.count(requests=1)
            try:
                sent = self._translating(key, lambda: self.pour(own, name, size))
            except Exception:
                self.disconnect()
                if own.error is not None:
                    raise own.error from None
                raise
            if sent != size or not is_right():
                return False
            self._rename(name, key, lambda: self._is_there(key, size))
        return True

    def pour(self, source: Readable, name: str, size: int) -> int:
        """Write a stream to a temporary file; return how many bytes came, at most one too many.

        Errors come out as they are.
        """
        target = self.fs.open(self.path(name), "wb", block_size=PIECE_BYTES)
        sent = 0
        try:
            for piece in pieces(source, size):
                target.write(piece)
                sent += len(piece)
                self.count(sent=len(piece))
        except BaseException:
            with suppress(Exception):
                target.close()
            raise
        target.close()
        return sent

    def flush(self, *, also: Iterable[str] = ()) -> None:
        """Nothing waits: a server has what it confirmed."""

    def remove(self, key: str) -> None:
        """Remove a file."""
        self.check_writable(key)
        try:
            self.ask(key, lambda: self.fs.rm_file(self.path(key)))
        except (DsaError, KeyError):
            if self.info(key) is not None:
                raise

    def local_path(self, key: str) -> Path | None:  # noqa: ARG002  # the protocol's
        """Return None: these are no files of this machine."""
        return None

    # --- temporary names ------------------------------------------------------------------------

    @contextmanager
    def _temporary(self) -> Iterator[str]:
        """Give a key for an unfinished file; gone at the end, if it still has this name."""
        key = f"{_TMP}{uuid4().hex}"
        self.make_folder(_TMP)
        self._unfinished.add(key)
        try:
            yield key
            self._clean()
        finally:
            if key in self._unfinished:
                self._unfinished.discard(key)
                with suppress(Exception):
                    self.fs.rm_file(self.path(key))

    def _rename(self, name: str, key: str, is_named: Callable[[], bool]) -> None:
        """Give a temporary file its name; `is_named` tells whether it has it, if the answer was lost."""
        self.make_folder(key.rpartition("/")[0])
        try:
            self.ask(key, lambda: self.rename(name, key))
        except (DsaError, KeyError) as error:
            with suppress(KeyError):
                if is_named():
                    return
            raise (self._taken_away(key) if isinstance(error, KeyError) else error) from error
        self._unfinished.discard(name)

    def rename(self, name: str, key: str) -> None:
        """Rename a file, over the one that has the name."""
        self.fs.mv(self.path(name), self.path(key))

    def _is_there(self, key: str, size: int) -> bool:
        found = self.info(key)
        return found is not None and found.size == size

    def _taken_away(self, key: str) -> DsaError:
        return DsaError(
            f"{self.url}/{key}: its temporary file was taken away while it was written",
            hint=f"something else removes files or folders in {self.url}/{_TMP}",
        )

    def make_folder(self, key: str) -> None:
        """Make a folder and those above it, once for each."""
        key = key.rstrip("/")
        if not key or key in self._made:
            return
        with self._making:  # threads that make the same ones above would be in each other's way
            try:
                self.ask(key, lambda: self.fs.makedirs(self.path(key), exist_ok=True))
            except (DsaError, KeyError) as error:
                if not self._is_folder(key):  # else another process made it at the same time
                    raise self._taken_away(key) if isinstance(error, KeyError) else error from error
        self._made.add(key)

    def _is_folder(self, key: str) -> bool:
        try:
            found = self.ask(key, lambda: self.fs.info(self.path(key)))
        except KeyError:
            return False
        return bool(found["type"] == "directory")

    def _clean(self) -> None:
        """Remove what killed writers left long ago, once for every instance.

        By the store's clock: the newest file there, at least this writer's own of just now.
        """
        if self._is_clean:
            return
        self._is_clean = True
        try:
            found = [
                self.file_info(f"{_TMP}{name}", info)
                for name, info in self._entries(_TMP)
                if info["type"] == "file" and _TEMPORARY.fullmatch(name)
            ]
            now = max((info.modified for info in found), default=0.0)
            for info in found:
                if info.modified < now - _LEFT_SECONDS:
                    logger.info("removing %s, which a killed writer left", info.key)
                    self.remove(info.key)
        except DsaError as error:  # it is only a courtesy
            logger.info("what killed writers left in %s stays: %s", self.url, error)


_TIMES = ("LastModified", "mtime", "modified", "created", "modify", "date_time")

_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

#: What a server that is well answers where something is not as it was expected.
_ANSWERS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    KeyError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
)

#: Errors of the system that pass.
_PASSING = (
    errno.EAGAIN,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ETIMEDOUT,
)


def _is_async(connection: tuple[Any, str]) -> bool:
    return bool(connection[0].async_impl)


def seconds(modified: Any) -> float:
    """Return a time in any of the forms that file systems have as seconds since 1970, UTC.

    What is not known is taken for now: gc keeps its hands off what is young.
    """
    match modified:
        case datetime():
            zoned = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
            return zoned.timestamp()
        case int() | float():
            return float(modified)
        case tuple():  # of a ZIP file: local time, without its zone
            return datetime(*modified[:6]).astimezone().timestamp()
        case str() if len(modified) >= 14 and modified[:14].isdecimal():  # of FTP's MLSD
            return datetime.strptime(modified[:14] + "+0000", "%Y%m%d%H%M%S%z").timestamp()
    return time.time()
