"""The folder that a checkout works in: made, locked, and asked what kind of names it keeps apart."""

from __future__ import annotations

import errno
import fcntl
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from dsa.errors import ConflictError
from dsa.remotes.local import translate
from dsa.worktree.state import (
    FOLDER,
    LOCK,
    holds_state,
    make_folder,
    refuse_unfinished,
    root_around,
)


@contextmanager
def working_in(root: Path) -> Iterator[Path]:
    """Make and lock a folder, and give a place in it for temporary files.

    Where nothing was begun, nothing of it stays: no `.dsa`, and no folder that was made here. Raises:
    `ConflictError` where another checkout works, or a push.
    """
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        is_new = not (root / FOLDER).exists()
        own = make_folder(root)
        with (own / LOCK).open("w") as lock:
            _take(lock, fcntl.LOCK_EX, root)
            temporary = own / "tmp"
            shutil.rmtree(temporary, ignore_errors=True)  # of a checkout that was killed
            temporary.mkdir()
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
                if is_new and not holds_state(root):
                    shutil.rmtree(own, ignore_errors=True)
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()  # only if it is empty


@contextmanager
def held_still(folder: Path) -> Iterator[None]:
    """Let no checkout work in the worktree around a folder, while a push looks at it and moves it.

    Outside a worktree nothing is done. Raises: `ConflictError` where a checkout works, or one was
    not finished.
    """
    root = root_around(folder)
    if root is None:
        yield
        return
    path = root / FOLDER / LOCK
    try:
        lock, kind = path.open("a"), fcntl.LOCK_EX
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise translate(error, str(path)) from error
        if not path.exists():  # nor can it be made: nobody works here
            refuse_unfinished(folder)
            yield
            return
        lock, kind = path.open(), fcntl.LOCK_SH  # who may only read can at least wait for others
    with lock:
        _take(lock, kind, root)
        refuse_unfinished(folder)
        yield


def _take(lock: IO[str], kind: int, root: Path) -> None:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConflictError(
            f"another checkout or push works in {root}", hint="run this one again when it has ended"
        ) from None


def fold(temporary: Path) -> Callable[[str], str] | None:
    """Return what this file system makes of a path before it compares it; None: nothing."""
    probe = temporary / "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    probe.touch()
    ignores_case = probe.with_name(probe.name.upper()).exists()
    normalises = probe.with_name(unicodedata.normalize("NFD", probe.name)).exists()
    probe.unlink()
    if ignores_case:
        return lambda path: unicodedata.normalize("NFC", path.casefold())
    if normalises:
        return lambda path: unicodedata.normalize("NFC", path)
    return None
