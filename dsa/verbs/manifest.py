"""The `djarchive-manifest.csv` of a folder: what a push of it would take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dsa.progress import SILENT, Progress
from dsa.verbs.survey import files, survey
from dsa.worktree import djarchive


def manifest(
    folder: Path,
    *,
    digest: Literal["sha1", "sha256"] = "sha256",
    skip_hidden: bool = False,
    exclude: Sequence[str] = (),
    progress: Progress = SILENT,
) -> bytes:
    """Return the list's bytes, sorted by path; with `skip_hidden` as the old program chose files."""
    surveyed = survey(folder, exclude=exclude, progress=progress)
    surveyed.read_unknown(progress)
    surveyed.remember()
    entries = [
        djarchive.Entry(found.path, found.size, found.sha1 if digest == "sha1" else found.sha256)
        for found in files(surveyed)
    ]
    if skip_hidden:
        entries = [entry for entry in entries if not djarchive.is_hidden(entry.path)]
    return djarchive.render(entries)
