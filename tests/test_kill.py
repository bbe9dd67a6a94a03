"""Killed at any moment and run again: always whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from treetools import assert_same, look, make, read_everything, run_python

import dsa
from dsa.errors import NotFoundError

VERB = """
import sys, dsa, dsa.verbs.push, dsa.verbs.checkout
store = dsa.open(sys.argv[1], create=True)
print("ready", flush=True)
sys.stdin.readline()
getattr(store, sys.argv[2])(*sys.argv[3:])
"""


def started(store: Path, *words: str) -> subprocess.Popen[str]:
    """Return a process that has imported everything and begins now."""
    program = run_python(VERB, store, *words, stdin=subprocess.PIPE, start_new_session=True)
    assert program.stdout is not None
    assert program.stdin is not None
    assert program.stdout.readline() == "ready\n", program.communicate()
    program.stdin.write("\n")
    program.stdin.flush()
    return program


def kill_after(program: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process by SIGKILL after a while; whether it was still at work."""
    try:
        program.wait(seconds)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()
        return True
    _, err = program.communicate()
    assert program.returncode == 0, err
    return False


def duration(store: Path, *words: str) -> float:
    began = time.monotonic()
    program = started(store, *words)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    return time.monotonic() - began


def content(seed: int) -> dict[str, bytes]:
    """Return a tree of small and large files, most of them different for each seed."""
    chosen = random.Random(seed)
    small = {f"{n % 9}/{n}": chosen.randbytes(chosen.randrange(3_000)) for n in range(500)}
    return small | {"same": b"same"} | {f"large{n}": chosen.randbytes(700_000) for n in range(4)}


ROUNDS = 8


def test_a_push_killed_at_any_moment(tmp_path: Path) -> None:
    trial = duration(tmp_path / "trial", "push", "ds", "1", str(make(tmp_path / "t", content(0))))
    store = dsa.open(tmp_path / "store", create=True)
    chosen = random.Random(1)
    killed = 0
    for number in range(1, ROUNDS):
        folder = make(tmp_path / f"t{number}", content(number))
        words = ("push", "ds", str(number), str(folder))
        program = started(tmp_path / "store", *words)
        killed += kill_after(program, chosen.uniform(0, trial))
        seen = []
        with suppress(NotFoundError):  # killed before there was a store
            seen = [revision.revision for revision in store.revisions()]
        assert set(seen) <= {str(n) for n in range(1, number + 1)}
        assert {str(n) for n in range(1, number)} <= set(seen)
        if str(number) in seen:
            assert store[f"ds@{number}"].read("same") == b"same"
        report = store.push("ds", str(number), folder)
        assert report.is_new == (str(number) not in seen)
        assert not store.push("ds", str(number), folder).is_new
    assert killed
    read_everything(store)
    for number in (1, ROUNDS - 1):
        store.checkout(f"ds@{number}", tmp_path / f"w{number}")
        assert_same(tmp_path / f"t{number}", tmp_path / f"w{number}")


def test_what_a_killed_push_had_sent_is_not_sent_again(tmp_path: Path) -> None:
    """The parts of the locations that it wrote are found."""
    folder = make(tmp_path / "t", {})
    for n in range(40):
        (folder / f"{n}").write_bytes(random.Random(n).randbytes(8_000_000))
    program = started(tmp_path / "store", "push", "ds", "1", str(folder))
    objects = tmp_path / "store" / "objects"
    while program.poll() is None and len(list(objects.glob("*/*"))) < 10:
        time.sleep(0.005)
    program.kill()
    program.communicate()
    store = dsa.open(tmp_path / "store", create=True)
    if len(list(objects.glob("*/*"))) >= 40:
        pytest.skip("the push was faster than the kill")
    before = {path: path.stat().st_ino for path in objects.glob("*/*")}
    store.push("ds", "1", folder)
    after = {path: path.stat().st_ino for path in before}
    assert after == before
    read_everything(store)


def test_a_checkout_killed_at_any_moment(tmp_path: Path) -> None:
    store = dsa.open(tmp_path / "store", create=True)
    for number in (1, 2):
        store.push("ds", str(number), make(tmp_path / f"t{number}", content(number)))
    trial = duration(tmp_path / "store", "checkout", "ds@1", str(tmp_path / "trial"))
    tree = tmp_path / "w"
    chosen = random.Random(2)
    wanted = {number: look(tmp_path / f"t{number}") for number in (1, 2)}
    mine = b"nobody touches this"
    killed = 0
    for turn in range(ROUNDS):
        number = turn % 2 + 1
        program = started(tmp_path / "store", "checkout", f"ds@{number}", str(tree))
        killed += kill_after(program, chosen.uniform(0, trial))
        if tree.is_dir():
            for path, thing in look(tree).items():  # no torn file has a final name
                if isinstance(thing, bytes) and path != "mine":
                    assert thing in (wanted[1].get(path), wanted[2].get(path)), path
        if turn % 3 == 2:
            store.checkout(f"ds@{chosen.choice((1, 2))}", tree)
            changes = dsa.status(tree).changes
            assert {change.path for change in changes} <= {"mine"}
            (tree / "mine").write_bytes(mine)
    store.checkout("ds@2", tree)
    assert look(tree) == wanted[2] | {"mine": mine}
    assert killed
    assert not (tree / ".dsa" / "tmp").exists()


def test_the_workers_of_a_killed_process_end_too(tmp_path: Path) -> None:
    folder = make(tmp_path / "t", {f"{n}": b"%d" % n for n in range(5_000)})
    for n in range(10):
        (folder / f"large{n}").write_bytes(os.urandom(9_000_000))
    program = started(tmp_path / "store", "push", "ds", "1", str(folder))
    group = program.pid
    children = Path(f"/proc/{group}/task/{group}/children")
    deadline = time.monotonic() + 20
    while program.poll() is None and time.monotonic() < deadline:
        if len(children.read_text().split()) >= 2:
            break
        time.sleep(0.005)
    program.kill()
    program.communicate()
    deadline = time.monotonic() + 20
    while alive(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(group)
    store = dsa.open(tmp_path / "store", create=True)
    store.push("ds", "1", folder)
    read_everything(store)


def alive(group: int) -> list[int]:
    """Return the processes of a group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


CLI = """
import sys
from dsa.cli import main
import dsa.cli.app, dsa.verbs.push, dsa.verbs.checkout
print("ready", flush=True)
sys.exit(main())
"""


@pytest.mark.parametrize("verb", ["push", "checkout"])
def test_ctrl_c_ends_with_130_and_leaves_nothing_behind(tmp_path: Path, verb: str) -> None:
    """The signal goes to the whole group, as a terminal sends it."""
    folder = make(tmp_path / "t", {f"{n}": b"%d" % n for n in range(3_000)})
    for n in range(8):
        (folder / f"large{n}").write_bytes(os.urandom(12_000_000))
    store = dsa.open(tmp_path / "store", create=True)
    words: tuple[str, ...]
    if verb == "checkout":
        store.push("ds", "1", folder)
        words = ("checkout", "ds@1", str(tmp_path / "w"))
    else:
        words = ("push", "ds", "1", str(folder))
    caught = 0
    for delay in (0.1, 0.2, 0.4):
        program = run_python(
            CLI, "--store", store.url, *words, start_new_session=True, stdin=subprocess.PIPE
        )
        assert program.stdout is not None
        assert program.stdin is not None
        program.stdout.readline()  # Python itself has started
        time.sleep(delay)
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=60)
        assert "Traceback" not in err
        if program.returncode == 0:
            break
        assert program.returncode in (130, -signal.SIGINT), err
        assert not alive(program.pid)
        if program.returncode == 130 and err:
            caught += 1
            assert len(err.strip().splitlines()) <= 2
        for place in (tmp_path / "store" / "site" / "tmp", tmp_path / "w" / ".dsa" / "tmp"):
            assert not place.exists() or list(place.iterdir()) == []
    assert caught
    getattr(store, words[0])(*words[1:])
    if verb == "checkout":
        assert_same(folder, tmp_path / "w")
    else:
        assert not store.push("ds", "1", folder).is_new
        read_everything(store)
