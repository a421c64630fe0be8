"""What callers may pass as commands: a list, an iterator, or, to coroutines, an asynchronous iterator."""

from __future__ import annotations

from collections import deque

from arrea._app.feed import AtHand
from arrea._model.checks import shown
from arrea._model.errors import InvalidOption
from arrea._model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator
    from typing import Any, TypeGuard

EXPECTED = "commands must be a list or an iterator"


# Their next element is there: nobody has to wait for it.
CONTAINERS = (list, tuple, range, set, frozenset, dict, deque)


def at_hand(items: object) -> Iterator[Any]:
    """The iterator of what a function is to be mapped over. Raises `InvalidOption` for what can't be iterated over."""
    try:
        found: Iterator[Any] = iter(items)  # type: ignore[call-overload]
    except TypeError:
        later = "; an asynchronous one is not taken" if is_async(items) else ""
        raise InvalidOption("items", f"items can't be iterated over: {shown(items)}{later}") from None
    return AtHand(found) if type(items) in CONTAINERS else found


def iterator_of(commands: object) -> Iterator[Any]:
    """Its iterator. Raises `InvalidOption` for what is no source, or only one command."""
    if isinstance(commands, (str, bytes, bytearray, memoryview, Task)):
        raise InvalidOption("commands", f"{EXPECTED} of commands, not one command: {shown(commands)}")
    if _has(commands, "keys"):  # its keys are hardly what was meant
        raise InvalidOption("commands", f"{EXPECTED} of commands, not a mapping: {shown(commands)}")
    try:
        return iter(commands)  # type: ignore[call-overload, no-any-return]
    except TypeError:  # anything else is what the source raises, and is for the caller
        later = "; an asynchronous one is for run_async and stream_async" if is_async(commands) else ""
        raise InvalidOption("commands", f"{EXPECTED}, not {shown(commands)}{later}") from None


def async_iterator_of(commands: AsyncIterable[Any]) -> AsyncIterator[Any]:
    """The same for what is asynchronous."""
    try:
        return aiter(commands)
    except TypeError:
        raise InvalidOption("commands", f"commands can't be iterated over: {shown(commands)}") from None


def is_async(commands: object) -> TypeGuard[AsyncIterable[Any]]:
    return _has(commands, "__aiter__")


def _has(commands: object, name: str) -> bool:
    try:
        return hasattr(commands, name)
    except Exception:  # noqa: BLE001 - of the object's own `__getattr__`
        return False
