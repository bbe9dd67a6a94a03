"""Ignore rules: what git leaves out by `.gitignore`, we leave out by `.dsaignore`."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsa.errors import DsaError, UsageError
from dsa.worktree.ignore import IGNORE_FILE, Ignore


def write(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def kept(root: Path, exclude: tuple[str, ...] = ()) -> list[str]:
    """Walk as a push does, and return the files that it would take."""
    ignore = Ignore.for_root(root, exclude)

    def walk(folder: str) -> list[str]:
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        ignore.enter(folder, any(entry.name == IGNORE_FILE for entry in entries))
        files = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            if not ignore.ignored(path, is_dir):
                files += walk(path) if is_dir else [path]
        return files

    return walk("")


TREE = {
    "a.txt": "",
    "a.log": "",
    "keep.log": "",
    "build/out.o": "",
    "build/keep/x.o": "",
    "sub/build/y": "",
    "sub/a.log": "",
    "sub/deep/b.log": "",
    "sub/.gitignore": "*\n",
    "#x": "",
    "!y": "",
}


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        ({}, []),
        ({".dsaignore": "# nothing\n\n"}, []),
        ({".dsaignore": "*.log\n"}, ["a.log", "keep.log", "sub/a.log", "sub/deep/b.log"]),
        ({".dsaignore": "*.log\n!keep.log\n"}, ["a.log", "sub/a.log", "sub/deep/b.log"]),
        ({".dsaignore": "/*.log\r\n"}, ["a.log", "keep.log"]),
        ({".dsaignore": "\ufeff/a.log"}, ["a.log"]),
        ({".dsaignore": "build/\n"}, ["build/keep/x.o", "build/out.o", "sub/build/y"]),
        ({".dsaignore": "/build/*\n!/build/keep\n"}, ["build/out.o"]),
        ({".dsaignore": "build\n!build/keep\n"}, ["build/keep/x.o", "build/out.o", "sub/build/y"]),
        ({".dsaignore": "a.log/\n"}, []),
        ({".dsaignore": "sub/*.log\n"}, ["sub/a.log"]),
        ({".dsaignore": "sub/**/*.log\n"}, ["sub/a.log", "sub/deep/b.log"]),
        ({".dsaignore": "**/deep\n"}, ["sub/deep/b.log"]),
        ({".dsaignore": "\\#x\n\\!y\n"}, ["!y", "#x"]),
        ({"sub/.dsaignore": "*.log\n"}, ["sub/a.log", "sub/deep/b.log"]),
        ({"sub/.dsaignore": "/a.log\n"}, ["sub/a.log"]),
        (
            {".dsaignore": "*.log", "sub/.dsaignore": "!a.log"},
            ["a.log", "keep.log", "sub/deep/b.log"],
        ),
        (
            {".dsaignore": "*.log", "sub/deep/.dsaignore": "!/b.log"},
            ["a.log", "keep.log", "sub/a.log"],
        ),
        ({".dsaignore": ".dsaignore\n"}, [".dsaignore"]),
    ],
)
def test_what_is_left_out(tmp_path: Path, files: dict[str, str], gone: list[str]) -> None:
    write(tmp_path, TREE | files)
    assert kept(tmp_path) == sorted(
        (TREE | files).keys() - set(gone), key=lambda path: path.split("/")
    )


@pytest.mark.parametrize(
    ("exclude", "files", "gone"),
    [
        (("*.log",), {}, {"a.log", "keep.log", "sub/a.log", "sub/deep/b.log"}),
        (("*.log", "!keep.log"), {}, {"a.log", "sub/a.log", "sub/deep/b.log"}),
        (("/sub",), {}, {path for path in TREE if path.startswith("sub/")}),
        (("#x",), {}, {"#x"}),  # no comment: it was typed
        (("!a.log",), {".dsaignore": "*.log"}, {"keep.log", "sub/deep/b.log"}),
        (("sub/.dsaignore",), {"sub/.dsaignore": "a.log"}, {"sub/.dsaignore", "sub/a.log"}),
    ],
)
def test_what_is_excluded_goes_before_the_files(
    tmp_path: Path, exclude: tuple[str, ...], files: dict[str, str], gone: set[str]
) -> None:
    write(tmp_path, TREE | files)
    assert set(kept(tmp_path, exclude)) == (TREE | files).keys() - gone


def test_without_rules_it_is_idle_and_wakes_at_the_first(tmp_path: Path) -> None:
    write(tmp_path, {"sub/.dsaignore": "x", "sub/deep/.dsaignore": "#", "folder/.dsaignore/x": ""})
    ignore = Ignore.for_root(tmp_path, [])
    assert not ignore.active
    assert not ignore.ignored("sub/x", is_dir=False)
    ignore.enter("sub/deep", has_ignore_file=True)
    ignore.enter("folder", has_ignore_file=True)
    ignore.enter("sub", has_ignore_file=False)
    assert not ignore.active
    ignore.enter("sub", has_ignore_file=True)
    assert ignore.active
    assert ignore.ignored("sub/x", is_dir=False)
    assert not ignore.ignored("x", is_dir=False)


def test_a_file_is_read_once_and_obeyed_from_then_on(tmp_path: Path) -> None:
    write(tmp_path, {".dsaignore": "*.log", "sub/.dsaignore": "x"})
    ignore = Ignore.for_root(tmp_path, [])
    assert not ignore.ignored("sub/x", is_dir=False)
    ignore.enter("sub", has_ignore_file=True)
    assert ignore.ignored("sub/x", is_dir=False)
    (tmp_path / ".dsaignore").unlink()
    (tmp_path / "sub/.dsaignore").unlink()
    for folder in ("", "sub"):
        ignore.enter(folder, has_ignore_file=True)
    assert ignore.ignored("sub/x", is_dir=False)
    assert ignore.ignored("other/a.log", is_dir=False)


def test_without_rules_dulwich_is_not_loaded(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys; from dsa.worktree.ignore import Ignore;"
        "i = Ignore.for_root(pathlib.Path(sys.argv[1])); i.ignored('a', False);"
        "print([m for m in sys.modules if m.startswith('dulwich')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout == "[]\n"


def test_names_that_are_not_utf8_can_be_left_out(tmp_path: Path) -> None:
    ignore = Ignore.for_root(tmp_path, ["*.bak"])
    assert ignore.ignored(os.fsdecode(b"\xff/\xfe.bak"), is_dir=False)
    assert not ignore.ignored(os.fsdecode(b"\xff/\xfe.txt"), is_dir=False)


@pytest.mark.parametrize("glob", ["", "/", "!", "!/", "[a", "a[[:nope:]]"])
def test_a_pattern_that_cannot_be_read_is_a_usage_error(tmp_path: Path, glob: str) -> None:
    with pytest.raises(UsageError):
        Ignore.for_root(tmp_path, [glob])


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"ok\n\xff\n", "line 2: not UTF-8"), (b"ok\n[a\n", "not a pattern: '[a'")],
)
def test_a_file_that_cannot_be_read_stops_the_push(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / IGNORE_FILE).write_bytes(data)
    with pytest.raises(DsaError) as caught:
        Ignore.for_root(tmp_path, [])
    assert said in str(caught.value)
    assert IGNORE_FILE in str(caught.value)


def test_an_ignore_file_that_is_no_file_stops_the_push(tmp_path: Path) -> None:
    write(tmp_path, {"a/x": "", "b/x": "", "c/real": "x"})
    os.mkfifo(tmp_path / "a" / IGNORE_FILE)
    (tmp_path / "b" / IGNORE_FILE).symlink_to("nowhere")
    (tmp_path / "c" / IGNORE_FILE).symlink_to("real")
    ignore = Ignore.for_root(tmp_path, [])
    for folder, said in (("a", "not a regular file"), ("b", "link to nothing")):
        with pytest.raises(DsaError, match=said):
            ignore.enter(folder, has_ignore_file=True)
    ignore.enter("c", has_ignore_file=True)
    assert ignore.ignored("c/x", is_dir=False)


def test_an_ignore_file_without_permission_stops_the_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / IGNORE_FILE).write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)  # root would be let in
    with pytest.raises(DsaError, match=r"cannot read .*: Permission denied"):
        Ignore.for_root(tmp_path, [])


# Few letters, so that patterns meet names; no backslash at an end, which is nobody's pattern.
names = st.sampled_from(["a", "b", "ab", "a.b", "c", "#c", "!b", " "])
trees = st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), min_size=1, max_size=8)
pieces = st.sampled_from(["a", "b", "*", "?", "**", "a*", "*.b", "[ab]", "[!a]", "#c", "a.b", "c"])
patterns = st.builds(
    lambda bang, lead, parts, end: bang + lead + "/".join(parts) + end,
    st.sampled_from(["", "", "!", "\\"]),
    st.sampled_from(["", "/"]),
    st.lists(pieces, min_size=1, max_size=3),
    st.sampled_from(["", "/", " "]),
).filter(lambda pattern: not pattern.startswith("\\") or pattern[1] in "#!ab")
rules = st.lists(patterns, max_size=4).map("\n".join)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge here")
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(trees, st.dictionaries(st.sampled_from(["", "a", "a/b", "b"]), rules), rules)
def test_git_leaves_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, tree: list[str], files: dict[str, str], exclude: str
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for path in tree:
        target = root / path / "f"  # every path a folder: none is in the way of another
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for folder, text in files.items():
        if (root / folder).is_dir():
            (root / folder / IGNORE_FILE).write_text(text)
    excluded = tuple(line for line in exclude.split("\n") if line.strip("/! "))
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    run = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--others"]
        + [f"--exclude-per-directory={IGNORE_FILE}"]
        + [f"--exclude={glob}" for glob in excluded],
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.rmtree(root / ".git")
    assert sorted(kept(root, excluded)) == sorted(filter(None, run.stdout.split("\0")))
