"""Checkout, open and cat from real servers: moto, Ceph, sshd, nginx."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from uuid import uuid4

import pytest
from servers.places import PLACES
from treetools import Exec, Link, Tree, look, make

import dsa
from dsa.cas.backend import Backend
from dsa.cas.objectstore import ObjectStore
from dsa.remotes.cache import Cache
from dsa.remotes.connect import connect
from dsa.revision import Revision
from dsa.verbs import opening
from dsa.verbs.checkout import Wish, checkout
from dsa.verbs.sources import Sources

MIB = 2**20
LARGE = random.Random(0).randbytes(20 * MIB + 5)
TREE: Tree = {
    "large": LARGE,
    "run": Exec(b"#!/bin/sh\n"),
    "to": Link("large"),
    **{f"m/{at}": random.Random(at).randbytes(300_000 + at) for at in range(8)},
    **{f"s/{at}": b"%d" % at * 99 for at in range(400)},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    store = dsa.open(folder / "store", create=True)
    store.push("ds", "1", make(folder / "source", TREE), author="a <b@c>")
    return folder / "store"


@pytest.fixture(params=["s3-moto", "s3-ceph", "sftp", "http"])
def server(request: pytest.FixtureRequest, published: Path, tmp_path: Path) -> Backend:
    """Return a server that holds the store."""
    if request.param == "http":
        web = request.getfixturevalue("web")
        name = uuid4().hex
        shutil.copytree(published, web.root / name)
        return connect(f"{web.url}/{name}")
    backend = PLACES[request.param].make(request, tmp_path)
    for path in sorted(published.rglob("*")):
        if path.is_file():
            backend.create(path.relative_to(published).as_posix(), path.read_bytes())
    return backend


def source_of(backend: Backend) -> Sources:
    return Sources(backend, lambda: ObjectStore(backend), "ds@1")


def test_everything_comes_over_few_requests(server: Backend, tmp_path: Path) -> None:
    report = checkout(source_of(server), tmp_path / "w", Wish())
    assert look(tmp_path / "w") == TREE
    assert report.requests < 60
    assert report.bytes_received < sum(map(len, filter(None, map(_bytes, TREE.values())))) + MIB


def _bytes(thing: object) -> bytes:
    return thing if isinstance(thing, bytes) else b""


def test_a_second_checkout_comes_from_the_cache(server: Backend, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    checkout(source_of(server), tmp_path / "w", Wish(), cache=cache)
    report = checkout(source_of(server), tmp_path / "again", Wish(), cache=cache)
    assert look(tmp_path / "again") == TREE
    assert report.bytes_received < 200_000


def test_files_are_read_one_by_one(server: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "VERIFY_FIRST_BYTES", MIB)
    rev = Revision(ObjectStore(server), "ds", "1")
    assert rev.read("s/7") == TREE["s/7"]
    with rev.open("large") as file:
        assert file.read() == LARGE
    with rev.open("large", verify=False) as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == LARGE[-10:]
        file.seek(5 * MIB)
        assert file.read(100) == LARGE[5 * MIB : 5 * MIB + 100]
    out = io.BytesIO()
    rev.cat("large", out)
    assert out.getvalue() == LARGE
