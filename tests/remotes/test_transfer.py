"""The sliding window of calls: its bounds, its order, its errors, and that it holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from treetools import run_python

from dsa.cas.concurrent import each
from dsa.remotes.transfer import Window, as_done, in_order

Way = Callable[[Iterable[int], Callable[[int], int], int], Iterator[tuple[int, int]]]


@pytest.mark.parametrize("way", [in_order, as_done])
@pytest.mark.parametrize("jobs", [1, 3, 50])
def test_every_item_comes_out_once_and_only_so_many_are_ahead(way: Way, jobs: int) -> None:
    begun: list[int] = []
    running = [0]
    most = [0]
    lock = threading.Lock()

    def items() -> Iterator[int]:
        for item in range(40):
            begun.append(item)
            yield item

    def call(item: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.001)
        with lock:
            running[0] -= 1
        return item * item

    got = []
    for item, result in way(items(), call, jobs):
        assert result == item * item
        got.append(item)
        assert len(begun) <= len(got) + jobs
    assert sorted(got) == list(range(40))
    assert way is as_done or got == sorted(got)
    assert most[0] <= jobs


@pytest.mark.parametrize("way", [in_order, as_done])
def test_after_an_error_nothing_more_is_begun(way: Way) -> None:
    begun: list[int] = []

    def call(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise ZeroDivisionError
        return item

    with pytest.raises(ZeroDivisionError):
        for _ in way(range(1_000), call, 4):
            pass
    assert len(begun) < 20


def test_a_window_tells_results_in_the_callers_thread_and_keeps_to_its_weight() -> None:
    told: list[tuple[int, int]] = []
    heavy = [0]
    window = Window(8, 100)

    def call(item: int) -> int:
        heavy.append(window.weight)
        time.sleep(0.002)
        return item

    for item in range(30):
        window.add(
            lambda item=item: call(item),  # type: ignore[misc]  # bound now
            lambda result: told.append((result, threading.get_ident())),
            weight=40,
        )
    window.add(lambda: call(30), lambda result: told.append((result, 0)), weight=1_000)
    window.drain()
    window.close()
    assert sorted(item for item, _ in told) == list(range(31))
    assert {thread for _, thread in told[:-1]} == {threading.get_ident()}
    assert max(heavy[:-1]) <= 80
    assert told[-1] == (30, 0)


def test_what_is_under_way_at_an_error_is_told_when_the_window_is_closed() -> None:
    goes_on = threading.Event()
    told: list[int] = []
    window = Window(3, 1)

    def fails() -> int:
        raise ZeroDivisionError

    def slow() -> int:
        goes_on.wait(30)
        return 7

    window.add(slow, told.append)
    window.add(fails, told.append)
    with pytest.raises(ZeroDivisionError):
        window.drain()
    assert told == []
    goes_on.set()
    window.close()
    assert told == [7]
    assert window.is_over


HANGS = """
import os, signal, threading, time
from dsa.remotes.transfer import Window, in_order
way = {way!r}
def call(item):
    print("hangs", flush=True)
    time.sleep(600)
def interrupted():
    yield 1
    time.sleep(0.2)
    raise KeyboardInterrupt
try:
    if way == "window":
        window = Window(2, 1)
        window.add(lambda: call(1), print)
        try:
            list(interrupted())
        finally:
            window.close(patiently=False)
    elif way == "each":
        from dsa.cas.concurrent import each
        threading.Timer(1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        def first_says(item):
            return call(item) if not item else time.sleep(600)
        each([0, 1, 2], first_says, 3)
    elif way == "consumer":
        def given(item):
            return item if not item else call(item)
        for _ in in_order(range(2), given, 2):
            time.sleep(0.5)
            raise KeyboardInterrupt
    else:
        list(in_order(interrupted(), call, 4))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("way", ["window", "in_order", "consumer", "each"])
def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process(way: str) -> None:
    began = time.monotonic()
    program = run_python(HANGS.replace("{way!r}", repr(way)))
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert out == "hangs\ninterrupted\n"
    assert time.monotonic() - began < 30


def test_an_error_among_many_small_calls_waits_for_those_that_were_begun() -> None:
    done: list[int] = []

    def call(item: int) -> int:
        if item == 0:
            raise ZeroDivisionError
        time.sleep(0.2)
        done.append(item)
        return item

    with pytest.raises(ZeroDivisionError):
        each([0, 1, 2, 3, 4, 5], call, 3)
    assert 2 <= len(done) <= 4
    assert not [one for one in threading.enumerate() if one.name.startswith("dsa-transfer")]
    assert each([3, 2, 1], lambda item: item * item, 2) == [9, 4, 1]
