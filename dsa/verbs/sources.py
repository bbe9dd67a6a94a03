"""Where a revision is read from: the store that was asked, else others that hold the same manifest.

Names of published revisions never change, so what a name meant at a store is remembered, and a
store that cannot be asked any more is still taken at its word.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from dsa.cas.backend import Backend, Traffic
from dsa.cas.ids import ManifestId
from dsa.cas.names import Spec, latest, parse_spec, printable
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import MAX_REF_BYTES, Ref
from dsa.cas.revisions import Published
from dsa.errors import AccessError, ConflictError, DamageError, DsaError, NotFoundError

logger = logging.getLogger(__name__)

#: Other stores that may be asked: how a person names each, and how to open it.
Others = Callable[[], Iterable[tuple[str, Callable[[], ObjectStore]]]]


def no_others() -> Iterable[tuple[str, Callable[[], ObjectStore]]]:
    """Nowhere else."""
    return ()


@dataclass(frozen=True, slots=True)
class Source:
    """A store that holds the revision, and how a person names it."""

    name: str
    store: ObjectStore

    @property
    def backend(self) -> Backend:
        """Its files."""
        return self.store.backend


class RememberedRefs:
    """What names meant at which store, in a folder of this client's own (None: nothing is kept)."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def note(self, place: str, published: Published) -> None:
        """Remember what a name means at a place; a cache that cannot be written is no reason to fail."""
        path = self._path(place, published.dataset, published.revision)
        known = self.recall(place, published.dataset, published.revision)
        if path is None or known == published.id:  # another one: a new store is at this place
            return
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(uuid4().hex)
            partial.write_bytes(Ref(published.id).encode())
            partial.replace(path)

    def recall(self, place: str, dataset: str, revision: str) -> ManifestId | None:
        """Return what a name meant at a place, None if it was never asked."""
        path = self._path(place, dataset, revision)
        if path is None:
            return None
        try:
            return Ref.decode(path.read_bytes()[: MAX_REF_BYTES + 1]).manifest
        except (OSError, ValueError):
            return None

    def names(self, place: str, dataset: str) -> list[str]:
        """Return the revisions of a dataset that are remembered of a place, in no order."""
        path = self._path(place, dataset, "")
        if path is None:
            return []
        try:
            return [name[1:] for name in os.listdir(path.parent) if name.startswith("@")]
        except OSError:
            return []

    def forget(self, place: str, dataset: str, revision: str) -> None:
        """Forget a name that means nothing any more at a place."""
        path = self._path(place, dataset, revision)
        if path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _path(self, place: str, dataset: str, revision: str) -> Path | None:
        if self._folder is None:
            return None
        store = sha256(place.encode(errors="surrogateescape")).hexdigest()
        return self._folder / store / dataset / f"@{revision}"


class Sources:
    """One revision, and the stores that it can be read from, each opened when it is needed.

    `warnings` say, in a person's words, wherever another store than the one asked stood in.
    """

    def __init__(
        self,
        backend: Backend,
        open_store: Callable[[], ObjectStore],
        spec: Spec | str,
        others: Others = no_others,
        refs: RememberedRefs | None = None,
        name: str = "",
        near: Callable[[], ObjectStore] | None = None,
    ) -> None:
        """Name the store that is asked (`name`: what a person calls it), the revision, and what may stand in.

        `near` opens a store of this machine: objects that it has need not be fetched.
        """
        self._open_store = open_store
        self._spec = parse_spec(spec) if isinstance(spec, str) else spec
        self._others = others
        self._refs = refs or RememberedRefs(None)
        self._opened: dict[str, ObjectStore | None] = {}
        self._used = [backend]
        self._began = _sum(self._used)
        self._first: Source | None = None
        self.url = backend.url
        self._place = backend.place
        self._near = near
        self._name = name or printable(backend.url)
        self._older: list[str] = []  # what others have as the newest, and the first store has not
        self.warnings: list[str] = []

    @classmethod
    def of(cls, store: ObjectStore, spec: str) -> Sources:
        """Return one open store alone."""
        return cls(store.backend, lambda: store, spec)

    def resolve(self) -> tuple[Source, Published]:
        """Find the revision: in the store that was asked, else, if that is down or damaged, in others.

        One that refuses, or that this user cannot log in to, is not down: while the name may
        still mean anything, nobody else's answer stands in for what a person has to set right.

        Others count only if they hold the manifest that the name has, or is known to have had,
        in the store that was asked; where this cannot be known, all that have the name must agree.
        Raises: `NotFoundError`, `ConflictError`, else the first store's own error.
        """
        wanted: ManifestId | None = None
        name: tuple[str, str] | None = None
        try:
            store = self._open_store()
            name = dataset, revision = self._meant_at(store)
            wanted = store.revisions.id_of(dataset, revision)
            published = store.revisions.by_id(dataset, revision, wanted)
            self._refs.note(self._place, published)
            self._first = Source(self._name, store)
            return self._first, published
        except (AccessError, DamageError) as error:
            if isinstance(error, AccessError) and not error.is_outage and wanted is None:
                raise
            failure = error
        if wanted is None and self._spec.revision is not None:
            wanted = self._refs.recall(self._place, self._spec.dataset, self._spec.revision)
        found = self._elsewhere(wanted, name)
        if not found:
            if self._older:
                failure.hint = (
                    f"{self._name} had a newer one when it was last asked than the other remotes have; "
                    f"an older one is read where it is named: {', '.join(self._older)}"
                )
            raise failure
        self._first, published = found[0]
        is_damaged = isinstance(failure, DamageError)
        what = f"{self._name} {'is damaged' if is_damaged else 'could not be asked'} ({failure})"
        where = f"{published} is read from {printable(self._first.name)}"
        if wanted is None:
            where += f", which may not be what {self._name} has by this name"
        else:
            where += ", which has the same manifest"
        self._warn(f"{what}; {where}")
        return self._first, published

    def further(self, published: Published) -> Iterator[Source]:
        """Yield the other stores that hold the same manifest under the same name."""
        for name, store in self._open_others():
            if self._first is not None and store is self._first.store:
                continue
            try:
                ref = store.revisions.ref(published.dataset, published.revision)
            except DsaError as error:
                logger.info("%s is passed by: %s", name, error)
                continue
            if ref is not None and not ref.is_withdrawn and ref.manifest == published.id:
                yield Source(name, store)

    def near(self) -> Source | None:
        """Return the store of this machine that may have objects of the revision, if there is one."""
        if self._near is None:
            return None
        try:
            return Source("", self._near())
        except DsaError as error:
            logger.info("the local store is passed by: %s", error)
            return None

    def stood_in(self, source: Source, what: str, failure: str) -> None:
        """Say that another store gave what the one before it could not."""
        self._warn(f"{failure}; {what} from {printable(source.name)}, which has the same manifest")

    def traffic(self) -> Traffic:
        """What all stores were asked since this began."""
        return _sum(self._used) - self._began

    def _meant_at(self, store: ObjectStore) -> tuple[str, str]:
        """Return what the name means at the store that was asked; what it has no longer is forgotten."""
        dataset, revision = self._spec.dataset, self._spec.revision
        try:
            meant = store.revisions.resolve(self._spec)
        except NotFoundError:
            gone = self._refs.names(self._place, dataset) if revision is None else [revision]
            for name in gone:
                self._refs.forget(self._place, dataset, name)
            raise
        if revision is None:
            for name in self._newer_than(meant[1]):
                ref = store.revisions.ref(
                    dataset, name
                )  # no listing is believed about what it lacks
                if ref is None or ref.is_withdrawn:
                    self._refs.forget(self._place, dataset, name)
        return meant

    def _newer_than(self, revision: str) -> list[str]:
        """Return the revisions that the store that was asked is known to have had, and that are newer."""
        names = self._refs.names(self._place, self._spec.dataset)
        return [name for name in names if latest((name, revision)) != revision]

    def _elsewhere(
        self, wanted: ManifestId | None, exact: tuple[str, str] | None
    ) -> list[tuple[Source, Published]]:
        found: list[tuple[Source, Published]] = []
        for name, store in self._open_others():
            try:
                published = store.revisions.get(*(exact or store.revisions.resolve(self._spec)))
            except DsaError as error:
                logger.info("%s is passed by: %s", name, error)
                continue
            if (
                exact is None
                and self._spec.revision is None
                and self._newer_than(published.revision)
            ):
                logger.info("%s is passed by: its newest is %s", name, published)
                self._older.append(str(published))
                continue
            known = wanted or self._refs.recall(self._place, published.dataset, published.revision)
            if known is not None and published.id != known:
                logger.info("%s is passed by: its %s is another one", name, published)
                continue
            found.append((Source(name, store), published))
            if wanted is not None:
                return found
        if len({published.id for _, published in found}) > 1:
            raise ConflictError(
                f"{self._name} could not be asked, and the other remotes do not agree on what "
                f"{self._spec.dataset}{'' if self._spec.revision is None else f'@{self._spec.revision}'} is",
                hint="name one of them",
                problems=[
                    f"{source.name}: {published}, manifest {published.id}"
                    for source, published in found
                ],
            )
        return found

    def _open_others(self) -> Iterator[tuple[str, ObjectStore]]:
        for name, opening in self._others():
            if name not in self._opened:
                try:
                    self._opened[name] = store = opening()
                    if store.backend not in self._used:
                        self._used.append(store.backend)
                except DsaError as error:
                    logger.info("%s is passed by: %s", name, error)
                    self._opened[name] = None
            found = self._opened[name]
            if found is not None and found.backend.place != self._place:
                yield name, found

    def _warn(self, text: str) -> None:
        logger.info("%s", text)  # a report, or whoever reads, tells a person
        self.warnings.append(text)


def _sum(backends: Iterable[Backend]) -> Traffic:
    return sum((backend.traffic for backend in backends), Traffic())
