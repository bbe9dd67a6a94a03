"""A network that cuts, delays, truncates and flips: run again until it succeeds, nothing is wrong.

The server is real (Ceph's gateway); the faults are a proxy's before it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers.ceph import Ceph
from servers.proxy import Fault, Plan, faulty

import dsa
from dsa.cas import layout
from dsa.errors import DsaError
from dsa.remotes import retry
from dsa.remotes.connect import connect

RATE = 0.15
ROUNDS = 60  # of running the same thing again; a round gets further nearly always


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(retry, "LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(retry, "TRIES", 3)  # so that whole runs fail too


@pytest.fixture
def bucket(gateway: Ceph, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket that this process may write to."""
    for name, value in gateway.writer.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{gateway.bucket()}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder of small files, some loose objects, and one that is sent in several parts."""
    root, some = tmp_path / "source", random.Random(7)
    sizes = [0, 1, *(some.randrange(20_000) for _ in range(300)), 300_000, 700_000, 9_000_000]
    for number, size in enumerate(sizes):
        path = root / f"folder-{number % 7}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(some.randbytes(size))
    return root


def until_it_works(act: Callable[[], object], look: Callable[[], None]) -> int:
    """Run something again until it succeeds; `look` after each time. Return how often it failed."""
    for failed in range(ROUNDS):
        try:
            act()
        except DsaError:
            look()
        else:
            look()
            return failed
    raise AssertionError(f"it failed {ROUNDS} times")


def wrong_names(url: str, endpoint: str) -> Iterator[str]:
    """Yield the files of a store whose bytes are not what their name says."""
    backend = connect(url, {"endpoint": endpoint})
    for folder in (layout.OBJECTS, layout.PACKS, layout.LOCATIONS):
        for info in backend.list(folder):
            oid = layout.id_of_key(info.key)
            if oid is None or hashlib.sha1(backend.read(info.key)).digest() != oid.raw:
                yield info.key


def differing(root: Path, source: Path) -> list[str]:
    """Return the files below `root` that are not those of the source."""
    return [
        str(path)
        for path in root.rglob("*")
        if path.is_file()
        and ".dsa" not in path.relative_to(root).parts
        and path.read_bytes() != (source / path.relative_to(root)).read_bytes()
    ]


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_push_through_a_faulty_network_ends_right(
    gateway: Ceph, bucket: str, source: Path, seed: int
) -> None:
    plan = Plan(RATE, seed=seed)

    def look() -> None:
        assert list(wrong_names(bucket, gateway.endpoint)) == []

    with faulty(gateway.endpoint, plan) as endpoint:
        for revision in ("1", "2"):
            until_it_works(
                lambda name=revision: dsa.open(  # type: ignore[misc]  # bound now
                    bucket, create=True, options={"endpoint": endpoint}
                ).push("lab/set", name, source),
                look,
            )
            (source / "folder-0" / "file 0").write_bytes(b"now it holds something")
    store = dsa.open(bucket, options={"endpoint": gateway.endpoint})
    assert store.verify(data=True).findings == ()
    assert [str(revision) for revision in store.revisions("lab/set")] == ["lab/set@2", "lab/set@1"]
    assert sum(plan.done.values()) > 3


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_checkout_through_a_faulty_network_ends_right(
    gateway: Ceph, bucket: str, source: Path, tmp_path: Path, seed: int
) -> None:
    dsa.open(bucket, create=True, options={"endpoint": gateway.endpoint}).push("set", "1", source)
    plan = Plan(2 * RATE, seed=seed)  # it asks for so little that few requests can suffer
    target = tmp_path / "target"

    def look() -> None:
        assert differing(target, source) == []

    with faulty(gateway.endpoint, plan) as endpoint:
        until_it_works(
            lambda: dsa.open(bucket, options={"endpoint": endpoint}).checkout("set@1", target), look
        )
    assert dsa.status(target).is_clean
    found = sum(1 for path in source.rglob("*") if path.is_file())
    assert sum(1 for path in target.rglob("*") if path.is_file() and ".dsa" not in path.parts) == (
        found
    )
    assert plan.done


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_mirror_through_a_faulty_network_ends_right(
    gateway: Ceph, bucket: str, source: Path, tmp_path: Path, seed: int
) -> None:
    here = tmp_path / "store"
    store = dsa.open(here, create=True)
    for number in range(3):
        (source / "folder-1" / "new").write_bytes(random.Random(number).randbytes(400_000))
        store.push("set", str(number), source)
    plan = Plan(RATE, seed=seed)

    def look() -> None:
        assert list(wrong_names(bucket, gateway.endpoint)) == []

    def there() -> None:
        target = dsa.open(bucket, create=True, options={"endpoint": endpoint})
        report = dsa.open(here).mirror(target, everything=True)
        if report.damaged or report.conflicts:  # what was flipped on its way is named, not raised
            raise DsaError("not all of it was mirrored")

    def back() -> None:
        target = dsa.open(tmp_path / "back", create=True)
        report = dsa.open(bucket, options={"endpoint": endpoint}).mirror(target, everything=True)
        if report.damaged or report.conflicts:
            raise DsaError("not all of it was mirrored")

    with faulty(gateway.endpoint, plan) as endpoint:
        until_it_works(there, look)
        until_it_works(back, lambda: None)
    for place in (
        dsa.open(bucket, options={"endpoint": gateway.endpoint}),
        dsa.open(tmp_path / "back"),
    ):
        assert place.verify(data=True).findings == ()
        assert len(list(place.revisions("set"))) == 3
    assert plan.done.total() > 3


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_alone_is_got_over(
    gateway: Ceph, bucket: str, tmp_path: Path, fault: Fault
) -> None:
    source, plan = tmp_path / "few", Plan(0.3, (fault,), seed=3)
    source.mkdir()
    for number in range(5):
        (source / str(number)).write_bytes(random.Random(number).randbytes(100_000 * (number + 1)))
    with faulty(gateway.endpoint, plan) as endpoint:
        options = {"endpoint": endpoint}
        until_it_works(
            lambda: dsa.open(bucket, create=True, options=options).push("few", "1", source),
            lambda: None,
        )
        until_it_works(
            lambda: dsa.open(bucket, options=options).checkout("few@1", tmp_path / "out"),
            lambda: None,
        )
    assert differing(tmp_path / "out", source) == []
    assert dsa.open(bucket, options={"endpoint": gateway.endpoint}).verify(data=True).is_clean
    assert plan.done[fault]


def test_verify_through_a_faulty_network_puts_nothing_on_record(
    gateway: Ceph, bucket: str, source: Path
) -> None:
    dsa.open(bucket, create=True, options={"endpoint": gateway.endpoint}).push("ds", "1", source)
    plan = Plan(RATE, seed=3)
    backend = connect(bucket, {"endpoint": gateway.endpoint})

    def look() -> None:
        assert list(backend.list(layout.DAMAGED)) == []

    def act() -> None:
        with faulty(gateway.endpoint, plan) as endpoint:
            assert dsa.open(bucket, options={"endpoint": endpoint}).verify(data=True).is_clean

    for _ in range(5):
        until_it_works(act, look)
    assert sum(plan.done.values()) > 3
