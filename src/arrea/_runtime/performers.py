"""Whoever runs functions: worker processes, threads, event loops. Each is made when the first function comes for it.

Given the engine's orders, hands each to whom it is for. All on the reactor's thread.
"""

from __future__ import annotations

from errno import EAGAIN

from arrea._model.step import LaneFailed
from arrea._model.task import COROUTINE, PROCESS, THREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Sequence

    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Dispatch, Input
    from arrea._runtime.coroutines import Coroutines
    from arrea._runtime.guardian import Guardian
    from arrea._runtime.letters import Opened
    from arrea._runtime.pool import Pool
    from arrea._runtime.threads import Threads

NEVER = float("inf")


def take_all(steps: Sequence[Callable[[], object]]) -> None:
    """Each of these, whatever the others raise. The last error is raised, those before are its context."""
    if steps:
        try:
            steps[0]()
        finally:
            take_all(steps[1:])


class Performers:
    """Of one reactor. report; deliver, deliver_all: what the engine has to know, from this thread; from others.

    clock: engine time; offset: from the monotonic clock to that.
    """

    def __init__(
        self,
        epoll: select.epoll,
        report: Callable[[Input], None],
        deliver: Callable[[Input | Opened], None],
        deliver_all: Callable[[Sequence[Input]], None],
        guardian: Guardian,
        clock: Callable[[], float],
        offset: Callable[[], float],
    ) -> None:
        self._epoll = epoll
        self._report = report
        self._deliver = deliver
        self._deliver_all = deliver_all
        self._guardian = guardian
        self._clock = clock
        self._offset = offset
        self._pool: Pool | None = None
        self._threads: Threads | None = None
        self._coroutines: Coroutines | None = None
        self._kinds: dict[int, str] = {}  # of lanes

    def __bool__(self) -> bool:
        return bool(self._kinds)

    # ── orders ────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, order: Dispatch, now: float) -> None:
        try:
            performer = self._of(order.kind)
        except (OSError, ImportError) as error:  # no descriptor left to import it with
            reason = error if isinstance(error, OSError) else OSError(EAGAIN, str(error))
            self._report(LaneFailed(order.lane, reason, transient=True))
            return
        self._kinds[order.lane] = order.kind
        performer.dispatch(order, now)

    def release(self, lane: int, now: float) -> None:
        kind = self._kinds.pop(lane, None)
        if kind is not None:
            self._of(kind).release(lane, now)

    def recall(self, lane: int, now: float) -> None:
        """Of a thread or a coroutine nothing can be taken back: it has begun."""
        if self._kinds.get(lane) == PROCESS and self._pool is not None:
            self._pool.recall(lane)

    def terminate(self, attempt: AttemptId) -> None:
        if self._pool is not None:
            self._pool.terminate(attempt)
        if self._coroutines is not None:
            self._coroutines.terminate(attempt)

    def kill(self, attempt: AttemptId, now: float) -> None:
        if self._pool is not None:
            self._pool.kill(attempt, now)

    def forget(self, attempt: AttemptId, now: float) -> None:
        if self._pool is not None:
            self._pool.forget(attempt)

    def running(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        there = [one for one in (self._pool, self._threads, self._coroutines) if one is not None]
        return [running for one in there for running in one.running(now)]

    # ── of the loop ───────────────────────────────────────────────────────────────────────────────

    def on_ready(self, fd: int, mask: int, now: float) -> bool:
        """Something happened at a descriptor; whether it is one of theirs."""
        return self._pool is not None and self._pool.on_ready(fd, mask, now)

    def opened(self, opened: Opened) -> None:
        if self._pool is not None:
            self._pool.opened(opened)

    def tend(self, now: float) -> None:
        if self._pool is not None:
            self._pool.tend(now)

    def due(self, now: float) -> float:
        """When `tend` has to be called next; infinity for never."""
        return NEVER if self._pool is None else self._pool.due(now)

    def turn_ended(self) -> None:
        if self._pool is not None:
            self._pool.turn_ended()
        if self._coroutines is not None:
            self._coroutines.turn_ended()

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def kill_all(self) -> None:
        if self._pool is not None:
            self._pool.kill_all()

    def close(self) -> None:
        performers = (self._threads, self._coroutines, self._pool)
        take_all([performer.stop for performer in performers if performer is not None])

    # ── making them ───────────────────────────────────────────────────────────────────────────────

    def _of(self, kind: str) -> Pool | Threads | Coroutines:
        if kind == PROCESS:
            return self._make_pool() if self._pool is None else self._pool
        if kind == THREAD:
            return self._make_threads() if self._threads is None else self._threads
        assert kind == COROUTINE
        return self._make_coroutines() if self._coroutines is None else self._coroutines

    def _make_pool(self) -> Pool:
        from arrea._runtime.pool import Pool

        self._pool = Pool(self._epoll, self._report, self._deliver, self._guardian, self._offset)
        return self._pool

    def _make_threads(self) -> Threads:
        from arrea._runtime.threads import Threads

        self._threads = Threads(self._report, self._deliver, self._clock)
        return self._threads

    def _make_coroutines(self) -> Coroutines:
        from arrea._runtime.coroutines import Coroutines

        self._coroutines = Coroutines(self._report, self._deliver_all, self._clock)
        return self._coroutines
