"""The public API: a store, and what can be done with it. Nothing here prints."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dsa.cas.backend import Backend
from dsa.cas.names import check_dataset, parse_spec, split_remote
from dsa.cas.objectstore import ObjectStore
from dsa.cas.storefile import check_place, make_store
from dsa.config import places
from dsa.config.settings import Remote, Settings, load
from dsa.errors import DsaError, NotFoundError, UsageError
from dsa.progress import SILENT, Progress
from dsa.reports import (
    CacheChange,
    CacheReport,
    CheckoutReport,
    DiffReport,
    DoctorReport,
    InitReport,
    LogEntry,
    MirrorReport,
    PushReport,
    StatusReport,
    VerifyReport,
    WhereisReport,
)
from dsa.revision import Revision

if TYPE_CHECKING:
    from dsa.remotes.cache import Cache
    from dsa.verbs.sources import Sources

logging.getLogger("dsa").addHandler(logging.NullHandler())  # silent until somebody listens


Place = str | os.PathLike[str]


def settings(folder: Place = ".") -> Settings:
    """Return what is configured, remotes and all, by the user and by the project around a folder."""
    return load(Path(folder))


def default_store() -> str:
    """Return the path or URL of the store that is used when none is named."""
    return load().usual().url


def open(  # noqa: A001  # dsa.open()
    name_or_url: Place | None = None,
    *,
    create: bool = False,
    options: Mapping[str, str] | None = None,
    jobs: int | None = None,
) -> Store:
    """Open a store by a remote's name, a path or a URL; None is the default store.

    With `create`, one that is not there yet is made by the first push. `options` are a remote's,
    and win over its configured ones; `jobs` is how many requests are made at once, and the most
    worker processes. Raises: `NotFoundError` if there is no store, `DsaError` for one that needs
    a newer release, `UsageError` for options or settings that cannot be.
    """
    store = Store.at(name_or_url, options=options, jobs=jobs)
    if not create:
        store._open()
    return store


def init(
    name_or_url: Place | None = None,
    *,
    options: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> InitReport:
    """Make a store, named as in `open`; one that is there is kept.

    Raises: `ConflictError` where something else lies.
    """
    return Store.at(name_or_url, options=options).init(dry_run=dry_run)


def open_remotes(
    settings: Settings, *, but: Remote | None = None
) -> Iterator[tuple[str, Callable[[], ObjectStore]]]:
    """Yield every configured remote by name, with what opens it; not one that is the same as `but`.

    Nothing is connected before it is opened, so that a remote that is down stops nobody else.
    """
    same = None if but is None else _place_of(but, settings)
    for remote in settings.remotes.values():
        if same is None or _place_of(remote, settings) != same:
            yield remote.name, lambda remote=remote: Store(remote, settings)._open()  # type: ignore[misc]  # bound now


def _place_of(remote: Remote, settings: Settings) -> str | None:
    """Return what tells a remote's store from others; None where it is configured wrongly."""
    try:
        return settings.connect(remote).place
    except DsaError:
        return None


def mirror(
    source: Place,
    target: Place,
    specs: Iterable[str] = (),
    *,
    everything: bool = False,
    withdrawals: bool = False,
    server_side: bool = False,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> MirrorReport:
    """Bring revisions of one store to another, both named as in `open`; see `Store.mirror`."""
    return open(source).mirror(
        target,
        specs,
        everything=everything,
        withdrawals=withdrawals,
        server_side=server_side,
        dry_run=dry_run,
        progress=progress,
    )


def whereis(spec: str) -> WhereisReport:
    """Say which of the configured remotes, and the store in force, hold a revision completely.

    With what evidence, and of when. A remote that is down is named with why.
    """
    return Store.at().whereis(spec)


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
    """A place where datasets are published; `dsa.open` makes one.

    Where a dataset or a revision is named, `remote:dataset@revision` takes it from the remote of
    that name, and not from here. `NotFoundError` if no remote is called so.
    """

    def __init__(self, remote: Remote, settings: Settings) -> None:
        self._remote = remote
        self._settings = settings
        self._backend: Backend = settings.connect(remote)
        self._store: ObjectStore | None = None
        self._named: dict[str, Store] = {}  # other remotes, as they are asked for

    @classmethod
    def at(
        cls,
        name_or_url: Place | None = None,
        settings: Settings | None = None,
        *,
        options: Mapping[str, str] | None = None,
        jobs: int | None = None,
    ) -> Self:
        """Return the store of this name, path or URL, or the usual one; nothing is looked at yet."""
        found = load() if settings is None else settings
        if jobs is not None:
            if jobs < 1:
                raise UsageError(f"{jobs} jobs can do nothing", hint="jobs is a number from 1 on")
            found = replace(found, jobs=jobs, is_jobs_typed=True)
        if name_or_url is None:
            remote = found.usual()
        elif isinstance(name_or_url, str):
            remote = found.place(name_or_url)
        else:  # a path object is no name
            remote = Remote("", os.fspath(name_or_url))
        return cls(remote.with_options(options) if options else remote, found)

    @property
    def name(self) -> str:
        """The remote's name; empty for a store that was given by its path or URL."""
        return self._remote.name

    @property
    def url(self) -> str:
        """How a person names this store."""
        return self._backend.url

    def __repr__(self) -> str:
        return f"<Store {f'{self.name} ({self.url})' if self.name else self.url}>"

    def init(self, *, dry_run: bool = False) -> InitReport:
        """Make the store; one that is there is kept. Raises: `ConflictError` where something else lies."""
        if dry_run and check_place(self._backend):
            return InitReport(store=self.url, id="", created=True, dry_run=True)
        file, created = make_store(self._backend)
        return InitReport(store=self.url, id=file.id, created=created, dry_run=dry_run)

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

        `author` is `NAME <MAIL>`, by default the configured one, else git's, else the login's. `exclude` are patterns as in
        a `.dsaignore`. Raises: `UsageError` for a name that is not allowed, `DsaError` naming all
        that cannot be pushed, `ConflictError` where the revision exists with other data,
        `CollisionError` for two contents with one SHA-1.
        """
        from dsa.verbs.push import Order, push

        store, dataset = self._meant(dataset)
        if parent is not None:
            beside, parent = store._meant(parent)
            if beside is not store:
                raise UsageError("a parent has to be in the store that is pushed to")
        order = Order(
            dataset,
            revision,
            Path(path),
            message,
            metadata,
            parent,
            author or self._settings.author,
            follow_links,
            tuple(exclude),
        )
        with self._working():
            return push(
                order,
                store._open_or_none,
                store._make,
                store.url,
                dry_run=dry_run,
                progress=progress,
                traffic=lambda: store._backend.traffic,
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
        cache: bool | None = None,
        progress: Progress = SILENT,
    ) -> CheckoutReport:
        """Make `folder` hold a revision, or the selected part of it; only what differs is written.

        `folder` is by default the worktree around the current folder if it is of this dataset,
        else a new one named like the dataset's last segment. What this store cannot give comes
        from other configured remotes that hold the same manifest; the report's warnings say so.
        What is fetched from a remote is kept in the cache if `cache` says so; None: if there is
        one. Raises: `ConflictError`, with nothing
        written, where somebody's work is in the way (`force` overwrites it); `NotFoundError`;
        `DamageError` at the end where objects are damaged, with all that is good written.
        """
        from dsa.verbs.checkout import Wish, checkout

        wish = Wish(tuple(only), force=force, clean=clean, link=link, dry_run=dry_run)
        chosen = None if folder is None else Path(folder)
        store, spec = self._meant(spec)
        with self._working():
            return checkout(
                store._sources(spec, near=cache),
                chosen,
                wish,
                cache=store._cache(cache),
                progress=progress,
            )

    def diff(self, a: str, b: str, *, progress: Progress = SILENT) -> DiffReport:
        """Say what turns `a` into `b`: revisions, or folders (that begin with `.`, `/` or `~`)."""
        from dsa.verbs.compare import diff

        def find(text: str) -> tuple[ObjectStore | None, str]:
            store, spec = self._meant(text)
            return store._open_or_none(), spec

        with self._working():
            return diff(find, a, b, progress=progress)

    def datasets(self) -> Iterator[str]:
        """Yield the names of the datasets, sorted."""
        yield from self._open().revisions.by_dataset()

    def revisions(self, dataset: str | None = None) -> Iterator[Revision]:
        """Yield the revisions of a dataset, newest first, or of all datasets.

        Raises: `NotFoundError` if there is no such dataset.
        """
        if dataset is not None:
            there, dataset = self._meant(dataset)
        else:
            there = self
        store = there._open()
        if dataset is None:
            found = store.revisions.by_dataset()
        else:
            found = {dataset: store.revisions.names(check_dataset(dataset))}
            if not found[dataset]:
                store.revisions.resolve(dataset)  # says what is missing
        for name, revisions in found.items():
            for revision in revisions:
                yield Revision(store, name, revision)

    def __getitem__(self, spec: str) -> Revision:
        """Return a revision by `dataset`, `dataset@revision` or `dataset@<id's first digits>`."""
        there, spec = self._meant(spec)
        store = there._open()
        return Revision(store, *store.revisions.resolve(spec), cache=there._cache())

    def log(self, dataset: str) -> Iterator[LogEntry]:
        """Yield the revisions of a dataset, newest first, with what each changed in numbers."""
        from dsa.verbs.history import log

        store, dataset = self._meant(dataset)
        return log(store._open(), check_dataset(dataset))

    def mirror(
        self,
        target: Store | Place,
        specs: Iterable[str] = (),
        *,
        everything: bool = False,
        withdrawals: bool = False,
        server_side: bool = False,
        dry_run: bool = False,
        progress: Progress = SILENT,
    ) -> MirrorReport:
        """Bring revisions of this store to `target`, which becomes a store if there is none.

        `ds` means all revisions of a dataset, `ds@1` one, `everything` all of the store. Only
        what the target lacks travels, and all of it is verified on the way; running it again
        sends nothing. With `withdrawals` those are taken over, too. `server_side` lets an S3
        server copy between two of its own stores, on this store's word for the bytes.

        Revisions in conflict, or damaged here, are named in the report, whose `is_clean` is False
        then, and the others are mirrored. Raises: `UsageError`; `NotFoundError` for what is not
        here; `AccessError` where the target cannot be written to.
        """
        from dsa.verbs.mirror.whole import Wish, mirror

        there = target if isinstance(target, Store) else Store.at(target, self._settings)
        wish = Wish(tuple(specs), everything, withdrawals, server_side, dry_run)
        with self._working():
            return mirror(
                self._open(),
                there._backend,
                places.cache(),
                wish,
                name=there._remote.name,
                progress=progress,
            )

    def verify(
        self,
        specs: Iterable[str] = (),
        *,
        data: bool = False,
        record: bool = True,
        read: bool = False,
        progress: Progress = SILENT,
    ) -> VerifyReport:
        """Check revisions (none: everything in the store); with `data` every byte is hashed again.

        Files whose right SHA-1 the store's server gives need no reading then, if `doctor` found
        that trustworthy; `read` reads them all the same. With `record`, what is damaged is
        written down in the store, so that the next push sends it again. Raises: `AccessError`
        where a server stops to answer: nothing is written down then.
        """
        from dsa.verbs.verify.whole import verify

        store, texts = self._in_one_store(specs)
        with self._working():
            return verify(
                store._open(), texts, data=data, record=record, read=read, progress=progress
            )

    def whereis(self, spec: str) -> WhereisReport:
        """Say which of this store and the configured remotes hold a revision completely.

        What `remote:dataset` means is what it means there. Raises: `UsageError` for what is no name.
        """
        from dsa.verbs.whereis import Site, whereis

        store, text = self._meant(spec)
        manifest = None
        if store is not self:
            revisions = store._open().revisions
            dataset, revision = revisions.resolve(text)
            text, manifest = f"{dataset}@{revision}", revisions.id_of(dataset, revision)
        sites: dict[str, Site] = {}  # by place: one store may have several names
        if not self._is_usual_and_absent():
            sites[self._backend.place] = Site(self.name, self.url, self._open)
        for remote in self._settings.remotes.values():
            try:
                other = Store(remote, self._settings)
                place = other._backend.place
            except DsaError as error:  # of one that is configured wrongly
                sites[remote.name] = Site(remote.name, remote.url, partial(_raise, error))
                continue
            there = sites.get(place)
            if there is None:
                sites[place] = Site(remote.name, other.url, other._open)
            elif not there.name:
                sites[place] = replace(there, name=remote.name)
        return whereis(sites.values() or [Site(self.name, self.url, self._open)], text, manifest)

    def _is_usual_and_absent(self) -> bool:
        """Whether this is the user's own store, which nobody named, and which is not there."""
        usual = str(places.default_store())
        return (self._settings.store, self.name, self.url) == (None, "", usual) and not (
            os.path.isdir(usual)
        )

    def verify_folder(
        self, folder: str | os.PathLike[str], spec: str, *, progress: Progress = SILENT
    ) -> DiffReport:
        """Read every file of a plain folder and compare it with a revision."""
        from dsa.verbs.compare import verify_folder

        store, spec = self._meant(spec)
        with self._working():
            return verify_folder(store._open(), Path(folder), spec, progress=progress)

    def doctor(self) -> DoctorReport:
        """Try out what this store can do, on files that are removed again; pushes rely on what was found."""
        from dsa.verbs.doctor import doctor

        return doctor(self._backend, self.name)

    def _meant(self, text: str) -> tuple[Store, str]:
        """Return the store that `remote:…` names, else this one, and the text without that name."""
        name, text = split_remote(text)
        if name is None or name == self.name:
            return self, text
        if name not in self._named:
            self._named[name] = Store(self._settings.remote(name), self._settings)
        return self._named[name], text

    def _in_one_store(self, texts: Iterable[str]) -> tuple[Store, list[str]]:
        """Return the store that all texts mean, and the texts without its name."""
        meant = [self._meant(text) for text in texts]
        store = meant[0][0] if meant else self
        if any(other is not store for other, _ in meant):
            raise UsageError(
                "these revisions are in different stores", hint="name those of one store at a time"
            )
        return store, [text for _, text in meant]

    def revision(self, spec: str, *, cache: bool | None = None) -> Revision:
        """Return a revision as `store[spec]` does, from another remote where this store is down or damaged.

        Only remotes that hold the same manifest stand in; the revision's `warnings` say so.
        """
        there, spec = self._meant(spec)
        sources = there._sources(spec)
        source, published = sources.resolve()
        names = published.dataset, published.revision
        return Revision(source.store, *names, sources=sources, cache=there._cache(cache))

    def cached(self) -> CacheReport:
        """Say what is in the cache, whichever remotes it came from."""
        from dsa.verbs.caching import cache_of, look

        return look(cache_of(self._settings))

    def pin(self, spec: str, *, progress: Progress = SILENT) -> CacheChange:
        """Fetch what the cache lacks of a revision, and keep all of it there whatever the limit is."""
        from dsa.verbs.caching import cache_of, pin

        there, spec = self._meant(spec)
        return pin(cache_of(self._settings), there._sources(spec), progress=progress)

    def unpin(self, spec: str) -> CacheChange:
        """Let a revision's files leave the cache again. `NotFoundError` if it is not pinned."""
        from dsa.verbs.caching import cache_of, unpin

        meant = parse_spec(self._meant(spec)[1])
        return unpin(cache_of(self._settings), meant.dataset, meant.revision)

    def drop_cached(self, spec: str | None = None) -> CacheChange:
        """Remove a revision's files from the cache, or all (None); what is pinned stays."""
        from dsa.verbs.caching import cache_of, drop

        cache = cache_of(self._settings)
        if spec is None:
            return drop(cache, None)
        there, spec = self._meant(spec)
        return drop(cache, there._sources(spec))

    def _sources(self, spec: str, near: bool | None = None) -> Sources:
        from dsa.verbs.sources import RememberedRefs, Sources

        return Sources(
            self._backend,
            self._open,
            spec,
            others=lambda: open_remotes(self._settings, but=self._remote),
            refs=RememberedRefs(places.cache() / "refs"),
            name=self.name,
            near=self._near() if near is not False else None,
        )

    def _near(self) -> Callable[[], ObjectStore] | None:
        """Return what opens the user's own store, if there is one and this is another."""
        path = places.default_store()
        if self._backend.local_path("") is not None or not os.path.isdir(path):
            return None
        return Store(Remote("", str(path)), self._settings)._open

    def _cache(self, wanted: bool | None = None) -> Cache | None:
        """Return the cache if it is wanted; None: if one is configured, or was made before."""
        from dsa.verbs.caching import cache_of

        found = cache_of(self._settings)
        if wanted is None:
            wanted = self._settings.cache_enabled
        if wanted is None:
            wanted = self._settings.cache_folder is not None or os.path.isdir(found.folder)
        return found if wanted else None

    def _working(self) -> AbstractContextManager[None]:
        from dsa.workers.crew import at_most

        return at_most(self._settings.jobs)

    def _open(self) -> ObjectStore:
        """Return the store as it is now."""
        if self._store is None:
            self._store = ObjectStore(self._backend, places.cache(), name=self.name)
        else:
            self._store.refresh()
        return self._store

    def _open_or_none(self) -> ObjectStore | None:
        try:
            return self._open()
        except NotFoundError:
            return None

    def _make(self) -> ObjectStore:
        from dsa.verbs.doctor import check_claims

        check_claims(self._backend, self.name)
        make_store(self._backend)
        return self._open()


def _raise(error: DsaError) -> ObjectStore:
    raise error
