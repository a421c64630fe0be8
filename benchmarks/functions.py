"""The parts about functions: what a call costs, what a kill costs, what big values cost, and in which pools.

Their programs warm up and time themselves, because it isn't the start of an interpreter that is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from statistics import mean, median
from timeit import repeat

from benchmarks.measure import Contest, Run, present
from benchmarks.peers import script
from benchmarks.report import Figure, Measured, at_most, faster, listing, per_call

MAP, POOL, CHUNKS = "arrea.map", "Pool.imap", "Pool.imap, chunks of 64"
EXECUTOR, PEBBLE = "ProcessPoolExecutor.map", "pebble, timeout=60"


class Timed(Run):
    """A program that prints what it measured: first nanoseconds, which are its wall time, then the rest."""

    def __init__(self, name: str, *words: object) -> None:
        super().__init__(script(name, *words), None, bool)
        first, *self.rest = map(float, self.output.split())
        self.wall = first / 1e9


def _timed(name: str, *words: object) -> Callable[[], Run]:
    return lambda: Timed(name, *words)


def _if_pebble(run: Callable[[], Run]) -> Callable[[], Run] | None:
    return run if find_spec("pebble") else None


# ── what a call costs ────────────────────────────────────────────────────────────────────────────


def calls(rounds: int, count: int = 100_000) -> Measured:
    """A function that does nothing. Each gets as many calls as take about as long."""
    there, missing = present(
        {
            MAP: _timed("calls.py", "arrea", "same", count),
            POOL: _timed("calls.py", "pool", "same", count * 2 // 5),
            EXECUTOR: _timed("calls.py", "executor", "same", count // 20),
            PEBBLE: _if_pebble(_timed("calls.py", "pebble", "same", count // 10)),
        }
    )
    contest = Contest(there, rounds)
    found = at_most(contest, MAP, POOL, 0.4)  # the reach: 0.15, which a prototype came to with big frames
    found += faster(contest, MAP, EXECUTOR, 10) + faster(contest, MAP, PEBBLE, 10)
    text = per_call("a function that does nothing, 2 workers: asked 0.4, reach 0.15 (calls)", contest, POOL)
    return Measured(text, _named("no-op", found), missing)


def cpu(rounds: int, count: int = 1_000) -> Measured:
    """Short, but not nothing: who keeps both processors busy?"""
    work = ("spin", count, _loops(milliseconds=1))
    contest = Contest(
        {
            MAP: _timed("calls.py", "arrea", *work),
            POOL: _timed("calls.py", "pool", *work),
            CHUNKS: _timed("calls.py", "pool64", *work),
        },
        rounds,
    )
    text = per_call(f"{count:,} x 1 ms of processor time, 2 workers (cpu)", contest, POOL)
    return Measured(text, _named("1 ms CPU", at_most(contest, MAP, POOL, 0.92)), [])


def _loops(milliseconds: float) -> int:
    """How many empty loops take so long while the other worker loops, too: two processors may share a core."""
    with ProcessPoolExecutor(2) as both:
        seconds = mean(both.map(_seconds_a_loop, [20_000, 20_000]))
    return int(milliseconds / 1e3 / seconds)


def _seconds_a_loop(loops: int) -> float:
    return median(repeat(f"for _ in range({loops}): pass", repeat=500, number=1)) / loops


def sleeps(rounds: int, count: int = 400, milliseconds: float = 10) -> Measured:
    """Long enough that whoever hands out many at once lets the other worker wait."""
    work = ("sleep", count, milliseconds / 1e3)
    contest = Contest(
        {
            MAP: _timed("calls.py", "arrea", *work),
            POOL: _timed("calls.py", "pool", *work),
            CHUNKS: _timed("calls.py", "pool64", *work),
        },
        rounds,
    )
    ideal = milliseconds / 1e3 / 2
    what = f"{MAP}, sleeps of {milliseconds:g} ms: wall against the ideal"
    found = [Figure(what, contest.median(MAP, "wall") / ideal, 1.03, most=True)]
    title = f"{count:,} sleeps of {milliseconds:g} ms, 2 workers: ideal {ideal * 1e6:g} us (sleeps)"
    return Measured(per_call(title, contest, POOL), found, [])


def coroutines(rounds: int, count: int = 20_000) -> Measured:
    """Async functions, 100 at a time, each with a time limit, a context of its own, and (of Arrea's) a Result."""
    gather = "gather + Semaphore + timeout"
    ours = {"arrea.map, Results": "map", "await run_async": "run_async"}
    contestants = {name: _timed("async_calls.py", how, count) for name, how in ours.items()}
    contest = Contest({**contestants, gather: _timed("async_calls.py", "gather", count)}, rounds)
    found = [
        Figure(f"async no-op, {name}: us a call", contest.median(name, "wall") * 1e6, 15, most=True)
        for name in ours
    ]
    title = f"{count:,} x an async function that does nothing, 100 at a time (coroutines)"
    return Measured(per_call(title, contest, gather), found, [])


def _named(what: str, found: list[Figure]) -> list[Figure]:
    return [figure._replace(what=f"{what}, {figure.what}") for figure in found]


# ── starts and kills ─────────────────────────────────────────────────────────────────────────────


def cold(rounds: int) -> Measured:
    """The first value of a pool that isn't there yet."""
    execute = "arrea.execute"
    contest = Contest(
        {
            execute: _timed("cold.py", "arrea"),
            "Pool, fork": _timed("cold.py", "fork"),
            "Pool, forkserver": _timed("cold.py", "forkserver"),
        },
        3 * rounds,
    )
    what = f"{execute}, first value of a cold pool: ms"
    found = [Figure(what, contest.median(execute, "wall") * 1e3, 150, most=True)]
    return Measured(per_call("the first value of a cold pool (cold)", contest, execute), found, [])


class Killed(Timed):
    """wall: until the result of what took too long; then: from there to the value of the next."""

    @property
    def then(self) -> float:
        return self.rest[0] / 1e9


KILL_GRACE_MS = 2000  # the default
# Too long is what sleeps, and what besides ignores SIGTERM.
TOO_LONG = {"sleeping": 0, "stubborn": KILL_GRACE_MS}


def kills(rounds: int, seconds: float = 1.0) -> Measured:
    """A function that takes too long is dead in time, and the next one needn't wait for a new process."""
    contestants: dict[str, Callable[[], Run] | None] = {}
    for kind in TOO_LONG:
        contestants[f"arrea, {kind}"] = _killed("arrea", kind, seconds)
        contestants[f"pebble, {kind}"] = _if_pebble(_killed("pebble", kind, seconds))
    there, missing = present(contestants)
    contest = Contest(there, rounds)
    found = [
        figure
        for kind, grace_ms in TOO_LONG.items()
        for figure in _in_time(contest, f"arrea, {kind}", seconds * 1e3 + grace_ms)
    ]
    rows = [[name, *(_ms(contest, name, field) for field in ("wall", "then"))] for name in contest.runs]
    title = f"a function that takes longer than its {seconds:g} s, and the next one (kills)"
    return Measured(listing(title, contest, ["ms to its result", "ms to the next"], rows), found, missing)


def _killed(pool: str, kind: str, seconds: float) -> Callable[[], Run]:
    return lambda: Killed("kills.py", pool, kind, seconds)


def _in_time(contest: Contest, name: str, limit_ms: float) -> list[Figure]:
    told, then = (contest.median(name, field) * 1e3 for field in ("wall", "then"))
    return [
        Figure(f"{name}: ms to the result of a timeout", told, limit_ms + 100, most=True),
        Figure(f"{name}: ms from there to the next result", then, 20, most=True),
    ]


def _ms(contest: Contest, name: str, field: str) -> str:
    return f"{contest.median(name, field) * 1e3:.1f}"


# ── memory ───────────────────────────────────────────────────────────────────────────────────────


class Grown(Timed):
    """MiB of the host and of the largest child: early (after a tenth of the calls), and what came to that."""

    @property
    def host_early(self) -> float:
        return self.rest[0] / 1024

    @property
    def host_more(self) -> float:
        return (self.rest[1] - self.rest[0]) / 1024

    @property
    def child_early(self) -> float:
        return self.rest[2] / 1024

    @property
    def child_more(self) -> float:
        return (self.rest[3] - self.rest[2]) / 1024


def million(rounds: int, count: int = 1_000_000) -> Measured:
    """Memory doesn't grow with the number of calls."""
    contest = Contest({MAP: lambda: Grown("million.py", "arrea", count)}, rounds)
    early, what = f"{count // 10:,}", f"{MAP}, {count:,} calls"
    found = [
        Figure(f"{what}: {who} MiB more than after {early}", contest.median(MAP, f"{who}_more"), 4, most=True)
        for who in ("host", "child")
    ]
    fields = {
        f"host MiB after {early}": "host_early",
        "MiB more after all": "host_more",
        f"child MiB after {early}": "child_early",
        "child MiB more": "child_more",
    }
    row = [MAP, f"{contest.median(MAP, 'wall') * 1e6:.1f}"]
    row += [f"{contest.median(MAP, field):.1f}" for field in fields.values()]
    title = f"{count:,} calls of a function that does nothing (million)"
    return Measured(listing(title, contest, ["us a call", *fields], [row]), found, [])


class Carried(Timed):
    """over: MiB at the peak more than before there was a big value."""

    @property
    def over(self) -> float:
        return self.rest[0] / 1024


BIG = [f"{way} {kind}" for way in ("returns", "takes") for kind in ("bytes", "bytearray", "array")]


def big(rounds: int, mebibytes: int = 100) -> Measured:
    """Big values: the value and one copy on the way, no more. `array` has its memory out of band, like numpy's."""
    contest = Contest(
        {f"{pool} {what}": _carried(pool, what, mebibytes) for pool in ("arrea", "pool") for what in BIG},
        rounds,
    )
    found = [
        Figure(
            f"a function that {what} of {mebibytes} MiB: MiB at the peak over the floor",
            contest.median(f"arrea {what}", "over"),
            2 * mebibytes + 16,
            most=True,
        )
        for what in BIG
    ]
    head = ["arrea ms", "Pool.apply ms", "wall x", "arrea MiB over the floor", "Pool MiB"]
    title = f"a function that returns or takes {mebibytes} MiB (big)"
    return Measured(listing(title, contest, head, [_beside(contest, what) for what in BIG]), found, [])


def _carried(pool: str, what: str, mebibytes: int) -> Callable[[], Run]:
    return lambda: Carried("big.py", pool, *what.split(), mebibytes)


def _beside(contest: Contest, what: str) -> list[str]:
    ours, theirs = f"arrea {what}", f"pool {what}"
    return [
        what,
        _ms(contest, ours, "wall"),
        _ms(contest, theirs, "wall"),
        f"{contest.ratio(ours, theirs):.2f}",
        f"{contest.median(ours, 'over'):.0f}",
        f"{contest.median(theirs, 'over'):.0f}",
    ]


PARTS: dict[str, Callable[[int], Measured]] = {
    "calls": calls,
    "cpu": cpu,
    "sleeps": sleeps,
    "coroutines": coroutines,
    "cold": cold,
    "kills": kills,
    "million": million,
    "big": big,
}
