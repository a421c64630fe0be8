"""The table: all state of batches and workers. The leader's indexes can be made again from it at any time."""

from __future__ import annotations

from collections import deque

from arrea._engine.gates import Slots
from arrea._engine.waiting import Waiting
from arrea._model.task import PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from arrea._engine.gates import Token
    from arrea._engine.states import State
    from arrea._model.call import Work
    from arrea._model.ending import AnyEnding
    from arrea._model.errors import TaskError
    from arrea._model.plan import Plan
    from arrea._model.step import AttemptId


class WorkerRecord:
    """A task from its first start to its end.

    attempts: how often it was started. spawn_failures: starts in a row that failed for want of room.
    error, ending: of the last attempt that ended. told: that it started.
    lane: where it was given to, None for a command and for whatever waits.
    """

    __slots__ = (
        "attempts",
        "batch",
        "command",
        "ending",
        "error",
        "index",
        "lane",
        "spawn_failures",
        "started_at",
        "state",
        "tokens",
        "told",
    )  # fmt: skip

    def __init__(self, batch: BatchRecord, index: int, command: Work, now: float, state: State) -> None:
        self.batch = batch
        self.index = index
        self.command = command
        self.state = state
        self.attempts = 0
        self.spawn_failures = 0
        self.told = False
        self.lane: Lane | None = None
        self.tokens: tuple[Token, ...] = ()
        self.started_at = now
        self.ending: AnyEnding | None = None
        self.error: TaskError | None = None

    @property
    def attempt_id(self) -> AttemptId:
        return (self.batch.number, self.index, self.attempts)


class Lane:
    """A slot that runs calls one after another, in one process, or one at a time in a thread or an event loop.

    calls: what it was given and hasn't ended, in order; the first one runs. begun: it has its process.
    since: when that began, or the last call (`last`) ended. asked: to give back what it hasn't begun; until it answers
    nobody knows what it runs. closing: it gets no more calls, and gives its slot back when it has none left.
    deciding: how many that ran here a function of the user's is asked about.
    lost: what it ran was given up and runs on, so the slot is lost until that ends.
    """

    __slots__ = (
        "asked", "batch", "begun", "calls", "closing", "deciding", "kind", "last", "lost", "number", "since", "tokens",
    )  # fmt: skip

    def __init__(self, number: int, batch: BatchRecord, kind: str, tokens: tuple[Token, ...]) -> None:
        self.number = number
        self.batch = batch
        self.kind = kind
        self.tokens = tokens
        self.calls: deque[WorkerRecord] = deque()
        self.begun = self.asked = self.closing = False
        self.last: AttemptId | None = None
        self.lost: AttemptId | None = None
        self.since = 0.0
        self.deciding = 0


class BatchRecord:
    """A batch that isn't over.

    waiting: tasks that want a slot. live: workers by index. lanes: those of its calls, by number. turn: its place
    among those that may start something, 0 for none. stopping: why nothing more of it starts.
    total: tasks seen so far; done: those that are settled. open: more will be fed; asked: how many of them
    were wanted and haven't come. unstarted: indexes of those that were settled without a start.
    mean_ms: how long its calls take in worker processes, None before the first. losses: processes in a row that
    died before they ran anything. cut: the first task, in order, that failed, where nothing behind that needs to
    start. killing: why what runs is to be ended, and whether hard; None: it finishes.
    """

    __slots__ = (
        "asked", "cut", "deadline_at", "done", "failed", "killing", "lanes", "live", "losses", "mean_ms", "number",
        "open", "plan", "retried", "sequence", "slots", "stopping", "submitted_at", "total", "turn", "unstarted",
        "waiting",
    )  # fmt: skip

    def __init__(self, number: int, plan: Plan, now: float) -> None:
        self.number = number
        self.plan = plan
        self.submitted_at = now
        self.deadline_at = None if plan.deadline_ms is None else now + plan.deadline_ms
        self.waiting = Waiting()
        self.waiting.extend(enumerate(plan.commands))
        self.live: dict[int, WorkerRecord] = {}
        self.lanes: dict[int, Lane] = {}
        self.mean_ms: float | None = None
        self.losses = 0
        self.cut: int | None = None
        self.killing: tuple[str, bool] | None = None
        self.slots = Slots(plan.workers)
        self.total = len(plan.commands)
        self.open = plan.open
        self.asked = 0
        self.stopping: str | None = None
        self.turn = 0
        self.unstarted: list[int] = []
        self.done = self.failed = self.retried = self.sequence = 0

    def startable(self, but: str | None) -> bool:
        """Something of it could start, if the engine had room; not of the kind `but`."""
        return self.stopping is None and not self.slots.full and self.waiting.has(but)

    def wants(self, index: int) -> bool:
        """Whether that task may still start."""
        return self.stopping is None and (self.cut is None or index <= self.cut)

    @property
    def over(self) -> bool:
        return not (self.live or self.waiting.count or self.open or self.lanes)


class Registry:
    """All batches, the engine's slots, and the counters that give turns and nothing else.

    processes: the slots of those that run functions. lanes: all of them, by number.
    """

    __slots__ = ("batches", "heard", "lane_numbers", "lanes", "processes", "slots", "turns")

    def __init__(self, max_workers: int, max_processes: int = 1) -> None:
        self.batches: dict[int, BatchRecord] = {}
        self.lanes: dict[int, Lane] = {}
        self.slots = Slots(max_workers)
        self.processes = Slots(max_processes)
        self.heard = True
        self.turns = self.lane_numbers = 0

    def worker(self, attempt: AttemptId) -> WorkerRecord | None:
        """The worker whose *current* attempt this is. None: the id is late, doubled or foreign; ignore it."""
        batch = self.batches.get(attempt[0])
        worker = None if batch is None else batch.live.get(attempt[1])
        return worker if worker is not None and worker.attempts == attempt[2] else None

    def workers(self) -> Iterator[WorkerRecord]:
        for batch in self.batches.values():
            yield from batch.live.values()

    @property
    def barred(self) -> str | None:
        """The kind of tasks that may not start at the moment, whatever slots are free."""
        return PROCESS if self.processes.full else None

    def next_lane(self) -> int:
        self.lane_numbers += 1
        return self.lane_numbers

    def next_turn(self) -> int:
        self.turns += 1
        return self.turns
