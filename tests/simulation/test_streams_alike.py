"""A thousand random batches, by real processes and by the fake: the results and events that the script dictates.

Each real batch is watched by an iterator, an asynchronous iterator and a callback, who must see the same.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import arrea
from arrea import Engine, Event, Result
from arrea._prepare.config import Config
from arrea._prepare.plan import Preparer
from arrea.testing import FakeRuntime
from tests.simulation.random_batches import Expected, Script, Told, expected, random_script

PARTS = 4
BATCHES = 1_000
AT_ONCE = 10
GRACE_MS = 20_000  # SIGKILL never comes: whoever hangs dies of SIGTERM, however busy the machine is


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(PARTS))
def test_real_batches(part: int) -> None:
    seeds = list(range(part, BATCHES, PARTS))
    with Engine(kill_grace=GRACE_MS) as engine:
        for start in range(0, len(seeds), AT_ONCE):
            _check_real(engine, seeds[start : start + AT_ONCE])


def test_fake_batches() -> None:
    for seed in range(BATCHES):
        script = random_script(seed)
        results, events = _run_fake(script)
        _compare(seed, script, [_result(result)[:-1] for result in results], events, printed=False)


# ── real ones ─────────────────────────────────────────────────────────────────────────────────────


def _check_real(engine: Engine, seeds: Sequence[int]) -> None:
    scripts = [random_script(seed) for seed in seeds]
    seen, batches = _watched(engine, lambda: [_submit(engine, script) for script in scripts])
    by_iterator, by_async_iterator, by_callback = seen
    assert by_iterator == by_async_iterator == by_callback, f"seeds {seeds}"
    for seed, script, batch in zip(seeds, scripts, batches, strict=True):
        events = [event for event in by_iterator if event.batch_id == batch.id]
        results = [_result(result) for result in batch.wait()]
        _compare(seed, script, results, events)


def _submit(engine: Engine, script: Script) -> arrea.Batch:
    elements: Any = [job.element for job in script.jobs]
    return engine.submit(iter(elements) if script.fed else elements, **script.options)


def _watched(
    engine: Engine, start: Callable[[], list[arrea.Batch]]
) -> tuple[list[list[Event]], list[arrea.Batch]]:
    """What each of the three saw, from before the start to the end of all batches."""
    collectors = [Collector() for _ in range(3)]
    one, other = engine.subscribe(), engine.subscribe()
    with engine.subscribe(collectors[2]), ThreadPoolExecutor(2) as threads:
        reading = [
            threads.submit(_iterate, one, collectors[0]),
            threads.submit(asyncio.run, _iterate_async(other, collectors[1])),
        ]
        batches = start()
        for collector in collectors:
            collector.wait_for({batch.id for batch in batches})
        one.unsubscribe()
        other.unsubscribe()
        for each in reading:
            each.result()
    return [collector.events for collector in collectors], batches


class Collector:
    """Takes events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._over: set[str | None] = set()
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if event.type == "batch_finished":
            with self._changed:
                self._over.add(event.batch_id)
                self._changed.notify_all()

    def wait_for(self, batches: set[str]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: batches <= self._over, 30), "a batch has no end"


def _iterate(subscription: arrea.Subscription, take: Collector) -> None:
    for event in subscription:
        take(event)


async def _iterate_async(subscription: arrea.Subscription, take: Collector) -> None:
    async for event in subscription:
        take(event)


# ── faked ones ────────────────────────────────────────────────────────────────────────────────────


def _run_fake(script: Script) -> tuple[list[Result], list[Event]]:
    config = Config()
    preparer = Preparer(script.options, config, config.default_policy)
    commands = [preparer.command_or_refusal(index, job.element) for index, job in enumerate(script.jobs)]
    plan = preparer.plan([] if script.fed else commands, open=script.fed)
    runtime = FakeRuntime(lambda spawn, number: script.jobs[spawn.attempt[1]].at(number).fate)
    results = runtime.run(plan, commands)
    return list(results), [Event(emitted, 0.0) for emitted in runtime.log.events]


# ── what is compared ──────────────────────────────────────────────────────────────────────────────


def _compare(
    seed: int, script: Script, results: list[Told], events: list[Event], printed: bool = True
) -> None:
    wanted = expected(script)
    about = f"seed {seed}: {script}"
    assert results == [each if printed else each[:-1] for each in wanted.results], about
    assert [event.sequence for event in events] == list(range(1, len(events) + 1)), about
    assert {index: _story(events, index) for index in _started(events)} == wanted.events, about
    _compare_whole([event for event in events if event.index is None], script, wanted, about)
    assert (events[0].type, events[-1].type) == ("batch_started", "batch_finished"), about


def _result(result: Result) -> Told:
    error, data = result.error, result.data
    code = None if error is None else error.code
    if data is None:
        return (code, result.attempts, None, None, "")
    return (code, result.attempts, data.exit_code, data.signal, data.stdout)


def _started(events: list[Event]) -> set[int]:
    return {event.index for event in events if event.index is not None}


def _story(events: list[Event], index: int) -> list[Told]:
    """The events of a worker; pieces of the same output in one. Without stderr: a fake doesn't write to it."""
    story: list[Told] = []
    mine = (event for event in events if event.index == index)
    for told in (_told(event) for event in mine if event.fields.get("stream") != "stderr"):
        last = story[-1] if story else ("",)
        if told[0] == last[0] == "output" and told[1] == last[1]:
            assert isinstance(last[2], bytes) and isinstance(told[2], bytes)
            story[-1] = ("output", told[1], last[2] + told[2])
        else:
            story.append(told)
    return story


def _told(event: Event) -> Told:
    assert event.worker_id == f"{event.batch_id}:{event.index}"
    match event.type:
        case "output":
            return ("output", event.attempt, event.chunk)
        case "progress":
            return ("progress", event.percent, event.task_index, event.total)
        case "timeout":
            return ("timeout", event.attempt)
        case "retry":
            return ("retry", event.attempt, event.reason.code)
        case "warning":
            return ("warning", event.lines)
        case "result":
            return ("result", event.data.exit_code)
        case "error":
            return ("error", event.reason.code)
    return (event.type,)


def _compare_whole(events: list[Event], script: Script, wanted: Expected, about: str) -> None:
    first, *between, last = events
    assert first.type == "batch_started", about
    assert (first.total, first.workers) == (0 if script.fed else len(script.jobs), script.workers), about
    assert {event.type for event in between} <= {"batch_progress"}, about
    total, failed = wanted.finished[:2]
    assert last.type == "batch_finished", about
    assert (last.total, last.failed, tuple(last.not_started), last.stopped_by) == wanted.finished, about
    done = [(event.done, event.failed) for event in between]
    assert done == sorted(done), about
    if total:
        assert (done[-1], between[-1].running) == ((total, failed), 0), about
