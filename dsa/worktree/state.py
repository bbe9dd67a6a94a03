"""What a worktree remembers, in `.dsa/` inside it: never in a store."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from dsa.cas import strictjson
from dsa.cas.ids import BlobId, ManifestId, ObjectId, Sha256, TreeId
from dsa.cas.manifest import Manifest
from dsa.errors import ConflictError, DamageError, UsageError
from dsa.worktree.atomic import replacing
from dsa.worktree.selection import Selection

if TYPE_CHECKING:
    import pyarrow as pa

    from dsa.cas.listing import Listing
    from dsa.cas.revisions import Published

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

FOLDER = ".dsa"
_STATE = "worktree.json"
_PENDING = "pending.json"
_BASE = "base"
LOCK = "lock"  # held by whoever changes the worktree, and by a push while it looks at it


@dataclass(frozen=True, slots=True)
class Worktree:
    """Which revision lies in a folder, and where it came from.

    While a checkout runs, the listings of all revisions whose files may lie here are kept: a file
    with the bytes of one of them is nobody's work.
    """

    root: Path
    store: str  # how a person names it
    dataset: str
    revision: str
    manifest: ManifestId
    data: TreeId
    sha256: Sha256  # of the root folder
    revision_json: BlobId
    selection: Selection

    @classmethod
    def at(cls, root: Path) -> Self | None:
        """Return what is checked out in this very folder, None if nothing was."""
        return _load(root, _STATE, lambda value: cls._decode(root, value))

    @classmethod
    def _decode(cls, root: Path, value: dict[str, Any]) -> Self:
        return cls(
            root,
            str(value["store"]),
            str(value["dataset"]),
            str(value["revision"]),
            ManifestId(ObjectId.parse(value["manifest"])),
            TreeId(ObjectId.parse(value["data"])),
            Sha256.parse(value["sha256"]),
            BlobId(ObjectId.parse(value["revision.json"])),
            Selection(tuple(map(str, value["selection"]))),
        )

    @classmethod
    def around(cls, folder: Path) -> Self | None:
        """Return the worktree that a folder is in."""
        here = folder.resolve()
        for root in (here, *here.parents):
            found = cls.at(root)
            if found is not None:
                return found
        return None

    @classmethod
    def of(cls, root: Path, store: str, published: Published, selection: Selection) -> Self:
        """Return the state of a folder in which this revision lies."""
        return cls(
            root,
            store,
            published.dataset,
            published.revision,
            published.id,
            published.manifest.data,
            published.info.sha256,
            published.manifest.revision,
            selection,
        )

    def __str__(self) -> str:
        return f"{self.dataset}@{self.revision}"

    def save(self) -> None:
        """Write the state: from now on this is what is checked out."""
        value = {
            "store": self.store,
            "dataset": self.dataset,
            "revision": self.revision,
            "manifest": str(self.manifest),
            "data": str(self.data),
            "sha256": str(self.sha256),
            "revision.json": str(self.revision_json),
            "selection": list(self.selection.selectors),
        }
        _save(self.root, _STATE, value)


@dataclass(frozen=True, slots=True)
class Pending:
    """What a checkout goes to, from before its first change until it is checked out.

    While it is there, the folder is a mix of revisions, and nothing that could be published.
    """

    root: Path
    dataset: str
    revision: str
    manifest: ManifestId
    selection: Selection

    @classmethod
    def at(cls, root: Path) -> Self | None:
        """Return what the unfinished checkout into this very folder goes to, None if there is none."""
        return _load(root, _PENDING, lambda value: cls._decode(root, value))

    @classmethod
    def _decode(cls, root: Path, value: dict[str, Any]) -> Self:
        return cls(
            root,
            str(value["dataset"]),
            str(value["revision"]),
            ManifestId(ObjectId.parse(value["manifest"])),
            Selection(tuple(map(str, value["selection"]))),
        )

    def __str__(self) -> str:
        return f"{self.dataset}@{self.revision}"

    def save(self) -> None:
        """Write it down: from now on the folder changes."""
        value = {
            "dataset": self.dataset,
            "revision": self.revision,
            "manifest": str(self.manifest),
            "selection": list(self.selection.selectors),
        }
        _save(self.root, _PENDING, value)

    def end(self) -> None:
        """Forget it: it is what is checked out."""
        (self.root / FOLDER / _PENDING).unlink(missing_ok=True)


def refuse_unfinished(folder: Path) -> None:
    """Raise `ConflictError` if a checkout into the worktree around a folder was not finished."""
    root = root_around(folder)
    pending = Pending.at(root) if root else None
    if pending is not None:
        raise ConflictError(
            f"a checkout of {pending} into {pending.root} was not finished",
            hint=f"run `dsa checkout {pending} {shlex.quote(str(pending.root))}` again",
        )


def root_around(folder: Path) -> Path | None:
    """Return the nearest folder, this one or one above it, in which a checkout ever worked."""
    here = folder.resolve()
    for root in (here, *here.parents):
        own = root / FOLDER
        if own.is_dir() and not own.is_symlink() and (holds_state(root) or (own / LOCK).exists()):
            return root
    return None


def _load(root: Path, name: str, decode: Callable[[dict[str, Any]], _T]) -> _T | None:
    """Read one of the files that `_save` writes; None if it is not there."""
    path = root / FOLDER / name
    try:
        value = strictjson.loads(path.read_bytes(), what=str(path))
        if value["format"] != 1:
            raise ValueError("it was written by a newer release")
        return decode(value)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, UsageError) as error:
        raise DamageError(
            f"{path} cannot be read: {error}",
            hint=f"move {root / FOLDER} away; the next checkout makes it anew and keeps your files",
        ) from error


def _save(root: Path, name: str, value: dict[str, Any]) -> None:
    with replacing(make_folder(root) / name) as partial:
        partial.write_bytes(strictjson.dumps({"format": 1, **value}))


def statcache_path(root: Path) -> Path:
    """Return where a worktree's stat cache lies."""
    return root / FOLDER / "stat.arrow"


def partials(root: Path) -> Path:
    """Return where large files grow that a checkout fetches; the next one goes on with them."""
    return root / FOLDER / "partial"


def make_folder(root: Path) -> Path:
    """Return `.dsa` in this folder, made if need be."""
    folder = root / FOLDER
    if folder.is_symlink():
        raise DamageError(f"{folder} is a link; dsa keeps its own files only in a folder")
    folder.mkdir(exist_ok=True)
    return folder


def keep_base(
    root: Path, manifest: ManifestId, made: Manifest, sealed: Listing, revision_json: bytes
) -> None:
    """Keep a revision's listing, so that its files are known here even without the store."""
    from dsa.cas.index import write_index

    path = _base(root, manifest)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        write_index(partial, sealed, made, revision_json)


def holds_state(root: Path) -> bool:
    """Whether a checkout was ever begun here."""
    return any((root / FOLDER / name).exists() for name in (_STATE, _PENDING, _BASE))


def base_table(root: Path, manifest: ManifestId) -> pa.Table | None:
    """Return the rows of a listing that is kept here, None if there is none that can be read."""
    path = _base(root, manifest)
    return _read(path) if path.exists() else None


def base_tables(root: Path) -> Iterator[pa.Table]:
    """Yield the rows of every revision whose files may lie here."""
    for path in sorted((root / FOLDER / _BASE).glob("*.parquet")):
        table = _read(path)
        if table is not None:
            yield table


def forget_bases(root: Path, but: ManifestId) -> None:
    """Drop the listings of revisions that no file here belongs to any more."""
    for path in (root / FOLDER / _BASE).glob("*"):
        if path != _base(root, but):
            with suppress(OSError):
                path.unlink()


def _base(root: Path, manifest: ManifestId) -> Path:
    return root / FOLDER / _BASE / f"{manifest}.parquet"


def _read(path: Path) -> pa.Table | None:
    from dsa.cas.index import IndexProblem, open_index

    try:
        return open_index(path, path.stat().st_size).read()
    except (IndexProblem, OSError) as error:
        logger.warning("%s is not used, and removed: %s", path, error)
        with suppress(OSError):
            path.unlink()  # so that the next checkout makes it anew
        return None
