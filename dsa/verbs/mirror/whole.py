"""Mirror as a whole: from the names that a person gives to the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsa.cas import layout, listings
from dsa.cas.backend import Backend, Traffic
from dsa.cas.names import newest_first, parse_spec
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.storefile import check_place, make_store
from dsa.errors import (
    CollisionError,
    ConflictError,
    DamageError,
    DsaError,
    NotFoundError,
    UsageError,
)
from dsa.progress import SILENT, Progress
from dsa.remotes.transfer import in_order
from dsa.reports import MirrorReport
from dsa.verbs.doctor import check_claims
from dsa.verbs.marked import Marked
from dsa.verbs.mirror.landing import ServerSide
from dsa.verbs.mirror.logs import Log, forward, lacks, logs
from dsa.verbs.mirror.refs import Name, Plan, Refs, compare
from dsa.verbs.mirror.revision import Copies

logger = logging.getLogger(__name__)


#: Revisions that are read ahead; a store that is far remembers no more than a few indexes.
_READ_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for; `specs` are texts such as `ds` (all its revisions) or `ds@1`."""

    specs: tuple[str, ...] = ()
    everything: bool = False
    withdrawals: bool = False  # take them over, too
    server_side: bool = False
    dry_run: bool = False


def mirror(
    source: ObjectStore,
    target: Backend,
    cache: Path | None,
    wish: Wish,
    *,
    progress: Progress = SILENT,
) -> MirrorReport:
    """Bring what is asked for from `source` to `target`, which becomes a store if it is none.

    Revisions that cannot be mirrored are named in the report, and the others are mirrored.
    Raises: `UsageError` for what cannot be meant, `NotFoundError` for what the source has not.
    """
    began, before = time.monotonic(), (replace(source.backend.traffic), replace(target.traffic))
    server = _server(source, target, wish)
    mine = Refs(source.backend, None if wish.everything else _datasets(wish))
    names = mine.found.keys() if wish.everything else _chosen(source, mine, wish)
    store = _opened(target, cache, wish)
    theirs = Refs(target, None) if store else None
    plan = compare(mine, theirs, names, withdrawals=wish.withdrawals)
    _refuse_withdrawn(source, plan, wish)
    work = _Mirror(source, store, target, plan, wish, progress, server)
    try:
        work.run(cache, {dataset for dataset, _ in names})
    finally:
        work.renew_listings()  # whatever ended it: what was published is to be found
    logger.info("mirror of %s to %s: %d sent", source.url, target.url, len(work.mirrored))
    spent = (_since(source.backend.traffic, before[0]), _since(target.traffic, before[1]))
    return replace(
        work.report(),
        seconds=time.monotonic() - began,
        requests=spent[0].requests + spent[1].requests,
        requests_source=spent[0].requests,
        requests_target=spent[1].requests,
        bytes_sent=spent[0].bytes_sent + spent[1].bytes_sent,
        bytes_received=spent[0].bytes_received + spent[1].bytes_received,
        bytes_from_source=spent[0].bytes_received,
        bytes_to_target=spent[1].bytes_sent,
    )


@dataclass(slots=True)
class _Mirror:
    source: ObjectStore
    store: ObjectStore | None  # None: to be made, or a dry run where there is none
    target: Backend
    plan: Plan
    wish: Wish
    progress: Progress
    server: ServerSide | None
    mirrored: list[Name] = field(default_factory=list)
    withdrawn: list[Name] = field(default_factory=list)  # taken over
    log_entries: int = 0
    conflicts: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    store_created: bool = False
    copies: Copies | None = None

    def run(self, cache: Path | None, datasets: Collection[str]) -> None:
        """Do it all, or, in a dry run, look at it all."""
        for found, told in (
            (self.plan.conflicts, self.conflicts),
            (self.plan.damaged, self.damaged),
        ):
            told.update({_text(name): why for name, why in found.items()})
        self.store_created = self.store is None
        if self.wish.dry_run:
            self.copies = Copies(self.source, self.store, None, self.progress)
            self._revisions(self.copies)
            self.withdrawn = [name for name, _ in self.plan.withdraw]
        else:
            if self.store is None:
                check_claims(self.target)
                make_store(self.target)
                self.store = ObjectStore(self.target, cache)
            self._write(self.store)
        self._logs(datasets)

    def _write(self, store: ObjectStore) -> None:
        if not (self.plan.new or self.plan.withdraw):
            return
        store.file.check_writable(store.url)
        first, _ = (*self.plan.new, *self.plan.withdraw)[0]
        with Marked(store, *first, self.progress) as marked:
            self.copies = Copies(self.source, store, marked, self.progress, self.server)
            self._revisions(self.copies)
            for name, ref in self.plan.withdraw:
                with self._told(name):
                    self._withdraw(name, ref)

    # --- revisions ------------------------------------------------------------------------------

    def _revisions(self, copies: Copies) -> None:
        """Bring the new revisions, of each dataset the oldest first; the next few are read ahead."""
        ahead = min(_READ_AHEAD, self.source.backend.jobs)
        for (name, ref), published in in_order(
            _oldest_first(self.plan.new), self._published, ahead
        ):
            if isinstance(published, DamageError):
                self.damaged[_text(name)] = _reason(published)
                logger.warning("%s@%s (%s): %s", *name, ref.manifest, published)
                continue
            with self._told(name):
                if copies.bring(published):
                    self.mirrored.append(name)
                else:
                    self._lost_race(published)

    def _published(self, new: tuple[Name, Ref]) -> Published | DamageError:
        (dataset, revision), ref = new
        try:
            return self.source.revisions.by_id(dataset, revision, ref.manifest)
        except DamageError as error:
            return error

    def _lost_race(self, published: Published) -> None:
        """Another writer was first: the same, or a conflict."""
        assert self.store is not None
        there = self.store.revisions.ref(published.dataset, published.revision)
        if there == Ref(published.id):
            self.plan.there.append((published.dataset, published.revision))
            return
        raise ConflictError("another writer published something else meanwhile")

    def _withdraw(self, name: Name, ref: Ref) -> None:
        """Withdraw a revision there, too; where it is not, its name is taken for ever."""
        assert self.store is not None
        there = self.store.revisions.ref(*name)
        if there is None:
            self.target.create(layout.ref_key(*name), ref.encode())
            there = self.store.revisions.ref(*name)
        if there is None or there.manifest != ref.manifest:
            raise ConflictError("another writer published something else meanwhile")
        if there != ref:
            self.target.write(layout.ref_key(*name), ref.encode())
        self.withdrawn.append(name)

    @contextmanager
    def _told(self, name: Name) -> Iterator[None]:
        """Note what is wrong with one revision, so that the others go on."""
        try:
            yield
        except (CollisionError, ConflictError) as error:
            self.conflicts[_text(name)] = _reason(error)
        except DamageError as error:
            self.damaged[_text(name)] = _reason(error)

    # --- the rest -------------------------------------------------------------------------------

    def _logs(self, datasets: Collection[str]) -> None:
        """Bring the logs of datasets forward."""
        everything = self.wish.everything
        mine = logs(self.source.backend, datasets, everything=everything)
        theirs = logs(self.target, mine, everything=everything) if mine and self.store else {}
        for dataset, log in mine.items():
            other = theirs.get(dataset, Log(self.target, dataset))
            try:
                if lacks(log, other):
                    missing = len(log.entries) - len(other.entries)
                    self.log_entries += missing if self.wish.dry_run else forward(log, other)
            except ConflictError as error:
                self.conflicts[f"{layout.LOG}{dataset}/"] = str(error)
            except DamageError as error:
                self.damaged[f"{layout.LOG}{dataset}/"] = str(error)

    def renew_listings(self) -> None:
        """Renew what readers use that cannot list; the revisions are published without it, too."""
        touched = {dataset for dataset, _ in (*self.mirrored, *self.withdrawn)}
        if not touched or self.wish.dry_run:
            return
        try:
            listings.renew(self.target, *sorted(touched))
        except DsaError as error:
            self.warnings.append(f"listing/ in {self.target.url} is not up to date: {error}")

    def report(self) -> MirrorReport:
        """Return what came of it; times and traffic are still to be filled in."""
        made = self.copies or Copies(self.source, self.store, None, self.progress)
        return MirrorReport(
            source=self.source.url,
            target=self.target.url,
            mirrored=tuple(map(_text, self.mirrored)),
            there=tuple(sorted(map(_text, self.plan.there))),
            conflicts=dict(sorted(self.conflicts.items())),
            damaged=dict(sorted(self.damaged.items())),
            withdrawn=tuple(map(_text, self.withdrawn)),
            withdrawn_at_source=tuple(map(_text, self.plan.withdrawn)),
            log_entries=self.log_entries,
            store_created=self.store_created,
            objects_sent=made.objects_sent,
            bytes_objects=made.bytes_sent,
            objects_shared=made.objects_shared,
            bytes_shared=made.bytes_shared,
            packs_whole=made.packs_whole,
            packs_new=made.packs_new,
            objects_unread=made.objects_unread,
            server_side=self.server is not None,
            warnings=tuple(self.warnings),
            dry_run=self.wish.dry_run,
        )


def _server(source: ObjectStore, target: Backend, wish: Wish) -> ServerSide | None:
    """Look at what cannot be meant; return the target where its server is to copy by itself."""
    if wish.everything == bool(wish.specs):
        raise UsageError(
            "--all and DATASET exclude each other" if wish.everything else "nothing is named",
            hint="name datasets or revisions, or give --all",
        )
    if _place(source.backend) == _place(target):
        raise UsageError(f"{target.url} is named twice", hint="a mirror has two stores")
    if not wish.server_side:
        return None
    if not isinstance(target, ServerSide) or type(source.backend) is not type(target):
        raise UsageError("--server-side needs two stores of one S3 server")
    if not target.same_endpoint(source.backend):
        raise UsageError(
            f"{source.url} and {target.url} are not served by the same server",
            hint="without --server-side the data travels through this machine, and is verified",
        )
    return target


def _place(backend: Backend) -> str:
    path = backend.local_path("")
    return backend.url if path is None else str(path.resolve())


def _datasets(wish: Wish) -> set[str]:
    """Return the datasets that are named; `UsageError` for a text that cannot be meant."""
    specs = [parse_spec(text) for text in wish.specs]
    for spec in specs:
        if spec.remote is not None:
            raise UsageError(f"{spec} names a store", hint="the stores are SRC and DST")
    return {spec.dataset for spec in specs}


def _chosen(source: ObjectStore, refs: Refs, wish: Wish) -> list[Name]:
    """Return the revisions that are meant: `ds` all of a dataset, `ds@latest` its newest."""
    found: dict[Name, None] = {}
    for text in wish.specs:
        spec = parse_spec(text)
        if "@" not in text:
            revisions = refs.revisions(spec.dataset)
            if not revisions:
                raise source.revisions.no_dataset(spec.dataset)
            found |= {(spec.dataset, revision): None for revision in revisions}
        elif spec.revision is not None and (spec.dataset, spec.revision) in refs.found:
            found[spec.dataset, spec.revision] = None
        else:
            found[source.revisions.resolve(spec)] = None
    return list(found)


def _refuse_withdrawn(source: ObjectStore, plan: Plan, wish: Wish) -> None:
    """Refuse a revision that is named by itself, and that the source has withdrawn."""
    named = {text for text in wish.specs if "@" in text}
    gone = [_text(name) for name in plan.withdrawn if _text(name) in named]
    if gone:
        raise NotFoundError(
            f"{', '.join(gone)} was withdrawn from {source.url}",
            hint="--withdrawals withdraws it at the target, too",
        )


def _oldest_first(new: list[tuple[Name, Ref]]) -> list[tuple[Name, Ref]]:
    """Sort revisions by dataset, and so that parents mostly come before their children."""
    by_name = dict(new)
    datasets: dict[str, list[str]] = {}
    for dataset, revision in by_name:
        datasets.setdefault(dataset, []).append(revision)
    return [
        ((dataset, revision), by_name[dataset, revision])
        for dataset in sorted(datasets)
        for revision in reversed(newest_first(datasets[dataset]))
    ]


def _opened(target: Backend, cache: Path | None, wish: Wish) -> ObjectStore | None:
    """Open the target; None where a store is still to be made."""
    try:
        return ObjectStore(target, cache)
    except NotFoundError:
        if wish.dry_run:
            check_place(target)
        return None


def _text(name: Name) -> str:
    return f"{name[0]}@{name[1]}"


def _reason(error: ConflictError | DamageError) -> str:
    return "; ".join((str(error), *error.problems[:3])) if error.problems else str(error)


def _since(now: Traffic, before: Traffic) -> Traffic:
    """Return what was asked of a place since then."""
    return Traffic(
        now.requests - before.requests,
        now.bytes_sent - before.bytes_sent,
        now.bytes_received - before.bytes_received,
    )
