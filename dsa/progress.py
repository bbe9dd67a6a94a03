"""How long work tells how far it is: a protocol, and the silence that is its default."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by the verbs how far they are; the command line draws it, a library caller may.

    Calls are cheap and come from one thread. Stages follow one another and never nest.
    """

    def start(self, stage: str, *, files: int | None = None, size_bytes: int | None = None) -> None:
        """Begin a stage, such as "reading"; totals are None where they are not known yet."""

    def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """So much more of the stage is done."""


class NoProgress:
    """Tell nobody."""

    def start(self, stage: str, *, files: int | None = None, size_bytes: int | None = None) -> None:
        """Begin nothing."""

    def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """Count nothing."""


SILENT: Progress = NoProgress()
