"""Changes of a settings file: only what is meant changes."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from dsa.config import edit
from dsa.config.settings import Remote
from dsa.errors import AccessError, ConflictError, DsaError, NotFoundError, UsageError

MINE = """\
# what I like
jobs = 8   # many

[remotes.lab]  # the lab's
url = "s3://lab"
region = "eu-central-1"

[cache]
limit = "20 GB"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(MINE)
    return file


def values(file: Path) -> dict[str, object]:
    return tomllib.loads(file.read_text())


def test_comments_order_and_all_else_stay(file: Path) -> None:
    edit.set_value(file, "jobs", "4")
    assert file.read_text() == MINE.replace("jobs = 8", "jobs = 4")
    edit.set_value(file, "jobs", "8")
    edit.set_value(file, "default", "lab")
    edit.unset(file, "default")
    edit.add_remote(file, Remote("desk", "/data"))
    edit.remove_remote(file, "desk")
    assert file.read_text() == MINE


def test_line_ends_stay_what_they_are(file: Path) -> None:
    file.write_bytes(MINE.replace("\n", "\r\n").encode())
    edit.set_value(file, "jobs", "4")
    assert file.read_bytes() == MINE.replace("jobs = 8", "jobs = 4").replace("\n", "\r\n").encode()


def test_what_is_set_already_writes_nothing(file: Path) -> None:
    before = file.stat()
    edit.set_value(file, "jobs", "8")
    assert not edit.add_remote(file, Remote("lab", "s3://lab", {"region": "eu-central-1"}))
    assert file.stat() == before


def test_a_file_is_made_with_all_that_leads_to_it(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "config.toml"
    edit.set_value(file, "cache.limit", "5 GB")
    edit.set_value(file, "cache.enabled", "no")
    assert edit.add_remote(file, Remote("lab", "/data"))
    assert values(file) == {
        "cache": {"limit": "5 GB", "enabled": False},
        "remotes": {"lab": {"url": "/data"}},
    }
    edit.unset(file, "cache.limit")
    edit.unset(file, "cache.enabled")
    assert not edit.remove_remote(file, "lab")
    assert values(file) == {}


def test_a_remote_added_again_gets_more_options_and_keeps_its_own(file: Path) -> None:
    assert edit.add_remote(file, Remote("lab", "s3://lab", {"single_writer": "true"}))
    assert values(file)["remotes"] == {
        "lab": {"url": "s3://lab", "region": "eu-central-1", "single_writer": "true"}
    }


def test_another_url_under_a_name_is_a_conflict(file: Path) -> None:
    with pytest.raises(ConflictError, match="the remote lab is s3://lab"):
        edit.add_remote(file, Remote("lab", "s3://other"))
    assert file.read_text() == MINE


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://new", {"secret_key": "hidden"}),
        ("s3://new", {"endpoint": "https://me:hidden@host"}),
        ("sftp://me:hidden@host/x", {}),
        ("https://host/x?token=hidden", {}),
    ],
)
def test_no_credential_gets_into_the_file_or_the_error(
    file: Path, url: str, options: dict[str, str]
) -> None:
    with pytest.raises(UsageError) as caught:
        edit.add_remote(file, Remote("new", url, options))
    assert "hidden" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(UsageError):
        edit.set_value(file, "remotes.lab.secret_key", "hidden")
    assert file.read_text() == MINE


def test_options_that_a_kind_of_remote_does_not_take_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="does not take the option regoin"):
        edit.add_remote(file, Remote("new", "s3://new", {"regoin": "x"}))
    with pytest.raises(UsageError, match="does not take the option regoin"):
        edit.set_value(file, "remotes.lab.regoin", "x")
    assert file.read_text() == MINE


def test_a_remotes_options_are_settings_too(file: Path) -> None:
    edit.set_value(file, "remotes.lab.profile", "lab")
    edit.unset(file, "remotes.lab.region")
    assert values(file)["remotes"] == {"lab": {"url": "s3://lab", "profile": "lab"}}
    with pytest.raises(UsageError):
        edit.unset(file, "remotes.lab.url")
    with pytest.raises(NotFoundError):
        edit.set_value(file, "remotes.other.profile", "x")


def test_forgetting_the_default_remote_leaves_no_default(file: Path) -> None:
    edit.set_value(file, "default", "lab")
    assert edit.remove_remote(file, "lab")
    assert values(file) == {"jobs": 8, "cache": {"limit": "20 GB"}}
    with pytest.raises(NotFoundError):
        edit.remove_remote(file, "lab")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("jobs", "many"),
        ("jobs", "0"),
        ("cache.enabled", "perhaps"),
        ("cache.limit", "much"),
        ("log.level", "loud"),
        ("nothing", "x"),
        ("cache", "x"),
        ("store", "x"),
        ("remotes.lab", "x"),
        ("author", ""),
    ],
)
def test_what_cannot_be_is_not_written(file: Path, key: str, text: str) -> None:
    with pytest.raises(UsageError):
        edit.set_value(file, key, text)
    assert file.read_text() == MINE


def test_what_is_not_set_cannot_be_taken_out(file: Path) -> None:
    for key in ("author", "cache.folder", "log.level", "remotes.lab.profile"):
        with pytest.raises(NotFoundError):
            edit.unset(file, key)
    assert file.read_text() == MINE


def test_a_broken_file_is_left_to_its_owner(file: Path) -> None:
    file.write_text("jobs = \n")
    with pytest.raises(UsageError, match="line 1"):
        edit.set_value(file, "jobs", "1")
    assert file.read_text() == "jobs = \n"


def test_a_wrong_value_can_be_mended(file: Path) -> None:
    file.write_text('jobs = "x"\n')
    edit.set_value(file, "jobs", "3")
    assert values(file) == {"jobs": 3}


def test_a_link_stays_a_link_and_a_mode_stays_a_mode(file: Path, tmp_path: Path) -> None:
    file.chmod(0o600)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    edit.set_value(link, "jobs", "2")
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert values(file)["jobs"] == 2
    assert list(tmp_path.iterdir()) == [file, link] or len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_an_error(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AccessError):
            edit.set_value(file, "jobs", "2")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    "text",
    [
        'remotes = { lab = { url = "s3://lab" } }\n',
        'remotes.lab.url = "s3://lab"\n',
        '[remotes]\nlab.url = "s3://lab"\n',
        '[remotes.lab]\nurl = "s3://lab"\n\n[log]\nlevel = "info"',
    ],
)
def test_however_a_person_writes_it_what_is_written_reads_as_meant(file: Path, text: str) -> None:
    file.write_text(text)
    try:
        edit.add_remote(file, Remote("desk", "/data"))
        edit.set_value(file, "default", "desk")
        edit.set_value(file, "cache.limit", "1 GB")
    except DsaError as error:  # refused, with nothing lost
        assert "editor" in str(error.hint)  # noqa: PT017
        assert values(file)
    else:
        found = values(file)
        assert found["default"] == "desk"
        assert found["remotes"] == {"lab": {"url": "s3://lab"}, "desk": {"url": "/data"}}
        assert found["cache"] == {"limit": "1 GB"}
