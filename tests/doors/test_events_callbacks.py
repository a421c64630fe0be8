"""Callbacks: on the observer thread, in order; what they raise, how long they take, and what they call."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import arrea
from arrea import Engine, Event
from tests.observe.threads import threads_end
from tests.support import wait_until

BLOCKED_S = 1.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    with threads_end(), Engine(kill_grace=300) as engine:
        yield engine


def over(events: list[Event], batches: int = 1) -> Callable[[], bool]:
    return lambda: sum(event.type == "batch_finished" for event in events) == batches


def test_callbacks_are_called_in_order_on_a_thread_of_their_own(engine: Engine) -> None:
    one: list[Event] = []
    other: list[Event] = []
    threads = set()

    def note(event: Event) -> None:
        threads.add(threading.current_thread().name)
        one.append(event)

    with engine.subscribe() as reading:
        engine.subscribe(note)
        engine.subscribe(other.append)
        engine.run(["true", "exit 1"] * 20, policy="once")
        assert wait_until(lambda: over(one)() and over(other)())
    assert threads == {"arrea-observer"}
    assert one == other == list(reading)
    assert [event.sequence for event in one] == list(range(1, len(one) + 1))


def test_types_and_batch_of_a_callback(engine: Engine) -> None:
    told: list[Event] = []
    batch = engine.submit(["sleep 0.1"] * 2, workers=1)
    other = engine.submit(["true"] * 3)
    subscription = engine.subscribe(told.append, batch_id=batch.id, types=["finished"])
    other.wait()
    batch.wait()
    assert wait_until(lambda: not subscription.active)
    engine.run(["true"])
    assert [(event.batch_id, event.index) for event in told] == [(batch.id, 0), (batch.id, 1)]


# ── what they raise ───────────────────────────────────────────────────────────────────────────────


def raising(error: BaseException) -> Callable[[Event], None]:
    def broken(event: Event) -> None:
        raise error

    return broken


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_one_that_raises_is_reported_once_and_dropped(
    engine: Engine, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Event] = []
    subscription = engine.subscribe(raising(error))
    engine.subscribe(told.append)
    assert engine.run(["true", "exit 1"], policy="once").stats.failed == 1
    assert wait_until(over(told))
    engine.run(["true"])
    assert wait_until(over(told, 2))
    assert (subscription.active, subscription.pending) == (False, 0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info is not None and record.exc_info[1] is error
    assert record.getMessage().startswith("the event callback <function raising")
    assert record.getMessage().endswith(f"raised {type(error).__name__} and is not called again")


def test_a_log_that_raises_ends_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own handlers run on the observer thread, too."""
    complaints: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda told: complaints.append(told.exc_type))

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    handler = Broken()
    logging.getLogger("arrea").addHandler(handler)
    told: list[Event] = []
    try:
        engine.subscribe(raising(ValueError()))
        engine.subscribe(told.append)
        engine.run(["echo warning: x >&2"], policy={"on_warning": "log"})
        assert wait_until(over(told))
        shown = engine.run(["echo a"], on_output=raising(ValueError()))
        assert shown.success
    finally:
        logging.getLogger("arrea").removeHandler(handler)
    assert wait_until(lambda: complaints == [OSError] * 3)


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["ERROR", "WARNING"]),
        ("warning", ["ERROR", "WARNING"]),
        ("error", ["ERROR"]),
        ("critical", []),
    ],
)
def test_the_log_says_no_more_than_is_wanted(
    level: str, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Engine(log_level=level) as engine:
        engine.subscribe(raising(ValueError()))
        engine.run(["echo warning: x >&2"], policy={"on_warning": "log"})
    assert sorted(record.levelname for record in caplog.records) == logged


# ── how long they take ────────────────────────────────────────────────────────────────────────────


def test_one_that_blocks_holds_up_nothing_but_other_callbacks(engine: Engine) -> None:
    gate = threading.Event()
    told: list[Event] = []
    engine.subscribe(lambda event: gate.wait(20))
    engine.subscribe(told.append)
    with engine.subscribe() as reading:
        began = time.monotonic()
        engine.run(["true"] * 50, policy="once")
        took = time.monotonic() - began
        assert reading.get("5s") is not None
    assert took < 5
    assert told == []
    gate.set()
    assert wait_until(over(told))


def test_speed_of_a_batch_with_readers_that_never_read_and_callbacks_that_block(engine: Engine) -> None:
    """A ratio within one run, of the best of several; the bound leaves room for a busy machine."""
    commands = [["true"]] * 100
    plain = [_seconds(engine, commands)]
    burdened = []
    gate = threading.Event()
    try:
        for _ in range(4):
            plain.append(_seconds(engine, commands))
            idle, stuck = engine.subscribe(), engine.subscribe(lambda event: gate.wait(20))
            burdened.append(_seconds(engine, commands))
            idle.unsubscribe()
            stuck.unsubscribe()
    finally:
        gate.set()
    assert min(burdened) < 1.5 * min(plain), (burdened, plain)


def _seconds(engine: Engine, commands: list[list[str]]) -> float:
    began = time.perf_counter()
    engine.run(commands, policy="once", workers=4)
    return time.perf_counter() - began


def test_closing_waits_for_what_is_to_be_told() -> None:
    told: list[Event] = []

    def slowly(event: Event) -> None:
        time.sleep(0.002)
        told.append(event)

    with threads_end():
        engine = Engine()
        engine.subscribe(slowly)
        engine.run(["true"] * 20, policy="once")
        engine.close()
    assert [event.sequence for event in told] == list(range(1, len(told) + 1))
    assert over(told)()


def test_closing_waits_a_second_at_most(engine: Engine) -> None:
    gate = threading.Event()
    engine.subscribe(lambda event: gate.wait(20))
    engine.run(["true"])
    began = time.monotonic()
    engine.close()
    assert 0.9 < time.monotonic() - began < 2.5
    gate.set()


def test_closing_does_not_hold_up_the_event_loop_meanwhile(engine: Engine) -> None:
    gate = threading.Event()
    engine.subscribe(lambda event: gate.wait(0.5))

    async def main() -> float:
        await engine.run_async(["true"])
        longest, last = 0.0, time.monotonic()
        closing = asyncio.ensure_future(engine.close_async())
        while not closing.done():
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        await closing
        return longest

    assert asyncio.run(main()) < 0.3


# ── leaving ───────────────────────────────────────────────────────────────────────────────────────


def test_after_leaving_it_is_not_called_again(engine: Engine) -> None:
    """Whatever waited for it: who closed what it writes to must not be surprised."""
    entered, gate = threading.Event(), threading.Event()
    told: list[Event] = []

    def slowly(event: Event) -> None:
        told.append(event)
        entered.set()
        gate.wait(5)

    subscription = engine.subscribe(slowly)
    engine.run(["true"] * 5)
    assert entered.wait(5)
    subscription.unsubscribe()
    gate.set()
    engine.run(["true"])
    engine.close()
    assert len(told) == 1


def test_leaving_its_block_what_came_until_then_is_still_told(engine: Engine) -> None:
    told: list[Event] = []
    with engine.subscribe(told.append), engine.subscribe() as reading:
        engine.run(["true"] * 5)
        assert wait_until(lambda: reading.pending >= 22)
    assert wait_until(over(told))
    engine.run(["true"])
    assert over(told)()


def test_all_subscriptions_of_a_function_end_at_once(engine: Engine) -> None:
    told: list[Event] = []
    subscriptions = [engine.subscribe(told.append, types=["finished"]) for _ in range(3)]
    engine.run(["true"])
    assert wait_until(lambda: len(told) == 3)
    engine.unsubscribe(told.append)
    engine.run(["true"])
    assert not any(subscription.active for subscription in subscriptions)
    assert len(told) == 3


# ── what they call ────────────────────────────────────────────────────────────────────────────────


def test_one_may_run_commands(engine: Engine) -> None:
    printed: list[str] = []

    def react(event: Event) -> None:
        if event.type == "batch_finished" and not printed:
            printed.append(engine.execute("echo reaction").unwrap().stdout)
            assert engine.run(["true"]).success
            assert [result.success for result in engine.stream(["true"])] == [True]

    engine.subscribe(react)
    engine.run(["true"])
    assert wait_until(lambda: printed == ["reaction\n"])


def test_one_may_subscribe_and_leave(engine: Engine) -> None:
    told: list[str] = []

    def first(event: Event) -> None:
        told.append("first")
        mine.unsubscribe()
        engine.subscribe(second)

    def second(event: Event) -> None:
        told.append("second")
        engine.unsubscribe(second)

    mine = engine.subscribe(first)
    for _ in range(3):
        engine.run(["true"])
    assert wait_until(lambda: len(told) == 2)
    engine.close()
    assert told == ["first", "second"]


def test_one_may_cancel_its_batch(engine: Engine) -> None:
    batches: list[arrea.Batch] = []
    ready = threading.Event()

    def end_it(event: Event) -> None:
        ready.wait(5)
        batches[0].cancel()

    engine.subscribe(end_it, types=["worker_started"])
    batches.append(engine.submit(["sleep 60"]))
    ready.set()
    assert batches[0].wait("10s").stopped_by == "cancelled"


def test_one_may_close_its_engine(engine: Engine) -> None:
    told: list[Event] = []

    def close_it(event: Event) -> None:
        engine.close()
        told.append(event)

    engine.subscribe(close_it, types=["finished"])
    results = engine.submit(["true", "sleep 60"], policy="once").wait("10s")
    assert [result.success for result in results] == [True, False]
    assert results.stopped_by == "cancelled"
    assert wait_until(lambda: [event.index for event in told] == [0])
    with pytest.raises(arrea.EngineStopped):
        engine.run(["true"])
