"""Outcomes: how attempts end, and what that means for their tasks.

Given how an attempt ended, asks the policy (or says which function of the user's is to be asked), applies what it
decided, and hands back the only outcome of each task. What starts in its place is the leader's to say, and what a
stop means for the rest of the batch is for `Stops`.
"""

from __future__ import annotations

from arrea._engine import worker as workers
from arrea._engine.states import LIVE, Deciding, Exiting, Queued, Running
from arrea._model.ending import Outcome, Return
from arrea._model.errors import Ended, PolicyFailed
from arrea._model.policy import CONTINUE, STOP, Retry, Stop
from arrea._model.step import Ask, Resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from arrea._engine.lanes import Lanes
    from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
    from arrea._engine.stops import Stops
    from arrea._engine.telling import Telling
    from arrea._engine.timers import Timers
    from arrea._model.errors import TaskError
    from arrea._model.policy import Decision
    from arrea._model.step import Answered, Effect, Exited, ExitSeen

    class Leader(Protocol):
        """What outcomes ask of the leader."""

        registry: Registry
        timers: Timers
        telling: Telling
        lanes: Lanes
        stops: Stops

        def put(self, effect: Effect) -> None: ...
        def free(self, record: WorkerRecord) -> None: ...
        def close_if_over(self, batch: BatchRecord, now: float) -> None: ...


class Outcomes:
    """Of one leader. `chance` gives numbers from 0.0 to 1.0, for jitter."""

    __slots__ = ("_chance", "_leader", "_registry", "_resolved", "_telling", "_timers")

    def __init__(self, leader: Leader, chance: Callable[[], float]) -> None:
        self._leader = leader
        self._chance = chance
        self._registry = leader.registry
        self._timers = leader.timers
        self._telling = leader.telling
        self._resolved: dict[int, Resolve] = {}  # of this turn

    def end(self) -> None:
        """Of the turn."""
        self._resolved.clear()

    # ── how an attempt ended ──────────────────────────────────────────────────────────────────────

    def seen(self, given: ExitSeen | Exited, now: float) -> None:
        """It ended by itself; how is told later, or later in this turn."""
        record = self._registry.worker(given.attempt)
        if record is not None and isinstance(record.state, (Queued, Running)):
            record.state = Exiting()

    def exited(self, given: Exited, now: float) -> None:
        record = self._registry.worker(given.attempt)
        if record is None or not isinstance(record.state, LIVE):
            return
        error = workers.ended(record, given.ending)
        if error is None:
            self.settle(record, None, now)
        else:
            self.failed(record, error, now)

    def succeeded(self, batch: BatchRecord, records: Sequence[WorkerRecord]) -> None:
        """Calls: the way of most, and so the short one; the leader's `came_further` follows for all of a turn."""
        if not records:
            return
        live, submitted, outcomes = batch.live, batch.submitted_at, []
        for record in records:
            index, attempts, ending = record.index, record.attempts, record.ending
            assert isinstance(ending, Return)
            del live[index]
            if record.command.large:
                record.command.let_go()
            began = ending.began if attempts == 1 else record.started_at
            outcome = Outcome(
                index, record.command, None, ending, attempts, began - submitted, began, ending.ended, ending.warnings
            )  # fmt: skip
            outcomes.append(outcome)
        batch.done += len(records)
        self._telling.ran(records, outcomes)
        self._telling.came_further(batch)
        self._resolve(batch, outcomes)

    def never_ran(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        """There is no process for it."""
        self._telling.worker_started(record)
        record.error = error
        self.failed(record, error, now)

    def refused(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        """A command that can't run isn't retried, and no function is asked about it."""
        stops = record.command.settings.policy.on_error == "stop"
        self.apply(STOP if stops else CONTINUE, record, error, now)

    # ── what is decided about a failure ───────────────────────────────────────────────────────────

    def failed(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        if isinstance(error, Ended) or not record.batch.wants(record.index):
            self.settle(record, error, now)
            return
        follows = workers.after_failure(record, error, now, self._chance())
        if isinstance(follows, Ask):
            self._leader.put(follows)
            self._timers.watch(record)
        else:
            self.apply(follows, record, error, now)

    def answered(self, given: Answered, now: float) -> None:
        record = self._registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Deciding):
            self._decided(record, workers.answered(record, given, self._chance()), now)

    def no_answer(self, record: WorkerRecord, now: float) -> None:
        """The user's function took too long."""
        self._decided(record, workers.no_answer(record), now)

    def _decided(self, record: WorkerRecord, decision: Decision | PolicyFailed, now: float) -> None:
        assert isinstance(record.state, Deciding)
        if isinstance(decision, PolicyFailed):
            self.settle(record, decision, now)
        else:
            self.apply(decision, record, record.state.error, now)
        self._leader.lanes.decided(record)

    def apply(self, decision: Decision, record: WorkerRecord, error: TaskError, now: float) -> None:
        batch = record.batch
        if isinstance(decision, Retry) and batch.wants(record.index):
            self._retry(record, error, decision.delay_ms, now)
            return
        stops = isinstance(decision, Stop) and batch.stopping is None
        batch.stopping = "stop" if stops else batch.stopping
        self.settle(record, error, now)
        if stops:
            self._leader.stops.stop(batch, "stop", now, record.command.settings.policy.on_stop == "kill")

    def _retry(self, record: WorkerRecord, error: TaskError, delay_ms: float, now: float) -> None:
        record.batch.retried += 1
        self._telling.retry(record, error, delay_ms)
        workers.wait(record, delay_ms, now)
        self._leader.free(record)
        self._timers.watch(record)

    # ── the only outcome ──────────────────────────────────────────────────────────────────────────

    def settle(self, record: WorkerRecord, error: TaskError | None, now: float) -> None:
        """The task is over: its only outcome goes out, its slot comes back."""
        batch = record.batch
        self._leader.free(record)
        del batch.live[record.index]
        batch.done += 1
        outcome = self._outcome(record, error, now)
        if record.command.large:
            record.command.let_go()
        self._telling.came_further(batch)
        if record.told:
            self._telling.ended(record, outcome)
        else:
            batch.unstarted.append(record.index)
        self._resolve(batch, [outcome])
        if error is not None:
            self._count_failure(batch, record.index, now)
        self._leader.close_if_over(batch, now)

    def _count_failure(self, batch: BatchRecord, index: int, now: float) -> None:
        batch.failed += 1
        self._leader.stops.at_max_failures(batch, now)
        if batch.plan.in_order:
            self._leader.stops.cut(batch, index, now)

    def _resolve(self, batch: BatchRecord, outcomes: list[Outcome]) -> None:
        """All of a batch and a turn go out together."""
        resolve = self._resolved.get(batch.number)
        if resolve is None:
            resolve = self._resolved[batch.number] = Resolve(batch.number, [])
            self._leader.put(resolve)
        resolve.outcomes += outcomes

    def _outcome(self, record: WorkerRecord, error: TaskError | None, now: float) -> Outcome:
        queued = record.started_at - record.batch.submitted_at
        attempts = 0 if error is not None and error.code == "not_started" else record.attempts
        started_at = record.started_at if attempts else None
        ending = record.ending
        warnings = ending.warnings if ending is not None else ()
        return Outcome(
            record.index, record.command, error, ending, attempts, queued, started_at, now, warnings
        )
