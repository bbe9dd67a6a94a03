"""A real S3 server: Ceph's RADOS gateway over one monitor and one disk in memory.

One cluster serves all processes of a test run. It belongs to a keeper, a process of its own, that
each of them holds a connection to; as the last of these ends, however it ended, so does the cluster.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

START_SECONDS = 60
GRACE_SECONDS = 2  # without a connection before the cluster is stopped
STOP_SECONDS = 10
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = "ceph-mon ceph-osd radosgw"

_CONFIG = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
run_dir = {base}/run
admin_socket =
crash_dir = {base}/crash
log_file = {base}/$name.log
log_to_stderr = false
debug_default = 0
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 2000
ms_async_op_threads = 2
[mon]
mon_data = {base}/mon
mon_cluster_log_file = {base}/cluster.log
paxos_propose_interval = 0.05
mon_data_avail_warn = 1
mon_data_avail_crit = 0
[osd]
osd_data = {base}/osd
osd_objectstore = memstore
osd_memory_target = 939524096
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_class_load_list = *
osd_class_default_list = *
memstore_device_bytes = 8589934592
[client]
rgw_frontends = beast endpoint=127.0.0.1:{http} tcp_nodelay=1
rgw_thread_pool_size = 64
rgw_enable_usage_log = false
rgw_enable_ops_log = false
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 10
rgw_lc_debug_interval = -1
"""


@dataclass(frozen=True)
class Keys:
    """The credentials of one user."""

    access: str
    secret: str

    def environment(self) -> dict[str, str]:
        """Return what AWS's tools read from the environment."""
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def profile(self, name: str = "default") -> str:
        """Return a section of ~/.aws/credentials."""
        return (
            f"[{name}]\naws_access_key_id = {self.access}\naws_secret_access_key = {self.secret}\n"
        )


WRITER = Keys("WRITERWRITERWRITERWR", "writersecretwritersecretwritersecret")
READER = Keys("READERREADERREADERRE", "readersecretreadersecretreadersecret")


@dataclass(frozen=True)
class Ceph:
    """A gateway that is up."""

    endpoint: str
    writer: Keys = WRITER
    reader: Keys = READER  # may read what the writer lets it

    def bucket(self) -> str:
        """Make a bucket that the writer owns and the reader may read; return its name."""
        name = f"dsa-{uuid4().hex}"
        self.client.create_bucket(Bucket=name)
        arn = f"arn:aws:s3:::{name}"
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [arn, f"{arn}/*"],
        }
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        self.client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
        return name

    @cached_property
    def client(self) -> Any:
        """botocore's plain client of the writer, for what a test looks at by itself."""
        from botocore.config import Config
        from botocore.session import Session

        return Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.writer.access,
            aws_secret_access_key=self.writer.secret,
            config=Config(s3={"addressing_style": "path"}),
        )


def missing() -> str | None:
    """Return what to install where there is no Ceph here; None where there is."""
    if all(map(shutil.which, PROGRAMS)):
        return None
    return f"radosgw is not installed: apt-get install --no-install-recommends {PACKAGES}"


@contextmanager
def ceph(shared: Path, name: str = "ceph") -> Iterator[Ceph]:
    """Return the gateway of this name that all processes with this folder have in common."""
    import pytest

    if told := missing():
        pytest.skip(told)
    shared.mkdir(parents=True, exist_ok=True)
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held, endpoint = _join(shared / f"{name}.port") or _start(shared, name)
    with held:
        gateway = Ceph(endpoint)
        yield gateway
        gateway.client.close()


def _join(port: Path) -> tuple[socket.socket, str] | None:
    """Hold a connection to the keeper; None where there is none, or it is about to end."""
    try:
        held = socket.create_connection(("127.0.0.1", int(port.read_text())), START_SECONDS)
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError), held.makefile() as file:
        if line := file.readline():
            return held, json.loads(line)["endpoint"]
    held.close()
    return None


def _start(shared: Path, name: str) -> tuple[socket.socket, str]:
    port = shared / f"{name}.port"
    port.unlink(missing_ok=True)
    with (shared / f"{name}.output").open("w") as output:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # ctrl-C ends the tests first
        )
    end = time.monotonic() + 2 * START_SECONDS
    while time.monotonic() < end and keeper.poll() is None:
        if joined := _join(port):
            keeper.returncode = 0  # it is waited for by nobody, and no warning is due
            return joined
        time.sleep(0.05)
    raise RuntimeError(f"Ceph did not start: {(shared / f'{name}.output').read_text()}")


# --- the keeper ----------------------------------------------------------------------------------


def keep(port: Path) -> None:
    """Run a cluster as long as somebody is connected; write the port to connect to into a file."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with (
        tempfile.TemporaryDirectory(prefix="dsa-ceph-", ignore_cleanup_errors=True) as base,
        ExitStack() as stack,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        endpoint = _run_cluster(Path(base), stack)
        partial = port.with_suffix(".partial")
        partial.write_text(str(listener.getsockname()[1]))
        partial.replace(port)
        _serve(listener, json.dumps({"endpoint": endpoint}).encode() + b"\n")


def _serve(listener: socket.socket, greeting: bytes) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        joined: set[socket.socket] = set()
        while True:
            ready = selector.select(None if joined else GRACE_SECONDS)
            if not ready and not joined:
                return
            for key, _ in ready:
                if key.fileobj is listener:
                    one, _ = listener.accept()
                    one.sendall(greeting)
                    selector.register(one, selectors.EVENT_READ)
                    joined.add(one)
                else:  # nobody says anything: it has ended
                    ended = key.fileobj
                    assert isinstance(ended, socket.socket)
                    selector.unregister(ended)
                    joined.remove(ended)
                    ended.close()


def _run_cluster(base: Path, stack: ExitStack) -> str:
    """Start a cluster in an empty folder; it is stopped by `stack`. Return its endpoint."""
    v2, v1, http = _free_ports(3)
    fsid, disk = str(uuid4()), str(uuid4())
    for folder in ("mon", "osd", "run", "crash"):
        (base / folder).mkdir()
    config = base / "ceph.conf"
    config.write_text(_CONFIG.format(base=base, fsid=fsid, v1=v1, v2=v2, http=http))
    conf = ("-c", str(config))
    os.environ |= {"CEPH_CONF": str(config), "CEPH_ARGS": ""}
    endpoint = f"http://127.0.0.1:{http}"

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def up(*command: str) -> None:
        with (base / f"{command[0]}.output").open("w") as output:
            process = subprocess.Popen(
                [command[0], "-f", *conf, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  # the keeper has one thread
            )
        stack.callback(_stop, process)

    monitors = str(base / "monmap")
    address = f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]"
    run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, monitors)
    run("ceph-mon", "--mkfs", *conf, "-i", "a", "--monmap", monitors)
    up("ceph-mon", "-i", "a")
    _wait(lambda: run("ceph", *conf, "--connect-timeout", "5", "osd", "new", disk, "0"))
    run("ceph-osd", "--mkfs", *conf, "-i", "0", "--osd-uuid", disk)
    up("ceph-osd", "-i", "0")
    # These wait by themselves until the disk is there.
    for user, keys in (("writer", WRITER), ("reader", READER)):
        run(
            *("radosgw-admin", *conf, "user", "create", f"--uid={user}", f"--display-name={user}"),
            *(f"--access-key={keys.access}", f"--secret-key={keys.secret}"),
        )
    up("radosgw", "-n", "client.rgw.a")
    _wait(lambda: urllib.request.urlopen(endpoint, timeout=2).close())
    return endpoint


def _free_ports(count: int) -> list[int]:
    """Return ports below those that the system gives to others."""
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.randrange(20000, 32000)))
                ports.append(probe.getsockname()[1])
        return ports


def _wait(ask: Callable[[], object]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _end_with_parent() -> None:
    """Have the system end this process with the keeper, should that be killed (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # nothing of it is kept
    process.wait(STOP_SECONDS)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
