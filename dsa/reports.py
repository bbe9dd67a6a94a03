"""What the verbs say when they are done: plain values that print as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dsa.remotes.doctor import Examination


class Report:
    """A finished verb's account of itself; `as_json` is what `--json` prints."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name, made of JSON's own types."""
        fields: dict[str, Any] = dataclasses.asdict(self)  # type: ignore[call-overload]  # subclasses are dataclasses
        return fields | ({"is_clean": self.is_clean} if hasattr(self, "is_clean") else {})


@dataclass(frozen=True, slots=True)
class InitReport(Report):
    """`created` is False where the store was there already."""

    store: str
    id: str  # empty in a dry run that would make it
    created: bool
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PushReport(Report):
    """What a push made, or would make (`dry_run`); sizes in bytes, `seconds` of wall time."""

    store: str
    dataset: str
    revision: str
    manifest: str  # empty in a dry run: it depends on the time of the push
    data: str
    parent: str | None
    author: str
    author_source: Literal["option", "git", "login"]
    is_new: bool  # False: the same data is already there, nothing was written
    store_created: bool
    files: int
    folders: int
    bytes: int
    files_read: int  # whose content was read; the others are known from the stat cache
    objects_new: int
    bytes_new: int
    objects_shared: int  # distinct objects of this revision that the store held before
    bytes_shared: int
    healed: int  # objects sent again because the store's copy is recorded as damaged
    left_out: Mapping[str, int]  # reason -> number of files or folders that were not taken
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = 0.0
    requests: int = 0  # made to the store's server; none to a local one
    bytes_sent: int = 0
    bytes_received: int = 0


@dataclass(frozen=True, slots=True)
class CheckoutReport(Report):
    """What a checkout did to a folder, or would do (`dry_run`); sizes in bytes."""

    store: str
    dataset: str
    revision: str
    manifest: str
    folder: str
    written: int  # files and links whose content was written
    bytes_written: int
    unchanged: int
    removed: int
    permissions: int  # files whose executable bit was set or cleared
    copied: int
    linked: int  # hard links into the store (--link)
    cloned: int  # reflinks
    kept: tuple[str, ...]  # unknown files that stay
    edited: tuple[str, ...]  # edited files that this revision or selection lacks, and that stay
    replaced: tuple[str, ...]  # edited files that --force overwrote
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = 0.0
    requests: int = 0  # made to the store's server; none to a local one
    bytes_sent: int = 0
    bytes_received: int = 0


Kind = Literal["added", "removed", "modified", "renamed", "mode"]


@dataclass(frozen=True, slots=True)
class Change(Report):
    """One path that differs; sizes in bytes, None where that side has no such file."""

    kind: Kind
    path: str
    old_path: str | None = None  # of a renamed file
    old_size: int | None = None
    new_size: int | None = None
    old_mode: str | None = None  # as in a tree: "100644", "100755", "120000", "40000"
    new_mode: str | None = None


@dataclass(frozen=True, slots=True)
class DiffReport(Report):
    """The changes that turn `old` into `new`, sorted by path, and their totals."""

    old: str
    new: str
    changes: tuple[Change, ...]
    totals: Mapping[str, int]  # kind -> number, and "bytes_added", "bytes_removed"

    @property
    def is_clean(self) -> bool:
        """Whether both sides are the same."""
        return not self.changes


@dataclass(frozen=True, slots=True)
class StatusReport(Report):
    """How a worktree differs from the revision checked out in it."""

    folder: str
    store: str
    dataset: str
    revision: str
    manifest: str
    selection: tuple[str, ...]
    changes: tuple[Change, ...]
    totals: Mapping[str, int]
    files_read: int
    left_out: Mapping[str, int]

    @property
    def is_clean(self) -> bool:
        """Whether nothing was edited, added or removed."""
        return not self.changes


@dataclass(frozen=True, slots=True)
class Finding(Report):
    """One thing that `verify` found wrong.

    `subject` is a key of the store or a path; `paths` are `dataset@revision:path`, at most the
    first hundred, `paths_total` counts all of them.
    """

    kind: str  # "missing", "damaged", "lying location", "bad ref", "bad index", "unknown file", ...
    subject: str
    detail: str
    revisions: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    paths_total: int = 0
    is_damage: bool = True  # False: worth a look, not wrong


@dataclass(frozen=True, slots=True)
class VerifyReport(Report):
    """What `verify` looked at and found; `is_clean` when nothing is damaged."""

    store: str
    revisions: int
    objects: int
    packs: int
    bytes_read: int
    findings: tuple[Finding, ...]
    recorded: int = 0  # damaged places newly written down in site/damaged/
    files_read: int = 0  # packs and objects whose bytes were read, all or some of them
    files_attested: int = 0  # those not read because the store's own checksum of them is right
    bytes_attested: int = 0
    seconds: float = 0.0
    requests: int = 0  # made to the store's server; none to a local one
    bytes_sent: int = 0
    bytes_received: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether no finding is damage."""
        return not any(finding.is_damage for finding in self.findings)


@dataclass(frozen=True, slots=True)
class MirrorReport(Report):
    """What a mirror brought from one store to another, or would bring (`dry_run`).

    Revisions are `dataset@revision`; sizes are in bytes. What stands in `conflicts` or `damaged`
    was not mirrored, everything else was: revision, or `log/<dataset>/`, -> why.
    """

    source: str
    target: str
    mirrored: tuple[str, ...]  # in the order in which they were published
    there: tuple[str, ...]
    conflicts: Mapping[str, str]  # the target has something else under this name, and keeps it
    damaged: Mapping[
        str, str
    ]  # the source does not have it whole, or what the target has cannot be read
    withdrawn: tuple[str, ...]  # withdrawals that were taken over
    withdrawn_at_source: tuple[str, ...]  # withdrawals that nobody asked for
    log_entries: int  # of datasets' logs
    store_created: bool
    objects_sent: int  # contents of files, and trees; a dry run counts the files' only
    bytes_objects: int
    objects_shared: int  # contents of files that the target held before, revision by revision
    bytes_shared: int
    packs_whole: int  # packs of the source that travelled as they are
    packs_new: int  # packs made for the target
    objects_unread: int  # copied by the server itself, on the source's word (`server_side`)
    healed: int = 0  # objects that the target held damaged, and that were sent again
    server_side: bool = False
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    seconds: float = 0.0
    requests: int = 0  # made to both servers; none to a local store
    requests_source: int = 0
    requests_target: int = 0
    bytes_sent: int = 0  # to both
    bytes_received: int = 0  # from both
    bytes_from_source: int = 0
    bytes_to_target: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether all that was asked for is there now, or would be."""
        return not (self.conflicts or self.damaged)


@dataclass(frozen=True, slots=True)
class Entry(Report):
    """One row of a listing; of a folder, `size` and `files` count everything below it."""

    path: str
    mode: str
    size: int
    sha1: str
    sha256: str
    files: int | None = None  # None: not a folder

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name; plain ones, for there may be a million rows."""
        return {
            "path": self.path,
            "mode": self.mode,
            "size": self.size,
            "sha1": self.sha1,
            "sha256": self.sha256,
            "files": self.files,
        }


@dataclass(frozen=True, slots=True)
class LogEntry(Report):
    """One revision in the story of its dataset, and what it changed against its parent."""

    dataset: str
    revision: str
    manifest: str
    created: str
    author: str
    message: str
    parent: str | None
    files: int
    bytes: int
    changes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShowReport(Report):
    """What one revision is: its `revision.json` whole, and what it shares with its parent."""

    store: str
    dataset: str
    revision: str
    manifest: str
    data: str
    info: Mapping[str, Any]
    shared_files: int | None  # files whose content the parent has too; None without a parent here
    shared_bytes: int | None


@dataclass(frozen=True, slots=True)
class CachedFile(Report):
    """A file of remotes that is kept here: its key in a store, and its size in bytes."""

    key: str
    size: int
    used: str  # when last, RFC 3339, UTC
    pinned: tuple[str, ...]  # by which revisions


@dataclass(frozen=True, slots=True)
class CacheReport(Report):
    """What is in the cache, the most recently used first; sizes in bytes."""

    folder: str
    limit: int | None  # None: no limit
    bytes: int
    files: tuple[CachedFile, ...]
    pins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CacheChange(Report):
    """What was done to the cache; sizes in bytes."""

    folder: str
    pinned: tuple[str, ...] = ()
    unpinned: tuple[str, ...] = ()
    files_fetched: int = 0
    bytes_fetched: int = 0
    files_dropped: int = 0
    bytes_dropped: int = 0
    files_pinned: int = 0  # that would have been dropped
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DoctorReport(Report):
    """What a remote can do, as far as that was found out."""

    remote: str  # its name in the configuration; empty: it was given by URL
    store: str
    examination: Examination
    single_writer: bool  # it was declared that nobody else pushes at the same time
    takes_pushes: bool
    hint: str = ""  # what to do about it, where pushes are refused
    requests: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Whereabouts(Report):
    """Whether one store holds a revision, and how that is known."""

    remote: str  # its name in the configuration; empty: it has none
    store: str
    holds: bool | None  # all of it; None: this store could not be asked
    detail: str = ""  # why not, or what is missing
    manifest: str = ""  # what it has by this name; empty: nothing
    evidence: Mapping[str, str] = field(default_factory=dict)  # kind -> date, the strongest first


@dataclass(frozen=True, slots=True)
class WhereisReport(Report):
    """Which stores hold a revision completely, in the order in which they are configured."""

    dataset: str
    revision: str
    places: tuple[Whereabouts, ...]
    seconds: float = 0.0
    requests: int = 0
    bytes_received: int = 0

    @property
    def is_somewhere(self) -> bool:
        """Whether at least one store holds all of it."""
        return any(place.holds for place in self.places)

    @property
    def is_answered(self) -> bool:
        """Whether at least one store could be asked."""
        return any(place.holds is not None for place in self.places)
