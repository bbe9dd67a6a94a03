"""A crew of threads: as of processes, but nothing is sent anywhere, and a long call can be stopped."""

from __future__ import annotations

import threading
import time

import pytest

from dsa.workers.crew import Crew, Script

LONGEST_SECONDS = 30.0


class Worker:
    """Notes who works, fails when told to, and waits until it is stopped."""

    made: list[Worker]

    def __init__(self) -> None:
        self.is_closed = False
        self._stopped = threading.Event()
        Worker.made.append(self)

    def double(self, number: int) -> tuple[int, str]:
        time.sleep(0.01)
        return 2 * number, threading.current_thread().name

    def fail(self) -> None:
        raise ValueError("it fails")

    def wait(self) -> bool:
        return self._stopped.wait(LONGEST_SECONDS)

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Worker.made = []


def test_threads_share_the_work_and_the_script_runs_here() -> None:
    numbers = iter(range(40))
    doubled: list[int] = []
    threads: set[str] = set()
    here: set[str] = set()

    def script() -> Script:
        for number in numbers:
            result, thread = yield "double", (number,)
            doubled.append(result)
            threads.add(thread)
            here.add(threading.current_thread().name)

    with Crew(4, Worker, threads=True) as crew:
        crew.run(script)
    assert sorted(doubled) == [2 * number for number in range(40)]
    assert len(threads) > 1
    assert here == {threading.current_thread().name}
    assert len(Worker.made) == 4
    assert all(worker.is_closed for worker in Worker.made)


def test_an_error_comes_out_and_long_calls_are_stopped() -> None:
    calls = iter(["wait", "wait", "fail"])

    def script() -> Script:
        for call in calls:
            yield call, ()

    began = time.monotonic()
    with pytest.raises(ValueError, match="it fails"), Crew(3, Worker, threads=True) as crew:
        crew.run(script)
    assert time.monotonic() - began < LONGEST_SECONDS / 2
    assert all(worker.is_closed for worker in Worker.made)


def test_an_error_of_the_script_stops_them_too() -> None:
    calls = iter(["wait", "double"])

    def script() -> Script:
        for call in calls:
            yield call, () if call == "wait" else (1,)
            raise KeyError(call)

    began = time.monotonic()
    with pytest.raises(KeyError), Crew(2, Worker, threads=True) as crew:
        crew.run(script)
    assert time.monotonic() - began < LONGEST_SECONDS / 2


def test_with_less_work_than_workers_all_end() -> None:
    once = iter([1])
    done: list[int] = []

    def script() -> Script:
        for number in once:
            result, _ = yield "double", (number,)
            done.append(result)

    with Crew(8, Worker, threads=True) as crew:
        crew.run(script)
    assert done == [2]
