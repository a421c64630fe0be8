"""The doors of the library: the ways in which the same commands and options can come in.

Each door is given commands that are fine and options that aren't (or the other way round), and behaves as its
caller would see it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import arrea

Commands = Sequence[Any]


def through_iterator(commands: Commands) -> Iterator[Any]:
    yield from commands


async def through_async_iterator(commands: Commands) -> AsyncIterator[Any]:
    for command in commands:
        yield command


def run_async(commands: Any, **options: Any) -> list[arrea.Result]:
    return list(asyncio.run(arrea.run_async(commands, **options)))


def stream_async(commands: Any, **options: Any) -> list[arrea.Result]:
    async def collect() -> list[arrea.Result]:
        return [result async for result in arrea.stream_async(commands, **options)]

    return asyncio.run(collect())


def wait_async(commands: Any, **options: Any) -> list[arrea.Result]:
    return list(asyncio.run(arrea.submit(commands, **options).wait_async()))


def engine_run(commands: Commands, **options: Any) -> list[arrea.Result]:
    with arrea.Engine() as engine:
        return list(engine.run(list(commands), **options))


def engine_stream(commands: Commands, **options: Any) -> list[arrea.Result]:
    with arrea.Engine() as engine:
        return list(engine.stream(through_iterator(commands), **options))


# A list is checked whole.
LIST_DOORS: dict[str, Callable[..., list[arrea.Result]]] = {
    "run a list": lambda commands, **options: list(arrea.run(list(commands), **options)),
    "run a tuple": lambda commands, **options: list(arrea.run(tuple(commands), **options)),
    "stream a list": lambda commands, **options: list(arrea.stream(list(commands), **options)),
    "submit a list": lambda commands, **options: list(arrea.submit(list(commands), **options).wait()),
    "Engine.run": engine_run,
    "run_async a list": lambda commands, **options: run_async(list(commands), **options),
    "stream_async a list": lambda commands, **options: stream_async(list(commands), **options),
}

# An iterator is pulled as there is room, and its elements are checked one by one.
ITERATOR_DOORS: dict[str, Callable[..., list[arrea.Result]]] = {
    "run an iterator": lambda commands, **options: list(arrea.run(through_iterator(commands), **options)),
    "stream an iterator": lambda commands, **options: list(
        arrea.stream(through_iterator(commands), **options)
    ),
    "submit an iterator": lambda commands, **options: list(
        arrea.submit(through_iterator(commands), **options).wait()
    ),
    "Engine.stream": engine_stream,
    "run_async an iterator": lambda commands, **options: run_async(through_iterator(commands), **options),
    "run_async an asynchronous iterator": lambda commands, **options: run_async(
        through_async_iterator(commands), **options
    ),
    "stream_async an asynchronous iterator": lambda commands, **options: stream_async(
        through_async_iterator(commands), **options
    ),
    "submit an iterator and await it": lambda commands, **options: wait_async(
        through_iterator(commands), **options
    ),
}

BATCH_DOORS = {**LIST_DOORS, **ITERATOR_DOORS}


def execute(commands: Commands, **options: Any) -> list[arrea.Result]:
    return [arrea.execute(commands[0], **options)]


def execute_async(commands: Commands, **options: Any) -> list[arrea.Result]:
    return [asyncio.run(arrea.execute_async(commands[0], **options))]


ALL_DOORS = {"execute": execute, "execute_async": execute_async, **BATCH_DOORS}
