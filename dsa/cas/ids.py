"""Ids and digests as types: parse text at the edge, carry the value inside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest, sha1, sha256
from typing import BinaryIO, NewType, Self

ID_BYTES = 20
SHA256_BYTES = 32

_ID_TEXT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_SHA256_TEXT = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class ObjectId:
    """The SHA-1 of an object's bytes, written as 40 lowercase hex digits."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != ID_BYTES:
            raise ValueError(f"an object id has {ID_BYTES} bytes, this one {len(self.raw)}")

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the id of these bytes."""
        return cls(sha1(data, usedforsecurity=False).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 40 lowercase hex digits; anything else is a ValueError."""
        if not _ID_TEXT.fullmatch(text):
            raise ValueError(f"not an object id: {text!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.raw.hex()


def sha1_of(file: BinaryIO) -> bytes:
    """Return the raw SHA-1 of an open file, from where it stands to its end."""
    digest = file_digest(file, partial(sha1, usedforsecurity=False))  # type: ignore[arg-type]  # it has readinto
    return digest.digest()


def sha256_of(file: BinaryIO) -> bytes:
    """Return the raw SHA-256 of an open file, from where it stands to its end."""
    return file_digest(file, sha256).digest()  # type: ignore[arg-type]  # it has readinto


BlobId = NewType("BlobId", ObjectId)
TreeId = NewType("TreeId", ObjectId)
ManifestId = NewType("ManifestId", ObjectId)


@dataclass(frozen=True, slots=True, order=True)
class Sha256:
    """The SHA-256 of some bytes, or of a folder by the rule of docs/format.md, "Objects"."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != SHA256_BYTES:
            raise ValueError(f"a SHA-256 has {SHA256_BYTES} bytes, this one {len(self.raw)}")

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the SHA-256 of these bytes."""
        return cls(sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 64 lowercase hex digits; anything else is a ValueError."""
        if not _SHA256_TEXT.fullmatch(text):
            raise ValueError(f"not a SHA-256: {text!r}")
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.raw.hex()
