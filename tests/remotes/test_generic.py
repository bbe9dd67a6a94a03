"""Stores behind any URL of fsspec's: FTP, a whole store in a ZIP file, memory; and what is refused."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from filing import KEY, keys
from servers.ftp import PASSWORD, READER, Ftp

import dsa
from dsa.errors import AccessError, DamageError, DsaError, NotFoundError, UsageError
from dsa.remotes.connect import connect
from dsa.remotes.generic import GenericBackend
from dsa.remotes.options import Options


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsa.remotes.retry.LONGEST_WAIT_SECONDS", 0.01)


# --- URLs and options ----------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "gopher://x/y", "x://", "://x", "noise::x://y", "ftp://h:x/y"])
def test_what_is_no_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        connect(url)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="gopher://") as caught:
        connect("gopher://x/y")
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smbprotocol", None)
    monkeypatch.setitem(sys.modules, "smbclient", None)
    with pytest.raises(UsageError, match=r"smb://.*smbprotocol"):
        connect("smb://host/share/x")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://alice:hush@host/x",
        "s3://key:hush@bucket/x",
        "https://alice:hush@host/x",
        "zip://::ftp://alice:hush@host/x.zip",
    ],
)
def test_a_password_in_a_url_is_refused_and_never_shown(url: str) -> None:
    with pytest.raises(UsageError, match="password") as caught:
        connect(url)
    assert "hush" not in str(caught.value)
    assert caught.value.hint is not None
    assert "netrc" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timeuot": "3"}, "timeuot"),
        ({"password": "x"}, "password"),
        ({"timeout": "soon"}, "timeout"),
        ({"tls": "perhaps"}, "tls"),
        ({"jobs": "0"}, "jobs"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        connect("ftp://host/x", options)
    assert "\n" not in str(caught.value)


def test_options_reach_the_file_system(ftp_server: Ftp, home: Path) -> None:
    ftp_server.write_netrc(home)
    backend = connect(ftp_server.url("x"), {"timeout": "7", "encoding": "latin-1", "jobs": "2"})
    assert isinstance(backend, GenericBackend)
    assert backend.fs.ftp.timeout == 7
    assert backend.fs.ftp.encoding == "latin-1"
    assert backend.jobs == 2


def test_local_paths_bring_no_library_of_networks() -> None:
    script = (
        "import sys\n"
        "from dsa.remotes.connect import connect\n"
        "import dsa.remotes.memory, dsa.remotes.retry\n"
        "assert not connect('/no/such/place').exists()\n"
        "heavy = {'fsspec', 's3fs', 'paramiko', 'dvc_objects', 'tenacity', 'aiohttp'}\n"
        "print(*sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


# --- FTP -----------------------------------------------------------------------------------------


def test_a_refused_login_points_to_netrc_and_shows_no_secret(
    ftp_server: Ftp, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    backend = connect(ftp_server.url("x"))
    for password in (None, "a wrong one"):
        if password is not None:
            ftp_server.write_netrc(home, password)
        with pytest.raises(AccessError, match="refuses the login") as caught:
            backend.exists()
        assert caught.value.exit_code == 6
        assert caught.value.hint is not None
        assert ".netrc" in caught.value.hint
        assert "wrong one" not in str(caught.value)
    ftp_server.write_netrc(home)
    assert not backend.exists()
    assert PASSWORD not in caplog.text
    assert PASSWORD not in backend.url + repr(backend)


def test_a_netrc_that_others_may_read_is_a_clear_error(ftp_server: Ftp, home: Path) -> None:
    ftp_server.write_netrc(home)
    (home / ".netrc").chmod(0o644)
    with pytest.raises(AccessError, match="netrc"):
        connect(ftp_server.url("x")).exists()


def test_no_server_is_no_connection() -> None:
    with pytest.raises(AccessError, match="no connection to ftp://127"):
        connect("ftp://127.0.0.1:1/x").exists()


def test_a_broken_connection_is_made_anew(ftp_server: Ftp, home: Path) -> None:
    ftp_server.write_netrc(home)
    backend = connect(ftp_server.url(f"broken/{time.time()}"))
    assert isinstance(backend, GenericBackend)
    backend.write(KEY, b"x" * 100_000)
    backend.fs.ftp.sock.shutdown(2)
    assert backend.read(KEY) == b"x" * 100_000
    backend.fs.ftp.sock.shutdown(2)
    backend.write(KEY, b"y")
    backend.fs.ftp.sock.shutdown(2)
    assert keys(backend.list("")) == [KEY]
    assert backend.read(KEY, 0, 9) == b"y"


def test_a_user_without_the_right_to_write_is_an_access_error(ftp_server: Ftp, home: Path) -> None:
    ftp_server.write_netrc(home)
    name = f"closed/{time.time()}"
    connect(ftp_server.url(name)).write(KEY, b"there")
    ftp_server.write_netrc(home, user=READER)
    backend = connect(ftp_server.url(name, user=READER))
    assert backend.read(KEY) == b"there"
    for call in (
        lambda: backend.write(KEY, b"x"),
        lambda: backend.create("new", b"x"),
        lambda: backend.remove(KEY),
        lambda: backend.send(io.BytesIO(b"x"), "packs/x", 1, lambda: True),
    ):
        with pytest.raises(AccessError) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert backend.read(KEY) == b"there"
    assert keys(backend.list("")) == [KEY]


# --- a store in a ZIP file -----------------------------------------------------------------------


def zip_folder(folder: Path, path: Path, below: str = "") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and "site" not in file.relative_to(folder).parts:
                archive.write(file, f"{below}{file.relative_to(folder)}")


@pytest.mark.parametrize("below", ["", "some/store/"])
def test_a_whole_store_in_one_zip_file_is_checked_out(tmp_path: Path, below: str) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    for number in range(20):
        (data / f"sub/{number}.txt").write_text(f"{number}\n" * 100)
    (data / "large").write_bytes(os.urandom(3_000_000))
    dsa.open(tmp_path / "store", create=True).push("ds", "1", data)
    zip_folder(tmp_path / "store", tmp_path / "s.zip", below)
    url = f"zip://{below.rstrip('/')}::{tmp_path}/s.zip" if below else f"zip://{tmp_path}/s.zip"
    store = dsa.open(url)
    assert [str(each) for each in store.datasets()] == ["ds"]
    store.checkout("ds@1", tmp_path / "out")
    assert (tmp_path / "out/sub/7.txt").read_text() == "7\n" * 100
    assert (tmp_path / "out/large").read_bytes() == (data / "large").read_bytes()
    before = (tmp_path / "s.zip").read_bytes()
    with pytest.raises(AccessError) as caught:
        store.push("ds", "2", data / "sub")
    assert caught.value.exit_code == 6
    assert (tmp_path / "s.zip").read_bytes() == before


def test_what_is_no_zip_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.zip"):
        connect(f"zip://{tmp_path}/none.zip").exists()
    (tmp_path / "x.zip").write_bytes(b"nonsense")
    with pytest.raises(DamageError, match=r"x\.zip is not a ZIP file"):
        connect(f"zip://{tmp_path}/x.zip").exists()


def test_an_archive_is_not_opened_for_writing_nor_over_an_unchecked_sftp() -> None:
    with pytest.raises(UsageError, match="mode"):
        connect("zip:///x.zip", {"mode": "w"})
    with pytest.raises(UsageError, match="SFTP"):
        connect("zip://::sftp://host/x.zip")


# --- any other -----------------------------------------------------------------------------------


class Lossy(GenericBackend):
    """Loses the answer to every rename, and once more that of the try after it."""

    lost = 0

    def rename(self, name: str, key: str) -> None:
        if self.lost < 2:
            if self.lost == 0:
                super().rename(name, key)
            self.lost += 1
            raise ConnectionResetError("the answer is lost")
        super().rename(name, key)


def test_a_lost_answer_is_settled_by_reading_back() -> None:
    for creates in (True, False):
        backend = Lossy(f"memory://lossy{time.time_ns()}", Options({}))
        if creates:
            assert backend.create(KEY, b"x")
        else:
            backend.write(KEY, b"x")
        assert backend.read(KEY) == b"x"
        assert backend.lost == 2
        assert keys(backend.list("")) == [KEY]


def test_an_error_that_nobody_knows_is_an_access_error_on_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = connect(f"memory://odd{time.time_ns()}")
    assert isinstance(backend, GenericBackend)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("something\nodd")

    monkeypatch.setattr(type(backend.fs), "cat_file", fails)
    with pytest.raises(DsaError, match="something odd"):
        backend.read(KEY)
