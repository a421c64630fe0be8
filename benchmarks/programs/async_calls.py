"""What a call of an async function costs, 100 at a time: `async_calls.py HOW COUNT` prints the nanoseconds.

Each call has a time limit and a context of its own. `map` and `run_async` are Arrea's, with a `Result` for each.
"""

import asyncio
import sys
import time
from collections.abc import Callable

AT_A_TIME, LIMIT_S = 100, 60


async def same(value: int) -> int:
    return value


def of_map(count: int) -> list[int]:
    import arrea

    options = {"workers": AT_A_TIME, "timeout": LIMIT_S * 1000, "return_results": True}
    return [result.data for result in arrea.map(same, range(count), **options)]


def of_run_async(count: int) -> list[int]:
    import arrea

    tasks = (arrea.Task(same, number) for number in range(count))
    running = arrea.run_async(tasks, workers=AT_A_TIME, timeout=LIMIT_S * 1000)
    return [result.data for result in asyncio.run(running)]


def of_gather(count: int) -> list[int]:
    async def limited(slots: asyncio.Semaphore, number: int) -> int:
        async with slots, asyncio.timeout(LIMIT_S):
            return await same(number)

    async def gathered() -> list[int]:
        slots = asyncio.Semaphore(AT_A_TIME)
        return await asyncio.gather(*(limited(slots, number) for number in range(count)))

    return asyncio.run(gathered())


def took(values_of: Callable[[int], list[int]], count: int) -> float:
    began = time.perf_counter_ns()
    values = values_of(count)
    ended = time.perf_counter_ns()
    assert values == list(range(count)), "a value is wrong, missing, or not in its place"
    return (ended - began) / count


if __name__ == "__main__":
    how = {"map": of_map, "run_async": of_run_async, "gather": of_gather}[sys.argv[1]]
    took(how, max(int(sys.argv[2]) // 10, 10))
    print(took(how, int(sys.argv[2])))
