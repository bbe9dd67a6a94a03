"""A store behind FTP: fsspec's file system, but for the ranges and the errors."""

from __future__ import annotations

import ftplib
from typing import Any

from fsspec.implementations.ftp import FTPFileSystem

from dsa.errors import AccessError
from dsa.remotes.generic import GenericBackend
from dsa.remotes.streams import one_line

#: What is received and sent at once; fsspec's own 64 KiB make a transfer of each.
_BLOCK_BYTES = 1024 * 1024

_SILENCE_SECONDS = 25


class FtpBackend(GenericBackend):
    """Files below `ftp://[user@]host[:port]/folder`; user and password come from ~/.netrc.

    FTP has no way to claim a name: of two writers at once both may win.
    """

    def open_file_system(self, arguments: dict[str, Any]) -> tuple[Any, str]:
        """Log in."""
        of_url = FTPFileSystem._get_kwargs_from_urls(self._url)
        defaults = {"block_size": _BLOCK_BYTES, "timeout": _SILENCE_SECONDS}
        settings = {**defaults, **of_url, **arguments}
        fs = _Files(use_listings_cache=False, skip_instance_cache=True, **settings)
        return fs, FTPFileSystem._strip_protocol(self._url)

    @staticmethod
    def hang_up(connection: tuple[Any, str]) -> None:
        """Close the connection, without a word."""
        connection[0].ftp.close()

    def passes(self, error: BaseException) -> bool:
        """Whether the same request may succeed a little later."""
        why = _why(error)
        if isinstance(why, ftplib.error_temp):
            return not str(why).startswith("452")  # no room
        return isinstance(why, ftplib.error_proto) or super().passes(error)

    def translated(self, error: Exception, key: str) -> Exception:
        """Return dsa's error for one of the server's."""
        why = _why(error)
        if not isinstance(why, ftplib.Error):
            return super().translated(error, key)
        if str(why).startswith("530"):
            return AccessError(
                f"{self.url}: the server refuses the login: {one_line(why)}",
                hint="put the user's name and password into ~/.netrc",
            )
        if isinstance(why, ftplib.error_perm) and isinstance(error, FileNotFoundError):
            return KeyError(key)
        where = f"{self.url}/{key}" if key else self.url
        return AccessError(
            f"{where}: the server says {one_line(why)}", is_outage=self.passes(error)
        )


class _Files(FTPFileSystem):  # type: ignore[misc]  # it carries no types
    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Read a range, and hang up when it is there.

        fsspec's own asks the server to abort, and where both cross it loses the connection.
        """
        wanted = None if end is None else end - (start or 0)
        data = bytearray()
        self.ftp.voidcmd("TYPE I")  # listings are text, and may have been the last
        try:
            source = self.ftp.transfercmd(f"RETR {path}", rest=start)
        except ftplib.error_perm as error:
            raise FileNotFoundError(path) from error
        with source:
            while wanted is None or len(data) < wanted:
                room = self.blocksize if wanted is None else min(self.blocksize, wanted - len(data))
                piece = source.recv(room)
                if not piece:
                    break
                data += piece
            else:
                wanted = 0
        try:
            self.ftp.voidresp()
        except ftplib.error_temp:
            if wanted != 0:
                raise
            # 426: that it was broken off is what was meant.
        return bytes(data)


def _why(error: BaseException) -> BaseException:
    """Return what the server said where fsspec made a missing file of it."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, ftplib.Error):
        return error.__cause__
    return error
