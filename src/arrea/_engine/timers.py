"""Which timers run: an index over the states of batches and workers, made again from the registry at any time.

Given deadlines as they arise, hands back those that are due and still hold. A state that was left takes its timer
along: such a one is dropped when it comes up, or, before many pile up, all at once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrea._engine.registry import BatchRecord, Registry, WorkerRecord

    Timer = tuple[float, int, int]  # when, batch number, index of the task or WHOLE_BATCH

WHOLE_BATCH = -1


class Timers:
    """The timers of one engine."""

    __slots__ = ("_heap", "_most", "_registry")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._heap = self._all()
        self._most = 64

    def __len__(self) -> int:
        """Stale ones included."""
        return len(self._heap)

    def next_due(self) -> float | None:
        while self._heap and self._stale(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[int, int]]:
        """Batch number and index of each timer that is due; each is judged when the one before has been acted on."""
        while self._heap and self._heap[0][0] <= now:
            timer = heappop(self._heap)
            if not self._stale(timer):
                yield timer[1:]

    def watch(self, record: WorkerRecord) -> None:
        """The worker's state may have a timer."""
        due = record.state.due
        if due is not None:
            self._add((due, record.batch.number, record.index))

    def watch_deadline(self, batch: BatchRecord) -> None:
        if batch.deadline_at is not None:
            self._add((batch.deadline_at, batch.number, WHOLE_BATCH))

    def _add(self, timer: Timer) -> None:
        heappush(self._heap, timer)
        if len(self._heap) > self._most:
            self._heap = self._all()
            self._most = 64 + 2 * len(self._heap)

    def _all(self) -> list[Timer]:
        timers: list[Timer] = []
        for batch in self._registry.batches.values():
            if batch.deadline_at is not None:
                timers.append((batch.deadline_at, batch.number, WHOLE_BATCH))
            for record in batch.live.values():
                if record.state.due is not None:
                    timers.append((record.state.due, batch.number, record.index))
        heapify(timers)
        return timers

    def _stale(self, timer: Timer) -> bool:
        at, number, index = timer
        batch = self._registry.batches.get(number)
        if batch is None:
            return True
        if index == WHOLE_BATCH:
            return batch.deadline_at != at
        record = batch.live.get(index)
        return record is None or record.state.due != at
