"""Dataset logs travel forward only: what the target lacks is added, and nothing is ever replaced."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dsa.cas import layout
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.history import MAX_ENTRY_BYTES, LogState
from dsa.cas.ids import Sha256
from dsa.errors import ConflictError, DamageError
from dsa.verbs.mirror.refs import listed, md5_of


@dataclass(frozen=True, slots=True)
class Log:
    """A dataset's log in one store, as it was listed: its entries from the first on."""

    backend: Backend
    dataset: str
    entries: tuple[FileInfo, ...] = ()

    def read(self, number: int) -> bytes:
        """Return entry `number`, from 1; `DamageError` if it is gone."""
        key = layout.log_key(self.dataset, number)
        try:
            return self.backend.read(key, 0, MAX_ENTRY_BYTES)
        except KeyError:
            raise DamageError(f"{key} in {self.backend.url} is missing") from None

    def is_as(self, other: Log, number: int) -> bool:
        """Whether both have the same entry of this number; read only where the listings do not tell."""
        mine, theirs = self.entries[number - 1], other.entries[number - 1]
        if mine.size != theirs.size:
            return False
        digests = [
            info.md5 or md5_of(log.read(number)) for log, info in ((self, mine), (other, theirs))
        ]
        return digests[0] == digests[1]


def logs(backend: Backend, datasets: Collection[str], *, everything: bool) -> dict[str, Log]:
    """Return the logs of these datasets, which may be `everything`; one without entries is left out."""
    found: dict[str, dict[str, FileInfo]] = {}
    for info in listed(backend, layout.LOG, None if everything else datasets):
        dataset, at, _ = info.key.removeprefix(layout.LOG).rpartition("/@")
        if at and dataset in datasets:
            found.setdefault(dataset, {})[info.key] = info
    made: dict[str, Log] = {}
    for dataset, by_key in found.items():
        entries: list[FileInfo] = []
        while (key := layout.log_key(dataset, len(entries) + 1)) in by_key:
            entries.append(by_key[key])
        made[dataset] = Log(backend, dataset, tuple(entries))
    return made


def lacks(source: Log, target: Log) -> bool:
    """Whether the target's log is a beginning of the source's, and shorter.

    Raises: `ConflictError` where the two went apart.
    """
    shared = min(len(source.entries), len(target.entries))
    # Every entry holds the digest of the one before: the last that both have stands for all.
    if shared and not source.is_as(target, shared):
        raise ConflictError(
            f"the log of {source.dataset} in {target.backend.url} went another way than that in {source.backend.url}"
        )
    return len(target.entries) < len(source.entries)


def forward(source: Log, target: Log) -> int:
    """Add what the target lacks, entry by entry; return how many.

    Raises: `ConflictError` where somebody else added other entries meanwhile, `DamageError` where
    one of the source's does not follow from the one before.
    """
    held = len(target.entries)
    previous = Sha256.of(source.read(held)) if held else None
    added = 0
    for number in range(held + 1, len(source.entries) + 1):
        key = layout.log_key(source.dataset, number)
        data = source.read(number)
        try:
            entry = LogState.decode(data)
        except ValueError as error:
            raise DamageError(f"{key} in {source.backend.url}: {error}") from error
        if entry.previous != previous:
            raise DamageError(
                f"{key} in {source.backend.url} does not follow from the entry before it"
            )
        if target.backend.create(key, data):
            added += 1
        elif target.read(number) != data:
            raise ConflictError(
                f"the log of {source.dataset} in {target.backend.url} went another way meanwhile"
            )
        previous = Sha256.of(data)
    return added
