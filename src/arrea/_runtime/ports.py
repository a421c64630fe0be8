"""Who waits for batches: each is told what became of its tasks, and woken once a turn.

Given the effects that are for callers. Tells them in order, from the reactor's thread; a port that told something is
flushed once at the end.
"""

from __future__ import annotations

from arrea._model.step import Abandon, Close, Resolve, Want

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from arrea._model.call import Work
    from arrea._model.ending import Outcome
    from arrea._model.errors import EngineStopped
    from arrea._model.step import Effect

    class Port(Protocol):
        """A batch's caller; `flush` comes once after each turn that told something."""

        batch_id: str
        ending: bool

        def resolved(self, outcomes: Sequence[Outcome]) -> None: ...
        def abandoned(self, tasks: Sequence[tuple[int, Work]], reason: str) -> None: ...
        def wanted(self, count: int) -> None: ...
        def closed(self, close: Close) -> None: ...
        def failed(self, error: EngineStopped) -> None: ...
        def flush(self) -> None: ...


FOR_CALLERS = (Resolve, Close, Want, Abandon)


class Ports:
    """The ports of one reactor, by the numbers of their batches. `open`, `numbers`, `has_batch`: from any thread."""

    __slots__ = ("_ports", "_touched")

    def __init__(self) -> None:
        self._ports: dict[int, Port] = {}
        self._touched: dict[int, Port] = {}

    def __bool__(self) -> bool:
        return bool(self._ports)

    def open(self, number: int, port: Port) -> None:
        self._ports[number] = port

    def numbers(self) -> list[int]:
        return list(self._ports)

    def has_batch(self, batch_id: str) -> bool:
        """Whether the end of this batch is still to be told."""
        return any(port.batch_id == batch_id and not port.ending for port in list(self._ports.values()))

    def note_ends(self, effects: Sequence[Effect]) -> None:
        """Before anybody hears of them: whoever asks in between finds that these batches are ending."""
        for effect in effects:
            if isinstance(effect, Close):
                self._ports[effect.batch].ending = True

    def tell(self, effects: Sequence[Effect]) -> list[int]:
        """Hands back the numbers of the batches that are over."""
        for effect in effects:
            self._tell(effect)
        for port in self._touched.values():
            port.flush()
        self._touched.clear()
        return [effect.batch for effect in effects if isinstance(effect, Close)]

    def fail(self, error: EngineStopped) -> None:
        """The engine ended by itself, and nothing more will come of any batch."""
        for port in self._ports.values():
            port.failed(error)
            port.flush()

    def _tell(self, effect: Effect) -> None:
        match effect:
            case Resolve():
                self._port(effect.batch).resolved(effect.outcomes)
            case Close():
                self._port(effect.batch).closed(effect)
                del self._ports[effect.batch]
            case Want():
                self._port(effect.batch).wanted(effect.count)
            case Abandon():
                self._port(effect.batch).abandoned(effect.tasks, effect.reason)

    def _port(self, batch: int) -> Port:
        port = self._ports[batch]
        self._touched[batch] = port
        return port
