"""Folders written from a plain description, read back into one, and stores read back whole."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import dsa
from dsa.errors import DsaError


@dataclass(frozen=True)
class Exec:
    """An executable file."""

    content: bytes


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Empty:
    """A folder with nothing in it."""


EMPTY = Empty()
Thing = bytes | Exec | Link | Empty
Tree = Mapping[str, Thing]

#: Every kind of name and entry that a push takes.
ODD: dict[str, Thing] = {
    "plain.txt": b"plain",
    "empty": b"",
    "folder/inside/deep/down": b"down",
    "folder/empty": EMPTY,
    "run.sh": Exec(b"#!/bin/sh\n"),
    "folder/run": Exec(b""),
    "to-file": Link("plain.txt"),
    "to-folder": Link("folder/inside"),
    "folder/up": Link("../plain.txt"),
    "broken": Link("nothing/here"),
    "with space": b"1",
    " leading and trailing ": b"2",
    "comma,semi;colon": b"3",
    "quote\"'`": b"4",
    "new\nline": b"5",
    "tab\tand\x1bescape": b"6",
    "back\\slash": b"7",
    "caf\u00e9": b"8",
    "cafe\u0301": b"9",
    "\u4e2d\u6587/\U0001f600": b"10",
    "-rf": b"11",
    "*?[a]": b"12",
    "$HOME": b"13",
    "a": b"14",
    "a.b": b"15",
    "a0/a": b"16",
    "a-/x": b"17",
    "A": b"18",
    "con": b"19",
    "ends.": b"20",
    "n" * 255: b"21",
    "\u00fc" * 127 + "/" + "m" * 255: b"22",
    ".hidden": b"23",
    ".config/.x": b"24",
    ".gitignore": b"*",
    "large": b"l" * 300_000,
    "large again": b"l" * 300_000,
}


def make(root: Path, tree: Tree) -> Path:
    """Write a tree below `root`."""
    root.mkdir(parents=True, exist_ok=True)
    for path, thing in tree.items():
        put(root / path, thing)
    return root


def put(target: Path, thing: Thing) -> None:
    """Write one thing, its folders made, in place of what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.is_file():
        target.unlink()
    match thing:
        case Empty():
            target.mkdir()
        case Link(where):
            target.symlink_to(where)
        case Exec(content):
            target.write_bytes(content)
            target.chmod(0o755)
        case content:
            target.write_bytes(content)


def look(root: Path) -> dict[str, Thing]:
    """Read a folder back as it would be described, without the `.dsa` at its top."""
    found: dict[str, Thing] = {}
    for here, folders, files in os.walk(root):
        if Path(here) == root and ".dsa" in folders:
            folders.remove(".dsa")
        for name in [*files, *folders]:
            path = Path(here, name)
            relative = str(path.relative_to(root))
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                found[relative] = Link(os.readlink(path))
            elif stat.S_ISDIR(info.st_mode):
                if not any(path.iterdir()):
                    found[relative] = EMPTY
            elif stat.S_ISREG(info.st_mode):
                content = path.read_bytes()
                found[relative] = Exec(content) if info.st_mode & 0o100 else content
    return found


def assert_same(one: Path, other: Path) -> None:
    """Let `diff` say that two folders are equal, and hold modes and links against each other."""
    done = subprocess.run(
        ["diff", "-r", "--no-dereference", "--exclude=.dsa", "--", str(one), str(other)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert look(one) == look(other)


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of everything below a folder, `.dsa` too: to see that nothing changed."""
    found = {}
    for here, folders, files in os.walk(root):
        for name in [*files, *folders]:
            path = Path(here, name)
            mode = path.lstat().st_mode
            content = b""
            if stat.S_ISREG(mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.fsencode(os.readlink(path))
            found[str(path.relative_to(root))] = (mode, content)
    return found


def stored(store: Path) -> set[str]:
    """Return the keys of a store that a reader could see: all but `site/`."""
    return {
        str(path.relative_to(store))
        for path in store.rglob("*")
        if path.is_file() and path.relative_to(store).parts[0] != "site"
    }


def read_everything(store: dsa.Store) -> int:
    """Read every byte of every revision and hold it against its digests; return the number of files."""
    count = 0
    for revision in store.revisions():
        for path, file in revision.files.items():
            content = revision.read(path)
            assert len(content) == file.size
            assert hashlib.sha1(content).hexdigest() == file.sha1
            assert hashlib.sha256(content).hexdigest() == file.sha256
            count += 1
        assert len(list(revision.files)) == len(revision.files)
    return count


def refusal(call: Callable[[], object]) -> DsaError | None:
    """Return the error that a call ended in, None if it went well."""
    try:
        call()
    except DsaError as error:
        return error
    return None


def run_python(
    code: str, *arguments: str | Path, stdin: int | None = None, start_new_session: bool = False
) -> subprocess.Popen[str]:
    """Start another Python with dsa in reach; its output is caught."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(dsa.__file__).parents[1])},
        start_new_session=start_new_session,
    )


def ended(process: subprocess.Popen[str], timeout: float = 120) -> str:
    """Wait for a Python that must end well; return what it printed."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return out
