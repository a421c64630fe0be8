"""The doors of the library: the ways in which the same commands and options can come in.

Each door is given commands that are fine and options that aren't (or the other way round), and behaves as its
caller would see it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import arrea

Commands = Sequence[Any]


def through_iterator(commands: Commands) -> Iterator[Any]:
    yield from commands


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
}

BATCH_DOORS = {**LIST_DOORS, **ITERATOR_DOORS}


def execute(commands: Commands, **options: Any) -> list[arrea.Result]:
    return [arrea.execute(commands[0], **options)]


ALL_DOORS = {"execute": execute, **BATCH_DOORS}
