"""What will happen on a fake machine, and when.

Given what is to happen at a time; hands back, in order, the inputs that come of what is due.
"""

from __future__ import annotations

from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from arrea._model.step import Input

    # Is given its own time, which may lie before the turn's, and hands back what the engine is told of it.
    Happens = Callable[[float], Sequence[Input] | None]


class Happening:
    """It happens, unless it is called `off` before."""

    __slots__ = ("happens", "off")

    def __init__(self, happens: Happens) -> None:
        self.happens = happens
        self.off = False


class Agenda:
    """Of one machine."""

    __slots__ = ("_heap", "orders")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Happening]] = []
        self.orders = 0

    def plan(self, at: float, happens: Happens) -> Happening:
        self.orders += 1
        happening = Happening(happens)
        heappush(self._heap, (at, self.orders, happening))
        return happening

    def tell(self, at: float, *inputs: Input) -> Happening:
        """The engine is told this then."""
        return self.plan(at, lambda _: inputs)

    def next_at(self) -> float | None:
        """When something happens next; None: never."""
        while self._heap and self._heap[0][2].off:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> list[Input]:
        inputs: list[Input] = []
        while (at := self.next_at()) is not None and at <= now:
            inputs += heappop(self._heap)[2].happens(at) or ()
        return inputs


def call_off(*happenings: Happening | None) -> None:
    for happening in happenings:
        if happening is not None:
            happening.off = True
