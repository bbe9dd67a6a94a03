"""Remotes on the command line: stores by name, everywhere a store or a revision is named."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest
from program import Program
from servers.moto import Moto

import dsa
from dsa.config.layers import user_file


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Return the program, with a folder `tree` worth publishing."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("content")
    return Program(tmp_path)


@pytest.fixture
def lab(program: Program) -> Program:
    """Return the program with `some-set@1` in the remote `lab`, and no default store."""
    program("remote", "add", "lab", "lab-store", "--no-check")
    program("push", "lab:some-set", "1", "tree")
    return program


def test_a_remote_is_added_listed_shown_and_removed(program: Program) -> None:
    said = program("remote", "add", "lab", "./store", "--option", "single_writer=true").stderr
    assert str(user_file()) in said
    store = str(program.folder / "store")
    assert program("remote", "list").stdout == f"lab  {store}\n"
    assert program("remote").stdout == program("remote", "list").stdout
    assert program.json("remote", "list") == [
        {
            "name": "lab",
            "url": store,
            "options": {"single_writer": "true"},
            "is_default": False,
            "file": str(user_file()),
        }
    ]
    shown = program("remote", "show", "lab").stdout
    assert store in shown
    assert "single_writer = true" in shown
    program("remote", "show", "other", code=3)
    assert "forgotten" in program("remote", "remove", "lab").stderr
    assert program("remote", "list").stdout == ""
    program("remote", "remove", "lab", code=3)


def test_adding_examines_and_tells_and_leaves_no_store_behind(program: Program) -> None:
    done = program("remote", "add", "lab", "store")
    assert "can be read and pushed to" in done.stderr
    assert not (program.folder / "store").exists()
    facts = program.json("remote", "add", "two", "store")
    assert facts["changed"] is True
    assert facts["doctor"]["takes_pushes"] is True
    assert program("remote", "add", "three", "store", "--no-check").stdout == ""
    assert "put if absent" in program("remote", "doctor", "lab").stdout
    assert "put if absent" in program("remote", "doctor", "store").stdout
    program("remote", "doctor", "other:", code=0)  # a path of that name


def test_a_remote_that_cannot_be_reached_is_added_and_said_to_be_so(program: Program) -> None:
    url = "sftp://127.0.0.1:9/~/store"
    done = program("remote", "add", "far", url, code=6)
    assert f"far is {url}" in done.stderr
    assert "could not be examined" in done.stderr
    assert done.stdout.count("Connection refused") == 1  # one row says it for all
    program("remote", "doctor", "far", code=6)
    assert program("remote", "list").stdout == f"far  {url}\n"


def test_the_same_again_is_no_error_and_another_url_is_a_conflict(program: Program) -> None:
    program("remote", "add", "lab", "store", "--no-check")
    again = program("remote", "add", "lab", "store", "--no-check", "-o", "jobs=2")
    assert "already" not in again.stderr
    assert "already" in program("remote", "add", "lab", "store", "--no-check").stderr
    program("remote", "add", "lab", "other", "--no-check", code=4)
    assert program.json("remote", "show", "lab")["options"] == {"jobs": "2"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["C", "store"],
        ["a:b", "store"],
        ["lab", "s3://bucket", "--option", "nonsense=1"],
        ["lab", "s3://bucket", "--option", "region"],
        ["lab", "s3://bucket", "-o", "region=a", "-o", "region=b"],
        ["lab", "s3://bucket", "-o", "secret_key=hidden"],
        ["lab", "s3://key:hidden@bucket"],
        ["lab", "sftp://me:hidden@host/x"],
    ],
)
def test_what_cannot_be_a_remote_is_refused_before_anything_is_written(
    program: Program, arguments: list[str]
) -> None:
    done = program("remote", "add", *arguments, code=2)
    assert "hidden" not in done.stderr
    assert not user_file().exists()


def test_a_name_stands_wherever_a_revision_is_named(lab: Program) -> None:
    assert lab("ls", "lab:some-set@1").stdout == "file\n"
    assert lab("cat", "lab:some-set", "file").stdout == "content"
    assert "some-set@1" in lab("show", "lab:some-set").stdout
    assert lab("revisions", "lab:some-set").stdout == "some-set@1\n"
    assert "some-set@1" in lab("log", "lab:some-set").stdout
    assert lab("diff", "lab:some-set", "./tree").stdout == ""
    assert lab("diff", "lab:some-set@1", "lab:some-set").stdout == ""
    lab("verify", "lab:some-set", "--data")
    lab("verify", "--dir", "tree", "lab:some-set")
    lab("checkout", "lab:some-set", "copy")
    assert (lab.folder / "copy" / "file").read_text() == "content"


def test_the_default_store_is_neither_needed_nor_made_then(lab: Program, home: Path) -> None:
    lab("ls", "lab:some-set")
    lab("datasets", code=3)
    assert not (home / ".local" / "share" / "dsa" / "store").exists()
    assert lab("ls", "lab:some-set", DSA_STORE="/nowhere").stdout == "file\n"


def test_two_sides_of_a_diff_may_be_in_two_stores(lab: Program) -> None:
    (lab.folder / "tree" / "file").write_text("changed")
    lab("remote", "add", "two", "two-store", "--no-check")
    lab("push", "two:some-set", "1", "tree")
    assert lab("diff", "lab:some-set", "two:some-set").stdout == "M file\n"
    lab("verify", "lab:some-set", "two:some-set", code=2)


def test_a_name_that_is_not_configured_is_not_found(lab: Program) -> None:
    for arguments in (
        ["ls", "other:some-set"],
        ["checkout", "other:some-set@1"],
        ["push", "other:some-set", "1", "tree"],
        ["diff", "other:some-set", "./tree"],
        ["revisions", "other:some-set"],
        ["log", "other:some-set"],
        ["verify", "other:some-set"],
    ):
        assert "no remote is called other" in lab(*arguments, code=3).stderr


def test_a_hint_names_the_remote_that_was_asked(lab: Program) -> None:
    for text, hint in {
        "lab:nothing": "dsa datasets --store lab",
        "lab:some-set@9": "dsa revisions lab:some-set",
    }.items():
        assert f"`{hint}`" in lab("checkout", text, code=3).stderr
    assert "`dsa ls lab:some-set@1`" in lab("cat", "lab:some-set@1", "none", code=3).stderr
    only = lab("checkout", "lab:some-set", "--only", "none", code=3).stderr
    assert "`dsa ls --recursive lab:some-set@1`" in only
    assert "`dsa datasets`" in lab("ls", "none", code=3, DSA_STORE="lab-store").stderr
    (lab.folder / "tree" / "file").write_text("other")
    assert "`dsa diff lab:some-set@1 " in lab("push", "lab:some-set", "1", "tree", code=4).stderr


def test_a_remote_without_a_dataset_is_a_usage_error(lab: Program) -> None:
    for verb in ("revisions", "log", "ls", "checkout"):
        said = lab(verb, "lab:", code=2).stderr
        assert "'lab:' names a remote, and no dataset" in said
        assert "`dsa datasets --store lab`" in said


def test_a_mirror_that_only_says_what_it_would_do_sends_nothing(lab: Program) -> None:
    said = lab("mirror", "lab", "./copy", "--all", "--dry-run").stderr
    assert "would send " in said
    assert " sent " not in said
    assert "  sent " in lab("mirror", "lab", "./copy", "--all").stderr


def test_of_a_place_on_this_machine_no_requests_are_told(lab: Program) -> None:
    assert "request" not in lab("remote", "doctor", "lab").stderr


def test_two_stores_named_at_once_are_a_usage_error(lab: Program) -> None:
    for arguments in (
        ["ls", "lab:some-set"],
        ["push", "lab:some-set", "2", "tree"],
        ["revisions", "lab:some-set"],
        ["log", "lab:some-set"],
        ["diff", "./tree", "lab:some-set"],
    ):
        lab(*arguments, "--store", "lab", code=2)


def test_the_store_option_and_variable_take_names_before_paths(lab: Program) -> None:
    (lab.folder / "lab").mkdir()
    assert lab("datasets", "--store", "lab").stdout == "some-set\n"
    assert lab("datasets", DSA_STORE="lab").stdout == "some-set\n"
    lab("datasets", "--store", "./lab", code=3)


def test_the_default_remote_is_the_store_where_none_is_named(lab: Program) -> None:
    lab("remote", "default", "other", code=3)
    assert "lab is the default" in lab("remote", "default", "lab").stderr
    assert lab("remote", "default").stdout == "lab\n"
    assert lab("datasets").stdout == "some-set\n"
    assert lab("remote", "list").stdout.endswith("default\n")
    lab("datasets", "-s", "./nowhere", code=3)
    lab("datasets", DSA_STORE="./nowhere", code=3)
    lab("remote", "default", "--unset")
    assert lab("remote", "default").stdout == ""
    lab("datasets", code=3)
    lab("remote", "default", "lab", "--unset", code=2)


def test_forgetting_the_default_says_so(lab: Program) -> None:
    lab("remote", "default", "lab")
    assert "it was the default" in lab("remote", "remove", "lab").stderr
    lab("datasets", code=3)


def test_a_store_is_made_by_name(program: Program) -> None:
    program("remote", "add", "lab", "store", "--no-check")
    assert "made the store" in program("init", "lab").stderr
    assert (program.folder / "store" / "dsa.json").exists()


def test_a_projects_remote_is_seen_in_its_folders_only(program: Program, tmp_path: Path) -> None:
    program("remote", "add", "lab", "store", "--project", "--no-check")
    assert not user_file().exists()
    assert tomllib.loads((tmp_path / ".dsa" / "config.toml").read_text()) == {
        "remotes": {"lab": {"url": str(tmp_path / "store")}}
    }
    inside = Program(tmp_path / "tree")
    assert inside("remote", "list").stdout
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    assert Program(outside)("remote", "list").stdout == ""
    inside("remote", "remove", "lab", "--project")
    assert program("remote", "list").stdout == ""


def test_of_two_remotes_of_one_name_the_projects_holds_and_goes_first(program: Program) -> None:
    program("remote", "add", "lab", "mine", "--no-check")
    program("remote", "add", "lab", "projects", "--project", "--no-check")
    assert program.json("remote", "show", "lab")["url"].endswith("/projects")
    assert "too" in program("remote", "remove", "lab").stderr
    assert program.json("remote", "show", "lab")["url"].endswith("/mine")


def test_a_profile_names_the_keys_of_a_remote_on_a_server(
    program: Program, moto_server: Moto, home: Path
) -> None:
    url = f"s3://{moto_server.bucket()}/folder"
    program("remote", "add", "far", url, "-o", f"endpoint={moto_server.endpoint}", "--no-check")
    program("config", "set", "remotes.far.region", "us-east-1")
    program("config", "set", "remotes.far.profile", "lab")
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        "[lab]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hidden\n"
    )
    program("remote", "doctor", "far")
    program("push", "far:some-set", "1", "tree", "--jobs", "2")
    program("checkout", "far:some-set", "copy", DSA_JOBS="2")
    assert (program.folder / "copy" / "file").read_text() == "content"
    said = program("ls", "far:some-set", "--debug", DSA_LOGLEVEL="debug")
    assert said.stdout == "file\n"
    assert "hidden" not in said.stderr
    assert "hidden" not in program("config").stdout
    assert "hidden" not in user_file().read_text()


def test_python_finds_the_same_remotes(lab: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.folder)
    store = dsa.open("lab")
    assert (store.name, store.url) == ("lab", str(lab.folder / "lab-store"))
    assert repr(store) == f"<Store lab ({store.url})>"
    assert list(store.datasets()) == ["some-set"]
    other = dsa.open("elsewhere", create=True)
    assert other["lab:some-set@1"].read("file") == b"content"
    assert str(other["lab:some-set@1"]) == "some-set@1"
    assert dsa.settings().remotes.keys() == {"lab"}
    with pytest.raises(dsa.errors.NotFoundError):
        other["nowhere:some-set"]
    with pytest.raises(dsa.errors.UsageError, match="parent"):
        other.push("new", "1", "tree", parent="lab:some-set@1")
    assert dsa.open("lab").push("lab:some-set", "2", "tree", parent="lab:some-set@1").is_new


def test_a_shell_completes_the_names(lab: Program) -> None:
    for words in ("dsa remote show ", "dsa datasets --store "):
        done = lab(
            _DSA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()))
        )
        assert done.stdout.split() == ["lab"]


def test_the_common_options_stand_before_between_and_after(lab: Program) -> None:
    for arguments in (
        ["--json", "remote", "list"],
        ["remote", "--json", "list"],
        ["remote", "list", "--json"],
        ["remote", "--json"],
    ):
        assert [row["name"] for row in json.loads(lab(*arguments).stdout)] == ["lab"]


def test_remotes_are_looked_up_without_heavy_libraries(lab: Program) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dsa", "remote", "list"],
        cwd=lab.folder,
        env=lab.environ | os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.split("\n")}
    assert found.isdisjoint(
        {"pyarrow", "fsspec", "s3fs", "paramiko", "tomlkit", "rich", "tenacity"}
    )


def test_what_else_is_wrong_in_a_file_does_not_stop_an_added_remote(program: Program) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("author = 7\n[remotes.other]\nurl = 3\n")
    done = program("remote", "add", "lab", "store")
    assert "can be read and pushed to" in done.stderr
    assert "lab" in tomllib.loads(user_file().read_text())["remotes"]


def test_an_empty_text_is_no_store(program: Program) -> None:
    for text in ("", " "):
        assert "no store" in program("remote", "add", "lab", text, code=2).stderr
    assert not user_file().exists()


def test_a_secret_in_a_file_or_a_url_is_never_shown(program: Program) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('[remotes.lab]\nurl = "s3://b"\nsecret_key = "hidden"\n')
    runs = [program("config"), program("remote", "list", "--json")]
    runs.append(program("remote", "show", "lab", code=2))
    runs += [
        program("ls", "-s", url, code=2)
        for url in (
            "s3://bkt/x?AWSAccessKeyId=AK&Signature=hidden",
            "https://h/x?token=hidden",
            "https://hidden@h/x",
        )
    ]
    for done in runs:
        assert "hidden" not in done.stdout + done.stderr
