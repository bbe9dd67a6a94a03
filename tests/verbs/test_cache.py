"""The cache: what was fetched once is not fetched again, and a full one loses what was used the longest ago."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import random
import re
import threading
from pathlib import Path

import pytest
from far import Down, Far, Flipping, fetch, sources
from treetools import Tree, look, make

import dsa
from dsa.cas.ids import ObjectId
from dsa.cli.app import run
from dsa.errors import AccessError, DamageError, DsaError, NotFoundError
from dsa.remotes.cache import Cache
from dsa.revision import Revision
from dsa.verbs import caching, opening

MIB = 2**20
LARGE = random.Random(0).randbytes(20 * MIB + 5)
TREE: Tree = {
    "large": LARGE,
    "m": LARGE[:300_000],
    **{f"s/{at}": random.Random(at).randbytes(2_000) for at in range(500)},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    store = dsa.open(folder / "store", create=True)
    store.push("ds", "1", make(folder / "1", TREE), author="a <b@c>")
    store.push("ds", "2", make(folder / "2", {**TREE, "new": b"n" * 3_000}), author="a <b@c>")
    return folder / "store"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def only_pack(cache: Cache, minimum: int = 500_000) -> Path:
    (pack,) = (path for path in cache.folder.glob("packs/*.zip") if path.stat().st_size > minimum)
    return pack


def put(cache: Cache, size: int, used: int) -> str:
    """Keep an object that was used at a time."""
    data = random.Random(used).randbytes(size)
    oid = str(ObjectId.of(data))
    key = f"objects/{oid[:2]}/{oid[2:]}"
    os.utime(cache.write(key, data), (used, used))
    return key


# --- checkout -------------------------------------------------------------------------------------


def test_a_second_checkout_fetches_no_data(site: Path, tmp_path: Path, cache: Cache) -> None:
    far = Far("a", site)
    fetch(far, tmp_path / "w", spec="ds@1", cache=cache)
    assert look(tmp_path / "w") == TREE
    before = far.data_bytes()
    fetch(far, tmp_path / "again", spec="ds@1", cache=cache)
    assert look(tmp_path / "again") == TREE
    assert far.data_bytes() - before < 10_000  # the manifest's objects
    assert not list((cache.folder / "partial").glob("*"))


def test_whatever_is_kept_is_what_its_name_says(site: Path, tmp_path: Path, cache: Cache) -> None:
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    kept = cache.kept()
    assert {one.key.partition("/")[0] for one in kept} == {"packs", "objects"}
    for one in kept:
        path = cache.folder / one.key
        assert ObjectId.of(path.read_bytes()).raw.hex() in one.key.replace("/", "")
        assert path.read_bytes() == (site / one.key).read_bytes()


def test_files_of_the_cache_and_of_the_worktree_are_never_one(
    site: Path, tmp_path: Path, cache: Cache
) -> None:
    fetch(Far("a", site), tmp_path / "w", cache=cache)
    (tmp_path / "w/large").write_bytes(b"mine")
    fetch(Far("a", site), tmp_path / "again", cache=cache)
    assert (tmp_path / "again/large").read_bytes() == LARGE


def test_one_cache_serves_all_remotes(site: Path, tmp_path: Path, cache: Cache) -> None:
    fetch(Far("a", site), tmp_path / "w", cache=cache)
    far = Far("b", site)
    fetch(far, tmp_path / "again", cache=cache)
    assert far.data_bytes() < 10_000


def test_a_little_of_a_pack_does_not_bring_all_of_it(
    site: Path, tmp_path: Path, cache: Cache
) -> None:
    far = Far("a", site)
    fetch(far, tmp_path / "w", spec="ds@1", cache=cache, only=("s/7",))
    assert far.data_bytes() < 20_000
    assert not list(cache.folder.glob("packs/*"))


@pytest.mark.parametrize("how", ["flipped", "short", "empty", "another"])
def test_a_damaged_file_in_the_cache_is_dropped_and_fetched_anew(
    site: Path, tmp_path: Path, cache: Cache, how: str
) -> None:
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    for one in cache.kept():
        path = cache.folder / one.key
        path.chmod(0o644)
        data = bytearray(path.read_bytes())
        match how:
            case "flipped":
                data[len(data) // 2] ^= 1
            case "short":
                del data[len(data) // 2 :]
            case "empty":
                data.clear()
            case "another":
                data = bytearray(len(data))
        path.write_bytes(data)
    far = Far("a", site)
    fetch(far, tmp_path / "again", spec="ds@1", cache=cache)
    assert look(tmp_path / "again") == TREE
    fetch(far, tmp_path / "third", spec="ds@1", cache=cache)
    assert look(tmp_path / "third") == TREE


def test_files_that_disappear_while_a_checkout_runs_are_fetched_again(
    site: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    found = Cache.path

    def gone(self: Cache, key: str) -> Path | None:
        path = found(self, key)
        if path is not None:
            path.unlink()
        return path

    monkeypatch.setattr(Cache, "path", gone)
    fetch(Far("a", site), tmp_path / "again", spec="ds@1", cache=cache)
    assert look(tmp_path / "again") == TREE


def test_wrong_bytes_never_get_a_name_in_the_cache(
    site: Path, tmp_path: Path, cache: Cache
) -> None:
    with pytest.raises(DamageError):
        fetch(Flipping("a", site, times=10**9), tmp_path / "w", spec="ds@1", cache=cache)
    assert cache.kept() == []


def test_an_interrupted_fetch_into_the_cache_goes_on(
    site: Path, tmp_path: Path, cache: Cache
) -> None:
    far = Down("a", site, 1)
    with pytest.raises(AccessError):
        fetch(far, tmp_path / "w", spec="ds@1", cache=cache, only=("large",))
    (partial,) = (cache.folder / "partial").glob("*")
    assert partial.read_bytes() == LARGE[: 8 * MIB]
    far.left, before = 10**9, far.data_bytes()
    fetch(far, tmp_path / "w", spec="ds@1", cache=cache, only=("large",))
    assert (tmp_path / "w/large").read_bytes() == LARGE
    assert far.data_bytes() - before < len(LARGE) - 8 * MIB + 10_000


def test_several_at_once_share_a_cache(site: Path, tmp_path: Path, cache: Cache) -> None:
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            fetch(Far(str(number), site), tmp_path / str(number), cache=Cache(cache.folder))
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for number in range(4):
        assert look(tmp_path / str(number)) == {**TREE, "new": b"n" * 3_000}
    for one_file in cache.kept():
        data = (cache.folder / one_file.key).read_bytes()
        assert str(ObjectId.of(data)) in one_file.key.replace("/", "")


def test_what_a_local_store_has_is_not_fetched(site: Path, tmp_path: Path) -> None:
    """Whatever it has it for: other datasets, other packs."""
    local = tmp_path / "local"
    some = {path: content for path, content in TREE.items() if path != "large"}
    store = dsa.open(local, create=True)
    store.push(
        "mine",
        "7",
        make(
            tmp_path / "mine",
            {**{f"x/{path}": content for path, content in some.items()}, "y": b"y"},
        ),
        author="a <b@c>",
    )
    for large in local.glob("objects/*/*"):
        if large.stat().st_size == 300_000:  # damaged there: it comes from the remote
            large.chmod(0o644)
            large.write_bytes(bytes(300_000))
    far = Far("a", site)
    report = fetch(far, tmp_path / "w", spec="ds@1", near=local)
    assert look(tmp_path / "w") == TREE
    assert far.data_bytes() < len(LARGE) + 300_000 + 10_000
    assert report.warnings == ()
    assert fetch(far, tmp_path / "other", spec="ds@1", near=tmp_path / "nothing").written == 502


# --- a cache that cannot be used ------------------------------------------------------------------


def spoil(folder: Path, how: str) -> None:
    """Make a cache's folder one that nothing can be written to, even by root."""
    folder.mkdir()
    if how == "all":
        folder.rmdir()
        folder.write_bytes(b"")
    else:
        (folder / how).write_bytes(b"")


@pytest.mark.parametrize("how", ["all", "partial", "objects", "packs"])
def test_a_cache_that_cannot_be_written_to_stops_no_checkout(
    site: Path, tmp_path: Path, cache: Cache, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(cache.folder, how)
    far = Far("a", site)
    assert fetch(far, tmp_path / "w", spec="ds@1", cache=cache).written == len(TREE)
    assert look(tmp_path / "w") == TREE
    assert caplog.text.count("nothing more is written to the cache") == 1
    assert far.data_bytes() < len(LARGE) + 300_000 + 2 * MIB + 20_000  # nothing came twice
    assert not (tmp_path / "w/.dsa/partial").exists()


def test_a_disk_of_the_cache_that_is_full_stops_no_checkout(
    site: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def full(file: int, data: bytes, at: int) -> int:
        if str(cache.folder) in os.readlink(f"/proc/self/fd/{file}") and at + len(data) > 12 * MIB:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data, at)

    monkeypatch.setattr(os, "pwrite", full)
    far = Far("a", site)
    fetch(far, tmp_path / "w", spec="ds@1", cache=cache)
    assert look(tmp_path / "w") == TREE
    assert far.data_bytes() < len(LARGE) + 300_000 + 2 * MIB + 20_000
    assert not list((cache.folder / "partial").glob("*"))


def test_a_cache_that_cannot_be_written_to_stops_nobody_who_opens_a_file(
    site: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "VERIFY_FIRST_BYTES", MIB)
    spoil(cache.folder, "partial")
    source, published = sources(Far("a", site), "ds@1").resolve()
    rev = Revision(source.store, published.dataset, published.revision, cache=cache)
    for path in ("large", "m"):
        with rev.open(path) as file:
            assert file.read() == TREE[path]


def test_a_pin_says_that_the_cache_cannot_be_written_to(
    site: Path, tmp_path: Path, cache: Cache
) -> None:
    spoil(cache.folder, "partial")
    with pytest.raises(DsaError, match="cache"):
        caching.pin(cache, sources(Far("a", site), "ds@1"))


def test_of_a_pin_that_cannot_be_read_nothing_is_evicted_and_no_checkout_stops(
    site: Path, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache", limit=2 * MIB)
    old = put(cache, MIB, 1_000)
    (cache.folder / "pins").mkdir()
    (cache.folder / "pins/x.json").write_text("{")
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    assert look(tmp_path / "w") == TREE
    assert (cache.folder / old).exists()
    assert sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()) <= 2 * MIB


def test_what_another_user_broke_off_stops_no_checkout(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(AccessError):
        fetch(Down("a", site, 1), tmp_path / "w", spec="ds@1", cache=cache, only=("large",))
    (partial,) = (cache.folder / "partial").glob("*")
    begun, opened = partial.read_bytes(), os.open

    def open_as_other(path: str | Path, *more: int, **options: int | None) -> int:
        if Path(path) == partial:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_as_other)
    fetch(Far("a", site), tmp_path / "again", spec="ds@1", cache=Cache(cache.folder))
    assert look(tmp_path / "again") == TREE
    assert partial.read_bytes() == begun
    assert [one.size for one in cache.kept() if one.size == len(LARGE)]


def test_a_wrong_file_of_another_user_is_not_used_again(
    site: Path, tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    for one in cache.kept():
        path = cache.folder / one.key
        path.chmod(0o644)
        path.write_bytes(bytes(one.size))

    def forbidden(self: Cache, key: str) -> int:
        raise AccessError(f"no permission: {key}")

    monkeypatch.setattr(Cache, "drop", forbidden)
    fetch(Far("a", site), tmp_path / "again", spec="ds@1", cache=cache)
    assert look(tmp_path / "again") == TREE


# --- unfinished files -----------------------------------------------------------------------------


def test_two_that_fetch_one_file_over_a_bad_wire_never_write_into_one_file(tmp_path: Path) -> None:
    """What came wrong is begun anew in the file whose lock is held."""
    oid = ObjectId.of(b"right")
    key = f"objects/{str(oid)[:2]}/{str(oid)[2:]}"
    first, second = (Cache(tmp_path / "cache") for _ in range(2))
    with first.receiving(key, 5) as one:
        one.add(b"wrong")
        assert not one.finish()
        assert one.begin() == 0
        with second.receiving(key, 5) as other:
            assert other.path != one.path
            other.add(b"right")
            one.add(b"ri")
            assert other.finish()
            assert second.keep(other.path, key).read_bytes() == b"right"
            one.add(b"ght")
        assert one.finish()
        assert first.keep(one.path, key).read_bytes() == b"right"
    assert not list((tmp_path / "cache/partial").glob("*"))


def test_what_is_received_is_hashed_once_more_before_it_is_given_out(
    site: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "VERIFY_FIRST_BYTES", MIB)
    receive = Cache.receive

    def spoilt(self: Cache, *arguments: object) -> Path | None:
        path = receive(self, *arguments)  # type: ignore[arg-type]
        assert path is not None
        path.chmod(0o644)
        path.write_bytes(bytes(path.stat().st_size))
        return path

    monkeypatch.setattr(Cache, "receive", spoilt)
    source, published = sources(Far("a", site), "ds@1").resolve()
    rev = Revision(source.store, published.dataset, published.revision, cache=cache)
    with rev.open("large") as file:
        assert file.read() == LARGE


# --- the limit ------------------------------------------------------------------------------------


def test_what_was_used_the_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=1_000)
    first, second, third = (put(cache, 300, used) for used in (1_000, 2_000, 3_000))
    assert cache.path(first) is not None  # used again: now the youngest
    put(cache, 300, 4_000)
    assert {one.key for one in cache.kept()} >= {first, third}
    assert second not in {one.key for one in cache.kept()}
    assert sum(one.size for one in cache.kept()) <= 1_000


def test_what_is_larger_than_the_limit_is_not_kept(site: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=2 * MIB)
    fetch(Far("a", site), tmp_path / "w", spec="ds@1", cache=cache)
    assert look(tmp_path / "w") == TREE
    assert 0 < sum(one.size for one in cache.kept()) <= 2 * MIB


def test_several_processes_keep_to_one_limit(tmp_path: Path) -> None:
    caches = [Cache(tmp_path / "cache", limit=10_000) for _ in range(8)]
    for cache in caches:
        put(cache, 10, random.randrange(10**9))
    for used in range(9):
        for number, cache in enumerate(caches):
            put(cache, 1_000, 10 * used + number)
    assert sum(one.size for one in caches[0].kept()) <= 10_000


def test_unfinished_files_count_and_those_that_nobody_writes_to_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=1_000)
    begun, going = ("objects/00/" + digit * 38 for digit in "01")
    with cache.receiving(begun, 10**6) as partial:
        partial.add(bytes(5_000))
    assert partial.path.exists()
    with cache.receiving(going, 10**6) as other:
        other.add(bytes(600))
        kept = [put(cache, 200, used) for used in (1_000, 2_000, 3_000)]
        assert other.path.exists()  # somebody writes to it
        assert not partial.path.exists()
        assert [one.key for one in cache.kept()] == [kept[-1]]


def test_what_another_process_uses_now_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=1_000)
    used, idle = put(cache, 400, 1_000), put(cache, 400, 2_000)
    with cache.using(used):
        put(cache, 400, 3_000)
    assert used in {one.key for one in cache.kept()}
    assert idle not in {one.key for one in cache.kept()}


def test_a_pinned_revision_stays_whatever_the_limit_is(site: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", limit=3 * MIB)
    far = Far("a", site)
    change = caching.pin(cache, sources(far, "ds@1"))
    assert change.files_fetched > 2
    put(cache, 100_000, 10)
    put(cache, 100_000, 11)
    before = far.data_bytes()
    fetch(far, tmp_path / "w", spec="ds@1", cache=cache)
    assert look(tmp_path / "w") == TREE
    assert far.data_bytes() - before < 10_000
    assert all(one.pinned == ("ds@1",) for one in cache.kept() if one.size > 200_000)
    assert caching.pin(cache, sources(far, "ds@1")).files_fetched == 0
    caching.unpin(cache, "ds", "1")
    assert sum(one.size for one in cache.kept()) <= 3 * MIB
    with pytest.raises(NotFoundError):
        caching.unpin(cache, "ds", "1")


def test_a_revision_that_cannot_be_fetched_whole_is_not_pinned(site: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(DamageError):
        caching.pin(cache, sources(Flipping("a", site, times=10**9), "ds@1"))
    assert list(cache.pins()) == []


def test_dropping_a_revision_leaves_what_is_pinned(site: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    far = Far("a", site)
    fetch(far, tmp_path / "w", spec="ds@2", cache=cache)
    caching.pin(cache, sources(far, "ds@1"))
    change = caching.drop(cache, sources(far, "ds@2"))
    assert change.files_pinned > 0
    assert {one.pinned for one in cache.kept()} == {("ds@1",)}
    caching.unpin(cache, "ds", None)
    assert caching.drop(cache, None).files_dropped > 0
    assert cache.kept() == []


def test_a_lock_of_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    data = b"x" * 100
    oid = str(ObjectId.of(data))
    key = f"objects/{oid[:2]}/{oid[2:]}"
    with cache.receiving(key, 100) as first, cache.receiving(key, 100) as second:
        assert first.path != second.path
    with cache.receiving(key, 100) as third:
        assert third.path == first.path
        with first.path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_unfinished_files_that_nobody_went_on_with_for_a_week_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    stale, fresh = (tmp_path / "cache/partial" / name for name in ("stale", "fresh"))
    stale.parent.mkdir(parents=True)
    for path in (stale, fresh):
        path.write_bytes(b"begun")
    os.utime(stale, (1_000, 1_000))
    with cache.receiving("objects/00/" + "0" * 38, 5):
        assert not stale.exists()
        assert fresh.exists()


# --- one file -------------------------------------------------------------------------------------


def test_a_large_file_that_is_opened_comes_whole_into_the_cache(
    site: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "VERIFY_FIRST_BYTES", MIB)
    far = Far("a", site)
    found = sources(far, "ds@1")
    source, published = found.resolve()
    rev = Revision(source.store, published.dataset, published.revision, cache=cache)
    with rev.open("large") as file:
        assert file.read() == LARGE
    before = far.data_bytes()
    with rev.open("large") as file:
        file.seek(5)
        assert file.read() == LARGE[5:]
    out = io.BytesIO()
    rev.cat("large", out)
    assert out.getvalue() == LARGE
    assert far.data_bytes() == before
    (kept,) = cache.kept()
    path = cache.folder / kept.key
    path.chmod(0o644)
    path.write_bytes(LARGE[:-1] + b"?")
    out = io.BytesIO()
    rev.cat("large", out)  # the wrong file is dropped
    assert out.getvalue() == LARGE
    with rev.open("large") as file:
        assert file.read() == LARGE


# --- the command line -----------------------------------------------------------------------------


def test_the_command_line_shows_pins_and_drops(
    site: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["cache", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["files"], shown["bytes"], shown["limit"]) == ([], 0, None)
    assert run(["-s", str(site), "cache", "pin", "ds@1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pinned"] == ["ds@1"]
    assert run(["cache", "list"]) == 0
    captured = capsys.readouterr()
    assert "ds@1" in captured.out
    assert "packs/" in captured.out
    assert all(
        re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC ", line)
        for line in captured.out.splitlines()
    )
    assert str(home / ".cache/dsa/store") in captured.err
    assert run(["cache", "drop"]) == 2
    assert run(["cache", "drop", "--all"]) == 0
    assert "stayed, being pinned" in capsys.readouterr().err
    assert run(["cache", "unpin", "ds@1"]) == 0
    assert run(["cache", "unpin", "ds@1"]) == 3
    assert run(["cache", "drop", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files_dropped"] > 2
