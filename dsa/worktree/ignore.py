"""What a push leaves out because a person said so: `.dsaignore` files and `--exclude`.

Both speak gitignore's language, and dulwich reads it. A `.gitignore` that lies in the data is
only data: source trees are full of them, and some would leave out everything.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dsa.cas.names import printable
from dsa.errors import DsaError, UsageError

if TYPE_CHECKING:
    from dulwich.ignore import Pattern

IGNORE_FILE = ".dsaignore"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Ignore:
    """The rules for one walk from the top; knows nothing of `.git` and `.dsa`.

    The walk goes down from the root, calls `enter` for a folder that holds an ignore file before
    it asks about anything in it, and does not go into a folder that is ignored: as with git,
    nothing below one can be taken back in.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        #: Any rule at all; without one, `ignored` need not be called.
        self.active = False
        self._excluded: list[Pattern] = []
        self._own: dict[str, list[Pattern]] = {}
        self._chains: dict[str, list[tuple[int, list[Pattern]]]] = {}

    @classmethod
    def for_root(cls, root: Path, exclude: Sequence[str] = ()) -> Self:
        """Take the patterns of `--exclude`, which go before every file, and the root's file.

        Raises: `UsageError` for a pattern of `exclude` that cannot be read, `DsaError` for the
        file (`enter`).
        """
        ignore = cls(root)
        ignore._excluded = [_excluded(glob) for glob in exclude]
        ignore.active = bool(exclude)
        ignore.enter("", has_ignore_file=True)
        return ignore

    def enter(self, folder: str, has_ignore_file: bool) -> None:
        """Obey the `.dsaignore` of a folder ("" the root, else `a/b`), if it has one.

        Raises: `DsaError` if it cannot be read, is not UTF-8 or has a pattern that means nothing:
        to go on would publish what somebody wanted left out.
        """
        if not has_ignore_file or folder in self._own:
            return
        patterns = list(_read(self._root / folder / IGNORE_FILE))
        self._own[folder] = patterns
        if patterns:
            self._chains.clear()
            self.active = True

    def ignored(self, path: str, is_dir: bool) -> bool:
        """Say whether an entry is left out; a link to a folder is no folder.

        The file that lies deepest decides, and in it the last pattern that matches. As with git,
        `build/*` leaves out what `build` holds, not `build` itself.
        """
        if not self.active:
            return False
        folder = path.rpartition("/")[0]
        chain = self._chains.get(folder)
        if chain is None:
            chain = self._chains[folder] = list(self._chain(folder))
        # Names that are not UTF-8 are asked about too: an ignored one does not stop a push.
        name = path.encode("utf-8", "surrogateescape")
        for start, patterns in chain:
            relative = name[start:]
            for pattern in patterns:
                if pattern.matches(relative, is_dir):
                    return pattern.is_exclude
        return False

    def _chain(self, folder: str) -> Iterator[tuple[int, list[Pattern]]]:
        """Yield the rules for a folder's entries, the first that matches decides.

        With each list goes the number of bytes of a path that lie above its file.
        """
        yield 0, self._excluded[::-1]
        while True:
            patterns = self._own.get(folder)
            if patterns:
                above = len(folder.encode("utf-8", "surrogateescape")) + 1 if folder else 0
                yield above, patterns[::-1]
            if not folder:
                return
            folder = folder.rpartition("/")[0]


def _excluded(glob: str) -> Pattern:
    from dulwich.ignore import Pattern
    from dulwich.wildmatch import MalformedPattern

    if not glob.strip("/!"):
        raise UsageError(f"not a pattern to exclude: '{printable(glob)}'")
    try:
        return Pattern(glob.encode("utf-8", "surrogateescape"))
    except MalformedPattern:
        raise UsageError(f"not a pattern to exclude: '{printable(glob)}'") from None


def _read(path: Path) -> Iterable[Pattern]:
    """Yield the patterns of a file; none if there is no file, or a folder in its place."""
    shown = printable(str(path))
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return
        if not stat.S_ISREG(mode):  # reading a FIFO would wait for ever
            raise DsaError(f"{shown} is not a regular file")
        data = path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise DsaError(f"{shown} is a link to nothing") from None
        return
    except OSError as error:
        raise DsaError(f"cannot read {shown}: {error.strerror}") from error
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DsaError(f"{shown}, line {line}: not UTF-8") from None
    yield from _patterns(data.removeprefix(_BYTE_ORDER_MARK), shown)


def _patterns(data: bytes, shown: str) -> Iterator[Pattern]:
    from io import BytesIO

    from dulwich.ignore import Pattern, read_ignore_patterns
    from dulwich.wildmatch import MalformedPattern

    for text in read_ignore_patterns(BytesIO(data)):
        try:
            # Not IgnoreFilter: it drops a pattern that it cannot read, with a word in the log.
            yield Pattern(text)
        except MalformedPattern:
            pattern = printable(text.decode("utf-8"))
            raise DsaError(f"{shown}: not a pattern: '{pattern}'") from None
