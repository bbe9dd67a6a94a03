"""URLs as they are meant and as they may be shown: what would be a credential in one, and without it."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
#: Where one URL of a chain such as `zip://folder::https://host/x.zip` ends; not in `[::1]`.
_CHAINED = re.compile(r"(::)(?![^\[\]/]*\])")

_WORD = re.compile(
    r"auth|authorization|bearer|credentials?|jwt|key|pass|passphrase|passwd|password|pwd|sas|secrets?"
    r"|sig|signature|token"
)
_RUN_TOGETHER = re.compile(r"(?:pass(?:word|phrase|wd)|secret|token|credentials?|accesskey|apikey)")
#: Names that say where a secret lies, and not what it is.
_ELSEWHERE = ("file", "path", "id", "name", "hosts")
#: Long, and of too many kinds of letters for a word.
_RANDOM = re.compile(
    r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[\w+/=.~-]{20,}|[0-9a-f]{32,}|[0-9A-F]{32,}", re.ASCII
)

#: Kinds of URLs where whatever stands before the @ is half of a credential, if not all of it.
_NAMELESS = ("dav", "davs", "gcs", "gs", "http", "https", "s3", "s3a", "webdav", "webdavs")
#: Those where it is a user's name, be it as long as it likes.
_NAMED = ("ftp", "ftps", "sftp", "ssh")

HIDDEN = "…"


def tidied(url: str) -> str:
    """Return a URL with its scheme in lower case and no blanks before it; a path as it is."""
    found = _SCHEME.match(url)
    return f"{found[1].lower()}://{url[found.end() :]}" if found else url


def links(url: str) -> list[str]:
    """Return the URLs of a chain; of any other one itself."""
    return _CHAINED.split(url)[::2]


def looks_secret(name: str) -> bool:
    """Say whether an option of this name holds a credential, such as `secret_key` or `accessToken`."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    if words[-1] in _ELSEWHERE and words[-2:] != ["key", "id"]:
        return False
    return any(map(_WORD.fullmatch, words)) or bool(_RUN_TOGETHER.search("".join(words)))


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: what names a user's password, or a token, is left out."""
    return "".join(map(_link, _CHAINED.split(url)))


def _link(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    found = re.match(r"[^/?#]*", rest)
    place = found[0] if found else ""
    _, colon, port = place.rpartition(":")
    if "@" not in place and "@" in rest and colon and not (port.isdigit() or port.endswith("]")):
        place = rest[: rest.rindex("@")] + re.split(r"(?=[/?#])", rest[rest.rindex("@") :])[0]
    path, hash_mark, fragment = rest[len(place) :].partition("#")
    path, question, query = path.partition("?")
    user, at, host = place.rpartition("@")
    return (
        f"{scheme}://{_user(scheme, user)}{at}{host}{path}"
        f"{question}{_parameters(query)}{hash_mark}{_parameters(fragment)}"
    )


def _user(scheme: str, user: str) -> str:
    kind = scheme.strip().lower()
    if user and (kind in _NAMELESS or (kind not in _NAMED and _RANDOM.fullmatch(user))):
        return HIDDEN
    name, colon, _ = unquote(user).partition(":")
    return f"{name}:{HIDDEN}" if colon else user


def _parameters(text: str) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    is_secret = any(
        looks_secret(name) or _RANDOM.fullmatch(name) or _RANDOM.fullmatch(value)
        for name, value in pairs
    )
    return HIDDEN if is_secret else text
