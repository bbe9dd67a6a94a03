"""What this user saw of revisions in stores, and when: listed, attested by the server, or read.

Of one store at one place: a copy of a store has its UUID and may be damaged where the other is not,
and another store at the same place has not been looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from dsa.cas.objectstore import ObjectStore
from dsa.config import remembered as state
from dsa.config.verdicts import today

_KIND = "evidence"

#: From the weakest to the strongest: the store's tables name it all; its server gives the right
#: checksums of the files that hold it; every byte of it was read and hashed.
Kind = Literal["listed", "attested", "read"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def of(store: ObjectStore, manifest: str) -> dict[Kind, str]:
    """Return the evidence for a manifest in a store, kind -> date, the strongest first."""
    seen = state.recall(_KIND, _key(store)).get("manifests")
    dates = seen.get(manifest) if isinstance(seen, dict) else None
    if not isinstance(dates, dict):
        return {}
    return {kind: dates[kind] for kind in reversed(KINDS) if isinstance(dates.get(kind), str)}


def note(store: ObjectStore, manifests: Iterable[str], kind: Kind) -> None:
    """Keep that these manifests were seen whole in a store today."""
    _change(store, {manifest: {kind: today()} for manifest in manifests})


def forget(store: ObjectStore, manifests: Iterable[str]) -> None:
    """Forget all evidence for manifests that were found damaged."""
    _change(store, dict.fromkeys(manifests))


def _change(store: ObjectStore, changes: dict[str, dict[Kind, str]] | dict[str, None]) -> None:
    if not changes:
        return

    def changed(facts: Mapping[str, Any]) -> Mapping[str, Any]:
        before = facts.get("manifests")
        seen = before if isinstance(before, dict) else {}
        for manifest, dates in changes.items():
            if dates is None:
                seen.pop(manifest, None)
            else:
                there = seen.get(manifest)
                seen[manifest] = {**(there if isinstance(there, dict) else {}), **dates}
        return {"manifests": seen}

    state.change(_KIND, _key(store), changed)


def _key(store: ObjectStore) -> str:
    return json.dumps([store.file.id, store.backend.place])
