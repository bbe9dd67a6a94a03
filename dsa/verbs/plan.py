"""What a checkout has to do to a folder, decided before anything is touched.

A file in the way whose bytes are neither the target's nor those of a revision that was checked
out here before is somebody's work: a conflict. Unknown files elsewhere stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.trees import EXECUTABLE, FOLDER, LINK


@dataclass(frozen=True, slots=True)
class Disk:
    """What lies in the folder now."""

    table: pa.Table  # a listing's rows; digests of files that matter are known
    signature_of: Callable[[int], bytes]  # of a row
    strange: frozenset[str]  # paths of what no listing can hold: FIFOs, names that are not UTF-8
    closed: frozenset[str] = frozenset()  # folders never looked into, nor removed: .git, .dsa
    ignored: Callable[[str], bool] = lambda _: False  # what --clean never removes


@dataclass(slots=True)
class Plan:
    """What to do, in this order: remove, folders, write, permissions."""

    write: pa.Array  # rows of the target
    expected: dict[int, bytes] = field(default_factory=dict)  # row -> signature of what it replaces
    is_fresh: bool = True  # nothing was in the folder: no row of `write` replaces anything
    unchanged: list[tuple[int, int]] = field(default_factory=list)  # row of the target, row on disk
    permissions: list[int] = field(default_factory=list)  # rows whose executable bit differs
    make: list[str] = field(default_factory=list)  # folders, outer ones first
    remove: list[tuple[str, bytes]] = field(default_factory=list)  # path, signature (b"": strange)
    remove_folders: list[str] = field(default_factory=list)  # if they are empty, inner ones first
    conflicts: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # unknown files that stay
    edited: list[str] = field(
        default_factory=list
    )  # edited files that the target lacks, and that stay
    replaced: list[str] = field(default_factory=list)  # somebody's work that --force overwrites

    @property
    def changes_anything(self) -> bool:
        """Whether there is anything to do."""
        todo = (self.permissions, self.make, self.remove, self.remove_folders)
        return len(self.write) > 0 or any(todo)


def same_files(disk: pa.Table, target: pa.Table) -> bool:
    """Whether both have the same rows in the same order, their folders' digests apart."""
    if len(disk) != len(target):
        return False
    for name in ("folder", "name", "mode"):
        columns = [listing.one_chunk(table[name]) for table in (disk, target)]
        if name == "folder":
            columns = [column.cast(pa.string()) for column in columns]
        if not columns[0].equals(columns[1]):
            return False
    same = pc.or_(pc.equal(disk["sha256"], target["sha256"]), pc.equal(target["mode"], FOLDER))
    return bool(pc.all(same, min_count=0).as_py())


def wanted_digests(target: pa.Table, disk: pa.Table, known: Sequence[pa.Table]) -> pa.Array:
    """Return the rows on disk whose content decides anything: files where a listing has a file."""
    paths = listing.paths(disk)
    matters = pc.is_in(paths, value_set=listing.paths(target))
    for table in known:
        matters = pc.or_(matters, pc.is_in(paths, value_set=listing.paths(table)))
    return pc.indices_nonzero(pc.and_(matters, pc.not_equal(disk["mode"], FOLDER)))


def plan(
    target: pa.Table, disk: Disk, known: Sequence[pa.Table], *, force: bool, clean: bool
) -> Plan:
    """Decide what turns the folder into `target` (files, links and folders, in a listing's order)."""
    is_folder = listing.one_chunk(pc.equal(target["mode"], FOLDER))
    folders = listing.paths(target.filter(is_folder)).to_pylist()
    if not len(disk.table) and not disk.strange:
        return Plan(pc.indices_nonzero(pc.invert(is_folder)), make=folders)
    return _Planner(target, disk, known, force, clean).plan(folders)


class _Planner:
    """The work of `plan`; rows that are equal on both sides never become Python objects."""

    def __init__(
        self, target: pa.Table, disk: Disk, known: Sequence[pa.Table], force: bool, clean: bool
    ) -> None:
        self._target = target
        self._disk = disk
        self._force = force
        self._clean = clean
        self._paths = listing.paths(target)
        self._disk_paths = listing.paths(disk.table)
        self._known = _content_by_path(known, self._differing_paths())
        self._plan = Plan(pa.array([], pa.int64()), is_fresh=False)
        self._gone: set[str] = set()  # what makes room: paths that will not be there any more

    def plan(self, folders: list[str]) -> Plan:
        made = self._plan
        self._rows_on_disk = {path: row for row, path in self._unequal()}
        wanted_folders = set(folders)
        self._remove_what_is_not_wanted(wanted_folders)
        for folder in folders:
            self._make_folder(folder)
        made.write = pa.array(sorted(self._rows_to_write()), pa.int64())
        made.remove_folders = sorted(self._folders_to_remove(wanted_folders), reverse=True)
        for paths in (made.conflicts, made.kept, made.edited, made.replaced):
            paths.sort()
        return made

    def _differing_paths(self) -> pa.Array:
        """Note which rows are equal on both sides; return the disk's other paths."""
        at = pc.index_in(self._paths, value_set=self._disk_paths)
        disk = self._disk.table
        there = pc.and_(pc.is_valid(at), pc.not_equal(self._target["mode"], FOLDER))
        same = pc.and_kleene(there, pc.equal(self._target["sha256"], disk["sha256"].take(at)))
        modes = disk["mode"].take(at)
        same_kind = pc.equal(pc.equal(self._target["mode"], LINK), pc.equal(modes, LINK))
        same = pc.and_kleene(same, pc.and_kleene(same_kind, pc.not_equal(modes, FOLDER)))
        self._same = listing.one_chunk(pc.fill_null(same, False))
        rows = pc.indices_nonzero(self._same)
        self._equal_at = listing.one_chunk(at).take(rows)
        self._equal_rows = rows
        equal = pa.array([False] * len(disk), pa.bool_())
        if len(rows):
            equal = pc.is_in(pa.array(range(len(disk)), pa.int32()), value_set=self._equal_at)
        self._disk_equal = equal
        return self._disk_paths.filter(pc.invert(equal))

    def _unequal(self) -> Iterable[tuple[int, str]]:
        """Yield the disk's rows that are not equal to the target's; note the others as unchanged."""
        rows, at = self._equal_rows.to_pylist(), self._equal_at.to_pylist()
        self._plan.unchanged = list(zip(rows, at, strict=True))
        exec_wanted = pc.equal(self._target["mode"].take(self._equal_rows), EXECUTABLE)
        exec_there = pc.equal(self._disk.table["mode"].take(self._equal_at), EXECUTABLE)
        wrong = pc.indices_nonzero(listing.one_chunk(pc.not_equal(exec_wanted, exec_there)))
        self._plan.permissions = self._equal_rows.take(wrong).to_pylist()
        for row in pc.indices_nonzero(pc.invert(self._disk_equal)).to_pylist():
            yield row, self._disk_paths[row].as_py()

    def _remove_what_is_not_wanted(self, wanted_folders: set[str]) -> None:
        """Sort out what is on disk and not in the target: removed, edited or unknown."""
        wanted = set(self._paths.filter(pc.invert(self._same)).to_pylist())
        files = set(
            self._paths.filter(
                pc.and_(pc.invert(self._same), pc.not_equal(self._target["mode"], FOLDER))
            ).to_pylist()
        )
        self._wanted_files = files
        for path, row in self._rows_on_disk.items():
            if self._mode(row) == FOLDER or path in wanted:
                continue
            blocks = self._blocked_file(path, files)
            if self._is_known(path, row):
                self._remove(path, row)
            elif blocks is not None:
                self._in_the_way(path, row, is_unknown=path not in self._known)
            elif path in self._known:
                self._plan.edited.append(path)
            elif self._clean and not self._disk.ignored(path):
                self._remove(path, row)
            else:
                self._plan.kept.append(path)
        for path in self._disk.strange:
            if path not in wanted and path not in wanted_folders:
                if self._blocked_file(path, files) is not None:
                    self._in_the_way(path, None, is_unknown=True)
                else:
                    self._plan.kept.append(path)
        for path in self._disk.closed:
            if self._blocked_file(path, files) is not None:
                self._plan.conflicts.append(path)

    def _make_folder(self, folder: str) -> None:
        row = self._rows_on_disk.get(folder)
        if row is not None and self._mode(row) == FOLDER:
            return
        if row is not None:
            if self._is_known(folder, row):
                self._remove(folder, row)
            else:
                self._in_the_way(folder, row, is_unknown=False)
        elif folder in self._disk.strange:
            self._in_the_way(folder, None, is_unknown=False)
        self._plan.make.append(folder)

    def _rows_to_write(self) -> Iterable[int]:
        missing = pc.and_(pc.invert(self._same), pc.not_equal(self._target["mode"], FOLDER))
        for row in pc.indices_nonzero(listing.one_chunk(missing)).to_pylist():
            path = self._paths[row].as_py()
            there = self._rows_on_disk.get(path)
            if there is None:
                if path in self._disk.strange:
                    self._in_the_way(path, None, is_unknown=False)
            elif self._mode(there) == FOLDER:
                self._plan.remove_folders.append(path)
            elif self._is_known(path, there):
                self._plan.expected[row] = self._disk.signature_of(there)
            elif self._force:
                self._plan.replaced.append(path)
                self._plan.expected[row] = self._disk.signature_of(there)
            else:
                self._plan.conflicts.append(path)
            yield row

    def _folders_to_remove(self, wanted: set[str]) -> Iterable[str]:
        """Yield folders that a listing had and the target lacks, and those in a file's place."""
        for path, row in self._rows_on_disk.items():
            if self._mode(row) == FOLDER and path not in wanted:
                in_the_way = (
                    self._blocked_file(path, self._wanted_files) is not None
                    or path in self._wanted_files
                )
                if path in self._known or in_the_way or self._clean:
                    yield path

    def _blocked_file(self, path: str, files: set[str]) -> str | None:
        """Return the file of the target that a folder above `path` stands in the way of."""
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                return folder
            folder = folder.rpartition("/")[0]
        return None

    def _in_the_way(self, path: str, row: int | None, *, is_unknown: bool) -> None:
        """Something stands where the target needs room; an unknown file asks for --clean too."""
        if self._force and (self._clean or not is_unknown):
            self._plan.replaced.append(path)
            self._remove(path, row)
        else:
            self._plan.conflicts.append(path)

    def _remove(self, path: str, row: int | None) -> None:
        self._plan.remove.append((path, b"" if row is None else self._disk.signature_of(row)))

    def _mode(self, row: int) -> int:
        return int(self._disk.table["mode"][row].as_py())

    def _is_known(self, path: str, row: int) -> bool:
        """Whether a file holds what some revision checked out here has at this path."""
        content = (self._disk.table["sha256"][row].as_py(), self._mode(row) == LINK)
        return content in self._known.get(path, ())


def _content_by_path(
    tables: Sequence[pa.Table], paths: pa.Array
) -> dict[str, set[tuple[bytes, bool]]]:
    """Return (raw SHA-256, is a link) of these paths in any of the listings; for a folder, nothing."""
    known: dict[str, set[tuple[bytes, bool]]] = {}
    for table in tables:
        all_paths = listing.paths(table)
        mask = pc.is_in(all_paths, value_set=paths)
        rows = table.filter(mask)
        columns = (
            all_paths.filter(mask).to_pylist(),
            rows["sha256"].to_pylist(),
            rows["mode"].to_pylist(),
        )
        for path, check, mode in zip(*columns, strict=True):
            contents = known.setdefault(path, set())
            if mode != FOLDER:
                contents.add((check, mode == LINK))
    return known
