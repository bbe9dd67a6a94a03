"""Changes of a settings file: only what is meant changes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dsa.config import edit, remembered
from dsa.config.settings import Remote
from dsa.errors import AccessError, ConflictError, NotFoundError, UsageError

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
        ("https://ghp_hidden@host/", {}),
        ("https://host/x?sv=2024&sig=hidden", {}),
        ("https://host/x#token=hidden", {}),
        ("ftp://bob%3Ahidden@host/x", {}),
        ("HTTPS://hidden@host/x", {}),
        ("sftp://me:not/hidden@host/x", {}),
        ("s3://new", {"endpoint": "https://hidden@host"}),
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
        'remotes.lab.url = "s3://lab"\njobs = 1\n\n[log]\nlevel = "info"\n',
        '[remotes]\nlab.url = "s3://lab"\n',
        '[remotes.lab]\nurl = "s3://lab"\n\n[log]\nlevel = "info"',
    ],
)
def test_however_a_person_writes_it_what_is_written_reads_as_meant(file: Path, text: str) -> None:
    file.write_text(text)
    edit.add_remote(file, Remote("desk", "/data"))
    edit.set_value(file, "default", "desk")
    edit.set_value(file, "cache.limit", "1 GB")
    edit.set_value(file, "remotes.lab.region", "here")
    found = values(file)
    assert found["default"] == "desk"
    assert found["remotes"] == {
        "lab": {"url": "s3://lab", "region": "here"},
        "desk": {"url": "/data"},
    }
    assert found["cache"] == {"limit": "1 GB"}
    assert edit.remove_remote(file, "desk")
    assert not edit.remove_remote(file, "lab")
    assert values(file).get("remotes", {}) == {}
    assert values(file).get("log") == tomllib.loads(text).get("log")


def test_a_file_that_a_program_would_garble_is_left_to_its_owner(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomlkit.dumps", lambda _: "jobs = 9\n")
    with pytest.raises(UsageError, match="a program would garble, so nothing was changed"):
        edit.set_value(file, "jobs", "4")
    assert file.read_text() == MINE


COMMENTED = """\
# all of mine
[remotes.lab]
url = "/a"
# the fast disk
jobs = 3

# backup: ask Anna before you touch it
[remotes.backup]
url = "/b"
# kept until 2030

[cache]
# 20 GB is what the disk has
limit = "20 GB"

# logs go to the shared disk
[log]
level = "info"
"""


def test_comments_above_the_next_section_outlive_a_remote(file: Path) -> None:
    file.write_text(COMMENTED)
    edit.remove_remote(file, "lab")
    first, rest = COMMENTED.index("[remotes.lab]"), COMMENTED.index("\n# backup")
    assert file.read_text() == COMMENTED[:first] + COMMENTED[rest:]
    edit.remove_remote(file, "backup")
    assert file.read_text() == (
        "# all of mine\n\n# backup: ask Anna before you touch it\n"
        + COMMENTED[COMMENTED.index("# kept") :]
    )


def test_a_section_that_says_nothing_any_more_keeps_its_comments(file: Path) -> None:
    file.write_text(COMMENTED)
    edit.unset(file, "cache.limit")
    assert file.read_text() == COMMENTED.replace('limit = "20 GB"\n', "")


@pytest.mark.parametrize(
    "text",
    [
        '[remotes.lab]\nurl = "/a"\n# kept\n[log]\nlevel = "info"\n[remotes.desk]\nurl = "/b"\n',
        '[remotes]\n# kept\n[remotes.lab]\nurl = "/a"\n',
        '[remotes]\nlab.url = "/a"\n# kept\n[log]\nlevel = "info"\n',
        'remotes.lab.url = "/a"\n# kept\njobs = 1\n',
        '[remotes.lab]\nurl = "/a"\n\n[remotes.lab.more]\nx = 1\n# kept\n\n[log]\nlevel = "info"\n',
        '[remotes.lab]\r\nurl = "/a"\r\n\r\n# kept\r\n[log]\r\nlevel = "info"\r\n',
    ],
)
def test_a_comment_that_may_be_anothers_stays(file: Path, text: str) -> None:
    file.write_text(text, newline="")
    expected = tomllib.loads(text)
    del expected["remotes"]["lab"]
    edit.remove_remote(file, "lab")
    left = values(file)
    assert {"remotes": {}} | left == expected
    assert "# kept" in file.read_text()
    assert file.read_bytes().count(b"\r\n") in (0, file.read_bytes().count(b"\n"))


def test_of_many_changes_at_once_none_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.toml"
    code = (
        "import sys; from pathlib import Path; from dsa.config import edit;"
        "from dsa.config.settings import Remote;"
        "[edit.add_remote(Path(sys.argv[1]), Remote(f'r{sys.argv[2]}-{n}', '/x')) for n in range(8)]"
    )
    adding = [subprocess.Popen([sys.executable, "-c", code, file, str(n)]) for n in range(4)]
    assert [one.wait(60) for one in adding] == [0] * 4
    assert len(tomllib.loads(file.read_text())["remotes"]) == 32
    assert list(file.parent.iterdir()) == [file]


def test_a_change_that_is_refused_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        edit.unset(tmp_path / "a" / "b" / "config.toml", "jobs")
    assert list(tmp_path.iterdir()) == []


def test_facts_that_several_threads_change_are_all_kept() -> None:
    def add(number: int) -> None:
        remembered.change("test", "one", lambda facts: {**facts, str(number): number})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(64)))
    assert len(remembered.recall("test", "one")) == 64 + 1  # and its own key


def test_a_remote_that_could_not_be_used_is_not_written(file: Path) -> None:
    file.write_text('[remotes.lab]\nurl = "s3://lab"\nregoin = "x"\n')
    before = file.read_text()
    with pytest.raises(UsageError, match="does not take the option regoin"):
        edit.add_remote(file, Remote("lab", "s3://lab", {"region": "x"}))
    assert file.read_text() == before


def test_a_url_is_set_as_it_can_be_used(file: Path) -> None:
    edit.set_value(file, "remotes.lab.url", " S3://Other")
    assert values(file)["remotes"] == {"lab": {"url": "s3://Other", "region": "eu-central-1"}}
    before = file.read_text()
    for key, text in (
        ("remotes.lab.url", "relative"),
        ("remotes.lab.url", "https://hidden@host/x"),
        ("default", "https://hidden@host/x"),
    ):
        with pytest.raises(UsageError) as caught:
            edit.set_value(file, key, text)
        assert "hidden" not in str(caught.value)
    assert file.read_text() == before


def test_a_project_names_only_files_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / ".dsa" / "config.toml"
    for text in ("/var/log/x", "../x", "~/x"):
        with pytest.raises(UsageError, match="not in the project's folder"):
            edit.set_value(file, "log.file", text)
    assert not file.exists()
    edit.set_value(file, "log.file", "logs/dsa.log")
    assert values(file) == {"log": {"file": "logs/dsa.log"}}
