"""A folder as a listing: scanned, and its digests known from the stat cache or by reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dsa.cas.trees import FOLDER, LINK
from dsa.config import places
from dsa.errors import DsaError
from dsa.progress import SILENT, Progress
from dsa.remotes.local import translate
from dsa.worktree import djarchive, statcache
from dsa.worktree.scan import Scan, drop, scan
from dsa.worktree.statcache import Digests
from dsa.worktree.state import Worktree, base_table, statcache_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Survey:
    """What lies in a folder; `stamp_ns` is a moment before any of its content was read."""

    scan: Scan
    digests: Digests
    worktree: Worktree | None  # where the folder is the root of one
    follow_links: bool
    stamp_ns: int
    files_read: int = 0

    @property
    def cache(self) -> Path:
        """Where the folder's stat cache lies."""
        root = self.scan.root
        return statcache_path(root) if self.worktree else places.statcache(root)

    @property
    def files(self) -> int:
        """How many files and links there are."""
        folders = self.scan.folders
        return len(self.scan) - sum(folder.modes.count(FOLDER) for folder in folders)

    def read_unknown(self, progress: Progress = SILENT) -> None:
        """Read every file whose digests are not known, writing nothing anywhere."""
        from dsa.verbs.reading import hash_rows

        if self.digests.unknown:
            rows = self.digests.unknown
            self.files_read += hash_rows(self.scan, self.digests, rows, self.follow_links, progress)
            self.digests.unknown = []

    def remember(self) -> None:
        """Write the stat cache, where anything was read."""
        if self.files_read:
            statcache.save(self.cache, self.scan, self.digests, self.stamp_ns)

    def table(self) -> pa.Table:
        """Return a listing's rows for all of it: with what a worktree's selection left in the store."""
        from dsa.worktree.columns import carried_over, table_of

        table = table_of(self.scan, self.digests)
        if self.worktree is None or self.worktree.selection.everything:
            return table
        base = base_table(self.scan.root, self.worktree.manifest)
        if base is None:
            raise DsaError(
                f"{self.scan.root} holds only a part of {self.worktree}, and what the rest is was lost",
                hint=f"run `dsa checkout {self.worktree} {self.scan.root}` first",
            )
        return carried_over(table, base, self.worktree.selection)


def survey(
    folder: Path,
    *,
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    progress: Progress = SILENT,
) -> Survey:
    """Scan a folder and look up what its stat cache knows; reads no file's content.

    Raises: `DsaError` naming everything that cannot be pushed.
    """
    progress.start("scanning")
    try:
        found = scan(
            folder,
            exclude=tuple(exclude),
            follow_links=follow_links,
            tick=lambda count: progress.advance(files=count),
        )
        found.check()
        worktree = Worktree.at(folder)
    except OSError as error:
        raise translate(error, str(folder)) from error
    cache = statcache_path(folder) if worktree else places.statcache(folder)
    digests = statcache.fill(cache, found)
    signatures = b"".join(folder.signatures for folder in found.folders) if digests.unknown else b""
    return Survey(found, digests, worktree, follow_links, statcache.wait_for_tick(signatures))


def check_list(surveyed: Survey, progress: Progress = SILENT) -> None:
    """Hold a folder against the djarchive manifest at its top, if it has one.

    Every file is read first. Hidden files that the list leaves out are taken out of the scan, and
    counted. Raises: `DsaError` naming all that is missing, different or untracked.
    """
    root = surveyed.scan.root
    path = root / djarchive.MANIFEST_NAME
    if not path.is_file():
        return
    try:
        listed = djarchive.parse(path.read_bytes())
    except djarchive.ListError as error:
        raise DsaError(f"{path} cannot be read", problems=error.problems) from error
    surveyed.read_unknown(progress)
    compared = djarchive.compare(listed, files(surveyed))
    if not compared.agrees:
        problems = compared.problems()
        raise DsaError(
            f"{root} is not what {djarchive.MANIFEST_NAME} says: {len(problems)} "
            f"{'file differs' if len(problems) == 1 else 'files differ'}",
            hint=f"mend the files, or `dsa manifest {root} -o {path}` if they are right",
            problems=problems,
        )
    if compared.hidden_untracked:
        gone = drop(surveyed.scan, set(compared.hidden_untracked), "hidden, not in the list")
        surveyed.digests.drop(gone)


def files(surveyed: Survey) -> list[djarchive.Found]:
    """Return every file with its digests in hex, a link as what it points at.

    As the old program did it: a link to a file counts as that file, one to a folder not at all.
    """
    by_path: dict[str, tuple[int, str, str]] = {}
    links: list[str] = []
    row = 0
    for folder in surveyed.scan.folders:
        prefix = f"{folder.path}/" if folder.path else ""
        for name, mode, size in zip(folder.names, folder.modes, folder.sizes, strict=True):
            if mode == LINK:
                links.append(prefix + name)
            elif mode != FOLDER:
                digests = surveyed.digests
                by_path[prefix + name] = (
                    size,
                    digests.sha1_of(row).hex(),
                    digests.sha256_of(row).hex(),
                )
            row += 1
    found = [djarchive.Found(path, *facts) for path, facts in by_path.items()]
    root = surveyed.scan.root.resolve()
    for path in links:
        target = (root / path).resolve()
        facts = by_path.get(str(target.relative_to(root))) if target.is_relative_to(root) else None
        if facts is not None:
            found.append(djarchive.Found(path, *facts))
    return found
