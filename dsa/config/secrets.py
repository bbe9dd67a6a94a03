"""What looks like a credential: dsa keeps none in its own files, and shows none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl

from dsa.errors import UsageError

_WORD = re.compile(
    r"auth|credentials?|key|pass|passphrase|passwd|password|pwd|secrets?|signature|token"
)
_RUN_TOGETHER = re.compile(r"(?:pass(?:word|phrase|wd)|secret|token|credentials?|accesskey|apikey)")
#: Names that say where a secret lies, and not what it is.
_ELSEWHERE = ("file", "path", "id", "name", "hosts")

_BELONGS = {
    "s3": "they belong in a profile of ~/.aws/credentials (`aws configure --profile NAME`);"
    " name it with --option profile=NAME",
    "sftp": "they belong to OpenSSH: an agent, or a key named in ~/.ssh/config",
    "ssh": "they belong to OpenSSH: an agent, or a key named in ~/.ssh/config",
}
_NOWHERE = "dsa keeps no credentials; those of a host belong in ~/.netrc"


def looks_secret(name: str) -> bool:
    """Say whether an option of this name holds a credential, such as `secret_key` or `accessToken`."""
    words = re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower())
    if words[-1] in _ELSEWHERE and words[-2:] != ["key", "id"]:
        return False
    return any(map(_WORD.fullmatch, words)) or bool(_RUN_TOGETHER.search("".join(words)))


def without_credentials(url: str) -> str:
    """Return a URL that may be shown: what names a user's password, or a token, is left out."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if ":" in user:
        user = user.partition(":")[0] + ":…"
    path, mark, query = path.partition("?")
    if mark and _secret_parameters(query):
        query = "…"
    return f"{scheme}://{user}{at}{host}{slash}{path}{mark}{query}"


def refuse_secrets(url: str, options: Mapping[str, str], *, known: Iterable[str] = ()) -> None:
    """Refuse a remote that would hold a credential; `UsageError` names the option, never its value.

    `known` are options that this kind of remote has, whatever their names look like.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    hint = _BELONGS.get(scheme, _NOWHERE)
    secret = sorted(name for name in options if name not in known and looks_secret(name))
    if secret:
        raise UsageError(
            f"the option{'s' if len(secret) > 1 else ''} {', '.join(secret)} would hold credentials",
            hint=hint,
        )
    for where, text in {
        "the URL": url,
        **{f"the option {n}": v for n, v in options.items()},
    }.items():
        if text != without_credentials(text):
            raise UsageError(f"{where} holds credentials: {without_credentials(text)}", hint=hint)


def _secret_parameters(query: str) -> bool:
    return any(looks_secret(name) for name, _ in parse_qsl(query, keep_blank_values=True))
