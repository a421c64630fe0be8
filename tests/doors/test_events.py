"""Subscriptions as their holders see them: what comes, in which order, when they end, and wrong use."""

import asyncio
import copy
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import arrea
from arrea import Engine, EngineStopped, Event, InvalidOption, Task
from arrea._model.event import FIELDS
from tests.support import wait_until

TERMINAL = ("finished", "error")
MIXED = ["true", "exit 3", "echo a", "kill -9 $$", ["arrea-has-no-such-program"]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(kill_grace=300) as engine:
        yield engine


def all_of(subscription: arrea.Subscription, batches: int = 1) -> list[Event]:
    """Events to the end of so many batches."""
    events: list[Event] = []
    while batches:
        event = subscription.get("20s")
        assert event is not None
        events.append(event)
        batches -= event.type == "batch_finished"
    return events


def of_worker(events: list[Event], index: int) -> list[Event]:
    return [event for event in events if event.index == index]


# ── what comes ────────────────────────────────────────────────────────────────────────────────────


def test_all_events_of_a_batch(engine: Engine) -> None:
    with engine.subscribe() as subscription:
        batch = engine.submit(MIXED, policy="once", workers=2)
        events = all_of(subscription)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert {event.batch_id for event in events} == {batch.id}
    for index in range(len(MIXED)):
        mine = of_worker(events, index)
        assert {event.worker_id for event in mine} == {f"{batch.id}:{index}"}
        types = [event.type for event in mine]
        assert (types[0], types.count("worker_started")) == ("worker_started", 1)
        assert types[-1] in TERMINAL and sum(type in TERMINAL for type in types) == 1
    assert [of_worker(events, index)[-1].type for index in range(5)] == [
        "finished", "error", "finished", "error", "error",
    ]  # fmt: skip


def test_each_event_has_the_fields_of_its_type(engine: Engine) -> None:
    with engine.subscribe() as subscription:
        commands = [Task("echo a; echo warning: b >&2", label="one"), Task("exit 1", label=2), "sleep 60"]
        engine.submit(
            commands,
            policy={"on_error": "retry", "max_retries": 1, "retry_delay": 0, "on_warning": "notify"},
            timeout=100,
        )
        events = all_of(subscription)
    for event in events:
        assert tuple(event.fields) == FIELDS[event.type], event.type
        for name, value in event.fields.items():
            assert getattr(event, name) == value
    assert {event.type for event in events} == {
        "batch_started", "worker_started", "output", "warning", "progress", "result", "finished", "retry", "error",
        "timeout", "batch_progress", "batch_finished",
    }  # fmt: skip
    first, second = of_worker(events, 0), of_worker(events, 1)
    assert (first[0].label, first[0].command) == ("one", "echo a; echo warning: b >&2")
    outputs = [(event.attempt, event.stream, event.chunk) for event in first if event.type == "output"]
    assert sorted(outputs) == [(1, "stderr", b"warning: b\n"), (1, "stdout", b"a\n")]
    result = next(event for event in first if event.type == "result")
    assert (result.data.stdout, result.data.exit_code) == ("a\n", 0)
    assert [(event.type, event.reason.code) for event in second[1:]] == [
        ("retry", "exit_status"),
        ("error", "exit_status"),
    ]


def test_killed_says_why(engine: Engine) -> None:
    with engine.subscribe(types=["killed", "batch_finished"]) as subscription:
        engine.submit(["trap '' TERM; sleep 60 & wait; sleep 60"], timeout=100, policy="once")
        killed, _ = all_of(subscription)
    assert (killed.type, killed.attempt, killed.reason, killed.index) == ("killed", 1, "timeout", 0)


def test_whoever_never_started_is_told_at_the_end_and_has_no_events(engine: Engine) -> None:
    with engine.subscribe() as subscription:
        engine.submit(iter(["true", " ", "exit 1", "true"]), workers=1, policy="continue")
        engine.submit(["exit 1", "true", "true"], workers=1, policy="stop")
        events = all_of(subscription, 2)
    first, second = (event for event in events if event.type == "batch_finished")
    if first.total == 3:
        first, second = second, first
    assert (first.total, first.failed, first.not_started, first.stopped_by) == (4, 2, [1], None)
    assert (second.total, second.failed, second.not_started, second.stopped_by) == (3, 1, [1, 2], "stop")
    started = {event.worker_id for event in events if event.index is not None}
    assert started == {f"{first.batch_id}:{i}" for i in (0, 2, 3)} | {f"{second.batch_id}:0"}


def test_nobody_can_change_an_event_under_the_eyes_of_another(engine: Engine) -> None:
    with engine.subscribe(types=["batch_finished"]) as one, engine.subscribe(types=["batch_finished"]) as two:
        engine.run(["exit 1", "true"], workers=1, policy="stop")
        mine, theirs = one.get("5s"), two.get("5s")
    assert mine is not None and theirs is not None
    assert mine == theirs and hash(mine) == hash(theirs)
    mine.not_started.append(7)
    mine.fields["failed"] = 9
    assert (theirs.not_started, theirs.failed) == ([1], 1)
    with pytest.raises(AttributeError):
        mine.type = "finished"  # type: ignore[misc]


def test_what_an_event_has_not_is_told(engine: Engine) -> None:
    with engine.subscribe(types=["worker_started"]) as subscription:
        engine.run(["true"])
        event = subscription.get("5s")
    assert event is not None
    with pytest.raises(AttributeError, match=r"event has no 'reason'; besides .*, it has label, command"):
        event.reason  # noqa: B018 - its error is what is looked at
    with pytest.raises(AttributeError):
        copy.copy(event)
    assert repr(event) == f"<Event worker_started {event.worker_id} #{event.sequence}>"


def test_events_are_in_time(engine: Engine) -> None:
    before = datetime.now(UTC)
    with engine.subscribe() as subscription:
        engine.submit(["sleep 0.05"])
        events = all_of(subscription)
    times = [event.at for event in events]
    tolerance = timedelta(milliseconds=50)
    assert times == sorted(times)
    assert before - tolerance <= times[0] <= times[-1] <= datetime.now(UTC) + tolerance
    assert times[-1] - times[0] >= timedelta(milliseconds=45)


def test_only_the_types_that_were_asked_for(engine: Engine) -> None:
    with engine.subscribe(types=iter(["finished", "error"])) as subscription:
        engine.run(MIXED, policy="once", workers=1)
        assert wait_until(lambda: subscription.pending == 5)
    assert [event.type for event in subscription] == ["finished", "error", "finished", "error", "error"]


def test_many_subscribers_see_the_same(engine: Engine) -> None:
    subscriptions = [engine.subscribe() for _ in range(50)]
    engine.run(MIXED, policy="once")
    seen = [all_of(subscription) for subscription in subscriptions]
    assert all(events == seen[0] for events in seen)


def test_through_the_functions_of_the_package() -> None:
    told: list[Event] = []
    with arrea.subscribe(types=["finished"]) as subscription:
        assert arrea.subscribe(told.append, types=["finished"]).active
        arrea.run(["true"])
        event = subscription.get("5s")
        assert event is not None
        assert wait_until(lambda: told == [event])
        arrea.unsubscribe(told.append)
        arrea.run(["true"])
        assert subscription.get("5s") != event
        arrea.unsubscribe(subscription)
    assert (subscription.active, told) == (False, [event])


# ── how long ──────────────────────────────────────────────────────────────────────────────────────


def test_one_of_a_batch_ends_with_it(engine: Engine) -> None:
    batch = engine.submit(["sleep 0.1"])
    other = engine.submit(["true"])
    with engine.subscribe(batch_id=batch.id) as subscription:
        events = list(subscription)
        assert not subscription.active
    other.wait()
    assert events[-1].type == "batch_finished"
    assert {event.batch_id for event in events} == {batch.id}


def test_one_of_a_batch_ends_with_it_whatever_is_filtered(engine: Engine) -> None:
    batch = engine.submit(["sleep 0.1"])
    assert list(engine.subscribe(batch_id=batch.id, types=["error"])) == []


def test_one_of_a_batch_that_is_over_or_unknown_ends_at_once(engine: Engine) -> None:
    assert list(engine.subscribe(batch_id="nobody")) == []
    batch = engine.submit(["true"])
    batch.wait()
    assert wait_until(lambda: list(engine.subscribe(batch_id=batch.id)) == [], timeout=1)


def test_a_subscription_to_a_batch_that_is_just_ending_never_hangs(engine: Engine) -> None:
    for _ in range(100):
        batch = engine.submit(["true"])
        events = [event.type for event in engine.subscribe(batch_id=batch.id)]
        assert events == [] or events[-1] == "batch_finished"


def test_all_end_when_the_engine_is_closed() -> None:
    engine = Engine()
    waiting = [engine.subscribe() for _ in range(3)]
    asynchronous = engine.subscribe()
    batch = engine.submit(["sleep 60"])
    of_batch = engine.subscribe(batch_id=batch.id, types=["finished"])

    async def read() -> list[str]:
        return [event.type async for event in asynchronous]

    with ThreadPoolExecutor(8) as threads:
        reading = [threads.submit(list, each) for each in waiting]
        reading += [threads.submit(asyncio.run, read()), threads.submit(list, of_batch)]  # type: ignore[arg-type]
        engine.close()
        seen: list[list[Any]] = [each.result(5) for each in reading]
    assert [event.type for event in seen[0]] == seen[3]
    assert seen[3][-1] == "batch_finished"
    assert seen[4] == []


def test_leaving_twice_is_no_error(engine: Engine) -> None:
    subscription = engine.subscribe()
    engine.run(["true"])
    assert wait_until(lambda: subscription.pending >= 6)
    subscription.unsubscribe()
    subscription.unsubscribe()
    engine.unsubscribe(subscription)
    engine.unsubscribe(print)
    assert not subscription.active
    events = list(subscription)
    assert (events[0].type, subscription.pending, subscription.get()) == ("batch_started", 0, None)
    assert repr(subscription) == "<Subscription closed, 0 events to be read>"


def test_leaving_wakes_whoever_waits(engine: Engine) -> None:
    subscription = engine.subscribe()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(subscription.get)
        time.sleep(0.02)
        subscription.unsubscribe()
        assert waiting.result(5) is None


def test_waiting_for_an_event_has_a_limit(engine: Engine) -> None:
    subscription = engine.subscribe()
    for limit in (0, 20, "20ms"):
        with pytest.raises(TimeoutError, match="no event within"):
            subscription.get(limit)
    with pytest.raises(InvalidOption, match="timeout"):
        subscription.get("soon")


def test_dropped_ones_are_removed_and_others_stay(engine: Engine) -> None:
    stays = engine.subscribe()
    for _ in range(10):
        engine.subscribe()
    told: list[Event] = []
    engine.subscribe(told.append, types=["batch_finished"])
    gc.collect()
    engine.run(["true"])
    assert len(engine._telling._bus) == 2
    assert all_of(stays)[-1].type == "batch_finished"
    assert wait_until(lambda: len(told) == 1)


def test_dropped_in_the_middle_of_its_iteration(engine: Engine) -> None:
    def first_type() -> str:
        for event in engine.subscribe():
            return event.type
        raise AssertionError

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(first_type)
        assert wait_until(lambda: len(engine._telling._bus) == 1)
        engine.run(["true"])
        assert first.result(5) == "batch_started"
    gc.collect()
    assert len(engine._telling._bus) == 0


# ── coroutines ────────────────────────────────────────────────────────────────────────────────────


def test_coroutines_iterate_too(engine: Engine) -> None:
    async def main() -> list[Event]:
        async with engine.subscribe() as subscription:
            batch = engine.submit(MIXED, policy="once")
            events = []
            async for event in subscription:
                events.append(event)
                if event.type == "batch_finished":
                    break
            assert (await batch.wait_async()).stats.failed == 3
        assert not subscription.active
        return events

    events = asyncio.run(main())
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


def test_cancelling_whoever_awaits_an_event_loses_none(engine: Engine) -> None:
    async def main() -> list[int]:
        seen = []
        subscription = engine.subscribe()
        engine.submit(["true"] * 100, workers=4, policy="once")
        while True:
            try:
                async with asyncio.timeout(0.002):
                    event = await anext(subscription)
            except TimeoutError:
                continue
            seen.append(event.sequence)
            if event.type == "batch_finished":
                return seen

    seen = asyncio.run(main())
    assert seen == list(range(1, len(seen) + 1))


def test_a_long_row_of_events_leaves_the_loop_time_for_others(engine: Engine) -> None:
    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        subscription = engine.subscribe()
        await engine.run_async(["true"] * 100, policy="once")
        assert wait_until(lambda: subscription.pending > 400)
        other = asyncio.create_task(others())
        async for event in subscription:
            if event.type == "batch_finished":
                break
        other.cancel()
        return turns

    assert asyncio.run(main()) > 10


def test_one_whose_loop_is_gone_is_removed_and_others_stay(engine: Engine) -> None:
    stays, lost = engine.subscribe(), engine.subscribe()
    held: list[Any] = []

    async def wait_for_ever() -> None:
        await anext(lost)

    async def main() -> None:
        task = asyncio.ensure_future(wait_for_ever())
        held.append(task.get_coro())  # so that nobody's finalizer ends it
        await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main())
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    del pending, task, loop
    gc.collect()
    engine.run(["true"])
    assert wait_until(lambda: len(engine._telling._bus) == 1)
    assert not lost.active
    assert all_of(stays)[-1].type == "batch_finished"
    held[0].close()


# ── wrong use ─────────────────────────────────────────────────────────────────────────────────────


async def asynchronous(event: Event) -> None: ...


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelled type": (
        {"types": ["finishd"]},
        "no event has the type 'finishd'; did you mean 'finished'?",
    ),
    "an unknown type": ({"types": ["xyz"]}, "there are 'batch_started', 'worker_started'"),
    "a type that is no text": ({"types": [5]}, "no event has the type 5"),
    "one type": ({"types": "finished"}, "types must be a list of event types, not 'finished'"),
    "no list of types": ({"types": 5}, "types must be a list of event types, not 5"),
    "no types": ({"types": []}, "such a subscription would never get anything"),
    "a callback that is none": ({"callback": 5}, "callback must be a function, not 5"),
    "an async callback": ({"callback": asynchronous}, "must be a plain function, not an async one"),
    "a batch": ({"batch_id": 5}, "batch_id must be text, the id of a batch, not 5"),
}


@pytest.mark.parametrize(("options", "told"), WRONG.values(), ids=list(WRONG))
def test_wrong_options(engine: Engine, options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        engine.subscribe(**options)
    assert told in str(caught.value)
    assert caught.value.option in options
    assert len(engine._telling._bus) == 0


@pytest.mark.parametrize("what", [5, None, "finished"])
def test_what_can_be_no_subscription(engine: Engine, what: Any) -> None:
    reading = engine.subscribe()
    with pytest.raises(InvalidOption, match="subscription must be a function"):
        engine.unsubscribe(what)
    assert reading.active


def test_events_of_a_callback_can_not_be_read_as_well(engine: Engine) -> None:
    subscription = engine.subscribe(print, types=["lag"])
    for read in (subscription.get, lambda: next(subscription), lambda: asyncio.run(_next(subscription))):
        with pytest.raises(arrea.UsageError, match="go to its callback"):
            read()


async def _next(subscription: arrea.Subscription) -> Event:
    return await anext(subscription)


def test_after_close_nobody_can_subscribe() -> None:
    engine = Engine()
    subscription = engine.subscribe()
    engine.close()
    with pytest.raises(EngineStopped, match="was closed"):
        engine.subscribe()
    assert subscription.get() is None
    engine.unsubscribe(subscription)
    assert engine.stats().total_workers == 0


# ── from many threads ─────────────────────────────────────────────────────────────────────────────


def test_coming_and_going_from_many_threads_while_batches_run(engine: Engine) -> None:
    over = threading.Event()
    told: list[Event] = []
    stays = engine.subscribe()
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not over.wait(0.001):
                    work()
            except BaseException as error:  # noqa: BLE001 - of a thread: the test looks at it
                errors.append(error)

        return run

    def read_some() -> None:
        with engine.subscribe() as subscription:
            for _ in range(5):
                try:
                    subscription.get(1)
                except TimeoutError:
                    continue

    def be_called() -> None:
        callback = told.append
        engine.subscribe(callback)
        engine.unsubscribe(callback)

    def follow_a_batch() -> None:
        batch = engine.submit(["true"] * 3)
        list(engine.subscribe(batch_id=batch.id))

    def count() -> None:
        stats = engine.stats()
        assert min(stats.active_workers, stats.queued_tasks) >= 0
        engine.running()

    works = [read_some, be_called, follow_a_batch, count] * 3
    threads = [threading.Thread(target=guarded(work)) for work in works]
    for thread in threads:
        thread.start()
    for _ in range(20):
        engine.run(["true", "exit 1"], policy="once")
    over.set()
    for thread in threads:
        thread.join(10)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)
    assert len(engine._telling._bus) == 1
    stays.unsubscribe()
    seen: dict[str | None, list[int]] = {}
    for event in stays:
        seen.setdefault(event.batch_id, []).append(event.sequence)
    assert len(seen) >= 20
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values())
