"""Whose turn it is to start something: batches in the order in which they asked for it.

Given batches that have something to start; hands out the next one that can start it now. A batch that has only calls
for worker processes keeps its turn, and holds nobody up, while all of these are busy.
"""

from __future__ import annotations

from bisect import insort
from collections import deque

from arrea._model.task import PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._engine.registry import BatchRecord, Registry


class Turns:
    """An index over the batches that have a turn. barred: those that wait for a worker process, in the same order."""

    __slots__ = ("_barred", "_count", "_ready", "_registry")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        queued = [batch for batch in registry.batches.values() if batch.turn]
        self._ready = deque(sorted((batch.turn, batch.number, batch) for batch in queued))
        self._barred: dict[int, BatchRecord] = {}
        self._count = len(queued)

    def __len__(self) -> int:
        return self._count

    def offer(self, batch: BatchRecord) -> None:
        """If it has something to start, it has a turn: behind the others, if it hasn't one yet."""
        if not batch.startable(None):
            self.withdraw(batch)
        elif not batch.turn:
            batch.turn = self._registry.next_turn()
            self._count += 1
            self._ready.append((batch.turn, batch.number, batch))
            if len(self._ready) > 64 + 2 * self._count:
                self._ready = deque(entry for entry in self._ready if entry[2].turn == entry[0])
        elif batch.number in self._barred and batch.waiting.has(PROCESS):
            del self._barred[batch.number]
            insort(self._ready, (batch.turn, batch.number, batch))

    def withdraw(self, batch: BatchRecord) -> None:
        """It has no turn any more; its entry is dropped when it comes up, or, before many pile up, with all others."""
        if batch.turn:
            batch.turn = 0
            self._count -= 1
            self._barred.pop(batch.number, None)

    def next(self) -> BatchRecord | None:
        """Who can start something now; its turn is used up."""
        while (batch := self._pop()) is not None:
            barred = self._registry.barred
            if barred is not None and batch.startable(None) and not batch.startable(barred):
                self._barred[batch.number] = batch
                continue
            self.withdraw(batch)
            if batch.startable(barred):
                return batch
        return None

    def _pop(self) -> BatchRecord | None:
        ready = self._ready
        while ready and ready[0][2].turn != ready[0][0]:
            ready.popleft()
        first = next(iter(self._barred.values()), None) if self._registry.barred is None else None
        if first is not None and (not ready or first.turn < ready[0][0]):
            return self._barred.pop(first.number)
        return ready.popleft()[2] if ready else None

    def others_wait(self, batch: BatchRecord, kind: str) -> bool:
        """Whether another batch waits for a slot of this kind."""
        registry = self._registry
        is_full = registry.slots.full or (kind == PROCESS and registry.processes.full)
        return is_full and self._count > (batch.turn > 0)
