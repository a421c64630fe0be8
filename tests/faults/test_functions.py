"""Functions that go wrong, each among others: a clear result within five seconds, and the pool works afterwards.

What is sent to a worker process is a lambda or a nested function: they go by value, and nothing there imports this
module.
"""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Result, Task
from arrea._runtime import seed
from tests.faults.conftest import GRACE_MS
from tests.support import marked_survivors, process_stat, wait_until

pytestmark = pytest.mark.timeout(20)

WITHIN_S = 5.0
GRACE_S = GRACE_MS / 1000


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Three processes whatever the machine has, and every task is tried once."""
    with Engine(
        kill_grace=GRACE_MS, max_processes=3, default_policy="once", max_commands_per_batch=None
    ) as engine:
        yield engine


@pytest.fixture(autouse=True)
def no_core_files() -> Iterator[None]:
    """What crashes on purpose doesn't leave its memory in the directory of the tests."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def run_among_others(engine: Engine, task: Any, **options: Any) -> Result:
    """The result of one task between eight that are fine, all within five seconds; afterwards the pool works."""
    others = [lambda number=number: number * number for number in range(8)]
    began = time.monotonic()
    results = engine.run([*others[:4], task, *others[4:]], workers=3, **options)
    took = time.monotonic() - began
    assert [result.data for result in results if result.index != 4] == [0, 1, 4, 9, 16, 25, 36, 49], results
    assert took < WITHIN_S
    check_pool(engine)
    return results[4]


def check_pool(engine: Engine) -> None:
    """All of its processes do their work."""
    began = time.monotonic()
    again = engine.run([lambda number=number: -number for number in range(9)], workers=3)
    assert again.data == [-number for number in range(9)], again.failures
    assert time.monotonic() - began < WITHIN_S


def failure(result: Result, code: str) -> Any:
    """The error of a task that failed with this code; its texts can be had."""
    error: Any = result.error
    assert error is not None and error.code == code, result
    assert (result.success, result.data) == (False, None)
    assert str(error).startswith(f"task {result.index} (") and repr(error)
    return error


def code_of(result: Result) -> str:
    return result.error.code if result.error else "success"


def lives(pid: int) -> bool:
    """A zombie doesn't: nobody has asked for its status yet."""
    stat = process_stat(pid)
    return stat is not None and stat[1] not in "ZX"


def noting(log: Path) -> Callable[[object], None]:
    """A function that adds a line to a log, in one write, from whichever process."""
    path = str(log)

    def note(line: object) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    return note


def noted(log: Path) -> list[str]:
    """The whole lines of a log."""
    text = log.read_text() if log.exists() else ""
    return text[: text.rfind("\n") + 1].split("\n")[:-1]


# ── the process ends under the function ───────────────────────────────────────────────────────────


def killing_its_group(number: int) -> Callable[[], None]:
    ours = os.getpgrp()

    def kill() -> None:
        if os.getpgrp() == ours:
            raise RuntimeError("it runs in the group of its host")
        os.killpg(0, number)

    return kill


# How it ends: the signal, the exit code.
DEATHS: dict[str, tuple[Callable[[], Any], int | None, int | None]] = {
    "os._exit(3)": (lambda: os._exit(3), None, 3),
    "os._exit(0)": (lambda: os._exit(0), None, 0),
    "a wild pointer": (lambda: ctypes.string_at(0), signal.SIGSEGV, None),
    "SIGSEGV": (lambda: os.kill(os.getpid(), signal.SIGSEGV), signal.SIGSEGV, None),
    "SIGKILL": (lambda: os.kill(os.getpid(), signal.SIGKILL), signal.SIGKILL, None),
    "abort": (lambda: os.abort(), signal.SIGABRT, None),
    "exec of another program": (lambda: os.execv("/bin/sh", ["sh", "-c", "exit 5"]), None, 5),
    "SIGKILL to its whole group": (killing_its_group(signal.SIGKILL), signal.SIGKILL, None),
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_function_whose_process_ends(how: str, engine: Engine) -> None:
    function, number, exit_code = DEATHS[how]
    error = failure(run_among_others(engine, function), "worker_crashed")
    assert type(error).__name__ == "WorkerCrashed"
    assert (error.signal, error.exit_code) == (number, exit_code)
    assert error.signal_name == (None if number is None else signal.Signals(number).name)


def test_a_function_that_is_killed_from_outside(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def waits() -> None:
        note(os.getpid())
        time.sleep(60)

    batch = engine.submit([waits, *[lambda: "fine"] * 5], workers=2)
    assert wait_until(lambda: noted(tmp_path / "log"))
    os.kill(int(noted(tmp_path / "log")[0]), signal.SIGKILL)
    killed, *others = batch.wait("5s")
    assert failure(killed, "worker_crashed").signal == signal.SIGKILL
    assert [result.data for result in others] == ["fine"] * 5
    check_pool(engine)


def test_processes_that_are_killed_while_they_have_nothing_to_do(engine: Engine) -> None:
    for _ in range(3):
        pids = set(engine.run([lambda: (time.sleep(0.02), os.getpid())[1]] * 9, workers=3).unwrap())
        assert os.getpid() not in pids
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda pids=pids: not any(map(lives, pids)))
        time.sleep(0.05)  # so that the engine has heard of it, and what comes next isn't sent to the dead
        check_pool(engine)


def test_the_parent_of_the_processes_is_killed(engine: Engine) -> None:
    """The seed from which they come: what asks for processes afterwards gets them, from another one."""
    pids = set(engine.run([os.getpid] * 9, workers=3).unwrap())
    parent = engine.execute(os.getppid).unwrap()
    assert parent not in (os.getpid(), 1), "a worker process is the child of a seed"
    os.kill(parent, signal.SIGKILL)
    assert wait_until(lambda: not lives(parent))
    time.sleep(0.05)
    began = time.monotonic()
    failure(engine.execute(lambda: os._exit(3)), "worker_crashed")
    check_pool(engine)
    assert time.monotonic() - began < WITHIN_S
    engine.close()
    assert wait_until(lambda: not any(map(lives, pids)), 2.0)


def test_the_parent_of_the_processes_is_stopped(engine: Engine, tmp_path: Path) -> None:
    """It is made to go on, and nothing that runs is lost by that."""
    parent = engine.execute(os.getppid).unwrap()
    slow = engine.submit([lambda: (time.sleep(3), "done")[1]])
    os.kill(parent, signal.SIGSTOP)
    began = time.monotonic()
    failure(engine.execute(lambda: os._exit(3)), "worker_crashed")
    check_pool(engine)
    assert time.monotonic() - began < WITHIN_S
    assert slow.wait().unwrap() == ["done"]
    assert engine.execute(os.getppid).unwrap() == parent


def test_the_parent_of_the_processes_does_not_answer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it go on when it is told to: another one takes its place."""
    monkeypatch.setattr(seed, "LOST_S", 1.2)
    monkeypatch.setattr(seed, "SIGCONT", 0)
    parent = engine.execute(os.getppid).unwrap()
    os.kill(parent, signal.SIGSTOP)
    began = time.monotonic()
    failure(engine.execute(lambda: os._exit(3)), "worker_crashed")
    check_pool(engine)
    assert time.monotonic() - began < WITHIN_S
    assert wait_until(lambda: not lives(parent))
    assert engine.execute(os.getppid).unwrap() != parent


def test_memory_that_is_limited(engine: Engine) -> None:
    def greedy() -> int:
        with open("/proc/self/statm") as statm:
            in_use = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20), resource.RLIM_INFINITY))
        return len(bytearray(2 << 30))

    error = failure(run_among_others(engine, greedy), "exception")
    assert error.type_name == "MemoryError" and isinstance(error.exception, MemoryError)


def test_memory_that_is_used_up_to_the_last_byte(engine: Engine) -> None:
    """The exception keeps all that was hoarded alive, while the process still has to tell of it."""

    def hoards() -> None:
        with open("/proc/self/statm") as statm:
            in_use = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20), resource.RLIM_INFINITY))
        hoard: list[Any] = []
        for size in (1 << 20, 1 << 12, 1 << 6):
            with contextlib.suppress(MemoryError):
                while True:
                    hoard.append(bytearray(size))
        while True:
            hoard.append(object())

    assert code_of(run_among_others(engine, hoards)) in ("exception", "worker_crashed")


def test_a_hundred_tasks_of_which_ten_kill_their_process(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def work(number: int) -> int:
        note(number)
        if number % 10 == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    began = time.monotonic()
    results = engine.run([Task(work, number) for number in range(100)], workers=3)
    assert time.monotonic() - began < WITHIN_S
    assert [result.index for result in results] == list(range(100))
    assert Counter(map(code_of, results)) == {"success": 90, "worker_crashed": 10}
    assert {result.index for result in results if not result} == set(range(3, 100, 10))
    assert all(result.data == result.index**2 for result in results if result)
    assert Counter(noted(tmp_path / "log")) == {str(number): 1 for number in range(100)}
    check_pool(engine)


def test_a_crash_is_retried_as_the_policy_says(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")
    log = str(tmp_path / "log")

    def crashes_twice() -> str:
        note("called")
        with open(log) as lines:
            return "at last" if len(lines.readlines()) == 3 else os._exit(3)

    result = run_among_others(engine, crashes_twice, policy={"max_retries": 5, "retry_delay": 0})
    assert (result.data, result.attempts) == ("at last", 3)
    always = engine.run([lambda: os._exit(3)], policy={"max_retries": 2, "retry_delay": 0})[0]
    assert failure(always, "worker_crashed").exit_code == 3 and always.attempts == 3


# ── what a function raises ────────────────────────────────────────────────────────────────────────


def raising(error: BaseException) -> Callable[[], Any]:
    def raise_it() -> Any:
        raise error

    return raise_it


RAISED: dict[str, tuple[BaseException, str]] = {
    "ValueError": (ValueError("boom"), "boom"),
    "SystemExit": (SystemExit(3), "3"),
    "SystemExit without a code": (SystemExit(), ""),
    "KeyboardInterrupt": (KeyboardInterrupt(), ""),
    "GeneratorExit": (GeneratorExit(), ""),
    "StopIteration": (StopIteration(5), "5"),
    "BaseException": (BaseException("top"), "top"),
    "OSError": (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
    "BrokenPipeError": (BrokenPipeError(32, "Broken pipe"), "[Errno 32] Broken pipe"),
    "EOFError": (EOFError("its own"), "its own"),
    "TimeoutError": (TimeoutError("its own"), "its own"),
    "a lone surrogate": (ValueError("\ud800"), "\ud800"),
    "ten megabytes of text": (ValueError("x" * 10_000_000), "x" * 10_000_000),
}


@pytest.mark.parametrize("what", RAISED)
def test_an_exception_of_any_kind(what: str, engine: Engine) -> None:
    raised, text = RAISED[what]
    error = failure(run_among_others(engine, raising(raised)), "exception")
    assert type(error).__name__ == "FunctionFailed"
    assert type(error.exception) is type(raised) and error.exception.args == raised.args
    assert error.__cause__ is error.exception
    assert error.type_name == type(raised).__name__
    assert what == "ten megabytes of text" or error.text == text
    assert "raise_it" in error.traceback and type(raised).__name__ in error.traceback


def test_endless_recursion(engine: Engine) -> None:
    def recurse(depth: int = 0) -> int:
        return recurse(depth + 1) + 1

    error = failure(run_among_others(engine, recurse), "exception")
    assert error.type_name == "RecursionError" and isinstance(error.exception, RecursionError)
    assert len(error.traceback) < 100_000


def test_an_exception_whose_texts_raise(engine: Engine) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    def fails() -> None:
        raise Mute("hidden")

    error = failure(run_among_others(engine, fails), "exception")
    assert error.type_name.endswith("Mute") and isinstance(error.text, str)
    assert isinstance(error.exception, Mute)


def test_an_exception_whose_texts_exit(engine: Engine) -> None:
    class Quits(Exception):
        def __str__(self) -> str:  # noqa: PLE0307
            sys.exit(3)

        __repr__ = __str__

    def fails() -> None:
        raise Quits

    assert failure(run_among_others(engine, fails), "exception").type_name.endswith("Quits")


def test_an_exception_that_cannot_be_made_again(engine: Engine) -> None:
    """Its `__init__` asks for more than its `args` have: pickling works, unpickling doesn't."""

    class Demanding(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"one {one} and two {two}")

    def fails() -> None:
        raise Demanding(1, 2)

    error = failure(run_among_others(engine, fails), "exception")
    assert error.type_name.endswith("Demanding") and error.text == "one 1 and two 2"
    assert error.exception is None or type(error.exception) is Demanding
    assert error.__cause__ is error.exception
    assert "fails" in error.traceback and "one 1 and two 2" in str(error)


UNPICKLABLE_STATE: dict[str, Callable[[], Any]] = {
    "a lock": lambda: threading.Lock(),
    "a file": lambda: open(os.devnull, "rb"),  # noqa: SIM115
    "a generator": lambda: (number for number in range(3)),
    "a frame": lambda: sys._getframe(),
}


@pytest.mark.parametrize("what", UNPICKLABLE_STATE)
def test_an_exception_that_holds_what_cannot_be_sent(what: str, engine: Engine) -> None:
    make = UNPICKLABLE_STATE[what]

    def fails() -> None:
        raise ValueError("with a load", make())

    error = failure(run_among_others(engine, fails), "exception")
    assert error.type_name == "ValueError" and "with a load" in error.text
    assert error.exception is None and error.__cause__ is None
    assert "fails" in error.traceback


def test_an_exception_whose_pickling_goes_wrong(engine: Engine) -> None:
    class Refuses(Exception):
        def __reduce__(self) -> Any:
            raise SystemExit("not me")

    class Dies(Exception):
        def __reduce__(self) -> Any:
            os._exit(9)

    def refuses() -> None:
        raise Refuses("refuses")

    def dies() -> None:
        raise Dies("dies")

    error = failure(run_among_others(engine, refuses), "exception")
    assert error.type_name.endswith("Refuses") and error.text == "refuses" and error.exception is None
    assert failure(run_among_others(engine, dies), "worker_crashed").exit_code == 9


def test_an_exception_that_harms_whoever_unpickles_it(engine: Engine) -> None:
    class Trap(Exception):
        def __reduce__(self) -> Any:
            return (sys.exit, (3,))

    def fails() -> None:
        raise Trap("stepped on")

    error = failure(run_among_others(engine, fails), "exception")
    assert error.type_name.endswith("Trap") and error.text == "stepped on" and error.exception is None


def test_causes_notes_and_groups_are_told(engine: Engine) -> None:
    def fails() -> None:
        try:
            {}["missing"]
        except KeyError as cause:
            error = ValueError("outer")
            error.add_note("the first note")
            error.add_note("the second note")
            raise error from cause

    def fails_in_many_ways() -> None:
        raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])

    error = failure(run_among_others(engine, fails), "exception")
    assert list(error.notes) == ["the first note", "the second note"]
    assert "KeyError: 'missing'" in error.traceback and "direct cause" in error.traceback
    group = failure(run_among_others(engine, fails_in_many_ways), "exception")
    assert group.type_name == "ExceptionGroup"
    assert [type(error) for error in group.exception.exceptions] == [ValueError, KeyError]


# ── values that can't be had ──────────────────────────────────────────────────────────────────────

NO_VALUES: dict[str, Callable[[], Any]] = {
    "a generator": lambda: (number for number in range(3)),
    "a lock": lambda: threading.Lock(),
    "a lock deep inside": lambda: {"a": [1, (2, threading.RLock())]},
    "an open file": lambda: open(os.devnull, "rb"),  # noqa: SIM115
    "a thread": lambda: threading.current_thread(),
    "a frame": lambda: sys._getframe(),
}


@pytest.mark.parametrize("what", NO_VALUES)
def test_a_value_that_cannot_be_sent(what: str, engine: Engine) -> None:
    error = failure(run_among_others(engine, NO_VALUES[what]), "not_picklable")
    assert type(error).__name__ == "NotPicklable"
    assert "isolation" in str(error) and "thread" in str(error)


def test_a_generator_function_is_no_value_either(engine: Engine) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    assert "generator" in str(failure(run_among_others(engine, numbers), "not_picklable"))


def test_a_value_that_is_nested_too_deep(engine: Engine) -> None:
    def deep() -> list[Any]:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    failure(run_among_others(engine, deep), "not_picklable")


def test_a_value_whose_reduce_goes_wrong(engine: Engine) -> None:
    class Raises:
        def __reduce__(self) -> Any:
            raise ValueError("not me")

    class Exits:
        def __reduce__(self) -> Any:
            sys.exit(3)

    class Interrupts:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    class Recurses:
        def __reduce__(self) -> Any:
            return self.__reduce__()

    class Nonsense:
        def __reduce__(self) -> Any:
            return 5

    for kind in (Raises, Exits, Interrupts, Recurses, Nonsense):
        error = failure(run_among_others(engine, lambda kind=kind: kind()), "not_picklable")
        assert kind.__name__ in str(error), error


def test_a_value_whose_reduce_ends_the_process_or_never_ends(engine: Engine) -> None:
    class Dies:
        def __reduce__(self) -> Any:
            os._exit(7)

    class Hangs:
        def __reduce__(self) -> Any:
            time.sleep(60)

    assert failure(run_among_others(engine, lambda: Dies()), "worker_crashed").exit_code == 7
    failure(run_among_others(engine, Task(lambda: Hangs(), timeout=700)), "timeout")


def test_a_value_that_cannot_be_unpickled_here(engine: Engine) -> None:
    def fail() -> None:
        raise ValueError("never again")

    class Raises:
        def __reduce__(self) -> Any:
            return (fail, ())

    class Exits:
        def __reduce__(self) -> Any:
            return (sys.exit, (3,))

    class Missing:
        def __reduce__(self) -> Any:
            return "no_such_name_in_this_module"

    for kind in (Raises, Exits, Missing):
        failure(run_among_others(engine, lambda kind=kind: kind()), "not_picklable")


def test_a_value_that_hangs_when_it_is_unpickled_here(engine: Engine) -> None:
    """At most five seconds are given to it; the others don't wait for it."""

    class Hangs:
        def __reduce__(self) -> Any:
            return (time.sleep, (12,))

    began = time.monotonic()
    results = list(engine.stream([lambda: Hangs(), *[lambda: "fine"] * 20], workers=2))
    took = time.monotonic() - began
    assert [result.data for result in results if result.index > 0] == ["fine"] * 20
    [hung] = [result for result in results if result.index == 0]
    assert code_of(hung) in ("not_picklable", "timeout")
    assert took < WITHIN_S + 1.5
    check_pool(engine)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < GRACE_S + 1.0


# ── functions and arguments that can't be sent ────────────────────────────────────────────────────


def over_a_lock() -> Callable[[], Any]:
    lock = threading.Lock()
    return lambda: lock


class Unsendable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def nested_lists() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


# What makes the task, and what its refusal names.
UNSENDABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "a lambda over a lock": (over_a_lock, "lock"),
    "a lock as argument": (lambda: Task(lambda lock: 1, threading.Lock()), "lock"),
    "a lock deep in an argument": (lambda: Task(lambda value: 1, {"a": [threading.Lock()]}), "lock"),
    "a generator as argument": (lambda: Task(sum, (number for number in range(3))), "generator"),
    "a method of a lock": (lambda: threading.Lock().acquire, "lock"),
    "an argument that raises": (lambda: Task(len, Unsendable(ValueError("no"))), "Unsendable"),
    "an argument that exits": (lambda: Task(len, Unsendable(SystemExit(3))), "Unsendable"),
    "an argument nested too deep": (lambda: Task(len, nested_lists()), ""),
}


@pytest.mark.parametrize("what", UNSENDABLE)
def test_what_cannot_be_sent_is_refused_before_anything_starts(
    what: str, engine: Engine, tmp_path: Path
) -> None:
    make, named = UNSENDABLE[what]
    note = noting(tmp_path / "log")
    with pytest.raises(arrea.InvalidBatch) as caught:
        engine.run([lambda: note("started"), make(), lambda: note("started")])
    [(index, error)] = caught.value.errors
    assert (index, error.code) == (1, "not_picklable"), error
    assert named in str(error) and "isolation" in str(error) and "thread" in str(error)
    assert noted(tmp_path / "log") == []


@pytest.mark.parametrize("what", UNSENDABLE)
def test_what_cannot_be_sent_fails_among_others(what: str, engine: Engine) -> None:
    make, named = UNSENDABLE[what]
    one = engine.execute(make())
    results = list(engine.run(iter([lambda: "before", make(), lambda: "after"]), workers=2))
    for result in (one, results[1]):
        assert named in str(failure(result, "not_picklable")) and result.attempts == 0
    assert [results[0].data, results[2].data] == ["before", "after"]
    check_pool(engine)


def test_an_argument_that_harms_whoever_unpickles_it(engine: Engine) -> None:
    class Arrives:
        def __init__(self, function: Any, *args: Any) -> None:
            self.how = (function, args)

        def __reduce__(self) -> Any:
            return self.how

    def fail() -> None:
        raise ValueError("never again")

    def take(value: Any) -> str:
        return "taken"

    for arrives in (Arrives(fail), Arrives(sys.exit, 3), Arrives(getattr, sys, "no_such_name")):
        result = run_among_others(engine, Task(take, arrives))
        assert code_of(result) in ("not_picklable", "exception"), result
    crashed = run_among_others(engine, Task(take, Arrives(os._exit, 6)))
    assert failure(crashed, "worker_crashed").exit_code == 6
    failure(run_among_others(engine, Task(take, Arrives(time.sleep, 60), timeout=700)), "timeout")


# ── what a function does to its process ───────────────────────────────────────────────────────────


def test_a_function_that_forks_and_both_sides_return(engine: Engine, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def forks() -> str:
        if os.fork() == 0:
            note(os.getpid())
            return "child"
        return "parent"

    for _ in range(3):
        assert run_among_others(engine, forks).unwrap() == "parent"
    assert wait_until(lambda: len(noted(tmp_path / "log")) == 3)
    children = list(map(int, noted(tmp_path / "log")))
    assert wait_until(lambda: not any(map(lives, children)), 2.0)


FORKED_ENDS: dict[str, Callable[[], Any]] = {
    "raises": lambda: 1 / 0,
    "exits": lambda: sys.exit(3),
    "exits at once": lambda: os._exit(3),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


@pytest.mark.parametrize("how", FORKED_ENDS)
def test_a_function_that_forks_and_the_child_goes_wrong(how: str, engine: Engine, tmp_path: Path) -> None:
    end, note = FORKED_ENDS[how], noting(tmp_path / "log")

    def forks() -> bool:
        pid = os.fork()
        if pid == 0:
            note(os.getpid())
            end()
        return os.waitpid(pid, 0)[0] == pid

    assert run_among_others(engine, forks).unwrap() is True
    assert not any(lives(int(pid)) for pid in noted(tmp_path / "log"))


def test_a_function_that_forks_and_the_parent_ends(engine: Engine, tmp_path: Path) -> None:
    """The child may not answer in the parent's name; it ends with the parent, like all that a call started."""
    note = noting(tmp_path / "log")

    def forks() -> str:
        if os.fork() > 0:
            time.sleep(0.2)
            os._exit(4)
        note(os.getpid())
        return "child"

    assert failure(run_among_others(engine, forks), "worker_crashed").exit_code == 4
    assert wait_until(lambda: noted(tmp_path / "log"))
    assert wait_until(lambda: not lives(int(noted(tmp_path / "log")[0])), 2.0)


def test_a_function_that_uses_multiprocessing(engine: Engine) -> None:
    def uses() -> Any:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=time.sleep, args=(0,))
        process.start()
        process.join()
        with context.Pool(2) as pool:
            return process.exitcode, pool.map(abs, [-1, -2, -3])

    assert run_among_others(engine, uses).unwrap() == (0, [1, 2, 3])


# What goes on in the process, or is changed there, when the function has returned.
LEFT_BEHIND: dict[str, Callable[[], Any]] = {
    "a thread": lambda: threading.Thread(target=time.sleep, args=(60,), daemon=False).start(),
    "a daemon thread": lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(),
    "fifty threads": lambda: [
        threading.Thread(target=time.sleep, args=(60,)).start() for _ in range(50)
    ].clear(),
    "an exit hook that sleeps": lambda: (atexit.register(time.sleep, 60), None)[1],
    "an exit hook that raises": lambda: (atexit.register(divmod, 1, 0), None)[1],
    "SIGTERM ignored": lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), None)[1],
    "SIGTERM blocked": lambda: (signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]), None)[1],
    "a handler that is late": lambda: (
        signal.signal(signal.SIGTERM, lambda *_: time.sleep(60)),
        None,
    )[1],
    "SIGCHLD ignored": lambda: (signal.signal(signal.SIGCHLD, signal.SIG_IGN), None)[1],
    "stdout closed": lambda: sys.stdout.close(),
    "no stdout": lambda: setattr(sys, "stdout", None),
    "few descriptors": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)),
    "a big value": lambda: setattr(sys, "hoard", bytearray(1 << 24)),
}


@pytest.mark.parametrize("what", LEFT_BEHIND)
def test_what_a_function_leaves_in_its_process_harms_nobody(what: str, engine: Engine) -> None:
    assert run_among_others(engine, LEFT_BEHIND[what]).unwrap() is None
    pids = set(engine.run([os.getpid] * 12, workers=3).unwrap())
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < GRACE_S + 1.0
    assert wait_until(lambda: not any(map(lives, pids)), 0.5)


def test_an_alarm_that_a_function_leaves_is_not_the_next_ones() -> None:
    """Nor is how it took SIGTERM: the next call is killed at once."""

    def rings(*_: object) -> None:
        raise TimeoutError("that was for another call")

    def sets_an_alarm() -> None:
        signal.signal(signal.SIGALRM, rings)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.2)

    def sets_it_and_fails() -> None:
        sets_an_alarm()
        raise ValueError("it was set")

    with Engine(max_processes=1, kill_grace=10_000, default_policy="once") as engine:
        for sets in (sets_an_alarm, sets_it_and_fails):
            engine.execute(sets)
            assert engine.execute(lambda: time.sleep(0.4)).success
        engine.execute(sets_an_alarm)
        result = engine.execute(lambda: time.sleep(60), timeout=50)
        failure(result, "timeout")
        assert result.duration_ms < 5000


def test_a_directory_that_a_function_went_to_is_not_the_next_ones(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")

    def leave_and_remove() -> None:
        os.mkdir(gone)
        os.chdir(gone)
        os.rmdir(gone)

    here = os.getcwd()
    with Engine(max_processes=1, default_policy="once") as engine:
        for wander in (lambda: os.chdir("/"), lambda: os.chdir("/proc/self/task"), leave_and_remove):
            results = engine.run([wander, os.getcwd, Task(os.getcwd, cwd=tmp_path), os.getcwd], workers=1)
            assert results.unwrap() == [None, here, str(tmp_path), here]


def test_an_environment_that_a_function_changed_is_not_the_next_ones() -> None:
    def look() -> Any:
        return os.environ.get("LEFT_BY_A_TEST"), os.environ.get("PATH")

    path = os.environ["PATH"]
    with Engine(max_processes=1, default_policy="once") as engine:
        for change in (
            lambda: os.environ.update(LEFT_BY_A_TEST="x", PATH="/no"),
            lambda: os.environ.clear(),
            lambda: (os.environ.pop("PATH"), None)[1],
        ):
            own = Task(look, env={"LEFT_BY_A_TEST": "own"})
            bare = Task(look, env={"PATH": "/bare"}, inherit_env=False)
            results = engine.run([change, look, own, bare, look], workers=1)
            assert results.unwrap() == [None, (None, path), ("own", path), (None, "/bare"), (None, path)]
    assert "LEFT_BY_A_TEST" not in os.environ


CLOSINGS: dict[str, Callable[[], Any]] = {
    "3 to 255": lambda: os.closerange(3, 256),
    "all": lambda: os.closerange(0, 65_536),
    "the standard ones": lambda: os.closerange(0, 3),
}


@pytest.mark.parametrize("which", CLOSINGS)
def test_a_function_that_closes_descriptors(which: str, engine: Engine) -> None:
    close = CLOSINGS[which]

    def hang() -> None:
        close()
        time.sleep(60)

    def die() -> None:
        close()
        os._exit(3)

    assert code_of(run_among_others(engine, close)) in ("success", "worker_crashed")
    assert code_of(run_among_others(engine, Task(hang, timeout=500))) in ("timeout", "worker_crashed")
    assert code_of(run_among_others(engine, die)) == "worker_crashed"


MUCH = """
import sys
import arrea
def much(stream):
    for _ in range(16):
        print("x" * (1 << 20), file=getattr(sys, stream))
    return stream
results = arrea.run([arrea.Task(much, "stdout")] * 4 + [arrea.Task(much, "stderr")], policy="once", workers=2)
assert results.unwrap() == ["stdout"] * 4 + ["stderr"]
"""


def test_functions_that_print_much_while_somebody_reads_slowly(mark: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MUCH],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "ARREA_CHAOS": mark},
        start_new_session=True,
    ) as host:
        time.sleep(0.5)  # its pipes are full, and nobody has read anything
        out, err = host.communicate(timeout=15)
    assert host.returncode == 0, err[-1000:]
    assert (out.count(b"x"), out.count(b"\n"), len(out)) == (64 << 20, 64, (64 << 20) + 64)
    assert (err.count(b"x"), len(err)) == (16 << 20, (16 << 20) + 16)


# ── functions that don't want to die ──────────────────────────────────────────────────────────────


def forever_and_ever() -> Callable[[], None]:
    def catches_everything() -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)

    return catches_everything


def busy() -> Callable[[], None]:
    def spins() -> None:
        while True:
            pass

    return spins


STUBBORN: dict[str, Callable[[], Any]] = {
    "sleeps": lambda: time.sleep(60),
    "spins": busy(),
    "ignores SIGTERM": lambda: (signal.signal(signal.SIGTERM, signal.SIG_IGN), time.sleep(60)),
    "blocks all signals": lambda: (
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
        time.sleep(60),
    ),
    "handles SIGTERM too slowly": lambda: (
        signal.signal(signal.SIGTERM, lambda *_: time.sleep(60)),
        time.sleep(60),
    ),
    "catches everything": forever_and_ever(),
    "stops itself": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "ignores SIGTERM and stops itself": lambda: (
        signal.signal(signal.SIGTERM, signal.SIG_IGN),
        os.kill(os.getpid(), signal.SIGSTOP),
    ),
    "stops its whole group": killing_its_group(signal.SIGSTOP),
    "holds the interpreter's lock": lambda: ctypes.PyDLL(None).sleep(60),
    "waits for a thread": lambda: (
        thread := threading.Thread(target=time.sleep, args=(60,)),
        thread.start(),
        thread.join(),
    ),
}
T_MS = 500


@pytest.mark.parametrize("how", STUBBORN)
def test_a_function_that_does_not_end_is_ended(how: str, engine: Engine, tmp_path: Path) -> None:
    note, stay = noting(tmp_path / "log"), STUBBORN[how]

    def stays() -> None:
        note(os.getpid())
        stay()

    began = time.monotonic()
    result = run_among_others(engine, Task(stays, timeout=T_MS))
    assert T_MS / 1000 <= time.monotonic() - began < T_MS / 1000 + GRACE_S + 1.5
    error = failure(result, "timeout")
    assert (error.timeout_ms, error.abandoned) == (T_MS, False)
    [pid] = noted(tmp_path / "log")
    assert not lives(int(pid))


def test_a_function_that_returns_at_sigterm_was_too_late(engine: Engine) -> None:
    def obeys() -> str:
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        while not heard:
            time.sleep(0.01)
        return "in the end"

    failure(run_among_others(engine, Task(obeys, timeout=T_MS)), "timeout")


# What a function starts, by a shell, before it hangs.
TREES = {
    "a child": "exec sleep {0}",
    "a grandchild": "sleep {0} & wait",
    "one that ignores SIGTERM": "trap '' TERM; sleep {0} & wait; sleep {0}",
    "a grandchild in its own session": "setsid sleep {0} & wait",
    "a daemon": "(setsid sleep {0} &) ; exit",
    "a daemon that ignores SIGTERM": "(trap '' TERM; setsid sleep {0} &) ; exit",
    "a daemon without streams": "(setsid sleep {0} <&- >&- 2>&- &) ; exit",
    "a cleared environment": "exec env -i sleep {0}",
    "a stopped one": "sleep {0} & kill -STOP $!; wait",
}


@pytest.mark.parametrize("tree", TREES)
def test_a_timeout_kills_what_the_function_started(
    tree: str, engine: Engine, mark: str, tmp_path: Path
) -> None:
    script, note = TREES[tree].format(mark), noting(tmp_path / "log")

    def starts() -> None:
        subprocess.Popen(["sh", "-c", script])
        note("started")
        time.sleep(60)

    result = run_among_others(engine, Task(starts, timeout=700))
    assert marked_survivors(mark) == []
    failure(result, "timeout")
    assert noted(tmp_path / "log") == ["started"]


def test_timeouts_of_functions_that_ignore_sigterm_kill_what_they_started(mark: str, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def starts(script: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(["sh", "-c", script])
        note("started")
        time.sleep(60)

    with Engine(kill_grace=GRACE_MS, max_processes=len(TREES)) as engine:
        tasks = [Task(starts, tree.format(mark)) for tree in TREES.values()]
        results = engine.run(tasks, timeout=2000, policy="once", workers=len(TREES))
        assert marked_survivors(mark) == []
    assert set(map(code_of, results)) == {"timeout"}
    assert noted(tmp_path / "log") == ["started"] * len(TREES)


def test_a_timeout_kills_what_the_function_started_in_a_session_of_its_own(
    engine: Engine, mark: str, tmp_path: Path
) -> None:
    note = noting(tmp_path / "log")

    def starts() -> None:
        subprocess.Popen(["sleep", mark], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            os.execvp("sleep", ["sleep", mark])
        note("started")
        time.sleep(60)

    failure(run_among_others(engine, Task(starts, timeout=700)), "timeout")
    assert marked_survivors(mark) == []
    assert noted(tmp_path / "log") == ["started"]


def test_a_function_that_crashes_leaves_nothing_of_what_it_started(engine: Engine, mark: str) -> None:
    def starts() -> None:
        subprocess.Popen(["sleep", mark])
        os._exit(3)

    failure(run_among_others(engine, starts), "worker_crashed")
    engine.close()
    assert wait_until(lambda: not marked_survivors(mark), 2.0)


def test_arrea_inside_of_a_function_ends_with_it(engine: Engine, mark: str) -> None:
    """Whatever the inner engine has started carries the mark in its environment."""

    def nested() -> Any:
        inner = arrea.run(["echo command", lambda: "function"], policy="once")
        return inner[0].data.stdout, inner[1].data

    def nested_and_hangs() -> None:
        arrea.run([["sleep", mark], lambda: subprocess.run(["sleep", mark])], policy="once")

    env = {"ARREA_CHAOS": mark}
    assert run_among_others(engine, Task(nested, env=env)).unwrap() == ("command\n", "function")
    failure(run_among_others(engine, Task(nested_and_hangs, env=env, timeout=1500)), "timeout")
    engine.close()
    assert wait_until(lambda: not marked_survivors(mark), 2.0), marked_survivors(mark)
