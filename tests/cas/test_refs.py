"""Refs: one shape, or another, and no third."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.cas.ids import ManifestId, ObjectId
from dsa.cas.refs import MAX_REF_BYTES, Ref

refs = st.builds(
    Ref,
    st.binary(min_size=20, max_size=20).map(lambda raw: ManifestId(ObjectId(raw))),
    st.booleans(),
)


@given(refs)
def test_a_ref_comes_back(ref: Ref) -> None:
    data = ref.encode()
    assert Ref.decode(data) == ref
    assert len(data) <= MAX_REF_BYTES
    assert data == (b"withdrawn " if ref.is_withdrawn else b"") + str(ref.manifest).encode() + b"\n"


@given(refs, st.data())
def test_any_other_bytes_are_refused_or_another_ref(ref: Ref, drawn: st.DataObject) -> None:
    data = ref.encode()
    at = drawn.draw(st.integers(0, len(data)))
    bad = (
        data[:at]
        + drawn.draw(st.binary(min_size=1, max_size=2))
        + data[at + drawn.draw(st.integers(0, 2)) :]
    )
    try:
        assert Ref.decode(bad).encode() == bad
    except ValueError:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n", b"0" * 40, b"0" * 39 + b"\n", b"0" * 41 + b"\n", b"0" * 40 + b"\r\n", b"0" * 40 + b"\n\n",
        b" " + b"0" * 40 + b"\n", b"A" * 40 + b"\n", b"g" * 40 + b"\n", b"withdrawn\n", b"Withdrawn " + b"0" * 40 + b"\n",
        b"withdrawn withdrawn " + b"0" * 40 + b"\n", b"withdrawn  " + b"0" * 40 + b"\n", "０".encode() * 40 + b"\n",
        b"\xef\xbb\xbf" + b"0" * 40 + b"\n", b"\0" * 41,
    ],
)  # fmt: skip
def test_other_shapes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Ref.decode(data)
