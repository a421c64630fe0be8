"""What of a batch wants to start: by where it runs, each in input order, and retries before the rest.

Hands out the task whose turn it is. Decides nothing about slots: who asks says which kinds may start.
"""

from __future__ import annotations

from collections import deque

from arrea._model.task import COMMAND, COROUTINE, PROCESS, THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from arrea._engine.registry import WorkerRecord
    from arrea._model.call import Work

KINDS = (COMMAND, PROCESS, THREAD, COROUTINE)
LAST = float("inf")


class Waiting:
    """Of one batch. fresh: tasks that were never started. again: workers that want a slot once more.

    count: how many are fresh; returning: how many are not.
    """

    __slots__ = ("again", "count", "fresh", "returning")

    def __init__(self) -> None:
        self.fresh: dict[str, deque[tuple[int, Work]]] = {}
        self.again: dict[str, deque[WorkerRecord]] = {}
        self.count = self.returning = 0

    def extend(self, numbered: Iterable[tuple[int, Work]]) -> None:
        last = ""
        queue: deque[tuple[int, Work]] = deque()
        for task in numbered:
            self.count += 1
            kind = task[1].kind
            if kind is not last:
                last, queue = kind, self.fresh.setdefault(kind, deque())
            queue.append(task)

    def put_back(self, record: WorkerRecord) -> None:
        """A retry that is due."""
        self._again(record).append(record)

    def put_first(self, record: WorkerRecord) -> None:
        """One that was given away and never began."""
        self._again(record).appendleft(record)

    def _again(self, record: WorkerRecord) -> deque[WorkerRecord]:
        self.returning += 1
        return self.again.setdefault(record.command.kind, deque())

    def has(self, but: str | None) -> bool:
        """Whether anything waits that isn't of the kind `but`."""
        if but is None:
            return self.count > 0 or self.returning > 0
        for kind, tasks in self.fresh.items():
            if tasks and kind != but:
                return True
        return any(records and kind != but for kind, records in self.again.items())

    def next_kind(self, but: str | None) -> str:
        """Whose turn it is among those that aren't of the kind `but`; something waits."""
        if not self.returning and len(self.fresh) == 1:
            return next(iter(self.fresh))
        for kind, records in self.again.items():
            if records and kind != but:
                return kind
        heads = [(tasks[0][0], kind) for kind, tasks in self.fresh.items() if tasks and kind != but]
        return min(heads)[1]

    def take_back(self, kind: str) -> WorkerRecord | None:
        """Who of this kind was there before, if anybody."""
        records = self.again.get(kind)
        if not records:
            return None
        self.returning -= 1
        return records.popleft()

    def take_fresh(self, kind: str) -> tuple[int, Work]:
        """The next fresh one of this kind; there is one."""
        self.count -= 1
        return self.fresh[kind].popleft()

    def take_some(self, kind: str, most: int, but: str | None) -> list[tuple[int, Work]]:
        """The next fresh ones of this kind, while no task of another kind, which isn't `but`, comes before them."""
        tasks, limit = self.fresh.get(kind), self._before(kind, but)
        taken: list[tuple[int, Work]] = []
        while tasks and len(taken) < most and tasks[0][0] < limit:
            taken.append(tasks.popleft())
        self.count -= len(taken)
        return taken

    def _before(self, kind: str, but: str | None) -> float:
        """The index before which a fresh task of this kind is first: another kind has its turn then.

        One of another kind that was there before goes before all fresh ones.
        """
        if self.returning and any(
            records and other not in (kind, but) for other, records in self.again.items()
        ):
            return 0
        if len(self.fresh) == 1:
            return LAST
        heads = [tasks[0][0] for other, tasks in self.fresh.items() if tasks and other not in (kind, but)]
        return min(heads, default=LAST)

    def drop_behind(self, index: int) -> tuple[list[tuple[int, Work]], list[WorkerRecord]]:
        """Nothing behind that one starts: hands back those, the fresh ones and the others."""
        fresh, again = self.drop(), [record for records in self.again.values() for record in records]
        self.again.clear()
        self.returning = 0
        self.extend(task for task in fresh if task[0] < index)
        for record in again:
            if record.index < index:
                self.put_back(record)
        return [task for task in fresh if task[0] > index], [
            record for record in again if record.index > index
        ]

    def drop(self) -> list[tuple[int, Work]]:
        """Hands back the fresh ones, in input order."""
        tasks = sorted((task for queue in self.fresh.values() for task in queue), key=lambda task: task[0])
        self.fresh.clear()
        self.count = 0
        return tasks

    def clear(self) -> list[tuple[int, Work]]:
        """Nothing more starts: hands back the fresh ones, in input order."""
        self.again.clear()
        self.returning = 0
        return self.drop()
