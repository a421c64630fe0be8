"""A scenario: everything that happens to one engine, as a plain value that can be printed, shrunk and replayed.

Times are milliseconds, small and round, so that exits, timeouts, answers and cancels often meet in one instant.
"""

import errno
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from arrea._model.call import Call, Target, Work
from arrea._model.errors import InvalidCommand
from arrea._model.plan import Plan
from arrea._model.policy import Policy
from arrea._model.task import COMMAND, COROUTINE, PROCESS, THREAD, Command, Settings, Variables
from arrea.testing import Fate


def _short(self: Any) -> str:
    """Only what isn't the default; what is printed can be pasted as a regression test."""
    plain = self._field_defaults
    shown = (f"{n}={v!r}" for n, v in zip(self._fields, self, strict=True) if n not in plain or v != plain[n])
    return f"{type(self).__name__}({', '.join(shown)})"


class Start(NamedTuple):
    """What becomes of one start of a task; see `arrea.testing.Fate`. fails: "", "permanent", "transient".

    A call with the exit code 1 raises; any other, a signal or a lost status are those of its process.
    """

    runs: float | None = 1
    exit_code: int = 0
    signal: int = 0
    lost: bool = False
    starts: float = 0
    fails: str = ""
    on_term: float | None = 0
    on_kill: float | None = 0
    drains: float = 0
    warns: bool = False
    dies: str = ""

    __repr__ = _short


class Answer(NamedTuple):
    """after: how long it takes, None for ever."""

    said: str = "continue"
    after: float | None = 0

    __repr__ = _short


class Says(NamedTuple):
    """A policy's own function: its answer to each retry count in turn, then "continue"."""

    answers: tuple[Answer, ...] = ()

    __repr__ = _short

    def __call__(self, error: object, retry_count: int = 0, context: object = None) -> object:
        said = self.at(retry_count).said
        if said == "raise":
            raise ValueError("scripted")
        return {"nonsense": "maybe", "number": 7, "yes": True, "no": []}.get(said, said)

    def at(self, retry_count: int) -> Answer:
        return self.answers[retry_count] if retry_count < len(self.answers) else Answer()


class Rules(NamedTuple):
    """The fields of a `Policy`."""

    on_error: str | Says = "continue"
    on_timeout: str = "continue"
    on_warning: str = "log"
    max_retries: int = 0
    retry_delay: float = 0
    backoff: str = "constant"
    jitter: float = 0.0
    max_delay: float = 60_000
    retry_on: tuple[Any, ...] | Says | None = None
    total_retries: int | None = None
    on_stop: str = "finish"
    max_failures: int | float | None = None

    __repr__ = _short


class Job(NamedTuple):
    """A task: its starts (the last one goes on), its timeout, rules of its own if it has any, and where it runs."""

    starts: tuple[Start, ...] = (Start(),)
    timeout: float | None = None
    refused: bool = False
    rules: Rules | None = None
    kind: str = COMMAND

    __repr__ = _short


class Lot(NamedTuple):
    """A batch. window: None for a list; else it is fed, `feed_size` at a time, each `feed_every` (None: never).

    in_order: what comes behind a failure needn't start.
    """

    jobs: tuple[Job, ...]
    at: float = 0
    workers: int = 1
    rules: Rules = Rules()
    deadline: float | None = None
    grace: float = 5
    window: int | None = None
    feed_every: float | None = 1
    feed_size: int = 500
    in_order: bool = False

    __repr__ = _short


class Cancel(NamedTuple):
    at: float
    lot: int
    hard: bool = False

    __repr__ = _short


class Resize(NamedTuple):
    """The engine's limits become others."""

    at: float
    max_workers: int = 1
    max_processes: int = 1

    __repr__ = _short


class Scenario(NamedTuple):
    """noise: the seed of all that disturbs. doubles, lates, rebuilds: how likely each is, per turn.

    lag, gathers: of lanes, see `arrea.testing.FakeRuntime`.
    """

    lots: tuple[Lot, ...]
    max_workers: int = 1
    cancels: tuple[Cancel, ...] = ()
    noise: int = 0
    doubles: float = 0.0
    lates: float = 0.0
    rebuilds: float = 0.0
    max_processes: int = 1
    lag: float = 0.0
    gathers: float = 0.0
    resizes: tuple[Resize, ...] = ()

    __repr__ = _short


# ── from a scenario to what the engine takes ──────────────────────────────────────────────────────

NO_VARIABLES = Variables({})
ERRORS = {
    "permanent": OSError(errno.ENOENT, "No such file or directory"),
    "transient": OSError(errno.EAGAIN, "Resource temporarily unavailable"),
}


def make_fate(start: Start, kind: str) -> Fate:
    raises = kind != COMMAND and start.exit_code == 1
    return Fate(
        runs=start.runs,
        exit_code=0 if raises else start.exit_code,
        signal=start.signal,
        status_lost=start.lost,
        starts=start.starts,
        error=ERRORS.get(start.fails),
        transient=start.fails == "transient",
        on_term=start.on_term,
        on_kill=start.on_kill,
        drains=start.drains,
        raises=ValueError("scripted") if raises else None,
        dies=start.dies or None,
        warnings=("warning: scripted",) if start.warns else (),
        prints=(b"a line\n",) * (start.exit_code % 3),
    )


def make_policy(rules: Rules) -> Policy:
    return Policy(timeout=None, **rules._asdict())


def make_plan(lot: Lot, works: list[Work], policy: Policy) -> Plan:
    return Plan(
        "sim",
        works if lot.window is None else [],
        workers=lot.workers,
        policy=policy,
        deadline_ms=lot.deadline,
        kill_grace_ms=lot.grace,
        open=lot.window is not None,
        in_order=lot.in_order,
        window=lot.window or 500,
    )


def make_work(index: int, job: Job, policy: Policy) -> Work:
    settings = Settings(
        policy=policy if job.rules is None else make_policy(job.rules),
        timeout_ms=job.timeout,
        cwd=None,
        variables=NO_VARIABLES,
        stdin=None,
        max_output_bytes=None,
        inherit_output=False,
    )
    if job.kind != COMMAND:
        return Call(Target(job.kind, f"job {index}", settings), ())
    refusal = InvalidCommand(f"task {index}", "scripted") if job.refused else None
    return Command(f"job {index}", ("job",), settings, refusal=refusal)


# ── random scenarios ──────────────────────────────────────────────────────────────────────────────

TIMES = (0, 0, 1, 1, 2, 3, 5, 8, 10, 20)
SHORT_TIMES = (0, 0, 0.1, 0.1, 0.5, 0.5, 1, 2, 5, 10, 20, 30)
KINDS = (
    *(lambda chance: COMMAND,) * 3,
    *(lambda chance: PROCESS,) * 4,
    lambda chance: THREAD,
    lambda chance: COROUTINE,
    *(lambda chance: _pick(chance, (COMMAND, PROCESS, PROCESS, THREAD, COROUTINE)),) * 3,
)
PLAIN_ANSWERS = ("retry", "retry", "retry", "stop", "continue", "nonsense", "number", "raise")
RETRY_ON = (
    *(None,) * 8,
    (1,),
    ("SIGSEGV", "timeout"),
    Says((Answer("yes", 1),)),
    Says((Answer("no", 5000),)),
    Says((Answer("raise", 0),)),
    Says((Answer("yes", None),)),
)
ANSWER_TIMES = (0, 0, 0, 1, 2, 5, 10, 4999, 5000, 5001, None)


def scenario_of(seed: int) -> Scenario:
    return random_scenario(random.Random(seed))


def random_scenario(source: random.Random) -> Scenario:
    """Any scenario; small ones are the likeliest. Takes all its chance from `source.random()`."""
    chance = source.random
    lots = tuple(_lot(chance) for _ in range(_pick(chance, (1, 1, 2, 2, 3, 4))))
    return Scenario(
        lots,
        max_workers=_pick(chance, (1, 2, 3, 4)),
        cancels=_cancels(chance, len(lots)),
        noise=int(chance() * 1_000_000),
        doubles=_pick(chance, (0.0, 0.1, 0.3)),
        lates=_pick(chance, (0.0, 0.0, 0.2)),
        rebuilds=_pick(chance, (0.0, 0.05, 0.3)),
        max_processes=_pick(chance, (1, 1, 2, 3)),
        lag=_pick(chance, (0, 0, 0, 0.1, 1, 3)),
        gathers=_pick(chance, (0, 0, 0, 1, 5)),
        resizes=tuple(_resize(chance) for _ in range(_pick(chance, (0, 0, 0, 0, 0, 1, 2)))),
    )


def _pick(chance: Callable[[], float], choices: Sequence[Any]) -> Any:
    return choices[min(int(chance() * len(choices)), len(choices) - 1)]


def _cancels(chance: Callable[[], float], lots: int) -> tuple[Cancel, ...]:
    count = _pick(chance, (0, 0, 0, 1, 1, 2, 3))
    return tuple(
        Cancel(_pick(chance, (*TIMES, 30, 40)), int(chance() * lots), chance() < 0.4) for _ in range(count)
    )


def _resize(chance: Callable[[], float]) -> Resize:
    return Resize(_pick(chance, (*TIMES, 30)), _pick(chance, (1, 2, 3, 4)), _pick(chance, (1, 2, 3)))


def _lot(chance: Callable[[], float]) -> Lot:
    rules = _rules(chance)
    fed = chance() < 0.25
    kind = _pick(chance, KINDS)
    return Lot(
        _jobs(chance, kind),
        at=_pick(chance, TIMES),
        workers=_pick(chance, (1, 2, 3, 4)),
        rules=rules,
        deadline=_pick(chance, (None, None, None, None, None, 3, 20, 50)),
        grace=_pick(chance, (0, 1, 5, 10)),
        window=_pick(chance, (1, 2, 3, 500)) if fed else None,
        feed_every=_pick(chance, (0, 1, 1, 2, 5, 10, 20, None)) if fed else 1,
        feed_size=_pick(chance, (1, 2, 500)) if fed else 500,
        in_order=chance() < 0.1,
    )


def _jobs(chance: Callable[[], float], kind: Callable[[Callable[[], float]], str]) -> tuple[Job, ...]:
    """Of calls there are more, so that many are sent ahead; and then most of them go well."""
    count = _pick(chance, (0, 1, 2, 3, 3, 4, 5, 6))
    jobs = [_job(chance, kind(chance)) for _ in range(count)]
    if kind(chance) == PROCESS and chance() < 0.4:
        jobs += (_short_job(chance, kind(chance)) for _ in range(_pick(chance, (3, 6, 12, 20))))
        jobs.sort(key=lambda _: chance())
    return tuple(jobs)


def _short_job(chance: Callable[[], float], kind: str) -> Job:
    return Job((Start(runs=_pick(chance, SHORT_TIMES)),), kind=kind)


def _job(chance: Callable[[], float], kind: str) -> Job:
    return Job(
        tuple(_start(chance, kind) for _ in range(_pick(chance, (1, 1, 2, 3)))),
        timeout=_pick(chance, (None, None, 1, 2, 3, 5, 10, 20)),
        refused=chance() < 0.04 and kind == COMMAND,
        rules=_rules(chance) if chance() < 0.1 else None,
        kind=kind,
    )


def _start(chance: Callable[[], float], kind: str) -> Start:
    starts = _pick(chance, (0, 0, 0, 0, 1, 5))
    if chance() < 0.12:
        return Start(starts=starts, fails=_pick(chance, ("permanent", "transient", "transient")))
    ends = _pick(chance, ("well", "well", "well", "badly", "badly", "signal", "lost", "warns"))
    return Start(
        runs=None if chance() < 0.06 else _pick(chance, TIMES),
        exit_code=_pick(chance, (1, 2)) if ends == "badly" else 0,
        signal=11 if ends == "signal" else 0,
        lost=ends == "lost",
        starts=starts,
        on_term=_pick(chance, (0, 0, 0, 1, 5, 10, None)),
        on_kill=None if chance() < 0.05 else _pick(chance, (0, 0, 1)),
        drains=_pick(chance, (0, 0, 0, 1, 5, 250)),
        warns=ends == "warns",
        dies=_pick(chance, ("before", "after")) if kind == PROCESS and chance() < 0.06 else "",
    )


def _rules(chance: Callable[[], float]) -> Rules:
    return Rules(
        on_error=_pick(chance, ("retry", "retry", "retry", "stop", "continue", None)) or _says(chance),
        on_timeout=_pick(chance, ("retry", "retry", "stop", "continue")),
        on_warning=_pick(chance, ("log", "notify", "continue", "promote_to_error")),
        max_retries=_pick(chance, (0, 1, 2, 3)),
        retry_delay=_pick(chance, (0, 1, 2, 5, 10)),
        backoff=_pick(chance, ("constant", "exponential")),
        jitter=_pick(chance, (0.0, 0.0, 0.5, 1.0)),
        max_delay=_pick(chance, (0, 5, 60_000)),
        retry_on=_pick(chance, RETRY_ON),
        total_retries=_pick(chance, (None, None, None, 0, 1, 3)),
        on_stop=_pick(chance, ("finish", "kill")),
        max_failures=_pick(chance, (None, None, None, 1, 2, 0.5, 1.0)),
    )


def _says(chance: Callable[[], float]) -> Says:
    count = _pick(chance, (1, 2, 4))
    return Says(
        tuple(Answer(_pick(chance, PLAIN_ANSWERS), _pick(chance, ANSWER_TIMES)) for _ in range(count))
    )
