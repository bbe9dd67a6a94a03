"""From a path or a URL to the Backend that serves it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dsa.cas.backend import Backend
from dsa.errors import UsageError
from dsa.remotes.local import LocalBackend


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def connect(url: str) -> Backend:
    """Return the Backend of a place; nothing is looked at yet.

    A text without `://` is a local path; `~` is the home folder.
    """
    scheme, separator, _ = url.partition("://")
    if not url:
        raise UsageError("an empty text is no store")
    if not _is_utf8(url):
        raise UsageError(f"a store's path has to be UTF-8: {os.fsencode(url)!r}")
    if not separator:
        return LocalBackend(Path(url).expanduser().absolute())
    if scheme == "file":
        return LocalBackend(Path(unquote(urlsplit(url).path)))
    raise UsageError(
        f"stores at {scheme}:// are not supported by this release",
        hint="give a local path, or file://",
    )
