"""The commands in a page of the docs: its blocks, run as a reader would run them.

A block in `sh` or `python` is run, one after another in one shell; a block in `text` right after
it is what it prints. A block without one prints nothing. `<!-- not run -->` before a block says
that it is only shown.

`python tests/pages.py PAGE...` writes into pages what their blocks print now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

ROOT = Path(__file__).resolve().parents[1]
HOME = "/home/ada"  # as the pages show it

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_RUN = "<!-- not run -->\n"

#: What differs from run to run and says nothing: what is left of it is compared.
_VARIES = (
    (re.compile(r" in \d+\.\d s$", re.MULTILINE), ""),
    (re.compile(r" \([\d,]+ cloned(?:, [\d,]+ copied)?\)$", re.MULTILINE), ""),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+Z| UTC)"), "<time>"),
    (re.compile(r"(?<=manifest  )[0-9a-f]{40}|(?<=\()[0-9a-f]{40}(?=\)$)", re.MULTILINE), "<id>"),
    (re.compile(r"there it is [0-9a-f]{40}, here [0-9a-f]{40}$", re.MULTILINE), "<ids>"),
    (re.compile(r"(?:\d+ bytes|[\d.]+ [kM]B) read"), "<size> read"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Something to run, and what it prints.

    `line` is where it stands in the page, `output` the place of what it prints (None: nothing).
    """

    language: str
    text: str
    prints: str
    line: int
    output: tuple[int, int] | None = None


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page that are run, in order."""
    found = list(_FENCE.finditer(page))
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block[1] not in ("sh", "python") or page[: block.start()].endswith(_NOT_RUN):
            continue
        line = page.count("\n", 0, block.start()) + 1
        if after and after[1] == "text" and not page[block.end() : after.start()].strip():
            yield Block(block[1], block[2], after[2], line, after.span(2))
        else:
            yield Block(block[1], block[2], "", line)


def run(found: list[Block], home: Path) -> list[str]:
    """Run blocks in one shell, in the folder `home`, as Ada; return what each of them printed."""
    mark = f"<<{uuid4().hex}>>"
    script = "\n".join(f"printf '%s' '{mark}'\n{_command(block)}" for block in found)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home,
        env=_environ(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return [text.replace(str(home), HOME) for text in done.stdout.split(mark)[1:]]


def what_matters(text: str) -> str:
    """Return an output without what varies from run to run."""
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text.rstrip()


def check(page: Path, home: Path) -> None:
    """Run a page's blocks and hold every block's output against what the page says."""
    found = list(blocks(page.read_text()))
    assert found, f"{page.name} has nothing to run"
    for block, printed in zip(found, run(found, home), strict=True):
        place = f"{page.name}, line {block.line}"
        assert what_matters(printed) == what_matters(block.prints), f"{place}: it prints\n{printed}"


def write(page: Path, home: Path) -> None:
    """Run a page's blocks and put what they print into the page, where it matters."""
    text = page.read_text()
    found = list(blocks(text))
    for block, printed in reversed(list(zip(found, run(found, home), strict=True))):
        if block.output and what_matters(printed) != what_matters(block.prints):
            start, end = block.output
            text = f"{text[:start]}{printed.rstrip()}\n{text[end:]}"
    page.write_text(text)


def _command(block: Block) -> str:
    if block.language == "sh":
        return block.text
    return f"python - <<'END OF PYTHON'\n{block.text}END OF PYTHON"


def _environ(home: Path) -> dict[str, str]:
    """Return Ada's environment: git knows her, and `dsa` and `python` are the ones under test."""
    programs = home / ".programs"
    programs.mkdir()
    for name, options in {"dsa": "-P -m dsa", "python": "-P"}.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        program.chmod(0o755)
    (home / ".gitconfig").write_text("[user]\nname = Ada Lovelace\nemail = ada@example.org\n")
    others = ("DSA_", "GIT_", "XDG_")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(others)},
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(name), Path(folder).resolve())
