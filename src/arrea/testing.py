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
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import islice

from arrea._engine.leader import Leader
from arrea._engine.registry import Registry
from arrea._model.errors import not_started
from arrea._model.result import BatchResult, Ending, Outcome, Result
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Cancelled,
    Close,
    Emit,
    Exited,
    ExitSeen,
    Fed,
    Forget,
    Kill,
    Log,
    Printed,
    Resolve,
    Spawn,
    Spawned,
    SpawnFailed,
    Submitted,
    Terminate,
    Want,
)
from arrea._model.text import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from arrea._model.plan import Plan
    from arrea._model.step import AttemptId, Effect, Input
    from arrea._model.task import Command

    class Engine(Protocol):
        """What a runtime drives."""

        def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]: ...
        def next_due(self) -> float | None: ...

    Script = Mapping[str, "Fate | Sequence[Fate]"] | Callable[[Spawn, int], "Fate"]

__all__ = ["EventLog", "FakeClock", "FakeRuntime", "Fate", "make_plan"]

SIGTERM, SIGKILL = 15, 9
MOST_TURNS = 1_000_000


def make_plan(commands: Sequence[Any], **options: Any) -> Plan:
    """A plan as `arrea.run` would make it: the same commands and options, and the same errors for wrong ones.

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
    """What becomes of one process. Times are milliseconds.

    starts: until it exists. error: it can't be started; `transient`: only for want of room, worth another try.
    runs: until it ends by itself, with `exit_code` or by `signal`; None: never. status_lost: nobody learns how.
    on_term, on_kill: how long it lives on after SIGTERM, SIGKILL; None: it doesn't react at all.
    drains: how long something it left behind holds its output open after its own end.
    prints: pieces that it writes to stdout, at its start.
    warnings: the lines of its stderr that warn.
    """

    __slots__ = (
        "drains", "error", "on_kill", "on_term", "prints", "runs", "starts", "status", "transient", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        *,
        runs: float | None = 10.0,
        exit_code: int = 0,
        signal: int = 0,
        status_lost: bool = False,
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


class _Process:
    """A process that runs; it will end at `ends`, as things stand, and then `seen` and `exit` are told."""

    __slots__ = ("ends", "exit", "fate", "pid", "seen", "started")

    def __init__(self, fate: Fate, pid: int) -> None:
        self.fate = fate
        self.pid = pid
        self.started = 0.0
        self.ends = float("inf")
        self.seen: ExitSeen | None = None
        self.exit: Exited | None = None


class _Feeder:
    """The source of an open batch; gives `size` commands at most each `every` milliseconds."""

    __slots__ = ("batch", "busy", "every", "over", "room", "size", "source")

    def __init__(self, source: Iterable[Command], every: float | None, size: int) -> None:
        self.batch = 0
        self.source: Iterator[Command] = iter(source)
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

    script: the fate of each command by its text, or a list of them, one for each start (the last one goes on
        for all further starts; without any, processes succeed after 10 ms); or a function that is given the
        `Spawn` and which start of its task this is, from 1, and hands back the `Fate`.
    answer_after: how long a policy's own function takes to answer; None: for ever; or a function of the `Ask`.
    engine: what to drive; normally a `Leader` of its own with `max_workers`, and jitter without chance.

    `closes` has the end of each batch that is over, by its number; numbers count from 1.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        max_workers: int = 100,
        answer_after: float | Callable[[Ask], float | None] | None = 0.0,
        clock: FakeClock | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.log = EventLog()
        self.closes: dict[int, Close] = {}
        self.engine = engine or Leader(Registry(max_workers), lambda: 0.5)
        self._fate = script if callable(script) else _by_text(script or {})
        self._answer_after = answer_after
        self._plans: list[Plan] = []
        self._outcomes: dict[int, list[Outcome]] = {}
        self._agenda: list[tuple[float, int, Input | _Feeder]] = []
        self._orders = 0
        self._starts: dict[tuple[int, int], int] = {}
        self._processes: dict[AttemptId, _Process] = {}
        self._feeders: dict[int, _Feeder] = {}

    # ── what callers do ───────────────────────────────────────────────────────────────────────────

    def run(self, plan: Plan, source: Iterable[Command] = ()) -> BatchResult:
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
        source: Iterable[Command] = (),
        *,
        after: float = 0.0,
        feed_every: float | None = 1.0,
        feed_size: int = 500,
    ) -> int:
        """A batch is submitted `after` so many milliseconds; hands back its number.

        An open one is fed from `source`: at most `feed_size` commands each `feed_every` (None: never any).
        """
        self._plans.append(plan)
        number = len(self._plans)
        self._outcomes[number] = []
        if plan.open:
            self._feeders[number] = feeder = _Feeder(source, feed_every, feed_size)
            feeder.batch = number
        self._plan_ahead(after, Submitted(number, plan))
        return number

    def cancel(self, batch: int, *, hard: bool = False, after: float = 0.0) -> None:
        self._plan_ahead(after, Cancelled(batch, hard))

    def result(self, batch: int) -> BatchResult:
        """How a batch that is over ended."""
        plan, close = self._plans[batch - 1], self.closes[batch]
        outcomes = sorted(self._outcomes[batch], key=lambda outcome: outcome.index)
        results = [Result(plan.batch_id, outcome, 0.0) for outcome in outcomes]
        return BatchResult(plan.batch_id, results, close.retried, close.duration_ms, close.stopped_by)

    @property
    def running(self) -> list[AttemptId]:
        """The attempts whose process runs, or is being started."""
        return list(self._processes)

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    def next_at(self) -> float | None:
        """When something happens next; None: never."""
        due = self.engine.next_due()
        coming = self.next_input_at()
        return coming if due is None else due if coming is None else min(due, coming)

    def next_input_at(self) -> float | None:
        """When the machine or a caller has something to say next; None: never."""
        while self._agenda and not self._valid(self._agenda[0][2]):
            heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def turn(self, late: float = 0.0) -> bool:
        """Goes on to where something happens, or so much later, and does it. False: nothing ever will."""
        at = self.next_at()
        if at is None:
            return False
        self.clock.advance(max(0.0, at + late - self.clock.now))
        effects = self.engine.step(self.clock.now, self._due_inputs())
        self.log.observe(effects)
        for effect in effects:
            self._carry_out(effect)
        return True

    def _due_inputs(self) -> list[Input]:
        inputs: list[Input] = []
        while self._agenda and self._agenda[0][0] <= self.clock.now:
            item = heappop(self._agenda)[2]
            if self._valid(item):
                inputs.append(self._arrive(item))
        return inputs

    def _plan_ahead(self, after: float, item: Input | _Feeder) -> None:
        self._orders += 1
        heappush(self._agenda, (self.clock.now + after, self._orders, item))

    def _valid(self, item: Input | _Feeder) -> bool:
        """False for an exit that was to come, had the process not been killed before."""
        if not isinstance(item, (Exited, ExitSeen)):
            return True
        process = self._processes.get(item.attempt)
        return process is not None and (process.exit is item or process.seen is item)

    def _arrive(self, item: Input | _Feeder) -> Input:
        if isinstance(item, _Feeder):
            fed = item.pull()
            self._feed_soon(item)
            return fed
        if isinstance(item, Exited):
            del self._processes[item.attempt]
        elif isinstance(item, Spawned):
            self._begin(self._processes[item.attempt], item.attempt)
        return item

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Emit() | Log():
                pass
            case Spawn():
                self._spawn(effect)
            case Resolve():
                self._outcomes[effect.batch].append(effect.outcome)
            case Terminate():
                self._signal(effect.attempt, SIGTERM)
            case Kill():
                self._signal(effect.attempt, SIGKILL)
            case Forget():
                self._forget(effect.attempt)
            case Ask():
                self._ask(effect)
            case Want():
                feeder = self._feeders[effect.batch]
                feeder.room += effect.count
                self._feed_soon(feeder)
            case Abandon():
                self._outcomes[effect.batch] += (_never_ran(*task, effect.reason) for task in effect.tasks)
            case Close():
                self.closes[effect.batch] = effect

    def _spawn(self, spawn: Spawn) -> None:
        task = spawn.attempt[:2]
        number = self._starts[task] = self._starts.get(task, 0) + 1
        fate = self._fate(spawn, number)
        if fate.error is not None:
            self._plan_ahead(fate.starts, SpawnFailed(spawn.attempt, fate.error, fate.transient))
            return
        self._processes[spawn.attempt] = _Process(fate, 1000 + self._orders)
        self._plan_ahead(fate.starts, Spawned(spawn.attempt))

    def _begin(self, process: _Process, attempt: AttemptId) -> None:
        process.started = self.clock.now
        fate = process.fate
        for piece in fate.prints:
            self._plan_ahead(0.0, Printed(attempt, "stdout", piece))
        if fate.runs is not None:
            self._end(process, attempt, fate.runs, fate.status)

    def _end(
        self, process: _Process, attempt: AttemptId, after: float, status: int | None, forgotten: bool = False
    ) -> None:
        """The process ends after so long; its output once it was drained, unless it is forgotten."""
        process.ends = self.clock.now + after
        duration = process.ends - process.started
        warnings = process.fate.warnings if status == 0 else ()
        ending = Ending(process.pid, status, duration, warnings=warnings, forgotten=forgotten)
        process.seen, process.exit = ExitSeen(attempt), Exited(attempt, ending)
        drains = 0.0 if forgotten else process.fate.drains
        if drains:
            self._plan_ahead(after, process.seen)
        self._plan_ahead(after + drains, process.exit)

    def _signal(self, attempt: AttemptId, number: int) -> None:
        process = self._processes.get(attempt)
        if process is None:
            return  # its exit is among the inputs of the next turn
        after = process.fate.on_term if number == SIGTERM else process.fate.on_kill
        if after is not None and self.clock.now + after < process.ends:
            self._end(process, attempt, after, number)

    def _forget(self, attempt: AttemptId) -> None:
        process = self._processes.get(attempt)
        if process is not None:
            self._end(process, attempt, 0.0, None, forgotten=True)

    def _ask(self, ask: Ask) -> None:
        after = self._answer_after(ask) if callable(self._answer_after) else self._answer_after
        if after is not None:
            self._plan_ahead(after, _answer(ask))

    def _feed_soon(self, feeder: _Feeder) -> None:
        if feeder.every is not None and feeder.room > 0 and not (feeder.busy or feeder.over):
            feeder.busy = True
            self._plan_ahead(feeder.every, feeder)


def _by_text(script: Mapping[str, Fate | Sequence[Fate]]) -> Callable[[Spawn, int], Fate]:
    success = Fate()

    def fate(spawn: Spawn, number: int) -> Fate:
        fates = script.get(spawn.command.text, success)
        return fates if isinstance(fates, Fate) else fates[min(number, len(fates)) - 1]

    return fate


def _answer(ask: Ask) -> Answered:
    try:
        return Answered(ask.attempt, ask.function(*ask.arguments))
    except Exception as error:  # noqa: BLE001 - whatever the user's function raises is its answer
        return Answered(ask.attempt, None, error, f"{type(error).__name__}: {error}")


def _never_ran(index: int, command: Command, reason: str) -> Outcome:
    error = not_started(describe(index, command.name), reason)
    return Outcome(index, command, error, None, 0, 0.0, None, 0.0)
