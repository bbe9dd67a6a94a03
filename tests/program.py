"""The program as a user has it: a real process for every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dsa

Done = subprocess.CompletedProcess[str]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "dsa", *map(str, arguments)]


class Program:
    """`dsa`, run in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {**os.environ, "PYTHONPATH": str(Path(dsa.__file__).parents[1])}

    def __call__(self, *arguments: str | Path, code: int = 0, **environ: str) -> Done:
        """Run it; any other exit code than `code`, or a traceback, fails the test."""
        done = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, (done.args, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)
