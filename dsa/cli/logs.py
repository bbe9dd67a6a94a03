"""Logging under the name `dsa`: warnings as remarks, more where the settings ask for it."""

from __future__ import annotations

import logging
import time
from typing import Any

from dsa.cli.run import Run
from dsa.errors import UsageError

_VARIABLE = "DSA_LOGLEVEL"


class _Lines(logging.Formatter):
    """One line a record, in UTC; names in it cannot forge a line or drive a terminal."""

    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Write the line, its message escaped."""
        from dsa.cli.console import harmless

        record.message = harmless(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Write the traceback, its lines escaped."""
        from dsa.cli.console import harmless

        return "\n".join(map(harmless, super().formatException(ei).split("\n")))


class _Remark(logging.Formatter):
    """A warning as the command line tells one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the line, escaped."""
        from dsa.cli.console import harmless

        return f"dsa: warning: {harmless(record.getMessage())}"


def start(run: Run, *, must: bool = True) -> None:
    """Send records to the log file, or with a level alone to stderr; without both, only warnings.

    Without `must`, settings that cannot be are as good as none.
    """
    from dsa.config.settings import value

    try:
        level, file = (value(run.layers, key) for key in ("log.level", "log.file"))
    except UsageError:
        if must:
            raise
        level = file = None
    # A level in a file says how much; only a variable, set for this once, asks for it here.
    here = level is not None and file is None and bool(run.environ.get(_VARIABLE))
    run.logs_here = here
    logger = logging.getLogger("dsa")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    handler: logging.Handler = logging.NullHandler()
    if file is not None:
        handler = logging.FileHandler(file, encoding="utf-8", errors="backslashreplace")
    elif here:
        handler = logging.StreamHandler()
    elif not run.quiet:
        handler = logging.StreamHandler()
        handler.addFilter(
            lambda record: record.levelno == logging.WARNING
        )  # errors are told anyway
    handler.setFormatter(_Lines() if file or here else _Remark())
    logger.addHandler(handler)
    logger.setLevel((level or "info").upper())
    logger.propagate = False


def note(error: BaseException, said: str) -> None:
    """Log what ended the command, where a log was asked for."""
    logger = logging.getLogger("dsa")
    if logger.handlers:  # else Python's last resort would print it
        logger.error("%s", said)
        logger.debug("this is where it comes from", exc_info=error)
