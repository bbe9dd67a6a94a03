"""What goes wrong, told once: a line on stderr, every problem, a hint, and the exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import sys
from typing import Any

from dsa.cli import Termination, logs
from dsa.cli.run import Run
from dsa.errors import AccessError, DsaError, Interrupted, NotFoundError, Terminated, UsageError

SHOWN_ON_A_TERMINAL = 50
_GOES_ON = {
    "push": "run it again: what was sent is not sent again",
    "checkout": "run it again: it goes on where it stopped",
    "verify": "run it again: nothing was changed",
}


def tell(error: BaseException, run: Run, *, verb: str | None = None) -> int:
    """Print an error as its reader asked for, and return the exit code of the process.

    When whoever read stdout has seen enough (`dsa ls … | head`), dsa ends without a word, as
    programs do: by the signal SIGPIPE.
    """
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return _end_by_sigpipe()
    if run.debug:
        import traceback

        traceback.print_exception(error)
    known = translate(error, verb)
    logs.note(error, str(known))
    with contextlib.suppress(OSError):  # stdout itself may be what failed
        _print(known, error, run)
    return known.exit_code


def translate(error: BaseException, verb: str | None = None) -> DsaError:
    """Return the designed error that stands for any exception."""
    if isinstance(error, DsaError):
        return error
    if hasattr(error, "format_message"):  # typer's errors: their base is not always public
        return _of_typer(error)
    if isinstance(error, KeyboardInterrupt):
        kind = Terminated if isinstance(error, Termination) else Interrupted
        return kind(str(error) or "interrupted", hint=_GOES_ON.get(verb or ""))
    if isinstance(error, MemoryError):
        return DsaError("out of memory")
    if isinstance(error, OSError):
        return _from_the_system(error)
    return DsaError(
        f"unexpected {type(error).__name__}: {error}",
        hint="run it again with --debug, and report what it shows",
    )


def _of_typer(error: Any) -> DsaError:
    """Translate what typer says of a command line; nearly all of it is about usage."""
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` tells more" if context is not None else None
    kind = UsageError if error.exit_code == UsageError.exit_code else DsaError
    return kind(error.format_message().rstrip("."), hint=hint)


def _from_the_system(error: OSError) -> DsaError:
    """Translate what the operating system says, naming the file where it does."""
    file = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
    reason = error.strerror or str(error) or type(error).__name__
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return DsaError(f"the disk is full{file}", hint="make room, and run it again")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return AccessError(f"{reason}{file}")
        case errno.ENOENT:
            return NotFoundError(f"{reason}{file}")
        case errno.EMFILE | errno.ENFILE:
            return DsaError(f"{reason}{file}", hint="raise the limit of open files (`ulimit -n`)")
    if isinstance(error, ConnectionError | TimeoutError):
        return AccessError(f"{reason}{file}")
    return DsaError(f"{reason}{file}")


def _print(known: DsaError, error: BaseException, run: Run) -> None:
    from dsa.cli import console
    from dsa.cli.console import harmless

    lines = [f"dsa: {harmless(str(known))}"]
    context = getattr(error, "ctx", None)
    if context is not None:
        lines.insert(0, context.get_usage())
    shown = known.problems
    if sys.stderr.isatty() and not run.debug:
        shown = shown[:SHOWN_ON_A_TERMINAL]
    lines += [f"  {harmless(problem)}" for problem in shown]
    if len(shown) < len(known.problems):
        lines.append(f"  … and {len(known.problems) - len(shown):,} more (--debug shows all)")
    if known.hint:
        lines.append(f"hint: {harmless(known.hint)}")
    sys.stderr.write("\n".join(lines) + "\n")
    if run.json:
        console.out(console.as_json(_as_json(known), indent=2))
        sys.stdout.flush()


def _as_json(known: DsaError) -> dict[str, object]:
    return {
        "error": str(known),
        "kind": type(known).__name__,
        "exit_code": known.exit_code,
        "hint": known.hint,
        "problems": list(known.problems),
    }


def _reader_is_gone() -> bool:
    """Whether it is our own output that nobody reads, and not some connection that broke."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        poll.register(stream, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _end_by_sigpipe() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    return 1  # not reached
