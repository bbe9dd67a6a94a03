"""Settings on the command line."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from program import Program

from dsa.config.layers import user_file

SECRET = "wJalr-hidden-KEY"
DATAJOINT = {
    "loglevel": "INFO",
    "custom": {
        "djarchive.access_key": "AKIDEXAMPLE",
        "djarchive.secret_key": SECRET,
        "djarchive.bucket": "lab",
        "djarchive.endpoint": "s3.example.org",
        "logfile": "/var/log/dj.log",
    },
}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def sources(program: Program, *arguments: str, **environ: Any) -> dict[str, tuple[Any, Any]]:
    rows = json.loads(program("config", "--json", *arguments, **environ).stdout)
    return {row["key"]: (row["value"], row["source"]) for row in rows}


def test_every_setting_is_shown_with_its_source(program: Program) -> None:
    assert all(line.endswith("-  default") for line in program("config").stdout.splitlines())
    program("config", "set", "jobs", "4")
    program("config", "set", "cache.limit", "20 GB", "--project")
    found = sources(program, DSA_LOGLEVEL="error")
    assert found["jobs"] == ("4", str(user_file()))
    assert found["cache.limit"] == ("20 GB", str(program.folder / ".dsa" / "config.toml"))
    assert found["log.level"] == ("error", "DSA_LOGLEVEL")
    assert found["author"] == (None, None)
    assert sources(program, "--jobs", "2", DSA_JOBS="3")["jobs"] == ("2", "--jobs")
    assert sources(program, DSA_JOBS="3")["jobs"] == ("3", "DSA_JOBS")
    assert sources(program, "--store", "x", DSA_STORE="y")["store"] == ("x", "--store")


def test_what_is_set_can_be_taken_out_again(program: Program) -> None:
    program("config", "set", "author", "A B <a@example.org>")
    assert tomllib.loads(user_file().read_text()) == {"author": "A B <a@example.org>"}
    program("config", "unset", "author")
    assert user_file().read_text() == ""
    program("config", "unset", "author", code=3)
    program("config", "set", "nothing", "1", code=2)
    program("config", "set", "jobs", "many", code=2)
    program("config", "set", "store", "x", code=2)


def test_the_author_of_a_push_comes_from_the_settings(program: Program) -> None:
    (program.folder / "tree").mkdir()
    program("config", "set", "author", "File <file@example.org>")
    program("push", "ds", "1", "tree")
    program("push", "ds", "2", "tree", DSA_AUTHOR="Env <e@x>")
    program("push", "ds", "3", "tree", "--author", "Opt <o@x>", DSA_AUTHOR="Env <e@x>")
    authors = [program.json("show", f"ds@{revision}")["info"]["author"] for revision in (1, 2, 3)]
    assert [author["name"] for author in authors] == ["File", "Env", "Opt"]


def test_a_projects_settings_are_not_published_with_it(program: Program) -> None:
    (program.folder / "file").write_text("content")
    program("config", "set", "jobs", "1", "--project")
    program("push", "ds", "1", ".")
    assert program("ls", "ds", "-R").stdout == "file\n"
    program("checkout", "ds", ".")
    assert program("status").stdout == ""
    assert sources(program)["jobs"][0] == "1"


def test_a_value_that_cannot_be_stops_what_needs_it_and_not_its_mending(program: Program) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('jobs = "x"\n[log]\nlevel = "loud"\n')
    for arguments in (["datasets"], ["push", "a", "1", "."]):
        assert str(user_file()) in program(*arguments, code=2).stderr
    assert "warning" in program("config").stderr
    program("config", "set", "jobs", "2")
    program("config", "set", "log.level", "info")
    program("datasets", code=3)
    program("datasets", DSA_JOBS="none", code=2)
    program("datasets", "--jobs", "0", code=2)
    program("--jobs", "2", "datasets", code=3)


def test_a_file_that_is_no_toml_is_named_with_its_line(program: Program) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("jobs = 1\njobs = 2\n")
    for arguments in (["datasets"], ["config"], ["config", "set", "jobs", "1"]):
        said = program(*arguments, code=2).stderr
        assert f"{user_file()} is no TOML" in said
        assert "line 2" in said
    assert program("--help").stdout


def test_an_unknown_setting_is_one_warning(program: Program) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text("joobs = 1\n")
    done = program("remote", "list")
    assert done.stderr == f"dsa: warning: {user_file()}: there is no setting joobs\n"
    assert program("remote", "list", "-q").stderr == ""


def test_a_log_file_is_a_setting(program: Program) -> None:
    program("config", "set", "log.file", str(program.folder / "log"))
    program("datasets", code=3)
    assert " ERROR dsa: " in (program.folder / "log").read_text()
    program("config", "set", "log.level", "debug")
    assert "this is where it comes from" not in (program.folder / "log").read_text()
    program("datasets", code=3)
    assert "this is where it comes from" in (program.folder / "log").read_text()


def test_a_level_in_a_file_alone_prints_nothing(program: Program) -> None:
    program("init")
    program("config", "set", "log.level", "debug")
    assert program("datasets").stderr == ""
    assert "DEBUG" not in program("datasets").stderr


def datajoint(program: Program) -> Path:
    file = program.folder / "dj_local_conf.json"
    file.write_text(json.dumps(DATAJOINT))
    return file


def test_a_datajoint_configuration_becomes_a_remote(program: Program, home: Path) -> None:
    datajoint(program)
    done = program("config", "import-datajoint")
    assert "remote djarchive: s3://lab" in done.stderr
    assert "aws configure --profile djarchive" in done.stderr
    assert tomllib.loads(user_file().read_text()) == {
        "remotes": {
            "djarchive": {
                "url": "s3://lab",
                "endpoint": "https://s3.example.org",
                "profile": "djarchive",
            }
        },
        "log": {"level": "info", "file": "/var/log/dj.log"},
    }
    assert not (home / ".aws").exists()
    assert SECRET not in done.stderr + done.stdout + user_file().read_text()


def test_a_project_takes_no_log_file_from_elsewhere(program: Program) -> None:
    datajoint(program)
    said = program("config", "import-datajoint", "--project").stderr
    assert "log.file is not in the project's folder: /var/log/dj.log: left out" in said
    written = tomllib.loads((program.folder / ".dsa" / "config.toml").read_text())
    assert written["log"] == {"level": "info"}
    assert "djarchive" in written["remotes"]


def test_keys_go_into_the_credentials_file_only_when_asked(program: Program, home: Path) -> None:
    file = datajoint(program)
    done = program("config", "import-datajoint", file, "--write-credentials", "--json")
    credentials = home / ".aws" / "credentials"
    assert SECRET in credentials.read_text()
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert json.loads(done.stdout)["profiles"] == ["djarchive"]
    assert SECRET not in done.stdout + done.stderr
    assert SECRET not in program("config").stdout
    elsewhere = home / "elsewhere"
    program(
        *("config", "import-datajoint", file, "--write-credentials", "--debug"),
        AWS_SHARED_CREDENTIALS_FILE=str(elsewhere),
        DSA_LOGLEVEL="debug",
    )
    assert elsewhere.read_text() == credentials.read_text()


def test_a_dry_run_of_the_import_writes_nothing(program: Program, home: Path) -> None:
    datajoint(program)
    done = program("config", "import-datajoint", "-n", "--write-credentials")
    assert "would be written" in done.stderr
    assert SECRET not in done.stderr
    assert not user_file().exists()
    assert not (home / ".aws").exists()


def test_the_users_own_datajoint_configuration_is_found(program: Program, home: Path) -> None:
    program("config", "import-datajoint", code=3)
    (home / ".datajoint_config.json").write_text(json.dumps(DATAJOINT))
    program("config", "import-datajoint")
    assert program("remote", "list").stdout.startswith("djarchive  s3://lab")


def test_a_conflict_is_seen_before_anything_is_written(program: Program, home: Path) -> None:
    file = datajoint(program)
    program("remote", "add", "djarchive", "store", "--no-check")
    before = user_file().read_text()
    program("config", "import-datajoint", file, "--write-credentials", code=4)
    assert user_file().read_text() == before
    assert not (home / ".aws").exists()
    program("remote", "remove", "djarchive")
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("[djarchive]\naws_access_key_id = other\n")
    program("config", "import-datajoint", file, "--write-credentials", code=4)
    assert program("remote", "list").stdout == ""
