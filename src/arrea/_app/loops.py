"""From the engine's threads to coroutines: how something that a thread tells wakes those who await it.

One wake-up per event loop and turn, however much was told, and none for what nobody there waits for. A loop that is
closed while somebody still waits on it ends what he waited for: nobody is left to do it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from weakref import WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any

    Watchers = list[Callable[[], object]]

# As good as never; not infinity, which event loops don't take.
NEVER_S = 100 * 365.25 * 86_400.0
BREATHE_AFTER = 32  # times that a coroutine finds what it waits for before others on its loop have their turn


class Link:
    """One event loop, seen from other threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._due: deque[Waiter] = deque()
        self._called = False
        self.waiters: set[Waiter] = set()
        # A loop that is closed drops its timers, and with them the guard: nothing else tells that it was closed.
        loop.call_later(NEVER_S, _keep, _Guard(self))

    def wake(self, waiter: Waiter) -> None:
        """From any thread. First it stands in line, then the call is made: whoever delivers clears the flags first."""
        if not waiter.due:
            waiter.due = True
            self._due.append(waiter)
        if not self._called:
            self._called = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed
                self.orphan()

    def _deliver(self) -> None:
        self._called = False
        while self._due:
            waiter = self._due.popleft()
            waiter.due = False
            waiter.ring()

    def orphan(self) -> None:
        """Nobody will ever come back for what these waited for. May run in a finalizer."""
        while self.waiters:
            self.waiters.pop().orphan()


class _Guard:
    """Lives as long as a timer of the loop."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __del__(self) -> None:
        self._link.orphan()


def _keep(guard: _Guard) -> None:
    """The timer's callback: it is there to hold its argument."""


# By the identity of their loop. The loop holds its link by the guard, so no closed one is held here.
_links: WeakValueDictionary[int, Link] = WeakValueDictionary()


def _link_to(loop: asyncio.AbstractEventLoop) -> Link:
    link = _links.get(id(loop))
    if link is None or link.loop is not loop:
        link = _links[id(loop)] = Link(loop)
    return link


class Waiter:
    """Lets coroutines of the running loop wait for what threads tell: calling it, from any thread, has them look again.

    A context manager, within which it is one of `watchers`. orphaned: called if the loop is closed within it.
    """

    __slots__ = ("_breath", "_link", "_orphaned", "_waits", "_watchers", "due", "loop")

    def __init__(
        self, orphaned: Callable[[], object] = lambda: None, watchers: Watchers | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.due = False
        self._link = _link_to(self.loop)
        self._watchers: Watchers = [] if watchers is None else watchers
        self._orphaned = orphaned
        self._breath = 0
        # Replaced, never changed: threads read it. What is waited for has to stand being asked for by any of them.
        self._waits: tuple[tuple[asyncio.Future[None], Callable[[], object]], ...] = ()

    def __enter__(self) -> Waiter:
        self._link.waiters.add(self)
        self._watchers.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.waiters.discard(self)
        self._watchers.remove(self)

    def __call__(self) -> None:
        """On any thread: wakes the loop if what is waited for has happened."""
        if any(happened() for _, happened in self._waits):
            self._link.wake(self)

    def ring(self) -> None:
        """On the loop."""
        for future, happened in self._waits:
            if not future.done() and happened():
                future.set_result(None)

    def orphan(self) -> None:
        """The loop is closed. Whoever waits is held by this alone, and goes with it."""
        self._orphaned()
        self._waits = ()

    async def wait_for(self, happened: Callable[[], object], seconds: float | None = None) -> bool:
        """Returns when it is so, or this time has passed; whether it is so.

        Others on the loop have their turn now and then even if it is so each time. That comes first: who is
        cancelled here has taken nothing yet.
        """
        self._breath += 1
        if self._breath % BREATHE_AFTER == 0:
            await asyncio.sleep(0)
        over: list[bool] = []
        timer = None if seconds is None else self.loop.call_later(seconds, self._time_is_up, over)
        try:
            while not (happened() or over):
                await self._wait(lambda: happened() or over)
        finally:
            if timer is not None:
                timer.cancel()
        return bool(happened())

    async def _wait(self, happened: Callable[[], object]) -> None:
        wait = (self.loop.create_future(), happened)
        self._waits = (*self._waits, wait)  # before the next look: what comes after it rings
        try:
            if not happened():
                await wait[0]
        finally:
            self._waits = tuple(other for other in self._waits if other is not wait)

    def _time_is_up(self, over: list[bool]) -> None:
        over.append(True)
        self.ring()


class Shield:
    """Where cleaning up awaits: anyio cancels again at each turn of the loop, unless it is told not to.

    The event loop's own cancellation comes through all the same.
    """

    def __enter__(self) -> None:
        self._scope: AbstractContextManager[Any] | None = None
        if "anyio" in sys.modules:
            from anyio import CancelScope

            self._scope = CancelScope(shield=True)
            self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A coroutine that is closed is in no task any more, and only its task may leave the scope.
        if self._scope is not None and kind is not GeneratorExit:
            self._scope.__exit__(kind, error, trace)
