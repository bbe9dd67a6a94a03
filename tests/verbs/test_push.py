"""Push: what it publishes, what it refuses, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from collisions import ONE, OTHER
from treetools import EMPTY, ODD, Exec, Link, look, make, read_everything, refusal, snapshot, stored

import dsa
from dsa.errors import (
    CollisionError,
    ConflictError,
    DsaError,
    NotFoundError,
    UsageError,
)

TREE = {"a.txt": b"hello", "sub/b.bin": b""}
LARGE = b"\0" * 300_000  # what makes an object lie in a file of its own


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    return dsa.open(tmp_path / "store", create=True)


def keys(store: dsa.Store) -> set[str]:
    return stored(Path(store.url))


def test_a_push_publishes_and_leaves_the_folder_as_it_was(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", TREE)
    before = snapshot(folder)
    report = store.push("ds", "1", folder, message="first", metadata={"k": [1, "é"]})
    assert (report.is_new, report.store_created, report.files, report.folders, report.bytes) == (
        True,
        True,
        2,
        1,
        5,
    )
    assert snapshot(folder) == before
    assert list(store.datasets()) == ["ds"]
    revision = store["ds@1"]
    assert (revision.message, revision.metadata, revision.manifest) == (
        "first",
        {"k": [1, "é"]},
        report.manifest,
    )
    assert revision.read("a.txt") == b"hello"
    assert read_everything(store) == 2


def test_the_same_again_is_already_there_and_writes_nothing(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", TREE)
    first = store.push("ds", "1", folder, message="m", metadata={"a": 1})
    before = snapshot(Path(store.url))
    for again in (
        store.push("ds", "1", folder),
        store.push("ds", "1", folder, message="m", metadata={"a": 1}),
        store.push("ds", "1", make(tmp_path / "elsewhere", TREE)),
    ):
        assert not again.is_new
        assert (again.manifest, again.objects_new, again.bytes_new) == (first.manifest, 0, 0)
    assert snapshot(Path(store.url)) == before


@pytest.mark.parametrize("said", [{"message": "other"}, {"metadata": {"a": 2}}, {"metadata": {}}])
def test_the_same_data_with_another_message_or_metadata_is_refused(
    store: dsa.Store, tmp_path: Path, said: dict[str, object]
) -> None:
    folder = make(tmp_path / "t", TREE)
    store.push("ds", "1", folder, message="m", metadata={"a": 1})
    before = snapshot(Path(store.url))
    with pytest.raises(ConflictError, match="another message or other metadata"):
        store.push("ds", "1", folder, **said)  # type: ignore[arg-type]
    assert snapshot(Path(store.url)) == before


@pytest.mark.parametrize(
    "change",
    [
        {"a.txt": b"jello"},
        {"a.txt": Exec(b"hello")},
        {"new": b""},
        {"folder": EMPTY},
        {"a.txt": Link("sub/b.bin")},
    ],
    ids=["content", "mode", "file", "folder", "link"],
)
def test_other_data_under_the_same_name_is_refused(
    store: dsa.Store, tmp_path: Path, change: dict[str, bytes]
) -> None:
    folder = make(tmp_path / "t", TREE)
    store.push("ds", "1", folder)
    before = snapshot(Path(store.url))
    make(folder, change)
    with pytest.raises(ConflictError, match=r"already in .*, with other content") as caught:
        store.push("ds", "1", folder)
    assert caught.value.exit_code == 4
    assert snapshot(Path(store.url)) == before


def test_the_same_data_under_a_new_name_sends_no_content(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**TREE, "large": LARGE})
    first = store.push("ds", "1", folder)
    before = keys(store)
    second = store.push("ds", "2", folder)
    third = store.push("other/name", "1", make(tmp_path / "copy", {**TREE, "large": LARGE}))
    for report in (second, third):
        assert (report.is_new, report.objects_new, report.bytes_new) == (True, 0, 0)
        assert report.data == first.data
        assert report.objects_shared == 3
    new = keys(store) - before
    assert not [key for key in new if key.startswith(("packs/", "locations/"))]
    assert len([key for key in new if key.startswith("objects/")]) == 4  # two of each manifest


def test_one_changed_file_of_a_thousand_is_one_new_object(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {f"{n % 10}/{n}": b"%d" % n for n in range(1000)})
    assert store.push("ds", "1", folder).objects_new == 1000
    (folder / "3" / "3").write_bytes(b"changed")
    report = store.push("ds", "2", folder)
    assert (report.objects_new, report.bytes_new, report.parent) == (1, 7, "ds@1")


def test_equal_contents_are_stored_once(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {f"{n}": b"same" for n in range(50)} | {"l1": LARGE, "l2": LARGE})
    report = store.push("ds", "1", folder)
    assert report.objects_new == 2
    assert read_everything(store) == 52


def test_content_equal_to_an_older_revision_is_shared(store: dsa.Store, tmp_path: Path) -> None:
    old, new = make(tmp_path / "old", {"f": b"old"}), make(tmp_path / "new", {"f": b"new"})
    store.push("ds", "1", old)
    store.push("ds", "2", new)
    assert store.push("ds", "3", old).objects_new == 0


def test_an_empty_folder_can_be_pushed(store: dsa.Store, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    report = store.push("ds", "1", tmp_path / "t")
    assert (report.files, report.folders, report.bytes) == (0, 0, 0)
    assert list(store["ds@1"].files) == []
    assert not store.push("ds", "1", tmp_path / "t").is_new


def test_a_dry_run_writes_nothing(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", TREE)
    plan = store.push("ds", "1", folder, dry_run=True)
    assert (plan.dry_run, plan.is_new, plan.objects_new, plan.bytes_new) == (True, True, 2, 5)
    assert not Path(store.url).exists()
    store.push("ds", "1", folder)
    before = snapshot(Path(store.url))
    make(folder, {"c": b"new"})
    plan = store.push("ds", "2", folder, dry_run=True)
    assert (plan.objects_new, plan.objects_shared) == (1, 2)
    with pytest.raises(ConflictError):
        store.push("ds", "1", folder, dry_run=True)
    assert snapshot(Path(store.url)) == before


@pytest.mark.parametrize(
    ("dataset", "revision"),
    [
        ("", "1"),
        ("-a", "1"),
        ("a//b", "1"),
        ("../a", "1"),
        ("a", "latest"),
        ("a", "x y"),
        ("con", "1"),
    ],
)
def test_names_that_are_not_allowed_are_refused_first(
    store: dsa.Store, tmp_path: Path, dataset: str, revision: str
) -> None:
    with pytest.raises(UsageError):
        store.push(dataset, revision, tmp_path / "nothing")
    assert not Path(store.url).exists()


def test_a_folder_that_is_not_there_is_not_found(store: dsa.Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(NotFoundError):
            store.push("ds", "1", folder)
    assert not Path(store.url).exists()


def test_a_store_is_not_made_where_something_else_lies(tmp_path: Path) -> None:
    make(tmp_path / "home", {"precious": b""})
    with pytest.raises(ConflictError):
        dsa.open(tmp_path / "home", create=True).push("ds", "1", make(tmp_path / "t", TREE))
    assert look(tmp_path / "home") == {"precious": b""}


def test_names_that_differ_only_in_case_are_refused(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", TREE)
    store.push("Some/set", "a", folder)
    with pytest.raises(ConflictError, match="case"):
        store.push("some/other", "1", folder)
    with pytest.raises(ConflictError, match="case"):
        store.push("Some/set", "A", folder)
    store.push("Some/set/below", "a", folder)


# --- parents --------------------------------------------------------------------------------------


def test_the_parent_is_the_newest_or_what_is_checked_out_or_what_is_named(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", TREE)
    assert store.push("ds", "1", folder).parent is None
    make(folder, {"c": b"2"})
    assert store.push("ds", "2", folder).parent == "ds@1"
    store.checkout("ds@1", tmp_path / "w")
    make(tmp_path / "w", {"c": b"3"})
    assert store.push("ds", "3", tmp_path / "w").parent == "ds@1"
    assert dsa.status(tmp_path / "w").revision == "3"
    assert dsa.status(tmp_path / "w").is_clean
    make(folder, {"c": b"4"})
    assert store.push("ds", "4", folder, parent="2").parent == "ds@2"
    assert store.push("new", "1", folder, parent="ds@1").parent == "ds@1"
    with pytest.raises(NotFoundError):
        store.push("ds", "5", folder, parent="nope")
    assert [revision.revision for revision in store.revisions("ds")] == ["4", "3", "2", "1"]


# --- what is left out and what is refused ---------------------------------------------------------


def test_odd_names_of_all_kinds_are_taken(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", ODD)
    report = store.push("ds", "1", folder)
    assert report.files == sum(thing is not EMPTY for thing in ODD.values())
    revision = store["ds@1"]
    assert set(revision.files) == {path for path, thing in ODD.items() if thing is not EMPTY}
    assert read_everything(store) == report.files


def test_git_and_dsa_are_left_out_and_counted(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {**TREE, ".git/config": b"", "sub/.git": b"gitdir: x"})
    (folder / ".dsa").mkdir()
    report = store.push("ds", "1", folder)
    assert set(store["ds@1"].files) == set(TREE)
    assert report.left_out == {".git": 2, ".dsa": 1}


def test_ignored_and_excluded_files_are_left_out_and_counted(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(
        tmp_path / "t",
        {
            ".dsaignore": b"*.tmp\n!keep.tmp\n/only-here\n",
            "a.tmp": b"",
            "keep.tmp": b"",
            "only-here": b"",
            "sub/only-here": b"",
            "sub/.dsaignore": b"x\n",
            "sub/x": b"",
            "y/x": b"",
            "cache/1": b"",
            "cache/2": b"",
        },
    )
    report = store.push("ds", "1", folder, exclude=["cache/"])
    assert set(store["ds@1"].files) == {
        ".dsaignore",
        "keep.tmp",
        "sub/only-here",
        "sub/.dsaignore",
        "y/x",
    }
    assert report.left_out == {"ignored": 4}


def test_what_cannot_be_pushed_is_refused_up_front_and_all_named(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(
        tmp_path / "t",
        {
            **TREE,
            "sub/absolute": Link("/etc/passwd"),
            "out": Link("../../x"),
            ".DSA/x": b"",
            "sub/.dsa.": b"",
        },
    )
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(folder / "sub" / "socket"))
    (folder / os.fsdecode(b"f\xff")).touch()
    (folder / os.fsdecode(b"d\xff")).mkdir()
    expected = {
        "fifo: a FIFO",
        "sub/socket: a socket",
        "sub/absolute: a link that leaves the tree, to /etc/passwd (--follow-links takes what it points at)",
        "out: a link that leaves the tree, to ../../x (--follow-links takes what it points at)",
        ".DSA: the name '.DSA' is a spelling of '.dsa'",
        "sub/.dsa.: the name 'sub/.dsa.' is a spelling of '.dsa'",
        r"b'f\xff': a name that is not UTF-8",
        r"b'd\xff': a name that is not UTF-8",
    }
    if os.geteuid() == 0:
        os.mknod(folder / "device", 0o20600, os.makedev(1, 3))
        expected.add("device: a device")
    with pytest.raises(DsaError) as caught:
        store.push("ds", "1", folder)
    assert caught.value.exit_code == 1
    names = {problem.split(": ")[0] for problem in caught.value.problems}
    assert names == {problem.split(": ")[0] for problem in expected}
    assert not Path(store.url).exists()
    store.push("ds", "1", folder, exclude=[
        "fifo", "socket", "absolute", "out", ".DSA", ".dsa.", "device", "f?", "d?",
    ])  # fmt: skip
    assert set(store["ds@1"].files) == set(TREE)


def test_followed_links_become_what_they_point_at(store: dsa.Store, tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"f": b"far", "d/g": Exec(b"g")})
    folder = make(
        tmp_path / "t",
        {"a": b"a", "b": Link("a"), "far": Link(str(outside / "f")), "d": Link(str(outside / "d"))},
    )
    store.push("ds", "1", folder, follow_links=True)
    store.checkout("ds@1", tmp_path / "w")
    assert look(tmp_path / "w") == {"a": b"a", "b": b"a", "far": b"far", "d/g": Exec(b"g")}
    put = {"dangling": Link("nothing"), "round": Link(".")}
    with pytest.raises(DsaError) as caught:
        store.push("ds", "2", make(folder, put), follow_links=True)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["dangling", "round"]


def test_paths_as_long_as_the_limit_are_taken_or_refused_by_name(
    store: dsa.Store, tmp_path: Path
) -> None:
    """The system takes at most 4,096 bytes at once, and what is above the folder counts too."""
    (tmp_path / "t").mkdir()
    here = os.open(tmp_path / "t", os.O_RDONLY)
    for _ in range(18):
        os.mkdir("n" * 200, dir_fd=here)
        deeper = os.open("n" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    for at in range(40):
        os.mkdir(f"{at:07}", dir_fd=here)
        deeper = os.open(f"{at:07}", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
        os.close(os.open("f" * 120, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    error = refusal(lambda: store.push("ds", "1", tmp_path / "t"))
    subprocess.run(["rm", "-rf", str(tmp_path / "t")], check=True)
    if error:
        assert error.exit_code == 1
        assert error.problems
        assert not Path(store.url).exists()


# --- two contents with one SHA-1 ------------------------------------------------------------------


def test_the_pair_collides() -> None:
    for suffix in (b"", LARGE):
        assert hashlib.sha1(ONE + suffix).digest() == hashlib.sha1(OTHER + suffix).digest()
        assert hashlib.sha256(ONE + suffix).digest() != hashlib.sha256(OTHER + suffix).digest()


@pytest.mark.parametrize("suffix", [b"", LARGE], ids=["small", "large"])
class TestCollisions:
    def test_in_one_push_both_are_named(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        folder = make(tmp_path / "t", {"sub/one": ONE + suffix, "two": OTHER + suffix, "x": b"x"})
        for dry_run in (True, False):
            with pytest.raises(CollisionError, match="sub/one") as caught:
                store.push("ds", "1", folder, dry_run=dry_run)
            assert "two" in str(caught.value)
            assert caught.value.exit_code == 4
        assert list(store.datasets()) == []
        assert not [key for key in keys(store) if key.startswith("refs/")]

    def test_with_one_in_the_store_both_are_named(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        store.push("some/set", "1.0", make(tmp_path / "a", {"deep/one": ONE + suffix}))
        before = keys(store)
        other = make(tmp_path / "b", {"x": b"x", "two": OTHER + suffix})
        for dataset in ("some/set", "another"):
            with pytest.raises(CollisionError) as caught:
                store.push(dataset, "2", other)
            said = " ".join([str(caught.value), *caught.value.problems])
            assert "two" in said
            assert "some/set@1.0:deep/one" in said
        refs = {key for key in keys(store) - before if not key.startswith(("packs", "locations"))}
        assert refs == set()
        assert store["some/set@1.0"].read("deep/one") == ONE + suffix

    def test_the_other_content_is_not_already_there(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        """A tree holds only SHA-1s: both folders have one tree, and are not the same."""
        folder = make(tmp_path / "t", {"f": ONE + suffix})
        store.push("ds", "1", folder)
        make(folder, {"f": OTHER + suffix})
        with pytest.raises(CollisionError):
            store.push("ds", "1", folder)

    def test_a_swap_in_a_worktree_is_noticed(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        store.push("ds", "1", make(tmp_path / "t", {"f": ONE + suffix}))
        tree = tmp_path / "w"
        store.checkout("ds@1", tree)
        (tree / "f").write_bytes(OTHER + suffix)
        assert [change.path for change in dsa.status(tree).changes] == ["f"]
        assert [change.path for change in store.diff("ds@1", str(tree)).changes] == ["f"]
        assert not store.verify_folder(tree, "ds@1").is_clean
        with pytest.raises(ConflictError):
            store.checkout("ds@1", tree)
        store.checkout("ds@1", tree, force=True)
        assert (tree / "f").read_bytes() == ONE + suffix
        (tree / "f").write_bytes(OTHER + suffix)
        with pytest.raises(CollisionError):
            store.push("ds", "2", tree)

    def test_a_store_that_holds_both_gives_each_its_own(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        """Two stores, each unaware of the other, copied together: readers go by the SHA-256."""
        store.push("one", "1", make(tmp_path / "a", {"f": ONE + suffix}))
        apart = dsa.open(tmp_path / "apart", create=True)
        apart.push("other", "1", make(tmp_path / "b", {"f": OTHER + suffix}))
        shutil.copytree(
            apart.url,
            store.url,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("dsa.json", "site"),
        )
        assert store["one@1"].data == store["other@1"].data
        good = 0
        for name, content in (("one@1", ONE + suffix), ("other@1", OTHER + suffix)):
            error = refusal(partial(store.checkout, name, tmp_path / name))
            if error:
                assert error.exit_code == 5  # two large ones have one name: one of them is lost
                assert suffix
                assert not (tmp_path / name / "f").exists()
            else:
                assert (tmp_path / name / "f").read_bytes() == content
                good += 1
        assert good == (1 if suffix else 2)

    def test_an_index_is_proven_for_each_revision_anew(
        self, store: dsa.Store, tmp_path: Path, suffix: bytes
    ) -> None:
        """The index of one is put in the place of the other's, after it was once found good."""
        store.push("one", "1", make(tmp_path / "a", {"f": ONE + suffix}))
        apart = dsa.open(tmp_path / "apart", create=True)
        apart.push("other", "1", make(tmp_path / "b", {"f": OTHER + suffix}))
        shutil.copytree(
            apart.url, store.url, dirs_exist_ok=True, ignore=shutil.ignore_patterns("site")
        )
        index = Path(store.url, "index")
        one, other = (index / f"{store[name].manifest}.parquet" for name in ("one@1", "other@1"))
        store["one@1"].to_table()
        other.chmod(0o644)
        other.write_bytes(one.read_bytes())
        error = refusal(lambda: store.checkout("other@1", tmp_path / "w2"))
        if error:
            assert error.exit_code == 5
        else:
            assert (tmp_path / "w2" / "f").read_bytes() == OTHER + suffix


# --- what is damaged is sent again ----------------------------------------------------------------


def test_what_is_recorded_as_damaged_is_sent_again(store: dsa.Store, tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"small": b"small", "large": LARGE})
    store.push("ds", "1", folder)
    row = {path: file.sha1 for path, file in store["ds@1"].files.items()}
    loose = Path(store.url, "objects", row["large"][:2], row["large"][2:])
    loose.chmod(0o644)
    loose.write_bytes(b"\1" * 300_000)
    damaged = Path(store.url, "site", "damaged")
    damaged.mkdir(parents=True, exist_ok=True)
    places = [{"id": row["large"], "pack": None}]
    (damaged / "by-hand.json").write_text(json.dumps({"created": "", "places": places}))
    with pytest.raises(DsaError):
        store["ds@1"].read("large")
    report = store.push("ds", "1", folder)
    assert (report.is_new, report.healed) == (False, 1)
    assert store["ds@1"].read("large") == LARGE
    store.checkout("ds@1", tmp_path / "w")
    assert look(tmp_path / "w") == look(folder)


def test_what_a_ref_relies_on_is_synced_before_it_whoever_wrote_it(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another push may have given names in these folders, and been killed before it synced them."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not tell the names of open files")
    folder = make(tmp_path / "t", TREE | {"large": LARGE})
    store.push("ds", "1", folder)
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.push("other", "1", folder)
    before = synced[: synced.index(f"{store.url}/refs/other")]
    for name in ("objects", "packs", "locations", "index"):
        assert f"{store.url}/{name}" in before


def test_a_second_push_of_the_same_data_at_once_finds_it_there(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other push publishes between this one's look and its ref."""
    from dsa.verbs.sending import Sending

    folder = make(tmp_path / "t", TREE)
    publish = Sending.ref

    def slow(self: Sending, published: object) -> bool:
        monkeypatch.setattr(Sending, "ref", publish)
        assert store.push("ds", "1", folder).is_new
        return publish(self, published)  # type: ignore[arg-type]  # what push gives

    monkeypatch.setattr(Sending, "ref", slow)
    assert not dsa.open(store.url, create=True).push("ds", "1", folder).is_new


def test_a_hidden_store_in_the_folder_is_noticed_also_before_it_is_made(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {"a": b"x"})
    for place in (folder / ".store", folder / "store", folder):
        with pytest.raises(ConflictError, match="lies in the folder to push"):
            dsa.open(place, create=True).push("ds", "1", folder)
        assert not (place / "dsa.json").exists()
    store = dsa.open(folder / ".store", create=True)
    assert store.push("ds", "1", make(tmp_path / "u", {"a": b"x"})).is_new
    assert store.push("ds", "2", folder, exclude=[".store"]).files == 1


def test_a_dry_run_does_not_move_the_worktree(store: dsa.Store, tmp_path: Path) -> None:
    store.push("ds", "1", make(tmp_path / "t", {"a": b"1"}))
    store.checkout("ds@1", tmp_path / "w")
    store.push("ds", "2", make(tmp_path / "u", {"a": b"2"}))
    (tmp_path / "w" / "a").write_bytes(b"2")
    assert not store.push("ds", "2", tmp_path / "w", dry_run=True).is_new
    assert dsa.status(tmp_path / "w").revision == "1"


def test_a_damaged_parent_stops_no_push(store: dsa.Store, tmp_path: Path) -> None:
    store.push("ds", "1", make(tmp_path / "t", {"a": b"1", "b/c": b"2"}))
    root = Path(store.url)
    for path in [*root.glob("index/*"), *root.glob("locations/*")]:
        path.unlink()
    for path in root.glob("packs/*"):
        path.chmod(0o644)
        path.write_bytes(b"x" * path.stat().st_size)
    # Also where nothing changed, and nothing has to be read to know it.
    assert store.push("ds", "same", tmp_path / "t").objects_new == 2
    report = store.push("ds", "2", make(tmp_path / "u", {"a": b"1", "b/c": b"3"}), parent="1")
    assert (report.parent, report.objects_new) == ("ds@1", 1)
    store.checkout("ds@2", tmp_path / "w")
    assert look(tmp_path / "w") == {"a": b"1", "b/c": b"3"}


def test_a_name_that_was_withdrawn_still_counts_for_the_case_of_letters(
    store: dsa.Store, tmp_path: Path
) -> None:
    folder = make(tmp_path / "t", {"a": b"1"})
    made = store.push("ds", "aB", folder)
    (Path(store.url) / "refs/ds/@aB").chmod(0o644)
    (Path(store.url) / "refs/ds/@aB").write_text(f"withdrawn {made.manifest}\n")
    with pytest.raises(ConflictError, match="case"):
        store.push("ds", "ab", folder)


def test_what_was_taken_for_sent_and_was_not_is_sent_after_all(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two equal files one is sent; it may change just then, and its claim is taken back."""
    from dsa.verbs.presence import NameOf, Presence

    folder = make(tmp_path / "t", {"a": b"x", "b": b"y" * 300_000})
    ask = Presence.ask
    asked: list[int] = []

    def on_its_way(
        self: Presence, ids: bytes, checks: bytes, sizes: Sequence[int], name_of: NameOf
    ) -> bytes:
        asked.append(len(sizes))
        return ask(self, ids, checks, sizes, name_of) if len(asked) > 2 else bytes(len(sizes))

    monkeypatch.setattr(Presence, "ask", on_its_way)
    assert store.push("s", "1", folder).objects_new == 2
    store.checkout("s@1", tmp_path / "w")
    assert look(tmp_path / "w") == {"a": b"x", "b": b"y" * 300_000}
