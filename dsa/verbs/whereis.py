"""Whereis: which stores hold a revision completely, and how that is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, replace

import pyarrow.compute as pc

from dsa.cas.backend import Traffic
from dsa.cas.ids import ManifestId
from dsa.cas.names import Spec, count, latest, parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.config import evidence
from dsa.config.verdicts import today
from dsa.errors import DamageError, DsaError, NotFoundError
from dsa.remotes.transfer import as_done
from dsa.reports import Whereabouts, WhereisReport
from dsa.verbs.presence import Presence
from dsa.verbs.sending import missing_trees

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A store to be asked; nothing is connected before `open` is called."""

    name: str  # of the remote; empty: it has none
    url: str
    open: Callable[[], ObjectStore]


@dataclass(slots=True, eq=False)
class _Asked:
    """What a store said so far."""

    site: Site
    store: ObjectStore | None = None
    meant: tuple[str, str] | None = None  # the dataset and revision that the name means there
    error: DsaError | None = None
    before: Traffic | None = None


def whereis(sites: Iterable[Site], text: str, manifest: ManifestId | None = None) -> WhereisReport:
    """Say of every store whether it holds a revision completely; all of them are asked at once.

    What the name means is settled among those that answer: the newest revision of all of them, and
    of that the `manifest`, else what the first store that has the name means by it. A store with
    another one does not hold it. One that does not answer is named with why, and stops nobody.
    Raises: `UsageError` for what is no name.
    """
    began = time.monotonic()
    spec = parse_spec(text)
    sites = list(sites)
    asked = _at_once([_Asked(site) for site in sites], lambda one: _resolve(one, spec))
    meant = {one.meant for one in asked if one.meant is not None}
    revision = latest(name for _, name in meant) or spec.revision or "latest"
    found: dict[Site, Whereabouts] = {}

    def look(one: _Asked) -> _Asked:
        found[one.site] = _look(one, spec.dataset, revision)
        return one

    _at_once(asked, look)
    # Those that know it as it was typed come first: others may have only the name.
    first = sorted(asked, key=lambda one: one.meant != (spec.dataset, revision))
    named = (found[one.site].manifest for one in first)
    wanted = str(manifest or next(filter(None, named), ""))
    for site, place in found.items():
        if place.manifest not in ("", wanted):
            found[site] = replace(place, holds=False, detail=_ANOTHER, evidence={})
    each = (one.store.backend.traffic - one.before for one in asked if one.store and one.before)
    spent = sum(each, Traffic())
    return WhereisReport(
        dataset=spec.dataset,
        revision=revision,
        places=tuple(found[site] for site in sites),
        seconds=time.monotonic() - began,
        requests=spent.requests,
        bytes_received=spent.bytes_received,
    )


_ANOTHER = "another revision of this name"


def _at_once(asked: list[_Asked], call: Callable[[_Asked], _Asked]) -> list[_Asked]:
    for _ in as_done(asked, call, len(asked)):
        pass
    return asked


def _resolve(one: _Asked, spec: Spec) -> _Asked:
    try:
        one.store = one.site.open()
        one.before = copy(one.store.backend.traffic)
        one.meant = one.store.revisions.resolve(spec)
    except Exception as error:  # noqa: BLE001  # whatever it is, the others are still asked
        one.error = _known(error, one.site)
    return one


def _known(error: Exception, site: Site) -> DsaError:
    if isinstance(error, DsaError):
        return error
    logger.debug("asking %s failed", site.url, exc_info=error)
    return DsaError(f"unexpected {type(error).__name__}: {error}")


def _look(one: _Asked, dataset: str, revision: str) -> Whereabouts:
    place = Whereabouts(remote=one.site.name, store=one.site.url, holds=None)
    if one.store is None or (one.error and not isinstance(one.error, NotFoundError)):
        holds = False if isinstance(one.error, NotFoundError | DamageError) else None
        return replace(place, holds=holds, detail=str(one.error))
    try:
        oid = one.store.revisions.id_of(dataset, revision)
        place = replace(place, manifest=str(oid))
        return _held(one.store, place, one.store.revisions.by_id(dataset, revision, oid))
    except (NotFoundError, DamageError) as error:
        return replace(place, holds=False, detail=str(error))
    except Exception as error:  # noqa: BLE001  # whatever it is, the others are told
        return replace(place, holds=None, detail=str(_known(error, one.site)))


def _held(store: ObjectStore, place: Whereabouts, published: Published) -> Whereabouts:
    """Hold the listing of a revision against the store's locations: no file is read."""
    sealed = store.indexes.listing(published)
    presence = Presence(store.objects, [])
    files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
    lacking = len(files) - (pc.sum(presence.is_there(files)).as_py() or 0)
    trees = len(missing_trees(sealed, presence))
    if lacking or trees:
        told = [
            count(number, noun) for number, noun in ((lacking, "file"), (trees, "tree")) if number
        ]
        return replace(
            place, holds=False, detail=f"it lacks, or has only damaged, {' and '.join(told)}"
        )
    evidence.note(store, [str(published.id)], "listed")
    dates = evidence.of(store, str(published.id)) or {"listed": today()}
    seen = {str(kind): date for kind, date in dates.items()}
    return replace(place, holds=True, evidence=seen)
