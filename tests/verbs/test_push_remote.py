"""Push straight to a remote: few requests, several at once, in bounded space, and only what is missing."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as pq
import pytest
from collisions import ONE, OTHER
from distant import WRITING, FarBackend, push_to
from servers.ceph import WRITER, Ceph
from servers.moto import Moto
from servers.places import use
from servers.sshd import Sshd
from treetools import ODD, assert_same, make, refusal, run_python

import dsa
from dsa.cas import layout, listings
from dsa.cas.ids import ObjectId
from dsa.cas.objects import Wanted
from dsa.cas.objectstore import ObjectStore
from dsa.cas.site import record_damaged
from dsa.cas.storefile import make_store
from dsa.cli import text
from dsa.cli.console import size
from dsa.errors import AccessError, CollisionError, DamageError, DsaError
from dsa.verbs import marked, outlet, reading, sink

MIB = 1024 * 1024


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def large_files(count: int, length: int = 300_000) -> dict[str, bytes]:
    """Return files that become objects of their own."""
    return {f"large{n:02}": noise(n, length) for n in range(count)}


def assert_published(backend: FarBackend, name: str, folder: Path) -> None:
    """Write the store's files to a disk; a local store of them is whole, and has what the folder has."""
    copy = folder.parent / "copy"
    for key, (data, _) in backend.files.items():
        path = copy / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    store = dsa.open(copy)
    assert store.verify(data=True, record=False).is_clean
    assert store.verify_folder(folder, name).is_clean


def assert_named_rightly(backend: FarBackend) -> None:
    """Every file that is named by its content has that content."""
    for key, (data, _) in backend.files.items():
        oid = layout.id_of_key(key)
        if oid is not None and not key.startswith(layout.INDEX):
            assert ObjectId.of(data) == oid, key


@pytest.fixture
def backend() -> FarBackend:
    return FarBackend()


# --- few requests ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twenty_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many") / "t"
    chosen = random.Random(1)
    for n in range(100):
        (root / str(n)).mkdir(parents=True)
    for n in range(20_000):
        (root / str(n % 100) / str(n)).write_bytes(chosen.randbytes(300))
    return root


def test_a_push_of_20_000_files_takes_few_requests(
    backend: FarBackend, twenty_thousand: Path
) -> None:
    """What it takes does not depend on the number of files; nothing is asked about any object."""
    first = push_to(backend, twenty_thousand, "ds@1")
    assert first.objects_new == 20_000
    assert first.requests == len(backend.asked) <= 36
    stored = sum(len(data) for data, _ in backend.files.values())
    assert stored <= first.bytes_sent < stored * 1.01
    assert set(backend.calls("info", "list", "read")) <= {
        "info locations",  # of the part's own name
        "info objects",  # the clock of the store
        "info site",
        "list locations",
        "list refs",
        "list site",
        "read dsa.json",
        "read listing",
        "read refs",
    }

    backend.asked.clear()
    again = push_to(backend, twenty_thousand, "ds@1")
    assert not again.is_new
    assert len(backend.asked) <= 5
    assert not backend.calls(*WRITING)

    for n in range(0, 20_000, 25):
        (twenty_thousand / str(n % 100) / str(n)).write_bytes(b"changed %d" % n)
    backend.asked.clear()
    second = push_to(backend, twenty_thousand, "ds@2")
    assert (second.objects_new, second.objects_shared) == (800, 19_200)
    assert len(backend.asked) <= 36
    assert backend.calls("read")["read locations"] <= 1
    assert not backend.calls("read", "list", "info")["read packs"]
    assert_published(backend, "ds@2", twenty_thousand)


def test_a_dry_run_only_reads(backend: FarBackend, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"a": b"1"})
    assert push_to(backend, folder, "ds@1", dry_run=True).store_created
    assert not backend.files
    push_to(backend, folder, "ds@1")
    before = dict(backend.files)
    backend.asked.clear()
    for name in ("ds@1", "ds@2", "other@1"):
        assert push_to(backend, folder, name, dry_run=True).requests
    assert not backend.calls(*WRITING)
    assert backend.files == before


def test_the_report_says_what_travelled(backend: FarBackend, tmp_path: Path) -> None:
    report = push_to(backend, make(tmp_path / "t", large_files(3)), "ds@1")
    assert report.bytes_sent == backend.traffic.bytes_sent > 900_000
    assert report.bytes_received == backend.traffic.bytes_received
    _, remarks = text.push(report)
    assert f"  sent      {size(report.bytes_sent)} in {report.requests} requests" in list(remarks)
    near = dsa.open(tmp_path / "near", create=True).push("ds", "1", tmp_path / "t")
    assert (near.requests, near.bytes_sent) == (0, 0)
    assert not any("sent" in remark for remark in text.push(near)[1])


# --- several at once, in bounded space -----------------------------------------------------------


def test_several_objects_travel_at_once_and_no_more_than_the_jobs(
    backend: FarBackend, tmp_path: Path
) -> None:
    together = threading.Barrier(4, timeout=30)

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith("objects/"):
            together.wait()  # ends only when four are there

    backend.before = before
    push_to(backend, make(tmp_path / "t", large_files(12)), "ds@1")
    assert backend.most_at_once == 4


def test_a_slow_network_does_not_fill_the_disk(
    backend: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "_WAITING_BYTES", MIB)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    staged: list[int] = []

    def before(method: str, key: str) -> None:
        if method == "publish":
            time.sleep(0.02)
            files = (tmp_path / "temporary").rglob("*")
            staged.append(sum(path.stat().st_size for path in files if path.exists()))

    backend.before = before
    report = push_to(backend, make(tmp_path / "t", large_files(30)), "ds@1")
    assert report.objects_new == 30
    # What waits, and the one for which there is no room yet.
    assert 300_000 < max(staged) < MIB + 400_000
    assert not list((tmp_path / "temporary").iterdir())


def test_locations_name_only_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_FAR_PART_EVERY_SECONDS", 0.05)
    seen: list[int] = []

    class Watching(FarBackend):
        def publish(self, staged: Path, key: str) -> None:
            if key.startswith(layout.LOCATIONS):
                rows = pq.read_table(staged)
                for oid, pack in zip(rows["id"].to_pylist(), rows["pack"].to_pylist(), strict=True):
                    where = ObjectId(oid) if pack is None else ObjectId(pack)
                    named = layout.object_key if pack is None else layout.pack_key
                    assert named(where) in self.files
                seen.append(len(rows))
            else:
                time.sleep(0.02)
            super().publish(staged, key)

    watching = Watching()
    small = {f"s{n}": noise(n, 2_000) for n in range(50)}
    push_to(watching, make(tmp_path / "t", large_files(20) | small), "ds@1")
    assert len(seen) > 2
    assert sum(seen) == 71  # and the tree


class Listener:
    """Remembers what a push told of itself."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.files = self.size_bytes = self.total = 0

    def start(self, stage: str, *, files: int | None = None, size_bytes: int | None = None) -> None:
        self.stages.append(stage)
        self.total += size_bytes or 0

    def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
        if self.stages[-1] not in ("scanning", "sending trees"):
            self.files += files
            self.size_bytes += size_bytes


def test_progress_follows_what_was_sent(backend: FarBackend, tmp_path: Path) -> None:
    """Not what was read: on a slow network that runs ahead."""
    told, early = Listener(), list[int]()

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith(("objects/", "packs/")):
            early.append(told.size_bytes - backend.traffic.bytes_sent)

    backend.before = before
    content = large_files(10) | {"same": noise(0, 300_000), "small": b"s" * 1000}
    push_to(backend, make(tmp_path / "t", content), "ds@1", progress=told)
    assert told.stages == ["scanning", "sending", "sending trees"]
    assert (told.files, told.size_bytes, told.total) == (12, 3_301_000, 3_301_000)
    assert max(early) <= 300_000  # the one that was there already


def test_progress_moves_while_a_large_file_is_read_and_while_it_is_sent(
    backend: FarBackend, tmp_path: Path, straight: None
) -> None:
    told, seen = Listener(), list[int]()

    def before(method: str, key: str) -> None:
        if method == "sending":
            seen.append(told.size_bytes)

    backend.before = before
    folder = make(tmp_path / "t", large_files(1, 8 * MIB) | {"same": noise(0, 8 * MIB)})
    push_to(backend, folder, "ds@1", progress=told)
    assert told.stages[1] == "reading and sending"
    assert told.size_bytes == told.total == 32 * MIB
    assert min(seen) >= 8 * MIB  # all of it was read
    near = Listener()
    dsa.open(tmp_path / "near", create=True).push("ds", "1", folder, progress=near)
    assert near.stages[1] == "reading"
    assert near.size_bytes == near.total == 16 * MIB


# --- what breaks off ------------------------------------------------------------------------------


@pytest.mark.parametrize("lives", [5, 12, 25])
def test_a_push_that_broke_off_sends_only_the_rest(
    backend: FarBackend, tmp_path: Path, lives: int
) -> None:
    folder = make(tmp_path / "t", large_files(30))
    left = [lives]

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith("objects/"):
            left[0] -= 1
            if left[0] < 0:
                raise AccessError(f"no connection to {key}")

    backend.before = before
    error = refusal(lambda: push_to(backend, folder, "ds@1"))
    assert isinstance(error, AccessError)
    assert "no connection to objects/" in str(error)
    arrived = sum(key.startswith("objects/") for key in backend.files)
    assert arrived == lives
    assert not any(key.startswith("refs/") for key in backend.files)
    assert any(key.startswith("locations/") for key in backend.files)

    backend.before = lambda method, key: None
    report = push_to(backend, folder, "ds@1")
    assert report.is_new
    assert report.objects_new == 30 - lives  # the others have locations
    assert report.bytes_sent < (30 - lives) * 300_000 + 100_000
    assert_published(backend, "ds@1", folder)


def test_the_error_that_came_first_comes_out_of_a_dead_connection(
    backend: FarBackend, tmp_path: Path
) -> None:
    """Locations and the end of the mark cannot be written then, and say so only in the log."""
    folder = make(tmp_path / "t", large_files(8))
    fails = [3]

    def before(method: str, key: str) -> None:
        if key.startswith(("objects/", "locations/", "site/pending/")) and method in WRITING:
            fails[0] -= 1
            if fails[0] < 0:
                raise AccessError("the first" if fails[0] == -1 else "a later one")

    backend.before = before
    with pytest.raises(AccessError, match="the first"):
        push_to(backend, folder, "ds@1")
    backend.before = lambda method, key: None
    assert push_to(backend, folder, "ds@1").is_new


def test_a_file_that_cannot_be_read_is_named_and_what_was_sent_is_found_again(
    backend: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "t", large_files(6))
    real = os.open

    def denied(path: str, *more: int) -> int:
        if str(path).endswith("large05"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        with pytest.raises(AccessError, match="cannot be read"):
            push_to(backend, folder, "ds@1")
    assert push_to(backend, folder, "ds@1").objects_new == 1


def test_ctrl_c_does_not_wait_for_a_network_that_hangs(
    backend: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith("objects/"):
            hangs.set()
        if hangs.is_set():  # from now on nothing is answered
            goes_on.wait(60)

    class CtrlC:
        def start(self, stage: str, **totals: int | None) -> None:
            pass

        def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
            if hangs.is_set():
                raise KeyboardInterrupt

    monkeypatch.setattr(sink, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(marked, "_PATIENCE_SECONDS", 0.2)
    backend.before = before
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        push_to(backend, make(tmp_path / "t", large_files(20)), "ds@1", progress=CtrlC())
    assert time.monotonic() - began < 30
    goes_on.set()
    backend.before = lambda method, key: None
    assert push_to(backend, tmp_path / "t", "ds@1").is_new
    assert_published(backend, "ds@1", tmp_path / "t")


def test_a_ref_whose_answer_is_lost_is_there_once(backend: FarBackend, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"a": b"1"})

    class Deaf(FarBackend):
        says_so = False

        def create(self, key: str, data: bytes) -> bool:
            done = super().create(key, data)
            if key.startswith("refs/") and done:
                if self.says_so:
                    return False  # as if somebody else had been first
                raise AccessError("the connection broke")
            return done

    deaf = Deaf()
    with pytest.raises(AccessError, match="the connection broke"):
        push_to(deaf, folder, "ds@1")
    assert not push_to(deaf, folder, "ds@1").is_new
    deaf.says_so = True
    report = push_to(deaf, folder, "ds@2")
    assert not report.is_new
    refs = sorted(key for key in deaf.files if key.startswith("refs/"))
    assert refs == ["refs/ds/@1", "refs/ds/@2"]
    assert deaf.files["refs/ds/@2"][0] == report.manifest.encode() + b"\n"


# --- large files, straight from where they lie ----------------------------------------------------


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "LARGEST_COPY_BYTES", 400_000)
    monkeypatch.setattr(reading, "_STEP_BYTES", 400_000)


@pytest.mark.usefixtures("straight")
def test_a_large_file_is_sent_from_where_it_lies(backend: FarBackend, tmp_path: Path) -> None:
    content = large_files(3, 3 * MIB) | {"middle": noise(9, 350_000), "again": noise(0, 3 * MIB)}
    folder = make(tmp_path / "t", content)
    report = push_to(backend, folder, "ds@1")
    assert (report.objects_new, report.files_read) == (4, 5)
    assert backend.calls("send", "publish")["send objects"] == 3
    assert backend.calls("send", "publish")["publish objects"] == 1
    assert_published(backend, "ds@1", folder)
    backend.asked.clear()
    assert push_to(backend, folder, "other@1").objects_new == 0
    assert not backend.calls("send")


@pytest.mark.usefixtures("straight")
def test_packs_do_not_wait_for_a_large_file(backend: FarBackend, tmp_path: Path) -> None:
    pack_is_there = threading.Event()

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith("packs/"):
            pack_is_there.set()
        if method == "sending":
            assert pack_is_there.wait(30)

    backend.before = before
    folder = make(tmp_path / "t", large_files(2, 3 * MIB) | {"small": b"small"})
    assert push_to(backend, folder, "ds@1").objects_new == 3


@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("moment", ["send", "sending"])
@pytest.mark.parametrize("length", [3 * MIB, 2 * MIB, 4 * MIB, 100])
def test_a_file_that_changes_before_it_is_sent_never_gets_the_name_of_what_it_was(
    backend: FarBackend, tmp_path: Path, moment: str, length: int
) -> None:
    folder = make(tmp_path / "t", large_files(2, 3 * MIB))
    wanted = ObjectId.of(noise(1, 3 * MIB))
    changed: list[str] = []

    def before(method: str, key: str) -> None:
        if method == moment and key == layout.object_key(wanted) and not changed:
            changed.append(key)
            (folder / "large01").write_bytes(noise(99, length))

    backend.before = before
    report = push_to(backend, folder, "ds@1")
    assert changed
    assert_named_rightly(backend)
    assert layout.object_key(wanted) not in backend.files
    assert report.objects_new == 2
    assert_published(backend, "ds@1", folder)


@pytest.mark.usefixtures("straight")
def test_a_file_that_keeps_changing_is_refused(backend: FarBackend, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", large_files(1, 3 * MIB))
    times = [0]

    def before(method: str, key: str) -> None:
        if method == "sending" and key.startswith("objects/"):
            times[0] += 1
            (folder / "large00").write_bytes(noise(100 + times[0], 3 * MIB))

    backend.before = before
    error = refusal(lambda: push_to(backend, folder, "ds@1"))
    assert error is not None
    assert error.problems == ("large00: it keeps changing while it is read",)
    assert_named_rightly(backend)
    assert not any(key.startswith(("refs/", "objects/")) for key in backend.files)


@pytest.mark.usefixtures("straight")
def test_two_equal_large_files_of_which_the_sent_one_changes(
    backend: FarBackend, tmp_path: Path
) -> None:
    """Then the other one is sent."""
    content = {"a": noise(1, 3 * MIB), "b": noise(1, 3 * MIB)}
    folder = make(tmp_path / "t", content)
    changed: list[str] = []

    def before(method: str, key: str) -> None:
        if method == "sending" and not changed:
            changed.append(key)
            (folder / "a").write_bytes(noise(2, 3 * MIB))

    backend.before = before
    assert push_to(backend, folder, "ds@1").objects_new == 2
    assert_published(backend, "ds@1", folder)


@pytest.mark.usefixtures("straight")
def test_an_error_ends_what_is_being_sent(backend: FarBackend, tmp_path: Path) -> None:
    """A file that takes hours is not sent to its end when the push has failed."""
    folder = make(tmp_path / "t", {"a": noise(1, 40 * MIB), "b": noise(2, 300_000)})
    has_failed = threading.Event()

    def before(method: str, key: str) -> None:
        if method == "publish" and key.startswith("objects/"):
            has_failed.set()
            raise AccessError("no space for b")
        if method == "sending":
            has_failed.wait(30)
            time.sleep(0.05)

    backend.before = before
    with pytest.raises(AccessError, match="no space for b"):
        push_to(backend, folder, "ds@1")
    assert backend.traffic.bytes_sent < 35 * MIB
    assert not any(key.startswith("objects/") for key in backend.files)


# --- damage on record -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "large00"])
@pytest.mark.parametrize("limit", [400_000, 200_000])
def test_what_is_recorded_as_damaged_is_sent_again(
    backend: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(sink, "LARGEST_COPY_BYTES", limit)
    monkeypatch.setattr(reading, "_STEP_BYTES", limit)
    folder = make(tmp_path / "t", large_files(1) | {"small": b"small", "other": b"other"})
    push_to(backend, folder, "ds@1")
    content = (folder / name).read_bytes()
    oid = ObjectId.of(content)
    key = next(
        key
        for key in backend.files
        if key == layout.object_key(oid)
        or (name == "small" and key.startswith("packs/") and content in backend.files[key][0])
    )
    pack = layout.id_of_key(key) if name == "small" else None
    spoilt = backend.files[key][0].replace(content, b"x" * len(content))
    backend.files[key] = (spoilt, 0.0)
    record_damaged(backend, [(oid.raw, None if pack is None else pack.raw)])
    report = push_to(backend, folder, "ds@1")
    assert (report.is_new, report.healed) == (False, 1)
    assert backend.files[key][0] == spoilt  # only `repair` replaces anything
    read = ObjectStore(backend, None)
    listed = dsa.revision.Revision(read, "ds", "1")
    assert listed.read(name) == content


# --- real servers ---------------------------------------------------------------------------------


@pytest.fixture
def moto_store(moto_server: Moto) -> dsa.Store:
    use(WRITER)
    options = {"endpoint": moto_server.endpoint}
    return dsa.open(f"s3://{moto_server.bucket()}/a/store", create=True, options=options)


@pytest.fixture(params=["moto", "ceph", "sshd"])
def real_store(request: pytest.FixtureRequest, tmp_path: Path) -> dsa.Store:
    """Return a store that is still to be made on a real server."""
    if request.param == "sshd":
        sshd: Sshd = request.getfixturevalue("ssh_server")
        url, options = sshd.url(tmp_path / "store"), {"config": str(sshd.config)}
    else:
        name = {"moto": "moto_server", "ceph": "gateway"}[request.param]
        server: Moto | Ceph = request.getfixturevalue(name)
        use(WRITER)
        url, options = f"s3://{server.bucket()}/a/store", {"endpoint": server.endpoint}
    return dsa.open(url, create=True, options=options)


@pytest.mark.usefixtures("straight")
def test_everything_travels_to_a_real_server_and_back(
    real_store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", dict(ODD) | large_files(5) | {"straight": noise(9, 3 * MIB)})
    report = real_store.push("ds", "1", folder)
    assert report.is_new
    assert report.bytes_sent > 4_500_000
    assert real_store.verify(data=True).is_clean
    real_store.checkout("ds@1", tmp_path / "w")
    assert_same(folder, tmp_path / "w")
    again = real_store.push("ds", "1", folder)
    assert not again.is_new
    assert again.bytes_sent < 1_000


PUSH = """
import sys, dsa, dsa.verbs.push, dsa.remotes.s3, s3fs, pyarrow.parquet
store = dsa.open(sys.argv[1], create=True, options={"endpoint": sys.argv[2]})
print("ready", flush=True)
sys.stdin.readline()
store.push("ds", "1", sys.argv[3])
print("pushed", flush=True)
"""


def pushing(store: dsa.Store, endpoint: str, folder: Path) -> subprocess.Popen[str]:
    program = run_python(PUSH, store.url, endpoint, folder, stdin=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stdin is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    program.stdin.write("\n")
    program.stdin.flush()
    return program


def test_a_push_killed_at_any_moment_ends_right(
    moto_server: Moto,
    moto_store: dsa.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    folder = make(
        tmp_path / "t",
        large_files(30, MIB) | {f"{n % 9}/{n}": noise(n, 3_000) for n in range(2_000)},
    )
    chosen = random.Random(3)
    killed = 0
    for _ in range(6):
        program = pushing(moto_store, moto_server.endpoint, folder)
        try:
            program.wait(chosen.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            program.kill()
            killed += 1
        program.communicate()
        assert program.returncode in (0, -signal.SIGKILL)
        if program.returncode == 0:
            break
    assert killed
    moto_store.push("ds", "1", folder)
    # The next one that sends anything (that one may have found all of it published) cleans up, too.
    (folder / "more").write_bytes(b"more")
    moto_store.push("ds", "2", folder)
    (folder / "more").unlink()
    assert [path for path in temporary.rglob("*") if path.name != f"dsa-{os.getuid()}"] == []
    assert moto_store.verify(data=True).is_clean
    moto_store.checkout("ds@1", tmp_path / "w")
    assert_same(folder, tmp_path / "w")


# --- what others, the wire and a power cut left -----------------------------------------------------


@pytest.mark.parametrize("length", [300_000, 3 * MIB], ids=["copied", "straight"])
def test_a_piece_of_a_large_object_under_its_name_is_not_taken_for_it(
    backend: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(sink, "LARGEST_COPY_BYTES", 2 * MIB)
    folder = make(tmp_path / "t", {"large": noise(1, length)})
    key = layout.object_key(ObjectId.of(noise(1, length)))
    make_store(backend)
    backend.write(key, noise(1, length)[:1000])
    report = push_to(backend, folder, "ds@1")
    assert (report.objects_new, report.bytes_new) == (1, length)
    assert len(backend.files[key][0]) == 1000  # only a repair replaces
    with ObjectStore(backend).objects.open(Wanted(ObjectId.of(noise(1, length)))) as file:
        assert file.read() == noise(1, length)


def test_a_piece_of_a_pack_under_its_name_is_not_taken_for_it(
    backend: FarBackend, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {"a": b"1", "sub/b": b"2"})
    other = FarBackend()
    push_to(other, folder, "ds@1")
    packs = [key for key in other.files if key.startswith(layout.PACKS)]
    make_store(backend)
    for key in packs:
        backend.write(key, other.files[key][0][:50])
    assert push_to(backend, folder, "ds@1").objects_new == 2
    for key in packs:
        del backend.files[key]  # nothing relies on them
    assert_published(backend, "ds@1", folder)


class Hurting(FarBackend):
    """A wire that hurts the next `times` files that are opened, each in another place."""

    times = 0

    def open(self, key: str) -> BinaryIO:
        data = self.read(key)
        if self.times:
            self.times -= 1
            at = 100 + self.times
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return io.BytesIO(data)


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_hurt_on_the_way_lets_no_collision_in_and_is_not_on_record(
    tmp_path: Path, times: int
) -> None:
    backend = Hurting()
    push_to(backend, make(tmp_path / "a", {"f": ONE}), "ds@1")
    backend.times = times
    expected = CollisionError if times == 1 else DamageError
    with pytest.raises(expected, match="SHA-1" if times == 1 else "came differently"):
        push_to(backend, make(tmp_path / "b", {"f": OTHER}), "other@1")
    assert not [key for key in backend.files if key.startswith(layout.DAMAGED)]
    assert layout.ref_key("other", "1") not in backend.files


def test_a_listing_that_a_killed_push_left_behind_is_renewed_by_the_next_one(
    backend: FarBackend, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {"a": b"1"})
    push_to(backend, folder, "ds@1")
    (folder / "a").write_bytes(b"two")

    def before(method: str, key: str) -> None:
        if method == "write" and key.startswith(layout.LISTING):
            raise KeyboardInterrupt

    backend.before = before
    with pytest.raises(KeyboardInterrupt):
        push_to(backend, folder, "ds@2")
    backend.before = lambda method, key: None
    assert not push_to(backend, folder, "ds@2", dry_run=True).is_new
    assert b'"2"' not in backend.files[listings.revisions_key("ds")][0]
    assert not push_to(backend, folder, "ds@2").is_new
    assert b'"2"' in backend.files[listings.revisions_key("ds")][0]


@pytest.mark.parametrize("error", [AccessError("no permission"), DsaError("no space left")])
def test_a_push_is_published_also_where_its_listing_cannot_be_written(
    backend: FarBackend, tmp_path: Path, error: DsaError
) -> None:
    folder = make(tmp_path / "t", {"a": b"1"})

    def before(method: str, key: str) -> None:
        if method == "write" and key.startswith(layout.LISTING):
            raise error

    backend.before = before
    for is_new in (True, False):
        report = push_to(backend, folder, "ds@1")
        assert report.is_new is is_new
        assert any(f"is not up to date: {error}" in warning for warning in report.warnings)
