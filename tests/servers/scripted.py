"""An HTTP server that says what a test tells it to, one answer after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What was asked; names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is said to it; `cut`: only so many bytes of the body, None: not a word, then it ends."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = -1


def refusal(status: int, code: str, message: str = "no") -> Answer:
    """Return an error as S3 words it."""
    return Answer(
        status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    )


#: The connection ends without an answer.
NOTHING = Answer(cut=None)


@dataclass
class Scripted:
    """A server that is up: its answers, in order, and what it was asked."""

    endpoint: str
    answers: list[Answer]
    requests: list[Request] = field(default_factory=list)

    def asked(self) -> list[str]:
        """Return the methods so far."""
        return [request.method for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: Scripted

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.script.requests.append(Request(self.command, self.path, headers, body))
        said = self.script.answers.pop(0) if self.script.answers else refusal(400, "NoMoreAnswers")
        self.close_connection = said.cut != -1
        if said.cut is None:
            return
        self.send_response_only(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in said.headers:
            self.send_header("Content-Length", str(len(said.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body if said.cut == -1 else said.body[: said.cut])

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer  # noqa: N815  # the base's names


@contextmanager
def scripted(*answers: Answer) -> Iterator[Scripted]:
    """Serve these answers, one for each request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    script = Scripted(f"http://127.0.0.1:{server.server_address[1]}", list(answers))
    server.RequestHandlerClass = type("Handler", (_Handler,), {"script": script})
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
