"""Where commands come from: lists, iterators, and what isn't either; empty ones, endless ones, broken ones."""

import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Task
from tests.doors.doors import ALL_DOORS, BATCH_DOORS, ITERATOR_DOORS
from tests.support import wait_until

Leaving = Callable[[str], tuple[str, Path]]

BATCH_CALLS: dict[str, Callable[[arrea.Engine], Callable[..., Any]]] = {
    "run": lambda engine: engine.run,
    "stream": lambda engine: lambda commands: list(engine.stream(commands)),
    "submit": lambda engine: lambda commands: engine.submit(commands).wait(),
}
at_each_call = pytest.mark.parametrize("call", BATCH_CALLS.values(), ids=list(BATCH_CALLS))
MODULE_CALLS = {"run": arrea.run, "stream": arrea.stream, "submit": arrea.submit}
at_each_function = pytest.mark.parametrize("function", MODULE_CALLS.values(), ids=list(MODULE_CALLS))


# ── neither a list nor an iterator ────────────────────────────────────────────────────────────────


async def asynchronous() -> AsyncIterator[str]:
    yield "true"


# `{}` stands for the command that must not be started.
NO_COMMANDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "a line": (
        lambda forbidden: forbidden,
        "must be a list or an iterator of commands, not one command: 'touch ",
    ),
    "an empty line": (lambda forbidden: "", "not one command: ''"),
    "bytes": (lambda forbidden: forbidden.encode(), "not one command: b'touch "),
    "a Task": (Task, "not one command: Task('touch "),
    "None": (lambda forbidden: None, "must be a list or an iterator, not None"),
    "a number": (lambda forbidden: 5, "must be a list or an iterator, not 5"),
    "a huge number": (lambda forbidden: 10**5000, "not a number of many digits"),
    "a function": (lambda forbidden: lambda: [forbidden], "must be a list or an iterator, not <function"),
    "a class": (lambda forbidden: list, "must be a list or an iterator, not <class 'list'>"),
    "an asynchronous generator": (lambda forbidden: asynchronous, "must be a list or an iterator"),
}


@at_each_function
@pytest.mark.parametrize(("commands", "told"), NO_COMMANDS.values(), ids=list(NO_COMMANDS))
def test_what_holds_no_commands(
    function: Callable[..., Any], commands: Callable[[str], Any], told: str, forbidden: str
) -> None:
    with pytest.raises(arrea.InvalidOption) as caught:
        function(commands(forbidden))
    assert (caught.value.code, caught.value.option) == ("invalid_option", "commands")
    assert told in str(caught.value)


@at_each_function
def test_mapping_is_no_list_of_commands(function: Callable[..., Any]) -> None:
    with pytest.raises(arrea.InvalidOption, match="must be a list or an iterator"):
        finished(function({"true": "secret"}))


@at_each_function
def test_byte_array_is_no_list_of_commands(function: Callable[..., Any]) -> None:
    with pytest.raises(arrea.InvalidOption, match="must be a list or an iterator"):
        finished(function(bytearray(b"true")))


def finished(given: Any) -> list[arrea.Result]:
    return list(given.wait() if isinstance(given, arrea.Batch) else given)


# ── empty, and too long ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("door", BATCH_DOORS.values(), ids=list(BATCH_DOORS))
def test_nothing_is_an_empty_success(door: Any) -> None:
    assert door([]) == []


@pytest.mark.parametrize(
    "empty", [[], (), iter(()), (c for c in "")], ids=["list", "tuple", "iterator", "generator"]
)
def test_empty_batch(empty: Any) -> None:
    results = arrea.run(empty, check=True)
    assert results.success and bool(results) and results.data == [] and results.unwrap() == []
    assert (results.stats.total, results.stats.failed, results.stopped_by) == (0, 0, None)


@at_each_call
def test_list_that_is_too_long(call: Any, forbidden: str) -> None:
    with arrea.Engine(max_commands_per_batch=3) as engine:
        with pytest.raises(arrea.TooManyCommands) as caught:
            call(engine)([forbidden] * 4)
        assert len(call(engine)(["true"] * 3)) == 3
    assert (caught.value.code, caught.value.count, caught.value.limit) == ("too_many_commands", 4, 3)
    assert str(caught.value) == (
        "4 commands in one list, the limit is 3, nothing was started: "
        "pass an iterator, or raise max_commands_per_batch"
    )


def test_limit_is_500_and_can_be_lifted() -> None:
    with pytest.raises(arrea.TooManyCommands):
        arrea.run(["true"] * 501)
    with arrea.Engine(max_commands_per_batch=None) as engine:
        assert engine.run([["true"]] * 501, workers=8).success


@at_each_call
def test_iterator_may_be_longer(call: Any) -> None:
    with arrea.Engine(max_commands_per_batch=3) as engine:
        results = call(engine)(["true"] for _ in range(10))
    assert sorted(result.index for result in results) == list(range(10))


# ── endless ───────────────────────────────────────────────────────────────────────────────────────


def endless(command: str, pulled: list[int]) -> Iterator[str]:
    for number in itertools.count():
        pulled.append(number)
        yield command


def test_endless_source_left_early() -> None:
    pulled: list[int] = []
    with arrea.Engine(max_commands_per_batch=20, max_workers=2) as engine:
        for count, result in enumerate(engine.stream(endless("true", pulled)), 1):
            assert result.success
            if count == 30:
                break
        after = len(pulled)
        assert after <= 30 + 20 + 2 + 20, "more was held waiting than the window"
        assert engine.execute("true").success
        assert len(pulled) == after, "it was pulled after the loop was left"


def test_stream_that_is_left_ends_what_runs() -> None:
    started = time.monotonic()
    with arrea.stream(endless("sleep 60", [])) as stream:
        pass
    assert time.monotonic() - started < 3
    assert stream.batch_id
    assert arrea.stream(itertools.repeat("sleep 60"), workers=2).close() is None


def test_stream_after_close_gives_what_was_cancelled_and_ends(leaving: Leaving) -> None:
    touch, trace = leaving("runs")
    stream = arrea.stream([f"{touch}; sleep 60", "sleep 60"], workers=1)
    assert wait_until(trace.exists)
    stream.close()
    assert [result.error.code for result in stream if result.error] == ["not_started", "cancelled"]


# ── broken ────────────────────────────────────────────────────────────────────────────────────────


class Broken(Exception):
    pass


def breaking(first: str, error: BaseException) -> Iterator[Any]:
    yield first
    yield ["true"]
    raise error


@pytest.mark.parametrize("door", ITERATOR_DOORS.values(), ids=list(ITERATOR_DOORS))
def test_source_that_raises_midway(door: Any, leaving: Leaving) -> None:
    touch, trace = leaving("finished")
    error = Broken("midway")
    source = breaking(f"sleep 0.1; {touch}", error)
    with pytest.raises(Broken) as caught:
        # The doors wrap what they are given in a generator: what that one raises is the same object.
        door(source)
    assert caught.value is error
    assert trace.exists(), "what ran has not finished"


def test_stream_gives_results_before_the_exception() -> None:
    seen = []
    with pytest.raises(Broken):
        for result in arrea.stream(breaking("true", Broken())):
            seen.append(result.success)
    assert seen == [True, True]


def test_source_that_raises_at_once() -> None:
    def broken() -> Iterator[str]:
        raise Broken
        yield ""

    with pytest.raises(Broken):
        arrea.run(broken())


def test_source_that_cannot_be_iterated_over() -> None:
    class Unready:
        def __iter__(self) -> Iterator[str]:
            raise Broken

    with pytest.raises(Broken):
        arrea.run(Unready())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupt_in_the_source_cancels(kind: type[BaseException], leaving: Leaving) -> None:
    touch, trace = leaving("finished")
    started = time.monotonic()
    with pytest.raises(kind):
        arrea.run(breaking(f"sleep 60; {touch}", kind()))
    assert time.monotonic() - started < 3
    assert not trace.exists()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_interrupt_in_the_source_of_a_submitted_batch(kind: type[BaseException]) -> None:
    with arrea.Engine() as engine, pytest.raises(kind):
        engine.submit(breaking("true", kind())).wait(timeout="5s")


def test_bad_elements_between_good_ones(leaving: Leaving) -> None:
    touch, trace = leaving("last")
    elements: list[Any] = ["echo a", "", 5, None, b"x", ["echo", "b"], Task("true", timeout=0), touch]
    results = arrea.run(iter(elements))
    assert [result.success for result in results] == [True, False, False, False, False, True, False, True]
    assert [result.index for result in results] == list(range(8))
    assert [result.data.stdout for result in results if result.data] == ["a\n", "b\n", ""]
    assert (results.stats.failed, results.stats.not_started, trace.exists()) == (4 + 1, 0, True)


def test_slow_source_of_a_submitted_batch() -> None:
    def slow() -> Iterator[str]:
        for number in range(4):
            time.sleep(0.03)
            yield f"echo {number}"

    results = arrea.submit(slow()).wait()
    assert [output.stdout for output in results.unwrap()] == ["0\n", "1\n", "2\n", "3\n"]


# ── after the end ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_closed_engine_starts_nothing(used: bool, forbidden: str) -> None:
    pulled: list[int] = []
    engine = arrea.Engine()
    if used:
        assert engine.execute("true").success
    engine.close()
    engine.close()
    calls: list[Callable[[], Any]] = [
        lambda: engine.execute(forbidden),
        *(lambda call=call: call(engine)([forbidden]) for call in BATCH_CALLS.values()),
        *(lambda call=call: call(engine)(endless(forbidden, pulled)) for call in BATCH_CALLS.values()),
    ]
    for call in calls:
        with pytest.raises(arrea.EngineStopped, match="the engine was closed") as caught:
            call()
        assert caught.value.code == "engine_stopped"
    assert not pulled


def test_closing_ends_what_runs(leaving: Leaving) -> None:
    touch, trace = leaving("runs")
    engine = arrea.Engine(kill_grace=100)
    batch = engine.submit([f"{touch}; sleep 60", "sleep 60"], workers=1)
    assert wait_until(trace.exists)
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 3
    assert [result.error.code for result in batch.wait() if result.error] == ["cancelled", "not_started"]


@pytest.mark.parametrize("door", ALL_DOORS.values(), ids=list(ALL_DOORS))
def test_all_doors_run_what_is_right(door: Any, leaving: Leaving) -> None:
    touch, trace = leaving("ran")
    [result] = door([touch])
    assert result.success and result.index == 0 and result.attempts == 1
    assert wait_until(trace.exists)
