"""From a path or a URL to the Backend that serves it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from dsa.cas.backend import Backend
from dsa.errors import UsageError
from dsa.remotes.local import LocalBackend


def connect(url: str) -> Backend:
    """Return the Backend of a place; nothing is looked at yet.

    A text without `://` is a local path; `~` is the home folder.
    """
    scheme, separator, _ = url.partition("://")
    if not url:
        raise UsageError("an empty text is no store")
    if not separator:
        return LocalBackend(Path(url).expanduser().absolute())
    if scheme == "file":
        return LocalBackend(Path(unquote(urlsplit(url).path)))
    raise UsageError(
        f"stores at {scheme}:// are not supported by this release",
        hint="give a local path, or file://",
    )
