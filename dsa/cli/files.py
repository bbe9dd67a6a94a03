"""Bytes that a command hands out: to stdout, or whole into a file that the user names."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from dsa.cli.run import Run


def write(
    run: Run, data: bytes, file: str | None, *, rows: Callable[[], Iterable[dict[str, object]]]
) -> None:
    """Put `data` into `file`, or on stdout if that is None or "-"; with `--json` stdout gets `rows`."""
    if file not in (None, "-"):
        write_atomic(Path(file), data)
        run.say(f"wrote {file}")
    elif run.json:
        run.rows(rows())
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)


def write_atomic(target: Path, data: bytes) -> None:
    """Make `target` hold `data`, or leave it as it was."""
    partial = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with partial.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    finally:
        with suppress(OSError):
            partial.unlink()


def csv_rows(data: bytes, digest: str) -> Iterator[dict[str, object]]:
    """Read the lines of a djarchive manifest."""
    for size, value, path in csv.reader(io.StringIO(data.decode(), newline="")):
        yield {"path": path, "size": int(size), digest: value}
