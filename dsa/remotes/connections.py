"""Connections that only one thread at a time may use: each thread gets one, and leaves it to others."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Connection = TypeVar("Connection")

logger = logging.getLogger(__name__)


class Connections(Generic[Connection]):
    """One connection for every thread that asks, or one for all where `is_shared(connection)`.

    A thread that ends leaves its connection to the next one: pools of threads come and go. All
    are closed by `close(connection)` with the last reference to this, or at the program's end.
    """

    def __init__(
        self, is_shared: Callable[[Connection], bool], close: Callable[[Connection], None]
    ) -> None:
        self._is_shared = is_shared
        self._close = close
        # Kept out of any circle that this is in: there, sockets go before what closes them.
        self._made: list[Connection] = []
        weakref.finalize(self, _close_all, self._made, close)
        self._shared: Connection | None = None
        self._own = threading.local()
        self._free: deque[Connection] = deque()
        self._failed = 0
        self._error: Exception | None = None  # of the last connection, if it could not be made
        self._connecting = threading.Lock()  # many new ones at once look like an attack to a server

    def get(self, connect: Callable[[], Connection]) -> Connection:
        """Return this thread's connection, made by `connect` if there is none that is free.

        Raises: what `connect` does; also where that happened to another thread meanwhile.
        """
        if self._shared is not None:
            return self._shared
        lease: _Lease[Connection] | None = getattr(self._own, "lease", None)
        if lease is not None:
            return lease.connection
        try:
            return self._lend(self._free.popleft())
        except IndexError:
            pass
        failed = self._failed
        with self._connecting:
            if self._shared is not None:
                return self._shared
            if self._error is not None and self._failed != failed:
                raise self._error  # one after the other they would all wait for a dead host
            try:
                made = connect()
            except Exception as error:
                self._failed, self._error = self._failed + 1, error
                raise
            self._error = None
            self._made.append(made)
            if self._is_shared(made):
                self._shared = made
                return made
        return self._lend(made)

    def drop(self) -> None:
        """Forget this thread's connection, of which nobody knows what state it is in."""
        lease: _Lease[Connection] | None = getattr(self._own, "lease", None)
        if lease is not None:
            lease.is_broken = True
            del self._own.lease
            with suppress(ValueError):
                self._made.remove(lease.connection)
            _close_all([lease.connection], self._close)

    def _lend(self, connection: Connection) -> Connection:
        self._own.lease = _Lease(connection, self._free)
        return connection


class _Lease(Generic[Connection]):
    """A thread's hold on a connection, which is free again when the thread has ended."""

    def __init__(self, connection: Connection, free: deque[Connection]) -> None:
        self.connection = connection
        self.is_broken = False
        self._free = free

    def __del__(self) -> None:
        if not self.is_broken:
            self._free.append(self.connection)


def _close_all(made: list[Connection], close: Callable[[Connection], None]) -> None:
    while made:
        try:
            close(made.pop())
        except Exception as error:  # noqa: BLE001  # it is of no use any more, whatever it says
            logger.debug("a connection was not closed well: %r", error)
