"""How often a far store is asked: numbers of requests, which no machine makes slower."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from folders import Folder, Leaf, info_of, publish, put_index, put_part, rows_of, sum_of
from hypothesis import given, settings
from hypothesis import strategies as st

from dsa.cas import far, layout, listing, listings
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.far import TAIL_BYTES, Sparse
from dsa.cas.ids import BlobId, ObjectId, TreeId
from dsa.cas.index import IndexProblem
from dsa.cas.kept import INDEX, PARTS, PROVEN, SMALL, Kept
from dsa.cas.locations import LocationRows
from dsa.cas.manifest import Manifest
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published
from dsa.cas.storefile import make_store
from dsa.cas.trees import FILE, FOLDER
from dsa.errors import DamageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.verbs.checkout import Wish, checkout
from dsa.verbs.push import Order, push
from dsa.verbs.sources import Sources

SMALL_FOLDER: Folder = {"a": {"f": Leaf(b"1")}, "b": {"x": Leaf(b"xyz")}, "c": Leaf(b"")}


class FarBackend(MemoryBackend):
    """A place that counts what it is asked, and how many bytes it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.keys: list[str] = []
        self.read_keys: list[str] = []
        self.bytes = 0
        self.with_md5 = True

    @property
    def jobs(self) -> int:
        return 4

    def asked(self) -> Counter[str]:
        """Return what was asked since this was called last."""
        calls, self.calls, self.keys, self.bytes = self.calls, Counter(), [], 0
        self.read_keys = []
        return calls

    def _count(self, method: str, key: str) -> None:
        self.calls[method] += 1
        self.keys.append(key)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self._count("read", key)
        self.read_keys.append(key)
        data = super().read(key, start, length)
        self.bytes += len(data)
        return data

    def tail(self, key: str, length: int) -> tuple[bytes, int]:
        self._count("read", key)
        self.read_keys.append(key)
        data = super().read(key)
        self.bytes += min(length, len(data))
        return data[-length:], len(data)

    def info(self, key: str) -> FileInfo | None:
        self._count("info", key)
        return super().info(key)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        self._count("list", prefix)
        for info in super().list(prefix):
            digest = md5(self.files[info.key][0]).digest()
            yield FileInfo(
                info.key, info.size, info.modified, md5=digest if self.with_md5 else None
            )

    def children(self, prefix: str) -> Iterator[str]:
        self._count("list", prefix)
        return super().children(prefix)

    def create(self, key: str, data: bytes) -> bool:
        self._count("write", key)
        return super().create(key, data)

    def write(self, key: str, data: bytes) -> None:
        self._count("write", key)
        super().write(key, data)


@pytest.fixture
def backend() -> FarBackend:
    backend = FarBackend()
    make_store(backend)
    return backend


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def published(backend: Backend, *revisions: str, folder: Folder = SMALL_FOLDER) -> list[Published]:
    made = [publish(backend, folder, revision=revision) for revision in revisions]
    if isinstance(backend, FarBackend):
        backend.asked()
    return made


def put_wide(backend: FarBackend, folders: int) -> Published:
    """Publish that many folders of 1,000 files each; of the objects only what describes them is there."""
    names = [f"d{number:03d}" for number in range(folders)]
    files = 1000 * folders
    rows = files + folders
    columns = {
        "folder": pa.array([""] * folders + [name for name in names for _ in range(1000)]),
        "name": pa.array(names + [f"{number % 1000:03d}" for number in range(files)]),
        "mode": pa.array([FOLDER] * folders + [FILE] * files, pa.uint32()),
        "size": pa.array([4] * rows, pa.int64()),
        "files": pa.nulls(rows, pa.int64()),
        "sha1": listing.fixed(os.urandom(20 * rows), 20),
        "sha256": listing.fixed(os.urandom(32 * rows), 32),
        "pack": pa.nulls(rows, pa.binary(20)),
        "offset": pa.nulls(rows, pa.int64()),
    }
    columns["folder"] = columns["folder"].dictionary_encode()
    sealed = listing.seal(pa.table(columns).select(listing.SCHEMA.names).cast(listing.SCHEMA))
    root = sealed.root
    info = info_of(root)
    text = info.encode()
    manifest = Manifest(TreeId(ObjectId(root.tree)), BlobId(ObjectId.of(text)))
    made = Published("ds", "1", manifest.id, manifest, info, text)
    put_index(backend, made, sealed)
    backend.create(layout.ref_key("ds", "1"), Ref(manifest.id).encode())
    backend.asked()
    return made


# --- names ---------------------------------------------------------------------------------------


def test_names_are_told_by_one_listing_however_many_there_are(backend: FarBackend) -> None:
    published(backend, *map(str, range(30)))
    found = ObjectStore(backend).revisions
    backend.asked()
    for ask in (
        lambda: found.names("ds"),
        lambda: found.taken("ds"),
        lambda: list(found.datasets()),
        found.by_dataset,
        lambda: found.resolve("ds"),
    ):
        ask()
        assert backend.asked() == {"list": 1}


def test_only_a_ref_of_another_size_is_read(
    backend: FarBackend, caplog: pytest.LogCaptureFixture
) -> None:
    made = published(backend, "1", "2", "3")
    backend.write(layout.ref_key("ds", "2"), Ref(made[1].id, is_withdrawn=True).encode())
    backend.write(layout.ref_key("ds", "4"), b"garbage")
    found = ObjectStore(backend).revisions
    backend.asked()
    assert found.names("ds") == ["3", "1"]
    assert backend.asked() == {"list": 1, "read": 2}
    assert layout.ref_key("ds", "4") in caplog.text
    assert found.by_dataset() == {"ds": ["3", "1"]}
    assert found.taken("ds") == ["1", "2", "3", "4"]


# --- one revision --------------------------------------------------------------------------------


def test_a_ref_and_the_end_of_the_index_are_all_that_show_and_ls_need(
    backend: FarBackend, cache: Path
) -> None:
    (made,) = published(backend, "1")
    store = ObjectStore(backend, cache)
    assert backend.asked() == {"read": 1}  # dsa.json
    got = store.revisions.get(*store.revisions.resolve("ds@1"))
    assert got == made
    assert backend.keys == [layout.ref_key("ds", "1"), layout.index_key(made.id)]
    backend.asked()
    assert store.indexes.folder(got, "b")["name"].to_pylist() == ["x"]
    assert store.indexes.listing(got).root == sum_of(SMALL_FOLDER)
    assert not backend.asked()


def test_the_second_time_only_the_ref_is_asked_for(backend: FarBackend, cache: Path) -> None:
    published(backend, "1")
    for expected in ({"read": 3}, {"read": 2}, {"read": 2}):
        store = ObjectStore(backend, cache)
        got = store.revisions.get(*store.revisions.resolve("ds@1"))
        store.indexes.folder(got, "b")
        store.indexes.listing(got)
        assert backend.asked() == expected


def test_without_a_cache_folder_it_works_all_the_same(backend: FarBackend, tmp_path: Path) -> None:
    (made,) = published(backend, "1")
    (tmp_path / "file").write_text("x")
    for cache in (None, tmp_path / "file/cache"):
        store = ObjectStore(backend, cache)
        backend.asked()
        got = store.revisions.get(*store.revisions.resolve("ds"))
        assert got == made
        assert store.indexes.listing(got).root == sum_of(SMALL_FOLDER)
        assert backend.asked() == {"list": 1, "read": 2}
        assert len(list(store.objects.locations.parts())) == 1
        assert backend.asked() == {"list": 2, "read": 1}  # site/damaged/ and locations/


def test_one_folder_of_many_takes_its_row_groups_and_not_the_whole_index(
    backend: FarBackend, cache: Path
) -> None:
    made = put_wide(backend, 60)
    size = len(backend.files[layout.index_key(made.id)][0])
    assert size > 2 * 1024 * 1024
    store = ObjectStore(backend, cache)
    got = store.revisions.get("ds", "1")
    assert backend.asked() == {"read": 3}  # dsa.json, the ref, the index's end
    assert len(store.indexes.folder(got, "d050")) == 1000
    assert backend.bytes < size / 2
    assert backend.asked()["read"] <= 3  # the group of the root, those of the folder
    assert len(store.indexes.folder(got, "d050")) == 1000
    assert not backend.asked()
    assert len(store.indexes.listing(got).table) == 60_060
    assert backend.asked()["read"] <= 4  # what is missing between the pieces
    again = ObjectStore(backend, cache)
    backend.asked()
    assert len(again.indexes.listing(again.revisions.get("ds", "1")).table) == 60_060
    assert backend.asked() == {"read": 1}


def test_a_large_index_that_lies_is_found_by_the_folder_that_it_lies_about(
    backend: FarBackend, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = put_wide(backend, 50)
    key = layout.index_key(made.id)
    data = bytearray(backend.files[key][0])
    at = len(data) // 2
    for place in range(at, at + 200_000, 50):
        data[place] ^= 1
    backend.write(key, bytes(data))
    store = ObjectStore(backend, cache)
    got = store.revisions.get("ds", "1")
    assert len(store.indexes.folder(got, "d000")) == 1000
    with pytest.raises(DamageError):  # the trees are not there either, in this test
        store.indexes.folder(got, "d025")
    assert "not used" in caplog.text


def test_an_index_without_its_revision_json_is_no_obstacle(backend: FarBackend) -> None:
    folder = {"f": Leaf(b"x")}
    made = publish(backend, folder, message="m" * 70_000)
    store = ObjectStore(backend)
    backend.asked()
    assert store.revisions.get("ds", "1") == made
    assert backend.asked() == {"read": 4}  # the ref, the index's end, the manifest, revision.json


# --- whole verbs ---------------------------------------------------------------------------------


def test_verbs_ask_a_far_store_a_few_times_however_many_files_there_are(
    backend: FarBackend, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    for number in range(300):
        path = folder / f"d{number % 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))

    def pushed(revision: str) -> bool:
        store = ObjectStore(backend, cache)
        order = Order("ds", revision, folder, author="A <a@b>")
        return push(order, lambda: store, lambda: store, backend.url).is_new

    def checked_out(*, dry_run: bool) -> int:
        sources = Sources.of(ObjectStore(backend, cache), "ds")
        return checkout(sources, tmp_path / "copy", Wish(dry_run=dry_run)).written

    assert pushed("1")
    first = backend.asked()
    assert first.total() <= 45
    (folder / "new").write_text("new")
    assert pushed("2")
    # Nothing of the first revision is fetched again by the one who pushed it.
    assert all(not key.startswith((layout.INDEX, layout.OBJECTS)) for key in backend.read_keys)
    assert backend.asked().total() <= 40
    assert not pushed("2")
    assert backend.asked() == {"read": 3, "list": 1}  # dsa.json, the ref, listing/; site/damaged/
    assert checked_out(dry_run=True) == 301
    assert backend.asked() == {"read": 2, "list": 1}  # dsa.json, the names, the ref
    assert checked_out(dry_run=False) == 301
    assert backend.asked().total() <= 8


# --- what is kept --------------------------------------------------------------------------------


def test_a_part_is_fetched_once(backend: FarBackend, cache: Path) -> None:
    published(backend, "1")
    for number in range(6):
        rows = LocationRows()
        rows.add(bytes([number]) * 20, 1, bytes(32), None, None)
        put_part(backend, rows.table())
    store = ObjectStore(backend, cache)
    backend.asked()
    assert len(list(store.objects.locations.parts())) == 7
    assert backend.asked() == {"list": 2, "read": 7}
    store.refresh()  # in this process nothing is read again, not even from the cache
    for path in (cache / PARTS).iterdir():
        path.unlink()
    assert len(list(store.objects.locations.parts())) == 7
    assert backend.asked() == {"list": 2}
    rows = LocationRows()
    rows.add(b"9" * 20, 1, bytes(32), None, None)
    put_part(backend, rows.table())
    again = ObjectStore(backend, cache)
    backend.asked()
    assert len(list(again.objects.locations.parts())) == 8
    assert backend.asked() == {"list": 2, "read": 8}
    again = ObjectStore(backend, cache)
    backend.asked()
    assert len(list(again.objects.locations.parts())) == 8
    assert backend.asked() == {"list": 2}


def test_a_part_that_is_listed_no_more_is_no_more_believed(
    backend: FarBackend, cache: Path
) -> None:
    rows = LocationRows()
    rows.add(b"9" * 20, 1, bytes(32), None, None)
    oid = put_part(backend, rows.table())
    store = ObjectStore(backend, cache)
    assert store.objects.locations.of(ObjectId(b"9" * 20)) == [(None, None, 1)]
    backend.remove(layout.locations_key(oid))
    store.refresh()
    assert store.objects.locations.of(ObjectId(b"9" * 20)) == []


@pytest.mark.parametrize("spoil", ["flipped", "cut", "empty", "a folder"])
def test_what_is_damaged_in_the_cache_is_thrown_away_and_fetched_anew(
    backend: FarBackend, cache: Path, spoil: str
) -> None:
    (made,) = published(backend, "1")

    def look() -> None:
        store = ObjectStore(backend, cache)
        assert store.revisions.get("ds", "1") == made
        assert store.indexes.listing(made).table.to_pylist() == rows_of(SMALL_FOLDER)
        assert store.indexes.folder(made, "b")["name"].to_pylist() == ["x"]
        assert len(list(store.objects.locations.parts())) == 1

    look()
    before = {path: path.read_bytes() for path in files(cache)}
    assert len(before) == 4  # the index, its part, a manifest, a revision.json
    for path, data in before.items():
        path.unlink()
        at = len(data) // 2
        if spoil == "a folder":
            path.mkdir()
        else:
            bad = {
                "flipped": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
                "cut": data[:-9],
            }
            path.write_bytes(bad.get(spoil, b""))
    look()
    if spoil != "a folder":
        assert {path: path.read_bytes() for path in files(cache)} == before


def test_a_folder_is_read_from_a_damaged_copy_no_more(backend: FarBackend, cache: Path) -> None:
    (made,) = published(backend, "1")
    ObjectStore(backend, cache).indexes.listing(made)
    (copy,) = (cache / INDEX).iterdir()
    data = bytearray(copy.read_bytes())
    data[20] ^= 255
    copy.write_bytes(data)
    store = ObjectStore(backend, cache)
    assert store.indexes.folder(made, "b")["name"].to_pylist() == ["x"]
    assert copy.read_bytes() == backend.files[layout.index_key(made.id)][0]


def test_another_place_with_the_same_revision_has_an_index_of_its_own(cache: Path) -> None:
    for _ in range(2):
        backend = FarBackend()
        make_store(backend)
        (made,) = published(backend, "1")
        ObjectStore(backend, cache).indexes.listing(made)
    assert len(list((cache / INDEX).iterdir())) == 2


def test_of_a_near_store_nothing_is_kept(tmp_path: Path, cache: Path) -> None:
    backend = LocalBackend(tmp_path / "store")
    make_store(backend)
    (made,) = published(backend, "1")
    store = ObjectStore(backend, cache)
    assert store.revisions.get(*store.revisions.resolve("ds")) == made
    store.indexes.listing(made)
    store.indexes.folder(made, "b")
    assert len(list(store.objects.locations.parts())) == 1
    assert files(cache) == []


def test_what_was_not_used_for_longest_goes_when_there_is_too_much(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=1000)
    for number in range(9):
        kept.write(f"{SMALL}{number}", bytes(100))
        os.utime(tmp_path / SMALL / str(number), (number, number))
    (tmp_path / "other").write_bytes(bytes(5000))  # somebody else's
    assert kept.read(f"{SMALL}0") == bytes(100)  # used: the newest now
    kept.write(f"{PARTS}x", bytes(300))
    left = {path.name for path in files(tmp_path)}
    assert left == {"other", "x", "0", "4", "5", "6", "7", "8"}
    kept.write(f"{PARTS}too large", bytes(1001))
    assert kept.read(f"{PARTS}too large") is None
    assert kept.read(f"{PARTS}x") == bytes(300)


def test_verdicts_of_indexes_that_nobody_asked_for_go_in_the_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path, limit=10 * 4096)
    for number in range(50):
        kept.write(f"{PROVEN}{number}", b"")
        os.utime(tmp_path / PROVEN / str(number), (number, number))
        if number:
            assert kept.path(f"{PROVEN}0") is not None  # the one that is asked for
    left = {path.name for path in (tmp_path / PROVEN).iterdir()}
    assert len(left) <= 10
    assert {"0", "49"} <= left


def test_a_push_keeps_what_it_wrote_so_that_the_next_one_fetches_nothing(
    backend: FarBackend, cache: Path
) -> None:
    (made,) = published(backend, "1")
    data = backend.files[layout.index_key(made.id)][0]
    store = ObjectStore(backend, cache)
    store.indexes.trust(data, made)
    backend.asked()
    store.refresh()
    got = store.revisions.get("ds", "1")
    assert store.indexes.listing(got).root == sum_of(SMALL_FOLDER)
    assert backend.asked() == {"read": 1}


# --- an index in pieces --------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=60)
def test_a_file_in_pieces_is_the_file_and_nothing_is_fetched_twice(data: st.DataObject) -> None:
    whole = data.draw(st.binary(min_size=1, max_size=60))
    end = data.draw(st.integers(0, len(whole)))
    fetched = [0] * len(whole)

    def read(start: int, length: int) -> bytes:
        for at in range(start, start + length):
            fetched[at] += 1
        return whole[start : start + length]

    sparse = Sparse(read, whole[end:], len(whole))
    for _ in range(data.draw(st.integers(0, 6))):
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        sparse.need(start, stop)
        assert sparse.buffer.slice(start, stop - start).to_pybytes() == whole[start:stop]
    sparse.need(0, len(whole))
    assert sparse.buffer.to_pybytes() == whole
    assert fetched == [1] * end + [0] * (len(whole) - end)


def test_a_file_that_ends_early_or_claims_too_much_is_a_problem() -> None:
    with pytest.raises(IndexProblem):
        Sparse(lambda start, length: b"", b"x", 10).need(0, 5)
    with pytest.raises(IndexProblem):
        Sparse(lambda start, length: b"", b"xyz", 2)
    with pytest.raises(IndexProblem):
        Sparse(lambda start, length: b"", b"", 1 << 60)


def test_a_place_without_ends_of_files_is_asked_for_the_size_first() -> None:
    backend = MemoryBackend()
    backend.create("index/x", b"0123456789")
    assert far.tail(backend, "index/x", 3) == (b"789", 10)
    assert far.tail(backend, "index/x", TAIL_BYTES) == (b"0123456789", 10)
    with pytest.raises(KeyError):
        far.tail(backend, "index/none", 3)


# --- listing/ ------------------------------------------------------------------------------------


def lines(backend: MemoryBackend, key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in backend.files[key][0].decode().splitlines()]


@pytest.mark.parametrize("with_md5", [True, False])
def test_renewing_the_listings_reads_only_refs_that_are_new(
    backend: FarBackend, with_md5: bool
) -> None:
    backend.with_md5 = with_md5
    made = published(backend, *map(str, range(20)))
    listings.renew(backend, "ds")
    first = backend.asked()
    assert first["read"] == 3 + 20
    (new,) = published(backend, "20")
    listings.renew(backend, "ds")
    # The listings, the new ref; refs/ and locations/ before and after; what differs.
    assert backend.asked() == {"read": 4, "list": 4, "write": 1}
    listings.renew(backend, "ds")
    assert backend.asked() == {"read": 3, "list": 2}
    backend.write(layout.ref_key("ds", "3"), Ref(made[3].id, is_withdrawn=True).encode())
    backend.asked()
    listings.renew(backend, "ds")
    assert backend.asked() == {"read": 4, "list": 4, "write": 1}
    found = {line["revision"]: line["ref"] for line in lines(backend, listings.revisions_key("ds"))}
    assert found["3"] == f"withdrawn {made[3].id}\n"
    assert found["20"] == f"{new.id}\n"
    assert len(found) == 21


def test_a_listing_that_is_wrong_is_put_right(backend: FarBackend) -> None:
    (made,) = published(backend, "1")
    key = listings.revisions_key("ds")
    good = json.dumps({"ref": f"{made.id}\n", "revision": "1"}) + "\n"
    for bad in (
        b"garbage",
        b"",
        (good + json.dumps({"ref": "x", "revision": "gone"}) + "\n").encode(),
        json.dumps({"ref": "f" * 40 + "\n", "revision": "1"}).encode(),
        json.dumps({"ref": "short", "revision": "1"}).encode(),
        b'{"revision": "1", "ref": 5}\n',
    ):
        backend.write(key, bad)
        listings.renew(backend, "ds")
        assert backend.files[key][0].decode() == good
    assert lines(backend, listings.DATASETS) == [{"dataset": "ds"}]
    (part,) = lines(backend, listings.LOCATIONS)
    assert part["size"] == len(backend.files[f"locations/{part['part']}"][0])


def test_what_another_push_lists_meanwhile_is_not_lost(backend: FarBackend) -> None:
    published(backend, "1")
    other = publish(MemoryBackend(), {}, dataset="other")

    def write(key: str, data: bytes) -> None:
        # Just before this push writes what it saw, another one publishes.
        backend.create(layout.ref_key("other", "1"), Ref(other.id).encode())
        FarBackend.write(backend, key, data)

    backend.write = write  # type: ignore[method-assign]  # once is enough
    listings.renew(backend, "ds")
    assert lines(backend, listings.DATASETS) == [{"dataset": "ds"}, {"dataset": "other"}]


def test_several_datasets_are_listed_in_one_go(backend: FarBackend) -> None:
    for dataset in ("a", "b", "a/c"):
        publish(backend, SMALL_FOLDER, dataset=dataset)
    backend.asked()
    listings.renew(backend, "a", "b", "a/c")
    assert backend.asked() == {"read": 5 + 3, "list": 4, "write": 5}
    assert [line["dataset"] for line in lines(backend, listings.DATASETS)] == ["a", "a/c", "b"]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (b'{"dataset": "a/b"}\n{"dataset": "a"}\n', ["a", "a/b"]),
        (b'{"dataset": "../x"}\n{"dataset": 5}\n{"else": 1}\n{"dataset": "con"}\n', []),
        (b'{"dataset": "a", "dataset": "b"}\n', None),
        (b"<html>\n", None),
        (b"[1]\n", None),
        (b'{"dataset": "\xff"}\n', None),
    ],
)
def test_a_listing_is_checked_before_it_is_believed(data: bytes, found: list[str] | None) -> None:
    if found is None:
        with pytest.raises(DamageError, match="the place is no listing: line 1"):
            listings.parse_datasets("the place", data)
    else:
        assert listings.parse_datasets("the place", data) == found


def test_hostile_refs_and_parts_are_passed_by(caplog: pytest.LogCaptureFixture) -> None:
    name = f"{ObjectId.of(b'x')}.parquet"
    parts = [{"part": name, "size": 5}, {"part": f"../{name}", "size": 5}]
    parts += [{"part": name.replace("1", "2"), "size": size} for size in (-1, True, "5", 2**63)]
    data = "".join(json.dumps(part) + "\n" for part in parts).encode()
    assert listings.parse_parts("here", data) == [(f"locations/{name}", 5)]
    assert "../" in caplog.text
    refs = [{"revision": "1", "ref": "x" * 1000}, {"revision": "../x", "ref": ""}]
    data = "".join(json.dumps(ref) + "\n" for ref in refs).encode()
    assert listings.parse_revisions("here", data) == {"1": "x" * 52}
    with pytest.raises(DamageError, match="too large"):
        listings.parse_parts("here", bytes(listings.MAX_BYTES + 1))


def files(folder: Path) -> list[Path]:
    """Return the files that are kept, verdicts aside."""
    found = folder.rglob("*") if folder.exists() else iter(())
    return sorted(path for path in found if path.is_file() and path.parent.name != "proven")
