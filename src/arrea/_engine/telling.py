"""What the engine tells: the events of batches and workers, numbered, as effects of the turn.

Given what happened, appends `Emit`s (and `Log`s). Decides nothing: with nobody listening no outcome changes.
Each started worker has one terminal event, `finished` or `error`, and it is the last of that worker.
"""

from __future__ import annotations

from arrea._engine import worker as workers
from arrea._model.step import Emit, Kill, Log, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
    from arrea._model.ending import Outcome
    from arrea._model.errors import TaskError
    from arrea._model.step import Effect, Printed


PER_SUCCESS = 3  # events: progress, result, finished


class Telling:
    """Of one leader. `begin` names where the effects of a turn, and so its events, go.

    While nobody listens, events are numbered and not told.
    """

    __slots__ = ("_ended", "_now", "_out", "_progressed", "_registry", "_retried", "_started")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._out: list[Effect] = []
        self._now = 0.0
        self._progressed: dict[int, BatchRecord] = {}
        self._started = self._ended = self._retried = 0

    def begin(self, out: list[Effect], now: float) -> None:
        self._out, self._now = out, now

    def end(self) -> None:
        """Of the turn."""
        if self._progressed:
            for batch in list(self._progressed.values()):
                self._progress_of(batch)
        if self._started or self._ended or self._retried:
            self._out.append(Tally(self._started, self._ended, self._retried))
            self._started = self._ended = self._retried = 0
        self._out = []  # nobody shall hold what was told

    def _emit(self, type: str, batch: BatchRecord, index: int | None, **fields: Any) -> None:
        batch.sequence += 1
        if not self._registry.heard:
            return
        batch_id = batch.plan.batch_id
        self._out.append(Emit(type, batch.number, batch_id, index, self._now, batch.sequence, fields))

    # ── batches ───────────────────────────────────────────────────────────────────────────────────

    def batch_started(self, batch: BatchRecord) -> None:
        self._emit("batch_started", batch, None, total=batch.total, workers=batch.plan.workers)

    def batch_finished(self, batch: BatchRecord) -> None:
        self._progress_of(batch)
        self._emit(
            "batch_finished",
            batch,
            None,
            total=batch.total,
            failed=batch.failed,
            not_started=sorted(batch.unstarted),
            stopped_by=batch.stopping,
            duration=self._now - batch.submitted_at,
        )

    def came_further(self, batch: BatchRecord) -> None:
        """Some of its tasks are settled; told once at the end of the turn."""
        self._progressed[batch.number] = batch

    def _progress_of(self, batch: BatchRecord) -> None:
        if self._progressed.pop(batch.number, None) is not None:
            counts = {"done": batch.done, "total": batch.total, "failed": batch.failed}
            self._emit("batch_progress", batch, None, **counts, running=batch.slots.used)

    # ── workers ───────────────────────────────────────────────────────────────────────────────────

    def worker_started(self, record: WorkerRecord) -> None:
        """Once: at its first process, or when that is known never to come."""
        if record.told:
            return
        record.told = True
        self._started += 1
        if not self._registry.heard:
            record.batch.sequence += 1
            return
        command = record.command
        self._emit("worker_started", record.batch, record.index, label=command.label, command=command.text)

    def output(self, record: WorkerRecord, given: Printed) -> None:
        fields = {"attempt": record.attempts, "stream": given.stream, "chunk": given.chunk}
        self._emit("output", record.batch, record.index, **fields)

    def timeout(self, record: WorkerRecord) -> None:
        self._emit("timeout", record.batch, record.index, attempt=record.attempts)

    def killed(self, record: WorkerRecord, effects: list[Effect]) -> None:
        """If SIGKILL is among what follows for it."""
        if any(effect.__class__ is Kill for effect in effects):
            reason = getattr(record.state, "reason", None)
            self._emit("killed", record.batch, record.index, attempt=record.attempts, reason=reason)

    def retry(self, record: WorkerRecord, error: TaskError, delay_ms: float) -> None:
        self._retried += 1
        fields = {"attempt": record.attempts, "delay": delay_ms, "reason": error}
        self._emit("retry", record.batch, record.index, **fields)

    def ran(self, records: Sequence[WorkerRecord], outcomes: Sequence[Outcome]) -> None:
        """Calls of one batch: the beginning of those that were sent ahead isn't told yet."""
        if self._registry.heard or any(outcome.warnings for outcome in outcomes):
            for record, outcome in zip(records, outcomes, strict=True):
                self.worker_started(record)
                self.ended(record, outcome)
            return
        fresh = len(records) - sum(record.told for record in records)
        self._ended += len(records)
        self._started += fresh
        records[0].batch.sequence += fresh + PER_SUCCESS * len(records)

    def ended(self, record: WorkerRecord, outcome: Outcome) -> None:
        """The last events of a worker. One that did all of its tasks (its only one) came to 100 percent."""
        batch, index = record.batch, record.index
        self._ended += 1
        self._warnings(record, outcome.warnings)
        if outcome.error is not None:
            self._emit("error", batch, index, reason=outcome.error)
            return
        self._emit("progress", batch, index, percent=100.0, task_index=1, total=1)
        self._emit("result", batch, index, data=outcome.ending)
        self._emit("finished", batch, index)

    def _warnings(self, record: WorkerRecord, lines: tuple[str, ...]) -> None:
        action = record.command.settings.policy.on_warning
        if not lines or action not in ("log", "notify"):
            return
        self._out.append(Log(workers.name(record), lines))
        if action == "notify":
            self._emit("warning", record.batch, record.index, lines=lines)
