"""Push: publish a folder as a revision. What it decides is here; `sending` writes."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing, listings
from dsa.cas.backend import Traffic
from dsa.cas.ids import ManifestId, ObjectId, Sha256
from dsa.cas.listing import Listing
from dsa.cas.manifest import RevisionInfo, now
from dsa.cas.names import check_dataset, check_revision, folds_with, latest, parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.errors import CollisionError, ConflictError, DsaError
from dsa.progress import SILENT, Progress
from dsa.reports import PushReport
from dsa.verbs.compare import changes
from dsa.verbs.presence import Presence, check_collisions
from dsa.verbs.sending import Sending, describe, missing_trees
from dsa.verbs.sink import Totals, distinct
from dsa.verbs.survey import Survey, check_list, survey
from dsa.worktree.identity import Author, Source, find_author
from dsa.worktree.state import Worktree, forget_bases, keep_base
from dsa.worktree.workplace import held_still

logger = logging.getLogger(__name__)

#: A folder with more entries than this is worth a warning: its tree is written anew at each change.
_WIDE_FOLDER = 100_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asked to be pushed; None where nothing was said."""

    dataset: str
    revision: str
    folder: Path
    message: str | None = None
    metadata: Mapping[str, Any] | None = None
    parent: str | None = None
    author: str | None = None
    follow_links: bool = False
    exclude: Sequence[str] = ()

    @property
    def name(self) -> str:
        """`dataset@revision`."""
        return f"{self.dataset}@{self.revision}"


def push(
    order: Order,
    open_store: Callable[[], ObjectStore | None],
    make_store: Callable[[], ObjectStore],
    url: str,
    *,
    dry_run: bool = False,
    progress: Progress = SILENT,
    traffic: Callable[[], Traffic] = Traffic,
) -> PushReport:
    """Publish a folder.

    `open_store` returns None where there is no store yet; `make_store` makes it, once everything
    that can be refused was looked at; `url` names it, `traffic` tells what it was asked so far.
    """
    began, before = time.monotonic(), replace(traffic())
    check_dataset(order.dataset)
    check_revision(order.revision)
    author, source = find_author(order.author)
    with held_still(order.folder):
        _refuse_part_of_worktree(order)
        surveyed = survey(
            order.folder, exclude=order.exclude, follow_links=order.follow_links, progress=progress
        )
        check_list(surveyed, progress)
        store = open_store()
        _refuse_own_store(url, surveyed)
        work = _Push(order, author, source, surveyed, progress, url, _warnings(surveyed, url))
        ref = store.revisions.ref(order.dataset, order.revision) if store is not None else None
        if store is not None and ref is not None:
            report = work.again(store, ref, dry_run=dry_run)
        elif dry_run:
            report = work.plan(store)
        else:
            made = store is None
            report = work.publish(store or make_store(), store_created=made)
    logger.info("push of %s to %s: %s", order.name, url, "published" if report.is_new else "there")
    spent = traffic() - before
    return replace(
        report,
        seconds=time.monotonic() - began,
        requests=spent.requests,
        bytes_sent=spent.bytes_sent,
        bytes_received=spent.bytes_received,
    )


@dataclass(slots=True)
class _Push:
    order: Order
    author: Author
    source: Source
    survey: Survey
    progress: Progress
    url: str  # of the store
    warnings: list[str]
    totals: Totals = field(default_factory=Totals)

    def again(self, store: ObjectStore, ref: Ref, *, dry_run: bool) -> PushReport:
        """Compare with a revision that is there: nothing is written where the data is the same.

        Objects of it that are recorded as damaged are sent again.
        """
        there = self._there(store, ref)
        self.survey.read_unknown(self.progress)
        sealed = listing.seal(self.survey.table())
        if sealed.root.tree != there.manifest.data.raw:
            self.survey.remember()
            raise ConflictError(
                f"{self.order.name} is already in {store.url}, with other content",
                hint=f"`dsa diff {store.called(self.order.name)} {_shell(self.order.folder)}` shows what differs; "
                f"a change is published as a new revision",
            )
        if sealed.root.sha256 != there.info.sha256.raw:
            raise self._collision(store, there, sealed)
        if not there.info.says_the_same(message=self.order.message, metadata=self.order.metadata):
            raise ConflictError(
                f"{self.order.name} is already in {store.url}, with another message or other metadata",
                hint="what was published never changes; publish a new revision",
            )
        if store.objects.damaged and not dry_run:
            sealed = self._heal(store, sealed)
        self.survey.remember()
        if not dry_run:
            self._move_worktree(store, there, sealed)
            self._renew_listings(store, only_if_lacking=True)
        return self._report(there.id, there.info, sealed, is_new=False, dry_run=dry_run)

    def _collision(self, store: ObjectStore, there: Published, mine: Listing) -> CollisionError:
        """Say which files have the SHA-1 of the published ones, and another content."""
        paths = [change.path for change in changes(store.indexes.listing(there).table, mine.table)]
        return CollisionError(
            f"{len(paths)} files in {self.order.folder} have the SHA-1 of other contents in {there}",
            hint="they were made to collide: neither may stand for the other",
            problems=[f"{path} and {there}:{path}" for path in paths],
        )

    def _there(self, store: ObjectStore, ref: Ref) -> Published:
        if ref.is_withdrawn:
            raise ConflictError(
                f"{self.order.name} was withdrawn from {store.url}: a name is never given to other content",
                hint="choose another revision name",
            )
        return store.revisions.by_id(self.order.dataset, self.order.revision, ref.manifest)

    def _heal(self, store: ObjectStore, sealed: Listing) -> Listing:
        """Send again what this revision needs and the store has only damaged."""
        presence = Presence(store.objects, [])
        files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
        is_whole = pc.all(presence.is_there(files), min_count=0).as_py()
        if is_whole and not missing_trees(sealed, presence):
            return sealed
        store.file.check_writable(store.url)
        with self._sending(store) as sending:
            sent = sending.objects(None)
        if sent.root != sealed.root:
            raise ConflictError(
                f"{self.order.folder} changed while what is damaged of {self.order.name} was sent again",
                hint="run the command again",
            )
        return sent

    def _sending(self, store: ObjectStore) -> Sending:
        sending = Sending(
            store, self.survey, self.order.dataset, self.order.revision, self.progress
        )
        self.totals = sending.totals
        return sending

    def plan(self, store: ObjectStore | None) -> PushReport:
        """Say what a push would do; reads files, writes nothing but the stat cache."""
        self.survey.read_unknown(self.progress)
        self.survey.remember()
        table = self.survey.table()
        check_collisions(table)
        sealed = listing.seal(table)
        parent = self._parent(store) if store else None
        files = sealed.table.filter(pc.not_equal(sealed.table["mode"], FOLDER))
        there = pa.array([False] * len(files), pa.bool_())
        if store is not None:
            self._check_names(store)
            covered = [store.indexes.listing(parent).table] if parent else []
            there = Presence(store.objects, covered).is_there(files)
        self.totals.objects_new, self.totals.bytes_new = distinct(files.filter(pc.invert(there)))
        self.totals.objects_shared, self.totals.bytes_shared = distinct(files.filter(there))
        info = self._info(sealed, parent)
        describe(sealed, info)  # a message that is too long is refused here as well
        return self._report(
            None, info, sealed, is_new=True, dry_run=True, store_created=store is None
        )

    def publish(self, store: ObjectStore, *, store_created: bool) -> PushReport:
        """Write everything, children first, the ref last."""
        store.file.check_writable(store.url)
        self._check_names(store)
        if self.order.parent is not None:
            self._parent(store)  # one that is not there is an error before any write
        with self._sending(store) as sending:
            parent = self._parent(store)
            sealed = sending.objects(parent)
            info = self._info(sealed, parent)
            published = sending.manifest(sealed, info)
            is_first = sending.ref(published)
        if not is_first:
            ref = store.revisions.ref(self.order.dataset, self.order.revision)
            if ref is None:
                raise DsaError(f"{self.order.name} in {store.url} was there and is gone")
            return self.again(store, ref, dry_run=False)  # is it the same data?
        self.survey.remember()
        self._move_worktree(store, published, sealed)
        self._renew_listings(store)
        return self._report(published.id, info, sealed, is_new=True, store_created=store_created)

    def _renew_listings(self, store: ObjectStore, *, only_if_lacking: bool = False) -> None:
        """Renew what readers use that cannot list; the revision is published without it, too."""
        dataset, backend = self.order.dataset, store.backend
        try:
            if only_if_lacking:  # whoever published it may have been killed just before this
                if not listings.lacks(backend, dataset, [self.order.revision]):
                    return
                store.file.check_writable(store.url)
            listings.renew(backend, dataset)
        except DsaError as error:
            self.warnings.append(f"listing/ in {store.url} is not up to date: {error}")

    def _check_names(self, store: ObjectStore) -> None:
        """Refuse a new name that differs from another one only in the case of its letters."""
        revisions = store.revisions.taken(self.order.dataset)
        datasets = () if revisions else store.revisions.datasets()
        for kind, name, names in (
            ("dataset", self.order.dataset, datasets),
            ("revision", self.order.revision, revisions),
        ):
            other = folds_with(name, names)
            if other is not None:
                raise ConflictError(
                    f"the {kind} {name} differs from {other} only in the case of its letters",
                    hint="file systems that ignore case could not keep both; choose another name",
                )

    def _parent(self, store: ObjectStore) -> Published | None:
        """Return the parent: the one asked for, else what is checked out here, else the newest."""
        dataset = self.order.dataset
        if self.order.parent is not None:
            text = self.order.parent
            spec = parse_spec(text if "@" in text or "/" in text else f"{dataset}@{text}")
            return store.revisions.get(*store.revisions.resolve(spec))
        tree = self.survey.worktree
        names = store.revisions.names(dataset)
        if tree is not None and tree.dataset == dataset and tree.revision in names:
            there = store.revisions.get(dataset, tree.revision)
            if there.id == tree.manifest:
                return there
        newest = latest(names)
        return None if newest is None else store.revisions.get(dataset, newest)

    def _info(self, sealed: Listing, parent: Published | None) -> RevisionInfo:
        root = sealed.root
        return RevisionInfo(
            dataset=self.order.dataset,
            revision=self.order.revision,
            created=now(),
            author_name=self.author.name,
            author_email=self.author.email,
            message=self.order.message or "",
            files=root.files,
            folders=root.folders,
            bytes=root.size,
            sha256=Sha256(root.sha256),
            parent=parent.link() if parent else None,
            metadata=dict(self.order.metadata or {}),
        )

    def _move_worktree(self, store: ObjectStore, published: Published, sealed: Listing) -> None:
        """A push from a worktree moves it to the revision that it published."""
        tree = self.survey.worktree
        if tree is None or tree.manifest == published.id:
            return
        keep_base(tree.root, published.id, published.manifest, sealed, published.revision_json)
        Worktree.of(tree.root, store.url, published, tree.selection).save()
        forget_bases(tree.root, but=published.id)

    def _report(
        self,
        manifest: ManifestId | None,
        info: RevisionInfo,
        sealed: Listing,
        *,
        is_new: bool,
        dry_run: bool = False,
        store_created: bool = False,
    ) -> PushReport:
        totals = self.totals
        return PushReport(
            store=self.url,
            dataset=self.order.dataset,
            revision=self.order.revision,
            manifest=str(manifest or ""),
            data=str(ObjectId(sealed.root.tree)),
            parent=f"{info.parent.dataset}@{info.parent.revision}" if info.parent else None,
            author=str(self.author),
            author_source=self.source,
            is_new=is_new,
            store_created=store_created,
            files=sealed.root.files,
            folders=sealed.root.folders,
            bytes=sealed.root.size,
            files_read=self.survey.files_read,
            objects_new=totals.objects_new,
            bytes_new=totals.bytes_new,
            objects_shared=totals.objects_shared,
            bytes_shared=totals.bytes_shared,
            healed=totals.healed,
            left_out=dict(self.survey.scan.left_out),
            warnings=tuple(self.warnings),
            dry_run=dry_run,
        )


def _warnings(surveyed: Survey, url: str) -> list[str]:
    tree = surveyed.worktree
    elsewhere = []
    if tree is not None and tree.store != url:
        elsewhere = [f"{surveyed.scan.root} was checked out from {tree.store}; this goes to {url}"]
    return elsewhere + [
        f"the folder {folder.path or '.'} holds {len(folder.names):,} entries: each change writes its whole list anew"
        for folder in surveyed.scan.folders
        if len(folder.names) > _WIDE_FOLDER
    ]


def _refuse_part_of_worktree(order: Order) -> None:
    """Refuse to publish a folder of a worktree as the whole dataset: nobody means that."""
    tree = Worktree.around(order.folder)
    if tree is None or tree.dataset != order.dataset or tree.root == order.folder.resolve():
        return
    raise DsaError(
        f"{order.folder.absolute()} is only a part of the worktree of {tree} in {tree.root}",
        hint=f"push the worktree: `dsa push {order.dataset} {order.revision} {_shell(tree.root)}`",
    )


def _refuse_own_store(url: str, surveyed: Survey) -> None:
    """Refuse to push a store into itself, also one that is still to be made."""
    if "://" in url:
        return
    home, root = Path(url).resolve(), surveyed.scan.root.resolve()
    if not home.is_relative_to(root):
        return
    relative = home.relative_to(root)
    inside = "" if relative == Path() else relative.as_posix()
    is_left_out = home.exists() and not any(
        folder.path == inside for folder in surveyed.scan.folders
    )
    if not is_left_out:
        raise ConflictError(
            f"the store {url} lies in the folder to push, {surveyed.scan.root}",
            hint="keep it elsewhere, or leave it out with --exclude or .dsaignore",
        )


def _shell(path: Path) -> str:
    text = str(path)
    return shlex.quote(text if text.startswith((".", "/", "~")) else f"./{text}")
