"""Functions at every door: called, failing, refused, retried; in processes, in threads, as coroutines; among commands.

Lambdas and nested functions go to processes by value: nothing there imports this module.
"""

import asyncio
import contextvars
import dataclasses
import datetime
import functools
import inspect
import math
import operator
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine, Policy, Result, Task, policies
from arrea._app import default
from tests.doors.doors import ALL_DOORS, BATCH_DOORS, ITERATOR_DOORS, LIST_DOORS
from tests.faults.test_functions import noted, noting

pytestmark = pytest.mark.timeout(30)

at_all_doors = pytest.mark.parametrize("door", ALL_DOORS.values(), ids=list(ALL_DOORS))
at_batch_doors = pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))
at_list_doors = pytest.mark.parametrize("door", LIST_DOORS.values(), ids=list(LIST_DOORS))
at_iterator_doors = pytest.mark.parametrize("door", ITERATOR_DOORS.values(), ids=list(ITERATOR_DOORS))

Door = Callable[..., list[Result]]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine behind the functions of `arrea`, for one test: with it its processes end."""
    with Engine(kill_grace=300, max_processes=2) as engine:
        monkeypatch.setattr(default, "_engine", engine)
        yield engine


# ── the three places in which a function runs ─────────────────────────────────────────────────────


def in_a_process(function: Callable[..., Any], *args: Any, **options: Any) -> Task:
    return Task(function, *args, **options)


def in_a_thread(function: Callable[..., Any], *args: Any, **options: Any) -> Task:
    return Task(function, *args, isolation="thread", **options)


def as_a_coroutine(function: Callable[..., Any], *args: Any, **options: Any) -> Task:
    async def call(*given: Any) -> Any:
        await asyncio.sleep(0)
        return function(*given)

    return Task(call, *args, **options)


KINDS = {"process": in_a_process, "thread": in_a_thread, "coroutine": as_a_coroutine}
of_each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
IN_THE_HOST = {name: kind for name, kind in KINDS.items() if name != "process"}


def in_order(results: list[Result]) -> list[Result]:
    return sorted(results, key=lambda result: result.index)


def failure(result: Result, code: str) -> Any:
    error: Any = result.error
    assert error is not None and error.code == code, result
    assert (result.success, result.data) == (False, None)
    assert str(error).startswith(f"task {result.index} ("), str(error)
    return error


def codes(results: list[Result]) -> list[str]:
    return [result.error.code if result.error else "success" for result in results]


# ── called ────────────────────────────────────────────────────────────────────────────────────────


@at_all_doors
def test_a_function_is_called_and_its_value_is_the_data(door: Door) -> None:
    async def waits() -> str:
        await asyncio.sleep(0.001)
        return "awaited"

    offset = 40
    for task, value in [
        (lambda: offset + 2, 42),
        (os.getppid, None),
        (waits, "awaited"),
        (Task(lambda *args: args, 1, "b", None), (1, "b", None)),
        (Task(os.path.join, "a", "b"), "a/b"),
        (in_a_thread(threading.get_ident), None),
        (as_a_coroutine(divmod, 7, 2), (3, 1)),
    ]:
        [result] = door([task])
        assert (result.success, result.error, result.failures, result.attempts) == (True, None, [], 1)
        assert value is None or result.data == value
        assert result.index == 0 and result.worker_id == f"{result.batch_id}:0"
        assert result.duration_ms >= 0 and result.started_at is not None and result.warnings == ()


@dataclasses.dataclass
class Host:
    """What only the host knows, by identity."""

    name: str

    def itself(self) -> "Host":
        return self


class Awaitable:
    async def __call__(self) -> str:
        return "awaited"

    async def method(self) -> str:
        return "method"


def callables() -> dict[str, tuple[Any, Any]]:
    """What can be called, and what comes of it."""

    class Adder:
        def __init__(self, number: int) -> None:
            self.number = number

        def __call__(self) -> int:
            return self.number + 1

        def method(self) -> int:
            return self.number + 2

        @classmethod
        def made(cls) -> int:
            return cls(10)()

        @staticmethod
        def fixed() -> str:
            return "fixed"

    def nested(*, wanted: int = 5) -> int:
        return wanted

    @functools.wraps(nested)
    def wrapped() -> int:
        return nested(wanted=6)

    async def waits(number: int = 7) -> int:
        return number

    return {
        "a lambda": (lambda: 42, 42),
        "a nested function": (nested, 5),
        "a wrapped function": (wrapped, 6),
        "a builtin": (dict, {}),
        "a class": (complex, 0j),
        "a method of a value": ("text".upper, "TEXT"),
        "a method": (Adder(1).method, 3),
        "a class method": (Adder.made, 11),
        "a static method": (Adder.fixed, "fixed"),
        "a callable object": (Adder(1), 2),
        "a partial": (functools.partial(pow, 2, 5), 32),
        "a partial of a lambda": (functools.partial(lambda a, b: a - b, b=1), None),
        "an operator": (functools.partial(operator.itemgetter(1), "abc"), "b"),
        "a module's function": (functools.partial(math.floor, 2.5), 2),
        "an async function": (waits, 7),
        "a partial of an async function": (functools.partial(waits, 8), 8),
        "an async method": (Awaitable().method, "method"),
        "an object with an async call": (Awaitable(), "awaited"),
        "None comes back": (lambda: None, None),
    }


@pytest.mark.parametrize("door", [LIST_DOORS["run a list"], ITERATOR_DOORS["run_async an iterator"]])
def test_anything_that_can_be_called(door: Door) -> None:
    table = callables()
    results = in_order(door([function for function, _ in table.values()], policy="once"))
    told = dict(zip(table, results, strict=True))
    failed = failure(told.pop("a partial of a lambda"), "exception")
    assert failed.type_name == "TypeError" and "'a'" in failed.text
    assert {name: (result.data, result.error) for name, result in told.items()} == {
        name: (value, None) for name, (_, value) in table.items() if name in told
    }


def test_values_of_many_kinds_come_back_as_they_are() -> None:
    class Local:
        pass

    values = [
        *(0, -(2**70), 1.5, math.inf, 1j, True, None, "", "\ud800 ü \0", b"\0\xff", bytearray(b"ab")),
        *((), (1, [2, {3: {4}}]), frozenset({1}), range(3), slice(1, 2), Ellipsis, NotImplemented),
        *(datetime.timedelta(1), Path("/tmp"), ValueError, int, Local, len, signal.SIGINT),
    ]
    results = arrea.run([Task(lambda value: value, value) for value in values], policy="once")
    assert results.unwrap() == values
    assert [type(value) for value in results.data] == [type(value) for value in values]
    assert all(math.isnan(value) for value in arrea.run([lambda: math.nan] * 2).data)
    made = arrea.execute(Local).unwrap()
    assert type(made) is Local
    error = arrea.execute(lambda: ValueError("returned, not raised")).unwrap()
    assert type(error) is ValueError and error.args == ("returned, not raised",)


def test_big_values_come_and_go_whole() -> None:
    load = bytes(range(256)) * (1 << 16)
    for value in (load, bytearray(load), [load, load], {"text": "x" * (1 << 24)}):
        assert arrea.execute(Task(lambda given: given, value)).unwrap() == value
    assert arrea.execute(Task(len, load)).unwrap() == 1 << 24


def test_what_is_the_same_object_twice_stays_one() -> None:
    shared: list[int] = [1]
    one, two = arrea.execute(Task(lambda pair: pair, (shared, shared))).unwrap()
    assert one is two and one == shared and one is not shared
    assert arrea.execute(Task(lambda left, right: left is right, shared, shared)).unwrap() is True


def test_a_function_in_the_host_is_given_the_objects_themselves() -> None:
    """Nothing is copied or pickled for a thread or a coroutine: locks may come and go."""
    lock, host = threading.Lock(), Host("here")
    for kind in IN_THE_HOST.values():
        results = arrea.run([kind(lambda given: given, lock), kind(host.itself)], policy="once")
        assert results[0].data is lock and results[1].data is host


def test_where_each_kind_runs() -> None:
    def where() -> tuple[int, int]:
        return os.getpid(), threading.get_ident()

    here = where()
    process, thread, coroutine = arrea.run([kind(where) for kind in KINDS.values()], policy="once").unwrap()
    assert process[0] != here[0] == thread[0] == coroutine[0]
    assert here[1] not in (thread[1], coroutine[1])
    assert arrea.run([where] * 5, isolation="thread", policy="once").data[0][0] == here[0]
    with Engine(isolation="thread") as engine:
        assert engine.execute(where).unwrap()[0] == here[0]
        assert engine.execute(Task(where, isolation="process")).unwrap()[0] != here[0]
    assert os.getsid(here[0]) != arrea.execute(lambda: os.getsid(0)).unwrap()


def test_coroutines_run_on_the_loop_of_whoever_awaits_them() -> None:
    async def loop() -> int:
        return id(asyncio.get_running_loop())

    async def main() -> None:
        ours = id(asyncio.get_running_loop())
        assert (await arrea.execute_async(loop)).data == ours
        assert (await arrea.run_async([loop] * 3)).data == [ours] * 3
        assert [result.data async for result in arrea.stream_async(iter([loop] * 3))] == [ours] * 3
        assert (await asyncio.to_thread(arrea.execute, loop)).data != ours

    asyncio.run(main())
    assert arrea.execute(loop).data == arrea.execute(loop).data, "the engine has one loop"


def test_coroutines_run_at_once() -> None:
    running: list[int] = []
    most: list[int] = []

    async def naps() -> None:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.05)
        running.pop()

    began = time.monotonic()
    arrea.run([naps] * 100, policy="once").unwrap()
    assert time.monotonic() - began < 1.0 and max(most) > 50
    most.clear()
    arrea.run([naps] * 20, workers=3, policy="once").unwrap()
    assert max(most) == 3


def test_threads_run_at_once() -> None:
    barrier = threading.Barrier(8)
    results = arrea.run([Task(barrier.wait, 5, isolation="thread")] * 8, policy="once")
    assert sorted(results.unwrap()) == list(range(8))


# ── among commands ────────────────────────────────────────────────────────────────────────────────


@at_batch_doors
def test_commands_functions_and_coroutines_in_one_batch(door: Door) -> None:
    tasks = [
        "echo line",
        lambda: 1,
        ["echo", "vector"],
        in_a_thread(lambda: 2),
        Task("cat", stdin="text", label="command"),
        as_a_coroutine(lambda: 3),
        Task(lambda number: number, 4, label="function"),
        "exit 3",
        lambda: 1 / 0,
    ]
    results = in_order(door(tasks, policy="once"))
    assert [result.index for result in results] == list(range(9))
    assert [result.data.stdout for result in results[0:5:2]] == ["line\n", "vector\n", "text"]
    assert [result.data for result in (results[1], results[3], results[5], results[6])] == [1, 2, 3, 4]
    assert [result.label for result in results if result.label] == ["command", "function"]
    assert codes(results[7:]) == ["exit_status", "exception"]


def test_options_of_a_batch_that_mean_nothing_for_functions_are_for_its_commands() -> None:
    results = arrea.run(
        ["cat; echo ${BASH_VERSION:+bash}", lambda: "function", as_a_coroutine(lambda: "coroutine")],
        stdin="text\n",
        shell="bash",
        max_output_bytes=1000,
        validate=False,
        allow_substitution=True,
        policy="once",
    )
    output, function, coroutine = results.unwrap()
    assert (output.stdout, function, coroutine) == ("text\nbash\n", "function", "coroutine")


def test_where_a_process_function_runs(tmp_path: Path) -> None:
    def where() -> tuple[str, str | None, str | None]:
        return os.getcwd(), os.environ.get("GIVEN"), os.environ.get("PATH")

    here, path = os.getcwd(), os.environ["PATH"]
    given = {"GIVEN": "batch"}
    tasks = [
        where,
        Task(where, cwd=tmp_path),
        Task(where, env={"GIVEN": "task"}),
        Task(where, env={"GIVEN": "bare"}, inherit_env=False),
    ]
    assert arrea.run(tasks, env=given, policy="once").unwrap() == [
        (here, "batch", path),
        (str(tmp_path), "batch", path),
        (here, "task", path),
        (here, "bare", None),
    ]
    told = arrea.run([where, "pwd"], cwd=tmp_path, policy="once").unwrap()
    assert told[0][0] == str(tmp_path) == told[1].stdout.strip()
    with pytest.raises(arrea.InvalidBatch) as caught:
        arrea.run([Task(where, cwd=tmp_path / "missing")])
    assert caught.value.errors[0][1].code == "cwd_not_found"


# ── labels and results ────────────────────────────────────────────────────────────────────────────


@at_all_doors
def test_labels(door: Door) -> None:
    for kind in KINDS.values():
        label = ("build", 1)
        [result] = door([kind(lambda: 5, label=label)])
        assert (result.label, result.data) == (label, 5)
        [failed] = door([kind(lambda: 1 / 0, label=label)], policy="once")
        assert failed.label == label
        assert str(failed.error).startswith("task 0 (('build', 1)): "), str(failed.error)
        assert "division by zero" in str(failed.error)


def test_names() -> None:
    """An error names the function that failed: the first sixty characters of its qualified name."""

    def telling() -> None:
        raise ValueError("boom")

    for task in (telling, in_a_thread(telling), Task(telling, timeout=5000)):
        error = failure(arrea.execute(task), "exception")
        assert isinstance(error, arrea.TaskError)
        for text in (str(error), error.traceback):
            assert "telling" in text and "ValueError" in text and "boom" in text


@of_each_kind
def test_a_traceback_shows_the_place(kind: Callable[..., Task]) -> None:
    """Whoever reads it wants file, line and source, also of a function that went by value."""

    def fails() -> None:
        raise ValueError("boom")

    error = failure(arrea.execute(kind(fails)), "exception")
    line = fails.__code__.co_firstlineno + 1
    assert f'test_functions.py", line {line}, in fails' in error.traceback
    assert 'raise ValueError("boom")' in error.traceback


def test_a_task_can_be_looked_at() -> None:
    task = Task(divmod, 7, 2, label="x", env={"TOKEN": "s3cret"})
    assert "divmod" in repr(task) and "7" in repr(task) and "label='x'" in repr(task)
    assert "s3cret" not in repr(task)
    with pytest.raises(AttributeError):
        task.label = "y"  # type: ignore[attr-defined]


def test_unwrap_and_check() -> None:
    assert arrea.execute(lambda: None).unwrap() is None
    assert arrea.execute(lambda: 5, check=True).data == 5
    assert arrea.run([lambda: 1, lambda: None]).unwrap() == [1, None]
    with pytest.raises(arrea.TaskError) as caught:
        arrea.execute(lambda: {}["missing"], check=True)
    assert caught.value.code == "exception"
    assert type(caught.value.__cause__) is KeyError and caught.value.__cause__.args == ("missing",)
    with pytest.raises(ExceptionGroup) as group:
        arrea.run([lambda: 1 / 0, lambda: 1, lambda: os._exit(3)], check=True, policy="once")
    assert [error.code for error in group.value.exceptions] == [  # type: ignore[union-attr]
        "exception",
        "worker_crashed",
    ]
    results = arrea.run([lambda: 1, lambda: 1 / 0], policy="once")
    assert not results and results.data == [1, None] and results.stats.failed == 1
    assert results.failures == [results[1]]


def test_usage_is_what_the_call_took() -> None:
    def spins(seconds: float) -> None:
        until = time.process_time() + seconds
        while time.process_time() < until:
            pass

    def grows() -> int:
        return len(bytearray(100 << 20))

    async def waits() -> None:
        pass

    engine_of_one = Engine(max_processes=1, default_policy="once")
    with engine_of_one as engine:
        busy, idle, big, quick = engine.run(
            [Task(spins, 0.3), Task(time.sleep, 0.1), grows, lambda: 1], workers=1
        )
    assert 250 <= busy.usage.user_ms + busy.usage.system_ms < 600
    assert idle.usage.user_ms + idle.usage.system_ms < 50
    assert quick.usage.user_ms + quick.usage.system_ms < 50, "the difference over the call"
    assert big.usage.max_rss_kib > 100 << 10
    assert idle.duration_ms >= 100
    assert arrea.execute(waits).usage is None


# ── failing ───────────────────────────────────────────────────────────────────────────────────────


class Oops(Exception):
    """Of the host: a class that a process would have to import."""


@at_all_doors
def test_exceptions(door: Door) -> None:
    def fails() -> None:
        error = LookupError("outer", 5)
        error.add_note("a note")
        raise error from KeyError("inner")

    for kind in KINDS.values():
        [result] = door([kind(fails)], policy="once")
        error = failure(result, "exception")
        assert type(error).__name__ == "FunctionFailed"
        assert type(error.exception) is LookupError and error.exception.args == ("outer", 5)
        assert error.__cause__ is error.exception
        assert (error.type_name, error.text, list(error.notes)) == ("LookupError", "('outer', 5)", ["a note"])
        assert "fails" in error.traceback and "KeyError: 'inner'" in error.traceback


@at_all_doors
def test_exceptions_that_end_other_programs(door: Door) -> None:
    def fails(raised: BaseException) -> None:
        raise raised

    for raised in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):
        for kind in KINDS.values():
            [result] = door([kind(fails, raised)], policy="once")
            error = failure(result, "exception")
            assert (error.type_name, type(error.exception)) == (type(raised).__name__, type(raised))


def test_an_exception_in_the_host_is_the_one_that_was_raised() -> None:
    raised = Oops("mine")

    def fails() -> None:
        raise raised

    for kind in IN_THE_HOST.values():
        error = failure(arrea.execute(kind(fails)), "exception")
        assert error.exception is raised and error.type_name.endswith("test_functions.Oops")


def test_an_exception_of_a_nested_class_is_of_the_hosts_class() -> None:
    class Local(Exception):
        def __init__(self, one: int, *, two: int = 2) -> None:
            super().__init__(one)
            self.two = two

    def fails() -> None:
        raise Local(1, two=3)

    error = failure(arrea.execute(fails), "exception")
    assert isinstance(error.exception, Local) and (error.exception.args, error.exception.two) == ((1,), 3)


def test_a_coroutine_that_raises_a_cancellation_of_its_own() -> None:
    async def fails() -> None:
        raise asyncio.CancelledError("its own")

    for result in (arrea.execute(fails), asyncio.run(arrea.execute_async(fails))):
        error: Any = result.error
        assert error.code == "exception" and error.type_name.endswith("CancelledError")


def test_wrong_arguments_are_the_functions_own_failure() -> None:
    for kind in KINDS.values():
        result = arrea.execute(kind(lambda one, two: one, 1))
        assert failure(result, "exception").type_name == "TypeError"


@at_all_doors
def test_a_timeout(door: Door) -> None:
    async def waits() -> None:
        await asyncio.sleep(60)

    began = time.monotonic()
    for task in (lambda: time.sleep(60), waits):
        [result] = door([task], timeout=200, policy="once")
        error = failure(result, "timeout")
        assert (error.timeout_ms, error.abandoned, result.attempts) == (200, False, 1)
    assert 0.4 <= time.monotonic() - began < 3.0


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def lambda_over_a_lock() -> Callable[[], Any]:
    lock = threading.Lock()
    return lambda: lock


def call() -> None:
    raise AssertionError("called")


async def call_async() -> None:
    raise AssertionError("called")


# What may stand in a batch and can't run: makes it, the code of its error, and what its message says.
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a coroutine object": (call_async, "invalid_option", "function"),
    "a Task of a coroutine object": (lambda: Task(call_async()), "invalid_option", "function"),
    "arguments for a command": (lambda: Task("echo", "x"), "invalid_option", "argument"),
    "arguments for a vector": (lambda: Task(["echo"], "x"), "invalid_option", "argument"),
    "shell": (lambda: Task(call, shell="bash"), "invalid_option", "shell"),
    "stdin": (lambda: Task(call, stdin="x"), "invalid_option", "stdin"),
    "max_output_bytes": (lambda: Task(call, max_output_bytes=5), "invalid_option", "max_output_bytes"),
    "validate": (lambda: Task(call, validate=False), "invalid_option", "validate"),
    "allow_substitution": (lambda: Task(call, allow_substitution=True), "invalid_option", "allow_substit"),
    "stdin of a coroutine": (lambda: Task(call_async, stdin="x"), "invalid_option", "stdin"),
    "cwd of a thread": (lambda: Task(call, isolation="thread", cwd="/"), "invalid_option", "cwd"),
    "env of a thread": (lambda: Task(call, isolation="thread", env={"A": "b"}), "invalid_option", "env"),
    "inherit_env of a thread": (
        lambda: Task(call, isolation="thread", inherit_env=False),
        "invalid_option",
        "inherit_env",
    ),
    "an unknown isolation": (lambda: Task(call, isolation="proces"), "invalid_option", "'process'"),
    "isolation None": (lambda: Task(call, isolation=None), "invalid_option", "isolation"),
    "an unknown option": (lambda: Task(call, timeuot=1), "invalid_option", "did you mean 'timeout'?"),
    "a keyword argument": (lambda: Task(call, reverse=True), "invalid_option", "functools.partial"),
    "an option of the batch": (lambda: Task(call, workers=1), "invalid_option", "workers"),
    "a wrong timeout": (lambda: Task(call, timeout=0), "invalid_option", "timeout"),
    "a wrong label": (lambda: Task(call, label=[]), "invalid_option", "label must be hashable"),
    "a missing directory": (lambda: Task(call, cwd="/no/such"), "cwd_not_found", "/no/such"),
    "a lambda over a lock": (lambda_over_a_lock, "not_picklable", "isolation"),
    "a lock as argument": (lambda: Task(print, threading.Lock()), "not_picklable", "lock"),
    "a generator object": (lambda: (number for number in range(3)), "invalid_option", ""),
    "a Task of a Task": (lambda: Task(Task(call)), "invalid_option", "Task"),
}
refused = pytest.mark.parametrize(("make", "code", "told"), REFUSED.values(), ids=list(REFUSED))


def made(make: Callable[[], Any]) -> Any:
    """The element; a coroutine object is nobody's to await."""
    element = make()
    inner = getattr(element, "command", element)
    if inspect.iscoroutine(inner):
        inner.close()
    return element


def check_refusal(error: Any, code: str, told: str) -> None:
    assert (error.code, told in str(error)) == (code, True), str(error)
    assert code != "not_picklable" or 'isolation="thread"' in str(error), "the way out"


@refused
def test_a_list_with_it_is_refused_whole(
    make: Callable[[], Any], code: str, told: str, forbidden: str
) -> None:
    for door in LIST_DOORS.values():
        with pytest.raises(arrea.InvalidBatch) as caught:
            door([forbidden, made(make), lambda: os.system(forbidden)])
        [(index, error)] = caught.value.errors
        assert index == 1
        check_refusal(error, code, told)


@refused
def test_it_fails_alone_in_an_iterator_and_by_itself(make: Callable[[], Any], code: str, told: str) -> None:
    first, second, third = arrea.run(iter([lambda: "first", made(make), "echo third"]), policy="once")
    assert first.data == "first" and third.success
    alone = arrea.execute(made(make))
    for result in (second, alone):
        assert (result.success, result.attempts, result.data) == (False, 0, None)
        check_refusal(result.error, code, told)
    with pytest.raises(arrea.TaskError) as caught:
        arrea.execute(made(make), check=True)
    assert caught.value.code == code


@at_iterator_doors
def test_it_fails_alone_in_every_iterator(door: Door) -> None:
    tasks = [lambda: "first", lambda_over_a_lock(), Task("echo", "x"), Task(call, shell="sh"), "true"]
    results = in_order(door(tasks, policy="once"))
    assert codes(results) == ["success", "not_picklable", "invalid_option", "invalid_option", "success"]
    assert [result.attempts for result in results] == [1, 0, 0, 0, 1]


@at_list_doors
def test_what_processes_cannot_do_threads_can(door: Door) -> None:
    with pytest.raises(arrea.InvalidBatch):
        door([lambda_over_a_lock()])
    [result] = door([lambda_over_a_lock()], isolation="thread")
    assert type(result.data) is type(threading.Lock())


@at_all_doors
def test_wrong_isolation_is_raised_at_the_call(door: Door, forbidden: str) -> None:
    for wrong in ("proces", "", "interpreter", None, 5, b"thread", ["thread"]):
        with pytest.raises(arrea.InvalidOption) as caught:
            door([lambda: os.system(forbidden)], isolation=wrong)
        assert (caught.value.option, caught.value.code) == ("isolation", "invalid_option")
    with pytest.raises(arrea.InvalidOption, match="did you mean 'thread'"):
        door([forbidden], isolation="thraed")


def test_configuration_keys() -> None:
    for key, wrong in [
        *(("isolation", value) for value in ("proces", "", None, 5)),
        *(("max_processes", value) for value in (0, -1, 1.5, "many", True)),
    ]:
        with pytest.raises(arrea.InvalidConfig) as caught:
            Engine(**{key: wrong})  # type: ignore[arg-type]
        assert caught.value.key == key
    with Engine() as engine:
        assert engine.config.get("isolation") == "process"
        assert engine.config.get("max_processes") >= 1


def test_at_most_max_processes_run_at_once(tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def naps() -> int:
        note("+")
        time.sleep(0.03)
        note("-")
        return os.getpid()

    with Engine(max_processes=2, default_policy="once") as engine:
        batches = [engine.submit([naps] * 10, workers=10), engine.submit([naps] * 10)]
        assert all(os.getpid() not in batch.wait().unwrap() for batch in batches)
    running = most = 0
    for sign in noted(tmp_path / "log"):
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


def test_a_plain_function_that_returns_a_coroutine_returns_what_cannot_be_sent() -> None:
    def makes() -> Any:
        coroutine = asyncio.sleep(0)
        coroutine.close()
        return coroutine

    failure(arrea.execute(makes), "not_picklable")


# ── context variables ─────────────────────────────────────────────────────────────────────────────

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@at_all_doors
def test_context_variables_pass_into_threads_and_coroutines(door: Door) -> None:
    def look() -> str:
        seen = VARIABLE.get()
        VARIABLE.set("changed by a task")
        return seen

    def at_the_door() -> None:
        VARIABLE.set("the caller's")
        for kind in IN_THE_HOST.values():
            for _ in range(2):
                [result] = door([kind(look)])
                assert result.data == "the caller's"
        assert VARIABLE.get() == "the caller's"

    contextvars.copy_context().run(at_the_door)
    assert VARIABLE.get() == "unset"


@at_batch_doors
def test_each_task_has_its_own_copy_of_the_context(door: Door) -> None:
    def look(own: str) -> str:
        seen = VARIABLE.get()
        VARIABLE.set(own)
        time.sleep(0.002)
        return f"{seen} {VARIABLE.get()}"

    def at_the_door() -> None:
        VARIABLE.set("the caller's")
        kinds = list(IN_THE_HOST.values())
        results = in_order(door([kinds[index % 2](look, str(index)) for index in range(10)]))
        assert [result.data for result in results] == [f"the caller's {index}" for index in range(10)]

    contextvars.copy_context().run(at_the_door)


# ── warnings ──────────────────────────────────────────────────────────────────────────────────────


@at_all_doors
def test_a_warning_is_the_results(door: Door) -> None:
    def warns() -> int:
        arrea.warn("careful")
        arrea.warn("very careful")
        return 5

    for kind in KINDS.values():
        for action in ("continue", "notify"):
            [result] = door([kind(warns)], policy={"on_warning": action, "on_error": "continue"})
            assert (result.data, result.warnings) == (5, ("careful", "very careful"))
        [silent] = door([kind(lambda: 6)], policy="once")
        assert silent.warnings == (), "somebody else's"


def test_a_warning_may_be_an_error() -> None:
    policy = Policy(on_warning="promote_to_error", on_error="continue")
    for kind in KINDS.values():
        result = arrea.execute(kind(lambda: arrea.warn("careful")), policy=policy)
        assert result.error is not None and result.error.code == "warning" and not result.success
        assert "careful" in str(result.error) and result.warnings == ("careful",)


def test_a_warning_may_be_told() -> None:
    with arrea.subscribe(types=["warning", "finished"]) as events:
        arrea.execute(lambda: arrea.warn("careful"), policy=Policy(on_warning="notify"))
        assert [event.type for _, event in zip(range(2), events, strict=False)] == ["warning", "finished"]


def test_what_a_process_warns_of_in_pythons_way() -> None:
    def warns() -> int:
        warnings.warn("in the future", FutureWarning, stacklevel=1)
        warnings.warn("plain", stacklevel=1)
        return 5

    policy = Policy(on_warning="continue")
    for _ in range(2):  # the second time, too: Python would show each place once
        result = arrea.execute(warns, policy=policy)
        assert result.data == 5 and len(result.warnings) == 2, result.warnings
        assert "in the future" in result.warnings[0] and "plain" in result.warnings[1]
    assert arrea.execute(lambda: 6, policy=policy).warnings == ()


# ── policies ──────────────────────────────────────────────────────────────────────────────────────


@at_all_doors
def test_a_retry_calls_the_function_again(door: Door, tmp_path: Path) -> None:
    for name, kind in KINDS.items():
        note, log = noting(tmp_path / name), str(tmp_path / name)

        def fails_twice(note: Any = note, log: str = log) -> int:
            note("called")
            with open(log) as lines:
                count = len(lines.readlines())
            if count < 3:
                raise ValueError(count)
            return count

        [result] = door([kind(fails_twice)], policy={"max_retries": 5, "retry_delay": 0})
        assert (result.data, result.attempts, result.error) == (3, 3, None)
        assert len(noted(tmp_path / name)) == 3


@at_all_doors
def test_how_often_a_function_is_tried(door: Door) -> None:
    fails = lambda: {}["missing"]  # noqa: E731
    for policy, attempts in [
        ("once", 1),
        ({"max_retries": 2, "retry_delay": 0}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": KeyError}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": LookupError}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": (ValueError, OSError)}, 1),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": "exception"}, 3),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": "worker_crashed"}, 1),
        (
            {
                "max_retries": 2,
                "retry_delay": 0,
                "retry_on": lambda error: error.exception.args == ("missing",),
            },
            3,
        ),
        ({"max_retries": 2, "retry_delay": 0, "retry_on": lambda error: error.type_name == "X"}, 1),
    ]:
        [result] = door([fails], policy=policy)
        assert failure(result, "exception").type_name == "KeyError"
        assert result.attempts == attempts, policy


def test_retry_on_a_class_that_the_process_has_by_value() -> None:
    class Passing(Exception):
        pass

    class Lasting(Exception):
        pass

    def fails(kind: type[Exception]) -> None:
        raise kind

    policy = Policy(max_retries=1, retry_delay=0, retry_on=Passing)
    results = arrea.run([Task(fails, Passing), Task(fails, Lasting)], policy=policy)
    assert [result.attempts for result in results] == [2, 1]


def test_retry_on_a_signal() -> None:
    crash = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    for retry_on, attempts in [("SIGKILL", 2), ("worker_crashed", 2), ("SIGSEGV", 1), (3, 1)]:
        policy = Policy(max_retries=1, retry_delay=0, retry_on=retry_on)
        result = arrea.execute(crash, policy=policy)
        assert failure(result, "worker_crashed").signal_name == "SIGKILL"
        assert result.attempts == attempts, retry_on
    policy = Policy(max_retries=1, retry_delay=0, retry_on=3)
    assert arrea.execute(lambda: os._exit(3), policy=policy).attempts == 2


@at_all_doors
def test_a_policys_function_is_told_about_the_task(door: Door) -> None:
    told: list[Any] = []

    def handler(error: Any, retry_count: int, context: Any) -> str:
        told.append((error.code, type(error.exception), retry_count, context.attempts, context.label))
        assert context.worker_id == f"{context.batch_id}:{context.index}"
        return "retry" if retry_count < 1 else "continue"

    for kind in KINDS.values():
        told.clear()
        [result] = door([kind(lambda: 1 / 0, label="x")], policy=policies.custom(handler, retry_delay=0))
        assert result.attempts == 2
        assert told == [
            ("exception", ZeroDivisionError, 0, 1, "x"),
            ("exception", ZeroDivisionError, 1, 2, "x"),
        ]


@at_list_doors
def test_stop(door: Door, forbidden: str) -> None:
    for kind in KINDS.values():
        tasks = [lambda: "before", kind(lambda: 1 / 0), lambda: os.system(forbidden), forbidden]
        results = in_order(door(tasks, policy="stop", workers=1))
        assert codes(results) == ["success", "exception", "not_started", "not_started"]


def test_max_failures() -> None:
    results = arrea.run([lambda: 1 / 0] * 10, policy={"on_error": "continue", "max_failures": 3}, workers=1)
    assert codes(list(results)) == ["exception"] * 3 + ["not_started"] * 7
    assert results.stopped_by == "max_failures"


def test_without_a_policy_run_retries_and_execute_does_not() -> None:
    with Engine(max_retries=2, retry_delay=0) as engine:
        for kind in KINDS.values():
            assert engine.run([kind(lambda: 1 / 0)])[0].attempts == 3
            assert engine.execute(kind(lambda: 1 / 0)).attempts == 1


def test_a_values_refusal_is_not_retried_for_it_would_be_the_same() -> None:
    """Whether or not it is called again: it ends, and says why."""
    policy = Policy(max_retries=2, retry_delay=0)
    result = arrea.execute(lambda: threading.Lock(), policy=policy)
    assert failure(result, "not_picklable") and 1 <= result.attempts <= 3


# ── events and counts ─────────────────────────────────────────────────────────────────────────────


def test_events_of_functions_are_those_of_tasks() -> None:
    with arrea.subscribe() as events:
        batch = arrea.submit([kind(lambda: 5) for kind in KINDS.values()] + [lambda: 1 / 0], policy="once")
        batch.wait()
        seen = []
        for event in events:
            seen.append(event)
            if event.type == "batch_finished":
                break
    for index, terminal in enumerate(["finished", "finished", "finished", "error"]):
        types = [event.type for event in seen if event.worker_id == f"{batch.id}:{index}"]
        assert types[0] == "worker_started" and types[-1] == terminal
        assert sum(kind in ("finished", "error") for kind in types) == 1


def test_functions_are_counted(engine: Engine) -> None:
    arrea.run([lambda: 1, as_a_coroutine(lambda: 2), in_a_thread(lambda: 3), lambda: 1 / 0], policy="once")
    stats = arrea.stats()
    assert (stats.completed_tasks, stats.failed_tasks, stats.active_workers) == (3, 1, 0)


def test_this_module_was_not_imported_elsewhere() -> None:
    """What is nested goes by value: a process that had to import the tests would be slow, and wrong in a REPL."""
    module = __name__
    assert arrea.execute(lambda: module in sys.modules).unwrap() is False
