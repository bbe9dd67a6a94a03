"""The way of new files into a store: one by one into a near one, several at once into one that is far."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.progress import SILENT, Progress
from dsa.remotes.transfer import Window

Result = TypeVar("Result")

#: So much may wait in the staging folder of a far store: a slow network does not fill the disk.
_WAITING_BYTES = 512 * 1024 * 1024


class Outlet:
    """Makes calls that send files; all methods are for one thread.

    A near store is a folder of this machine: calls are made at once. To one that is far they go
    through a window, while the caller reads on; the progress then follows what was sent.
    """

    def __init__(self, backend: Backend, progress: Progress = SILENT) -> None:
        self.is_near = backend.local_path(layout.PACKS) is not None
        self._backend = backend
        self._progress = progress
        self._window = (
            None if self.is_near else Window(backend.jobs, _WAITING_BYTES, self._say_how_far)
        )
        self._counted = 0  # bytes of traffic that belong to what is confirmed
        self._confirmed = self._under_way = 0  # bytes of content
        self._told = 0

    def put(
        self,
        call: Callable[[], Result],
        then: Callable[[Result], object],
        *,
        size: int,
        weight: int,
    ) -> None:
        """Make a call; `then` gets its result, for a far store at some later call of a method here.

        `size` are the bytes that the progress counts, `weight` is what has to be bounded (bytes).
        """
        if self._window is None:
            then(call())
            return
        if not self._under_way:
            self._counted = self._backend.traffic.bytes_sent

        def sent(result: Result) -> None:
            self._under_way -= size
            self._confirmed += size
            self._counted += min(size, self._backend.traffic.bytes_sent - self._counted)
            self._say_how_far()
            then(result)

        self._window.add(call, sent, weight)
        self._under_way += size

    def settle(self) -> None:
        """Hear what came of the calls that have ended."""
        if self._window is not None:
            self._window.settle()
            self._say_how_far()

    def drain(self) -> None:
        """Return when all calls have ended, and what came of them was told."""
        if self._window is not None:
            self._window.drain()

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for what is under way: a long call ends itself then."""
        return self._window is not None and self._window.is_over

    def close(self, *, patiently: bool = True) -> None:
        """End: what is under way is waited for and told if `patiently`, errors are only logged."""
        if self._window is not None:
            self._window.close(patiently=patiently)

    def _say_how_far(self) -> None:
        """Advance by what was sent since the last time: what is confirmed, and what went out of the rest.

        The traffic also counts what was sent again, so that it is only a guess, and never goes back.
        """
        more = max(0, self._backend.traffic.bytes_sent - self._counted)
        now = self._confirmed + min(more, self._under_way)
        if now > self._told:
            self._progress.advance(size_bytes=now - self._told)
            self._told = now
