"""What was measured, as text for people: tables, and the figures beside what the project promises."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import Contest


class Figure(NamedTuple):
    """A ratio or an amount that is promised. most: whether less is better."""

    what: str
    measured: float
    asked: float
    most: bool = False

    @property
    def reached(self) -> bool:
        return self.measured <= self.asked if self.most else self.measured >= self.asked

    def row(self, before: float | None) -> str:
        bound = "at most" if self.most else "at least"
        earlier = "" if before is None else f"{before:.2f}"
        reached = "yes" if self.reached else "**no**"
        return f"| {self.what} | {self.measured:.2f} | {earlier} | {bound} {self.asked:g} | {reached} |"


class Measured(NamedTuple):
    """A part's tables, figures, and whoever wasn't there."""

    text: str
    figures: list[Figure]
    missing: list[str]


def faster(contest: Contest, name: str, peer: str, asked: float) -> list[Figure]:
    """How many times as many jobs a second as the peer; nothing where the peer isn't there."""
    if peer not in contest:
        return []
    return [Figure(f"{name}: jobs/s against {peer}", 1.0 / contest.ratio(name, peer), asked)]


def at_most(contest: Contest, name: str, peer: str, asked: float, field: str = "wall") -> list[Figure]:
    if peer not in contest:
        return []
    return [Figure(f"{name}: {field} against {peer}", contest.ratio(name, peer, field), asked, most=True)]


def table(title: str, contest: Contest, peer: str, jobs: int) -> str:
    """All contestants; ratios to the peer (or to the first there is)."""
    peer = peer if peer in contest else next(iter(contest.runs))
    rounds = len(contest.runs[peer])
    lines = [
        f"### {title}",
        "",
        f"Medians of {rounds} rounds; ratios to {peer}.",
        "",
        "| what | wall ms | jobs/s | wall x | CPU us/job | CPU x | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in sorted(contest.runs, key=lambda name: contest.ratio(name, peer)):
        wall, cpu = contest.median(name, "wall"), contest.median(name, "cpu")
        lines.append(
            f"| {name} | {wall * 1e3:.1f} | {jobs / wall:.0f} | {contest.ratio(name, peer):.2f} | "
            f"{cpu / jobs * 1e6:.0f} | {contest.ratio(name, peer, 'cpu'):.2f} | "
            f"{contest.median(name, 'memory'):.0f} |"
        )
    return "\n".join(lines) + "\n"


def per_call(title: str, contest: Contest, peer: str) -> str:
    """Of programs that time their own calls; ratios to the peer."""
    rows = [
        [
            name,
            f"{contest.median(name, 'wall') * 1e6:.1f}",
            f"{contest.ratio(name, peer):.2f}",
            _peak(contest, name),
        ]
        for name in sorted(contest.runs, key=lambda name: contest.ratio(name, peer))
    ]
    return listing(title, contest, ["us a call", f"x {peer}", "peak MiB"], rows)


def _peak(contest: Contest, name: str) -> str:
    return f"{contest.median(name, 'memory'):.0f}"


def listing(title: str, contest: Contest, head: list[str], rows: list[list[str]]) -> str:
    """A table with columns of its own, after that of names."""
    rounds = max(map(len, contest.runs.values()))
    lines = [f"### {title}", "", f"Medians of {rounds} rounds.", "", _row(["what", *head])]
    lines += [_row(["---", *["---:"] * len(head)]), *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def figures(found: list[Figure], before: dict[str, float]) -> str:
    """`before`: what an earlier run measured, by `Figure.what`."""
    head = ["| figure | measured | run before | asked | reached |", "| --- | ---: | ---: | ---: | --- |"]
    return "\n".join(head + [figure.row(before.get(figure.what)) for figure in found]) + "\n"


def measured_in(text: str) -> dict[str, float]:
    """The figures of a text that `figures` made."""
    rows = (line.split(" | ") for line in text.splitlines() if line.count("|") == 6)
    return {row[0][2:]: float(row[1]) for row in rows if _is_number(row[1])}


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def machine() -> str:
    """On what, and when."""
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors ({model}), Linux {platform.release()}, "
        f"CPython {platform.python_version()}, load at the start {os.getloadavg()[0]:.1f}."
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
