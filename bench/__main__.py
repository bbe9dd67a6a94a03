"""`python -m bench`: measure, and print a table. bench/README.md tells what to know before."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine, table
from bench.cases import Results, measure
from bench.contenders import CONTENDERS, Contender, Copy
from bench.data import SETS, BenchError, Set

_KEPT = "dsa-bench"
_TAG = "CACHEDIR.TAG"  # backup programs pass by a folder that has one: bford.info/cachedir
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# made by `python -m bench --keep`\n"
_COPIES = 4  # the source, a copy or a store with what changed, and a worktree


def main() -> int:
    """Measure what was asked for; 1 if an operation failed, 2 if nothing could be measured."""
    options = _options()
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
    _check_room(folder, shapes)
    described = machine.describe(folder)
    caution = machine.warning(folder)
    if caution:
        described["caution"] = caution
        _say(caution)
    kinds = [kind for kind in CONTENDERS if kind.version() is not None]
    everyone: list[type[Contender]] = [Copy, *kinds]
    versions = {kind.name: kind.version() or "" for kind in everyone}
    results: list[Results] = []
    for shape in shapes:
        own = folder / shape.name
        own.mkdir(exist_ok=True)
        try:
            results.append(measure(shape, own, kinds, options.runs, _say))
        finally:
            shutil.rmtree(own / "work", ignore_errors=True)
            if not options.keep:
                shutil.rmtree(own)
    print(table.markdown(described, versions, results))
    if options.json:
        text = json.dumps(table.as_json(described, versions, results), indent=1)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return int(any(found.failures for found in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure dsa against `cp -a`."
    )
    parser.add_argument(
        "--sets",
        type=_sets,
        default=list(SETS),
        metavar="NAME,NAME",
        help=f"which sets of data (default: {','.join(SETS)})",
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there too")
    return parser.parse_args()


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


def _check_room(folder: Path, shapes: list[Set]) -> None:
    needed = _COPIES * max(shape.expected_bytes for shape in shapes)
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
