"""Many loose objects at once: dvc-objects moves them between file systems.

Nothing is verified here: whoever fetches hashes what came. Which objects go this way, and which
do not, is in docs/decisions/0014-loose-objects.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa.cas.backend import Backend
from dsa.errors import DamageError, DsaError
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.local import copy, translate
from dsa.remotes.retry import retried
from dsa.remotes.transfer import as_done

if TYPE_CHECKING:
    from dvc_objects.fs.base import FileSystem
    from fsspec.callbacks import Callback

logger = logging.getLogger(__name__)

#: What came of fetching one file: where it lies now, or why it does not.
Fetched = Path | Exception


def fetch(
    backend: Backend,
    keys: Iterable[str],
    folder: Path,
    jobs: int | None = None,
    *,
    most_bytes: int = 2**63 - 1,
) -> dict[str, Fetched]:
    """Copy files of a store into a local folder; return where each lies, or the error that it ended in.

    A file that is not there is a `KeyError`, one of more than `most_bytes` a `DamageError`; all
    others are `DsaError`. What passes was tried again. Meant for objects of up to some MiB.
    """
    targets = {key: folder / key.replace("/", "-") for key in keys}
    most = jobs or backend.jobs
    if isinstance(backend, FsspecBackend) and most > 1 and backend.fs.async_impl:
        return _by_dvc_objects(backend, targets, most, most_bytes)
    window = as_done(targets.items(), lambda item: _one(backend, *item, most_bytes), most)
    return {key: came for (key, _), came in window}


def _one(backend: Backend, key: str, target: Path, most_bytes: int) -> Fetched:
    try:
        with backend.open(key) as source, target.open("wb") as file:
            copy(source, file, most_bytes)
            if file.tell() > most_bytes:
                return _too_long(key)
    except (KeyError, DsaError) as error:
        return error
    except OSError as error:
        return translate(error, str(target))
    return target


def _by_dvc_objects(
    backend: FsspecBackend, targets: dict[str, Path], jobs: int, most_bytes: int
) -> dict[str, Fetched]:
    left = dict(targets)
    came: dict[str, Fetched] = {}

    def once() -> None:
        """Fetch what is left; raise the error of one that may succeed a little later."""
        if len(left) == 1:  # of one alone dvc-objects tells another error than the one that it met
            key, target = left.popitem()
            came[key] = _one(backend, key, target, most_bytes)
            return
        errors = _transfer(backend, left, jobs, most_bytes)
        for key, target in list(left.items()):
            error = errors.get(key)
            if error is None:
                came[key] = left.pop(key)
                backend.count(received=target.stat().st_size)
            elif not backend.passes(error):
                del left[key]
                came[key] = _told(backend, error, key)
        for key in left:
            raise errors[key]

    try:
        retried(once, backend.passes)
    except Exception as error:  # noqa: BLE001  # each is translated
        came |= {key: _told(backend, error, key) for key in left}
    return came


def _transfer(
    backend: FsspecBackend, targets: dict[str, Path], jobs: int, most_bytes: int
) -> dict[str, Exception]:
    """Let dvc-objects copy files; return the errors by key."""
    from dvc_objects.fs.generic import copy as copy_batch
    from dvc_objects.fs.local import localfs

    keys = {backend.path(key): key for key in targets}
    errors: dict[str, Exception] = {}

    def remember(path: str, _: str, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        errors[keys[path]] = error

    backend.count(requests=len(targets))
    copy_batch(
        _as_dvc_objects(backend),
        list(keys),
        localfs,
        [str(target) for target in targets.values()],
        callback=_limit(most_bytes),
        batch_size=jobs,
        on_error=remember,
    )
    return errors


def _as_dvc_objects(backend: FsspecBackend) -> FileSystem:
    from dvc_objects.fs.base import FileSystem

    class Remote(FileSystem):
        """A backend's file system, connected already."""

        protocol = backend.url.partition("://")[0]

    return Remote(fs=backend.fs)


def _limit(most_bytes: int) -> Callback:
    """Return what fsspec tells how far it is, and what ends a file that does not end."""
    from fsspec.callbacks import Callback

    class Limit(Callback):  # type: ignore[misc]  # it carries no types
        def branched(self, path_1: str, *_: Any, **__: Any) -> Callback:
            return File(path_1)

    class File(Callback):  # type: ignore[misc]  # it carries no types
        def __init__(self, path: str) -> None:
            super().__init__()
            self._path = path

        def call(self, *_: Any, **__: Any) -> None:
            if max(self.value or 0, self.size or 0) > most_bytes:
                raise _too_long(self._path)

    return Limit()


def _too_long(key: str) -> DamageError:
    return DamageError(f"{key} is larger than it may be")


def _told(backend: FsspecBackend, error: Exception, key: str) -> Exception:
    return error if isinstance(error, DsaError | KeyError) else backend.translated(error, key)
