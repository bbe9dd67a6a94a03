"""What passes is tried again, and nothing else."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest

from dsa.remotes import retry
from dsa.remotes.retry import retried


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the waits that there would have been."""
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)  # tenacity looks it up there
    return found


class Failing:
    """Fail some times, and then return how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors: Iterator[Exception] = iter(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        for error in self.errors:
            raise error
        return self.calls


def passes(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


def test_what_succeeds_is_done_once(waits: list[float]) -> None:
    assert retried(Failing(), passes) == 1
    assert waits == []


def test_what_passes_is_tried_again_after_waits_that_grow(
    waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dsa")
    assert retried(Failing(ConnectionError("a"), ConnectionResetError("b")), passes) == 3
    assert len(waits) == 2
    assert 0 <= waits[0] <= retry.FIRST_WAIT_SECONDS
    assert 0 <= waits[1] <= 2 * retry.FIRST_WAIT_SECONDS
    assert "try 1 failed (ConnectionError: a)" in caplog.text
    assert "try 2 failed (ConnectionResetError: b)" in caplog.text


def test_waits_are_random(waits: list[float]) -> None:
    for _ in range(8):
        retried(Failing(ConnectionError()), passes)
    assert len(set(waits)) > 1


def test_after_the_last_try_the_last_error_comes_out(waits: list[float]) -> None:
    errors = [ConnectionError(str(number)) for number in range(retry.TRIES + 1)]
    call = Failing(*errors)
    with pytest.raises(ConnectionError) as caught:
        retried(call, passes)
    assert caught.value is errors[retry.TRIES - 1]
    assert call.calls == retry.TRIES
    assert sum(waits) <= 8


def test_what_does_not_pass_comes_out_at_once(waits: list[float]) -> None:
    for errors in ([ValueError()], [ConnectionError(), ValueError()]):
        call = Failing(*errors)
        with pytest.raises(ValueError):  # noqa: PT011  # it has no text
            retried(call, passes)
        assert call.calls == len(errors)
    assert len(waits) == 1


def test_an_interruption_is_not_tried_again() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retried(interrupted, passes)


def test_an_error_that_does_not_pass_holds_nothing_back() -> None:
    """A connection that is held by a circle is collected before what closes it."""

    class Connection:
        pass

    connection = Connection()
    held = weakref.ref(connection)
    gc.collect()
    gc.disable()
    try:
        with suppress(ValueError):
            retried(partial(_refuse, connection), passes)
        del connection
        assert held() is None
    finally:
        gc.enable()


def _refuse(connection: object) -> None:
    raise ValueError


def test_a_silent_server_is_tried_once_more_and_that_is_told_first() -> None:
    call = Failing(ConnectionError(), *[TimeoutError()] * 5)
    told: list[int] = []
    with pytest.raises(TimeoutError):
        retried(call, lambda _: True, tell_silence=lambda: told.append(call.calls))
    assert call.calls == 1 + retry.SILENT_TRIES
    assert told == [2]
