"""What is in a folder: every entry's name, mode and stat, in the order of a listing.

A scan reads no file's content. It keeps a few columns for each folder, not an object for each file.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from pathlib import Path

from dsa.cas.names import MAX_ENTRY_BYTES, check_entry_name, is_git_folder, leaves_tree
from dsa.cas.trees import EXECUTABLE, FILE, FOLDER, LINK
from dsa.errors import AccessError, DsaError, NotFoundError
from dsa.workers.signature import NO_SIGNATURE, SIGNATURE, signature
from dsa.worktree.djarchive import MANIFEST_NAME
from dsa.worktree.ignore import IGNORE_FILE, Ignore
from dsa.worktree.links import leading_out

_MAX_DEPTH = 255
_MAX_FOLDER_BYTES = 4096 - MAX_ENTRY_BYTES - 1
_KIND = 0o170000  # of a mode: a file, a folder, a link


@dataclass(slots=True)
class Folder:
    """One folder's entries, in git's order: column by column."""

    path: str  # "" for the root
    names: list[str] = field(default_factory=list)
    modes: array[int] = field(default_factory=lambda: array("I"))  # as in a tree
    sizes: array[int] = field(default_factory=lambda: array("q"))  # in bytes; 0 for a folder
    signatures: bytes = b""  # SIGNATURE.size each; zeros for a folder


@dataclass(slots=True)
class Scan:
    """All folders of a tree, sorted as in a listing, and what was not taken."""

    root: Path
    folders: list[Folder] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what a push refuses, a line each
    strange: list[str] = field(default_factory=list)  # their paths
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> number
    closed: list[str] = field(default_factory=list)  # paths of what is never looked into
    ignored: list[str] = field(
        default_factory=list
    )  # by .dsaignore or --exclude; a folder ends in /
    links: dict[str, str] = field(default_factory=dict)  # path -> target, of those to be pushed

    def __len__(self) -> int:
        return sum(len(folder.names) for folder in self.folders)

    def refuse(self, path: str, reason: str) -> None:
        """Note something that cannot be pushed; a path that is not UTF-8 is shown as bytes."""
        try:
            path.encode()
            self.problems.append(f"{path}: {reason}")
        except UnicodeEncodeError:
            self.problems.append(f"{os.fsencode(path)!r}: {reason}")
        self.strange.append(path)

    def link_problem(self, path: str) -> str | None:
        """Read a link; return why it cannot be pushed as a link, or note where it points."""
        target = os.readlink(os.path.join(self.root, path))
        try:
            target.encode()
        except UnicodeEncodeError:
            return "a link whose target is not UTF-8"
        if leaves_tree(path.rpartition("/")[0], target):
            return f"a link that leaves the tree, to {target} {_FOLLOW}"
        self.links[path] = target
        return None

    def links_leading_out(self) -> dict[str, str]:
        """Return the links that leave the tree through others, and what to say of each."""
        return {
            path: f"a link that leaves the tree through another link, to {self.links[path]} {_FOLLOW}"
            for path in leading_out(self.links)
        }

    def check(self) -> None:
        """Refuse the whole tree, naming everything in it that cannot be pushed."""
        if self.problems:
            count = len(self.problems)
            raise DsaError(
                f"{self.root} holds {count} {'thing' if count == 1 else 'things'} that cannot be pushed",
                hint="remove or rename them, or leave them out with --exclude or .dsaignore",
                problems=self.problems,
            )


def drop(found: Scan, paths: set[str], reason: str) -> list[int]:
    """Take these files out of a scan, and hidden folders that have nothing else; return their rows."""
    rows: list[int] = []
    stop = len(found)
    gone: set[str] = set()
    for folder in reversed(found.folders):  # what is inside a folder comes before it
        start = stop - len(folder.names)
        prefix = f"{folder.path}/" if folder.path else ""
        out = [
            at
            for at, name in enumerate(folder.names)
            if prefix + name in paths or prefix + name in gone
        ]
        if out:
            found.left_out[reason] += sum(folder.modes[at] != FOLDER for at in out)
            _remove(folder, set(out))
            rows += [start + at for at in out]
        if out and not folder.names and f"/{folder.path}".count("/."):
            gone.add(folder.path)
        stop = start
    found.folders = [folder for folder in found.folders if folder.path not in gone]
    return sorted(rows)


def _remove(folder: Folder, out: set[int]) -> None:
    kept = [at for at in range(len(folder.names)) if at not in out]
    width = SIGNATURE.size
    folder.names = [folder.names[at] for at in kept]
    folder.modes = array("I", [folder.modes[at] for at in kept])
    folder.sizes = array("q", [folder.sizes[at] for at in kept])
    folder.signatures = b"".join(folder.signatures[at * width : (at + 1) * width] for at in kept)


def scan(
    root: Path,
    *,
    exclude: tuple[str, ...] = (),
    follow_links: bool = False,
    everything: bool = False,
    tick: Callable[[int], None] = lambda _: None,
) -> Scan:
    """Describe everything below `root` that a push would take; `tick(n)` hears of n more entries.

    With `everything` also what it would leave out or refuse, as far as a listing can hold it:
    ignored files, and links that leave the tree.

    Folders come in the order of their paths' bytes, so that the result is sorted as it grows:
    every folder is larger than the one that it is in, and the heap always gives the smallest.
    """
    if not root.is_dir():
        what = "is not a folder" if root.exists() else "does not exist"
        raise NotFoundError(f"{root} {what}")
    found = Scan(root)
    walk = _Walk(found, None if everything else Ignore.for_root(root, exclude), follow_links)
    top = root.stat()
    heap: list[tuple[bytes, str, Trail]] = [(b"", "", ((top.st_dev, top.st_ino),))]
    while heap:
        _, path, above = heappop(heap)
        folder, inside = walk.folder(path, above)
        found.folders.append(folder)
        tick(len(folder.names))
        for child, trail in inside:
            heappush(heap, (os.fsencode(child), child, trail))
    for path, problem in found.links_leading_out().items():
        found.refuse(path, problem)
    found.problems.sort()
    return found


#: The folders (device, inode) above one, kept to notice a loop of links that are followed.
Trail = tuple[tuple[int, int], ...]

#: An entry: what it is sorted by, name, mode as in a tree, size in bytes, signature.
_Row = tuple[bytes, str, int, int, bytes]


class _Walk:
    """Reads folders one by one, and notes what is not taken."""

    def __init__(self, found: Scan, ignore: Ignore | None, follow_links: bool) -> None:
        self._found = found
        self._ignore = ignore  # None: everything is taken that a listing can hold
        self._follow_links = follow_links

    def folder(self, path: str, above: Trail) -> tuple[Folder, list[tuple[str, Trail]]]:
        """Return a folder's entries, and the folders in it with those above them."""
        here = os.path.join(self._found.root, path)
        try:
            with os.scandir(here) as listed:
                entries = list(listed)
        except PermissionError as error:
            raise AccessError(f"no permission to read the folder {here}") from error
        if self._ignore:
            self._ignore.enter(path, IGNORE_FILE in [entry.name for entry in entries])
        is_simple = bool(path) and not (self._ignore and self._ignore.active)
        rows: list[_Row] = []
        inside: list[tuple[str, Trail]] = []
        pack = SIGNATURE.pack
        for entry in entries:
            name = entry.name
            if is_simple and name.isascii() and name[0] != "." and "~" not in name:
                # Nearly every entry ends here: no call that can be spared.
                try:
                    info = entry.stat(follow_symlinks=False)
                except OSError:
                    info = None  # seen again below, and named
                if info is not None and info.st_mode & _KIND == stat.S_IFREG:
                    mode, size = info.st_mode, info.st_size
                    times = (info.st_mtime_ns, info.st_ctime_ns)
                    made = pack(mode, size, *times, info.st_ino, info.st_dev)
                    kind = EXECUTABLE if mode & stat.S_IXUSR else FILE
                    rows.append((name.encode(), name, kind, size, made))
                    continue
            row = self._look_closer(entry, path, above, inside)
            if row is not None:
                rows.append(row)
        rows.sort()
        return _columns(path, rows), inside

    def _look_closer(
        self, entry: os.DirEntry[str], folder: str, above: Trail, inside: list[tuple[str, Trail]]
    ) -> _Row | None:
        """Return an entry's row, None if it is not taken; add a folder to `inside`."""
        found, name = self._found, entry.name
        path = f"{folder}/{name}" if folder else name
        if name == ".dsa" or is_git_folder(name):
            found.left_out[".dsa" if name == ".dsa" else ".git"] += 1
            found.closed.append(path)
            return None
        try:
            info = entry.stat(follow_symlinks=False)
            if self._follow_links and stat.S_ISLNK(info.st_mode):
                info = os.stat(entry.path)
        except FileNotFoundError:
            if entry.is_symlink():
                found.refuse(path, "a link to nothing")
            return None  # gone since the folder was listed
        except OSError as error:
            found.refuse(path, error.strerror or str(error))
            return None
        is_folder = stat.S_ISDIR(info.st_mode)
        if self._ignore and path == MANIFEST_NAME and not is_folder:
            found.left_out[name] += 1
            return None
        if self._ignore and self._ignore.active and self._ignore.ignored(path, is_dir=is_folder):
            found.left_out["ignored"] += 1
            found.ignored.append(f"{path}/" if is_folder else path)
            return None
        if is_folder and self._follow_links and (info.st_dev, info.st_ino) in above:
            found.refuse(path, "a link to a folder that it is in")
            return None
        problem = self._problem(entry, path, info.st_mode)
        if problem is not None:
            found.refuse(path, problem)
            return None
        encoded = name.encode()
        if is_folder:
            inside.append(
                (path, (*above, (info.st_dev, info.st_ino)) if self._follow_links else ())
            )
            return encoded + b"/", name, FOLDER, 0, NO_SIGNATURE
        mode = LINK
        if stat.S_ISREG(info.st_mode):
            mode = EXECUTABLE if info.st_mode & stat.S_IXUSR else FILE
        return encoded, name, mode, info.st_size, signature(info)

    def _problem(self, entry: os.DirEntry[str], path: str, mode: int) -> str | None:
        """Return why no listing can hold an entry, None if one can."""
        try:
            check_entry_name(os.fsencode(entry.name))
        except ValueError as error:
            return str(error)
        if stat.S_ISDIR(mode):
            is_too_long = len(path.encode()) > _MAX_FOLDER_BYTES or path.count("/") >= _MAX_DEPTH
            return "a path that is too long or too deep" if is_too_long else None
        if stat.S_ISLNK(mode):
            return self._found.link_problem(path) if self._ignore else None
        return None if stat.S_ISREG(mode) else _KINDS.get(_KIND & mode, "of an unknown kind")


def _columns(path: str, rows: list[tuple[bytes, str, int, int, bytes]]) -> Folder:
    folder = Folder(path)
    if rows:
        _, names, modes, sizes, signatures = zip(*rows, strict=True)
        folder.names = list(names)
        folder.modes = array("I", modes)
        folder.sizes = array("q", sizes)
        folder.signatures = b"".join(signatures)
    return folder


_FOLLOW = "(--follow-links takes what it points at)"

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
