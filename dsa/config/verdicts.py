"""What was found out about a remote by trying, kept with its date for the next command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from dsa.cas.backend import Backend
from dsa.config import remembered as state
from dsa.remotes.options import Options

_KIND = "verdicts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one remote; None: not tried."""

    claims: bool | None  # of several pushes of one name exactly one wins
    words: str  # what was seen when that was tried
    attests: bool | None  # the SHA-1 that its server gives can stand for reading
    date: str  # RFC 3339, UTC


def options_of(backend: Backend) -> Options:
    """Return what was said about a remote beside its URL; of a local store nothing is."""
    options = getattr(backend, "options", None)
    return options if isinstance(options, Options) else Options({})


def remembered(backend: Backend) -> Verdict | None:
    """Return what is known of a remote; None if it was never tried, or that was lost."""
    facts = state.recall(_KIND, backend.place)
    try:
        verdict = Verdict(facts["claims"], facts["words"], facts["attests"], facts["date"])
    except KeyError:
        return None
    is_sane = all(one in (True, False, None) for one in (verdict.claims, verdict.attests))
    return verdict if is_sane and isinstance(verdict.date, str) else None


def remember(
    backend: Backend, *, claims: bool | None, words: str, attests: bool | None = None
) -> Verdict:
    """Keep what was found out about a remote today; `attests` None keeps what was known of that."""
    if attests is None and (before := remembered(backend)) is not None:
        attests = before.attests
    verdict = Verdict(claims, words, attests, today())
    state.keep(_KIND, backend.place, {**asdict(verdict), "url": backend.url})
    return verdict


def today() -> str:
    """Return this moment as a date in evidence is written."""
    return rfc3339(datetime.now(UTC))


def rfc3339(moment: datetime) -> str:
    """Write a moment in UTC, to the second."""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
