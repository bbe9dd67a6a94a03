"""What a worktree remembers, in `.dsa/` inside it: never in a store."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from dsa.cas import strictjson
from dsa.cas.ids import BlobId, ManifestId, ObjectId, Sha256, TreeId
from dsa.cas.manifest import Manifest
from dsa.errors import DamageError, UsageError
from dsa.worktree.selection import Selection

if TYPE_CHECKING:
    import pyarrow as pa

    from dsa.cas.listing import Listing
    from dsa.cas.revisions import Published

logger = logging.getLogger(__name__)

FOLDER = ".dsa"
_STATE = "worktree.json"
_BASE = "base"


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
        path = root / FOLDER / _STATE
        try:
            value = strictjson.loads(path.read_bytes(), what=str(path))
            return cls._decode(root, value)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise DamageError(
                f"{path} cannot be read: {error}",
                hint=f"move {root / FOLDER} away; the next checkout makes it anew and keeps your files",
            ) from error

    @classmethod
    def _decode(cls, root: Path, value: dict[str, Any]) -> Self:
        if value["format"] != 1:
            raise ValueError("it was written by a newer release")
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
            "format": 1,
            "store": self.store,
            "dataset": self.dataset,
            "revision": self.revision,
            "manifest": str(self.manifest),
            "data": str(self.data),
            "sha256": str(self.sha256),
            "revision.json": str(self.revision_json),
            "selection": list(self.selection.selectors),
        }
        path = make_folder(self.root) / _STATE
        partial = path.with_name(f"{_STATE}.{uuid4().hex}")
        try:
            partial.write_bytes(strictjson.dumps(value))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def statcache_path(root: Path) -> Path:
    """Return where a worktree's stat cache lies."""
    return root / FOLDER / "stat.arrow"


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
    partial = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        write_index(partial, sealed, made, revision_json)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def holds_state(root: Path) -> bool:
    """Whether a checkout was ever begun here."""
    return any((root / FOLDER / name).exists() for name in (_STATE, _BASE))


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
