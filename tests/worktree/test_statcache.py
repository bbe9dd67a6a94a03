"""The stat cache: what was not changed is not read, and what was changed is always noticed."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from pathlib import Path

import pytest
from treetools import ODD, Exec, Link, ended, make, read_everything, refusal, run_python

import dsa
from dsa.config import places
from dsa.worktree import statcache
from dsa.worktree.scan import scan
from dsa.worktree.statcache import Digests
from dsa.worktree.state import statcache_path

LARGE = bytes(300_000)

#: Run a verb, and print every file of the folder that was opened meanwhile, in any process.
WATCHED = """
import os, sys, dsa
folder = os.path.realpath(sys.argv[2])
opened = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.join(os.getcwd(), os.fsdecode(arguments[0]))
        if path.startswith(folder + "/") and "/.dsa/" not in path and os.path.isfile(path):
            opened.append(path)
sys.addaudithook(hook)
if sys.argv[3] == "status":
    report = dsa.status(folder)
else:
    report = dsa.open(sys.argv[1], create=True).push("ds", sys.argv[3], folder)
print(report.files_read, len(opened))
"""


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    return dsa.open(tmp_path / "store", create=True)


def test_an_unchanged_folder_is_not_read_again(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**ODD, "large": LARGE})
    files = sum(1 for path in folder.rglob("*") if path.is_symlink() or path.is_file())

    def watched(revision: str) -> tuple[int, int]:
        said = ended(run_python(WATCHED, store.url, folder, revision)).split()
        return int(said[0]), int(said[1])

    read, opened = watched("1")
    assert read == files
    assert opened > 0  # so that the watching itself is known to work
    for revision in ("1", "2", "1"):
        assert watched(revision) == (0, 0)
    (folder / "plain.txt").write_bytes(b"other")
    assert watched("3") == (1, 1)
    store.checkout("ds@3", folder)
    assert watched("status") == (0, 0)
    (folder / "plain.txt").write_bytes(b"again")
    assert watched("status") == (1, 1)
    assert watched("status") == (0, 0)


def test_the_cache_lies_outside_a_folder_that_was_never_checked_out(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {"f": b""})
    store.push("ds", "1", folder)
    assert os.listdir(folder) == ["f"]
    assert places.statcache(folder).exists()
    store.checkout("ds", tmp_path / "w")
    assert statcache_path(tmp_path / "w").exists()
    assert not places.statcache(tmp_path / "w").exists()


def restore(path: Path, info: os.stat_result) -> None:
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize("size", [5, 300_000])
def test_an_edit_of_equal_size_with_its_time_put_back_is_noticed(
    store: dsa.Store, tmp_path: Path, size: int
) -> None:
    folder = make(tmp_path / "t", {"f": b"a" * size, "g": b""})
    store.push("ds", "1", folder)
    store.checkout("ds", tmp_path / "w")
    for place in (folder, tmp_path / "w"):
        before = (place / "f").stat()
        with (place / "f").open("r+b") as file:
            file.write(b"b")
        restore(place / "f", before)
    assert [change.path for change in dsa.status(tmp_path / "w").changes] == ["f"]
    store.push("ds", "2", folder)
    assert store["ds@2"].read("f") == b"b" + b"a" * (size - 1)


def test_files_that_change_places_with_their_times_are_noticed(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {"a": b"1", "b": b"2"})
    for name in "ab":
        os.utime(folder / name, ns=(0, 0))
    store.push("ds", "1", folder)
    (folder / "a").rename(folder / "c")
    (folder / "b").rename(folder / "a")
    (folder / "c").rename(folder / "b")
    assert store.push("ds", "2", folder).is_new
    assert store["ds@2"].read("a") == b"2"


def test_edits_right_after_a_read_are_noticed(store: dsa.Store, tmp_path: Path) -> None:
    """A file system's clock ticks slowly: an edit may leave size and times as they were."""
    folder = make(tmp_path / "t", {"f": b"0000", "l": Link("0000")})
    for turn in range(1, 9):
        store.push("ds", f"r{turn}", folder)
        (folder / "f").write_bytes(b"%04d" % turn)
        (folder / "l").unlink()
        (folder / "l").symlink_to(f"{turn:04}")
        store.push("ds", f"s{turn}", folder)
        assert store[f"ds@s{turn}"].read("f") == b"%04d" % turn
        assert store[f"ds@s{turn}"].read("l") == b"%04d" % turn


def test_modes_are_noticed_without_reading(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"f": b"x"})
    store.push("ds", "1", folder)
    (folder / "f").chmod(0o755)
    store.push("ds", "2", folder)
    assert store["ds@2"].files["f"].mode == "100755"


@pytest.mark.parametrize("how", ["garbage", "cut", "flipped", "empty", "folder", "closed"])
def test_a_cache_that_cannot_be_read_is_no_cache(
    store: dsa.Store, tmp_path: Path, how: str
) -> None:
    folder = make(tmp_path / "t", {f"{n}": b"%d" % n for n in range(50)})
    first = store.push("ds", "1", folder)
    cache = places.statcache(folder)
    data = bytearray(cache.read_bytes())
    if how == "flipped":
        # Every place of the file in turn would take long; a digest in the middle is the worst.
        at = data.find(bytes.fromhex(store["ds"].files["7"].sha1))
        assert at > 0
        data[at] ^= 1
    cache.unlink()
    match how:
        case "garbage":
            cache.write_bytes(b"no arrow")
        case "empty":
            cache.touch()
        case "folder":
            cache.mkdir()
        case "closed":
            cache.parent.chmod(0)
        case "cut":
            cache.write_bytes(data[: len(data) // 2])
        case _:
            cache.write_bytes(data)
    again = store.push("ds", "2", folder)
    cache.parent.chmod(0o755)
    assert again.data == first.data
    if how != "closed" or os.geteuid():
        assert again.files_read == 50


def test_any_flipped_byte_of_the_cache_never_gives_a_wrong_digest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    folder = make(tmp_path / "t", {"a": b"1", "b/c": Exec(b"2")})
    found = scan(folder)
    digests = Digests(bytearray(b"\1" * 60), bytearray(b"\2" * 96))
    cache = tmp_path / "cache"
    statcache.save(cache, found, digests, time.time_ns() + 10**12)
    data = cache.read_bytes()
    good = statcache.fill(cache, found)
    assert good.unknown == []
    for at in range(0, len(data), 5):
        cache.write_bytes(data[:at] + bytes((data[at] ^ 0x40,)) + data[at + 1 :])
        try:
            seen = statcache.fill(cache, found)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a fault
            pytest.fail(f"byte {at}: {error!r}")
        known = {0, 1, 2} - set(seen.unknown)
        for row in known:
            assert seen.sha1_of(row) in (good.sha1_of(row), bytes(20))


#: Rewrite one file, append to another, replace a third, until somebody ends it.
WRITER = """
import os, sys, itertools
os.chdir(sys.argv[1])
for turn in itertools.count():
    with open("rewritten", "r+b") as file:
        file.write((b"%08d" % turn) * 400)
    with open("large", "r+b") as file:
        file.seek(turn % 50 * 8000)
        file.write((b"%08d" % turn) * 1000)
    with open("growing", "ab") as file:
        file.write(b"%08d" % turn)
    if turn % 1000 == 0:
        os.truncate("growing", 8)
    with open("new", "wb") as file:
        file.write(b"%08d" % turn * (turn % 100))
    os.replace("new", "replaced")
    if turn == 3:
        print("writing", flush=True)
"""


def test_files_that_change_while_they_are_read_are_never_stored_wrongly(
    store: dsa.Store, tmp_path: Path
) -> None:
    still = {f"still/{n}": b"%d" % n for n in range(300)}
    changing = {"rewritten": b"x" * 3200, "large": bytes(400_000), "growing": b"", "replaced": b""}
    folder = make(tmp_path / "t", {**still, **changing})
    writer = run_python(WRITER, folder)
    published = 0
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        for turn in range(6):
            error = refusal(partial(store.push, "ds", str(turn), folder))
            published += error is None
            if error:
                assert error.exit_code == 1
                names = {problem.split(":")[0] for problem in error.problems}
                assert names
                assert names <= {*changing, "new"}
    finally:
        writer.kill()
        writer.communicate()
    store.push("ds", "calm", folder)
    assert len(list(store.revisions("ds"))) == published + 1
    assert read_everything(store) >= 300
    store.checkout("ds@calm", tmp_path / "w")
    for name in changing:
        assert (tmp_path / "w" / name).read_bytes() == (folder / name).read_bytes()
