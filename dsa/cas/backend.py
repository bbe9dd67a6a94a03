"""What a file system has to do to hold a store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from dsa.errors import TakenError


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file of a store: its key, its size in bytes, and when it was written by the store's clock."""

    key: str
    size: int
    modified: float  # seconds since 1970, UTC
    md5: bytes | None = None  # raw, of its content; only where the store tells it for nothing


@dataclass(slots=True)
class Traffic:
    """What a place was asked, and what it cost: requests (each try counts), bodies in bytes."""

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.requests + other.requests,
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
        )

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.bytes_sent - before.bytes_sent,
            self.bytes_received - before.bytes_received,
        )


def is_kept(found: FileInfo | None, size: int, url: str) -> bool:
    """Whether a file that is named by its content is there; `TakenError` where one of another size is.

    Such a one is the piece that an interrupted copy, or a power cut, left under the final name.
    """
    if found is not None and found.size != size:
        raise TakenError(
            f"{found.key} in {url} has {found.size} bytes of {size}",
            hint=f"move {found.key} out of the store, and run the command again",
        )
    return found is not None


class Backend(Protocol):
    """Files by key, such as `packs/<id>.zip`; the object store is built on nothing else.

    Keys are relative, have `/` between segments, and never `..` or an empty segment. Every method
    may raise `AccessError` (no permission, no connection) and `DsaError` (a full disk); a foreign
    exception never comes out. What passes by itself was tried again before. An instance may be
    sent to another process by pickle, and all methods may be called from several threads.
    """

    @property
    def url(self) -> str:
        """How a person names this place, without secrets; `connect(url)` finds it again."""

    @property
    def place(self) -> str:
        """What tells this place from others: its URL, and what else decides which server answers.

        What was found out about one place is kept under this, and is said of no other one.
        """

    @property
    def jobs(self) -> int:
        """How many calls at once it is worth making; 1 where they do not wait for a network."""

    @property
    def traffic(self) -> Traffic:
        """What was asked of a server so far; all zero where there is none."""

    @property
    def claims(self) -> bool | None:
        """Whether of several `create`s exactly one wins; None: not known before it was tried."""

    def exists(self) -> bool:
        """Whether the place itself is there and holds anything at all."""

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes from `start`, at most `length`; `KeyError` if there is no such file.

        Fewer bytes than asked for means that the file ends there; memory follows what is there,
        not what was asked for.
        """

    def open(self, key: str) -> BinaryIO:
        """Open a file for reading, seekable; `KeyError` if there is no such file."""

    def info(self, key: str) -> FileInfo | None:
        """Return a file's size and time, None if it is not there."""

    def list(self, prefix: str) -> Iterator[FileInfo]:
        """Yield the files below a folder (`prefix` ends in `/`, or is empty for all), any order.

        What is written or removed meanwhile may be missed or shown. Temporary files of writers
        are not shown.
        """

    def children(self, prefix: str) -> Iterator[str]:
        """Yield the names directly in a folder, folders with a final `/`; nothing if it is not there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a file that is not there yet; False, and nothing changed, if it is there.

        Of several writers at once exactly one gets True. All or nothing, and durable on return.
        """

    def write(self, key: str, data: bytes) -> None:
        """Write a file, or replace it: all or nothing, durable on return."""

    def staging(self) -> AbstractContextManager[Path]:
        """Give a local folder of the caller's own, for files that `publish` gives their name.

        At the end it is removed with all that is left in it. Nobody else writes there or removes
        it meanwhile; those of processes that were killed are removed by later ones, as far as it
        is sure that they are dead.
        """

    def publish(self, staged: Path, key: str) -> None:
        """Give a finished file in a `staging` folder its name: all or nothing; its content is durable on return.

        The name itself is durable after the next `flush`. For files named by their content: one
        that is there already is kept, if it has this size; else `TakenError`, and the staged file
        stays. In every other case that is gone afterwards, also after an error; `DsaError` if it
        was not there.
        """

    def send(self, source: BinaryIO, key: str, size: int, is_right: Callable[[], bool]) -> bool:
        """Write a file named by its content from a stream of `size` bytes, read once, in order.

        The name is given only if `is_right()` says so when all was read, and only if as many
        bytes came; else False, and nothing changed. One of this size that is there already may be
        kept: then nothing needs to be read; `TakenError` for one of another size. All or nothing;
        durable as after `publish`. Memory is bounded.
        """

    def flush(self, *, also: Iterable[str] = ()) -> None:
        """Return when everything that this instance published will survive a power cut.

        And the names of whatever lies directly in the folders of `also` (such as `packs/`; one
        that is not there is no error), whoever gave them. After an error nothing is forgotten:
        the next flush tries all of it again.
        """

    def remove(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""

    def local_path(self, key: str) -> Path | None:
        """Return the file's path where it is a file of this machine, for reflinks and hard links."""


@runtime_checkable
class Attesting(Protocol):
    """A place whose server may keep and check the SHA-1 of whole files; whether it does is to be tried."""

    def attested(self, key: str) -> bytes | None:
        """Return the raw SHA-1 that the server itself gives for a file; None where it gives none.

        `KeyError` if there is no such file.
        """

    def write_attested(self, key: str, data: bytes, sha1: bytes) -> None:
        """Write a file and declare its raw SHA-1; `DsaError` where the server finds it wrong."""
