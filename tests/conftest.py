"""Every test runs as a new user: nothing of the real home, settings or git configuration is seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from servers.ceph import Ceph, ceph
from servers.ftp import Ftp, ftp
from servers.moto import Moto, moto
from servers.nginx import Nginx, nginx
from servers.sshd import Sshd, sshd

settings.register_profile("dsa", deadline=None)  # machines under load are slow, not wrong
settings.load_profile("dsa")

# What would turn on colours, or fix a width, when a test reads what a terminal would show.
TERMINAL_VARIABLES = ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LINES", "NO_COLOR", "PY_COLORS")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty home folder that this test has."""
    home = tmp_path_factory.mktemp("home")
    for name in os.environ:
        if (
            name.startswith(("AWS_", "DSA_", "FSSPEC_", "GIT_", "SSH_", "XDG_"))
            or name in TERMINAL_VARIABLES
        ):
            monkeypatch.delenv(name)
    for name, folder in {
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
    }.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Return a web server that serves an empty folder."""
    base = tmp_path_factory.mktemp("nginx")
    with nginx(base / "own", base / "served") as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """Return moto's S3 server; buckets are never the same."""
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """Return the Ceph gateway that all of pytest's processes share."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with ceph(shared / "ceph") as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return an SSH server that gives this user the whole disk."""
    with sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def ftp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ftp]:
    """Return an FTP server that serves an empty folder."""
    with ftp(tmp_path_factory.mktemp("ftp")) as server:
        yield server
