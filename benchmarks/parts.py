"""The parts: what is run in each, beside whom, and which figures come out of it.

Here those about commands; those about functions are in `functions.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import functions, peers
from benchmarks.measure import Contest, Run, present
from benchmarks.peers import ARREA, ASYNCIO, GNU, LIMIT, MOREUTILS, PYTHON, THREADS, XARGS, script
from benchmarks.report import Figure, Measured, at_most, faster, table

RUN, AWAIT = "arrea run", "await run_async"
WORKERS = 8


class Jobs:
    """Files of lines for those who take lines, and of numbers for those who put them in a place."""

    def __init__(self, directory: Path, count: int, line: str) -> None:
        self.numbers = [str(number) for number in range(count)]
        self.lines_file, self.numbers_file = directory / f"lines-{count}", directory / f"numbers-{count}"
        self.lines_file.write_text("".join(f"{line.format(number)}\n" for number in self.numbers))
        self.numbers_file.write_text("".join(f"{number}\n" for number in self.numbers))

    def in_order(self, output: bytes) -> bool:
        return output.split() == [number.encode() for number in self.numbers]

    def in_any_order(self, output: bytes) -> bool:
        return sorted(output.split()) == sorted(number.encode() for number in self.numbers)

    def nearly(self, output: bytes) -> bool:
        """For moreutils parallel: once in some runs a line of it isn't as it was printed."""
        return len(set(output.split()) & {number.encode() for number in self.numbers}) > 0.999 * len(
            self.numbers
        )

    def arrea(self, *flags: str) -> list[str]:
        return [ARREA, "run", "--quiet", "--file", str(self.lines_file), "-p", str(WORKERS), *flags]


@contextmanager
def jobs_of(count: int, line: str) -> Iterator[Jobs]:
    with tempfile.TemporaryDirectory(prefix="arrea-bench-") as directory:
        yield Jobs(Path(directory), count, line)


def _runs(argv: list[str] | None, given: Path, check: Callable[[bytes], bool]) -> Callable[[], Run] | None:
    return None if argv is None else lambda: Run(argv, given, check)


# ── many short commands ──────────────────────────────────────────────────────────────────────────


def echo(rounds: int, count: int = 10_000) -> Measured:
    """Shell one-liners, captured and in order."""
    with jobs_of(count, "echo {}") as jobs:
        contestants: dict[str, Callable[[], Run] | None] = {
            RUN: lambda: Run(jobs.arrea("--output", "ordered"), None, jobs.in_order),
            AWAIT: _runs(script("library.py", WORKERS), jobs.lines_file, jobs.in_order),
        }
        for name, argv in peers.of_lines(WORKERS).items():
            contestants[name] = _runs(argv, jobs.lines_file, jobs.in_order)
        for name, argv in peers.of_arguments(WORKERS, "echo {}").items():
            contestants[name] = _runs(argv, jobs.numbers_file, jobs.in_any_order)
        argv = peers.moreutils(WORKERS, "echo {}", jobs.numbers)
        contestants[MOREUTILS] = _runs(argv, jobs.numbers_file, jobs.nearly)
        there, missing = present(contestants)
        contest = Contest(there, rounds)
    asked = {LIMIT: 0.75, XARGS: 1.1, GNU: 5.5, THREADS: 1.3, ASYNCIO: 2.2}
    found = [figure for peer, least in asked.items() for figure in faster(contest, RUN, peer, least)]
    found += at_most(contest, RUN, LIMIT, 1.20, "cpu")
    found += faster(contest, AWAIT, LIMIT, 0.68) + faster(contest, AWAIT, ASYNCIO, 2.0)
    title = f"{count:,} x `sh -c 'echo N'`, {WORKERS} at a time (echo)"
    return Measured(table(title, contest, LIMIT, count), found, missing)


def plain(rounds: int, count: int = 3_000) -> Measured:
    """Lines of an external program and plain words, which need no shell."""
    program = shutil.which("echo")
    assert program is not None, "no echo in PATH"
    with jobs_of(count, f"{program} {{}}") as jobs:
        contestants: dict[str, Callable[[], Run] | None] = {
            RUN: lambda: Run(jobs.arrea("--output", "ordered"), None, jobs.in_order),
            GNU: _runs(peers.of_lines(WORKERS)[GNU], jobs.lines_file, jobs.in_order),
            LIMIT: _runs(peers.of_lines(WORKERS)[LIMIT], jobs.lines_file, jobs.in_order),
        }
        for name, argv in peers.of_arguments(WORKERS, "{}").items():
            contestants[name] = _runs(argv, jobs.lines_file, jobs.in_any_order)
        there, missing = present(contestants)
        contest = Contest(there, rounds)
    found = faster(contest, RUN, XARGS, 1.5) + faster(contest, RUN, GNU, 8.0)
    found = [figure._replace(what=f"plain lines, {figure.what}") for figure in found]
    title = f"{count:,} plain lines of an external program (plain)"
    return Measured(table(title, contest, LIMIT, count), found, missing)


def validate(rounds: int, count: int = 10_000) -> Measured:
    """What it costs to judge commands: plain words, and such as need the grammar."""
    texts, found = [], []
    for kind, line in (("plain words", "echo {}"), ("with the grammar", "echo '{}'")):
        with jobs_of(count, line) as jobs:
            judged, unjudged = f"{kind}, validated", f"{kind}, --no-validate"
            contest = Contest(
                {
                    judged: lambda jobs=jobs: Run(jobs.arrea(), None, jobs.in_any_order),
                    unjudged: lambda jobs=jobs: Run(jobs.arrea("--no-validate"), None, jobs.in_any_order),
                },
                rounds,
            )
        texts.append(table(f"{count:,} commands, {kind} (validate)", contest, unjudged, count))
        found += at_most(contest, judged, unjudged, 1.05) + at_most(contest, judged, unjudged, 1.05, "cpu")
    return Measured("\n".join(texts), found, [])


def scale(rounds: int, count: int = 100_000) -> Measured:
    """Ten times as many: the same rate, the same memory."""
    few, many = f"{count // 10:,}", f"{count:,}"
    with jobs_of(count // 10, "echo {}") as small, jobs_of(count, "echo {}") as large:
        contest = Contest(
            {
                few: lambda: Run(small.arrea("--output", "ordered"), None, small.in_order),
                many: lambda: Run(large.arrea("--output", "ordered"), None, large.in_order),
            },
            rounds,
        )
    peak = contest.median(many, "memory")
    found = [
        Figure(f"{RUN}: jobs/s of {many} against {few}", 10 / contest.ratio(many, few), 0.95),
        Figure(f"{RUN}: peak MiB of {many}", peak, 40, most=True),
        # Flat: the file of commands is held, and nothing else grows with it.
        Figure(f"{RUN}: MiB more than with {few}", peak - contest.median(few, "memory"), 4, most=True),
    ]
    return Measured(table(f"{many} x `sh -c 'echo N'` (scale)", contest, few, count), found, [])


# ── many at once, much output ────────────────────────────────────────────────────────────────────


def sleepers(rounds: int, count: int = 1_000) -> Measured:
    """As many at a time as there are."""
    with jobs_of(count, "sleep 5") as jobs:
        flags = [ARREA, "run", "--quiet", "--file", str(jobs.lines_file), "-p", str(count)]
        limit = peers.of_lines(count)[LIMIT]
        contestants: dict[str, Callable[[], Run] | None] = {
            RUN: lambda: Run(flags),
            LIMIT: _runs(limit, jobs.lines_file, lambda output: not output),
            THREADS: lambda: Run(script("threads.py", count), jobs.lines_file),
        }
        there, missing = present(contestants)
        contest = Contest(there, rounds)
    title = f"{count:,} x `sleep 5`, all at a time (sleepers)"
    return Measured(table(title, contest, LIMIT, count), at_most(contest, RUN, LIMIT, 1.05), missing)


def pipe(rounds: int, mebibytes: int = 1024) -> Measured:
    """One command that prints much into a pipe."""
    with tempfile.TemporaryDirectory(prefix="arrea-bench-") as directory:
        text = Path(directory, "text")
        text.write_text(f"{'arrea ' * 12}\n" * (mebibytes * 2**20 // 4 // 73))
        command = f"cat {text} {text} {text} {text}"
        size = 4 * text.stat().st_size
        arrea = [ARREA, "run", "--quiet", "-c", command]
        contest = Contest(
            {
                "cat": _into_a_pipe(["sh", "-c", f"{command} | cat"], size),
                "arrea run, one command": _into_a_pipe(arrea, size),
                "arrea run, lines": _into_a_pipe([*arrea, "-c", "true", "--output", "lines"], size),
                "arrea run, grouped": _into_a_pipe([*arrea, "-c", "true"], size),
            },
            rounds,
        )
    one = "arrea run, one command"
    grown = contest.median("arrea run, lines", "memory") - contest.median(one, "memory")
    found = [
        Figure(f"{one}: rate against cat", 1.0 / contest.ratio(one, "cat"), 0.8),
        Figure("arrea run, lines: MiB more than with one command", grown, 16, most=True),
    ]
    return Measured(table(f"{mebibytes} MiB into a pipe (pipe)", contest, "cat", 1), found, [])


def _into_a_pipe(argv: list[str], size: int) -> Callable[[], Run]:
    def run() -> Run:
        with subprocess.Popen(["wc", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counter:
            assert counter.stdin is not None and counter.stdout is not None
            done = Run(argv, into=counter.stdin)
            counter.stdin.close()
            counted = int(counter.stdout.read())
        if counted != size:
            raise SystemExit(f"the output of {argv} is not complete")
        return done

    return run


# ── hosts, start-up ──────────────────────────────────────────────────────────────────────────────


def hosts(rounds: int, mebibytes: int = 1024) -> Measured:
    """The start of a command in a program that holds much memory."""
    contest = Contest({"small": _starts(1), "large": _starts(mebibytes)}, rounds)
    found = [
        Figure(
            f"a start in a host of {mebibytes} MiB against 1 MiB",
            contest.ratio("large", "small"),
            1.3,
            most=True,
        )
    ]
    return Measured(
        table(f"`execute` in hosts of 1 and {mebibytes} MiB (hosts)", contest, "small", 1), found, []
    )


def _starts(mebibytes: int) -> Callable[[], Run]:
    def run() -> Run:
        done = Run(script("host.py", mebibytes, 300), None, bool)
        done.wall = float(done.output) / 1e6
        return done

    return run


def startup(rounds: int) -> Measured:
    """What a person at a terminal waits for."""
    python = "python -c pass"
    contest = Contest(
        {
            python: lambda: Run([PYTHON, "-c", "pass"]),
            "arrea --version": lambda: Run([ARREA, "--version"]),
            "arrea run -c true": lambda: Run([ARREA, "run", "-c", "true"]),
        },
        6 * rounds,
    )
    found = at_most(contest, "arrea --version", python, 1.5) + at_most(
        contest, "arrea run -c true", python, 3.5
    )
    return Measured(table("start-up (startup)", contest, python, 1), found, [])


PARTS: dict[str, Callable[[int], Measured]] = {
    "echo": echo,
    "plain": plain,
    "validate": validate,
    "scale": scale,
    "sleepers": sleepers,
    "pipe": pipe,
    "hosts": hosts,
    "startup": startup,
    **functions.PARTS,
}
