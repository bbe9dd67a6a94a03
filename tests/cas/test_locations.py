"""Locations: parts are named by their bytes, and together they say what is here."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import put_part
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa.cas import layout
from dsa.cas.ids import ObjectId
from dsa.cas.locations import SCHEMA, LocationRows, Locations, read_part
from dsa.errors import DamageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

rows = st.lists(
    st.tuples(
        st.binary(min_size=20, max_size=20),
        st.integers(0, 2**63 - 1),
        st.binary(min_size=32, max_size=32),
        st.one_of(
            st.just((None, None)),
            st.tuples(st.binary(min_size=20, max_size=20), st.integers(0, 2**31)),
        ),
    ),
    max_size=8,
)
Row = tuple[bytes, int, bytes, tuple[bytes | None, int | None]]


def table_of(said: list[Row]) -> pa.Table:
    made = LocationRows()
    for oid, size, check, (pack, offset) in said:
        made.add(oid, size, check, pack, offset)
    assert len(made) == len(said)
    return made.table()


def row(content: bytes, pack: bytes | None = None, offset: int | None = None) -> Row:
    return ObjectId.of(content).raw, len(content), bytes(32), (pack, offset)


@given(rows)
@settings(max_examples=30)
def test_a_part_comes_back_sorted(said: list[Row]) -> None:
    backend = MemoryBackend()
    oid = put_part(backend, table_of(said))
    key = layout.locations_key(oid)
    assert ObjectId.of(backend.read(key)) == oid
    table = read_part(backend, key)
    assert table.schema.equals(SCHEMA)
    found = list(zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True))
    assert [place[0] for place in found] == sorted(item[0] for item in said)
    assert sorted(map(str, found)) == sorted(
        str((oid_, size, check, pack, offset)) for oid_, size, check, (pack, offset) in said
    )


def test_plain_parquet_readers_read_a_part(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    key = layout.locations_key(put_part(backend, table_of([row(b"x", b"p" * 20, 70), row(b"y")])))
    table = pq.read_table(tmp_path / key)
    assert table.column_names == SCHEMA.names
    assert sorted(table["size"].to_pylist()) == [1, 1]
    duckdb = pytest.importorskip("duckdb")
    query = f"select count(*), count(pack), sum(size) from '{tmp_path / key}'"
    assert duckdb.connect().execute(query).fetchall() == [(2, 1, 2)]


def test_what_several_parts_say_counts_together() -> None:
    backend = MemoryBackend()
    put_part(backend, table_of([row(b"x", b"p" * 20, 70), row(b"y")]))
    put_part(backend, table_of([row(b"x"), row(b"z")]))
    locations = Locations(backend)
    assert sorted(map(str, locations.of(ObjectId.of(b"x")))) == sorted(
        map(str, [(b"p" * 20, 70, 1), (None, None, 1)])
    )
    assert locations.of(ObjectId.of(b"nothing")) == []
    ids = pa.array([ObjectId.of(b"y").raw, ObjectId.of(b"z").raw], pa.binary(20))
    assert len(locations.find(ids)) == 2
    assert len(list(locations.parts())) == 2


def test_places_on_record_are_ignored_and_others_are_not() -> None:
    backend = MemoryBackend()
    put_part(backend, table_of([row(b"x", b"p" * 20, 70), row(b"x"), row(b"y", b"p" * 20, 99)]))
    oid = ObjectId.of(b"x")
    assert Locations(backend, frozenset({(oid.raw, b"p" * 20)})).of(oid) == [(None, None, 1)]
    assert Locations(backend, frozenset({(oid.raw, None)})).of(oid) == [(b"p" * 20, 70, 1)]
    both = Locations(backend, frozenset({(oid.raw, None), (oid.raw, b"p" * 20)}))
    assert both.of(oid) == []
    assert both.of(ObjectId.of(b"y")) == [(b"p" * 20, 99, 1)]


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "garbage", "named wrongly"])
def test_a_damaged_part_is_named_and_passed_by(how: str, caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend()
    key = layout.locations_key(put_part(backend, table_of([row(b"x")])))
    put_part(backend, table_of([row(b"y")]))
    data = backend.read(key)
    if how == "named wrongly":
        backend.remove(key)
        key = layout.locations_key(ObjectId.of(b"other"))
    at = len(data) // 2
    backend.write(
        key,
        {
            "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
            "cut": data[:-1],
            "empty": b"",
            "garbage": b"x" * 100,
            "named wrongly": data,
        }[how],
    )
    with pytest.raises(DamageError, match=key):
        read_part(backend, key)
    locations = Locations(backend)
    assert locations.of(ObjectId.of(b"x")) == []
    assert locations.of(ObjectId.of(b"y")) == [(None, None, 1)]
    assert key in caplog.text


class Endless(MemoryBackend):
    """A server that sends as much as it is asked for, whatever the file's size is said to be."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        assert length is not None
        return super().read(key, start, length).ljust(min(length, 10_000_000), b"x")


def test_no_more_of_a_part_is_asked_for_than_shows_that_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = Endless()
    key = layout.locations_key(put_part(backend, table_of([row(b"x")])))
    size = len(backend.files[key][0])
    came = []
    read = backend.read

    def watched(key: str, start: int = 0, length: int | None = None) -> bytes:
        came.append(len(data := read(key, start, length)))
        return data

    monkeypatch.setattr(backend, "read", watched)
    assert Locations(backend).of(ObjectId.of(b"x")) == []
    with pytest.raises(DamageError, match=key):
        read_part(backend, key)
    assert came == [size + 1, size + 1]


def test_a_part_with_other_columns_or_empty_fields_is_damage() -> None:
    backend = MemoryBackend()
    nulls = table_of([row(b"x")]).set_column(1, "size", pa.array([None], pa.int64()))
    for table in (pa.table({"id": [1]}), nulls, table_of([row(b"x")]).drop_columns(["sha256"])):
        made = io.BytesIO()
        pq.write_table(table, made)
        data = made.getvalue()
        key = layout.locations_key(ObjectId.of(data))
        backend.create(key, data)
        with pytest.raises(DamageError):
            read_part(backend, key)


def test_a_part_that_is_not_there_or_no_file_is_damage(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    key = layout.locations_key(ObjectId.of(b"x"))
    with pytest.raises(DamageError):
        read_part(backend, key)
    (tmp_path / "locations").mkdir()
    os.mkfifo(tmp_path / key)
    with pytest.raises(DamageError):
        read_part(backend, key)
    assert list(Locations(backend).parts()) == []
    with pytest.raises(DamageError):
        read_part(backend, "locations/name.parquet")


def test_a_name_that_a_damaged_part_has_is_not_used_again() -> None:
    backend = MemoryBackend()
    first = put_part(backend, table_of([row(b"x")]))
    assert put_part(backend, table_of([row(b"x")])) == first  # the same bytes, the same name
    backend.write(layout.locations_key(first), b"damaged")
    second = put_part(backend, table_of([row(b"x")]))
    assert second != first
    assert backend.read(layout.locations_key(first)) == b"damaged"
    assert Locations(backend).of(ObjectId.of(b"x")) == [(None, None, 1)]


def test_no_staged_file_is_left(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    put_part(backend, table_of([row(b"x")]))
    put_part(backend, table_of([row(b"x")]))
    assert list((tmp_path / "site/tmp").iterdir()) == []
