"""A worker: one task through all its attempts.

Given a worker's record and what happened to it, each function changes the state and hands back what follows:
effects for the runtime, or how the attempt ended. What that means for the task and its batch is for `Outcomes` to say.
"""

from __future__ import annotations

from arrea._engine.states import (
    QUEUED,
    READY,
    Deciding,
    Killing,
    Ready,
    Running,
    Spawning,
    Stopping,
    Waiting,
)
from arrea._model.checks import shown
from arrea._model.ending import Raised
from arrea._model.errors import (
    Ended,
    ExitStatus,
    FunctionFailed,
    KilledBySignal,
    NotPicklable,
    PolicyFailed,
    StatusLost,
    TaskError,
    TimedOut,
    WarningFailed,
    WorkerCrashed,
    not_started,
)
from arrea._model.policy import AskUser, PolicyContext, decide, decide_answered
from arrea._model.step import Ask, Forget, Kill, Terminate
from arrea._model.text import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._engine.registry import Lane, WorkerRecord
    from arrea._model.ending import AnyEnding, Crash, Ending, Return
    from arrea._model.policy import Decision
    from arrea._model.step import Answered, Effect

ANSWER_WITHIN_MS = 5_000.0
# After SIGKILL a process is gone in microseconds, unless the kernel holds it (state D: a dead network mount).
GIVE_UP_AFTER_MS = 10_000.0
SPAWN_TRIES = 8


def name(worker: WorkerRecord) -> str:
    return describe(worker.index, worker.command.name)


# ── start ─────────────────────────────────────────────────────────────────────────────────────────


def begin(worker: WorkerRecord) -> None:
    """A slot was given: the next attempt starts."""
    assert isinstance(worker.state, Ready)
    worker.attempts += 1
    worker.state = Spawning()


def give(worker: WorkerRecord, lane: Lane) -> None:
    """It is sent to a lane, behind what is there."""
    assert isinstance(worker.state, Ready)
    worker.attempts += 1
    worker.lane = lane
    worker.state = QUEUED


def take_back(worker: WorkerRecord) -> None:
    """Where it was sent to it never began: that was no attempt."""
    worker.attempts -= 1
    worker.lane = None
    worker.state = READY


def spawned(worker: WorkerRecord, since: float, now: float) -> list[Effect]:
    """It runs since then."""
    state = worker.state
    timeout = worker.command.settings.timeout_ms
    worker.state = Running(None if timeout is None else since + timeout)
    if isinstance(state, Spawning) and state.stop is not None:
        return stop(worker, state.stop, now, state.hard)
    return []


def wait_for_room(worker: WorkerRecord, now: float) -> None:
    """A start failed because the machine is full, and was no attempt: again soon, later each time, a second at most."""
    worker.spawn_failures += 1
    worker.attempts -= 1
    worker.state = Waiting(now + min(1000.0, 5.0 * 2.0 ** min(worker.spawn_failures, SPAWN_TRIES)))


# ── the kill ladder ───────────────────────────────────────────────────────────────────────────────


def stop(worker: WorkerRecord, reason: str, now: float, hard: bool = False) -> list[Effect]:
    """End the attempt that runs: SIGTERM first, or SIGKILL at once when `hard`.

    Without effect on an attempt that is being ended already, but for making it `hard`.
    """
    state = worker.state
    if isinstance(state, Spawning):
        state.stop, state.hard = state.stop or reason, hard or state.hard
        return []
    if isinstance(state, Running) and not hard:
        worker.state = Stopping(reason, now, now + worker.batch.plan.kill_grace_ms)
        return [Terminate(worker.attempt_id)]
    if isinstance(state, (Running, Stopping)) and hard:
        since = getattr(state, "since", now)
        worker.state = Killing(getattr(state, "reason", reason), since, now + GIVE_UP_AFTER_MS)
        return [Kill(worker.attempt_id)]
    return []


def give_up(worker: WorkerRecord) -> list[Effect]:
    assert isinstance(worker.state, Killing)
    worker.state = Killing(worker.state.reason, worker.state.since, None)
    return [Forget(worker.attempt_id)]


# ── the end of an attempt ─────────────────────────────────────────────────────────────────────────


def ended(worker: WorkerRecord, ending: Ending) -> TaskError | None:
    """What the attempt came to: None is success."""
    worker.ending, worker.spawn_failures = ending, 0
    state = worker.state
    if isinstance(state, (Stopping, Killing)):
        worker.error = stopped_error(worker, state.reason, ending)
    else:
        worker.error = _own_error(worker, ending)
    return worker.error


def returned(worker: WorkerRecord, ending: Return) -> TaskError | None:
    """The same for a call that came to an end by itself, also in the middle of being ended."""
    worker.ending, worker.spawn_failures = ending, 0
    state = worker.state
    if isinstance(state, (Stopping, Killing)) and ending.ended >= state.since:
        worker.error = stopped_error(worker, state.reason)
    else:
        worker.error = _own_error_of_call(worker, ending)
    return worker.error


def crashed(worker: WorkerRecord, crash: Crash) -> TaskError:
    """The same for a call whose process is dead."""
    worker.ending, worker.spawn_failures = crash, 0
    state = worker.state
    if isinstance(state, (Stopping, Killing)):
        worker.error = stopped_error(worker, state.reason, crash)
    else:
        worker.error = WorkerCrashed(name(worker), crash.signal, crash.exit_code, crash.told)
    return worker.error


def abandoned(worker: WorkerRecord, reason: str) -> TaskError:
    """The error of a call that nothing can end: it runs on."""
    worker.error = stopped_error(worker, reason, abandoned=True)
    return worker.error


def stopped_error(
    worker: WorkerRecord, reason: str, ending: Ending | Crash | None = None, abandoned: bool = False
) -> TaskError:
    """The error of a task that Arrea ended."""
    if reason == "timeout":
        error: TaskError = TimedOut(name(worker), worker.command.settings.timeout_ms or 0.0, abandoned)
    else:
        error = Ended(name(worker), *ENDED[reason], abandoned)
    if ending is not None and ending.forgotten:
        error.add_note(f"process {ending.pid} didn't die of SIGKILL: the kernel holds it (state D)")
    return error


def left_with(worker: WorkerRecord, reason: str) -> TaskError:
    """The error of a task that didn't run at the moment when its batch stopped."""
    if worker.error is None:
        return not_started(name(worker), reason)
    if reason in ("deadline", "cancelled"):
        return stopped_error(worker, reason)
    return worker.error


ENDED = {
    "deadline": ("deadline", "killed: the batch's deadline passed"),
    "cancelled": ("cancelled", "cancelled"),
    "stop": ("cancelled", "killed: its batch stopped at another task's failure (on_stop='kill')"),
    "max_failures": ("cancelled", "killed: its batch had too many failures (on_stop='kill')"),
}


def _own_error(worker: WorkerRecord, ending: Ending) -> TaskError | None:
    if ending.status is None:
        return StatusLost(name(worker))
    if ending.signal is not None:
        return KilledBySignal(name(worker), ending.signal)
    if ending.exit_code:
        return ExitStatus(name(worker), ending.exit_code)
    return _promoted(worker, ending)


def _own_error_of_call(worker: WorkerRecord, ending: Return) -> TaskError | None:
    problem = ending.problem
    if problem is not None:
        if isinstance(problem, Raised):
            return FunctionFailed(name(worker), problem)
        return NotPicklable(name(worker), problem.told)
    return _promoted(worker, ending)


def _promoted(worker: WorkerRecord, ending: AnyEnding) -> TaskError | None:
    """A warning that counts as an error."""
    if ending.warnings and worker.command.settings.policy.on_warning == "promote_to_error":
        return WarningFailed(name(worker), f"warned: {ending.warnings[0]}")
    return None


# ── what the policy says ──────────────────────────────────────────────────────────────────────────


def after_failure(worker: WorkerRecord, error: TaskError, now: float, chance: float) -> Decision | Ask:
    """The decision about a failure, or the question to the user's function that has to make it."""
    policy = worker.command.settings.policy
    decision = decide(policy, error, worker.attempts - 1, _retries_left(worker), chance)
    return _ask(worker, error, decision.question, now) if isinstance(decision, AskUser) else decision


def _retries_left(worker: WorkerRecord) -> float:
    limit = worker.batch.plan.policy.total_retries
    return float("inf") if limit is None else limit - worker.batch.retried


def _ask(worker: WorkerRecord, error: TaskError, question: str, now: float) -> Ask:
    policy = worker.command.settings.policy
    worker.state = Deciding(error, question, now + ANSWER_WITHIN_MS)
    if question == "retry_on":
        return Ask(worker.attempt_id, _truth, (policy.retry_on, error))
    arguments = (policy.on_error, error, worker.attempts - 1, _context(worker, now))
    return Ask(worker.attempt_id, _word, arguments)


def _truth(function: Callable[[TaskError], object], error: TaskError) -> bool:
    return bool(function(error))


def _word(function: Callable[..., object], *arguments: object) -> str:
    """Runs outside the engine, like the function itself, so that no method of its answer runs inside."""
    answer = function(*arguments)
    if not isinstance(answer, str):
        raise TypeError(f"it answered a {type(answer).__name__}, not 'retry', 'stop' or 'continue'")
    return str.__str__(answer)


def _context(worker: WorkerRecord, now: float) -> PolicyContext:
    command, batch_id = worker.command, worker.batch.plan.batch_id
    retries = command.settings.policy.max_retries
    elapsed = now - worker.started_at
    return PolicyContext(
        batch_id, worker.index, command.label, command.text, worker.attempts, elapsed, retries
    )


def answered(worker: WorkerRecord, answer: Answered, chance: float) -> Decision | PolicyFailed:
    """The decision that the user's function made, or why it made none."""
    state = worker.state
    assert isinstance(state, Deciding)
    if answer.error is not None:
        return _policy_failed(worker, state, f"raised {answer.error_text}", answer.error)
    policy, left = worker.command.settings.policy, _retries_left(worker)
    decision = decide_answered(policy, state.question, answer.value, worker.attempts - 1, left, chance)
    if decision is None:
        problem = f"answered {shown(answer.value)}, not 'retry', 'stop' or 'continue'"
        return _policy_failed(worker, state, problem, None)
    return decision


def no_answer(worker: WorkerRecord) -> PolicyFailed:
    assert isinstance(worker.state, Deciding)
    return _policy_failed(worker, worker.state, f"gave no answer within {ANSWER_WITHIN_MS / 1000:g} s", None)


def _policy_failed(
    worker: WorkerRecord, state: Deciding, problem: str, raised: BaseException | None
) -> PolicyFailed:
    return PolicyFailed(name(worker), f"the policy's {state.question} {problem}", state.error, raised)


def wait(worker: WorkerRecord, delay_ms: float, now: float) -> None:
    worker.state = Waiting(now + delay_ms)
