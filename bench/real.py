"""Real files: what every Debian with a Python has, copied from where it is installed.

Their bytes are not the same everywhere, so the table says how many there were. Taken are regular
files and what is executable; no links and no empty folders, which some peers do not keep, and
none that belongs to a version control (`.git`, `.gitignore` and the like), which some obey.
"""

from __future__ import annotations

import os
import platform
import shutil
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from bench.data import SEED, RealSet, Tree

_MOST_BYTES = 64 << 20  # a single larger file is another set's business
_PASSED_BY = (".git", ".dvc", ".hg", ".dsa", ".bzr", ".svn")


def _places() -> dict[str, Path]:
    """Return where real files are, by the folder that they go to."""
    packages = Path(sysconfig.get_paths()["purelib"])
    found = {"packages": packages, "include": Path("/usr/include"), "share": Path("/usr/share")}
    return {name: place for name, place in found.items() if place.is_dir()}


class RealTree(Tree):
    """A copy of real files; what is changed are 4 % of them, which become random bytes."""

    def __init__(self, folder: Path, shape: RealSet) -> None:
        super().__init__(folder)
        self._shape = shape
        self._places = _places()
        self._found = sorted(_found(self._places, shape.part))
        self._bytes = sum(size for _, size in self._found)
        self._paths = [path for path, _ in self._found]
        self._kept = folder / "kept"  # the 4 % as they were: what is installed may change meanwhile

    def facts(self) -> dict[str, Any]:
        """Return what was found."""
        return {"seed": SEED, "part": self._shape.part, "found": [list(one) for one in self._found]}

    def about(self) -> str:
        """Say what it was, and how much."""
        where = {"packages": f"packages of Python {platform.python_version()}"}
        named = [where.get(name, str(place)) for name, place in self._places.items()]
        part = f"{self._shape.part:.0%} of " if self._shape.part < 1 else ""
        return f"{part}{', '.join(named)}: {len(self._paths):,} files, {self._bytes / 1e9:,.1f} GB"

    def paths(self) -> Sequence[str]:
        """Return the path of every file, by its number."""
        return self._paths

    def some_folder(self) -> str:
        """Return a folder from the middle, to be listed."""
        return os.path.dirname(self._paths[len(self._paths) // 2])

    def fill(self) -> None:
        """Copy all files."""
        shutil.rmtree(self._kept, ignore_errors=True)
        for path in self._paths:
            place, _, rest = path.partition("/")
            _copy(self._places[place] / rest, self.source / path)
        for number in self.changed():
            _copy(self.source / self._paths[number], self._kept / self._paths[number])

    def write(self, numbers: Iterable[int], *, changed: bool) -> None:
        """Write these files in one of the two versions; both are of the same size."""
        for number in numbers:
            path = self._paths[number]
            size = self._found[number][1]
            data = (
                Random(SEED + number).randbytes(max(1, size))
                if changed
                else (self._kept / path).read_bytes()
            )
            (self.source / path).write_bytes(data)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _found(places: dict[str, Path], part: float) -> Iterator[tuple[str, int]]:
    """Yield path and size of so much of the files, spread over all folders."""
    random = Random(SEED)
    for name, place in places.items():
        for folder, folders, files in os.walk(place):
            folders[:] = sorted(one for one in folders if not one.startswith(_PASSED_BY))
            for file in sorted(files):
                source = Path(folder, file)
                if random.random() >= part or file.startswith(_PASSED_BY) or source.is_symlink():
                    continue
                if source.is_file() and os.access(source, os.R_OK):
                    size = source.stat().st_size
                    if size <= _MOST_BYTES:
                        yield f"{name}/{source.relative_to(place).as_posix()}", size
