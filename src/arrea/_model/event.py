"""Events: what the engine tells whoever subscribed. They only tell; no outcome depends on who listens.

An `Event` is a view of what the engine emitted, made when a subscriber looks.
"""

from __future__ import annotations

from arrea._model.checks import alternatives, meant, shown
from arrea._model.ending import Ending, Return
from arrea._model.errors import InvalidOption
from arrea._model.result import ReadOnly, data_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from arrea._model.step import Emit

# Each type, and what its events have besides type, batch_id, worker_id, index, at and sequence.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "batch_started": ("total", "workers"),
    "worker_started": ("label", "command"),
    "output": ("attempt", "stream", "chunk"),
    "timeout": ("attempt",),
    "killed": ("attempt", "reason"),
    "retry": ("attempt", "delay", "reason"),
    "warning": ("lines",),
    "progress": ("percent", "task_index", "total"),
    "result": ("data",),
    "finished": (),
    "error": ("reason",),
    "batch_progress": ("done", "total", "failed", "running"),
    "batch_finished": ("total", "failed", "not_started", "stopped_by", "duration"),
    "lag": ("count",),
    # Of circuit breakers and of messages between workers.
    "breaker_opened": ("breaker_id",),
    "breaker_closed": ("breaker_id",),
    "message": ("message",),
}
# What a subscriber that falls behind loses first: later ones of the same kind say as much.
LOSSY = frozenset(("output", "progress", "batch_progress"))


class Event(ReadOnly):
    """Something that happened, told to subscribers. Read-only.

    type: one of the names in `docs/reference/events.md`, such as "finished".
    batch_id; worker_id ("<batch_id>:<index>") and index: None for events of the whole batch.
    at: wall clock (aware datetime, UTC). sequence: from 1 in each batch, without a gap; 0 for `lag`, and for what
    `on_output` gets.
    What else a type has is an attribute too: `event.reason`, `event.percent`; `event.fields` has all of it.
    """

    __slots__ = ("_epoch_ms", "_of")
    _of: Emit
    _epoch_ms: float

    def __init__(self, of: Emit, epoch_ms: float) -> None:
        put = object.__setattr__
        put(self, "_of", of)
        put(self, "_epoch_ms", epoch_ms)

    @property
    def type(self) -> str:
        return self._of.type

    @property
    def batch_id(self) -> str | None:
        return self._of.batch_id or None

    @property
    def index(self) -> int | None:
        return self._of.index

    @property
    def worker_id(self) -> str | None:
        return None if self._of.index is None else f"{self._of.batch_id}:{self._of.index}"

    @property
    def sequence(self) -> int:
        return self._of.sequence

    @property
    def at(self) -> datetime:
        from datetime import UTC, datetime

        return datetime.fromtimestamp((self._epoch_ms + self._of.at) / 1000.0, UTC)

    @property
    def fields(self) -> dict[str, Any]:
        """What this type has besides, by name."""
        return {name: self._value(value) for name, value in self._of.fields.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # whoever copies one looks for such before there is anything in it
            raise AttributeError(name)
        fields = self._of.fields
        if name in fields:
            return self._value(fields[name])
        has = ", ".join(fields) or "nothing"
        raise AttributeError(
            f"a {self._of.type!r} event has no {name!r}; besides what all have, it has {has}"
        )

    @staticmethod
    def _value(value: Any) -> Any:
        if isinstance(value, list):
            return list(value)  # a subscriber of his own may change it
        return data_of(value) if isinstance(value, (Ending, Return)) else value

    def __eq__(self, other: object) -> bool:
        return self._of is other._of if isinstance(other, Event) else NotImplemented

    def __hash__(self) -> int:
        return id(self._of)

    def __repr__(self) -> str:
        where = self.worker_id or self.batch_id or ""
        return f"<Event {self.type} {where} #{self.sequence}>"


def check_types(types: object) -> frozenset[str] | None:
    """The types that a subscriber wants; None for all.

    >>> sorted(check_types(["finished", "error"]))
    ['error', 'finished']
    """
    if types is None:
        return None
    if isinstance(types, str) or not hasattr(types, "__iter__"):
        raise InvalidOption("types", f"types must be a list of event types, not {shown(types)}")
    return frozenset(_known_type(name) for name in _listed(types))


def _listed(types: Iterable[object]) -> list[object]:
    try:
        names = list(types)
    except Exception:  # noqa: BLE001 - of the object's own methods
        raise InvalidOption("types", f"types can't be read: {shown(types)}") from None
    if not names:
        raise InvalidOption("types", "types is empty: such a subscription would never get anything")
    return names


def _known_type(name: object) -> str:
    if isinstance(name, str) and name in FIELDS:
        return name
    hint = meant(name, FIELDS) or f"; there are {alternatives(tuple(FIELDS))}"
    raise InvalidOption("types", f"no event has the type {shown(name)}{hint}")
