"""Every test runs as a new user: nothing of the real home, settings or git configuration is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("dsa", deadline=None)  # machines under load are slow, not wrong
settings.load_profile("dsa")

# What would turn on colours, or fix a width, when a test reads what a terminal would show.
TERMINAL_VARIABLES = ("COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "LINES", "NO_COLOR", "PY_COLORS")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty home folder that this test has."""
    home = tmp_path_factory.mktemp("home")
    for name in os.environ:
        if (
            name.startswith(("AWS_", "DSA_", "FSSPEC_", "GIT_", "XDG_"))
            or name in TERMINAL_VARIABLES
        ):
            monkeypatch.delenv(name)
    for name, folder in {
        "XDG_CACHE_HOME": ".cache",
        "XDG_CONFIG_HOME": ".config",
        "XDG_DATA_HOME": ".local/share",
        "XDG_STATE_HOME": ".local/state",
    }.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home
