"""The monitor counts: tasks, not attempts. Nothing depends on it."""

from __future__ import annotations

from arrea._model.step import Abandon, Resolve, Tally

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._engine.registry import Registry
    from arrea._model.ending import Outcome
    from arrea._model.stats import Stats
    from arrea._model.step import Effect


class Monitor:
    """Counts of one engine since it began; `Stats` says what is what. `registry` tells what waits."""

    __slots__ = (
        "_registry", "abandoned_tasks", "active_workers", "completed_tasks", "failed_tasks", "retried_tasks",
        "total_workers",
    )  # fmt: skip

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.total_workers = self.active_workers = 0
        self.completed_tasks = self.failed_tasks = self.retried_tasks = self.abandoned_tasks = 0

    def observe(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if effect.__class__ is Tally:
                self._tally(effect)
            elif effect.__class__ is Resolve:
                self._outcomes(effect.outcomes)
            elif effect.__class__ is Abandon:
                self.abandoned_tasks += len(effect.tasks)

    def stats(self) -> Stats:
        """From any thread: each number is right at some moment, all of them at nearly the same one."""
        from arrea._model.stats import Stats  # few ask

        waiting = sum(batch.waiting.count for batch in list(self._registry.batches.values()))
        return Stats(
            total_workers=self.total_workers,
            active_workers=self.active_workers,
            completed_tasks=self.completed_tasks,
            failed_tasks=self.failed_tasks,
            queued_tasks=waiting,
            retried_tasks=self.retried_tasks,
            not_started_tasks=self.abandoned_tasks,
        )

    def _tally(self, tally: Tally) -> None:
        self.total_workers += tally.started
        self.active_workers += tally.started - tally.ended
        self.retried_tasks += tally.retried

    def _outcomes(self, outcomes: Sequence[Outcome]) -> None:
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        never = sum(error.code == "not_started" for error in errors)
        self.completed_tasks += len(outcomes) - len(errors)
        self.abandoned_tasks += never
        self.failed_tasks += len(errors) - never
