"""The public API: a store, and what can be done with it. Nothing here prints."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dsa.cas.backend import Backend
from dsa.cas.names import check_dataset
from dsa.cas.objectstore import ObjectStore
from dsa.cas.storefile import check_place, make_store
from dsa.errors import NotFoundError
from dsa.progress import SILENT, Progress
from dsa.remotes.connect import connect
from dsa.reports import (
    CheckoutReport,
    DiffReport,
    InitReport,
    LogEntry,
    PushReport,
    StatusReport,
    VerifyReport,
)
from dsa.revision import Revision
from dsa.worktree import places

logging.getLogger("dsa").addHandler(logging.NullHandler())  # silent until somebody listens


def default_store() -> str:
    """Return the path of the store that is used when none is named: in the user's data folder."""
    return str(places.default_store())


def open(url: str | os.PathLike[str] | None = None, *, create: bool = False) -> Store:  # noqa: A001  # dsa.open()
    """Open a store by path or URL; None is the default store.

    With `create`, one that is not there yet is made by the first push. Raises: `NotFoundError` if
    there is no store, `DsaError` for one that needs a newer release.
    """
    store = Store(connect(os.fspath(url) if url is not None else default_store()))
    if not create:
        store._open()
    return store


def init(url: str | os.PathLike[str] | None = None, *, dry_run: bool = False) -> InitReport:
    """Make a store, by default the one in the user's data folder; one that is there is kept.

    Raises: `ConflictError` where something else lies.
    """
    backend = connect(os.fspath(url) if url is not None else default_store())
    if dry_run and check_place(backend):
        return InitReport(store=backend.url, id="", created=True, dry_run=True)
    file, created = make_store(backend)
    return InitReport(store=backend.url, id=file.id, created=created, dry_run=dry_run)


def status(folder: str | os.PathLike[str] = ".", *, progress: Progress = SILENT) -> StatusReport:
    """Say what was changed in the worktree that a folder is in; needs no store.

    Raises: `NotFoundError` if nothing is checked out there.
    """
    from dsa.verbs.compare import status as compared

    return compared(Path(folder), progress=progress)


def manifest(
    folder: str | os.PathLike[str],
    *,
    digest: Literal["sha1", "sha256"] = "sha256",
    skip_hidden: bool = False,
    exclude: Sequence[str] = (),
    progress: Progress = SILENT,
) -> bytes:
    """Return the `djarchive-manifest.csv` of the files that a push of this folder would take."""
    from dsa.verbs.manifest import manifest as made

    return made(
        Path(folder), digest=digest, skip_hidden=skip_hidden, exclude=exclude, progress=progress
    )


def worktree_store(folder: str | os.PathLike[str] = ".") -> str | None:
    """Return the store that the worktree around a folder was checked out from, None if it is none."""
    from dsa.worktree.state import Worktree

    found = Worktree.around(Path(folder))
    return found.store if found else None


class Store:
    """A place where datasets are published; `dsa.open` makes one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._store: ObjectStore | None = None

    @property
    def url(self) -> str:
        """How a person names this store."""
        return self._backend.url

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    def push(
        self,
        dataset: str,
        revision: str,
        path: str | os.PathLike[str] = ".",
        *,
        message: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        parent: str | None = None,
        author: str | None = None,
        follow_links: bool = False,
        exclude: Sequence[str] = (),
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> PushReport:
        """Publish the folder `path` as a new revision; the same data again writes nothing.

        `author` is `NAME <MAIL>`, by default git's, else the login's. `exclude` are patterns as in
        a `.dsaignore`. Raises: `UsageError` for a name that is not allowed, `DsaError` naming all
        that cannot be pushed, `ConflictError` where the revision exists with other data,
        `CollisionError` for two contents with one SHA-1.
        """
        from dsa.verbs.push import Order, push

        order = Order(
            dataset,
            revision,
            Path(path),
            message,
            metadata,
            parent,
            author,
            follow_links,
            tuple(exclude),
        )
        return push(
            order, self._open_or_none, self._make, self.url, dry_run=dry_run, progress=progress
        )

    def checkout(
        self,
        spec: str,
        folder: str | os.PathLike[str] | None = None,
        *,
        only: Sequence[str] = (),
        force: bool = False,
        clean: bool = False,
        link: bool = False,
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> CheckoutReport:
        """Make `folder` hold a revision, or the selected part of it; only what differs is written.

        `folder` is by default the worktree around the current folder if it is of this dataset,
        else a new one named like the dataset's last segment. Raises: `ConflictError`, with nothing
        written, where somebody's work is in the way (`force` overwrites it); `NotFoundError`;
        `DamageError` at the end where objects are damaged, with all that is good written.
        """
        from dsa.verbs.checkout import Wish, checkout

        wish = Wish(tuple(only), force=force, clean=clean, link=link, dry_run=dry_run)
        chosen = None if folder is None else Path(folder)
        return checkout(self._open(), spec, chosen, wish, progress=progress)

    def diff(self, a: str, b: str, *, progress: Progress = SILENT) -> DiffReport:
        """Say what turns `a` into `b`: revisions, or folders (that begin with `.`, `/` or `~`)."""
        from dsa.verbs.compare import diff

        return diff(self._open_or_none, a, b, progress=progress)

    def datasets(self) -> Iterator[str]:
        """Yield the names of the datasets, sorted."""
        revisions = self._open().revisions
        for dataset in revisions.datasets():
            if revisions.names(dataset):  # not all of them withdrawn
                yield dataset

    def revisions(self, dataset: str | None = None) -> Iterator[Revision]:
        """Yield the revisions of a dataset, newest first, or of all datasets.

        Raises: `NotFoundError` if there is no such dataset.
        """
        store = self._open()
        names = list(store.revisions.datasets()) if dataset is None else [check_dataset(dataset)]
        for name in names:
            found = store.revisions.names(name)
            if dataset is not None and not found:
                store.revisions.resolve(dataset)
            for revision in found:
                yield Revision(store, name, revision)

    def __getitem__(self, spec: str) -> Revision:
        """Return a revision by `dataset`, `dataset@revision` or `dataset@<id's first digits>`."""
        store = self._open()
        return Revision(store, *store.revisions.resolve(spec))

    def log(self, dataset: str) -> Iterator[LogEntry]:
        """Yield the revisions of a dataset, newest first, with what each changed in numbers."""
        from dsa.verbs.history import log

        return log(self._open(), check_dataset(dataset))

    def verify(
        self,
        specs: Iterable[str] = (),
        *,
        data: bool = False,
        record: bool = True,
        progress: Progress = SILENT,
    ) -> VerifyReport:
        """Check revisions (none: everything in the store); with `data` every byte is hashed again.

        With `record`, what is damaged is written down in the store, so that the next push sends
        it again.
        """
        from dsa.verbs.verify.whole import verify

        return verify(self._open(), list(specs), data=data, record=record, progress=progress)

    def verify_folder(
        self, folder: str | os.PathLike[str], spec: str, *, progress: Progress = SILENT
    ) -> DiffReport:
        """Read every file of a plain folder and compare it with a revision."""
        from dsa.verbs.compare import verify_folder

        return verify_folder(self._open(), Path(folder), spec, progress=progress)

    def _open(self) -> ObjectStore:
        """Return the store as it is now."""
        if self._store is None:
            self._store = ObjectStore(self._backend, places.cache())
        else:
            self._store.refresh()
        return self._store

    def _open_or_none(self) -> ObjectStore | None:
        try:
            return self._open()
        except NotFoundError:
            return None

    def _make(self) -> ObjectStore:
        make_store(self._backend)
        return self._open()
