"""On what the figures were measured."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def describe(folder: Path) -> dict[str, str]:
    """Return what a reader must know of the machine, and of the file system that a folder is on."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_model()}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file system": _file_system(folder.resolve()),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def warning(folder: Path) -> str | None:
    """Return why figures from this file system would drift."""
    if "discard" in _file_system(folder.resolve()).replace("nodiscard", ""):
        return (
            "this file system is mounted with `discard`: after many files were deleted it is slow for "
            "minutes, and figures drift; bench/README.md tells how to use another one"
        )
    return None


def _model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _file_system(folder: Path) -> str:
    """Return type, device and options of the mount that a folder is on."""
    best, found = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4].encode().decode("unicode_escape")
        if folder.is_relative_to(point) and len(point) >= len(best):
            kind, device, options = rest.split()
            best, found = point, f"{kind} on {device} ({fields.split()[5]},{options})"
    return found
