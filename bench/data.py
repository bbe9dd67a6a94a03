"""The sets of data that are measured, made from a seed: the same bytes on every machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

_SEED = 20240229
_MARKER = "dsa-bench.json"
_PIECE = 1 << 20
_CHANGED_PART = 0.04


class BenchError(Exception):
    """Something that keeps a measurement from being made, said in one line."""


@dataclass(frozen=True, slots=True)
class TreeSet:
    """Files of random bytes, in `folders` folders that lie in at most ten; sizes in bytes."""

    name: str
    files: int
    folders: int
    smallest: int
    largest: int

    def scaled(self, scale: float) -> TreeSet:
        """Return the set with so much of its files; few large ones become smaller instead."""
        if self.files >= 1000:
            files = max(1, round(self.files * scale))
            folders = min(files, max(1, round(self.folders * scale)))
            return TreeSet(self.name, files, folders, self.smallest, self.largest)
        size = max(1, round(self.smallest * scale)), max(1, round(self.largest * scale))
        return TreeSet(self.name, self.files, self.folders, *size)

    @property
    def expected_bytes(self) -> int:
        """About how large all of it is."""
        return self.files * (self.smallest + self.largest) // 2

    @property
    def some_folder(self) -> str:
        """A folder in the middle, to be listed."""
        return self._folder(self.folders // 2)

    def __str__(self) -> str:
        mean = (self.smallest + self.largest) / 2
        size = f"{mean / 2**20:,.0f} MiB" if mean >= 2**20 else f"{mean / 1000:,.1f} KB"
        return (
            f"{self.files:,} files of about {size} in {self.folders:,} folders, "
            f"{self.expected_bytes / 1e9:,.1f} GB"
        )

    def path(self, number: int) -> str:
        """Return the path of a file, by its number."""
        return f"{self._folder(number * self.folders // self.files)}/file-{number:07}.bin"

    def changed(self) -> list[int]:
        """Return the numbers of the files that a change rewrites: 4 %, spread over everything."""
        count = max(1, round(self.files * _CHANGED_PART))
        return sorted(Random(_SEED).sample(range(self.files), count))

    def _folder(self, number: int) -> str:
        return f"part-{number * 10 // self.folders}/folder-{number:04}"


@dataclass(frozen=True, slots=True)
class ListingSet:
    """A revision of which there is only the index, to be listed: its files exist nowhere."""

    name: str
    files: int
    folders: int

    def scaled(self, scale: float) -> ListingSet:
        """Return the set with so much of its folders."""
        folders = max(1, round(self.folders * scale))
        return ListingSet(self.name, folders * (self.files // self.folders), folders)

    expected_bytes = 0

    def __str__(self) -> str:
        return f"a listing of {self.files:,} files in {self.folders:,} folders"


@dataclass(frozen=True, slots=True)
class NoData:
    """Nothing at all: what it costs to start a program."""

    name: str

    def scaled(self, scale: float) -> NoData:  # noqa: ARG002  # there is nothing to scale
        """Return it as it is."""
        return self

    expected_bytes = 0

    def __str__(self) -> str:
        return "no data: what it costs to start"


Set = TreeSet | ListingSet | NoData

SETS: dict[str, Set] = {
    found.name: found
    for found in (
        NoData("start"),
        TreeSet("small", files=100_000, folders=1_000, smallest=1, largest=16_383),
        TreeSet("large", files=8, folders=1, smallest=512 << 20, largest=512 << 20),
        ListingSet("million", files=1_000_000, folders=1_000),
    )
}


class Tree:
    """A set on the disk, in one of two versions: as it was made, or with 4 % of its files changed."""

    def __init__(self, folder: Path, shape: TreeSet) -> None:
        self.source = folder / "source"
        self.shape = shape
        self._marker = folder / _MARKER
        self._version = 0

    def make(self) -> None:
        """Write all files, unless an earlier run left exactly these."""
        facts = {"seed": _SEED, **asdict(self.shape)}
        if self._marker.exists() and json.loads(self._marker.read_text()) == facts:
            self._write(self.shape.changed())  # that run may have ended in the other version
        else:
            shutil.rmtree(self.source, ignore_errors=True)
            for number in range(self.shape.folders):
                first = -(-number * self.shape.files // self.shape.folders)
                (self.source / self.shape.path(first)).parent.mkdir(parents=True, exist_ok=True)
            self._write(range(self.shape.files))
            self._marker.write_text(json.dumps(facts))
        self._version = 0

    def become(self, *, changed: bool) -> None:
        """Rewrite what differs between the version there and the one that is asked for."""
        if self._version != changed:
            self._version = int(changed)
            self._write(self.shape.changed())

    def read(self) -> None:
        """Read every file once, so that all are in the page cache."""
        buffer = bytearray(_PIECE)
        for number in range(self.shape.files):
            with (self.source / self.shape.path(number)).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def _write(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            random = Random(_SEED + 2 * number + self._version)
            left = random.randint(self.shape.smallest, self.shape.largest)
            with (self.source / self.shape.path(number)).open("wb") as file:
                while left > 0:
                    piece = random.randbytes(min(left, _PIECE))
                    file.write(piece)
                    left -= len(piece)
