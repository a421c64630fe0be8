"""A quick look at the figures that the project promises; `python -m benchmarks [PART ...]`.

echo     2,000 x `sh -c 'echo N'`, 8 at a time, captured and in order, against xargs -P 8
startup  `arrea --version` and `arrea run -c true` against `python -c pass`
engine   simulated batches a minute on one core

Rounds are interleaved and shuffled; what is compared are medians of the ratios within a round, and CPU time from the
kernel's accounting (wait4), because machines are noisy. Outputs are checked.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

BIN = Path(sys.executable).parent
ARREA, PYTHON = str(BIN / "arrea"), sys.executable
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Run:
    """One run of a whole program: wall and CPU seconds (its children's included), and what it printed."""

    def __init__(self, argv: list[str], stdin: Path | None = None) -> None:
        began = time.perf_counter()
        with tempfile.TemporaryFile() as out, open(stdin or os.devnull, "rb") as given:
            process = subprocess.Popen(
                argv, stdin=given, stdout=out, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.wall = time.perf_counter() - began
            self.cpu = usage.ru_utime + usage.ru_stime
            out.seek(0)
            self.output = out.read()
        if process.returncode:
            raise SystemExit(f"{argv} ended with {process.returncode}")


def echo(jobs: int = 2000, rounds: int = 9) -> None:
    with tempfile.TemporaryDirectory() as directory:
        lines, numbers = Path(directory, "lines"), Path(directory, "numbers")
        lines.write_text("".join(f"echo {n}\n" for n in range(jobs)))
        numbers.write_text("".join(f"{n}\n" for n in range(jobs)))
        ours = [ARREA, "run", "--quiet", "--file", str(lines), "-p", "8", "--output", "ordered"]
        peer = ["xargs", "-P", "8", "-I", "N", "sh", "-c", "echo N"]
        compared = _interleave(
            {"arrea run": lambda: _ordered(ours, numbers), "xargs -P 8": lambda: Run(peer, numbers)}, rounds
        )
    _table(f"{jobs} x sh -c 'echo N', 8 at a time", compared, "xargs -P 8", jobs)


def _ordered(argv: list[str], expected: Path) -> Run:
    run = Run(argv)
    if run.output != expected.read_bytes():
        raise SystemExit("the output is not complete, or not in order")
    return run


def startup(rounds: int = 31) -> None:
    compared = _interleave(
        {
            "python -c pass": lambda: Run([PYTHON, "-c", "pass"]),
            "arrea --version": lambda: Run([ARREA, "--version"]),
            "arrea run -c true": lambda: Run([ARREA, "run", "-c", "true"]),
        },
        rounds,
    )
    _table("start-up", compared, "python -c pass", 1)


def engine() -> None:
    subprocess.run([PYTHON, "-m", "tests.simulation.soak", "--minutes", "0.25"], check=True)


def _interleave(contestants: dict[str, object], rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name in random.sample(list(contestants), len(contestants)):
            run = contestants[name]()  # type: ignore[operator]
            if number:  # the first round warms up
                runs[name].append(run)
    return runs


def _table(title: str, compared: dict[str, list[Run]], peer: str, jobs: int) -> None:
    print(f"\n{title} (medians of {len(compared[peer])} rounds; ratios to {peer})\n")
    print(f"| what | wall ms | jobs/s | wall x | CPU us/job | CPU x |\n| --- | {'---: | ' * 5}".rstrip())
    for name, runs in compared.items():
        wall, cpu = (_ratio(runs, compared[peer], field) for field in ("wall", "cpu"))
        typical = median(run.wall for run in runs)
        micro = median(run.cpu for run in runs) / jobs * 1e6
        print(
            f"| {name} | {typical * 1e3:.1f} | {jobs / typical:.0f} | {wall:.2f} | {micro:.0f} | {cpu:.2f} |"
        )


def _ratio(runs: list[Run], peers: list[Run], field: str) -> float:
    return median(getattr(one, field) / getattr(other, field) for one, other in zip(runs, peers, strict=True))


PARTS = {"echo": echo, "startup": startup, "engine": engine}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        if part not in PARTS:
            raise SystemExit(f"unknown part {part!r}: {', '.join(PARTS)}")
        PARTS[part]()
