"""Everything that a person does with a worktree, against a model that is a few dictionaries."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from treetools import EMPTY, Empty, Exec, Link, Thing, look, put

import dsa
from dsa.errors import ConflictError, DsaError
from dsa.worktree.selection import Selection

Tree = dict[str, Thing]

PATHS = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "l", "d.x", "x/y"]
THINGS: list[Thing] = [
    b"",
    b"1",
    b"2",
    Exec(b"1"),
    Exec(b""),
    Link("a"),
    Link("d"),
    EMPTY,
    b"L" * 300_000,
    Exec(b"L" * 300_000),
]
SELECTIONS = [("a",), ("d",), ("*",), ("d/**", "a"), ("re:a$",), ("**",)]


def place(tree: Tree, path: str, thing: Thing) -> Tree:
    """Put a thing into a described tree as a person would: what is in its place goes."""
    made = {
        other: what
        for other, what in tree.items()
        if not other.startswith(f"{path}/") and not path.startswith(f"{other}/") and other != path
    }
    return made | {path: thing}


def content(thing: Thing | None) -> Thing | None:
    """What decides whether a file was edited: its bytes and its kind, not its executable bit."""
    return thing.content if isinstance(thing, Exec) else thing


def is_below(path: str, target: Tree) -> bool:
    """Whether the target has a file where a folder above `path` is."""
    return any(
        path.startswith(f"{other}/") and thing is not EMPTY for other, thing in target.items()
    )


def holds(path: str, target: Tree) -> bool:
    """Whether the target has something below `path`."""
    return any(other.startswith(f"{path}/") for other in target)


class Worktrees(RuleBasedStateMachine):
    """One store, one dataset, one worktree and one plain folder to publish from."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="dsa-model-"))
        self.store = dsa.open(self.home / "store", create=True)
        self.tree = self.home / "w"
        self.revisions: list[Tree] = []
        self.here: Tree = {}  # what the worktree holds
        self.base: int | None = None  # the revision checked out
        self.only: tuple[str, ...] = ()

    def teardown(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    @initialize(
        paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=5, unique=True), data=st.data()
    )
    def first(self, paths: list[str], data: st.DataObject) -> None:
        self.publish(paths, data)

    @rule(paths=st.lists(st.sampled_from(PATHS), max_size=6, unique=True), data=st.data())
    def publish(self, paths: list[str], data: st.DataObject) -> None:
        """A new revision from a folder of its own."""
        tree: Tree = {}
        for path in paths:
            tree = place(tree, path, data.draw(st.sampled_from(THINGS)))
        source = self.home / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for path, thing in tree.items():
            put(source / path, thing)
        assert self.store.push("ds", str(len(self.revisions)), source).is_new
        self.revisions.append(tree)

    def wanted(self, revision: int, only: tuple[str, ...]) -> Tree:
        selection = Selection(only)
        return {
            path: thing
            for path, thing in self.revisions[revision].items()
            if selection.matches(path)
        }

    def checked_out(self) -> Tree:
        return {} if self.base is None else self.revisions[self.base]

    @rule(
        data=st.data(),
        force=st.booleans(),
        clean=st.booleans(),
        link=st.booleans(),
        only=st.none() | st.sampled_from(SELECTIONS),
    )
    def checkout(
        self,
        data: st.DataObject,
        force: bool,
        clean: bool,
        link: bool,
        only: tuple[str, ...] | None,
    ) -> None:
        revision = data.draw(st.integers(0, len(self.revisions) - 1))
        chosen = self.only if only is None else (() if only == ("**",) else only)
        target = self.wanted(revision, chosen)
        if only not in (None, ("**",)) and Selection(only or ()).unmatched(
            list(self.revisions[revision])
        ):
            with pytest.raises(DsaError):
                self.store.checkout(f"ds@{revision}", self.tree, only=only)
            return
        known = {path: content(thing) for path, thing in self.checked_out().items()}
        listed = {str(place) for path in known for place in (path, *Path(path).parents)}
        before = dict(self.here)

        def is_mine(path: str) -> bool:
            thing = before[path]
            return thing is not EMPTY and not (path in known and known[path] == content(thing))

        blocked = set()
        for path, thing in before.items():
            if is_mine(path):
                in_place = path in target and content(target[path]) != content(thing)
                below = is_below(path, target)
                if (in_place or below or holds(path, target)) and (
                    not force or (below and not clean and path not in listed)
                ):
                    blocked.add(path)
        report = None
        error = None
        try:
            report = self.store.checkout(
                f"ds@{revision}", self.tree, only=only or (), force=force, clean=clean, link=link
            )
        except ConflictError as conflict:
            error = conflict
        if error or report is None:
            assert error
            assert set(error.problems) == blocked
            assert (look(self.tree) if self.tree.exists() else {}) == self.here
            return
        assert not blocked
        after = look(self.tree)
        # Every selected thing is what the revision says; an empty folder may hold what is kept.
        for path, thing in target.items():
            if isinstance(thing, Empty):
                assert (self.tree / path).is_dir()
                assert not (self.tree / path).is_symlink()
            else:
                assert after[path] == thing, path
        # Nobody's work is gone, but for what was asked.
        for path, thing in before.items():
            if is_mine(path) and path not in target:
                in_the_way = is_below(path, target) or holds(path, target)
                if path in listed:  # edited, and not in the target: it stays
                    assert in_the_way or after.get(path) == thing
                elif not clean and not in_the_way:
                    assert after[path] == thing
                    assert path in report.kept
                elif clean:
                    assert path not in after
        for path, thing in after.items():
            assert path in target or path in before or thing is EMPTY, path
        self.here, self.base, self.only = after, revision, chosen

    @precondition(lambda self: self.base is not None)
    @rule(path=st.sampled_from(PATHS), thing=st.sampled_from(THINGS))
    def edit(self, path: str, thing: Thing) -> None:
        """Put a thing somewhere, and remove what stands in its place."""
        for above in [*reversed(Path(path).parents)][1:]:
            there = self.tree / above
            if there.is_symlink() or there.is_file():
                there.unlink()
        there = self.tree / path
        if there.is_dir() and not there.is_symlink():
            shutil.rmtree(there)
        put(there, thing)
        self.here = look(self.tree)
        assert self.here.get(path) == thing

    @precondition(lambda self: self.base is not None)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        paths = sorted(self.here)
        if not paths:
            return
        there = self.tree / data.draw(st.sampled_from(paths))
        if there.is_dir() and not there.is_symlink():
            there.rmdir()
        else:
            there.unlink()
        self.here = look(self.tree)

    @precondition(lambda self: self.base is not None)
    @rule()
    def push(self) -> None:
        """Publish the worktree; what was not selected comes along."""
        selection = Selection(self.only)
        carried = {
            path: thing
            for path, thing in self.checked_out().items()
            if not selection.matches(path)
            and path not in self.here
            and not any(other.startswith(f"{path}/") for other in self.here)
        }
        blocked = any(
            path.startswith(f"{other}/") and thing is not EMPTY
            for path in carried
            for other, thing in self.here.items()
        )
        number = len(self.revisions)
        if blocked:
            with pytest.raises(DsaError):
                self.store.push("ds", str(number), self.tree)
            return
        self.store.push("ds", str(number), self.tree)
        made = self.here | carried
        # An empty folder is one that nothing is in.
        self.revisions.append(
            {
                path: thing
                for path, thing in made.items()
                if thing is not EMPTY or not any(other.startswith(f"{path}/") for other in made)
            }
        )
        self.base = number

    @precondition(lambda self: self.base is not None)
    @rule()
    def status(self) -> None:
        """It names what differs in what was selected, and what came."""
        selection = Selection(self.only)
        base = self.checked_out()
        try:
            changes = dsa.status(self.tree).changes
        except DsaError:  # a file where a folder was not selected
            return
        touched = {change.path for change in changes} | {
            change.old_path for change in changes if change.old_path
        }
        for path, thing in base.items():
            if thing is EMPTY or not selection.matches(path):
                continue
            assert (self.here.get(path) != thing) == (path in touched), path
        for path, thing in self.here.items():
            if thing is not EMPTY and path not in base:
                assert path in touched, path

    @invariant()
    def every_revision_is_whole(self) -> None:
        if not self.revisions:
            return
        number = len(self.revisions) - 1
        files = self.store[f"ds@{number}"].files
        wanted = {path for path, thing in self.revisions[number].items() if thing is not EMPTY}
        assert set(files) == wanted
        names = [int(revision.revision) for revision in self.store.revisions("ds")]
        assert sorted(names) == list(range(len(self.revisions)))


Worktrees.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestWorktrees = Worktrees.TestCase


class LongWorktrees(Worktrees):
    """The same, for longer."""


LongWorktrees.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLongWorktrees = pytest.mark.slow(LongWorktrees.TestCase)
