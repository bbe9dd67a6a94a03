"""Packs: ZIP files that any unzip reads, and that are read strictly."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packing import directory, local_header, pack

from dsa.cas import packs
from dsa.cas.ids import ObjectId
from dsa.cas.packs import HEADER_BYTES, Directory, PackEntry, check_header, read_directory

contents = st.lists(st.binary(max_size=40), max_size=6, unique=True)


def read(data: bytes) -> Directory:
    return read_directory(lambda start, length: data[start : start + length], len(data))


@given(contents)
def test_a_packs_directory_comes_back(objects: list[bytes]) -> None:
    data, entries = pack(objects)
    found = read(data)
    assert list(found) == entries
    assert len(found) == len(objects)
    assert found.ids == b"".join(ObjectId.of(content).raw for content in objects)
    assert found.end == (entries[-1].offset + entries[-1].size if entries else 0)
    assert packs.bytes_with_directory(found.end, len(found)) == len(data)
    assert packs.directory_bytes(found) == data[found.end :]
    assert list(packs.directory_of(found.ids, found.sizes, found.crcs)) == entries
    for entry, content in zip(found, objects, strict=True):
        header = bytearray(HEADER_BYTES)
        packs.write_header(header, 0, entry.id.raw, entry.size, entry.crc)
        assert header == local_header(entry)
        assert data[entry.offset : entry.offset + entry.size] == content
        check_header(data[entry.offset - HEADER_BYTES : entry.offset], entry)


@given(contents)
def test_pythons_zipfile_reads_it(objects: list[bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(pack(objects)[0])) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == {
            str(ObjectId.of(content)): content for content in objects
        }
        for info in file.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert (info.create_system, info.create_version, info.extract_version) == (0, 10, 10)
            assert (info.flag_bits, info.extra, info.comment, info.external_attr) == (
                0,
                b"",
                b"",
                0,
            )
            assert info.date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.skipif(not shutil.which("unzip"), reason="unzip is not installed")
def test_unzip_reads_it(tmp_path: Path) -> None:
    objects = [b"", b"one", bytes(range(256)) * 300]
    path = tmp_path / "pack.zip"
    path.write_bytes(pack(objects)[0])
    subprocess.run(["unzip", "-tqq", path], check=True)
    subprocess.run(["unzip", "-qq", path, "-d", tmp_path / "out"], check=True)
    for content in objects:
        assert (tmp_path / "out" / str(ObjectId.of(content))).read_bytes() == content


def test_many_entries_are_read_at_once() -> None:
    objects = [str(number).encode() for number in range(packs.MAX_ENTRIES)]
    data, entries = pack(objects)
    assert list(read(data)) == entries
    data, _ = pack([*objects, b"one more"])
    with pytest.raises(ValueError, match="does not fit"):
        read(data)


_NAME = str(ObjectId.of(b"one")).encode()


@given(st.data())
def test_a_changed_directory_is_refused(drawn: st.DataObject) -> None:
    """Every byte of it is fixed but for the CRC, the digits of a name, and nothing else."""
    data, _ = pack([b"one", b"two", b""])
    start = data.index(b"PK\x01\x02")
    at = drawn.draw(st.integers(start, len(data) - 1))
    value = drawn.draw(st.integers(0, 255).filter(lambda value: value != data[at]))
    bad = data[:at] + bytes([value]) + data[at + 1 :]
    record = (at - start) % 86
    is_free = at < len(data) - 22 and (
        16 <= record < 20 or (record >= 46 and chr(value) in "0123456789abcdef")
    )
    if is_free:
        assert len(read(bad)) == 3
    else:
        with pytest.raises(ValueError, match=r"."):
            read(bad)


def test_names_are_ids_in_lowercase_and_stand_there_once() -> None:
    data, _ = pack([b"one", b"two"])
    twice = data.replace(str(ObjectId.of(b"two")).encode(), _NAME)
    with pytest.raises(ValueError, match="twice"):
        read(twice)
    for name in (_NAME.upper(), _NAME[:-1] + b"g", _NAME[:-1] + b" ", b"\xff" * 40):
        assert name != _NAME
        with pytest.raises(ValueError, match="named by an id"):
            read(data.replace(_NAME, name))


def test_gaps_overlaps_and_more_bytes_are_refused() -> None:
    data, entries = pack([b"one", b"two"])
    end = entries[-1].offset + 3
    records = directory(entries, end)
    shifted = [entries[0], PackEntry(entries[1].id, entries[1].offset + 1, 3, entries[1].crc)]
    for bad in (
        data[:end] + b"x" + directory(entries, end + 1),
        data[:end] + b"x" + directory(shifted, end + 1),
        data[:end] + directory(entries[::-1], end),
        data[:end] + directory(entries[:1], end),
        data[:end] + directory(entries[1:], end),
        data + b"x",
        b"x" + data,
        data[:-1],
        data[:end] + records[86:],
        b"",
        data[-22:],
    ):
        with pytest.raises(ValueError, match=r"."):
            read(bad)


def test_a_size_is_checked_before_anything_is_read() -> None:
    def never(start: int, length: int) -> bytes:
        raise AssertionError("it was read")

    for size in (0, 21, packs.MAX_BYTES + 1, 2**60):
        with pytest.raises(ValueError, match="cannot have"):
            read_directory(never, size)


def test_a_directory_that_claims_much_is_not_read() -> None:
    asked: list[int] = []
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_534, 65_534, 65_534 * 86, 0, 0)

    def short(start: int, length: int) -> bytes:
        asked.append(length)
        return end[-length:]

    with pytest.raises(ValueError, match="does not fit"):
        read_directory(short, 1000)
    assert asked == [22]


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_local_header_is_as_the_directory_says(at: int) -> None:
    data, entries = pack([b"one"])
    header = bytearray(data[:HEADER_BYTES])
    header[at] ^= 1
    with pytest.raises(ValueError, match="differs"):
        check_header(bytes(header), entries[0])
