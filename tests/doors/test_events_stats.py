"""Counts: exact whatever happens to tasks, from any thread, and honest when they can't be had."""

import threading
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

import arrea
from arrea import Engine
from arrea._engine.monitor import Monitor
from arrea._model.stats import Stats
from tests.observe.threads import threads_end
from tests.support import wait_until


@pytest.fixture
def engine() -> Iterator[Engine]:
    with threads_end(), Engine(kill_grace=300) as engine:
        yield engine


def settled(engine: Engine, tasks: int) -> bool:
    """The counters come a moment after the results."""
    return wait_until(lambda: _done(engine.stats()) == tasks and not engine.stats().active_workers)


def _done(stats: Stats) -> int:
    return stats.completed_tasks + stats.failed_tasks + stats.not_started_tasks


def test_at_first_all_is_nought(engine: Engine) -> None:
    stats = engine.stats()
    assert {getattr(stats, name) for name in stats.__slots__} == {0}
    assert repr(stats).startswith("Stats(active_workers=0, ")
    with pytest.raises(AttributeError):
        stats.active_workers = 1


def test_tasks_are_counted_not_attempts(engine: Engine) -> None:
    engine.run(["exit 1", "true"], policy={"on_error": "retry", "max_retries": 2, "retry_delay": 0})
    assert settled(engine, 2)
    stats = engine.stats()
    assert (stats.total_workers, stats.completed_tasks, stats.failed_tasks, stats.retried_tasks) == (
        2,
        1,
        1,
        2,
    )


def test_refused_ones_failed_without_a_worker(engine: Engine) -> None:
    engine.run(iter(["true", " "]), policy="once")
    assert settled(engine, 2)
    stats = engine.stats()
    assert (stats.total_workers, stats.completed_tasks, stats.failed_tasks) == (1, 1, 1)


def test_what_waits_and_what_runs(engine: Engine) -> None:
    batch = engine.submit(["sleep 60"] * 10, workers=3)
    assert wait_until(lambda: engine.stats().active_workers == 3)
    assert (engine.stats().queued_tasks, engine.stats().total_workers) == (7, 3)
    batch.cancel()
    batch.wait()
    assert settled(engine, 10)
    stats = engine.stats()
    assert (stats.queued_tasks, stats.failed_tasks, stats.not_started_tasks) == (0, 3, 7)


def test_random_batches_add_up(engine: Engine) -> None:
    """Each count is what the results say, also of batches that are cancelled in the middle."""
    source = Random(11)
    batches: list[arrea.Batch] = []
    for _ in range(30):
        words = ("true", "exit 1", "sleep 0.02", " ", "kill -9 $$")
        commands: list[Any] = [source.choice(words) for _ in range(source.randrange(12))]
        batch = engine.submit(
            iter(commands),
            workers=source.choice((1, 2, 4)),
            policy={
                "on_error": source.choice(("retry", "stop", "continue")),
                "max_retries": 1,
                "retry_delay": source.choice((0, 10)),
            },
        )
        if source.random() < 0.3:
            batch.cancel()
        batches.append(batch)
    results = [batch.wait("30s") for batch in batches]
    fed = sum(batch._inbox.close.total for batch in batches if batch._inbox.close is not None)
    assert settled(engine, fed)
    stats = engine.stats()
    every = [result for batch in results for result in batch]
    codes = [None if result.error is None else result.error.code for result in every]
    late = len(every) - fed  # pulled when their batch had stopped: the engine never had them
    assert stats.completed_tasks == codes.count(None)
    assert stats.not_started_tasks == codes.count("not_started") - late
    assert stats.failed_tasks == fed - stats.completed_tasks - stats.not_started_tasks
    assert stats.retried_tasks == sum(batch.stats.retried for batch in results)
    assert stats.total_workers == sum(result.attempts > 0 for result in every)
    assert (stats.active_workers, stats.queued_tasks) == (0, 0)


def test_from_any_thread_while_all_runs(engine: Engine) -> None:
    over = threading.Event()
    seen: list[Stats] = []
    errors: list[BaseException] = []

    def look() -> None:
        try:
            while not over.wait(0.0005):
                seen.append(engine.stats())
        except BaseException as error:  # noqa: BLE001 - of a thread: the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        engine.run(["true", "exit 1"] * 20, policy="once", workers=4)
    over.set()
    for thread in threads:
        thread.join(5)
    assert errors == []
    assert all(0 <= stats.active_workers <= 4 for stats in seen)
    assert settled(engine, 200)


def test_the_most_at_once_is_what_is_configured(engine: Engine) -> None:
    assert engine.max_workers() == 100
    engine.config.set("max_workers", 7)
    assert engine.max_workers() == 7
    assert arrea.max_workers() == 100


def test_counters_that_fail_are_told_and_work_goes_on(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.run(["true"]).success

    def fail(*_: object) -> None:
        raise RuntimeError("scripted")

    monkeypatch.setattr(Monitor, "observe", fail)
    with engine.subscribe(types=["batch_finished"]) as events:
        assert engine.run(["true"] * 3).success
        assert events.get("5s") is not None
    with pytest.raises(arrea.MonitorUnavailable) as caught:
        engine.stats()
    assert caught.value.code == "monitor_unavailable"
    monkeypatch.undo()
    assert engine.run(["true"]).success
    with pytest.raises(arrea.MonitorUnavailable):
        engine.stats()
