"""The operations, in the order in which they are measured, and how often.

Programs take their turns one after another: each begins with nothing, goes through all operations,
and leaves nothing. `cp -a` of the same data runs right before each operation that moves data; the
short ones that follow are held against the same copy. So a ratio always compares two runs of the
same minutes, and a round never needs more room than its greediest program.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.contenders import Contender, Copy, remove
from bench.data import (
    BenchError,
    GatewaySet,
    ListingSet,
    MadeTree,
    NoData,
    RealSet,
    Set,
    Tree,
    TreeSet,
)
from bench.gateway import Gateway, running
from bench.measure import Command, Measurement, TooSlow, run, sync
from bench.real import RealTree

LIMIT_SECONDS = 900.0  # a command that takes longer is ended
_SLOW_RATIO = 30  # a peer that takes so many times as long as `cp -a` ...
_SLOW_SECONDS = 60  # ... and at least so long, is not measured in the rounds that follow


@dataclass(frozen=True, slots=True)
class Operation:
    """One line of the table, by the name under which contenders know it."""

    name: str
    after_copy: bool = False  # `cp -a` runs right before it
    changed: bool = False  # the source has its 4 % changed
    makes: str = ""  # the contender's folder that must be like the source afterwards
    leaves: str = ""  # a folder in the contender's place that nobody needs afterwards
    times: int = 1  # in one round; more where one takes less than a second
    only: tuple[str, ...] = ()  # the sets that have it (none named: all)


_TREE = (
    Operation("first push", after_copy=True),
    Operation("push again, same name", times=3),
    Operation("unchanged push", times=3),
    Operation("checkout", after_copy=True, makes="worktree"),
    Operation("checkout again", times=3),
    Operation("status", times=3),
    Operation("checkout, hard links", makes="linked", leaves="linked", only=("mixed", "large")),
    Operation("push, 4 % changed", after_copy=True, changed=True),
    Operation("switch, 4 % changed", changed=True, makes="worktree"),
    Operation("verify, all data", changed=True),
    Operation("diff", changed=True, times=3),
    Operation("list one folder", changed=True, times=3),
    Operation("mirror", after_copy=True, changed=True, leaves="mirrored"),
)

OPERATIONS: dict[type[Set], tuple[Operation, ...]] = {
    TreeSet: _TREE,
    RealSet: _TREE,
    GatewaySet: (
        Operation("push to S3", after_copy=True),
        Operation("unchanged push to S3", times=3),
        Operation("checkout from S3", after_copy=True, makes="worktree", leaves="worktree"),
        Operation("mirror to S3", after_copy=True),
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
    """All that was measured on one set."""

    set: Set
    about: str = ""  # what the set was
    samples: list[Sample] = field(default_factory=list)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)  # (operation, program): why
    once: dict[str, str] = field(default_factory=dict)  # program: why later rounds are without it
    gone: list[str] = field(default_factory=list)  # programs that can't go on after a failure


def measure(
    results: Results,
    folder: Path,
    kinds: Sequence[type[Contender]],
    runs: int,
    limit_seconds: float,
    say: Callable[[str], None],
) -> None:
    """Measure one set in a folder of its own, into `results`; `say` hears what is going on."""
    shape = results.set
    operations = [one for one in OPERATIONS[type(shape)] if not one.only or shape.name in one.only]
    tree = _tree(folder, shape)
    if tree:
        say(f"{shape.name}: making {tree.about()}")
        tree.make()
        tree.read()
    results.about = tree.about() if tree else str(shape)
    names = [operation.name for operation in operations]
    for number in range(1, runs + 1):
        for kind in kinds:
            if kind.takes_part(names) and kind.name not in {*results.gone, *results.once}:
                turn = _Turn(results, operations, folder, kind, tree, limit_seconds)
                for line in turn.go(is_first=number == 1):
                    say(f"{shape.name}, round {number} of {runs}: {line}")
                _judge(results, kind)


def _tree(folder: Path, shape: Set) -> Tree | None:
    if isinstance(shape, TreeSet):
        return MadeTree(folder, shape)
    return RealTree(folder, shape) if isinstance(shape, RealSet) else None


def _judge(results: Results, kind: type[Contender]) -> None:
    """Decide after a peer's turn whether it gets another one."""
    if not kind.is_peer:
        return
    if not isinstance(results.set, NoData | ListingSet) and results.set.takes_long:
        results.once[kind.name] = "this set takes long"
    for sample in results.samples:
        if sample.contender == kind.name and sample.copied:
            seconds = sample.measured.seconds
            if seconds > max(_SLOW_RATIO * sample.copied.seconds, _SLOW_SECONDS):
                ratio = seconds / sample.copied.seconds
                results.once[kind.name] = f"{sample.operation} took {ratio:.0f} × `cp -a`"


class _Turn:
    """One program's way through all operations, from nothing to nothing."""

    def __init__(
        self,
        results: Results,
        operations: Sequence[Operation],
        folder: Path,
        kind: type[Contender],
        tree: Tree | None,
        limit_seconds: float,
    ) -> None:
        self._results = results
        self._operations = operations
        self._folder = folder
        self._kind = kind
        self._tree = tree
        self._limit = limit_seconds
        self._work = folder / "work"
        self._source = tree.source if tree else folder
        self._copied: Copied | None = None

    def go(self, *, is_first: bool) -> Iterator[str]:
        """Measure every operation; yield what was found, a line each."""
        remove(self._work)
        place = self._work / "place"
        place.mkdir(parents=True)
        is_remote = isinstance(self._results.set, GatewaySet)
        with running(self._work / "gateway") if is_remote else nullcontext() as gateway:
            try:
                contender = self._begin(place, gateway)
            except BenchError as error:
                yield self._failed("to begin", error)
                self._results.gone.append(self._kind.name)
            else:
                for operation in self._operations:
                    if self._kind.name not in self._results.gone:
                        yield from self._measure(operation, contender, is_checked=is_first)
        remove(self._work)
        sync(self._folder)

    def _begin(self, place: Path, gateway: Gateway | None) -> Contender:
        contender = self._kind(place, self._source, gateway)
        if self._tree:
            self._tree.become(changed=False)
            contender.folder = self._tree.some_folder()
            paths = self._tree.paths()
            changed = (paths[number] for number in self._tree.changed())
            contender.changed.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in changed))
        contender.prepare()
        if isinstance(self._results.set, ListingSet):
            contender.folder = contender.adopt(self._results.set) or ""
        return contender

    def _measure(
        self, operation: Operation, contender: Contender, *, is_checked: bool
    ) -> Iterator[str]:
        if (operation.name, contender.name) in self._results.failures:
            return
        if operation.name not in contender.commands:
            return
        if self._tree:
            self._tree.become(changed=operation.changed)
        try:
            contender.arrange(operation.name)
            if self._tree and self._is_copy_due(operation):
                yield self._measure_copy(contender)
            for _ in range(operation.times):
                command = contender.command(operation.name)
                assert command
                yield self._measure_once(operation, contender, command)
            if operation.makes and is_checked and self._tree:
                _check_same(self._source, getattr(contender, operation.makes))
        except BenchError as error:
            yield self._failed(operation.name, error)
            key = operation.name, contender.name
            self._results.samples = [  # what is fast and wrong does not count
                sample
                for sample in self._results.samples
                if (sample.operation, sample.contender) != key
            ]
            if isinstance(error, TooSlow) or operation == self._operations[0]:
                self._results.gone.append(contender.name)  # what follows would build on it
        if operation.leaves:
            remove(contender.place / operation.leaves)

    def _is_copy_due(self, operation: Operation) -> bool:
        takes_long = isinstance(self._results.set, TreeSet) and self._results.set.takes_long
        return not self._copied or (operation.after_copy and not takes_long)

    def _measure_copy(self, contender: Contender) -> str:
        copy = Copy(contender.place / "cp", self._source)
        copy.place.mkdir(exist_ok=True)
        command = copy.command(Copy.name)
        assert command
        sync(self._folder)
        measured = run(command)
        synced = measured.seconds + sync(self._folder)
        self._copied = Copied(measured.seconds, synced, measured.cpu_seconds)
        self._results.samples.append(Sample(Copy.name, Copy.name, measured, self._copied))
        copy.clear()
        return f"cp -a {measured.seconds:.2f} s, with sync {synced:.2f} s"

    def _measure_once(self, operation: Operation, contender: Contender, command: Command) -> str:
        sync(self._folder)
        measured = run(command, self._limit)
        sample = Sample(operation.name, contender.name, measured, self._copied)
        self._results.samples.append(sample)
        return f"{contender.name}, {operation.name}: {measured.seconds:.2f} s"

    def _failed(self, operation: str, error: BenchError) -> str:
        self._results.failures[operation, self._kind.name] = str(error)
        return f"{self._kind.name}, {operation}: failed: {error}"


def _check_same(source: Path, worktree: Path) -> None:
    """Compare two trees with `diff`, which follows links. Raises: `BenchError`."""
    own = ["--exclude=.dsa", "--exclude=.git"]  # what a contender keeps in a worktree for itself
    argv = ["diff", "-rq", *own, str(source), str(worktree)]
    found = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if found.returncode:
        first = (found.stdout or found.stderr).splitlines()[0]
        raise BenchError(f"the worktree is not like the source: {first}")
