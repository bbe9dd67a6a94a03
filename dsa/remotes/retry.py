"""Trying again what passes by itself: a busy server, a broken connection; and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from dsa.remotes.streams import one_line

if TYPE_CHECKING:
    import tenacity

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

#: Six tries in all, over some four seconds, eight at most: each wait is random up to a bound
#: that doubles. A server that is away for longer is for the person, or for another remote.
TRIES = 6
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 16.0

#: Of a server that takes connections and says nothing each try takes half a minute.
SILENT_TRIES = 2


def is_timeout(error: BaseException) -> bool:
    """Whether nothing came for as long as one waits."""
    return isinstance(error, TimeoutError)


def retried(
    call: Callable[[], Result],
    passes: Callable[[BaseException], bool],
    *,
    is_silence: Callable[[BaseException], bool] = is_timeout,
    tell_silence: Callable[[], None] = lambda: None,
) -> Result:
    """Return what `call` returns; where `passes(error)`, it is tried again after a while.

    Where `is_silence(error)`, only `SILENT_TRIES` times in all; `tell_silence()` is called before
    it is tried again. Raises: the last error.
    """
    try:
        return call()
    except Exception as error:
        if not passes(error):
            # Past tenacity, whose record of the error and the error's frames hold each other, and
            # with them connections that should be closed now.
            raise
        failed = [error]

    import tenacity

    silences = 0

    def is_worth_it(error: BaseException) -> bool:
        nonlocal silences
        if not passes(error):
            return False
        silences += is_silence(error)
        return silences < SILENT_TRIES

    def told(state: tenacity.RetryCallState) -> None:
        _told(state)
        if state.outcome and is_silence(state.outcome.exception() or Exception()):
            tell_silence()

    def again() -> Result:
        if failed:
            raise failed.pop()
        return call()

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_worth_it),
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_random_exponential(FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS),
        before_sleep=told,
        reraise=True,
    )(again)


def _told(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.info(
        "try %d failed (%s: %s); again in %.1f s",
        state.attempt_number,
        type(error).__name__,
        one_line(error),
        state.next_action.sleep if state.next_action else 0.0,
    )
