"""A revision as a Python object: its metadata first, its files only when they are asked for."""

from __future__ import annotations

import html
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dsa.cas.ids import ObjectId
from dsa.cas.names import printable
from dsa.cas.objects import Wanted
from dsa.cas.objectstore import ObjectStore
from dsa.cas.revisions import Published
from dsa.cas.trees import FOLDER
from dsa.errors import NotFoundError
from dsa.reports import Entry, ShowReport

if TYPE_CHECKING:
    import pyarrow as pa

    from dsa.remotes.cache import Cache
    from dsa.verbs.opening import Reading
    from dsa.verbs.sources import Sources

#: As many files as a notebook shows of a revision.
_SHOWN_FILES = 20
_KEPT_FOLDERS = 16


class File(Entry):
    """One file, link or folder of a revision: path, mode, size in bytes, sha1 and sha256 in hex."""

    __slots__ = ()


class Files(Mapping[str, File]):
    """The files and links of a revision by their path; read from the index as they are asked for."""

    def __init__(self, revision: Revision) -> None:
        self._revision = revision

    def __getitem__(self, path: str) -> File:
        try:
            row = self._revision._row(path)
        except NotFoundError:
            raise KeyError(path) from None
        if row["mode"] == FOLDER:
            raise KeyError(path)
        return _file(row)

    def __iter__(self) -> Iterator[str]:
        return (file.path for file in self._walk())

    def __len__(self) -> int:
        return int(self._revision.info["files"])

    def items(self) -> ItemsView[str, File]:
        """Return all files with their paths, read in one go."""
        return _Items(self)

    def values(self) -> ValuesView[File]:
        """Return all files, read in one go."""
        return _Values(self)

    def __repr__(self) -> str:
        return f"<{len(self)} files of {self._revision}>"

    def _walk(self) -> Iterator[File]:
        return (file for file in self._revision.walk() if file.files is None)


class _Items(ItemsView[str, File]):
    _mapping: Files

    def __iter__(self) -> Iterator[tuple[str, File]]:
        return ((file.path, file) for file in self._mapping._walk())


class _Values(ValuesView[File]):
    _mapping: Files

    def __iter__(self) -> Iterator[File]:
        return self._mapping._walk()


class Revision:
    """One published revision; its metadata is read when it is asked for, and no file with it.

    What cannot be read raises `DamageError`, and `NotFoundError` if it is there no more.
    """

    def __init__(
        self,
        store: ObjectStore,
        dataset: str,
        revision: str,
        *,
        sources: Sources | None = None,
        cache: Cache | None = None,
    ) -> None:
        """Name it; `sources` are where else its files may be read, `cache` is where they are kept."""
        self._store = store
        self._sources = sources
        self._cache = cache
        self.dataset = dataset
        self.revision = revision
        self._folders: dict[str, pa.Table] = {}

    @cached_property
    def _published(self) -> Published:
        return self._store.revisions.get(self.dataset, self.revision)

    @property
    def manifest(self) -> str:
        """The revision's identity: its manifest's id."""
        return str(self._published.id)

    @property
    def data(self) -> str:
        """The id of its tree: equal content has an equal one."""
        return str(self._published.manifest.data)

    @property
    def created(self) -> str:
        """When it was published: RFC 3339, UTC."""
        return self._published.info.created

    @property
    def author(self) -> str:
        """Who published it: `NAME <MAIL>`."""
        return self._published.info.author

    @property
    def message(self) -> str:
        """Why it was published, in the author's words."""
        return self._published.info.message

    @property
    def size(self) -> int:
        """All its files, in bytes."""
        return self._published.info.bytes

    def __str__(self) -> str:
        return f"{self.dataset}@{self.revision}"

    def __repr__(self) -> str:
        info = self._published.info
        return f"<Revision {self}: {info.files:,} files, {info.bytes:,} bytes, {self.created}, {printable(self.author)}>"

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What `revision.json` says."""
        return self._published.info.as_json()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the publisher said about it."""
        return self._published.info.metadata

    @property
    def files(self) -> Files:
        """Its files and links: a mapping from path to `File`."""
        return Files(self)

    def ls(self, prefix: str = "") -> Iterator[File]:
        """Yield a folder's direct entries, or the one file that `prefix` names.

        Raises: `NotFoundError` if there is neither.
        """
        path = _clean(prefix)
        if path:
            row = self._row(path)
            if row["mode"] != FOLDER:
                yield _file(row)
                return
        yield from _files(self._store.indexes.folder(self._published, path))

    def walk(self, prefix: str = "") -> Iterator[File]:
        """Yield all files and links below a folder, and the folders that are empty."""
        from dsa.cas import listing

        path = _clean(prefix)
        if path and (row := self._row(path))["mode"] != FOLDER:
            yield _file(row)
            return
        rows = self._below(path)
        yield from _files(rows.filter(listing.is_leaf(rows)))

    def to_table(self) -> pa.Table:
        """Return all files and links as a `pyarrow.Table`.

        Columns: path, mode (as in a tree, a number), size (bytes), sha1 and sha256 (raw bytes).
        """
        return _public(self._store.indexes.listing(self._published).table)

    def write_parquet(self, file: Path | str, prefix: str = "") -> None:
        """Write the rows of `to_table`, those below `prefix`, to a Parquet file."""
        import pyarrow.parquet as pq

        path = _clean(prefix)
        if path and (row := self._row(path))["mode"] != FOLDER:
            raise NotFoundError(
                f"{path} is not a folder in {self}, but a file of {row['size']} bytes"
            )
        target = Path(file)
        partial = target.with_name(f".{target.name}.partial")
        try:
            pq.write_table(_public(self._below(path)), partial, compression="zstd")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of reading it: which other stores stood in for its own."""
        return tuple(self._sources.warnings) if self._sources else ()

    def open(self, path: str, *, verify: bool = True) -> BinaryIO:
        """Open a file for reading, seekable; all of it was verified before this returns.

        Of a remote a file of 64 MiB or more comes whole first, into the cache if there is one.
        With `verify=False` it is read by ranges as it is asked for, and no byte of it is
        checked; what is smaller is verified all the same. Raises: `NotFoundError`; `DamageError`
        if it is nowhere as it should be.
        """
        from dsa.verbs.opening import open_object

        return open_object(self._reading(), self._wanted(path), verify=verify)

    def cat(self, path: str, out: BinaryIO) -> None:
        """Write a file's bytes to `out`: below 64 MiB verified before the first, else on the way.

        Raises: `DamageError`, for a large file after wrong bytes were written.
        """
        from dsa.verbs.opening import copy_object

        copy_object(self._reading(), self._wanted(path), out.write)

    def read(self, path: str) -> bytes:
        """Return a file's bytes, verified."""
        with self.open(path) as file:
            return file.read()

    def show(self) -> ShowReport:
        """Say what this revision is, and what it shares with its parent where the store has that."""
        from dsa.verbs.history import shared_with_parent

        shared = shared_with_parent(self._store, self._published)
        return ShowReport(
            store=self._store.url,
            dataset=self.dataset,
            revision=self.revision,
            manifest=self.manifest,
            data=self.data,
            info=self.info,
            shared_files=shared and shared[0],
            shared_bytes=shared and shared[1],
        )

    def _folder(self, path: str) -> pa.Table:
        """Return a folder's rows; those of the last few folders are kept, they never change."""
        rows = self._folders.get(path)
        if rows is None:
            if len(self._folders) == _KEPT_FOLDERS:
                self._folders.pop(next(iter(self._folders)))
            rows = self._folders[path] = self._store.indexes.folder(self._published, path)
        return rows

    def _row(self, path: str) -> dict[str, Any]:
        """Return the row of a path; `NotFoundError` if there is none."""
        cleaned = _clean(
            path.encode(errors="replace").decode()
        )  # none has a name that is not UTF-8
        folder, _, name = cleaned.rpartition("/")
        rows = self._folder(folder)
        import pyarrow.compute as pc

        found = rows.filter(pc.equal(rows["name"], name)).to_pylist() if cleaned else []
        if not found:
            raise NotFoundError(
                f"there is no {printable(path)} in {self}",
                hint=f"`dsa ls {self._store.called(self)}` lists what there is",
            )
        return dict(found[0])

    def _below(self, path: str) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._store.indexes.listing(self._published).table
        if not path:
            return table
        folders = table["folder"].cast(pa.string())
        return table.filter(pc.or_(pc.equal(folders, path), pc.starts_with(folders, f"{path}/")))

    def _wanted(self, path: str) -> Wanted:
        row = self._row(path)
        if row["mode"] == FOLDER:
            raise NotFoundError(f"{printable(path)} is a folder in {self}")
        return Wanted(ObjectId(row["sha1"]), row["size"], row["sha256"], row["pack"], row["offset"])

    def _reading(self) -> Reading:
        from dsa.verbs.opening import Reading

        return Reading(self._store, self._published, self._sources, self._cache)

    def _repr_html_(self) -> str:
        info = self._published.info
        facts = {
            "when": self.created,
            "who": self.author,
            "message": self.message,
            "files": f"{info.files:,}",
            "size": f"{info.bytes:,} bytes",
            "manifest": self.manifest,
            **{f"metadata: {key}": value for key, value in info.metadata.items()},
        }
        rows = "".join(
            f"<tr><th>{_escaped(key)}</th><td>{_escaped(value)}</td></tr>"
            for key, value in facts.items()
        )
        files = "".join(
            f"<tr><td>{_escaped(file.path)}{'/' if file.files is not None else ''}</td>"
            f"<td style='text-align:right'>{file.size:,}</td></tr>"
            for _, file in zip(range(_SHOWN_FILES), self.ls(), strict=False)
        )
        return (
            f"<h4>{_escaped(self)}</h4><table>{rows}</table>"
            f"<details><summary>files</summary><table>"
            f"<tr><th>path</th><th>bytes</th></tr>{files}</table></details>"
        )


def _files(rows: pa.Table) -> Iterator[File]:
    """Yield rows as records, a batch at a time."""
    columns = ["folder", "name", "mode", "size", "files", "sha1", "sha256"]
    for batch in rows.select(columns).to_batches(max_chunksize=16_384):
        for row in batch.to_pylist():
            yield _file(row)


def _file(row: Mapping[str, Any]) -> File:
    return File(
        path=f"{row['folder']}/{row['name']}" if row["folder"] else row["name"],
        mode=f"{row['mode']:o}",
        size=row["size"],
        sha1=row["sha1"].hex(),
        sha256=row["sha256"].hex(),
        files=row["files"] if row["mode"] == FOLDER else None,
    )


def _public(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    from dsa.cas import listing

    files = rows.filter(pc.not_equal(rows["mode"], FOLDER))
    table = files.select(["mode", "size", "sha1", "sha256"])
    return table.add_column(0, "path", listing.paths(files))


def _clean(path: str) -> str:
    """Return a path as the index has it; `./` and slashes at the ends do not matter."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _escaped(value: object) -> str:
    return html.escape(printable(str(value)))
