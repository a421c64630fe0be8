"""`arrea.map`: values in input order, lazily; the first failure is raised and the rest cancelled.

Lambdas and nested functions go to processes by value: nothing there imports this module.
"""

import asyncio
import itertools
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import arrea
from arrea import Engine
from arrea._app import default
from tests.faults.conftest import mark
from tests.faults.test_functions import noted, noting
from tests.support import marked_survivors, wait_until

__all__ = ["mark"]

pytestmark = pytest.mark.timeout(20)

WINDOW = 20
GRACE_S = 0.3

Map = Callable[..., Any]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine behind `arrea.map`, for one test; its window is small, and tasks are tried once."""
    with Engine(
        kill_grace=1000 * GRACE_S, max_processes=3, max_commands_per_batch=WINDOW, default_policy="once"
    ) as engine:
        monkeypatch.setattr(default, "_engine", engine)
        yield engine


class Source:
    """Items, counted as they are pulled."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)
        self.pulled = 0

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> Any:
        item = next(self.items)
        self.pulled += 1
        return item


def in_process(function: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    return function, {}


def in_thread(function: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    return function, {"isolation": "thread"}


def as_coroutine(function: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    async def call(item: Any) -> Any:
        await asyncio.sleep(0.001 * (hash(item) % 3))
        return function(item)

    return call, {}


KINDS = {"process": in_process, "thread": in_thread, "coroutine": as_coroutine}
of_each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
Kind = Callable[[Callable[[Any], Any]], tuple[Callable[[Any], Any], dict[str, Any]]]


# ── values ────────────────────────────────────────────────────────────────────────────────────────


@of_each_kind
def test_values_come_in_the_order_of_the_items(kind: Kind) -> None:
    def late(item: int) -> int:
        time.sleep((item * 7 % 5) / 500)
        return item * item

    function, options = kind(late)
    for items in (list(range(60)), range(60), (number for number in range(60)), Source(range(60))):
        assert list(arrea.map(function, items, **options)) == [number**2 for number in range(60)]


def test_the_engines_own_map(engine: Engine) -> None:
    assert list(engine.map(abs, [-1, 2, -3])) == [1, 2, 3]
    with Engine() as other:
        assert list(other.map(abs, [-4])) == [4]


@of_each_kind
def test_nothing_to_do(kind: Kind) -> None:
    function, options = kind(abs)
    for empty in ([], (), iter([]), {}, range(0)):
        assert list(arrea.map(function, empty, **options)) == []
        assert list(arrea.map(function, empty, return_results=True, **options)) == []


def test_values_may_be_anything() -> None:
    values = [None, False, 0, "", [], ValueError("a value"), (1, 2), {"a": 1}]
    told = list(arrea.map(lambda value: value, values))
    assert [type(value) for value in told] == [type(value) for value in values]
    assert told[:5] == values[:5] and told[6:] == values[6:]


def test_an_item_is_one_argument() -> None:
    assert list(arrea.map(lambda pair: pair[0] + pair[1], [(1, 2), (3, 4)])) == [3, 7]
    assert list(arrea.map(len, ["a", "bc"])) == [1, 2]


@of_each_kind
def test_a_thousand_calls_and_each_once(kind: Kind, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def work(item: int) -> int:
        note(item)
        return item + 1

    function, options = kind(work)
    assert list(arrea.map(function, list(range(1000)), **options)) == list(range(1, 1001))
    assert Counter(noted(tmp_path / "log")) == {str(item): 1 for item in range(1000)}


@of_each_kind
def test_no_more_workers_than_asked_for(kind: Kind, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def naps(item: int) -> None:
        note("+")
        time.sleep(0.01)
        note("-")

    def most(function: Any, **options: Any) -> int:
        (tmp_path / "log").write_text("")
        list(arrea.map(function, range(20), **options))
        running = itertools.accumulate(1 if sign == "+" else -1 for sign in noted(tmp_path / "log"))
        return max(running)

    function, options = kind(naps)
    assert most(function, workers=1, **options) == 1
    if kind is in_thread:
        assert most(function, workers=3, **options) == 3
    if kind is in_process:
        assert most(function, workers=2, **options) == 2


# ── laziness ──────────────────────────────────────────────────────────────────────────────────────


def test_the_first_value_waits_for_no_other() -> None:
    began = time.monotonic()
    with arrea.map(time.sleep, [0, 10, 10], workers=3) as values:
        assert next(values) is None
        assert time.monotonic() - began < 3.0
    assert time.monotonic() - began < 3.0 + GRACE_S + 1.0


@of_each_kind
def test_an_endless_source_is_pulled_as_there_is_room(kind: Kind) -> None:
    function, options = kind(abs)
    source = Source(itertools.count())
    with arrea.map(function, source, workers=2, **options) as values:
        for taken in range(1, 101):
            assert next(values) == taken - 1
            assert source.pulled <= taken + WINDOW + 2
        before = source.pulled
        time.sleep(0.2)  # a consumer that is slow
        assert source.pulled <= 100 + WINDOW + 2
        assert source.pulled - before <= WINDOW + 2
    after = source.pulled
    time.sleep(0.05)
    assert source.pulled == after, "it was pulled after the end"


def test_what_nobody_takes_is_not_called_ahead_without_end(tmp_path: Path) -> None:
    note = noting(tmp_path / "log")
    with arrea.map(note, itertools.count(), workers=3) as values:
        next(values)
        wait_until(lambda: len(noted(tmp_path / "log")) >= WINDOW, 0.5)
        time.sleep(0.2)
        assert len(noted(tmp_path / "log")) <= 1 + WINDOW + 2


def test_one_slow_call_at_the_head_bounds_what_is_pulled() -> None:
    """Values that wait for their turn count as held."""
    source = Source(itertools.count())

    def slow_at_first(item: int) -> int:
        time.sleep(0.5 if item == 0 else 0)
        return item

    with arrea.map(slow_at_first, source, workers=2) as values:
        assert next(values) == 0
        assert source.pulled <= 1 + WINDOW + 2
        assert [next(values) for _ in range(5)] == [1, 2, 3, 4, 5]


def test_the_window_does_not_bound_a_list() -> None:
    assert list(arrea.map(abs, [-1] * (WINDOW * 10))) == [1] * (WINDOW * 10)


def test_an_iterator_stays_at_its_end() -> None:
    values = arrea.map(abs, [-1])
    assert iter(values) is values
    assert next(values) == 1
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(values)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────


@of_each_kind
def test_the_first_failure_in_order_is_raised(kind: Kind) -> None:
    """Also where a later one was sooner."""

    def fails(item: int) -> int:
        if item == 3:
            time.sleep(0.1)
            raise ValueError("the first in order")
        if item == 4:
            raise KeyError("the first in time")
        return item

    function, options = kind(fails)
    values = arrea.map(function, range(10), **options)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(arrea.TaskError) as caught:
        next(values)
    error: Any = caught.value
    assert (error.code, error.type_name, error.text) == ("exception", "ValueError", "the first in order")
    assert type(error.__cause__) is ValueError and error.exception is error.__cause__
    with pytest.raises(StopIteration):
        next(values)


def test_a_failure_cancels_the_rest(mark: str, tmp_path: Path) -> None:
    note = noting(tmp_path / "log")

    def work(item: int) -> None:
        note(item)
        if item == 1:
            while not os.path.exists(ready):
                time.sleep(0.01)
            raise ValueError("enough")
        if item in (2, 3):
            subprocess.run(["sleep", mark])

    ready = str(tmp_path / "ready")
    source = Source(itertools.count())
    values = arrea.map(work, source, workers=3)
    assert next(values) is None
    assert wait_until(lambda: len(marked_survivors(mark)) == 2)
    Path(ready).touch()
    with pytest.raises(arrea.TaskError, match="enough"):
        next(values)
    assert wait_until(lambda: not marked_survivors(mark), GRACE_S + 1.0)
    calls, pulled = noted(tmp_path / "log"), source.pulled
    assert len(calls) <= 5 and pulled <= 1 + WINDOW + 2
    time.sleep(0.1)
    assert (noted(tmp_path / "log"), source.pulled) == (calls, pulled), "something ran on"


def test_other_ends_are_raised_as_well() -> None:
    def ends(item: str) -> Any:
        if item == "crash":
            os._exit(3)
        if item == "late":
            time.sleep(60)
        if item == "exit":
            raise SystemExit(3)
        return threading.Lock() if item == "lock" else item

    for item, code in [
        ("crash", "worker_crashed"),
        ("late", "timeout"),
        ("exit", "exception"),
        ("lock", "not_picklable"),
    ]:
        values = arrea.map(ends, ["fine", item, "never"], workers=1, timeout=500)
        assert next(values) == "fine"
        with pytest.raises(arrea.TaskError) as caught:
            next(values)
        assert caught.value.code == code
        assert str(caught.value).startswith("task 1 ("), str(caught.value)


def test_results_instead_of_values() -> None:
    def ends(item: int) -> int:
        if item == 2:
            os._exit(3)
        return 10 // item

    results = list(arrea.map(ends, [1, 2, 0, 5], return_results=True))
    assert all(isinstance(result, arrea.Result) for result in results)
    assert [result.index for result in results] == [0, 1, 2, 3]
    assert [result.data for result in results] == [10, None, None, 2]
    codes = [result.error.code if result.error else "success" for result in results]
    assert codes == ["success", "worker_crashed", "exception", "success"]


def test_a_failure_is_retried_as_the_policy_says(tmp_path: Path) -> None:
    note = noting(tmp_path / "log")
    log = str(tmp_path / "log")

    def fails_once(item: int) -> int:
        note(item)
        with open(log) as lines:
            if lines.read().split().count(str(item)) == 1:
                raise ValueError(item)
        return item

    policy = {"max_retries": 1, "retry_delay": 0, "on_error": "retry"}
    assert list(arrea.map(fails_once, range(10), policy=policy)) == list(range(10))
    (tmp_path / "log").write_text("")
    results = arrea.map(fails_once, range(3), policy=policy, return_results=True)
    assert [result.attempts for result in results] == [2, 2, 2]


def test_what_cannot_be_sent() -> None:
    lock = threading.Lock()
    with pytest.raises(arrea.ArreaError) as caught:
        list(arrea.map(lambda item: lock, [1, 2]))
    assert caught.value.code == "not_picklable" and 'isolation="thread"' in str(caught.value)
    assert list(arrea.map(lambda item: lock, [1], isolation="thread")) == [lock]
    values = arrea.map(bool, [0, lock, 1])
    assert next(values) is False
    with pytest.raises(arrea.TaskError) as refused:
        next(values)
    assert refused.value.code == "not_picklable" and "lock" in str(refused.value)
    results = list(arrea.map(bool, [0, lock, 1], return_results=True))
    assert [result.data for result in results] == [False, None, True]
    assert [result.attempts for result in results] == [1, 0, 1]


# ── sources that raise ────────────────────────────────────────────────────────────────────────────


@of_each_kind
def test_items_that_raise(kind: Kind) -> None:
    """The values of what came before are given first."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise ZeroDivisionError("the source's own")

    function, options = kind(abs)
    values = arrea.map(function, items(), **options)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError, match="the source's own"):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def test_items_that_raise_at_once() -> None:
    def items() -> Iterator[int]:
        raise ZeroDivisionError
        yield 1

    class Unready:
        def __iter__(self) -> Iterator[int]:
            raise ZeroDivisionError

    for source in (items(), Unready()):
        with pytest.raises(ZeroDivisionError):
            list(arrea.map(abs, source))


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_the_source_ends_what_runs(kind: type[BaseException], mark: str) -> None:
    def items() -> Iterator[str]:
        yield mark
        assert wait_until(lambda: marked_survivors(mark))
        raise kind

    began = time.monotonic()
    with pytest.raises(kind):
        list(arrea.map(lambda item: subprocess.run(["sleep", item]), items()))
    assert time.monotonic() - began < GRACE_S + 2.0
    assert marked_survivors(mark) == []


# ── leaving ───────────────────────────────────────────────────────────────────────────────────────


def naps(item: str) -> Callable[[str], Any]:
    return lambda given: given if given == item else subprocess.run(["sleep", given])


def left_by_break(values: Any) -> None:
    for _ in values:
        break


def left_by_close(values: Any) -> None:
    next(values)
    values.close()


def left_by_with(values: Any) -> None:
    with values as entered:
        assert entered is values
        next(values)


def left_by_an_exception(values: Any) -> None:
    with pytest.raises(KeyError), values:
        next(values)
        raise KeyError


def left_unused(values: Any) -> None:
    values.close()


LEAVINGS = [left_by_break, left_by_close, left_by_with, left_by_an_exception, left_unused]


@pytest.mark.parametrize("leave", LEAVINGS)
def test_leaving_early_cancels_the_rest(leave: Callable[[Any], None], mark: str) -> None:
    values = arrea.map(naps("quick"), ["quick", mark, mark], workers=3)
    if leave is not left_unused:
        assert wait_until(lambda: len(marked_survivors(mark)) == 2)
    leave(values)
    del values
    assert wait_until(lambda: not marked_survivors(mark), GRACE_S + 1.0)
    assert list(arrea.map(abs, [-1, -2])) == [1, 2]


def test_closing_waits_until_nothing_runs_and_can_be_done_again(mark: str) -> None:
    values = arrea.map(naps("quick"), ["quick", mark, mark], workers=3)
    assert next(values) == "quick" and wait_until(lambda: len(marked_survivors(mark)) == 2)
    values.close()
    assert marked_survivors(mark) == []
    values.close()
    with pytest.raises(StopIteration):
        next(values)


def test_one_that_is_dropped_unused() -> None:
    for _ in range(20):
        arrea.map(time.sleep, [60] * 3)
    assert list(arrea.map(abs, [-1])) == [1]


def test_leaving_at_random_moments() -> None:
    chance = random.Random(7)
    for _ in range(20):
        stop = chance.randrange(1, 60)
        with arrea.map(abs, Source(itertools.count()), workers=2) as values:
            assert list(itertools.islice(values, stop)) == list(range(stop))


def test_the_engine_is_closed_meanwhile() -> None:
    engine = Engine(kill_grace=300, max_processes=2)
    values = engine.map(time.sleep, [0, 60, 60], timeout=None)
    assert next(values) is None
    threading.Timer(0.2, engine.close).start()
    began = time.monotonic()
    with pytest.raises(arrea.ArreaError) as caught:
        next(values)
    assert caught.value.code in ("cancelled", "engine_stopped", "not_started")
    assert time.monotonic() - began < 2.0
    with pytest.raises(arrea.EngineStopped):
        list(engine.map(abs, [1]))
    engine.close()


# ── many at once ──────────────────────────────────────────────────────────────────────────────────


def test_several_at_once_and_in_threads() -> None:
    one, two = arrea.map(abs, range(50)), arrea.map(str, range(50))
    assert list(zip(one, two, strict=True)) == [(number, str(number)) for number in range(50)]
    told: list[Any] = []

    def work(offset: int) -> None:
        told.append(
            list(arrea.map(lambda item: item + offset, range(30))) == list(range(offset, 30 + offset))
        )

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [True] * 6


def test_one_map_feeds_another() -> None:
    doubled = arrea.map(lambda item: 2 * item, range(100))
    assert sum(arrea.map(lambda item: item + 1, doubled)) == sum(2 * item + 1 for item in range(100))


# ── options ───────────────────────────────────────────────────────────────────────────────────────


def test_options_are_those_of_the_calls(tmp_path: Path) -> None:
    def where(item: int) -> Any:
        return item, os.getcwd(), os.environ.get("GIVEN")

    told = list(arrea.map(where, [1, 2], cwd=tmp_path, env={"GIVEN": "x"}))
    assert told == [(1, str(tmp_path), "x"), (2, str(tmp_path), "x")]
    assert [result.label for result in arrea.map(abs, [1], label="x", return_results=True)] == ["x"]
    began = time.monotonic()
    results = list(arrea.map(time.sleep, [0, 60, 60], timeout=300, return_results=True))
    assert [bool(result) for result in results] == [True, False, False]
    results = list(arrea.map(time.sleep, [0, 60, 60], deadline=300, workers=2, return_results=True))
    codes = [result.error.code if result.error else "success" for result in results]
    assert codes[0] == "success" and set(codes[1:]) <= {"deadline", "not_started"}
    assert time.monotonic() - began < 4.0


WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "a line": (("echo {}", [1]), {}),
    "None": ((None, [1]), {}),
    "a number": ((5, [1]), {}),
    "a Task": ((arrea.Task("true"), [1]), {}),
    "items that are a number": ((abs, 5), {}),
    "items that are None": ((abs, None), {}),
    "no workers": ((abs, [1]), {"workers": 0}),
    "too many workers": ((abs, [1]), {"workers": 101}),
    "workers that are text": ((abs, [1]), {"workers": "4"}),
    "no time": ((abs, [1]), {"timeout": 0}),
    "an unknown isolation": ((abs, [1]), {"isolation": "proces"}),
    "an unknown policy": ((abs, [1]), {"policy": "retyr"}),
    "an unknown option": ((abs, [1]), {"timeuot": 5}),
    "a wrong label": ((abs, [1]), {"label": []}),
    "a wrong env": ((abs, [1]), {"env": {"A": 1}}),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_use_is_raised_at_the_call(what: str) -> None:
    args, options = WRONG[what]
    with pytest.raises(arrea.UsageError) as caught:
        arrea.map(*args, **options)
    assert caught.value.code == "invalid_option" and str(caught.value)


def test_wrong_use_pulls_nothing() -> None:
    source = Source(range(5))
    with pytest.raises(arrea.InvalidOption):
        arrea.map(abs, source, timeuot=5)
    assert source.pulled == 0


def test_a_coroutine_object_is_no_function() -> None:
    async def call() -> None:
        pass

    coroutine: Any = call()
    with pytest.raises(arrea.InvalidOption, match="function"):
        arrea.map(coroutine, [1])
    coroutine.close()


def test_inside_of_a_running_loop() -> None:
    """It blocks, as it says; async functions run on the engine's own loop."""

    async def double(item: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * item

    async def main() -> None:
        assert list(arrea.map(double, range(10))) == list(range(0, 20, 2))
        assert await asyncio.to_thread(list, arrea.map(abs, [-1])) == [1]

    asyncio.run(main())


def test_warnings_of_calls_are_in_their_results() -> None:
    def warns(item: int) -> int:
        if item == 1:
            arrea.warn("careful")
        return item

    results = arrea.map(warns, range(3), policy={"on_warning": "continue"}, return_results=True)
    assert [result.warnings for result in results] == [(), ("careful",), ()]


@pytest.mark.parametrize("return_results", [False, True])
def test_a_deadline_while_nothing_runs_is_no_end_of_the_items(return_results: bool) -> None:
    """The source had more: who only reads values must not take them for all."""
    values = []
    with pytest.raises(arrea.TaskError, match=r"deadline passed before the source") as told:
        for value in arrea.map(
            abs, itertools.count(), workers=2, deadline=300, return_results=return_results
        ):
            values.append(value)
            time.sleep(0.05)  # all that may run ahead has run meanwhile
    assert told.value.code == "deadline"
    assert len(values) > 5


def test_nor_is_a_close_of_the_engine() -> None:
    engine = Engine()
    values = engine.map(abs, itertools.count(), workers=1)
    assert next(values) == 0
    engine.close()
    with pytest.raises(arrea.TaskError) as told:
        list(values)
    assert told.value.code in ("cancelled", "not_started")
    assert list(values) == []


def test_what_came_before_the_deadline_is_all_there_is() -> None:
    values = arrea.map(abs, iter(range(10)), deadline="1m")
    assert list(values) == list(range(10))
    assert list(values) == []
