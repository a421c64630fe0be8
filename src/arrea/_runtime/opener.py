"""Where values are unpickled whose pickles may run somebody's code: on a thread of its own, never in a turn.

Given calls that ended, hands them back opened. One that takes too long fails, and those behind it are opened on
another thread.
"""

from __future__ import annotations

import threading
from _pickle import loads
from _queue import SimpleQueue
from time import monotonic

from arrea._model.ending import Raised, Stuck
from arrea._model.pickled import fetch
from arrea._runtime.letters import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._runtime.worker_process import Sealed

WITHIN_S = 5.0
NEVER = float("inf")


class Opener:
    """`deliver` gets each `Opened`, from another thread. Methods: reactor's thread only."""

    def __init__(self, deliver: Callable[[Opened], None]) -> None:
        self._deliver = deliver
        self._bench: Bench | None = None

    def open(self, opened: Opened) -> None:
        """Those that are sealed; the same is delivered then, in the order of these calls."""
        if self._bench is None:
            self._bench = Bench(self._deliver)
        self._bench.put(opened)

    def due(self) -> float:
        """Seconds of the monotonic clock, when `tend` has something to do; infinity for never."""
        return NEVER if self._bench is None else self._bench.began + WITHIN_S

    def tend(self) -> None:
        """Gives up what takes too long."""
        bench = self._bench
        if bench is not None and monotonic() > self.due():
            self._bench = Bench(self._deliver)
            bench.leave(self._bench)

    def stop(self) -> None:
        if self._bench is not None:
            self._bench.stop()
            self._bench = None


class Bench:
    """A thread, what waits for it, and what it is at. began: since when, infinity for nothing."""

    def __init__(self, deliver: Callable[[Opened], None]) -> None:
        self._deliver = deliver
        self._queue: SimpleQueue[Opened | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._at: Opened | None = None
        self._place = 0
        self._left = False
        self.began = NEVER
        threading.Thread(target=self._run, name="arrea-opener", daemon=True).start()

    def put(self, opened: Opened) -> None:
        if self.began == NEVER:
            self.began = monotonic()  # whoever waits for us shall know until when, before we come to it
        self._queue.put(opened)

    def stop(self) -> None:
        self._queue.put(None)

    def leave(self, other: Bench) -> None:
        """What it is at fails; the rest goes to another one."""
        with self._lock:
            self._left, at, place = True, self._at, self._place
        if at is not None:
            _fail(at.sealed[place], f"it took longer than {WITHIN_S:g} s to be unpickled here")
            other.put(at)
        while not self._queue.empty():
            waiting = self._queue.get()
            if waiting is not None:
                other.put(waiting)
        self.stop()

    def _run(self) -> None:
        while not self._left and (opened := self._queue.get()) is not None:
            with self._lock:
                self._at = opened
            for place, sealed in enumerate(opened.sealed):
                self._place = place
                if sealed.pickled is not None or sealed.fd >= 0:
                    self._open(sealed)
                if self._left:
                    return
            with self._lock:
                self._at = None
                self.began = NEVER if self._queue.empty() else monotonic()
                left = self._left
            if not left:
                self._deliver(opened)

    def _open(self, sealed: Sealed) -> None:
        self.began = monotonic()
        try:
            value = _unsealed(sealed)
        except BaseException as error:  # noqa: BLE001 - whatever somebody's code raises: it is not ours
            value, told = None, f"{type(error).__name__} when it was unpickled here"
        else:
            told = ""
        with self._lock:
            if not self._left:
                _put(sealed, value, told)


def _unsealed(sealed: Sealed) -> object:
    if sealed.fd >= 0:
        fd, sealed.fd = sealed.fd, -1
        return fetch(fd)
    assert sealed.pickled is not None
    return loads(sealed.pickled)


def _put(sealed: Sealed, value: object, told: str) -> None:
    problem = sealed.ending.problem
    if isinstance(problem, Raised):
        if isinstance(value, BaseException):
            problem.exception = value
    elif told:
        _fail(sealed, told)
    else:
        sealed.ending.open(value)
    sealed.pickled = None


def _fail(sealed: Sealed, told: str) -> None:
    """An exception is only missing, for its texts are there."""
    sealed.pickled, sealed.fd = None, -1
    if sealed.ending.problem is None:
        sealed.ending.problem = Stuck(told)
