"""Revisions: what a person means, and what a ref leads to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from folders import Leaf, publish

from dsa.cas import layout
from dsa.cas.ids import ManifestId, ObjectId
from dsa.cas.objects import Objects
from dsa.cas.refs import Ref
from dsa.cas.revisions import Published, Revisions
from dsa.errors import DamageError, MissingObjectError, NotFoundError, UsageError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


def put(backend: MemoryBackend, dataset: str, revision: str) -> Published:
    folder = {"f": Leaf(f"{dataset}@{revision}".encode())}
    return publish(backend, folder, dataset=dataset, revision=revision)


def revisions(backend: MemoryBackend | LocalBackend) -> Revisions:
    return Revisions(Objects(backend))


def withdraw(backend: MemoryBackend, published: Published) -> None:
    key = layout.ref_key(published.dataset, published.revision)
    backend.write(key, Ref(published.id, is_withdrawn=True).encode())


def test_a_name_without_a_letter_that_a_server_lists_is_passed_by() -> None:
    class Odd(MemoryBackend):
        def children(self, prefix: str) -> Iterator[str]:
            yield ""
            yield from super().children(prefix)

    backend = Odd()
    put(backend, "a", "1")
    assert revisions(backend).taken("a") == ["1"]


def test_datasets_and_revisions_lie_side_by_side(backend: MemoryBackend) -> None:
    for dataset, revision in (("a", "1"), ("a", "b"), ("a/b", "1"), ("b", "2")):
        put(backend, dataset, revision)
    found = revisions(backend)
    assert list(found.datasets()) == ["a", "a/b", "b"]
    assert sorted(found.refs()) == [("a", "1"), ("a", "b"), ("a/b", "1"), ("b", "2")]
    assert sorted(found.names("a")) == ["1", "b"]
    assert found.names("a/b") == ["1"]
    assert found.names("none") == []


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["1", "2", "10"], "10"),
        (["1.0", "1.1rc1", "1.0.1"], "1.0.1"),
        (["1.0a1", "1.0b1"], "1.0b1"),
        (["r9", "r10", "r1"], "r10"),
        (["v1", "spring"], "v1"),
    ],
)
def test_the_newest_is_meant_where_none_is_named(
    backend: MemoryBackend, names: list[str], newest: str
) -> None:
    for name in names:
        put(backend, "ds", name)
    assert revisions(backend).resolve("ds") == ("ds", newest)
    assert revisions(backend).resolve("ds@latest") == ("ds", newest)


def test_an_exact_name_wins_over_an_ids_digits(backend: MemoryBackend) -> None:
    published = put(backend, "ds", "1")
    prefix = str(published.id)[:7]
    assert revisions(backend).resolve(f"ds@{prefix}") == ("ds", "1")
    assert revisions(backend).resolve(f"ds@{published.id}") == ("ds", "1")
    put(backend, "ds", prefix)
    assert revisions(backend).resolve(f"ds@{prefix}") == ("ds", prefix)


def test_digits_that_are_too_few_or_of_none_or_of_two_are_refused(backend: MemoryBackend) -> None:
    published = put(backend, "ds", "1")
    found = revisions(backend)
    with pytest.raises(NotFoundError):
        found.resolve(f"ds@{str(published.id)[:6]}")
    with pytest.raises(NotFoundError):
        found.resolve("ds@" + "0" * 40)
    with pytest.raises(NotFoundError):
        found.resolve(f"other@{str(published.id)[:7]}")
    # Two refs to one manifest: both begin alike.
    backend.create(layout.ref_key("ds", "2"), Ref(published.id).encode())
    with pytest.raises(UsageError, match=r"any of (1, 2|2, 1)"):
        found.resolve(f"ds@{str(published.id)[:7]}")


def test_what_is_not_there_is_not_found(backend: MemoryBackend) -> None:
    put(backend, "ds", "1")
    for spec in ("none", "ds@2", "none@1", "remote:ds"):
        with pytest.raises(NotFoundError):
            revisions(backend).resolve(spec)
    with pytest.raises(NotFoundError):
        revisions(backend).get("ds", "2")
    for spec in ("", "ds@", "../x", "ds@.."):
        with pytest.raises(UsageError):
            revisions(backend).resolve(spec)


def test_what_was_withdrawn_is_not_found_but_its_name_is_taken(backend: MemoryBackend) -> None:
    first, second = put(backend, "ds", "1"), put(backend, "ds", "2")
    withdraw(backend, second)
    found = revisions(backend)
    assert found.names("ds") == ["1"]
    assert found.resolve("ds") == ("ds", "1")
    with pytest.raises(NotFoundError, match="withdrawn"):
        found.resolve("ds@2")
    with pytest.raises(NotFoundError):
        found.resolve(f"ds@{second.id}")
    with pytest.raises(NotFoundError):
        found.get("ds", "2")
    ref = found.ref("ds", "2")
    assert ref is not None
    assert ref.is_withdrawn
    assert ref.manifest == second.id
    withdraw(backend, first)
    with pytest.raises(NotFoundError):
        found.resolve("ds")


def test_a_ref_of_another_shape_is_named_and_passed_by(
    backend: MemoryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    put(backend, "ds", "1")
    backend.create(layout.ref_key("ds", "2"), b"garbage" * 1000)
    found = revisions(backend)
    assert found.names("ds") == ["1"]
    assert found.resolve("ds") == ("ds", "1")
    assert "refs/ds/@2" in caplog.text
    for call in (
        lambda: found.ref("ds", "2"),
        lambda: found.resolve("ds@2"),
        lambda: found.get("ds", "2"),
    ):
        with pytest.raises(DamageError, match="refs/ds/@2"):
            call()


@pytest.mark.parametrize(
    "name",
    [
        "refs/ds/x",
        "refs/x",
        "refs/ds/@latest",
        "refs/ds/@..",
        "refs/con/@1",
        "refs/@1",
        "refs/d s/@1",
    ],
)
def test_strangers_among_refs_are_passed_by(
    backend: MemoryBackend, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    published = put(backend, "ds", "1")
    backend.create(name, Ref(published.id).encode())
    assert list(revisions(backend).refs()) == [("ds", "1")]
    assert list(revisions(backend).datasets()) == ["ds"]
    assert revisions(backend).names("ds") == ["1"]
    assert name in caplog.text


def test_a_ref_that_is_no_file_is_not_there(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    (tmp_path / "refs/ds/@2").mkdir(parents=True)
    os.mkfifo(tmp_path / "refs/ds/@1")
    assert revisions(backend).ref("ds", "1") is None
    assert revisions(backend).names("ds") == []


def test_a_revision_is_what_its_ref_leads_to(backend: MemoryBackend) -> None:
    put(backend, "ds", "1")
    published = put(backend, "ds", "2")
    got = revisions(backend).get("ds", "2")
    assert got == published
    assert str(got) == "ds@2"
    assert got.info.files == 1
    assert got.link().manifest == published.id


def test_a_ref_and_a_revision_json_that_disagree_are_damage(backend: MemoryBackend) -> None:
    published = put(backend, "ds", "1")
    for dataset, revision in (("ds", "2"), ("other", "1")):
        backend.create(layout.ref_key(dataset, revision), Ref(published.id).encode())
        with pytest.raises(DamageError, match="says ds@1"):
            revisions(backend).get(dataset, revision)


@pytest.mark.parametrize("place", ["near", "far"])
@pytest.mark.parametrize("victim", ["manifest", "revision.json"])
def test_what_a_ref_leads_to_is_verified(tmp_path: Path, place: str, victim: str) -> None:
    backend = LocalBackend(tmp_path) if place == "near" else MemoryBackend()
    # Of a far store an index would tell what its manifest is, proven by the ref's id.
    published = publish(backend, {"f": Leaf(b"x")}, with_index=place == "near")
    oid: ObjectId = published.id if victim == "manifest" else published.manifest.revision
    key = layout.object_key(oid)
    data = backend.read(key)
    backend.write(key, data + b" ")
    with pytest.raises(DamageError):
        revisions(backend).get("ds", "1")
    backend.remove(key)
    with pytest.raises(MissingObjectError):
        revisions(backend).get("ds", "1")


def test_an_object_that_is_no_manifest_is_damage(backend: MemoryBackend) -> None:
    oid = ObjectId.of(b"no manifest")
    backend.create(layout.object_key(oid), b"no manifest")
    backend.create(layout.ref_key("ds", "1"), Ref(ManifestId(oid)).encode())
    with pytest.raises(DamageError, match="ds@1"):
        revisions(backend).get("ds", "1")
