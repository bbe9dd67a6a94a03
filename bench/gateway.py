"""A real S3 gateway for as long as a round lasts: the tests' own, Ceph's from Debian's packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data import BenchError

if TYPE_CHECKING:
    from tests.servers.ceph import Ceph


@dataclass(frozen=True)
class Gateway:
    """A gateway that is up; `env` is what AWS's tools need to find it and to be let in."""

    server: Ceph
    env: dict[str, str] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return self.server.endpoint

    def bucket(self) -> str:
        """Make an empty bucket and return its name."""
        return self.server.bucket()


@contextmanager
def running(folder: Path) -> Iterator[Gateway]:
    """Start a gateway with nothing in it, and stop it at the end."""
    from tests.servers import ceph

    if told := ceph.missing():
        raise BenchError(told)
    with ceph.ceph(folder) as server:
        env = server.writer.environment() | {"AWS_ENDPOINT_URL": server.endpoint}
        yield Gateway(server, env)
