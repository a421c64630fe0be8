"""What the async doors cost their event loop: it is never held up, and is woken once a turn, not once a result."""

import asyncio
import json
import time
from collections import Counter

import pytest

import arrea
from arrea import Engine
from tests.async_.loops import watched
from tests.faults.hosts import run_host

# ── never held up ─────────────────────────────────────────────────────────────────────────────────

LONGEST_MS = 50.0

# In a process of its own: the collector, and whatever else this one does, must not be taken for a fault of Arrea.
GAPS = """
import asyncio, gc, json
from tests.async_.loops import watched
gc.disable()  # to go through 20,000 results takes it longer than all that is measured

async def five_hundred_commands(engine):
    async with watched() as gaps:
        assert (await engine.run_async([["true"]] * 500)).success
    return gaps

async def five_hundred_from_a_source(engine):
    async def source():
        for _ in range(500):
            yield ["true"]
    async with watched() as gaps:
        assert len([result async for result in engine.stream_async(source())]) == 500
    return gaps

async def ready(engine):
    batch = engine.submit("" for _ in range(20_000))  # refused: they are ready at once
    while not batch.done:
        await asyncio.sleep(0.01)
    return batch

async def ready_results(engine):
    batch = await ready(engine)
    async with watched() as gaps:
        assert len([result async for result in batch]) == 20_000
    return gaps

async def ready_results_at_once(engine):
    batch = await ready(engine)
    async with watched() as gaps:
        assert len(await batch.wait_async()) == 20_000
    return gaps

async def ready_results_of_a_stream(engine):
    stream = engine.stream_async("" for _ in range(20_000))
    await anext(stream)
    while stream._batch.arrived < 20_000:
        await asyncio.sleep(0.01)
    async with watched() as gaps:
        assert len([result async for result in stream]) == 19_999
    return gaps

async def ready_events(engine):
    with engine.subscribe() as events:
        await ready(engine)
        async with watched() as gaps:
            for _ in range(min(events.pending, 9_000)):
                await anext(events)
    return gaps

async def closing(engine):
    async with arrea.Engine(kill_grace=300) as other:
        other.submit(["trap '' TERM; sleep " + MARK] * 20)
        await asyncio.sleep(0.2)
        async with watched() as gaps:
            await other.close_async()
    return gaps

async def cancelling(engine):
    task = asyncio.create_task(engine.run_async(["trap '' TERM; sleep " + MARK] * 20))
    await asyncio.sleep(0.2)
    async with watched() as gaps:
        task.cancel()
        await asyncio.wait([task])
    return gaps

async def main():
    # The window is large, so that a stream runs far ahead of its reader.
    async with arrea.Engine(kill_grace=300, max_commands_per_batch=25_000) as engine:
        await engine.execute_async("true")
        for case in (
            five_hundred_commands, five_hundred_from_a_source, ready_results, ready_results_at_once,
            ready_results_of_a_stream, ready_events, closing, cancelling,
        ):
            longest = 1e9
            for _ in range(3):  # on a busy machine a single gap tells little
                longest = min(longest, (await case(engine)).longest_ms)
                if longest < 20.0:
                    break
            say(json.dumps([case.__name__, longest]))
asyncio.run(main())
"""


def test_the_loop_is_never_held_up(mark: str) -> None:
    ended = run_host(mark, GAPS, dev=False, within=50.0)
    gaps = dict(map(json.loads, ended.out))
    print(gaps)
    assert len(gaps) == 8
    assert {case: gap for case, gap in gaps.items() if gap >= LONGEST_MS} == {}


def test_the_first_use_of_an_engine_does_not_hold_the_loop_up() -> None:
    async def main() -> float:
        async with watched() as gaps, Engine() as engine:
            await engine.execute_async("true")
        return gaps.longest_ms

    assert min(asyncio.run(main()) for _ in range(3)) < LONGEST_MS


def test_a_callback_that_hangs_does_not_hold_up_a_loop_that_closes_the_engine() -> None:
    over = []

    def hang(_: arrea.Event) -> None:
        while not over:
            time.sleep(0.01)

    async def main() -> float:
        engine = Engine()
        engine.subscribe(hang)
        await engine.execute_async("true")
        async with watched() as gaps:
            await engine.close_async()
        over.append(1)
        return gaps.longest_ms

    assert asyncio.run(main()) < 300.0


# ── wake-ups ──────────────────────────────────────────────────────────────────────────────────────


class Counting:
    """How often threads wake the running loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: Counter[str] = Counter()
        loop = asyncio.get_running_loop()
        original = loop.call_soon_threadsafe

        def counting(callback: object, *arguments: object, **options: object) -> object:
            self.calls["wake-ups"] += 1
            return original(callback, *arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)


def test_all_results_wake_the_loop_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        counting = Counting(monkeypatch)
        results = await engine.run_async(("" for _ in range(1000)), policy="once")
        assert len(results) == 1000
        return counting.calls["wake-ups"]

    assert asyncio.run(main()) <= 2


def test_a_stream_wakes_the_loop_at_most_once_a_turn(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> tuple[int, int, int]:
        counting = Counting(monkeypatch)
        turns = 0
        stream = engine.stream_async(("" if index % 50 else ["true"] for index in range(1000)), policy="once")

        def turn() -> None:
            nonlocal turns
            turns += 1

        stream._batch._inbox.watchers.append(turn)
        seen = [result async for result in stream]
        return len(seen), turns, counting.calls["wake-ups"]

    seen, turns, wakes = asyncio.run(main())
    print(turns, wakes)
    assert seen == 1000 and wakes <= turns + 1


def test_waiters_of_one_loop_are_woken_together(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        batch = engine.submit(["sleep 0.2"])
        waits = [asyncio.ensure_future(batch.wait_async()) for _ in range(200)]
        await asyncio.sleep(0.02)
        counting = Counting(monkeypatch)
        await asyncio.gather(*waits)
        return counting.calls["wake-ups"]

    # The loop may take its turn while the engine's thread is still telling; it is woken once more for the rest then.
    assert asyncio.run(main()) < 50


def test_a_reader_elsewhere_wakes_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        counting = Counting(monkeypatch)
        stream = engine.stream_async(["true"] * 100)
        await anext(stream)
        before = counting.calls["wake-ups"]
        await asyncio.sleep(0.2)
        assert counting.calls["wake-ups"] == before, "it was woken though nobody waited"
        await stream.aclose()
        return before

    assert asyncio.run(main()) <= 2
