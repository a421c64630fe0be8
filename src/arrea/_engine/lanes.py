"""Lanes: slots that run calls one after another.

Given what became of calls and of the processes that they ran in; says which calls a lane gets next, and how many are
sent ahead of the one that runs: as many as fill a few milliseconds, so that short calls don't wait for each other's
messages, and long ones don't hold up what could run elsewhere. What a call's end means is for `Outcomes` to say.

A call that was sent ahead and whose process died, or that waits behind a long one, is taken back and never ran there.
A lane from which something was taken back, or in which a call failed, gets no more: so an answer that comes late can't
take back what was given after the question, and nobody runs twice.
"""

from __future__ import annotations

from itertools import islice

from arrea._engine import worker as workers
from arrea._engine.registry import Lane, WorkerRecord
from arrea._engine.states import QUEUED, Deciding, Queued, Running
from arrea._model.errors import SpawnFailed, WorkerCrashed
from arrea._model.step import Dispatch, Recall, Release
from arrea._model.task import PROCESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from arrea._engine.gates import Token
    from arrea._engine.outcomes import Outcomes
    from arrea._engine.registry import BatchRecord, Registry
    from arrea._engine.timers import Timers
    from arrea._engine.turns import Turns
    from arrea._model.ending import Return
    from arrea._model.errors import TaskError
    from arrea._model.step import AttemptId, Begun, Effect, LaneFailed, LaneLost, Recalled, Returned

    class Leader(Protocol):
        """What lanes ask of the leader."""

        registry: Registry
        timers: Timers
        turns: Turns
        outcomes: Outcomes

        def put(self, effect: Effect) -> None: ...
        def has_begun(self, record: WorkerRecord, at: float) -> None: ...
        def wait_for_room(self, record: WorkerRecord, now: float) -> None: ...
        def taken_back(self, record: WorkerRecord, now: float) -> None: ...
        def runs(self, record: WorkerRecord, since: float, now: float) -> None: ...
        def came_further(self, batch: BatchRecord, now: float) -> None: ...
        def give_back(self, tokens: Sequence[Token], batch: BatchRecord) -> None: ...


# So much work is sent to a worker process at once, and of calls that take longer than this none is sent ahead.
AHEAD_MS, ALONE_MS = 2.0, 20.0
MOST_AHEAD = 256
# What waits behind a call that takes so long is taken back.
RECALL_MS = 20.0
# The part of the newest measurement in the mean.
WEIGHT = 0.3
# So many processes in a row may die before they run anything.
LOSSES = 8


class Lanes:
    """Of one leader. touched: lanes in which something changed in this turn, by number.

    done: calls that succeeded in this turn, by their batches; `settle_done` before anything else happens to those.
    """

    __slots__ = ("_leader", "_registry", "done", "touched")

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._registry = leader.registry
        self.touched: dict[int, Lane] = {}
        self.done: dict[BatchRecord, list[WorkerRecord]] = {}

    # ── giving ────────────────────────────────────────────────────────────────────────────────────

    def open(self, batch: BatchRecord, kind: str, tokens: tuple[Token, ...], now: float) -> None:
        """A slot was given, and a call of this kind has its turn."""
        if kind == PROCESS:
            process = self._registry.processes.admit(now)
            tokens = (*tokens, process)  # type: ignore[arg-type]
        lane = Lane(self._registry.next_lane(), batch, kind, tokens)
        self._registry.lanes[lane.number] = batch.lanes[lane.number] = lane
        self._fill(lane, now)

    def go_on(self, now: float) -> None:
        """At the end of a turn, when all of it is known: who has room gets more, or gives its slot back."""
        touched, self.touched = self.touched, {}
        batches: dict[BatchRecord, list[Lane]] = {}
        for lane in touched.values():
            batches.setdefault(lane.batch, []).append(lane)
        for batch, lanes in batches.items():
            self._go_on(batch, [lane for lane in lanes if self._may_get_more(lane, now)], now)
            for lane in lanes:
                if not lane.calls and not lane.deciding:
                    self._close(lane)
                    self._help(lane)
            self._leader.came_further(batch, now)

    def _go_on(self, batch: BatchRecord, lanes: list[Lane], now: float) -> None:
        """These have room."""
        alike = [lane for lane in lanes if lane.kind != PROCESS and lane.kind == lanes[0].kind]
        if len(alike) > 1 and not batch.waiting.returning:
            self._give_one_each(batch, alike, now)
            lanes = [lane for lane in lanes if not lane.calls]
        for lane in lanes:
            self._fill(lane, now)
            self._begin_next(lane, now)

    def _give_one_each(self, batch: BatchRecord, lanes: list[Lane], now: float) -> None:
        """What `_fill` does, for many threads or coroutines at once."""
        put, live, kind, number = self._leader.put, batch.live, lanes[0].kind, batch.number
        tasks = batch.waiting.take_some(kind, len(lanes), self._registry.barred)
        for lane, (index, call) in zip(lanes, tasks, strict=False):
            record = live[index] = WorkerRecord(batch, index, call, now, QUEUED)
            record.attempts, record.lane = 1, lane
            lane.calls.append(record)
            lane.since = now
            put(Dispatch(lane.number, kind, batch.plan.batch_id, [((number, index, 1), call)]))  # type: ignore[list-item]
            if lane.begun:
                self._leader.runs(record, now, now)

    def settle_done(self) -> None:
        done, self.done = self.done, {}
        for batch, records in done.items():
            self._leader.outcomes.succeeded(batch, records)

    def _may_get_more(self, lane: Lane, now: float) -> bool:
        """If it is open, its batch's turn, and nobody would wait behind a long one."""
        batch, calls = lane.batch, lane.calls
        if lane.closing or lane.deciding or batch.stopping is not None or 2 * len(calls) > self._depth(lane):
            return False
        if calls and now >= lane.since + RECALL_MS:
            return False
        return not self._leader.turns.others_wait(batch, lane.kind)

    def _fill(self, lane: Lane, now: float) -> None:
        """Gives it as many calls as it has room for, if it is their turn."""
        batch, calls = lane.batch, lane.calls
        taken = self._take(lane, self._depth(lane) - len(calls), now)
        if not taken:
            return
        if not calls:
            lane.since = now
        calls.extend(taken)
        number = batch.number
        given: list[Any] = [((number, record.index, record.attempts), record.command) for record in taken]
        self._leader.put(Dispatch(lane.number, lane.kind, batch.plan.batch_id, given))
        if len(calls) > 1:
            self._watch_those_behind(lane)

    def _depth(self, lane: Lane) -> int:
        mean = lane.batch.mean_ms
        if lane.kind != PROCESS or mean is None or mean > ALONE_MS:
            return 1
        return max(2, min(MOST_AHEAD, int(AHEAD_MS / max(mean, 0.001))))

    def _take(self, lane: Lane, count: int, now: float) -> list[WorkerRecord]:
        """Retries first; of the fresh ones only while no task of another kind comes before them."""
        batch, waiting = lane.batch, lane.batch.waiting
        taken: list[WorkerRecord] = []
        while (
            waiting.returning and len(taken) < count and (record := waiting.take_back(lane.kind)) is not None
        ):
            workers.give(record, lane)
            taken.append(record)
        live = batch.live
        for index, call in waiting.take_some(lane.kind, count - len(taken), self._registry.barred):
            record = live[index] = WorkerRecord(batch, index, call, now, QUEUED)
            record.attempts, record.lane = 1, lane
            taken.append(record)
        return taken

    def _begin_next(self, lane: Lane, now: float) -> None:
        """Its first call runs, if it has its process, and if that is certain."""
        if lane.calls and lane.begun and not lane.asked and isinstance(lane.calls[0].state, Queued):
            self._leader.runs(lane.calls[0], lane.since, now)
            if len(lane.calls) > 1:
                self._watch_those_behind(lane)

    def _watch_those_behind(self, lane: Lane) -> None:
        """They shall not wait for long."""
        if len(lane.calls) < 2 or lane.asked:
            return
        head = lane.calls[0]
        state = head.state
        if isinstance(state, Running):
            recall = lane.since + RECALL_MS
            state.due = recall if state.times_out is None else min(recall, state.times_out)
            self._leader.timers.watch(head)

    def _close(self, lane: Lane) -> None:
        """It gives its slot back."""
        if self._registry.lanes.pop(lane.number, None) is None:
            return
        lane.batch.lanes.pop(lane.number, None)
        self._leader.put(Release(lane.number))
        self._leader.give_back(lane.tokens, lane.batch)

    # ── what is told of it ────────────────────────────────────────────────────────────────────────

    def begun(self, given: Begun, now: float) -> None:
        lane = self._registry.lanes.get(given.lane)
        if lane is None or lane.begun:
            return
        lane.begun = True
        lane.since = now
        self._registry.slots.widen()
        self._begin_next(lane, now)

    def returned(self, given: Returned, now: float) -> None:
        lane = self._registry.lanes.get(given.lane)
        if lane is None:
            return
        if lane.lost is not None:
            if lane.lost in given.attempts:
                self._regain(lane)
            return
        calls, batch = lane.calls, lane.batch
        done = self.done.get(batch)
        if done is None:
            done = self.done[batch] = []
        ended: Return | None = None
        for attempt, ending in zip(given.attempts, given.returns, strict=True):
            record = calls[0] if calls else None
            if record is None or record.index != attempt[1] or record.attempts != attempt[2]:
                continue  # it is late: somebody else has it now
            calls.popleft()
            ended = record.ending = ending
            state = record.state.__class__
            if ending.problem is None and not ending.warnings and (state is Queued or state is Running):
                done.append(record)
                continue
            self.settle_done()
            done = self.done[batch] = []
            self._ended(lane, record, ending, now)
        if ended is not None:
            lane.last, lane.since = given.attempts[-1], ended.ended
            self._measure(lane, given.returns)
            self._begin_next(lane, now)
            self.touched[lane.number] = lane

    def _ended(self, lane: Lane, record: WorkerRecord, ending: Return, now: float) -> None:
        """Not in the short way. What failed or warned has halted the lane."""
        error = workers.returned(record, ending)
        if ending.problem is not None or ending.warnings:
            lane.closing = True
        if error is None:
            self._leader.outcomes.succeeded(lane.batch, [record])
        else:
            self._leader.has_begun(record, ending.began)
            self._failed(lane, record, error, now)

    def _failed(self, lane: Lane, record: WorkerRecord, error: TaskError, now: float) -> None:
        record.lane = None
        self._leader.outcomes.failed(record, error, now)
        self._hold(lane, record)

    def _hold(self, lane: Lane, record: WorkerRecord) -> None:
        """While a function of the user's is asked, nothing starts in its place: it may say "stop"."""
        if isinstance(record.state, Deciding):
            record.lane = lane
            lane.deciding += 1

    def decided(self, record: WorkerRecord) -> None:
        lane, record.lane = record.lane, None
        if lane is not None:
            lane.deciding -= 1
            self.touched[lane.number] = lane

    def _measure(self, lane: Lane, returns: Sequence[Return]) -> None:
        """From the first one's beginning to the last one's end: what lies between them counts too."""
        if lane.kind != PROCESS:
            return
        batch = lane.batch
        batch.losses = 0
        took = max(0.0, returns[-1].ended - returns[0].began) / len(returns)
        batch.mean_ms = took if batch.mean_ms is None else batch.mean_ms + WEIGHT * (took - batch.mean_ms)

    # ── taking back ───────────────────────────────────────────────────────────────────────────────

    def stop(self, batch: BatchRecord) -> None:
        """Nothing more of it begins."""
        for lane in batch.lanes.values():
            self._recall(lane)

    def cut(self, batch: BatchRecord, index: int) -> None:
        """Of what is behind that task nothing begins."""
        for lane in batch.lanes.values():
            if lane.calls and lane.calls[-1].index > index:
                self._recall(lane)

    def recall_behind(self, record: WorkerRecord) -> None:
        """What waits behind it shall not wait any longer, and nothing more shall."""
        if record.lane is not None:
            self._recall(record.lane)
            record.lane.closing = True

    def _recall(self, lane: Lane) -> None:
        """A thread or an event loop has nothing behind what it runs, and begins that at once."""
        has_more = len(lane.calls) > lane.begun
        if lane.kind == PROCESS and has_more and not lane.closing:
            lane.asked = lane.closing = True
            self._leader.put(Recall(lane.number))

    def _help(self, lane: Lane) -> None:
        """It has nothing to do: what another one was sent ahead may run in its place."""
        mean = lane.batch.mean_ms
        if lane.kind != PROCESS or mean is None or mean < AHEAD_MS / 2 or lane.batch.waiting.has(None):
            return
        behind = [other for other in lane.batch.lanes.values() if len(other.calls) > 1 and not other.closing]
        if behind:
            self._recall(max(behind, key=lambda other: len(other.calls)))

    def recalled(self, given: Recalled, now: float) -> None:
        lane = self._registry.lanes.get(given.lane)
        if lane is None:
            return
        kept = 0 if given.kept is None else self._place(lane, given.kept) + 1
        if not kept and given.kept not in (None, lane.last):
            return  # it is late: that one was taken back itself
        lane.asked, lane.closing = False, True
        self._take_back(lane, kept, now)
        self._begin_next(lane, now)
        self.touched[lane.number] = lane

    def _place(self, lane: Lane, attempt: AttemptId) -> int:
        """Where it is among its calls; -1 if it isn't."""
        return next((place for place, record in enumerate(lane.calls) if record.attempt_id == attempt), -1)

    def _take_back(self, lane: Lane, kept: int, now: float) -> None:
        """All but the first `kept` of its calls wait again, in the same order."""
        behind = list(islice(lane.calls, kept, None))
        while len(lane.calls) > kept:
            lane.calls.pop()
        for record in reversed(behind):
            workers.take_back(record)
            self._leader.taken_back(record, now)

    # ── the end of its process ────────────────────────────────────────────────────────────────────

    def lost(self, given: LaneLost, now: float) -> None:
        """Who ran there died with it; who waited behind it waits for another."""
        lane = self._registry.lanes.get(given.lane)
        if lane is None:
            return
        if given.ran is not None and self._place(lane, given.ran) == 0:
            record = lane.calls.popleft()
            self._take_back(lane, 0, now)
            self._leader.has_begun(record, lane.since)
            self._failed(lane, record, workers.crashed(record, given.crash), now)
        else:
            self._lost_idle(lane, given, now)
        self._leave(lane, now)

    def _lost_idle(self, lane: Lane, given: LaneLost, now: float) -> None:
        """Nobody ran. Where that happens again and again the machine has a fault, and a task has to say so."""
        batch, crash = lane.batch, given.crash
        batch.losses += 1
        record = lane.calls.popleft() if batch.losses >= LOSSES and lane.calls else None
        self._take_back(lane, 0, now)
        if record is not None:
            told = crash.told or "it died before it ran anything"
            error = WorkerCrashed(workers.name(record), crash.signal, crash.exit_code, told)
            self._never_ran(lane, record, error, now)

    def failed(self, given: LaneFailed, now: float) -> None:
        """No process could be had."""
        lane = self._registry.lanes.get(given.lane)
        if lane is None:
            return
        is_needed = lane.calls and lane.batch.wants(lane.calls[0].index)
        head = lane.calls.popleft() if is_needed else None
        self._take_back(lane, 0, now)
        if head is not None:
            others = self._registry.slots.busy > 1
            if given.transient and (others or head.spawn_failures < workers.SPAWN_TRIES):
                head.lane = None
                self._close(lane)
                self._leader.wait_for_room(head, now)
            else:
                self._never_ran(lane, head, SpawnFailed(workers.name(head), given.error), now)
        self._leave(lane, now)

    def _never_ran(self, lane: Lane, record: WorkerRecord, error: TaskError, now: float) -> None:
        record.lane = None
        self._leader.outcomes.never_ran(record, error, now)
        self._hold(lane, record)

    def _leave(self, lane: Lane, now: float) -> None:
        """It has no process any more; a function of the user's that is asked still holds its slot."""
        lane.closing = True
        if lane.lost is not None:
            self._regain(lane)
        elif not lane.deciding:
            self._close(lane)
        self._leader.came_further(lane.batch, now)

    # ── what runs too long ────────────────────────────────────────────────────────────────────────

    def recall(self, record: WorkerRecord) -> bool:
        """A timer fired. Whether it was only that others shall not wait for this call any longer."""
        state = record.state
        assert isinstance(state, Running)
        if record.lane is None or state.due == state.times_out:
            return False
        state.due = state.times_out
        self.recall_behind(record)
        return True

    def give_up(self, record: WorkerRecord) -> None:
        """What it ran can't be ended, and runs on: the slot is lost until it does."""
        lane = record.lane
        assert lane is not None
        lane.calls.popleft()
        lane.lost, record.lane = record.attempt_id, None
        self._registry.slots.lose()
        lane.batch.slots.lose()
        lane.batch.lanes.pop(lane.number, None)

    def _regain(self, lane: Lane) -> None:
        self._registry.slots.regain()
        lane.batch.slots.regain()
        self._close(lane)
