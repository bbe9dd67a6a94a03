"""The sets of data that are measured, made from a seed: the same bytes on every machine."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, ClassVar

SEED = 20240229
PIECE = 1 << 20
_MARKER = "dsa-bench.json"
_BLOCK = 4096
_POINTS = 10_000  # at which a mean is taken
_CHANGED_PART = 0.04


class BenchError(Exception):
    """Something that keeps a measurement from being made, said in one line."""


@dataclass(frozen=True, slots=True)
class TreeSet:
    """Files of random bytes, in `folders` folders that lie in at most ten; sizes in bytes.

    All sizes are as likely; with a `skew` small ones are likelier, the more the larger it is.
    """

    name: str
    files: int
    folders: int
    smallest: int
    largest: int
    skew: float = 0
    takes_long: bool = False  # one copy for a program's whole turn, one round for peers

    def scaled(self, scale: float) -> TreeSet:
        """Return the set with so much of its files; few large ones become smaller instead."""
        if self.files >= 1000:
            files = max(1, round(self.files * scale))
            folders = min(files, max(1, round(self.folders * scale)))
            return replace(self, files=files, folders=folders)
        smallest, largest = (max(1, round(size * scale)) for size in (self.smallest, self.largest))
        return replace(self, smallest=smallest, largest=largest)

    @property
    def room_bytes(self) -> int:
        """About what all of it takes on a disk, whole blocks."""
        return round(self.files * (self._mean + _BLOCK))

    def __str__(self) -> str:
        size = f"about {_size(self._mean)}"
        if self.skew:
            size = f"{_size(self.smallest)} to {_size(self.largest)}"
        count = "1 file" if self.files == 1 else f"{self.files:,} files"
        where = "1 folder" if self.folders == 1 else f"{self.folders:,} folders"
        return f"{count} of {size} in {where}, {self.files * self._mean / 1e9:,.1f} GB"

    def path(self, number: int) -> str:
        """Return the path of a file, by its number."""
        return f"{self.folder(number * self.folders // self.files)}/file-{number:07}.bin"

    def size(self, random: Random) -> int:
        """Return the size of one more file."""
        if not self.skew:
            return random.randint(self.smallest, self.largest)
        return self._skewed(random.random())

    def _skewed(self, share: float) -> int:
        return round(self.smallest * (self.largest / self.smallest) ** (share**self.skew))

    @property
    def _mean(self) -> float:
        if not self.skew:
            return (self.smallest + self.largest) / 2
        return fmean(self._skewed((at + 0.5) / _POINTS) for at in range(_POINTS))

    def folder(self, number: int) -> str:
        """Return the path of a folder, by its number."""
        return f"part-{number * 10 // self.folders}/folder-{number:04}"


def _size(size: float) -> str:
    if size >= 1 << 20:
        return f"{size / 2**20:,.0f} MiB"
    return f"{size / 1000:,.1f} KB" if size >= 1000 else f"{size:.0f} bytes"


class GatewaySet(TreeSet):
    """A set that travels to an S3 gateway and back."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RealSet:
    """What this machine has itself: Python's packages, the system's headers and shared files."""

    name: str
    part: float = 1.0
    takes_long: ClassVar[bool] = False

    def scaled(self, scale: float) -> RealSet:
        """Return the set with so much of its files."""
        return replace(self, part=min(1.0, self.part * scale))

    @property
    def room_bytes(self) -> int:
        """About what all of it takes on a disk: it varies from machine to machine."""
        return round(self.part * 3e9)

    def __str__(self) -> str:
        return "this Python's packages, and the system's headers and shared files"


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

    room_bytes = 0

    def __str__(self) -> str:
        return f"a listing of {self.files:,} files in {self.folders:,} folders"


@dataclass(frozen=True, slots=True)
class NoData:
    """Nothing at all: what it costs to start a program."""

    name: str

    def scaled(self, scale: float) -> NoData:  # noqa: ARG002  # there is nothing to scale
        """Return it as it is."""
        return self

    room_bytes = 0

    def __str__(self) -> str:
        return "no data: what it costs to start"


Set = TreeSet | RealSet | ListingSet | NoData

SETS: dict[str, Set] = {
    found.name: found
    for found in (
        NoData("start"),
        TreeSet("small", files=100_000, folders=1_000, smallest=1, largest=16_383),
        TreeSet("mixed", files=10_000, folders=100, smallest=1024, largest=8 << 20, skew=5),
        TreeSet("large", files=8, folders=1, smallest=512 << 20, largest=512 << 20),
        RealSet("real"),
        TreeSet("million", 1_000_000, 1_000, smallest=60, largest=140, takes_long=True),
        ListingSet("million-listing", files=1_000_000, folders=1_000),
        GatewaySet("s3-small", files=20_000, folders=200, smallest=4096, largest=4096),
        GatewaySet("s3-large", files=1, folders=1, smallest=1 << 30, largest=1 << 30),
    )
}


class Tree(ABC):
    """A set on the disk, in one of two versions: as it was made, or with 4 % of its files changed."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self._marker = folder / _MARKER
        self._is_changed = False

    def make(self) -> None:
        """Write all files, unless an earlier run left exactly these."""
        facts = self.facts()
        if self._marker.exists() and json.loads(self._marker.read_text()) == facts:
            self.write(
                self.changed(), changed=False
            )  # that run may have ended in the other version
        else:
            self._marker.unlink(missing_ok=True)
            shutil.rmtree(self.source, ignore_errors=True)
            self.fill()
            self._marker.write_text(json.dumps(facts))
        self._is_changed = False

    def become(self, *, changed: bool) -> None:
        """Rewrite what differs between the version there and the one that is asked for."""
        if self._is_changed != changed:
            self._is_changed = changed
            self.write(self.changed(), changed=changed)

    def read(self) -> None:
        """Read every file once, so that all are in the page cache."""
        buffer = bytearray(PIECE)
        for path in self.paths():
            with (self.source / path).open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass

    def changed(self) -> list[int]:
        """Return the numbers of the files that a change rewrites: 4 %, spread over everything."""
        paths = self.paths()
        count = max(1, round(len(paths) * _CHANGED_PART))
        return sorted(Random(SEED).sample(range(len(paths)), count))

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what the bytes follow from: a folder with the same facts holds the same files."""

    @abstractmethod
    def about(self) -> str:
        """Say in some words what it is."""

    @abstractmethod
    def paths(self) -> Sequence[str]:
        """Return the path of every file, by its number."""

    @abstractmethod
    def some_folder(self) -> str:
        """Return a folder from the middle, to be listed."""

    @abstractmethod
    def fill(self) -> None:
        """Write all files into `source`, which is not there."""

    @abstractmethod
    def write(self, numbers: Iterable[int], *, changed: bool) -> None:
        """Write these files in one of the two versions."""


class MadeTree(Tree):
    """Random bytes from a seed."""

    def __init__(self, folder: Path, shape: TreeSet) -> None:
        super().__init__(folder)
        self._shape = shape
        self._paths = [shape.path(number) for number in range(shape.files)]

    def facts(self) -> dict[str, Any]:
        """Return the seed and the shape."""
        return {"seed": SEED, **asdict(self._shape)}

    def about(self) -> str:
        """Say how many files of what size."""
        return str(self._shape)

    def paths(self) -> Sequence[str]:
        """Return the path of every file, by its number."""
        return self._paths

    def some_folder(self) -> str:
        """Return a folder from the middle, to be listed."""
        return self._shape.folder(self._shape.folders // 2)

    def fill(self) -> None:
        """Write all files."""
        for number in range(self._shape.folders):
            (self.source / self._shape.folder(number)).mkdir(parents=True, exist_ok=True)
        self.write(range(self._shape.files), changed=False)

    def write(self, numbers: Iterable[int], *, changed: bool) -> None:
        """Write these files in one of the two versions."""
        for number in numbers:
            random = Random(SEED + 2 * number + changed)
            left = self._shape.size(random)
            with (self.source / self._paths[number]).open("wb") as file:
                while left > 0:
                    piece = random.randbytes(min(left, PIECE))
                    file.write(piece)
                    left -= len(piece)
