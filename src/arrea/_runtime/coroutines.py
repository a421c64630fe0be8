"""Async functions, on event loops: the caller's, or one of the engine's own, on a thread of its own.

Given the orders of the engine; reports `Begun` and `Returned`. To end a call is to cancel it. One that doesn't take
that is given up by the engine; its task is left to its loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

from arrea._model.ending import Raised, Return
from arrea._model.step import Begun, Returned
from arrea._model.warned import collect
from arrea._runtime.raising import describe
from arrea._runtime.threads import running_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from arrea._model.call import Call
    from arrea._model.stats import Running
    from arrea._model.step import AttemptId, Dispatch, Input

END_WITHIN_S = 1.0


class Coroutines:
    """Of one reactor. `report`: for its own thread; `deliver`: what comes from another one. clock: engine time."""

    def __init__(
        self,
        report: Callable[[Input], None],
        deliver: Callable[[Sequence[Input]], None],
        clock: Callable[[], float],
    ) -> None:
        self._report = report
        self._deliver = deliver
        self._clock = clock
        self._own: OwnLoop | None = None
        self._stages: dict[int, Stage] = {}
        self._lanes: dict[int, Stage] = {}
        self._at: dict[int, tuple[str, AttemptId, Call, float]] = {}  # what each lane runs, and since when

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def dispatch(self, order: Dispatch, now: float) -> None:
        stage = self._lanes.get(order.lane)
        if stage is None:
            home = order.calls[0][1].target.home
            stage = self._lanes[order.lane] = self._stage(None if home is None else home.loop)
            self._report(Begun(order.lane))
        for attempt, call in order.calls:
            self._at[order.lane] = (order.batch_id, attempt, call, now)
            stage.put(order.lane, attempt, call)

    def turn_ended(self) -> None:
        """All that is to begin is known: one wake-up for each loop."""
        for stage in list(self._stages.values()):
            stage.begin()

    def release(self, lane: int, now: float) -> None:
        self._at.pop(lane, None)
        stage = self._lanes.pop(lane, None)
        if stage is not None and stage not in self._lanes.values():
            self._stages.pop(id(stage.loop), None)

    def running(self, now: float) -> list[Running]:
        """From any thread: what runs at the moment."""
        return running_of(self._at, now)

    def terminate(self, attempt: AttemptId) -> None:
        for stage in self._stages.values():
            if stage.cancel(attempt):
                return

    def _stage(self, loop: Any) -> Stage:
        if loop is None:
            if self._own is None:
                self._own = OwnLoop()
            loop = self._own.loop
        stage = self._stages.get(id(loop))
        if stage is None:
            stage = self._stages[id(loop)] = Stage(loop, self._deliver, self._clock)
        return stage

    def stop(self) -> None:
        if self._own is not None:
            self._own.stop()
            self._own = None


class Stage:
    """One event loop, and the calls that run on it. `put`, `begin` and `cancel`: reactor's thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Sequence[Input]], None],
        clock: Callable[[], float],
    ) -> None:
        self.loop = loop
        self._deliver = deliver
        self._clock = clock
        self._wanted: deque[tuple[int, AttemptId, Call]] = deque()
        self._called = False
        self._over: list[Input] = []  # to be told when the loop has done what it is at
        # By lane, for each has one call at a time: which, until its end is told; and the task that runs it.
        self._lanes: dict[int, AttemptId] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def put(self, lane: int, attempt: AttemptId, call: Call) -> None:
        self._lanes[lane] = attempt
        self._wanted.append((lane, attempt, call))

    def begin(self) -> None:
        """What was put here."""
        if self._wanted and not self._called:
            self._called = True
            self._call(self._begin)

    def cancel(self, attempt: AttemptId) -> bool:
        """Whether it is here."""
        for lane, here in list(self._lanes.items()):
            if here == attempt:
                self._call(self._cancel, lane, attempt)
                return True
        return False

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed, and nothing of what is on it will go on
            for lane, attempt in list(self._lanes.items()):
                self._tell_cancelled(lane, attempt, "its event loop was closed")
            self._tell()

    # ── on the loop ───────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        self._called = False  # first this: who puts something in meanwhile calls again
        create, wanted, tasks = self.loop.create_task, self._wanted, self._tasks
        while wanted:
            lane, attempt, call = wanted.popleft()
            assert call.context is not None
            tasks[lane] = create(self._perform(lane, attempt, call), context=call.context.copy())

    async def _perform(self, lane: int, attempt: AttemptId, call: Call) -> None:
        warnings = collect().warnings
        clock, function = self._clock, call.target.function
        assert function is not None
        began, value = clock(), None
        problem: Raised | None = None
        try:
            awaitable: Any = function(*call.arguments)
            value = await awaitable
        except BaseException as error:  # noqa: BLE001 - SystemExit would end the loop
            problem = Raised(error, *describe(error))
        self._tasks.pop(lane, None)
        if self._lanes.get(lane) == attempt:
            del self._lanes[lane]
            ending = Return(began, clock(), 0, None, value, problem, tuple(warnings))
            self._tell_soon(Returned(lane, (attempt,), (ending,)))

    def _tell_soon(self, returned: Input) -> None:
        """With whatever else ends in this turn of the loop."""
        if not self._over:
            self.loop.call_soon(self._tell)
        self._over.append(returned)

    def _tell(self) -> None:
        over, self._over = self._over, []
        self._deliver(over)

    def _cancel(self, lane: int, attempt: AttemptId) -> None:
        task = self._tasks.get(lane)
        if task is not None and self._lanes.get(lane) == attempt:
            task.cancel()
            task.add_done_callback(lambda _: self._never_began(lane, attempt))

    def _never_began(self, lane: int, attempt: AttemptId) -> None:
        self._tell_cancelled(lane, attempt, "cancelled before it began")
        self._tell()

    def _tell_cancelled(self, lane: int, attempt: AttemptId, told: str) -> None:
        """One that never began, or never will end, can't say so itself."""
        if self._lanes.get(lane) == attempt:
            del self._lanes[lane]
            now = self._clock()
            error = asyncio.CancelledError(told)
            ending = Return(now, now, 0, None, None, Raised(error, *describe(error)))
            self._over.append(Returned(lane, (attempt,), (ending,)))


class OwnLoop:
    """An event loop of the engine's own, on a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="arrea-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self._tidy_up()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _tidy_up(self) -> None:
        """What is left are tasks that the user's own started, and such as were given up."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=END_WITHIN_S / 2))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())

    def stop(self) -> None:
        """A coroutine that blocks keeps its thread, a daemon."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_WITHIN_S)
