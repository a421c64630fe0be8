"""How threads wait for each other here: whoever waits stands in line with a lock of his own, whoever rings opens it.

Not `threading.Condition` and `threading.Event`: both are written in Python around a lock that waiter and ringer share.
An interrupt (Ctrl-C) in the waiting thread, at the wrong point of their code, leaves that lock shut for ever, and the
thread that rings, the reactor, would stand before it.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable


class Bell:
    """Something to wait at. What is waited for is asked by whoever rings, too, so it has to be quick and never raise.

    >>> bell, told = Bell(), []
    >>> bell.wait_for(lambda: told, time.monotonic() + 0.001)
    False
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[LockType, Callable[[], object]]] = []

    def ring(self) -> None:
        """Something changed: wakes those for whom that was it."""
        if self._waiting:
            for lock, happened in tuple(self._waiting):
                if happened():
                    _open(lock)

    def wait_for(self, happened: Callable[[], object], until: float | None = None) -> bool:
        """Until it is so, at most until this time of `time.monotonic`; whether it is."""
        while not happened():
            left = -1.0 if until is None else until - time.monotonic()
            if until is not None and left <= 0:
                return False
            self._wait(happened, min(left, LONGEST_S))
        return True

    def _wait(self, happened: Callable[[], object], seconds: float) -> None:
        lock = allocate_lock()
        lock.acquire()
        place = (lock, happened)
        self._waiting.append(place)
        try:
            if not happened():  # before it stood in line, nobody would have rung for it
                lock.acquire(True, seconds)
        finally:
            self._waiting.remove(place)


LONGEST_S = 86_400.0  # locks take no more than some centuries, and a day is as good as any


def _open(lock: LockType) -> None:
    try:
        lock.release()
    except RuntimeError:  # open already
        return
