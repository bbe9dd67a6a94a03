"""Many loose objects at once: what comes, what does not, and what is tried again."""

from __future__ import annotations

import random
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from servers.places import PLACES

from dsa.cas.backend import Backend
from dsa.errors import AccessError, DamageError
from dsa.remotes import retry
from dsa.remotes.anyfs import FsspecBackend
from dsa.remotes.batch import fetch

CONTENTS = [random.Random(n).randbytes(n * 700) for n in range(40)]


def key_of(content: bytes) -> str:
    digits = sha1(content).hexdigest()
    return f"objects/{digits[:2]}/{digits[2:]}"


@pytest.fixture(params=["local", "memory", "fsspec-memory", "sftp", "ftp", "s3-moto"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    (tmp_path / "place").mkdir()
    made = PLACES[request.param].make(request, tmp_path / "place")
    for content in CONTENTS:
        made.write(key_of(content), content)
    return made


def test_all_files_come_and_what_is_not_there_is_named(backend: Backend, tmp_path: Path) -> None:
    absent = key_of(b"absent")
    before = backend.traffic.bytes_received
    came = fetch(backend, [*map(key_of, CONTENTS), absent], tmp_path)
    assert isinstance(came.pop(absent), KeyError)
    for content in CONTENTS:
        path = came[key_of(content)]
        assert isinstance(path, Path)
        assert path.read_bytes() == content
    if backend.jobs > 1 and backend.traffic.requests:
        assert backend.traffic.bytes_received - before >= sum(map(len, CONTENTS))


def test_one_file_comes_as_well(backend: Backend, tmp_path: Path) -> None:
    (path,) = fetch(backend, [key_of(CONTENTS[5])], tmp_path).values()
    assert isinstance(path, Path)
    assert path.read_bytes() == CONTENTS[5]
    (absent,) = fetch(backend, [key_of(b"absent")], tmp_path).values()
    assert isinstance(absent, KeyError)


def test_a_file_that_is_too_long_is_damage(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for kind in ("local", "s3-moto"):
        (tmp_path / kind).mkdir()
        place = PLACES[kind].make(request, tmp_path / kind)
        place.write("objects/ab/c", b"x" * 200_000)
        place.write("objects/ab/d", b"x" * 100)
        (tmp_path / f"{kind}-came").mkdir()
        came = fetch(
            place, ["objects/ab/c", "objects/ab/d"], tmp_path / f"{kind}-came", most_bytes=1000
        )
        assert isinstance(came["objects/ab/c"], DamageError)
        assert isinstance(came["objects/ab/d"], Path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 0.002)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "times", "kind"),
    [
        (ConnectionResetError("reset"), 2, Path),
        (ConnectionResetError("reset"), 100, AccessError),
        (PermissionError("no"), 1, AccessError),
    ],
)
def test_what_passes_is_tried_again_and_what_does_not_is_told(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    times: int,
    kind: type,
) -> None:
    backend = PLACES["s3-moto"].make(request, tmp_path)
    assert isinstance(backend, FsspecBackend)
    keys = [key_of(content) for content in CONTENTS[:5]]
    for key, content in zip(keys, CONTENTS, strict=False):
        backend.write(key, content)
    inner, left = backend.fs._get_file, dict.fromkeys(map(backend.path, keys[1:]), times)

    async def shaky(path: str, *arguments: Any, **more: Any) -> None:
        if left.get(path, 0) > 0:
            left[path] -= 1
            raise error
        await inner(path, *arguments, **more)

    monkeypatch.setattr(backend.fs, "_get_file", shaky)
    came = fetch(backend, keys, tmp_path)
    assert isinstance(came[keys[0]], Path)
    assert all(isinstance(came[key], kind) for key in keys[1:])
