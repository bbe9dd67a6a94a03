"""What a check found wrong, and which paths of which revisions that touches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock

import pyarrow as pa
import pyarrow.compute as pc

from dsa.cas import listing
from dsa.cas.ids import ID_BYTES
from dsa.errors import AccessError, DsaError
from dsa.reports import Finding

#: So many paths are named; the others are counted.
_MAX_PATHS = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """The rows of one revision: `table` has at least `folder`, `name` and `sha1`; `root` is a raw tree id."""

    revision: str
    root: bytes
    table: pa.Table


@dataclass(slots=True)
class Problem:
    """A finding on its way: `ids` are the raw ids of the objects that it touches."""

    kind: str
    subject: str
    detail: str
    is_damage: bool
    ids: set[bytes]
    revisions: list[str]
    paths: list[str] = field(default_factory=list)
    paths_total: int = 0

    def touch(self, revision: str, paths: Iterable[str], count: int) -> None:
        """Note paths of a revision, and how many there are in all."""
        if revision not in self.revisions:
            self.revisions.append(revision)
        room = _MAX_PATHS - len(self.paths)
        self.paths += [f"{revision}:{path}" for path, _ in zip(paths, range(room), strict=False)]
        self.paths_total += count


class Problems:
    """All that was found so far, in any thread; what is said twice of one subject counts once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, bool], Problem] = {}
        self.closed: dict[str, str] = {}  # keys that this user may not read -> what was said
        self._lock = Lock()

    def add(
        self,
        kind: str,
        subject: str,
        detail: str,
        *,
        ids: Iterable[bytes] = (),
        revisions: Iterable[str] = (),
        is_damage: bool = True,
    ) -> None:
        """Note a problem of a key of the store; `ids` are the raw ids of the objects it touches."""
        new = Problem(kind, subject, detail, is_damage, set(), [])
        with self._lock:
            problem = self._found.setdefault((kind, subject, is_damage), new)
            if detail not in problem.detail:
                problem.detail = f"{problem.detail}; {detail}"
            problem.ids.update(ids)
            problem.revisions += [name for name in revisions if name not in problem.revisions]

    def unreadable(
        self,
        key: str,
        error: DsaError,
        *,
        ids: Iterable[bytes] = (),
        revisions: Iterable[str] = (),
    ) -> None:
        """Note a file that cannot be read; one that this user may not read is told apart."""
        self.add("unreadable", key, str(error), ids=ids, revisions=revisions)
        if isinstance(error, AccessError) and error.is_refusal:
            self.closed[key] = str(error)

    def findings(self, listings: Iterable[Listed]) -> tuple[Finding, ...]:
        """Return what was found, damage first; `listings` are looked at only where objects are touched."""
        touched: dict[bytes, list[Problem]] = {}
        for problem in self._found.values():
            for oid in problem.ids:
                touched.setdefault(oid, []).append(problem)
        if touched:
            _name_paths(touched, listings)
        ordered = sorted(self._found.values(), key=lambda problem: not problem.is_damage)
        return tuple(
            Finding(
                kind=problem.kind,
                subject=problem.subject,
                detail=problem.detail,
                revisions=tuple(problem.revisions),
                paths=tuple(problem.paths),
                paths_total=problem.paths_total,
                is_damage=problem.is_damage,
            )
            for problem in ordered
        )


def _name_paths(touched: dict[bytes, list[Problem]], listings: Iterable[Listed]) -> None:
    """Give every problem its paths: objects with the same problems are a group, and cost the same."""
    ids = pa.array(touched, pa.binary(ID_BYTES))
    numbers: dict[tuple[int, ...], int] = {}
    groups: list[list[Problem]] = []
    group_of: list[int] = []
    for problems in touched.values():
        known = tuple(map(id, problems))
        if known not in numbers:
            numbers[known] = len(groups)
            groups.append(problems)
        group_of.append(numbers[known])
    group_of_id = pa.array(group_of, pa.int32())
    for listed in listings:
        for problem in touched.get(listed.root, ()):
            problem.touch(listed.revision, ["."], 1)
        group = group_of_id.take(
            pc.index_in(listing.one_chunk(listed.table["sha1"]), value_set=ids)
        )
        for number, count in _counts(group):
            rows = listed.table.filter(pc.equal(group, number))
            for problem in groups[number]:
                problem.touch(listed.revision, _first_paths(rows), count)


def _counts(group: pa.Array) -> Iterator[tuple[int, int]]:
    for count in pc.value_counts(group.drop_null()).to_pylist():
        yield count["values"], count["counts"]


def _first_paths(rows: pa.Table) -> list[str]:
    paths: list[str] = listing.paths(rows.slice(0, _MAX_PATHS).combine_chunks()).to_pylist()
    return paths
