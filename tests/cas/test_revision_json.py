"""Manifests and `revision.json`: read strictly, kept whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from folders import info_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsa.cas.ids import BlobId, ManifestId, ObjectId, Sha256, TreeId
from dsa.cas.listing import FolderSum
from dsa.cas.manifest import (
    MAX_REVISION_BYTES,
    Dependency,
    Manifest,
    RevisionInfo,
    RevisionLink,
    link_to,
    now,
)
from dsa.cas.trees import EXECUTABLE, FILE, FOLDER, TreeEntry, encode_tree

INFO = info_of(FolderSum())
MANIFEST = Manifest(TreeId(ObjectId.of(b"tree")), BlobId(ObjectId.of(b"blob")))
LINK = RevisionLink("ds", "0", ManifestId(ObjectId.of(b"m")), Sha256.of(b"r"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
datasets = st.sampled_from(["ds", "some/set", "A-1/b_2.c"])
revisions = st.sampled_from(["1", "2026.1+x", "r10"])
counts = st.integers(0, 2**63 - 1)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
links = st.builds(
    RevisionLink,
    datasets,
    revisions,
    st.binary(min_size=20, max_size=20).map(ObjectId),
    st.binary(min_size=32, max_size=32).map(Sha256),
)
dependencies = st.builds(
    Dependency,
    datasets,
    revisions,
    st.binary(min_size=20, max_size=20).map(ObjectId),
    st.binary(min_size=32, max_size=32).map(Sha256),
    texts,
)
infos = st.builds(
    RevisionInfo,
    dataset=datasets,
    revision=revisions,
    created=st.just("2026-01-31T12:00:00.000Z"),
    author_name=texts,
    author_email=texts,
    message=texts,
    files=counts,
    folders=counts,
    bytes=counts,
    sha256=st.binary(min_size=32, max_size=32).map(Sha256),
    parent=st.one_of(st.none(), links),
    metadata=st.dictionaries(texts, values, max_size=3),
    dependencies=st.lists(dependencies, max_size=2).map(tuple),
    other=st.dictionaries(texts.filter(lambda key: key not in INFO.as_json()), values, max_size=2),
)


@given(infos)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_revision_json_comes_back_unknown_keys_too(info: RevisionInfo) -> None:
    data = info.encode()
    assert RevisionInfo.decode(data) == info
    assert RevisionInfo.decode(data).encode() == data
    assert json.loads(data)["format"] == 1


def changed(**said: Any) -> bytes:
    value = {**INFO.as_json(), **said}
    return json.dumps({key: item for key, item in value.items() if item is not ...}).encode()


@pytest.mark.parametrize("key", sorted(INFO.as_json()))
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        RevisionInfo.decode(changed(**{key: ...}))


@pytest.mark.parametrize(
    "said",
    [
        {"format": 2}, {"format": "1"}, {"format": True}, {"format": 1.0},
        {"dataset": 1}, {"dataset": "../x"}, {"dataset": ""}, {"revision": "latest"}, {"revision": None}, {"message": []},
        {"created": "2026-01-31"}, {"created": "2026-01-31T12:00:00Z"}, {"created": "2026-01-31T12:00:00.000+00:00"},
        {"created": "2026-01-31T12:00:00.000Z\n"}, {"created": "2026-02-30T12:00:00.000Z"}, {"created": "２026-01-31T12:00:00.000Z"},
        {"author": "Ada"}, {"author": {"name": "Ada"}}, {"author": {"name": 1, "email": ""}},
        {"files": -1}, {"files": 1.5}, {"files": True}, {"files": "1"}, {"files": 2**63}, {"bytes": None},
        {"sha256": "0" * 63}, {"sha256": "G" * 64}, {"sha256": "A" * 64},
        {"parent": {}}, {"parent": "ds@1"}, {"parent": {"dataset": "a", "revision": "b", "manifest": "c", "sha256": "d"}},
        {"metadata": []}, {"metadata": None}, {"dependencies": {}}, {"dependencies": [{}]}, {"dependencies": ["x"]},
    ],
)  # fmt: skip
def test_values_that_may_not_be_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        RevisionInfo.decode(changed(**said))


def test_a_revision_json_that_is_too_large_is_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match="at most"):
        replace(INFO, message="x" * MAX_REVISION_BYTES).encode()
    with pytest.raises(ValueError, match="larger"):
        RevisionInfo.decode(b" " * (MAX_REVISION_BYTES + 1))


def test_a_manifest_is_a_tree_of_exactly_two() -> None:
    data = MANIFEST.encode()
    assert Manifest.decode(data) == MANIFEST
    assert MANIFEST.id == ObjectId.of(data)
    assert data.endswith(
        b"40000 data\0" + MANIFEST.data.raw + b"100644 revision.json\0" + MANIFEST.revision.raw
    )


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [("data", FOLDER)],
        [("revision.json", FILE)],
        [("data", FILE), ("revision.json", FILE)],
        [("data", FOLDER), ("revision.json", EXECUTABLE)],
        [("data", FOLDER), ("more", FILE), ("revision.json", FILE)],
        [("Data", FOLDER), ("revision.json", FILE)],
    ],
)
def test_any_other_tree_is_no_manifest(entries: list[tuple[str, int]]) -> None:
    oid = ObjectId.of(b"x")
    with pytest.raises(ValueError, match="exactly"):
        Manifest.decode(encode_tree(TreeEntry(name, mode, oid) for name, mode in entries))
    with pytest.raises(ValueError, match=r"."):
        Manifest.decode(b"x")


def test_saying_the_same_looks_at_what_was_given_alone() -> None:
    info = replace(INFO, message="m", metadata={"k": 1})
    assert info.says_the_same(message=None, metadata=None)
    assert info.says_the_same(message="m", metadata={"k": 1})
    assert not info.says_the_same(message="", metadata=None)
    assert not info.says_the_same(message=None, metadata={})


def test_a_link_rests_on_the_bytes_of_the_revision_json() -> None:
    data = INFO.encode()
    link = link_to(INFO, MANIFEST.id, data)
    assert link == RevisionLink("ds", "1", MANIFEST.id, Sha256.of(data))
    child = RevisionInfo.decode(replace(INFO, parent=link).encode())
    assert child.parent == link
    assert json.loads(replace(INFO, parent=LINK).encode())["parent"]["revision"] == "0"


def test_now_is_a_time_that_is_read() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", now())
    RevisionInfo.decode(replace(INFO, created=now()).encode())
    assert INFO.author == "Ada <ada@example.org>"
