"""What tests of Backends put into them, and how they look at what is there."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from dsa.cas.backend import Backend, FileInfo

KEY = "packs/0123.zip"
WRITERS = 8

#: The staging folders of the test that runs; `closed` by a fixture of the module.
stagings = ExitStack()


def staged(backend: Backend, data: bytes) -> Path:
    """Return a finished file in a staging folder that stays until `stagings` is closed."""
    path = stagings.enter_context(backend.staging()) / uuid4().hex
    path.write_bytes(data)
    return path


def keys(infos: Iterable[FileInfo]) -> list[str]:
    return sorted(info.key for info in infos)
