"""What passes between the engine and the runtime: inputs go in, effects come out.

An attempt is named by its id everywhere, (batch number, index of the task, number of the attempt from 1),
so that one rule ignores whatever comes late or twice.
Times are milliseconds of a monotonic clock.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from arrea._model.call import Call, Work
    from arrea._model.ending import Crash, Ending, Outcome, Return
    from arrea._model.plan import Plan
    from arrea._model.task import Command

    AttemptId = tuple[int, int, int]

# ── inputs ────────────────────────────────────────────────────────────────────────────────────────


class Submitted:
    """A new batch. `number` names it from now on."""

    __slots__ = ("number", "plan")

    def __init__(self, number: int, plan: Plan) -> None:
        self.number = number
        self.plan = plan


class Fed:
    """More tasks of an open batch, at most as many as `Want` asked for; `last` closes it."""

    __slots__ = ("batch", "commands", "last")

    def __init__(self, batch: int, commands: Sequence[Work], last: bool) -> None:
        self.batch = batch
        self.commands = commands
        self.last = last


class Spawned:
    """The process of an attempt runs."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: AttemptId) -> None:
        self.attempt = attempt


class SpawnFailed:
    """The process of an attempt couldn't be started; `transient`: for want of descriptors, processes, memory."""

    __slots__ = ("attempt", "error", "transient")

    def __init__(self, attempt: AttemptId, error: OSError, transient: bool) -> None:
        self.attempt = attempt
        self.error = error
        self.transient = transient


class ExitSeen:
    """The process of an attempt ended by itself; what it left in its pipes is still being read."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: AttemptId) -> None:
        self.attempt = attempt


class Printed:
    """The process of an attempt wrote to `stream`, "stdout" or "stderr". Only told while somebody listens to it."""

    __slots__ = ("attempt", "chunk", "stream")

    def __init__(self, attempt: AttemptId, stream: str, chunk: bytes) -> None:
        self.attempt = attempt
        self.stream = stream
        self.chunk = chunk


class Exited:
    """The process of an attempt ended, its output is read, and, if it was killed, all of its family is dead."""

    __slots__ = ("attempt", "ending")

    def __init__(self, attempt: AttemptId, ending: Ending) -> None:
        self.attempt = attempt
        self.ending = ending


class Answered:
    """A user's function answered an `Ask`, or raised `error`; `error_text` is its type and text."""

    __slots__ = ("attempt", "error", "error_text", "value")

    def __init__(
        self, attempt: AttemptId, value: object, error: BaseException | None = None, error_text: str = ""
    ) -> None:
        self.attempt = attempt
        self.value = value
        self.error = error
        self.error_text = error_text


class Cancelled:
    """The caller wants the batch to end now; `hard`: without the grace between SIGTERM and SIGKILL."""

    __slots__ = ("batch", "hard")

    def __init__(self, batch: int, hard: bool = False) -> None:
        self.batch = batch
        self.hard = hard


class Resized:
    """The engine may run so many tasks at once from now on, and functions in so many processes; what runs runs on."""

    __slots__ = ("max_processes", "max_workers")

    def __init__(self, max_workers: int, max_processes: int) -> None:
        self.max_workers = max_workers
        self.max_processes = max_processes


class Heard:
    """Whether anybody listens: events that nobody hears aren't told."""

    __slots__ = ("by_anybody",)

    def __init__(self, by_anybody: bool) -> None:
        self.by_anybody = by_anybody


# Of lanes: each runs the calls that it was given one after another, in order.


class Begun:
    """A lane has a process, and its first call runs."""

    __slots__ = ("lane",)

    def __init__(self, lane: int) -> None:
        self.lane = lane


class Returned:
    """Calls of a lane came to an end by themselves, in the order in which they ran."""

    __slots__ = ("attempts", "lane", "returns")

    def __init__(self, lane: int, attempts: Sequence[AttemptId], returns: Sequence[Return]) -> None:
        self.lane = lane
        self.attempts = attempts
        self.returns = returns


class Recalled:
    """What a lane had been given behind `kept` (None: all of it) doesn't run there, and never did."""

    __slots__ = ("kept", "lane")

    def __init__(self, lane: int, kept: AttemptId | None) -> None:
        self.lane = lane
        self.kept = kept


class LaneLost:
    """A lane's process is dead, and all of its family; `ran` is the call that it ran at the time, None for none."""

    __slots__ = ("crash", "lane", "ran")

    def __init__(self, lane: int, ran: AttemptId | None, crash: Crash) -> None:
        self.lane = lane
        self.ran = ran
        self.crash = crash


class LaneFailed:
    """There is no process for a lane; `transient`: for want of descriptors, processes, memory."""

    __slots__ = ("error", "lane", "transient")

    def __init__(self, lane: int, error: OSError, transient: bool) -> None:
        self.lane = lane
        self.error = error
        self.transient = transient


Input = (
    Submitted | Fed | Spawned | SpawnFailed | ExitSeen | Printed | Exited | Answered | Cancelled | Resized
    | Heard | Begun | Returned | Recalled | LaneLost | LaneFailed
)  # fmt: skip

# ── effects ───────────────────────────────────────────────────────────────────────────────────────


class Spawn:
    """Start a process; to be answered by `Spawned` or `SpawnFailed`. `slot` is from 1 to the batch's workers."""

    __slots__ = ("attempt", "batch_id", "command", "slot")

    def __init__(self, attempt: AttemptId, batch_id: str, command: Command, slot: int) -> None:
        self.attempt = attempt
        self.batch_id = batch_id
        self.command = command
        self.slot = slot


class Dispatch:
    """Give a lane more calls, to be run one after another; a new lane needs a process, a thread or an event loop."""

    __slots__ = ("batch_id", "calls", "kind", "lane")

    def __init__(self, lane: int, kind: str, batch_id: str, calls: Sequence[tuple[AttemptId, Call]]) -> None:
        self.lane = lane
        self.kind = kind
        self.batch_id = batch_id
        self.calls = calls


class Recall:
    """Take back what a lane hasn't begun; to be answered by `Recalled`."""

    __slots__ = ("lane",)

    def __init__(self, lane: int) -> None:
        self.lane = lane


class Release:
    """A lane gets no more calls: its process is free for another."""

    __slots__ = ("lane",)

    def __init__(self, lane: int) -> None:
        self.lane = lane


class Terminate:
    """Ask the attempt's processes to end (SIGTERM); `Exited` follows when all of them are gone."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: AttemptId) -> None:
        self.attempt = attempt


class Kill:
    """End the attempt's processes (SIGKILL), those that left its group too."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: AttemptId) -> None:
        self.attempt = attempt


class Forget:
    """Not even SIGKILL ended it: report it with what there is, and wait for it no longer."""

    __slots__ = ("attempt",)

    def __init__(self, attempt: AttemptId) -> None:
        self.attempt = attempt


class Ask:
    """Call a user's function outside the engine; to be answered by `Answered`."""

    __slots__ = ("arguments", "attempt", "function")

    def __init__(
        self, attempt: AttemptId, function: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        self.attempt = attempt
        self.function = function
        self.arguments = arguments


class Resolve:
    """Tasks are settled: each has one outcome."""

    __slots__ = ("batch", "outcomes")

    def __init__(self, batch: int, outcomes: list[Outcome]) -> None:
        self.batch = batch
        self.outcomes = outcomes


class Tally:
    """How many workers started and ended in a turn, and how many retries were decided."""

    __slots__ = ("ended", "retried", "started")

    def __init__(self, started: int, ended: int, retried: int) -> None:
        self.started = started
        self.ended = ended
        self.retried = retried


class Abandon:
    """The rest of a batch that stopped: these tasks were never started. `reason` says why."""

    __slots__ = ("batch", "reason", "tasks")

    def __init__(self, batch: int, tasks: Sequence[tuple[int, Work]], reason: str) -> None:
        self.batch = batch
        self.tasks = tasks
        self.reason = reason


class Want:
    """An open batch has room for `count` more commands."""

    __slots__ = ("batch", "count")

    def __init__(self, batch: int, count: int) -> None:
        self.batch = batch
        self.count = count


class Close:
    """The batch is over: each of its `total` tasks was resolved or abandoned."""

    __slots__ = ("batch", "duration_ms", "retried", "stopped_by", "total")

    def __init__(
        self, batch: int, total: int, retried: int, duration_ms: float, stopped_by: str | None
    ) -> None:
        self.batch = batch
        self.total = total
        self.retried = retried
        self.duration_ms = duration_ms
        self.stopped_by = stopped_by


class Emit:
    """An event: it only tells, nothing depends on it. `index` is None for events of the whole batch.

    sequence: from 1 in each batch, without a gap. fields: what the type has besides (`_model.event.FIELDS`).
    """

    __slots__ = ("at", "batch", "batch_id", "fields", "index", "sequence", "type")

    def __init__(
        self,
        type: str,
        batch: int,
        batch_id: str,
        index: int | None,
        at: float,
        sequence: int,
        fields: dict[str, Any],
    ) -> None:
        self.type = type
        self.batch = batch
        self.batch_id = batch_id
        self.index = index
        self.at = at
        self.sequence = sequence
        self.fields = fields


class Log:
    """A command warned, and its policy wants that in the log. `task` is how messages name it."""

    __slots__ = ("lines", "task")

    def __init__(self, task: str, lines: Sequence[str]) -> None:
        self.task = task
        self.lines = lines


Effect = (
    Spawn | Dispatch | Recall | Release | Terminate | Kill | Forget | Ask
    | Resolve | Tally | Abandon | Want | Close | Emit | Log
)  # fmt: skip
