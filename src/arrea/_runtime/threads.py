"""Functions in threads of the host: calls of `isolation="thread"`.

Given the orders of the engine; reports `Begun` and `Returned`. Nothing can end a thread: what takes too long is given
up by the engine, and its thread is free again when it comes back, if it ever does.
"""

from __future__ import annotations

import threading
from _queue import SimpleQueue
from resource import getrusage

from arrea._model.ending import ACCOUNT, Raised, Return
from arrea._model.step import Begun, LaneFailed, Returned
from arrea._model.warned import FirstWarnings, collect
from arrea._runtime.raising import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.call import Call
    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Dispatch, Input

RUSAGE_THREAD = 1  # getrusage(2)
NO_THREAD = OSError(11, "can't start a thread")  # EAGAIN


class Threads:
    """Of one reactor. `report`: for its own thread; `deliver`: what comes from another one. clock: engine time."""

    def __init__(
        self, report: Callable[[Input], None], deliver: Callable[[Input], None], clock: Callable[[], float]
    ) -> None:
        self._report = report
        self._deliver = deliver
        self._clock = clock
        self._calls: SimpleQueue[tuple[int, AttemptId, Call] | None] = SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)
        self._lanes: set[int] = set()
        self._at: dict[int, tuple[str, AttemptId, Call, float]] = {}  # what each lane runs, and since when

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def dispatch(self, order: Dispatch, now: float) -> None:
        for attempt, call in order.calls:
            if not self._idle.acquire(blocking=False) and not self._add_thread():
                self._report(LaneFailed(order.lane, NO_THREAD, transient=True))
                return
            if order.lane not in self._lanes:
                self._lanes.add(order.lane)
                self._report(Begun(order.lane))
            self._at[order.lane] = (order.batch_id, attempt, call, now)
            self._calls.put((order.lane, attempt, call))

    def release(self, lane: int, now: float) -> None:
        self._lanes.discard(lane)
        self._at.pop(lane, None)

    def running(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        return running_of(self._at, now)

    def stop(self) -> None:
        for _ in range(self._threads):
            self._calls.put(None)

    def _add_thread(self) -> bool:
        try:
            threading.Thread(target=self._run, name="arrea-task", daemon=True).start()
        except RuntimeError:  # the limit of processes counts threads too
            return False
        self._threads += 1
        return True

    def _run(self) -> None:
        while (wanted := self._calls.get()) is not None:
            self._perform(*wanted)
            del wanted  # nothing of a call is kept until the next one comes

    def _perform(self, lane: int, attempt: AttemptId, call: Call) -> None:
        ending = perform(call, self._clock)
        self._idle.release()
        self._deliver(Returned(lane, (attempt,), (ending,)))


def running_of(at: dict[int, tuple[str, AttemptId, Call, float]], now: float) -> list[Running]:
    """What lanes run, for people."""
    from arrea._model.stats import Running  # few ask

    return [
        Running(batch_id, index, call.name, attempt, now - since)
        for batch_id, (_, index, attempt), call, since in list(at.values())
    ]


def perform(call: Call, clock: Callable[[], float]) -> Return:
    """Calls it, in a copy of its context."""
    warnings = FirstWarnings()
    before, began = getrusage(RUSAGE_THREAD), clock()
    problem: Raised | None = None
    value: object = None
    try:
        assert call.context is not None
        value = call.context.copy().run(_invoke, call, warnings)
    except BaseException as error:  # noqa: BLE001 - SystemExit too ends the call, not the thread
        problem = Raised(error, *describe(error))
    ended, after = clock(), getrusage(RUSAGE_THREAD)
    account = ACCOUNT.pack(*before) + ACCOUNT.pack(*after)
    return Return(began, ended, 0, None, value, problem, warnings.take(), account)


def _invoke(call: Call, warnings: FirstWarnings) -> object:
    collect().warnings = warnings
    assert call.target.function is not None
    return call.target.function(*call.arguments)
