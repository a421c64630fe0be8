"""What an engine said, as plain values that can be compared between two runs."""

from __future__ import annotations

from collections.abc import Sequence

from arrea._model.ending import Ending, Outcome, Return
from arrea._model.errors import TaskError
from arrea._model.step import Ask, Dispatch, Effect, Emit, Resolve, Spawn


class Trace:
    """all: in order. deeds: without the events. events: by batch and number."""

    def __init__(self) -> None:
        self.all: list[object] = []
        self.deeds: list[object] = []
        self.events: dict[tuple[int, int], object] = {}

    def add(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            told = plain(effect)
            self.all.append(told)
            if isinstance(effect, Emit):
                self.events[effect.batch, effect.sequence] = told
            else:
                self.deeds.append(told)


def plain(effect: Effect) -> tuple[object, ...]:
    """An effect by its structure."""
    match effect:
        case Emit():
            fields = {name: _plain_field(value) for name, value in effect.fields.items()}
            return ("Emit", effect.type, effect.batch, effect.index, effect.at, effect.sequence, fields)
        case Resolve():
            return ("Resolve", effect.batch, *map(_plain_outcome, effect.outcomes))
        case Ask():
            return ("Ask", effect.attempt)
        case Spawn():
            return ("Spawn", effect.attempt, effect.slot)
        case Dispatch():
            return ("Dispatch", effect.lane, effect.kind, [attempt for attempt, _ in effect.calls])
    return (type(effect).__name__, *(_plain_value(getattr(effect, name)) for name in effect.__slots__))


def _plain_outcome(end: Outcome) -> tuple[object, ...]:
    return (end.index, str(end.error), end.attempts, end.queued_ms, end.started_at, end.ended_at)


def _plain_field(value: object) -> object:
    """Errors by their text; endings are the same objects in both runs only by chance."""
    if isinstance(value, Return):
        return (value.began, value.ended)
    return (
        str(value) if isinstance(value, TaskError) else value.status if isinstance(value, Ending) else value
    )


def _plain_value(value: object) -> object:
    return [index for index, _ in value] if isinstance(value, list) else value
