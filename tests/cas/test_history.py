"""The dataset log: entries follow one another, and nobody's is lost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.history import LogState, append, read_log
from dsa.cas.ids import Sha256
from dsa.errors import DamageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

TIME = "2026-01-31T12:00:00.000Z"


def add(backend: Backend, who: str, dataset: str = "ds") -> int:
    """Add to the state that is there, as a writer does."""

    def make(last: LogState | None, previous: Sha256 | None) -> LogState:
        said = list(last.state["said"]) if last else []
        return LogState(who, "Ada", TIME, previous, {"said": [*said, who]})

    return append(backend, dataset, make)


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "store")


def test_entries_follow_one_another(backend: Backend) -> None:
    assert list(read_log(backend, "ds")) == []
    assert [add(backend, who) for who in "abc"] == [1, 2, 3]
    assert add(backend, "x", "ds/below") == 1
    entries = list(read_log(backend, "ds"))
    assert [number for number, _, _ in entries] == [1, 2, 3]
    assert entries[-1][2].state == {"said": ["a", "b", "c"]}
    assert entries[0][2].previous is None
    assert entries[1][2].previous == Sha256.of(entries[0][1])
    assert backend.read("log/ds/@00000002.json") == entries[1][1]


def test_racing_writers_lose_nothing(backend: Backend) -> None:
    writers, each = 8, 3
    start = threading.Barrier(writers)

    def write(writer: int) -> list[int]:
        start.wait()
        return [add(backend, f"{writer}.{number}") for number in range(each)]

    with ThreadPoolExecutor(writers) as pool:
        numbers = [number for mine in pool.map(write, range(writers)) for number in mine]
    assert sorted(numbers) == list(range(1, writers * each + 1))
    *_, (_, _, last) = read_log(backend, "ds")
    said = last.state["said"]
    assert sorted(said) == sorted(
        f"{writer}.{number}" for writer in range(writers) for number in range(each)
    )
    for writer in range(writers):
        own = [item for item in said if item.startswith(f"{writer}.")]
        assert own == sorted(own)


def test_an_entry_that_does_not_follow_is_damage(backend: Backend) -> None:
    for who in "abc":
        add(backend, who)
    key = layout.log_key("ds", 2)
    backend.write(key, backend.read(key).replace(b'"Ada"', b'"Eve"'))
    read: list[int] = []
    with pytest.raises(DamageError, match="00000003"):
        read.extend(number for number, *_ in read_log(backend, "ds"))
    with pytest.raises(DamageError):
        add(backend, "d")
    backend.remove(layout.log_key("ds", 1))
    assert list(read_log(backend, "ds")) == []


GOOD = {"format": 1, "uuid": "u", "author": "a", "created": TIME, "previous": None}


@pytest.mark.parametrize(
    "value",
    [
        {}, [], {**GOOD, "format": 2}, {**GOOD, "format": "1"}, {**GOOD, "uuid": 1}, {**GOOD, "previous": 1},
        {**GOOD, "previous": "x"}, {key: item for key, item in GOOD.items() if key != "author"},
    ],
)  # fmt: skip
def test_an_entry_that_may_not_be_is_damage(value: object) -> None:
    backend = MemoryBackend()
    backend.create(layout.log_key("ds", 1), json.dumps(value).encode())
    with pytest.raises(DamageError, match="00000001"):
        list(read_log(backend, "ds"))


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: key not in GOOD),
        st.integers(-9, 9),
    )
)
def test_an_entry_comes_back_with_all_that_it_says(state: dict[str, int]) -> None:
    entry = LogState("u", "a", TIME, Sha256.of(b"x"), state)
    assert LogState.decode(entry.encode()) == entry
