"""Who pushes: named by the person, else by git's configuration, else by the login."""

from __future__ import annotations

import logging
import os
import platform
import re
from dataclasses import dataclass
from typing import Literal

from dsa.cas.names import printable
from dsa.errors import UsageError

logger = logging.getLogger("dsa")

Source = Literal["option", "git", "login"]

# What would make the text read as something else, or break its line: git drops these as well.
_FORBIDDEN = re.compile(r"[<>\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_AUTHOR = re.compile(r"\s*([^<>]*?)\s*<\s*([^<>\s]+)\s*>\s*")


@dataclass(frozen=True, slots=True)
class Author:
    """A name and a mail address; no promise that either exists."""

    name: str
    email: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


def parse_author(text: str) -> Author:
    """Read `NAME <MAIL>`, both there; a `UsageError` otherwise."""
    found = _AUTHOR.fullmatch(text)
    if found is None or not found[1] or any(map(_FORBIDDEN.search, found.groups())):
        raise UsageError(
            f"not an author: '{printable(text)}'",
            hint="write it as 'NAME <MAIL>', for example 'Ada Lovelace <ada@example.org>'",
        )
    return Author(found[1], found[2])


def find_author(explicit: str | None = None) -> tuple[Author, Source]:
    """Return the author and who said so; `explicit` is what the option or the environment gives.

    What git's configuration leaves open (only a name, only an address) comes from the login.
    """
    if explicit is not None:
        return parse_author(explicit), "option"
    author = git_author()
    return (author, "git") if author else (login_author(), "login")


def git_author() -> Author | None:
    """Return the author of git's configuration (the user's and the system's), None if unset.

    A configuration that cannot be read is passed over with a warning: a push does not need git.
    """
    # Imported here: a push that names its author does without it.
    from dulwich.config import StackedConfig

    try:
        config = StackedConfig.default()
        found = []
        for key in (b"name", b"email"):
            try:
                found.append(_clean(config.get((b"user",), key).decode("utf-8", "replace")))
            except KeyError:
                found.append("")
    except (OSError, ValueError, LookupError, RecursionError) as error:
        logger.warning("git's configuration cannot be read: %s", printable(str(error)))
        return None
    name, email = found
    if not name and not email:
        return None
    login = login_author()
    return Author(name or login.name, email or login.email)


def login_author() -> Author:
    """Return the login name, at this host; always something, even where no user is known."""
    name = _clean(_login_name()).replace(" ", "") or "unknown"
    host = _clean(platform.node()).replace(" ", "") or "localhost"
    return Author(name, f"{name}@{host}")


def _login_name() -> str:
    """Ask the system, not the environment: only the command line reads that."""
    try:
        import pwd
    except ImportError:  # Windows
        try:
            return os.getlogin()
        except OSError:
            return ""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, any number may be the user
        return f"uid{os.getuid()}"


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("", text).strip()
