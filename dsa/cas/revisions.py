"""What is published: refs, and the manifest and `revision.json` that each one names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from dsa.cas import layout
from dsa.cas.ids import ManifestId
from dsa.cas.manifest import (
    MAX_MANIFEST_BYTES,
    MAX_REVISION_BYTES,
    Manifest,
    RevisionInfo,
    RevisionLink,
    link_to,
)
from dsa.cas.names import Spec, check_dataset, check_revision, latest, newest_first, parse_spec
from dsa.cas.objects import Objects
from dsa.cas.refs import MAX_REF_BYTES, Ref
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

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._backend = objects.backend

    def datasets(self) -> Iterator[str]:
        """Yield the names of all datasets that have a ref, sorted."""
        yield from sorted({dataset for dataset, _ in self.refs() if dataset})

    def refs(self) -> Iterator[tuple[str, str]]:
        """Yield (dataset, revision) of every ref, withdrawn ones too, in no order."""
        for info in self._backend.list(layout.REFS):
            dataset, at, revision = info.key.removeprefix(layout.REFS).rpartition("/@")
            if at and _is_named(dataset, revision):
                yield dataset, revision
            else:
                logger.warning("%s in %s is no ref and is passed by", info.key, self._backend.url)

    def names(self, dataset: str) -> list[str]:
        """Return the revisions of a dataset that are not withdrawn, newest first."""
        found = []
        for name in self._backend.children(f"{layout.REFS}{dataset}/"):
            if name.startswith("@") and not name.endswith("/") and _is_named(dataset, name[1:]):
                try:
                    ref = self.ref(dataset, name[1:])
                except DamageError as error:
                    logger.warning("%s", error)
                    continue
                if ref is not None and not ref.is_withdrawn:
                    found.append(name[1:])
        return newest_first(found)

    def taken(self, dataset: str) -> list[str]:
        """Return every name that a revision of a dataset ever had, withdrawn ones too."""
        names = self._backend.children(f"{layout.REFS}{dataset}/")
        return sorted(name[1:] for name in names if name[0] == "@" and name[-1] != "/")

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
            raise NotFoundError(
                f"there is no dataset {spec.dataset} in {self._backend.url}",
                hint="`dsa datasets` lists what there is",
            )
        if spec.revision is None:
            newest = latest(names)
            assert newest is not None
            return spec.dataset, newest
        return spec.dataset, self._by_prefix(spec.dataset, spec.revision, names)

    def _is_ref(self, dataset: str, revision: str) -> bool:
        ref = self.ref(dataset, revision)
        if ref is not None and ref.is_withdrawn:
            raise NotFoundError(f"{dataset}@{revision} was withdrawn from {self._backend.url}")
        return ref is not None

    def _by_prefix(self, dataset: str, prefix: str, names: list[str]) -> str:
        found = []
        if len(prefix) >= _MIN_PREFIX and set(prefix) <= set("0123456789abcdef"):
            for name in names:
                ref = self.ref(dataset, name)
                if ref is not None and str(ref.manifest).startswith(prefix):
                    found.append(name)
        if len(found) > 1:
            raise UsageError(f"{prefix} could be any of {', '.join(found)} in {dataset}")
        if not found:
            raise NotFoundError(
                f"there is no revision {prefix} of {dataset} in {self._backend.url}",
                hint=f"`dsa revisions {dataset}` lists what there is",
            )
        return found[0]

    def get(self, dataset: str, revision: str) -> Published:
        """Read what a ref names; `NotFoundError`, or `DamageError` where it does not hold together."""
        ref = self.ref(dataset, revision)
        if ref is None or ref.is_withdrawn:
            raise NotFoundError(f"there is no {dataset}@{revision} in {self._backend.url}")
        return self.by_id(dataset, revision, ref.manifest)

    def by_id(self, dataset: str, revision: str, oid: ManifestId) -> Published:
        """Read a manifest that must be of this dataset and revision."""
        where = f"{dataset}@{revision} in {self._backend.url}"
        try:
            manifest = Manifest.decode(self._objects.loose(oid, MAX_MANIFEST_BYTES))
            data = self._objects.loose(manifest.revision, MAX_REVISION_BYTES)
            info = RevisionInfo.decode(data)
        except ValueError as error:
            raise DamageError(f"{where}: {error}") from error
        if (info.dataset, info.revision) != (dataset, revision):
            raise DamageError(f"{where}: its revision.json says {info.dataset}@{info.revision}")
        return Published(dataset, revision, oid, manifest, info, data)


def _is_named(dataset: str, revision: str) -> bool:
    try:
        check_dataset(dataset)
        check_revision(revision)
    except UsageError:
        return False
    return True
