"""SFTP beyond what every Backend promises: whom it believes, as whom it comes, what it survives."""

from __future__ import annotations

import io
import multiprocessing
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from filing import KEY, WRITERS, keys
from servers.sshd import Sshd, free_port, make_key, sshd

from dsa.cas.backend import Backend
from dsa.errors import AccessError, DsaError, UsageError
from dsa.remotes import pipelined
from dsa.remotes.connect import connect

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dsa.remotes.retry.LONGEST_WAIT_SECONDS", 0.01)


def place(server: Sshd, tmp_path: Path, **options: str) -> Backend:
    return connect(server.url(tmp_path / "store"), {"config": str(server.config), **options})


def write_config(home: Path, text: str) -> None:
    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    (home / ".ssh/config").write_text(text)


# --- whom it believes ----------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_its_fingerprint(
    ssh_server: Sshd, tmp_path: Path, home: Path
) -> None:
    write_config(home, f"Host *\n  IdentityFile {ssh_server.key}\n  StrictHostKeyChecking no\n")
    backend = connect(ssh_server.url(tmp_path / "store"))
    with pytest.raises(AccessError, match="is not known") as caught:
        backend.write(KEY, b"x")
    assert ssh_server.fingerprint in str(caught.value)
    assert ssh_server.fingerprint.startswith("SHA256:")
    assert "ED25519" in str(caught.value)
    assert not caught.value.is_outage  # nobody else is asked in its place
    assert caught.value.hint is not None
    assert "known_hosts" in caught.value.hint
    assert not (tmp_path / "store").exists()
    assert not (home / ".ssh/known_hosts").exists()  # nothing is believed for the next time
    (home / ".ssh/known_hosts").write_text(ssh_server.known_hosts.read_text())
    backend.write(KEY, b"x")
    assert backend.read(KEY) == b"x"


def test_a_changed_host_key_is_refused_as_what_it_is(
    ssh_server: Sshd, tmp_path: Path, home: Path
) -> None:
    other = make_key(tmp_path / "other")
    public = Path(f"{other}.pub").read_text()
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{ssh_server.port} {public}")
    write_config(home, f"Host *\n  IdentityFile {ssh_server.key}\n  UserKnownHostsFile {known}\n")
    with pytest.raises(AccessError, match="not the one that is known") as caught:
        connect(ssh_server.url(tmp_path / "store")).exists()
    assert ssh_server.fingerprint in str(caught.value)
    assert caught.value.hint is not None
    assert "ssh-keygen -R" in caught.value.hint


def test_a_revoked_host_key_is_refused(ssh_server: Sshd, tmp_path: Path, home: Path) -> None:
    known = tmp_path / "known"
    good = ssh_server.known_hosts.read_text()
    known.write_text(f"{good}@revoked * {good.partition(' ')[2]}")
    write_config(home, f"Host *\n  IdentityFile {ssh_server.key}\n  UserKnownHostsFile {known}\n")
    with pytest.raises(AccessError, match="is not known"):
        connect(ssh_server.url(tmp_path / "store")).exists()


def test_hashed_names_and_odd_lines_of_known_hosts_are_read(
    ssh_server: Sshd, tmp_path: Path, home: Path
) -> None:
    known = tmp_path / "known"
    known.write_text(
        f"# a comment\n\nnonsense\nhost ssh-none AAAA\n{ssh_server.known_hosts.read_text()}"
    )
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], capture_output=True)
    if "|1|" not in known.read_text():  # it stops at lines that are no keys
        known.write_text(ssh_server.known_hosts.read_text())
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True)
        known.write_text("# a comment\n\nnonsense\n" + known.read_text())
    assert "127.0.0.1" not in known.read_text()
    write_config(home, f"Host *\n  IdentityFile {ssh_server.key}\n  UserKnownHostsFile {known}\n")
    assert not connect(ssh_server.url(tmp_path / "store")).exists()


# --- the user's set-up ---------------------------------------------------------------------------


def test_a_host_may_be_an_alias_in_an_included_file(
    ssh_server: Sshd, tmp_path: Path, home: Path
) -> None:
    write_config(home, "Include conf.d/*\n")
    (home / ".ssh/conf.d").mkdir()
    shutil.copy(ssh_server.config, home / ".ssh/conf.d/lab")
    backend = connect(f"sftp://test{tmp_path}/store")
    backend.write(KEY, b"x")
    assert (tmp_path / "store" / KEY).read_bytes() == b"x"
    assert backend.url == f"sftp://test{tmp_path}/store"


def test_a_jump_over_another_host_is_followed(ssh_server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host far\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n  ProxyJump test\n"
        + ssh_server.config.read_text()
    )
    backend = connect(f"sftp://far{tmp_path}/store", {"config": str(config)})
    backend.write(KEY, b"x")
    assert backend.read(KEY) == b"x"


def test_jumps_in_a_circle_are_refused(ssh_server: Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")
    with pytest.raises(UsageError, match="circle"):
        connect(f"sftp://a{tmp_path}/store", {"config": str(config)}).exists()


_PIPE = """
import socket, sys, threading
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as server:
    def back():
        while data := server.recv(65536):
            sys.stdout.buffer.write(data); sys.stdout.buffer.flush()
    threading.Thread(target=back, daemon=True).start()
    while data := sys.stdin.buffer.raw.read(65536):
        server.sendall(data)
"""


def test_a_command_stands_in_for_the_connection(ssh_server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "pipe.py").write_text(_PIPE)
    config = tmp_path / "config"
    config.write_text(
        f"Host test\n  ProxyCommand {sys.executable} {tmp_path}/pipe.py %p\n"
        + ssh_server.config.read_text()
    )
    backend = connect(f"sftp://test{tmp_path}/store", {"config": str(config)})
    backend.write(KEY, b"x" * 100_000)
    assert backend.read(KEY) == b"x" * 100_000


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not installed: apt-get install openssh-client")
    path = f"/tmp/dsa-agent-{os.getpid()}"  # the path of a socket may not be long
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as program:
        while not Path(path).exists():
            time.sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        yield
        program.terminate()
    Path(path).unlink(missing_ok=True)


@pytest.mark.usefixtures("agent")
def test_a_key_in_the_agent_opens_what_the_file_alone_does_not(tmp_path: Path, home: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        locked = tmp_path / "locked"
        shutil.copy(server.key, locked)
        locked.chmod(0o600)
        subprocess.run(
            ["ssh-keygen", "-q", "-p", "-P", "", "-N", "a phrase", "-f", str(locked)],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        write_config(
            home, f"Host *\n  IdentityFile {locked}\n  UserKnownHostsFile {server.known_hosts}\n"
        )
        backend = connect(server.url(tmp_path / "store"))
        with pytest.raises(AccessError, match="does not let") as caught:
            backend.exists()
        assert caught.value.hint is not None
        assert "ssh-add" in caught.value.hint
        subprocess.run(["ssh-add", "-q", str(server.key)], check=True)
        assert not backend.exists()
        backend.write(KEY, b"x")
        assert backend.exists()


def test_a_folder_may_be_below_the_home_there(ssh_server: Sshd) -> None:
    backend = connect(f"sftp://test/~/none/{time.time()}", {"config": str(ssh_server.config)})
    assert not backend.exists()
    there = pwd.getpwnam(ssh_server.user).pw_dir
    assert backend.path("a").startswith(f"{there}/none/")  # type: ignore[attr-defined]


# --- what is refused -----------------------------------------------------------------------------


def test_a_wrong_key_is_a_refused_login(ssh_server: Sshd, tmp_path: Path, home: Path) -> None:
    wrong = make_key(tmp_path / "wrong")
    write_config(
        home, f"Host *\n  IdentityFile {wrong}\n  UserKnownHostsFile {ssh_server.known_hosts}\n"
    )
    with pytest.raises(AccessError, match=r"127\.0\.0\.1 does not let") as caught:
        connect(ssh_server.url(tmp_path / "store")).exists()
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)


def test_a_command_that_ends_at_once_is_no_connection(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host test\n  ProxyCommand false\n")
    with pytest.raises(AccessError, match="no connection to sftp://test") as caught:
        connect(f"sftp://test{tmp_path}/store", {"config": str(config)}).exists()
    assert caught.value.is_outage


def test_where_nothing_may_be_written_it_is_an_access_error(tmp_path: Path) -> None:
    (tmp_path / "store/packs").mkdir(parents=True)
    (tmp_path / "store" / KEY).write_bytes(b"there")
    with sshd(tmp_path / "sshd", subsystem="internal-sftp -R") as server:
        backend = place(server, tmp_path)
        for call in (
            lambda: backend.write(KEY, b"x"),
            lambda: backend.create("new", b"x"),
            lambda: backend.send(io.BytesIO(b"x"), "new", 1, lambda: True),
            lambda: backend.remove(KEY),
        ):
            sent = backend.traffic.bytes_sent
            with pytest.raises(AccessError, match="no permission") as caught:
                call()
            assert caught.value.exit_code == 6
            assert backend.traffic.bytes_sent == sent
        assert backend.read(KEY) == b"there"
        assert keys(backend.list("")) == [KEY]


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o2775])
def test_files_and_folders_take_the_mode_of_the_root(tmp_path: Path, mode: int) -> None:
    """So that another of the group may push there too, whatever the server's umask."""
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(mode)
    with sshd(tmp_path / "sshd", subsystem="internal-sftp -u 077") as server:
        backend = place(server, tmp_path)
        backend.create("refs/some/@1", b"x")
        backend.write("listing/x", b"x")
        assert backend.send(io.BytesIO(b"x"), KEY, 1, lambda: True)
    for folder in ("refs", "refs/some", "packs", "listing", "site", "site/tmp"):
        assert stat.S_IMODE((root / folder).stat().st_mode) == mode, folder
    for key in ("refs/some/@1", "listing/x", KEY):
        assert stat.S_IMODE((root / key).stat().st_mode) == mode & 0o666, key


def test_a_file_where_a_folder_should_be_is_a_designed_error(
    ssh_server: Sshd, tmp_path: Path
) -> None:
    backend = place(ssh_server, tmp_path)
    backend.create("packs", b"a file")
    for call in (
        lambda: backend.create(KEY, b"x"),
        lambda: backend.write(KEY, b"x"),
        lambda: backend.send(io.BytesIO(b"x"), KEY, 1, lambda: True),
    ):
        with pytest.raises(DsaError):
            call()


def test_nobody_there_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **more: Any) -> Any:
        if host.endswith(".invalid"):  # no server of names is asked
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for url in (f"sftp://127.0.0.1:{free_port()}/x", "sftp://no-such-host.invalid/x"):
        with pytest.raises(AccessError, match="no connection to sftp://") as caught:
            connect(url).exists()
        assert caught.value.exit_code == 6
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sftp://host", {}),
        ("sftp://host/", {}),
        ("sftp:///path", {}),
        ("sftp://user:secret@host/path", {}),
        ("sftp://host:x/path", {}),
        ("sftp://host/path", {"region": "x"}),
        ("sftp://host/path", {"jobs": "none"}),
    ],
)
def test_a_wrong_url_or_option_is_refused_at_once(url: str, options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        connect(url, options)
    assert "secret" not in str(caught.value)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    backend = connect("sftp://host/path", {"config": str(tmp_path / "none")})
    with pytest.raises(UsageError, match="none"):
        backend.exists()


# --- what it survives ----------------------------------------------------------------------------


def test_of_many_processes_one_wins(ssh_server: Sshd, tmp_path: Path) -> None:
    backend = place(ssh_server, tmp_path)
    assert backend.claims is True
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(WRITERS)
    with context.Pool(WRITERS, _meet, (together,)) as pool:
        won = pool.starmap(_create_all, [(backend, n) for n in range(WRITERS)], chunksize=1)
    assert sorted(number for numbers in won for number in numbers) == list(range(20))
    for number, numbers in enumerate(won):
        for each in numbers:
            assert backend.read(f"refs/ds/@{each}") == str(number).encode() * 1000


_barriers: list[Any] = []


def _meet(together: Any) -> None:
    _barriers.append(together)


def _create_all(backend: Backend, number: int) -> list[int]:
    backend.exists()
    _barriers[0].wait(60)  # all are connected
    return [n for n in range(20) if backend.create(f"refs/ds/@{n}", str(number).encode() * 1000)]


def test_without_links_creation_is_still_exclusive(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd", subsystem="internal-sftp -P hardlink,fsync") as server:
        backend = place(server, tmp_path)
        assert backend.claims is None
        assert backend.create(KEY, b"first")
        assert not backend.create(KEY, b"second")
        with ThreadPoolExecutor(WRITERS) as pool:
            won = list(pool.map(lambda data: backend.create("refs/a/@1", data), [b"x", b"y"] * 4))
        assert won.count(True) == 1
        assert backend.read(KEY) == b"first"
        assert os.listdir(tmp_path / "store/site/tmp") == []


@pytest.fixture
def no_links(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd", subsystem="internal-sftp -P hardlink") as server:
        yield server


class Breaking:
    """`pipelined.write`, in whose way the connection breaks when it comes to write these bytes."""

    def __init__(self, server: Sshd, data: bytes, at: range, written: int = 0) -> None:
        self._server, self._data, self._at, self._written = server, data, at, written
        self._write = pipelined.write
        self._count = -1

    def __call__(self, client: pipelined.Client, handle: bytes, at: int, data: bytes) -> None:
        if data == self._data:
            self._count += 1
            if self._count in self._at:
                self._write(client, handle, at, data[: self._written])
                self._server.cut()
        self._write(client, handle, at, data)


@pytest.mark.parametrize("written", [0, 20, 41])
def test_without_links_a_ref_is_written_to_its_end_after_the_connection_broke(
    no_links: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    backend = place(no_links, tmp_path)
    ref = b"a" * 40 + b"\n"
    # The first to be written is the temporary file.
    monkeypatch.setattr(pipelined, "write", Breaking(no_links, ref, range(1, 3), written))
    assert backend.create("refs/ds/@1", ref) is True
    assert backend.read("refs/ds/@1") == ref
    assert backend.create("refs/ds/@1", b"b" * 40 + b"\n") is False
    assert os.listdir(tmp_path / "store/site/tmp") == []


def test_without_links_a_ref_that_cannot_be_written_to_its_end_is_taken_away(
    no_links: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = place(no_links, tmp_path)
    ref = b"a" * 40 + b"\n"
    monkeypatch.setattr(pipelined, "write", Breaking(no_links, ref, range(1, 99)))
    with pytest.raises(AccessError, match="no connection"):
        backend.create("refs/ds/@1", ref)
    assert not (tmp_path / "store/refs/ds/@1").exists()


def test_without_links_what_another_wrote_meanwhile_is_never_written_over(
    no_links: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = place(no_links, tmp_path)
    ref, other = b"a" * 40 + b"\n", b"b" * 40 + b"\n"

    class Replaced(Breaking):
        def __call__(self, *args: Any) -> None:
            try:
                super().__call__(*args)
            except Exception:
                (tmp_path / "store/refs/ds/@1").write_bytes(other)
                raise

    monkeypatch.setattr(pipelined, "write", Replaced(no_links, ref, range(1, 2)))
    assert backend.create("refs/ds/@1", ref) is False
    assert backend.read("refs/ds/@1") == other


@pytest.mark.parametrize(
    ("there", "won"), [(b"", None), (b"a" * 9, None), (b"b", False), (b"", True)]
)
def test_without_links_an_answer_that_was_lost_is_settled_by_looking(
    no_links: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bytes, won: bool | None
) -> None:
    """None: nobody can know whose it is; True: it was never created."""
    backend = place(no_links, tmp_path)
    ref = b"a" * 40 + b"\n"
    path = tmp_path / "store/refs/ds/@1"
    open_file = pipelined.Client.open
    lost: list[str] = []

    def losing(client: pipelined.Client, name: str, mode: str = "r", bufsize: int = -1) -> Any:
        if mode == "wx" and not lost:
            lost.append(name)
            if not won:
                path.write_bytes(there)
            no_links.cut()
        return open_file(client, name, mode, bufsize)

    monkeypatch.setattr(pipelined.Client, "open", losing)
    if won is None:
        with pytest.raises(DsaError, match="was created and not written") as caught:
            backend.create("refs/ds/@1", ref)
        assert caught.value.hint
        assert path.read_bytes() == there
    else:
        assert backend.create("refs/ds/@1", ref) is won
        assert path.read_bytes() == (ref if won else there)
    assert len(lost) == 1


def test_a_read_after_the_connection_broke_connects_anew(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        backend = place(server, tmp_path)
        backend.write(KEY, b"x" * 100_000)
        for call in (
            lambda: backend.read(KEY),
            lambda: backend.write("packs/other", b"y"),
            lambda: list(backend.list("")),
            lambda: backend.create("refs/a/@1", b"y"),
            lambda: backend.remove("packs/other"),
        ):
            server.cut()
            call()
        assert backend.read(KEY) == b"x" * 100_000
        assert keys(backend.list("")) == [KEY, "refs/a/@1"]


class Cutting(io.BytesIO):
    """A source that cuts the connection when it is half read."""

    def __init__(self, data: bytes, server: Sshd) -> None:
        super().__init__(data)
        self._server: Sshd | None = server

    def read(self, size: int | None = -1) -> bytes:
        if self._server is not None and self.tell() > len(self.getbuffer()) // 2:
            self._server.cut()
            self._server = None
        return super().read(size)


def test_a_stream_goes_on_where_the_connection_broke(tmp_path: Path) -> None:
    with sshd(tmp_path / "sshd") as server:
        backend = place(server, tmp_path)
        data = os.urandom(20_000_000)
        assert backend.send(Cutting(data, server), KEY, len(data), lambda: True)
        assert backend.read(KEY) == data
        assert os.listdir(tmp_path / "store/site/tmp") == []


def test_more_threads_than_one_connection_lets_in_share_several(
    ssh_server: Sshd, tmp_path: Path
) -> None:
    backend = place(ssh_server, tmp_path, jobs="14")
    assert backend.jobs == 14
    backend.write(KEY, b"x" * 1000)
    together = threading.Barrier(14)

    def read(_: int) -> bytes:
        backend.info(KEY)
        together.wait(20)  # all have a channel
        return backend.read(KEY)

    with ThreadPoolExecutor(14) as pool:
        assert set(pool.map(read, range(14))) == {b"x" * 1000}


def test_threads_that_ended_leave_their_channels_to_others(
    ssh_server: Sshd, tmp_path: Path
) -> None:
    backend = place(ssh_server, tmp_path)
    backend.write(KEY, b"x")
    before = ssh_server.log.read_text().count("Starting session")
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(backend.read, [KEY] * 4))
    assert ssh_server.log.read_text().count("Starting session") - before <= 2


def test_a_full_disk_is_a_designed_error_and_nothing_has_a_name(
    ssh_server: Sshd, tmp_path: Path
) -> None:
    """The last of many writes that are under way at once fail: none of them may be forgotten."""
    folder = tmp_path / "store"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        backend = place(ssh_server, tmp_path)
        backend.write("small", b"x")
        data = b"x" * 1_100_000
        for write in (
            lambda: backend.create("large", data),
            lambda: backend.write("large", data),
            lambda: backend.send(io.BytesIO(data), "large", len(data), lambda: True),
        ):
            with pytest.raises(DsaError) as caught:
                write()
            assert caught.value.exit_code == 1
            assert "large" in str(caught.value) or "site/tmp" in str(caught.value)
            assert caught.value.hint is not None
            assert "disk is full" in caught.value.hint
        assert keys(backend.list("")) == ["small"]
        assert os.listdir(folder / "site/tmp") == []
    finally:
        # Lazily: the server closes what it has open a moment after its clients are gone.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_what_killed_writers_left_long_ago_goes(ssh_server: Sshd, tmp_path: Path) -> None:
    backend = place(ssh_server, tmp_path)
    backend.write(KEY, b"x")
    tmp = tmp_path / "store/site/tmp"
    old, young, other = tmp / ("a" * 32), tmp / ("b" * 32), tmp / "host.boot.c"
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (0, time.time() - 8 * 24 * 3600))
    backend.write(KEY, b"y")
    assert old.exists()  # once for every instance
    place(ssh_server, tmp_path).write(KEY, b"z")
    assert sorted(tmp.iterdir()) == sorted([young, other])
    assert backend.read(KEY) == b"z"


def test_a_proxy_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host far\n  ProxyCommand no-such-program %h %p\n")
    backend = connect("sftp://far/store", {"config": str(config)})
    for ask in (backend.exists, lambda: backend.read(KEY), lambda: backend.write(KEY, b"x")):
        with pytest.raises(AccessError, match=r"ProxyCommand.*no-such-program far 22: No such"):
            ask()


def test_nothing_that_goes_wrong_while_connecting_is_a_missing_file(
    ssh_server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (FileNotFoundError(2, "gone", "/x"), KeyError("x"), NotADirectoryError(20, "no")):
        backend = place(ssh_server, tmp_path)

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(backend, "connect", fail)
        with pytest.raises(AccessError, match="no connection to sftp://"):
            backend.exists()
        with pytest.raises(AccessError, match="no connection to sftp://"):
            backend.read(KEY)


def test_hints_name_the_commands_for_the_port_and_user_of_the_url(
    ssh_server: Sshd, tmp_path: Path, home: Path
) -> None:
    where = f"-p {ssh_server.port} {ssh_server.user}@127.0.0.1"
    write_config(home, f"Host *\n  IdentityFile {ssh_server.key}\n")
    with pytest.raises(AccessError) as caught:
        connect(ssh_server.url(tmp_path / "store")).exists()
    assert f"`ssh {where}`" in str(caught.value.hint)
    public = Path(f"{make_key(tmp_path / 'other')}.pub").read_text()
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{ssh_server.port} {public}")
    with pytest.raises(AccessError) as caught:
        connect(ssh_server.url(tmp_path / "store")).exists()
    assert f"`ssh-keygen -R '[127.0.0.1]:{ssh_server.port}'`" in str(caught.value.hint)
    (home / ".ssh/known_hosts").write_text(ssh_server.known_hosts.read_text())
    write_config(home, f"Host *\n  IdentityFile {tmp_path}/other\n  IdentitiesOnly yes\n")
    with pytest.raises(AccessError, match="does not let") as caught:
        connect(ssh_server.url(tmp_path / "store")).exists()
    assert f"`ssh {where}`" in str(caught.value.hint)
