"""Cancelling whoever awaits: the work ends first, then the cancellation goes on; a second one kills at once."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest

import arrea
from arrea import Engine
from tests.async_.loops import survivors
from tests.faults.conftest import GRACE_MS
from tests.support import wait_until

STUBBORN = "trap '' TERM; sleep {0}"
ENDED_S = GRACE_MS / 1000.0 + 1.0 + 0.2  # the last is the busy machine's


async def collected(stream: arrea.AsyncStream) -> list[arrea.Result]:
    return [result async for result in stream]


async def held(stream: arrea.AsyncStream) -> list[arrea.Result]:
    async with stream as results:
        return [result async for result in results]


async def pulled(commands: list[str]) -> AsyncIterator[str]:
    for command in commands:
        await asyncio.sleep(0)
        yield command


async def awaited(engine: Engine, commands: list[str]) -> arrea.BatchResult:
    return await engine.submit(commands, policy="once").wait_async()


Door = Callable[[Engine, list[str]], Coroutine[Any, Any, object]]
DOORS: dict[str, Door] = {
    "execute": lambda engine, commands: engine.execute_async(commands[0]),
    "run": lambda engine, commands: engine.run_async(commands, policy="once"),
    "run an iterator": lambda engine, commands: engine.run_async(iter(commands), policy="once"),
    "run an asynchronous iterator": lambda engine, commands: engine.run_async(
        pulled(commands), policy="once"
    ),
    "stream": lambda engine, commands: collected(engine.stream_async(commands, policy="once")),
    "stream in a context": lambda engine, commands: held(
        engine.stream_async(pulled(commands), policy="once")
    ),
    "submit, and wait": awaited,
}
at_each_door = pytest.mark.parametrize("door", DOORS.values(), ids=list(DOORS))


async def started(engine: Engine, count: int = 1) -> None:
    while len(engine.running()) < count:
        await asyncio.sleep(0.002)


async def cancelled(task: "asyncio.Task[Any]") -> float:
    """Seconds until the cancellation came through."""
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    return time.monotonic() - began


@at_each_door
def test_the_work_ends_before_the_cancellation_goes_on(door: Door, engine: Engine, mark: str) -> None:
    async def main() -> None:
        task = asyncio.create_task(door(engine, [f"sleep {mark}"] * 3))
        await started(engine)
        assert await cancelled(task) < ENDED_S
        assert survivors(mark) == [] and engine.running() == []

    asyncio.run(main())


@at_each_door
def test_what_ignores_sigterm_has_the_whole_grace(door: Door, engine: Engine, mark: str) -> None:
    async def main() -> None:
        task = asyncio.create_task(door(engine, [STUBBORN.format(mark)]))
        await started(engine)
        await asyncio.sleep(0.05)
        assert GRACE_MS / 1000.0 * 0.9 < await cancelled(task) < ENDED_S
        assert wait_until(lambda: not survivors(mark), timeout=1.0)

    asyncio.run(main())


@at_each_door
def test_a_second_cancellation_kills_at_once(door: Door, mark: str) -> None:
    async def main() -> None:
        async with Engine(kill_grace="20s") as engine:
            task = asyncio.create_task(door(engine, [STUBBORN.format(mark)]))
            await started(engine)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.sleep(0.1)
            assert not task.done()
            assert await cancelled(task) < 1.0
            assert survivors(mark) == []

    asyncio.run(main())


@at_each_door
def test_many_cancellations_wait_for_what_the_second_killed(door: Door, mark: str) -> None:
    async def main() -> None:
        async with Engine(kill_grace="20s") as engine:
            task = asyncio.create_task(door(engine, [STUBBORN.format(mark)]))
            await started(engine)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
            assert task.cancelled() and survivors(mark) == []

    asyncio.run(main())


@at_each_door
def test_cancelled_before_its_first_step_it_starts_nothing(door: Door, mark: str) -> None:
    async def main() -> None:
        async with Engine() as engine:
            task = asyncio.create_task(door(engine, [f"sleep {mark}"]))
            assert await cancelled(task) < 1.0
            assert engine.running() == [] and engine.stats().total_workers == 0

    asyncio.run(main())


# ── at any time ───────────────────────────────────────────────────────────────────────────────────

SCRIPTS = ("sleep {0}", STUBBORN, "true", "echo x; sleep {0}", "sleep {0} & wait", "exit 3")


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def moment(chance: random.Random) -> Awaitable[None]:
    """After a few turns of the loop, or some time later: before the start, between start and output, at the end."""
    return steps(chance.randrange(8)) if chance.random() < 0.4 else asyncio.sleep(chance.uniform(0.0, 0.06))


async def cancel_at_random(engine: Engine, mark: str, chance: random.Random) -> None:
    commands = [chance.choice(SCRIPTS).format(mark) for _ in range(chance.randrange(1, 4))]
    task = asyncio.create_task(DOORS[chance.choice(list(DOORS))](engine, commands))
    await moment(chance)
    began = time.monotonic()
    task.cancel()
    if chance.random() < 0.3:
        await moment(chance)
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5.0


def test_cancelled_five_hundred_times_at_random_points(mark: str) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)
    chance = random.Random(seed)

    async def main() -> None:
        async with Engine(kill_grace=100, max_workers=40) as engine:
            for _ in range(20):
                await asyncio.gather(*(cancel_at_random(engine, mark, chance) for _ in range(25)))
                # What was killed by a second cancellation may take its last second; everything else is gone.
                assert await asyncio.to_thread(
                    wait_until, lambda: not (engine.running() or survivors(mark)), 2.0
                )
            assert (await engine.execute_async("echo x")).unwrap().stdout == "x\n"

    asyncio.run(main())


# ── the usual ways of cancelling ──────────────────────────────────────────────────────────────────


@at_each_door
def test_a_time_limit_around_it(door: Door, engine: Engine, mark: str) -> None:
    async def main() -> None:
        commands = [f"sleep {mark}"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await door(engine, commands)
        assert survivors(mark) == []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(door(engine, commands), 0.1)
        assert survivors(mark) == []

    asyncio.run(main())


@at_each_door
def test_a_task_group_that_fails(door: Door, engine: Engine, mark: str) -> None:
    async def fail() -> None:
        await started(engine)
        raise ValueError("told")

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(door(engine, [f"sleep {mark}"]))
                group.create_task(fail())
        assert [str(error) for error in caught.value.exceptions] == ["told"]
        assert survivors(mark) == []

    asyncio.run(main())


@at_each_door
def test_a_scope_of_anyio_that_is_cancelled(door: Door, engine: Engine, mark: str) -> None:
    async def main() -> None:
        commands = [STUBBORN.format(mark)]
        began = time.monotonic()
        with anyio.move_on_after(0.1) as scope:
            await door(engine, commands)
        assert scope.cancelled_caught and survivors(mark) == []
        assert time.monotonic() - began > GRACE_MS / 1000.0, "it wasn't given its grace"
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await door(engine, commands)
        assert survivors(mark) == []
        async with anyio.create_task_group() as group:
            group.start_soon(door, engine, commands)
            await started(engine)
            group.cancel_scope.cancel()
        assert survivors(mark) == []

    anyio.run(main)


def test_the_end_of_the_loop_cancels_what_is_still_awaited(engine: Engine, mark: str) -> None:
    held = []

    async def main() -> None:
        for door in DOORS.values():
            held.append(asyncio.create_task(door(engine, [f"sleep {mark}"])))
        await started(engine, len(DOORS))

    asyncio.run(main())
    assert all(task.cancelled() for task in held)
    assert survivors(mark) == [] and engine.running() == []


# ── streams that are left ─────────────────────────────────────────────────────────────────────────


def test_a_stream_whose_loop_is_left_ends_the_rest(engine: Engine, mark: str) -> None:
    async def main() -> None:
        async for result in engine.stream_async(["true", f"sleep {mark}"], workers=2):
            assert result.success
            break
        assert await asyncio.to_thread(wait_until, lambda: not survivors(mark))

    asyncio.run(main())


def test_a_stream_in_a_context_waits_for_the_end_of_the_rest(engine: Engine, mark: str) -> None:
    async def main() -> None:
        with pytest.raises(ValueError):
            async with engine.stream_async(["true", f"sleep {mark}"], workers=2) as results:
                async for _ in results:
                    raise ValueError
        assert survivors(mark) == [] and engine.running() == []

    asyncio.run(main())


def test_a_stream_that_is_cancelled_between_ready_results_has_ended_then(engine: Engine, mark: str) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            stream = engine.stream_async([*["true"] * 100, f"sleep {mark}"], policy="once")
            await anext(stream)
            while stream._batch.arrived < 100:
                await asyncio.sleep(0.002)
            scope.cancel()
            async for _ in stream:
                pass
        assert scope.cancelled_caught and survivors(mark) == [] and engine.running() == []

    anyio.run(main)


def test_a_stream_after_its_end(engine: Engine, mark: str) -> None:
    async def main() -> None:
        stream = engine.stream_async([f"sleep {mark}", "true"], workers=1)
        ahead = asyncio.create_task(anext(stream))
        await started(engine)
        await cancelled(ahead)
        codes = [result.error.code async for result in stream if result.error]
        assert sorted(codes) == ["cancelled", "not_started"]
        assert [result async for result in stream] == []
        await stream.aclose()
        await stream.aclose()

    asyncio.run(main())


def test_a_stream_that_was_closed_before_it_began_is_empty(engine: Engine, mark: str) -> None:
    async def main() -> None:
        async with engine.stream_async([f"sleep {mark}"]) as stream:
            pass
        assert [result async for result in stream] == []
        assert engine.stats().total_workers == 0

    asyncio.run(main())


def test_two_tasks_share_a_stream(engine: Engine) -> None:
    async def main() -> None:
        stream = engine.stream_async([f"sleep 0.0{index}; echo {index}" for index in range(8)], workers=4)
        shares = await asyncio.gather(*(collected(stream) for _ in range(3)))
        assert sorted(result.index for share in shares for result in share) == list(range(8))

    asyncio.run(main())


# ── coroutines that nobody finishes ───────────────────────────────────────────────────────────────


@at_each_door
@pytest.mark.parametrize("collected", [False, True], ids=["closed", "collected"])
def test_a_coroutine_that_is_dropped_ends_its_work(
    door: Door, collected: bool, engine: Engine, mark: str
) -> None:
    async def main() -> None:
        coroutine: Any = door(engine, [f"sleep {mark}"])
        coroutine.send(None)
        await started(engine)
        if not collected:
            coroutine.close()
        del coroutine
        assert await asyncio.to_thread(wait_until, lambda: not survivors(mark))

    asyncio.run(main())


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_a_coroutine_that_is_closed_while_it_ends_kills(twice: bool, mark: str) -> None:
    async def main() -> None:
        async with Engine(kill_grace="20s") as engine:
            coroutine: Any = engine.execute_async(STUBBORN.format(mark))
            coroutine.send(None)
            await started(engine)
            await asyncio.sleep(0.05)
            coroutine.throw(asyncio.CancelledError())
            if twice:
                coroutine.throw(asyncio.CancelledError())
            coroutine.close()
            assert await asyncio.to_thread(wait_until, lambda: not survivors(mark), 2.0)

    asyncio.run(main())


def test_what_is_never_awaited_starts_nothing(mark: str) -> None:
    with Engine() as engine:
        coroutine = engine.run_async([f"sleep {mark}"])
        with pytest.warns(RuntimeWarning, match="never awaited"):
            del coroutine
        stream = engine.stream_async([f"sleep {mark}"], on_output=print)
        del stream
        assert engine.stats().total_workers == 0


def test_subscriptions_lose_nothing_to_cancellations(engine: Engine) -> None:
    async def main() -> None:
        with engine.subscribe(types=["finished"]) as events:
            running = asyncio.create_task(engine.run_async(["true"] * 60, workers=2))
            seen = []
            while len(seen) < 60:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.001):
                        event = await anext(events)
                        seen.append(event.index)
            assert sorted(seen) == list(range(60))
            await running

    asyncio.run(main())
