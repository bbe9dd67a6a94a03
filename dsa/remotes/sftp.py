"""A store behind an SSH server, by SFTP: fsspec's file system over paramiko, over one connection."""

from __future__ import annotations

import json
import stat
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from dsa.errors import AccessError, DsaError, UsageError
from dsa.remotes import pipelined, ssh
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.options import Options
from dsa.remotes.streams import Readable, one_line, pieces

_JOBS = 8  # OpenSSH lets ten channels into one connection

#: A server that says nothing for so long has lost us.
_SILENCE_SECONDS = 60.0

_ALL = 0o777
_FILE = 0o666

#: A range up to this size is asked for at once, without asking for the file's size first.
_SMALL_BYTES = 1024 * 1024


class SftpBackend(FsspecBackend):
    """Files below a folder of an SSH server.

    `sftp://[user@]host[:port]/folder`, where `host` may be an alias of ~/.ssh/config;
    `sftp://host/~/folder` is relative to the user's home there. The connection is as `ssh` would
    make it (keys, agent, jumps), but never asks, and never believes a host key that is not in
    `known_hosts`. All threads share it, each with a channel of its own.
    """

    OPTIONS: ClassVar[dict[str, str]] = {
        "config": "path of the ssh configuration to follow, in place of ~/.ssh/config",
    }

    def __init__(self, url: str, options: Options) -> None:
        super().__init__(url, options)
        parts = urlsplit(self._url)
        if not parts.hostname or not parts.path.strip("/"):
            raise UsageError(
                f"{url} names no folder of a host",
                hint="sftp://host/path/to/store, or sftp://host/~/store below your home there",
            )
        # Not `hostname`, which is in lower case: an alias is what it is.
        self._alias = parts.netloc.rpartition("@")[2].removesuffix(f":{parts.port}").strip("[]")
        self._user = unquote(parts.username) if parts.username else None
        self._port = parts.port
        self._folder = unquote(parts.path)
        self._mode = _ALL  # of the store's own folder, once it is known
        self._links: list[ssh.Link] = []  # open ones, the last of them for new channels
        weakref.finalize(self, _close, self._links)

    # --- the connection -------------------------------------------------------------------------

    def connect(self) -> tuple[Any, str]:
        """Open a channel on the connection, made if there is none or it has no room for one more."""
        fs = None
        if self._links and self._links[-1].is_alive:
            with suppress(paramiko.SSHException, OSError, EOFError):
                fs = _Files(self._links[-1])
        if fs is None:
            config = ssh.read_config(self._options.text("config"))
            dead = [link for link in self._links if not link.is_alive]
            self._links[:] = [link for link in self._links if link.is_alive]
            _close(dead)
            self._links.append(ssh.connect(self._alias, self._user, self._port, config))
            fs = _Files(self._links[-1])
        if self._folder.startswith("/~/"):
            home = fs.ftp.normalize(".")
            return fs, f"{home.rstrip('/')}/{self._folder[3:].strip('/')}"
        return fs, self._folder

    @staticmethod
    def hang_up(connection: tuple[Any, str]) -> None:
        """Close a channel; the connection itself goes with its last one's backend."""
        connection[0].ftp.close()

    @property
    def place(self) -> str:
        """The URL, and which host and user ssh's configuration makes of it: none is asked."""
        try:
            found = ssh.read_config(self._options.text("config")).lookup(self._alias)
        except paramiko.SSHException as error:
            raise self.translated(error, "") from error
        port = str(self._port or found.get("port", ""))
        user = self._user or found.get("user", "")
        return json.dumps([self._url, found["hostname"], port, user])

    @property
    def _client(self) -> pipelined.Client:
        client: pipelined.Client = self.fs.ftp
        return client

    @property
    def jobs(self) -> int:
        """As many as the option says; fewer than elsewhere, as they share one connection."""
        return self._options.number("jobs", _JOBS)

    @property
    def claims(self) -> bool | None:
        """Yes where the server makes hard links, of which one wins."""
        return True if self.ask("", lambda: self._has(pipelined.HARDLINK)) else None

    def _has(self, extension: str) -> bool:
        return extension in self._client.extensions

    # --- errors ---------------------------------------------------------------------------------

    def passes(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        if isinstance(error, paramiko.AuthenticationException | paramiko.BadHostKeyException):
            return False
        if isinstance(error, paramiko.SSHException):
            return True
        return _is_closed(error) or super().passes(error)

    def translated(self, error: Exception, key: str) -> Exception:
        """Return dsa's error for one of SSH's."""
        if isinstance(error, paramiko.SSHException) or _is_closed(error):
            # What both cannot agree on is for a person; all else is as if nobody answered.
            is_outage = not isinstance(error, paramiko.ssh_exception.IncompatiblePeer)
            return AccessError(
                f"no connection to {self.url}: {one_line(error)}", is_outage=is_outage
            )
        if isinstance(error, OSError) and error.errno is None and str(error) == "Failure":
            return DsaError(
                f"{self.url}/{key}: the server says only: Failure",
                hint="most often its disk is full, a quota is used up, or a file is in the way",
            )
        return super().translated(error, key)

    # --- reading --------------------------------------------------------------------------------

    def _cat(self, key: str, start: int, end: int | None) -> bytes:
        """Read a range with many requests under way."""
        client = self._client
        file = client.open(self.path(key), "rb", 0)
        try:
            length = None if end is None else end - start
            if length is None or length > _SMALL_BYTES:
                there = max(0, (_size(file) or 0) - start)
                length = there if length is None else min(length, there)
            return pipelined.read(client, file.handle, start, length)
        except OSError:
            if stat.S_ISDIR(file.stat().st_mode or 0):
                raise IsADirectoryError(key) from None
            raise
        finally:
            file._close(async_=True)  # the answer is of no interest

    # --- writing --------------------------------------------------------------------------------

    def put(self, name: str, data: bytes) -> None:
        """Write all of a temporary file and have it synced."""
        target = _Target(self, name)
        try:
            target.write(0, data)
            target.finish(len(data))
        finally:
            target.abandon()

    def pour(self, source: Readable, name: str, size: int) -> int:
        """Write a stream to a temporary file; after a broken connection it goes on where it was."""
        target = _Target(self, name)
        sent = 0
        try:
            for piece in pieces(source, size):
                self._write_piece(target, sent, piece)
                sent += len(piece)
            self.ask(name, lambda: target.finish(sent))
        finally:
            target.abandon()
        return sent

    def _write_piece(self, target: _Target, at: int, piece: bytes) -> None:
        self.ask(target.name, lambda: target.write(at, piece))
        self.count(sent=len(piece))

    def make_folder(self, key: str) -> None:
        """Make a folder and those above it, once for each, with the mode of the store's own."""
        key = key.rstrip("/")
        if key in self._made:
            return
        if key:
            self.make_folder(key.rpartition("/")[0])
        try:
            self.ask(key, lambda: self._make(key))
        except KeyError:
            raise self._taken_away(key) from None
        self._made.add(key)

    def _make(self, key: str) -> None:
        path = self.path(key)
        if key:
            if self._mkdir(path):
                with suppress(PermissionError):
                    self._client.chmod(path, self._mode)
            return
        above = [path]
        while not self._is_directory(above[-1]) and above[-1].strip("/"):
            above.append(above[-1].rpartition("/")[0] or "/")
        for folder in reversed(above[:-1]):
            self._mkdir(folder)
        self._mode = stat.S_IMODE(self._client.stat(path).st_mode or _ALL)

    def _mkdir(self, path: str) -> bool:
        """Make a folder; False if it is there, for which the protocol has no word."""
        try:
            self._client.mkdir(path)
        except OSError as error:
            if self.passes(error) or not self._is_directory(path):
                raise
            return False
        return True

    def _is_directory(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(self._client.stat(path).st_mode or 0)
        except FileNotFoundError:
            return False

    def rename(self, name: str, key: str) -> None:
        """Rename a file over the one that has the name, in one step."""
        if self._has(pipelined.POSIX_RENAME):
            self._client.posix_rename(self.path(name), self.path(key))
        else:  # the protocol's own never replaces
            self._client.rename(self.path(name), self.path(key))

    def claim(self, name: str, key: str, data: bytes) -> bool:
        """Give a temporary file its name if nothing has it: by a hard link, of which one wins."""
        self.make_folder(key.rpartition("/")[0])
        tries = 0

        def link() -> bool | None:
            nonlocal tries
            tries += 1
            return self._link_to(name, key)

        won = self.ask(key, link)
        if won is None:
            return self._claim_in_place(key, data)
        if not won and tries > 1:  # it may have been this writer whose answer was lost
            return self.read(key) == data
        return won

    def _link_to(self, name: str, key: str) -> bool | None:
        """Return whether a name was free and is the file's now; None where there are no links."""
        if not self._has(pipelined.HARDLINK):
            return None
        try:
            self._client.extended(pipelined.HARDLINK, self.path(name), self.path(key))
        except OSError as error:
            if self.passes(error) or isinstance(error, FileNotFoundError):
                raise
            return False if self._is_taken(key) else None
        return True

    def _claim_in_place(self, key: str, data: bytes) -> bool:
        """Create a file exclusively and then write it: only a kill in between leaves it torn.

        For servers and file systems without links: docs/decisions/0013-refs-without-links.md. After
        a broken connection it is written to its end, if it was this call that created it.
        """
        is_mine = False
        is_unsure = False  # whether it is: the answer was lost

        def create() -> bool:
            nonlocal is_mine, is_unsure
            client, path = self._client, self.path(key)
            if is_mine and not data.startswith(self._cat(key, 0, len(data) + 1)):
                return False  # somebody took it away meanwhile, and another one wrote theirs
            try:
                file = client.open(path, "r+b" if is_mine else "wx", 0)
            except Exception as error:
                if self.passes(error):
                    is_unsure |= not is_mine
                elif not is_mine and self._is_taken(key):
                    return False
                raise
            is_mine = True
            try:
                pipelined.write(client, file.handle, 0, data)
                self._sync(file)
            finally:
                file._close(async_=True)
            return True

        try:
            won = self.ask(key, create)
        except BaseException:
            if is_mine:
                with suppress(Exception):
                    self._client.remove(self.path(key))
            raise
        if won or not is_unsure:
            return won
        there = self.read(key)
        if there != data and data.startswith(there):
            raise DsaError(
                f"{self.url}/{key} was created and not written when the connection broke",
                hint="by this command or by another: if nobody else is pushing it, remove that file,"
                " and run the command again",
            )
        return there == data

    def _is_taken(self, key: str) -> bool:
        try:
            self._client.lstat(self.path(key))
        except FileNotFoundError:
            return False
        return True

    def _sync(self, file: paramiko.SFTPFile) -> None:
        """Have the server write a file to its disk; there is no such request for its folder."""
        if self._has(pipelined.FSYNC):
            self._client.extended(pipelined.FSYNC, file.handle)


class _Files(SFTPFileSystem):  # type: ignore[misc]  # it carries no types
    """fsspec's file system on a channel of a connection that is there already."""

    cachable = False

    def __init__(self, link: ssh.Link) -> None:
        self._link = link
        super().__init__(link.client.get_transport().getpeername()[0], use_listings_cache=False)

    def _connect(self) -> None:
        """Open the channel; fsspec's own would believe any host key."""
        self.client = self._link.client
        self.ftp = pipelined.Client.of(self._link.transport, _SILENCE_SECONDS)

    def rm_file(self, path: str) -> None:
        """Remove a file, without asking first what it is."""
        self.ftp.remove(path)


class _Target:
    """A temporary file that is being written; it is opened anew when the connection is another."""

    def __init__(self, backend: SftpBackend, name: str) -> None:
        self.name = name
        self._backend = backend
        self._file: paramiko.SFTPFile | None = None

    def write(self, at: int, data: bytes) -> None:
        """Write a piece at a place."""
        self._do(at, lambda client, file: pipelined.write(client, file.handle, at, data))

    def finish(self, size: int) -> None:
        """Have it synced, readable for whom the folder is. Raises: `OSError` for another size."""

        def sync(client: pipelined.Client, file: paramiko.SFTPFile) -> None:  # noqa: ARG001
            found = file.stat()
            if found.st_size != size:
                raise OSError(f"{found.st_size} of {size} bytes are there")
            wanted = self._backend._mode & _FILE
            if found.st_mode is not None and stat.S_IMODE(found.st_mode) != wanted:
                with suppress(PermissionError):
                    file.chmod(wanted)
            self._backend._sync(file)

        self._do(size, sync)

    def abandon(self) -> None:
        """Close it, whatever is in it."""
        if self._file is not None:
            with suppress(Exception):
                self._file.close()
            self._file = None

    def _do(self, at: int, call: Callable[[pipelined.Client, paramiko.SFTPFile], None]) -> None:
        client = self._backend._client
        if self._file is None:
            path = self._backend.path(self.name)
            self._file = client.open(path, "r+b" if at else "wb", 0)
        try:
            call(client, self._file)
        except Exception:
            self._file = None  # the connection goes with it
            raise


def _size(file: paramiko.SFTPFile) -> int | None:
    size: int | None = file.stat().st_size
    return size


def _is_closed(error: BaseException) -> bool:
    """Whether paramiko says so: it has no class of its own for it."""
    return isinstance(error, OSError) and str(error) == "Socket is closed"


def _close(links: list[ssh.Link]) -> None:
    while links:
        links.pop().close()
