"""What is posted to the reactor besides the engine's inputs: wishes of callers, and what other threads did for it."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from arrea._model.call import Work
    from arrea._model.step import Returned
    from arrea._runtime.worker_process import Sealed

    class Feed(Protocol):
        """A source: gives what was pulled from it, once."""

        def hand_on_meanwhile(self, give: Callable[[list[Work]], object]) -> None: ...


class Suspension:
    """A wish of the command line's: all that runs is stopped, and time stands still until it goes on."""

    __slots__ = ("goes_on", "stands")

    def __init__(self) -> None:
        self.stands = threading.Event()
        self.goes_on = threading.Event()


class Pulled:
    """A source of this batch, to be looked into at `due` (engine time)."""

    __slots__ = ("batch", "due", "feed")

    def __init__(self, batch: int, feed: Feed, due: float) -> None:
        self.batch = batch
        self.feed = feed
        self.due = due


class Opened:
    """Values of calls of one worker process, which are being opened, and then have been; `told` of these follows."""

    __slots__ = ("number", "sealed", "told")

    def __init__(self, number: int, sealed: list[Sealed], told: Returned) -> None:
        self.number = number
        self.sealed = sealed
        self.told = told
