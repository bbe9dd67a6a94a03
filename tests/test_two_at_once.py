"""Two at once: exactly one publishes a name, and nobody sees half of anything."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from treetools import (
    Exec,
    Tree,
    assert_same,
    look,
    make,
    read_everything,
    run_python,
    snapshot,
)

import dsa
from dsa.errors import ConflictError, DamageError, DsaError
from dsa.verbs import checkout as checking_out
from dsa.verbs import reading
from dsa.workers import folders
from dsa.worktree import statcache
from dsa.worktree.workplace import held_still, working_in

#: Say that all is imported, wait for a line, then do what the arguments say.
VERB = """
import sys, dsa, dsa.errors, dsa.verbs.push, dsa.verbs.checkout
store = dsa.open(sys.argv[1], create=True)
print("ready", flush=True)
sys.stdin.readline()
try:
    report = getattr(store, sys.argv[2])(*sys.argv[3:])
    print("new" if getattr(report, "is_new", True) else "there already")
except dsa.errors.DsaError as error:
    print(error.exit_code, error)
"""


def at_once(store: Path, *calls: tuple[str, ...]) -> list[str]:
    """Run several verbs at the same moment; return what each said."""
    programs = [run_python(VERB, store, *call, stdin=subprocess.PIPE) for call in calls]
    for program in programs:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    said = []
    for program in programs:
        out, err = program.communicate(timeout=120)
        assert program.returncode == 0, err
        said.append(out.strip())
    return said


def tree(tmp_path: Path, name: str, **more: bytes) -> Path:
    return make(
        tmp_path / name,
        {f"{n % 7}/{n}": b"%d" % n for n in range(300)} | {"large": bytes(400_000)} | more,
    )


@pytest.mark.parametrize("is_made", [True, False], ids=["a store", "no store yet"])
@pytest.mark.parametrize("turn", range(2))
def test_one_of_several_pushes_of_one_revision_publishes(
    tmp_path: Path, is_made: bool, turn: int
) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    if is_made:
        store.push("first", "1", make(tmp_path / "x", {"x": b""}))
    folders = [tree(tmp_path, name) for name in "abc"]
    said = at_once(tmp_path / "store", *(("push", "ds", "1", str(folder)) for folder in folders))
    assert said.count("new") == 1
    for line in said:
        assert line in ("new", "there already") or line.startswith("4 ")
    assert not store.push("ds", "1", folders[2]).is_new
    read_everything(store)
    store.checkout("ds", tmp_path / "w")
    assert_same(folders[0], tmp_path / "w")


def test_one_of_two_different_pushes_of_one_name_publishes(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    folders = [tree(tmp_path, name, own=name.encode()) for name in "ab"]
    said = at_once(tmp_path / "store", *(("push", "ds", "1", str(folder)) for folder in folders))
    assert sorted(line[:2] for line in said) == ["4 ", "ne"]
    store.checkout("ds", tmp_path / "w")
    assert_same(folders[said.index("new")], tmp_path / "w")
    read_everything(store)


def test_pushes_of_different_revisions_all_publish(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    calls = [
        (
            "push",
            dataset,
            revision,
            str(tree(tmp_path, f"{dataset}{revision}", own=revision.encode())),
        )
        for dataset, revision in [("a", "1"), ("a", "2"), ("b", "1")]
    ]
    assert at_once(tmp_path / "store", *calls) == ["new"] * 3
    assert read_everything(store) == 3 * 302
    for _, dataset, revision, folder in calls:
        store.checkout(f"{dataset}@{revision}", tmp_path / "w" / dataset / revision)
        assert_same(Path(folder), tmp_path / "w" / dataset / revision)


def test_two_checkouts_into_one_folder(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    folders = {name: tree(tmp_path, name, own=name.encode()) for name in "12"}
    for name, folder in folders.items():
        store.push("ds", name, folder)
    said = at_once(
        tmp_path / "store",
        *(("checkout", f"ds@{name}", str(tmp_path / "w")) for name in "1212"),
    )
    assert "new" in said
    for line in said:
        assert line == "new" or (line.startswith("4 ") and "another checkout" in line)
    assert dsa.status(tmp_path / "w").is_clean
    assert_same(folders[dsa.status(tmp_path / "w").revision], tmp_path / "w")


def test_two_checkouts_of_one_store(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    store.push("ds", "1", tree(tmp_path, "t"))
    places = [str(tmp_path / name) for name in "uv"]
    assert at_once(tmp_path / "store", *(("checkout", "ds", place) for place in places)) == [
        "new",
        "new",
    ]
    for place in places:
        assert_same(tmp_path / "t", Path(place))


def test_readers_see_only_whole_revisions_while_pushes_run(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    store.push("ds", "0", tree(tmp_path, "t0", own=b"0"))
    for number in range(1, 6):
        tree(tmp_path, f"t{number}", own=b"%d" % number)
    errors: list[BaseException] = []

    def publish() -> None:
        try:
            mine = dsa.open(tmp_path / "store")
            for number in range(1, 6):
                mine.push("ds", str(number), tmp_path / f"t{number}")
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    pushing = threading.Thread(target=publish)
    pushing.start()
    turns = 0
    while pushing.is_alive() or not turns:
        seen = [revision.revision for revision in store.revisions("ds")]
        report = store.checkout("ds", tmp_path / "w")
        assert int(report.revision) >= int(seen[0])
        wanted = look(tmp_path / f"t{report.revision}")
        assert look(tmp_path / "w") == wanted
        turns += 1
    pushing.join()
    assert not errors
    assert len(list(store.revisions("ds"))) == 6
    read_everything(store)


def test_a_mark_of_a_dead_gc_does_not_stop_a_push_for_ever(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    folder = tree(tmp_path, "t")
    store.push("ds", "1", folder)
    mark = tmp_path / "store" / "site" / "gc" / "dead"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("{}")
    os.utime(mark, (0, 0))
    make(folder, {"new": b""})
    assert store.push("ds", "2", folder).is_new
    with pytest.raises(DsaError):
        store.checkout("ds@3", tmp_path / "w")


# --- a push and a checkout in one worktree --------------------------------------------------------

LARGE = bytes(400_000)
TREES: list[Tree] = [{"a": b"1", "b": b"1", "c": b"1"}, {"a": b"2", "b": b"2", "d": b"2"}]


@pytest.fixture
def store(tmp_path: Path) -> dsa.Store:
    """Return a store with `ds@1` and `ds@2`."""
    return publish(tmp_path, *TREES)


def publish(tmp_path: Path, *trees: Tree) -> dsa.Store:
    store = dsa.open(tmp_path / "store", create=True)
    for number, content in enumerate(trees, 1):
        store.push("ds", str(number), make(tmp_path / f"t{number}", content))
    return store


#: A checkout that is killed as soon as it comes to a step of its work.
KILLED = """
import os, signal, sys, dsa, dsa.verbs.checkout as verb
setattr(verb._Checkout, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
dsa.open(sys.argv[1]).checkout(sys.argv[3], sys.argv[4], only=sys.argv[5:])
"""


@pytest.mark.parametrize("step", ["_write", "_set_permissions", "_complain"])
@pytest.mark.parametrize("case", ["switched", "narrowed", "first"])
def test_what_a_killed_checkout_left_is_not_pushed(
    store: dsa.Store, tmp_path: Path, case: str, step: str
) -> None:
    tree = tmp_path / "w"
    spec, only = ("ds@1", ["a"]) if case == "narrowed" else ("ds@2", [])
    if case != "first":
        store.checkout("ds@1", tree)
    killed = run_python(KILLED, store.url, step, spec, tree, *only)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    make(tree, {"sub/x": b""})
    for folder in (tree, tree / "sub"):
        for again in (
            lambda: store.push("other", "1", folder),  # noqa: B023
            lambda: store.push("other", "1", folder, dry_run=True),  # noqa: B023
            lambda: dsa.status(folder),  # noqa: B023
        ):
            with pytest.raises(ConflictError, match=f"{spec} into .* was not finished") as caught:
                again()
            assert caught.value.exit_code == 4
            assert f"dsa checkout {spec} {tree}" in str(caught.value.hint)
    assert list(store.datasets()) == ["ds"]
    shutil.rmtree(tree / "sub")
    store.checkout(spec, tree)
    wanted = {"a": b"1"} if case == "narrowed" else TREES[1]
    assert look(tree) == wanted
    assert dsa.status(tree).is_clean
    assert not (tree / ".dsa" / "pending.json").exists()
    assert store.push("ds", "3", tree).data == store[spec].data


def test_what_a_checkout_could_not_write_is_not_pushed_as_removed(tmp_path: Path) -> None:
    store = publish(tmp_path, {"a": b"1"}, {"a": b"2", "lost": LARGE})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    sha1 = store["ds@2"].files["lost"].sha1
    (tmp_path / "store" / "objects" / sha1[:2] / sha1[2:]).unlink()
    with pytest.raises(DamageError):
        store.checkout("ds@2", tree)
    with pytest.raises(ConflictError, match="not finished"):
        store.push("ds", "3", tree)
    store.checkout("ds@1", tree)  # another revision is a way out
    assert store.push("ds", "3", tree).data == store["ds@1"].data


def test_a_push_and_a_checkout_wait_for_each_other(store: dsa.Store, tmp_path: Path) -> None:
    tree = tmp_path / "w"
    store.checkout("ds@1", tree)
    make(tree, {"sub/x": b"x"})
    for folder in (tree, tree / "sub"):
        with working_in(tree), pytest.raises(ConflictError, match="another checkout"):
            store.push("other", "1", folder)
        with held_still(folder), pytest.raises(ConflictError, match="push"):
            store.checkout("ds@2", tree)
    assert list(store.datasets()) == ["ds"]
    store.push("ds", "3", tree)
    assert dsa.status(tree).revision == "3"


def test_a_push_writes_nothing_into_a_plain_folder(store: dsa.Store, tmp_path: Path) -> None:
    for more in ({}, {".dsa/theirs": b"of another program"}):
        folder = make(tmp_path / "plain", {"sub/x": b"x", **more})
        before = snapshot(folder)
        store.push("other", "1", folder)
        store.push("sub", "1", folder / "sub")
        assert snapshot(folder) == before


# --- a person and a checkout in one folder --------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, target: Path, content: bytes) -> None:
    """Let somebody write a file just when a checkout begins to write."""
    real = checking_out._Checkout._write

    def write(self: Any, temporary: Path) -> None:
        target.unlink(missing_ok=True)
        target.write_bytes(content)
        real(self, temporary)

    monkeypatch.setattr(checking_out._Checkout, "_write", write)


def not_known(*_: object) -> int:
    ctypes.set_errno(errno.EINVAL)
    return -1


@pytest.mark.parametrize("there", [{}, {"mine": b""}], ids=["a new folder", "a folder"])
@pytest.mark.parametrize("call", ["renameat2", "refused", "missing"])
def test_what_is_put_in_the_place_of_a_new_file_stays(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: Tree, call: str
) -> None:
    if call != "renameat2":
        monkeypatch.setattr(folders, "_renameat2", not_known if call == "refused" else None)
    tree = make(tmp_path / "w", there)
    meanwhile(monkeypatch, tree / "a", b"mine")
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds@1", tree)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["a"]
    assert look(tree) == {**TREES[0], **there, "a": b"mine"}
    monkeypatch.undo()
    (tree / "a").unlink()
    store.checkout("ds@1", tree)
    assert look(tree) == {**TREES[0], **there}


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
def test_an_edit_of_a_file_that_becomes_executable_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    store = publish(tmp_path, {"f": LARGE}, {"f": Exec(LARGE)})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree, link=link)
    meanwhile(monkeypatch, tree / "f", b"mine")
    with pytest.raises(ConflictError, match="f was changed"):
        store.checkout("ds@2", tree)
    assert look(tree) == {"f": b"mine"}
    monkeypatch.undo()
    with pytest.raises(ConflictError) as caught:
        store.checkout("ds@2", tree)
    assert caught.value.problems == ("f",)


@pytest.mark.parametrize("is_edited", [False, True])
def test_a_linked_file_that_becomes_executable_is_copied_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_edited: bool
) -> None:
    store = publish(tmp_path, {"f": LARGE}, {"f": Exec(LARGE)})
    tree = tmp_path / "w"
    store.checkout("ds@1", tree, link=True)
    seen = []

    def copy(source: Any, target: Any, real: Any = shutil.copyfileobj) -> None:
        seen.append(sorted(os.listdir(tree)))
        real(source, target)
        if is_edited:
            (tree / "f").unlink()
            (tree / "f").write_bytes(b"mine")

    monkeypatch.setattr(shutil, "copyfileobj", copy)
    if is_edited:
        with pytest.raises(ConflictError, match="f was changed"):
            store.checkout("ds@2", tree)
    else:
        store.checkout("ds@2", tree)
        assert dsa.status(tree).files_read == 0
    assert seen == [[".dsa", "f"]]
    assert look(tree) == {"f": b"mine" if is_edited else Exec(LARGE)}


def test_a_file_as_young_as_its_reading_is_read_again(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be changed again within the clock's tick, and nothing would tell."""
    tree = make(tmp_path / "w", TREES[0])
    read = []

    def hash_rows(*arguments: Any, real: Any = reading.hash_rows) -> Any:
        read.append(True)
        return real(*arguments)

    def wait(signatures: bytes, real: Any = statcache.wait_for_tick) -> Any:
        return real(signatures) if read else 0

    monkeypatch.setattr(checking_out, "hash_rows", hash_rows)
    monkeypatch.setattr(statcache, "wait_for_tick", wait)
    store.checkout("ds@1", tree)
    monkeypatch.undo()
    assert dsa.status(tree).files_read == 3


def test_what_a_worktree_remembers_survives_a_power_cut(
    store: dsa.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fsync(descriptor: int, real: Any = os.fsync) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store.checkout("ds@1", tmp_path / "w")
    files = [name.rpartition(".")[0] for name in synced if "." in name[1:]]
    assert files == [f"{store['ds@1'].manifest}.parquet", "pending.json", "worktree.json"]
    assert synced[1::2] == ["base", ".dsa", ".dsa"]
