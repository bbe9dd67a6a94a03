"""The command line: the only place that prints, or that reads the environment.

`main` is the console script `dsa`. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line that this process was started with, and end the process.

    It ends at once, with all output written, instead of taking the interpreter apart: that costs
    as much as some whole commands, and Arrow's threads, which may still be giving back memory of
    Python's, can turn it into an abort.
    """
    arguments = sys.argv[1:]
    if arguments == ["--version"]:  # answered before typer is imported
        from dsa._version import __version__

        print(f"dsa {__version__}")
        sys.exit()
    # Arrow's own pools keep what they were given back: a third more memory, and no faster.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from dsa.cli.app import run

    code = run(arguments)
    sys.stderr.flush()
    os._exit(code)
