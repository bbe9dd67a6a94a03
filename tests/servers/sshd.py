"""A real OpenSSH server, with keys and a configuration of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

_START_SECONDS = 20.0


@dataclass(frozen=True)
class Sshd:
    """A server that runs, and all that a client needs to know."""

    port: int
    user: str
    key: Path  # the user's
    host_key: Path  # the server's
    known_hosts: Path
    config: Path  # of a client: the alias `test`, and the server's address itself
    folder: Path
    log: Path
    pid: int

    @property
    def fingerprint(self) -> str:
        """The server's key as ssh prints it."""
        printed = subprocess.run(
            ["ssh-keygen", "-l", "-f", f"{self.host_key}.pub"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return printed.stdout.split()[1]

    def url(self, path: Path) -> str:
        return f"sftp://{self.user}@127.0.0.1:{self.port}{path}"

    def cut(self) -> None:
        """End all connections that there are, at once."""
        for pid in _below(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)], check=True)
    return path


@contextmanager
def sshd(folder: Path, *, subsystem: str = "internal-sftp") -> Iterator[Sshd]:
    """Start a server in a folder, and stop it at the end."""
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server openssh-client")
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # the package's service makes it
    host_key, key = folder / "host_key", folder / "key"
    for path in (host_key, key):
        if not path.exists():
            make_key(path)
    user, port = getpass.getuser(), free_port()
    shutil.copy(f"{key}.pub", folder / "authorized_keys")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\n"
        f"HostKey {host_key}\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile {folder}/sshd.pid\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "StrictModes no\n"
        "UsePAM no\n"
        "LogLevel VERBOSE\n"
        f"Subsystem sftp {subsystem}\n"
    )
    public = Path(f"{host_key}.pub").read_text()
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {public}")
    config = folder / "config"
    config.write_text(
        f"Host test\n  HostName 127.0.0.1\n  Port {port}\n"
        f"Host *\n  User {user}\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known_hosts}\n"
    )
    log = folder / "log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _await(server, port, log)
        yield Sshd(port, user, key, host_key, known_hosts, config, folder, log, server.pid)
    finally:
        server.terminate()
        server.wait(10)


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"sshd did not start: {log.read_text()}")


def _below(pid: int) -> list[int]:
    """Return the processes that one started, and theirs."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
    ).stdout
    pairs = [line.split() for line in listed.splitlines()]
    found = [int(child) for child, parent in pairs if int(parent) == pid]
    return [*found, *(grandchild for child in found for grandchild in _below(child))]
