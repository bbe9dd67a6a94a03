"""Locations: which objects a store holds, where, and their SHA-256. docs/format.md, "Locations"."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Iterator
from hashlib import sha1
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dsa.cas import layout, listing
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.concurrent import each
from dsa.cas.ids import ID_BYTES, SHA256_BYTES, ObjectId
from dsa.cas.kept import PARTS, Kept
from dsa.cas.packs import Directory
from dsa.cas.parquet import SafeParquet, in_memory, one_line
from dsa.errors import DamageError

logger = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(ID_BYTES)),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.binary(SHA256_BYTES)),
        pa.field("pack", pa.binary(ID_BYTES)),
        pa.field("offset", pa.int64()),
    ]
)
MAX_PART_BYTES = 2**31 - 1
_ROW_GROUP = 65_536


class LocationRows:
    """Rows on their way into a part: columns that grow, raw digests joined."""

    def __init__(self) -> None:
        self.ids = bytearray()
        self.sha256s = bytearray()
        self._sizes = array("q")
        self._packs = bytearray()
        self._is_packed = bytearray()  # a byte a row
        self._offsets = array("q")
        self._has_offset = bytearray()

    def __len__(self) -> int:
        return len(self._sizes)

    def add(
        self, oid: bytes, size: int, sha256: bytes, pack: bytes | None, offset: int | None
    ) -> None:
        """Add one object by its raw digests; `size` in bytes; pack and offset None: loose."""
        self.ids += oid
        self.sha256s += sha256
        self._sizes.append(size)
        self._packs += pack or bytes(ID_BYTES)
        self._is_packed.append(pack is not None)
        self._offsets.append(offset or 0)
        self._has_offset.append(offset is not None)

    def add_pack(self, pack: bytes, entries: Directory, sha256s: bytes) -> None:
        """Add all objects of a pack; `sha256s` are raw and joined."""
        count = len(entries)
        self.ids += entries.ids
        self.sha256s += sha256s
        self._sizes.extend(entries.sizes.tolist())
        self._packs += pack * count
        self._is_packed += b"\1" * count
        self._offsets.extend(entries.offsets)
        self._has_offset += b"\1" * count

    def table(self) -> pa.Table:
        """Return the rows as a table, sorted by id."""
        columns = [
            listing.fixed(bytes(self.ids), ID_BYTES),
            listing.numbers(self._sizes, pa.int64()),
            listing.fixed(bytes(self.sha256s), SHA256_BYTES),
            _where(self._is_packed, listing.fixed(bytes(self._packs), ID_BYTES)),
            _where(self._has_offset, listing.numbers(self._offsets, pa.int64())),
        ]
        table = pa.Table.from_arrays(columns, schema=SCHEMA)
        return table.take(pc.sort_indices(columns[0]))


def _where(flags: bytearray, values: pa.Array) -> pa.Array:
    """Return the values whose flag is set, null for the others."""
    wanted = pc.cast(listing.numbers(array("B", flags), pa.uint8()), pa.bool_())
    return pc.if_else(wanted, values, pa.scalar(None, values.type))


def write_part(
    backend: Backend, table: pa.Table, staging: Path, kept: Kept | None = None
) -> ObjectId:
    """Write rows (sorted by id) as a new part and return its id; durable after `flush`.

    `staging` is a folder that `backend` gave. Where a damaged file has the name that the part would
    have, it gets another one. One of a far store is kept, so that its writer never fetches it.
    """
    staged = staging / f"{uuid4().hex}.parquet"
    try:
        oid = _write(staged, table, {})
        if _is_taken(backend, layout.locations_key(oid), oid, staged.stat().st_size):
            oid = _write(staged, table, {"dsa.salt": uuid4().hex})
        data = staged.read_bytes() if kept and backend.local_path("") is None else b""
        backend.publish(staged, layout.locations_key(oid))
        if kept and data:
            kept.write(f"{PARTS}{oid}.parquet", data)
    finally:
        staged.unlink(missing_ok=True)
    return oid


def _write(staged: Path, table: pa.Table, facts: dict[str, str]) -> ObjectId:
    """Write the file of a part, with these key-value metadata; return its id."""
    with pq.ParquetWriter(
        staged,
        SCHEMA,
        compression="zstd",
        use_dictionary=["pack"],
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        if facts:
            writer.add_key_value_metadata(facts)
        writer.write_table(table, row_group_size=_ROW_GROUP)
    return ObjectId(sha1(staged.read_bytes(), usedforsecurity=False).digest())


def _is_taken(backend: Backend, key: str, oid: ObjectId, size: int) -> bool:
    """Whether other bytes than those of this id have the name."""
    there = backend.info(key)
    if there is None or there.size != size:
        return there is not None
    return ObjectId.of(backend.read(key, 0, size + 1)) != oid


def read_part(backend: Backend, key: str) -> pa.Table:
    """Read one part whole; `DamageError` unless its bytes are what its name says."""
    info = backend.info(key)
    if info is None or info.size > MAX_PART_BYTES:
        raise DamageError(f"{key} in {backend.url} is no part of the locations")
    return _decode(backend, key, lambda: backend.read(key, 0, info.size + 1))


def _decode(backend: Backend, key: str, read: Callable[[], bytes]) -> pa.Table:
    """Return the rows of a part that has these bytes."""
    oid = layout.id_of_key(key)
    if oid is None:
        raise DamageError(f"{key} in {backend.url} is no part of the locations")
    try:
        data = read()
        if ObjectId.of(data) != oid:
            raise ValueError("its bytes are not what its name says")
        file = SafeParquet(in_memory(data), len(data), SCHEMA, {})
        groups = [file.read(group) for group in range(file.groups)]
    except (OSError, KeyError, ValueError) as error:
        raise DamageError(f"{key} in {backend.url}: {one_line(error)}") from error
    table = pa.concat_tables(groups) if groups else SCHEMA.empty_table()
    if table["id"].null_count or table["size"].null_count or table["sha256"].null_count:
        raise DamageError(f"{key} in {backend.url} has empty fields")
    return table.combine_chunks()


class Parts:
    """The parts of one store as they are read: each once, they never change.

    Those of a far store are kept by the client, and fetched several at once.
    """

    def __init__(self, backend: Backend, kept: Kept | None = None) -> None:
        self._backend = backend
        is_far = backend.local_path("") is None
        self._kept = kept if is_far and kept is not None else Kept(None)
        self._jobs = backend.jobs if is_far else 1
        self._read: dict[str, pa.Table] = {}

    def listed(self) -> dict[str, pa.Table]:
        """Return what is listed now, by key; a part that is damaged is named in the log and passed by."""
        infos = sorted(self._backend.list(layout.LOCATIONS), key=lambda info: info.key)
        fresh = [info for info in infos if info.key not in self._read]
        read = dict(zip(fresh, each(fresh, self._part, self._jobs), strict=True))
        tables = {info.key: self._read.get(info.key, read.get(info)) for info in infos}
        self._read = {key: table for key, table in tables.items() if table is not None}
        return self._read

    def _part(self, info: FileInfo) -> pa.Table | None:
        try:
            return _decode(self._backend, info.key, lambda: self._bytes(info))
        except DamageError as error:
            logger.warning("%s; it is ignored", error)
            return None

    def _bytes(self, info: FileInfo) -> bytes:
        """Return the bytes of a part; they may be wrong, but then they are not kept."""
        oid = layout.id_of_key(info.key)
        assert oid is not None  # as `_decode` saw
        if info.size > MAX_PART_BYTES:
            raise ValueError("it is larger than any may be")
        name = f"{PARTS}{oid}.parquet"
        kept = self._kept.object(name, oid)
        if kept is not None:
            return kept
        data = self._backend.read(
            info.key, 0, info.size + 1
        )  # a server may send more than it lists
        if ObjectId.of(data) == oid:
            self._kept.write(name, data)
        return data


class Locations:
    """What the parts that are listed when this is first asked say together.

    `distrusted` are places that `site/damaged/` records: rows that name them are ignored.
    """

    def __init__(
        self,
        backend: Backend,
        distrusted: frozenset[tuple[bytes, bytes | None]] = frozenset(),
        parts: Parts | None = None,
    ) -> None:
        self._source = parts or Parts(backend)
        self._distrusted = distrusted
        self._parts: dict[str, pa.Table] | None = None

    def parts(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield key and rows of every part; one that is damaged is named in the log and passed by."""
        if self._parts is None:
            listed = self._source.listed()
            self._parts = {key: self._trusted(table) for key, table in listed.items()}
        yield from self._parts.items()

    def find(self, ids: pa.Array) -> pa.Table:
        """Return all rows of these ids (a column of 20 raw bytes), in any order."""
        found = [table.filter(pc.is_in(table["id"], value_set=ids)) for _, table in self.parts()]
        return pa.concat_tables(found) if found else SCHEMA.empty_table()

    def of(self, oid: ObjectId) -> list[tuple[bytes | None, int | None, int]]:
        """Return the places of one object as (raw pack id, offset, size); None, None: loose."""
        table = self.find(pa.array([oid.raw], pa.binary(ID_BYTES)))
        return list(
            zip(*(table[name].to_pylist() for name in ("pack", "offset", "size")), strict=True)
        )

    def _trusted(self, table: pa.Table) -> pa.Table:
        if not self._distrusted:
            return table
        suspects = pa.array(sorted({oid for oid, _ in self._distrusted}), pa.binary(ID_BYTES))
        if not pc.any(pc.is_in(table["id"], value_set=suspects)).as_py():
            return table
        places = zip(table["id"].to_pylist(), table["pack"].to_pylist(), strict=True)
        return table.filter(
            pa.array([place not in self._distrusted for place in places], pa.bool_())
        )
