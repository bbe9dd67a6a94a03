"""Every error that a user can meet, each with the exit code that a shell sees.

Split by what a caller does next; facts are attributes. `docs/cli.md` prints the table of exit
codes from here, and a test holds both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class DsaError(Exception):
    """A failure or a refused input: the base of all that dsa raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()
    ) -> None:
        """Say in one line what happened to which thing; `hint` says what to do next.

        `problems` names every single thing that is wrong, a line each, when there are several.
        """
        super().__init__(message)
        self.hint = hint
        self.problems = tuple(problems)


class UsageError(DsaError):
    """A command or a name that cannot be meant: nothing was looked at yet."""

    exit_code = 2


class NotFoundError(DsaError):
    """A store, dataset, revision, path or selector that is not there."""

    exit_code = 3


class ConflictError(DsaError):
    """Something else is already there, and it is not dsa's to overwrite."""

    exit_code = 4


class CollisionError(ConflictError):
    """Two contents with one SHA-1 and different SHA-256: neither may stand for the other."""


class DamageError(DsaError):
    """Bytes that are not what their id, their index or the format says."""

    exit_code = 5


class MissingObjectError(DamageError):
    """An object that a revision names is nowhere in the store."""


class TakenError(DamageError):
    """The name that a file's content gives it is taken by a file of another size."""


class AccessError(DsaError):
    """No permission, no connection, or no answer.

    `is_outage`: nobody answered, or a server that fails, which says nothing about what is there.
    `is_refusal`: somebody answered, and does not permit it. Neither: it is for a person to set
    right, such as a login or the key of a host.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        problems: Sequence[str] = (),
        is_outage: bool = False,
        is_refusal: bool = False,
    ) -> None:
        """Say what happened, and which of the two it is, if it is one."""
        super().__init__(message, hint=hint, problems=problems)
        self.is_outage = is_outage
        self.is_refusal = is_refusal


class NoRoomError(DsaError):
    """A disk, or a quota on it, is full."""


class Interrupted(DsaError):
    """The person pressed ctrl-C; what was sent so far is found again by the next run."""

    exit_code = 130


class Terminated(Interrupted):
    """The system, or a batch system, told the process to end; otherwise as ctrl-C."""

    exit_code = 143


#: What the shell sees, and what it means: the one table, printed in docs/cli.md.
EXIT_CODES: dict[int, str] = {
    0: "ok",
    1: "failure, or refused input",
    2: "usage: an unknown command or option, or a name that is not allowed",
    3: "not found",
    4: "conflict: something else is already there",
    5: "damage: bytes that are not what they should be",
    6: "no access or no connection",
    130: "interrupted",
    143: "terminated, by SIGTERM",
}
