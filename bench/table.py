"""Results as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from statistics import median
from typing import Any

from bench.cases import Results, Sample
from bench.contenders import Copy

_HEADS = (
    "operation",
    "program",
    "seconds",
    "from – to",
    "× cp -a",
    "× cp -a + sync",
    "CPU s",
    "× its CPU",
    "peak MB",
    "written MB",
)


def markdown(machine: dict[str, str], versions: dict[str, str], results: Iterable[Results]) -> str:
    """Return everything as one text."""
    lines = ["# dsa, measured", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += [f"- {', '.join(f'{name} {version}' for name, version in versions.items())}", ""]
    lines += [
        "Seconds are medians; a ratio is the median of the ratios to the `cp -a` that ran right before.",
        "On a machine that did something else too, believe the processor seconds (CPU) first.",
        "Peak memory is that of all processes of a command together (PSS, sampled).",
        "Written is what they handed to `write()`; a `cp` that clones writes nothing.",
        "",
    ]
    for found in results:
        lines += [f"## {found.set.name}: {found.about}", ""]
        lines += _table(found)
        lines.append("")
        for program, why in found.once.items():
            lines += [f"{program} was measured in the first round only: {why}.", ""]
        for (operation, program), why in found.failures.items():
            said = " ".join(why.split()).replace("`", "'")
            lines += [f"**Failed: {operation}, {program}:** `{said}`", ""]
        if found.gone:
            lines += [f"After that not measured any more: {', '.join(found.gone)}.", ""]
    return "\n".join(lines)


def as_json(
    machine: dict[str, str], versions: dict[str, str], results: Iterable[Results]
) -> dict[str, Any]:
    """Return everything, every single run too, as what `json.dumps` takes."""
    return {
        "machine": machine,
        "versions": versions,
        "sets": [
            {
                "name": found.set.name,
                "about": found.about,
                "set": asdict(found.set),
                "rows": list(_rows(found)),
                "samples": [_flat(sample) for sample in found.samples],
                "once": found.once,
                "gone": found.gone,
                "failures": [
                    {"operation": operation, "program": program, "error": why}
                    for (operation, program), why in found.failures.items()
                ],
            }
            for found in results
        ],
    }


def _flat(sample: Sample) -> dict[str, Any]:
    value = asdict(sample)
    measured: dict[str, Any] = value.pop("measured")
    return value | measured


def _rows(found: Results) -> Iterator[dict[str, Any]]:
    """Yield a row for every operation and program, in the order of measuring."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in found.samples:
        groups.setdefault((sample.operation, sample.contender), []).append(sample)
    for (operation, program), samples in groups.items():
        yield _row(operation, program, samples, lambda sample: sample.measured.seconds)
        if program == Copy.name:
            yield _row(f"{operation} + sync", program, samples, _sync_seconds)


def _sync_seconds(sample: Sample) -> float:
    return sample.copied.sync_seconds if sample.copied else 0.0


def _row(
    operation: str, program: str, samples: list[Sample], seconds: Callable[[Sample], float]
) -> dict[str, Any]:
    measured = [sample.measured for sample in samples]
    taken = [seconds(sample) for sample in samples]
    pairs = [(sample, sample.copied) for sample in samples if sample.copied]
    return {
        "operation": operation,
        "program": program,
        "runs": len(samples),
        "seconds": median(taken),
        "seconds_least": min(taken),
        "seconds_most": max(taken),
        "to_copy": _median(seconds(sample) / copied.seconds for sample, copied in pairs),
        "to_copy_sync": _median(seconds(sample) / copied.sync_seconds for sample, copied in pairs),
        "cpu_seconds": median(one.cpu_seconds for one in measured),
        "to_copy_cpu": _median(
            sample.measured.cpu_seconds / copied.cpu_seconds
            for sample, copied in pairs
            if copied.cpu_seconds
        ),
        "peak_bytes": max(one.peak_bytes for one in measured),
        "written_bytes": _median(one.written_bytes for one in measured),
        "disk_bytes": _median(one.disk_bytes for one in measured),
    }


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


def _table(found: Results) -> Iterator[str]:
    yield "| " + " | ".join(_HEADS) + " |"
    yield "|---|---|" + "---:|" * (len(_HEADS) - 2)
    for row in _rows(found):
        written = row["written_bytes"]
        cells = [
            row["operation"],
            row["program"],
            f"{row['seconds']:.2f}" if row["seconds"] >= 1 else f"{row['seconds']:.3f}",
            f"{row['seconds_least']:.2f} – {row['seconds_most']:.2f}",
            _ratio(row["to_copy"]),
            _ratio(row["to_copy_sync"]),
            f"{row['cpu_seconds']:.2f}",
            _ratio(row["to_copy_cpu"]),
            f"{row['peak_bytes'] / 1e6:.0f}",
            "" if written is None else f"{written / 1e6:.1f}",
        ]
        yield "| " + " | ".join(cells) + " |"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
