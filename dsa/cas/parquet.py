"""Parquet files from a store: opened only when reading them takes no more than they should.

What a file's own header says of its size is hostile until checked: a page of a few bytes may
unpack to gigabytes, and so may one long text that a thousand rows name. docs/format.md,
"Parquet files".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: More rows than a row group may have: readers hold one whole.
MAX_GROUP_ROWS = 65_536

_SLACK_BYTES = 1 << 20  # what a column chunk may come to beyond its rows: dictionary, levels
_MAX_HEADER_BYTES = 64 * 1024  # of one page
_DICTIONARY_PAGE = 2
_DELTA_BYTE_ARRAY = (
    7  # spells values by what they share with the one before: they may be any length
)
_WIDTHS = {"INT32": 4, "INT64": 8}

Read = Callable[[int, int], bytes]


class SafeParquet:
    """An open Parquet file with exactly these columns (others are passed by), read group by group.

    `texts` are the text columns with the most bytes that a value may have; they are decoded as
    dictionaries where they are written as such, and always where `dictionaries` names them.
    `read(start, length)` returns bytes of the file, which has `size` bytes. `need(start, end)` is
    called before a row group is read, for a source that is fetched only then. Raises: ValueError
    in one line, here and when reading, for all that is not as it must be.
    """

    def __init__(
        self,
        source: BinaryIO | Path | pa.Buffer,
        size: int,
        schema: pa.Schema,
        texts: Mapping[str, int],
        dictionaries: tuple[str, ...] = (),
        need: Callable[[int, int], None] | None = None,
    ) -> None:
        self._need = need
        self._schema = schema
        self._texts = texts
        self._size = size
        self._read = _reader(source)
        try:
            self._groups = _groups(_footer(self._read, size))
            self._file = pq.ParquetFile(source, page_checksum_verification=True)
            self._at = self._columns()
            written = [
                name
                for name in texts
                if name in dictionaries
                or any(group.chunks[self._at[name]].has_dictionary for group in self._groups)
            ]
            self._file = pq.ParquetFile(
                source,
                metadata=self._file.metadata,
                read_dictionary=written,
                page_checksum_verification=True,
            )
            self.facts: Mapping[bytes, bytes] = self._file.metadata.metadata or {}
            self._check_groups()
        except (pa.ArrowException, OSError, KeyError, IndexError, ValueError) as error:
            raise ValueError(one_line(error)) from error

    @property
    def rows(self) -> int:
        """How many rows it has, by its header."""
        return int(self._file.metadata.num_rows)

    @property
    def groups(self) -> int:
        """How many row groups it has."""
        return len(self._groups)

    def least_and_most(self, group: int, column: str) -> tuple[str, str] | None:
        """Return what the header says are a group's least and greatest text; a mere claim."""
        said = self._groups[group].chunks[self._at[column]].statistics
        least, most = said.get(_MIN_VALUE), said.get(_MAX_VALUE)
        if not isinstance(least, bytes) or not isinstance(most, bytes):
            return None
        try:
            return least.decode(), most.decode()
        except UnicodeDecodeError:
            return None

    def read(self, group: int) -> pa.Table:
        """Read one row group."""
        if not self._groups[group].rows:
            return self._schema.empty_table()
        try:
            if self._need is not None:
                self._need(*self._span(group))
            for name in self._schema.names:
                self._check_pages(group, name)
            table = self._file.read_row_group(group, columns=self._schema.names)
            table.validate(full=True)
            for name, most in self._texts.items():
                _check_lengths(table[name], name, most)
            return table.select(self._schema.names).cast(self._schema)
        except (pa.ArrowException, OSError, KeyError, IndexError, ValueError) as error:
            raise ValueError(one_line(error)) from error

    def _span(self, group: int) -> tuple[int, int]:
        """Return where a row group's columns begin and end in the file."""
        chunks = [self._groups[group].chunks[self._at[name]] for name in self._schema.names]
        start = min(chunk.start for chunk in chunks)
        end = max(chunk.start + chunk.size for chunk in chunks)
        if not 4 <= start <= end <= self._size:
            raise ValueError("its columns lie outside the file")
        return start, end

    def _columns(self) -> dict[str, int]:
        """Return where each column is; a ValueError unless each is there once, of its type, in order."""
        schema = self._file.metadata.schema
        found = [
            (at, schema.column(at))
            for at in range(len(schema))
            if schema.column(at).path in self._schema.names
        ]
        if [column.path for _, column in found] != self._schema.names:
            raise ValueError("its columns are not those that it must have")
        for _, column in found:
            wanted = _physical(self._schema.field(column.path).type)
            is_right = (column.physical_type, column.length) == wanted
            if not is_right or column.max_repetition_level:
                raise ValueError(f"its column {column.path} is not of the type that it must have")
        return {column.path: at for at, column in found}

    def _check_groups(self) -> None:
        if sum(group.rows for group in self._groups) != self.rows:
            raise ValueError("its header contradicts itself")
        for group in self._groups:
            if group.rows > MAX_GROUP_ROWS:
                raise ValueError(
                    f"a row group of {group.rows} rows, at most {MAX_GROUP_ROWS} may be"
                )
            for name, at in self._at.items():
                if group.chunks[at].unpacked > self._most_bytes(name, group.rows):
                    raise ValueError(f"its column {name} claims more bytes than its rows can have")

    def _most_bytes(self, name: str, rows: int) -> int:
        """Return how many bytes a column chunk of so many rows may unpack to."""
        kind, width = _physical(self._schema.field(name).type)
        value = self._texts[name] + 4 if name in self._texts else width or _WIDTHS[kind]
        return 2 * rows * (value + 4) + _SLACK_BYTES

    def _check_pages(self, group: int, name: str) -> None:
        """Look at the header of every page: it is by these that memory is taken."""
        rows = self._groups[group].rows
        chunk = self._groups[group].chunks[self._at[name]]
        start, end = chunk.start, chunk.start + chunk.size
        if not 4 <= start <= end <= self._size:
            raise ValueError(f"its column {name} lies outside the file")
        unpacked = values = 0
        at = start
        while at < end:
            page, length = read_struct(self._read(at, min(_MAX_HEADER_BYTES, end - at)))
            kind, size, packed = (_number(page, key) for key in (1, 2, 3))
            detail: object = next((page[key] for key in (5, 7, 8) if key in page), {})
            if not isinstance(detail, dict):
                raise ValueError(f"its column {name} has a page that cannot be read")
            if kind == _DICTIONARY_PAGE:
                if at != start or not chunk.has_dictionary:
                    raise ValueError(f"its column {name} has a dictionary where none may be")
            else:
                values += _number(detail, 1)
                encoding = _number(detail, 4 if 8 in page else 2)
                if name in self._texts and encoding == _DELTA_BYTE_ARRAY:
                    raise ValueError(f"its column {name} is encoded in a way that it may not be")
            unpacked += size
            if unpacked > self._most_bytes(name, rows):
                raise ValueError(f"its column {name} unpacks to more bytes than its rows can have")
            at += length + packed
        if at != end or values != rows:
            raise ValueError(f"the pages of its column {name} do not come to its rows")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One column of one row group, as the footer says; sizes in bytes."""

    start: int
    size: int
    unpacked: int
    has_dictionary: bool
    statistics: dict[int, Any]


@dataclass(frozen=True, slots=True)
class _Group:
    rows: int
    chunks: list[_Chunk]


# Fields by their ids in Parquet's Thrift definitions.
_ROW_GROUPS = 4  # of the footer
_COLUMNS, _ROWS = 1, 3  # of a row group
_FILE_PATH, _METADATA, _CRYPTO = 1, 3, 8  # of a column chunk
_UNPACKED, _PACKED, _DATA_AT, _DICTIONARY_AT, _STATISTICS = 6, 7, 9, 11, 12  # of its metadata
_MAX_VALUE, _MIN_VALUE = 5, 6  # of its statistics


def _footer(read: Read, size: int) -> dict[int, Any]:
    """Read the footer here too: Arrow's own view of a column chunk ends the process over a bad one."""
    end = read(max(0, size - 8), 8)
    length = int.from_bytes(end[:4], "little")
    if len(end) != 8 or end[4:] != b"PAR1" or not 0 < length <= size - 12:
        raise ValueError("it does not end as a Parquet file does")
    return read_struct(read(size - 8 - length, length))[0]


def _groups(footer: dict[int, Any]) -> list[_Group]:
    return [
        _Group(_number(group, _ROWS), [_chunk(chunk) for chunk in _structs(group, _COLUMNS)])
        for group in _structs(footer, _ROW_GROUPS)
    ]


def _chunk(chunk: dict[int, Any]) -> _Chunk:
    facts = chunk.get(_METADATA)
    if not isinstance(facts, dict) or _FILE_PATH in chunk or _CRYPTO in chunk:
        raise ValueError("a column that is encrypted, or in another file")
    has_dictionary = _DICTIONARY_AT in facts
    statistics = facts.get(_STATISTICS, {})
    return _Chunk(
        start=_number(facts, _DICTIONARY_AT if has_dictionary else _DATA_AT),
        size=_number(facts, _PACKED),
        unpacked=_number(facts, _UNPACKED),
        has_dictionary=has_dictionary,
        statistics=statistics if isinstance(statistics, dict) else {},
    )


def _structs(fields: dict[int, Any], key: int) -> list[dict[int, Any]]:
    found = fields.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError("a header that lacks a list")
    return found


def one_line(error: BaseException) -> str:
    """Return an error's first line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _check_lengths(column: pa.ChunkedArray, name: str, most: int) -> None:
    """Refuse a text that is too long before anything names it once for every row."""
    for chunk in column.chunks:
        values = chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk
        longest = pc.max(pc.binary_length(values)).as_py()
        if longest is not None and longest > most:
            raise ValueError(f"a {name} of {longest} bytes, more than {most}")


def _physical(kind: pa.DataType) -> tuple[str, int]:
    """Return how a type is stored: Parquet's name for it, and its width where it has one."""
    if pa.types.is_fixed_size_binary(kind):
        return "FIXED_LEN_BYTE_ARRAY", kind.byte_width
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return "BYTE_ARRAY", 0
    return ("INT64", 0) if kind.bit_width == 64 else ("INT32", 0)


def in_memory(data: bytes) -> pa.Buffer:
    """Return a copy of these bytes in Arrow's own memory, to read a file from.

    Arrow's threads may let go of it when the interpreter is being taken apart, and giving back
    memory of Python's then aborts the process.
    """
    buffer = pa.allocate_buffer(len(data))
    memoryview(buffer).cast("B")[:] = data
    return buffer


def _reader(source: BinaryIO | Path | pa.Buffer) -> Read:
    if isinstance(source, Path):

        def from_path(start: int, length: int) -> bytes:
            with source.open("rb") as file:
                file.seek(start)
                return file.read(length)

        return from_path
    if isinstance(source, pa.Buffer):
        return lambda start, length: source.slice(start, length).to_pybytes()

    def from_file(start: int, length: int) -> bytes:
        source.seek(start)
        return source.read(length)

    return from_file


# --- Thrift's compact protocol, as much of it as a footer and a page's header need -----------------

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12,
)  # fmt: skip
_BITS = {_I16: 16, _I32: 32, _I64: 64}
_MAX_NESTING = 8


def read_struct(data: bytes) -> tuple[dict[int, Any], int]:
    """Return a struct by its field ids, and how many bytes it has; texts are bytes.

    Raises: ValueError if it does not end within `data`, or has what no Parquet file needs.
    """
    try:
        return _struct(data, 0, 0)
    except IndexError:
        raise ValueError("a header that does not end") from None


def _struct(data: bytes, at: int, nesting: int) -> tuple[dict[int, Any], int]:
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at, _I16)
        if number >= 1 << 15 or number in fields:
            raise ValueError("a header with a field that cannot be")
        fields[number], at = _value(data, at, head & 15, nesting + 1)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, nesting: int) -> tuple[Any, int]:
    if nesting > _MAX_NESTING:
        raise ValueError("a header that is nested too deeply")
    if kind in _BITS:
        return _zigzag(data, at, kind)
    if kind == _STRUCT:
        return _struct(data, at, nesting)
    if kind == _BINARY:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise ValueError("a header that does not end")
        return data[at : at + length], at + length
    if kind in (_LIST, _SET):
        return _list(data, at, nesting)
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind in (_BYTE, _DOUBLE):
        return None, at + (8 if kind == _DOUBLE else 1)
    raise ValueError("a header with a value of an unknown kind")


def _list(data: bytes, at: int, nesting: int) -> tuple[list[Any], int]:
    kind, count = data[at] & 15, data[at] >> 4
    at += 1
    if count == 15:
        count, at = _varint(data, at)
    if count > len(data) - at:  # an element has a byte at least
        raise ValueError("a header that does not end")
    items: list[Any] = []
    for _ in range(count):
        if kind in (_TRUE, _FALSE):
            item, at = data[at] == _TRUE, at + 1
        else:
            item, at = _value(data, at, kind, nesting + 1)
        items.append(item)
    return items, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a header with a number that cannot be")


def _zigzag(data: bytes, at: int, kind: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    if value >> _BITS[kind]:  # another reader would cut it short, and see another number
        raise ValueError("a header with a number that cannot be")
    return (value >> 1) ^ -(value & 1), at


def _number(fields: Mapping[int, Any], key: int) -> int:
    value = fields.get(key)
    if type(value) is not int or value < 0:
        raise ValueError("a header that lacks a number")
    return value
