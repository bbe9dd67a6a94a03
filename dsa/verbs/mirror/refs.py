"""What two stores publish, side by side: which revisions are to be sent, and which stand in the way.

Each side is listed once; a ref is read only where the listings do not tell that both are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import md5

from dsa.cas import layout
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.concurrent import each
from dsa.cas.refs import MAX_REF_BYTES, Ref, named_by

#: A revision by dataset and name.
Name = tuple[str, str]

#: From so many datasets on, all refs are listed rather than those of each.
_LIST_ALL_FROM = 8


class Refs:
    """The refs of one store, of these datasets (None: all); nothing is read yet."""

    def __init__(self, backend: Backend, datasets: Collection[str] | None) -> None:
        self._backend = backend
        self.found: dict[Name, FileInfo] = {}
        for info in listed(backend, layout.REFS, datasets):
            name = named_by(info.key)
            if name is not None and (datasets is None or name[0] in datasets):
                self.found[name] = info

    @property
    def url(self) -> str:
        """How a person names the store."""
        return self._backend.url

    def sizes(self) -> dict[str, dict[str, int]]:
        """Return of each dataset what its refs measure, in bytes, by revision."""
        found: dict[str, dict[str, int]] = {}
        for (dataset, revision), info in self.found.items():
            found.setdefault(dataset, {})[revision] = info.size
        return found

    def revisions(self, dataset: str) -> list[str]:
        """Return every name that a revision of a dataset ever had."""
        return [revision for name, revision in self.found if name == dataset]

    def contents(self, names: Iterable[Name]) -> dict[Name, bytes]:
        """Read refs; those that are gone meanwhile are left out."""
        wanted = list(names)
        read = each(wanted, self._content, self._backend.jobs)
        return {name: data for name, data in zip(wanted, read, strict=True) if data is not None}

    def _content(self, name: Name) -> bytes | None:
        try:
            return self._backend.read(self.found[name].key, 0, MAX_REF_BYTES + 1)
        except KeyError:
            return None


def listed(backend: Backend, folder: str, datasets: Collection[str] | None) -> Iterable[FileInfo]:
    """Yield the files below a folder that may be those of these datasets (None: all)."""
    if datasets is None or len(datasets) >= _LIST_ALL_FROM:
        return backend.list(folder)
    folders = sorted(f"{folder}{dataset}/" for dataset in datasets)
    lists = each(folders, lambda one: list(backend.list(one)), backend.jobs)
    return {info.key: info for infos in lists for info in infos}.values()


def equal(source: Refs, target: Refs, names: Iterable[Name]) -> set[Name]:
    """Return which of these names have the same ref on both sides."""
    both = [
        name
        for name in names
        if name in target.found and source.found[name].size == target.found[name].size
    ]
    digests = [
        side.contents(name for name in both if side.found[name].md5 is None)
        for side in (source, target)
    ]

    def digest(side: Refs, read: Mapping[Name, bytes], name: Name) -> bytes | None:
        known = side.found[name].md5
        if known is None and name in read:
            return md5_of(read[name])
        return known

    return {
        name
        for name in both
        if (mine := digest(source, digests[0], name)) is not None
        and mine == digest(target, digests[1], name)
    }


def md5_of(data: bytes) -> bytes:
    """Return what a listing tells of a file with these bytes, where it tells it."""
    return md5(data, usedforsecurity=False).digest()


@dataclass(slots=True)
class Plan:
    """What is to be done about each revision that was asked for."""

    new: list[tuple[Name, Ref]] = field(default_factory=list)
    there: list[Name] = field(default_factory=list)
    withdraw: list[tuple[Name, Ref]] = field(default_factory=list)
    withdrawn: list[Name] = field(default_factory=list)  # at the source, and nobody asked for that
    conflicts: dict[Name, str] = field(default_factory=dict)
    damaged: dict[Name, str] = field(default_factory=dict)


def compare(
    source: Refs, target: Refs | None, names: Collection[Name], *, withdrawals: bool
) -> Plan:
    """Decide about these revisions; `target` is None where there is no store yet.

    Nothing is sent under a name that differs from one of the target only in the case of letters.
    """
    same = equal(source, target, names) if target else set()
    rest = [name for name in sorted(names) if name not in same]
    plan = Plan(there=sorted(same))
    sent = _decoded(source.contents(rest))
    held = (
        _decoded(target.contents(name for name in rest if name in target.found)) if target else {}
    )
    taken = _Spellings(target.found if target else ())
    for name in rest:
        mine, theirs = sent.get(name), held.get(name)
        if not isinstance(mine, Ref):
            plan.damaged[name] = f"its ref in {source.url} cannot be read: {mine or 'it is gone'}"
        elif target is not None and isinstance(theirs, ValueError):
            plan.damaged[name] = f"its ref in {target.url} cannot be read: {theirs}"
        elif isinstance(theirs, Ref):
            _settle(plan, name, mine, theirs, withdrawals=withdrawals)
        elif mine.is_withdrawn and not withdrawals:
            plan.withdrawn.append(name)
        elif (other := taken.clash(name)) is not None:
            plan.conflicts[name] = f"the target has {other}, which differs only in letter case"
        else:
            taken.add(name)
            (plan.withdraw if mine.is_withdrawn else plan.new).append((name, mine))
    return plan


def _settle(plan: Plan, name: Name, mine: Ref, theirs: Ref, *, withdrawals: bool) -> None:
    """Decide about a revision that both sides have, and not with the same ref."""
    if mine.manifest != theirs.manifest:
        plan.conflicts[name] = f"there it is {theirs.manifest}, here {mine.manifest}"
    elif theirs == mine:
        plan.there.append(name)
    elif theirs.is_withdrawn:
        plan.conflicts[name] = "it was withdrawn there"
    elif withdrawals:
        plan.withdraw.append((name, mine))
    else:
        plan.withdrawn.append(name)


def _decoded(contents: Mapping[Name, bytes]) -> dict[Name, Ref | ValueError]:
    found: dict[Name, Ref | ValueError] = {}
    for name, data in contents.items():
        try:
            found[name] = Ref.decode(data)
        except ValueError as error:
            found[name] = error
    return found


class _Spellings:
    """Names as a file system that ignores case sees them: what is taken, folder by folder."""

    def __init__(self, names: Iterable[Name]) -> None:
        self._datasets: set[str] = set()
        self._entries: dict[tuple[str, str], dict[str, str]] = {}  # folded -> as spelt -> a name
        for name in names:
            self.add(name)

    def add(self, name: Name) -> None:
        """Take a name."""
        dataset, revision = name
        if dataset not in self._datasets:
            self._datasets.add(dataset)
            for folder, entry in _steps(dataset):
                self._at(folder, entry).setdefault(entry, dataset)
        self._at(f"{dataset}/@", revision).setdefault(revision, f"{dataset}@{revision}")

    def clash(self, name: Name) -> str | None:
        """Return what is taken and differs from this name only in the case of letters."""
        dataset, revision = name
        steps = [(f"{dataset}/@", revision)] if dataset in self._datasets else _steps(dataset)
        for folder, entry in steps:
            for spelt, other in self._entries.get((folder, entry.casefold()), {}).items():
                if spelt != entry:
                    return other
        return None

    def _at(self, folder: str, entry: str) -> dict[str, str]:
        return self._entries.setdefault((folder, entry.casefold()), {})


def _steps(dataset: str) -> list[tuple[str, str]]:
    """Return each folder on the way to a dataset, and what is looked up in it."""
    segments = dataset.split("/")
    return [("/".join(segments[:at]), segment) for at, segment in enumerate(segments)]
