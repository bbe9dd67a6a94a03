"""Every place that the contract suite of Backends (tests/remotes/test_backends.py) runs on.

A new Backend is a line in `PLACES`, or in `READ_ONLY` where it cannot be written to.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from dsa.cas.backend import Backend
from dsa.remotes.connect import connect
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend
from servers.ceph import WRITER, Ceph, Keys
from servers.conditions import IgnoringMemory, RefusingMemory
from servers.ftp import Ftp
from servers.moto import Moto
from servers.nginx import Nginx
from servers.sshd import Sshd


@dataclass(frozen=True)
class Place:
    """How to make a Backend of a fresh, empty place, and what it cannot promise.

    `make` gets the test's request, for `request.getfixturevalue("server")`, and a folder.
    """

    make: Callable[[pytest.FixtureRequest, Path], Backend]
    creates: bool = True  # `create` never changes what is there
    claims: bool = True  # of several creators exactly one wins
    replaces: bool = True  # a reader beside a writer sees the old or the new
    served: bool = True  # there is a server, whose traffic is counted
    pickles: bool = True  # may be sent to another process


@dataclass(frozen=True)
class ReadOnlyPlace:
    """How to make a Backend that only reads, of a place that was filled with these files."""

    make: Callable[[pytest.FixtureRequest, Path, Mapping[str, bytes]], Backend]
    lists: bool = True  # it can say what is in a folder, without a store's own `listing/`
    served: bool = True


def written(root: Path, files: Mapping[str, bytes]) -> Path:
    """Make a folder with these files on the local disk."""
    root.mkdir()
    for key, data in files.items():
        LocalBackend(root).write(key, data)
    return root


def memory(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MemoryBackend()


def local(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    root = tmp_path / "store"
    root.mkdir()
    return LocalBackend(root)


def fsspec_memory(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return connect(f"memory://{uuid4().hex}")


def ignoring(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return IgnoringMemory()


def refusing(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return RefusingMemory()


def ftp(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    server: Ftp = request.getfixturevalue("ftp_server")
    server.write_netrc(Path.home())
    return connect(server.url(f"some/{uuid4().hex}"), {"timeout": "20"})


def sftp(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    server: Sshd = request.getfixturevalue("ssh_server")
    return connect(server.url(tmp_path / "store"), {"config": str(server.config)})


def zipped(request: pytest.FixtureRequest, tmp_path: Path, files: Mapping[str, bytes]) -> Backend:
    path = tmp_path / "store.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for key, data in files.items():
            archive.writestr(zipfile.ZipInfo(key, time.localtime()[:6]), data)
    return connect(f"zip://{path}")


def http(request: pytest.FixtureRequest, tmp_path: Path, files: Mapping[str, bytes]) -> Backend:
    server: Nginx = request.getfixturevalue("web")
    name = uuid4().hex
    written(server.root / name, files)
    return connect(f"{server.url}/{name}")


def s3_moto(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    server: Moto = request.getfixturevalue("moto_server")
    use(WRITER)
    return connect(f"s3://{server.bucket()}/some/prefix", {"endpoint": server.endpoint})


def s3_ceph(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    server: Ceph = request.getfixturevalue("gateway")
    use(server.writer)
    return connect(f"s3://{server.bucket()}", {"endpoint": server.endpoint})


def use(keys: Keys) -> None:
    """Have AWS's tools find these credentials in the home folder that the test has."""
    path = Path.home() / ".aws/credentials"
    path.parent.mkdir(exist_ok=True)
    path.write_text(keys.profile())


PLACES: dict[str, Place] = {
    "memory": Place(memory, served=False, pickles=False),
    "local": Place(local, served=False),
    "fsspec-memory": Place(fsspec_memory, claims=False),
    "ignores-conditions": Place(ignoring, creates=False, claims=False, served=False, pickles=False),
    "refuses-conditions": Place(refusing, creates=False, claims=False, served=False, pickles=False),
    "ftp": Place(ftp, claims=False),
    "sftp": Place(sftp),
    "s3-moto": Place(s3_moto),
    "s3-ceph": Place(s3_ceph),
}

READ_ONLY: dict[str, ReadOnlyPlace] = {
    "zip": ReadOnlyPlace(zipped),
    "http": ReadOnlyPlace(http, lists=False),
}
