"""A sliding window of calls in threads: as one ends the next begins, and only so many are ahead.

No call is made when it is not asked for yet, so that memory is bounded by the window; an error
of one comes out where its result is awaited, and nothing more is begun then. The threads end with
the process at the latest, wherever they are: after a ctrl-C nobody waits for a slow server.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from dsa.cas.concurrent import Threads

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.2


def in_order(
    items: Iterable[Item], call: Callable[[Item], Result], jobs: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with `call(item)`, in the order of the items; at most `jobs` are under way or waiting."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with Threads(jobs) as threads:
        try:
            for item in items:
                waiting.append((item, threads.submit(_bound(call, item))))
                if len(waiting) >= jobs:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def as_done(
    items: Iterable[Item], call: Callable[[Item], Result], jobs: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with `call(item)` as they are done; at most `jobs` are under way or waiting."""
    running: dict[Future[Result], Item] = {}
    with Threads(jobs) as threads:
        try:
            for item in items:
                running[threads.submit(_bound(call, item))] = item
                if len(running) >= jobs:
                    yield from _ended(running)
            while running:
                yield from _ended(running)
        finally:
            for future in running:
                future.cancel()


def _ended(running: dict[Future[Result], Item]) -> Iterator[tuple[Item, Result]]:
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def _bound(call: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    return lambda: call(item)


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Make a call, and wait for it only so long; `TimeoutError` where that is not enough."""
    threads = Threads(1)
    future = threads.submit(call)
    threads.close()
    return future.result(seconds)


class Window:
    """Calls that a caller adds as they come up, and goes on; what came of them it hears in its own thread.

    At most `jobs` are under way, and of those that weigh something no more than `limit` together
    (one alone may weigh more). `tick` is called now and then while the caller has to wait.
    """

    def __init__(self, jobs: int, limit: int, tick: Callable[[], object] = lambda: None) -> None:
        self._jobs = max(1, jobs)
        self._limit = limit
        self._tick = tick
        self._threads = Threads(self._jobs)
        self._running: dict[Future[Any], tuple[Callable[[Any], object], int]] = {}
        self.weight = 0  # of what is under way
        self.is_over = False  # long calls should look at it now and then, and give up

    def add(
        self, call: Callable[[], Result], then: Callable[[Result], object], weight: int = 0
    ) -> None:
        """Begin a call as soon as there is room; `then` gets its result at a later `add`, `settle` or `drain`.

        Raises: the error of any call that ended since then.
        """
        self.settle()
        while self._running and (
            len(self._running) >= self._jobs or self.weight + weight > self._limit
        ):
            self._wait()
        self._running[self._threads.submit(call)] = then, weight
        self.weight += weight

    def settle(self) -> None:
        """Hear what came of the calls that have ended."""
        self._end({future for future in self._running if future.done()})

    def drain(self) -> None:
        """Wait for all calls, and hear what came of them."""
        while self._running:
            self._wait()

    def close(self, *, patiently: bool = True) -> None:
        """End the threads; what is under way is waited for if `patiently`, and further errors are only logged."""
        self.is_over = True
        while self._running:
            done = wait(self._running, None if patiently else 0).done
            try:
                self._end(done)
            except Exception as error:  # noqa: BLE001  # another one is on its way out
                logger.info("also failed: %s", error)
            if not patiently:
                break
        self._threads.close()

    def _wait(self) -> None:
        done = wait(self._running, _TICK_SECONDS, FIRST_COMPLETED).done
        self._tick()
        self._end(done)

    def _end(self, done: set[Future[Any]]) -> None:
        """Tell the results of these calls, in the order in which they were begun; raise the first error."""
        failed: BaseException | None = None
        for future in [future for future in self._running if future in done]:
            then, weight = self._running.pop(future)
            self.weight -= weight
            error = future.exception()
            if error is None:
                then(future.result())
            elif failed is None:
                failed = error
            else:
                logger.info("also failed: %s", error)
        if failed is not None:
            raise failed
