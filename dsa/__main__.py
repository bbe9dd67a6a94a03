"""`python -m dsa` is `dsa`."""

from __future__ import annotations

from dsa.cli import main

main()
