"""The programs that are measured: each says which command does an operation.

A new one is a subclass of `Contender`, listed in `bench/__main__.py`: a name, a version, and a command for
every operation of cases.py that the program has.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from bench.data import ListingSet
from bench.gateway import Gateway
from bench.measure import Command, run

_FOREIGN = re.compile(
    r"(AWS|BORG|DSA|DVC|GIT|OSTREE|RCLONE|RESTIC|RSYNC|XDG)_|PYTHON(DONTWRITEBYTECODE|UNBUFFERED)$|.*_PROXY$",
    re.IGNORECASE,
)
_SHELL = set("\n|$<>")  # what only a shell understands


class Contender:
    """A program that begins with nothing: `place` is an empty folder of its own.

    A command is written as in a shell; several lines are several commands, timed as one. In it stand
    for something: {place} (where it runs), {source} (a folder), {worktree}, {linked}, {store} (folders
    that are not there yet), {folder} (one of the revision's), {changed} (a file with the paths that
    a change rewrites, each ended by NUL), {bucket} (an empty one, where there is a gateway), {count}
    (how often this operation ran before) and what `names` adds.
    """

    name: ClassVar[str]
    commands: ClassVar[Mapping[str, str]]  # by the operation's name
    before: ClassVar[
        Mapping[str, str]
    ] = {}  # what is run before an operation's first time, untimed
    environment: ClassVar[Mapping[str, str]] = {}  # what it needs beside a new user's
    is_peer: ClassVar[bool] = True

    def __init__(self, place: Path, source: Path, gateway: Gateway | None = None) -> None:
        self.place = place
        self.endpoint = gateway.endpoint if gateway else ""
        self.bucket = gateway.bucket() if gateway else ""
        self.worktree = place / "worktree"
        self.linked = place / "linked"
        self.store = place / "store"
        self.changed = place / "changed"
        self.folder = ""
        self.source = source
        self._counts: dict[str, int] = {}
        self._env = _environment(place) | dict(self.environment)
        if gateway:
            self._env |= gateway.env | self.at_gateway(gateway.endpoint)

    @classmethod
    def takes_part(cls, operations: Iterable[str]) -> bool:
        """Tell whether it has one of these operations."""
        return any(operation in cls.commands for operation in operations)

    @classmethod
    def version(cls) -> str | None:
        """Return the program's version; None where it is not installed."""
        return ""

    def names(self) -> dict[str, str]:
        """Return what else a command may name, quoted for a shell."""
        return {}

    def at_gateway(self, endpoint: str) -> dict[str, str]:  # noqa: ARG002  # it is for subclasses
        """Return what else its environment needs, to find an S3 gateway."""
        return {}

    def prepare(self) -> None:
        """Do what a first run needs and a later one does not, such as compiling; never timed."""

    def adopt(self, listing: ListingSet) -> str | None:  # noqa: ARG002  # it is for subclasses
        """Fill the store with a revision of this listing; return one of its folders, or None."""
        return None

    def arrange(self, operation: str) -> None:
        """Do what must be done before an operation's first time. Raises: `BenchError`."""
        if operation in self.before:
            self.do(self.before[operation])

    def command(self, operation: str) -> Command | None:
        """Return what is to be timed; None where the program has no such operation."""
        text = self.commands.get(operation)
        if text is None:
            return None
        count = self._counts.get(operation, 0)
        self._counts[operation] = count + 1
        return self.shell(text, count)

    def do(self, text: str) -> None:
        """Run commands that nobody measures. Raises: `BenchError` if one fails."""
        run(self.shell(text))

    def shell(self, text: str, count: int = 0) -> Command:
        """Return a command in its environment, started without a shell if it is one program's."""
        named = {
            "place": self.place,
            "source": self.source,
            "store": self.store,
            "worktree": self.worktree,
            "linked": self.linked,
            "changed": self.changed,
            "folder": self.folder,
            "bucket": self.bucket,
            "count": count,
        }
        quoted = {name: shlex.quote(str(value)) for name, value in named.items()}
        lines = text.strip().format(**quoted, **self.names())
        argv = ["sh", "-ec", lines] if _SHELL & set(lines) else shlex.split(lines)
        return Command(argv, self._env, self.place)


class Dsa(Contender):
    """The program that this is all about, as a person runs it."""

    name = "dsa"
    is_peer = False
    commands: ClassVar[Mapping[str, str]] = {
        "--help": "{dsa} --help",
        "--version": "{dsa} --version",
        "first push": "{dsa} -s {store} push bench 1 {source}",
        "push again, same name": "{dsa} -s {store} push bench 1 {source}",
        "unchanged push": "{dsa} -s {store} push bench 1.{count} {source}",
        "checkout": "{dsa} -s {store} checkout bench@1 {worktree}",
        "checkout, hard links": "{dsa} -s {store} checkout --link bench@1 {linked}",
        "checkout again": "{dsa} -s {store} checkout bench@1 {worktree}",
        "status": "{dsa} status {worktree}",
        "push, 4 % changed": "{dsa} -s {store} push bench 2 {source}",
        "switch, 4 % changed": "{dsa} -s {store} checkout bench@2 {worktree}",
        "verify, all data": "{dsa} -s {store} verify --data",
        "diff": "{dsa} -s {store} diff bench@1 bench@2",
        "list one folder": "{dsa} -s {store} ls bench@1 {folder}",
        "mirror": "{dsa} mirror {store} {place}/mirrored --all",
        "push to S3": "{dsa} -s gateway push bench 1 {source}",
        "unchanged push to S3": "{dsa} -s gateway push bench 1.{count} {source}",
        "checkout from S3": "{dsa} -s gateway checkout --no-cache bench@1 {worktree}",
        "mirror to S3": "{dsa} mirror {store} second --all",
    }
    before: ClassVar[Mapping[str, str]] = {
        "mirror to S3": "{dsa} -q -s {store} push bench 1 {source}",
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
        commands = [f"{{dsa}} -s few-store {step}" for step in steps]
        if self.bucket:
            s3 = f"s3://{self.bucket}"
            commands += (f"{{dsa}} -s gateway {step}" for step in steps[:1])
            commands[:0] = [
                f"{{dsa}} remote add --option endpoint={self.endpoint} {name} {s3}/{name}"
                for name in ("gateway", "second")
            ]
        self.do("\n".join(commands))

    def adopt(self, listing: ListingSet) -> str:
        """Write the listing's index straight into a store."""
        from bench.million import make_store

        return make_store(self.store, listing)


class Python(Contender):
    """The interpreter that dsa runs in, doing nothing: the floor of every start."""

    name = "python -c pass"
    is_peer = False
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
    is_peer = False
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
        remove(self.place / "copy")


class Links(Copy):
    """`cp -al` of the source: the floor of a checkout with hard links."""

    name = "cp -al"
    is_peer = True
    commands: ClassVar[Mapping[str, str]] = {
        "checkout, hard links": "cp -al {source} {linked}",
    }


def remove(folder: Path) -> None:
    """Remove a folder with everything in it, also folders that a program has made read-only."""
    if folder.exists():
        subprocess.run(
            ["find", folder, "-type", "d", "-exec", "chmod", "u+rwx", "{}", "+"], check=True
        )
        subprocess.run(["rm", "-rf", folder], check=True)


def _environment(place: Path) -> dict[str, str]:
    """Return a new user's environment: nothing of the real home or settings is read or written."""
    env = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
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
