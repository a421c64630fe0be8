"""The table: all state of batches and workers. The leader's indexes can be made again from it at any time."""

from __future__ import annotations

from collections import deque

from arrea._engine.gates import Slots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrea._engine.gates import Token
    from arrea._engine.states import State
    from arrea._model.errors import TaskError
    from arrea._model.plan import Plan
    from arrea._model.result import Ending
    from arrea._model.step import AttemptId
    from arrea._model.task import Command


class WorkerRecord:
    """A task from its first start to its end.

    attempts: how often it was started. spawn_failures: starts in a row that failed for want of room.
    error, ending: of the last attempt that ended. told: that it started.
    """

    __slots__ = (
        "attempts",
        "batch",
        "command",
        "ending",
        "error",
        "index",
        "spawn_failures",
        "started_at",
        "state",
        "tokens",
        "told",
    )  # fmt: skip

    def __init__(self, batch: BatchRecord, index: int, command: Command, now: float, state: State) -> None:
        self.batch = batch
        self.index = index
        self.command = command
        self.state = state
        self.attempts = 0
        self.spawn_failures = 0
        self.told = False
        self.tokens: tuple[Token, ...] = ()
        self.started_at = now
        self.ending: Ending | None = None
        self.error: TaskError | None = None

    @property
    def attempt_id(self) -> AttemptId:
        return (self.batch.number, self.index, self.attempts)


class BatchRecord:
    """A batch that isn't over.

    waiting: tasks that were never started. again: workers whose retry is due and that wait for a slot.
    live: workers by index. turn: its place in the leader's queue. stopping: why nothing more of it starts.
    total: tasks seen so far; done: those that are settled. open: more will be fed; asked: how many of them
    were wanted and haven't come. unstarted: indexes of those that were settled without a start.
    """

    __slots__ = (
        "again", "asked", "deadline_at", "done", "failed", "live", "number", "open", "plan", "retried",
        "sequence", "slots", "stopping", "submitted_at", "total", "turn", "unstarted", "waiting",
    )  # fmt: skip

    def __init__(self, number: int, plan: Plan, now: float) -> None:
        self.number = number
        self.plan = plan
        self.submitted_at = now
        self.deadline_at = None if plan.deadline_ms is None else now + plan.deadline_ms
        self.waiting: deque[tuple[int, Command]] = deque(enumerate(plan.commands))
        self.again: deque[WorkerRecord] = deque()
        self.live: dict[int, WorkerRecord] = {}
        self.slots = Slots(plan.workers)
        self.total = len(plan.commands)
        self.open = plan.open
        self.asked = 0
        self.stopping: str | None = None
        self.turn = 0
        self.unstarted: list[int] = []
        self.done = self.failed = self.retried = self.sequence = 0

    @property
    def startable(self) -> bool:
        """Something of it could start, if the engine had room."""
        return bool(self.waiting or self.again) and self.stopping is None and not self.slots.full

    @property
    def over(self) -> bool:
        return not (self.live or self.waiting or self.open)


class Registry:
    """All batches, the engine's slots, and the counters that give turns and nothing else."""

    __slots__ = ("batches", "slots", "turns")

    def __init__(self, max_workers: int) -> None:
        self.batches: dict[int, BatchRecord] = {}
        self.slots = Slots(max_workers)
        self.turns = 0

    def worker(self, attempt: AttemptId) -> WorkerRecord | None:
        """The worker whose *current* attempt this is. None: the id is late, doubled or foreign; ignore it."""
        batch = self.batches.get(attempt[0])
        worker = None if batch is None else batch.live.get(attempt[1])
        return worker if worker is not None and worker.attempts == attempt[2] else None

    def workers(self) -> Iterator[WorkerRecord]:
        for batch in self.batches.values():
            yield from batch.live.values()

    def next_turn(self) -> int:
        self.turns += 1
        return self.turns
