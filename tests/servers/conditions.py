"""Stores whose servers do not do what `create` asks for: some ignore the condition, some refuse it."""

from __future__ import annotations

from dsa.cas.backend import Backend
from dsa.errors import AccessError
from dsa.remotes.local import LocalBackend
from dsa.remotes.memory import MemoryBackend


class _Ignoring:
    """Overwrites what is there, and says that nothing was."""

    @property
    def claims(self) -> bool | None:
        """Nobody knows before it was tried."""
        return None

    def create(self: Backend, key: str, data: bytes) -> bool:
        self.write(key, data)
        return True


class _Refusing:
    """Answers 501 to a write under a condition."""

    @property
    def claims(self) -> bool | None:
        """Nobody knows before it was tried."""
        return None

    def create(self: Backend, key: str, data: bytes) -> bool:
        raise AccessError(
            f"{self.url}/{key}: 501 NotImplemented: a header you provided implies functionality "
            "that is not implemented"
        )


class IgnoringMemory(_Ignoring, MemoryBackend):
    """A store in memory that ignores conditions."""


class RefusingMemory(_Refusing, MemoryBackend):
    """A store in memory that refuses conditions."""


class IgnoringFolder(_Ignoring, LocalBackend):
    """A store on disk that ignores conditions; other processes see it."""


class RefusingFolder(_Refusing, LocalBackend):
    """A store on disk that refuses conditions; other processes see it."""
