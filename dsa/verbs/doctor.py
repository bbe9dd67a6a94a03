"""Doctor: what a remote can do; and the refusal to push where pushes could overwrite each other."""

from __future__ import annotations

import logging

from dsa.cas.backend import Backend
from dsa.config import verdicts
from dsa.errors import AccessError, DsaError
from dsa.remotes.doctor import examine, examine_claims
from dsa.reports import DoctorReport

logger = logging.getLogger(__name__)


def doctor(backend: Backend, name: str = "") -> DoctorReport:
    """Try out what a remote can do, remember it, and tell it; `name` is the remote's, if it has one."""
    found = examine(backend)
    claims = found.claims
    if found.write.can:
        verdicts.remember(backend, claims=claims.can, words=claims.words, attests=found.attests)
    single = verdicts.options_of(backend).single_writer
    return DoctorReport(
        remote=name,
        store=backend.url,
        examination=found,
        single_writer=single,
        takes_pushes=bool(found.read.can and found.write.can and (claims.can or single)),
        hint="" if claims.can is not False or single else _hint(name, backend.url),
        requests=found.requests,
        seconds=found.seconds,
    )


def check_claims(backend: Backend, name: str = "") -> None:
    """Refuse to push where two pushes of one name could both win, before anything is written.

    `name` is the remote's, if it has one. What is not known of the store is tried with a few
    requests, and remembered; only a yes is relied on later, so that a server that was mended is
    taken. Raises: `DsaError`; `AccessError` where this user cannot write, or nobody answers.
    """
    if backend.claims or verdicts.options_of(backend).single_writer:
        return
    known = verdicts.remembered(backend) if backend.claims is None else None
    if known is not None and known.claims:
        return
    try:
        answer = examine_claims(backend)
    except AccessError as error:
        raise unwritable(name, backend.url, error) from error
    if answer.can is None:
        raise AccessError(
            f"nothing can be written to {called(name, backend.url)}: {answer.words}", is_outage=True
        )
    verdicts.remember(backend, claims=answer.can, words=answer.words)
    if answer.can:
        return
    raise DsaError(
        f"two pushes to {called(name, backend.url)} at once could overwrite each other: {answer.words}",
        hint=_hint(name, backend.url),
    )


def unwritable(name: str, url: str, error: AccessError) -> AccessError:
    """Return what to tell where the first thing that was to be written could not be: the URL once, and why."""
    why = str(error).removeprefix(f"{url}: ")
    return AccessError(
        f"nothing can be written to {called(name, url)}: {why}",
        hint=error.hint or "nothing was sent; `dsa remote doctor` says what this store lets you do",
        is_outage=error.is_outage,
        is_refusal=error.is_refusal,
    )


def called(name: str, url: str) -> str:
    """Return how a person knows a store: by its remote's name, where it has one, and by its URL."""
    return f"{name} ({url})" if name else url


def _hint(name: str, url: str) -> str:
    return (
        "if nobody else ever pushes there at the same time, say so: "
        f"`dsa remote add {name or 'NAME'} {url} --option single_writer=true`, "
        'or options={"single_writer": "true"} in Python'
    )
