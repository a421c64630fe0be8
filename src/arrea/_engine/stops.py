"""Stops: how a batch stops before all of it has run, and how an attempt is ended.

Given a reason (a failure, too many of them, the deadline, a caller's wish), decides what of the batch is abandoned,
what finishes, what is ended, and what is given up because nothing can end it. What their ends come to is for
`Outcomes` to say.
"""

from __future__ import annotations

from arrea._engine import worker as workers
from arrea._engine.states import Deciding, Killing, Ready, Running, Spawning, Stopping, Waiting
from arrea._model.errors import SlotsExhausted
from arrea._model.policy import CONTINUE, STOP
from arrea._model.step import Abandon
from arrea._model.task import COMMAND, COROUTINE, PROCESS, THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from arrea._engine.lanes import Lanes
    from arrea._engine.outcomes import Outcomes
    from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
    from arrea._engine.telling import Telling
    from arrea._engine.turns import Turns
    from arrea._model.call import Work
    from arrea._model.step import Cancelled, Effect

    class Leader(Protocol):
        """What stops ask of the leader."""

        registry: Registry
        turns: Turns
        telling: Telling
        lanes: Lanes
        outcomes: Outcomes

        def put(self, effect: Effect) -> None: ...
        def follow(self, record: WorkerRecord, effects: list[Effect]) -> None: ...
        def next_record(self, batch: BatchRecord, kind: str, now: float) -> WorkerRecord: ...
        def close_if_over(self, batch: BatchRecord, now: float) -> None: ...


class Stops:
    """Of one leader."""

    __slots__ = ("_leader", "_registry", "_telling", "_turns")

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._registry = leader.registry
        self._turns = leader.turns
        self._telling = leader.telling

    # ── of a batch ────────────────────────────────────────────────────────────────────────────────

    def cancelled(self, given: Cancelled, now: float) -> None:
        batch = self._registry.batches.get(given.batch)
        if batch is not None:
            self.stop(batch, "cancelled", now, kill=True, hard=given.hard)

    def deadline(self, batch: BatchRecord, now: float) -> None:
        batch.deadline_at = None
        self.stop(batch, "deadline", now, kill=True)

    def at_max_failures(self, batch: BatchRecord, now: float) -> None:
        """Stops the batch if it has had as many failures as it may have."""
        # While more may come, a share is one of as many tasks as fit into the window, or of all seen so far.
        total = max(batch.total, batch.plan.window) if batch.open else batch.total
        allowed = batch.plan.policy.failures_allowed(total)
        if allowed is not None and batch.failed >= allowed and batch.stopping is None:
            self.stop(batch, "max_failures", now, batch.plan.policy.on_stop == "kill")

    def stop(self, batch: BatchRecord, reason: str, now: float, kill: bool, hard: bool = False) -> None:
        """Nothing more of the batch starts; what runs finishes, or is killed."""
        batch.stopping = batch.stopping or reason
        batch.open = False
        if kill:
            batch.killing = (reason, hard or (batch.killing is not None and batch.killing[1]))
        self._turns.withdraw(batch)
        self._abandon(batch, batch.waiting.clear())
        self._leader.lanes.stop(batch)
        for record in list(batch.live.values()):
            self._stop_worker(record, reason, now, kill, hard)
        self._leader.close_if_over(batch, now)

    def _abandon(self, batch: BatchRecord, tasks: list[tuple[int, Work]]) -> None:
        if tasks:
            batch.done += len(tasks)
            batch.unstarted += [index for index, _ in tasks]
            self._telling.came_further(batch)
            self._leader.put(Abandon(batch.number, tasks, batch.stopping or "stop"))

    def _stop_worker(self, record: WorkerRecord, reason: str, now: float, kill: bool, hard: bool) -> None:
        match record.state:
            case Deciding():
                self._leave(record, reason, now)
                self._leader.lanes.decided(record)
            case Waiting() | Ready():
                self._leave(record, reason, now)
            case Spawning() | Running() | Stopping() | Killing() if kill:
                self.end(record, reason, now, hard)

    def _leave(self, record: WorkerRecord, reason: str, now: float) -> None:
        """It doesn't run, and never will again."""
        self._leader.outcomes.settle(record, workers.left_with(record, reason), now)

    def cut(self, batch: BatchRecord, index: int, now: float) -> None:
        """A task failed, and nobody wants what comes behind it: that doesn't start. What is before it goes on."""
        if batch.stopping is not None or (batch.cut is not None and batch.cut <= index):
            return
        batch.cut, batch.open = index, False
        fresh, again = batch.waiting.drop_behind(index)
        self._abandon(batch, fresh)
        self._leader.lanes.cut(batch, index)
        waiting = [record for record in batch.live.values() if isinstance(record.state, Waiting)]
        for record in again + [record for record in waiting if record.index > index]:
            if record.index in batch.live:  # its failure may have stopped the batch
                self._leave(record, "stop", now)
        self._turns.offer(batch)

    # ── of an attempt ─────────────────────────────────────────────────────────────────────────────

    def end(self, record: WorkerRecord, reason: str, now: float, hard: bool = False) -> None:
        """Ends an attempt that runs; one that nothing can end is given up."""
        kind = record.command.kind
        if kind == PROCESS:
            self._leader.lanes.recall_behind(record)
        if kind in (COMMAND, PROCESS):
            self._leader.follow(record, workers.stop(record, reason, now, hard))
            return
        if kind == COROUTINE and isinstance(record.state, Running):
            self._leader.follow(record, workers.stop(record, reason, now))
        if hard or kind == THREAD:
            self._give_up(record, getattr(record.state, "reason", reason), now)

    def _give_up(self, record: WorkerRecord, reason: str, now: float) -> None:
        """It runs where nothing can end it: the result is told, and never tried again, and its slot is lost."""
        self._leader.lanes.give_up(record)
        stops = reason == "timeout" and record.command.settings.policy.on_timeout == "stop"
        decision = STOP if stops else CONTINUE
        self._leader.outcomes.apply(decision, record, workers.abandoned(record, reason), now)

    # ── for want of slots ─────────────────────────────────────────────────────────────────────────

    def where_exhausted(self, now: float) -> None:
        """Every slot is lost to what doesn't end: nothing that waits would ever start."""
        everywhere = self._registry.slots.exhausted
        for batch in list(self._registry.batches.values()):
            while (
                (everywhere or batch.slots.exhausted) and batch.stopping is None and batch.waiting.has(None)
            ):
                record = self._leader.next_record(batch, batch.waiting.next_kind(None), now)
                error = record.error or SlotsExhausted(workers.name(record))
                self._leader.outcomes.settle(record, error, now)
