"""Runs the lines of standard input with Arrea's library, one subscriber reading: `library.py WORKERS < lines`."""

import asyncio
import sys

import arrea


async def count(events: arrea.Subscription) -> int:
    """How many tasks ended, as the subscriber saw it; what it was too late for included."""
    ended = 0
    async for event in events:
        ended += event.type == "finished"
    return ended


async def main(workers: int, lines: list[str]) -> None:
    async with arrea.Engine(max_workers=workers) as engine:
        with engine.subscribe(types=["finished"]) as events:
            counting = asyncio.create_task(count(events))
            for result in await engine.run_async(iter(lines)):
                assert result.data is not None
                sys.stdout.buffer.write(result.data.stdout_bytes)
    assert await counting == len(lines)


asyncio.run(main(int(sys.argv[1]), sys.stdin.read().splitlines()))
