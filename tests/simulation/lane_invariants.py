"""What must hold of lanes: who was given what, nobody in two of them, and nothing after something was taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from arrea._engine.lanes import RECALL_MS
from arrea._model.ending import AnyEnding
from arrea._model.step import (
    Begun,
    Dispatch,
    LaneFailed,
    LaneLost,
    Recall,
    Recalled,
    Release,
    Returned,
)
from arrea._model.task import COROUTINE, PROCESS, THREAD
from tests.simulation.books import NEVER, BatchBook, LaneBook, WorkerBook, check

if TYPE_CHECKING:
    from arrea._model.step import AttemptId


class Watch(Protocol):
    """The whole, of which this is a part."""

    now: float
    batches: dict[int, BatchBook]
    gone: set[AttemptId]
    came: int
    failed_to_come: int

    def batch(self, number: int) -> BatchBook: ...
    def check_start(self, batch: BatchBook, attempt: AttemptId) -> WorkerBook: ...


class LaneWatch:
    """open: lanes that hold a slot. unbegun: attempts that count, though they never had a process."""

    def __init__(self, watch: Watch, max_processes: int) -> None:
        self._watch = watch
        self.max_processes = max_processes
        self.open: dict[int, LaneBook] = {}
        self.unbegun: set[AttemptId] = set()
        self._last = 0

    @property
    def processes(self) -> int:
        return sum(lane.kind == PROCESS for lane in self.open.values())

    def _worker(self, attempt: AttemptId) -> WorkerBook:
        return self._watch.batches[attempt[0]].workers[attempt[1]]

    # ── inputs ────────────────────────────────────────────────────────────────────────────────────

    def _lane(self, number: int) -> LaneBook | None:
        lane = self.open.get(number)
        if lane is not None:
            lane.told_at = self._watch.now
        return lane

    def begun(self, given: Begun) -> None:
        lane = self._lane(given.lane)
        if lane is not None and not lane.begun:
            lane.begun, lane.since = True, self._watch.now
            self._watch.came += 1
            self._head_runs(lane)

    def _head_runs(self, lane: LaneBook) -> None:
        """As far as anybody can know."""
        if lane.calls and lane.begun and not lane.asked:
            head = self._worker(lane.calls[0])
            head.spawned_at = min(head.spawned_at, lane.since)

    def returned(self, given: Returned) -> None:
        lane = self._lane(given.lane)
        if lane is None:
            return
        for attempt, ending in zip(given.attempts, given.returns, strict=True):
            if attempt == lane.lost:
                self._regain(lane)
            elif lane.calls and lane.calls[0] == attempt:
                self._end(lane, ending)
                lane.since = ending.ended
                lane.sealed = lane.sealed or bool(ending.problem or ending.warnings)
        self._head_runs(lane)

    def _end(self, lane: LaneBook, ending: AnyEnding | None) -> None:
        attempt = lane.last = lane.calls.pop(0)
        self._watch.gone.add(attempt)
        worker = self._worker(attempt)
        worker.ended, worker.ending = True, ending

    def _regain(self, lane: LaneBook) -> None:
        lane.lost, lane.sealed = None, True
        lane.batch.lost -= 1

    def recalled(self, given: Recalled) -> None:
        lane = self._lane(given.lane)
        if lane is None:
            return
        if given.kept not in (*lane.calls, lane.last, None):
            return
        lane.asked, lane.sealed = False, True
        self._take_back(lane, lane.calls.index(given.kept) + 1 if given.kept in lane.calls else 0)
        self._head_runs(lane)

    def _take_back(self, lane: LaneBook, kept: int) -> None:
        for attempt in lane.calls[kept:]:
            self._watch.gone.add(attempt)
            self._worker(attempt).ended = True
        del lane.calls[kept:]

    def lost(self, given: LaneLost) -> None:
        lane = self._lane(given.lane)
        if lane is None:
            return
        if lane.calls and lane.calls[0] == given.ran:
            self._end(lane, given.crash)
        elif lane.calls:
            self.unbegun.add(lane.calls[0])
        self._take_back(lane, 0)
        lane.sealed = True

    def failed(self, given: LaneFailed) -> None:
        lane = self._lane(given.lane)
        if lane is None:
            return
        if lane.calls:
            self.unbegun.add(lane.calls[0])
            self._watch.failed_to_come += 1
        if lane.lost is not None:
            self._regain(lane)
        self._take_back(lane, 0)
        lane.sealed = True

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, effect: Dispatch) -> None:
        attempts = [attempt for attempt, _ in effect.calls]
        batch = self._watch.batch(attempts[0][0])
        lane = self.open.get(effect.lane) or self._new(effect, batch)
        check(not lane.sealed, "given to a lane that gets no more:", attempts)
        check(lane.kind == effect.kind and lane.batch is batch, "given to a lane of others:", attempts)
        if not lane.calls:
            lane.since = self._watch.now
        for attempt, call in effect.calls:
            check(call is batch.works[attempt[1]] and call.kind == lane.kind, "not that call:", attempt)
            self._give(lane, attempt)
        check(lane.kind == PROCESS or len(lane.calls) == 1, "two at once:", lane.calls)
        self._head_runs(lane)

    def _new(self, effect: Dispatch, batch: BatchBook) -> LaneBook:
        check(effect.lane > self._last, "a lane's number again:", effect.lane)
        self._last = effect.lane
        lane = self.open[effect.lane] = LaneBook(effect.lane, effect.kind, batch)
        check(
            lane.kind != PROCESS or self.processes <= self.max_processes,
            "too many processes:",
            self.processes,
        )
        return lane

    def _give(self, lane: LaneBook, attempt: AttemptId) -> None:
        worker = self._watch.check_start(lane.batch, attempt)
        check(all(attempt not in other.calls for other in self.open.values()), "in two lanes:", attempt)
        worker.begin(attempt, 0, lane)
        lane.calls.append(attempt)

    def recall(self, effect: Recall) -> None:
        lane = self.open[effect.lane]
        check(not lane.asked, "asked again:", effect.lane)
        check(lane.kind == PROCESS, "nothing can be taken back from lane", effect.lane)
        needed = len(lane.calls) > 1 or not lane.begun or lane.told_at == self._watch.now
        check(needed, "nothing to take back:", effect.lane)
        lane.asked = lane.sealed = True

    def release(self, effect: Release) -> None:
        lane = self.open.pop(effect.lane)
        check(not lane.calls and lane.lost is None, "released, but it runs", lane.calls, lane.lost)
        check(not lane.deciding, "released, but it is not decided what comes of its call")

    def give_up(self, worker: WorkerBook) -> None:
        """It is told as if it had ended, and runs on; its slot is lost."""
        lane = worker.lane
        assert lane is not None
        check(lane.kind in (THREAD, COROUTINE), "given up, but could be killed:", worker.attempt)
        check(lane.kind == THREAD or worker.signalled, "given up, but never cancelled:", worker.attempt)
        lane.given_up = True
        if worker.attempt not in self._watch.gone:
            check(lane.calls == [worker.attempt], "given up where it isn't:", worker.attempt)
            lane.calls.clear()
            lane.lost = worker.attempt
            lane.batch.lost += 1
        worker.ended = worker.abandoned = True

    # ── after each step ───────────────────────────────────────────────────────────────────────────

    def running(self) -> list[WorkerBook]:
        """Those of which it is certain that they run."""
        return [
            self._worker(lane.calls[0])
            for lane in self.open.values()
            if lane.calls and lane.begun and not lane.asked
        ]

    def check_kept(self) -> None:
        """No lane holds a slot for nothing, and in none others wait for long."""
        for lane in self.open.values():
            needed = lane.calls or lane.deciding or lane.lost is not None
            check(needed, "a lane is held for nothing:", lane.number)
            if len(lane.calls) > 1 and lane.begun and not lane.sealed:
                head = self._worker(lane.calls[0])
                short = self._watch.now < head.spawned_at + RECALL_MS
                check(short or head.exiting, "others wait behind a long one:", lane.calls)


def may_be_signalled(worker: WorkerBook, kind: str) -> bool:
    """Only worker processes can be killed; a coroutine can be asked."""
    lane = worker.lane
    return lane is not None and lane.kind in ((PROCESS, COROUTINE) if kind == "Terminate" else (PROCESS,))


def waits_in_vain(worker: WorkerBook, now: float) -> bool:
    """Nothing was done about its timeout."""
    limit = worker.work.settings.timeout_ms
    return limit is not None and now >= worker.spawned_at + limit and worker.spawned_at < NEVER


LANE_INPUTS: dict[type, Callable[..., None]] = {
    Begun: LaneWatch.begun,
    Returned: LaneWatch.returned,
    Recalled: LaneWatch.recalled,
    LaneLost: LaneWatch.lost,
    LaneFailed: LaneWatch.failed,
}
LANE_EFFECTS: dict[type, Callable[..., None]] = {
    Dispatch: LaneWatch.dispatch,
    Recall: LaneWatch.recall,
    Release: LaneWatch.release,
}
