"""Connections to SSH servers as the user's own OpenSSH set-up says, and only to those it knows.

paramiko reads the configuration and speaks the protocol. What is decided here: which key of a
server is believed. One that is in no `known_hosts` is refused, whatever the configuration says.
"""

from __future__ import annotations

import getpass
import glob
import logging
import os
import re
import select
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from dsa.errors import AccessError, UsageError
from dsa.remotes.streams import one_line

logger = logging.getLogger(__name__)

#: Without a handler, what paramiko logs of broken connections would be printed.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_CONNECT_SECONDS = 15.0
_LOGIN_SECONDS = 30.0
_ALIVE_SECONDS = 30
_SSH_PORT = 22

#: As many files or servers may name the next one before it is taken for a circle.
_DEPTH = 8

_SYSTEM_CONFIG = "/etc/ssh/ssh_config"
_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"

_JUMP = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>[0-9]+))?")


@dataclass
class Link:
    """An open connection, and the one that it goes through, which has to live as long."""

    client: paramiko.SSHClient
    through: Link | _Command | None = None

    @property
    def transport(self) -> Any:
        """Where channels are opened; None once it is closed."""
        return self.client.get_transport()

    @property
    def is_alive(self) -> bool:
        """Whether it is open, as far as is known."""
        return self.transport is not None and bool(self.transport.is_active())

    def close(self) -> None:
        """Close it, and then what it goes through."""
        self.client.close()
        if self.through is not None:
            self.through.close()


class _Command(paramiko.ProxyCommand):  # type: ignore[misc]  # it carries no types
    """A program in place of a connection, whose end is noticed, and waited for."""

    def recv(self, size: int) -> bytes:
        """Return what came, empty when it has ended: paramiko's own would ask on for ever."""
        try:
            ready, _, _ = select.select([self.process.stdout], [], [], self.timeout)
            if not ready:
                raise TimeoutError
            return os.read(self.process.stdout.fileno(), size)
        except ValueError:  # closed meanwhile
            return b""

    def close(self) -> None:
        """End the program."""
        if self.process.poll() is None:
            self.process.terminate()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):
                pipe.close()
        self.process.wait(_CONNECT_SECONDS)


def read_config(path: str | None) -> paramiko.SSHConfig:
    """Read the user's configuration of OpenSSH and the system's, or the file that is named."""
    config = paramiko.SSHConfig()
    paths = [Path(path).expanduser()] if path else [Path("~/.ssh/config").expanduser()]
    if not path:
        paths.append(Path(_SYSTEM_CONFIG))
    for each in paths:
        if not each.is_file():
            if path:
                raise UsageError(f"there is no ssh configuration {each}")
            continue
        try:
            config.parse(_lines(each))
        except (OSError, UnicodeDecodeError, paramiko.SSHException) as error:
            raise AccessError(f"{each} cannot be read: {one_line(error)}") from error
    return config


def _lines(path: Path, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a configuration with those of the files that it includes in their places."""
    for line in path.read_text(encoding="utf-8").splitlines():
        keyword, _, value = line.strip().partition(" ")
        if keyword.lower() != "include" or depth >= _DEPTH:
            yield line
            continue
        for pattern in value.split():
            below = Path(pattern.strip('"')).expanduser()
            where = below if below.is_absolute() else Path("~/.ssh").expanduser() / below
            for found in sorted(glob.glob(str(where))):
                yield from _lines(Path(found), depth + 1)


def connect(
    alias: str, user: str | None, port: int | None, config: paramiko.SSHConfig, depth: int = 0
) -> Link:
    """Connect to a host by the name that a person gives it, and log in.

    Raises: `AccessError` for an unknown or changed host key and for a refused login; the
    system's and paramiko's errors for what may pass.
    """
    if depth > _DEPTH:
        raise UsageError(f"ssh's configuration jumps to {alias} in a circle")
    found = config.lookup(alias)
    by_hand = _by_hand(alias, user, port)
    host = found["hostname"]
    port = port or int(found.get("port", _SSH_PORT))
    user = user or found.get("user") or getpass.getuser()
    through, sock = _socket(alias, host, port, found, config, depth)
    key_name = found.get("hostkeyalias")
    client = paramiko.SSHClient()
    link = Link(client, through)
    began = time.monotonic()
    try:
        _know(client, found)
        client.set_missing_host_key_policy(_Refuse(by_hand))
        client.connect(
            key_name or host,
            _SSH_PORT if key_name else port,
            user,
            sock=sock,
            key_filename=[
                path for path in found.get("identityfile", []) if Path(path).expanduser().is_file()
            ],
            allow_agent=found.get("identityagent") != "none",
            look_for_keys=found.get("identitiesonly") != "yes",
            timeout=_CONNECT_SECONDS,
            banner_timeout=_CONNECT_SECONDS,
            auth_timeout=_LOGIN_SECONDS,
            channel_timeout=_LOGIN_SECONDS,
        )
    except paramiko.BadHostKeyException as error:
        link.close()
        known = host if port == _SSH_PORT else f"[{host}]:{port}"
        _refuse_changed(alias, key_name or known, error)
    except paramiko.SSHException as error:
        transport = client.get_transport()
        is_login = isinstance(error, paramiko.AuthenticationException) or (
            transport is not None and transport.is_active() and transport.initial_kex_done
        )
        link.close()
        if not is_login:
            if time.monotonic() - began >= _CONNECT_SECONDS - 1:
                raise TimeoutError(f"{alias} does not answer") from error
            raise
        raise AccessError(
            f"{alias} does not let {user} in: {one_line(error)}",
            hint=f"`{by_hand}` has to work without asking: `ssh-add` gives a key to the agent",
        ) from error
    except BaseException:
        link.close()
        sock.close()  # where the client did not get it yet
        raise
    client.get_transport().set_keepalive(_ALIVE_SECONDS)
    return link


def _by_hand(alias: str, user: str | None, port: int | None) -> str:
    """Return the command by which a person connects to the same."""
    words = ["ssh", *(["-p", str(port)] if port else []), f"{user}@{alias}" if user else alias]
    return shlex.join(words)


def _socket(
    alias: str,
    host: str,
    port: int,
    found: paramiko.SSHConfigDict,
    config: paramiko.SSHConfig,
    depth: int,
) -> tuple[Link | _Command | None, Any]:
    """Return what to speak to the server through, and the connection that this belongs to."""
    command = found.get("proxycommand")
    if command:
        try:
            program = _Command(command)
        except (OSError, ValueError, IndexError) as error:
            why = error.strerror if isinstance(error, OSError) else one_line(error)
            raise AccessError(
                f"the ProxyCommand for {alias} in ssh's configuration cannot be run: {command}: {why}",
                hint="it is run without a shell: its first word is a program",
            ) from error
        return program, program
    jumps = [jump for jump in (found.get("proxyjump") or "none").split(",") if jump != "none"]
    if not jumps:
        return None, socket.create_connection((host, port), _CONNECT_SECONDS)
    parts = _JUMP.fullmatch(jumps[-1].strip().removeprefix("ssh://"))
    if parts is None:
        raise UsageError(f"ssh's configuration lets {alias} jump to {jumps[-1]!r}")
    if len(jumps) > 1:
        raise UsageError(
            f"ssh's configuration lets {alias} jump over several hosts at once",
            hint="give each of them a ProxyJump of its own",
        )
    link = connect(
        parts["host"].strip("[]"),
        parts["user"],
        int(parts["port"]) if parts["port"] else None,
        config,
        depth + 1,
    )
    return link, link.transport.open_channel(
        "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=_CONNECT_SECONDS
    )


# --- host keys -----------------------------------------------------------------------------------


def _know(client: paramiko.SSHClient, found: paramiko.SSHConfigDict) -> None:
    """Load the keys of hosts that are known, but for those that were revoked."""
    keys = client.get_host_keys()
    revoked = set()
    for path in (
        found.get("userknownhostsfile", _KNOWN_HOSTS).split()
        + found.get("globalknownhostsfile", _SYSTEM_KNOWN_HOSTS).split()
    ):
        file = Path(path.strip('"')).expanduser()
        if not file.is_file():
            continue
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise AccessError(f"{file} cannot be read: {one_line(error)}") from error
        for number, line in enumerate(lines, 1):
            text = " ".join(line.split())
            if not text or text.startswith(("#", "@cert-authority")):
                continue
            is_revoked = text.startswith("@revoked ")
            try:
                entry = HostKeyEntry.from_line(text.removeprefix("@revoked "), number)
            except (InvalidHostKey, paramiko.SSHException, ValueError):
                logger.warning("%s: line %d is no key of a host", file, number)
                continue
            if entry is None:
                continue
            if is_revoked:
                revoked.add(entry.key.asbytes())
            else:
                for name in entry.hostnames:
                    keys.add(name, entry.key.get_name(), entry.key)
    for name in list(keys):
        for kind in list(keys[name]):
            if keys[name][kind].asbytes() in revoked:
                del keys[name]
                break


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # it carries no types
    """Refuse a server whose key is not known, and say what its key is."""

    def __init__(self, by_hand: str) -> None:
        self._by_hand = by_hand

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> NoReturn:  # noqa: ARG002
        """Raise `AccessError`."""
        raise AccessError(
            f"the host key of {hostname} is not known: {_kind(key)} {key.fingerprint}",
            hint=f"if that is its fingerprint, connect once by `{self._by_hand}`, which adds it "
            "to ~/.ssh/known_hosts",
        )


def _refuse_changed(alias: str, name: str, error: paramiko.BadHostKeyException) -> NoReturn:
    key, known = error.key, error.expected_key
    raise AccessError(
        f"the host key of {alias} is not the one that is known: it shows {_kind(key)} "
        f"{key.fingerprint}, known is {_kind(known)} {known.fingerprint}",
        hint="somebody may stand in between; if the server was set up anew, "
        f"`ssh-keygen -R {shlex.quote(name)}` forgets the old key",
    ) from error


def _kind(key: Any) -> str:
    """Return the kind of a key as ssh prints it."""
    name: str = key.get_name()
    if name.startswith("ecdsa"):
        return "ECDSA"
    return name.removeprefix("ssh-").upper()
