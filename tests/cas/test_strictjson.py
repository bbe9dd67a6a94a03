"""JSON: what goes out comes back, and what is not strict is refused in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.cas.strictjson import MAX_DEPTH, dumps, loads

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(texts, values, max_size=4)


@given(objects)
def test_what_is_written_reads_back(value: dict[str, Any]) -> None:
    assert loads(dumps(value), what="it") == value


@given(objects)
def test_equal_values_give_equal_bytes(value: dict[str, Any]) -> None:
    assert dumps(dict(reversed(list(value.items())))) == dumps(value)


def test_the_bytes_are_for_people_too() -> None:
    assert dumps({"b": [1], "a": "é"}) == '{\n  "a": "é",\n  "b": [\n    1\n  ]\n}\n'.encode()


def nested(depth: int) -> bytes:
    """An object that holds arrays, `depth` of them in all."""
    return b'{"a": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not strict JSON"),
        (b"[]", "not a JSON object"),
        (b"1", "not a JSON object"),
        (b'{"a": 1} x', "not strict JSON"),
        (b'{"a": 1, "a": 1}', "'a' stands there twice"),
        (b'{"x": [{"a": 1, "\\u0061": 2}]}', "'a' stands there twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\\ud800"}', "lone surrogate"),
        (b'{"\\udfff": 1}', "lone surrogate"),
        (b'{"a": "\n"}', "not strict JSON"),
        (b"{'a': 1}", "not strict JSON"),
        (b'{"a": 1,}', "not strict JSON"),
        (b'{"a": 0x10}', "not strict JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not strict JSON"),
        (nested(MAX_DEPTH + 1), "nested"),
        (nested(1_000_000), "nested"),
        (b'{"a":' * 1_000_000, "nested"),
    ],
    ids=range(22),
)
def test_what_is_not_strict_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        loads(data, what="revision.json")
    message = str(caught.value)
    assert message.startswith("revision.json: ")
    assert "\n" not in message
    assert len(message) < 300


def test_as_deep_as_allowed_is_read() -> None:
    value = loads(nested(MAX_DEPTH), what="it")
    assert json.loads(nested(MAX_DEPTH)) == value
    assert loads(dumps(value), what="it") == value


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert loads(b'{"a": "\\ud83d\\ude00"}', what="it") == {"a": "😀"}


@given(st.binary(max_size=60) | st.text('{}[]":,\\u01ntrue. -e', max_size=40).map(str.encode))
def test_any_bytes_end_in_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = loads(data, what="it")
    except ValueError:
        return
    assert loads(dumps(value), what="it") == value


def endless() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": float("nan")}, "not JSON compliant"),
        ({"a": [float("inf")]}, "not JSON compliant"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        ({1: "a"}, "the key 1 is not a string"),
        ({"a": {None: 1}}, "the key None is not a string"),
        ({"a": b"bytes"}, "bytes"),
        ({"a": {1, 2}}, "set"),
        (json.loads(nested(MAX_DEPTH + 1)), "nested"),
        (endless(), "nested"),
    ],
    ids=range(10),
)
def test_what_json_has_no_form_for_is_not_written(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dumps(value)
