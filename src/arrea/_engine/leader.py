"""The leader: decides what starts next, and gives what happened to whom it concerns.

`step(now, inputs)` is the whole engine. Within a turn, processes come first, then answers, then what callers want,
then timers, then starts: so an exit that is seen in the same turn wins over its own timeout.
Here are turns, batches and starts. Parts of the leader say how calls are sent to lanes (`Lanes`), how a batch stops
(`Stops`), and what the end of an attempt comes to (`Outcomes`).
The leader keeps indexes only (who may start, which timers run); all state is in the registry, and a leader made
from the same registry goes on exactly as this one would have.
"""

from __future__ import annotations

from arrea._engine import worker as workers
from arrea._engine.gates import Token
from arrea._engine.lanes import Lanes
from arrea._engine.outcomes import Outcomes
from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
from arrea._engine.states import LIVE, READY, Deciding, Killing, Running, Spawning, Stopping, Waiting
from arrea._engine.stops import Stops
from arrea._engine.telling import Telling
from arrea._engine.timers import WHOLE_BATCH, Timers
from arrea._engine.turns import Turns
from arrea._model.errors import SpawnFailed
from arrea._model.step import (
    Answered,
    Begun,
    Cancelled,
    Close,
    Effect,
    Exited,
    ExitSeen,
    Fed,
    Heard,
    Input,
    LaneFailed,
    LaneLost,
    Printed,
    Recalled,
    Resized,
    Returned,
    Spawn,
    Spawned,
    Submitted,
    Want,
)
from arrea._model.step import SpawnFailed as StartFailed
from arrea._model.task import COMMAND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


ORDER: dict[type, int] = {
    Heard: 0,
    Spawned: 0,
    StartFailed: 0,
    # Of one lane they keep their order.
    Begun: 1,
    Returned: 1,
    Recalled: 1,
    LaneLost: 1,
    LaneFailed: 1,
    ExitSeen: 1,
    Printed: 1,
    Exited: 1,
    Answered: 2,
    Resized: 3,
    Submitted: 3,
    Fed: 3,
    Cancelled: 4,
}


ONLY_RETURNED = {Returned}


def _rank(given: Input) -> int:
    return ORDER[type(given)]


class Leader:
    """One engine's decisions. `chance` gives numbers from 0.0 to 1.0, for jitter."""

    def __init__(self, registry: Registry, chance: Callable[[], float]) -> None:
        self.registry = registry
        self.turns = Turns(registry)
        self.timers = Timers(registry)
        self.telling = Telling(registry)
        self._out: list[Effect] = []
        self.lanes = Lanes(self)
        self.stops = Stops(self)
        self.outcomes = Outcomes(self, chance)
        self._takes: dict[type, Callable[[Any, float], None]] = {
            Heard: self._heard,
            Submitted: self._submitted,
            Fed: self._fed,
            Spawned: self._spawned,
            StartFailed: self._start_failed,
            ExitSeen: self.outcomes.seen,
            Printed: self._printed,
            Exited: self.outcomes.exited,
            Answered: self.outcomes.answered,
            Cancelled: self.stops.cancelled,
            Resized: self._resized,
            Begun: self.lanes.begun,
            Returned: self.lanes.returned,
            Recalled: self.lanes.recalled,
            LaneLost: self.lanes.lost,
            LaneFailed: self.lanes.failed,
        }

    def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]:
        """One turn: what follows from these inputs at this time."""
        out: list[Effect] = []
        self._out = out
        self.telling.begin(out, now)
        for given in inputs if len(inputs) < 2 else self._in_order(inputs, now):
            self._take(given, now)
        self.lanes.settle_done()
        self._fire_timers(now)
        self._go_on(now)
        while self.lanes.touched:  # a refusal, or what can't start any more, stopped a batch
            self._go_on(now)
        self.telling.end()
        self._out = []  # nobody shall hold what was told
        self.outcomes.end()
        return out

    def _go_on(self, now: float) -> None:
        """What can start does."""
        self.lanes.go_on(now)
        self._start(now)
        if self.registry.slots.lost:
            self.stops.where_exhausted(now)

    def _in_order(self, inputs: Sequence[Input], now: float) -> Sequence[Input]:
        """What ended by itself in this turn did so before anything that follows from the other inputs."""
        if {*map(type, inputs)} == ONLY_RETURNED:  # most turns, where calls are short
            return inputs
        ordered = sorted(inputs, key=_rank)
        for given in ordered:
            if isinstance(given, Exited):
                self.outcomes.seen(given, now)
        return ordered

    def next_due(self) -> float | None:
        """When the next turn is needed, if nothing comes in before."""
        return self.timers.next_due()

    def _take(self, given: Input, now: float) -> None:
        kind = given.__class__
        if self.lanes.done and kind is not Returned:
            self.lanes.settle_done()
        self._takes[kind](given, now)

    def _resized(self, given: Resized, now: float) -> None:
        self.registry.slots.resize(given.max_workers)
        self.registry.processes.resize(given.max_processes)

    def _heard(self, given: Heard, now: float) -> None:
        self.registry.heard = given.by_anybody

    def _printed(self, given: Printed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, LIVE):
            self.telling.output(record, given)

    # ── batches ───────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, given: Submitted, now: float) -> None:
        batch = BatchRecord(given.number, given.plan, now)
        self.registry.batches[batch.number] = batch
        self.telling.batch_started(batch)
        self.timers.watch_deadline(batch)
        self._ask_for_more(batch)
        self.turns.offer(batch)
        self.close_if_over(batch, now)

    def _fed(self, given: Fed, now: float) -> None:
        batch = self.registry.batches.get(given.batch)
        if batch is None or not batch.open:
            return
        batch.asked -= len(given.commands)
        batch.open = not given.last
        batch.waiting.extend(enumerate(given.commands, batch.total))
        batch.total += len(given.commands)
        self._ask_for_more(batch)
        self.turns.offer(batch)
        if given.last:
            self.stops.at_max_failures(batch, now)  # a share of all, which nobody knew before
        self.close_if_over(batch, now)

    def _ask_for_more(self, batch: BatchRecord) -> None:
        """Keeps the window of an open batch at least half full."""
        room = batch.plan.window - batch.waiting.count - batch.asked
        if batch.open and room > 0 and 2 * room >= batch.plan.window:
            batch.asked += room
            self._out.append(Want(batch.number, room))

    # ── starts ────────────────────────────────────────────────────────────────────────────────────

    def _start(self, now: float) -> None:
        """Starts what the gates admit, one of each batch in turn."""
        slots, turns = self.registry.slots, self.turns
        while not slots.full and (batch := turns.next()) is not None:
            engine_slot, batch_slot = slots.admit(now), batch.slots.admit(now)
            assert isinstance(engine_slot, Token) and isinstance(batch_slot, Token)
            self._start_next(batch, (engine_slot, batch_slot), now)
            turns.offer(batch)

    def _start_next(self, batch: BatchRecord, tokens: tuple[Token, Token], now: float) -> None:
        kind = batch.waiting.next_kind(self.registry.barred)
        if kind != COMMAND:
            self.lanes.open(batch, kind, tokens, now)
            self._ask_for_more(batch)
            return
        record = self.next_record(batch, kind, now)
        record.tokens = tokens
        if record.command.refusal is not None:
            self.outcomes.refused(record, record.command.refusal, now)
            return
        workers.begin(record)
        command = record.command
        assert command.kind == COMMAND
        self._out.append(Spawn(record.attempt_id, batch.plan.batch_id, command, tokens[1].number))  # type: ignore[arg-type]

    def next_record(self, batch: BatchRecord, kind: str, now: float) -> WorkerRecord:
        again = batch.waiting.take_back(kind)
        if again is not None:
            return again
        index, command = batch.waiting.take_fresh(kind)
        record = batch.live[index] = WorkerRecord(batch, index, command, now, READY)
        self._ask_for_more(batch)
        return record

    def _spawned(self, given: Spawned, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Spawning):
            self.registry.slots.widen()
            self.telling.worker_started(record)
            self.follow(record, workers.spawned(record, now, now))

    def _start_failed(self, given: StartFailed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is None or not isinstance(record.state, Spawning):
            return
        stopping = record.state.stop or record.batch.stopping
        others = self.registry.slots.busy > 1
        if stopping is not None or not record.batch.wants(record.index):
            self.outcomes.settle(record, workers.left_with(record, stopping or "stop"), now)
        elif given.transient and (others or record.spawn_failures < workers.SPAWN_TRIES):
            self.free(record)
            self.wait_for_room(record, now)
        else:
            self.outcomes.never_ran(record, SpawnFailed(workers.name(record), given.error), now)

    def wait_for_room(self, record: WorkerRecord, now: float) -> None:
        """The machine is full: it tries again a little later, and no more run than do now."""
        self.registry.slots.squeeze()
        workers.wait_for_room(record, now)
        self.timers.watch(record)

    # ── of lanes ──────────────────────────────────────────────────────────────────────────────────

    def runs(self, record: WorkerRecord, since: float, now: float) -> None:
        """A call that was sent to a lane runs since then."""
        self.has_begun(record, since)
        effects = workers.spawned(record, since, now)
        if effects:
            self.follow(record, effects)
        else:
            self.timers.watch(record)
        killing = record.batch.killing
        if killing is not None:
            self.stops.end(record, killing[0], now, killing[1])

    def has_begun(self, record: WorkerRecord, at: float) -> None:
        """Of one that was sent ahead that may not be known before its end."""
        self.telling.worker_started(record)
        if record.attempts == 1:
            record.started_at = at

    def taken_back(self, record: WorkerRecord, now: float) -> None:
        """It was sent to a lane, and never began."""
        batch = record.batch
        if batch.wants(record.index):
            batch.waiting.put_first(record)
        else:
            self.outcomes.settle(record, workers.left_with(record, batch.stopping or "stop"), now)

    def came_further(self, batch: BatchRecord, now: float) -> None:
        """Something changed with its lanes."""
        if batch.number in self.registry.batches:
            self._ask_for_more(batch)
            self.turns.offer(batch)
            self.close_if_over(batch, now)

    # ── for all of its parts ──────────────────────────────────────────────────────────────────────

    def put(self, effect: Effect) -> None:
        self._out.append(effect)

    def follow(self, record: WorkerRecord, effects: list[Effect]) -> None:
        """What follows for the attempt that runs."""
        self.telling.killed(record, effects)
        self._out += effects
        self.timers.watch(record)

    def free(self, record: WorkerRecord) -> None:
        """Its slot comes back, if it has one of its own."""
        tokens, record.tokens = record.tokens, ()
        self.give_back(tokens, record.batch)

    def give_back(self, tokens: Sequence[Token], batch: BatchRecord) -> None:
        for token in tokens:
            token.gate.give_back(token)
        self.turns.offer(batch)

    def close_if_over(self, batch: BatchRecord, now: float) -> None:
        if not batch.over or self.registry.batches.pop(batch.number, None) is None:
            return
        self.turns.withdraw(batch)
        duration = now - batch.submitted_at
        self.telling.batch_finished(batch)
        self._out.append(Close(batch.number, batch.total, batch.retried, duration, batch.stopping))

    # ── timers ────────────────────────────────────────────────────────────────────────────────────

    def _fire_timers(self, now: float) -> None:
        for number, index in self.timers.due(now):
            batch = self.registry.batches[number]
            if index == WHOLE_BATCH:
                self.stops.deadline(batch, now)
            else:
                self._due(batch.live[index], now)

    def _due(self, record: WorkerRecord, now: float) -> None:
        match record.state:
            case Running():
                if self.lanes.recall(record):
                    self.timers.watch(record)
                else:
                    self.telling.timeout(record)
                    self.stops.end(record, "timeout", now)
            case Stopping(reason=reason):
                self.stops.end(record, reason, now, hard=True)
            case Killing():
                self._out += workers.give_up(record)
            case Deciding():
                self.outcomes.no_answer(record, now)
            case Waiting():
                record.state = READY
                record.batch.waiting.put_back(record)
                self.turns.offer(record.batch)
