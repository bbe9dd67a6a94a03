"""The program as a user has it: real processes, a real store, nothing but the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from program import Program, command

import dsa

HEAVY = (
    "aiobotocore",
    "botocore",
    "dulwich",
    "dvc_objects",
    "fsspec",
    "platformdirs",
    "pyarrow",
    "pydantic",
    "rich",
    "s3fs",
)
ODD = [
    "plain.txt",
    "with space",
    "new\nline",
    "back\\slash",
    "esc\x1b[31m",
    "quote\"'",
    "ü",
    "-dash",
]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder worth publishing."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deep").mkdir(parents=True)
    (tree / "empty").mkdir()
    for name in ODD:
        (tree / name).write_text(f"content of {name!r}\n")
    (tree / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (tree / "sub" / "run.sh").chmod(0o755)
    (tree / "sub" / "link").symlink_to("run.sh")
    (tree / "sub" / "deep" / "large.bin").write_bytes(os.urandom(400_000))
    return tree


@pytest.fixture
def pushed(program: Program, tree: Path) -> Program:
    """Return the program with `some-set@1` in the default store."""
    program("push", "some-set", "1", tree, "-m", "first release", "--author", "A B <a@example.org>")
    return program


def test_the_version_is_one_line(program: Program) -> None:
    assert program("--version").stdout == f"dsa {dsa.__version__}\n"
    assert program("--json", "--version").stdout == f"dsa {dsa.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["push", "--help"]])
def test_help_and_version_import_nothing_heavy(program: Program, arguments: Sequence[str]) -> None:
    assert imported(program, *arguments).isdisjoint(HEAVY)


def test_no_verb_draws_in_what_it_does_not_need(program: Program) -> None:
    program("init")
    assert imported(program, "datasets").isdisjoint({"pydantic", "rich", "s3fs", "dvc_objects"})


def imported(program: Program, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command(*arguments)[1:]],
        cwd=program.folder,
        env=program.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_without_a_verb_help_is_shown_and_the_exit_code_is_usage(program: Program) -> None:
    done = program(code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: dsa")


def test_a_push_and_a_checkout_carry_a_tree(pushed: Program, tree: Path) -> None:
    done = pushed("checkout", "some-set", "copy")
    assert done.stdout == ""
    assert "checked out some-set@1 into" in done.stderr
    assert (
        subprocess.run(["diff", "-r", "-x", ".dsa", tree, pushed.folder / "copy"]).returncode == 0
    )
    assert os.access(pushed.folder / "copy" / "sub" / "run.sh", os.X_OK)
    assert (pushed.folder / "copy" / "sub" / "link").readlink() == Path("run.sh")
    assert (pushed.folder / "copy" / "empty").is_dir()


def test_a_first_push_says_that_it_made_the_store(program: Program, tree: Path) -> None:
    done = program("push", "some-set", "1", tree)
    assert done.stderr.startswith("made the store ")
    assert "pushed some-set@1" in done.stderr
    assert "your login name" in done.stderr
    assert done.stdout == ""
    again = program("push", "some-set", "1", tree)
    assert "some-set@1 is already there" in again.stderr


def test_a_dry_run_writes_nothing(program: Program, tree: Path) -> None:
    assert "would push some-set@1" in program("push", "some-set", "1", tree, "-n").stderr
    program("datasets", code=3)


def test_push_tells_the_same_as_json(program: Program, tree: Path) -> None:
    (tree / "facts.json").write_text('{"n": [1, 2]}')
    report = program.json(
        *("push", "some-set", "1", tree, "-m", "first", "--exclude", "facts.json"),
        *("--metadata", f"@{tree / 'facts.json'}", "--metadata", "x=text", "--metadata", "y=1.5"),
    )
    assert report["is_new"] is True
    assert report["store_created"] is True
    assert report["files"] == len(ODD) + 3
    shown = program.json("show", "some-set")
    assert shown["manifest"] == report["manifest"]
    assert shown["info"]["message"] == "first"
    assert shown["info"]["metadata"] == {"n": [1, 2], "x": "text", "y": 1.5}


def test_the_author_is_who_the_option_or_the_environment_names(
    program: Program, tree: Path
) -> None:
    program("push", "some-set", "1", tree, DSA_AUTHOR="Env <env@example.org>")
    program(
        "push", "some-set", "2", tree, "--author", "Opt <opt@example.org>", DSA_AUTHOR="Env <e@x>"
    )
    authors = [program.json("show", f"some-set@{n}")["info"]["author"]["name"] for n in (1, 2)]
    assert authors == ["Env", "Opt"]


def test_common_options_stand_before_or_after_the_verb(program: Program, tree: Path) -> None:
    (program.folder / "a").mkdir()
    program("--store", "a", "push", "some-set", "1", tree)
    assert program("datasets", "-s", "a").stdout == "some-set\n"
    assert program("-s", "b", "datasets", "--store", "a").stdout == "some-set\n"
    assert json.loads(program("--json", "-s", "a", "datasets").stdout) == ["some-set"]
    assert json.loads(program("datasets", "--json", "-s", "a").stdout) == ["some-set"]
    quiet = program("-q", "push", "some-set", "1", tree, "-s", "a")
    assert quiet.stderr == ""
    assert program("push", "--quiet", "some-set", "1", tree, "-s", "a").stderr == ""


def test_the_option_names_the_store_before_the_environment_does(
    program: Program, tree: Path
) -> None:
    program("push", "in-a", "1", tree, DSA_STORE="a")
    program("push", "in-b", "1", tree, "-s", "b", DSA_STORE="a")
    assert program("datasets", DSA_STORE="a").stdout == "in-a\n"
    assert program("datasets", "-s", "b", DSA_STORE="a").stdout == "in-b\n"
    program("datasets", DSA_STORE="", code=3)
    program("datasets", "--store", "", code=2)


def test_init_makes_the_store_in_force_and_leaves_it_be(program: Program) -> None:
    assert "made the store" in program("init").stderr
    assert "is a store already" in program("init").stderr
    assert program.json("init", "elsewhere")["created"] is True
    assert program.json("-s", "elsewhere", "init")["created"] is False
    program("init", "a", "-s", "b", code=2)


def test_names_are_one_line_each_and_steer_no_terminal(pushed: Program) -> None:
    listed = pushed("ls", "some-set").stdout.splitlines()
    assert len(listed) == len(ODD) + 2
    assert r"new\nline" in listed
    assert r"esc\x1b[31m" in listed
    assert r"back\slash" in listed
    assert {"sub/", "empty/"} <= set(listed)


def test_null_and_json_give_every_name_exactly(pushed: Program) -> None:
    names = pushed("ls", "some-set", "-0").stdout.split("\0")
    assert set(names) == {*ODD, "sub/", "empty/", ""}
    rows = pushed.json("ls", "some-set")
    assert {row["path"] for row in rows} == {*ODD, "sub", "empty"}
    assert [row["files"] for row in rows if row["path"] == "sub"] == [3]


def test_ls_lists_one_folder_or_all_below(pushed: Program) -> None:
    assert pushed("ls", "some-set@1", "sub").stdout.splitlines() == [
        "sub/deep/",
        "sub/link",
        "sub/run.sh",
    ]
    assert "sub/deep/large.bin" in pushed("ls", "some-set", "sub/", "-R").stdout.splitlines()
    lines = pushed("ls", "some-set", "sub", "-l").stdout.splitlines()
    assert lines[0].split()[:3] == ["40000", "400000", "1"]
    assert lines[2].split()[0] == "100755"
    pushed("ls", "some-set", "nowhere", code=3)
    pushed("ls", "some-set", "-l", "-0", code=2)


def test_sha256sum_checks_what_ls_prints(pushed: Program, tree: Path) -> None:
    sums = pushed("ls", "some-set", "--sha256sum").stdout
    assert len(sums.splitlines()) == len(ODD) + 2  # links are no regular files
    check = ["sha256sum", "--check", "--strict", "--quiet", "-"]
    assert subprocess.run(check, input=sums, text=True, cwd=tree).returncode == 0


def test_ls_writes_a_table(pushed: Program) -> None:
    import pyarrow.parquet as pq

    file = pushed.folder / "table.parquet"
    pushed("ls", "some-set", "--recursive", "--parquet", file)
    paths = pq.read_table(file).column("path").to_pylist()
    assert "sub/deep/large.bin" in paths


def test_cat_writes_the_bytes_and_nothing_else(pushed: Program, tree: Path) -> None:
    for path in ("sub/deep/large.bin", "new\nline", "-dash"):
        done = subprocess.run(
            command("cat", "some-set", "--", path),
            cwd=pushed.folder,
            env=pushed.environ,
            capture_output=True,
            check=True,
        )
        assert done.stdout == (tree / path).read_bytes()
        assert done.stderr == b""
    pushed("cat", "some-set", "nowhere", code=3)


def test_revisions_and_log_tell_the_story(pushed: Program, tree: Path) -> None:
    (tree / "more").write_text("more")
    pushed("push", "some-set", "2", tree, "-m", "second\nrelease")
    assert pushed("revisions").stdout.splitlines() == ["some-set@2", "some-set@1"]
    assert pushed("revisions", "some-set").stdout == pushed("revisions").stdout
    long = pushed("revisions", "-l").stdout.splitlines()
    assert long[0].endswith("second")
    assert "A B <a@example.org>" in long[1]
    rows = pushed.json("revisions", "-l")
    assert [row["revision"] for row in rows] == ["2", "1"]
    assert rows[0]["message"] == "second\nrelease"
    log = pushed("log", "some-set").stdout
    assert log.index("some-set@2") < log.index("some-set@1")
    assert "1 added" in log
    assert "    release\n" in log
    assert [row["parent"] for row in pushed.json("log", "some-set")] == ["some-set@1", None]
    pushed("revisions", "other", code=3)
    pushed("log", "other", code=3)


def test_diff_and_status_list_changes_and_can_tell_by_exit_code(
    pushed: Program, tree: Path
) -> None:
    pushed("checkout", "some-set", "copy")
    copy = pushed.folder / "copy"
    assert pushed("status", "copy", "--exit-code").stdout == ""
    (copy / "plain.txt").write_text("edited")
    (copy / "added\n").write_text("added")
    (copy / "ü").unlink()
    (copy / "sub" / "run.sh").chmod(0o644)
    changed = pushed("status", "copy").stdout.splitlines()
    assert changed == [
        r"A added\n",
        "M plain.txt",
        "X sub/run.sh (100755 -> 100644)",
        "D ü",
    ]
    pushed("status", "copy", "--exit-code", code=1)
    assert pushed("diff", "some-set@1", "./copy").stdout.splitlines() == changed
    pushed("diff", "some-set@1", "./copy", "--exit-code", code=1)
    pushed("diff", "some-set@1", "some-set@1", "--exit-code")
    assert len(pushed.json("status", "copy")["changes"]) == 4
    pushed("status", "tree", code=3)


def test_a_persons_work_is_named_and_kept(pushed: Program, tree: Path) -> None:
    (tree / "plain.txt").write_text("second")
    pushed("push", "some-set", "2", tree)
    pushed("checkout", "some-set@1", "copy")
    (pushed.folder / "copy" / "plain.txt").write_text("mine")
    refused = pushed("checkout", "some-set@2", "copy", code=4)
    assert "  plain.txt" in refused.stderr
    assert "plain.txt" in "\n".join(
        pushed.json("checkout", "some-set@2", "copy", code=4)["problems"]
    )
    assert (pushed.folder / "copy" / "plain.txt").read_text() == "mine"
    forced = pushed("checkout", "some-set@2", "copy", "--force")
    assert "overwritten" in forced.stderr
    assert (pushed.folder / "copy" / "plain.txt").read_text() == "second"


def test_a_selection_keeps_the_tree(pushed: Program) -> None:
    pushed("checkout", "some-set", "copy", "--only", "sub/deep", "--only", "*.txt")
    found = {
        str(path.relative_to(pushed.folder / "copy"))
        for path in (pushed.folder / "copy").rglob("*")
        if path.is_file() and ".dsa" not in path.parts
    }
    assert found == {"sub/deep/large.bin", "plain.txt"}
    assert "selected" in pushed("status", "copy").stderr
    pushed("checkout", "some-set", "other", "--only", "nothing", code=3)


def test_a_manifest_is_the_djarchive_csv(program: Program, tree: Path) -> None:
    lines = program("manifest", tree).stdout.splitlines()
    assert any(line.endswith('"sub/run.sh"') for line in lines)
    assert not (tree / "djarchive-manifest.csv").exists()
    rows = program.json("manifest", tree, "--digest", "sha1")
    assert [row["size"] for row in rows if row["path"] == "sub/deep/large.bin"] == [400_000]
    assert all(len(row["sha1"]) == 40 for row in rows)
    program("manifest", tree, "-o", program.folder / "out.csv")
    assert (program.folder / "out.csv").read_text() == program("manifest", tree).stdout
    program("manifest", tree, "--digest", "md5", code=2)
    program("manifest", "nowhere", code=3)


def test_verify_finds_nothing_in_a_whole_store(pushed: Program, tree: Path) -> None:
    for arguments in (["verify"], ["verify", "--all", "--data"], ["verify", "some-set@1"]):
        done = pushed(*arguments)
        assert done.stdout == ""
        assert "no damage" in done.stderr
    pushed("verify", "--all", "some-set@1", code=2)
    pushed("verify", "--dir", tree, code=2)
    pushed("verify", "--dir", tree, "some-set@1")
    (tree / "plain.txt").write_text("changed")
    assert pushed("verify", "--dir", tree, "some-set@1", code=5).stdout == "M plain.txt\n"


def test_damage_is_exit_5_everywhere(program: Program, tree: Path) -> None:
    program("push", "some-set", "1", tree, "-s", "store")
    large = next(path for path in (program.folder / "store").rglob("*") if is_large_object(path))
    large.chmod(0o644)
    large.write_bytes(large.read_bytes()[:-1] + b"?")
    done = program("verify", "--data", "-s", "store", code=5)
    assert "some-set@1:sub/deep/large.bin" in done.stdout
    assert "DAMAGE" in done.stderr
    findings = program.json("verify", "--data", "--dry-run", "-s", "store", code=5)["findings"]
    assert any("sub/deep/large.bin" in path for one in findings for path in one["paths"])
    assert program("cat", "some-set", "sub/deep/large.bin", "-s", "store", code=5).stdout == ""
    refused = program("checkout", "some-set", "copy", "-s", "store", code=5)
    assert "sub/deep/large.bin" in refused.stderr
    assert (program.folder / "copy" / "plain.txt").exists()
    assert not (program.folder / "copy" / "sub" / "deep" / "large.bin").exists()


def is_large_object(path: Path) -> bool:
    return "objects" in path.parts and path.is_file() and path.stat().st_size == 400_000


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["datasets"], 3),
        (["ls", "some-set"], 3),
        (["checkout", "some-set"], 3),
        (["status"], 3),
        (["nonsense"], 2),
        (["push"], 2),
        (["ls"], 2),
        (["ls", "a", "b", "c"], 2),
        (["ls", "--nonsense"], 2),
        (["push", "a b", "1"], 2),
        (["push", "a", "latest"], 2),
        (["push", "a", "1", "nowhere"], 3),
        (["push", "a", "1", "--metadata", "x"], 2),
        (["push", "a", "1", "--metadata", "x=1", "--metadata", "x=2"], 2),
        (["push", "a", "1", "--metadata", "@nowhere"], 3),
        (["push", "a", "1", "-m", b"\xff"], 2),
    ],
)
def test_an_error_is_a_line_a_hint_and_an_exit_code(
    program: Program, arguments: list[str], code: int
) -> None:
    done = program(*map(os.fsdecode, arguments), code=code)
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if line.startswith("dsa: ")]
    assert len(told) == 1
    said = json.loads(program(*map(os.fsdecode, arguments), "--json", code=code).stdout)
    assert said["exit_code"] == code
    assert said["error"]


def test_other_content_under_a_name_is_a_conflict(pushed: Program, tree: Path) -> None:
    (tree / "plain.txt").write_text("changed")
    pushed("push", "some-set", "1", tree, code=4)
    assert pushed.json("push", "some-set", "1", tree, code=4)["kind"] == "ConflictError"


def test_debug_shows_where_an_error_comes_from(program: Program) -> None:
    done = subprocess.run(
        command("datasets", "--debug"), env=program.environ, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert "\ndsa: " in done.stderr


def test_a_log_is_written_where_it_is_asked_for(program: Program, tree: Path) -> None:
    program("push", "some-set", "1", tree, "--log-file", "log", DSA_LOGLEVEL="debug")
    assert (program.folder / "log").exists()
    program("datasets", "-s", "nowhere", "--log-file", "log", code=3)
    assert " ERROR dsa: " in (program.folder / "log").read_text()
    program("datasets", DSA_LOGLEVEL="loud", code=2)


def test_a_reader_that_goes_away_is_no_error(pushed: Program) -> None:
    with subprocess.Popen(
        command("ls", "some-set", "-R", "-l"),
        cwd=pushed.folder,
        env=pushed.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error(pushed: Program) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("ls", "some-set"),
            cwd=pushed.folder,
            env=pushed.environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("dsa: the disk is full")


def test_an_interrupt_ends_with_130_and_a_word(program: Program, tree: Path) -> None:
    fifo = program.folder / "facts"
    os.mkfifo(fifo)  # the program waits in it for facts that never come
    with subprocess.Popen(
        command("push", "some-set", "1", tree, "--metadata", f"@{fifo}"),
        cwd=program.folder,
        env=program.environ,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        writer = wait_for_reader(fifo)
        time.sleep(0.5)  # between opening and reading, Python looks at no signal
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        said = process.stderr.read()
    os.close(writer)
    assert process.returncode == 130
    assert said.startswith("dsa: interrupted\nhint: run it again")


@pytest.mark.parametrize("is_all", [False, True], ids=["the program", "with its workers"])
def test_sigterm_ends_as_ctrl_c_does_with_143_and_nothing_left(
    program: Program, is_all: bool
) -> None:
    program("init", "store")
    big = program.folder / "big"
    big.mkdir()
    for number in range(9_000):  # enough for workers
        (big / f"{number}").write_bytes(b"%d" % number)
    with subprocess.Popen(
        command("push", "some-set", "1", big, "--store", "store"),
        cwd=program.folder,
        env=program.environ,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        pending, unfinished = (program.folder / "store/site" / name for name in ("pending", "tmp"))
        deadline = time.monotonic() + 30
        while not any(unfinished.glob("*/*")) and time.monotonic() < deadline:  # it sends
            time.sleep(0.005)
        (os.killpg if is_all else os.kill)(process.pid, signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()  # to its end: no worker holds it open any more
    assert process.returncode == 143, said
    assert said.startswith("dsa: terminated\nhint: run it again")
    assert len(list(pending.glob("*.done"))) == 1  # gc need not wait for it
    assert not any(unfinished.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def wait_for_reader(fifo: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.01)
    raise TimeoutError


def test_a_shell_is_told_how_to_complete(program: Program) -> None:
    done = program(
        _DSA_COMPLETE="complete_bash",
        COMP_WORDS="dsa rev",
        COMP_CWORD="1",
    )
    assert done.stdout.split() == ["revisions"]
