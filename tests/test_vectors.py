"""The format's test vectors: every version of dsa reads the good ones and refuses the bad ones.

`vectors/make.py` made them, without dsa. A bad file is named after the one rule that it breaks.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dsa
from dsa.cas import layout, packs, site, trees
from dsa.cas.history import LogState
from dsa.cas.ids import ObjectId
from dsa.cas.index import IndexProblem, open_index, prove, prove_folder, write_index
from dsa.cas.listing import Listing
from dsa.cas.locations import read_part
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.names import check_dataset, check_revision, leaves_tree
from dsa.cas.refs import Ref
from dsa.cas.storefile import StoreFile
from dsa.errors import DamageError, DsaError, UsageError
from dsa.remotes.local import LocalBackend

VECTORS = Path(__file__).parent / "vectors"
STORE: dict[str, Any] = json.loads((VECTORS / "store.json").read_text(encoding="utf-8"))
NAMES: dict[str, Any] = json.loads((VECTORS / "names.json").read_text(encoding="utf-8"))

#: So many vectors there were when this was written: one that is gone would pass in silence.
LEAST = {
    "trees": (6, 50),
    "manifests": (1, 11),
    "revisions": (4, 60),
    "packs": (3, 43),
    "locations": (3, 25),
    "index": (5, 67),
    "refs": (2, 25),
    "log": (2, 33),
    "stores": (3, 32),
    "damaged": (2, 32),
}


def vectors(kind: str, quality: str) -> list[Any]:
    return [
        pytest.param(path, id=f"{kind}-{path.stem}")
        for path in sorted((VECTORS / kind / quality).iterdir())
    ]


def every(quality: str, *kinds: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for every good or bad file of these kinds."""
    found = [param for kind in kinds for param in vectors(kind, quality)]
    return pytest.mark.parametrize("path", found)


def expected(path: Path) -> Any:
    return json.loads((path.parents[1] / "good.json").read_text(encoding="utf-8"))[path.stem]


def alone(folder: Path, key: str, data: bytes) -> LocalBackend:
    """Return a store of one file."""
    backend = LocalBackend(folder)
    backend.create(key, data)
    return backend


def one_line(error: BaseException) -> bool:
    return bool(str(error)) and "\n" not in str(error)


@pytest.mark.parametrize("kind", LEAST)
def test_no_vector_is_lost(kind: str) -> None:
    counts = tuple(len(list((VECTORS / kind / quality).iterdir())) for quality in ("good", "bad"))
    assert counts >= LEAST[kind]
    assert counts[1] >= LEAST[kind][1]


# --- trees, manifests, revision.json, refs, log entries -------------------------------------------


@every("good", "trees")
def test_a_good_tree_is_read_and_written_back(path: Path) -> None:
    data = path.read_bytes()
    entries = trees.decode_tree(data)
    assert [[f"{entry.mode:o}", entry.name, str(entry.id)] for entry in entries] == expected(path)
    assert trees.encode_tree(reversed(entries)) == data
    assert trees.tree_id(data.partition(b"\0")[2]) == ObjectId.of(data)


@every("good", "manifests")
def test_a_good_manifest_is_read_and_written_back(path: Path) -> None:
    made = Manifest.decode(path.read_bytes())
    assert {"data": str(made.data), "revision.json": str(made.revision)} == expected(path)
    assert made.encode() == path.read_bytes()


@every("good", "revisions")
def test_a_good_revision_json_is_read_with_all_it_says(path: Path) -> None:
    data = path.read_bytes()
    info = RevisionInfo.decode(data)
    assert info.as_json() == expected(path)
    if path.stem != "compact":
        assert info.encode() == data


@every("good", "refs")
def test_a_good_ref_is_read_and_written_back(path: Path) -> None:
    ref = Ref.decode(path.read_bytes())
    assert {"manifest": str(ref.manifest), "withdrawn": ref.is_withdrawn} == expected(path)
    assert ref.encode() == path.read_bytes()


@every("good", "log")
def test_a_good_log_entry_is_read_and_written_back(path: Path) -> None:
    entry, value = LogState.decode(path.read_bytes()), expected(path)
    assert entry.encode() == path.read_bytes()
    assert [entry.uuid, entry.author, entry.created, entry.previous and str(entry.previous)] == [
        value[key] for key in ("uuid", "author", "created", "previous")
    ]
    assert entry.state == {"metadata": value["metadata"], "tags": value["tags"]}


DECODERS: dict[str, Callable[[bytes], object]] = {
    "trees": trees.decode_tree,
    "manifests": Manifest.decode,
    "revisions": RevisionInfo.decode,
    "refs": Ref.decode,
    "log": LogState.decode,
}


@every("bad", *DECODERS)
def test_a_bad_file_is_refused_in_one_line(path: Path) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        DECODERS[path.parents[1].name](path.read_bytes())
    assert one_line(caught.value)


# --- packs ----------------------------------------------------------------------------------------


def read_pack(data: bytes) -> list[packs.PackEntry]:
    """Read a pack as `verify` does: its directory, and every local header."""

    def read(start: int, length: int) -> bytes:
        assert length <= len(data)  # nothing is allocated on the word of a header
        return data[start : start + length]

    entries = list(packs.read_directory(read, len(data)))
    for entry in entries:
        start = entry.offset - packs.HEADER_BYTES
        packs.check_header(data[start : entry.offset], entry)
    return entries


@every("good", "packs")
def test_a_good_pack_is_read_and_written_back(path: Path) -> None:
    data = path.read_bytes()
    entries = read_pack(data)
    assert [[str(entry.id), entry.offset, entry.size] for entry in entries] == expected(path)
    contents = [data[entry.offset : entry.offset + entry.size] for entry in entries]
    assert [ObjectId.of(content) for content in contents] == [entry.id for entry in entries]
    again = bytearray()
    for entry, content in zip(entries, contents, strict=True):
        header = bytearray(packs.HEADER_BYTES)
        packs.write_header(header, 0, entry.id.raw, entry.size, entry.crc)
        again += header + content
    ids = b"".join(entry.id.raw for entry in entries)
    sizes, crcs = (array("I", [getattr(e, what) for e in entries]) for what in ("size", "crc"))
    assert bytes(again) + packs.directory_bytes(packs.directory_of(ids, sizes, crcs)) == data


@every("bad", "packs")
def test_a_bad_pack_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_pack(path.read_bytes())


# --- locations ------------------------------------------------------------------------------------


def read_locations(folder: Path, data: bytes, name: ObjectId | None = None) -> list[dict[str, Any]]:
    key = layout.locations_key(name or ObjectId.of(data))
    rows: list[dict[str, Any]] = read_part(alone(folder, key, data), key).to_pylist()
    return rows


@every("good", "locations")
def test_a_good_part_of_the_locations_is_read(path: Path, tmp_path: Path) -> None:
    rows = read_locations(tmp_path, path.read_bytes())
    shown = [{k: v.hex() if isinstance(v, bytes) else v for k, v in row.items()} for row in rows]
    assert shown == expected(path)


@every("bad", "locations")
def test_a_bad_part_of_the_locations_is_damage(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DamageError) as caught:
        read_locations(tmp_path, path.read_bytes())
    assert one_line(caught.value)


@every("good", "locations")
def test_a_part_that_is_not_what_its_name_says_is_damage(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DamageError, match="not what its name says"):
        read_locations(tmp_path, path.read_bytes(), ObjectId(bytes(20)))


# --- the index ------------------------------------------------------------------------------------

REVISION_JSON = (VECTORS / "index" / "revision.json").read_bytes()
MANIFEST = Manifest.decode((VECTORS / "index" / "manifest.tree").read_bytes())
INFO = RevisionInfo.decode(REVISION_JSON)


def prove_index(path: Path) -> Listing:
    return prove(open_index(path, path.stat().st_size), MANIFEST, INFO)


def walk_index(path: Path) -> int:
    """Read an index as `ls` does, one folder after the other; return the number of rows."""
    opened = open_index(path, path.stat().st_size)
    if opened.data != MANIFEST.data:
        raise IndexProblem("it belongs to other data")
    rows = 0
    below = [("", MANIFEST.data.raw, INFO.sha256.raw)]
    while below:
        folder, tree, check = below.pop()
        for row in prove_folder(opened.folder(folder), tree, check).to_pylist():
            rows += 1
            if row["mode"] == trees.FOLDER:
                below.append((f"{folder}/{row['name']}".lstrip("/"), row["sha1"], row["sha256"]))
    return rows


def test_the_manifest_of_the_index_vectors_is_whole() -> None:
    assert MANIFEST.revision == ObjectId.of(REVISION_JSON)


@every("good", "index")
def test_a_good_index_proves_itself(path: Path) -> None:
    sealed = prove_index(path)
    assert sealed.root.tree == MANIFEST.data.raw
    assert len(sealed.table) == INFO.files + INFO.folders
    assert walk_index(path) == len(sealed.table)


@every("good", "index")
def test_what_dsa_writes_of_a_good_index_holds_the_same_rows(path: Path, tmp_path: Path) -> None:
    sealed = prove_index(path)
    write_index(tmp_path / "again", sealed, MANIFEST, REVISION_JSON)
    again = open_index(tmp_path / "again", (tmp_path / "again").stat().st_size)
    assert again.manifest() == MANIFEST.id
    assert again.read().to_pylist() == sealed.table.to_pylist()


@every("bad", "index")
def test_a_bad_index_is_a_problem(path: Path) -> None:
    with pytest.raises(IndexProblem) as caught:
        prove_index(path)
    assert one_line(caught.value)


@every("bad", "index")
def test_a_bad_index_gives_nothing_else_than_the_manifests_rows_folder_by_folder(
    path: Path,
) -> None:
    if path.stem in ONLY_SEEN_AS_A_WHOLE:
        assert walk_index(path) == INFO.files + INFO.folders  # each of them proven
        return
    with pytest.raises(IndexProblem) as caught:
        walk_index(path)
    assert one_line(caught.value)


#: The order of folders, rows of folders that nobody comes to who starts at the manifest, and the
#: number of files below a folder, which its digests do not hold.
ONLY_SEEN_AS_A_WHOLE = {
    "folder-files-lies",
    "folders-out-of-order",
    "row-more",
}


BOMBS = sorted((VECTORS / "index" / "bad").glob("bomb-*"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in BOMBS])
def test_a_small_index_never_takes_much_memory(path: Path) -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; import pyarrow, pathlib, test_vectors as t\n"
        "for read in (t.prove_index, t.walk_index):\n"
        "    try: read(pathlib.Path(sys.argv[1]))\n"
        "    except t.IndexProblem: print('refused')\n"
        "print(pyarrow.default_memory_pool().max_memory())\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, path, here, here.parent], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *refused, most_bytes = done.stdout.split()
    assert refused == ["refused", "refused"]
    assert int(most_bytes) < 32 * 1024 * 1024


# --- dsa.json and records of damage ---------------------------------------------------------------


@every("good", "stores")
def test_a_good_dsa_json_is_read(path: Path, tmp_path: Path) -> None:
    found = StoreFile.read(alone(tmp_path, "dsa.json", path.read_bytes()))
    value = expected(path)
    assert (found.id, list(found.unknown_to_write)) == (value["store"], value["unknown_to_write"])
    if value["unknown_to_write"]:
        with pytest.raises(DsaError, match="later"):
            found.check_writable("here")
    else:
        found.check_writable("here")


#: What only a newer release can read: no damage.
NEWER = {"format-2", "requires-unknown"}


@every("bad", "stores")
def test_a_bad_dsa_json_stops_every_command(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DsaError) as caught:
        StoreFile.read(alone(tmp_path, "dsa.json", path.read_bytes()))
    assert one_line(caught.value)
    assert (type(caught.value) is DamageError) == (path.stem not in NEWER)


@every("good", "damaged")
def test_a_good_record_of_damage_is_read(path: Path, tmp_path: Path) -> None:
    places = site.read_damaged(alone(tmp_path, "site/damaged/1.json", path.read_bytes()))
    assert sorted([oid.hex(), pack and pack.hex()] for oid, pack in places) == expected(path)


@every("bad", "damaged")
def test_a_bad_record_of_damage_is_named_and_passed_by(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = alone(tmp_path, "site/damaged/1.json", path.read_bytes())
    good = (VECTORS / "damaged" / "good" / "two.json").read_bytes()
    backend.create("site/damaged/2.json", good)
    assert len(site.read_damaged(backend)) == 2
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [
        "site/damaged/1.json"
    ]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "check"), [("dataset", check_dataset), ("revision", check_revision)]
)
def test_names_that_a_person_gives(kind: str, check: Callable[[str], str]) -> None:
    for name in NAMES[kind]["good"]:
        assert check(name) == name
    for name in NAMES[kind]["bad"]:
        with pytest.raises(UsageError):
            check(name)


def test_targets_of_links_in_a_folder_below_the_root() -> None:
    assert [target for target in NAMES["link"]["good"] if leaves_tree("folder", target)] == []
    assert [target for target in NAMES["link"]["bad"] if not leaves_tree("folder", target)] == []


# --- a whole store --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a copy of the good store."""
    return Path(shutil.copytree(VECTORS / "store", tmp_path / "store"))


def check_store(folder: Path) -> None:
    """Check that dsa finds all that is in the good store, byte for byte."""
    opened = dsa.open(folder)
    assert {str(revision) for revision in opened.revisions()} == set(STORE)
    for name, value in STORE.items():
        revision = opened[name]
        assert revision.show().manifest == value["manifest"]
        assert revision.info["sha256"] == value["sha256"]
        assert set(revision.files) == set(value["files"])
        for path, wanted in value["files"].items():
            assert revision.files[path].mode == wanted["mode"]
            assert revision.open(path).read().decode() == wanted["content"]
        table = revision.to_table()
        paths = {row["path"] for row in table.to_pylist() if row["mode"] == trees.FOLDER}
        assert paths <= set(value["folders"])


def test_the_good_store_is_read(store: Path) -> None:
    check_store(store)


@pytest.mark.parametrize("derived", ["index", "locations", "listing", "log"])
def test_the_good_store_is_read_without_what_can_be_made_again(store: Path, derived: str) -> None:
    shutil.rmtree(store / derived)
    check_store(store)


def test_the_good_store_is_read_without_index_and_locations(store: Path) -> None:
    shutil.rmtree(store / "index")
    shutil.rmtree(store / "locations")
    check_store(store)


def test_the_good_store_is_verified(store: Path) -> None:
    report = dsa.open(store).verify(data=True)
    assert (report.findings, report.revisions, report.packs) == ((), 3, 3)


def test_the_good_store_takes_a_push(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in {"README.txt": "Hello, world.\n", "new.txt": "new\n"}.items():
        (folder / name).write_text(text)
    report = dsa.open(store).push("greeting", "3", folder)
    assert (report.parent, report.objects_new, report.objects_shared) == ("greeting@2", 1, 1)
    assert set(dsa.open(store)["greeting@3"].files) == {"README.txt", "new.txt"}
    check_revisions = {str(revision) for revision in dsa.open(store).revisions()}
    assert check_revisions == {*STORE, "greeting@3"}


def test_a_ref_under_another_name_than_its_own_is_damage(store: Path) -> None:
    for other in ("greeting/@9", "other/@1"):
        (store / "refs" / other).parent.mkdir(exist_ok=True)
        shutil.copy(store / "refs/greeting/@1", store / "refs" / other)
        with pytest.raises(DamageError, match="greeting@1"):
            dsa.open(store)[other.replace("/@", "@")].show()


def test_a_log_that_does_not_follow_is_damage(store: Path) -> None:
    from dsa.cas.history import read_log

    backend = LocalBackend(store)
    assert [number for number, _, _ in read_log(backend, "greeting")] == [1, 2]
    first = store / "log/greeting/@00000001.json"
    first.write_bytes(first.read_bytes().replace(b"Greetings", b"greetings"))
    with pytest.raises(DamageError, match="00000002"):
        list(read_log(backend, "greeting"))


def test_every_file_of_the_good_store_that_is_named_by_its_bytes_is_what_its_name_says() -> None:
    checked = 0
    for path in (VECTORS / "store").rglob("*"):
        key = path.relative_to(VECTORS / "store").as_posix()
        if path.is_file() and key.startswith(("objects/", "packs/", "locations/")):
            assert layout.id_of_key(key) == ObjectId.of(path.read_bytes())
            checked += 1
    assert checked == 7 + 3 + 3


def test_the_program_that_made_the_vectors_makes_them_again(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, VECTORS / "make.py", tmp_path], capture_output=True)
    assert made.returncode == 0, made.stderr
    compared = 0
    for path in tmp_path.rglob("*"):
        name = path.relative_to(tmp_path)
        if path.is_file() and not re.search(r"^(index|locations)/|\.parquet$|@loc", str(name)):
            assert path.read_bytes() == (VECTORS / name).read_bytes(), name
            compared += 1
    assert compared > 250
