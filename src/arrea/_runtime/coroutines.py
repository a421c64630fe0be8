"""Async functions, on event loops: the caller's, or one of the engine's own, on a thread of its own.

Given the orders of the engine; reports `Begun` and `Returned`. To end a call is to cancel it. One that doesn't take
that is given up by the engine; its task is left to its loop.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import threading
from collections import deque

from arrea._model.ending import Raised, Return
from arrea._model.step import Begun, LaneFailed, Returned
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
            try:
                stage = self._lanes[order.lane] = self._stage(None if home is None else home.loop)
            except OSError as error:
                self._report(LaneFailed(order.lane, error, transient=True))
                return
            stage.lanes += 1
            self._report(Begun(order.lane))
        for attempt, call in order.calls:
            self._at[order.lane] = (order.batch_id, attempt, call, now)
            stage.put(order.lane, attempt, call)

    def turn_ended(self) -> None:
        """All that is to begin or to be cancelled is known: one wake-up for each loop."""
        for stage in list(self._stages.values()):
            stage.begin()

    def release(self, lane: int, now: float) -> None:
        self._at.pop(lane, None)
        stage = self._lanes.pop(lane, None)
        if stage is not None:
            stage.lanes -= 1
            if not stage.lanes:
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
            if self._own is None or self._own.loop.is_closed():
                self._own = OwnLoop(self._lost)
            loop = self._own.loop
        stage = self._stages.get(id(loop))
        if stage is None:
            stage = self._stages[id(loop)] = Stage(loop, self._deliver, self._clock)
        return stage

    def _lost(self, loop: asyncio.AbstractEventLoop) -> None:
        """From its thread: the engine's own loop was closed."""
        stage = self._stages.get(id(loop))
        if stage is not None:
            stage.lost()

    def stop(self) -> None:
        if self._own is not None:
            self._own.stop()
            self._own = None


class Stage:
    """One event loop, and the calls that run on it. `put`, `cancel` and `begin`: reactor's thread.

    lanes: how many have their calls here.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Sequence[Input]], None],
        clock: Callable[[], float],
    ) -> None:
        self.loop = loop
        self.lanes = 0
        self._deliver = deliver
        self._clock = clock
        self._wanted: deque[tuple[AttemptId, Call]] = deque()
        self._unwanted: deque[AttemptId] = deque()
        self._called = False
        self._losing = threading.Lock()
        self._over: list[Input] = []  # to be told when the loop has done what it is at
        self._live: dict[AttemptId, int] = {}  # whose end isn't told, and the lane of each
        self._tasks: dict[AttemptId, asyncio.Task[None]] = {}

    def put(self, lane: int, attempt: AttemptId, call: Call) -> None:
        self._live[attempt] = lane
        self._wanted.append((attempt, call))

    def cancel(self, attempt: AttemptId) -> bool:
        """Whether it is here."""
        if attempt not in self._live:
            return False
        self._unwanted.append(attempt)
        return True

    def begin(self) -> None:
        """What was put here; and to cancel what is unwanted."""
        if (self._wanted or self._unwanted) and not self._called:
            self._called = True
            try:
                self.loop.call_soon_threadsafe(self._begin)
            except RuntimeError:  # it is closed
                self.lost()

    def lost(self) -> None:
        """The loop is closed: nothing of what is on it goes on, nor says so itself. From any thread."""
        with self._losing:
            self._called = False
            self._wanted.clear()
            self._unwanted.clear()
            for attempt in list(self._live):
                self._over += self._ended(attempt, asyncio.CancelledError("its event loop was closed"))
            self._tell()
        if self._tasks:
            self._let_go_of_tasks()

    def _let_go_of_tasks(self) -> None:
        """With a task goes its coroutine, and the user's `finally` may take its time: not in the engine's thread."""
        try:
            threading.Thread(target=self._tasks.clear, name="arrea-loop-end", daemon=True).start()
        except RuntimeError:  # no room for a thread: they go with this
            return

    # ── on the loop ───────────────────────────────────────────────────────────────────────────────

    def _begin(self) -> None:
        self._called = False  # first this: who puts something in meanwhile calls again
        create, wanted, tasks = self.loop.create_task, self._wanted, self._tasks
        while wanted:
            attempt, call = wanted.popleft()
            assert call.context is not None
            coroutine = self._perform(attempt, call)
            try:
                tasks[attempt] = create(coroutine, context=call.context.copy())
            except Exception as error:  # noqa: BLE001 - the loop has a task factory of the user's
                coroutine.close()
                self._end(attempt, error)
        while self._unwanted:
            self._cancel(self._unwanted.popleft())

    async def _perform(self, attempt: AttemptId, call: Call) -> None:
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
        self._tasks.pop(attempt, None)
        lane = self._live.pop(attempt, None)
        if lane is not None:
            ending = Return(began, clock(), 0, None, value, problem, warnings.take() if warnings else ())
            self._tell_soon(Returned(lane, (attempt,), (ending,)))

    def _tell_soon(self, returned: Input) -> None:
        """With whatever else ends in this turn of the loop."""
        self._over.append(returned)
        if len(self._over) == 1:
            try:
                self.loop.call_soon(self._tell)
            except RuntimeError:  # it was closed by what runs on it
                self.lost()

    def _tell(self) -> None:
        over, self._over = self._over, []
        self._deliver(over)

    def _cancel(self, attempt: AttemptId) -> None:
        task = self._tasks.get(attempt)
        if task is not None and attempt in self._live:
            task.cancel()
            task.add_done_callback(lambda _: self._never_began(attempt))

    def _never_began(self, attempt: AttemptId) -> None:
        """If it was cancelled before that, for then it can't say so itself."""
        self._tasks.pop(attempt, None)
        self._end(attempt, asyncio.CancelledError("cancelled before it began"))

    def _end(self, attempt: AttemptId, error: BaseException) -> None:
        for returned in self._ended(attempt, error):
            self._tell_soon(returned)

    def _ended(self, attempt: AttemptId, error: BaseException) -> list[Input]:
        """The end of one that can't tell it, if nobody has told it yet."""
        lane = self._live.pop(attempt, None)
        if lane is None:
            return []
        now = self._clock()
        ending = Return(now, now, 0, None, None, Raised(error, *describe(error)))
        return [Returned(lane, (attempt,), (ending,))]


class OwnLoop:
    """An event loop of the engine's own, on a thread. OSError if the machine has no room for it.

    `ended` is called from that thread when the loop is closed, whoever closed it.
    """

    def __init__(self, ended: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self.loop = _new_loop()
        self._ended = ended
        self._told = False
        self._thread = threading.Thread(target=self._run, name="arrea-loop", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the limit of processes counts threads too
            self.loop.close()
            raise OSError(errno.EAGAIN, "can't start a thread") from error

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self._run_until(lambda: self._told)
            self._tidy_up()
        finally:
            asyncio.set_event_loop(None)
            self._close()

    def _run_until(self, over: Callable[[], bool]) -> None:
        """Whatever runs on it may stop it; and asyncio ends it when a task exits, which its awaiter is told of."""
        while not over() and not self.loop.is_closed():
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                continue
            except Exception:
                if not self.loop.is_closed():
                    raise

    def _close(self) -> None:
        try:
            self.loop.close()
        finally:
            self._ended(self.loop)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def _tidy_up(self) -> None:
        if not self.loop.is_closed():
            end = self.loop.create_task(self._end())
            end.add_done_callback(lambda _: self.loop.stop())
            self._run_until(end.done)

    async def _end(self) -> None:
        """What is left are tasks that the user's own started, and such as were given up.

        The thread, a daemon, goes on for those that nothing ends. Dropped, a coroutine that catches whatever comes
        would spin for ever: without a loop nothing that it awaits takes any time.
        """
        tasks = asyncio.all_tasks(self.loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_WITHIN_S / 2)
        immortal = [task for task in tasks if not task.done() and not self._drops(task)]
        if immortal:
            await asyncio.wait(immortal)
        await self.loop.shutdown_asyncgens()

    def _drops(self, task: asyncio.Task[Any]) -> bool:
        """Whether its coroutine takes GeneratorExit, as when it is dropped."""
        coroutine: Any = task.get_coro()
        try:
            coroutine.close()
        except RuntimeError:  # "coroutine ignored GeneratorExit"
            return False
        except BaseException as error:  # noqa: BLE001 - SystemExit too: others are still to be ended
            told = {"message": "arrea: a coroutine that was dropped raised", "exception": error, "task": task}
            self.loop.call_exception_handler(told)
        return True

    def stop(self) -> None:
        """A coroutine that blocks keeps its thread, a daemon."""
        self._told = True
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:
            return  # it is closed, and its thread ends by itself
        self._thread.join(END_WITHIN_S)


def _new_loop() -> asyncio.AbstractEventLoop:
    """Looks first whether there are descriptors for it: one that was half made complains on stderr when it goes."""
    with select.epoll():
        for end in socket.socketpair():
            end.close()
    return asyncio.new_event_loop()
