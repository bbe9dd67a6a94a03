"""Several workers, each a process (or a thread) that hosts one object and calls its methods.

A worker's side of a job reads as straight-line code: a script (a generator) that yields calls and
gets their results. Every worker runs the same script; what they share is the script's iterator.

The processes are started anew (never forked), so that a library with threads or an event loop may
use them; they ignore ctrl-C and SIGTERM, and end when the pipe to their parent does, however that ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dsa.errors import DsaError

#: A call to the worker's object: the method's name and its arguments.
Call = tuple[str, tuple[Any, ...]]
Script = Generator[Call, Any, None]

_START = "import sys; sys.path.insert(0, {path!r}); from dsa.workers.crew import serve; serve({fd})"


_most: ContextVar[int | None] = ContextVar("most workers", default=None)


@contextmanager
def at_most(workers: int | None) -> Iterator[None]:
    """Use no more workers at once while the context lasts; None changes nothing."""
    before = _most.set(workers or _most.get())
    try:
        yield
    finally:
        _most.reset(before)


def cores() -> int:
    """Return how many processors this process may use, or how many a person allowed it."""
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    return min(there, _most.get() or there)


#: Below this much work starting a process costs more than it saves.
_PAYS_FILES = 8_000
_PAYS_BYTES = 128 * 1024 * 1024


def crew_size(files: int, size_bytes: int) -> int:
    """Return how many workers so much work is worth."""
    wanted = cores() if files > _PAYS_FILES or size_bytes > _PAYS_BYTES else 1
    return max(1, min(wanted, files))


class Crew:
    """Workers with one object each, made by `make(*arguments)`; a context manager.

    With `count` 1, or where Python itself cannot be started anew, the one worker is this process.
    With `threads` they are threads of this process: for work that waits for a network. Scripts
    run in the calling thread in any case. After an error an object's `stop()` is called, if it
    has one, so that nobody waits for a long call.
    """

    def __init__(
        self, count: int, make: Callable[..., Any], *arguments: Any, threads: bool = False
    ) -> None:
        self._make = make
        self._arguments = arguments
        self._children: dict[Connection, subprocess.Popen[bytes]] = {}
        self._hosts: list[Any] = []
        self._here: Any = None
        if count > 1 and threads:
            self._hosts = [make(*arguments) for _ in range(count)]
        elif count > 1 and sys.executable and hasattr(signal, "SIGKILL"):
            for _ in range(count):
                self._start()
        else:
            self._here = make(*arguments)

    def run(self, script: Callable[[], Script]) -> None:
        """Run one script for every worker, until all have ended."""
        if self._here is not None:
            _run_here(self._here, script())
            return
        if self._hosts:
            _run_in_threads(self._hosts, script)
            return
        waiting: dict[Connection, Script] = {}
        for connection in self._children:
            self._step(connection, script(), None, waiting)
        while waiting:
            for ready in wait(list(waiting)):
                assert isinstance(ready, Connection)
                running = waiting.pop(ready)
                self._step(ready, running, self._receive(ready), waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers; after an error at once, wherever they are."""
        for host in self._hosts if self._here is None else [self._here]:
            close = getattr(host, "close", None)
            if close:
                close()
        for connection, child in self._children.items():
            connection.close()
            if error is not None:
                child.kill()
        for child in self._children.values():
            child.wait()

    def _start(self) -> None:
        ours, theirs = Pipe()
        package = str(Path(__file__).resolve().parents[2])
        # Blocked before it starts: a ctrl-C or a SIGTERM that comes while Python itself starts is not its either.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        child = subprocess.Popen(
            # -P: the folder that the person stands in may hold files named like Python's modules.
            [sys.executable, "-P", "-c", _START.format(path=package, fd=theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._children[ours] = child
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        ours.send((self._make, self._arguments))

    def _step(
        self, connection: Connection, script: Script, result: Any, waiting: dict[Connection, Script]
    ) -> None:
        """Give a script its result, and the worker the script's next call."""
        try:
            call = script.send(result)
        except StopIteration:
            return
        try:
            connection.send(call)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(connection) from None
        waiting[connection] = script

    def _receive(self, connection: Connection) -> Any:
        try:
            is_error, value = connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died(connection) from None
        if is_error:
            raise value
        return value

    def _died(self, connection: Connection) -> DsaError:
        status = self._children[connection].wait()
        return DsaError(
            f"a worker process ended before its work did (status {status})",
            hint="was it killed, or was memory short? Running the command again continues",
        )


def _run_here(host: Any, script: Script) -> None:
    try:
        method, arguments = next(script)
        while True:
            method, arguments = script.send(getattr(host, method)(*arguments))
    except StopIteration:
        return


def _run_in_threads(hosts: list[Any], script: Callable[[], Script]) -> None:
    running: dict[futures.Future[Any], tuple[Any, Script]] = {}

    def step(host: Any, own: Script, result: Any) -> None:
        with suppress(StopIteration):
            method, arguments = own.send(result)
            running[pool.submit(getattr(host, method), *arguments)] = host, own

    with futures.ThreadPoolExecutor(len(hosts), thread_name_prefix="dsa-worker") as pool:
        try:
            for host in hosts:
                step(host, script(), None)
            while running:
                for future in futures.wait(running, return_when=futures.FIRST_COMPLETED).done:
                    step(*running.pop(future), future.result())
        except BaseException:
            for host in hosts:
                stop = getattr(host, "stop", None)
                if stop:
                    stop()
            raise


def serve(descriptor: int) -> None:
    """Be a worker: make the object, then call its methods until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a batch system's is for all at once
    connection = Connection(descriptor)
    try:
        make, arguments = connection.recv()
        host = make(*arguments)
        while True:
            method, arguments = connection.recv()
            try:
                reply = (False, getattr(host, method)(*arguments))
            except Exception as error:  # noqa: BLE001  # raised again in the parent
                reply = (True, error)
            connection.send(reply)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
