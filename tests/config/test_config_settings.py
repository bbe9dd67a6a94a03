"""Settings: which source wins, and what is said of those that cannot be."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import dsa
from dsa.config import layers
from dsa.config.keys import KEYS, read_size
from dsa.config.layers import parse
from dsa.config.secrets import refuse_secrets
from dsa.config.settings import Remote, Settings, check_name, load, merge, settings_shown
from dsa.errors import AccessError, NotFoundError, UsageError
from dsa.remotes.connect import connect
from dsa.remotes.urls import looks_secret, without_credentials
from dsa.workers import crew


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def user(text: str) -> Path:
    return write(layers.user_file(), text)


def project(folder: Path, text: str) -> Path:
    return write(folder / ".dsa" / "config.toml", text)


def test_without_files_everything_is_as_it_was_built(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()


def test_later_sources_win_key_by_key(tmp_path: Path) -> None:
    user('jobs = 1\nauthor = "U <u@x>"\ndefault = "there"\n[cache]\nlimit = "1 kB"')
    project(tmp_path, 'jobs = 2\nauthor = "P <p@x>"\n[cache]\nlimit = 7')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    environ = {"DSA_JOBS": "3", "DSA_AUTHOR": "", "OTHER": "x"}
    assert load(below).jobs == 2
    assert load(below, environ=environ).jobs == 3
    found = load(below, environ=environ, options={"jobs": "4"})
    assert (found.jobs, found.author, found.default, found.cache_limit) == (
        *(4, "P <p@x>", "there"),
        7,
    )
    assert load(tmp_path.parent).author == "U <u@x>"


def test_every_value_is_shown_with_its_source(tmp_path: Path) -> None:
    mine = user('jobs = 1\n[remotes.lab]\nurl = "/data"')
    theirs = project(tmp_path, '[log]\nlevel = "info"')
    read = layers.read_layers(tmp_path, {"DSA_STORE": "lab"}, {"jobs": "9"})
    shown = {one.key: (one.value, one.source) for one in settings_shown(read)}
    assert list(shown)[: len(KEYS)] == list(KEYS)
    assert shown["jobs"] == ("9", "--jobs")
    assert shown["store"] == ("lab", "DSA_STORE")
    assert shown["log.level"] == ("info", str(theirs))
    assert shown["remotes.lab.url"] == ("/data", str(mine))
    assert shown["author"] == (None, None)


def test_the_nearest_project_holds_and_its_paths_start_there(tmp_path: Path) -> None:
    project(tmp_path, "jobs = 1")
    project(tmp_path / "in", '[remotes.here]\nurl = "store"\n[cache]\nfolder = "kept"')
    found = load(tmp_path / "in")
    assert found.jobs is None
    assert found.remote("here").url == str(tmp_path / "in" / "store")
    assert found.cache_folder == tmp_path / "in" / "kept"


def test_a_remote_is_replaced_as_a_whole(tmp_path: Path) -> None:
    user('[remotes.lab]\nurl = "s3://one"\nendpoint = "https://one.example"')
    project(tmp_path, '[remotes.lab]\nurl = "s3://two"')
    assert load(tmp_path).remote("lab").options == {}


def test_a_project_that_a_stranger_left_in_an_open_folder_is_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project(tmp_path, "jobs = 5")
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    if not tmp_path.stat().st_uid:
        os.chown(tmp_path / ".dsa" / "config.toml", 12345, -1)
    assert load(tmp_path).jobs == 5  # in a folder of one's own group nothing is wrong with it
    tmp_path.chmod(0o1777)
    assert load(tmp_path).jobs is None
    assert "somebody else's" in caplog.text


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ('jobs = "8"', "jobs", "a whole number from 1 on"),
        ("jobs = 0", "jobs", "a whole number from 1 on"),
        ("jobs = true", "jobs", "a whole number from 1 on"),
        ("author = 3", "author", "a text"),
        ('[cache]\nenabled = "yes"', "cache.enabled", "true or false"),
        ('[cache]\nlimit = "20 XB"', "cache.limit", "a size"),
        ("[cache]\nlimit = -1", "cache.limit", "a size"),
        ('[log]\nlevel = "loud"', "log.level", "one of debug"),
        ('[log]\nfile = "relative"', "log.file", "begins with / or ~"),
        ("[remotes.lab]\nx = 1", "remotes.lab", "url"),
        ("[remotes]\nlab = 1", "remotes.lab", "table"),
        ('[remotes.lab]\nurl = "relative"', "remotes.lab.url", "begins with / or ~"),
        ('[remotes.lab]\nurl = "/x"\nregion = []', "remotes.lab.region", "a text"),
        ('[remotes."a b"]\nurl = "/x"', "a b", "2 to 100"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_file_and_what_it_should_be(
    tmp_path: Path, text: str, key: str, expected: str
) -> None:
    file = user(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    said = f"{caught.value} {caught.value.hint}"
    assert said.startswith(str(file))
    assert key in said
    assert expected in said


def test_an_unknown_name_is_a_warning_with_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = user('joobs = 3\nstore = "x"\n[cache]\nsize = 1\n[other]\nx = 1')
    with caplog.at_level(logging.WARNING, logger="dsa"):
        assert load(tmp_path) == Settings()
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: there is no setting {name}" for name in ("joobs", "store", "cache.size", "other")
    ]


def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    file = user("jobs = 1\nauthor = x\n")
    with pytest.raises(UsageError, match=rf"{file} is no TOML: .*line 2"):
        load(tmp_path)
    file.write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"is no TOML"):
        load(tmp_path)


def test_a_file_that_cannot_be_read_is_an_error_and_not_passed_by(tmp_path: Path) -> None:
    layers.user_file().mkdir(parents=True)
    with pytest.raises(AccessError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *[("0", 0), ("20 GB", 20 * 10**9), ("1.5 TiB", 3 * 2**39), ("7kb", 7000)],
        *[("12 bytes", 12), ("3k", 3000), (" 5 MiB ", 5 * 2**20)],
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("name", ["", "C", "-a", "a:b", "a/b", "a@b", "a b", "ä1", "a" * 101])
def test_names_that_could_be_something_else_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a remote"):
        check_name(name)


def test_names_of_remotes_may_hold_dots_and_dashes() -> None:
    assert [check_name(name) for name in ("lab", "my.lab-2", "2nd_")]


@pytest.mark.parametrize(
    "name",
    [
        *("key", "secret", "password", "token", "passphrase", "secret_key", "aws_access_key_id"),
        *("accessKey", "SessionToken", "passwd", "auth", "api-key", "apikey"),
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert looks_secret(name)
    with pytest.raises(UsageError) as caught:
        refuse_secrets("s3://bucket", {name: "hidden-value"})
    assert name in str(caught.value)
    assert "hidden-value" not in f"{caught.value} {caught.value.hint}"
    assert ".aws/credentials" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "name", ["region", "profile", "endpoint", "key_file", "known_hosts", "monkey", "path_style"]
)
def test_names_of_other_options_are_none(name: str) -> None:
    assert not looks_secret(name)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("sftp://me@host/x", "sftp://me@host/x"),
        ("ftp://me:hidden@host/x", "ftp://me:…@host/x"),
        ("https://host/x?token=hidden", "https://host/x?…"),
        ("https://host/x?page=1", "https://host/x?page=1"),
        ("https://hidden@host/x", "https://…@host/x"),
        ("https://host/x?sig=hidden", "https://host/x?…"),
        ("https://host/x?16C7e42F292c6912E7710c838347Ae178B4a", "https://host/x?…"),
        ("https://host/x#token=hidden", "https://host/x#…"),
        ("https://host/x#part", "https://host/x#part"),
        ("s3://bkt/x?AWSAccessKeyId=AK&Signature=hidden", "s3://bkt/x?…"),
        ("ftp://bob%3Ahidden@host/x", "ftp://bob:…@host/x"),
        ("sftp://me:not/hidden@host/x", "sftp://me:…@host/x"),
        ("zip://in::https://me:hidden@host/x.zip", "zip://in::https://…@host/x.zip"),
        (
            "abfs://data@account.dfs.core.windows.net/x",
            "abfs://data@account.dfs.core.windows.net/x",
        ),
        ("sftp://me@[::1]:22/x", "sftp://me@[::1]:22/x"),
        ("https://host:8443/a@b", "https://host:8443/a@b"),
        ("/a:b@c", "/a:b@c"),
    ],
)
def test_a_url_is_shown_without_what_it_should_not_hold(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_a_remote_in_a_file_that_holds_a_secret_is_not_used(tmp_path: Path) -> None:
    user('[remotes.lab]\nurl = "s3://bucket"\nsecret = "hidden"')
    with pytest.raises(UsageError, match="credentials") as caught:
        dsa.open("lab")
    assert "hidden" not in f"{caught.value} {caught.value.hint}"


def test_a_secret_that_somebody_wrote_into_a_file_is_not_shown(tmp_path: Path) -> None:
    user(
        'default = "https://hidden@host"\n[remotes.lab]\nurl = "s3://b"\nsecret_key = "hidden"\n'
        'endpoint = "https://me:hidden@host"\nmore = { token = "hidden", list = ["http://hidden@h"] }'
    )
    layer = layers.read_layers(tmp_path, {"DSA_STORE": "https://h?sig=hidden"}, {})
    rows = {row.key: row.value for row in settings_shown(layer)}
    assert "hidden" not in str(rows)
    assert rows["remotes.lab.url"] == "s3://b"
    assert rows["remotes.lab.secret_key"] == "…"


@pytest.mark.parametrize("text", ["/elsewhere/x", "../x", "~/x", "link/x"])
@pytest.mark.parametrize("key", ["log.file", "cache.folder"])
def test_a_project_makes_nothing_written_outside_of_its_folder(
    tmp_path: Path, key: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    file = project(tmp_path / "in", f'{key} = "{text}"')
    read = layers.read_layers(tmp_path / "in", {}, {})
    assert merge(read).sources == {}
    assert [row.value for row in settings_shown(read) if row.key == key] == [None]
    assert f"{file}: {key} is not in the project's folder: left out" in caplog.text


def test_a_scheme_is_one_in_capitals_too(tmp_path: Path) -> None:
    user('[remotes.lab]\nurl = " S3://Bucket/A"')
    assert load(tmp_path).remote("lab").url == "s3://Bucket/A"
    assert connect(" HTTP://host/a").url == "http://host/a"
    assert Settings().place("S3://b") == Remote("", "s3://b")
    with pytest.raises(UsageError, match="empty"):
        connect(" ")


def test_a_name_wins_over_a_path_and_a_path_object_is_no_name(tmp_path: Path) -> None:
    settings = Settings(remotes={"lab": Remote("lab", str(tmp_path / "store"))})
    assert settings.place("lab").url == str(tmp_path / "store")
    assert settings.place("./lab") == Remote("", "./lab")
    assert dsa.store.Store.at(Path("lab"), settings).url == str(Path("lab").absolute())
    with pytest.raises(NotFoundError, match="no remote is called other"):
        settings.remote("other")


def test_a_default_that_is_no_remote_is_named_with_its_file(tmp_path: Path) -> None:
    file = user('default = "gone"')
    with pytest.raises(NotFoundError, match=rf"{file} says that the default is gone"):
        load(tmp_path).usual()


@pytest.mark.parametrize(
    ("environ", "options", "expected"),
    [({}, {}, 5), ({"DSA_JOBS": "3"}, {}, 3), ({}, {"jobs": "2"}, 2)],
)
def test_a_remotes_own_jobs_hold_until_somebody_says_otherwise_now(
    tmp_path: Path, environ: Mapping[str, str], options: Mapping[str, str], expected: int
) -> None:
    user('jobs = 7\n[remotes.lab]\nurl = "memory://x"\njobs = 5\n[remotes.two]\nurl = "memory://y"')
    settings = load(tmp_path, environ=environ, options=options)
    assert settings.connect(settings.remote("lab")).jobs == expected
    assert settings.connect(settings.remote("two")).jobs == (7 if expected == 5 else expected)


def test_jobs_limit_the_workers_of_a_store_and_of_nobody_else() -> None:
    free = crew.cores()
    with crew.at_most(1):
        assert crew.crew_size(10**6, 10**12) == 1
        with crew.at_most(None):
            assert crew.cores() == 1
    assert crew.cores() == free
    with pytest.raises(UsageError):
        dsa.open("x", jobs=0)


def test_layers_are_merged_without_any_file() -> None:
    low = parse({"jobs": 1, "author": "A <a@x>"}, "low")
    high = parse({"jobs": 2}, "high")
    found = merge([low, high])
    assert (found.jobs, found.author, found.sources["jobs"]) == (2, "A <a@x>", "high")


def test_a_project_cannot_name_what_starts_programs(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / ".dsa").mkdir(parents=True)
    (project / ".dsa" / "config.toml").write_text(
        '[remotes.lab]\nurl = "sftp://host/data"\nconfig = "ssh_config"\n'
    )
    with pytest.raises(UsageError, match=r"remotes\.lab\.config names a file that may start"):
        load(project)
