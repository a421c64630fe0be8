"""Every error of Arrea, with a stable `code`, a message for people, and fields for programs.

ArreaError                    error; unsupported_platform at the first use on a system that isn't Linux
├── NoRoom                    no_room: too few descriptors, threads or memory for the engine itself
├── UsageError                raised at the call: nothing was started
│   ├── InvalidOption         invalid_option
│   │   ├── RefusedCommand    dangerous_command and what else validation says; `verdict` has it all
│   │   └── InvalidConfig     invalid_config: a setting's key or value, in whichever layer it stands
│   ├── InvalidBatch          invalid_batch: `errors` has every bad element with its index
│   ├── TooManyCommands       too_many_commands
│   ├── DuplicateId           duplicate_id
│   ├── MonitorUnavailable    monitor_unavailable
│   └── EngineStopped         engine_stopped
└── TaskError                 found in `Result.error`: a failing task is a value
    ├── InvalidCommand        dangerous_command, possible_injection, unparseable, too_deep, command_too_long,
    │                         rule_failed, empty_command, shell_not_found, cwd_not_found, not_picklable, invalid_option:
    │                         refused before it started, never retried
    ├── ExitStatus            exit_status
    ├── KilledBySignal        killed_by_signal
    ├── TimedOut              timeout
    ├── SpawnFailed           spawn_failed
    ├── StatusLost            status_lost
    ├── FunctionFailed        exception: a function raised; `exception` is what
    ├── WorkerCrashed         worker_crashed: the process of a function died under it
    ├── NotPicklable          not_picklable: what a function returned can't leave its process
    ├── SlotsExhausted        slots_exhausted: all slots are lost to threads that don't end
    ├── WarningFailed         warning
    ├── PolicyFailed          exception: the policy's own function failed; `task_error` is what it was asked about
    └── Ended                 deadline, cancelled, not_started: ended from outside, never retried
"""

from __future__ import annotations

from arrea._model.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrea._model.ending import Raised
    from arrea._model.verdict import Verdict

# The field's names for signals, so that naming one needs no import of `signal` (4 ms of start-up).
# Source: signal(7); numbers as on x86 and ARM.
SIGNAL_NAMES = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
    8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE",
    14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP",
    20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ",
    26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}  # fmt: skip


def signal_name(number: int) -> str:
    """The name of a signal.

    >>> signal_name(9), signal_name(40)
    ('SIGKILL', 'signal 40')
    """
    return SIGNAL_NAMES.get(number, f"signal {number}")


class ArreaError(Exception):
    """The top of the tree. `str(error)` says what happened, to which task, and what to try."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Errors travel between processes whole, whatever their `__init__` asks for."""
        return (_restore, (type(self), self.args, self.__dict__))


def _restore(kind: type[ArreaError], args: tuple[object, ...], state: dict[str, object]) -> ArreaError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class NoRoom(ArreaError):
    """The machine has no room for an engine: too few descriptors, threads or memory. Nothing was started."""

    code = "no_room"


class UsageError(ArreaError):
    """The call was wrong. Nothing was started, nothing was lost."""


class InvalidOption(UsageError):
    """An option that doesn't exist or has a value that won't do; `option` names it.

    The code is `invalid_option`, or what exactly is wrong with the command: `empty_command`,
    `possible_injection`, `shell_not_found`, `cwd_not_found`.
    """

    code = "invalid_option"

    def __init__(self, option: str, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.option = option


class RefusedCommand(InvalidOption):
    """A command that validation refuses; `verdict` says by which rule, and where in the command."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__("command", f"refused: {verdict.reason}; {verdict.hint}", code=verdict.code)
        self.verdict = verdict


class InvalidConfig(InvalidOption):
    """A setting that doesn't exist or has a value that won't do; `key` names it, `layer` says where it stands.

    Nothing changed: the value before it is still in force.
    """

    code = "invalid_config"

    def __init__(self, key: str, layer: str, message: str) -> None:
        super().__init__(key, message)
        self.key = key
        self.layer = layer


class InvalidBatch(UsageError):
    """A list with bad elements. `errors` is a list of (index, error), one for each of them."""

    code = "invalid_batch"

    def __init__(self, errors: Sequence[tuple[int, ArreaError]]) -> None:
        self.errors = list(errors)
        shown = "; ".join(f"element {index}: {error}" for index, error in self.errors[:20])
        rest = len(self.errors) - 20
        more = f"; and {rest} more" if rest > 0 else ""
        noun = "element is" if len(self.errors) == 1 else "elements are"
        super().__init__(f"{len(self.errors)} {noun} wrong, nothing was started: {shown}{more}")


class TooManyCommands(UsageError):
    """A list longer than `max_commands_per_batch`."""

    code = "too_many_commands"

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(
            f"{count} commands in one list, the limit is {limit}, nothing was started: "
            "pass an iterator, or raise max_commands_per_batch"
        )
        self.count = count
        self.limit = limit


class DuplicateId(UsageError):
    """A name that something living has already."""

    code = "duplicate_id"


class MonitorUnavailable(UsageError):
    """The counters of an engine have failed; its work goes on."""

    code = "monitor_unavailable"


class EngineStopped(UsageError):
    """The engine was closed, belongs to the parent of a fork, or has failed."""

    code = "engine_stopped"


class TaskError(ArreaError):
    """Why a task failed. `task` is its label or its command, shortened, safe to print."""

    def __init__(self, task: str, message: str, *, code: str | None = None) -> None:
        super().__init__(f"{task}: {message}", code=code)
        self.task = task


class InvalidCommand(TaskError):
    """Refused before it started; the `code` says why. `verdict`: what validation said, where it was that."""

    code = "invalid_option"

    def __init__(
        self, task: str, message: str, *, code: str | None = None, verdict: Verdict | None = None
    ) -> None:
        super().__init__(task, message, code=code)
        self.verdict = verdict


class ExitStatus(TaskError):
    """The command ended with an exit code other than 0."""

    code = "exit_status"

    def __init__(self, task: str, exit_code: int) -> None:
        super().__init__(task, f"exit code {exit_code}{_SHELL_CODES.get(exit_code, '')}")
        self.exit_code = exit_code


_SHELL_CODES = {126: " (found, but not executable)", 127: " (command not found)"}


class KilledBySignal(TaskError):
    """The command was ended by a signal that Arrea didn't send."""

    code = "killed_by_signal"

    def __init__(self, task: str, signal: int) -> None:
        self.signal = signal
        self.signal_name = signal_name(signal)
        super().__init__(task, f"killed by {self.signal_name}")


class TimedOut(TaskError):
    """One attempt took longer than its timeout; it and what it had started are dead.

    abandoned: it is not, for it ran in a thread, or in a coroutine that takes no cancellation; nobody waits for it.
    """

    code = "timeout"

    def __init__(self, task: str, timeout_ms: float, abandoned: bool = False) -> None:
        then = LEFT_RUNNING if abandoned else "was killed"
        super().__init__(task, f"timed out after {timeout_ms:g} ms and {then}")
        self.timeout_ms = timeout_ms
        self.abandoned = abandoned


LEFT_RUNNING = "runs on: it can't be ended there, as a process can"


class FunctionFailed(TaskError):
    """The function raised.

    exception: what it raised; None where that can't be brought here from its process. type_name, text, traceback,
    notes: the same as texts, which are always there.
    """

    code = "exception"

    def __init__(self, task: str, raised: Raised) -> None:
        text = printable(raised.text[:500])
        super().__init__(task, f"raised {raised.type_name}{': ' if text else ''}{text}")
        self.exception = raised.exception
        self.type_name = raised.type_name
        self.text = raised.text
        self.traceback = raised.traceback
        self.notes = raised.notes
        self.__cause__ = raised.exception


class WorkerCrashed(TaskError):
    """The process that the function ran in died under it: of a `signal`, or with an `exit_code`.

    Both are None if nobody knows. Others that waited behind it ran elsewhere.
    """

    code = "worker_crashed"

    def __init__(self, task: str, signal: int | None, exit_code: int | None, told: str = "") -> None:
        self.signal = signal
        self.signal_name = None if signal is None else signal_name(signal)
        self.exit_code = exit_code
        super().__init__(task, f"its process died: {told or _how_died(signal, exit_code)}")


def _how_died(signal: int | None, exit_code: int | None) -> str:
    if signal == 9:
        return "killed by SIGKILL (by somebody, or by the kernel for want of memory)"
    if signal is not None:
        return f"killed by {signal_name(signal)}"
    return "nobody knows how" if exit_code is None else f"exit code {exit_code}"


class NotPicklable(TaskError):
    """The function returned, but what it returned can't leave its process."""

    code = "not_picklable"

    def __init__(self, task: str, told: str) -> None:
        super().__init__(task, f"its value can't be brought from its process: {told}; {THREAD_INSTEAD}")


THREAD_INSTEAD = 'return something that can, or use isolation="thread"'


class SlotsExhausted(TaskError):
    """Never started: every slot is lost to a thread or a coroutine that timed out and doesn't end."""

    code = "slots_exhausted"

    def __init__(self, task: str) -> None:
        held = "every slot is held by a thread or a coroutine that timed out and runs on"
        super().__init__(task, f"not started: {held}")


class SpawnFailed(TaskError):
    """The process couldn't be started; `errno` and `filename` are the system's."""

    code = "spawn_failed"

    def __init__(self, task: str, reason: OSError) -> None:
        super().__init__(task, f"could not be started: {_reason(reason)}")
        self.errno = reason.errno
        self.filename = reason.filename


def _reason(error: OSError) -> str:
    name = error.filename
    if isinstance(name, bytes):
        name = name.decode(errors="backslashreplace")
    return f"{error.strerror}: {name!r}" if name else str(error.strerror or error)


class StatusLost(TaskError):
    """The program that embeds Arrea threw the exit status away."""

    code = "status_lost"

    def __init__(self, task: str) -> None:
        super().__init__(
            task,
            "ended, but its exit status is lost: this program ignores SIGCHLD or waits for every "
            "child (waitpid(-1)); set SIGCHLD to its default, and wait for known pids only",
        )


class WarningFailed(TaskError):
    """A warning that the policy promotes to an error (`on_warning="promote_to_error"`)."""

    code = "warning"


class PolicyFailed(TaskError):
    """The policy's own function raised, answered nonsense or gave no answer.

    `task_error` is the failure that it was asked about; `exception` what it raised, if it raised.
    """

    code = "exception"

    def __init__(
        self, task: str, problem: str, task_error: TaskError, exception: BaseException | None
    ) -> None:
        super().__init__(task, f"{problem} (asked about: {task_error})")
        self.task_error = task_error
        self.exception = exception
        self.__cause__ = exception


class Ended(TaskError):
    """Ended from outside: `deadline`, `cancelled` or `not_started`. Never retried.

    abandoned: it ran where nothing can stop it (a thread), and runs on; nobody waits for it.
    """

    def __init__(self, task: str, code: str, message: str, abandoned: bool = False) -> None:
        super().__init__(task, f"{message}; it {LEFT_RUNNING}" if abandoned else message, code=code)
        self.abandoned = abandoned


NOT_STARTED = {
    "stop": "its batch stopped at the failure of another task",
    "max_failures": "its batch had too many failures",
    "deadline": "the batch's deadline passed",
    "cancelled": "its batch was cancelled",
}


FROM_OUTSIDE = ("deadline", "cancelled")


def source_left(reason: str, pulled: int) -> Ended:
    """The error of a source that its batch left before it came to an end.

    >>> print(source_left("deadline", 3))
    what comes after item 3: the batch's deadline passed before the source came to its end
    """
    return Ended(
        f"what comes after item {pulled}", reason, f"{NOT_STARTED[reason]} before the source came to its end"
    )


def not_started(task: str, reason: str) -> Ended:
    """The error of a task that its batch never came to.

    >>> not_started("task 3 (make)", "deadline").code
    'not_started'
    """
    return Ended(task, "not_started", f"not started: {NOT_STARTED[reason]}")
