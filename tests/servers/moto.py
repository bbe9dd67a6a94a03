"""moto's S3 server: a mock that knows checksums, but neither users nor their permissions."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_START_SECONDS = 60

#: It ends with whoever started it, however that ended: then its standard input does.
_PROGRAM = """
import os, sys, threading
def ends(): sys.stdin.buffer.read(); os._exit(0)
threading.Thread(target=ends, daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
"""


@dataclass(frozen=True)
class Moto:
    """A server that is up."""

    endpoint: str

    def bucket(self) -> str:
        """Make a bucket, and return its name."""
        name = f"dsa-{uuid4().hex}"
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        with urllib.request.urlopen(request):
            return name


@contextmanager
def moto(base: Path) -> Iterator[Moto]:
    """Run a server in a process of its own; its output goes into the folder `base`."""
    base.mkdir(parents=True, exist_ok=True)
    output = base / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Moto(_endpoint(process, output))
    finally:
        process.kill()
        process.communicate()


def _endpoint(process: subprocess.Popen[bytes], output: Path) -> str:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", output.read_text()):
            return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"moto did not start: {output.read_text()}")
