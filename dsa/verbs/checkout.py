"""Checkout: make a folder hold a revision, touching only what differs, every byte verified."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.listing import Listing
from dsa.cas.names import GIT_FOLDER_REGEX, printable
from dsa.cas.revisions import Published
from dsa.cas.trees import EXECUTABLE, FOLDER
from dsa.errors import AccessError, ConflictError, DamageError, DsaError, NotFoundError
from dsa.progress import SILENT, Progress
from dsa.remotes.cache import Cache
from dsa.remotes.local import translate
from dsa.reports import CheckoutReport
from dsa.verbs.plan import Disk, Plan, plan, same_files, wanted_digests
from dsa.verbs.reading import hash_rows
from dsa.verbs.sources import Source, Sources
from dsa.verbs.writing import Place, Writing
from dsa.workers.folders import Folders
from dsa.workers.signature import NO_SIGNATURE, SIGNATURE, changed_ns
from dsa.workers.writer import Written
from dsa.worktree import statcache
from dsa.worktree.columns import scan_of, table_of
from dsa.worktree.ignore import IGNORE_FILE, Ignore
from dsa.worktree.scan import Folder, Scan, scan
from dsa.worktree.selection import Selection
from dsa.worktree.state import (
    Pending,
    Worktree,
    base_tables,
    forget_bases,
    keep_base,
    partials,
    statcache_path,
)
from dsa.worktree.workplace import fold, working_in

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked of a checkout."""

    only: tuple[str, ...] = ()
    force: bool = False
    clean: bool = False
    link: bool = False
    dry_run: bool = False


def checkout(
    sources: Sources,
    folder: Path | None,
    wish: Wish,
    *,
    cache: Cache | None = None,
    progress: Progress = SILENT,
) -> CheckoutReport:
    """Check out a revision; see `dsa.Store.checkout`."""
    began = time.monotonic()
    source, published = sources.resolve()
    source, sealed = _listing(sources, source, published)
    _refuse_hostile(sealed.table, str(published))
    try:
        root = _root(source, published, folder)
        selection = _selection(Pending.at(root) or Worktree.at(root), published, wish)
        target = _selected(
            sealed.table, selection, source.store.called(published), must_match=bool(wish.only)
        )
        work = _Checkout(
            sources, source, published, sealed, target, root, selection, wish, cache, progress
        )
        if wish.dry_run:
            work.decide()
        else:
            with working_in(root) as temporary:
                _refuse_folding(target, fold(temporary), root)
                work.decide()
                work.apply(temporary)
    except OSError as error:
        raise translate(error, str(folder or published.dataset)) from error
    logger.info("checkout of %s from %s into %s", published, sources.url, root)
    return work.report(time.monotonic() - began)


def _listing(sources: Sources, source: Source, published: Published) -> tuple[Source, Listing]:
    """Return a revision's listing, and the store that gave it: the first that can."""
    try:
        return source, source.store.indexes.listing(published)
    except (AccessError, DamageError) as error:
        for other in sources.further(published):
            with suppress(AccessError, DamageError):
                found = other.store.indexes.listing(published)
                sources.stood_in(other, "its listing is taken", str(error))
                return other, found
        raise


def _root(source: Source, published: Published, folder: Path | None) -> Path:
    """Return the folder to work in: the one named, the worktree around, or a new one."""
    if folder is None:
        around = Worktree.around(Path())
        if around is not None and around.dataset == published.dataset:
            return around.root
        folder = Path(published.dataset.rpartition("/")[2])
    root = folder.expanduser().absolute()
    if root.exists() and not root.is_dir():
        raise ConflictError(f"{root} is a file, not a folder")
    home = source.backend.local_path("")
    if home is not None and root.resolve().is_relative_to(home.resolve()):
        raise ConflictError(
            f"{root} lies in the store {source.store.url}", hint="check out somewhere else"
        )
    return root


def _selection(tree: Worktree | Pending | None, published: Published, wish: Wish) -> Selection:
    """Return what is selected now, else what this worktree remembers of this dataset."""
    if wish.only:
        return Selection(() if wish.only == ("**",) else wish.only)
    if tree is not None and tree.dataset == published.dataset:
        return tree.selection
    return Selection()


def _selected(table: pa.Table, selection: Selection, name: str, *, must_match: bool) -> pa.Table:
    """Cut a listing to what is selected, the folders above it, and what their `.dsaignore` say."""
    if selection.everything:
        return table
    paths = listing.paths(table)
    leaves = paths.filter(listing.is_leaf(table))
    names = leaves.to_pylist()
    unmatched = selection.unmatched(names) if must_match else []
    if unmatched:
        raise NotFoundError(
            f"nothing in {name} matches {', '.join(map(printable, unmatched))}",
            hint=f"`dsa ls --recursive {name}` lists what there is",
        )
    chosen = leaves.filter(pa.array(selection.mask(names), pa.bool_()))
    above: set[str] = set()
    for path in chosen.to_pylist():
        folder = path.rpartition("/")[0]
        while folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition("/")[0]
    # Without these a push from here would publish what the publisher leaves out.
    ignores = [IGNORE_FILE, *(f"{folder}/{IGNORE_FILE}" for folder in above)]
    ignores = leaves.filter(pc.is_in(leaves, value_set=pa.array(ignores, pa.string())))
    keep = pa.concat_arrays([chosen, ignores, pa.array(sorted(above), pa.string())])
    return table.filter(pc.is_in(paths, value_set=keep)).combine_chunks()


def _refuse_hostile(table: pa.Table, name: str) -> None:
    """Refuse a listing with a `.git`: what lies in one is run by other programs."""
    if pc.any(pc.match_substring_regex(table["name"], GIT_FOLDER_REGEX), min_count=0).as_py():
        raise DamageError(
            f"{name} holds a .git, which no push sends", hint="do not trust this store"
        )


def _refuse_folding(target: pa.Table, folded: Callable[[str], str] | None, root: Path) -> None:
    """Refuse names that this file system takes for one, before anything is written."""
    if folded is None:
        return
    seen: dict[str, str] = {}
    clashes = []
    for path in listing.paths(target).to_pylist():
        other = seen.setdefault(folded(path), path)
        if other != path:
            clashes.append(f"{printable(other)} and {printable(path)}")
    if clashes:
        raise ConflictError(
            f"the file system of {root} cannot keep {len(clashes)} pairs of names apart, "
            "and nothing was written",
            hint="check out to a file system that tells upper and lower case apart, or a part with --only",
            problems=clashes,
        )


@dataclass(slots=True)
class _Checkout:
    sources: Sources
    source: Source  # the first, that the listing came from
    published: Published
    sealed: Listing
    target: pa.Table  # the selected rows, folders included
    root: Path
    selection: Selection
    wish: Wish
    cache: Cache | None
    progress: Progress
    plan: Plan = field(init=False)
    there: bytes = b""  # the signatures of all rows on disk, joined
    files_read: int = 0
    read: frozenset[int] = frozenset()  # the rows on disk that were read, and not before `stamp_ns`
    stamp_ns: int = 0
    signatures: bytearray = field(
        default_factory=bytearray
    )  # of the target's rows, when all is done
    done: Written = field(default_factory=Written)
    lost: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def decide(self) -> None:
        """Look at the folder and make the plan; `ConflictError` naming all that is in the way."""
        self.progress.start("comparing")
        is_there = self.root.is_dir()
        disk = scan(self.root, everything=True) if is_there else Scan(self.root, [Folder("")])
        digests = statcache.fill(statcache_path(self.root), disk)
        table = table_of(disk, digests)
        if not (digests.unknown or disk.strange) and same_files(table, self.target):
            files = pc.indices_nonzero(pc.not_equal(self.target["mode"], FOLDER)).to_pylist()
            self.plan = Plan(pa.array([], pa.int64()), is_fresh=False)
            self.plan.unchanged = list(zip(files, files, strict=True))
            return
        known = list(base_tables(self.root))
        matters = wanted_digests(self.target, table, known)
        unknown = pc.is_in(matters, value_set=pa.array(digests.unknown, matters.type))
        rows = matters.filter(unknown).to_pylist()
        self.there = b"".join(folder.signatures for folder in disk.folders)
        if rows:
            self.read = frozenset(rows)
            self.stamp_ns = statcache.wait_for_tick(self.there)
            self.files_read = hash_rows(disk, digests, rows, False, self.progress)
            table = table_of(disk, digests)
        ignore = Ignore.for_root(self.root) if self.wish.clean and is_there else None
        on_disk = Disk(
            table,
            self._signature_there,
            frozenset(disk.strange),
            frozenset(disk.closed),
            lambda path: ignore is not None and _is_ignored(ignore, path),
        )
        self.plan = plan(self.target, on_disk, known, force=self.wish.force, clean=self.wish.clean)
        if self.plan.conflicts:
            count = len(self.plan.conflicts)
            raise ConflictError(
                f"{count} {'file' if count == 1 else 'files'} in {self.root} would be overwritten; "
                "nothing was written",
                hint="move them away, or push them; --force overwrites them, --force --clean unknown ones too",
                problems=self.plan.conflicts,
            )

    def apply(self, temporary: Path) -> None:
        """Carry the plan out; what is wrong is named at the end, what is good is written."""
        published = self.published
        made = Worktree.of(self.root, self.sources.url, published, self.selection)
        if (
            not self.plan.changes_anything
            and Worktree.at(self.root) == made
            and not Pending.at(self.root)
        ):
            self._keep_base()  # it may have been lost
            self._remember()
            return
        self._check_space()
        self._keep_base()
        pending = Pending(
            self.root, published.dataset, published.revision, published.id, self.selection
        )
        pending.save()
        self.signatures = bytearray(len(self.target) * SIGNATURE.size)
        folders = Folders(str(self.root))
        try:
            for path, expected in self.plan.remove:
                folders.unlink(path, expected)
            for path in self.plan.remove_folders:
                folders.remove(path)
            for path in self.plan.make:
                folders.make(path)
            self._write(temporary)
            self._set_permissions(folders, temporary)
        finally:
            folders.close()
        self._complain()
        shutil.rmtree(partials(self.root), ignore_errors=True)
        made.save()
        pending.end()
        forget_bases(self.root, but=published.id)
        self._remember()

    def report(self, seconds: float) -> CheckoutReport:
        """Return what was done, or what would be."""
        writes = self.target["size"].take(self.plan.write)
        warnings = list(self.sources.warnings)
        if not self.selection.everything and not self.wish.only:
            selectors = " ".join(f"--only {text}" for text in self.selection.selectors)
            warnings.append(f"only a part is checked out here ({selectors}); --only '**' takes all")
        traffic = self.sources.traffic()
        return CheckoutReport(
            store=self.sources.url,
            dataset=self.published.dataset,
            revision=self.published.revision,
            manifest=str(self.published.id),
            folder=str(self.root),
            written=len(writes),
            bytes_written=pc.sum(writes, min_count=0).as_py(),
            unchanged=len(self.plan.unchanged),
            removed=len(self.plan.remove),
            permissions=len(self.plan.permissions),
            copied=self.done.copied,
            linked=self.done.linked,
            cloned=self.done.cloned,
            kept=tuple(self.plan.kept),
            edited=tuple(self.plan.edited),
            replaced=tuple(self.plan.replaced),
            warnings=tuple(warnings),
            dry_run=self.wish.dry_run,
            seconds=seconds,
            requests=traffic.requests,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
        )

    def _keep_base(self) -> None:
        made = self.published
        keep_base(self.root, made.id, made.manifest, self.sealed, made.revision_json)

    def _check_space(self) -> None:
        wanted = pc.sum(self.target["size"].take(self.plan.write), min_count=0).as_py()
        begun = (path.stat().st_size for path in partials(self.root).glob("*"))
        free = shutil.disk_usage(self.root).free + sum(begun)
        if wanted and wanted > free and not self.wish.link:
            raise DsaError(
                f"{self.root} has {free:,} bytes free, and {wanted:,} are to be written",
                hint="free some space, or check out a part with --only",
            )

    def _write(self, temporary: Path) -> None:
        writing = Writing(
            self.sources,
            self.source,
            self.published,
            self.target,
            Place(self.root, temporary, partials(self.root)),
            self._expected,
            self.signatures,
            self.wish.link,
            self.cache,
            self.progress,
        )
        writing.write(self.plan.write)
        self.done, self.lost, self.refused = writing.done, writing.lost, writing.refused

    def _set_permissions(self, folders: Folders, temporary: Path) -> None:
        """Set the executable bit of files whose bytes are right."""
        at = dict(self.plan.unchanged) if self.plan.permissions else {}
        for row in self.plan.permissions:
            made = folders.set_executable(
                self.target["folder"][row].as_py(),
                self.target["name"][row].as_py(),
                self.target["mode"][row].as_py() == EXECUTABLE,
                self._signature_there(at[row]),
                str(temporary),
            )
            self._note(row, made)

    def _expected(self, row: int) -> bytes | None:
        return None if self.plan.is_fresh else self.plan.expected.get(row, b"")

    def _signature_there(self, row: int) -> bytes:
        return self.there[row * SIGNATURE.size : (row + 1) * SIGNATURE.size]

    def _note(self, row: int, made: bytes) -> None:
        self.signatures[row * SIGNATURE.size : (row + 1) * SIGNATURE.size] = made

    def _remember(self) -> None:
        """Write the stat cache of what lies there now, where anything was written or read."""
        if len(self.plan.write) or self.plan.permissions or self.files_read:
            just_set = set(self.plan.permissions)
            changed = changed_ns(self.there)
            for row, at in self.plan.unchanged:
                if at in self.read and changed[at] >= self.stamp_ns:
                    self._note(row, NO_SIGNATURE)  # it may have been changed once more, unseen
                elif row not in just_set:
                    self._note(row, self._signature_there(at))
            found, digests = scan_of(self.root, self.target, bytes(self.signatures))
            stamp = statcache.wait_for_tick(bytes(self.signatures))
            statcache.save(statcache_path(self.root), found, digests, stamp)

    def _complain(self) -> None:
        """Say what could not be written; the folder keeps what is good, and the next run goes on."""
        if self.lost:
            raise DamageError(
                f"of {self.published}, {_files(len(self.lost))} missing or damaged in "
                f"{self.source.store.url}; all others are written",
                hint="`dsa verify --data` records what is damaged; then a push of the same files sends it again",
                problems=sorted(self.lost + self.refused),
            )
        if self.refused:
            raise ConflictError(
                f"of {self.published}, {_files(len(self.refused))} not written; all others are",
                problems=sorted(self.refused),
            )


def _files(count: int) -> str:
    return f"{count} file is" if count == 1 else f"{count} files are"


def _is_ignored(ignore: Ignore, path: str) -> bool:
    """Whether a file, or a folder that it is in, is ignored; reads the ignore files on the way."""
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        above = "/".join(parts[:depth])
        if ignore.ignored(above, is_dir=depth < len(parts)):
            return True
        if depth < len(parts):
            ignore.enter(above, has_ignore_file=True)
    return False
