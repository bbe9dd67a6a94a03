"""Real folders go in and come out the same: `diff -r`, modes and links say so."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sysconfig
from pathlib import Path

import pytest
from treetools import EMPTY, ODD, Exec, Link, assert_same, ended, look, make, run_python

import dsa
from dsa.errors import DsaError


def round_trip(source: Path, tmp_path: Path) -> dsa.Store:
    """Push a folder, check it out in both ways, and compare."""
    store = dsa.open(tmp_path / "store", create=True)
    report = store.push("ds", "1", source)
    for link in (False, True):
        tree = tmp_path / f"linked {link}"
        made = store.checkout("ds", tree, link=link)
        assert made.written == report.files
        assert_same(source, tree)
        status = dsa.status(tree)
        assert status.is_clean
        if not link:
            assert status.files_read == 0
            assert store.push("copy", "1", tree).files_read == 0
    again = store.push("ds", "1", source)
    assert (again.is_new, again.files_read) == (False, 0)
    return store


def test_odd_things(tmp_path: Path) -> None:
    round_trip(make(tmp_path / "t", ODD), tmp_path)


def test_folders_in_folders(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 200)
    round_trip(
        make(
            tmp_path / "t",
            {
                f"{deep}/f": b"deep",
                f"{deep}/e": EMPTY,
                "d/l": Link("d/" + deep[4:]),
                "d/x": Exec(b""),
            },
        ),
        tmp_path,
    )


def test_sizes_around_every_limit(tmp_path: Path) -> None:
    """Where objects become loose, where a batch and where a read ends."""
    sizes = {0, 1, 2, 4095, 4096, 65_535, 65_536, 1 << 20, (1 << 20) + 1, 5_000_000}
    limit = 256 * 1024
    sizes |= {limit - 71, limit - 70, limit - 1, limit, limit + 1}
    tree = {f"{size}": (b"%d" % size * 9_000_000)[:size] for size in sizes}
    round_trip(make(tmp_path / "t", tree), tmp_path)


def test_more_small_files_than_one_batch_and_one_pack_entry_after_the_other(
    tmp_path: Path,
) -> None:
    tree = {f"{n // 700}/{n}": b"%d" % (n // 2) for n in range(9_000)}
    store = round_trip(make(tmp_path / "t", tree), tmp_path)
    assert store["ds"].show().info["files"] == 9_000


def test_what_programs_that_are_not_ours_say(tmp_path: Path) -> None:
    """git agrees on the ids of trees, unzip reads the packs, sha1sum the objects."""
    folder = make(
        tmp_path / "t",
        {
            "a": b"1",
            "a.b": b"2",
            "a0/x": b"3",
            "run": Exec(b"4"),
            "l": Link("a"),
            "large": bytes(300_000),
        },
    )
    store = dsa.open(tmp_path / "store", create=True)
    report = store.push("ds", "1", folder)
    for path in Path(store.url, "objects").rglob("*"):
        if path.is_file():
            said = subprocess.run(["sha1sum", path], capture_output=True, text=True).stdout
            assert said.startswith(path.parent.name + path.name)
    unpacked = tmp_path / "unpacked"
    for pack in Path(store.url, "packs").iterdir():
        subprocess.run(["unzip", "-q", pack, "-d", unpacked], check=True)
    for path in unpacked.iterdir():
        assert hashlib.sha1(path.read_bytes()).hexdigest() == path.name
    body = (unpacked / report.data).read_bytes().partition(b"\0")[2]
    said_by_git = subprocess.run(
        ["git", "hash-object", "-t", "tree", "--stdin", "--literally"],
        input=body,
        capture_output=True,
        check=True,
    ).stdout
    assert said_by_git.decode().strip() == report.data
    sums = "".join(
        f"{file.sha256}  {path}\n" for path, file in store["ds"].files.items() if path != "l"
    )
    subprocess.run(["sha256sum", "-c", "--quiet"], input=sums, text=True, cwd=folder, check=True)


@pytest.mark.slow
def test_the_packages_of_the_running_python(tmp_path: Path) -> None:
    round_trip(Path(sysconfig.get_path("purelib")), tmp_path)


@pytest.mark.slow
def test_the_documentation_of_the_system(tmp_path: Path) -> None:
    source = Path("/usr/share/doc")
    if not source.is_dir():
        pytest.skip("this system has no /usr/share/doc")
    copy = tmp_path / "doc"
    shutil.copytree(source, copy, symlinks=True)
    store = dsa.open(tmp_path / "store", create=True)
    try:
        store.push("try", "1", copy)
    except DsaError as error:  # all at once, by name
        for problem in error.problems:
            assert "a link that leaves the tree" in problem
            (copy / problem.split(": ")[0]).unlink()
    round_trip(copy, tmp_path)


#: Run one verb, then tell how much memory this process and its workers came to together, in KiB.
MEASURED = """
import sys, threading, os, time
import dsa
peak = 0
def watch():
    global peak
    me = os.getpid()
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        total = 0
        for process in [me, *children(me)]:
            try:
                for line in open(f"/proc/{process}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                pass
        peak = max(peak, total)
        time.sleep(0.1)
def children(process):
    try:
        return [int(text) for text in open(f"/proc/{process}/task/{process}/children").read().split()]
    except OSError:
        return []
threading.Thread(target=watch, daemon=True).start()
store = dsa.open(sys.argv[1], create=True)
getattr(store, sys.argv[2])(*sys.argv[3:])
# Not getrusage: it tells the peak of the process that this one was forked from.
own = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
print(max(peak, own))
"""


@pytest.mark.slow
def test_a_hundred_thousand_files_in_bounded_memory(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    for n in range(1_000):
        (folder / f"{n // 100}" / f"{n % 100}").mkdir(parents=True)
    for n in range(100_000):
        path = folder / f"{n // 100 // 100}" / f"{n // 100 % 100}" / f"{n}.dat"
        path.write_bytes(b"%d" % n * (100 + n % 3_000))
    for words in (
        ["push", "ds", "1", str(folder)],
        ["push", "ds", "1", str(folder)],
        ["checkout", "ds", str(tmp_path / "w")],
        ["checkout", "ds", str(tmp_path / "w")],
    ):
        kib = int(ended(run_python(MEASURED, tmp_path / "store", *words), timeout=900))
        assert kib <= 300 * 1024, (words[0], kib)
    done = subprocess.run(["diff", "-r", "--exclude=.dsa", folder, tmp_path / "w"])
    assert done.returncode == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {})
    with (folder / "large").open("wb") as file:
        for _ in range(1_500):
            file.write(os.urandom(1 << 20))
    for words in (["push", "ds", "1", str(folder)], ["checkout", "ds", str(tmp_path / "w")]):
        kib = int(ended(run_python(MEASURED, tmp_path / "store", *words), timeout=900))
        assert kib <= 200 * 1024, (words[0], kib)
    assert (folder / "large").stat().st_size == (tmp_path / "w" / "large").stat().st_size


def test_files_take_the_permissions_that_a_new_file_has(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"f": b"", "x": Exec(b""), "large": bytes(300_000)})
    (folder / "f").chmod(0o640)
    (folder / "x").chmod(0o700)
    store = dsa.open(tmp_path / "store", create=True)
    store.push("ds", "1", folder)
    before = os.umask(0o027)
    try:
        store.checkout("ds", tmp_path / "w")
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "w").iterdir()
        if path.is_file()
    }
    assert modes == {"f": 0o640, "x": 0o750, "large": 0o640}
    assert look(tmp_path / "w") == look(folder)
