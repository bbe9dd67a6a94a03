"""The examples of docs/format.md: real bytes of the good store in tests/vectors/store.

An example is a fenced block behind a comment that says what it shows:

    <!-- text: KEY -->            a file as it is
    <!-- hex: KEY FROM TO -->     bytes of a file
    <!-- object: ID -->           the bytes of an object, wherever it lies
    <!-- lines: ID REVISION FOLDER -->  the lines whose SHA-256 is that of a folder
    <!-- rows: KEY -->            a Parquet file's rows, a JSON object a line
    <!-- facts: KEY -->           a Parquet file's key-value metadata, by key and length
    <!-- console -->              commands behind `$ `, run with bash in the store, and what they print

Run as a program it puts the present bytes into the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "format.md"
STORE = ROOT / "tests" / "vectors" / "store"

EXAMPLE = re.compile(r"<!-- (\w+)(?:: ([^\n]*?))? -->\n```(\w*)\n(.*?)```\n", re.DOTALL)


def examples(page: str) -> list[tuple[str, str, str]]:
    """Return (kind, argument, content) of every example."""
    return [(kind, argument, content) for kind, argument, _, content in EXAMPLE.findall(page)]


def render(kind: str, argument: str, content: str) -> str:
    """Return what an example should hold."""
    if kind == "console":
        return _console(content)
    shown: dict[str, Callable[..., str]] = {
        "text": lambda key: (STORE / key).read_text(encoding="utf-8"),
        "hex": lambda key, start, stop: hexdump((STORE / key).read_bytes(), int(start), int(stop)),
        "object": lambda oid: hexdump(find(oid)),
        "json": lambda oid: find(oid).decode(),
        "lines": _lines,
        "rows": lambda key: "".join(_row(row) for row in pq.read_table(STORE / key).to_pylist()),
        "facts": _facts,
    }
    return shown[kind](*argument.split())


def find(oid: str) -> bytes:
    """Return an object of the store, loose or packed."""
    loose = STORE / "objects" / oid[:2] / oid[2:]
    if loose.exists():
        return loose.read_bytes()
    for path in (STORE / "packs").glob("*.zip"):
        with zipfile.ZipFile(path) as pack:
            if oid in pack.namelist():
                return pack.read(oid)
    raise KeyError(oid)


def hexdump(data: bytes, start: int = 0, stop: int | None = None) -> str:
    """Show bytes as `xxd` does."""
    lines = []
    end = len(data) if stop is None else stop
    for at in range(start, end, 16):
        row = data[at : min(at + 16, end)]
        pairs = " ".join(row[n : n + 2].hex() for n in range(0, len(row), 2))
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}: {pairs:<39}  {text}\n")
    return "".join(lines)


def _lines(revision: str, folder: str = "") -> str:
    """Show the text that a folder's SHA-256 is taken of, NUL as `\\0` and a line for each entry."""
    index = next(
        path
        for path in (STORE / "index").iterdir()
        if path.stem == (STORE / "refs" / revision.replace("@", "/@")).read_text().strip()
    )
    rows = [row for row in pq.read_table(index).to_pylist() if row["folder"] == folder]
    return "".join(f"{r['mode']:o} {r['size']} {r['sha256'].hex()} {r['name']}\\0\n" for r in rows)


def _row(row: dict[str, Any]) -> str:
    shown = {
        key: value.hex()[:8] + "…" if isinstance(value, bytes) else value
        for key, value in row.items()
    }
    if "mode" in shown:
        shown["mode"] = f"0o{shown['mode']:o}"
    return json.dumps(shown, ensure_ascii=False) + "\n"


def _facts(key: str) -> str:
    facts = pq.read_metadata(STORE / key).metadata
    return "".join(
        f"{name.decode()} = {value.decode() if len(value) < 100 else f'({len(value)} bytes)'}\n"
        for name, value in sorted(facts.items())
    )


def _console(content: str) -> str:
    commands = re.findall(r"^\$ (.*(?:\n> .*)*)", content, re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        shutil.copytree(STORE, store)
        shutil.copy(ROOT / "docs" / "reader.py", folder)
        script = "".join(
            f"cat <<'EOF-OF-COMMAND'\n$ {command}\nEOF-OF-COMMAND\n"
            + "\n".join(line.removeprefix("> ") for line in command.split("\n"))
            + "\n"
            for command in commands
        )
        done = subprocess.run(
            ["bash", "-c", f"exec 2>&1; {script}"],
            cwd=store,
            capture_output=True,
            check=True,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": folder,
                "LC_ALL": "C.UTF-8",
            },
        )
    return done.stdout.decode()


def renewed(page: str) -> str:
    """Return the page with every example as it should be."""
    return EXAMPLE.sub(
        lambda found: "<!-- {}{} -->\n```{}\n{}```\n".format(
            found[1],
            f": {found[2]}" if found[2] else "",
            found[3],
            render(found[1], found[2] or "", found[4]),
        ),
        page,
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
