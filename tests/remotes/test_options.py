"""What a person says about a remote beside its URL."""

from __future__ import annotations

import pytest

from dsa.errors import UsageError
from dsa.remotes.options import JOBS, Options


def test_all_unknown_options_are_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        Options({"regoin": "x", "color": "y", "jobs": "3"}).check(["region"], "s3://bucket")
    assert str(caught.value) == "s3://bucket does not take the options color, regoin"
    assert caught.value.hint == "it takes jobs, region, single_writer"
    Options({"region": "x", "jobs": "3"}).check(["region"], "s3://bucket")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("true", True), ("Yes", True), ("1", True), (" on ", True), ("false", False), ("0", False),
     ("no", False), ("off", False), ("", False)],
)  # fmt: skip
def test_a_flag_is_read_from_text(text: str, expected: bool) -> None:
    assert Options({"single_writer": text}).single_writer is expected
    assert Options({}).flag("other", True) is True


@pytest.mark.parametrize(
    "values",
    [{"single_writer": "perhaps"}, {"jobs": "0"}, {"jobs": "-1"}, {"jobs": "x"}, {"jobs": "1.5"}],
)
def test_a_value_that_cannot_be_is_refused_when_it_is_checked(values: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        Options(values).check([], "x://y")


def test_jobs_have_a_default() -> None:
    assert Options({}).jobs == JOBS
    assert Options({"jobs": "3"}).jobs == 3


def test_an_empty_text_is_none() -> None:
    assert Options({"region": ""}).text("region") is None
    assert Options({"region": "x"}).text("region") == "x"
