"""The line that shows progress, drawn by rich: imported only once there is something to draw."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from dsa.cas.names import count
from dsa.cli import console


def make_bar() -> Progress:
    """Return the line, not yet shown; it vanishes when it is stopped, and leaves stdout alone."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=16),
        Counts(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class Counts(ProgressColumn):
    """Bytes, files, rate and time left, each where it is known."""

    def render(self, task: Task) -> Text:
        """Write what is known of a stage."""
        return Text(
            "  ".join(filter(None, (_bytes(task), _files(task), _rate(task), _left(task)))),
            no_wrap=True,
        )


def _bytes(task: Task) -> str:
    done = int(task.fields["size_bytes"])
    if task.total is None or task.fields["by_files"]:
        return console.size(done) if done else ""
    return f"{console.size(done)} of {console.size(int(task.total))}"


def _files(task: Task) -> str:
    done, total = task.fields["files"], task.fields["files_total"]
    if total is None:
        return count(done, "file") if done else ""
    return f"{done:,} of {count(total, 'file')}"


def _rate(task: Task) -> str:
    if not task.speed:
        return ""
    return (
        f"{task.speed:,.0f} files/s"
        if task.fields["by_files"]
        else f"{console.size(int(task.speed))}/s"
    )


def _left(task: Task) -> str:
    if task.time_remaining is None:
        return ""
    minutes, seconds = divmod(int(task.time_remaining), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
