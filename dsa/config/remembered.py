"""Small facts that were found out, kept in the user's state folder; nothing depends on their being there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from dsa.config import places
from dsa.config.locked import locked

logger = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024 * 1024


def recall(kind: str, key: str) -> dict[str, Any]:
    """Return what was kept under a key; empty where nothing was, or it cannot be read."""
    try:
        with _path(kind, key).open("rb") as file:
            value = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and value.get("key") == key else {}


def keep(kind: str, key: str, facts: Mapping[str, Any]) -> None:
    """Keep facts under a key, in place of what was kept there; where that cannot be, nothing happens."""
    path = _path(kind, key)
    partial = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({**facts, "key": key}, sort_keys=True))
        os.replace(partial, path)
    except OSError as error:
        logger.info("%s is not kept: %s", path, error)
        with suppress(OSError):
            partial.unlink()


def change(kind: str, key: str, how: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Keep what `how` makes of the facts under a key; other threads and processes change them before or after."""
    with locked(_path(kind, key)):
        keep(kind, key, how(recall(kind, key)))


def _path(kind: str, key: str) -> Path:
    return places.state() / kind / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
