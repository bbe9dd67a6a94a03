"""Run one command as whole processes: how long, how much memory all of them held together.

Memory is the proportional set size (PSS): pages that processes share count once. The kernel needs
milliseconds to add it up, so a sampler looks at the resident sizes (RSS) every 10 ms (2 ms at the
start), and asks for the PSS only when their sum has grown by 2 % over what it was at the last
question. A peak that lasts less than 10 ms is not seen. A process that was just started shares all
of its parent's memory until it runs its own program (vfork): what two processes say in the same
words is counted once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.data import BenchError

_EVERY_SECONDS = 0.01
_START_SECONDS = 0.2  # so long a sample is taken every 2 ms, for programs that end soon
_EVERY_SECONDS_AT_START = 0.002
_GROWTH = 1.02
_END_SECONDS = 30  # so long killed processes are waited for
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Command:
    """What is run: a program and its arguments; `env` is all of its environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run took. Processor seconds and bytes are those of all its processes together."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    written_bytes: int | None  # handed to write(): the same on a disk and in memory
    disk_bytes: int | None  # of these, what a disk must take; 0 in memory


class TooSlow(BenchError):
    """A command that was ended because it took too long."""


def run(command: Command, limit_seconds: float | None = None) -> Measurement:
    """Run a command to its end; after `limit_seconds` it is killed with all that it started.

    Raises: `BenchError` if it fails, with what it said; `TooSlow` if it was killed.
    """
    with tempfile.TemporaryFile() as said:
        before = _io()
        began = time.perf_counter()
        process = subprocess.Popen(
            command.argv,
            env=dict(command.env),
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid, limit_seconds)
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            _kill(process.pid)
            process.wait()
            raise
        finally:
            ended = time.perf_counter()
            sampler.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
        if sampler.killed:
            _wait_gone(sampler.killed)
            raise TooSlow(f"ended after {limit_seconds:,.0f} s: {' '.join(command.argv)}"[:500])
        if process.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
            words = " ".join(command.argv)
            raise BenchError(f"exit {process.returncode} of {words}: {' / '.join(lines)[:500]}")
    written, disk = _since(before)
    return Measurement(
        ended - began, usage.ru_utime + usage.ru_stime, sampler.peak_bytes, written, disk
    )


def sync(folder: Path) -> float:
    """Bring everything of a folder's file system to its disk; return the seconds that it took."""
    began = time.perf_counter()
    subprocess.run(["sync", "-f", folder], check=True)
    return time.perf_counter() - began


class _Sampler(threading.Thread):
    """Watches a process and all that it started, until told to stop or their time is over."""

    def __init__(self, pid: int, limit_seconds: float | None) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.killed: list[int] = []  # the processes whose time was over
        self._pid = pid
        self._limit = limit_seconds
        self._done = threading.Event()
        self._seen = 0.0  # the RSS at which the PSS was last asked for

    def run(self) -> None:
        began = time.monotonic()
        while not self._done.is_set():
            pids = _family(self._pid)
            resident = sum(_resident(said) for said in _distinct(pids, "statm"))
            if resident > self._seen * _GROWTH:
                self._seen = resident
                shares = sum(_proportional(said) for said in _distinct(pids, "smaps_rollup"))
                self.peak_bytes = max(self.peak_bytes, shares)
            age = time.monotonic() - began
            if self._limit is not None and age > self._limit:
                self.killed = _kill(self._pid)
                return
            young = age < _START_SECONDS
            self._done.wait(_EVERY_SECONDS_AT_START if young else _EVERY_SECONDS)

    def stop(self) -> None:
        self._done.set()
        self.join()


def _kill(pid: int) -> list[int]:
    """End a process that is not waited for yet, and all that it started; return them."""
    pids = _family(pid)
    for one in pids:
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what was started meanwhile
    return pids


def _wait_gone(pids: list[int]) -> None:
    """Wait until killed processes have ended: on a busy machine, or while they write, it takes time."""
    end = time.monotonic() + _END_SECONDS
    while any(map(_is_running, pids)) and time.monotonic() < end:
        time.sleep(_EVERY_SECONDS)


def _is_running(pid: int) -> bool:
    try:
        return _text(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _family(pid: int) -> list[int]:
    """Return a process and all that it started, at any depth."""
    pids = [pid]
    for parent in pids:  # grows while it is walked
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{parent}/task"):
                with suppress(OSError):
                    pids += map(int, _text(f"/proc/{parent}/task/{thread}/children").split())
    return pids


def _distinct(pids: list[int], name: str) -> set[str]:
    """Return what the processes that are still there say in this file of theirs."""
    said = set()
    for pid in pids:
        with suppress(OSError):
            said.add(_text(f"/proc/{pid}/{name}"))
    return said


def _resident(statm: str) -> int:
    """Return the RSS in bytes."""
    return int(statm.split()[1]) * _PAGE


def _proportional(smaps_rollup: str) -> int:
    """Return the PSS in bytes; 0 of a process that has ended."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: str) -> str:
    return Path(path).read_text()


def _io() -> dict[str, int]:
    """Return this process's counters; those of a child are added to them when it is waited for."""
    try:
        lines = _text("/proc/self/io").splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def _since(before: dict[str, int]) -> tuple[int | None, int | None]:
    now = _io()
    if not before or not now:
        return None, None
    moved = {name: now[name] - before[name] for name in now}
    return moved["wchar"], moved["write_bytes"] - moved["cancelled_write_bytes"]
