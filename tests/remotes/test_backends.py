"""What every Backend promises (dsa/cas/backend.py): one suite, run by each of them.

The places are in tests/servers/places.py. What is only read is tested on all of them, filled
before; the rest on those that can be written to.
"""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from filing import KEY, WRITERS, keys, staged, stagings
from servers.places import PLACES, READ_ONLY, Place

from dsa.cas.backend import Backend
from dsa.cas.far import tail
from dsa.errors import AccessError, DsaError, TakenError
from dsa.remotes.connect import connect

Filled = Callable[[Mapping[str, bytes]], Backend]

SOME_FILES = (
    "dsa.json", "refs/a/@1", "refs/a/b/@1", "refs/a/b/@2", "refs/ab/@1", "packs/x.zip",
)  # fmt: skip


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    return PLACES[request.param]


@pytest.fixture
def backend(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Backend:
    """A fresh place that may be written to."""
    return place.make(request, tmp_path)


@pytest.fixture(params=[*PLACES, *READ_ONLY])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Filled:
    """Any place at all, with these files in it."""

    def fill(files: Mapping[str, bytes]) -> Backend:
        if request.param in READ_ONLY:
            return READ_ONLY[request.param].make(request, tmp_path, files)
        backend = PLACES[request.param].make(request, tmp_path)
        for key, data in files.items():
            backend.write(key, data)
        return backend

    return fill


@pytest.fixture
def listed(request: pytest.FixtureRequest, filled: Filled) -> Filled:
    """Any place that can say what is in a folder."""
    name = request.node.callspec.params["filled"]
    if name in READ_ONLY and not READ_ONLY[name].lists:
        pytest.skip(f"{name} does not list folders")
    return filled


@pytest.fixture(params=READ_ONLY)
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A place that cannot be written to, with one file."""
    return READ_ONLY[request.param].make(request, tmp_path, {KEY: b"there"})


@pytest.fixture(autouse=True)
def _stagings() -> Iterator[None]:
    with stagings:
        yield


# --- the place -----------------------------------------------------------------------------------


def test_a_place_exists_once_it_holds_anything(backend: Backend) -> None:
    assert not backend.exists()
    backend.write("dsa.json", b"")
    assert backend.exists()


def test_what_holds_a_store_exists(filled: Filled) -> None:
    assert filled({"dsa.json": b"{}"}).exists()


def test_a_url_is_a_text_on_one_line(filled: Filled) -> None:
    backend = filled({"dsa.json": b"{}"})
    assert backend.url
    assert "\n" not in backend.url


def test_a_place_that_is_not_there_is_empty_and_made_when_it_is_written_to(
    backend: Backend,
) -> None:
    assert list(backend.list("")) == []
    assert list(backend.children("")) == []
    assert backend.info(KEY) is None
    with pytest.raises(KeyError):
        backend.read(KEY)
    backend.remove(KEY)
    backend.write(KEY, b"x")
    assert backend.exists()


def test_jobs_and_claims_are_told(filled: Filled) -> None:
    backend = filled({"dsa.json": b"{}"})
    assert backend.jobs >= 1
    assert backend.claims in (True, False, None)


def test_what_a_server_was_asked_is_counted(backend: Backend, place: Place) -> None:
    seen = [backend.traffic.requests]
    for call in (
        lambda: backend.write(KEY, b"x" * 1000),
        lambda: backend.read(KEY),
        lambda: backend.info(KEY),
        lambda: list(backend.list("packs/")),
        lambda: list(backend.children("packs/")),
        lambda: backend.publish(staged(backend, b"y" * 500), "packs/other"),
        lambda: backend.remove(KEY),
    ):
        call()
        seen.append(backend.traffic.requests)
    if not place.served:
        assert set(seen) == {0}
        return
    assert seen == sorted(set(seen))
    assert 1500 <= backend.traffic.bytes_sent < 3000
    assert 1000 <= backend.traffic.bytes_received < 4000  # listings are bodies too


# --- read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (3, 4, b"3456"),
        (3, 0, b""),
        (8, 5, b"89"),
        (10, 5, b""),
        (10, None, b""),
        (99, 5, b""),
        (99, None, b""),
        (2, 2**62, b"23456789"),  # memory follows what is there
        (2**40, 2**62, b""),
    ],
)
def test_a_range_ends_where_the_file_does(
    filled: Filled, start: int, length: int | None, expected: bytes
) -> None:
    assert filled({KEY: b"0123456789"}).read(KEY, start, length) == expected


def test_an_empty_file_is_read(filled: Filled) -> None:
    backend = filled({KEY: b""})
    assert backend.read(KEY) == b""
    assert backend.read(KEY, 0, 5) == b""
    assert backend.read(KEY, 3) == b""
    with backend.open(KEY) as file:
        assert file.read() == b""


def test_large_files_come_back_whole(filled: Filled) -> None:
    data = os.urandom(5 * 1024 * 1024 + 7)
    backend = filled({KEY: data})
    assert backend.read(KEY) == data
    assert backend.read(KEY, 4_000_000, 10) == data[4_000_000:4_000_010]
    with backend.open(KEY) as file:
        assert sha1(file.read()).digest() == sha1(data).digest()


@pytest.mark.parametrize(
    ("length", "expected"), [(3, b"789"), (10, b"0123456789"), (99, b"0123456789")]
)
def test_the_end_of_a_file_comes_with_its_size(
    filled: Filled, length: int, expected: bytes
) -> None:
    backend = filled({KEY: b"0123456789", "packs/empty": b""})
    assert tail(backend, KEY, length) == (expected, 10)
    assert tail(backend, "packs/empty", length) == (b"", 0)
    with pytest.raises(KeyError):
        tail(backend, "packs/none", length)


def test_an_open_file_is_seekable(filled: Filled) -> None:
    with filled({KEY: b"0123456789"}).open(KEY) as file:
        assert file.read(2) == b"01"
        assert file.seek(-3, io.SEEK_END) == 7
        assert file.read() == b"789"
        assert file.read() == b""
        assert file.seek(4) == 4
        buffer = bytearray(3)
        assert file.readinto(buffer) == 3  # type: ignore[attr-defined]  # every binary file has it
        assert buffer == b"456"
        assert file.seek(99) == 99
        assert file.read(1) == b""
        assert file.seekable()


@pytest.mark.parametrize("name", ["memory", "local"])
def test_an_open_file_is_what_it_was_when_another_takes_its_name(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    backend = PLACES[name].make(request, tmp_path)
    backend.write(KEY, b"before")
    with backend.open(KEY) as file:
        backend.write(KEY, b"after!")
        assert file.read() == b"before"


@pytest.mark.parametrize("key", ["packs/none", "packs", "none/none", "packs/0123.zip/below"])
def test_what_is_no_file_is_a_key_error(filled: Filled, key: str) -> None:
    backend = filled({KEY: b"x"})
    for read in (
        lambda: backend.read(key),
        lambda: backend.read(key, 1, 2),
        lambda: backend.read(key, 0, 0),
        lambda: backend.open(key),
    ):
        with pytest.raises(KeyError):
            read()
    assert backend.info(key) is None
    assert backend.read(KEY) == b"x"


@pytest.mark.parametrize("key", ["packs/none", "none/none", "packs/0123.zip/below"])
def test_removing_what_is_no_file_is_no_error(backend: Backend, key: str) -> None:
    backend.write(KEY, b"x")
    backend.remove(key)
    assert backend.read(KEY) == b"x"


@pytest.mark.parametrize(
    "key",
    ["refs/a/@1.0+b", "revisions/ä b%20c", "refs/some/set/@2020-01-01", "a/#b?c=d&e", "a/[b]*"],
)
def test_a_key_may_hold_any_character_that_a_name_has(filled: Filled, key: str) -> None:
    backend = filled({key: b"content"})
    assert backend.read(key) == b"content"
    assert backend.read(key, 1, 2) == b"on"
    info = backend.info(key)
    assert info is not None
    assert (info.key, info.size) == (key, 7)


def test_info_has_size_and_time(filled: Filled) -> None:
    before = time.time()
    info = filled({KEY: b"12345"}).info(KEY)
    assert info is not None
    assert (info.key, info.size) == (KEY, 5)
    assert before - 3 <= info.modified <= time.time() + 3


# --- list ----------------------------------------------------------------------------------------


def test_list_and_children(listed: Filled) -> None:
    backend = listed({key: key.encode() for key in SOME_FILES})
    assert keys(backend.list("refs/a/")) == ["refs/a/@1", "refs/a/b/@1", "refs/a/b/@2"]
    assert keys(backend.list("")) == sorted(SOME_FILES)
    assert set(backend.children("")) - {"site/"} == {"dsa.json", "packs/", "refs/"}
    assert sorted(backend.children("refs/")) == ["a/", "ab/"]
    assert sorted(backend.children("refs/a/")) == ["@1", "b/"]
    sizes = {info.key: info.size for info in backend.list("refs/")}
    assert sizes["refs/a/b/@2"] == len("refs/a/b/@2")


@pytest.mark.parametrize("nothing", ["none/", "refs/none/", "refs/a/@1/", "dsa.json/"])
def test_a_folder_that_is_not_there_is_empty(listed: Filled, nothing: str) -> None:
    backend = listed({key: key.encode() for key in SOME_FILES})
    assert list(backend.list(nothing)) == []
    assert list(backend.children(nothing)) == []


def test_what_is_listed_has_the_infos(listed: Filled) -> None:
    backend = listed({KEY: b"12"})
    assert list(backend.list("packs/")) == [backend.info(KEY)]


def test_what_was_just_written_is_listed(backend: Backend) -> None:
    for number in range(3):
        assert len(list(backend.list("packs/"))) == number
        assert len(list(backend.children("packs/"))) == number
        backend.write(f"packs/{number}", b"x")
    backend.remove("packs/1")
    assert keys(backend.list("")) == ["packs/0", "packs/2"]


def test_files_that_are_being_written_are_not_listed(backend: Backend) -> None:
    path = staged(backend, b"half")
    (path.parent / "folder").mkdir()
    (path.parent / "folder/half").write_bytes(b"half")
    assert list(backend.list("")) == []
    assert list(backend.list("site/")) == []
    backend.publish(path, KEY)
    assert keys(backend.list("")) == [KEY]


def test_a_list_may_be_read_while_files_come_and_go(backend: Backend) -> None:
    for number in range(20):
        backend.write(f"packs/{number}", b"")
    seen = []
    for number, info in enumerate(backend.list("packs/")):
        seen.append(info.key)
        backend.remove(f"packs/{19 - number}")
        backend.write(f"packs/new{number}", b"")
    assert len(seen) == len(set(seen))


# --- create --------------------------------------------------------------------------------------


def test_create_never_changes_what_is_there(backend: Backend, place: Place) -> None:
    if not place.creates:
        pytest.skip("this place does not promise it")
    assert backend.create(KEY, b"first") is True
    assert backend.create(KEY, b"second") is False
    assert backend.create(KEY, b"first") is False
    assert backend.read(KEY) == b"first"
    assert keys(backend.list("")) == [KEY]
    assert backend.create("empty", b"") is True
    assert backend.read("empty") == b""


def test_of_many_creators_one_wins_and_all_see_its_bytes(backend: Backend, place: Place) -> None:
    if not place.claims:
        pytest.skip("this place does not promise it")
    for round_ in range(20):
        key = f"refs/some/set/@{round_}"
        start = threading.Barrier(WRITERS)

        def create(
            number: int, key: str = key, start: threading.Barrier = start
        ) -> tuple[bool, bytes]:
            start.wait()
            won = backend.create(key, str(number).encode() * 10_000)
            return won, backend.read(key)

        with ThreadPoolExecutor(WRITERS) as pool:
            results = list(pool.map(create, range(WRITERS)))
        winners = [number for number, (won, _) in enumerate(results) if won]
        assert len(winners) == 1
        assert {data for _, data in results} == {str(winners[0]).encode() * 10_000}


# --- write, remove -------------------------------------------------------------------------------


def test_write_replaces(backend: Backend) -> None:
    backend.write(KEY, b"longer than the next")
    backend.write(KEY, b"short")
    assert backend.read(KEY) == b"short"
    assert keys(backend.list("")) == [KEY]


def test_readers_see_the_old_or_the_new_never_half(backend: Backend, place: Place) -> None:
    if not place.replaces:
        pytest.skip("this place does not promise it")
    values = [bytes([letter]) * 300_000 for letter in b"ab"]
    backend.write(KEY, values[0])
    end = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not end.is_set():
            seen.add(backend.read(KEY))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for number in range(30):
                backend.write(KEY, values[number % 2])
        finally:
            end.set()
        reader.result()
    assert seen <= set(values)


def test_remove_forgets(backend: Backend) -> None:
    backend.write(KEY, b"x")
    backend.remove(KEY)
    backend.remove(KEY)
    backend.remove("none/none")
    assert backend.info(KEY) is None
    backend.write(KEY, b"again")
    assert backend.read(KEY) == b"again"


# --- publish, send -------------------------------------------------------------------------------


def test_publish_takes_a_file_in(backend: Backend) -> None:
    path = staged(backend, b"content")
    backend.publish(path, KEY)
    assert not path.exists()
    assert backend.read(KEY) == b"content"
    backend.flush()
    backend.flush(also=["packs/", "none/"])


def test_publish_keeps_what_is_there_and_takes_the_staged_file_away(backend: Backend) -> None:
    backend.publish(staged(backend, b"first"), KEY)
    path = staged(backend, b"other")
    backend.publish(path, KEY)
    assert not path.exists()
    assert backend.read(KEY) == b"first"


@pytest.mark.parametrize("there", [b"", b"conte", b"content and more"])
def test_a_file_of_another_size_is_not_taken_for_what_its_name_says(
    backend: Backend, there: bytes
) -> None:
    """It is what an interrupted copy leaves, or a power cut."""
    backend.write(KEY, there)
    path = staged(backend, b"content")
    with pytest.raises(TakenError, match=f"{KEY} .* has {len(there)} bytes of 7"):
        backend.publish(path, KEY)
    assert path.read_bytes() == b"content"  # it may get another name
    with pytest.raises(TakenError):
        backend.send(io.BytesIO(b"content"), KEY, 7, lambda: True)
    assert backend.read(KEY) == there
    backend.publish(path, "packs/another.zip")
    assert backend.read("packs/another.zip") == b"content"
    assert not path.exists()


def test_many_publishers_of_one_name_all_succeed(backend: Backend) -> None:
    paths = [staged(backend, b"same") for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda path: backend.publish(path, KEY), paths))
    assert backend.read(KEY) == b"same"
    assert not any(path.exists() for path in paths)


def test_publishing_what_is_not_there_is_a_designed_error(backend: Backend) -> None:
    path = staged(backend, b"content")
    path.unlink()
    with pytest.raises(DsaError):
        backend.publish(path, KEY)
    assert backend.info(KEY) is None
    backend.publish(staged(backend, b"content"), KEY)
    assert backend.read(KEY) == b"content"


class Stream(io.BytesIO):
    """A source that remembers whether it was read to its end, and can fail."""

    def __init__(self, data: bytes, fails_at: int | None = None) -> None:
        super().__init__(data)
        self.fails_at = fails_at

    def read(self, size: int | None = -1) -> bytes:
        if self.fails_at is not None and self.tell() >= self.fails_at:
            raise ZeroDivisionError("the source is broken")
        return super().read(min(size, 100_000) if size is not None and size >= 0 else size)


def test_a_right_stream_gets_its_name_once_all_of_it_was_read(backend: Backend) -> None:
    data = os.urandom(3_000_000)
    source = Stream(data)
    asked = []

    def is_right() -> bool:
        asked.append((source.tell(), backend.info(KEY)))
        return True

    assert backend.send(source, KEY, len(data), is_right)
    assert backend.read(KEY) == data
    backend.flush()
    if asked:  # not where it had been there already
        assert asked == [(len(data), None)]
    assert keys(backend.list("")) == [KEY]
    assert backend.send(io.BytesIO(b""), "packs/empty", 0, lambda: True)
    assert backend.read("packs/empty") == b""


def test_a_wrong_stream_gets_no_name(backend: Backend) -> None:
    data = os.urandom(300_000)
    assert not backend.send(io.BytesIO(data), KEY, len(data), lambda: False)
    assert not backend.send(io.BytesIO(data), KEY, len(data) + 1, lambda: True)
    assert not backend.send(io.BytesIO(data), KEY, len(data) - 1, lambda: True)
    assert not backend.send(io.BytesIO(b""), KEY, 1, lambda: True)
    assert not backend.send(io.BytesIO(b"x"), KEY, 0, lambda: True)
    assert not backend.send(io.BytesIO(b"x"), KEY, 1, lambda: False)
    assert backend.info(KEY) is None
    assert keys(backend.list("")) == []


@pytest.mark.parametrize("fails_at", [0, 200_000])
def test_what_a_source_raises_comes_out_and_nothing_gets_a_name(
    backend: Backend, fails_at: int
) -> None:
    source = Stream(os.urandom(300_000), fails_at)
    with pytest.raises(ZeroDivisionError):
        backend.send(source, KEY, 300_000, lambda: True)
    assert backend.info(KEY) is None
    assert keys(backend.list("")) == []

    def fails() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backend.send(io.BytesIO(b"x"), KEY, 1, fails)
    assert backend.info(KEY) is None


def test_what_is_there_is_kept_when_it_is_sent_again(backend: Backend) -> None:
    backend.write(KEY, b"first")
    assert backend.send(io.BytesIO(b"first"), KEY, 5, lambda: True)
    assert backend.read(KEY) == b"first"


# --- staging -------------------------------------------------------------------------------------


def test_a_staging_folder_is_ones_own_and_goes_at_the_end(backend: Backend) -> None:
    with backend.staging() as one, backend.staging() as other:
        assert one != other
        (one / "left").write_bytes(b"x")
        (one / "folder").mkdir()
        backend.publish(one / "left", KEY)
        (one / "folder/left").write_bytes(b"x")
        assert other.is_dir()
    assert not one.exists()
    assert not other.exists()
    with pytest.raises(ZeroDivisionError), backend.staging() as folder:
        1 / 0  # noqa: B018  # what the caller raises comes out as it is
    assert not folder.exists()


# --- threads and processes -----------------------------------------------------------------------


def test_eight_threads_write_and_read_at_once(backend: Backend) -> None:
    def work(number: int) -> None:
        data = f"{number}".encode() * 50_000
        backend.publish(staged(backend, data), f"packs/{number}")
        assert backend.send(io.BytesIO(data), f"objects/{number}", len(data), lambda: True)
        backend.write(f"refs/a/@{number}", data)
        backend.write("site/same", b"same")
        assert backend.read(f"packs/{number}") == data
        assert backend.read(f"objects/{number}", 7, 11) == data[7:18]
        with backend.open(f"refs/a/@{number}") as file:
            assert file.read() == data
        assert f"packs/{number}" in keys(backend.list("packs/"))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(work, range(WRITERS)))
    assert len(keys(backend.list(""))) == 3 * WRITERS + 1


def test_eight_threads_read_at_once(filled: Filled) -> None:
    files = {f"packs/{number}": os.urandom(200_000) for number in range(WRITERS)}
    backend = filled(files)

    def read(key: str) -> bool:
        return all(
            backend.read(key) == files[key] and backend.read(key, 5, 9) == files[key][5:14]
            for _ in range(3)
        )

    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(read, [*files, *files]))


def test_it_may_be_sent_to_another_process(backend: Backend, place: Place) -> None:
    if not place.pickles:
        pytest.skip("this place is in this process alone")
    backend.write(KEY, b"x")
    sent = pickle.loads(pickle.dumps(backend))
    assert type(sent) is type(backend)
    assert sent.url == backend.url
    assert sent.jobs == backend.jobs
    assert sent.read(KEY) == b"x"
    sent.write("packs/other", b"y")
    sent.flush()
    assert backend.read("packs/other") == b"y"


def test_it_is_found_again_by_its_url(backend: Backend, place: Place) -> None:
    if not place.pickles:
        pytest.skip("this place is in this process alone")
    backend.write(KEY, b"x")
    options: Any = getattr(backend, "_options", None)
    found = connect(backend.url, options.values if options else None)
    assert type(found) is type(backend)
    assert found.read(KEY) == b"x"


def test_only_local_files_have_a_path(filled: Filled) -> None:
    backend = filled({KEY: b"x"})
    path = backend.local_path(KEY)
    assert path is None or path.read_bytes() == b"x"


# --- what cannot be written to -------------------------------------------------------------------


def test_writing_where_nothing_can_be_written_is_an_access_error(read_only: Backend) -> None:
    for write in (
        lambda: read_only.create("new", b"x"),
        lambda: read_only.write(KEY, b"x"),
        lambda: read_only.send(io.BytesIO(b"x"), "new", 1, lambda: True),
        lambda: read_only.publish(staged(read_only, b"x"), "new"),
        lambda: read_only.remove(KEY),
    ):
        with pytest.raises(AccessError) as caught:
            write()
        assert "\n" not in str(caught.value)
        assert read_only.url in str(caught.value)
    assert read_only.read(KEY) == b"there"
    assert read_only.info("new") is None
