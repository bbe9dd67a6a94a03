"""Progress on a terminal: nothing for a second, then a line that rich draws and takes away again."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_SECONDS = 1.0
_REDRAW_SECONDS = 0.1


class Drawing:
    """A `Progress` (see dsa/progress.py) on stderr, while its context lasts.

    A timer brings the line up, for a stage may wait on a disk or a network and say nothing; all
    else runs in the caller's thread. `advance` costs two additions until there is a line.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._timer = threading.Timer(patience_seconds, self._appear)
        self._timer.daemon = True
        self._lock = (
            threading.Lock()
        )  # over the line: the timer's thread makes it, the caller's uses it
        self._line: tuple[Progress, TaskID] | None = None
        self._is_over = False
        self._redraw_at = 0.0
        self._stage = ""
        self._files = self._size_bytes = 0
        self._files_total: int | None = None
        self._size_total: int | None = None

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._is_over = True
        self._timer.join()  # it may be about to draw
        with self._lock:
            if self._line is not None:
                self._line[0].stop()

    def start(self, stage: str, *, files: int | None = None, size_bytes: int | None = None) -> None:
        """Begin a stage, with a rate of its own."""
        self._stage, self._files_total, self._size_total = stage, files, size_bytes
        self._files = self._size_bytes = 0
        with self._lock:
            if self._line is not None:
                progress, task = self._line
                progress.remove_task(task)
                self._line = progress, self._task(progress)

    def advance(self, *, files: int = 0, size_bytes: int = 0) -> None:
        """Count, and redraw now and then."""
        self._files += files
        self._size_bytes += size_bytes
        if self._line is not None and (now := time.monotonic()) >= self._redraw_at:
            self._redraw_at = now + _REDRAW_SECONDS
            self._draw()

    def _appear(self) -> None:
        """Bring up the line (in the timer's thread, which also bears the import of rich)."""
        from dsa.cli.bar import make_bar

        with self._lock:
            if not self._is_over:
                progress = make_bar()
                self._line = progress, self._task(progress)
                progress.start()

    def _draw(self) -> None:
        with self._lock:
            if self._line is not None:
                progress, task = self._line
                progress.update(
                    task, completed=self._completed, files=self._files, size_bytes=self._size_bytes
                )

    def _task(self, progress: Progress) -> TaskID:
        """Put the stage under way into the line; it counts bytes, or files where only their number is known."""
        by_files = self._size_total is None and self._files_total is not None
        return progress.add_task(
            self._stage or "working",
            total=self._files_total if by_files else self._size_total,
            completed=self._completed,
            by_files=by_files,
            files=self._files,
            files_total=self._files_total,
            size_bytes=self._size_bytes,
        )

    @property
    def _completed(self) -> int:
        by_files = self._size_total is None and self._files_total is not None
        return self._files if by_files else self._size_bytes
