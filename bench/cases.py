"""The operations, in the order in which they are measured, and how often.

A round begins with nothing and goes through all operations. `cp -a` of the same data runs right
before each one that moves or reads all data; the short ones that follow are held against the same
copy. So a ratio always compares two runs of the same minutes.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders import Contender, Copy
from bench.data import BenchError, ListingSet, NoData, Set, Tree, TreeSet
from bench.measure import Command, Measurement, run, sync


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the table, by the name under which contenders know it."""

    name: str
    after_copy: bool = False  # `cp -a` runs right before it
    changed: bool = False  # the source has its 4 % changed
    makes_worktree: bool = False  # afterwards the contender's worktree must be like the source
    times: int = 1  # in one round; more where one takes less than a second


OPERATIONS: dict[type[Set], tuple[Operation, ...]] = {
    TreeSet: (
        Operation("first push", after_copy=True),
        Operation("push again, same name", times=3),
        Operation("unchanged push", times=3),
        Operation("checkout", after_copy=True, makes_worktree=True),
        Operation("checkout again", times=3),
        Operation("status", times=3),
        Operation("push, 4 % changed", after_copy=True, changed=True),
        Operation("switch, 4 % changed", changed=True, makes_worktree=True),
        Operation("verify, all data", after_copy=True, changed=True),
        Operation("diff", changed=True, times=3),
        Operation("list one folder", changed=True, times=3),
    ),
    ListingSet: (Operation("list one folder", times=5),),
    NoData: (Operation("--help", times=5), Operation("--version", times=5)),
}


@dataclass(frozen=True, slots=True)
class Copied:
    """What one `cp -a` took, and what it took with the sync after it."""

    seconds: float
    sync_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one operation, and the copy that it is held against (None: there is none)."""

    operation: str
    contender: str
    measured: Measurement
    copied: Copied | None


@dataclass(slots=True)
class Results:
    """All that was measured on one set; `failures` says why, by operation and contender."""

    set: Set
    samples: list[Sample] = field(default_factory=list)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


def measure(
    shape: Set,
    folder: Path,
    kinds: Sequence[type[Contender]],
    runs: int,
    say: Callable[[str], None],
) -> Results:
    """Measure one set in a folder of its own; `say` hears what is going on."""
    results = Results(shape)
    tree = None
    if isinstance(shape, TreeSet):
        tree = Tree(folder, shape)
        say(f"{shape.name}: making {shape}")
        tree.make()
        tree.read()
    for number in range(1, runs + 1):
        for line in _Round(results, folder, kinds, tree, is_first=number == 1).go():
            say(f"{shape.name}, round {number} of {runs}: {line}")
    return results


class _Round:
    def __init__(
        self,
        results: Results,
        folder: Path,
        kinds: Sequence[type[Contender]],
        tree: Tree | None,
        *,
        is_first: bool,
    ) -> None:
        self._results = results
        self._folder = folder
        self._tree = tree
        self._is_first = is_first
        self._work = folder / "work"
        self._copied: Copied | None = None
        shutil.rmtree(self._work, ignore_errors=True)
        source = tree.source if tree else folder
        self._contenders = [kind(self._place(kind.name), source) for kind in kinds]
        self._copy = Copy(self._place(Copy.name), source)

    def go(self) -> Iterator[str]:
        """Measure every operation; yield what was found, a line each."""
        shape = self._results.set
        for contender in self._contenders:
            contender.prepare()
            if isinstance(shape, ListingSet):
                contender.folder = contender.adopt(shape) or ""
            elif isinstance(shape, TreeSet):
                contender.folder = shape.some_folder
        for operation in OPERATIONS[type(shape)]:
            if self._tree:
                self._tree.become(changed=operation.changed)
            if operation.after_copy:
                yield self._measure_copy()
            for _ in range(operation.times):
                for contender in self._contenders:
                    command = contender.command(operation.name)
                    if command and (operation.name, contender.name) not in self._results.failures:
                        yield self._measure(operation, contender, command)
        shutil.rmtree(self._work)
        sync(self._folder)

    def _measure_copy(self) -> str:
        command = self._copy.command(Copy.name)
        assert command
        sync(self._folder)
        measured = run(command)
        synced = measured.seconds + sync(self._folder)
        self._copied = Copied(measured.seconds, synced, measured.cpu_seconds)
        self._results.samples.append(Sample(Copy.name, Copy.name, measured, self._copied))
        self._copy.clear()
        return f"cp -a {measured.seconds:.2f} s, with sync {synced:.2f} s"

    def _measure(self, operation: Operation, contender: Contender, command: Command) -> str:
        key = operation.name, contender.name
        sync(self._folder)
        try:
            measured = run(command)
            if operation.makes_worktree and self._is_first and self._tree:
                _check_same(self._tree.source, contender.worktree)
        except BenchError as error:
            self._results.failures[key] = str(error)
            return f"{contender.name}, {operation.name}: failed: {error}"
        self._results.samples.append(Sample(*key, measured, self._copied))
        return f"{contender.name}, {operation.name}: {measured.seconds:.2f} s"

    def _place(self, name: str) -> Path:
        place = self._work / name.replace(" ", "-")
        place.mkdir(parents=True)
        return place


def _check_same(source: Path, worktree: Path) -> None:
    """Compare two trees with `diff`: what is fast and wrong does not count."""
    own = ["--exclude=.dsa", "--exclude=.git"]  # what a contender keeps in a worktree for itself
    argv = ["diff", "-rq", "--no-dereference", *own, str(source), str(worktree)]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    if found.returncode:
        first = (found.stdout or found.stderr).splitlines()[0]
        raise BenchError(f"the worktree is not like the source: {first}")
