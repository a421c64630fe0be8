"""Measures whole programs: wall and CPU time, peak memory, and whether the output is right.

Contestants of a round run one after the other, in an order that is drawn anew for each round; what is compared are
the medians of the ratios within a round, because machines are noisy and change with time.
"""

from __future__ import annotations

import os
import random
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import IO

ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "SHELL": "/bin/sh",
}
MEMORY_EVERY_MS = 20


class Run:
    """One run of a program. wall: seconds; cpu: seconds, its children's included; memory: its own peak, MiB.

    given: its standard input; check: whether its output is right; into: where that goes instead.
    """

    def __init__(
        self,
        argv: list[str],
        given: Path | None = None,
        check: Callable[[bytes], bool] | None = None,
        into: IO[bytes] | None = None,
    ) -> None:
        began = time.perf_counter()
        with tempfile.TemporaryFile() as out, open(given or os.devnull, "rb") as source:
            process = subprocess.Popen(
                argv, stdin=source, stdout=into or out, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            )
            self.memory = _peak_until_the_end(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            self.wall = time.perf_counter() - began
            self.cpu = usage.ru_utime + usage.ru_stime
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            self.output = out.read() if check is not None else b""
        if process.returncode:
            raise SystemExit(f"{argv[:9]} ended with {process.returncode}")
        if check is not None and not check(self.output):
            raise SystemExit(f"the output of {argv[:9]} is not complete, or not in order")


def _peak_until_the_end(pid: int) -> float:
    """MiB. Not `ru_maxrss`: that begins with the memory of whoever started the program."""
    peak, poll, pidfd = 0, select.poll(), os.pidfd_open(pid)
    poll.register(pidfd, select.POLLIN)
    while not poll.poll(MEMORY_EVERY_MS):
        peak = _high_water(pid) or peak
    os.close(pidfd)
    return peak / 1024


def _high_water(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


Contestants = dict[str, Callable[[], Run]]


def present(contestants: dict[str, Callable[[], Run] | None]) -> tuple[Contestants, list[str]]:
    """Who can run, and who isn't installed (None)."""
    there = {name: run for name, run in contestants.items() if run is not None}
    return there, [name for name in contestants if name not in there]


class Contest:
    """All runs of each contestant, by rounds."""

    def __init__(self, contestants: Contestants, rounds: int) -> None:
        self.runs: dict[str, list[Run]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name in random.sample(list(contestants), len(contestants)):
                run = contestants[name]()
                if number:  # the first round warms up
                    self.runs[name].append(run)

    def __contains__(self, name: str) -> bool:
        return name in self.runs

    def median(self, name: str, field: str) -> float:
        return median(self.values(name, field))

    def values(self, name: str, field: str) -> list[float]:
        return [getattr(run, field) for run in self.runs[name]]

    def ratio(self, name: str, peer: str, field: str = "wall") -> float:
        """The median of what this one took by what its peer took in the same round."""
        pairs: Iterable[tuple[float, float]] = zip(
            self.values(name, field), self.values(peer, field), strict=True
        )
        return median(mine / theirs for mine, theirs in pairs)
