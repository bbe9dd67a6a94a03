"""What the store already holds: asked before anything is written. docs/format.md, "Locations"."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import layout, listing, site
from dsa.cas.ids import ID_BYTES, SHA256_BYTES, ObjectId
from dsa.cas.kept import Kept
from dsa.cas.objects import Objects, Span, Wanted
from dsa.cas.trees import EMPTY_TREE, FOLDER
from dsa.errors import CollisionError, DamageError

logger = logging.getLogger(__name__)

#: The name of the n-th object asked about, for a message.
NameOf = Callable[[int], str]


class Presence:
    """Objects that the store has: those that a published revision covers, and those with a location.

    `covered` are listings of revisions whose refs were read after this push's own mark. What is
    recorded as damaged does not count, unless it lies in another place too.
    """

    def __init__(self, objects: Objects, covered: Sequence[pa.Table]) -> None:
        self._objects = objects
        self._covered = covered
        self._damaged_ids = {oid for oid, _ in objects.damaged}
        self._damaged = pa.array(sorted(self._damaged_ids), pa.binary(ID_BYTES))
        self._claimed: set[bytes] = set()  # new objects that this push writes
        self._large_sizes: set[int] | None = None

    def ask(self, ids: bytes, sha256s: bytes, sizes: Sequence[int], name_of: NameOf) -> bytes:
        """Return a 1 for each of these objects (raw digests, joined) that is new, and only once.

        Raises: `CollisionError` for a content that the store has another one of under the same id.
        """
        found = self._find(listing.fixed(ids, ID_BYTES)) if self._may_know_any() else {}
        new = bytearray(len(sizes))
        for at, size in enumerate(sizes):
            oid = ids[at * ID_BYTES : (at + 1) * ID_BYTES]
            if size < 0 or oid in self._claimed:
                continue
            there = found.get(oid)
            check = sha256s[at * SHA256_BYTES : (at + 1) * SHA256_BYTES]
            if not there or not self._is_settled(there, oid, check, size, name_of(at)):
                self._claimed.add(oid)
                new[at] = 1
        return bytes(new)

    def new_trees(self, ids: pa.Array) -> pa.Array:
        """Return which of these trees the store lacks; a tree is trusted by its id alone."""
        known = pc.or_(self._is_covered(ids), pc.equal(ids, EMPTY_TREE.raw))
        unknown = ids.filter(pc.invert(known))
        if len(unknown):
            located = pc.unique(self._objects.locations.find(unknown)["id"])
            known = pc.or_(known, pc.is_in(ids, value_set=located))
        return pc.invert(known)

    def is_there(self, table: pa.Table) -> pa.Array:
        """Return which files and links of a listing the store has, folders and unknown ones not.

        Like `ask`, at array speed, without claiming anything and without settling collisions.
        """
        there = pa.array([False] * len(table), pa.bool_())
        for covered in self._covered:
            there = pc.or_(there, _same_content(table, covered["sha1"], covered["sha256"]))
        if len(self._damaged):
            there = pc.and_(there, pc.invert(pc.is_in(table["sha1"], value_set=self._damaged)))
        rest = table.filter(pc.invert(there))["sha1"]
        if len(rest):
            located = self._objects.locations.find(pc.unique(rest))
            there = pc.or_(there, _same_content(table, located["id"], located["sha256"]))
        return listing.one_chunk(pc.and_(there, pc.not_equal(table["mode"], FOLDER)))

    @property
    def kept(self) -> Kept:
        """What this client keeps of the store."""
        return self._objects.kept

    def may_hold_large(self, size: int) -> bool:
        """Whether any object of exactly this size is there: then hashing comes before copying."""
        if self._large_sizes is None:
            columns = [table["size"] for table in self._covered]
            columns += [part["size"] for _, part in self._objects.locations.parts()]
            self._large_sizes = {
                value
                for column in columns
                for value in pc.unique(
                    column.filter(pc.greater_equal(column, layout.LOOSE_FROM_BYTES))
                ).to_pylist()
            }
        return size in self._large_sizes

    def is_damaged(self, oid: bytes) -> bool:
        """Whether a place of this object is recorded as damaged."""
        return oid in self._damaged_ids

    def is_on_record(self, oid: bytes, pack: bytes) -> bool:
        """Whether this very place of an object is recorded as damaged."""
        return (oid, pack) in self._objects.damaged

    def unclaim(self, oid: bytes) -> None:
        """Take back that an object is being written."""
        self._claimed.discard(oid)

    def _may_know_any(self) -> bool:
        """Whether the store holds anything at all."""
        return bool(self._covered) or any(len(part) for _, part in self._objects.locations.parts())

    def _find(self, ids: pa.Array) -> dict[bytes, set[bytes]]:
        """Return the SHA-256s known of each of these ids."""
        found: dict[bytes, set[bytes]] = {}
        for covered in self._covered:
            rows = covered.filter(
                pc.and_(
                    pc.is_in(covered["sha1"], value_set=ids), pc.not_equal(covered["mode"], FOLDER)
                )
            )
            _collect(found, rows["sha1"], rows["sha256"])
        for oid, _ in self._objects.damaged:
            found.pop(oid, None)
        rest = ids.filter(pa.array([oid not in found for oid in ids.to_pylist()], pa.bool_()))
        if len(rest):
            rows = self._objects.locations.find(pc.unique(rest))
            _collect(found, rows["id"], rows["sha256"])
        return found

    def _is_covered(self, ids: pa.Array) -> pa.Array:
        known = pa.array([False] * len(ids), pa.bool_())
        for covered in self._covered:
            known = pc.or_(known, pc.is_in(ids, value_set=listing.one_chunk(covered["sha1"])))
        if len(self._damaged):
            known = pc.and_(known, pc.invert(pc.is_in(ids, value_set=self._damaged)))
        return known

    def _is_settled(
        self, there: set[bytes], oid: bytes, check: bytes, size: int, name: str
    ) -> bool:
        """Whether an object that is known by its id counts as there: with this SHA-256 it does.

        Rows that contradict each other are settled by reading the bytes.
        """
        if there == {check}:
            return True
        if check in there and self._can_be_read(oid, check, size):
            return True
        return not self._is_lie(oid, check, size, name)

    def _can_be_read(self, oid: bytes, check: bytes, size: int) -> bool:
        try:
            self._objects.open(Wanted(ObjectId(oid), size, check)).close()
        except DamageError:
            return False
        return True

    def _is_lie(self, oid: bytes, check: bytes, size: int, name: str) -> bool:
        """Settle an id that is known with another SHA-256, by reading what is there.

        Returns True where no bytes of this id are there: the row lies, is recorded and ignored.
        """
        digest = self._sha256_there(ObjectId(oid))
        if digest is None:
            places = [(oid, pack) for pack, _, _ in self._objects.locations.of(ObjectId(oid))]
            site.record_damaged(self._objects.backend, places)
            logger.warning(
                "a location of %s in %s lies; it is recorded as damaged",
                oid.hex(),
                self._objects.backend.url,
            )
            return True
        if digest == check:
            return False
        raise CollisionError(
            f"{name} has the SHA-1 {oid.hex()} of another content in {self._objects.backend.url}, "
            f"and another SHA-256",
            hint="one of the two was made to collide: neither may stand for the other",
            problems=[
                f"{name}: SHA-256 {check.hex()}, {size} bytes",
                f"{self._name_in_store(oid)}: SHA-256 {digest.hex()}",
            ],
        )

    def _sha256_there(self, oid: ObjectId) -> bytes | None:
        """Return the SHA-256 of the bytes that have this id in the store; None where none have.

        What comes from far may have been hurt on the way, and is looked at again before it is
        believed to be wrong. Raises: `DamageError` where it came differently each time.
        """
        is_near = self._objects.backend.local_path("") is not None
        seen: list[dict[Span, tuple[bytes, bytes]]] = []
        for _ in range(1 if is_near else 2):
            seen.append(self._digests_there(oid))
            for found, check in seen[-1].values():
                if found == oid.raw:
                    return check
        if any(digests != seen[0] for digests in seen):
            raise DamageError(
                f"the object {oid} in {self._objects.backend.url} came differently each time it was read",
                hint="the connection, or the server, hurts what it carries: run the command again",
            )
        return None

    def _digests_there(self, oid: ObjectId) -> dict[Span, tuple[bytes, bytes]]:
        """Return the raw SHA-1 and SHA-256 of what lies at each place of an object, up to the first right one."""
        found: dict[Span, tuple[bytes, bytes]] = {}
        for span in self._objects.spans(Wanted(oid)):
            with suppress(KeyError):
                found[span] = self._objects.digests_at(span)
                if found[span][0] == oid.raw:
                    break
        return found

    def _name_in_store(self, oid: bytes) -> str:
        """Return how a person would name an object that is in the store."""
        from dsa.verbs.whose import first_name

        return first_name(self._objects, oid) or f"object {oid.hex()}"


def _same_content(table: pa.Table, ids: pa.ChunkedArray, sha256s: pa.ChunkedArray) -> pa.Array:
    """Return which rows have an id that stands in `ids` with the same SHA-256."""
    return pc.is_in(
        _pairs(table["sha1"], table["sha256"]), value_set=listing.one_chunk(_pairs(ids, sha256s))
    )


def _pairs(ids: pa.ChunkedArray, sha256s: pa.ChunkedArray) -> pa.ChunkedArray:
    columns = (ids.cast(pa.binary()), sha256s.cast(pa.binary()))
    return pc.binary_join_element_wise(*columns, b"")


def _collect(
    found: dict[bytes, set[bytes]], ids: pa.ChunkedArray, sha256s: pa.ChunkedArray
) -> None:
    for oid, check in zip(ids.to_pylist(), sha256s.to_pylist(), strict=True):
        found.setdefault(oid, set()).add(check)


def check_collisions(table: pa.Table) -> None:
    """Refuse two files of one listing that have one SHA-1 and different SHA-256, naming both.

    Only where the digests do not pair up is each file looked at.
    """
    files = table.filter(pc.not_equal(table["mode"], FOLDER))
    parts = (files["sha1"].cast(pa.binary()), files["sha256"].cast(pa.binary()))
    if len(pc.unique(pc.binary_join_element_wise(*parts, b""))) == len(pc.unique(files["sha1"])):
        return
    seen: dict[bytes, tuple[bytes, str]] = {}
    columns = (files["sha1"].to_pylist(), files["sha256"].to_pylist())
    for path, oid, check in zip(listing.paths(files).to_pylist(), *columns, strict=True):
        first_check, first = seen.setdefault(oid, (check, path))
        if first_check != check:
            raise CollisionError(
                f"{first} and {path} have one SHA-1 ({oid.hex()}) and different contents",
                hint="one of the two was made to collide: neither may stand for the other",
                problems=[
                    f"{first}: SHA-256 {first_check.hex()}",
                    f"{path}: SHA-256 {check.hex()}",
                ],
            )
