"""Checkout from a store elsewhere: few requests, bounded memory, and after a break it goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from far import Cutting, Down, Far, Flipping, fetch
from treetools import Exec, Link, Tree, look, make

import dsa
from dsa.cas.backend import FileInfo
from dsa.errors import AccessError, DamageError
from dsa.workers.writer import Job

MIB = 1024 * 1024
PIECE = 8 * MIB


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


LARGE = noise(5 * PIECE + 12_345)
MIDDLE = {f"m/{number}": noise(300_000, number) for number in range(20)}
SMALL = {f"s/{number // 100}/{number}": b"%d" % number * 50 for number in range(1_000)}
MIXED: Tree = {"large": LARGE, "run": Exec(b"#!"), "to": Link("large"), **MIDDLE, **SMALL}


def published(tmp_path: Path, *trees: Tree) -> Path:
    """Push trees as revisions 1, 2, … of `ds`; return the store's folder."""
    store = dsa.open(tmp_path / "store", create=True)
    for number, tree in enumerate(trees, 1):
        source = make(tmp_path / "sources" / str(number), tree)
        store.push("ds", str(number), source, author="a <b@c>")
    return tmp_path / "store"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("mixed"), MIXED)


def test_everything_comes_over_in_one_request_for_each_few_mebibytes(
    mixed: Path, tmp_path: Path
) -> None:
    far = Far("a", mixed)
    report = fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == MIXED
    assert report.requests == far.traffic.requests
    assert report.bytes_received == far.traffic.bytes_received > len(LARGE)
    # six ranges of the large file, the middle ones one by one, perhaps manifest and revision.json
    assert 0 <= far.asked["objects"] - 6 - len(MIDDLE) <= 2
    assert far.asked["packs"] == 1
    assert report.requests < 40
    assert report.store == "memory://a"
    assert not (tmp_path / "w/.dsa/partial").exists()


def test_20_000_small_files_are_a_handful_of_requests(tmp_path: Path) -> None:
    rng = random.Random(1)
    tree: Tree = {f"{number // 200}/{number}": rng.randbytes(4096) for number in range(20_000)}
    far = Far("a", published(tmp_path, tree))
    report = fetch(far, tmp_path / "w")
    assert report.written == 20_000
    assert far.asked["packs"] <= 12
    assert report.requests <= 20
    assert far.data_bytes() < 20_000 * (4096 + 200) + MIB
    assert (tmp_path / "w/99/19999").read_bytes() == tree["99/19999"]
    assert fetch(far, tmp_path / "w").written == 0


def test_one_content_under_many_names_is_fetched_once(tmp_path: Path) -> None:
    tree: Tree = {
        "a": LARGE,
        "b/c": LARGE,
        "d": Exec(LARGE),
        **{f"copy{number}": noise(400_000) for number in range(5)},
    }
    far = Far("a", published(tmp_path, tree))
    fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == tree
    assert far.data_bytes() < len(LARGE) + 400_000 + 10_000
    inodes = {(tmp_path / "w" / name).stat().st_ino for name in tree}
    assert len(inodes) == len(tree)  # none is a link to another


def test_one_content_that_two_jobs_write_grows_in_two_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa.verbs import jobs

    monkeypatch.setattr(jobs, "_CHUNK_ROWS", 1)
    tree: Tree = {"a": LARGE, "b": LARGE, "c": LARGE}
    fetch(Far("a", published(tmp_path, tree)), tmp_path / "w")
    assert look(tmp_path / "w") == tree


def test_a_switch_fetches_only_what_differs(tmp_path: Path) -> None:
    store = published(tmp_path, MIXED, {**MIXED, "s/0/1": b"new", "more": noise(PIECE + 1, 9)})
    far = Far("a", store)
    fetch(far, tmp_path / "w", spec="ds@1")
    before = far.data_bytes()
    fetch(far, tmp_path / "w", spec="ds@2")
    assert far.data_bytes() - before < PIECE + 20_000
    assert (tmp_path / "w/s/0/1").read_bytes() == b"new"


@pytest.mark.parametrize("at", [0, 3, 10, 25])
def test_after_a_break_the_same_command_goes_on_and_fetches_nothing_twice(
    mixed: Path, tmp_path: Path, at: int
) -> None:
    far = Down("a", mixed, at)
    with pytest.raises(AccessError, match="does not answer") as caught:
        fetch(far, tmp_path / "w")
    assert caught.value.exit_code == 6
    assert "goes on" in str(caught.value.hint)
    there = look(tmp_path / "w")
    assert all(MIXED[path] == content for path, content in there.items() if path in MIXED)
    far.left = 10**9
    fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == MIXED
    whole = Far("b", mixed)
    fetch(whole, tmp_path / "other")
    # What was under way when it broke may come again: pieces of one window.
    lost = far.data_bytes() - whole.data_bytes()
    assert lost <= 4 * PIECE + 10_000


def test_a_large_file_goes_on_by_range(tmp_path: Path) -> None:
    far = Down("a", published(tmp_path, {"large": LARGE}), 3)
    with pytest.raises(AccessError):
        fetch(far, tmp_path / "w")
    (partial,) = (tmp_path / "w/.dsa/partial").iterdir()
    assert partial.read_bytes() == LARGE[: 3 * PIECE]
    far.left, before = 10**9, far.data_bytes()
    fetch(far, tmp_path / "w")
    assert (tmp_path / "w/large").read_bytes() == LARGE
    assert far.data_bytes() - before < len(LARGE) - 3 * PIECE + 10_000
    assert not partial.exists()


def test_a_beginning_that_was_spoilt_is_thrown_away_and_fetched_anew(tmp_path: Path) -> None:
    far = Down("a", published(tmp_path, {"large": LARGE}), 3)
    with pytest.raises(AccessError):
        fetch(far, tmp_path / "w")
    (partial,) = (tmp_path / "w/.dsa/partial").iterdir()
    with partial.open("r+b") as file:
        file.write(b"wrong")
    far.left = 10**9
    fetch(far, tmp_path / "w")
    assert (tmp_path / "w/large").read_bytes() == LARGE


def test_bits_that_flip_on_the_way_are_asked_for_again(mixed: Path, tmp_path: Path) -> None:
    far = Flipping("a", mixed)
    fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == MIXED
    assert far.flipped


@pytest.mark.parametrize("kind", [Flipping, Cutting])
def test_what_stays_wrong_is_named_and_nothing_wrong_is_written(
    mixed: Path, tmp_path: Path, kind: type[Far]
) -> None:
    far = kind("a", mixed)
    if isinstance(far, Flipping):
        far.times = 10**9
    with pytest.raises(DamageError) as caught:
        fetch(far, tmp_path / "w")
    assert caught.value.exit_code == 5
    there = {path: one for path, one in look(tmp_path / "w").items() if path in MIXED}
    assert all(MIXED[path] == content for path, content in there.items())
    lost = {problem.partition(":")[0] for problem in caught.value.problems}
    assert lost == {path for path in MIXED if path not in there}
    assert {"large", "m/0"} <= lost


def test_objects_that_moved_to_other_packs_are_found_by_the_locations(tmp_path: Path) -> None:
    """As in a mirror that repacked: the index's hints lead nowhere, and nothing is asked one by one."""
    first = published(tmp_path / "1", SMALL)
    # The same objects in another pack, for another revision beside them.
    second = published(tmp_path / "2", {**SMALL, "s/0/extra": b"moves all others along" * 9})
    far = Far("a", first)
    for key in [key for key in far.files if key.startswith("packs/")]:
        far.remove(key)
    for path in [*second.glob("packs/*"), *second.glob("locations/*")]:
        far.create(path.relative_to(second).as_posix(), path.read_bytes())
    fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == SMALL
    assert far.traffic.requests < 20


def test_a_missing_object_is_found_in_a_file_of_its_own(tmp_path: Path) -> None:
    far = Far("a", published(tmp_path, {"a": b"a" * 100, "b": b"b"}))
    for key in [key for key in far.files if key.startswith(("packs/", "locations/"))]:
        far.remove(key)
    from dsa.cas import layout
    from dsa.cas.ids import ObjectId

    far.create(layout.object_key(ObjectId.of(b"a" * 100)), b"a" * 100)
    with pytest.raises(DamageError) as caught:
        fetch(far, tmp_path / "w")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["b"]
    assert look(tmp_path / "w") == {"a": b"a" * 100}


def test_edits_stop_everything_before_a_byte_is_fetched(mixed: Path, tmp_path: Path) -> None:
    far = Far("a", mixed)
    fetch(far, tmp_path / "w")
    (tmp_path / "w/large").write_bytes(b"mine")
    before = far.data_bytes()
    with pytest.raises(dsa.errors.ConflictError):
        fetch(far, tmp_path / "w")
    assert (tmp_path / "w/large").read_bytes() == b"mine"
    assert far.data_bytes() - before < 10_000


class Slow(Far):
    """How many requests were under way at once."""

    most = 0
    now = 0

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        with self._counting:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.02)
        with self._counting:
            self.now -= 1
        return data

    def info(self, key: str) -> FileInfo | None:
        return super().info(key)


def test_as_many_requests_are_under_way_as_jobs_says(mixed: Path, tmp_path: Path) -> None:
    far = Slow("a", mixed)
    fetch(far, tmp_path / "w")
    assert far.most == far.jobs
    assert not [one for one in threading.enumerate() if one.name.startswith("dsa-transfer")]


def test_an_executable_and_a_plain_file_keep_their_modes(tmp_path: Path) -> None:
    tree: Tree = {"x": Exec(LARGE), "y": noise(300_000), "z": Exec(noise(300_001))}
    far = Far("a", published(tmp_path, tree))
    old = os.umask(0o027)
    try:
        fetch(far, tmp_path / "w")
    finally:
        os.umask(old)
    assert look(tmp_path / "w") == tree
    assert (tmp_path / "w/x").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "w/y").stat().st_mode & 0o777 == 0o640


class Refusing(Far):
    """A server that does not permit some files."""

    def __init__(self, name: str, folder: Path, count: int) -> None:
        super().__init__(name, folder)
        middle = [key for key, (data, _) in self.files.items() if len(data) == 300_000]
        self.refused = set(sorted(middle)[:count])

    def hurt(self, key: str, start: int, data: bytes) -> bytes:
        if key in self.refused:
            self.note(key)
            raise AccessError(f"no permission: {key} (HTTP 403)", is_refusal=True)
        return data


def test_one_file_that_is_not_permitted_stops_no_other(mixed: Path, tmp_path: Path) -> None:
    far = Refusing("a", mixed, 1)
    for _ in range(2):
        with pytest.raises(AccessError, match="1 file of ds@1") as caught:
            fetch(far, tmp_path / "w")
        assert caught.value.is_refusal
        assert "HTTP 403" in str(caught.value)
        (problem,) = caught.value.problems
        assert "not permitted" in problem
        there = look(tmp_path / "w")
        assert {path for path in MIXED if path not in there} == {problem.partition(":")[0]}
    before = far.data_bytes()
    report = fetch(far, tmp_path / "w", Far("b", mixed))
    assert look(tmp_path / "w") == MIXED
    assert far.data_bytes() - before < 10_000
    assert "not permitted" in report.warnings[0]


def test_a_store_that_permits_nothing_any_more_is_not_asked_for_every_file(tmp_path: Path) -> None:
    tree: Tree = {str(number): noise(300_000, number) for number in range(60)}
    far = Refusing("a", published(tmp_path, tree), 60)
    with pytest.raises(AccessError, match="no permission"):
        fetch(far, tmp_path / "w")
    assert 32 <= far.asked["objects"] < 45


def test_of_large_files_that_are_written_nothing_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa.verbs import fetching

    monkeypatch.setattr(fetching, "PIECE_BYTES", 250_000)
    made: list[fetching.Fetching] = []
    most = [0]

    class Watched(fetching.Fetching):
        def release(self, job: Job) -> None:
            super().release(job)
            made.append(self)
            most[0] = max(most[0], len(self._wholes), len(self._grown))

    monkeypatch.setattr("dsa.verbs.writing.Fetching", Watched)
    tree: Tree = {str(number): noise(300_000, number) for number in range(60)}
    fetch(Far("a", published(tmp_path, tree)), tmp_path / "w")
    assert look(tmp_path / "w") == tree
    assert 0 < most[0] < 30
    assert not made[-1]._grown


KILLED = """
import sys, time
from pathlib import Path
from far import Far, fetch
class Stuck(Far):
    def hurt(self, key, start, data):
        if key.startswith("objects/") and start >= 3 * 8 * 2**20:
            print("now", flush=True)
            time.sleep(60)
        return data
fetch(Stuck("a", Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_checkout_killed_in_a_large_file_goes_on_by_range(tmp_path: Path) -> None:
    store = published(tmp_path, {"large": LARGE, "small": b"s"})
    tests = Path(__file__).parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store), str(tmp_path / "w")],
        env={**os.environ, "PYTHONPATH": str(tests)},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    with child.stdout as out:
        assert out.readline() == b"now\n"
        partials = tmp_path / "w/.dsa/partial"
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if [path for path in partials.glob("*") if path.stat().st_size == 3 * PIECE]:
                break
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
    far = Far("a", store)
    fetch(far, tmp_path / "w")
    assert look(tmp_path / "w") == {"large": LARGE, "small": b"s"}
    assert far.data_bytes() < len(LARGE) - 3 * PIECE + 10_000


def test_after_ctrl_c_nobody_waits_for_the_server(tmp_path: Path) -> None:
    store = published(tmp_path, {"large": LARGE})
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(store), str(tmp_path / "w")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    with child.stdout as out:
        assert out.readline() == b"now\n"
        time.sleep(0.5)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) != 0
        assert time.monotonic() - began < 20  # an answer would take 60 s
    far = Far("a", store)
    fetch(far, tmp_path / "w")
    assert (tmp_path / "w/large").read_bytes() == LARGE
    assert far.data_bytes() <= len(LARGE) - 2 * PIECE + 10_000


MEMORY = """
import resource, sys
from pathlib import Path
from dsa.cas.backend import FileInfo
from dsa.remotes.local import LocalBackend
from far import fetch
class Wire(LocalBackend):
    jobs = 16
    def local_path(self, key):
        return None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fetch(Wire(Path(sys.argv[1])), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_stays_bounded_by_the_window(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "large").open("wb") as file:
        for seed in range(48):
            file.write(noise(PIECE, seed))
    dsa.open(tmp_path / "store", create=True).push("ds", "1", source, author="a <b@c>")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "store"), str(tmp_path / "w")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < 300 * MIB
    assert (tmp_path / "w/large").stat().st_size == 48 * PIECE
