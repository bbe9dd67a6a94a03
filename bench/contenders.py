"""The programs that are measured: each says which command does an operation.

A new one is a subclass of `Contender`, listed in `CONTENDERS`: a name, a version, and a command for
every operation of cases.py that the program has.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from bench.data import ListingSet
from bench.measure import Command


class Contender:
    """A program in one round, which begins with nothing: `place` is an empty folder of its own.

    A command is written as in a shell; several lines are several commands, timed as one. In it stand
    for something: {source} and {worktree} (folders), {store} (a folder that is not there yet),
    {folder} (one of the revision's), {count} (how often this operation ran before) and what
    `names` adds.
    """

    name: ClassVar[str]
    commands: ClassVar[Mapping[str, str]]  # by the operation's name

    def __init__(self, place: Path, source: Path) -> None:
        self.place = place
        self.worktree = place / "worktree"
        self.store = place / "store"
        self.folder = ""
        self.source = source
        self._counts: dict[str, int] = {}
        self._env = _environment(place)

    @classmethod
    def version(cls) -> str | None:
        """Return the program's version; None where it is not installed."""
        return ""

    def names(self) -> dict[str, str]:
        """Return what else a command may name, quoted for a shell."""
        return {}

    def prepare(self) -> None:
        """Do what a first run needs and a later one does not, such as compiling; never timed."""

    def adopt(self, listing: ListingSet) -> str | None:  # noqa: ARG002  # it is for subclasses
        """Fill the store with a revision of this listing; return one of its folders, or None."""
        return None

    def command(self, operation: str) -> Command | None:
        """Return what is to be timed; None where the program has no such operation."""
        text = self.commands.get(operation)
        if text is None or ("{folder}" in text and not self.folder):
            return None
        count = self._counts.get(operation, 0)
        self._counts[operation] = count + 1
        return self.shell(text, count)

    def shell(self, text: str, count: int = 0) -> Command:
        """Return a command in this contender's environment, started without a shell if it is one line."""
        named = {
            "source": self.source,
            "store": self.store,
            "worktree": self.worktree,
            "folder": self.folder,
            "count": count,
        }
        quoted = {name: shlex.quote(str(value)) for name, value in named.items()}
        lines = text.strip().format(**quoted, **self.names())
        argv = ["sh", "-ec", lines] if "\n" in lines else shlex.split(lines)
        return Command(argv, self._env, self.place)


class Dsa(Contender):
    """The program that this is all about, as a person runs it."""

    name = "dsa"
    commands: ClassVar[Mapping[str, str]] = {
        "--help": "{dsa} --help",
        "--version": "{dsa} --version",
        "first push": "{dsa} -s {store} push bench 1 {source}",
        "push again, same name": "{dsa} -s {store} push bench 1 {source}",
        "unchanged push": "{dsa} -s {store} push bench 1.{count} {source}",
        "checkout": "{dsa} -s {store} checkout bench@1 {worktree}",
        "checkout again": "{dsa} -s {store} checkout bench@1 {worktree}",
        "status": "{dsa} status {worktree}",
        "push, 4 % changed": "{dsa} -s {store} push bench 2 {source}",
        "switch, 4 % changed": "{dsa} -s {store} checkout bench@2 {worktree}",
        "verify, all data": "{dsa} -s {store} verify --data",
        "diff": "{dsa} -s {store} diff bench@1 bench@2",
        "list one folder": "{dsa} -s {store} ls bench@1 {folder}",
    }

    @classmethod
    def version(cls) -> str:
        """Return the version of the package that runs here."""
        from dsa import __version__

        return __version__

    def names(self) -> dict[str, str]:
        """Return how dsa is called: by its script, else as a module."""
        script = Path(sys.executable).with_name("dsa")
        module = [sys.executable, "-m", "dsa"]
        return {"dsa": shlex.join([str(script)] if script.exists() else module)}

    def prepare(self) -> None:
        """Run everything once on a single file, so that its modules are compiled and in memory."""
        few = self.place / "few"
        few.mkdir()
        (few / "file").write_bytes(b"dsa\n")
        steps = ("push few 1 few", "checkout few@1 few-out", "status few-out", "ls few", "verify")
        for step in steps:
            command = self.shell(f"{{dsa}} -s few-store {step}")
            subprocess.run(
                command.argv, env=command.env, cwd=command.cwd, check=False, capture_output=True
            )

    def adopt(self, listing: ListingSet) -> str:
        """Write the listing's index straight into a store."""
        from bench.million import make_store

        return make_store(self.store, listing)


class Python(Contender):
    """The interpreter that dsa runs in, doing nothing: the floor of every start."""

    name = "python -c pass"
    commands: ClassVar[Mapping[str, str]] = {"--version": "{python} -c pass"}

    @classmethod
    def version(cls) -> str:
        """Return the interpreter's version."""
        return sys.version.split()[0]

    def names(self) -> dict[str, str]:
        """Return this interpreter."""
        return {"python": shlex.quote(sys.executable)}


class Copy(Contender):
    """`cp -a`, the measure that all others are held against."""

    name = "cp -a"
    commands: ClassVar[Mapping[str, str]] = {"cp -a": "cp -a {source} copy"}

    @classmethod
    def version(cls) -> str | None:
        """Return what `cp --version` says."""
        if shutil.which("cp") is None:
            return None
        said = subprocess.run(["cp", "--version"], capture_output=True, text=True, check=False)
        return said.stdout.splitlines()[0].split()[-1] if said.stdout else ""

    def clear(self) -> None:
        """Remove the copy: it must not be there for the next one, nor take room meanwhile."""
        shutil.rmtree(self.place / "copy", ignore_errors=True)


#: What is measured against `cp -a`, in this order.
CONTENDERS: list[type[Contender]] = [Dsa, Python]


def _environment(place: Path) -> dict[str, str]:
    """Return a new user's environment: nothing of the real home or settings is read or written."""
    foreign = ("DSA_", "GIT_", "XDG_", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    home = place / "home"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    return env | {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "DSA_AUTHOR": "Bench <bench@example.org>",
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
    }
