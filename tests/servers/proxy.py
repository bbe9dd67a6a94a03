"""Between a client and a real HTTP server: one that counts what passes, and one that breaks things.

Both listen on a free loopback port, in threads of this process.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Fault(Enum):
    """What goes wrong with one request."""

    CUT = "the connection is closed before the server hears of it"
    ERROR = "500 without asking the server"
    BUSY = "503 SlowDown without asking the server"
    SLOW = "the answer comes a while later"
    TRUNCATED = "the answer's body ends in the middle"
    FLIPPED = "one bit of the answer's body is another one"
    FLIPPED_SENT = "one bit of what is sent is another one"
    LOST = "the server does it, and its answer is lost"


@dataclass
class Plan:
    """Which fault each request gets: drawn with a seed, `rate` of all requests, only of these kinds."""

    rate: float
    faults: tuple[Fault, ...] = tuple(Fault)
    seed: int = 0
    done: Counter[Fault] = field(default_factory=Counter)
    requests: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def draw(self) -> tuple[Fault | None, float]:
        """Return the fault of the next request, and a number in [0, 1) to place it by."""
        with self._lock:
            self.requests += 1
            fault = None
            if self._random.random() < self.rate:
                fault = self._random.choice(self.faults)
            return fault, self._random.random()

    def note(self, fault: Fault) -> None:
        """Count a fault that was really made."""
        with self._lock:
            self.done[fault] += 1


_SLOW_SECONDS = 0.2
_ANSWERED = ("connection", "keep-alive", "transfer-encoding")
_BODY_500 = b"<Error><Code>InternalError</Code><Message>try again</Message></Error>"
_BODY_503 = b"<Error><Code>SlowDown</Code><Message>please reduce your rate</Message></Error>"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        pass

    def _pass_on(self) -> None:
        body = self._body()
        fault, where = self.server.plan.draw()
        note = self.server.plan.note
        if fault is Fault.CUT:
            note(fault)
            self.close_connection = True
            return
        if fault in (Fault.ERROR, Fault.BUSY):
            note(fault)
            answer = _BODY_500 if fault is Fault.ERROR else _BODY_503
            self._answer(500 if fault is Fault.ERROR else 503, [], answer, len(answer))
            return
        if fault is Fault.SLOW:
            note(fault)
            time.sleep(_SLOW_SECONDS)
        if fault is Fault.FLIPPED_SENT and body:
            note(fault)
            body = _flipped(body, where)
        status, headers, answer = self._ask(body)
        if fault is Fault.LOST:
            note(fault)
            self.close_connection = True
            return
        length = len(answer)
        if fault is Fault.FLIPPED and answer and not answer.startswith(b"<?xml"):
            note(fault)
            answer = _flipped(answer, where)
        if fault is Fault.TRUNCATED and answer:
            note(fault)
            answer = answer[: int(len(answer) * where)]
            self.close_connection = True
        self._answer(status, headers, answer, length)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815  # the base's names

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        host, port = self.server.upstream
        connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "expect"):
                    connection.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            found = connection.getresponse()
            headers = [
                (name, value) for name, value in found.getheaders() if name.lower() not in _ANSWERED
            ]
            return found.status, headers, found.read()
        finally:
            connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, length: int
    ) -> None:
        self.send_response_only(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            self.send_header(name, value)
        if "content-length" not in names and status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, upstream: tuple[str, int], plan: Plan) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.plan = plan

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the play."""


@contextmanager
def faulty(endpoint: str, plan: Plan) -> Iterator[str]:
    """Give the endpoint of a proxy before an HTTP server; which requests suffer is the plan's."""
    server = _Server(_address(endpoint), plan)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Wire:
    """What went over a relay: bytes to the server, and back to the client."""

    endpoint: str
    sent: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        """Both ways."""
        return self.sent + self.received


@contextmanager
def relay(endpoint: str) -> Iterator[Wire]:
    """Give the endpoint of a relay before any TCP server, and what it counts, headers and all."""
    upstream = _address(endpoint)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    scheme = urlsplit(endpoint).scheme
    wire = Wire(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
    open_sockets: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                setattr(wire, way, getattr(wire, way) + len(data))
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(upstream)
                open_sockets.extend((client, server))
                for one, other, way in ((client, server, "sent"), (server, client, "received")):
                    threading.Thread(target=carry, args=(one, other, way), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield wire
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for one in open_sockets:
            one.close()


def _address(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint)
    return parts.hostname or "127.0.0.1", parts.port or 80


def _flipped(data: bytes, where: float) -> bytes:
    changed = bytearray(data)
    at = int(len(changed) * where)
    changed[at] ^= 1 << (at % 8)
    return bytes(changed)
