"""Sources of the async doors: plain iterators, which may block, and asynchronous ones, which are closed properly."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

import arrea
from arrea import Engine
from tests.async_.loops import survivors, watched
from tests.support import wait_until


class Source:
    """An asynchronous generator that tells what becomes of it."""

    def __init__(self, commands: list[Any], *, then: Callable[[], Any] | None = None) -> None:
        self.commands = commands
        self.then = then
        self.pulled = 0
        self.ended: list[str] = []
        self.tasks: set[Any] = set()

    async def __call__(self) -> AsyncIterator[Any]:
        try:
            for command in self.commands:
                self.tasks.add(asyncio.current_task())
                self.pulled += 1
                yield command
            if self.then is not None:
                await self.then()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0.01)  # it may clean up with the help of the loop
            self.ended.append("cleaned up")


async def for_ever() -> None:
    await asyncio.sleep(1000)


def raising(error: BaseException) -> Callable[[], Coroutine[Any, Any, None]]:
    async def then() -> None:
        raise error

    return then


async def collect(stream: Any) -> list[arrea.Result]:
    return [result async for result in stream]


Door = Callable[..., Coroutine[Any, Any, list[arrea.Result]]]


async def run(engine: Engine, source: Any, **options: Any) -> list[arrea.Result]:
    return list(await engine.run_async(source, policy="once", **options))


async def stream(engine: Engine, source: Any, **options: Any) -> list[arrea.Result]:
    return await collect(engine.stream_async(source, policy="once", **options))


at_each_door = pytest.mark.parametrize("door", [run, stream])


# ── asynchronous generators ───────────────────────────────────────────────────────────────────────


@at_each_door
def test_an_asynchronous_generator_is_pulled_to_its_end(door: Door, engine: Engine) -> None:
    source = Source([f"echo {index}" for index in range(20)])
    results = asyncio.run(door(engine, source()))
    assert sorted(result.unwrap().stdout for result in results) == sorted(f"{index}\n" for index in range(20))
    assert source.ended == ["cleaned up"] and len(source.tasks) == 1


@at_each_door
def test_one_that_raises_lets_what_runs_finish(door: Door, engine: Engine) -> None:
    error = ValueError("midway")
    source = Source(["sleep 0.2; exit 0"], then=raising(error))
    began = time.monotonic()
    with pytest.raises(ValueError) as caught:
        asyncio.run(door(engine, source()))
    assert caught.value is error and time.monotonic() - began >= 0.2
    assert source.ended == ["ValueError", "cleaned up"]


@at_each_door
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit])
def test_one_that_is_interrupted_ends_the_batch(
    door: Door, kind: type[BaseException], engine: Engine, mark: str
) -> None:
    source = Source([f"sleep {mark}"], then=raising(kind()))
    began = time.monotonic()
    with pytest.raises(kind):
        asyncio.run(door(engine, source()))
    assert time.monotonic() - began < 3.0
    assert source.ended == [kind.__name__, "cleaned up"]
    assert survivors(mark) == [] and engine.running() == []


@at_each_door
def test_a_slow_one_holds_up_no_result(door: Door, engine: Engine) -> None:
    async def source() -> AsyncIterator[str]:
        yield "echo first"
        while not seen:
            await asyncio.sleep(0.001)
        yield "echo second"

    seen: list[int] = []

    async def main() -> None:
        with engine.subscribe(lambda event: seen.append(1), types=["finished"]):
            assert len(await door(engine, source())) == 2

    asyncio.run(main())


@at_each_door
@pytest.mark.parametrize("stops", ["cancelled", "a failure", "the deadline"])
def test_one_that_never_yields_is_closed_when_the_batch_ends(
    door: Door, stops: str, engine: Engine, mark: str
) -> None:
    source = Source(["exit 3" if stops == "a failure" else f"sleep {mark}"], then=for_ever)

    async def main() -> None:
        options: dict[str, Any] = {"deadline": 200} if stops == "the deadline" else {}
        policy = {"policy": "stop"} if stops == "a failure" else {}
        call = engine.run_async if door is run else lambda *a, **o: collect(engine.stream_async(*a, **o))
        task = asyncio.ensure_future(call(source(), **options, **policy))
        await asyncio.sleep(0.1)
        if stops == "cancelled":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            [result] = await task
            assert not result.success
        assert source.ended == ["CancelledError", "cleaned up"]
        assert survivors(mark) == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_one_that_waits_for_room_is_closed_when_the_batch_ends(engine: Engine, mark: str) -> None:
    endless = Source([f"sleep {mark}"] * 10_000)

    async def main() -> None:
        async with engine.stream_async(endless(), workers=2) as results:
            ahead = asyncio.ensure_future(anext(results))
            while not endless.pulled:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            ahead.cancel()
        assert endless.ended == ["GeneratorExit", "cleaned up"] and endless.pulled < 2000
        assert survivors(mark) == []

    asyncio.run(main())


@at_each_door
def test_one_that_waits_for_room_may_clean_up_when_the_batch_stops(door: Door, engine: Engine) -> None:
    endless = Source(["sleep 0.1; exit 3"] * 10_000)

    async def main() -> None:
        call = engine.run_async if door is run else lambda *a, **o: collect(engine.stream_async(*a, **o))
        assert not all(result.success for result in await call(endless(), policy="stop", workers=2))
        assert endless.ended == ["GeneratorExit", "cleaned up"]

    asyncio.run(main())


def test_a_stream_that_is_left_closes_its_source(engine: Engine, mark: str) -> None:
    source = Source(["true", f"sleep {mark}"], then=for_ever)

    async def main() -> None:
        async for _ in engine.stream_async(source()):
            break
        while source.ended != ["CancelledError", "cleaned up"]:
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert wait_until(lambda: not survivors(mark))


def test_what_a_source_raises_when_it_is_closed_is_told_to_the_loop(engine: Engine, mark: str) -> None:
    async def source() -> AsyncIterator[str]:
        try:
            yield f"sleep {mark}"
            await for_ever()
        finally:
            raise ValueError("while cleaning up")

    told: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await engine.run_async(source())

    asyncio.run(main())
    [context] = told
    assert (
        str(context["exception"]) == "while cleaning up" and "raised when it was closed" in context["message"]
    )


def test_one_that_cannot_be_interrupted_holds_up_nobody_for_long(mark: str) -> None:
    over = []

    async def source() -> AsyncIterator[str]:
        yield f"sleep {mark}"
        while not over:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        async with Engine(kill_grace=100) as engine:
            task = asyncio.create_task(engine.run_async(source()))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert 1.0 < time.monotonic() - began < 2.0
            over.append(1)

    asyncio.run(main())


def test_one_that_is_never_begun_is_left_alone(engine: Engine) -> None:
    source = Source(["true"])

    async def main() -> None:
        stream = engine.stream_async(source())
        await stream.aclose()
        task = asyncio.create_task(engine.run_async(source()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert source.pulled == 0


def test_an_iterator_that_is_no_generator_is_not_closed(engine: Engine) -> None:
    class Queue:
        closed = False

        def __aiter__(self) -> "Queue":
            return self

        async def __anext__(self) -> str:
            return "exit 3"

        async def aclose(self) -> None:
            self.closed = True

    queue = Queue()
    results = asyncio.run(engine.run_async(queue, policy="stop", workers=1))
    assert results.stopped_by == "stop" and not queue.closed


def test_a_stream_feeds_another(engine: Engine) -> None:
    async def main() -> None:
        first = engine.stream_async(["echo a", "echo b"])
        second = engine.stream_async(f"echo {result.unwrap().stdout.strip()}2" async for result in first)
        assert sorted([result.unwrap().stdout async for result in second]) == ["a2\n", "b2\n"]

    asyncio.run(main())


def test_one_that_never_awaits_leaves_others_their_turn(engine: Engine) -> None:
    async def refused() -> AsyncIterator[str]:
        for _ in range(5_000):
            yield ""

    async def main() -> float:
        async with watched() as gaps:
            assert (await engine.run_async(refused(), policy="once")).stats.failed == 5_000
        return gaps.longest_ms

    assert min(asyncio.run(main()) for _ in range(3)) < 50.0


# ── plain iterators ───────────────────────────────────────────────────────────────────────────────


@at_each_door
def test_an_iterator_that_blocks_holds_up_nothing(door: Door, engine: Engine) -> None:
    threads = set()

    def source() -> Iterator[str]:
        for index in range(4):
            threads.add(threading.current_thread())
            time.sleep(0.1)
            yield f"echo {index}"

    async def main() -> float:
        async with watched() as gaps:
            assert len(await door(engine, source())) == 4
        return gaps.longest_ms

    assert min(asyncio.run(main()) for _ in range(2)) < 50.0
    assert threading.main_thread() not in threads


@at_each_door
def test_an_iterator_that_blocks_for_ever_holds_up_no_cancellation(
    door: Door, engine: Engine, mark: str
) -> None:
    over = threading.Event()

    def source() -> Iterator[str]:
        yield f"sleep {mark}"
        over.wait(20)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await door(engine, source())
        assert survivors(mark) == []

    asyncio.run(main())
    over.set()


@at_each_door
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_iterator_that_is_interrupted_ends_the_batch(
    door: Door, kind: type[BaseException], engine: Engine, mark: str
) -> None:
    def source() -> Iterator[str]:
        yield f"sleep {mark}"
        raise kind

    began = time.monotonic()
    with pytest.raises(kind):
        asyncio.run(door(engine, source()))
    assert time.monotonic() - began < 3.0 and survivors(mark) == []
