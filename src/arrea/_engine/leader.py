"""The leader: decides what starts next, and when a batch stops.

`step(now, inputs)` is the whole engine. Within a turn, processes come first, then answers, then what callers want,
then timers, then starts: so an exit that is seen in the same turn wins over its own timeout.
The leader keeps indexes only (who may start, which timers run); all state is in the registry, and a leader made
from the same registry goes on exactly as this one would have.
"""

from __future__ import annotations

from arrea._engine import worker as workers
from arrea._engine.gates import Token
from arrea._engine.lanes import Lanes
from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
from arrea._engine.states import (
    READY,
    Deciding,
    Exiting,
    Killing,
    Queued,
    Ready,
    Running,
    Spawning,
    Stopping,
    Waiting,
)
from arrea._engine.telling import Telling
from arrea._engine.timers import WHOLE_BATCH, Timers
from arrea._engine.turns import Turns
from arrea._model.ending import Outcome, Return
from arrea._model.errors import Ended, PolicyFailed, SlotsExhausted, SpawnFailed, TaskError, not_started
from arrea._model.policy import CONTINUE, STOP, Retry, Stop
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Begun,
    Cancelled,
    Close,
    Effect,
    Exited,
    ExitSeen,
    Fed,
    Heard,
    Input,
    LaneFailed,
    LaneLost,
    Printed,
    Recalled,
    Resized,
    Resolve,
    Returned,
    Spawn,
    Spawned,
    Submitted,
    Want,
)
from arrea._model.step import SpawnFailed as StartFailed
from arrea._model.task import COMMAND, COROUTINE, PROCESS, THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from arrea._model.call import Work
    from arrea._model.policy import Decision
    from arrea._model.step import AttemptId

ORDER: dict[type, int] = {
    Heard: 0,
    Spawned: 0,
    StartFailed: 0,
    # Of one lane they keep their order.
    Begun: 1,
    Returned: 1,
    Recalled: 1,
    LaneLost: 1,
    LaneFailed: 1,
    ExitSeen: 1,
    Printed: 1,
    Exited: 1,
    Answered: 2,
    Resized: 3,
    Submitted: 3,
    Fed: 3,
    Cancelled: 4,
}

LIVE = (Running, Exiting, Stopping, Killing)  # the states of a worker whose process was told to be there


def _rank(given: Input) -> int:
    return ORDER[type(given)]


class Leader:
    """One engine's decisions. `chance` gives numbers from 0.0 to 1.0, for jitter."""

    def __init__(self, registry: Registry, chance: Callable[[], float]) -> None:
        self.registry = registry
        self._chance = chance
        self.turns = Turns(registry)
        self.timers = Timers(registry)
        self._telling = Telling(registry)
        self._out: list[Effect] = []
        self._resolved: dict[int, Resolve] = {}  # of this turn
        self._lanes = Lanes(self)
        self._takes: dict[type, Callable[[Any, float], None]] = {
            Heard: self._heard,
            Submitted: self._submitted,
            Fed: self._fed,
            Spawned: self._spawned,
            StartFailed: self._start_failed,
            ExitSeen: self._seen,
            Printed: self._printed,
            Exited: self._exited,
            Answered: self._answered,
            Cancelled: self._cancelled,
            Resized: self._resized,
            Begun: self._lanes.begun,
            Returned: self._lanes.returned,
            Recalled: self._lanes.recalled,
            LaneLost: self._lanes.lost,
            LaneFailed: self._lanes.failed,
        }

    def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]:
        """One turn: what follows from these inputs at this time."""
        out: list[Effect] = []
        self._out = out
        self._telling.begin(out, now)
        for given in inputs if len(inputs) < 2 else self._in_order(inputs):
            self._take(given, now)
        self._lanes.settle_done()
        self._fire_timers(now)
        self._go_on(now)
        while self._lanes.touched:  # a refusal, or what can't start any more, stopped a batch
            self._go_on(now)
        self._telling.end()
        self._out = []  # nobody shall hold what was told
        self._resolved.clear()
        return out

    def _go_on(self, now: float) -> None:
        """What can start does."""
        self._lanes.go_on(now)
        self._start(now)
        if self.registry.slots.lost:
            self._give_up_where_exhausted(now)

    def _in_order(self, inputs: Sequence[Input]) -> list[Input]:
        """What ended by itself in this turn did so before anything that follows from the other inputs."""
        ordered = sorted(inputs, key=_rank)
        for given in ordered:
            if isinstance(given, Exited):
                self._exit_seen(given.attempt)
        return ordered

    def next_due(self) -> float | None:
        """When the next turn is needed, if nothing comes in before."""
        return self.timers.next_due()

    def _take(self, given: Input, now: float) -> None:
        kind = given.__class__
        if self._lanes.done and kind is not Returned:
            self._lanes.settle_done()
        self._takes[kind](given, now)

    def _resized(self, given: Resized, now: float) -> None:
        self.registry.slots.resize(given.max_workers)
        self.registry.processes.resize(given.max_processes)

    def _heard(self, given: Heard, now: float) -> None:
        self.registry.heard = given.by_anybody

    # ── batches ───────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, given: Submitted, now: float) -> None:
        batch = BatchRecord(given.number, given.plan, now)
        self.registry.batches[batch.number] = batch
        self._telling.batch_started(batch)
        self.timers.watch_deadline(batch)
        self._ask_for_more(batch)
        self.turns.offer(batch)
        self._close_if_over(batch, now)

    def _fed(self, given: Fed, now: float) -> None:
        batch = self.registry.batches.get(given.batch)
        if batch is None or not batch.open:
            return
        batch.asked -= len(given.commands)
        batch.open = not given.last
        batch.waiting.extend(enumerate(given.commands, batch.total))
        batch.total += len(given.commands)
        self._ask_for_more(batch)
        self.turns.offer(batch)
        if given.last:
            self._stop_at_max_failures(batch, now)  # a share of all, which nobody knew before
        self._close_if_over(batch, now)

    def _ask_for_more(self, batch: BatchRecord) -> None:
        """Keeps the window of an open batch at least half full."""
        room = batch.plan.window - batch.waiting.count - batch.asked
        if batch.open and room > 0 and 2 * room >= batch.plan.window:
            batch.asked += room
            self._out.append(Want(batch.number, room))

    def _cancelled(self, given: Cancelled, now: float) -> None:
        batch = self.registry.batches.get(given.batch)
        if batch is not None:
            self._stop_batch(batch, "cancelled", now, kill=True, hard=given.hard)

    def _stop_batch(
        self, batch: BatchRecord, reason: str, now: float, kill: bool, hard: bool = False
    ) -> None:
        """Nothing more of the batch starts; what runs finishes, or is killed."""
        batch.stopping = batch.stopping or reason
        batch.open = False
        if kill:
            batch.killing = (reason, hard or (batch.killing is not None and batch.killing[1]))
        self.turns.withdraw(batch)
        self._abandon_waiting(batch)
        self._lanes.stop(batch)
        for record in list(batch.live.values()):
            self._stop_worker(record, reason, now, kill, hard)
        self._close_if_over(batch, now)

    def _abandon_waiting(self, batch: BatchRecord) -> None:
        self._abandon(batch, batch.waiting.clear())

    def _abandon(self, batch: BatchRecord, tasks: list[tuple[int, Work]]) -> None:
        if tasks:
            batch.done += len(tasks)
            batch.unstarted += [index for index, _ in tasks]
            self._telling.came_further(batch)
            self._out.append(Abandon(batch.number, tasks, batch.stopping or "stop"))

    def _stop_worker(self, record: WorkerRecord, reason: str, now: float, kill: bool, hard: bool) -> None:
        match record.state:
            case Deciding():
                self.settle(record, self._left_with(record, reason), now)
                self._lanes.decided(record)
            case Waiting() | Ready():
                self.settle(record, self._left_with(record, reason), now)
            case Spawning() | Running() | Stopping() | Killing() if kill:
                self._end(record, reason, now, hard)

    def _cut(self, batch: BatchRecord, index: int, now: float) -> None:
        """A task failed, and nobody wants what comes behind it: that doesn't start. What is before it goes on."""
        if batch.stopping is not None or (batch.cut is not None and batch.cut <= index):
            return
        batch.cut, batch.open = index, False
        fresh, again = batch.waiting.drop_behind(index)
        self._abandon(batch, fresh)
        self._lanes.cut(batch, index)
        waiting = [record for record in batch.live.values() if isinstance(record.state, Waiting)]
        for record in again + [record for record in waiting if record.index > index]:
            if record.index in batch.live:  # its failure may have stopped the batch
                self.settle(record, self._left_with(record, "stop"), now)
        self.turns.offer(batch)

    def _end(self, record: WorkerRecord, reason: str, now: float, hard: bool = False) -> None:
        """Ends an attempt that runs; one that nothing can end is given up."""
        kind = record.command.kind
        if kind == PROCESS:
            self._lanes.recall_behind(record)
        if kind in (COMMAND, PROCESS):
            self._follow(record, workers.stop(record, reason, now, hard))
            return
        if kind == COROUTINE and isinstance(record.state, Running):
            self._follow(record, workers.stop(record, reason, now))
        if hard or kind == THREAD:
            self._give_up(record, getattr(record.state, "reason", reason), now)

    def _give_up(self, record: WorkerRecord, reason: str, now: float) -> None:
        """It runs where nothing can end it: the result is told, and never tried again, and its slot is lost."""
        self._lanes.give_up(record)
        stops = reason == "timeout" and record.command.settings.policy.on_timeout == "stop"
        self._apply(STOP if stops else CONTINUE, record, workers.abandoned(record, reason), now)

    def _follow(self, record: WorkerRecord, effects: list[Effect]) -> None:
        """What follows for the attempt that runs."""
        self._telling.killed(record, effects)
        self._out += effects
        self.timers.watch(record)

    def _left_with(self, record: WorkerRecord, reason: str) -> TaskError:
        """The error of a task that didn't run at the moment when its batch stopped."""
        if record.error is None:
            return not_started(workers.name(record), reason)
        if reason in ("deadline", "cancelled"):
            return workers.stopped_error(record, reason)
        return record.error

    def _close_if_over(self, batch: BatchRecord, now: float) -> None:
        if not batch.over or self.registry.batches.pop(batch.number, None) is None:
            return
        self.turns.withdraw(batch)
        duration = now - batch.submitted_at
        self._telling.batch_finished(batch)
        self._out.append(Close(batch.number, batch.total, batch.retried, duration, batch.stopping))

    # ── starts ────────────────────────────────────────────────────────────────────────────────────

    def _start(self, now: float) -> None:
        """Starts what the gates admit, one of each batch in turn."""
        slots, turns = self.registry.slots, self.turns
        while not slots.full and (batch := turns.next()) is not None:
            engine_slot, batch_slot = slots.admit(now), batch.slots.admit(now)
            assert isinstance(engine_slot, Token) and isinstance(batch_slot, Token)
            self._start_next(batch, (engine_slot, batch_slot), now)
            turns.offer(batch)

    def _start_next(self, batch: BatchRecord, tokens: tuple[Token, Token], now: float) -> None:
        kind = batch.waiting.next_kind(self.registry.barred)
        if kind != COMMAND:
            self._lanes.open(batch, kind, tokens, now)
            self._ask_for_more(batch)
            return
        record = self._next_record(batch, kind, now)
        record.tokens = tokens
        if record.command.refusal is not None:
            self._refused(record, record.command.refusal, now)
            return
        workers.begin(record)
        command = record.command
        assert command.kind == COMMAND
        self._out.append(Spawn(record.attempt_id, batch.plan.batch_id, command, tokens[1].number))  # type: ignore[arg-type]

    def _refused(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        """A command that can't run isn't retried, and no function is asked about it."""
        stops = record.command.settings.policy.on_error == "stop"
        self._apply(STOP if stops else CONTINUE, record, error, now)

    def _next_record(self, batch: BatchRecord, kind: str, now: float) -> WorkerRecord:
        again = batch.waiting.take_back(kind)
        if again is not None:
            return again
        index, command = batch.waiting.take_fresh(kind)
        record = batch.live[index] = WorkerRecord(batch, index, command, now, READY)
        self._ask_for_more(batch)
        return record

    def _spawned(self, given: Spawned, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Spawning):
            self.registry.slots.widen()
            self._telling.worker_started(record)
            self._follow(record, workers.spawned(record, now, now))

    def _start_failed(self, given: StartFailed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is None or not isinstance(record.state, Spawning):
            return
        stopping = record.state.stop or record.batch.stopping
        others = self.registry.slots.busy > 1
        if stopping is not None or not record.batch.wants(record.index):
            self.settle(record, self._left_with(record, stopping or "stop"), now)
        elif given.transient and (others or record.spawn_failures < workers.SPAWN_TRIES):
            self._give_back(record)
            self.wait_for_room(record, now)
        else:
            self.never_ran(record, SpawnFailed(workers.name(record), given.error), now)

    def wait_for_room(self, record: WorkerRecord, now: float) -> None:
        """The machine is full: it tries again a little later, and no more run than do now."""
        self.registry.slots.squeeze()
        workers.wait_for_room(record, now)
        self.timers.watch(record)

    def _give_back(self, record: WorkerRecord) -> None:
        tokens, record.tokens = record.tokens, ()
        self.give_back(tokens, record.batch)

    def give_back(self, tokens: Sequence[Token], batch: BatchRecord) -> None:
        for token in tokens:
            token.gate.give_back(token)
        self.turns.offer(batch)

    def _give_up_where_exhausted(self, now: float) -> None:
        """Every slot is lost to what doesn't end: nothing that waits would ever start."""
        everywhere = self.registry.slots.exhausted
        for batch in list(self.registry.batches.values()):
            while (
                (everywhere or batch.slots.exhausted) and batch.stopping is None and batch.waiting.has(None)
            ):
                record = self._next_record(batch, batch.waiting.next_kind(None), now)
                self.settle(record, record.error or SlotsExhausted(workers.name(record)), now)

    # ── of lanes ──────────────────────────────────────────────────────────────────────────────────

    def put(self, effect: Effect) -> None:
        self._out.append(effect)

    def runs(self, record: WorkerRecord, since: float, now: float) -> None:
        """A call that was sent to a lane runs since then."""
        self.has_begun(record, since)
        effects = workers.spawned(record, since, now)
        if effects:
            self._follow(record, effects)
        else:
            self.timers.watch(record)
        killing = record.batch.killing
        if killing is not None:
            self._end(record, killing[0], now, killing[1])

    def has_begun(self, record: WorkerRecord, at: float) -> None:
        """Of one that was sent ahead that may not be known before its end."""
        self._telling.worker_started(record)
        if record.attempts == 1:
            record.started_at = at

    def never_ran(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        """There is no process for it."""
        self._telling.worker_started(record)
        record.error = error
        self.failed(record, error, now)

    def succeeded(self, batch: BatchRecord, records: Sequence[WorkerRecord]) -> None:
        """The way of most calls, and so the short one; `came_further` follows for all of a turn."""
        if not records:
            return
        live, submitted, outcomes = batch.live, batch.submitted_at, []
        for record in records:
            index, attempts, ending = record.index, record.attempts, record.ending
            assert isinstance(ending, Return)
            del live[index]
            if record.command.large:
                record.command.let_go()
            began = ending.began if attempts == 1 else record.started_at
            outcome = Outcome(
                index, record.command, None, ending, attempts, began - submitted, began, ending.ended, ending.warnings
            )  # fmt: skip
            outcomes.append(outcome)
        batch.done += len(records)
        self._telling.ran(records, outcomes)
        self._telling.came_further(batch)
        self._resolve(batch, outcomes)

    def taken_back(self, record: WorkerRecord, now: float) -> None:
        """It was sent to a lane, and never began."""
        batch = record.batch
        if batch.wants(record.index):
            batch.waiting.put_first(record)
        else:
            self.settle(record, self._left_with(record, batch.stopping or "stop"), now)

    def came_further(self, batch: BatchRecord, now: float) -> None:
        """Something changed with its lanes."""
        if batch.number in self.registry.batches:
            self._ask_for_more(batch)
            self.turns.offer(batch)
            self._close_if_over(batch, now)

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────

    def _printed(self, given: Printed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, LIVE):
            self._telling.output(record, given)

    def _seen(self, given: ExitSeen, now: float) -> None:
        self._exit_seen(given.attempt)

    def _exit_seen(self, attempt: AttemptId) -> None:
        record = self.registry.worker(attempt)
        if record is not None and isinstance(record.state, (Queued, Running)):
            record.state = Exiting()

    def _exited(self, given: Exited, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is None or not isinstance(record.state, LIVE):
            return
        error = workers.ended(record, given.ending)
        if error is None:
            self.settle(record, None, now)
        else:
            self.failed(record, error, now)

    def failed(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        if isinstance(error, Ended) or not record.batch.wants(record.index):
            self.settle(record, error, now)
            return
        follows = workers.after_failure(record, error, now, self._chance())
        if isinstance(follows, Ask):
            self._out.append(follows)
            self.timers.watch(record)
        else:
            self._apply(follows, record, error, now)

    def _answered(self, given: Answered, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Deciding):
            self._decided(record, workers.answered(record, given, self._chance()), now)

    def _decided(self, record: WorkerRecord, decision: Decision | PolicyFailed, now: float) -> None:
        assert isinstance(record.state, Deciding)
        if isinstance(decision, PolicyFailed):
            self.settle(record, decision, now)
        else:
            self._apply(decision, record, record.state.error, now)
        self._lanes.decided(record)

    def _apply(self, decision: Decision, record: WorkerRecord, error: TaskError, now: float) -> None:
        batch = record.batch
        if isinstance(decision, Retry) and batch.wants(record.index):
            batch.retried += 1
            self._telling.retry(record, error, decision.delay_ms)
            workers.wait(record, decision.delay_ms, now)
            self._give_back(record)
            self.timers.watch(record)
            return
        stops = isinstance(decision, Stop) and batch.stopping is None
        batch.stopping = "stop" if stops else batch.stopping
        self.settle(record, error, now)
        if stops:
            self._stop_batch(batch, "stop", now, record.command.settings.policy.on_stop == "kill")

    def settle(self, record: WorkerRecord, error: TaskError | None, now: float) -> None:
        """The task is over: its only outcome goes out, its slot comes back."""
        batch = record.batch
        self._give_back(record)
        del batch.live[record.index]
        batch.done += 1
        outcome = self._outcome(record, error, now)
        if record.command.large:
            record.command.let_go()
        self._telling.came_further(batch)
        if record.told:
            self._telling.ended(record, outcome)
        else:
            batch.unstarted.append(record.index)
        self._resolve(batch, [outcome])
        if error is not None:
            batch.failed += 1
            self._stop_at_max_failures(batch, now)
            if batch.plan.in_order:
                self._cut(batch, record.index, now)
        self._close_if_over(batch, now)

    def _resolve(self, batch: BatchRecord, outcomes: list[Outcome]) -> None:
        resolve = self._resolved.get(batch.number)
        if resolve is None:
            resolve = self._resolved[batch.number] = Resolve(batch.number, [])
            self._out.append(resolve)
        resolve.outcomes += outcomes

    def _outcome(self, record: WorkerRecord, error: TaskError | None, now: float) -> Outcome:
        queued = record.started_at - record.batch.submitted_at
        attempts = 0 if error is not None and error.code == "not_started" else record.attempts
        started_at = record.started_at if attempts else None
        ending = record.ending
        warnings = ending.warnings if ending is not None else ()
        return Outcome(
            record.index, record.command, error, ending, attempts, queued, started_at, now, warnings
        )

    def _stop_at_max_failures(self, batch: BatchRecord, now: float) -> None:
        # While more may come, a share is one of as many tasks as fit into the window, or of all seen so far.
        total = max(batch.total, batch.plan.window) if batch.open else batch.total
        allowed = batch.plan.policy.failures_allowed(total)
        if allowed is not None and batch.failed >= allowed and batch.stopping is None:
            self._stop_batch(batch, "max_failures", now, batch.plan.policy.on_stop == "kill")

    # ── timers ────────────────────────────────────────────────────────────────────────────────────

    def _fire_timers(self, now: float) -> None:
        for number, index in self.timers.due(now):
            batch = self.registry.batches[number]
            if index == WHOLE_BATCH:
                batch.deadline_at = None
                self._stop_batch(batch, "deadline", now, kill=True)
            else:
                self._due(batch.live[index], now)

    def _due(self, record: WorkerRecord, now: float) -> None:
        match record.state:
            case Running():
                if self._lanes.recall(record):
                    self.timers.watch(record)
                else:
                    self._telling.timeout(record)
                    self._end(record, "timeout", now)
            case Stopping(reason=reason):
                self._end(record, reason, now, hard=True)
            case Killing():
                self._out += workers.give_up(record)
            case Deciding():
                self._decided(record, workers.no_answer(record), now)
            case Waiting():
                record.state = READY
                record.batch.waiting.put_back(record)
                self.turns.offer(record.batch)
