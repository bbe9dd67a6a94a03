"""What looks like a credential: dsa keeps none in its own files, and shows none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dsa.errors import UsageError
from dsa.remotes.urls import HIDDEN, looks_secret, tidied, without_credentials

_BELONGS = {
    "s3": "they belong in a profile of ~/.aws/credentials (`aws configure --profile NAME`);"
    " name it with --option profile=NAME",
    "sftp": "they belong to OpenSSH: an agent, or a key named in ~/.ssh/config",
    "ssh": "they belong to OpenSSH: an agent, or a key named in ~/.ssh/config",
}
_NOWHERE = "dsa keeps no credentials; those of a host belong in ~/.netrc"


def shown(name: str, value: object) -> object:
    """Return what is set, as it may be shown: a credential that somebody wrote there is left out."""
    if isinstance(value, Mapping):
        return {inner: shown(inner, there) for inner, there in value.items()}
    if looks_secret(name):
        return HIDDEN
    if isinstance(value, list):
        return [shown("", one) for one in value]
    return without_credentials(value) if isinstance(value, str) else value


def refuse_secrets(url: str, options: Mapping[str, str], *, known: Iterable[str] = ()) -> None:
    """Refuse a remote that would hold a credential; `UsageError` names the option, never its value.

    `known` are options that this kind of remote has, whatever their names look like.
    """
    scheme, separator, _ = tidied(url).partition("://")
    hint = _BELONGS.get(scheme, _NOWHERE) if separator else _NOWHERE
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
