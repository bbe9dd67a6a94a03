"""The plan of a checkout, applied to a model of a folder: the target comes out, and no work is lost."""

from __future__ import annotations

from hashlib import sha1, sha256
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from treetools import EMPTY, Exec, Link, Thing

from dsa.cas import listing
from dsa.cas.trees import EXECUTABLE, FILE, FOLDER, LINK
from dsa.verbs.plan import Disk, Plan, plan, wanted_digests
from dsa.worktree.columns import in_order

Tree = dict[str, Thing]

PATHS = ["a", "a.b", "b", "d", "d/a", "d/b", "d/e/a", "d/e", "x/y/z", "x/y", "0"]
THINGS: list[Thing] = [b"", b"1", b"2", Exec(b"1"), Link("1"), EMPTY]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree: Tree = {}
    for path in draw(st.lists(st.sampled_from(PATHS), max_size=7, unique=True)):
        if not any(other.startswith(f"{path}/") or path.startswith(f"{other}/") for other in tree):
            tree[path] = draw(st.sampled_from(THINGS))
    return tree


def content(thing: Thing) -> tuple[bytes, bool]:
    match thing:
        case Exec(data):
            return data, False
        case Link(target):
            return target.encode(), True
        case bytes(data):
            return data, False
        case _:
            return b"", False


def mode(thing: Thing) -> int:
    match thing:
        case Exec():
            return EXECUTABLE
        case Link():
            return LINK
        case bytes():
            return FILE
        case _:
            return FOLDER


def folders(tree: Tree) -> set[str]:
    """Return every folder of a tree."""
    found = {path for path, thing in tree.items() if thing is EMPTY}
    found |= {str(above) for path in tree for above in Path(path).parents}
    return found - {"."}


def table(tree: Tree) -> pa.Table:
    rows = [
        (path, mode(thing), content(thing)[0]) for path, thing in tree.items() if thing is not EMPTY
    ]
    rows += [(path, FOLDER, b"") for path in folders(tree)]
    split = [Path(path) for path, _, _ in rows]
    columns = {
        "folder": pa.array([str(path.parent).removeprefix(".") for path in split], pa.string()),
        "name": pa.array([path.name for path in split], pa.string()),
        "mode": pa.array([what for _, what, _ in rows], pa.uint32()),
        "size": pa.array([len(data) for _, _, data in rows], pa.int64()),
        "files": pa.nulls(len(rows), pa.int64()),
        "sha1": pa.array([sha1(data).digest() for _, _, data in rows], pa.binary(20)),
        "sha256": pa.array([sha256(data).digest() for _, _, data in rows], pa.binary(32)),
        "pack": pa.nulls(len(rows), pa.binary(20)),
        "offset": pa.nulls(len(rows), pa.int64()),
    }
    return listing.seal(in_order(pa.table(columns))).table


def paths(rows: pa.Table) -> list[str]:
    return [str(path) for path in listing.paths(rows).to_pylist()]


class Folder:
    """What a plan is applied to; refuses what a file system would."""

    def __init__(self, tree: Tree) -> None:
        self.files = {path: thing for path, thing in tree.items() if thing is not EMPTY}
        self.folders = folders(tree)

    def apply(self, made: Plan, target: Tree, rows: list[str]) -> None:
        for path, _ in made.remove:
            del self.files[path]
        for path in made.remove_folders:
            inside = [*self.files, *self.folders]
            if path in self.folders and not any(other.startswith(f"{path}/") for other in inside):
                self.folders.remove(path)
        for path in made.make:
            assert path not in self.files
            self._above(path)
            self.folders.add(path)
        for row in made.write.to_pylist():
            path = rows[row]
            assert path not in self.folders
            assert (path in self.files) == (row in made.expected)
            self._above(path)
            self.files[path] = target[path]
        for row in made.permissions:
            assert content(self.files[rows[row]]) == content(target[rows[row]])
            self.files[rows[row]] = target[rows[row]]

    def _above(self, path: str) -> None:
        above = str(Path(path).parent)
        assert above == "." or above in self.folders, path


def decide(
    target: Tree, disk: Tree, known: list[Tree], *, force: bool, clean: bool
) -> tuple[Plan, list[str]]:
    goal, there = table(target), table(disk)
    at = paths(there)
    on_disk = Disk(there, lambda row: at[row].encode(), frozenset())
    return plan(goal, on_disk, [table(tree) for tree in known], force=force, clean=clean), paths(
        goal
    )


@settings(max_examples=400)
@given(trees(), trees(), st.lists(trees(), max_size=2), st.booleans(), st.booleans())
def test_a_plan_gives_the_target_and_keeps_what_somebody_made(
    target: Tree, disk: Tree, known: list[Tree], force: bool, clean: bool
) -> None:
    made, rows = decide(target, disk, known, force=force, clean=clean)
    work = {
        path: thing
        for path, thing in disk.items()
        if thing is not EMPTY
        and not any(
            path in tree and tree[path] is not EMPTY and content(tree[path]) == content(thing)
            for tree in known
        )
    }
    if made.conflicts:
        assert set(made.conflicts) <= set(work)
        if force and clean:
            raise AssertionError("nothing is in the way then")
        return
    folder = Folder(disk)
    folder.apply(made, target, rows)
    for path, thing in target.items():
        if thing is EMPTY:
            assert path in folder.folders
        else:
            assert folder.files[path] == thing
    for path, thing in work.items():
        kept = folder.files.get(path)
        if path in target and target[path] is not EMPTY and content(target[path]) == content(thing):
            continue
        if not force and not clean:
            assert kept == thing
            assert path not in target
        if path in made.replaced:
            assert force
        if path in made.kept or path in made.edited:
            assert kept == thing
    assert set(folder.files) <= set(disk) | set(target)
    assert not set(folder.files) & folder.folders
    # What was checked out before and nobody changed does not lie around.
    for path in set(folder.files) - set(target):
        assert path in work


@given(trees(), trees())
def test_going_there_and_back_leaves_nothing(one: Tree, other: Tree) -> None:
    folder = Folder(one)
    made, rows = decide(other, one, [one], force=False, clean=False)
    assert made.conflicts == made.kept == made.edited == made.replaced == []
    folder.apply(made, other, rows)
    assert folder.files == {path: thing for path, thing in other.items() if thing is not EMPTY}
    assert folder.folders == folders(other)


@given(trees())
def test_what_is_there_needs_nothing(tree: Tree) -> None:
    made, _ = decide(tree, tree, [], force=False, clean=False)
    assert len(made.write) == len(made.remove) == len(made.permissions) == 0
    assert len(made.unchanged) == sum(thing is not EMPTY for thing in tree.values())
    assert not [path for path in made.make if path not in folders(tree)]


@given(trees(), trees(), trees())
def test_only_what_can_decide_anything_is_read(target: Tree, disk: Tree, known: Tree) -> None:
    there = table(disk)
    rows = wanted_digests(table(target), there, [table(known)]).to_pylist()
    at = paths(there)
    named = {at[row] for row in rows}
    listed = set(paths(table(target))) | set(paths(table(known)))
    assert named == {path for path, thing in disk.items() if thing is not EMPTY and path in listed}


def test_what_is_never_looked_into_is_in_the_way_whatever_is_asked() -> None:
    goal = table({"x": b"1"})
    disk = table({"x/y": EMPTY})
    for wish in (False, True):
        made = plan(
            goal,
            Disk(disk, lambda _: b"", frozenset(), frozenset({"x/y/.git", "elsewhere/.git"})),
            [],
            force=wish,
            clean=wish,
        )
        assert made.conflicts == ["x/y/.git"]
