"""Mirror as a whole: from the names that a person gives to the report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from dsa.cas import layout, listings
from dsa.cas.backend import Backend
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
from dsa.remotes.transfer import in_order, within
from dsa.reports import MirrorReport
from dsa.verbs.doctor import check_claims
from dsa.verbs.marked import Marked
from dsa.verbs.mirror import healing
from dsa.verbs.mirror.landing import ServerSide
from dsa.verbs.mirror.logs import Log, forward, lacks, logs
from dsa.verbs.mirror.refs import Name, Plan, Refs, compare
from dsa.verbs.mirror.revision import Carried, Copies, Outcome

logger = logging.getLogger(__name__)


#: Revisions that are read ahead; a store that is far remembers no more than a few indexes.
_READ_AHEAD = 4

#: What is waited for after a ctrl-C: it may be because nobody answers.
_PATIENCE_SECONDS = 5.0


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
    name: str = "",
    progress: Progress = SILENT,
) -> MirrorReport:
    """Bring what is asked for from `source` to `target`, which becomes a store if it is none.

    `name` is the target's among the remotes, if it has one. Revisions that cannot be mirrored are named in the report, and the others are mirrored.
    Raises: `UsageError` for what cannot be meant, `NotFoundError` for what the source has not.
    """
    began, before = time.monotonic(), (replace(source.backend.traffic), replace(target.traffic))
    server = _server(source, target, wish)
    mine = Refs(source.backend, None if wish.everything else _datasets(wish))
    names = mine.found.keys() if wish.everything else _chosen(source, mine, wish)
    store = _opened(target, cache, name, wish)
    theirs = Refs(target, None) if store else None
    plan = compare(mine, theirs, names, withdrawals=wish.withdrawals)
    _refuse_withdrawn(source, plan, wish)
    work = _Mirror(source, store, target, name, theirs, plan, wish, progress, server)
    is_broken_off = False
    try:
        work.run(cache)
    except KeyboardInterrupt:
        is_broken_off = True
        raise
    finally:  # whatever ended it: what was published is to be found
        work.renew_listings(patiently=not is_broken_off)
    logger.info("mirror of %s to %s: %d sent", source.url, target.url, len(work.mirrored))
    spent = (source.backend.traffic - before[0], target.traffic - before[1])
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
    name: str  # of the target, where it has one
    theirs: Refs | None  # the target's, as they were
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
    carried: Carried = field(default_factory=Carried)
    unlisted: set[str] = field(default_factory=set)  # datasets that another mirror left so
    is_ready: bool = False  # to be written to

    def run(self, cache: Path | None) -> None:
        """Do it all, or, in a dry run, look at it all."""
        for found, told in (
            (self.plan.conflicts, self.conflicts),
            (self.plan.damaged, self.damaged),
        ):
            told.update({_text(name): why for name, why in found.items()})
        self.store_created = self.store is None
        if self.wish.dry_run:
            self._bring(None, self._hurt())
            self.withdrawn = [name for name, _ in self.plan.withdraw]
        else:
            if self.store is None:
                check_claims(self.target, self.name)
                make_store(self.target)
                self.store = ObjectStore(self.target, cache, name=self.name)
            self._write(self.store)
        self._logs()
        if not self.wish.dry_run:
            self._look_at_listings()

    def _write(self, store: ObjectStore) -> None:
        hurt = self._hurt()
        if not (self.plan.new or self.plan.withdraw or hurt):
            return
        self._make_ready()
        first = [name for name, _ in (*self.plan.new, *self.plan.withdraw)]
        first += [(published.dataset, published.revision) for published in hurt]
        with Marked(store, *first[0], self.progress) as marked:
            self._bring(marked, hurt)
            for name, ref in self.plan.withdraw:
                with self._told(name):
                    self._withdraw(name, ref)

    def _bring(self, marked: Marked | None, hurt: list[Published]) -> None:
        """Bring what is new, and heal what is hurt; without a mark it is only counted."""
        copies = Copies(self.source, self.store, marked, self.progress, self.server)
        self.carried = copies.carried
        self._revisions(copies)
        for published in hurt:
            with self._told((published.dataset, published.revision)):
                copies.heal(published)

    def _make_ready(self) -> None:
        """Refuse a target that may not be written to, once, before anything is."""
        if not self.is_ready and self.store is not None:
            self.store.file.check_writable(self.store.url)
            check_claims(self.target, self.name)
            self.is_ready = True

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
                outcome = copies.bring(published)
                if outcome is Outcome.PUBLISHED:
                    self.mirrored.append(name)
                elif outcome is Outcome.WITHDRAWN:
                    self.plan.withdrawn.append(name)
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

    def _hurt(self) -> list[Published]:
        """Return the revisions that the target has, and has lost something of."""
        if self.store is None or not self.plan.there:
            return []
        lost = healing.lost(self.store.objects)
        if not len(lost):
            return []
        found = []
        for name in self.plan.there:
            with self._told(name):
                ref = self.source.revisions.ref(*name)
                if ref is None or ref.is_withdrawn:
                    continue
                published = self.source.revisions.by_id(*name, ref.manifest)
                if healing.needs_any(self.source.indexes.listing(published), lost):
                    found.append(published)
        return found

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

    def _logs(self) -> None:
        """Bring the logs of datasets forward that the target has, and has no other ones of that name."""
        held = {dataset for dataset, _ in (*self.plan.there, *self.mirrored, *self.withdrawn)}
        datasets = held - {name.rpartition("@")[0] for name in self.conflicts}
        everything = self.wish.everything
        mine = logs(self.source.backend, datasets, everything=everything)
        theirs = logs(self.target, mine, everything=everything) if mine and self.store else {}
        for dataset, log in mine.items():
            other = theirs.get(dataset, Log(self.target, dataset))
            try:
                if lacks(log, other):
                    if self.wish.dry_run:
                        self.log_entries += len(log.entries) - len(other.entries)
                        continue
                    self._make_ready()
                    self.log_entries += forward(log, other)
            except ConflictError as error:
                self.conflicts[f"{layout.LOG}{dataset}/"] = str(error)
            except DamageError as error:
                self.damaged[f"{layout.LOG}{dataset}/"] = str(error)

    def _look_at_listings(self) -> None:
        """Note which listings were left behind by a run that was killed after its refs."""
        held = {dataset for dataset, _ in self.plan.there}
        if self.theirs is not None and held:
            stale = listings.stale(self.target, self.theirs.sizes(), held)
            self.unlisted = {name for name in held if listings.revisions_key(name) in stale}
            if not self.unlisted and stale:
                self.unlisted = {min(held)}  # the list of all datasets is renewed with any

    def renew_listings(self, *, patiently: bool) -> None:
        """Renew what readers use that cannot list; the revisions are published without it, too."""
        touched = {dataset for dataset, _ in (*self.mirrored, *self.withdrawn)} | self.unlisted
        if not touched or self.wish.dry_run:
            return
        renew = partial(listings.renew, self.target, *sorted(touched))
        try:
            self._make_ready()
            if patiently:
                renew()
            else:
                within(_PATIENCE_SECONDS, renew)
        except (DsaError, TimeoutError) as error:
            why = error if isinstance(error, DsaError) else "nobody answered in time"
            told = f"listing/ in {self.target.url} is not up to date: {why}"
            logger.warning("%s", told)
            self.warnings.append(told)

    def report(self) -> MirrorReport:
        """Return what came of it; times and traffic are still to be filled in."""
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
            **asdict(self.carried),
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
    if _is_one_place(source.backend, target):
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


def _is_one_place(one: Backend, other: Backend) -> bool:
    """Whether both are the same store."""
    paths = [backend.local_path("") for backend in (one, other)]
    if paths[0] is not None and paths[1] is not None:
        return paths[0].resolve() == paths[1].resolve()
    return one.place == other.place


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


def _opened(target: Backend, cache: Path | None, name: str, wish: Wish) -> ObjectStore | None:
    """Open the target; None where a store is still to be made."""
    try:
        return ObjectStore(target, cache, name=name)
    except NotFoundError:
        if wish.dry_run:
            check_place(target)
        return None


def _text(name: Name) -> str:
    return f"{name[0]}@{name[1]}"


def _reason(error: ConflictError | DamageError) -> str:
    return "; ".join((str(error), *error.problems[:3])) if error.problems else str(error)
