"""Where values are unpickled whose pickles may run somebody's code: on a thread of its own, never in a turn.

Given calls that ended, hands them back opened. One that takes too long fails, and those behind it are opened on
another thread. Where no thread can be started they wait until one can, and fail if that takes too long.
"""

from __future__ import annotations

import threading
from _queue import SimpleQueue
from collections import deque
from time import monotonic

from arrea._model.ending import Raised, Stuck
from arrea._model.pickled import opened
from arrea._model.text import type_name
from arrea._runtime.classes import load_at_home
from arrea._runtime.letters import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from arrea._runtime.worker_process import Sealed

WITHIN_S = 5.0
AGAIN_S = 0.1  # until it is tried again to start a thread
NEVER = float("inf")
TOO_SLOW = f"it took longer than {WITHIN_S:g} s to be unpickled here"
NO_THREAD = "there was no thread to unpickle it here: none could be started"


class Opener:
    """`deliver` gets each `Opened`, from any thread. Methods: reactor's thread only."""

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
        return NEVER if self._bench is None else self._bench.due()

    def tend(self) -> None:
        """Gives up what takes too long."""
        bench = self._bench
        if bench is not None and monotonic() > bench.due():
            self._bench = bench.tend()

    def stop(self) -> None:
        """What isn't open yet nobody waits for."""
        if self._bench is not None:
            self._bench.stop()
            self._bench = None


class Bench:
    """A thread, and what waits for it: it is at the first of these, which is taken off when it is delivered.

    began: since when it is at something, or ought to be; infinity for nothing to do.
    """

    def __init__(self, deliver: Callable[[Opened], None], waiting: Iterable[Opened] = ()) -> None:
        self._deliver = deliver
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()  # for all that follows
        self._waiting = deque(waiting)
        self._place = -1  # in the first of these, of what is being opened
        self._left = False
        self._began = monotonic() if self._waiting else NEVER
        self._wake.put(None)
        self._start()

    def put(self, opened: Opened) -> None:
        with self._lock:
            self._waiting.append(opened)
            idle = self._began == NEVER
            if idle:
                self._began = monotonic()
        if idle:
            self._wake.put(None)

    # ── the time ──────────────────────────────────────────────────────────────────────────────────

    def due(self) -> float:
        """When `tend` has something to do."""
        began = self._began
        return began + WITHIN_S if self._has_thread or began == NEVER else self._again_at

    def tend(self) -> Bench:
        """What it is at fails if that takes too long. Hands back who goes on: itself, or another one."""
        if not self._has_thread:
            self._start()
        with self._lock:
            if monotonic() <= self._began + WITHIN_S:
                return self
            if self._has_thread:
                return self._replaced()
            self._give_all_up()
        return self

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name="arrea-opener", daemon=True).start()
        except RuntimeError:  # the limit of processes counts threads too
            self._has_thread = False
            self._again_at = monotonic() + AGAIN_S
        else:
            self._has_thread = True

    def _replaced(self) -> Bench:
        self._left = True
        if self._place >= 0:
            _fail(self._waiting[0].sealed[self._place], TOO_SLOW)
        waiting, self._waiting = self._waiting, deque()
        return Bench(self._deliver, waiting)

    def _give_all_up(self) -> None:
        self._began = NEVER
        while self._waiting:
            opened = self._waiting.popleft()
            for sealed in opened.sealed:
                if _is_sealed(sealed):
                    _fail(sealed, NO_THREAD)
            self._deliver(opened)

    def stop(self) -> None:
        with self._lock:
            self._left = True
            self._waiting.clear()
        self._wake.put(None)

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._left:
            self._wake.get()
            while (sealed := self._next()) is not None:
                self._open(sealed)

    def _next(self) -> Sealed | None:
        """What is to be opened now; what has been is delivered."""
        with self._lock:
            while self._waiting and not self._left:
                opened = self._waiting[0]
                self._place += 1
                if self._place < len(opened.sealed):
                    self._began = monotonic()
                    return opened.sealed[self._place]
                self._waiting.popleft()
                self._place = -1
                self._deliver(opened)
            self._began = NEVER
        return None

    def _open(self, sealed: Sealed) -> None:
        with self._lock:
            if self._left or not _is_sealed(sealed):
                return
            pickled, memory = sealed.pickled, sealed.memory
        value, told = _unsealed(pickled, memory)
        with self._lock:
            if not self._left:
                _put(sealed, value, told)


def _is_sealed(sealed: Sealed) -> bool:
    return sealed.pickled is not None or sealed.memory is not None


def _unsealed(pickled: bytes | None, memory: memoryview | None) -> tuple[object, str]:
    """The value, and what went wrong."""
    try:
        return (opened(memory, load_at_home) if memory is not None else load_at_home(pickled or b"")), ""
    except BaseException as error:  # noqa: BLE001 - whatever somebody's code raises: it is not ours
        return None, f"{type_name(type(error))} when it was unpickled here"


def _put(sealed: Sealed, value: object, told: str) -> None:
    problem = sealed.ending.problem
    if isinstance(problem, Raised):
        if issubclass(type(value), BaseException):  # not `isinstance`, which asks the value itself
            problem.exception = value  # type: ignore[assignment]
    elif told:
        _fail(sealed, told)
    else:
        sealed.ending.open(value)
    sealed.pickled = sealed.memory = None


def _fail(sealed: Sealed, told: str) -> None:
    """An exception is only missing, for its texts are there."""
    sealed.pickled = sealed.memory = None
    if sealed.ending.problem is None:
        sealed.ending.problem = Stuck(told)
