"""How an engine stands at a moment: counts (`Stats`), and what runs (`Running`)."""

from __future__ import annotations

from arrea._model.result import ReadOnly


class Stats(ReadOnly):
    """Counts of an engine since it began. Tasks are counted, not attempts.

    total_workers: started so far. active_workers: of these, not over yet (retries that wait included).
    completed_tasks: succeeded. failed_tasks: failed, refused ones included. retried_tasks: retries.
    queued_tasks: submitted, and not started yet. not_started_tasks: given up because their batch stopped.
    """

    __slots__ = (
        "active_workers", "completed_tasks", "failed_tasks", "not_started_tasks", "queued_tasks", "retried_tasks",
        "total_workers",
    )  # fmt: skip

    def __init__(
        self,
        *,
        total_workers: int,
        active_workers: int,
        completed_tasks: int,
        failed_tasks: int,
        queued_tasks: int,
        retried_tasks: int,
        not_started_tasks: int,
    ) -> None:
        put = object.__setattr__
        put(self, "total_workers", total_workers)
        put(self, "active_workers", active_workers)
        put(self, "completed_tasks", completed_tasks)
        put(self, "failed_tasks", failed_tasks)
        put(self, "queued_tasks", queued_tasks)
        put(self, "retried_tasks", retried_tasks)
        put(self, "not_started_tasks", not_started_tasks)

    total_workers: int
    active_workers: int
    completed_tasks: int
    failed_tasks: int
    queued_tasks: int
    retried_tasks: int
    not_started_tasks: int

    def __repr__(self) -> str:
        return f"Stats({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"


class Running(ReadOnly):
    """A task that runs at the moment.

    index, worker_id, batch_id, name (its label, or its command), attempt (from 1), elapsed_ms (of this attempt).
    """

    __slots__ = ("attempt", "batch_id", "elapsed_ms", "index", "name")

    def __init__(self, batch_id: str, index: int, name: str, attempt: int, elapsed_ms: float) -> None:
        put = object.__setattr__
        put(self, "batch_id", batch_id)
        put(self, "index", index)
        put(self, "name", name)
        put(self, "attempt", attempt)
        put(self, "elapsed_ms", elapsed_ms)

    batch_id: str
    index: int
    name: str
    attempt: int
    elapsed_ms: float

    @property
    def worker_id(self) -> str:
        return f"{self.batch_id}:{self.index}"

    def __repr__(self) -> str:
        return f"<Running {self.worker_id} attempt {self.attempt}, {self.elapsed_ms:.0f} ms>"
