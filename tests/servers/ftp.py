"""A real FTP server, in a thread of the tests' own process."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, READER, PASSWORD = "alice", "rita", "a password of theirs"


@dataclass(frozen=True)
class Ftp:
    """A server that runs; what is below its root lies in `folder`."""

    port: int
    folder: Path

    def url(self, path: str = "", user: str = USER) -> str:
        return f"ftp://{user}@127.0.0.1:{self.port}/{path}"

    def write_netrc(self, home: Path, password: str = PASSWORD, user: str = USER) -> None:
        netrc = home / ".netrc"
        netrc.write_text(f'machine 127.0.0.1\nlogin {user}\npassword "{password}"\n')
        netrc.chmod(0o600)


@contextmanager
def ftp(folder: Path) -> Iterator[Ftp]:
    """Serve a folder to one user who may do anything, and one who may only read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of asyncore, which it is built on
        try:
            from pyftpdlib.authorizers import DummyAuthorizer
            from pyftpdlib.handlers import FTPHandler
            from pyftpdlib.servers import ThreadedFTPServer
        except ImportError:
            pytest.skip("pyftpdlib is not installed: pip install pyftpdlib")
    folder.mkdir(parents=True, exist_ok=True)
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, PASSWORD, str(folder), perm="elradfmwMT")
    authorizer.add_user(READER, PASSWORD, str(folder), perm="elr")

    class Handler(FTPHandler):  # type: ignore[misc]  # it carries no types
        pass

    Handler.authorizer = authorizer
    Handler.auth_failed_timeout = 0.1
    server = ThreadedFTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"timeout": 0.1, "handle_exit": False}
    )
    thread.start()
    try:
        yield Ftp(server.address[1], folder)
    finally:
        server.close_all()
        thread.join(10)
