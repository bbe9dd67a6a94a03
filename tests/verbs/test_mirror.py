"""Mirror: what travels between two stores, what never does, and what stands there however it ended."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from collisions import ONE, OTHER
from distant import WRITING, FarBackend, push_to
from servers.conditions import IgnoringMemory
from servers.places import PLACES, READ_ONLY
from treetools import ODD, Tree, assert_same, make, run_python, snapshot, stored

import dsa
from dsa.cas import layout, listing
from dsa.cas.backend import Backend
from dsa.cas.history import LogState, append
from dsa.cas.ids import ObjectId
from dsa.cas.index import write_index
from dsa.cas.listing import Listing
from dsa.cas.names import folds_with
from dsa.cas.objects import Wanted
from dsa.cas.objectstore import ObjectStore
from dsa.cas.refs import Ref
from dsa.cli.app import run as run_cli
from dsa.errors import AccessError, ConflictError, DsaError, NotFoundError, UsageError
from dsa.remotes.connect import connect
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from dsa.reports import MirrorReport, VerifyReport
from dsa.verbs.mirror import carrier, whole
from dsa.verbs.mirror.landing import Landing
from dsa.verbs.mirror.refs import Refs, compare
from dsa.verbs.mirror.whole import Wish, mirror
from dsa.verbs.verify.whole import verify

TREE = {"a.txt": b"hello", "sub/b.bin": b"", "sub/deep/c": b"see", "large": b"L" * 300_000}


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def mirrored(
    source: Backend, target: Backend, *specs: str, cache: Path | None = None, **wish: bool
) -> MirrorReport:
    """Mirror; everything where nothing is named."""
    wish.setdefault("everything", not specs)
    return mirror(ObjectStore(source, cache), target, cache, Wish(specs, **wish))


def checked(backend: Backend) -> VerifyReport:
    """Verify every byte of a store, which must be whole."""
    report = verify(ObjectStore(backend), [], data=True, record=False)
    assert not report.findings, report.findings
    return report


def refs(backend: Backend) -> dict[str, bytes]:
    return {info.key: backend.read(info.key) for info in backend.list(layout.REFS)}


def push(store: Path, name: str, folder: Path, tree: Tree) -> None:
    dataset, _, revision = name.partition("@")
    dsa.open(store, create=True).push(dataset, revision, make(folder, tree))


@pytest.fixture
def source(tmp_path: Path) -> LocalBackend:
    """A store with two revisions of one dataset, and one of another."""
    root = tmp_path / "source"
    push(root, "ds@1", tmp_path / "t", TREE)
    push(root, "ds@2", tmp_path / "t", {"new": b"new", "sub/b.bin": b"changed"})
    push(root, "lab/other@1", tmp_path / "o", {"x": b"of another dataset", "a.txt": b"hello"})
    return LocalBackend(root)


@pytest.fixture
def target() -> FarBackend:
    return FarBackend()


# --- from anywhere to anywhere --------------------------------------------------------------------

WRITABLE = [name for name, place in PLACES.items() if place.claims and name != "s3-ceph"]


@pytest.mark.parametrize("to", [*WRITABLE, "s3-ceph"])
@pytest.mark.parametrize("through", ["local", "s3-moto"])
def test_a_mirror_of_a_mirror_is_whole_and_holds_the_same_files(
    request: pytest.FixtureRequest, tmp_path: Path, through: str, to: str
) -> None:
    root = tmp_path / "first"
    folder = make(tmp_path / "t", ODD)
    push(root, "ds@1", folder, {})
    push(root, "ds@2", folder, {"more": b"x" * 5000, "mid": noise(1, 500_000)})
    first = LocalBackend(root)
    places = [tmp_path / "a", tmp_path / "b"]
    for place in places:
        place.mkdir()
    second = PLACES[through].make(request, places[0])
    third = PLACES[to].make(request, places[1])
    report = mirrored(first, second)
    assert (report.mirrored, report.is_clean, report.store_created) == (
        ("ds@1", "ds@2"),
        True,
        True,
    )
    assert mirrored(second, third).mirrored == ("ds@1", "ds@2")
    checked(third)
    assert refs(third) == refs(first)
    back = tmp_path / "back"
    assert mirrored(third, LocalBackend(back)).is_clean
    dsa.open(back).checkout("ds@2", tmp_path / "out")
    assert_same(folder, tmp_path / "out")
    again = mirrored(second, third)
    assert (again.mirrored, again.there, again.objects_sent) == ((), ("ds@1", "ds@2"), 0)


def test_two_local_stores_come_to_hold_the_same_files(source: LocalBackend, tmp_path: Path) -> None:
    target = tmp_path / "target"
    report = dsa.mirror(source.root, target, everything=True)
    assert report.is_clean
    assert report.mirrored == ("ds@1", "ds@2", "lab/other@1")
    packs = {key for key in stored(source.root) if key.startswith("packs/")}
    assert packs == {key for key in stored(target) if key.startswith("packs/")}
    assert stored(source.root) == stored(target)
    mine, theirs = (json.loads((place / "dsa.json").read_text()) for place in (source.root, target))
    assert mine["store"] != theirs["store"]
    assert dsa.open(target).verify(data=True).is_clean


def test_it_runs_from_a_shell_and_says_what_it_did(
    source: LocalBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "target")
    assert run_cli(["mirror", str(source.root), target, "ds"]) == 0
    out, err = capfd.readouterr()
    assert out.split() == ["ds@1", "ds@2"]
    assert f"made the store {target}" in err
    assert "mirrored 2 revisions" in err
    assert run_cli(["mirror", str(source.root), target, "--all", "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["mirrored"], told["there"]) == (["lab/other@1"], ["ds@1", "ds@2"])
    for wrong in ([], ["--all", "ds"], ["lab:ds"]):
        assert run_cli(["mirror", str(source.root), target, *wrong]) == 2
    assert run_cli(["mirror", str(source.root), str(source.root), "--all"]) == 2
    assert run_cli(["mirror", str(source.root), target, "nothing"]) == 3
    assert run_cli(["mirror", str(tmp_path / "no store"), target, "--all"]) == 3


# --- which revisions ------------------------------------------------------------------------------


def test_only_what_is_named_travels(source: LocalBackend, target: FarBackend) -> None:
    assert mirrored(source, target, "ds@1").mirrored == ("ds@1",)
    assert mirrored(source, target, "ds@latest").mirrored == ("ds@2",)
    assert mirrored(source, target, "ds").there == ("ds@1", "ds@2")
    assert list(refs(target)) == ["refs/ds/@1", "refs/ds/@2"]
    everything = b"".join(data for data, _ in target.files.values())
    assert b"of another dataset" not in everything
    checked(target)


def test_a_revision_may_be_named_by_its_manifest(source: LocalBackend, target: FarBackend) -> None:
    manifest = source.read("refs/ds/@2").decode().strip()
    assert mirrored(source, target, f"ds@{manifest[:10]}").mirrored == ("ds@2",)


@pytest.mark.parametrize("spec", ["nothing", "ds@9", "nothing@1"])
def test_what_the_source_has_not_is_not_found(
    source: LocalBackend, target: FarBackend, spec: str
) -> None:
    with pytest.raises(NotFoundError):
        mirrored(source, target, spec)
    assert not target.files


class Watched(FarBackend):
    """Remembers which ranges of packs were read."""

    def __init__(self) -> None:
        super().__init__()
        self.ranges: list[tuple[str, int, int]] = []

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().read(key, start, length)
        if key.startswith(layout.PACKS):
            self.ranges.append((key, start, start + len(data)))
        return data


def test_objects_of_other_datasets_in_the_same_pack_are_not_even_read(
    target: FarBackend, tmp_path: Path
) -> None:
    source = Watched()
    secrets = {f"secret{n}": noise(n, 2000) for n in range(10)}
    mine = {f"secret{n}x": noise(100 + n, 2000) for n in range(10)}
    push_to(source, make(tmp_path / "all", {**secrets, **mine}), "all@1")
    push_to(source, make(tmp_path / "mine", mine), "mine@1")
    report = mirrored(source, target, "mine")
    assert (report.is_clean, report.packs_whole) == (True, 0)
    for data in secrets.values():
        assert not any(data in held for held, _ in target.files.values())
        for key, start, end in source.ranges:
            assert data not in source.files[key][0][start:end]
    checked(target)


def test_a_pack_of_which_all_is_wanted_travels_as_it_is(
    source: LocalBackend, target: FarBackend
) -> None:
    report = mirrored(source, target)
    packs = {info.key for info in source.list(layout.PACKS)}
    assert packs <= set(target.files)
    assert report.packs_whole >= 3
    indexes = [info.key for info in source.list(layout.INDEX)]
    assert [target.files[key][0] for key in indexes] == [source.read(key) for key in indexes]


def test_an_index_says_where_objects_lie_in_the_target(target: FarBackend, tmp_path: Path) -> None:
    source = FarBackend()
    files: Tree = {f"f{n:03}": noise(n, 500) for n in range(100)}
    push_to(source, make(tmp_path / "t", files), "ds@1")
    push_to(source, make(tmp_path / "t", {"f050": b"changed"}), "ds@2")
    assert mirrored(source, target, "ds@2").packs_new == 1
    assert mirrored(source, target, "ds").is_clean
    checked(target)
    store = ObjectStore(target)
    for revision in ("1", "2"):
        rows = store.indexes.listing(store.revisions.get("ds", revision)).table
        for row in rows.to_pylist():
            pack = layout.pack_key(ObjectId(row["pack"]))
            content = target.files[pack][0][row["offset"] :][: row["size"]]
            assert ObjectId.of(content).raw == row["sha1"]


# --- how little travels ---------------------------------------------------------------------------


def test_a_mirror_without_changes_writes_nothing_and_asks_little(
    source: LocalBackend, target: FarBackend
) -> None:
    far = FarBackend()
    mirrored(source, far)
    mirrored(far, target)
    before = dict(target.files)
    far.asked.clear()
    target.asked.clear()
    report = mirrored(far, target)
    assert report.there == ("ds@1", "ds@2", "lab/other@1")
    assert target.files == before
    assert not target.calls(*WRITING)
    assert len(far.asked) + len(target.asked) < 20
    for asked in (far.asked, target.asked):
        looked_at = {key for _, key in asked if not key.startswith(("dsa.json", "refs/", "log/"))}
        # Two folders of the target are listed, one request each, however many datasets there are.
        assert looked_at == (set() if asked is far.asked else {layout.DAMAGED, layout.LISTING})


def test_where_listings_tell_the_md5_no_ref_is_read(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    root = tmp_path / "source"
    for n in range(12):
        push(root, f"ds{n}@1", tmp_path / "t", {"a": b"%d" % n})
    (tmp_path / "a").mkdir()
    one, other = (PLACES["s3-moto"].make(request, tmp_path / "a") for _ in range(2))
    mirrored(LocalBackend(root), one)
    mirrored(one, other)
    report = mirrored(one, other)
    assert len(report.there) == 12
    assert report.requests < 20


def test_what_travels_is_new_files_their_trees_and_the_indexes(tmp_path: Path) -> None:
    """Ten revisions, mirrored one by one by two sites, by the bytes that each side counts."""
    source, target = FarBackend(), FarBackend()
    count, size, churn = 2_000, 4096, 40
    chosen = random.Random(1)
    folder = tmp_path / "t"
    names = [f"{n % 20:02}/{n:05}" for n in range(count)]
    make(folder, {name: chosen.randbytes(size) for name in names})
    cache = tmp_path / "site"
    for revision in range(1, 6):
        changed = chosen.sample(names, churn) if revision > 1 else names
        if revision > 1:
            make(folder, {name: chosen.randbytes(size) for name in changed})
        push_to(source, folder, f"ds@{revision}")
        report = mirrored(source, target, cache=cache)
        assert report.mirrored == (f"ds@{revision}",)
        trees = (count + 20) * 40 if revision > 1 else count * 40
        budget = 1.05 * (len(changed) * size + trees + 60 * count)
        # A few small files more: what a store is, refs, marks, listings. They do not grow with files.
        fixed = 24 * 1024
        assert report.bytes_from_source < budget + fixed
        assert report.bytes_to_target < budget + fixed
        assert report.bytes_received - report.bytes_from_source < fixed
    checked(target)


def test_what_was_sent_before_is_not_sent_again(source: LocalBackend, target: FarBackend) -> None:
    """The mirror ends before the first ref."""

    def before(method: str, key: str) -> None:
        if method == "create" and key.startswith(layout.REFS):
            raise AccessError("gone")

    target.before = before
    with pytest.raises(AccessError):
        mirrored(source, target, "ds@1")
    target.before = lambda method, key: None
    target.asked.clear()
    report = mirrored(source, target, "ds@1")
    assert (report.mirrored, report.objects_sent) == (("ds@1",), 0)
    assert not target.calls("publish", "send")["publish packs"]
    checked(target)


# --- broken off at any moment ---------------------------------------------------------------------


class Stopped(Exception):
    """What a kill looks like from inside."""


def test_broken_off_at_any_write_it_is_a_valid_store_and_goes_on(
    source: LocalBackend, tmp_path: Path
) -> None:
    whole = FarBackend()
    mirrored(source, whole)
    writes = sum(method in WRITING for method, _ in whole.asked)
    assert writes > 20
    for number in range(writes):
        target = FarBackend()
        left = [number]

        def before(method: str, key: str, left: list[int] = left) -> None:
            if method in WRITING:
                left[0] -= 1
                if left[0] < 0:
                    raise Stopped

        target.before = before
        with pytest.raises((Stopped, DsaError)):
            mirrored(source, target)
        target.before = lambda method, key: None
        if "dsa.json" in target.files:
            checked(target)
        assert mirrored(source, target).is_clean
        checked(target)
        assert refs(target) == refs(whole)


def test_a_source_that_fails_at_any_read_is_no_access_and_the_next_run_ends_well(
    source: LocalBackend,
) -> None:
    far, whole = FarBackend(), FarBackend()
    mirrored(source, far)
    far.asked.clear()
    mirrored(far, whole)
    for number in range(len(far.asked)):
        target = FarBackend()
        left = [number]

        def before(method: str, key: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise AccessError("no connection")

        far.before = before
        with pytest.raises(AccessError):
            mirrored(far, target)
        far.before = lambda method, key: None
        if "dsa.json" in target.files:
            checked(target)
        assert mirrored(far, target).is_clean
        assert refs(target) == refs(whole)


KILLED = """
import os, sys, threading
import dsa
from dsa.remotes.local import LocalBackend
left = [int(sys.argv[3])]
for name in ("create", "publish", "write"):
    def call(self, *arguments, inner=getattr(LocalBackend, name)):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return inner(self, *arguments)
    setattr(LocalBackend, name, call)
dsa.mirror(sys.argv[1], sys.argv[2], everything=True)
"""


@pytest.mark.parametrize("after", [1, 4, 7, 11, 15])
def test_killed_it_leaves_a_valid_store(source: LocalBackend, tmp_path: Path, after: int) -> None:
    target = tmp_path / "target"
    process = run_python(KILLED, source.root, target, str(after))
    process.communicate(timeout=60)
    assert process.returncode == -9
    if (target / "dsa.json").exists():
        assert dsa.open(target).verify(data=True).is_clean
    assert dsa.mirror(source.root, target, everything=True).is_clean
    assert dsa.open(target).verify(data=True).is_clean
    assert stored(source.root) == stored(target)


def test_two_mirrors_at_once_come_to_the_same(source: LocalBackend, target: FarBackend) -> None:
    reports: list[MirrorReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(mirrored(source, target))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 3
    for report in reports:
        assert report.is_clean
        assert {*report.mirrored, *report.there} == {"ds@1", "ds@2", "lab/other@1"}
    checked(target)


# --- what stands in the way -----------------------------------------------------------------------


def test_all_conflicts_are_named_and_the_rest_is_mirrored(
    source: LocalBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "target"
    push(root, "ds@1", tmp_path / "u", {"a.txt": b"something else"})
    push(root, "lab/other@1", tmp_path / "u", {"x": b"something else"})
    before = refs(LocalBackend(root))
    report = mirrored(source, LocalBackend(root))
    assert list(report.conflicts) == ["ds@1", "lab/other@1"]
    assert report.mirrored == ("ds@2",)
    assert before.items() <= refs(LocalBackend(root)).items()
    checked(LocalBackend(root))
    for quiet in ((), ("--quiet",)):
        assert run_cli(["mirror", str(source.root), str(root), "--all", *quiet]) == 4
        err = capfd.readouterr().err
        assert "not everything was mirrored: 2 in conflict" in err
        assert "ds@1: there it is" in err
        assert "lab/other@1: there it is" in err
    assert run_cli(["mirror", str(source.root), str(root), "--all", "--json"]) == 4
    assert list(json.loads(capfd.readouterr().out)["conflicts"]) == ["ds@1", "lab/other@1"]


def test_names_that_differ_in_case_only_are_conflicts(
    source: LocalBackend, target: FarBackend, tmp_path: Path
) -> None:
    push_to(target, make(tmp_path / "u", {"a": b""}), "DS@1")
    report = mirrored(source, target)
    assert list(report.conflicts) == ["ds@1", "ds@2"]
    assert report.mirrored == ("lab/other@1",)


def test_a_name_that_was_withdrawn_there_is_a_conflict(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target, "ds")
    withdraw(target, "ds@1")
    report = mirrored(source, target)
    assert list(report.conflicts) == ["ds@1"]
    assert target.read("refs/ds/@1").startswith(b"withdrawn ")


def withdraw(backend: Backend, name: str) -> None:
    dataset, _, revision = name.partition("@")
    key = layout.ref_key(dataset, revision)
    ref = Ref.decode(backend.read(key))
    backend.write(key, Ref(ref.manifest, is_withdrawn=True).encode())


def test_withdrawals_travel_only_when_they_are_asked_for(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target, "ds")
    withdraw(source, "ds@1")
    withdraw(source, "lab/other@1")
    report = mirrored(source, target)
    assert report.is_clean
    assert report.withdrawn_at_source == ("ds@1", "lab/other@1")
    assert not target.read("refs/ds/@1").startswith(b"withdrawn")
    assert "refs/lab/other/@1" not in target.files
    assert mirrored(source, target, withdrawals=True, dry_run=True).withdrawn == (
        "ds@1",
        "lab/other@1",
    )
    assert not target.read("refs/ds/@1").startswith(b"withdrawn")
    with pytest.raises(NotFoundError, match="withdrawn"):
        mirrored(source, target, "ds@1")
    report = mirrored(source, target, withdrawals=True)
    assert report.withdrawn == ("ds@1", "lab/other@1")
    assert refs(target) == refs(source)
    assert mirrored(source, target, withdrawals=True).withdrawn == ()


def test_what_is_withdrawn_while_it_is_on_its_way_is_not_published(
    source: LocalBackend, target: FarBackend
) -> None:
    def before(method: str, key: str) -> None:
        if method == "create" and key == "refs/ds/@1":
            withdraw(source, "ds@2")

    target.before = before
    report = mirrored(source, target, "ds")
    assert (report.mirrored, report.withdrawn_at_source) == (("ds@1",), ("ds@2",))
    assert list(refs(target)) == ["refs/ds/@1"]


def test_what_is_damaged_says_at_which_side(source: LocalBackend, target: FarBackend) -> None:
    mirrored(source, target)
    target.write("refs/ds/@1", b"nonsense")
    source.write("refs/lab/other/@1", b"nonsense")
    report = mirrored(source, target)
    assert target.url in report.damaged["ds@1"]
    assert source.url in report.damaged["lab/other@1"]


def test_names_clash_as_they_do_for_a_push_and_thousands_are_compared_at_once() -> None:
    chosen = random.Random(4)
    words = ["a", "A", "b", "B", "aB", "Ab"]

    def name() -> tuple[str, str]:
        return "/".join(chosen.choices(words, k=chosen.randint(1, 3))), chosen.choice(words)

    found = set()
    for _ in range(300):
        taken, wanted = {name() for _ in range(chosen.randint(0, 4))}, name()
        if wanted in taken:
            continue
        there, here = MemoryBackend(), MemoryBackend()
        for backend, names in ((there, taken), (here, {wanted})):
            for dataset, revision in names:
                backend.write(layout.ref_key(dataset, revision), f"{'1' * 40}\n".encode())
        revisions = [revision for dataset, revision in taken if dataset == wanted[0]]
        other = (
            folds_with(wanted[1], revisions)
            if revisions
            else folds_with(wanted[0], [dataset for dataset, _ in taken])
        )
        plan = compare(Refs(here, None), Refs(there, None), {wanted}, withdrawals=False)
        assert (wanted in plan.conflicts) == (other is not None), (wanted, taken)
        found.add(wanted in plan.conflicts)
    assert found == {True, False}
    many = MemoryBackend()
    for number in range(20_000):
        many.write(f"refs/ds/@{number}", f"{number:040x}\n".encode())
    mine = Refs(many, None)
    began = time.monotonic()
    plan = compare(mine, Refs(MemoryBackend(), None), mine.found.keys(), withdrawals=False)
    assert len(plan.new) == 20_000
    assert time.monotonic() - began < 20


def test_two_contents_with_one_id_never_stand_for_each_other(
    target: FarBackend, tmp_path: Path
) -> None:
    source = FarBackend()
    push_to(source, make(tmp_path / "a", {"x": OTHER}), "evil@1")
    push_to(source, make(tmp_path / "b", {"x": b"good"}), "good@1")
    push_to(target, make(tmp_path / "c", {"x": ONE}), "mine@1")
    report = mirrored(source, target)
    assert list(report.conflicts) == ["evil@1"]
    assert report.mirrored == ("good@1",)
    checked(target)


# --- a source that is damaged, or means harm -----------------------------------------------------


def flip(backend: FarBackend, key: str, at: int = -1) -> None:
    data = bytearray(backend.files[key][0])
    data[at] ^= 1
    backend.files[key] = (bytes(data), backend.files[key][1])


def far_source(tmp_path: Path) -> FarBackend:
    """A far store with two revisions of different files, and a large one."""
    source = FarBackend()
    push_to(source, make(tmp_path / "1", {f"f{n}": noise(n, 700) for n in range(20)}), "a@1")
    push_to(source, make(tmp_path / "2", {"g": b"fine", "large": noise(9, 300_000)}), "b@1")
    return source


def holding(backend: FarBackend, content: bytes) -> str:
    (key,) = (
        key
        for key, (data, _) in backend.files.items()
        if content in data and key.startswith((layout.PACKS, layout.OBJECTS))
    )
    return key


def test_a_damaged_object_is_named_its_revision_is_not_published_and_the_others_are(
    target: FarBackend, tmp_path: Path
) -> None:
    source = far_source(tmp_path)
    content = noise(3, 700)
    key = holding(source, content)
    flip(source, key, source.files[key][0].index(content) + 100)
    report = mirrored(source, target)
    assert list(report.damaged) == ["a@1"]
    assert "a@1:f3" in report.damaged["a@1"]
    assert report.mirrored == ("b@1",)
    assert list(refs(target)) == ["refs/b/@1"]
    checked(target)


@pytest.mark.parametrize("content", [noise(9, 300_000), noise(4, 700)], ids=["loose", "packed"])
def test_what_is_damaged_in_one_place_is_taken_from_another(
    target: FarBackend, tmp_path: Path, content: bytes
) -> None:
    source = far_source(tmp_path)
    key = holding(source, content)
    flip(source, key, source.files[key][0].index(content) + 100)
    source.files.pop(layout.object_key(ObjectId.of(content)), None)
    other = FarBackend()
    push_to(other, make(tmp_path / "other", {"x": content}), "x@1")
    for name, file in other.files.items():
        if name.startswith((layout.PACKS, layout.LOCATIONS, layout.OBJECTS)):
            source.files[name] = file
    report = mirrored(source, target, "a", "b")
    assert report.is_clean, report.damaged
    checked(target)


def test_packs_that_a_gc_wrote_anew_are_found_by_the_locations(
    target: FarBackend, tmp_path: Path
) -> None:
    source, plain = FarBackend(), FarBackend()
    push_to(source, make(tmp_path / "t", {f"f{n}": noise(n, 700) for n in range(50)}), "ds@1")
    push_to(
        plain,
        make(
            tmp_path / "u", {f"f{n}": noise(n, 700) for n in reversed(range(50))} | {"extra": b"e"}
        ),
        "x@1",
    )
    for folder in (layout.PACKS, layout.LOCATIONS):
        for key in [key for key in source.files if key.startswith(folder)]:
            if folder == layout.PACKS:
                del source.files[key]
        source.files |= {key: file for key, file in plain.files.items() if key.startswith(folder)}
    report = mirrored(source, target)
    assert report.mirrored == ("ds@1",)
    checked(target)


@pytest.mark.parametrize("kind", ["index", "manifest", "revision.json", "ref"])
def test_a_revision_that_does_not_prove_itself_is_named(
    target: FarBackend, tmp_path: Path, kind: str
) -> None:
    source = far_source(tmp_path)
    published = ObjectStore(source).revisions.get("a", "1")
    keys = {
        "manifest": layout.object_key(published.id),
        "revision.json": layout.object_key(published.manifest.revision),
        "ref": "refs/a/@1",
    }
    if kind == "index":
        # Neither an index nor a tree that is right is left.
        index = layout.index_key(published.id)
        source.files[index] = (b"no index", 0.0)
        for key in [key for key in source.files if key.startswith(layout.PACKS)]:
            flip(source, key, 100)
            flip(source, key, 80)
    else:
        source.files[layout.index_key(published.id)] = (b"no index", 0.0)
        flip(source, keys[kind], 0)
    report = mirrored(source, target)
    assert "a@1" in report.damaged
    assert "refs/a/@1" not in target.files
    checked(target)


def test_an_index_that_lies_is_made_anew(target: FarBackend, tmp_path: Path) -> None:
    source = far_source(tmp_path)
    published = ObjectStore(source).revisions.get("a", "1")
    other = ObjectStore(source).revisions.get("b", "1")
    key = layout.index_key(published.id)
    source.files[key] = source.files[layout.index_key(other.id)]
    report = mirrored(source, target)
    assert report.is_clean, report.damaged
    checked(target)
    assert target.files[key] != source.files[key]


class Endless(FarBackend):
    """Says of loose objects that they never end."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        data = super().read(key, start, length)
        return data + b"x" * 100_000 if key.startswith(layout.OBJECTS) and length is None else data


def test_more_bytes_than_an_object_has_are_wrong_bytes(target: FarBackend, tmp_path: Path) -> None:
    source = Endless()
    push_to(source, make(tmp_path / "2", {"large": noise(9, 300_000)}), "b@1")
    mirrored(source, target)
    checked(target)


# --- large objects --------------------------------------------------------------------------------


@pytest.mark.parametrize("near", [True, False], ids=["near", "far"])
def test_large_objects_are_sent_on_as_they_come(
    target: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: bool
) -> None:
    monkeypatch.setattr(carrier, "_LARGE_BYTES", 200_000)
    monkeypatch.setattr(Landing, "sends_straight", lambda self, size: size > 200_000)
    root = tmp_path / "s"
    push(root, "ds@1", tmp_path / "t", {"large": noise(1, 900_000), "other": noise(2, 400_000)})
    source: Backend = LocalBackend(root)
    if not near:
        source = FarBackend()
        mirrored(LocalBackend(root), source)
    assert mirrored(source, target).is_clean
    assert target.calls("send")["send objects"] == 2
    checked(target)
    key = layout.object_key(ObjectId.of(noise(1, 900_000)))
    damaged, empty = FarBackend(), FarBackend()
    mirrored(LocalBackend(root), damaged)
    flip(damaged, key, 500_000)
    report = mirrored(damaged, empty)
    assert list(report.damaged) == ["ds@1"]
    assert key not in empty.files
    checked(empty)


def test_large_objects_inside_packs_get_files_of_their_own(
    target: FarBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FarBackend()
    with monkeypatch.context() as patch:
        patch.setattr(layout, "LOOSE_FROM_BYTES", 10_000_000)
        push_to(source, make(tmp_path / "t", {"large": noise(1, 400_000), "x": b"x"}), "a@1")
        push_to(source, make(tmp_path / "u", {"large": noise(1, 400_000)}), "b@1")
    assert not any(info.size > 300_000 for info in source.list(layout.OBJECTS))
    report = mirrored(source, target, "b")
    assert report.is_clean
    assert layout.object_key(ObjectId.of(noise(1, 400_000))) in target.files
    checked(target)


# --- the rest of a store --------------------------------------------------------------------------


def write_log(backend: Backend, dataset: str, *words: str) -> None:
    for word in words:
        append(
            backend,
            dataset,
            lambda last, previous, word=word: LogState(  # type: ignore[misc]
                word, "me", "2026-01-01T00:00:00.000Z", previous, {"word": word}
            ),
        )


def log_files(backend: Backend) -> dict[str, bytes]:
    return {info.key: backend.read(info.key) for info in backend.list(layout.LOG)}


def test_logs_travel_forward_only(source: LocalBackend, target: FarBackend) -> None:
    write_log(source, "ds", "one", "two")
    write_log(source, "lab/other", "its own")
    assert mirrored(source, target, "ds").log_entries == 2
    assert list(log_files(target)) == ["log/ds/@00000001.json", "log/ds/@00000002.json"]
    write_log(source, "ds", "three")
    assert mirrored(source, target, dry_run=True).log_entries == 2
    assert mirrored(source, target).log_entries == 2
    assert log_files(target) == log_files(source)
    write_log(target, "ds", "ahead")
    report = mirrored(source, target)
    assert (report.log_entries, report.is_clean) == (0, True)
    write_log(source, "ds", "apart", "further")
    report = mirrored(source, target)
    assert list(report.conflicts) == ["log/ds/"]
    assert len(log_files(target)) == 5


def test_a_log_that_does_not_follow_is_named(source: LocalBackend, target: FarBackend) -> None:
    write_log(source, "ds", "one", "two")
    source.write(layout.log_key("ds", 2), source.read(layout.log_key("ds", 1)))
    report = mirrored(source, target)
    assert list(report.damaged) == ["log/ds/"]
    assert list(log_files(target)) == ["log/ds/@00000001.json"]


def test_the_log_of_a_dataset_travels_only_where_that_dataset_is(
    source: LocalBackend, target: FarBackend, tmp_path: Path
) -> None:
    write_log(source, "ds", "of the source's ds")
    write_log(source, "lab/other", "of the other")
    push_to(target, make(tmp_path / "u", {"a.txt": b"another dataset of this name"}), "ds@1")
    withdraw(source, "lab/other@1")
    report = mirrored(source, target)
    assert (list(report.conflicts), report.mirrored) == (["ds@1"], ("ds@2",))
    assert report.withdrawn_at_source == ("lab/other@1",)
    assert (report.log_entries, log_files(target)) == (0, {})
    apart = FarBackend()
    push_to(apart, make(tmp_path / "v", {"a": b""}), "DS@1")
    write_log(apart, "DS", "its own")
    assert list(mirrored(source, apart, "ds").conflicts) == ["ds@1", "ds@2"]
    assert list(log_files(apart)) == ["log/DS/@00000001.json"]
    assert mirrored(source, FarBackend(), "ds", dry_run=True).is_clean


def test_a_log_alone_is_not_written_to_a_store_that_needs_a_newer_release(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target)
    write_log(source, "ds", "one")
    said = json.loads(target.read("dsa.json")) | {"requires_to_write": ["magic"]}
    target.write("dsa.json", json.dumps(said).encode())
    with pytest.raises(DsaError, match="magic"):
        mirrored(source, target)
    assert not log_files(target)


def test_a_log_alone_is_not_written_where_two_writers_could_overwrite_each_other(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target)
    write_log(source, "ds", "one")
    ignoring = IgnoringMemory()
    ignoring.files = target.files
    with pytest.raises(DsaError, match="overwrite each other"):
        mirrored(source, ignoring)
    assert not log_files(target)


def test_listings_that_a_killed_mirror_left_behind_are_renewed_by_the_next(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target, "ds@1")
    right = FarBackend()
    mirrored(source, right)

    def before(method: str, key: str) -> None:
        if method in WRITING and key.startswith(layout.LISTING):
            raise Stopped

    target.before = before
    with pytest.raises(Stopped):
        mirrored(source, target)
    assert refs(target) == refs(right)
    target.before = lambda method, key: None
    assert b"lab/other" not in target.read("listing/@datasets.jsonl")
    assert mirrored(source, target, dry_run=True).is_clean
    assert b"lab/other" not in target.read("listing/@datasets.jsonl")
    assert mirrored(source, target).mirrored == ()
    for name in ("@datasets.jsonl", "ds/@revisions.jsonl", "lab/other/@revisions.jsonl"):
        assert target.read(f"listing/{name}") == right.read(f"listing/{name}")
    for backend in (source, target):
        withdraw(backend, "ds@1")
    assert mirrored(source, target).is_clean
    assert b"withdrawn" in target.read("listing/ds/@revisions.jsonl")
    del target.files["listing/@datasets.jsonl"]
    assert mirrored(source, target).is_clean
    assert b"lab/other" in target.read("listing/@datasets.jsonl")
    target.asked.clear()
    mirrored(source, target)
    assert not target.calls(*WRITING)


def test_after_a_ctrl_c_nobody_waits_long_for_a_listing(
    source: LocalBackend, target: FarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole, "_PATIENCE_SECONDS", 0.2)
    hanging = threading.Event()

    def before(method: str, key: str) -> None:
        if method == "create" and key == "refs/lab/other/@1":
            raise KeyboardInterrupt
        if key.startswith(layout.LISTING):
            hanging.wait(60)

    target.before = before
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        mirrored(source, target)
    assert time.monotonic() - began < 30
    hanging.set()
    assert "refs/ds/@2" in target.files


def test_readers_that_cannot_list_find_what_was_mirrored(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target)
    lines = target.read("listing/ds/@revisions.jsonl").decode().splitlines()
    assert [json.loads(line)["revision"] for line in lines] == ["1", "2"]
    assert b"lab/other" in target.read("listing/@datasets.jsonl")


def test_a_listing_that_a_killed_mirror_left_behind_is_renewed_by_the_next_one(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target)
    whole = target.read("listing/ds/@revisions.jsonl")
    target.write("listing/ds/@revisions.jsonl", whole.splitlines(keepends=True)[0])
    target.asked.clear()
    mirrored(source, target, dry_run=True)
    assert not target.calls(*WRITING)
    assert mirrored(source, target).mirrored == ()
    assert target.read("listing/ds/@revisions.jsonl") == whole
    assert target.calls(*WRITING) == {"write listing": 1}


def test_a_dry_run_tells_what_would_travel_and_writes_nothing(
    source: LocalBackend, target: FarBackend, tmp_path: Path
) -> None:
    report = mirrored(source, target, dry_run=True)
    assert (report.store_created, report.dry_run) == (True, True)
    assert report.mirrored == ("ds@1", "ds@2", "lab/other@1")
    contents = {*TREE.values(), b"new", b"changed", b"of another dataset"}
    assert (report.objects_sent, report.bytes_objects) == (
        len(contents),
        sum(map(len, contents)),
    )
    assert not target.files
    mirrored(source, target, "ds@1")
    before = dict(target.files)
    report = mirrored(source, target, dry_run=True)
    assert (report.there, report.objects_sent) == (("ds@1",), 3)
    assert target.files == before


def test_a_place_with_something_else_is_left_alone(source: LocalBackend, tmp_path: Path) -> None:
    other = make(tmp_path / "other", {"thesis.txt": b"years of work"})
    before = snapshot(other)
    for dry_run in (True, False):
        with pytest.raises(ConflictError, match="no store"):
            mirrored(source, LocalBackend(other), dry_run=dry_run)
    assert snapshot(other) == before


def test_a_target_that_needs_a_newer_release_is_not_written_to(
    source: LocalBackend, target: FarBackend
) -> None:
    mirrored(source, target, "ds@1")
    said = json.loads(target.read("dsa.json")) | {"requires_to_write": ["magic"]}
    target.write("dsa.json", json.dumps(said).encode())
    before = dict(target.files)
    with pytest.raises(DsaError, match="magic"):
        mirrored(source, target)
    assert target.files == before


def test_a_target_that_may_not_be_written_to_is_no_access_before_data_is_read(
    source: LocalBackend, target: FarBackend
) -> None:
    far = FarBackend()
    mirrored(source, far)
    mirrored(source, target, "ds@1")

    def before(method: str, key: str) -> None:
        if method in WRITING:
            raise AccessError("no permission", is_refusal=True)

    target.before = before
    far.asked.clear()
    with pytest.raises(AccessError):
        mirrored(far, target)
    assert {key.partition("/")[0] for _, key in far.asked} <= {"dsa.json", "refs"}


def test_damage_on_record_at_the_target_is_healed_by_what_comes(
    target: FarBackend, tmp_path: Path
) -> None:
    source = FarBackend()
    push_to(source, make(tmp_path / "1", {f"f{n}": noise(n, 700) for n in range(20)}), "a@1")
    push_to(source, make(tmp_path / "1", {"more": b"m"}), "a@2")
    mirrored(source, target, "a@1")
    key = holding(target, noise(3, 700))
    flip(target, key, target.files[key][0].index(noise(3, 700)) + 5)
    assert verify(ObjectStore(target), [], data=True).recorded
    assert mirrored(source, target).is_clean
    store = ObjectStore(target)
    listing = store.indexes.listing(store.revisions.get("a", "2")).table
    assert len(listing) == 21
    found = verify(store, ["a@2"], data=True, record=False)
    assert not any(finding.kind == "missing" for finding in found.findings)


@pytest.mark.parametrize("dry_run", [False, True])
def test_mirroring_again_heals_what_is_on_record_as_damaged_at_the_target(
    target: FarBackend, tmp_path: Path, dry_run: bool
) -> None:
    source = far_source(tmp_path)
    mirrored(source, target)
    large = layout.object_key(ObjectId.of(noise(9, 300_000)))
    tree = ObjectStore(target).revisions.get("a", "1").manifest.data
    for content in (noise(3, 700), ObjectStore(target).objects.read(Wanted(tree))):
        key = holding(target, content)
        flip(target, key, target.files[key][0].index(content) + 5)
    flip(target, large, 5)
    before = refs(target)
    assert verify(ObjectStore(target), [], data=True).recorded == 3
    held = dict(target.files)
    report = mirrored(source, target, dry_run=dry_run)
    assert (report.is_clean, report.mirrored, report.there) == (True, (), ("a@1", "b@1"))
    if dry_run:  # trees are made, and not counted
        assert (report.healed, target.files) == (2, held)
        return
    assert report.healed == 3
    found = verify(ObjectStore(target), [], data=True, record=False)
    assert not [finding for finding in found.findings if finding.is_damage]
    assert refs(target) == before
    source.asked.clear()
    target.asked.clear()
    again = mirrored(source, target)
    assert (again.healed, again.objects_sent) == (0, 0)
    assert not target.calls(*WRITING)
    assert not source.calls("read")["read index"]


def test_what_neither_side_has_whole_is_named(target: FarBackend, tmp_path: Path) -> None:
    source = far_source(tmp_path)
    mirrored(source, target)
    for backend in (source, target):
        key = holding(backend, noise(3, 700))
        flip(backend, key, backend.files[key][0].index(noise(3, 700)) + 5)
    verify(ObjectStore(target), [], data=True)
    report = mirrored(source, target)
    assert list(report.damaged) == ["a@1"]
    assert source.url in report.damaged["a@1"]


@pytest.mark.parametrize("folder", [layout.PACKS, layout.OBJECTS, layout.INDEX])
def test_pieces_of_files_that_another_tool_left_are_got_around(tmp_path: Path, folder: str) -> None:
    source = far_source(tmp_path)
    target = connect(f"memory://{tmp_path.name}", {"single_writer": "true"})
    target.write("dsa.json", source.read("dsa.json"))
    left = {}
    for info in source.list(folder):
        if folder != layout.OBJECTS or info.size > 100_000:
            left[info.key] = source.read(info.key, 0, info.size // 2)
            target.write(info.key, left[info.key])
    assert left
    report = mirrored(source, target)
    assert (report.mirrored, report.is_clean) == (("a@1", "b@1"), True)
    found = verify(ObjectStore(target), [], data=True, record=False).findings
    if folder == layout.INDEX:  # it is only derived
        assert not found
    else:  # it stays, and is named
        assert all(target.read(key) == data for key, data in left.items())
        assert {finding.subject for finding in found} == set(left)
    whole = FarBackend()
    assert mirrored(target, whole).is_clean
    checked(whole)
    assert mirrored(source, target).there == ("a@1", "b@1")


# --- other ways -----------------------------------------------------------------------------------


class OneServer(FarBackend):
    """Copies from its like by itself."""

    def same_endpoint(self, other: Backend) -> bool:
        return isinstance(other, OneServer)

    def copy_from(self, other: Backend, key: str) -> None:
        self.create(key, other.read(key))


def test_a_server_copies_no_pack_that_an_index_only_says_is_wanted(tmp_path: Path) -> None:
    source = OneServer()
    push_to(source, make(tmp_path / "a", {f"p{n}": noise(n, 500) for n in range(8)}), "public@1")
    secret: Tree = {f"s{n}": b"secret" * 83 + b"%02d" % n for n in range(8)}
    push_to(source, make(tmp_path / "b", secret), "private@1")
    store = ObjectStore(source)
    public, private = (store.revisions.get(name, "1") for name in ("public", "private"))
    lying, true = (store.indexes.listing(one) for one in (public, private))
    table = lying.table
    for name in ("pack", "offset"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, listing.SCHEMA.field(name), true.table[name])
    index = tmp_path / "index"
    write_index(index, Listing(table, lying.root), public.manifest, public.revision_json)
    source.write(layout.index_key(public.id), index.read_bytes())
    for is_there in (False, True):
        target = OneServer()
        if is_there:  # by its own right: then no location may say that other objects lie there
            mirrored(source, target, "private")
        report = mirrored(source, target, "public", server_side=True)
        assert (report.mirrored, report.packs_whole) == (("public@1",), 1)
        checked(target)
        travelled = any(b"secretsecret" in data for data, _ in target.files.values())
        assert travelled == is_there


@pytest.mark.parametrize("kind", ["s3-moto", "s3-ceph"])
def test_a_server_copies_between_two_stores_of_its_own(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "source"
    push(root, "ds@1", tmp_path / "t", {**TREE, "noise": noise(1, 200_000)})
    push(root, "ds@2", tmp_path / "t", {"new": b"new"})
    one, other, third = (PLACES[kind].make(request, tmp_path) for _ in range(3))
    mirrored(LocalBackend(root), one)
    report = mirrored(one, other, server_side=True)
    assert report.mirrored == ("ds@1", "ds@2")
    assert report.objects_unread == len({*TREE.values(), b"", b"1"}) + 1
    assert report.bytes_from_source < 100_000
    checked(other)
    part = mirrored(one, third, "ds@2", server_side=True)
    assert part.is_clean
    checked(third)


def test_two_buckets_of_one_name_at_two_servers_are_two_places(source: LocalBackend) -> None:
    def bucket(port: int) -> Backend:
        where = {"endpoint": f"http://127.0.0.1:{port}", "anonymous": "true"}
        return connect("s3://datasets", where)

    held = ObjectStore(source)
    held.backend = bucket(1)
    for port in (1, 2):
        wish = Wish(everything=True, server_side=port == 2)
        with pytest.raises(UsageError, match="twice" if port == 1 else "the same server"):
            mirror(held, bucket(port), None, wish)


def test_a_server_can_only_copy_what_it_serves(source: LocalBackend, target: FarBackend) -> None:
    with pytest.raises(UsageError, match="S3"):
        mirrored(source, target, server_side=True)


@pytest.mark.parametrize("kind", ["http", "zip"])
def test_what_can_only_be_read_is_a_source_too(
    request: pytest.FixtureRequest,
    source: LocalBackend,
    target: FarBackend,
    tmp_path: Path,
    kind: str,
) -> None:
    write_log(source, "ds", "one", "two")
    files = {info.key: source.read(info.key) for info in source.list("")}
    (tmp_path / "served").mkdir()
    backend = READ_ONLY[kind].make(request, tmp_path / "served", files)
    report = mirrored(backend, target)
    assert report.mirrored == ("ds@1", "ds@2", "lab/other@1")
    checked(target)
    assert mirrored(backend, target).mirrored == ()


def test_a_name_that_is_neither_a_remote_nor_a_folder_does_not_become_a_store(
    source: LocalBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(["mirror", str(source.root), "bakcup", "--all"]) == 2
    assert "./bakcup" in capfd.readouterr().err
    assert not (tmp_path / "bakcup").exists()
    assert run_cli(["mirror", str(source.root), "./backup", "--all"]) == 0
    assert run_cli(["mirror", str(source.root), "backup", "--all"]) == 0
    assert run_cli(["remote", "add", "copies", str(tmp_path / "elsewhere"), "--no-check"]) == 0
    assert run_cli(["mirror", str(source.root), "copies", "--all"]) == 0


def test_hints_name_the_remote_as_it_is_configured(source: LocalBackend) -> None:
    with pytest.raises(DsaError) as caught:
        mirror(ObjectStore(source), IgnoringMemory(), None, Wish(everything=True), name="copies")
    assert "copies" in str(caught.value)
    assert "dsa remote add copies" in str(caught.value.hint)


def test_a_place_without_put_if_absent_is_refused_until_it_is_single_writer(
    request: pytest.FixtureRequest, source: LocalBackend, tmp_path: Path
) -> None:
    plain = connect(f"memory://{tmp_path.name}-1")
    with pytest.raises(DsaError, match="overwrite each other"):
        mirrored(source, plain)
    assert not list(plain.list(""))
    declared = connect(f"memory://{tmp_path.name}-2", {"single_writer": "true"})
    assert mirrored(source, declared).is_clean
    checked(declared)


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync: apt-get install rsync")
def test_rsync_with_refs_last_makes_a_valid_mirror(source: LocalBackend, tmp_path: Path) -> None:
    target = tmp_path / "target"

    def rsync(*more: str) -> None:
        subprocess.run(
            ["rsync", "-a", "--exclude=/site/", *more, f"{source.root}/", str(target)], check=True
        )

    for name in ("ds@3", "ds@4"):
        rsync("--exclude=/refs/")
        if target.exists() and (target / "dsa.json").exists():
            assert dsa.open(target).verify(data=True).is_clean
        rsync()
        assert dsa.open(target).verify(data=True).is_clean
        assert not (target / "site").exists()
        assert mirrored(source, LocalBackend(target)).mirrored == ()
        push(source.root, name, tmp_path / "t", {"added": name.encode()})
    assert mirrored(source, LocalBackend(target)).mirrored == ("ds@4",)
    assert dsa.open(target).verify(data=True).is_clean
