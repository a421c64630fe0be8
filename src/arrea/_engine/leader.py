"""The leader: decides what starts next, and when a batch stops.

`step(now, inputs)` is the whole engine. Within a turn, processes come first, then answers, then what callers want,
then timers, then starts: so an exit that is seen in the same turn wins over its own timeout.
The leader keeps indexes only (who may start, which timers run); all state is in the registry, and a leader made
from the same registry goes on exactly as this one would have.
"""

from __future__ import annotations

from collections import deque

from arrea._engine import worker as workers
from arrea._engine.gates import Token
from arrea._engine.registry import BatchRecord, Registry, WorkerRecord
from arrea._engine.states import Deciding, Exiting, Killing, Ready, Running, Spawning, Stopping, Waiting
from arrea._engine.telling import Telling
from arrea._engine.timers import WHOLE_BATCH, Timers
from arrea._model.errors import Ended, PolicyFailed, SpawnFailed, TaskError, not_started
from arrea._model.policy import CONTINUE, STOP, Retry, Stop
from arrea._model.result import Outcome
from arrea._model.step import (
    Abandon,
    Answered,
    Ask,
    Cancelled,
    Close,
    Effect,
    Exited,
    ExitSeen,
    Fed,
    Input,
    Printed,
    Resized,
    Resolve,
    Spawn,
    Spawned,
    Submitted,
    Want,
)
from arrea._model.step import SpawnFailed as StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrea._model.policy import Decision
    from arrea._model.step import AttemptId

ORDER: dict[type, int] = {
    Spawned: 0,
    StartFailed: 0,
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
        self._ready: deque[BatchRecord] = deque()
        self._queued: set[int] = set()
        self._timers = Timers(registry)
        self._telling = Telling()
        self._out: list[Effect] = []
        self._rebuild()

    def step(self, now: float, inputs: Sequence[Input]) -> list[Effect]:
        """One turn: what follows from these inputs at this time."""
        out: list[Effect] = []
        self._out = out
        self._telling.begin(out, now)
        for given in inputs if len(inputs) < 2 else self._in_order(inputs):
            self._take(given, now)
        self._fire_timers(now)
        self._start(now)
        self._telling.progress()
        return out

    def _in_order(self, inputs: Sequence[Input]) -> list[Input]:
        """What ended by itself in this turn did so before anything that follows from the other inputs."""
        ordered = sorted(inputs, key=_rank)
        for given in ordered:
            if isinstance(given, Exited):
                self._exit_seen(given.attempt)
        return ordered

    def next_due(self) -> float | None:
        """When the next turn is needed, if nothing comes in before."""
        return self._timers.next_due()

    def _take(self, given: Input, now: float) -> None:
        match given:
            case Exited():
                self._exited(given, now)
            case ExitSeen():
                self._exit_seen(given.attempt)
            case Printed():
                self._printed(given, now)
            case Spawned():
                self._spawned(given, now)
            case StartFailed():
                self._start_failed(given, now)
            case Answered():
                self._answered(given, now)
            case Submitted():
                self._submitted(given, now)
            case Fed():
                self._fed(given, now)
            case Cancelled():
                self._cancelled(given, now)
            case Resized():
                self.registry.slots.resize(given.max_workers)

    # ── indexes ───────────────────────────────────────────────────────────────────────────────────

    def _rebuild(self) -> None:
        startable = [batch for batch in self.registry.batches.values() if batch.startable]
        self._ready.extend(sorted(startable, key=lambda batch: batch.turn))
        self._queued.update(batch.number for batch in startable)

    def _offer(self, batch: BatchRecord) -> None:
        """The batch may start something: it takes its turn behind the others."""
        if batch.number not in self._queued and batch.startable:
            self._queued.add(batch.number)
            batch.turn = self.registry.next_turn()
            self._ready.append(batch)

    def _withdraw(self, batch: BatchRecord) -> None:
        if batch.number in self._queued:
            self._queued.discard(batch.number)
            self._ready.remove(batch)

    # ── batches ───────────────────────────────────────────────────────────────────────────────────

    def _submitted(self, given: Submitted, now: float) -> None:
        batch = BatchRecord(given.number, given.plan, now)
        self.registry.batches[batch.number] = batch
        self._telling.batch_started(batch)
        self._timers.watch_deadline(batch)
        self._ask_for_more(batch)
        self._offer(batch)
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
        self._offer(batch)
        if given.last:
            self._stop_at_max_failures(batch, now)  # a share of all, which nobody knew before
        self._close_if_over(batch, now)

    def _ask_for_more(self, batch: BatchRecord) -> None:
        """Keeps the window of an open batch at least half full."""
        room = batch.plan.window - len(batch.waiting) - batch.asked
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
        self._withdraw(batch)
        self._abandon_waiting(batch)
        batch.again.clear()
        for record in list(batch.live.values()):
            self._stop_worker(record, reason, now, kill, hard)
        self._close_if_over(batch, now)

    def _abandon_waiting(self, batch: BatchRecord) -> None:
        if batch.waiting:
            batch.done += len(batch.waiting)
            batch.unstarted += [index for index, _ in batch.waiting]
            self._telling.came_further(batch)
            self._out.append(Abandon(batch.number, list(batch.waiting), batch.stopping or "stop"))
            batch.waiting.clear()

    def _stop_worker(self, record: WorkerRecord, reason: str, now: float, kill: bool, hard: bool) -> None:
        match record.state:
            case Waiting() | Ready() | Deciding():
                self._settle(record, self._left_with(record, reason), now)
            case Spawning() | Running() | Stopping() | Killing() if kill:
                self._follow(record, workers.stop(record, reason, now, hard))

    def _follow(self, record: WorkerRecord, effects: list[Effect]) -> None:
        """What follows for the attempt that runs."""
        self._telling.killed(record, effects)
        self._out += effects
        self._timers.watch(record)

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
        self._withdraw(batch)
        duration = now - batch.submitted_at
        self._telling.batch_finished(batch)
        self._out.append(Close(batch.number, batch.total, batch.retried, duration, batch.stopping))

    # ── starts ────────────────────────────────────────────────────────────────────────────────────

    def _start(self, now: float) -> None:
        """Starts what the gates admit, one of each batch in turn."""
        while self._ready and (engine_slot := self.registry.slots.admit(now)).__class__ is Token:
            batch = self._ready.popleft()
            self._queued.discard(batch.number)
            batch_slot = batch.slots.admit(now)
            assert isinstance(batch_slot, Token)
            self._start_next(batch, (engine_slot, batch_slot), now)
            self._offer(batch)

    def _start_next(self, batch: BatchRecord, tokens: tuple[Token, Token], now: float) -> None:
        record = batch.again.popleft() if batch.again else self._new_worker(batch, now)
        record.tokens = tokens
        if record.command.refusal is not None:
            self._refused(record, record.command.refusal, now)
            return
        workers.begin(record)
        self._out.append(Spawn(record.attempt_id, batch.plan.batch_id, record.command, tokens[1].number))

    def _refused(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        """A command that can't run isn't retried, and no function is asked about it."""
        stops = record.command.settings.policy.on_error == "stop"
        self._apply(STOP if stops else CONTINUE, record, error, now)

    def _new_worker(self, batch: BatchRecord, now: float) -> WorkerRecord:
        index, command = batch.waiting.popleft()
        record = batch.live[index] = WorkerRecord(batch, index, command, now, Ready(retry=True))
        self._ask_for_more(batch)
        return record

    def _spawned(self, given: Spawned, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Spawning):
            self.registry.slots.widen()
            self._telling.worker_started(record)
            self._follow(record, workers.spawned(record, now))

    def _start_failed(self, given: StartFailed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is None or not isinstance(record.state, Spawning):
            return
        stopping = record.state.stop or record.batch.stopping
        others = self.registry.slots.used > 1
        if stopping is not None:
            self._settle(record, self._left_with(record, stopping), now)
        elif given.transient and (others or record.spawn_failures < workers.SPAWN_TRIES):
            self._give_back(record)
            self.registry.slots.squeeze()
            workers.wait_for_room(record, now)
            self._timers.watch(record)
        else:
            self._telling.worker_started(record)
            record.error = SpawnFailed(workers.name(record), given.error)
            self._failed(record, record.error, now)

    def _give_back(self, record: WorkerRecord) -> None:
        for token in record.tokens:
            token.gate.give_back(token)
        record.tokens = ()
        self._offer(record.batch)

    # ── ends ──────────────────────────────────────────────────────────────────────────────────────

    def _printed(self, given: Printed, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, LIVE):
            self._telling.output(record, given)

    def _exit_seen(self, attempt: AttemptId) -> None:
        record = self.registry.worker(attempt)
        if record is not None and isinstance(record.state, Running):
            record.state = Exiting()

    def _exited(self, given: Exited, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is None or not isinstance(record.state, LIVE):
            return
        error = workers.ended(record, given.ending)
        if error is None:
            self._settle(record, None, now)
        else:
            self._failed(record, error, now)

    def _failed(self, record: WorkerRecord, error: TaskError, now: float) -> None:
        if record.batch.stopping is not None or isinstance(error, Ended):
            self._settle(record, error, now)
            return
        follows = workers.after_failure(record, error, now, self._chance())
        if isinstance(follows, Ask):
            self._out.append(follows)
            self._timers.watch(record)
        else:
            self._apply(follows, record, error, now)

    def _answered(self, given: Answered, now: float) -> None:
        record = self.registry.worker(given.attempt)
        if record is not None and isinstance(record.state, Deciding):
            self._decided(record, workers.answered(record, given, self._chance()), now)

    def _decided(self, record: WorkerRecord, decision: Decision | PolicyFailed, now: float) -> None:
        assert isinstance(record.state, Deciding)
        if isinstance(decision, PolicyFailed):
            self._settle(record, decision, now)
        else:
            self._apply(decision, record, record.state.error, now)

    def _apply(self, decision: Decision, record: WorkerRecord, error: TaskError, now: float) -> None:
        batch = record.batch
        if isinstance(decision, Retry):
            batch.retried += 1
            self._telling.retry(record, error, decision.delay_ms)
            workers.wait(record, decision.delay_ms, now)
            self._give_back(record)
            self._timers.watch(record)
            return
        stops = isinstance(decision, Stop) and batch.stopping is None
        batch.stopping = "stop" if stops else batch.stopping
        self._settle(record, error, now)
        if stops:
            self._stop_batch(batch, "stop", now, record.command.settings.policy.on_stop == "kill")

    def _settle(self, record: WorkerRecord, error: TaskError | None, now: float) -> None:
        """The task is over: its only outcome goes out, its slot comes back."""
        batch = record.batch
        self._give_back(record)
        del batch.live[record.index]
        batch.done += 1
        outcome = self._outcome(record, error, now)
        self._telling.came_further(batch)
        if record.told:
            self._telling.ended(record, outcome)
        else:
            batch.unstarted.append(record.index)
        self._out.append(Resolve(batch.number, outcome))
        if error is not None:
            batch.failed += 1
            self._stop_at_max_failures(batch, now)
        self._close_if_over(batch, now)

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
        for number, index in self._timers.due(now):
            batch = self.registry.batches[number]
            if index == WHOLE_BATCH:
                batch.deadline_at = None
                self._stop_batch(batch, "deadline", now, kill=True)
            else:
                self._due(batch.live[index], now)

    def _due(self, record: WorkerRecord, now: float) -> None:
        match record.state:
            case Running():
                self._telling.timeout(record)
                self._follow(record, workers.stop(record, "timeout", now))
            case Stopping(reason=reason):
                self._follow(record, workers.stop(record, reason, now, hard=True))
            case Killing():
                self._out += workers.give_up(record)
            case Deciding():
                self._decided(record, workers.no_answer(record), now)
            case Waiting(retry=retry):
                record.state = Ready(retry)
                record.batch.again.append(record)
                self._offer(record.batch)
