"""What must hold after every step, whatever happened.

The watch keeps books of its own, from inputs and effects alone, and compares: effects with the books, and then
(`registry_invariants`) the registry with the books, and the leader's indexes with the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arrea._engine.leader import Leader
from arrea._engine.worker import GIVE_UP_AFTER_MS
from arrea._model.step import (
    Answered,
    Ask,
    Cancelled,
    Effect,
    Exited,
    ExitSeen,
    Fed,
    Forget,
    Input,
    Kill,
    Log,
    Printed,
    Resized,
    Resolve,
    Spawn,
    Spawned,
    SpawnFailed,
    Submitted,
    Terminate,
    Want,
)
from arrea._model.task import COMMAND
from tests.simulation.books import NEVER, BatchBook, Violation, WorkerBook, check
from tests.simulation.lane_invariants import (
    LANE_EFFECTS,
    LANE_INPUTS,
    LaneWatch,
    may_be_signalled,
    waits_in_vain,
)
from tests.simulation.outcome_invariants import OUTCOME_EFFECTS, OutcomeWatch
from tests.simulation.registry_invariants import check_indexes, check_registry

if TYPE_CHECKING:
    from arrea._model.step import AttemptId

__all__ = ["Violation", "Watch", "check"]


class Watch:
    """Looks at each step of an engine; raises `Violation`.

    gone: attempts that ended in this turn. came, failed_to_come: how many processes did, in this turn.
    """

    def __init__(self, max_workers: int, max_processes: int) -> None:
        self.max_workers = max_workers
        self.batches: dict[int, BatchBook] = {}
        self.open: dict[int, BatchBook] = {}
        self.lanes = LaneWatch(self, max_processes)
        self.outcomes = OutcomeWatch(self)
        self.live = self.deciding = 0
        self.now = 0.0
        self.most_timers = self.came = self.failed_to_come = 0
        self.capacity: float = NEVER
        self.used = 0
        self.given_up = self.resized = False
        self.gone: set[AttemptId] = set()
        self._seen: list[AttemptId] = []

    def after_step(
        self, now: float, inputs: Sequence[Input], effects: Sequence[Effect], leader: Leader
    ) -> None:
        check(now >= self.now, "time went back")
        self._begin(now)
        self._take_inputs(inputs)
        for batch in self.open.values():
            if now >= batch.deadline_at:
                batch.stop(now)
                batch.kills = True
        self.outcomes.begin(effects, leader.registry)
        self._take_effects(effects)
        self.outcomes.end()
        for attempt in self._seen:
            worker = self._current(attempt)
            if worker is not None and not worker.signalled:
                worker.exiting = True
        self._check_all(leader)

    def _begin(self, now: float) -> None:
        self.now = now
        self.gone.clear()
        self._seen.clear()
        self.came = self.failed_to_come = 0
        self.given_up = self.resized = False

    def _take_inputs(self, inputs: Sequence[Input]) -> None:
        for given in inputs:
            if type(given) in RANKED_FIRST:
                INPUTS[type(given)](self, given)
        for given in inputs:
            kind = type(given)
            if kind in LANE_INPUTS:
                LANE_INPUTS[kind](self.lanes, given)
            elif kind not in RANKED_FIRST and kind not in UNWATCHED:
                INPUTS[kind](self, given)

    def _take_effects(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            kind = type(effect)
            if kind in LANE_EFFECTS:
                LANE_EFFECTS[kind](self.lanes, effect)
            elif kind in OUTCOME_EFFECTS:
                OUTCOME_EFFECTS[kind](self.outcomes, effect)
            elif kind not in UNWATCHED:
                EFFECTS[kind](self, effect)

    def _check_all(self, leader: Leader) -> None:
        check_registry(self, leader)
        check_indexes(self, leader)
        self.lanes.check_kept()
        for batch in self.open.values():
            for worker in batch.live.values():
                self._check_ladder(batch, worker)
        for worker in self.lanes.running():
            self._check_ladder(self.batches[worker.attempt[0]], worker)

    def at_end(self, leader: Leader) -> None:
        """Nothing goes on, but what was given up and never ends."""
        registry = leader.registry
        check(not registry.batches, "batches are left:", list(registry.batches))
        check(all(batch.closed for batch in self.batches.values()), "a batch was never closed")
        lost = [lane for lane in self.lanes.open.values() if lane.lost is not None]
        check(
            len(lost) == len(self.lanes.open) == len(registry.lanes), "lanes are left:", list(registry.lanes)
        )
        check(registry.slots.used == registry.slots.lost == len(lost), "slots are left:", registry.slots.used)
        check(self.live == self.deciding == 0, "something is left:", self.live, self.deciding)
        check(registry.processes.used == 0, "processes are left:", registry.processes.used)
        held = [token.number for lane in registry.lanes.values() for token in lane.tokens[:1]]
        numbers = sorted(registry.slots._free + held)
        check(numbers == list(range(1, len(numbers) + 1)), "slots were lost or doubled:", numbers)
        check(leader.next_due() is None and not len(leader.turns), "an index is left")

    def check_truth(self, began: Sequence[AttemptId]) -> None:
        """No call ran twice, and each result counts as many attempts as there were. Given all that began."""
        check(len(began) == len(set(began)), "ran twice:", [each for each in began if began.count(each) > 1])
        for number, batch in self.batches.items():
            for index, attempts in batch.settled.items():
                if batch.works[index].kind != COMMAND:
                    ran = {each for each in began if each[:2] == (number, index)}
                    counted = {(number, index, attempt) for attempt in range(1, attempts + 1)}
                    check(ran <= counted, "ran, and isn't counted:", ran - counted)
                    check(counted - ran <= self.lanes.unbegun, "counted, and never ran:", counted - ran)

    # ── inputs ────────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, given: Submitted) -> None:
        self.batches[given.number] = self.open[given.number] = BatchBook(given.number, given.plan, self.now)

    def _fed(self, given: Fed) -> None:
        batch = self.batches[given.batch]
        batch.add(given.commands)
        batch.open = batch.open and not given.last
        batch.wanted -= len(given.commands)

    def _cancelled(self, given: Cancelled) -> None:
        batch = self.open.get(given.batch)
        if batch is not None:
            batch.stop(self.now)
            batch.kills = True
            batch.hard = batch.hard or given.hard

    def _resized(self, given: Resized) -> None:
        self.resized = True
        self.max_workers, self.lanes.max_processes = given.max_workers, given.max_processes

    def _current(self, attempt: AttemptId) -> WorkerBook | None:
        """The worker whose live attempt this is."""
        batch = self.open.get(attempt[0])
        worker = None if batch is None else batch.workers.get(attempt[1])
        return None if worker is None or worker.attempt != attempt or worker.ended else worker

    def _spawned(self, given: Spawned) -> None:
        worker = self._current(given.attempt)
        if worker is not None and worker.spawned_at == NEVER:
            worker.spawned_at = self.now
            self.came += 1

    def _spawn_failed(self, given: SpawnFailed) -> None:
        worker = self._current(given.attempt)
        if worker is not None and worker.spawned_at == NEVER:
            self._end(worker)
            self.failed_to_come += 1

    def _exit_seen(self, given: ExitSeen) -> None:
        worker = self._current(given.attempt)
        if worker is not None:
            self.gone.add(given.attempt)
            self._seen.append(given.attempt)

    def _exited(self, given: Exited) -> None:
        worker = self._current(given.attempt)
        if worker is not None:
            worker.ending = given.ending
            self.gone.add(given.attempt)
            self._end(worker)

    def _end(self, worker: WorkerBook) -> None:
        worker.ended = True
        self.live -= 1
        del self.batches[worker.attempt[0]].live[worker.attempt[1]]

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def batch(self, number: int) -> BatchBook:
        batch = self.open.get(number)
        check(batch is not None, "something came of batch", number, "after its end")
        assert batch is not None
        return batch

    def _spawn(self, effect: Spawn) -> None:
        batch = self.batch(effect.attempt[0])
        worker = self.check_start(batch, effect.attempt)
        check(1 <= effect.slot <= batch.plan.workers, "slot", effect.slot, "of", batch.plan.workers)
        check(
            all(effect.slot != other.slot for other in batch.holders.values()), "one slot twice", effect.slot
        )
        worker.begin(effect.attempt, effect.slot)
        batch.live[effect.attempt[1]] = worker
        self.live += 1

    def check_start(self, batch: BatchBook, attempt: AttemptId) -> WorkerBook:
        """Of a command, or of a call that is sent to a lane."""
        _, index, attempts = attempt
        worker = batch.worker(index)
        check(not batch.stopped, "a start in a stopped batch", attempt)
        check(index < batch.cut or worker.retries, "a start behind a failure", attempt)
        check(worker.ended and index not in batch.live, "two live attempts", attempt)
        check(not worker.over and index not in batch.settled, "a start after the end", attempt)
        check(worker.started or worker.retries == 0, "a retry without a start", attempt)
        check(attempts == worker.retries + 1 <= worker.allowed, "too many attempts", attempt)
        check(self.now >= worker.not_before, "a retry before its delay", attempt)
        return worker

    def _signalled(self, attempt: AttemptId, kind: str) -> tuple[BatchBook, WorkerBook]:
        """A signal goes to a process that runs, or was seen to end in this very turn."""
        batch = self.batch(attempt[0])
        worker = batch.workers[attempt[1]]
        check(worker.attempt == attempt and worker.spawned_at < NEVER, "a signal to nobody", attempt)
        is_command = worker.work.kind == COMMAND
        check(is_command or may_be_signalled(worker, kind), "a signal where none can be sent:", attempt)
        check(not worker.exiting, "a signal to what has exited", attempt)
        # That a call runs, and that it has ended, may become known at once.
        stopping = (
            batch.may_kill or worker.spawned_at == self.now or worker.signalled or worker.lane is not None
        )
        check(attempt not in self.gone or stopping, "a signal to the dead", attempt)
        check(not worker.ended or attempt in self.gone, "a signal to the dead", attempt)
        return batch, worker

    def _terminate(self, effect: Terminate) -> None:
        batch, worker = self._signalled(effect.attempt, type(effect).__name__)
        check(not worker.signalled, "terminated twice", effect.attempt)
        check(worker.timed_out or batch.kills or batch.may_kill, "terminated without need", effect.attempt)
        worker.terminated_at = self.now

    def _kill(self, effect: Kill) -> None:
        batch, worker = self._signalled(effect.attempt, type(effect).__name__)
        check(worker.killed_at == NEVER, "killed twice", effect.attempt)
        grace_over = self.now >= worker.terminated_at + batch.plan.kill_grace_ms
        check(batch.hard or grace_over, "killed within the grace", effect.attempt)
        worker.killed_at = self.now

    def _forget(self, effect: Forget) -> None:
        _, worker = self._signalled(effect.attempt, type(effect).__name__)
        check(worker.forgotten_at == NEVER, "forgotten twice", effect.attempt)
        check(self.now >= worker.killed_at + GIVE_UP_AFTER_MS, "forgotten too early", effect.attempt)
        worker.forgotten_at = self.now

    def _ask(self, effect: Ask) -> None:
        batch = self.batch(effect.attempt[0])
        worker = batch.deciding[effect.attempt[1]] = batch.workers[effect.attempt[1]]
        self.count_deciding(worker, 1)
        check(worker.ended and worker.attempt == effect.attempt, "asked about what runs", effect.attempt)
        check(worker.asked_at == NEVER, "asked twice", effect.attempt)
        worker.asked_at = self.now

    def count_deciding(self, worker: WorkerBook, more: int) -> None:
        """Who is asked about keeps the slot: its own, or its lane."""
        if worker.lane is not None:
            worker.lane.deciding += more
        else:
            self.deciding += more

    def _want(self, effect: Want) -> None:
        batch = self.batch(effect.batch)
        batch.wanted += effect.count
        check(effect.count > 0 and batch.wanted <= batch.plan.window, "wanted too much:", batch.wanted)

    # ── the ladder ────────────────────────────────────────────────────────────────────────────────

    def _check_ladder(self, batch: BatchBook, worker: WorkerBook) -> None:
        """What must have been done by now to what runs."""
        now, attempt = self.now, worker.attempt
        if worker.spawned_at == NEVER or worker.exiting:
            return
        check(worker.signalled or not waits_in_vain(worker, now), "runs on after its timeout", attempt)
        check(worker.signalled or not batch.kills, "runs on after its batch", attempt)
        check(worker.killed_at < NEVER or not batch.hard, "runs on after a hard cancel", attempt)
        over = now > worker.terminated_at and now >= worker.terminated_at + batch.plan.kill_grace_ms
        check(worker.killed_at < NEVER or not over, "runs on after the grace", attempt)
        given_up = now >= worker.killed_at + GIVE_UP_AFTER_MS
        check(worker.forgotten_at < NEVER or not given_up, "waited for in vain", attempt)


RANKED_FIRST = (Submitted, Spawned)
UNWATCHED = (Answered, Printed, Log, Resolve)
INPUTS: dict[type, Callable[..., None]] = {
    Submitted: Watch._submitted,
    Fed: Watch._fed,
    Cancelled: Watch._cancelled,
    Resized: Watch._resized,
    Spawned: Watch._spawned,
    SpawnFailed: Watch._spawn_failed,
    ExitSeen: Watch._exit_seen,
    Exited: Watch._exited,
}
EFFECTS: dict[type, Callable[..., None]] = {
    Spawn: Watch._spawn,
    Terminate: Watch._terminate,
    Kill: Watch._kill,
    Forget: Watch._forget,
    Ask: Watch._ask,
    Want: Watch._want,
}
