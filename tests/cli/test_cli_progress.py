from __future__ import annotations

import io
import sys
import time

import pytest

from dsa.cli.progress import Drawing
from dsa.cli.run import Run
from dsa.progress import SILENT


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal (in the test itself: pytest sets its own between fixtures and test)."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def test_what_is_done_soon_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    with Drawing(patience_seconds=60) as progress:
        progress.start("reading", files=2, size_bytes=100)
        progress.advance(files=1, size_bytes=50)
    assert terminal.getvalue() == ""


def test_what_takes_longer_shows_stage_bytes_files_and_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = use_terminal(monkeypatch)
    with Drawing(patience_seconds=0) as progress:
        progress.start("reading", files=30, size_bytes=30_000)
        for _ in range(30):
            time.sleep(0.03)
            progress.advance(files=1, size_bytes=1000)
        progress.start("checking", files=10)
        progress.advance(files=5)
        time.sleep(0.3)
    shown = terminal.getvalue()
    assert "reading" in shown
    assert "of 30 kB" in shown
    assert "of 30 files" in shown
    assert "/s" in shown
    assert "left" in shown
    assert "checking" in shown


@pytest.mark.parametrize("run", [Run({}, quiet=True), Run({"TERM": "dumb"})])
def test_nobody_draws_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    use_terminal(monkeypatch)
    with run.progress() as progress:
        assert progress is SILENT


def test_nobody_draws_into_a_file() -> None:
    with Run({}).progress() as progress:
        assert progress is SILENT
