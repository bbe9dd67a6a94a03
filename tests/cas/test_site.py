"""Marks of pushes, and records of damage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.cas import layout, site
from dsa.cas.site import GC_ABANDONED_SECONDS, PUSH_TOO_OLD_SECONDS, Mark
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend

DAY = 24 * 3600.0
places = st.sets(
    st.tuples(
        st.binary(min_size=20, max_size=20),
        st.one_of(st.none(), st.binary(min_size=20, max_size=20)),
    ),
    max_size=5,
)


def age(backend: MemoryBackend, key: str, seconds: float) -> None:
    data, modified = backend.files[key]
    backend.files[key] = (data, modified - seconds)


def test_a_mark_says_who_pushes_and_is_ended() -> None:
    backend = MemoryBackend()
    mark = Mark.begin(backend, "ds", "1")
    (info,) = backend.list(layout.PENDING)
    assert info.key == mark.key
    said = json.loads(backend.read(mark.key))
    assert (said["dataset"], said["revision"], said["process"]) == ("ds", "1", os.getpid())
    assert {"host", "boot", "created"} <= said.keys()
    mark.end()
    mark.end()
    assert sorted(info.key for info in backend.list(layout.PENDING)) == [
        mark.key,
        f"{mark.key}.done",
    ]


def test_a_push_grows_old_by_the_clock_of_the_store() -> None:
    backend = MemoryBackend()
    mark = Mark.begin(backend, "ds", "1")
    backend.create("fresh", b"")
    assert not mark.is_too_old("fresh")
    age(backend, mark.key, PUSH_TOO_OLD_SECONDS - 60)
    assert not mark.is_too_old("fresh")
    age(backend, mark.key, 120)
    assert mark.is_too_old("fresh")
    age(backend, "fresh", 3600)  # this machine's own clock does not count
    assert not mark.is_too_old("fresh")
    backend.remove(mark.key)
    assert mark.is_too_old("fresh")  # somebody took it for dead
    assert PUSH_TOO_OLD_SECONDS == 7 * DAY


def test_a_gc_that_is_alive_is_seen_and_one_that_was_left_is_not() -> None:
    backend = MemoryBackend()
    backend.create("site/gc/condemned/x", b"")
    backend.create("site/gc/over", b"")
    backend.create("site/gc/over.done", b"")
    mark = Mark.begin(backend, "ds", "1")
    assert site.running_gc(backend, mark) == ([], [])
    backend.create("site/gc/one", b"")
    assert site.running_gc(backend, mark) == (["site/gc/one"], [])
    age(backend, "site/gc/one", GC_ABANDONED_SECONDS + 60)
    assert site.running_gc(backend, mark) == ([], ["site/gc/one"])
    backend.remove(mark.key)
    assert site.running_gc(backend, mark) == (["site/gc/one"], [])  # who cannot tell waits


@given(places, places)
def test_damage_is_recorded_once(first: set[site.Place], second: set[site.Place]) -> None:
    backend = MemoryBackend()
    assert site.record_damaged(backend, first) == len(first)
    assert site.record_damaged(backend, first) == 0
    assert site.record_damaged(backend, second) == len(second - first)
    assert site.read_damaged(backend) == first | second
    assert len(list(backend.list(layout.DAMAGED))) == bool(first) + bool(second - first)


OID = "0" * 40


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"\xff", b'{"places": 1}', b'{"places": ["x"]}', b'{"places": [{}]}',
        b'{"places": [{"id": "00", "pack": null}]}', b'{"places": [{"id": 5, "pack": null}]}',
        b'{"places": [{"id": "%s"}]}' % OID.encode(), b'{"places": [{"id": "%s", "pack": ""}]}' % OID.encode(),
        b'{"places": [{"id": "%s", "pack": "00"}]}' % OID.encode(),
        b'{"places": [{"id": "%s", "pack": 0}]}' % OID.encode(),
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_named_and_passed_by(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    backend = MemoryBackend()
    place = (b"a" * 20, None)
    site.record_damaged(backend, [place])
    backend.create("site/damaged/bad.json", data)
    assert site.read_damaged(backend) == {place}
    assert "site/damaged/bad.json" in caplog.text


def test_a_record_that_is_no_file_is_passed_by(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    (tmp_path / "site/damaged").mkdir(parents=True)
    os.mkfifo(tmp_path / "site/damaged/x.json")
    assert site.read_damaged(backend) == frozenset()
