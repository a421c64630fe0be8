"""What must hold of events and outcomes: each worker's story in order, one end for each task, and the right one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from arrea._engine.registry import Registry
from arrea._model.ending import Outcome
from arrea._model.errors import PolicyFailed, TaskError
from arrea._model.step import Abandon, Close, Effect, Emit, Resolve, Tally
from arrea._model.task import COMMAND
from tests.simulation.books import NEVER, BatchBook, WorkerBook, check
from tests.simulation.lane_invariants import LaneWatch

if TYPE_CHECKING:
    from arrea._model.step import AttemptId

TERMINAL = ("finished", "error")
FROM_OUTSIDE = ("deadline", "cancelled", "not_started", "slots_exhausted")


class Watch(Protocol):
    """The whole, of which this is a part."""

    now: float
    max_workers: int
    batches: dict[int, BatchBook]
    open: dict[int, BatchBook]
    gone: set[AttemptId]
    lanes: LaneWatch
    given_up: bool

    def batch(self, number: int) -> BatchBook: ...
    def count_deciding(self, worker: WorkerBook, more: int) -> None: ...


class OutcomeWatch:
    """An outcome counts where the last event of its worker stands, for all outcomes of a turn go out together."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._tally = [0, 0, 0]
        self._all: dict[tuple[int, int], Outcome] = {}
        self._outcomes: dict[tuple[int, int], Outcome] = {}
        self._with_events: set[tuple[int, int | None]] = set()

    def begin(self, effects: Sequence[Effect], registry: Registry) -> None:
        """Of a turn."""
        self._registry = registry
        self._tally = [0, 0, 0]
        closes = (effect for effect in effects if isinstance(effect, Close))
        self._stopped_by = {close.batch: close.stopped_by for close in closes}
        found = (effect for effect in effects if isinstance(effect, Resolve))
        self._all = {(each.batch, end.index): end for each in found for end in each.outcomes}
        self._outcomes = self._all.copy()
        last = (effect for effect in effects if isinstance(effect, Emit) and effect.type in TERMINAL)
        self._with_events = {(event.batch, event.index) for event in last}

    def end(self) -> None:
        check(not any(self._tally), "counted otherwise than told:", self._tally)
        self._take_silent_outcomes(None)
        for (number, _), outcome in self._all.items():
            if getattr(outcome.error, "code", "") == "slots_exhausted":
                check(self._exhausted(self._watch.batches[number]), "slots are left, but", outcome.error)

    # ── events ────────────────────────────────────────────────────────────────────────────────────

    def emit(self, event: Emit) -> None:
        batch = self._watch.batch(event.batch)
        check(
            event.sequence == batch.sequence + 1 and event.at == self._watch.now,
            "event out of order",
            event.type,
        )
        batch.sequence += 1
        if event.index is not None:
            self._worker_event(batch, event, event.index)
        elif event.type == "batch_finished":
            started = [worker for worker in batch.workers.values() if worker.started]
            check(all(worker.over for worker in started), "finished before its workers")
            never = [index for index in range(event.fields["total"]) if not self._has_started(batch, index)]
            check(event.fields["not_started"] == never, "never started:", never, "told:", event.fields)
        elif event.type == "batch_progress":
            done, failed = event.fields["done"], event.fields["failed"]
            check(
                batch.progress <= (done, failed) and done <= event.fields["total"], "progress", event.fields
            )
            batch.progress = (done, failed)

    @staticmethod
    def _has_started(batch: BatchBook, index: int) -> bool:
        worker = batch.workers.get(index)
        return worker is not None and worker.started

    def _worker_event(self, batch: BatchBook, event: Emit, index: int) -> None:
        if event.type == "worker_started":
            worker = batch.workers[index]
            check(not worker.started, "started twice", index)
            worker.started = True
            self._tally[0] += 1
            return
        worker = batch.workers[index]
        check(worker.started, event.type, "of what never started", index)
        worker.told.append(event.type)
        if event.type == "output":
            check(not worker.ended or worker.attempt in self._watch.gone, "output of what has ended", index)
        if event.type in (*TERMINAL, "retry") and batch.deciding.pop(index, None):
            self._watch.count_deciding(worker, -1)
        check(not worker.over, event.type, "after the end of worker", index)
        if event.type in TERMINAL:
            came_to_its_end = worker.told[-3:-1] == ["progress", "result"]
            check(came_to_its_end == (event.type == "finished"), "before its end:", worker.told[-3:])
            worker.over = True
            self._tally[1] += 1
            self._take_outcome(batch, self._outcomes.pop((batch.number, index)))
        elif event.type == "timeout":
            self._timeout(worker)
        elif event.type == "retry":
            self._retry(batch, worker, event.fields["delay"])

    def _timeout(self, worker: WorkerBook) -> None:
        limit = worker.work.settings.timeout_ms
        gone = worker.ended or worker.exiting or worker.attempt in self._watch.gone
        check(not gone, "a timeout of what has ended", worker.attempt)
        check(
            limit is not None and self._watch.now >= worker.spawned_at + limit,
            "timed out early",
            worker.attempt,
        )
        worker.timed_out = True

    def _retry(self, batch: BatchBook, worker: WorkerBook, delay: float) -> None:
        policy = worker.work.settings.policy
        check(worker.ended and batch.stopped_at >= self._watch.now, "a retry that mustn't be", worker.attempt)
        full = policy.delay_ms(worker.retries, 0.5)
        spread = full * policy.jitter + 1e-6
        check(full - spread <= delay <= full + spread, "delay", delay, "instead of", full)
        worker.retries += 1
        batch.retried += 1
        self._tally[2] += 1
        worker.not_before = self._watch.now + delay
        limit = batch.plan.policy.total_retries
        check(limit is None or batch.retried <= limit, "too many retries in all")
        check(worker.retries < worker.allowed, "too many retries", worker.attempt)

    def told_of(self, effect: Tally) -> None:
        started, ended, retried = self._tally
        self._tally = [started - effect.started, ended - effect.ended, retried - effect.retried]

    # ── outcomes ──────────────────────────────────────────────────────────────────────────────────

    def _take_silent_outcomes(self, number: int | None) -> None:
        """Of what has no events: after everything else, of a turn (None) or of a batch."""
        for key in [
            key for key in self._outcomes if number in (None, key[0]) and key not in self._with_events
        ]:
            self._take_outcome(self._watch.batch(key[0]), self._outcomes.pop(key))

    def _take_outcome(self, batch: BatchBook, outcome: Outcome) -> None:
        self._settle(batch, outcome.index, outcome.attempts)
        worker = batch.workers.get(outcome.index)
        never = (
            worker is None
            or not worker.started
            or (outcome.error is not None and outcome.error.code == "not_started")
        )
        if worker is None or worker.work.kind == COMMAND:
            check(never == (outcome.attempts == 0), "attempts", outcome.attempts)
        if worker is not None:
            if getattr(outcome.error, "abandoned", False):
                self._watch.lanes.give_up(worker)
                self._watch.given_up = True
            check(worker.over == worker.started and worker.ended, "resolved while it runs", worker.attempt)
            # A start that failed for want of room was no attempt.
            counted = (worker.attempt[2], worker.attempt[2] - (worker.spawned_at == NEVER))
            check(never or worker.lane or outcome.attempts in counted, "attempts", outcome.attempts)
            self._check_outcome(batch, worker, outcome)
        if outcome.error is not None:
            batch.failed += 1
            self._note_stop(batch, worker, outcome)

    def _exhausted(self, batch: BatchBook) -> bool:
        everywhere = sum(lane.lost is not None for lane in self._watch.lanes.open.values())
        return everywhere >= self._watch.max_workers or batch.lost >= batch.plan.workers

    def _settle(self, batch: BatchBook, index: int, attempts: int) -> None:
        check(index not in batch.settled, "settled twice:", index)
        check(index < batch.fed, "settled, but never given:", index)
        batch.settled[index] = attempts

    def _check_outcome(self, batch: BatchBook, worker: WorkerBook, outcome: Outcome) -> None:
        error, policy = outcome.error, worker.work.settings.policy
        check(
            worker.abandoned or worker.well == (error is None), "ended", worker.ending, "but came to", error
        )
        if error is None:
            return
        check(
            error.code != "timeout" or worker.timed_out or worker.retries,
            "a timeout that wasn't",
            outcome.index,
        )
        check(
            error.code != "cancelled" or batch.stopped or batch.may_kill, "cancelled by nobody", outcome.index
        )
        check(error.code != "deadline" or self._watch.now >= batch.deadline_at, "deadline before its time")
        action = policy.on_timeout if error.code == "timeout" else policy.on_error
        limit = batch.plan.policy.total_retries
        free = limit is None or batch.retried < limit
        owed = action == "retry" and policy.retry_on is None and free and worker.retries < policy.max_retries
        check(
            not owed
            or worker.abandoned
            or self._exhausted(batch)
            or outcome.index > batch.cut
            or batch.stopped
            or self._may_stop(batch)
            or _from_outside(error),
            "no retry of",
            error,
        )

    def _may_stop(self, batch: BatchBook) -> bool:
        """The stop of this very turn shows only in the registry, or in the end of the batch."""
        record = self._registry.batches.get(batch.number)
        stopping = self._stopped_by.get(batch.number) if record is None else record.stopping
        return stopping is not None

    def _note_stop(self, batch: BatchBook, worker: WorkerBook | None, outcome: Outcome) -> None:
        """Where the policy says "stop", nothing may start from here on."""
        assert outcome.error is not None
        if batch.plan.in_order:
            batch.cut = min(batch.cut, outcome.index)
        total = max(batch.fed, batch.plan.window) if batch.open else batch.fed
        allowed = batch.plan.policy.failures_allowed(total)
        if allowed is not None and batch.failed >= allowed:
            batch.stop(self._watch.now)
        if worker is None or _from_outside(outcome.error) or outcome.index > batch.cut:
            return
        policy = worker.work.settings.policy
        if (policy.on_timeout if outcome.error.code == "timeout" else policy.on_error) == "stop":
            batch.stop(self._watch.now)

    def abandon(self, effect: Abandon) -> None:
        self._take_silent_outcomes(effect.batch)
        batch = self._watch.batch(effect.batch)
        if batch.cut == NEVER or self._may_stop(batch):
            batch.stop(self._watch.now)
        for index, _ in effect.tasks:
            check(index not in batch.workers, "abandoned, but started:", index)
            check(batch.stopped or index > batch.cut, "abandoned before the failure:", index)
            self._settle(batch, index, 0)

    def close(self, effect: Close) -> None:
        self._take_silent_outcomes(effect.batch)
        batch = self._watch.batch(effect.batch)
        check(not batch.live and not batch.deciding, "closed while something runs")
        lanes = [lane for lane in self._watch.lanes.open.values() if lane.batch is batch]
        check(all(lane.given_up for lane in lanes), "closed while it has lanes")
        check(batch.settled.keys() == set(range(effect.total)), "closed without", effect.total, batch.settled)
        check(
            effect.total <= batch.fed and (batch.plan.open or effect.total == batch.fed),
            "total",
            effect.total,
        )
        check(effect.retried == batch.retried, "retried", effect.retried, "instead of", batch.retried)
        ended = effect.stopped_by or effect.total == batch.fed or batch.cut < NEVER
        check(not batch.stopped or ended, "stopped by nothing")
        batch.closed = True
        del self._watch.open[effect.batch]


def _from_outside(error: TaskError) -> bool:
    """No policy was asked, or its answer was none."""
    return error.code in FROM_OUTSIDE or isinstance(error, PolicyFailed)


OUTCOME_EFFECTS: dict[type, Callable[..., None]] = {
    Emit: OutcomeWatch.emit,
    Tally: OutcomeWatch.told_of,
    Abandon: OutcomeWatch.abandon,
    Close: OutcomeWatch.close,
}
