"""Several requests at once, where a place is worth it: what a store's small files need, and no more.

Large transfers have a window of their own (dsa/remotes/transfer.py), made of the same threads;
this keeps the format free of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Any, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(items: Sequence[Item], call: Callable[[Item], Result], jobs: int) -> list[Result]:
    """Return `call(item)` of every item, in order; `jobs` at once, 1: in this thread.

    An error of one is raised when those that were begun are done, a ctrl-C at once; no other is
    begun then.
    """
    if jobs <= 1 or len(items) <= 1:
        return [call(item) for item in items]
    with Threads(min(jobs, len(items))) as threads:
        running = [threads.submit(_bound(call, item)) for item in items]
        try:
            return [future.result() for future in running]
        finally:
            for future in running:
                future.cancel()


def _bound(call: Callable[[Item], Result], item: Item) -> Callable[[], Result]:
    return lambda: call(item)


class Threads:
    """Threads that make calls; a context manager that waits for them.

    Unlike those of an Executor they never hold up the end of the process; and where a ctrl-C comes,
    or a generator is closed because its consumer had one, nobody waits for a slow server.
    """

    def __init__(self, count: int) -> None:
        self._count = max(1, count)
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = Semaphore(0)
        self._threads: list[Thread] = []

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Make a call in the next thread that is free."""
        future: Future[Result] = Future()
        self._calls.put((future, call))
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._count:
            thread = Thread(
                target=self._work, name=f"dsa-transfer-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        return future

    def close(self) -> None:
        """Let every thread end when its call has; those under way are not waited for."""
        for _ in self._threads:
            self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None or issubclass(kind, Exception):
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._calls.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001  # comes out in the caller's thread
                    future.set_exception(error)
            del job, future, call  # nothing is kept alive while a thread is idle
            self._idle.release()
