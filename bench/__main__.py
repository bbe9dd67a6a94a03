"""`python -m bench`: measure, and print a table. bench/README.md tells what to know before."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import machine, peers, plot, table
from bench.cases import LIMIT_SECONDS, Results, measure
from bench.contenders import Contender, Copy, Dsa, Python, remove
from bench.data import SETS, BenchError, Set

CONTENDERS: list[type[Contender]] = [Dsa, Python, *peers.ALL]

_KEPT = "dsa-bench"
_TAG = "CACHEDIR.TAG"  # backup programs pass by a folder that has one: bford.info/cachedir
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# made by `python -m bench --keep`\n"
_COPIES = 5  # the source, a store, a worktree, a mirror or a copy, and what blocks waste
_COPIES_OF_DVC = 7  # it has the data in its repository, a cache for each of two, and the store


def main() -> int:
    """Measure what was asked for; 1 if an operation failed, 2 if nothing could be measured."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # then, too, everything is removed
    try:
        with _folder(options.where, keep=options.keep) as folder:
            return _measure(options, folder)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _measure(options: argparse.Namespace, folder: Path) -> int:
    shapes = [SETS[name].scaled(options.scale) for name in options.sets]
    described = machine.describe(folder)
    caution = machine.warning(folder)
    if caution:
        described["caution"] = caution
        _say(caution)
    kinds = [
        kind for kind in CONTENDERS if _is_wanted(kind, options) and kind.version() is not None
    ]
    _check_room(folder, shapes, _COPIES_OF_DVC if peers.Dvc in kinds else _COPIES)
    everyone: list[type[Contender]] = [Copy, *kinds]
    versions = {kind.name: kind.version() or "" for kind in everyone}
    results: list[Results] = []
    try:
        for shape in shapes:
            own = folder / shape.name
            own.mkdir(exist_ok=True)
            results.append(Results(shape))
            try:
                measure(results[-1], own, kinds, options.runs, options.limit, _say)
            finally:
                remove(own / "work")
                if not options.keep:
                    remove(own)
                if options.json:
                    _write(options.json, table.as_json(described, versions, results))
    finally:  # what was measured before ctrl-C, or before a set that could not be made, is not lost
        print(table.markdown(described, versions, results))
    return int(any(found.failures for found in results))


def _write(file: Path, found: dict[str, Any]) -> None:
    """Write all figures, and a plot of every set beside them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    for name, drawn in plot.plots(found).items():
        file.with_name(f"{file.stem}-{name}.svg").write_text(drawn)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure dsa and its peers against `cp -a`."
    )
    parser.add_argument(
        "--sets",
        type=_sets,
        default=list(SETS),
        metavar="NAME,NAME",
        help=f"which sets of data (default: {','.join(SETS)})",
    )
    parser.add_argument(
        "--programs",
        type=_programs,
        metavar="NAME,NAME",
        help=f"only these: {','.join(map(_word, CONTENDERS))} (default: all that are installed)",
    )
    parser.add_argument(
        "--scale", type=_positive, default=1.0, metavar="X", help="so much of each set (default: 1)"
    )
    parser.add_argument(
        "--runs", type=_count, default=3, metavar="N", help="rounds of all operations (default: 3)"
    )
    parser.add_argument(
        "--where",
        type=Path,
        default=Path(tempfile.gettempdir()),
        metavar="DIR",
        help="a folder on the file system to measure on (default: the temporary folder)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help=f"keep the sets in DIR/{_KEPT}, and use those that are there",
    )
    parser.add_argument(
        "--limit",
        type=_positive,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help=f"end a command that takes longer (default: {LIMIT_SECONDS:.0f})",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every figure there, and plots beside it"
    )
    return parser.parse_args()


def _is_wanted(kind: type[Contender], options: argparse.Namespace) -> bool:
    return options.programs is None or _word(kind) in options.programs


def _word(kind: type[Contender]) -> str:
    """Return the word by which a command line names a program."""
    return kind.name.split()[0].lower()


def _programs(text: str) -> list[str]:
    names = text.split(",")
    known = [_word(kind) for kind in CONTENDERS]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"there is no program '{name}': {', '.join(known)}")
    return names


def _sets(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SETS:
            raise argparse.ArgumentTypeError(f"there is no set '{name}': {', '.join(SETS)}")
    return names


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("it must be above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return value


@contextmanager
def _folder(where: Path, *, keep: bool) -> Iterator[Path]:
    """Make the folder in which everything happens; nothing else below `where` is touched."""
    if not where.is_dir():
        raise BenchError(f"{where} is not a folder")
    if keep:
        kept = where / _KEPT
        kept.mkdir(exist_ok=True)
        if not (kept / _TAG).exists():
            if any(kept.iterdir()):
                raise BenchError(f"{kept} is not a folder that bench made")
            (kept / _TAG).write_text(_TAG_TEXT)
        yield kept.resolve()
    else:
        with tempfile.TemporaryDirectory(
            prefix=f"{_KEPT}-", dir=where, ignore_cleanup_errors=True
        ) as made:
            yield Path(made).resolve()


def _check_room(folder: Path, shapes: list[Set], copies: int) -> None:
    needed = copies * max(shape.room_bytes for shape in shapes)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BenchError(
            f"{folder} has room for {free / 1e9:.1f} GB, about {needed / 1e9:.1f} GB are needed: "
            "use --where, --scale or --sets"
        )


def _say(line: str) -> None:
    print(f"bench: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
