"""Verify: is what is published whole? By structure, or, with `data`, by every byte.

First what revisions say (refs, manifests, indexes, else trees), then where its objects lie
(locations, packs, loose objects), then what of the one the other lacks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from copy import copy

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing, site
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.names import count
from dsa.cas.objectstore import ObjectStore
from dsa.cas.site import Place
from dsa.cas.storefile import StoreFile
from dsa.config import evidence, verdicts
from dsa.errors import AccessError, DsaError
from dsa.progress import SILENT, Progress
from dsa.reports import Finding, VerifyReport
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.hashing import surely
from dsa.verbs.verify.judgement import report_lost
from dsa.verbs.verify.names import check_keys, check_logs, check_names
from dsa.verbs.verify.places import PlacesCheck
from dsa.verbs.verify.revisions import RevisionsCheck
from dsa.verbs.verify.rows import triples
from dsa.workers.checker import check_answered

logger = logging.getLogger(__name__)


def verify(
    store: ObjectStore,
    specs: list[str],
    *,
    data: bool = False,
    record: bool = True,
    read: bool = False,
    progress: Progress = SILENT,
) -> VerifyReport:
    """Check the revisions that `specs` name, or all, and report everything that is wrong.

    With `data` every byte is read and hashed, but for files whose right SHA-1 the store's server
    gives, if that was found trustworthy; `read` reads these too. With `record`, places that are
    damaged are written down in `site/damaged/`. What was found whole is remembered as evidence.
    Raises: `NotFoundError` for a revision that is not there, `AccessError` where nothing can be
    listed, or the server does not answer: nothing is recorded then; whatever the store holds is a
    finding, never an exception.
    """
    began, before = time.monotonic(), copy(store.backend.traffic)
    check = _Verify(store, progress)
    attest = data and not read and _attests(store)
    damaged = (
        check.some(specs, data=data, attest=attest)
        if specs
        else check.everything(data=data, attest=attest)
    )
    findings = check.problems.findings(check.revisions.listings())
    closed = check.problems.closed
    if closed:
        # What is missed where nothing could be read is no damage, and must not be recorded.
        raise AccessError(
            f"{count(len(closed), 'file')} of {store.url} may not be read, so nothing can be said of it",
            hint="run it as somebody who may",
            problems=[f"{key}: {detail}" for key, detail in closed.items()],
            is_refusal=True,
        )
    places, spent = check.places, store.backend.traffic - before
    kind: evidence.Kind = "attested" if places.files_attested else "read"
    _remember(store, check, findings, kind if data else "listed")
    return VerifyReport(
        store=store.url,
        revisions=check.revisions.count,
        objects=check.objects,
        packs=places.packs,
        bytes_read=check.revisions.bytes_read + places.bytes_read,
        findings=findings,
        recorded=_record(store, damaged) if record and damaged else 0,
        files_read=places.files_read,
        files_attested=places.files_attested,
        bytes_attested=places.bytes_attested,
        seconds=time.monotonic() - began,
        requests=spent.requests,
        bytes_sent=spent.bytes_sent,
        bytes_received=spent.bytes_received,
    )


class _Verify:
    def __init__(self, store: ObjectStore, progress: Progress) -> None:
        self.store = store
        self.problems = Problems()
        self.places = PlacesCheck(store.backend, store.objects.damaged, self.problems)
        self.revisions = RevisionsCheck(store, self.problems, progress)
        self.objects = 0
        self._progress = progress

    def everything(self, *, data: bool, attest: bool) -> set[Place]:
        """Check the whole store; return the places that are damaged."""
        backend = self.store.backend
        try:
            surely(backend, lambda: StoreFile.read(backend))
        except DsaError as error:
            check_answered(backend, error)
            self.problems.add("bad store file", layout.STORE, str(error))
        check_names(backend, self.problems)
        check_keys(backend.list(layout.INDEX), self.problems)
        self.revisions.read_all()
        check_logs(backend, self.problems)
        return self._objects(data=data, attest=attest, only_these=False)

    def some(self, specs: list[str], *, data: bool, attest: bool) -> set[Place]:
        """Check only what some revisions need; return the places that are damaged."""
        self.revisions.read_some(specs)
        return self._objects(data=data, attest=attest, only_these=True)

    def _objects(self, *, data: bool, attest: bool, only_these: bool) -> set[Place]:
        """Check that all objects of the revisions are there, and are what they should be."""
        places, revisions = self.places, self.revisions
        # Refs, then locations, then files: whoever pushes meanwhile writes them the other way round.
        places.read_parts()
        if not only_these:
            places.list_files()
        revisions.walk(places.of)
        needed, trees, blobs = revisions.needed(), revisions.trees(), revisions.walked_blobs()
        by_id = pa.concat_arrays([trees, blobs]).unique()
        every = pa.concat_arrays([listing.one_chunk(needed["id"]), by_id]).unique()
        self.objects = len(every) + 2 * len(revisions.published)
        places.check(
            needed,
            trees,
            only=every if only_these else None,
            read=revisions.read,
            data=data,
            attest=attest,
            progress=self._progress,
        )
        good = places.good()
        revisions.settle(good)
        lost = self._lost(needed, by_id, good)
        apart = _has_wrong_row(places, good, lost)
        nowhere = {oid: why for oid, why in lost.items() if oid not in apart}
        unlisted = places.packed_without_location(
            [oid for oid, why in nowhere.items() if why != _COLLISION]
        )
        damaged = places.report(set(lost))
        collided = {oid for oid, why in nowhere.items() if why == _COLLISION}
        for oid in sorted(collided):
            self.problems.add("collision", layout.object_key(ObjectId(oid)), _COLLISION, ids=[oid])
        missing = {oid: why for oid, why in nowhere.items() if oid not in collided}
        return damaged | report_lost(missing, unlisted, self.problems)

    def _lost(self, needed: pa.Table, by_id: pa.Array, good: pa.Table) -> dict[bytes, str]:
        """Return the raw ids of objects that no good place leads to, each with why."""
        absent = needed.filter(pc.invert(pc.is_in(triples(needed), value_set=triples(good))))
        good_ids = listing.one_chunk(good["id"])
        lost: dict[bytes, str] = {}
        known = set(absent.filter(pc.is_in(absent["id"], value_set=good_ids))["id"].to_pylist())
        for oid, size in zip(absent["id"].to_pylist(), absent["size"].to_pylist(), strict=True):
            if oid in known:
                lost[oid] = _COLLISION
            elif not self.places.is_loose(oid, size):
                lost[oid] = _MISSING
        unknown = by_id.filter(pc.invert(pc.is_in(by_id, value_set=good_ids))).to_pylist()
        # No row says what these are: where they have files of their own, those are read.
        self.places.hash_loose(unknown, self._progress)
        for oid in unknown:
            if not self.places.is_loose(oid, None):
                lost.setdefault(oid, _MISSING)
        return lost


_MISSING = "it is nowhere in the store"
_COLLISION = "the store has other bytes under this id than a revision says"


def _has_wrong_row(places: PlacesCheck, good: pa.Table, lost: dict[bytes, str]) -> set[bytes]:
    """Return the objects among the lost ones that a row speaks of: what is wrong is said of that row."""
    if not lost or len(good) == len(places.rows):
        return set()
    ids = pa.array(sorted(lost), pa.binary(ID_BYTES))
    return set(places.of(ids)["id"].to_pylist()) - set(
        good.filter(pc.is_in(good["id"], value_set=ids))["id"].to_pylist()
    )


def _attests(store: ObjectStore) -> bool:
    """Whether the checksums that the store's server gives were found trustworthy."""
    verdict = verdicts.remembered(store.backend)
    return verdict is not None and bool(verdict.attests)


def _remember(
    store: ObjectStore, check: _Verify, findings: Sequence[Finding], kind: evidence.Kind
) -> None:
    """Keep, for `whereis`, which revisions were found whole, and forget it of those that were not."""
    hurt = {name for finding in findings if finding.is_damage for name in finding.revisions}
    whole = [str(one.id) for one in check.revisions.published if str(one) not in hurt]
    evidence.note(store, whole, kind)
    evidence.forget(store, [str(one.id) for one in check.revisions.published if str(one) in hurt])


def _record(store: ObjectStore, damaged: set[Place]) -> int:
    """Put damaged places on record; return how many were not there yet."""
    try:
        store.file.check_writable(store.url)
        return site.record_damaged(store.backend, damaged)
    except DsaError as error:
        logger.warning("what is damaged in %s could not be recorded: %s", store.url, error)
        return 0
