"""From a path or a URL to the Backend that serves it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dsa.cas.backend import Backend
from dsa.errors import UsageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.options import Options
from dsa.remotes.urls import links, tidied, without_credentials


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_credentials(url: str) -> None:
    """Refuse passwords and tokens in a URL: they would stand in files, logs and lists of processes."""
    if url != (shown := without_credentials(url)):
        raise UsageError(
            f"a URL holds no password and no token: {shown}",
            hint="leave it out; s3 takes it from AWS's files, sftp from your keys, others from ~/.netrc",
        )
    for link in links(url):
        try:
            _ = urlsplit(link).port
        except ValueError:  # whose text may hold a piece of a password
            raise UsageError(
                "a URL names a host, or a host and the number of a port, which this one does not",
                hint="scheme://[user@]host[:port]/path",
            ) from None


def connect(url: str, options: Mapping[str, str] | None = None) -> Backend:
    """Return the Backend of a place; nothing is looked at yet.

    A text without `://` is a local path; `~` is the home folder. `options` are those of a
    remote; what each kind takes is in docs/configuration.md. Raises: `UsageError`.
    """
    url = tidied(url)
    scheme, separator, _ = url.partition("://")
    chosen = Options(dict(options or {}))
    if not url.strip():
        raise UsageError(
            "an empty text is no store", hint="name its folder or URL; `.` is this folder"
        )
    if not _is_utf8(url):
        raise UsageError(f"a store's path has to be UTF-8: {os.fsencode(url)!r}")
    if separator and scheme != "file":
        _refuse_credentials(url)
    if separator and not scheme:
        raise UsageError(f"{url} is neither a path nor a URL")
    if not separator or scheme == "file":
        chosen.check((), url)
        path = unquote(urlsplit(url).path) if separator else url
        return LocalBackend(Path(path).expanduser().absolute())
    # Each brings heavy libraries of its own: only what the scheme needs is imported.
    match scheme:
        case "s3":
            from dsa.remotes.s3 import S3Backend

            return S3Backend(url, chosen)
        case "sftp" | "ssh":
            from dsa.remotes.sftp import SftpBackend

            return SftpBackend(url, chosen)
        case "http" | "https":
            from dsa.remotes.http import HttpBackend

            return HttpBackend(url, chosen)
        case "ftp":
            from dsa.remotes.ftp import FtpBackend

            return FtpBackend(url, chosen)
    from dsa.remotes.generic import GenericBackend

    return GenericBackend(url, chosen)
