"""Where dsa keeps what is not in a store: the platform's own folders for data and caches."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs

_NAME = "dsa"


def default_store() -> Path:
    """Return the folder of the store that is used when none is named."""
    return platformdirs.user_data_path(_NAME, appauthor=False) / "store"


def cache() -> Path:
    """Return the folder for what can always be made again."""
    return platformdirs.user_cache_path(_NAME, appauthor=False)


def state() -> Path:
    """Return the folder for what was found out, and should outlast the cache."""
    return platformdirs.user_state_path(_NAME, appauthor=False)


def statcache(folder: Path) -> Path:
    """Return where the stat cache of a folder lies that was never checked out."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    return cache() / "stat" / f"{name}.arrow"
