"""Several requests at once, where a place is worth it: what a store's small files need, and no more.

Large transfers have a window of their own (dsa/remotes/transfer.py); this keeps the format free of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(items: Sequence[Item], call: Callable[[Item], Result], jobs: int) -> list[Result]:
    """Return `call(item)` of every item, in order; `jobs` at once, 1: in this thread.

    An error of one is raised when those that were begun are done; no other is begun then.
    """
    if jobs <= 1 or len(items) <= 1:
        return [call(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(jobs, len(items)), thread_name_prefix="dsa-each") as pool:
        running = [pool.submit(call, item) for item in items]
        try:
            return [future.result() for future in running]
        finally:
            for future in running:
                future.cancel()
