"""Objects: found wherever they lie, and wrong bytes are never given out."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import put_part
from hypothesis import given
from hypothesis import strategies as st
from packing import pack

from dsa.cas import layout, objects, site
from dsa.cas.backend import Backend
from dsa.cas.ids import ObjectId, Sha256
from dsa.cas.locations import LocationRows
from dsa.cas.objects import Objects, Wanted, Window, is_object
from dsa.cas.trees import EMPTY_TREE, FILE, TreeEntry, encode_tree
from dsa.errors import DamageError, MissingObjectError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

CONTENT = b"what was published\n"
OID = ObjectId.of(CONTENT)
WRONG = b"What was published\n"

Read = Callable[[Objects, Wanted], bytes]


def by_read(objects: Objects, wanted: Wanted) -> bytes:
    return objects.read(wanted)


def by_open(objects: Objects, wanted: Wanted) -> bytes:
    with objects.open(wanted) as file:
        return file.read()


readers = pytest.mark.parametrize("read", [by_read, by_open])


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "store")


def put_pack(backend: Backend, *contents: bytes, oid: ObjectId = OID) -> tuple[bytes, list[int]]:
    """Write a pack in which every content stands under the same id, or its own if it is another size."""
    ids = [oid if len(content) == len(CONTENT) else ObjectId.of(content) for content in contents]
    data, entries = pack(contents, ids)
    backend.create(layout.pack_key(ObjectId.of(data)), data)
    return ObjectId.of(data).raw, [entry.offset for entry in entries]


def put_row(
    backend: Backend, pack: bytes | None, offset: int | None, size: int = len(CONTENT)
) -> None:
    rows = LocationRows()
    rows.add(OID.raw, size, Sha256.of(CONTENT).raw, pack, offset)
    put_part(backend, rows.table())


def wanted(pack: bytes | None = None, offset: int | None = None) -> Wanted:
    return Wanted(OID, len(CONTENT), Sha256.of(CONTENT).raw, pack, offset)


@readers
def test_the_hint_is_enough(backend: Backend, read: Read) -> None:
    holder, (_, at) = put_pack(backend, b"another", CONTENT)
    assert read(Objects(backend), wanted(holder, at)) == CONTENT


@readers
@pytest.mark.parametrize("hint", [(None, None), (b"p" * 20, 70), "other place", "beyond"])
def test_a_wrong_hint_leads_to_the_locations(backend: Backend, read: Read, hint: object) -> None:
    holder, (first, at) = put_pack(backend, b"another object that is longer", CONTENT)
    put_row(backend, holder, at)
    place = {"other place": (holder, first), "beyond": (holder, 10**9)}.get(str(hint), hint)
    assert read(Objects(backend), wanted(*place)) == CONTENT  # type: ignore[misc]  # a pair


@readers
def test_wrong_locations_lead_to_the_objects_own_file(backend: Backend, read: Read) -> None:
    holder, (at,) = put_pack(backend, WRONG)
    put_row(backend, holder, at)
    put_row(backend, holder, at + 1)
    put_row(backend, b"p" * 20, 70)
    backend.create(layout.object_key(OID), CONTENT)
    assert read(Objects(backend), wanted(holder, at)) == CONTENT


@readers
def test_a_wrong_file_leads_to_a_pack(backend: Backend, read: Read) -> None:
    backend.create(layout.object_key(OID), WRONG)
    holder, (at,) = put_pack(backend, CONTENT)
    put_row(backend, holder, at)
    assert read(Objects(backend), wanted()) == CONTENT


@readers
def test_in_the_end_the_directories_of_packs_are_read(tmp_path: Path, read: Read) -> None:
    backend = LocalBackend(tmp_path)
    put_pack(backend, WRONG)
    put_pack(backend, b"another", CONTENT)
    backend.create("packs/stranger", b"x")
    backend.create(layout.pack_key(ObjectId.of(b"no pack")), b"no pack")
    os.mkfifo(tmp_path / layout.pack_key(ObjectId.of(b"fifo")))
    assert read(Objects(backend), wanted()) == CONTENT
    assert read(Objects(backend), wanted(b"p" * 20, 70)) == CONTENT


@readers
def test_wrong_bytes_are_never_given_out(backend: Backend, read: Read) -> None:
    holder, (at,) = put_pack(backend, WRONG)
    put_row(backend, holder, at)
    backend.create(layout.object_key(OID), WRONG)
    for hint in ((None, None), (holder, at)):
        with pytest.raises(DamageError) as caught:
            read(Objects(backend), wanted(*hint))
        assert not isinstance(caught.value, MissingObjectError)
        assert str(OID) in str(caught.value)
        assert caught.value.hint


@readers
def test_what_is_nowhere_is_missing(backend: Backend, read: Read) -> None:
    put_pack(backend, b"another")
    assert backend.info(layout.object_key(OID)) is None
    with pytest.raises(DamageError, match=str(OID)):
        read(Objects(backend), wanted())
    with pytest.raises(MissingObjectError):
        Objects(backend).read(Wanted(OID))


@readers
def test_large_objects_are_verified_too(
    backend: Backend, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of 64 MiB and more are: streamed, and wrong ones end in an error."""
    monkeypatch.setattr(objects, "VERIFY_FIRST_BYTES", 4)
    if read is by_read:
        pytest.skip("read is for small ones")
    backend.create(layout.object_key(OID), CONTENT)
    assert read(Objects(backend), wanted()) == CONTENT
    backend.write(layout.object_key(OID), WRONG)
    with pytest.raises(DamageError):
        read(Objects(backend), wanted())
    holder, (at,) = put_pack(backend, CONTENT)
    put_row(backend, holder, at)
    assert by_open(Objects(backend), wanted()) == CONTENT  # nothing was given out before


def test_sha1_alone_is_enough_where_nothing_else_is_known(backend: Backend) -> None:
    backend.create(layout.object_key(OID), CONTENT)
    assert Objects(backend).read(Wanted(OID)) == CONTENT
    assert by_open(Objects(backend), Wanted(OID)) == CONTENT
    backend.write(layout.object_key(OID), WRONG)
    with pytest.raises(DamageError):
        Objects(backend).read(Wanted(OID))
    with pytest.raises(DamageError):
        by_open(Objects(backend), Wanted(OID))


def test_an_object_larger_than_the_limit_is_not_read(backend: Backend) -> None:
    backend.create(layout.object_key(OID), CONTENT)
    with pytest.raises(DamageError):
        Objects(backend).read(Wanted(OID), limit=5)
    with pytest.raises(DamageError):
        Objects(backend).loose(OID, 5)
    assert Objects(backend).loose(OID, len(CONTENT)) == CONTENT


def test_manifests_are_looked_for_in_their_own_files_alone(backend: Backend) -> None:
    put_pack(backend, CONTENT)
    with pytest.raises(MissingObjectError):
        Objects(backend).loose(OID, 100)
    backend.create(layout.object_key(OID), WRONG)
    with pytest.raises(DamageError):
        Objects(backend).loose(OID, 100)


def test_a_place_on_record_is_not_looked_at(backend: Backend) -> None:
    holder, (at,) = put_pack(backend, CONTENT)
    put_row(backend, holder, at)
    site.record_damaged(backend, [(OID.raw, holder)])
    assert Objects(backend).damaged == {(OID.raw, holder)}
    assert Objects(backend).locations.of(OID) == []


@pytest.mark.parametrize(
    ("size", "offset"), [(-1, 70), (5, -3), (2**62, 70), (len(CONTENT), 2**62)]
)
def test_rows_that_cannot_be_do_no_harm(backend: Backend, size: int, offset: int) -> None:
    put_row(backend, b"p" * 20, offset, size)
    put_pack(backend, CONTENT)
    backend.create(layout.object_key(OID), CONTENT)
    assert Objects(backend).read(Wanted(OID)) == CONTENT
    assert Objects(backend).read(wanted(b"p" * 20, offset)) == CONTENT


def test_a_tree_is_read_strictly(backend: Backend) -> None:
    tree = encode_tree([TreeEntry("f", FILE, OID)])
    backend.create(layout.object_key(ObjectId.of(tree)), tree)
    assert Objects(backend).tree(ObjectId.of(tree)) == [TreeEntry("f", FILE, OID)]
    assert Objects(backend).tree(EMPTY_TREE) == []  # needs no object
    hostile = tree.replace(b"f\0", b"/\0")
    backend.create(layout.object_key(ObjectId.of(hostile)), hostile)
    with pytest.raises(DamageError, match="slash"):
        Objects(backend).tree(ObjectId.of(hostile))


def test_size_sha256_and_id_are_all_looked_at() -> None:
    assert is_object(CONTENT, wanted())
    assert not is_object(WRONG, wanted())
    assert not is_object(CONTENT, Wanted(OID, 5))
    assert not is_object(CONTENT, Wanted(OID, None, bytes(32)))
    assert is_object(CONTENT, Wanted(OID))
    assert not is_object(WRONG, Wanted(OID))


@given(st.binary(max_size=30), st.integers(0, 10), st.integers(0, 30), st.data())
def test_a_window_is_a_file_of_its_own(
    data: bytes, start: int, size: int, drawn: st.DataObject
) -> None:
    expected = io.BytesIO(data[start : start + size])
    window = Window(io.BytesIO(data), start, size)
    real = len(expected.getvalue())
    for _ in range(6):
        if drawn.draw(st.booleans()):
            count = drawn.draw(st.integers(0, 12))
            assert window.read(count) == expected.read(count)
        else:
            at = drawn.draw(st.integers(0, real))
            assert window.seek(at) == expected.seek(at)
        assert window.tell() == expected.tell()
    window.seek(0)
    assert b"".join(window.pieces()) == expected.getvalue()


def test_a_window_seeks_from_everywhere_and_closes_its_file() -> None:
    file = io.BytesIO(b"0123456789")
    with Window(file, 2, 5) as window:
        assert window.seekable()
        assert window.readable()
        assert window.seek(-2, io.SEEK_END) == 3
        assert window.read() == b"56"
        assert window.seek(1) == 1
        assert window.seek(2, io.SEEK_CUR) == 3
        assert window.read(1) == b"5"
        assert window.seek(99) == 99
        assert window.read() == b""
        with pytest.raises(ValueError, match="before"):
            window.seek(-1)
    assert file.closed
    buffered = io.BufferedReader(Window(io.BytesIO(b"a\nb\nc"), 0, 4))
    assert list(buffered) == [b"a\n", b"b\n"]
