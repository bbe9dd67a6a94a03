"""What a measurement becomes: ratios, tables and pictures; and a command that takes too long."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import page, plot, table
from bench.__main__ import CONTENDERS
from bench.cases import OPERATIONS, Copied, Results, Sample
from bench.contenders import Contender
from bench.data import SETS, MadeTree, TreeSet
from bench.measure import Command, Measurement, TooSlow, run


def sample(program: str, operation: str, seconds: float, copied: Copied) -> Sample:
    return Sample(operation, program, Measurement(seconds, seconds, 1_000_000, 0, 0), copied)


def found() -> page.Found:
    """Return results in which git is twice as fast as dsa, and DVC far behind."""
    results = Results(SETS["small"], about="some <files>")
    for seconds in (1.0, 10.0, 100.0):  # the machine became slower; ratios did not
        copied = Copied(seconds, 2 * seconds, seconds)
        results.samples += [
            sample("cp -a", "cp -a", seconds, copied),
            sample("dsa", "first push", seconds, copied),
            sample("git", "first push", seconds / 2, copied),
            sample("DVC", "first push", 40 * seconds, copied),
        ]
    results.failures["diff", "DVC"] = "it `said`\nno"
    return table.as_json({"processor": "2 cores"}, {"dsa": "1"}, [results])


def test_a_ratio_is_the_median_of_ratios_to_the_copy_right_before() -> None:
    rows = {(row["operation"], row["program"]): row for row in found()["sets"][0]["rows"]}
    dsa = rows["first push", "dsa"]
    assert (dsa["seconds"], dsa["to_copy"], dsa["to_copy_sync"]) == (10, 1, 0.5)
    assert rows["cp -a + sync", "cp -a"]["seconds"] == 20


def test_a_page_shows_every_program_and_who_is_ahead() -> None:
    text = page.full(found())
    assert "| first push | 10 (0.50) | **5.00 (0.25)** | 400 (20) |" in text
    assert "| small | first push | git | 5.00 (0.25) | 10" in text
    assert "Failed: DVC, diff: `it 'said' no`." in text


def test_a_page_is_the_same_when_its_figures_are_written_again() -> None:
    text = Path(page.__file__).parents[1].joinpath("docs/performance.md").read_text()
    once = page.placed(text, page.full(found()))
    assert once != text
    assert page.placed(once, page.full(found())) == once


def test_a_picture_is_valid_and_cuts_only_the_bar_that_is_too_long() -> None:
    (drawn,) = plot.plots(found()).values()
    picture = ET.fromstring(drawn)
    kinds = [element.get("class") for element in picture.iter()]
    assert (kinds.count("dsa"), kinds.count("peer"), kinds.count("cut")) == (1, 2, 1)
    assert len(drawn) < 60_000


def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 60 & echo $! >pid; wait"]
    with pytest.raises(TooSlow, match="ended after"):
        run(Command(argv, os.environ, tmp_path), limit_seconds=0.3)
    child = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"


@pytest.mark.parametrize("kind", CONTENDERS, ids=lambda kind: kind.name)
def test_every_command_of_a_program_can_be_told(kind: type[Contender], tmp_path: Path) -> None:
    named = {operation.name for operations in OPERATIONS.values() for operation in operations}
    assert kind.commands.keys() | kind.before.keys() <= named
    contender = kind(tmp_path, tmp_path / "source")
    for name in kind.commands:
        command = contender.command(name)
        assert command
        assert Path(command.argv[0]).name
    for text in kind.before.values():
        assert contender.shell(text).argv


def test_a_set_is_the_same_after_a_change_and_back(tmp_path: Path) -> None:
    tree = MadeTree(tmp_path, TreeSet("tiny", files=50, folders=5, smallest=1, largest=99, skew=2))
    tree.make()
    shutil.copytree(tree.source, tmp_path / "before")

    def differing() -> list[str]:
        return [
            path
            for path in tree.paths()
            if (tmp_path / "before" / path).read_bytes() != (tree.source / path).read_bytes()
        ]

    tree.become(changed=True)
    assert differing() == [tree.paths()[number] for number in tree.changed()]
    tree.become(changed=False)
    assert differing() == []
