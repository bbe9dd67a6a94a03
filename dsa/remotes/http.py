"""A store folder behind any web server: read by plain HTTP(S), never written.

Such a server cannot say what is in a folder: that comes from the store's own `listing/`, which is
somebody's word and no more (docs/format.md, "Listings"). What is read is read from the files
themselves; a ref, too, is read anew and never taken from a listing, which may be older.
"""

from __future__ import annotations

import logging
import re
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from dsa.cas import layout
from dsa.cas.backend import FileInfo
from dsa.errors import AccessError, UsageError
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.listed import Listed
from dsa.remotes.options import Options
from dsa.remotes.streams import PIECE_BYTES, one_line, system_reason

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_CONNECT_SECONDS = 10
_SILENCE_SECONDS = 25  # until an answer begins, or between two pieces of it
_MOST_COUNTED = 2**31  # bytes of a body whose length nobody tells: some have no end
_SAFE = "~/"  # beside the letters, digits and `._-` that quote() always keeps
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
_NO_RANGE = re.compile(r"bytes \*/(\d+)", re.ASCII)
_MAX_END = 2**63 - 1  # what servers count with

#: What a server says when it is busy, or when one behind it is.
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_NO_HEAD = (405, 501)


class HttpBackend(FsspecBackend):
    """Files below a URL, over fsspec's HTTP file system.

    Its session is used rather than its `cat_file`, which takes whatever comes for the range that
    was asked for: a server may ignore it and send everything.
    """

    def __init__(self, url: str, options: Options) -> None:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise UsageError(
                f"a URL holds no name and no password: {_bare(url)}",
                hint="they stand in ~/.netrc: `machine HOST login NAME password PASSWORD`",
            )
        if parts.query or parts.fragment or not parts.hostname:
            raise UsageError(f"{url} is no folder of a web server", hint="https://HOST/FOLDER")
        super().__init__(url, options)
        self._sends_all = False  # whatever range is asked for
        self._listed = Listed(self)

    # --- requests -------------------------------------------------------------------------------

    def connect(self) -> tuple[Any, str]:
        """Return the file system, and the URL of the store as it is sent."""
        import aiohttp
        from fsspec.implementations.http import HTTPFileSystem

        fs = HTTPFileSystem(
            encoded=True,
            skip_instance_cache=True,
            client_kwargs={
                "trust_env": True,  # ~/.netrc, and proxies
                "auto_decompress": False,
                "requote_redirect_url": False,
                "headers": {"Accept-Encoding": "identity"},  # ranges are of the files' own bytes
                "timeout": aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
                ),
            },
        )
        parts = urlsplit(self.url)
        folder = quote(parts.path.rstrip("/"), safe=_SAFE + "%")
        return fs, urlunsplit((parts.scheme, parts.netloc, folder, "", ""))

    def path(self, key: str) -> str:
        """Return the URL of a key; every character but `[A-Za-z0-9._~/-]` is percent-encoded."""
        root: str = self._connected()[1]
        return f"{root}/{quote(key, safe=_SAFE)}"

    def passes(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        import aiohttp

        if isinstance(error, aiohttp.ClientResponseError):
            return error.status in _BUSY
        if isinstance(error, aiohttp.ClientSSLError):
            return False
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
            error.os_error, socket.gaierror
        ):
            return error.os_error.errno == socket.EAI_AGAIN
        if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
            return True
        return super().passes(error)

    def translated(self, error: Exception, key: str) -> Exception:
        """Return dsa's error for one of HTTP's."""
        import aiohttp

        where = f"{self.url}/{key}" if key else self.url
        if isinstance(error, aiohttp.ClientResponseError):
            return _refusal(error.status, error.message, where)
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            why = getattr(error.certificate_error, "verify_message", error.certificate_error)
            return AccessError(
                f"{self.url}: the server's certificate is not to be trusted: {why}",
                hint="SSL_CERT_FILE names a file of the authorities that you trust",
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            why = system_reason(error.os_error)
            # Where TLS fails, somebody answered.
            is_outage = not isinstance(error, aiohttp.ClientSSLError)
            return AccessError(
                f"no connection to {self.url}: {_one_line(why)}", is_outage=is_outage
            )
        if isinstance(error, aiohttp.ClientError):
            # Others are about the URL: it is none, or leads to one that is none.
            is_outage = isinstance(
                error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError
            )
            return AccessError(f"no connection to {where}: {_one_line(error)}", is_outage=is_outage)
        return super().translated(error, key)

    def _run(self, call: Callable[..., Coroutine[Any, Any, Result]], *args: Any) -> Result:
        from fsspec.asyn import sync

        result: Result = sync(self.fs.loop, call, *args)
        return result

    async def _asked(self, method: str, key: str, asked: str | None = None) -> Any:
        """Send a request, for a range where one is asked for; return the answer, its body unread."""
        import yarl

        session = await self.fs.set_session()
        url = yarl.URL(self.path(key), encoded=True)
        headers = {} if asked is None else {"Range": f"bytes={asked}"}
        return await session.request(method, url, headers=headers)

    def _check(self, answer: Any, key: str) -> None:
        """Refuse an answer that is not the file's."""
        if answer.status in _GONE:
            raise FileNotFoundError(key)
        if answer.history and answer.url.path.endswith("/"):
            raise FileNotFoundError(key)  # a folder: servers lead to it
        answer.raise_for_status()
        where = f"{self.url}/{key}"
        if key.endswith(".json") and answer.content_type == "text/html":
            raise AccessError(
                f"{where} answers with a web page, not with the file",
                hint="is it a page to log in? A name and a password stand in ~/.netrc",
            )
        packed = answer.headers.get("Content-Encoding", "identity")
        if packed not in ("", "identity"):
            raise AccessError(
                f"{where} comes packed ({_one_line(packed)}), though it was asked for as it is",
                hint="on the server, switch compression off for this folder",
            )

    # --- reading --------------------------------------------------------------------------------

    def _cat(self, key: str, start: int, end: int | None) -> bytes:
        """Read a range; empty beyond the file's end."""
        return self._run(self._range, key, start, None if end is None else min(end, _MAX_END))

    async def _range(self, key: str, start: int, end: int | None) -> bytes:
        asked = None if not start and end is None else f"{start}-{'' if end is None else end - 1}"
        async with await self._asked("GET", key, asked) as answer:
            if answer.status == 416:
                return b""
            self._check(answer, key)
            if answer.status != 206:
                return await self._cut(answer, start, end)
            first, size, whole = self._ranged(answer, key)
            beyond = first + size if end is None else end
            if first != start or beyond < first + size or beyond > first + size < whole:
                raise AccessError(f"{self.url}/{key}: the server sent another range than asked for")
            return await self._body(answer, size, key)

    def _ranged(self, answer: Any, key: str) -> tuple[int, int, int]:
        """Return where the range of an answer begins, its size, and that of the whole file."""
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if found is None or found[3] == "*" or not int(found[1]) <= int(found[2]) < int(found[3]):
            raise AccessError(f"{self.url}/{key}: the server does not say which range it sends")
        return int(found[1]), int(found[2]) - int(found[1]) + 1, int(found[3])

    async def _body(self, answer: Any, size: int, key: str) -> bytes:
        """Read an answer of exactly so many bytes."""
        data = bytearray()
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > size:
                break
        if len(data) != size:
            raise ConnectionResetError(f"{key} came with {len(data)} bytes instead of {size}")
        return bytes(data)

    async def _cut(self, answer: Any, start: int, end: int | None) -> bytes:
        """Take a range out of an answer that has everything; what follows is not waited for."""
        data = bytearray()
        at = 0
        async for piece in answer.content.iter_any():
            data += piece[max(0, start - at) : None if end is None else max(0, end - at)]
            at += len(piece)
            _check_end(answer, at)
            if end is not None and at > end:
                answer.close()
                break
        if (start and at) or (end is not None and at > end):
            self.count(received=at - len(data))  # these came too
            self._tell_sends_all()
        return bytes(data)

    def _tell_sends_all(self) -> None:
        if not self._sends_all:
            logger.warning(
                "%s does not serve parts of files (HTTP Range): every read takes a whole one, "
                "which makes it slow",
                self.url,
            )
        self._sends_all = True

    def tail(self, key: str, length: int) -> tuple[bytes, int]:
        """Return the last `length` bytes of a file, all if it has fewer, and its size."""
        if length == 0:
            if (info := self.info(key)) is None:
                raise KeyError(key)
            return b"", info.size
        data, size = self.ask(key, lambda: self._run(self._tail, key, length))
        self.count(received=len(data))
        return data, size

    async def _tail(self, key: str, length: int) -> tuple[bytes, int]:
        async with await self._asked("GET", key, f"-{length}") as answer:
            if answer.status == 416:
                return b"", 0
            self._check(answer, key)
            if answer.status == 206:
                first, size, whole = self._ranged(answer, key)
                if first + size != whole or size > length:
                    raise AccessError(
                        f"{self.url}/{key}: the server sent another range than asked for"
                    )
                return await self._body(answer, size, key), whole
            data = bytearray()
            at = 0
            async for piece in answer.content.iter_any():
                data += piece
                at += len(piece)
                _check_end(answer, at)
                del data[:-length]
            if at > length:
                self._tell_sends_all()
            return bytes(data), at

    def open(self, key: str) -> BinaryIO:
        """Open a file, read by ranges; where the server has none, a copy of it in a temporary file."""
        if not self._sends_all:
            return super().open(key)
        target: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # the caller's
        try:
            self.count(received=self.ask(key, lambda: self._run(self._to, key, target)))
            target.seek(0)
        except BaseException:
            target.close()
            raise
        return target

    async def _to(self, key: str, target: BinaryIO) -> int:
        target.seek(0)
        target.truncate()
        async with await self._asked("GET", key) as answer:
            self._check(answer, key)
            async for piece in answer.content.iter_chunked(PIECE_BYTES):
                target.write(piece)
                _check_end(answer, target.tell())
            return target.tell()

    def info(self, key: str) -> FileInfo | None:
        """Return a file's size and time, as the headers say."""
        try:
            size, modified = self.ask(key, lambda: self._run(self._head, key))
        except KeyError:
            return None
        return FileInfo(key, size, modified)

    async def _head(self, key: str) -> tuple[int, float]:
        async with await self._asked("HEAD", key) as answer:
            if answer.status not in _NO_HEAD:
                self._check(answer, key)
                if answer.content_length is not None:
                    return answer.content_length, _modified(answer)
        async with await self._asked("GET", key, "0-0") as answer:
            if answer.status == 416:
                nothing = _NO_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
                return int(nothing[1]) if nothing else 0, _modified(answer)
            self._check(answer, key)
            if answer.status == 206:
                return self._ranged(answer, key)[2], _modified(answer)
            if answer.content_length is not None:
                return answer.content_length, _modified(answer)
            return await _counted(answer), _modified(answer)

    def exists(self) -> bool:
        """Whether the server has anything there; its own error pages tell no more than that."""
        import aiohttp

        try:
            if self.info(layout.STORE) is not None:
                return True
            self.ask("", lambda: self._run(self._look))
        except KeyError:
            return False
        except AccessError as error:
            # A folder that may not be listed is a folder.
            cause = error.__cause__
            return isinstance(cause, aiohttp.ClientResponseError) and cause.status == 403
        return True

    async def _look(self) -> None:
        async with await self._asked("HEAD", "") as answer:
            if answer.status in _GONE:
                raise FileNotFoundError(self.url)
            if answer.status not in _NO_HEAD:
                answer.raise_for_status()

    # --- listing --------------------------------------------------------------------------------

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield what `listing/` says lies below a folder; times are not known. `AccessError`: it says nothing."""
        return self._listed.list(prefix)

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder that `list` knows of."""
        names = (info.key[len(prefix) :].partition("/") for info in self.list(prefix))
        yield from sorted({name + slash for name, slash, _ in names})

    # --- what it never does ---------------------------------------------------------------------

    def create(self, key: str, data: bytes) -> bool:  # noqa: ARG002  # the protocol's
        """Refuse."""
        self._refuse()

    def write(self, key: str, data: bytes) -> None:  # noqa: ARG002  # the protocol's
        """Refuse."""
        self._refuse()

    def publish(self, staged: Path, key: str) -> None:  # noqa: ARG002  # the protocol's
        """Refuse; the staged file is gone, as after every error."""
        staged.unlink(missing_ok=True)
        self._refuse()

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:  # noqa: ARG002  # the protocol's
        """Refuse."""
        self._refuse()

    def remove(self, key: str) -> None:  # noqa: ARG002  # the protocol's
        """Refuse."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise AccessError(
            f"{self.url}: read-only, as it is reached by HTTP",
            hint="use the place itself: its path, s3:// or sftp://",
        )


async def _counted(answer: Any) -> int:
    size = 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        _check_end(answer, size)
    return size


def _check_end(answer: Any, size: int) -> None:
    """Refuse to read on where there may be no end."""
    if answer.content_length is None and size > _MOST_COUNTED:
        answer.close()
        raise AccessError(
            f"{_bare(str(answer.url))}: the server does not tell the length, and sent more than "
            f"{_MOST_COUNTED:,} bytes",
            hint="one that tells it, or serves parts of files (HTTP Range), is asked for no more",
        )


def _modified(answer: Any) -> float:
    try:
        return parsedate_to_datetime(answer.headers.get("Last-Modified", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _refusal(status: int, message: str, where: str) -> AccessError:
    if status in (401, 407):
        return AccessError(
            f"{where} asks for a login (HTTP {status})",
            hint="a name and a password stand in ~/.netrc: `machine HOST login NAME password PASSWORD`",
        )
    if status == 403:
        return AccessError(f"no permission: {where} (HTTP 403)", is_refusal=True)
    return AccessError(
        f"{where}: HTTP {status} {_one_line(message)}".rstrip(),
        is_outage=status in _BUSY or status >= 500,
    )


def _bare(url: str) -> str:
    """Return a URL without its name and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _one_line(text: object) -> str:
    return one_line(text)[:200] if str(text) else ""
