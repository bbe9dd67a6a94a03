"""Verify: is what is published whole? By structure, or, with `data`, by every byte.

First what revisions say (refs, manifests, indexes, else trees), then where its objects lie
(locations, packs, loose objects), then what of the one the other lacks.
"""

from __future__ import annotations

import logging
import time

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing, site
from dsa.cas.ids import ID_BYTES, ObjectId
from dsa.cas.objectstore import ObjectStore
from dsa.cas.site import Place
from dsa.cas.storefile import StoreFile
from dsa.errors import AccessError, DsaError
from dsa.progress import SILENT, Progress
from dsa.reports import VerifyReport
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.names import check_keys, check_logs, check_names
from dsa.verbs.verify.places import PlacesCheck, report_lost, triples
from dsa.verbs.verify.revisions import RevisionsCheck

logger = logging.getLogger(__name__)


def verify(
    store: ObjectStore,
    specs: list[str],
    *,
    data: bool = False,
    record: bool = True,
    progress: Progress = SILENT,
) -> VerifyReport:
    """Check the revisions that `specs` name, or all, and report everything that is wrong.

    With `record`, places that are damaged are written down in `site/damaged/`. Raises:
    `NotFoundError` for a revision that is not there, `AccessError` where nothing can be listed;
    whatever the store holds is a finding, never an exception.
    """
    began = time.monotonic()
    check = _Verify(store, progress)
    damaged = check.some(specs, data=data) if specs else check.everything(data=data)
    findings = check.problems.findings(check.revisions.listings())
    closed = [finding for finding in findings if "no permission" in finding.detail]
    if closed:
        # What is missed where nothing could be read is no damage, and must not be recorded.
        raise AccessError(
            f"{len(closed)} files of {store.url} may not be read, so nothing can be said of it",
            hint="run it as somebody who may",
            problems=[f"{finding.subject}: {finding.detail}" for finding in closed],
        )
    return VerifyReport(
        store=store.url,
        revisions=check.revisions.count,
        objects=check.objects,
        packs=check.places.packs,
        bytes_read=check.revisions.bytes_read + check.places.bytes_read,
        findings=findings,
        recorded=_record(store, damaged) if record and damaged else 0,
        seconds=time.monotonic() - began,
    )


class _Verify:
    def __init__(self, store: ObjectStore, progress: Progress) -> None:
        self.store = store
        self.problems = Problems()
        self.places = PlacesCheck(store.backend, store.objects.damaged, self.problems)
        self.revisions = RevisionsCheck(store, self.problems, progress)
        self.objects = 0
        self._progress = progress

    def everything(self, *, data: bool) -> set[Place]:
        """Check the whole store; return the places that are damaged."""
        backend = self.store.backend
        try:
            StoreFile.read(backend)
        except DsaError as error:
            self.problems.add("bad store file", layout.STORE, str(error))
        check_names(backend, self.problems)
        check_keys(backend.list(layout.INDEX), self.problems)
        self.revisions.read_all()
        check_logs(backend, self.problems)
        return self._objects(data=data, only_these=False)

    def some(self, specs: list[str], *, data: bool) -> set[Place]:
        """Check only what some revisions need; return the places that are damaged."""
        self.revisions.read_some(specs)
        return self._objects(data=data, only_these=True)

    def _objects(self, *, data: bool, only_these: bool) -> set[Place]:
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
        self.places.hash_loose(oid for oid in unknown if self.places.loose_size(oid) is not None)
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


def _record(store: ObjectStore, damaged: set[Place]) -> int:
    """Put damaged places on record; return how many were not there yet."""
    try:
        store.file.check_writable(store.url)
        return site.record_damaged(store.backend, damaged)
    except DsaError as error:
        logger.warning("what is damaged in %s could not be recorded: %s", store.url, error)
        return 0
