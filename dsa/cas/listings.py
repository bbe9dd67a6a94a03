"""`listing/`: what a folder listing would show, for readers that can't list (plain HTTP).

Advisory: whoever can list does. docs/format.md, "Listings".
"""

from __future__ import annotations

import json
from collections.abc import Callable

from dsa.cas import layout
from dsa.cas.backend import Backend
from dsa.cas.refs import MAX_REF_BYTES

DATASETS = "listing/@datasets.jsonl"
LOCATIONS = "listing/@locations.jsonl"
_ROUNDS = 10  # writers that race for ever are somebody else's trouble: it is advisory


def revisions_key(dataset: str) -> str:
    """Return where the revisions of a dataset are listed."""
    return f"{layout.LISTING}{dataset}/@revisions.jsonl"


def renew(backend: Backend, dataset: str) -> None:
    """Bring the listings up to date after a ref of this dataset was written."""
    _renew(backend, revisions_key(dataset), lambda: _revisions(backend, dataset))
    _renew(backend, LOCATIONS, lambda: _parts(backend))
    _renew(backend, DATASETS, lambda: _datasets(backend))


def _renew(backend: Backend, key: str, listed: Callable[[], list[dict[str, object]]]) -> None:
    """List, write, list again, until both are equal: of two writers the later one is right."""
    lines = listed()
    for _ in range(_ROUNDS):
        data = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()
        try:
            if backend.read(key) != data:
                backend.write(key, data)
        except KeyError:
            backend.write(key, data)
        again = listed()
        if again == lines:
            return
        lines = again


def _revisions(backend: Backend, dataset: str) -> list[dict[str, object]]:
    folder = f"{layout.REFS}{dataset}/"
    lines: list[dict[str, object]] = []
    for name in sorted(backend.children(folder)):
        if name.startswith("@") and not name.endswith("/"):
            content = backend.read(folder + name, 0, MAX_REF_BYTES + 1).decode("ascii", "replace")
            lines.append({"revision": name[1:], "ref": content})
    return lines


def _datasets(backend: Backend) -> list[dict[str, object]]:
    found = {
        info.key.removeprefix(layout.REFS).rpartition("/@")[0] for info in backend.list(layout.REFS)
    }
    return [{"dataset": dataset} for dataset in sorted(found)]


def _parts(backend: Backend) -> list[dict[str, object]]:
    found = sorted((info.key, info.size) for info in backend.list(layout.LOCATIONS))
    return [{"part": key.removeprefix(layout.LOCATIONS), "size": size} for key, size in found]
