"""Listings of revisions: from the index, and made anew from the trees where it is not to be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import Folder, Leaf, folders, publish, put_index, rows_of, sum_of, table_of
from hypothesis import given, settings

from dsa.cas import layout
from dsa.cas.ids import ObjectId, Sha256
from dsa.cas.indexes import Indexes, from_trees, row_of
from dsa.cas.listing import Listing
from dsa.cas.objects import Objects
from dsa.cas.revisions import Published
from dsa.cas.trees import encode_tree
from dsa.errors import DamageError, MissingObjectError, NotFoundError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

ONE: Folder = {"a": {"f": Leaf(b"1"), "g": {}}, "b": {"a": {"x": Leaf(b"xyz")}}, "c": Leaf(b"")}


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "store")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def indexes(backend: LocalBackend | MemoryBackend, cache: Path | None) -> Indexes:
    return Indexes(Objects(backend), cache)


def spoilt(backend: LocalBackend, published: Published, how: str) -> None:
    key = layout.index_key(published.id)
    data = backend.read(key)
    rows = rows_of(ONE)
    if how == "lying":
        rows[0] = {**rows[0], "sha256": bytes(32)}
        put_index(backend, published, Listing(table_of(rows), sum_of(ONE)))
        return
    if how == "another's":
        other = publish(backend, {"other": Leaf(b"1")}, revision="2")
        data = backend.read(layout.index_key(other.id))
    backend.remove(key)
    if how == "sparse":
        backend.create(key, data)
        (backend.root / key).chmod(0o600)
        os.truncate(backend.root / key, 1 << 42)
    elif how != "missing":
        backend.create(key, {"cut": data[:-7], "garbage": b"x" * 999, "another's": data}[how])


@pytest.mark.parametrize("how", ["missing", "cut", "garbage", "lying", "another's", "sparse"])
@pytest.mark.parametrize("cached", [True, False])
def test_an_index_that_fails_is_made_anew(
    backend: LocalBackend, cache: Path, how: str, cached: bool, caplog: pytest.LogCaptureFixture
) -> None:
    published = publish(backend, ONE)
    spoilt(backend, published, how)
    found = indexes(backend, cache if cached else None)
    assert found.listing(published).root == sum_of(ONE)
    assert found.listing(published).table.to_pylist() == rows_of(ONE)
    assert "not used" in caplog.text
    assert found.folder(published, "b/a")["name"].to_pylist() == ["x"]
    assert (cache / "index" / f"{published.id}.parquet").exists() is cached


def test_an_index_made_anew_is_kept_in_the_cache(backend: LocalBackend, cache: Path) -> None:
    published = publish(backend, ONE, with_index=False)
    indexes(backend, cache).listing(published)
    for info in list(backend.list("objects/")):
        backend.remove(info.key)
    for info in list(backend.list("locations/")):
        backend.remove(info.key)
    assert indexes(backend, cache).listing(published).table.to_pylist() == rows_of(ONE)
    (cache / "index" / f"{published.id}.parquet").write_bytes(b"garbage")
    with pytest.raises(DamageError):
        indexes(backend, cache).listing(published)


@given(folders)
@settings(max_examples=30)
def test_trees_and_locations_are_as_good_as_the_index(folder: Folder) -> None:
    backend = MemoryBackend()
    published = publish(backend, folder, with_index=False)
    found = indexes(backend, None)
    assert found.listing(published).table.to_pylist() == rows_of(folder)
    assert found.listing(published).root == sum_of(folder)


def test_without_locations_the_objects_are_read(backend: LocalBackend) -> None:
    published = publish(backend, ONE, with_index=False)
    for info in list(backend.list("locations/")):
        backend.remove(info.key)
    assert indexes(backend, None).listing(published).table.to_pylist() == rows_of(ONE)


def test_all_that_is_missing_is_named(backend: LocalBackend) -> None:
    published = publish(backend, ONE, with_index=False)
    for info in list(backend.list("locations/")):
        backend.remove(info.key)
    for content in (b"1", b"xyz"):
        backend.remove(layout.object_key(ObjectId.of(content)))
    with pytest.raises(MissingObjectError) as caught:
        indexes(backend, None).listing(published)
    assert sorted(caught.value.problems) == ["a/f", "b/a/x"]


def test_a_tree_that_is_missing_is_damage(backend: LocalBackend) -> None:
    published = publish(backend, ONE, with_index=False)
    backend.remove(layout.object_key(ObjectId(sum_of(ONE["b"]).tree)))
    with pytest.raises(DamageError, match=str(ObjectId(sum_of(ONE["b"]).tree))):
        indexes(backend, None).listing(published)


def test_trees_that_do_not_come_to_the_revision_are_damage(backend: LocalBackend) -> None:
    published = publish(backend, ONE, with_index=False, sha256=Sha256(bytes(32)))
    with pytest.raises(DamageError, match="do not come to"):
        indexes(backend, None).listing(published)


def test_trees_that_hold_more_than_was_said_are_not_followed() -> None:
    backend = MemoryBackend()
    published = publish(backend, ONE, with_index=False, files=1, folders=1)
    with pytest.raises(DamageError, match="more than"):
        from_trees(Objects(backend), published)


def test_the_verdict_is_remembered_for_these_bytes_alone(
    backend: LocalBackend, cache: Path
) -> None:
    published = publish(backend, ONE)
    indexes(backend, cache).listing(published)
    assert len(list((cache / "proven").iterdir())) == 1
    spoilt(backend, published, "lying")
    assert indexes(backend, cache).listing(published).table.to_pylist() == rows_of(ONE)


def test_a_cache_that_cannot_be_written_does_no_harm(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    published = publish(backend, ONE, with_index=False)
    assert indexes(backend, tmp_path / "file/cache").listing(published).root == sum_of(ONE)


@pytest.mark.parametrize("path", ["none", "a/none", "b/a/none", "c", "b/a/x", "a/f/below"])
@pytest.mark.parametrize("with_index", [True, False])
def test_what_is_no_folder_is_not_found(backend: LocalBackend, path: str, with_index: bool) -> None:
    published = publish(backend, ONE, with_index=with_index)
    with pytest.raises(NotFoundError):
        indexes(backend, None).folder(published, path)


@pytest.mark.parametrize("path", ["", "a", "a/g", "b", "b/a"])
def test_a_folder_is_read_alone(backend: LocalBackend, path: str) -> None:
    published = publish(backend, ONE)
    names = [row["name"] for row in rows_of(ONE) if row["folder"] == path]
    assert indexes(backend, None).folder(published, path)["name"].to_pylist() == names
    (backend.root / layout.index_key(published.id)).unlink()
    assert indexes(backend, None).folder(published, path)["name"].to_pylist() == names


def test_a_lie_on_the_way_is_found_one_elsewhere_is_not_looked_at(backend: LocalBackend) -> None:
    published = publish(backend, ONE)
    rows = rows_of(ONE)
    at = next(number for number, row in enumerate(rows) if row["name"] == "f")
    rows[at] = {**rows[at], "sha1": bytes(20)}
    put_index(backend, published, Listing(table_of(rows), sum_of(ONE)))
    found = indexes(backend, None)
    read: list[str] = []
    anew: Callable[[Published], Listing] = found._anew

    def counted(published: Published) -> Listing:
        read.append("anew")
        return anew(published)

    found._anew = counted  # type: ignore[method-assign]  # to see that it is not asked
    assert found.folder(published, "b/a")["name"].to_pylist() == ["x"]
    assert read == []
    assert found.folder(published, "a")["sha1"][0].as_py() == ObjectId.of(b"1").raw
    assert read == ["anew"]


def test_a_row_is_found_by_its_path() -> None:
    table = table_of(rows_of(ONE))
    assert row_of(table, "b/a/x")["size"] == 3
    assert row_of(table, "c")["sha1"] == ObjectId.of(b"").raw
    with pytest.raises(NotFoundError):
        row_of(table, "b/x")
    assert encode_tree([]) == b"tree 0\0"
