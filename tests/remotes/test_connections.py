"""Connections that one thread at a time may use."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsa.remotes.connections import Connections


class Line:
    """A connection."""

    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        assert self.is_open
        self.is_open = False


def own() -> Connections[Line]:
    return Connections(lambda _: False, Line.close)


def test_each_thread_has_its_own_and_leaves_it_to_the_next() -> None:
    lines = own()
    together = threading.Barrier(4)

    def work(_: int) -> Line:
        line = lines.get(Line)
        together.wait(20)
        assert lines.get(Line) is line
        return line

    seen = []
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            seen.append(set(pool.map(work, range(4))))
    assert len(seen[0]) == 4
    assert seen[0] == seen[1] == seen[2]


def test_one_that_is_shared_is_made_once() -> None:
    lines = Connections[Line](lambda _: True, Line.close)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: lines.get(Line), range(8)))) == 1


def test_a_broken_one_is_closed_and_never_given_again() -> None:
    lines = own()
    first = lines.get(Line)
    lines.drop()
    lines.drop()
    assert not first.is_open
    assert lines.get(Line) is not first


def test_all_are_closed_with_the_last_reference_even_in_a_circle() -> None:
    lines = own()
    circle = [lines]
    circle.append(circle)  # type: ignore[arg-type]
    made = [lines.get(Line)]
    with ThreadPoolExecutor(1) as pool:
        made.append(pool.submit(lines.get, Line).result())
    del lines, circle
    gc.collect()
    assert [line.is_open for line in made] == [False, False]


def test_a_host_that_is_dead_for_one_thread_is_dead_for_those_that_wait_with_it() -> None:
    lines = own()
    calls = []

    def connect() -> Line:
        calls.append(time.monotonic())
        time.sleep(0.2)
        raise TimeoutError("nobody answers")

    def work(_: int) -> None:
        with pytest.raises(TimeoutError):
            lines.get(connect)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(calls) < 4
    assert lines.get(Line).is_open  # and when it is back it is asked again
