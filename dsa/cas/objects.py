"""Objects: found wherever they lie, and verified before anyone sees them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, BinaryIO

from dsa.cas import layout, packs, site
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId
from dsa.cas.kept import Kept
from dsa.cas.section import Section
from dsa.cas.trees import EMPTY_TREE, MAX_TREE_BYTES, TreeEntry, decode_tree, tree_header
from dsa.errors import DamageError, MissingObjectError

if TYPE_CHECKING:
    from dsa.cas.far import FarIndexes
    from dsa.cas.locations import Locations, Parts

#: An object below this size is verified whole before its first byte is given out.
VERIFY_FIRST_BYTES = 64 * 1024 * 1024

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object to read: what it must be, and where it is said to lie.

    `size` in bytes and `sha256` (raw) are None where only the id is known; `pack` (raw id) and
    `offset` are a hint, None: loose.
    """

    id: ObjectId
    size: int | None = None
    sha256: bytes | None = None
    pack: bytes | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Where an object may lie: a key, and the range of its bytes there."""

    key: str
    start: int
    size: int


class Objects:
    """The objects of one store. Wrong bytes are never given out: the next place is tried."""

    def __init__(self, backend: Backend, kept: Kept | None = None) -> None:
        self.backend = backend
        self.kept = kept or Kept(None)

    def anew(self) -> Objects:
        """Return the objects as they are now; of what was read, only what never changes is remembered."""
        made = Objects(self.backend, self.kept)
        for name in ("parts", "far"):
            if name in self.__dict__:
                made.__dict__[name] = self.__dict__[name]
        return made

    @cached_property
    def damaged(self) -> frozenset[site.Place]:
        """The places that are recorded as damaged."""
        return site.read_damaged(self.backend)

    @cached_property
    def locations(self) -> Locations:
        """What the store says it holds."""
        from dsa.cas.locations import Locations

        return Locations(self.backend, self.damaged, self.parts)

    @cached_property
    def parts(self) -> Parts:
        """The parts of the locations, as they were read."""
        from dsa.cas.locations import Parts

        return Parts(self.backend, self.kept)

    @cached_property
    def far(self) -> FarIndexes | None:
        """The indexes of a far store, as far as they were fetched; None for files of this machine."""
        if self.backend.local_path("") is not None:
            return None
        from dsa.cas.far import FarIndexes

        return FarIndexes(self.backend)

    def read(self, wanted: Wanted, *, limit: int = VERIFY_FIRST_BYTES) -> bytes:
        """Return an object's bytes, verified.

        Raises: `MissingObjectError` if it is nowhere, `DamageError` if it is wrong everywhere, or
        larger than `limit` bytes.
        """
        found = False
        for span in self.spans(wanted):
            found = True
            if span.size > limit:
                continue
            with suppress(KeyError):
                data = self.backend.read(span.key, span.start, span.size)
                if is_object(data, wanted):
                    return data
        raise self.lost(wanted, found)

    def tree(self, oid: ObjectId, wanted: Wanted | None = None) -> list[TreeEntry]:
        """Read a tree; `DamageError` if its bytes are no tree that may be."""
        if oid == EMPTY_TREE:
            return decode_tree(tree_header(0))
        try:
            return decode_tree(self.read(wanted or Wanted(oid), limit=MAX_TREE_BYTES))
        except ValueError as error:
            raise DamageError(f"the tree {oid} in {self.backend.url}: {error}") from error

    def loose(self, oid: ObjectId, limit: int) -> bytes:
        """Read an object that is always loose: a manifest or a `revision.json`."""
        key = layout.object_key(oid)
        try:
            data = self.backend.read(key, 0, limit + 1)
        except KeyError:
            raise MissingObjectError(
                f"{key} is missing in {self.backend.url}", hint=_HINT
            ) from None
        if len(data) > limit or ObjectId.of(data) != oid:
            raise DamageError(f"{key} in {self.backend.url} is damaged", hint=_HINT)
        return data

    def open(self, wanted: Wanted) -> BinaryIO:
        """Open an object for reading, seekable; every byte was verified before this returns."""
        found = False
        for span in self.spans(wanted):
            found = True
            with suppress(KeyError, DamageError):
                return self.open_at(span, wanted)
        raise self.lost(wanted, found)

    def open_at(self, span: Span, wanted: Wanted) -> BinaryIO:
        """Open an object in one place; `DamageError` if its bytes are wrong there, `KeyError` if there are none."""
        if wanted.size is not None and wanted.size < VERIFY_FIRST_BYTES:
            data = self.backend.read(span.key, span.start, span.size)
            if not is_object(data, wanted):
                raise self.lost(wanted, found=True)
            return io.BytesIO(data)
        window = Window(self.backend.open(span.key), span.start, span.size)
        if _digests_match(window.pieces(), wanted) and window.tell() == span.size:
            window.seek(0)
            return io.BufferedReader(window)
        window.close()
        raise self.lost(wanted, found=True)

    def digests_at(self, span: Span) -> tuple[bytes, bytes]:
        """Return the raw SHA-1 and SHA-256 of the bytes in one place; `KeyError` if there is no such file."""
        digests = sha1(usedforsecurity=False), sha256()
        window = Window(self.backend.open(span.key), span.start, span.size)
        try:
            for piece in window.pieces():
                for digest in digests:
                    digest.update(piece)
        finally:
            window.close()
        return digests[0].digest(), digests[1].digest()

    def spans(self, wanted: Wanted) -> Iterator[Span]:
        """Yield where an object may lie, the likeliest place first.

        The hint, the locations, a file of its own, and, where reading is cheap, the directories
        of all packs.
        """
        tried: set[Span] = set()
        for span in self._candidates(wanted):
            if span not in tried and (wanted.size is None or span.size == wanted.size):
                tried.add(span)
                yield span

    def _candidates(self, wanted: Wanted) -> Iterator[Span]:
        if wanted.pack is not None and wanted.offset is not None and wanted.size is not None:
            if wanted.offset >= 0:
                yield Span(layout.pack_key(ObjectId(wanted.pack)), wanted.offset, wanted.size)
        elif wanted.size is not None:
            yield Span(layout.object_key(wanted.id), 0, wanted.size)
        for pack, offset, size in self.locations.of(wanted.id):
            if size < 0 or (offset or 0) < 0:
                continue
            if pack is None:
                yield Span(layout.object_key(wanted.id), 0, size)
            elif offset is not None:
                yield Span(layout.pack_key(ObjectId(pack)), offset, size)
        info = self.backend.info(layout.object_key(wanted.id))
        if info is not None:
            yield Span(info.key, 0, info.size)
        if self.backend.local_path(layout.PACKS) is not None:
            yield from self._in_directories(wanted.id)

    def _in_directories(self, oid: ObjectId) -> Iterator[Span]:
        for info in self.backend.list(layout.PACKS):
            with suppress(KeyError, ValueError):
                read = partial(self.backend.read, info.key)
                directory = packs.read_directory(read, info.size)
                for entry in directory if oid.raw in directory.ids else ():
                    if entry.id == oid:
                        yield Span(info.key, entry.offset, entry.size)

    def lost(self, wanted: Wanted, found: bool) -> DamageError:
        """Return the error for an object that is wrong wherever it was `found`, or nowhere at all."""
        if found:
            return DamageError(
                f"the object {wanted.id} in {self.backend.url} is damaged", hint=_HINT
            )
        return MissingObjectError(
            f"the object {wanted.id} is missing in {self.backend.url}", hint=_HINT
        )


_HINT = "`dsa verify --data` records what is damaged; then a push of the same files sends it again"


def is_object(data: bytes | memoryview, wanted: Wanted) -> bool:
    """Whether these bytes are the object; its SHA-256 is used where it is known, else its id."""
    if wanted.size is not None and len(data) != wanted.size:
        return False
    if wanted.sha256 is not None:
        return sha256(data).digest() == wanted.sha256
    return sha1(data, usedforsecurity=False).digest() == wanted.id.raw


def _digests_match(pieces: Iterator[bytes], wanted: Wanted) -> bool:
    digest = sha1(usedforsecurity=False) if wanted.sha256 is None else sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.digest() == (wanted.sha256 or wanted.id.raw)


class Window(Section):
    """A range of an open file as a file of its own; closing it closes the file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__(size)
        self._file = file
        self._start = start

    def bytes_at(self, at: int, want: int) -> bytes:
        """Read from the file."""
        self._file.seek(self._start + at)
        return self._file.read(want)

    def pieces(self, write: Callable[[bytes], object] = lambda _: None) -> Iterator[bytes]:
        """Yield the range piece by piece; each is given to `write` first."""
        while piece := self.read(_PIECE):
            write(piece)
            yield piece

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
