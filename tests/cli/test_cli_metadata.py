from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsa.cli import metadata
from dsa.errors import DsaError, NotFoundError, UsageError


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("n=1", 1),
        ("n=1.5", 1.5),
        ("n=true", True),
        ("n=null", None),
        ("n=[1, 2]", [1, 2]),
        ('n={"a": "b"}', {"a": "b"}),
        ('n="1"', "1"),
        ("n=one", "one"),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ("n=True", "True"),
        ("n=NaN", "NaN"),
        ("n=-Infinity", "-Infinity"),
        ("n=1e999", "1e999"),
        ("n=1,2", "1,2"),
        ("n=1} ", "1} "),
        ('n=1, "m": 2', '1, "m": 2'),
        ('n={"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        (r'n="\ud800"', r'"\ud800"'),
        ("n=" + "[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
        ("n=größe", "größe"),
    ],
)
def test_a_value_is_strict_json_or_else_text(given: str, value: Any) -> None:
    assert metadata.read([given]) == {"n": value}


def test_a_file_and_single_facts_come_together(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text('{"a": 1, "b": {"c": []}}')
    assert metadata.read([f"@{file}", "d=4"]) == {"a": 1, "b": {"c": []}, "d": 4}


@pytest.mark.parametrize("given", [["a=1", "a=1"], ["novalue"], ["=1"], ["a=\udcff"], [""]])
def test_what_cannot_be_meant_is_a_usage_error(given: list[str]) -> None:
    with pytest.raises(UsageError):
        metadata.read(given)


@pytest.mark.parametrize("content", [b"[1]", b"{", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff"])
def test_a_bad_file_is_a_usage_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"facts\.json"):
        metadata.read([f"@{file}"])


def test_a_key_in_a_file_and_beside_it_is_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text('{"a": 1}')
    with pytest.raises(UsageError, match="'a' is given twice"):
        metadata.read(["a=2", f"@{file}"])


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nope\.json") as caught:
        metadata.read([f"@{tmp_path / 'nope.json'}"])
    assert isinstance(caught.value, DsaError)
