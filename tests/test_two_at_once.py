"""Two at once: exactly one publishes a name, and nobody sees half of anything."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from treetools import assert_same, look, make, read_everything, run_python

import dsa
from dsa.errors import DsaError

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
