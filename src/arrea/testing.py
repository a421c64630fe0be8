"""Fakes for tests: the real engine with a scripted machine under it, and no process, no thread, no waiting.

`FakeRuntime` is told what becomes of each process (`Fate`), runs a plan to its end in the time of a `FakeClock`,
and hands back what `arrea.run` would. `EventLog` keeps what the engine told meanwhile.

What does a policy do with a command that fails twice, and one that hangs?

>>> runtime = FakeRuntime({"flaky": [Fate(exit_code=1), Fate(exit_code=1), Fate()], "hangs": Fate(runs=None)})
>>> plan = make_plan(["flaky", "hangs"], timeout="5s", policy={"retry_delay": "1s", "on_timeout": "stop"})
>>> flaky, hangs = runtime.run(plan)
>>> flaky.attempts, flaky.duration_ms, hangs.error.code
(3, 2030.0, 'timeout')
>>> runtime.log.types(batch=1, index=0)
['worker_started', 'retry', 'retry', 'progress', 'result', 'finished']
>>> runtime.clock.now
5000.0

And with a function whose process dies at the first call? It is not called: the script says what it returns.

>>> from arrea import Task
>>> runtime = FakeRuntime({"divmod": [Fate(signal=11), Fate(returns=(3, 1))]})
>>> (result,) = runtime.run(make_plan([Task(divmod, 7, 2)], policy={"retry_delay": 0}))
>>> result.data, result.attempts
((3, 1), 2)
"""

from __future__ import annotations

from itertools import islice

from arrea._engine.leader import Leader
from arrea._engine.registry import Registry
from arrea._fake.agenda import Agenda
from arrea._fake.fates import Fates
from arrea._fake.lanes import Lanes
from arrea._fake.processes import SIGKILL, SIGTERM, Processes
from arrea._model.ending import Outcome
from arrea._model.errors import not_started
from arrea._model.result import BatchResult, Result
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Cancelled,
    Close,
    Dispatch,
    Emit,
    Fed,
    Forget,
    Kill,
    Log,
    Recall,
    Release,
    Resolve,
    Spawn,
    Submitted,
    Tally,
    Terminate,
    Want,
)
from arrea._model.text import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Protocol

    from arrea._fake.fates import Script
    from arrea._model.call import Work
    from arrea._model.plan import Plan
    from arrea._model.step import AttemptId, Effect, Input

    class Engine(Protocol):
        """What a runtime drives."""

        def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]: ...
        def next_due(self) -> float | None: ...


__all__ = ["EventLog", "FakeClock", "FakeRuntime", "Fate", "make_plan"]

MOST_TURNS = 1_000_000


def make_plan(commands: Sequence[Any], **options: Any) -> Plan:
    """A plan as `arrea.run` would make it: the same tasks and options, and the same errors for wrong ones.

    >>> make_plan(["make", ["make", "test"]], workers=1).commands
    [Command('make'), Command('make test')]
    """
    from arrea._prepare.config import Config
    from arrea._prepare.plan import Preparer

    config = Config()
    preparer = Preparer(options, config, config.default_policy)
    return preparer.plan(preparer.all_commands(commands))


class FakeClock:
    """A clock that stands still until it is told to go on. Milliseconds.

    >>> clock = FakeClock()
    >>> clock.advance(250)
    250.0
    """

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, milliseconds: float) -> float:
        """Goes on, and hands back the new time."""
        if milliseconds < 0:
            raise ValueError(f"a clock can't go back: advance({milliseconds})")
        self.now += milliseconds
        return self.now


class Fate:
    """What becomes of one start: of a command's process, or of a call. Times are milliseconds.

    starts: until the process exists, or the call begins. error: there is no process for it; `transient`: only for
        want of room, worth another try.
    runs: until it ends by itself, a process with `exit_code` or by `signal`; None: never. status_lost: nobody learns
        how. A call with any of these takes the worker process that it runs in along.
    returns, raises: what comes of a call. dies: its worker process ends "before" it begins, or "after" it ended.
    on_term, on_kill: how long it lives on after SIGTERM, SIGKILL; None: it doesn't react at all. A coroutine takes
        `on_term` to end when it is cancelled; a thread never reacts.
    drains: how long something it left behind holds its output open after its own end; how long it takes to read the
        value of a call.
    prints: pieces that it writes to stdout, at its start.
    warnings: the lines of its stderr that warn; what a call warned of.
    """

    __slots__ = (
        "dies", "drains", "error", "on_kill", "on_term", "prints", "raises", "returns", "runs", "starts", "status",
        "transient", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        *,
        runs: float | None = 10.0,
        exit_code: int = 0,
        signal: int = 0,
        status_lost: bool = False,
        returns: object = None,
        raises: BaseException | None = None,
        dies: str | None = None,
        starts: float = 0.0,
        error: OSError | None = None,
        transient: bool = False,
        on_term: float | None = 0.0,
        on_kill: float | None = 0.0,
        drains: float = 0.0,
        warnings: tuple[str, ...] = (),
        prints: tuple[bytes, ...] = (),
    ) -> None:
        self.runs = runs
        self.returns = returns
        self.raises = raises
        self.dies = dies
        self.prints = prints
        self.drains = drains
        self.status = None if status_lost else exit_code << 8 | signal
        self.starts = starts
        self.error = error
        self.transient = transient
        self.on_term = on_term
        self.on_kill = on_kill
        self.warnings = warnings


class EventLog:
    """The events of an engine, in the order in which it told them."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[Emit] = []

    def observe(self, effects: Sequence[Effect]) -> None:
        self.events += (effect for effect in effects if isinstance(effect, Emit))

    def of_batch(self, batch: int) -> list[Emit]:
        """All events of a batch, those of its workers included."""
        return [event for event in self.events if event.batch == batch]

    def of_worker(self, batch: int, index: int) -> list[Emit]:
        return [event for event in self.of_batch(batch) if event.index == index]

    def types(self, batch: int, index: int | None = None) -> list[str]:
        """The names of a worker's events, or of all of a batch."""
        events = self.of_batch(batch) if index is None else self.of_worker(batch, index)
        return [event.type for event in events]


class _Feeder:
    """The source of an open batch; gives `size` tasks at most each `every` milliseconds."""

    __slots__ = ("batch", "busy", "every", "over", "room", "size", "source")

    def __init__(self, source: Iterable[Work], every: float | None, size: int) -> None:
        self.batch = 0
        self.source: Iterator[Work] = iter(source)
        self.every = every
        self.size = size
        self.room = 0
        self.busy = self.over = False

    def pull(self) -> Fed:
        count = min(self.room, self.size)
        commands = list(islice(self.source, count))
        self.room -= len(commands)
        self.busy, self.over = False, len(commands) < count
        return Fed(self.batch, commands, self.over)


class FakeRuntime:
    """Drives an engine as the real runtime does, on a machine that follows a script.

    script: the fate of each task by its text (a function's is its name, with its module), or a list of them, one
        for each start (the last one goes on for all further starts; without any, tasks succeed after 10 ms); or a
        function that is given the start (`attempt`, `batch_id`, `command`) and which of its task this is, from 1,
        and hands back the `Fate`.
    answer_after: how long a policy's own function takes to answer; None: for ever; or a function of the `Ask`.
    engine: what to drive; normally a `Leader` of its own with `max_workers` and `max_processes`, and jitter
        without chance.
    lag: how long a message takes from the engine to a lane of calls, and back. gathers: for how long a lane keeps to
        itself what ended well while it has more to run.

    `closes` has the end of each batch that is over, by its number; numbers count from 1. `lanes` has what ran in them.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        max_workers: int = 100,
        max_processes: int = 2,
        answer_after: float | Callable[[Ask], float | None] | None = 0.0,
        clock: FakeClock | None = None,
        engine: Engine | None = None,
        lag: float = 0.0,
        gathers: float = 0.0,
    ) -> None:
        self.clock = clock or FakeClock()
        self.log = EventLog()
        self.closes: dict[int, Close] = {}
        self.engine = engine or Leader(Registry(max_workers, max_processes), lambda: 0.5)
        self._agenda = Agenda()
        fates = Fates(script or {}, Fate())
        self._processes = Processes(self._agenda, fates)
        self.lanes = Lanes(self._agenda, fates, lag, gathers)
        self._answer_after = answer_after
        self._plans: list[Plan] = []
        self._outcomes: dict[int, list[Outcome]] = {}
        self._feeders: dict[int, _Feeder] = {}

    # ── what callers do ───────────────────────────────────────────────────────────────────────────

    def run(self, plan: Plan, source: Iterable[Work] = ()) -> BatchResult:
        """Runs a plan to its end; `source` feeds an open one."""
        number = self.submit(plan, source)
        for _ in range(MOST_TURNS):
            if number in self.closes:
                return self.result(number)
            if not self.turn():
                break
        raise RuntimeError(
            f"batch {plan.batch_id} never ends; at {self.clock.now:g} ms nothing more would happen"
        )

    def submit(
        self,
        plan: Plan,
        source: Iterable[Work] = (),
        *,
        after: float = 0.0,
        feed_every: float | None = 1.0,
        feed_size: int = 500,
    ) -> int:
        """A batch is submitted `after` so many milliseconds; hands back its number.

        An open one is fed from `source`: at most `feed_size` tasks each `feed_every` (None: never any).
        """
        self._plans.append(plan)
        number = len(self._plans)
        self._outcomes[number] = []
        if plan.open:
            self._feeders[number] = feeder = _Feeder(source, feed_every, feed_size)
            feeder.batch = number
        self.tell(Submitted(number, plan), after=after)
        return number

    def cancel(self, batch: int, *, hard: bool = False, after: float = 0.0) -> None:
        self.tell(Cancelled(batch, hard), after=after)

    def tell(self, given: Input, *, after: float = 0.0) -> None:
        """The engine is told something else."""
        self._agenda.tell(self.clock.now + after, given)

    def result(self, batch: int) -> BatchResult:
        """How a batch that is over ended."""
        plan, close = self._plans[batch - 1], self.closes[batch]
        outcomes = sorted(self._outcomes[batch], key=lambda outcome: outcome.index)
        results = [Result(plan.batch_id, outcome, 0.0) for outcome in outcomes]
        return BatchResult(plan.batch_id, results, close.retried, close.duration_ms, close.stopped_by)

    @property
    def running(self) -> list[AttemptId]:
        """The attempts that run, or are being started."""
        return [*self._processes.running, *self.lanes.running]

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    def next_at(self) -> float | None:
        """When something happens next; None: never."""
        due = self.engine.next_due()
        coming = self.next_input_at()
        return coming if due is None else due if coming is None else min(due, coming)

    def next_input_at(self) -> float | None:
        """When the machine or a caller has something to say next; None: never."""
        return self._agenda.next_at()

    def turn(self, late: float = 0.0) -> bool:
        """Goes on to where something happens, or so much later, and does it. False: nothing ever will."""
        at = self.next_at()
        if at is None:
            return False
        self.clock.advance(max(0.0, at + late - self.clock.now))
        effects = self.engine.step(self.clock.now, self._agenda.due(self.clock.now))
        self.log.observe(effects)
        for effect in effects:
            self._carry_out(effect, self.clock.now)
        return True

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, effect: Effect, now: float) -> None:
        match effect:
            case Emit() | Log() | Tally():
                pass
            case Spawn():
                self._processes.spawn(effect, now)
            case Dispatch():
                self.lanes.dispatch(effect, now)
            case Recall():
                self.lanes.recall(effect.lane, now)
            case Release():
                self.lanes.release(effect.lane)
            case Terminate():
                self._who_has(effect.attempt).signal(effect.attempt, SIGTERM, now)
            case Kill():
                self._who_has(effect.attempt).signal(effect.attempt, SIGKILL, now)
            case Forget():
                self._who_has(effect.attempt).forget(effect.attempt, now)
            case _:
                self._carry_out_for_callers(effect, now)

    def _who_has(self, attempt: AttemptId) -> Processes | Lanes:
        return self.lanes if attempt in self.lanes else self._processes

    def _carry_out_for_callers(self, effect: Effect, now: float) -> None:
        match effect:
            case Resolve():
                self._outcomes[effect.batch] += effect.outcomes
            case Ask():
                self._ask(effect, now)
            case Want():
                feeder = self._feeders[effect.batch]
                feeder.room += effect.count
                self._feed_soon(feeder, now)
            case Abandon():
                self._outcomes[effect.batch] += (_never_ran(*task, effect.reason) for task in effect.tasks)
            case Close():
                self.closes[effect.batch] = effect

    def _ask(self, ask: Ask, now: float) -> None:
        after = self._answer_after(ask) if callable(self._answer_after) else self._answer_after
        if after is not None:
            self._agenda.plan(now + after, lambda _: (_answer(ask),))

    def _feed_soon(self, feeder: _Feeder, now: float) -> None:
        if feeder.every is not None and feeder.room > 0 and not (feeder.busy or feeder.over):
            feeder.busy = True
            self._agenda.plan(now + feeder.every, lambda at: self._feed(feeder, at))

    def _feed(self, feeder: _Feeder, at: float) -> Sequence[Input]:
        fed = feeder.pull()
        self._feed_soon(feeder, at)
        return (fed,)


def _answer(ask: Ask) -> Answered:
    try:
        return Answered(ask.attempt, ask.function(*ask.arguments))
    except Exception as error:  # noqa: BLE001 - whatever the user's function raises is its answer
        return Answered(ask.attempt, None, error, f"{type(error).__name__}: {error}")


def _never_ran(index: int, work: Work, reason: str) -> Outcome:
    error = not_started(describe(index, work.name), reason)
    return Outcome(index, work, error, None, 0, 0.0, None, 0.0)
