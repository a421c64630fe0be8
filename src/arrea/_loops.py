"""From the engine's threads to coroutines: how something that a thread tells wakes those who await it.

One wake-up per event loop and turn, however much was told. A loop that is closed while somebody still waits on it
ends what he waited for: nobody is left to do it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from weakref import WeakValueDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# As good as never; not infinity, which event loops don't take.
NEVER_S = 100 * 365.25 * 86_400.0


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
        """From any thread. First it stands in line, then the call is made: whoever delivers clears the flag first."""
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
            self._due.popleft().ring()

    def orphan(self) -> None:
        """Nobody will ever come back for what these waited for. May run in a finalizer."""
        for waiter in list(self.waiters):
            self.waiters.discard(waiter)
            waiter.orphaned()


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

    A context manager. orphaned: called if the loop is closed within it.
    """

    __slots__ = ("_futures", "_link", "_loop", "orphaned")

    def __init__(self, orphaned: Callable[[], object] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._link = _link_to(self._loop)
        self._futures: set[asyncio.Future[None]] = set()
        self.orphaned = orphaned

    def __enter__(self) -> Waiter:
        self._link.waiters.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.waiters.discard(self)

    def __call__(self) -> None:
        if self._futures:
            self._link.wake(self)

    def ring(self) -> None:
        """On the loop."""
        for future in self._futures:
            if not future.done():
                future.set_result(None)

    async def wait_for(self, happened: Callable[[], object]) -> None:
        """Returns when it is so."""
        while not happened():
            future = self._loop.create_future()
            self._futures.add(future)  # before the next look: what comes after it rings
            try:
                if not happened():
                    await future
            finally:
                self._futures.discard(future)

    async def wait_at_most(self, happened: Callable[[], object], seconds: float) -> bool:
        """Whether it is so before this time has passed."""
        try:
            async with asyncio.timeout(seconds):
                await self.wait_for(happened)
        except TimeoutError:
            return bool(happened())
        return True


def shielded() -> AbstractContextManager[Any]:
    """Where cleaning up awaits: anyio cancels again at each turn of the loop, unless it is told not to.

    The event loop's own cancellation comes through all the same.
    """
    import sys

    if "anyio" not in sys.modules:
        return nullcontext()
    from anyio import CancelScope

    scope: AbstractContextManager[Any] = CancelScope(shield=True)
    return scope
