from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa.cas.names import count
from dsa.cli import console


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (4 << 30, "4.3 GB"),
        (5 * 10**21, "5000 EB"),
    ],
)
def test_a_size_has_two_or_three_digits_and_a_unit(size_bytes: int, written: str) -> None:
    assert console.size(size_bytes) == written


def test_one_thing_is_counted_in_the_singular() -> None:
    assert count(1, "file") == "1 file"
    assert count(0, "file") == "0 files"
    assert count(12_345, "object") == "12,345 objects"


@given(st.lists(st.one_of(st.integers(), st.text(), st.dictionaries(st.text(), st.text()))))
def test_an_array_is_valid_json_with_an_element_a_line(values: list[object]) -> None:
    lines = list(console.json_array(values))
    assert json.loads("\n".join(lines)) == values
    assert lines == ["[]"] or len(lines) == len(values) + 2
    assert all(line.isascii() for line in lines)


def test_an_array_that_fails_half_way_stays_open() -> None:
    def rows() -> object:
        yield 1
        yield 2
        raise ConnectionError

    seen: list[str] = []
    with pytest.raises(ConnectionError):
        seen.extend(console.json_array(rows()))  # type: ignore[arg-type]
    assert "]" not in "".join(seen)


def test_nothing_of_an_array_is_written_before_its_first_row() -> None:
    def rows() -> object:
        raise ConnectionError
        yield

    with pytest.raises(ConnectionError):
        next(console.json_array(rows()))  # type: ignore[arg-type]


def test_columns_stand_under_one_another() -> None:
    rows = [("a", "1", "x"), ("bbb", "222", "y z")]
    assert list(console.columns(rows, right=frozenset({1}))) == ["a      1  x", "bbb  222  y z"]


def test_columns_stream_and_only_ever_widen() -> None:
    rows = [("a", "x"), ("b", "x"), ("cccc", "x"), ("d", "x")]
    lines = console.columns(iter(rows), at_once=2)
    assert list(lines) == ["a  x", "b  x", "cccc  x", "d     x"]
    assert list(console.columns([])) == []


def test_a_persons_text_keeps_its_lines_and_loses_its_controls() -> None:
    assert console.lines_of("one\r\ntwo\x1b[31m\n\u202ethree") == [
        "one",
        r"two\x1b[31m",
        r"\u202ethree",
    ]


def test_a_time_is_shown_to_the_second() -> None:
    assert console.when("2026-01-02T03:04:05.678Z") == "2026-01-02 03:04:05 UTC"
    assert console.when("yesterday\x1b") == r"yesterday\x1b"
