"""The monitor counts what the events tell: tasks, not attempts. Nothing depends on it."""

from __future__ import annotations

from arrea._model.step import Abandon, Emit, Resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._model.step import Effect


class Monitor:
    """Counts of one engine since it began.

    total_workers: ever started. active_workers: not over yet. completed_tasks, failed_tasks, retried_tasks.
    abandoned_tasks: never started, because their batch stopped.
    """

    __slots__ = (
        "abandoned_tasks", "active_workers", "completed_tasks", "failed_tasks", "retried_tasks", "total_workers",
    )  # fmt: skip

    def __init__(self) -> None:
        self.total_workers = self.active_workers = 0
        self.completed_tasks = self.failed_tasks = self.retried_tasks = self.abandoned_tasks = 0

    def observe(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if effect.__class__ is Emit:
                self._event(effect.type)
            elif effect.__class__ is Resolve:
                self._outcome(effect.outcome.error is None)
            elif effect.__class__ is Abandon:
                self.abandoned_tasks += len(effect.tasks)

    def _event(self, type: str) -> None:
        if type == "worker_started":
            self.total_workers += 1
            self.active_workers += 1
        elif type in ("finished", "error"):
            self.active_workers -= 1
        elif type == "retry":
            self.retried_tasks += 1

    def _outcome(self, success: bool) -> None:
        if success:
            self.completed_tasks += 1
        else:
            self.failed_tasks += 1
