"""The folder that a checkout works in: made, locked, and asked what kind of names it keeps apart."""

from __future__ import annotations

import fcntl
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsa.errors import ConflictError
from dsa.worktree.state import FOLDER, holds_state, make_folder


@contextmanager
def working_in(root: Path) -> Iterator[Path]:
    """Make and lock a folder, and give a place in it for temporary files.

    Where nothing was begun, nothing of it stays: no `.dsa`, and no folder that was made here. Raises:
    `ConflictError` where another checkout works.
    """
    made = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        is_new = not (root / FOLDER).exists()
        own = make_folder(root)
        with (own / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    f"another checkout works in {root}", hint="run this one again when it has ended"
                ) from None
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
