"""What must hold after every step, whatever happened.

The watch keeps books of its own, from inputs and effects alone, and compares: effects with the books, the
registry with the books, and the leader's indexes with the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from arrea._engine.leader import Leader
from arrea._engine.registry import BatchRecord
from arrea._engine.worker import GIVE_UP_AFTER_MS
from arrea._model.plan import Plan
from arrea._model.result import Ending, Outcome
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Cancelled,
    Close,
    Effect,
    Emit,
    Exited,
    ExitSeen,
    Fed,
    Forget,
    Input,
    Kill,
    Log,
    Printed,
    Resolve,
    Spawn,
    Spawned,
    SpawnFailed,
    Submitted,
    Terminate,
    Want,
)
from arrea._model.task import Command

NEVER = float("inf")
TERMINAL = ("finished", "error")
FROM_OUTSIDE = ("deadline", "cancelled", "not_started", "exception")


class Violation(AssertionError):
    """An invariant doesn't hold."""


def check(holds: object, *told: object) -> None:
    if not holds:
        raise Violation(" ".join(map(str, told)))


class WorkerBook:
    """A task that was started. Times are of its last attempt; NEVER: hasn't happened."""

    __slots__ = (
        "asked_at", "attempt", "command", "ended", "ending", "exiting", "forgotten_at", "killed_at", "not_before",
        "over", "retries", "slot", "spawned_at", "started", "terminated_at", "timed_out", "told",
    )  # fmt: skip

    def __init__(self, command: Command) -> None:
        self.command = command
        self.started = self.over = False
        self.told: list[str] = []
        self.retries = 0
        self.not_before = 0.0
        self.begin((0, 0, 0), 0)
        self.ended = True

    def begin(self, attempt: tuple[int, int, int], slot: int) -> None:
        self.attempt = attempt
        self.slot = slot
        self.ended = self.exiting = self.timed_out = False
        self.ending: Ending | None = None
        self.spawned_at = self.terminated_at = self.killed_at = self.forgotten_at = self.asked_at = NEVER

    @property
    def signalled(self) -> bool:
        return self.terminated_at < NEVER or self.killed_at < NEVER

    @property
    def allowed(self) -> float:
        """Most attempts."""
        policy = self.command.settings.policy
        return NEVER if callable(policy.on_error) else 1 + policy.max_retries


class BatchBook:
    """A batch, from its submission on. kills, hard: it was cancelled (hard), or its deadline passed."""

    __slots__ = (
        "closed", "commands", "deadline_at", "deciding", "failed", "hard", "kills", "live", "may_kill", "number",
        "open", "plan", "progress", "retried", "sequence", "settled", "stopped_at", "wanted", "workers",
    )  # fmt: skip

    def __init__(self, number: int, plan: Plan, now: float) -> None:
        self.number = number
        self.plan = plan
        self.deadline_at = NEVER if plan.deadline_ms is None else now + plan.deadline_ms
        self.commands: list[Command] = []
        self.may_kill = plan.policy.on_stop == "kill"
        self.add(plan.commands)
        self.workers: dict[int, WorkerBook] = {}
        self.live: dict[int, WorkerBook] = {}
        self.deciding: dict[int, WorkerBook] = {}
        self.settled: set[int] = set()
        self.progress = (0, 0)
        self.wanted = self.retried = self.failed = self.sequence = 0
        self.stopped_at = NEVER
        self.kills = self.hard = self.closed = False
        self.open = plan.open

    def add(self, commands: Sequence[Command]) -> None:
        self.commands += commands
        self.may_kill = self.may_kill or any(c.settings.policy.on_stop == "kill" for c in commands)

    @property
    def fed(self) -> int:
        return len(self.commands)

    @property
    def stopped(self) -> bool:
        return self.stopped_at < NEVER

    @property
    def holders(self) -> dict[int, WorkerBook]:
        """Who holds a slot: what runs, and what a user's function decides about."""
        return self.live | self.deciding

    def stop(self, now: float) -> None:
        self.stopped_at = min(self.stopped_at, now)


class Watch:
    """Looks at each step of an engine; raises `Violation`."""

    def __init__(self) -> None:
        self.batches: dict[int, BatchBook] = {}
        self.open: dict[int, BatchBook] = {}
        self.live = self.deciding = 0
        self._now = 0.0
        self._most_timers = self._came = self._failed_to_come = 0
        self._capacity: float = NEVER
        self._gone: set[tuple[int, int, int]] = set()
        self._seen: list[tuple[int, int, int]] = []

    def after_step(
        self, now: float, inputs: Sequence[Input], effects: Sequence[Effect], leader: Leader
    ) -> None:
        check(now >= self._now, "time went back")
        self._leader = leader
        self._now = now
        self._gone.clear()
        self._seen.clear()
        self._came = self._failed_to_come = 0
        for given in inputs:
            if type(given) in RANKED_FIRST:
                INPUTS[type(given)](self, given)
        for given in inputs:
            if type(given) not in RANKED_FIRST:
                INPUTS[type(given)](self, given)
        for batch in self.open.values():
            if now >= batch.deadline_at:
                batch.stop(now)
                batch.kills = True
        for effect in effects:
            EFFECTS[type(effect)](self, effect)
        for attempt in self._seen:
            worker = self._current(attempt)
            if worker is not None and not worker.signalled:
                worker.exiting = True
        self._check_registry(leader)
        self._check_indexes(leader)
        for batch in self.open.values():
            for worker in batch.live.values():
                self._check_ladder(batch, worker)

    def at_end(self, leader: Leader) -> None:
        """Nothing goes on."""
        registry = leader.registry
        check(not registry.batches, "batches are left:", list(registry.batches))
        check(all(batch.closed for batch in self.batches.values()), "a batch was never closed")
        check(registry.slots.used == self.live == self.deciding == 0, "slots are left:", registry.slots.used)
        free = registry.slots._free
        check(sorted(free) == list(range(1, len(free) + 1)), "slots were lost or doubled:", free)
        check(leader.next_due() is None and not leader._ready, "an index is left")

    # ── inputs ────────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, given: Submitted) -> None:
        self.batches[given.number] = self.open[given.number] = BatchBook(given.number, given.plan, self._now)

    def _fed(self, given: Fed) -> None:
        batch = self.batches[given.batch]
        batch.add(given.commands)
        batch.open = batch.open and not given.last
        batch.wanted -= len(given.commands)

    def _cancelled(self, given: Cancelled) -> None:
        batch = self.open.get(given.batch)
        if batch is not None:
            batch.stop(self._now)
            batch.kills = True
            batch.hard = batch.hard or given.hard

    def _current(self, attempt: tuple[int, int, int]) -> WorkerBook | None:
        """The worker whose live attempt this is."""
        batch = self.open.get(attempt[0])
        worker = None if batch is None else batch.live.get(attempt[1])
        return worker if worker is not None and worker.attempt == attempt else None

    def _spawned(self, given: Spawned) -> None:
        worker = self._current(given.attempt)
        if worker is not None and worker.spawned_at == NEVER:
            worker.spawned_at = self._now
            self._came += 1

    def _spawn_failed(self, given: SpawnFailed) -> None:
        worker = self._current(given.attempt)
        if worker is not None and worker.spawned_at == NEVER:
            self._end(worker)
            self._failed_to_come += 1

    def _exit_seen(self, given: ExitSeen) -> None:
        worker = self._current(given.attempt)
        if worker is not None:
            self._gone.add(given.attempt)
            self._seen.append(given.attempt)

    def _exited(self, given: Exited) -> None:
        worker = self._current(given.attempt)
        if worker is not None:
            worker.ending = given.ending
            self._gone.add(given.attempt)
            self._end(worker)

    def _end(self, worker: WorkerBook) -> None:
        worker.ended = True
        self.live -= 1
        del self.batches[worker.attempt[0]].live[worker.attempt[1]]

    def _answered(self, given: Answered) -> None:
        pass

    def _printed(self, given: Printed) -> None:
        pass

    def _log(self, effect: Log) -> None:
        pass

    # ── effects ───────────────────────────────────────────────────────────────────────────────────

    def _batch(self, number: int) -> BatchBook:
        batch = self.open.get(number)
        check(batch is not None, "something came of batch", number, "after its end")
        assert batch is not None
        return batch

    def _spawn(self, effect: Spawn) -> None:
        number, index, attempts = effect.attempt
        batch = self._batch(number)
        worker = batch.workers.setdefault(index, WorkerBook(batch.commands[index]))
        check(not batch.stopped, "a start in a stopped batch", effect.attempt)
        check(worker.ended and index not in batch.live, "two live attempts", effect.attempt)
        check(not worker.over, "a start after the end", effect.attempt)
        check(worker.started or worker.retries == 0, "a retry without a start", effect.attempt)
        check(attempts == worker.retries + 1 <= worker.allowed, "too many attempts", effect.attempt)
        check(self._now >= worker.not_before, "a retry before its delay", effect.attempt)
        check(1 <= effect.slot <= batch.plan.workers, "slot", effect.slot, "of", batch.plan.workers)
        check(
            all(effect.slot != other.slot for other in batch.holders.values()), "one slot twice", effect.slot
        )
        worker.begin(effect.attempt, effect.slot)
        batch.live[index] = worker
        self.live += 1

    def _signalled(self, attempt: tuple[int, int, int]) -> tuple[BatchBook, WorkerBook]:
        """A signal goes to a process that runs, or was seen to end in this very turn."""
        batch = self._batch(attempt[0])
        worker = batch.workers[attempt[1]]
        check(worker.attempt == attempt and worker.spawned_at < NEVER, "a signal to nobody", attempt)
        check(not worker.exiting, "a signal to what has exited", attempt)
        stopping = batch.may_kill or worker.spawned_at == self._now or worker.signalled
        check(attempt not in self._gone or stopping, "a signal to the dead", attempt)
        check(not worker.ended or attempt in self._gone, "a signal to the dead", attempt)
        return batch, worker

    def _terminate(self, effect: Terminate) -> None:
        batch, worker = self._signalled(effect.attempt)
        check(not worker.signalled, "terminated twice", effect.attempt)
        check(worker.timed_out or batch.kills or batch.may_kill, "terminated without need", effect.attempt)
        worker.terminated_at = self._now

    def _kill(self, effect: Kill) -> None:
        batch, worker = self._signalled(effect.attempt)
        check(worker.killed_at == NEVER, "killed twice", effect.attempt)
        grace_over = self._now >= worker.terminated_at + batch.plan.kill_grace_ms
        check(batch.hard or grace_over, "killed within the grace", effect.attempt)
        worker.killed_at = self._now

    def _forget(self, effect: Forget) -> None:
        _, worker = self._signalled(effect.attempt)
        check(worker.forgotten_at == NEVER, "forgotten twice", effect.attempt)
        check(self._now >= worker.killed_at + GIVE_UP_AFTER_MS, "forgotten too early", effect.attempt)
        worker.forgotten_at = self._now

    def _ask(self, effect: Ask) -> None:
        batch = self._batch(effect.attempt[0])
        worker = batch.deciding[effect.attempt[1]] = batch.workers[effect.attempt[1]]
        self.deciding += 1
        check(worker.ended and worker.attempt == effect.attempt, "asked about what runs", effect.attempt)
        check(worker.asked_at == NEVER, "asked twice", effect.attempt)
        worker.asked_at = self._now

    def _want(self, effect: Want) -> None:
        batch = self._batch(effect.batch)
        batch.wanted += effect.count
        check(effect.count > 0 and batch.wanted <= batch.plan.window, "wanted too much:", batch.wanted)

    def _emit(self, event: Emit) -> None:
        batch = self._batch(event.batch)
        check(
            event.sequence == batch.sequence + 1 and event.at == self._now, "event out of order", event.type
        )
        batch.sequence += 1
        if event.index is not None:
            self._worker_event(batch, event, event.index)
        elif event.type == "batch_finished":
            started = [worker for worker in batch.workers.values() if worker.started]
            check(all(worker.over for worker in started), "finished before its workers")
            never = [index for index in range(event.fields["total"]) if not self._has_started(batch, index)]
            check(event.fields["not_started"] == never, "never started:", never, "told:", event.fields)
        elif event.type == "batch_progress":
            done, failed = event.fields["done"], event.fields["failed"]
            check(
                batch.progress <= (done, failed) and done <= event.fields["total"], "progress", event.fields
            )
            batch.progress = (done, failed)

    @staticmethod
    def _has_started(batch: BatchBook, index: int) -> bool:
        worker = batch.workers.get(index)
        return worker is not None and worker.started

    def _worker_event(self, batch: BatchBook, event: Emit, index: int) -> None:
        if event.type == "worker_started":
            worker = batch.workers[index]
            check(not worker.started, "started twice", index)
            worker.started = True
            return
        worker = batch.workers[index]
        check(worker.started, event.type, "of what never started", index)
        worker.told.append(event.type)
        if event.type == "output":
            check(not worker.ended or worker.attempt in self._gone, "output of what has ended", index)
        if event.type in (*TERMINAL, "retry") and batch.deciding.pop(index, None):
            self.deciding -= 1
        check(not worker.over, event.type, "after the end of worker", index)
        if event.type in TERMINAL:
            came_to_its_end = worker.told[-3:-1] == ["progress", "result"]
            check(came_to_its_end == (event.type == "finished"), "before its end:", worker.told[-3:])
            worker.over = True
        elif event.type == "timeout":
            self._timeout(worker)
        elif event.type == "retry":
            self._retry(batch, worker, event.fields["delay"])

    def _timeout(self, worker: WorkerBook) -> None:
        limit = worker.command.settings.timeout_ms
        gone = worker.ended or worker.exiting or worker.attempt in self._gone
        check(not gone, "a timeout of what has ended", worker.attempt)
        check(limit is not None and self._now >= worker.spawned_at + limit, "timed out early", worker.attempt)
        worker.timed_out = True

    def _retry(self, batch: BatchBook, worker: WorkerBook, delay: float) -> None:
        policy = worker.command.settings.policy
        check(worker.ended and batch.stopped_at >= self._now, "a retry that mustn't be", worker.attempt)
        full = policy.delay_ms(worker.retries, 0.5)
        spread = full * policy.jitter + 1e-6
        check(full - spread <= delay <= full + spread, "delay", delay, "instead of", full)
        worker.retries += 1
        batch.retried += 1
        worker.not_before = self._now + delay
        limit = batch.plan.policy.total_retries
        check(limit is None or batch.retried <= limit, "too many retries in all")
        check(worker.retries < worker.allowed, "too many retries", worker.attempt)

    def _resolve(self, effect: Resolve) -> None:
        batch, outcome = self._batch(effect.batch), effect.outcome
        self._settle(batch, outcome.index)
        worker = batch.workers.get(outcome.index)
        never = (
            worker is None
            or not worker.started
            or (outcome.error is not None and outcome.error.code == "not_started")
        )
        check(never == (outcome.attempts == 0), "attempts", outcome.attempts)
        if worker is not None:
            check(worker.over == worker.started and worker.ended, "resolved while it runs", worker.attempt)
            check(never or outcome.attempts == worker.attempt[2], "attempts", outcome.attempts)
            self._check_outcome(batch, worker, outcome)
        if outcome.error is not None:
            batch.failed += 1
            self._note_stop(batch, worker, outcome)

    def _settle(self, batch: BatchBook, index: int) -> None:
        check(index not in batch.settled, "settled twice:", index)
        check(index < batch.fed, "settled, but never given:", index)
        batch.settled.add(index)

    def _check_outcome(self, batch: BatchBook, worker: WorkerBook, outcome: Outcome) -> None:
        error, ending = outcome.error, worker.ending
        policy = worker.command.settings.policy
        promoted = policy.on_warning == "promote_to_error" and ending is not None and ending.warnings
        well = ending is not None and ending.status == 0 and not worker.signalled and not promoted
        check(well == (error is None), "exited", ending and ending.status, "but came to", error)
        if error is None:
            return
        check(
            error.code != "timeout" or worker.timed_out or worker.retries,
            "a timeout that wasn't",
            outcome.index,
        )
        check(
            error.code != "cancelled" or batch.stopped or batch.may_kill, "cancelled by nobody", outcome.index
        )
        check(error.code != "deadline" or self._now >= batch.deadline_at, "deadline before its time")
        action = policy.on_timeout if error.code == "timeout" else policy.on_error
        limit = batch.plan.policy.total_retries
        free = limit is None or batch.retried < limit
        owed = action == "retry" and policy.retry_on is None and free and worker.retries < policy.max_retries
        check(
            not owed or batch.stopped or self._may_stop(batch) or error.code in FROM_OUTSIDE,
            "no retry of",
            error,
        )

    def _may_stop(self, batch: BatchBook) -> bool:
        """The stop of this very turn shows only in the registry."""
        record = self._leader.registry.batches.get(batch.number)
        return record is None or record.stopping is not None

    def _note_stop(self, batch: BatchBook, worker: WorkerBook | None, outcome: Outcome) -> None:
        """Where the policy says "stop", nothing may start from here on."""
        assert outcome.error is not None
        total = max(batch.fed, batch.plan.window) if batch.open else batch.fed
        allowed = batch.plan.policy.failures_allowed(total)
        if allowed is not None and batch.failed >= allowed:
            batch.stop(self._now)
        if worker is None or outcome.error.code in FROM_OUTSIDE:
            return
        policy = worker.command.settings.policy
        if (policy.on_timeout if outcome.error.code == "timeout" else policy.on_error) == "stop":
            batch.stop(self._now)

    def _abandon(self, effect: Abandon) -> None:
        batch = self._batch(effect.batch)
        batch.stop(self._now)
        for index, _ in effect.tasks:
            check(index not in batch.workers, "abandoned, but started:", index)
            self._settle(batch, index)

    def _close(self, effect: Close) -> None:
        batch = self._batch(effect.batch)
        check(not batch.live, "closed while something runs")
        check(batch.settled == set(range(effect.total)), "closed without", effect.total, batch.settled)
        check(
            effect.total <= batch.fed and (batch.plan.open or effect.total == batch.fed),
            "total",
            effect.total,
        )
        check(effect.retried == batch.retried, "retried", effect.retried, "instead of", batch.retried)
        check(not batch.stopped or effect.stopped_by or effect.total == batch.fed, "stopped by nothing")
        batch.closed = True
        del self.open[effect.batch]

    # ── the registry and the indexes ──────────────────────────────────────────────────────────────

    def _check_registry(self, leader: Leader) -> None:
        registry = leader.registry
        check(registry.batches.keys() == self.open.keys(), "batches", list(registry.batches), list(self.open))
        numbers: list[int] = []
        for number, record in registry.batches.items():
            numbers += self._check_batch(record, self.open[number])
        slots = registry.slots
        check(
            slots.used == self.live + self.deciding == len(numbers),
            "slots",
            slots.used,
            "live",
            self.live,
            "tokens",
            len(numbers),
        )
        check(slots.used <= slots.capacity <= slots.limit, "slots", slots.used, slots.capacity, slots.limit)
        if not self._failed_to_come and self._capacity < NEVER:
            grown = min(slots.limit, self._capacity + self._came)
            check(slots.capacity == grown, "room for", slots.capacity, "instead of", grown)
        self._capacity = slots.capacity
        check(slots.capacity >= 1 and len(set(numbers)) == len(numbers), "engine slots", numbers)

    def _check_batch(self, record: BatchRecord, book: BatchBook) -> list[int]:
        """The numbers of the engine's slots that it holds."""
        held = [worker for worker in record.live.values() if worker.tokens]
        check(
            record.slots.used == len(held) == len(book.holders),
            "slots of batch",
            record.number,
            record.slots.used,
        )
        check(record.slots.used <= record.slots.limit, "slots of batch", record.slots.used)
        check(
            book.holders.keys() == {worker.index for worker in held},
            "who holds a slot in batch",
            record.number,
        )
        check(
            all(worker.tokens[1].number == book.holders[worker.index].slot for worker in held), "slot numbers"
        )
        left = record.total - len(book.settled)
        check(left == len(record.live) + len(record.waiting), "lost or doubled tasks in batch", record.number)
        check(record.done == len(book.settled) and record.failed == book.failed, "counts of", record.number)
        check(
            record.stopping is None or not (record.waiting or record.again or record.open),
            "stopped, but waits",
        )
        check(not book.stopped or record.stopping is not None, "goes on after its stop:", record.number)
        if record.stopping is not None:
            book.stop(self._now)
        return [worker.tokens[0].number for worker in held]

    def _check_indexes(self, leader: Leader) -> None:
        registry, now = leader.registry, self._now
        ready = [batch.number for batch in leader._ready]
        startable = {batch.number for batch in registry.batches.values() if batch.startable}
        check(
            len(ready) == len(startable) and startable == set(ready) == leader._queued,
            "ready",
            ready,
            startable,
        )
        check(not ready or registry.slots.full, "slots are free, and nothing starts")
        turns = [batch.turn for batch in leader._ready]
        check(turns == sorted(turns), "turns", turns)
        due = leader.next_due()
        check(due is None or due >= now, "due in the past:", due)
        check(due == self._due(leader), "due", due, "instead of", self._due(leader))
        live = len(registry.batches) + sum(len(batch.live) for batch in registry.batches.values())
        self._most_timers = max(self._most_timers, live)
        check(len(leader._timers) <= 64 + 4 * self._most_timers, "timers pile up:", len(leader._timers))

    def _due(self, leader: Leader) -> float | None:
        dues = [
            worker.state.due
            for batch in leader.registry.batches.values()
            for worker in batch.live.values()
            if worker.state.due is not None
        ]
        dues += (b.deadline_at for b in leader.registry.batches.values() if b.deadline_at is not None)
        return min(dues, default=None)

    def _check_ladder(self, batch: BatchBook, worker: WorkerBook) -> None:
        """What must have been done to a process by now."""
        now, attempt = self._now, worker.attempt
        if worker.spawned_at == NEVER or worker.exiting:
            return
        limit = worker.command.settings.timeout_ms
        late = limit is not None and now >= worker.spawned_at + limit
        check(worker.signalled or not late, "runs on after its timeout", attempt)
        check(worker.signalled or not batch.kills, "runs on after its batch", attempt)
        check(worker.killed_at < NEVER or not batch.hard, "runs on after a hard cancel", attempt)
        over = now > worker.terminated_at and now >= worker.terminated_at + batch.plan.kill_grace_ms
        check(worker.killed_at < NEVER or not over, "runs on after the grace", attempt)
        given_up = now >= worker.killed_at + GIVE_UP_AFTER_MS
        check(worker.forgotten_at < NEVER or not given_up, "waited for in vain", attempt)


RANKED_FIRST = (Submitted, Spawned)
INPUTS: dict[type, Callable[..., None]] = {
    Submitted: Watch._submitted,
    Fed: Watch._fed,
    Cancelled: Watch._cancelled,
    Spawned: Watch._spawned,
    SpawnFailed: Watch._spawn_failed,
    ExitSeen: Watch._exit_seen,
    Exited: Watch._exited,
    Answered: Watch._answered,
    Printed: Watch._printed,
}
EFFECTS: dict[type, Callable[..., None]] = {
    Spawn: Watch._spawn,
    Terminate: Watch._terminate,
    Kill: Watch._kill,
    Forget: Watch._forget,
    Ask: Watch._ask,
    Want: Watch._want,
    Emit: Watch._emit,
    Log: Watch._log,
    Resolve: Watch._resolve,
    Abandon: Watch._abandon,
    Close: Watch._close,
}
