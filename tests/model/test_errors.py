"""The errors: one tree, stable codes, messages for people, whole after a journey between processes."""

import copy
import errno
import inspect
import pickle
from collections.abc import Iterator

import pytest

from arrea._model import errors
from arrea._model.ending import Raised
from arrea._model.errors import ArreaError, TaskError
from arrea._model.verdict import Verdict

# One of each class. Codes are a promise to programs: a change of this table breaks somebody's.
EXAMPLES: dict[str, tuple[ArreaError, str]] = {
    "ArreaError": (ArreaError("broke"), "error"),
    "NoRoom": (errors.NoRoom("can't start"), "no_room"),
    "UsageError": (errors.UsageError("wrong"), "error"),
    "InvalidOption": (errors.InvalidOption("timeout", "timeout is wrong"), "invalid_option"),
    "RefusedCommand": (
        errors.RefusedCommand(Verdict(code="unparseable", reason="a syntax error", hint="write it out")),
        "unparseable",
    ),
    "InvalidConfig": (errors.InvalidConfig("shell", "environment", "shell is wrong"), "invalid_config"),
    "InvalidBatch": (errors.InvalidBatch([(1, errors.InvalidOption("a", "bad"))]), "invalid_batch"),
    "TooManyCommands": (errors.TooManyCommands(501, 500), "too_many_commands"),
    "DuplicateId": (errors.DuplicateId("taken"), "duplicate_id"),
    "MonitorUnavailable": (errors.MonitorUnavailable("down"), "monitor_unavailable"),
    "EngineStopped": (errors.EngineStopped("the engine was closed"), "engine_stopped"),
    "TaskError": (TaskError("task 0 (x)", "broke"), "error"),
    "InvalidCommand": (errors.InvalidCommand("task 0 (x)", "bad", code="empty_command"), "empty_command"),
    "ExitStatus": (errors.ExitStatus("task 0 (x)", 127), "exit_status"),
    "KilledBySignal": (errors.KilledBySignal("task 0 (x)", 11), "killed_by_signal"),
    "TimedOut": (errors.TimedOut("task 0 (x)", 1500.0), "timeout"),
    "FunctionFailed": (
        errors.FunctionFailed(
            "task 0 (x)", Raised(KeyError("a"), "KeyError", "'a'", "Traceback ...", ("note",))
        ),
        "exception",
    ),
    "WorkerCrashed": (errors.WorkerCrashed("task 0 (x)", 11, None), "worker_crashed"),
    "NotPicklable": (errors.NotPicklable("task 0 (x)", "a lock"), "not_picklable"),
    "SlotsExhausted": (errors.SlotsExhausted("task 0 (x)"), "slots_exhausted"),
    "SpawnFailed": (
        errors.SpawnFailed("task 0 (x)", FileNotFoundError(errno.ENOENT, "No such", "/x")),
        "spawn_failed",
    ),
    "StatusLost": (errors.StatusLost("task 0 (x)"), "status_lost"),
    "WarningFailed": (errors.WarningFailed("task 0 (x)", "warned: careful"), "warning"),
    "PolicyFailed": (
        errors.PolicyFailed("task 0 (x)", "raised", errors.ExitStatus("task 0 (x)", 3), ValueError("boom")),
        "exception",
    ),
    "Ended": (errors.Ended("task 0 (x)", "deadline", "killed"), "deadline"),
}
each_error = pytest.mark.parametrize("error", [error for error, _ in EXAMPLES.values()], ids=list(EXAMPLES))


def classes() -> Iterator[type[ArreaError]]:
    for value in vars(errors).values():
        if inspect.isclass(value) and issubclass(value, ArreaError):
            yield value


def test_every_class_has_an_example() -> None:
    assert [kind.__name__ for kind in classes()] == list(EXAMPLES)


def test_codes_are_stable() -> None:
    assert {name: error.code for name, (error, _) in EXAMPLES.items()} == {
        name: code for name, (_, code) in EXAMPLES.items()
    }


def test_codes_are_unique() -> None:
    shared = (errors.InvalidCommand, errors.PolicyFailed)
    own = [kind.code for kind in classes() if "code" in vars(kind) and kind not in shared]
    assert len(own) == len(set(own))
    assert errors.InvalidCommand.code == errors.InvalidOption.code  # the same fault, raised or handed back
    assert (
        errors.PolicyFailed.code == errors.FunctionFailed.code
    )  # a function of the user's raised, whichever it was


def test_codes_and_classes_are_drawn_at_the_top_of_the_module() -> None:
    drawing = errors.__doc__ or ""
    for name, (_, code) in EXAMPLES.items():
        assert name in drawing
        assert code == "error" or code in drawing


@each_error
def test_class_says_what_it_means(error: ArreaError) -> None:
    assert inspect.getdoc(type(error))
    assert "__doc__" in vars(type(error)) and vars(type(error))["__doc__"]


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_round_trip(error: ArreaError, protocol: int) -> None:
    check_same(pickle.loads(pickle.dumps(error, protocol)), error)


@each_error
def test_copies(error: ArreaError) -> None:
    error.add_note("a note")
    check_same(copy.copy(error), error)
    check_same(copy.deepcopy(error), error)


def check_same(found: ArreaError, error: ArreaError) -> None:
    assert type(found) is type(error)
    assert (str(found), found.code, found.args) == (str(error), error.code, error.args)
    assert printed(found) == printed(error)


def printed(error: ArreaError) -> dict[str, str]:
    return {name: repr(value) for name, value in vars(error).items()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("InvalidBatch", "1 element is wrong, nothing was started: element 1: bad"),
        ("ExitStatus", "task 0 (x): exit code 127 (command not found)"),
        ("KilledBySignal", "task 0 (x): killed by SIGSEGV"),
        ("TimedOut", "task 0 (x): timed out after 1500 ms and was killed"),
        ("FunctionFailed", "task 0 (x): raised KeyError: 'a'"),
        ("WorkerCrashed", "task 0 (x): its process died: killed by SIGSEGV"),
        (
            "NotPicklable",
            "task 0 (x): its value can't be brought from its process: a lock; "
            'return something that can, or use isolation="thread"',
        ),
        (
            "SlotsExhausted",
            "task 0 (x): not started: every slot is held by a thread or a coroutine that timed out and runs on",
        ),
        ("SpawnFailed", "task 0 (x): could not be started: No such: '/x'"),
        ("PolicyFailed", "task 0 (x): raised (asked about: task 0 (x): exit code 3)"),
    ],
)
def test_messages(name: str, message: str) -> None:
    assert str(EXAMPLES[name][0]) == message


def test_fields() -> None:
    crash, spawn = errors.KilledBySignal("t", 34), EXAMPLES["SpawnFailed"][0]
    assert (crash.signal, crash.signal_name, str(crash)) == (34, "signal 34", "t: killed by signal 34")
    assert isinstance(spawn, errors.SpawnFailed) and (spawn.errno, spawn.filename) == (errno.ENOENT, "/x")
    assert errors.SpawnFailed("t", OSError(2, "No such", b"\xff")).args == (
        r"t: could not be started: No such: '\\xff'",
    )
    assert str(errors.SpawnFailed("t", OSError("odd"))) == "t: could not be started: odd"


def test_what_a_function_raised_as_texts_and_as_it_was() -> None:
    raised = Raised(KeyError("a"), "KeyError", "'a'", "Traceback ...", ("note",))
    error = errors.FunctionFailed("t", raised)
    assert error.exception is raised.exception is error.__cause__
    assert (error.type_name, error.text, error.traceback, error.notes) == (
        "KeyError",
        "'a'",
        "Traceback ...",
        ("note",),
    )
    told = errors.FunctionFailed("t", Raised(None, "pkg.Oops", "", ""))
    assert (str(told), told.exception, told.__cause__) == ("t: raised pkg.Oops", None, None)
    long = errors.FunctionFailed("t", Raised(None, "Oops", "\x1b" + 10_000 * "x", ""))
    assert str(long).isprintable() and len(str(long)) < 600 and len(long.text) == 10_001


@pytest.mark.parametrize(
    ("signal", "exit_code", "told", "message"),
    [
        (9, None, "", "killed by SIGKILL (by somebody, or by the kernel for want of memory)"),
        (34, None, "", "killed by signal 34"),
        (None, 3, "", "exit code 3"),
        (None, 0, "", "exit code 0"),
        (None, None, "", "nobody knows how"),
        (9, None, "it closed its connection", "it closed its connection"),
    ],
)
def test_how_a_process_died(signal: int | None, exit_code: int | None, told: str, message: str) -> None:
    error = errors.WorkerCrashed("t", signal, exit_code, told)
    assert str(error) == f"t: its process died: {message}"
    name = None if signal is None else errors.signal_name(signal)
    assert (error.signal, error.signal_name, error.exit_code) == (signal, name, exit_code)


def test_what_runs_on_is_said_to() -> None:
    late, ended = (
        errors.TimedOut("t", 5.0, abandoned=True),
        errors.Ended("t", "deadline", "late", abandoned=True),
    )
    assert (late.abandoned, ended.abandoned) == (True, True)
    runs_on = "runs on: it can't be ended there, as a process can"
    assert str(late) == f"t: timed out after 5 ms and {runs_on}"
    assert str(ended) == f"t: late; it {runs_on}"
    assert not errors.TimedOut("t", 5.0).abandoned and not errors.Ended("t", "deadline", "late").abandoned


@pytest.mark.parametrize("reason", list(errors.NOT_STARTED))
def test_not_started_says_why(reason: str) -> None:
    error = errors.not_started("task 1 (x)", reason)
    assert error.code == "not_started"
    assert str(error) == f"task 1 (x): not started: {errors.NOT_STARTED[reason]}"


def test_signal_names_are_the_systems() -> None:
    import signal

    for number, name in errors.SIGNAL_NAMES.items():
        assert signal.Signals(number).name == name
