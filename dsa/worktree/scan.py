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

from dsa.cas.names import MAX_ENTRY_BYTES, check_entry_name, leaves_tree
from dsa.cas.trees import EXECUTABLE, FILE, FOLDER, LINK
from dsa.errors import AccessError, DsaError, NotFoundError
from dsa.workers.signature import NO_SIGNATURE, SIGNATURE, signature
from dsa.worktree.djarchive import MANIFEST_NAME
from dsa.worktree.ignore import IGNORE_FILE, Ignore

LEFT_OUT_FOLDERS = {".git", ".dsa"}
_MAX_DEPTH = 255
_MAX_FOLDER_BYTES = 4096 - MAX_ENTRY_BYTES - 1
_SUSPICIOUS = ".dD"  # how every spelling of .dsa in plain ASCII begins


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
    ignore = None if everything else Ignore.for_root(root, exclude)
    top = root.stat()
    heap: list[tuple[bytes, str, tuple[tuple[int, int], ...]]] = [
        (b"", "", ((top.st_dev, top.st_ino),))
    ]
    while heap:
        _, path, above = heappop(heap)
        folder, inside = _read_folder(found, path, ignore, follow_links, above)
        found.folders.append(folder)
        tick(len(folder.names))
        for child, trail in inside:
            heappush(heap, (os.fsencode(child), child, trail))
    found.problems.sort()
    return found


def _read_folder(
    found: Scan,
    path: str,
    ignore: Ignore | None,
    follow_links: bool,
    above: tuple[tuple[int, int], ...],
) -> tuple[Folder, list[tuple[str, tuple[tuple[int, int], ...]]]]:
    """Return one folder's entries, and the folders in it with the folders (device, inode) above them."""
    here = os.path.join(found.root, path)
    prefix = f"{path}/" if path else ""
    try:
        with os.scandir(here) as listed:
            entries = list(listed)
    except PermissionError as error:
        raise AccessError(f"no permission to read the folder {here}") from error
    if ignore:
        ignore.enter(path, any(entry.name == IGNORE_FILE for entry in entries))
    rows: list[tuple[bytes, str, int, int, bytes]] = []
    inside: list[tuple[str, tuple[tuple[int, int], ...]]] = []
    for entry in entries:
        name = entry.name
        if name in LEFT_OUT_FOLDERS:
            found.left_out[name] += 1
            found.closed.append(prefix + name)
            continue
        if ignore and name == MANIFEST_NAME and not path:
            found.left_out[name] += 1
            continue
        try:
            info = entry.stat(follow_symlinks=False)
            if follow_links and stat.S_ISLNK(info.st_mode):
                info = os.stat(entry.path)
            kind = stat.S_IFMT(info.st_mode)
            if (
                ignore
                and ignore.active
                and ignore.ignored(prefix + name, is_dir=kind == stat.S_IFDIR)
            ):
                found.left_out["ignored"] += 1
                found.ignored.append(prefix + name + ("/" if kind == stat.S_IFDIR else ""))
                continue
            encoded = name.encode()
        except FileNotFoundError:
            if entry.is_symlink():
                found.refuse(prefix + name, "a link to nothing")
            continue  # gone since the folder was listed
        except OSError as error:
            found.refuse(prefix + name, error.strerror or str(error))
            continue
        except UnicodeEncodeError:
            found.refuse(prefix + name, "a name that is not UTF-8")
            continue
        if name[0] in _SUSPICIOUS or len(encoded) > MAX_ENTRY_BYTES or not name.isascii():
            try:
                check_entry_name(encoded)
            except ValueError as error:
                found.refuse(prefix + name, str(error))
                continue
        if kind == stat.S_IFREG:
            mode = EXECUTABLE if info.st_mode & stat.S_IXUSR else FILE
            rows.append((encoded, name, mode, info.st_size, signature(info)))
        elif kind == stat.S_IFDIR:
            trail = above
            if follow_links:
                trail = (*above, (info.st_dev, info.st_ino))
                if (info.st_dev, info.st_ino) in above:
                    found.refuse(prefix + name, "a link to a folder that it is in")
                    continue
            if (
                prefix.count("/") >= _MAX_DEPTH
                or len(prefix.encode()) + len(encoded) > _MAX_FOLDER_BYTES
            ):
                found.refuse(prefix + name, "a path that is too long or too deep")
                continue
            rows.append((encoded + b"/", name, FOLDER, 0, NO_SIGNATURE))
            inside.append((prefix + name, trail))
        elif kind == stat.S_IFLNK:
            problem = ignore and _link_problem(entry.path, path)
            if problem:
                found.refuse(prefix + name, problem)
                continue
            rows.append((encoded, name, LINK, info.st_size, signature(info)))
        else:
            found.refuse(prefix + name, _KINDS.get(kind, "not a file, folder or link"))
    rows.sort()
    return _columns(path, rows), inside


def _columns(path: str, rows: list[tuple[bytes, str, int, int, bytes]]) -> Folder:
    folder = Folder(path)
    if rows:
        _, names, modes, sizes, signatures = zip(*rows, strict=True)
        folder.names = list(names)
        folder.modes = array("I", modes)
        folder.sizes = array("q", sizes)
        folder.signatures = b"".join(signatures)
    return folder


def _link_problem(path: str, folder: str) -> str | None:
    """Return why a link cannot be pushed as a link."""
    target = os.readlink(path)
    try:
        target.encode()
    except UnicodeEncodeError:
        return "a link whose target is not UTF-8"
    if leaves_tree(folder, target):
        return f"a link that leaves the tree, to {target} (--follow-links takes what it points at)"
    return None


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
