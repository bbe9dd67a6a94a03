"""Refs: the one thing that publishes. docs/format.md, "Refs"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dsa.cas import layout
from dsa.cas.ids import ManifestId, ObjectId
from dsa.cas.names import are_names

_WITHDRAWN = "withdrawn "
REF_BYTES = 40 + 1  # of one that is not withdrawn
MAX_REF_BYTES = len(_WITHDRAWN) + REF_BYTES


def named_by(key: str) -> tuple[str, str] | None:
    """Return the dataset and the revision that the key of a ref names; None for every other key."""
    dataset, at, revision = key.removeprefix(layout.REFS).rpartition("/@")
    return (dataset, revision) if at and are_names(dataset, revision) else None


@dataclass(frozen=True, slots=True)
class Ref:
    """What the file of a ref says; a withdrawn one keeps its name from ever being used again."""

    manifest: ManifestId
    is_withdrawn: bool = False

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        return f"{_WITHDRAWN if self.is_withdrawn else ''}{self.manifest}\n".encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the file; a ValueError for every other shape."""
        text = data.decode("ascii", errors="replace")
        withdrawn = text.startswith(_WITHDRAWN)
        digits = text.removeprefix(_WITHDRAWN).removesuffix("\n")
        if not text.endswith("\n"):
            raise ValueError("a ref ends with a newline")
        return cls(ManifestId(ObjectId.parse(digits)), withdrawn)
