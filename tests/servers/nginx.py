"""nginx serving a folder as it is: files by GET, HEAD and ranges, no listing of folders."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_START_SECONDS = 20
_CONFIG = """\
{user}
daemon off;
master_process off;
pid {base}/nginx.pid;
error_log {base}/error.log;
events {{}}
http {{
    types {{ text/html html; application/json json; application/zip zip; }}
    default_type application/octet-stream;
    access_log {base}/access.log;
    client_body_temp_path {base}/body;
    proxy_temp_path {base}/proxy;
    fastcgi_temp_path {base}/fastcgi;
    uwsgi_temp_path {base}/uwsgi;
    scgi_temp_path {base}/scgi;
    server {{
        listen 127.0.0.1:{port} {tls};
        root {root};
        autoindex off;
        {more}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A server that is up: what it serves, under which URL, and its log of requests."""

    root: Path
    url: str
    log: Path

    def requests(self) -> list[str]:
        """Return the lines of requests so far, such as `GET /dsa.json HTTP/1.1`."""
        return [line.split('"')[1] for line in self.log.read_text().splitlines()]


@contextmanager
def nginx(
    base: Path, root: Path, *, more: str = "", certificate: tuple[Path, Path] | None = None
) -> Iterator[Nginx]:
    """Serve the folder `root`; the server's own files lie in `base`.

    `more` is added to its configuration; `certificate` (and its key) make it HTTPS.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    base.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True, exist_ok=True)
    tls = ""
    if certificate is not None:
        tls = "ssl"
        more += f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};"
    port = _free_port()
    # As root it would serve as somebody who may not see a test's folders.
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    config = base / "nginx.conf"
    config.write_text(
        _CONFIG.format(base=base, root=root, port=port, user=user, more=more, tls=tls)
    )
    with (base / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "-p", base, "-c", config, "-e", base / "start.log"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, port, base / "output")
        scheme = "https" if tls else "http"
        yield Nginx(root, f"{scheme}://127.0.0.1:{port}", base / "access.log")
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"nginx did not start: {output.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nginx does not answer")
