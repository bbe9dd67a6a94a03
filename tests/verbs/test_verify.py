"""Verify: real damage of every kind, found, named, recorded, and healed by the next push."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import packing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folders import put_part

import dsa
from dsa.cas import layout, listing, locations, packs, strictjson
from dsa.cas.backend import Backend, FileInfo, Traffic
from dsa.cas.history import LogState, append
from dsa.cas.ids import BlobId, ManifestId, ObjectId, Sha256, TreeId
from dsa.cas.index import write_index
from dsa.cas.listing import SCHEMA
from dsa.cas.locations import LocationRows
from dsa.cas.manifest import Manifest, RevisionInfo
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cas.site import read_damaged
from dsa.cas.storefile import make_store
from dsa.cas.trees import FILE, FOLDER, tree_header
from dsa.config import evidence, verdicts
from dsa.errors import AccessError, DamageError, DsaError, NotFoundError, UsageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.reports import Finding, VerifyReport
from dsa.verbs.verify import hashing
from dsa.verbs.verify.whole import verify

SMALL, OTHER, MOVED = b"small file\n", b"another small file\n", b"in a folder\n"
LARGE = random.Random(3).randbytes(300 * 1024)


class Place:
    """A store with two revisions of one dataset, and the folder that the second was pushed from."""

    def __init__(self, root: Path) -> None:
        self.root = root / "store"
        self.folder = root / "folder"

    @property
    def store(self) -> dsa.Store:
        return dsa.open(self.root)

    @property
    def backend(self) -> LocalBackend:
        return LocalBackend(self.root)

    def verify(self, *specs: str, data: bool = False, record: bool = True) -> VerifyReport:
        return self.store.verify(specs, data=data, record=record)

    def only(self, *specs: str, data: bool = False, damage: bool = True) -> Finding:
        """Return the one finding that there is, in the whole store."""
        report = self.verify(*specs, data=data)
        assert len(report.findings) == 1, report.findings
        assert report.is_clean is not damage
        assert report.findings[0].is_damage is damage
        return report.findings[0]

    def pack_of(self, content: bytes) -> tuple[Path, int]:
        """Return the pack that holds an object, and where its bytes begin."""
        oid = ObjectId.of(content)
        for path in (self.root / "packs").iterdir():
            for entry in entries_of(path):
                if entry.id == oid:
                    return path, entry.offset
        raise AssertionError(f"{oid} is in no pack")

    def loose(self, content: bytes) -> Path:
        return self.root / layout.object_key(ObjectId.of(content))

    def ref(self, revision: str, dataset: str = "some/set") -> Path:
        return self.root / layout.ref_key(dataset, revision)

    def manifest(self, revision: str) -> str:
        return self.ref(revision).read_text().strip()

    def index(self, revision: str) -> Path:
        return self.root / "index" / f"{self.manifest(revision)}.parquet"

    def info(self, revision: str) -> Path:
        """Return where a revision's `revision.json` lies."""
        data = (self.root / layout.object_key(ObjectId.parse(self.manifest(revision)))).read_bytes()
        return self.root / layout.object_key(Manifest.decode(data).revision)

    def parts(self) -> list[Path]:
        return sorted((self.root / "locations").iterdir())

    def part_of(self, content: bytes) -> Path:
        raw = ObjectId.of(content).raw
        return next(part for part in self.parts() if raw in pq.read_table(part)["id"].to_pylist())

    def rewrite(self, path: Path, change: Callable[[pa.Table], pa.Table]) -> Path:
        """Replace a part of the locations by one with other rows, named rightly."""
        changed = change(pq.read_table(path).cast(locations.SCHEMA))
        path.unlink()
        return self.root / layout.locations_key(put_part(self.backend, changed))

    def subject(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    place = Place(root)
    folder = place.folder
    (folder / "a/b").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "small").write_bytes(SMALL)
    (folder / "again").write_bytes(SMALL)
    (folder / "a/b/moved").write_bytes(MOVED)
    (folder / "large").write_bytes(LARGE)
    store = dsa.open(place.root, create=True)
    store.push("some/set", "1", folder, author="A <a@b.c>", message="first")
    (folder / "other").write_bytes(OTHER)
    store.push("some/set", "2", folder, author="A <a@b.c>", message="second")
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    shutil.copytree(made, tmp_path / "place", symlinks=True)
    return Place(tmp_path / "place")


def entries_of(pack: Path) -> packs.Directory:
    data = pack.read_bytes()
    return packs.read_directory(lambda start, length: data[start : start + length], len(data))


def flip(path: Path, at: int) -> None:
    """Change one bit of a file, whatever its mode."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    overwrite(path, bytes(data))


def overwrite(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("specs", [(), ("some/set@1",), ("some/set", "some/set@1")])
def test_a_whole_store_has_no_findings(place: Place, data: bool, specs: tuple[str, ...]) -> None:
    report = place.verify(*specs, data=data)
    assert report.findings == ()
    assert report.is_clean
    assert report.recorded == 0
    assert report.revisions == (len(specs) or 2)
    # 4 contents (with revision 2), the trees, two manifests and two revision.json.
    contents, trees = (3, 3) if specs == ("some/set@1",) else (4, 4)
    assert report.objects == contents + trees + 2 * report.revisions
    assert report.bytes_read > (len(LARGE) if data else 0)
    assert report.store == str(place.root)
    assert not list((place.root / "site").glob("damaged/*"))


def test_an_empty_store_is_whole(tmp_path: Path) -> None:
    dsa.init(tmp_path / "s")
    report = dsa.open(tmp_path / "s").verify(data=True)
    assert (report.findings, report.revisions, report.objects, report.packs) == ((), 0, 0, 0)


def test_what_is_not_there_cannot_be_verified(place: Place) -> None:
    with pytest.raises(NotFoundError):
        place.verify("some/set@3")
    with pytest.raises(UsageError):
        place.verify("some//set")


def test_a_withdrawn_revision_needs_nothing(place: Place) -> None:
    manifest = place.manifest("1")
    overwrite(place.ref("1"), f"withdrawn {manifest}\n".encode())
    (place.root / layout.object_key(ObjectId.parse(manifest))).unlink()
    report = place.verify(data=True)
    assert report.findings == ()
    assert report.revisions == 1


def test_progress_is_told(place: Place) -> None:
    told: list[str] = []
    done = [0, 0]

    class Told:
        def start(
            self, stage: str, *, files: int | None = None, size_bytes: int | None = None
        ) -> None:
            told.append(stage)

        def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
            done[0] += files
            done[1] += size_bytes

    place.store.verify(data=True, progress=Told())
    assert told == ["checking revisions", "checking locations", "hashing"]
    assert done[1] >= len(LARGE)


def test_workers_find_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    pack, at = place.pack_of(SMALL)
    flip(pack, at)
    flip(place.loose(LARGE), 5)
    alone = place.verify(data=True, record=False)
    monkeypatch.setattr(hashing, "PROCESS_BYTES", 0)
    monkeypatch.setattr(hashing, "cores", lambda: 2)
    together = place.verify(data=True, record=False)
    assert len(alone.findings) == 2
    assert sorted(map(str, together.findings)) == sorted(map(str, alone.findings))


# --- bytes ---------------------------------------------------------------------------------------


def test_a_flipped_byte_in_a_pack_is_named_recorded_and_healed(place: Place) -> None:
    pack, at = place.pack_of(SMALL)
    flip(pack, at + 3)
    assert place.verify().findings == ()  # the structure is whole
    assert place.verify(data=True, record=False).recorded == 0
    report = place.verify(data=True)
    (finding,) = report.findings
    assert (finding.kind, finding.subject) == ("damaged", place.subject(pack))
    assert str(ObjectId.of(SMALL)) in finding.detail
    assert finding.revisions == ("some/set@1", "some/set@2")
    assert finding.paths == (
        "some/set@1:again", "some/set@1:small", "some/set@2:again", "some/set@2:small",
    )  # fmt: skip
    assert finding.paths_total == 4
    assert not report.is_clean
    assert report.recorded == 1
    assert read_damaged(place.backend) == {(ObjectId.of(SMALL).raw, bytes.fromhex(pack.stem))}
    assert place.verify(data=True).recorded == 0  # it is on record
    assert place.only().kind == "damaged"  # what is on record is looked at without `data`, too

    assert place.store.push("some/set", "2", place.folder).healed == 1
    assert place.store["some/set@1"].files["small"].sha1 == str(ObjectId.of(SMALL))
    with place.store["some/set@1"].open("small") as file:
        assert file.read() == SMALL
    for data in (False, True):
        finding = place.only(data=data, damage=False)
        assert (finding.kind, finding.subject) == ("healed", place.subject(pack))
        assert "sent again, and is whole in another place" in finding.detail
    assert place.store.push("some/set", "2", place.folder).healed == 0


def test_a_new_revision_heals_what_its_parent_covers(place: Place) -> None:
    pack, at = place.pack_of(SMALL)
    flip(pack, at)
    place.verify(data=True)
    (place.folder / "more").write_bytes(b"more")
    assert place.store.push("some/set", "3", place.folder).healed == 1
    assert place.verify(data=True).is_clean
    with place.store["some/set@1"].open("again") as file:
        assert file.read() == SMALL


def test_a_pack_that_would_come_out_the_same_gets_another_name(place: Place) -> None:
    """What has a damaged pack's name is kept, and is not trusted again, so a new name it must be."""
    pack, at = place.pack_of(OTHER)
    flip(pack, at)
    place.verify(data=True)
    assert place.store.push("some/set", "2", place.folder).healed == 1
    assert place.verify(data=True).is_clean
    with place.store["some/set@2"].open("other") as file:
        assert file.read() == OTHER
    assert place.store.push("some/set", "2", place.folder).healed == 0


def test_a_flipped_byte_in_a_large_object_is_healed_by_a_pack(place: Place) -> None:
    flip(place.loose(LARGE), 1000)
    assert place.verify().findings == ()
    finding = place.only(data=True)
    assert (finding.kind, finding.subject) == ("damaged", place.subject(place.loose(LARGE)))
    assert finding.paths == ("some/set@1:large", "some/set@2:large")
    assert read_damaged(place.backend) == {(ObjectId.of(LARGE).raw, None)}
    assert place.store.push("some/set", "2", place.folder).healed == 1
    with place.store["some/set@1"].open("large") as file:
        assert file.read() == LARGE
    assert not place.only(data=True, damage=False).is_damage


def test_a_damaged_tree_is_found_without_reading_all(place: Place) -> None:
    body = b"100644 moved\0" + ObjectId.of(MOVED).raw
    tree = tree_header(len(body)) + body
    pack, start = place.pack_of(tree)
    flip(pack, start + 9)
    finding = place.only()
    assert (finding.kind, finding.subject) == ("damaged", place.subject(pack))
    assert finding.paths == ("some/set@1:a/b", "some/set@2:a/b")
    assert place.store.push("some/set", "2", place.folder).healed == 1
    assert not place.only(damage=False).is_damage
    assert not place.only("some/set@1", damage=False).is_damage


def test_the_root_tree_has_a_path_too(place: Place) -> None:
    info = json.loads(place.info("1").read_bytes())
    data = (place.root / layout.object_key(ObjectId.parse(place.manifest("1")))).read_bytes()
    root = Manifest.decode(data).data
    for path in (place.root / "packs").iterdir():
        for entry in entries_of(path):
            if entry.id == root:
                flip(path, entry.offset + 20)
    finding = place.only("some/set@1")
    assert finding.paths == ("some/set@1:.",)
    assert info["folders"] == 3
    assert place.only().paths == ("some/set@1:.",)


def test_a_wrong_header_and_crc_in_a_pack_are_damage(place: Place) -> None:
    pack, at = place.pack_of(SMALL)
    flip(pack, at - packs.HEADER_BYTES + 14)  # the CRC in the local header alone
    assert place.verify().findings == ()
    finding = place.only(data=True)
    assert (finding.kind, finding.subject) == ("damaged", place.subject(pack))
    assert "header" in finding.detail
    assert finding.paths == ()
    assert place.verify(data=True).recorded == 0  # its objects are whole


def test_a_truncated_pack_is_damage_and_what_was_cut_off_is_healed(place: Place) -> None:
    pack, at = place.pack_of(MOVED)
    entries = pack.read_bytes().count(b"PK\x01\x02")
    overwrite(pack, pack.read_bytes()[: at + 3])
    report = place.verify()  # by structure alone
    (finding,) = report.findings
    assert (finding.kind, finding.subject) == ("damaged", place.subject(pack))
    assert "beyond the end" in finding.detail
    assert "some/set@1:a/b/moved" in finding.paths
    assert 1 <= report.recorded <= entries
    assert place.store.push("some/set", "2", place.folder).healed == report.recorded
    assert place.only(damage=False).subject == place.subject(pack)
    assert place.verify(data=True).is_clean


def test_a_pack_that_is_gone_is_missing_and_healed(place: Place) -> None:
    pack, _ = place.pack_of(OTHER)
    pack.unlink()
    finding = place.only()
    assert (finding.kind, finding.subject) == ("missing", place.subject(pack))
    assert finding.paths == ("some/set@2:other",)
    assert place.verify("some/set@1").findings == ()
    assert place.only("some/set@2") == finding
    assert place.store.push("some/set", "2", place.folder).healed >= 1
    assert place.store.push("some/set", "2", place.folder).healed == 0
    assert place.verify(data=True).is_clean


def test_a_large_object_that_is_gone_or_cut_is_found_by_structure(place: Place) -> None:
    path = place.loose(LARGE)
    overwrite(path, LARGE[:-1])
    finding = place.only()
    assert (finding.kind, finding.subject) == ("damaged", place.subject(path))
    assert f"{len(LARGE) - 1} bytes instead of {len(LARGE)}" in finding.detail
    path.unlink()
    assert (place.only().kind, place.only().subject) == ("missing", place.subject(path))
    assert place.only("some/set").paths == ("some/set@2:large",)
    assert place.store.push("some/set", "2", place.folder).healed == 1
    assert place.verify(data=True).is_clean


def test_two_packs_under_each_others_names_are_damage(place: Place) -> None:
    one, _ = place.pack_of(SMALL)
    two, _ = place.pack_of(OTHER)
    first, second = one.read_bytes(), two.read_bytes()
    overwrite(one, second)
    overwrite(two, first)
    report = place.verify()
    assert {(finding.kind, finding.subject) for finding in report.findings} == {
        ("damaged", place.subject(one)),
        ("damaged", place.subject(two)),
    }
    assert place.store.push("some/set", "2", place.folder).healed == report.recorded
    assert place.verify().is_clean


def test_all_packs_gone_names_every_file_and_all_heals(place: Place) -> None:
    shutil.rmtree(place.root / "packs")
    report = place.verify()
    assert {finding.kind for finding in report.findings} == {"missing"}
    paths = {path for finding in report.findings for path in finding.paths}
    assert {"some/set@2:.", "some/set@2:a/b/moved", "some/set@2:other", "some/set@1:small"} <= paths
    assert place.store.push("some/set", "2", place.folder).healed > 0
    place.store.checkout("some/set@2", place.root.parent / "out")
    assert (place.root.parent / "out/other").read_bytes() == OTHER


# --- locations -----------------------------------------------------------------------------------


def test_a_location_with_a_wrong_place_lies(place: Place) -> None:
    def wrong(table: pa.Table) -> pa.Table:
        at = table["id"].to_pylist().index(ObjectId.of(OTHER).raw)
        offsets = table["offset"].to_pylist()
        offsets[at] += 1
        return table.set_column(4, SCHEMA.field("offset"), pa.array(offsets, pa.int64()))

    part = place.rewrite(place.part_of(OTHER), wrong)
    finding = place.only()
    assert (finding.kind, finding.subject) == ("lying location", place.subject(part))
    assert finding.paths == ("some/set@2:other",)
    assert place.store.push("some/set", "2", place.folder).healed == 1
    assert place.only(damage=False).kind == "healed"
    with place.store["some/set@2"].open("other") as file:
        assert file.read() == OTHER


@pytest.mark.parametrize("size", [1, len(OTHER) + 1, 2**62])
def test_a_location_with_a_wrong_size_lies(place: Place, size: int) -> None:
    def wrong(table: pa.Table) -> pa.Table:
        at = table["id"].to_pylist().index(ObjectId.of(OTHER).raw)
        sizes = table["size"].to_pylist()
        sizes[at] = size
        return table.set_column(1, "size", pa.array(sizes, pa.int64()))

    part = place.rewrite(place.part_of(OTHER), wrong)
    for data in (False, True):
        finding = place.only(data=data)
        assert (finding.kind, finding.subject) == ("lying location", place.subject(part))


def test_a_location_with_a_wrong_sha256_lies(place: Place) -> None:
    wrong = bytes(32)
    for content in (OTHER, LARGE):

        def lie(table: pa.Table, oid: bytes = ObjectId.of(content).raw) -> pa.Table:
            at = table["id"].to_pylist().index(oid)
            digests = table["sha256"].to_pylist()
            digests[at] = wrong
            return table.set_column(2, "sha256", pa.array(digests, pa.binary(32)))

        place.rewrite(place.part_of(content), lie)
    report = place.verify()
    assert {finding.kind for finding in report.findings} == {"lying location"}
    assert {path for finding in report.findings for path in finding.paths} == {
        "some/set@2:other", "some/set@1:large", "some/set@2:large",
    }  # fmt: skip
    assert report.recorded == 2
    assert place.store.push("some/set", "2", place.folder).healed == 2
    assert place.verify(data=True).is_clean


def test_a_second_row_that_contradicts_a_good_one_is_settled_by_reading(place: Place) -> None:
    rows = LocationRows()
    rows.add(ObjectId.of(LARGE).raw, len(LARGE), bytes(32), None, None)
    key = layout.locations_key(put_part(place.backend, rows.table()))
    finding = place.only()
    assert (finding.kind, finding.subject) == ("lying location", key)


def test_rows_that_cannot_be_are_named(place: Place) -> None:
    rows = LocationRows()
    rows.add(b"a" * 20, -1, bytes(32), None, None)
    rows.add(b"b" * 20, 5, bytes(32), None, 7)
    rows.add(b"c" * 20, 5, bytes(32), b"p" * 20, None)
    key = layout.locations_key(put_part(place.backend, rows.table()))
    finding = place.only(data=True)
    assert (finding.kind, finding.subject) == ("bad locations", key)
    assert "3 rows" in finding.detail


def test_rows_out_of_order_are_named(place: Place) -> None:
    part = place.rewrite(
        place.parts()[0], lambda table: table.take(list(reversed(range(len(table)))))
    )
    finding = place.only()
    assert (finding.kind, finding.subject) == ("bad locations", place.subject(part))
    assert "sorted" in finding.detail


def test_a_part_that_is_not_what_its_name_says_is_named_and_what_it_held_is_healed(
    place: Place,
) -> None:
    part = place.part_of(OTHER)
    flip(part, part.stat().st_size // 2)
    report = place.verify()
    kinds = {finding.kind: finding for finding in report.findings}
    assert kinds.keys() == {"bad locations", "no location"}
    assert kinds["bad locations"].subject == place.subject(part)
    pack, _ = place.pack_of(OTHER)
    unlisted = [finding for finding in report.findings if finding.kind == "no location"]
    assert place.subject(pack) in {finding.subject for finding in unlisted}
    assert "some/set@2:other" in {path for finding in unlisted for path in finding.paths}
    assert place.store.push("some/set", "2", place.folder).healed == report.recorded
    assert {finding.kind for finding in place.verify().findings} == {"bad locations"}


def test_an_object_that_is_nowhere_is_missing(place: Place) -> None:
    pack, _ = place.pack_of(OTHER)
    pack.unlink()
    place.part_of(OTHER).unlink()
    report = place.verify("some/set@2")
    missing = {finding.subject: finding for finding in report.findings}
    key = layout.object_key(ObjectId.of(OTHER))
    assert missing[key].kind == "missing"
    assert missing[key].paths == ("some/set@2:other",)
    assert place.store.push("some/set", "2", place.folder).healed == report.recorded
    assert place.verify(data=True).is_clean


def test_many_missing_objects_are_named_up_to_a_hundred_paths(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for number in range(250):
        (folder / f"{number:03d}").write_text(str(number))
    store = dsa.open(tmp_path / "s", create=True)
    store.push("ds", "1", folder)
    shutil.rmtree(tmp_path / "s/packs")
    finding = max(store.verify().findings, key=lambda finding: finding.paths_total)
    assert finding.paths_total == 250
    assert finding.paths == tuple(f"ds@1:{number:03d}" for number in range(100))


def test_a_record_of_what_is_whole_again_does_no_harm(place: Place) -> None:
    pack, at = place.pack_of(SMALL)
    flip(pack, at)
    place.verify(data=True)
    flip(pack, at)
    assert place.verify(data=True).findings == ()


# --- refs, manifests, indexes --------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 41,
        b"0" * 40,
        b"withdrawn\n",
        b"A" * 40 + b"\n",
        b"0" * 40 + b"\n\n",
        b"\xff" * 10_000,
    ],
)
def test_a_ref_of_another_shape_is_damage(place: Place, content: bytes) -> None:
    overwrite(place.ref("1"), content)
    finding = place.only()
    assert (finding.kind, finding.subject) == ("bad ref", "refs/some/set/@1")
    assert finding.revisions == ("some/set@1",)
    assert place.only("some/set@1").kind == "bad ref"
    assert place.verify("some/set@2").findings == ()


def test_a_ref_to_another_revisions_manifest_is_refused(place: Place) -> None:
    overwrite(place.ref("1"), place.ref("2").read_bytes())
    finding = place.only()
    assert (finding.kind, finding.subject) == ("bad ref", "refs/some/set/@1")
    assert "some/set@2" in finding.detail


def test_a_ref_with_a_name_that_may_not_be_is_damage(place: Place) -> None:
    overwrite(place.root / "refs/some/set/@latest", place.ref("1").read_bytes())
    overwrite(place.root / "refs/con/@1", place.ref("1").read_bytes())
    findings = place.verify().findings
    assert {(finding.kind, finding.subject) for finding in findings} == {
        ("bad ref", "refs/some/set/@latest"),
        ("bad ref", "refs/con/@1"),
    }


def test_a_ref_to_nothing_is_missing(place: Place) -> None:
    overwrite(place.ref("3"), b"1" * 40 + b"\n")
    finding = place.only()
    assert (finding.kind, finding.subject) == ("missing", "objects/11/" + "1" * 38)
    assert finding.revisions == ("some/set@3",)


def test_a_damaged_manifest_or_revision_json_is_named_once(place: Place) -> None:
    manifest = place.root / layout.object_key(ObjectId.parse(place.manifest("1")))
    for path in (manifest, place.info("2")):
        flip(path, 10)
    report = place.verify(data=True)
    assert {(finding.kind, finding.subject, finding.revisions) for finding in report.findings} == {
        ("damaged", place.subject(manifest), ("some/set@1",)),
        ("damaged", place.subject(place.info("2")), ("some/set@2",)),
    }


def test_names_that_differ_only_in_case_are_pointed_out(place: Place) -> None:
    store = place.store
    text = json.loads(place.info("2").read_bytes())
    for dataset, revision in (("Some/set", "1"), ("some/set", "a"), ("some/set", "A")):
        info = strictjson.dumps({**text, "dataset": dataset, "revision": revision})
        data = Manifest.decode(
            (place.root / layout.object_key(ObjectId.parse(place.manifest("2")))).read_bytes()
        ).data
        manifest = Manifest(data, BlobId(ObjectId.of(info)))
        for content in (info, manifest.encode()):
            overwrite(place.loose(content), content)
        staged = place.root.parent / "index"
        staged.unlink(missing_ok=True)
        published = store._open().revisions.get("some/set", "2")
        write_index(staged, store._open().indexes.listing(published), manifest, info)
        place.backend.publish(staged, layout.index_key(manifest.id))
        overwrite(place.ref(revision, dataset), Ref(manifest.id).encode())
    report = place.verify()
    assert report.is_clean
    assert {(finding.kind, finding.subject) for finding in report.findings} == {
        ("names differ in case", "refs/Some"),
        ("names differ in case", "refs/some/set/@A"),
    }


@pytest.mark.parametrize(
    "how", ["gone", "garbage", "flipped", "cut", "empty", "other", "sparse", "folder"]
)
def test_an_index_that_does_not_prove_itself_is_named_and_the_trees_are_walked(
    place: Place, how: str
) -> None:
    path = place.index("1")
    data = path.read_bytes()
    other = place.index("2").read_bytes()
    path.unlink()
    if how == "garbage":
        path.write_bytes(random.Random(1).randbytes(5000))
    elif how == "flipped":
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif how == "cut":
        path.write_bytes(data[:-9])
    elif how == "empty":
        path.touch()
    elif how == "other":
        path.write_bytes(other)
    elif how == "sparse":
        path.touch()
        os.truncate(path, 1 << 40)
    elif how == "folder":
        path.mkdir()
    for specs in ((), ("some/set@1",)):
        finding = place.only(*specs)
        assert (finding.kind, finding.subject) == ("bad index", place.subject(path))
        assert finding.revisions == ("some/set@1",)
    # Without its index, what it needs is still looked for, and named by its paths.
    place.loose(LARGE).unlink()
    pack, at = place.pack_of(MOVED)
    flip(pack, at)
    findings = place.verify("some/set@1", data=True).findings
    assert {(finding.kind, finding.paths) for finding in findings} == {
        ("bad index", ()),
        ("missing", ("some/set@1:large",)),
        ("damaged", ("some/set@1:a/b/moved",)),
    }


def test_without_index_and_trees_the_lost_folder_is_named(place: Place) -> None:
    place.index("2").unlink()
    body = b"100644 moved\0" + ObjectId.of(MOVED).raw
    pack, at = place.pack_of(tree_header(len(body)) + body)
    flip(pack, at + 2)
    findings = place.verify("some/set@2").findings
    assert {(finding.kind, finding.paths) for finding in findings} == {
        ("bad index", ()),
        ("damaged", ("some/set@2:a/b",)),
    }


def publish(backend: Backend, rows: list[dict[str, object]], **said: object) -> Manifest:
    """Publish a listing as ds@1 without its objects; `said` is what revision.json claims wrongly."""
    table = listing_of(rows)
    sealed = listing.seal(table)
    root = sealed.root
    info = RevisionInfo(
        "ds", "1", "2026-01-01T00:00:00.000Z", "A", "a@b.c", "", root.files, root.folders, root.size,
        Sha256(root.sha256),
    )  # fmt: skip
    text = replace(info, **said).encode()  # type: ignore[arg-type]  # fields by name
    manifest = Manifest(TreeId(ObjectId(root.tree)), BlobId(ObjectId.of(text)))
    for data in (text, manifest.encode()):
        backend.create(layout.object_key(ObjectId.of(data)), data)
    rows_ = LocationRows()
    for run, body in listing.tree_bodies(sealed.table, listing.runs(sealed.table)):
        data = tree_header(len(body)) + body
        backend.create(layout.object_key(ObjectId.of(data)), data)
        rows_.add(ObjectId.of(data).raw, len(data), Sha256.of(data).raw, None, None)
        assert run.stop > run.start
    put_part(backend, rows_.table())
    backend.create(layout.ref_key("ds", "1"), Ref(manifest.id).encode())
    return manifest


def listing_of(rows: list[dict[str, object]]) -> pa.Table:
    full: list[dict[str, object]] = [
        {
            "folder": "",
            "mode": FILE,
            "size": 1,
            "files": None,
            "sha1": bytes(20),
            "sha256": bytes(32),
            "pack": None,
            "offset": None,
            **row,
        }
        for row in rows
    ]
    columns = {field.name: [row[field.name] for row in full] for field in SCHEMA}
    arrays = [
        pa.array(columns[field.name], pa.string()).dictionary_encode()
        if field.name == "folder"
        else pa.array(columns[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def test_trees_that_do_not_come_to_the_revision_json_are_named(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    make_store(backend)
    content = b"1"
    row: dict[str, object] = {
        "name": "f",
        "sha1": ObjectId.of(content).raw,
        "sha256": Sha256.of(content).raw,
    }
    manifest = publish(backend, [row], sha256=Sha256(b"x" * 32))
    backend.create(layout.object_key(ObjectId.of(content)), content)
    rows = LocationRows()
    rows.add(ObjectId.of(content).raw, 1, Sha256.of(content).raw, None, None)
    put_part(backend, rows.table())
    findings = dsa.open(tmp_path).verify(data=True).findings
    assert [(finding.kind, finding.subject) for finding in findings] == [
        ("bad index", layout.index_key(manifest.id)),
        ("bad manifest", layout.object_key(manifest.id)),
    ]


def test_a_tree_of_trees_upon_trees_ends_in_a_finding(tmp_path: Path) -> None:
    """Forty levels that each name the next one twice: a million million files in a few bytes."""
    backend = LocalBackend(tmp_path)
    make_store(backend)
    oid = ObjectId.of(b"")
    data = b""
    for level in range(40):
        mode = b"40000" if level else b"100644"
        body = b"".join(mode + b" " + name + b"\0" + oid.raw for name in (b"a", b"b"))
        data = tree_header(len(body)) + body
        oid = ObjectId.of(data)
        backend.create(layout.object_key(oid), data)
    text = RevisionInfo(
        "ds", "1", "2026-01-01T00:00:00.000Z", "A", "a@b.c", "", 2, 1, 0, Sha256(bytes(32))
    ).encode()
    manifest = Manifest(TreeId(oid), BlobId(ObjectId.of(text)))
    for content in (text, manifest.encode()):
        backend.create(layout.object_key(ObjectId.of(content)), content)
    backend.create(layout.ref_key("ds", "1"), Ref(manifest.id).encode())
    kinds = [finding.kind for finding in dsa.open(tmp_path).verify().findings]
    assert "bad manifest" in kinds
    assert "bad index" in kinds


def test_a_tree_with_a_hostile_name_is_a_finding(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    make_store(backend)
    body = b"100644 ..\0" + ObjectId.of(b"").raw
    data = tree_header(len(body)) + body
    text = RevisionInfo(
        "ds", "1", "2026-01-01T00:00:00.000Z", "A", "a@b.c", "", 1, 0, 0, Sha256(bytes(32))
    ).encode()
    manifest = Manifest(TreeId(ObjectId.of(data)), BlobId(ObjectId.of(text)))
    for content in (data, text, manifest.encode()):
        backend.create(layout.object_key(ObjectId.of(content)), content)
    backend.create(layout.ref_key("ds", "1"), Ref(manifest.id).encode())
    found = {finding.kind: finding for finding in dsa.open(tmp_path).verify().findings}
    assert found["bad tree"].paths == ("ds@1:.",)


def test_another_content_under_the_same_id_is_a_collision(place: Place) -> None:
    """The revision says another SHA-256 than the bytes have: neither may stand for the other."""
    store = place.store._open()
    published = store.revisions.get("some/set", "2")
    table = store.indexes.listing(published).table
    at = table["name"].to_pylist().index("other")
    digests = table["sha256"].to_pylist()
    digests[at] = bytes(32)
    sealed = listing.seal(
        table.set_column(6, SCHEMA.field("sha256"), pa.array(digests, pa.binary(32)))
    )
    info = replace(published.info, revision="3", sha256=Sha256(sealed.root.sha256)).encode()
    manifest = Manifest(published.manifest.data, BlobId(ObjectId.of(info)))
    for content in (info, manifest.encode()):
        overwrite(place.loose(content), content)
    staged = place.root.parent / "index"
    write_index(staged, sealed, manifest, info)
    place.backend.publish(staged, layout.index_key(ManifestId(manifest.id)))
    overwrite(place.ref("3"), Ref(manifest.id).encode())
    finding = place.only()
    assert (finding.kind, finding.subject) == ("collision", layout.object_key(ObjectId.of(OTHER)))
    assert "some/set@3:other" in finding.paths
    assert not read_damaged(place.backend)


# --- strangers -----------------------------------------------------------------------------------


def test_strangers_are_named_and_are_no_damage(place: Place) -> None:
    strangers = [
        "README", "objects/ab/short", "objects/README", "packs/x.zip", "packs/" + "0" * 40,
        "locations/x", "locations/" + "0" * 40 + ".zip", "index/" + "g" * 40 + ".parquet", "refs/some/set/notes", "refs/x",
        "log/some/set/x.json", "log/some/set/@1.json", "listing/x", "site/x",
    ]  # fmt: skip
    for name in strangers:
        overwrite(place.root / name, b"?")
    (place.root / "attic").mkdir()
    report = place.verify(data=True)
    assert {finding.kind for finding in report.findings} == {"unknown file"}
    assert sorted(finding.subject for finding in report.findings) == sorted([*strangers, "attic/"])
    assert report.is_clean
    assert report.recorded == 0
    assert place.verify("some/set").is_clean


def test_temporary_files_and_marks_are_no_strangers(place: Place) -> None:
    for name in ("site/tmp/half", "site/pending/x", "site/gc/y", "site/gc/condemned/z", "site/quarantine/q",
                 "catalog/x", "sigs/some/set/@1/a", "listing/@datasets.jsonl"):  # fmt: skip
        overwrite(place.root / name, b"?")
    assert place.verify().findings == ()


def test_an_unreachable_pack_and_loose_object_are_nobodys_trouble_unless_damaged(
    place: Place,
) -> None:
    content = b"left by a push that was killed"
    overwrite(place.loose(content), content)
    data, _ = packing.pack([content])
    pack = place.root / layout.pack_key(ObjectId.of(data))
    overwrite(pack, data)
    assert place.verify(data=True).findings == ()
    flip(pack, packs.HEADER_BYTES)
    flip(place.loose(content), 0)
    assert place.verify().findings == ()
    findings = place.verify(data=True).findings
    assert {(finding.kind, finding.subject) for finding in findings} == {
        ("damaged", place.subject(pack)),
        ("damaged", place.subject(place.loose(content))),
    }
    overwrite(pack, data[:-1])
    assert ("damaged", place.subject(pack)) in {
        (f.kind, f.subject) for f in place.verify().findings
    }


def test_a_record_that_cannot_be_read_is_named(place: Place) -> None:
    overwrite(place.root / "site/damaged/x.json", b'{"places": [{"id": "00", "pack": null}]}')
    overwrite(place.root / "site/damaged/y.json", b"{")
    findings = place.verify().findings
    assert {(finding.kind, finding.subject, finding.is_damage) for finding in findings} == {
        ("bad record", "site/damaged/x.json", False),
        ("bad record", "site/damaged/y.json", False),
    }


def test_a_datasets_log_is_followed(place: Place) -> None:
    def entry(last: LogState | None, previous: Sha256 | None) -> LogState:
        return LogState(
            "u", "a", "2026-01-01T00:00:00.000Z", previous, {"n": 0 if last is None else 1}
        )

    for _ in range(4):
        append(place.backend, "some/set", entry)
    assert place.verify().findings == ()
    second = place.root / "log/some/set/@00000002.json"
    data = second.read_bytes()
    overwrite(second, data.replace(b'"a"', b'"b"'))
    finding = place.only()
    assert (finding.kind, finding.subject) == ("bad log", "log/some/set/@00000003.json")
    overwrite(second, b"[")
    assert place.only().subject == "log/some/set/@00000002.json"
    second.unlink()
    finding = place.only()
    assert (finding.kind, finding.subject) == ("bad log", "log/some/set/@00000002.json")
    assert "missing" in finding.detail


# --- hostile -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "sparse", "garbage", "empty"])
@pytest.mark.parametrize("victim", ["pack", "part", "ref", "manifest", "info", "index", "large"])
def test_anything_in_place_of_a_file_ends_in_findings(place: Place, kind: str, victim: str) -> None:
    if (kind, victim) == ("folder", "ref"):
        pytest.skip("a folder in place of a ref is a ref that is not there")
    path = {
        "pack": lambda: place.pack_of(SMALL)[0],
        "part": lambda: place.part_of(SMALL),
        "ref": lambda: place.ref("2"),
        "manifest": lambda: place.root / layout.object_key(ObjectId.parse(place.manifest("2"))),
        "info": lambda: place.info("2"),
        "index": lambda: place.index("2"),
        "large": lambda: place.loose(LARGE),
    }[victim]()
    replace_by(path, kind, 1 << 40)
    for data in (False, True):
        report = place.verify(data=data, record=False)
        assert not report.is_clean
        assert any(
            finding.subject == place.subject(path)
            or (victim == "part" and finding.kind == "no location")
            for finding in report.findings
        )
        if (kind, victim) not in (("fifo", "ref"), ("loop", "ref")):  # there is no such revision
            place.verify("some/set@1", "some/set@2", data=data)


def replace_by(path: Path, kind: str, size: int) -> None:
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, size)
    elif kind == "garbage":
        path.write_bytes(random.Random(7).randbytes(4096))
    else:
        path.touch()


@pytest.mark.parametrize("field", range(12))
def test_a_pack_whose_end_claims_anything_is_a_finding(place: Place, field: int) -> None:
    pack, _ = place.pack_of(SMALL)
    data = bytearray(pack.read_bytes())
    struct.pack_into("<H", data, len(data) - 22 + 2 * (field % 11), 0xFFFF)
    overwrite(pack, bytes(data))
    finding = place.only()
    assert (finding.kind, finding.subject) == ("damaged", place.subject(pack))
    assert finding.paths == ()  # what is in it can still be read where the locations say


def test_random_damage_never_ends_in_an_exception(made: Path, tmp_path: Path) -> None:
    chance = random.Random(11)
    for number in range(40):
        root = tmp_path / str(number)
        shutil.copytree(made / "store", root)
        files = [path for path in root.rglob("*") if path.is_file() and path.name != "dsa.json"]
        victim = chance.choice(
            [path for path in files if "site" not in path.parts and "listing" not in path.parts]
        )
        before = victim.read_bytes()
        data = bytearray(before)
        for _ in range(chance.choice([1, 3, 30])):
            if data:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        overwrite(victim, bytes(data))
        report = dsa.open(root).verify(data=True)
        # An index has no digest of its own: what its rows do not feel is no damage.
        is_felt = bytes(data) != before and "index" not in victim.parts
        assert not report.is_clean or not is_felt, victim
        shutil.rmtree(root)


def test_a_store_in_memory_is_verified_too() -> None:
    backend = MemoryBackend()
    make_store(backend)
    content = b"x"
    row: dict[str, object] = {
        "name": "f",
        "sha1": ObjectId.of(content).raw,
        "sha256": Sha256.of(content).raw,
    }
    publish(backend, [row])
    report = verify(ObjectStore(backend), [], data=True, record=True)
    assert {finding.kind for finding in report.findings} == {"bad index", "missing"}
    assert report.recorded == 1


def test_a_store_that_cannot_be_written_is_still_reported(place: Place) -> None:
    text = json.loads((place.root / "dsa.json").read_bytes())
    overwrite(place.root / "dsa.json", json.dumps({**text, "requires_to_write": ["new"]}).encode())
    place.loose(LARGE).unlink()
    report = place.verify()
    assert not report.is_clean
    assert report.recorded == 0


def test_damage_has_its_exit_code() -> None:
    assert DamageError.exit_code == 5
    assert FOLDER == 0o40000


# --- stores on a server ---------------------------------------------------------------------------


class Far(MemoryBackend):
    """A store that is asked by several threads at once, and counts."""

    def __init__(self, files: dict[str, tuple[bytes, float]] | None = None) -> None:
        super().__init__()
        self.files.update(files or {})
        self._traffic = Traffic()

    @property
    def jobs(self) -> int:
        return 4

    @property
    def traffic(self) -> Traffic:
        return self._traffic

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().read(key, start, length)
        self._traffic.requests += 1
        self._traffic.bytes_received += len(data)
        return data


@pytest.fixture(scope="module")
def far_files(made: Path) -> dict[str, tuple[bytes, float]]:
    """Return what `made` holds, as a store elsewhere has it."""
    store = made / "store"
    files = {
        path.relative_to(store).as_posix(): (path.read_bytes(), 1.0)
        for path in store.rglob("*")
        if path.is_file()
    }
    return {key: there for key, there in files.items() if not key.startswith("site/")}


def verified(backend: Backend, *specs: str, read: bool = False) -> VerifyReport:
    return verify(ObjectStore(backend), list(specs), data=True, read=read)


@pytest.mark.parametrize("specs", [(), ("some/set@1",)])
def test_threads_find_what_one_finds(
    far_files: dict[str, tuple[bytes, float]], specs: tuple[str, ...]
) -> None:
    far = Far(far_files)
    assert verified(far, *specs).findings == ()
    for key in [key for key in far.files if key.startswith("packs/")]:
        data = bytearray(far.files[key][0])
        data[75] ^= 1
        far.files[key] = (bytes(data), 1.0)
    near = MemoryBackend()
    near.files.update(far.files)
    found, expected = verified(far, *specs), verified(near, *specs)
    assert found.findings
    assert sorted(map(str, found.findings)) == sorted(map(str, expected.findings))
    assert found.recorded == expected.recorded > 0


def test_requests_and_bytes_are_told(far_files: dict[str, tuple[bytes, float]]) -> None:
    far = Far(far_files)
    store = ObjectStore(far)
    before = far.traffic.requests
    report = verify(store, [], data=True)
    assert report.requests == far.traffic.requests - before > 0
    assert report.bytes_received >= sum(
        len(data) for key, (data, _) in far_files.items() if key.startswith(("packs/", "objects/"))
    )
    assert report.files_read > 0
    assert report.files_attested == 0


class Failing(Far):
    """A server that fails from some request on, or only at one."""

    def __init__(
        self, files: dict[str, tuple[bytes, float]], error: DsaError, at: int = 10**9
    ) -> None:
        super().__init__(files)
        self._error, self.at, self.only_once = error, at, False
        self.asked = 0

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        self.asked += 1
        if self.asked == self.at or (self.asked > self.at and not self.only_once):
            raise self._error
        return super().read(key, start, length)

    def list(self, prefix: str) -> Iterator[FileInfo]:
        self.asked += 1
        if self.asked >= self.at and not self.only_once:
            raise self._error
        yield from super().list(prefix)


@pytest.mark.parametrize("specs", [(), ("some/set@1",)])
@pytest.mark.parametrize(
    "error",
    [
        AccessError("no connection to the store: reset by peer", is_outage=True),
        DsaError("[Errno 5] InternalError"),
    ],
)
@pytest.mark.parametrize("without_index", [False, True])
def test_a_connection_that_breaks_anywhere_is_no_damage(
    far_files: dict[str, tuple[bytes, float]],
    specs: tuple[str, ...],
    error: DsaError,
    without_index: bool,
) -> None:
    files = {
        key: there
        for key, there in far_files.items()
        if not (without_index and key.startswith("index/"))
    }
    whole = Failing(files, error)
    store = ObjectStore(whole)
    begin = whole.asked
    is_clean = verify(store, list(specs), data=True, record=False).is_clean
    assert is_clean is not without_index
    assert whole.asked > begin + 10
    for at in range(begin + 1, whole.asked + 1):
        for only_once in (False, True):
            failing = Failing(files, error, at)
            failing.only_once = only_once
            with suppress(type(error), AccessError):
                report = verify(ObjectStore(failing), list(specs), data=True)
                # It was asked again, or the answer was not needed.
                assert report.is_clean is is_clean
            assert not [key for key in failing.files if key.startswith(layout.DAMAGED)]


class Flipping(Far):
    """A connection that changes a byte of one answer."""

    def __init__(self, files: dict[str, tuple[bytes, float]], at: int) -> None:
        super().__init__(files)
        self.at, self.asked = at, 0

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().read(key, start, length)
        self.asked += 1
        if self.asked == self.at and data:
            return data[:-1] + bytes([data[-1] ^ 1])
        return data


def test_a_byte_that_changes_on_its_way_is_no_damage(
    far_files: dict[str, tuple[bytes, float]],
) -> None:
    whole = Flipping(far_files, 0)
    store = ObjectStore(whole)
    begin = whole.asked
    assert verify(store, [], data=True).is_clean
    for at in range(begin + 1, whole.asked + 1):
        flipping = Flipping(far_files, at)
        report = verify(ObjectStore(flipping), [], data=True)
        assert report.is_clean, (at, report.findings)
        assert not [key for key in flipping.files if key.startswith(layout.DAMAGED)]


class Attested(Far):
    """A server that keeps checksums of what it got, and gives them."""

    def attested(self, key: str) -> bytes | None:
        return ObjectId.of(self.files[key][0]).raw

    def write_attested(self, key: str, data: bytes, sha1: bytes) -> None:
        if ObjectId.of(data).raw != sha1:
            raise DsaError("wrong")
        self.write(key, data)


def test_what_a_trustworthy_server_attests_is_not_read(
    far_files: dict[str, tuple[bytes, float]],
) -> None:
    attested = Attested(far_files)
    unknown = verified(attested)
    assert unknown.files_attested == 0  # nobody tried whether its checksums are worth anything
    verdicts.remember(attested, claims=True, words="it was tried", attests=True)
    report = verified(attested)
    assert report.is_clean
    assert report.files_attested > 0
    assert report.bytes_attested > len(LARGE)
    assert report.bytes_received < unknown.bytes_received - len(LARGE)
    everything = verified(attested, read=True)
    assert everything.files_attested == 0
    assert everything.bytes_received == unknown.bytes_received
    assert verified(attested, "some/set@1").files_attested > 0


def test_what_its_server_does_not_attest_is_read(
    far_files: dict[str, tuple[bytes, float]],
) -> None:
    attested = Attested(far_files)
    verdicts.remember(attested, claims=True, words="it was tried", attests=True)
    large = layout.object_key(ObjectId.of(LARGE))
    attested.files[large] = (LARGE[:-1] + b"?", 1.0)
    report = verified(attested)
    (finding,) = report.findings
    assert (finding.kind, finding.subject) == ("damaged", large)
    assert report.files_attested > 0


def test_what_was_found_whole_is_remembered_and_forgotten_when_damaged(place: Place) -> None:
    store = ObjectStore(place.backend)
    manifests = {revision: place.manifest(revision) for revision in ("1", "2")}
    place.verify("some/set@1")
    assert list(evidence.of(store, manifests["1"])) == ["listed"]
    assert evidence.of(store, manifests["2"]) == {}
    place.verify(data=True)
    for manifest in manifests.values():
        assert "read" in evidence.of(store, manifest)
    pack, at = place.pack_of(MOVED)
    flip(pack, at)
    report = place.verify(data=True)
    hurt = {name for finding in report.findings for name in finding.revisions}
    for revision, manifest in manifests.items():
        assert bool(evidence.of(store, manifest)) is (f"some/set@{revision}" not in hurt)
    assert hurt
