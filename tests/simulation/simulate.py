"""Runs a scenario: the real engine, a scripted machine, noise on the wire between them, and the watch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from arrea._engine.leader import Leader
from arrea._engine.registry import Registry
from arrea._model.errors import TaskError
from arrea._model.result import Ending
from arrea._model.step import (
    Answered,
    Ask,
    Effect,
    Emit,
    Exited,
    ExitSeen,
    Fed,
    Input,
    Resolve,
    Spawn,
    Spawned,
    SpawnFailed,
)
from arrea.testing import FakeRuntime, Fate
from tests.simulation.invariants import Violation, Watch, check
from tests.simulation.scenario import (
    Scenario,
    make_command,
    make_fate,
    make_plan,
    make_policy,
)

MOST_TURNS = 20_000
SUCCESS = Fate()


class NoisyEngine:
    """A leader whose inputs come shuffled, late ones again, and which is made anew from its registry at times."""

    def __init__(self, scenario: Scenario, source: random.Random) -> None:
        self._scenario = scenario
        self._random = source
        self._chance = random.Random(scenario.noise).random
        self.leader = Leader(Registry(scenario.max_workers), self._chance)
        self.watch = Watch()
        self.observe: Callable[[Sequence[Effect]], object] = bool
        self._past: list[Input] = []

    def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]:
        if self._random.random() < self._scenario.rebuilds:
            self.leader = Leader(self.leader.registry, self._chance)
        disturbed = self._disturb(list(inputs))
        effects = self.leader.step(now, disturbed)
        self.watch.after_step(now, disturbed, effects, self.leader)
        self.observe(effects)
        return effects

    def next_due(self) -> float | None:
        return self.leader.next_due()

    def _disturb(self, inputs: list[Input]) -> list[Input]:
        if self._past and self._random.random() < self._scenario.doubles:
            inputs += self._random.choices(self._past, k=3)
        if len(inputs) > 1:
            inputs = self._shuffled(inputs)
        self._past += filter(_may_come_again, inputs)
        return inputs

    def _shuffled(self, inputs: list[Input]) -> list[Input]:
        """In any order; but callers feed each batch in order."""
        feeds = iter([given for given in inputs if isinstance(given, Fed)])
        self._random.shuffle(inputs)
        return [next(feeds) if isinstance(given, Fed) else given for given in inputs]


def _may_come_again(given: Input) -> bool:
    # A start that failed for want of room is tried again under the same id: its failure is told once.
    return isinstance(given, (Spawned, ExitSeen, Exited, Answered)) or (
        isinstance(given, SpawnFailed) and not given.transient
    )


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._random = random.Random(scenario.noise)
        self.engine = NoisyEngine(scenario, self._random)
        self._fates = {
            (number, index): [make_fate(start) for start in job.starts]
            for number, lot in enumerate(scenario.lots, 1)
            for index, job in enumerate(lot.jobs)
        }
        self.runtime = FakeRuntime(self._fate, engine=self.engine, answer_after=_answer_after)
        self._submit()

    def run(self) -> None:
        """To the end, and whatever would go on for ever is cancelled; raises `Violation`."""
        for _ in range(MOST_TURNS):
            if not self.runtime.turn(self._lateness()) and not self._cancel_the_endless():
                self.engine.watch.at_end(self.engine.leader)
                return
        raise Violation(f"no end after {MOST_TURNS} turns, at {self.runtime.clock.now} ms")

    def _submit(self) -> None:
        for lot in self.scenario.lots:
            policy = make_policy(lot.rules)
            commands = [make_command(index, job, policy) for index, job in enumerate(lot.jobs)]
            plan = make_plan(lot, commands, policy)
            self.runtime.submit(
                plan, commands, after=lot.at, feed_every=lot.feed_every, feed_size=lot.feed_size
            )
        for cancel in self.scenario.cancels:
            self.runtime.cancel(cancel.lot + 1, hard=cancel.hard, after=cancel.at)

    def _fate(self, spawn: Spawn, number: int) -> Fate:
        fates = self._fates[spawn.attempt[0], spawn.attempt[1]]
        return fates[min(number, len(fates)) - 1] if fates else SUCCESS

    def _lateness(self) -> float:
        lates = self.scenario.lates
        return self._random.choice((1, 5, 10)) if lates and self._random.random() < lates else 0

    def _cancel_the_endless(self) -> bool:
        """Nothing more happens: every batch that is left waits for a process or a caller, or the engine is stuck."""
        left = list(self.engine.leader.registry.batches)
        endless = {attempt[0] for attempt in self.runtime.running}
        endless |= {number for number in left if self.scenario.lots[number - 1].feed_every is None}
        check(not left or endless, "stuck: batches", left)
        for number in endless:
            self.runtime.cancel(number, hard=self._random.random() < 0.5)
        return bool(endless & set(left))


def _answer_after(ask: Ask) -> float | None:
    says, _, *rest = ask.arguments
    return says.at(rest[0] if rest else 0).after  # type: ignore[attr-defined,no-any-return]


def simulate(scenario: Scenario) -> None:
    """Runs it under watch. Raises `Violation`, or whatever the engine raises."""
    Simulation(scenario).run()


def simulate_twice(scenario: Scenario) -> None:
    """Runs it, and checks that rebuilds change nothing."""
    simulate(scenario)
    check_rebuilds(scenario)


def trace(scenario: Scenario) -> list[object]:
    """Everything that the engine said, as plain values."""
    simulation = Simulation(scenario)
    told: list[object] = []
    simulation.engine.observe = lambda effects: told.extend(map(plain, effects))
    simulation.run()
    return told


def plain(effect: Effect) -> tuple[object, ...]:
    """An effect by its structure."""
    match effect:
        case Emit():
            fields = {name: _plain_field(value) for name, value in effect.fields.items()}
            return ("Emit", effect.type, effect.batch, effect.index, effect.at, effect.sequence, fields)
        case Resolve():
            end = effect.outcome
            return (
                "Resolve",
                effect.batch,
                end.index,
                str(end.error),
                end.attempts,
                end.queued_ms,
                end.ended_at,
            )
        case Ask():
            return ("Ask", effect.attempt)
        case Spawn():
            return ("Spawn", effect.attempt, effect.slot)
    return (type(effect).__name__, *(_plain_value(getattr(effect, name)) for name in effect.__slots__))


def _plain_field(value: object) -> object:
    """Errors by their text; endings are the same objects in both runs only by chance."""
    return (
        str(value) if isinstance(value, TaskError) else value.status if isinstance(value, Ending) else value
    )


def _plain_value(value: object) -> object:
    return [index for index, _ in value] if isinstance(value, list) else value


def check_rebuilds(scenario: Scenario) -> None:
    """An engine that is made anew before each step says exactly what one says that never is."""
    never = trace(scenario._replace(rebuilds=0.0))
    always = trace(scenario._replace(rebuilds=1.0))
    for number, (one, other) in enumerate(zip(never, always, strict=False)):
        check(one == other, f"a rebuild changes effect {number}:", one, "became", other)
    check(len(never) == len(always), "a rebuild changes how much is said")
