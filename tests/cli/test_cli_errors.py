from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest

import dsa.errors
from dsa.cli import errors
from dsa.cli.run import Run
from dsa.errors import EXIT_CODES, ConflictError, DsaError

CLASSES = [
    value
    for value in vars(dsa.errors).values()
    if isinstance(value, type) and issubclass(value, DsaError)
]


def test_every_error_has_a_code_of_the_table_and_every_code_an_error() -> None:
    assert {error.exit_code for error in CLASSES} == EXIT_CODES.keys() - {0}


def test_the_page_prints_the_table_of_exit_codes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    table = page.partition("## Exit codes")[2]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, flags=re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 1, "the disk is full: /x"),
        (OSError(errno.EDQUOT, "Quota exceeded"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 6, "Permission denied: /x"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), 6, "Read-only file system: /x"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/x"), 3, "No such file: /x"),
        (OSError(errno.EIO, "Input/output error", "/x"), 1, "Input/output error: /x"),
        (OSError(errno.EMFILE, "Too many open files"), 1, "Too many open files"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 6, "Connection refused"),
        (TimeoutError(), 6, "TimeoutError"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyError("x"), 1, "unexpected KeyError: 'x'"),
        (ConflictError("it is there"), 4, "it is there"),
    ],
)
def test_every_exception_becomes_a_designed_error(
    error: BaseException, exit_code: int, said: str
) -> None:
    known = errors.translate(error)
    assert (known.exit_code, str(known)) == (exit_code, said)


def test_an_interrupted_push_says_that_it_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.tell(KeyboardInterrupt(), Run({}), verb="push") == 130
    assert capsys.readouterr().err.startswith("dsa: interrupted\nhint: run it again")


def test_an_error_is_a_line_then_every_problem_then_a_hint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ConflictError(
        "2 files are in the way", hint="save them", problems=["a\nb", "\x1b[31mc"]
    )
    assert errors.tell(error, Run({})) == 4
    said = capsys.readouterr()
    assert said.err == ("dsa: 2 files are in the way\n  a\\nb\n  \\x1b[31mc\nhint: save them\n")
    assert said.out == ""


def test_json_says_the_same_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConflictError("in the way", problems=["a\nb"])
    assert errors.tell(error, Run({}, json=True)) == 4
    said = capsys.readouterr()
    assert said.err.startswith("dsa: in the way\n")
    assert json.loads(said.out) == {
        "error": "in the way",
        "kind": "ConflictError",
        "exit_code": 4,
        "hint": None,
        "problems": ["a\nb"],
    }


def test_a_terminal_is_spared_the_thousandth_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    error = ConflictError("many", problems=[f"file {number}" for number in range(1000)])
    errors.tell(error, Run({}))
    assert capsys.readouterr().err.splitlines()[50:] == [
        "  file 49",
        "  … and 950 more (--debug shows all)",
    ]
    errors.tell(error, Run({}, debug=True))
    assert "  file 999\n" in capsys.readouterr().err


def test_only_debug_shows_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    errors.tell(KeyError("x"), Run({}))
    assert "Traceback" not in capsys.readouterr().err
    try:
        raise KeyError("x")
    except KeyError as error:
        errors.tell(error, Run({}, debug=True))
    assert "Traceback" in capsys.readouterr().err
