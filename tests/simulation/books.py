"""What the watch writes down, from inputs and effects alone: of each task, each batch and each lane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from arrea._model.call import Work
from arrea._model.ending import AnyEnding, Crash, Ending
from arrea._model.plan import Plan
from arrea._model.task import COMMAND

if TYPE_CHECKING:
    from arrea._model.step import AttemptId

NEVER = float("inf")
NOBODY = (0, 0, 0)


class Violation(AssertionError):
    """An invariant doesn't hold."""


def check(holds: object, *told: object) -> None:
    if not holds:
        raise Violation(" ".join(map(str, told)))


class WorkerBook:
    """A task that was started. Times are of its last attempt; NEVER: hasn't happened.

    ended: its last attempt has, or was taken back. spawned_at: since when it runs. lane: where it was sent last.
    """

    __slots__ = (
        "abandoned", "asked_at", "attempt", "ended", "ending", "exiting", "forgotten_at", "killed_at", "lane",
        "not_before", "over", "retries", "slot", "spawned_at", "started", "terminated_at", "timed_out", "told", "work",
    )  # fmt: skip

    def __init__(self, work: Work) -> None:
        self.work = work
        self.started = self.over = self.abandoned = False
        self.told: list[str] = []
        self.retries = 0
        self.not_before = 0.0
        self.begin(NOBODY, 0)
        self.ended = True

    def begin(self, attempt: AttemptId, slot: int, lane: LaneBook | None = None) -> None:
        self.attempt = attempt
        self.slot = slot
        self.lane = lane
        self.ended = self.exiting = self.timed_out = False
        self.ending: AnyEnding | None = None
        self.spawned_at = self.terminated_at = self.killed_at = self.forgotten_at = self.asked_at = NEVER

    @property
    def signalled(self) -> bool:
        return self.signalled_at < NEVER

    @property
    def signalled_at(self) -> float:
        return min(self.terminated_at, self.killed_at)

    @property
    def allowed(self) -> float:
        """Most attempts."""
        policy = self.work.settings.policy
        return NEVER if callable(policy.on_error) else 1 + policy.max_retries

    @property
    def well(self) -> bool:
        """It ended as it should, and by itself."""
        ending = self.ending
        if ending is None or isinstance(ending, Crash) or self._promoted(ending):
            return False
        if isinstance(ending, Ending):
            return ending.status == 0 and not self.signalled
        return ending.problem is None and ending.ended < self.signalled_at

    def _promoted(self, ending: AnyEnding) -> bool:
        return self.work.settings.policy.on_warning == "promote_to_error" and bool(ending.warnings)


class LaneBook:
    """calls: what it was given and hasn't ended; last: the one that ended last.

    since: when it began, or that ended. told_at: when something was heard of it. asked: what it hasn't begun, and no
    answer yet. sealed: it gets no more. given_up: what it ran was; lost: the call, while it runs on.
    """

    __slots__ = (
        "asked",
        "batch",
        "begun",
        "calls",
        "deciding",
        "given_up",
        "kind",
        "last",
        "lost",
        "number",
        "sealed",
        "since",
        "told_at",
    )

    def __init__(self, number: int, kind: str, batch: BatchBook) -> None:
        self.number = number
        self.kind = kind
        self.batch = batch
        self.calls: list[AttemptId] = []
        self.begun = self.asked = self.sealed = self.given_up = False
        self.last: AttemptId | None = None
        self.lost: AttemptId | None = None
        self.since = 0.0
        self.told_at = -1.0
        self.deciding = 0


class BatchBook:
    """A batch, from its submission on. kills, hard: it was cancelled (hard), or its deadline passed.

    cut: the first task that failed, where nothing behind it needs to start. live, deciding: workers by index.
    """

    __slots__ = (
        "closed", "cut", "deadline_at", "deciding", "failed", "hard", "kills", "live", "lost", "may_kill", "number",
        "open", "plan", "progress", "retried", "sequence", "settled", "stopped_at", "wanted", "workers", "works",
    )  # fmt: skip

    def __init__(self, number: int, plan: Plan, now: float) -> None:
        self.number = number
        self.plan = plan
        self.deadline_at = NEVER if plan.deadline_ms is None else now + plan.deadline_ms
        self.works: list[Work] = []
        self.may_kill = plan.policy.on_stop == "kill"
        self.add(plan.commands)
        self.workers: dict[int, WorkerBook] = {}
        self.live: dict[int, WorkerBook] = {}
        self.deciding: dict[int, WorkerBook] = {}
        self.settled: dict[int, int] = {}
        self.progress = (0, 0)
        self.wanted = self.retried = self.failed = self.sequence = self.lost = 0
        self.stopped_at = self.cut = NEVER
        self.kills = self.hard = self.closed = False
        self.open = plan.open

    def add(self, works: Sequence[Work]) -> None:
        self.works += works
        self.may_kill = self.may_kill or any(work.settings.policy.on_stop == "kill" for work in works)

    @property
    def fed(self) -> int:
        return len(self.works)

    @property
    def stopped(self) -> bool:
        return self.stopped_at < NEVER

    @property
    def holders(self) -> dict[int, WorkerBook]:
        """Which commands hold a slot: what runs, and what a user's function decides about."""
        asked = {index: worker for index, worker in self.deciding.items() if worker.work.kind == COMMAND}
        return self.live | asked

    def worker(self, index: int) -> WorkerBook:
        """It may be its first start."""
        worker = self.workers.get(index)
        if worker is None:
            worker = self.workers[index] = WorkerBook(self.works[index])
        return worker

    def stop(self, now: float) -> None:
        self.stopped_at = min(self.stopped_at, now)
