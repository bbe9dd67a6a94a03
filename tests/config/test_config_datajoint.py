"""What a DataJoint configuration comes to, and where its keys go."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from dsa.config import credentials, datajoint
from dsa.config.credentials import Keys
from dsa.errors import ConflictError, NotFoundError, UsageError

ACCESS, SECRET = "AKIDEXAMPLE", "wJalr/hidden+KEY"
CUSTOM = {
    "djarchive.access_key": ACCESS,
    "djarchive.secret_key": SECRET,
    "djarchive.bucket": "lab.bucket",
    "djarchive.endpoint": "s3.example.org:9000",
}


def planned(custom: dict[str, Any], **more: Any) -> datajoint.Plan:
    return datajoint.plan({"database.host": "x", "custom": custom, **more}, "dj.json")


def test_one_set_is_one_remote_and_one_profile() -> None:
    plan = planned(CUSTOM)
    (remote,) = plan.remotes
    assert (remote.name, remote.url) == ("djarchive", "s3://lab.bucket")
    assert remote.options == {"endpoint": "https://s3.example.org:9000", "profile": "djarchive"}
    assert plan.keys == {"djarchive": Keys(ACCESS, SECRET)}
    remote.check()


def test_keys_never_show() -> None:
    plan = planned(CUSTOM)
    assert SECRET not in repr(plan)
    assert SECRET not in repr(plan.keys["djarchive"])
    assert ACCESS not in repr(plan.keys["djarchive"])


def test_what_is_not_said_is_what_djarchive_took() -> None:
    (remote,) = planned({"djarchive.filename_filter": "", "djarchive.bucket": "b"}).remotes
    assert remote.options == {"endpoint": "https://s3.djhub.io", "anonymous": "true"}
    remote.check()
    (remote,) = planned({"djarchive.endpoint": "http://here:1"}).remotes
    assert remote.url == "s3://djhub.vathes.datapub.elements"
    assert remote.options["endpoint"] == "http://here:1"


def test_the_older_sets_are_two_remotes() -> None:
    plan = planned(
        {
            "djarchive.client.bucket": "pub",
            "djarchive.client.endpoint": "s3.example.org",
            "djarchive.admin.bucket": "pub",
            "djarchive.admin.access_key": ACCESS,
            "djarchive.admin.secret_key": SECRET,
        }
    )
    assert [remote.name for remote in plan.remotes] == ["djarchive-client", "djarchive-admin"]
    assert [remote.options.get("profile") for remote in plan.remotes] == [None, "djarchive-admin"]
    assert list(plan.keys) == ["djarchive-admin"]


def test_log_level_and_file_are_taken_over() -> None:
    plan = planned({**CUSTOM, "logfile": "/var/log/dj.log"}, loglevel="WARN")
    assert plan.settings == {"log.level": "warning", "log.file": "/var/log/dj.log"}
    assert planned(CUSTOM, loglevel="NOTSET").settings == {"log.level": "debug"}
    odd = planned(CUSTOM, loglevel="CHATTY")
    assert odd.settings == {}
    assert "CHATTY" in odd.remarks[0]
    assert "dsaignore" in planned({**CUSTOM, "djarchive.filename_filter": "x"}).remarks[0]


def test_values_beside_custom_count_too() -> None:
    plan = datajoint.plan({"djarchive.bucket": "old"}, "dj.json")
    assert plan.remotes[0].url == "s3://old"


@pytest.mark.parametrize(
    "custom",
    [
        {"djarchive.access_key": ACCESS},
        {**CUSTOM, "djarchive.secret_key": 5},
        {**CUSTOM, "djarchive.secret_key": "two\nlines-hidden"},
        {**CUSTOM, "djarchive.bucket": ["x"]},
    ],
)
def test_what_cannot_be_meant_is_an_error_without_the_value(custom: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        planned(custom)
    assert "hidden" not in str(caught.value)
    assert ACCESS not in str(caught.value)


def test_the_log_level_is_datajoints_own_and_the_log_file_is_custom() -> None:
    plan = planned({**CUSTOM, "loglevel": "DEBUG", "logfile": "/x"}, loglevel="WARN", logfile="/y")
    assert plan.settings == {"log.level": "warning", "log.file": "/x"}
    assert not planned({**CUSTOM, "logfile": 7}, loglevel="NOTSET").settings.get("log.file")
    assert "no path" in planned({**CUSTOM, "logfile": 7}).remarks[0]


def test_a_file_without_djarchive_or_none_at_all_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="says nothing of djarchive"):
        planned({})
    with pytest.raises(NotFoundError, match="no DataJoint configuration"):
        datajoint.read(tmp_path / "none.json")


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff", b'{"custom": {"djarchive.bucket": hidden'])
def test_a_file_that_is_none_is_a_usage_error(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "dj.json"
    file.write_bytes(data)
    with pytest.raises(UsageError, match="is no DataJoint configuration") as caught:
        datajoint.read(file)
    assert "hidden" not in str(caught.value)


def test_the_folders_own_file_comes_before_the_users(tmp_path: Path) -> None:
    assert datajoint.default_file(tmp_path, Path("/home/x")) == Path(
        "/home/x/.datajoint_config.json"
    )
    local = tmp_path / "dj_local_conf.json"
    local.write_text(json.dumps({"custom": CUSTOM}))
    assert datajoint.default_file(tmp_path, Path("/home/x")) == local
    assert datajoint.read(local).remotes[0].source == str(local)


def test_a_profile_is_added_at_the_end_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / ".aws" / "credentials"
    assert credentials.add_profile(file, "lab", Keys(ACCESS, SECRET))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first = file.read_text()
    assert not credentials.add_profile(file, "lab", Keys(ACCESS, SECRET))
    assert file.read_text() == first
    file.chmod(0o644)
    file.write_text("# mine\n[default]\naws_access_key_id=A")
    assert credentials.add_profile(file, "lab", Keys(ACCESS, SECRET))
    assert file.read_text() == f"# mine\n[default]\naws_access_key_id=A\n\n{first}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_awss_own_library_reads_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.session

    file = tmp_path / "credentials"
    credentials.add_profile(file, "djarchive", Keys(ACCESS, SECRET))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    found = botocore.session.Session(profile="djarchive").get_credentials()
    assert (found.access_key, found.secret_key) == (ACCESS, SECRET)


def test_a_profile_with_other_keys_is_never_changed(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    credentials.add_profile(file, "lab", Keys("OTHER", "hidden"))
    before = file.read_bytes()
    with pytest.raises(ConflictError, match="has a profile lab with other keys") as caught:
        credentials.add_profile(file, "lab", Keys(ACCESS, SECRET))
    assert "hidden" not in str(caught.value)
    assert file.read_bytes() == before


def test_a_credentials_file_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("hidden\n")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        credentials.add_profile(file, "lab", Keys(ACCESS, SECRET))
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None
