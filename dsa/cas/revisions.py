"""What is published: refs, and the manifest and `revision.json` that each one names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from dsa.cas import layout
from dsa.cas.concurrent import each
from dsa.cas.ids import ManifestId
from dsa.cas.kept import SMALL
from dsa.cas.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_REVISION_BYTES,
    Manifest,
    RevisionInfo,
    RevisionLink,
    link_to,
)
from dsa.cas.names import Spec, are_names, latest, newest_first, parse_spec
from dsa.cas.objects import Objects
from dsa.cas.refs import MAX_REF_BYTES, REF_BYTES, Ref, named_by
from dsa.errors import DamageError, NotFoundError, UsageError

logger = logging.getLogger(__name__)

_MIN_PREFIX = 7


@dataclass(frozen=True, slots=True)
class Published:
    """One published revision."""

    dataset: str
    revision: str
    id: ManifestId
    manifest: Manifest
    info: RevisionInfo
    revision_json: bytes

    def link(self) -> RevisionLink:
        """Return the link by which a child names it."""
        return link_to(self.info, self.id, self.revision_json)

    def __str__(self) -> str:
        return f"{self.dataset}@{self.revision}"


class Revisions:
    """The refs of one store; a ref of any other shape is named in the log and passed by."""

    def __init__(self, objects: Objects, name: str = "") -> None:
        """Read them from there; `name` is the remote's, for what a person is told."""
        self._objects = objects
        self._name = name
        self._backend = objects.backend
        self._is_near = self._backend.local_path("") is not None
        self._resolved: tuple[str, str, Ref] | None = None  # read, and not asked for since

    def datasets(self) -> Iterator[str]:
        """Yield the names of all datasets that have a ref, sorted."""
        yield from sorted({dataset for dataset, _ in self.refs() if dataset})

    def refs(self) -> Iterator[tuple[str, str]]:
        """Yield (dataset, revision) of every ref, withdrawn ones too, in no order."""
        for dataset, revision, _ in self._listed(layout.REFS):
            yield dataset, revision

    def by_dataset(self) -> dict[str, list[str]]:
        """Return every dataset's revisions that are not withdrawn, newest first; both as `names` has them."""
        found: dict[str, list[tuple[str, int]]] = {}
        for dataset, revision, size in self._listed(layout.REFS):
            found.setdefault(dataset, []).append((revision, size))
        names = {dataset: self._standing(dataset, found[dataset]) for dataset in sorted(found)}
        return {dataset: revisions for dataset, revisions in names.items() if revisions}

    def names(self, dataset: str) -> list[str]:
        """Return the revisions of a dataset that are not withdrawn, newest first."""
        return self._standing(dataset, self._of(dataset))

    def taken(self, dataset: str) -> list[str]:
        """Return every name that a revision of a dataset ever had, withdrawn ones too."""
        names = self._backend.children(f"{layout.REFS}{dataset}/")
        return sorted(name[1:] for name in names if name.startswith("@") and not name.endswith("/"))

    def _listed(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Yield dataset, revision and size of every ref below a folder."""
        for info in self._backend.list(prefix):
            name = named_by(info.key)
            if name is not None:
                yield *name, info.size
            else:
                logger.warning("%s in %s is no ref and is passed by", info.key, self._backend.url)

    def _of(self, dataset: str) -> list[tuple[str, int]]:
        """Return name and size of each ref of a dataset; -1 where the size would be asked for one by one."""
        folder = f"{layout.REFS}{dataset}/"
        if not self._is_near:
            listed = self._listed(folder)
            return [(revision, size) for found, revision, size in listed if found == dataset]
        names = [name for name in self._backend.children(folder) if name.startswith("@")]
        return [
            (name[1:], -1)
            for name in names
            if not name.endswith("/") and are_names(dataset, name[1:])
        ]

    def _standing(self, dataset: str, refs: list[tuple[str, int]]) -> list[str]:
        """Return those that are no withdrawals, newest first; damaged ones are named and passed by.

        Of a far store only those are read that have not the size of a ref.
        """
        odd = [name for name, size in refs if self._is_near or size != REF_BYTES]
        jobs = 1 if self._is_near else self._backend.jobs
        read = dict(
            zip(odd, each(odd, lambda name: self._stands(dataset, name), jobs), strict=True)
        )
        return newest_first([name for name, _ in refs if read.get(name, True)])

    def _stands(self, dataset: str, revision: str) -> bool:
        try:
            ref = self.ref(dataset, revision)
        except DamageError as error:
            logger.warning("%s", error)
            return False
        return ref is not None and not ref.is_withdrawn

    def ref(self, dataset: str, revision: str) -> Ref | None:
        """Return a ref, None if there is none; `DamageError` if it has no shape of a ref."""
        key = layout.ref_key(dataset, revision)
        try:
            return Ref.decode(self._backend.read(key, 0, MAX_REF_BYTES + 1))
        except KeyError:
            return None
        except ValueError as error:
            raise DamageError(f"{key} in {self._backend.url} is damaged: {error}") from error

    def resolve(self, spec: Spec | str) -> tuple[str, str]:
        """Return the dataset and the revision that a person means; `NotFoundError` if there is none."""
        spec = parse_spec(spec) if isinstance(spec, str) else spec
        if spec.remote is not None:
            raise NotFoundError(
                f"no remote is called {spec.remote}", hint="name the store with --store"
            )
        if spec.revision is not None and self._is_ref(spec.dataset, spec.revision):
            return spec.dataset, spec.revision
        names = self.names(spec.dataset)
        if not names:
            raise self.no_dataset(spec.dataset)
        if spec.revision is None:
            newest = latest(names)
            assert newest is not None
            return spec.dataset, newest
        return spec.dataset, self._by_prefix(spec.dataset, spec.revision, names)

    def no_dataset(self, dataset: str) -> NotFoundError:
        """Return what to tell a person who asks for a dataset that is not here."""
        store = f" --store {self._name}" if self._name else ""
        return NotFoundError(
            f"there is no dataset {dataset} in {self._backend.url}",
            hint=f"`dsa datasets{store}` lists what there is",
        )

    def _is_ref(self, dataset: str, revision: str) -> bool:
        ref = self.ref(dataset, revision)
        if ref is not None and ref.is_withdrawn:
            raise NotFoundError(f"{dataset}@{revision} was withdrawn from {self._backend.url}")
        self._resolved = None if ref is None else (dataset, revision, ref)
        return ref is not None

    def _by_prefix(self, dataset: str, prefix: str, names: list[str]) -> str:
        found = []
        if len(prefix) >= _MIN_PREFIX and set(prefix) <= set("0123456789abcdef"):
            jobs = 1 if self._is_near else self._backend.jobs
            refs = each(names, lambda name: self.ref(dataset, name), jobs)
            for name, ref in zip(names, refs, strict=True):
                if ref is not None and str(ref.manifest).startswith(prefix):
                    found.append(name)
        if len(found) > 1:
            raise UsageError(f"{prefix} could be any of {', '.join(found)} in {dataset}")
        if not found:
            raise NotFoundError(
                f"there is no revision {prefix} of {dataset} in {self._backend.url}",
                hint=f"`dsa revisions {called(self._name, dataset)}` lists what there is",
            )
        return found[0]

    def get(self, dataset: str, revision: str) -> Published:
        """Read what a ref names; `NotFoundError`, or `DamageError` where it does not hold together."""
        return self.by_id(dataset, revision, self.id_of(dataset, revision))

    def id_of(self, dataset: str, revision: str) -> ManifestId:
        """Return the manifest that a ref names; `NotFoundError` if there is none, or it was withdrawn.

        Right after `resolve` the ref is not read again.
        """
        resolved, self._resolved = self._resolved, None
        if resolved is not None and resolved[:2] == (dataset, revision):
            return resolved[2].manifest
        ref = self.ref(dataset, revision)
        if ref is None or ref.is_withdrawn:
            raise NotFoundError(f"there is no {dataset}@{revision} in {self._backend.url}")
        return ref.manifest

    def by_id(self, dataset: str, revision: str, oid: ManifestId) -> Published:
        """Read a manifest that must be of this dataset and revision."""
        where = f"{dataset}@{revision} in {self._backend.url}"
        try:
            manifest, data = self._kept(oid) or self._fetched(oid)
            info = RevisionInfo.decode(data)
        except ValueError as error:
            raise DamageError(f"{where}: {error}") from error
        if (info.dataset, info.revision) != (dataset, revision):
            raise DamageError(f"{where}: its revision.json says {info.dataset}@{info.revision}")
        return Published(dataset, revision, oid, manifest, info, data)

    def _kept(self, oid: ManifestId) -> tuple[Manifest, bytes] | None:
        """Return a manifest and its `revision.json` that this client keeps, proven by their ids."""
        kept = self._objects.kept
        data = None if self._is_near else kept.object(f"{SMALL}{oid}", oid)
        if data is None:
            return None
        manifest = Manifest.decode(data)
        text = kept.object(f"{SMALL}{manifest.revision}", manifest.revision)
        return None if text is None else (manifest, text)

    def _fetched(self, oid: ManifestId) -> tuple[Manifest, bytes]:
        """Read a manifest and its `revision.json`; of a far store both at once, from the end of the index."""
        found = None if self._objects.far is None else self._objects.far.describe(oid)
        if found is None:
            manifest = Manifest.decode(self._objects.loose(oid, MAX_MANIFEST_BYTES))
            found = manifest, self._objects.loose(manifest.revision, MAX_REVISION_BYTES)
        if not self._is_near:
            for data in (found[0].encode(), found[1]):
                self._objects.kept.write_object(data)
        return found


def called(remote: str, text: str) -> str:
    """Return a dataset or a revision as a person names it, with the remote where that has a name."""
    return f"{remote}:{text}" if remote else text
