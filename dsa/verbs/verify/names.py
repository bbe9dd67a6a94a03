"""Checking what a store holds by name: strangers, names that fall together, logs, records of damage."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial

from dsa.cas import layout, site
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.history import read_log
from dsa.cas.names import check_dataset
from dsa.errors import DamageError, DsaError, UsageError
from dsa.verbs.verify.findings import Problems
from dsa.verbs.verify.hashing import surely
from dsa.workers.checker import check_answered

_SITE = ("tmp/", "pending/", "gc/", "damaged/", "quarantine/", "doctor/")
_ENTRY = re.compile(r"@(?!00000000)([0-9]{8})\.json", re.ASCII)
_LISTING = re.compile(r"@(datasets|locations)\.jsonl|.+/@revisions\.jsonl", re.ASCII)


def check_names(backend: Backend, problems: Problems) -> None:
    """Name what no reader knows, at the top and in the folders that are not for objects."""
    for name in backend.children(""):
        if name not in (layout.STORE, *layout.KNOWN):
            _unknown(problems, name)
    for name in backend.children(layout.SITE):
        if name not in _SITE:
            _unknown(problems, layout.SITE + name)
    for info in backend.list(layout.LISTING):
        if not _LISTING.fullmatch(info.key.removeprefix(layout.LISTING)):
            _unknown(problems, info.key)
    for info in backend.list(layout.DAMAGED):
        try:
            site.read_record(backend, info.key)
        except (DsaError, ValueError) as error:
            check_answered(backend, error)
            problems.add("bad record", info.key, f"it is ignored: {error}", is_damage=False)


def check_keys(infos: Iterable[FileInfo], problems: Problems) -> list[FileInfo]:
    """Return the files that are named by an id; the others are strangers."""
    named = []
    for info in infos:
        if layout.id_of_key(info.key) is None:
            _unknown(problems, info.key)
        else:
            named.append(info)
    return named


def check_case(names: Iterable[tuple[str, str]], problems: Problems) -> None:
    """Name refs (dataset, revision) that a file system which ignores case could not keep apart."""
    spellings: dict[tuple[str, str], set[str]] = {}  # (folder, folded name) -> names there
    for dataset, revision in names:
        folder = layout.REFS
        for name in (*dataset.split("/"), f"@{revision}"):
            spellings.setdefault((folder, name.casefold()), set()).add(name)
            folder = f"{folder}{name}/"
    for (folder, _), found in spellings.items():
        first, *others = sorted(found)
        if others:
            problems.add(
                "names differ in case",
                folder + first,
                f"it differs from {', '.join(folder + other for other in others)} only in the case of letters",
                is_damage=False,
            )


def check_logs(backend: Backend, problems: Problems) -> None:
    """Follow every dataset's log from its first entry to its last."""
    numbers: dict[str, set[int]] = {}
    for info in backend.list(layout.LOG):
        dataset, _, name = info.key.removeprefix(layout.LOG).rpartition("/")
        found = _ENTRY.fullmatch(name)
        if found is None or not _is_dataset(dataset):
            _unknown(problems, info.key)
        else:
            numbers.setdefault(dataset, set()).add(int(found[1]))
    for dataset, there in sorted(numbers.items()):
        reached = [0]
        try:
            surely(backend, partial(_follow, backend, dataset, reached))
        except DamageError as error:
            problems.add("bad log", layout.log_key(dataset, reached[0] + 1), str(error))
            continue
        except DsaError as error:
            check_answered(backend, error)
            problems.unreadable(layout.log_key(dataset, reached[0] + 1), error)
            continue
        if max(there) > reached[0]:
            key = layout.log_key(dataset, reached[0] + 1)
            problems.add("bad log", key, f"it is missing, and entry {max(there)} is there")


def _follow(backend: Backend, dataset: str, reached: list[int]) -> None:
    """Read a dataset's log to its end; `reached` says how far that came, after an error too."""
    reached[0] = 0
    for number, _, _ in read_log(backend, dataset):
        reached[0] = number


def _is_dataset(name: str) -> bool:
    try:
        check_dataset(name)
    except UsageError:
        return False
    return True


def _unknown(problems: Problems, key: str) -> None:
    problems.add("unknown file", key, "nothing of this name belongs to a store", is_damage=False)
