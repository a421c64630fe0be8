"""Events as the engine emits them, made by hand."""

from itertools import count
from typing import Any

from arrea._model.step import Emit
from arrea._observe.mailbox import Mailbox

_sequence = count(1)


def emit(type: str, index: int | None = None, batch_id: str = "b", **fields: Any) -> Emit:
    number = next(_sequence)
    if type == "output":
        fields = {"attempt": 1, "stream": "stdout", "chunk": b"x"} | fields
    return Emit(type, 1, batch_id, index, float(number), number, fields)


def emits(type: str, number: int, **fields: Any) -> list[Emit]:
    return [emit(type, index, **fields) for index in range(number)]


def told(box: Mailbox) -> list[tuple[str, int | None]]:
    """All that is in it: type and index of each, of a `lag` type and count."""
    found = []
    while (event := box.take()) is not None:
        found.append((event.type, event.fields["count"] if event.type == "lag" else event.index))
    return found
