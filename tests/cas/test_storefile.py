"""`dsa.json`: what is a store, what is none, and what is of a later release."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dsa.cas import layout
from dsa.cas.storefile import StoreFile, make_store
from dsa.errors import ConflictError, DamageError, DsaError, NotFoundError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

GOOD: dict[str, Any] = {
    "format": 1,
    "store": "123e4567-e89b-12d3-a456-426614174000",
    "created": "2026-01-31T12:00:00.000Z",
    "requires": [],
    "requires_to_write": [],
}


def store(value: object) -> MemoryBackend:
    backend = MemoryBackend()
    backend.create(
        layout.STORE, json.dumps(value).encode() if not isinstance(value, bytes) else value
    )
    return backend


def test_an_empty_place_becomes_a_store_once() -> None:
    backend = MemoryBackend()
    made, is_new = make_store(backend)
    assert is_new
    again, is_new = make_store(backend)
    assert not is_new
    assert made == again == StoreFile.read(backend)
    UUID(made.id)
    assert json.loads(backend.read(layout.STORE)).keys() == GOOD.keys()


def test_a_place_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConflictError):
        make_store(LocalBackend(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_racing_makers_make_one_store(tmp_path: Path) -> None:
    for number in range(5):
        root = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _, root=root: make_store(LocalBackend(root)), range(8)))
        assert len({file.id for file, _ in made}) == 1
        assert sum(is_new for _, is_new in made) == 1


def test_where_no_store_is_it_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing is there"):
        StoreFile.read(LocalBackend(tmp_path / "none"))
    (tmp_path / "x").write_text("x")
    with pytest.raises(NotFoundError, match=r"no dsa\.json"):
        StoreFile.read(LocalBackend(tmp_path))


@pytest.mark.parametrize(
    "said", [{"format": 2}, {"requires": ["sha512"]}, {"format": 2, "requires": ["a", "b"]}]
)
def test_a_store_of_a_later_release_stops_everything_by_name(said: dict[str, Any]) -> None:
    with pytest.raises(DsaError) as caught:
        StoreFile.read(store({**GOOD, **said}))
    assert type(caught.value) is DsaError
    for name in said.get("requires", []):
        assert name in str(caught.value)
    if said.get("format") == 2:
        assert "format 2" in str(caught.value)
    assert caught.value.hint


def test_what_only_writing_needs_stops_only_writing() -> None:
    file = StoreFile.read(store({**GOOD, "requires_to_write": ["locks", "chains"]}))
    assert file.unknown_to_write == ("chains", "locks")
    with pytest.raises(DsaError, match="chains, locks"):
        file.check_writable("here")
    StoreFile.read(store(GOOD)).check_writable("here")


def test_unknown_keys_are_no_trouble() -> None:
    assert StoreFile.read(store({**GOOD, "motto": "x"})).id == GOOD["store"]
    least = {"format": 1, "store": GOOD["store"]}
    assert StoreFile.read(store(least)).unknown_to_write == ()


@pytest.mark.parametrize(
    "value",
    [
        b"", b"x", b"[]", b'{"format": 1, "format": 1}', {**GOOD, "store": "me"}, {"format": 1},
        {**GOOD, "requires": "x"}, {**GOOD, "requires": [1]}, {**GOOD, "requires_to_write": {}},
        {**GOOD, "requires": None}, {**GOOD, "format": "1"}, {**GOOD, "format": True}, {**GOOD, "format": 1.0},
    ],
)  # fmt: skip
def test_a_dsa_json_that_may_not_be_is_damage(value: object) -> None:
    with pytest.raises(DamageError, match=r"dsa\.json"):
        StoreFile.read(store(value))
