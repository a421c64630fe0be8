"""Event loops to run a test on, and how long one was held up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import uvloop

from tests.support import marked_survivors

uvloop.new_event_loop().close()  # the first one opens a pipe that the process keeps

T = TypeVar("T")
Main = Callable[[], Coroutine[Any, Any, T]]


def on_asyncio(main: Main[T]) -> T:
    return asyncio.run(main())


def on_uvloop(main: Main[T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def on_anyio(main: Main[T]) -> T:
    import anyio

    return anyio.run(main)


def on_a_notebooks_loop(main: Main[T]) -> T:
    """One that never ends, and is given one thing after the other."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.sleep(0))
        told: T = loop.run_until_complete(main())
        loop.call_soon(loop.stop)
        loop.run_forever()
        return told
    finally:
        loop.close()


RUNNERS: dict[str, Callable[[Main[Any]], Any]] = {
    "asyncio": on_asyncio,
    "uvloop": on_uvloop,
    "anyio": on_anyio,
    "notebook": on_a_notebooks_loop,
}


def survivors(mark: str) -> list[str]:
    """What was to end with the mark in it. Not the engine's guardian, which ends with this process."""
    return [line for line in marked_survivors(mark) if "arrea-guardian" not in line]


class Gaps:
    longest_ms = 0.0


@asynccontextmanager
async def watched() -> AsyncIterator[Gaps]:
    """How long, at most, others on the loop had to wait for their turn."""
    gaps = Gaps()

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.longest_ms = max(gaps.longest_ms, (now - last) * 1000.0 - 1.0)
            last = now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    gaps.longest_ms = 0.0
    try:
        yield gaps
        await asyncio.sleep(0.002)
    finally:
        ticking.cancel()
