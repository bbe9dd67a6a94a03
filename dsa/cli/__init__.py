"""The command line: the only place that prints, or that reads the environment.

`main` is the console script `dsa`. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


class Termination(KeyboardInterrupt):
    """SIGTERM, as batch systems send it: all that is cleaned after a ctrl-C is cleaned."""


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough: what is being cleaned now is finished
    raise Termination("terminated")


def main() -> NoReturn:
    """Run the command line that this process was started with, and end the process.

    It ends at once, with all output written, instead of taking the interpreter apart: that costs
    as much as some whole commands, and Arrow's threads, which may still be giving back memory of
    Python's, can turn it into an abort.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    for number in (0, 1, 2):  # a daemon's may be closed: then nobody reads what is written
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # to the end
    arguments = sys.argv[1:]
    if arguments == ["--version"]:  # answered before typer is imported
        from dsa._version import __version__

        print(f"dsa {__version__}")
        sys.exit()
    # Arrow's own pools keep what they were given back: a third more memory, and no faster.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        from dsa.cli.app import run

        code = run(arguments)
    except KeyboardInterrupt as error:  # before or after a command: while it is imported, for one
        sys.stderr.write(f"dsa: {str(error) or 'interrupted'}\n")
        code = 143 if isinstance(error, Termination) else 130
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)
