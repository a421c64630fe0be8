"""Gates: whatever a start may have to wait for.

A gate is asked with `admit(now)` and answers with a value; a `Token` is given back exactly once.
"""

from __future__ import annotations

from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Gate(Protocol):
        def admit(self, now: float) -> Admission: ...
        def give_back(self, token: Token) -> None: ...


class Token:
    """Admitted. `number` is from 1; the lowest free one is taken."""

    __slots__ = ("gate", "number")

    def __init__(self, gate: Gate, number: int) -> None:
        self.gate = gate
        self.number = number


class WaitFor:
    """Not before something happens, such as a token given back."""

    __slots__ = ("event",)

    def __init__(self, event: str) -> None:
        self.event = event


Admission = Token | WaitFor
SLOT_FREED = WaitFor("slot freed")


class Slots:
    """At most `limit` at once; fewer while the machine has no room for more.

    `squeeze` is called when a start fails for want of descriptors, processes or memory: no more than what runs
    is admitted then. `widen` is called at each start that works: one more. So a machine that is too small for
    the limit runs what fits, and pays one failed start for each that works. There is always room for one more than
    are `lost` to what nothing can end.
    """

    __slots__ = ("_free", "_highest", "capacity", "limit", "lost", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.capacity = limit
        self.used = 0
        self.lost = 0
        self._highest = 0
        self._free: list[int] = []

    def admit(self, now: float) -> Token | WaitFor:
        if self.used >= self.capacity:
            return SLOT_FREED
        self.used += 1
        return Token(self, self._lowest())

    def _lowest(self) -> int:
        if self._free:
            return heappop(self._free)
        self._highest += 1
        return self._highest

    def give_back(self, token: Token) -> None:
        self.used -= 1
        heappush(self._free, token.number)

    def squeeze(self) -> None:
        self.capacity = max(min(self.lost + 1, self.limit), min(self.capacity, self.used))

    def resize(self, limit: int) -> None:
        """Another limit. Numbers in use stay; while more are in use than that, nobody is admitted."""
        self.capacity = limit if self.capacity == self.limit else min(self.capacity, limit)
        self.limit = limit

    def widen(self) -> None:
        if self.capacity < self.limit:
            self.capacity += 1

    def lose(self) -> None:
        """Who holds one can't be ended; it is given back by and by, or never."""
        self.lost += 1
        self.capacity = max(self.capacity, min(self.lost + 1, self.limit))

    def regain(self) -> None:
        self.lost -= 1

    @property
    def busy(self) -> int:
        """How many are used by what comes to an end."""
        return self.used - self.lost

    @property
    def exhausted(self) -> bool:
        """All of them are lost."""
        return self.lost >= self.limit

    @property
    def full(self) -> bool:
        return self.used >= self.capacity
