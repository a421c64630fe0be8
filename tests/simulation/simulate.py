"""Runs a scenario: the real engine, a scripted machine, noise on the wire between them, and the watch."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from arrea._engine.leader import Leader
from arrea._engine.registry import Registry
from arrea._fake.fates import Launch
from arrea._model.step import (
    Answered,
    Ask,
    Begun,
    Effect,
    Exited,
    ExitSeen,
    Fed,
    Heard,
    Input,
    LaneFailed,
    LaneLost,
    Recalled,
    Resized,
    Returned,
    Spawned,
    SpawnFailed,
)
from arrea.testing import FakeRuntime, Fate
from tests.simulation.invariants import Violation, Watch, check
from tests.simulation.scenario import Scenario, make_fate, make_plan, make_policy, make_work
from tests.simulation.tracing import Trace

MOST_TURNS = 20_000
SUCCESS = Fate()
# What one lane tells comes in order, and so does what a caller feeds.
OF_LANES = (Begun, Returned, Recalled, LaneLost, LaneFailed, ExitSeen)
IN_ORDER = (Fed, *OF_LANES)


class NoisyEngine:
    """A leader whose inputs come shuffled, late ones again, and which is made anew from its registry at times.

    deaf: how likely it is, per turn, that nobody listens.
    """

    def __init__(self, scenario: Scenario, source: random.Random, deaf: float = 0.0) -> None:
        self._scenario = scenario
        self._random = source
        self._chance = random.Random(scenario.noise).random
        self._deaf = deaf
        self._ears = random.Random(scenario.noise)
        self.leader = Leader(Registry(scenario.max_workers, scenario.max_processes), self._chance)
        self.watch = Watch(scenario.max_workers, scenario.max_processes)
        self.observe: Callable[[Sequence[Effect]], object] = bool
        self._past: list[Input] = []

    def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]:
        if self._random.random() < self._scenario.rebuilds:
            self.leader = Leader(self.leader.registry, self._chance)
        disturbed = self._disturb(list(inputs))
        if self._deaf:
            disturbed.append(Heard(self._ears.random() >= self._deaf))
        effects = self.leader.step(now, disturbed)
        if not self._deaf:
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
        ordered = iter([given for given in inputs if isinstance(given, IN_ORDER)])
        self._random.shuffle(inputs)
        return [next(ordered) if isinstance(given, IN_ORDER) else given for given in inputs]


def _may_come_again(given: Input) -> bool:
    # A start that failed for want of room is tried again under the same id: its failure is told once.
    return isinstance(given, (Spawned, Exited, Answered, *OF_LANES)) or (
        isinstance(given, SpawnFailed) and not given.transient
    )


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, deaf: float = 0.0) -> None:
        self.scenario = scenario
        self._random = random.Random(scenario.noise)
        self._deaf = deaf
        self.engine = NoisyEngine(scenario, self._random, deaf)
        self._fates = {
            (number, index): [make_fate(start, job.kind) for start in job.starts]
            for number, lot in enumerate(scenario.lots, 1)
            for index, job in enumerate(lot.jobs)
        }
        self.runtime = FakeRuntime(
            self._fate,
            engine=self.engine,
            answer_after=_answer_after,
            lag=scenario.lag,
            gathers=scenario.gathers,
        )
        self._submit()

    def run(self) -> None:
        """To the end, and whatever would go on for ever is cancelled; raises `Violation`."""
        for _ in range(MOST_TURNS):
            if not self.runtime.turn(self._lateness()) and not self._cancel_the_endless():
                self._check_end()
                return
        raise Violation(f"no end after {MOST_TURNS} turns, at {self.runtime.clock.now} ms")

    def _check_end(self) -> None:
        if not self._deaf:
            self.engine.watch.at_end(self.engine.leader)
            self.engine.watch.check_truth(self.runtime.lanes.began)

    def _submit(self) -> None:
        for lot in self.scenario.lots:
            policy = make_policy(lot.rules)
            works = [make_work(index, job, policy) for index, job in enumerate(lot.jobs)]
            plan = make_plan(lot, works, policy)
            self.runtime.submit(plan, works, after=lot.at, feed_every=lot.feed_every, feed_size=lot.feed_size)
        for cancel in self.scenario.cancels:
            self.runtime.cancel(cancel.lot + 1, hard=cancel.hard, after=cancel.at)
        for resize in self.scenario.resizes:
            self.runtime.tell(Resized(resize.max_workers, resize.max_processes), after=resize.at)

    def _fate(self, launch: Launch, number: int) -> Fate:
        fates = self._fates[launch.attempt[:2]]
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
        for number in sorted(endless):
            self.runtime.cancel(number, hard=self._random.random() < 0.5)
        return bool(endless & set(left))


def _answer_after(ask: Ask) -> float | None:
    says, _, *rest = ask.arguments
    return says.at(rest[0] if rest else 0).after  # type: ignore[attr-defined,no-any-return]


def simulate(scenario: Scenario) -> None:
    """Runs it under watch. Raises `Violation`, or whatever the engine raises."""
    Simulation(scenario).run()


def simulate_in_all_ways(scenario: Scenario) -> None:
    """Runs it, and checks that neither rebuilds nor listeners change anything."""
    simulate(scenario)
    check_rebuilds(scenario)
    check_listeners(scenario)


def trace(scenario: Scenario, deaf: float = 0.0) -> Trace:
    """Everything that the engine said, as plain values."""
    simulation = Simulation(scenario, deaf)
    told = Trace()
    simulation.engine.observe = told.add
    simulation.run()
    return told


def check_rebuilds(scenario: Scenario) -> None:
    """An engine that is made anew before each step says exactly what one says that never is."""
    never = trace(scenario._replace(rebuilds=0.0)).all
    always = trace(scenario._replace(rebuilds=1.0)).all
    _check_same(never, always, "a rebuild")


def check_listeners(scenario: Scenario) -> None:
    """An engine that nobody listens to, or only at times, does the same, and numbers what it would tell the same."""
    heard = trace(scenario)
    for deaf in (0.5, 1.0):
        unheard = trace(scenario, deaf)
        _check_same(heard.deeds, unheard.deeds, "a listener")
        for key, event in unheard.events.items():
            check(event == heard.events.get(key), "unheard:", event, "became", heard.events.get(key))


def _check_same(told: list[object], other: list[object], cause: str) -> None:
    for number, (one, another) in enumerate(zip(told, other, strict=False)):
        check(one == another, f"{cause} changes effect {number}:", one, "became", another)
    check(len(told) == len(other), f"{cause} changes how much is said")
