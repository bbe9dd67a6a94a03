"""`listing/`: what a folder listing would show, for readers that can't list (plain HTTP).

Advisory: whoever can list does, and what one says is checked before it is believed.
docs/format.md, "Listings".
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import md5
from typing import Any

from dsa.cas import layout, strictjson
from dsa.cas.backend import Backend, FileInfo
from dsa.cas.concurrent import each
from dsa.cas.names import are_names
from dsa.cas.refs import MAX_REF_BYTES, named_by
from dsa.errors import DamageError

logger = logging.getLogger(__name__)

DATASETS = "listing/@datasets.jsonl"
LOCATIONS = "listing/@locations.jsonl"
#: As much of one as is read.
MAX_BYTES = 64 * 1024 * 1024

_ROUNDS = 10  # writers that race for ever are somebody else's trouble: it is advisory


def revisions_key(dataset: str) -> str:
    """Return where the revisions of a dataset are listed."""
    return f"{layout.LISTING}{dataset}/@revisions.jsonl"


# --- writing -------------------------------------------------------------------------------------


def renew(backend: Backend, *datasets: str) -> None:
    """Bring the listings up to date after refs of these datasets were written.

    List, write what differs, list again, until nothing does: of two writers the later one is
    right. Of the refs only those are read that are new, or are not what stood in the listing.
    """
    keys = [DATASETS, LOCATIONS, *map(revisions_key, datasets)]
    there = dict(
        zip(keys, each(keys, lambda key: _present(backend, key), backend.jobs), strict=True)
    )
    known = {dataset: _known(there[revisions_key(dataset)]) for dataset in datasets}
    for _ in range(_ROUNDS):
        wanted = _wanted(backend, known)
        stale = [key for key in keys if there[key] != wanted[key]]
        if not stale:
            return
        each(stale, lambda key: backend.write(key, wanted[key]), backend.jobs)  # noqa: B023  # it is over here
        there = dict(wanted)


def lacks(backend: Backend, dataset: str, revisions: Iterable[str]) -> bool:
    """Whether the listing of a dataset lacks one of these revisions: whoever published it was killed then.

    One request.
    """
    return not set(revisions) <= _known(_present(backend, revisions_key(dataset))).keys()


def stale(
    backend: Backend, refs: Mapping[str, Mapping[str, int]], datasets: Iterable[str]
) -> set[str]:
    """Return the keys of listings that cannot be right: of these datasets, and the one of all datasets.

    `refs` are all refs of the store: dataset -> revision -> size in bytes. Nothing is read: a
    listing that lacks a ref, or has one that was withdrawn since, has another size.
    """
    sizes = {info.key: info.size for info in backend.list(layout.LISTING)}
    wanted = {DATASETS: len(_lines({"dataset": dataset} for dataset in refs))}
    for dataset in datasets:
        lines = (
            {"revision": name, "ref": "-" * (size - 1) + "\n"}
            for name, size in refs.get(dataset, {}).items()
        )
        wanted[revisions_key(dataset)] = len(_lines(lines))
    return {key for key, size in wanted.items() if sizes.get(key) != size}


def _present(backend: Backend, key: str) -> bytes | None:
    try:
        return backend.read(key, 0, MAX_BYTES + 1)
    except KeyError:
        return None


def _known(data: bytes | None) -> dict[str, str]:
    """Return the refs that a listing has, by revision; none where it cannot be read."""
    with suppress(DamageError):
        return parse_revisions("", data or b"")
    return {}


def _wanted(backend: Backend, known: Mapping[str, dict[str, str]]) -> dict[str, bytes]:
    """Return what the listings have to hold, by their keys; `known` learns the refs that were read."""
    folders = (layout.REFS, layout.LOCATIONS)
    refs, parts = each(folders, lambda folder: list(backend.list(folder)), backend.jobs)
    found: dict[str, dict[str, FileInfo]] = {}
    for info in refs:
        if (name := named_by(info.key)) is not None:
            found.setdefault(name[0], {})[name[1]] = info
    sizes = sorted((info.key.removeprefix(layout.LOCATIONS), info.size) for info in parts)
    wanted = {
        DATASETS: _lines({"dataset": dataset} for dataset in sorted(found)),
        LOCATIONS: _lines({"part": name, "size": size} for name, size in sizes),
    }
    for dataset, seen in known.items():
        _learn(backend, found.get(dataset, {}), seen)
        lines = ({"revision": name, "ref": seen[name]} for name in sorted(seen))
        wanted[revisions_key(dataset)] = _lines(lines)
    return wanted


def _learn(backend: Backend, refs: Mapping[str, FileInfo], seen: dict[str, str]) -> None:
    """Make `seen` hold what these refs hold; only what it cannot know yet is read."""
    for name in seen.keys() - refs.keys():
        del seen[name]
    is_near = backend.local_path("") is not None  # reading is cheaper there than being wrong
    odd = [name for name, info in refs.items() if is_near or not _is_as(seen.get(name), info)]

    def content(name: str) -> str | None:
        try:
            return backend.read(refs[name].key, 0, MAX_REF_BYTES + 1).decode("ascii", "replace")
        except KeyError:
            return None

    for name, text in zip(odd, each(odd, content, backend.jobs), strict=True):
        seen.pop(name, None)
        if text is not None:
            seen[name] = text


def _is_as(text: str | None, info: FileInfo) -> bool:
    """Whether a ref is still what it was: it may only be withdrawn, and then it has another size."""
    if text is None or not text.isascii() or len(text) != info.size:
        return False
    return info.md5 is None or md5(text.encode(), usedforsecurity=False).digest() == info.md5


def _lines(lines: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


# --- reading: what a stranger says ----------------------------------------------------------------


def parse_datasets(where: str, data: bytes) -> list[str]:
    """Return the datasets of a listing, sorted; `where` names it.

    Raises, like the functions below: `DamageError` if it is no listing. Lines with names that
    cannot be are named in the log and passed by.
    """
    found = set()
    for line in _objects(where, data):
        dataset = line.get("dataset")
        if isinstance(dataset, str) and are_names(dataset, "1"):
            found.add(dataset)
        else:
            _pass_by(where, dataset)
    return sorted(found)


def parse_revisions(where: str, data: bytes) -> dict[str, str]:
    """Return the content of a dataset's refs by revision, each cut to one byte more than a ref has."""
    found: dict[str, str] = {}
    for line in _objects(where, data):
        revision, ref = line.get("revision"), line.get("ref")
        if isinstance(revision, str) and isinstance(ref, str) and are_names("a", revision):
            found[revision] = ref[: MAX_REF_BYTES + 1]
        else:
            _pass_by(where, revision)
    return found


def parse_parts(where: str, data: bytes) -> list[tuple[str, int]]:
    """Return keys and sizes in bytes of the parts of the locations, sorted by key."""
    found: dict[str, int] = {}
    for line in _objects(where, data):
        part, size = line.get("part"), line.get("size")
        key = f"{layout.LOCATIONS}{part}"
        if layout.id_of_key(key) is not None and type(size) is int and 0 <= size < 2**63:
            found[key] = size
        else:
            _pass_by(where, part)
    return sorted(found.items())


def _objects(where: str, data: bytes) -> Iterable[dict[str, Any]]:
    if len(data) > MAX_BYTES:
        raise DamageError(f"{where} is too large for a listing")
    for number, line in enumerate(data.splitlines(), 1):
        try:
            yield strictjson.loads(line, what=f"line {number}")
        except ValueError as error:
            raise DamageError(f"{where} is no listing: {error}") from None


def _pass_by(where: str, name: object) -> None:
    logger.warning("%s: %.200r cannot be and is passed by", where, name)
