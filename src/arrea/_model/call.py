"""A function as it will run: the call, its target, and the function as worker processes get it."""

from __future__ import annotations

import os

from arrea._model.parcel import Parcel
from arrea._model.task import Command
from arrea._model.text import label_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import Context
    from typing import Any

    from arrea._model.task import Settings


class Program:
    """A function as worker processes get it, once each. number: its name in the frames; the same one has the same."""

    __slots__ = ("number", "pickled")

    def __init__(self, number: int, pickled: bytes | Parcel) -> None:
        self.number = number
        self.pickled = pickled


class Surroundings:
    """Of calls in worker processes. told: directory, environment, import path and arguments of the program.

    All of them as plain strings, whatever they were: nobody's code runs when they are read.
    """

    __slots__ = ("_place", "told")

    def __init__(
        self,
        directory: str,
        variables: Mapping[str, str],
        path: Iterable[object],
        arguments: Iterable[object],
    ) -> None:
        plain = {_plain(name): _plain(value) for name, value in variables.items()}
        self.told = (directory, plain, [*map(_plain, path)], [*map(_plain, arguments)])
        self._place = _place_of(directory)

    def is_like(self, other: Surroundings) -> bool:
        """Whether a call finds the same in them. What has the same name may be another directory meanwhile."""
        return self._place == other._place and self.told == other.told


def _plain(text: object) -> str:
    if type(text) is str:
        return text
    if issubclass(type(text), str):
        return str.__str__(text)
    try:
        return str(text)
    except Exception:  # noqa: BLE001 - somebody's own object
        return ""


def _place_of(directory: str) -> tuple[int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Home:
    """Where the async functions of a batch run: the event loop of whoever awaits it, known when he begins to."""

    __slots__ = ("loop",)

    def __init__(self) -> None:
        self.loop: Any = None


class Target:
    """A function that calls share: where it runs and how.

    text: how messages name it. program, surroundings: for worker processes; function: for threads and event loops.
    home: whose event loop it runs on, None for the engine's own.
    """

    __slots__ = ("function", "home", "kind", "program", "settings", "surroundings", "text")

    def __init__(
        self,
        kind: str,
        text: str,
        settings: Settings,
        *,
        program: Program | None = None,
        surroundings: Surroundings | None = None,
        function: Callable[..., object] | None = None,
        home: Home | None = None,
    ) -> None:
        self.kind = kind
        self.text = text
        self.settings = settings
        self.program = program
        self.surroundings = surroundings
        self.function = function
        self.home = home


class Call:
    """A call of a function that will run.

    arguments: pickled for a worker process, else as they are. large: they are a `Parcel`: not many should wait.
    context: the caller's context variables; None for a worker process, which has its own.
    """

    __slots__ = ("arguments", "context", "kind", "label", "large", "name", "target")
    refusal = None

    def __init__(
        self, target: Target, arguments: Any, context: Context | None = None, label: object = None
    ) -> None:
        self.target = target
        self.kind = target.kind
        self.arguments = arguments
        self.context = context
        self.label = label
        self.large = arguments.__class__ is Parcel
        self.name = target.text if label is None else label_text(label)

    def let_go(self) -> None:
        """It is over, and its arguments are needed no more."""
        self.arguments = None

    def without_arguments(self) -> Call:
        """For who only wants to tell of it."""
        return Call(self.target, None, None, self.label)

    @property
    def text(self) -> str:
        return self.target.text

    @property
    def settings(self) -> Settings:
        return self.target.settings

    def __repr__(self) -> str:
        return f"Call({self.target.text!r})"


Work = Command | Call
