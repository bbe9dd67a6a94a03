"""SFTP with many requests under way at once: a round trip for each 32 KiB would be the speed of a walk.

paramiko has this too, but it drops the answers to the last hundred writes, a full disk among
them, and reads ahead in a thread that sleeps and polls. Two of its inner methods are used here:
one sends a request, the other takes in one answer and hands it to whom it is for.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from paramiko import Message, SFTPClient, Transport
from paramiko.common import DEBUG
from paramiko.sftp import (
    CMD_DATA,
    CMD_EXTENDED,
    CMD_INIT,
    CMD_READ,
    CMD_STATUS,
    CMD_VERSION,
    CMD_WRITE,
    SFTPError,
    int64,
)

#: What every server takes and gives at once.
_BLOCK_BYTES = 32 * 1024

#: How many blocks are under way at once: 2 MiB, what a channel lets through without an answer.
_AHEAD = 64

_VERSION = 3

FSYNC = "fsync@openssh.com"
HARDLINK = "hardlink@openssh.com"
POSIX_RENAME = "posix-rename@openssh.com"


class Client(SFTPClient):  # type: ignore[misc]  # it carries no types
    """paramiko's client, which remembers what the server can do beyond the protocol."""

    extensions: frozenset[str]

    @classmethod
    def of(cls, transport: Transport, silence_seconds: float) -> Client:
        """Open a channel of its own on a connection."""
        channel = transport.open_session(timeout=silence_seconds)
        channel.settimeout(silence_seconds)
        channel.invoke_subsystem("sftp")
        return cls(channel)

    def _send_version(self) -> int:
        message = Message()
        message.add_int(_VERSION)
        self._send_packet(CMD_INIT, message)
        kind, data = self._read_packet()
        if kind != CMD_VERSION:
            raise SFTPError("the server does not speak SFTP")
        answer = Message(data)
        version: int = answer.get_int()
        names = set()
        while answer.get_remainder():
            names.add(answer.get_text())
            answer.get_string()  # the extension's own version
        self.extensions = frozenset(names)
        self._log(DEBUG, f"the server can do {', '.join(sorted(names))}")
        return version

    def extended(self, name: str, *arguments: Any) -> None:
        """Make a request beyond the protocol."""
        self._request(CMD_EXTENDED, name, *arguments)


class _Answers:
    """The answers that are still to come to requests of one kind."""

    def __init__(self, client: Client, handle: bytes) -> None:
        self._client = client
        self._handle = handle
        self.waiting = 0
        self.error: Exception | None = None

    def ask(self, command: int, *arguments: Any) -> int:
        """Send a request, and return its number; first wait until there is room for it."""
        while self.waiting >= _AHEAD:
            self.take()
        number: int = self._client._async_request(self, command, self._handle, *arguments)
        self.waiting += 1
        return number

    def take(self) -> None:
        """Take in one answer."""
        self._client._read_response()

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Be called by the client with an answer."""
        self.waiting -= 1
        try:
            if kind == CMD_STATUS:
                self._client._convert_status(message)
            self.got(number, message if kind == CMD_DATA else None)
        except EOFError:
            self.got(number, None)
        except OSError as error:
            self.error = self.error or error

    def got(self, number: int, message: Any) -> None:
        """Keep an answer; None: only that all is well."""

    def finish(self) -> None:
        """Wait for all the answers. Raises: the first that was an error."""
        while self.waiting:
            self.take()
        if self.error is not None:
            raise self.error


class _Blocks(_Answers):
    def __init__(self, client: Client, handle: bytes) -> None:
        super().__init__(client, handle)
        self.blocks: dict[int, bytes] = {}

    def got(self, number: int, message: Any) -> None:
        self.blocks[number] = message.get_string() if message is not None else b""


def write(client: Client, handle: bytes, at: int, data: bytes) -> None:
    """Write a piece of a file; on return the server has all of it."""
    answers = _Answers(client, handle)
    view = memoryview(data)
    for start in range(0, len(data), _BLOCK_BYTES):
        block = bytes(view[start : start + _BLOCK_BYTES])
        answers.ask(CMD_WRITE, int64(at + start), block)
        if answers.error is not None:
            break
    answers.finish()


def read(client: Client, handle: bytes, start: int, length: int) -> bytes:
    """Read a range of a file, less of it where the file ends."""
    answers = _Blocks(client, handle)
    asked: deque[tuple[int, int, int]] = deque()
    result = bytearray()
    end = start + length
    at = start
    is_end = False
    while (at < end or asked) and answers.error is None:
        if at < end and len(asked) < _AHEAD and not is_end:
            size = min(_BLOCK_BYTES, end - at)
            asked.append((answers.ask(CMD_READ, int64(at), size), at, size))
            at += size
            continue
        if not asked:
            break
        number, where, size = asked.popleft()
        while number not in answers.blocks and answers.error is None:
            answers.take()
        block = answers.blocks.pop(number, b"")
        if is_end:
            continue
        result += block
        if not block:
            is_end = True
        elif len(block) < size:  # a server may give less than was asked for: the rest comes next
            rest = answers.ask(CMD_READ, int64(where + len(block)), size - len(block))
            asked.appendleft((rest, where + len(block), size - len(block)))
    answers.finish()
    return bytes(result)
