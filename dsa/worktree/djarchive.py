"""The file list of the older djarchive: `djarchive-manifest.csv`, read, written and compared.

A line per file, `"<size>","<digest>","<path>"`, no header. The program that made these files
escaped nothing, so a path with a comma or a quote stands there raw; we write such a path as
RFC 4180 says, and all others byte for byte as it did.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dsa.cas.names import printable

MANIFEST_NAME = "djarchive-manifest.csv"

_QUOTE = '"'
_MAX_SIZE = 2**63 - 1
_START = re.compile(r'"([0-9]+)","([0-9a-f]+)","', re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """One listed file; `digest` in lowercase hex, 40 digits of SHA-1 or 64 of SHA-256."""

    path: str
    size: int
    digest: str

    @property
    def algorithm(self) -> Literal["sha1", "sha256"]:
        """Which digest it is: its length says so."""
        return "sha1" if len(self.digest) == 40 else "sha256"


class ListError(ValueError):
    """A list that cannot be relied on; `problems` has a line for every bad line of the file."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


# --- reading -------------------------------------------------------------------------------------


def parse(data: bytes) -> list[Entry]:
    """Read a list, in the file's order; `ListError` names every bad line in one pass.

    A line is first taken as the old program wrote it, then as RFC 4180 (fields may do without
    quotes, a quoted one may hold newlines). A path whose quotes all come in pairs is taken as
    RFC 4180. LF and CRLF end a line; empty lines and a byte order mark are passed over.
    """
    lines = data.decode("utf-8-sig", "surrogateescape").split("\n")
    entries: dict[str, Entry] = {}
    first_line: dict[str, int] = {}
    problems: list[str] = []
    at = 0
    while at < len(lines):
        number = at + 1
        if lines[at] in ("", "\r"):
            at += 1
            continue
        fields, at = _record(lines, at)
        entry = _entry(fields)
        if isinstance(entry, str):
            problems.append(f"line {number}: {entry}")
        elif entry.path in entries:
            problems.append(
                f"line {number}: '{printable(entry.path)}' stands in line"
                f" {first_line[entry.path]} already"
            )
        else:
            entries[entry.path] = entry
            first_line[entry.path] = number
    if problems:
        raise ListError(problems)
    return list(entries.values())


def _record(lines: list[str], at: int) -> tuple[list[str], int]:
    """Return the fields of the record that begins at this line, and the line after it."""
    raw = _as_once_written(lines[at].removesuffix("\r"))
    if raw and '"' not in raw[2].replace('""', ""):
        return [raw[0], raw[1], raw[2].replace('""', '"')], at + 1
    end = _end_of_record(lines, at)
    # A last quote that closes nothing may be the path's own, as the old program left it.
    fields = _rfc4180("\n".join(lines[at:end])) if end else []
    if raw and len(fields) != 3:
        return list(raw), at + 1
    return fields, end or at + 1


def _as_once_written(line: str) -> tuple[str, str, str] | None:
    start = _START.match(line)
    if start is None or len(line) == start.end() or not line.endswith('"'):
        return None
    return start[1], start[2], line[start.end() : -1]


def _end_of_record(lines: list[str], at: int) -> int:
    """Return the line after the one where all quotes are closed; 0 if they never are.

    A line that begins like a record ends the search, so that it is read on its own: no path that
    was written with its quotes doubled can look like it.
    """
    quotes = lines[at].count('"')
    end = at + 1
    while quotes % 2:
        if end == len(lines) or _START.match(lines[end]):
            return 0
        quotes += lines[end].count('"')
        end += 1
    return end


def _rfc4180(text: str) -> list[str]:
    try:
        # The text goes in whole: only within quotes does a newline not end the record.
        records = list(csv.reader([text], strict=True))
    except csv.Error:
        return []
    return records[0] if len(records) == 1 else []


def _entry(fields: list[str]) -> Entry | str:
    """Return the entry, or what is wrong with it."""
    if len(fields) != 3:
        return "not three fields: size, digest, path"
    size, digest, path = fields
    if not (size.isascii() and size.isdigit()) or len(size) > 19 or int(size) > _MAX_SIZE:
        return f"not a size in bytes: '{printable(size)}'"
    if not _DIGEST.fullmatch(digest):
        return f"not 40 or 64 lowercase hex digits: '{printable(digest)}'"
    fault = _path_fault(path)
    return f"{fault}: '{printable(path)}'" if fault else Entry(path, int(size), digest)


def _path_fault(path: str) -> str | None:
    if not path:
        return "an empty path"
    if path.startswith("/"):
        return "an absolute path"
    if "\0" in path:
        return "a path with NUL"
    parts = path.split("/")
    if ".." in parts:
        return "a path with '..'"
    if "" in parts or "." in parts:
        return "a path with an empty part or '.'"
    if not path.isascii() and any("\ud800" <= c <= "\udfff" for c in path):
        return "a path that is not UTF-8"
    return None


# --- writing -------------------------------------------------------------------------------------


def render(entries: Iterable[Entry]) -> bytes:
    """Write a list, sorted by the bytes of the paths: the same files give the same bytes."""
    # Text sorts by code points, which is the order of its bytes in UTF-8.
    return "".join(
        f'"{entry.size}","{entry.digest}","{entry.path.replace(_QUOTE, _QUOTE * 2)}"\n'
        for entry in sorted(entries, key=lambda entry: entry.path)
    ).encode()


# --- comparing -----------------------------------------------------------------------------------


class Found(NamedTuple):
    """A file that is there, with both digests in hex."""

    path: str
    size: int
    sha1: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not what the list says; `digest` is the found one, of the listed kind."""

    listed: Entry
    size: int
    digest: str

    def __str__(self) -> str:
        path = printable(self.listed.path)
        if self.size != self.listed.size:
            return f"{path}: {self.listed.size} bytes listed, {self.size} found"
        return f"{path}: {self.listed.algorithm} {self.listed.digest} listed, {self.digest} found"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the list and the files disagree on, sorted by the bytes of the paths.

    `hidden_untracked` are files that the list leaves out with a part that begins with `.`: the
    old program never looked at these, so they are no disagreement, and no part of the data.
    """

    missing: tuple[str, ...]
    different: tuple[Difference, ...]
    untracked: tuple[str, ...]
    hidden_untracked: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Every listed file is there as listed, and nothing else but hidden files."""
        return not (self.missing or self.different or self.untracked)

    def problems(self) -> list[str]:
        """Say it in lines, one for each file."""
        return [
            *(f"missing: {printable(path)}" for path in self.missing),
            *(f"different: {difference}" for difference in self.different),
            *(f"untracked: {printable(path)}" for path in self.untracked),
        ]


def compare(listed: Iterable[Entry], found: Iterable[tuple[str, int, str, str]]) -> Comparison:
    """Hold the files that are there (`Found`) against the list.

    The list's own file at the top is no part of the data: it is passed over if it is among them.
    """
    entries = {entry.path: entry for entry in listed}
    different: list[Difference] = []
    untracked: list[str] = []
    hidden: list[str] = []
    for path, size, sha1, sha256 in found:
        entry = entries.pop(path, None)
        if entry is None:
            if path != MANIFEST_NAME:
                (hidden if is_hidden(path) else untracked).append(path)
            continue
        digest = sha1 if entry.algorithm == "sha1" else sha256
        if (size, digest) != (entry.size, entry.digest):
            different.append(Difference(entry, size, digest))
    return Comparison(
        missing=tuple(sorted(entries)),
        different=tuple(sorted(different, key=lambda difference: difference.listed.path)),
        untracked=tuple(sorted(untracked)),
        hidden_untracked=tuple(sorted(hidden)),
    )


def is_hidden(path: str) -> bool:
    """Whether any part of a path begins with `.`: the old program left such files out."""
    return path.startswith(".") or "/." in path
