"""A subscription, as its holder sees it: events by waiting, by iterating, or by awaiting."""

from __future__ import annotations

import os
import time

from arrea._model.duration import parse_duration
from arrea._model.errors import EngineStopped, UsageError
from arrea._model.event import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from arrea._model.duration import Duration
    from arrea._model.step import Emit
    from arrea._observe.bus import Bus
    from arrea._observe.mailbox import Mailbox


class Subscription:
    """Events of an engine, from now on. Iterate over it (`for` or `async for`), or take them one by one with `get`.

    At most 10,000 wait for a reader; one that falls behind loses the oldest `output` and `progress` events first,
    and is told by a `lag` event how many. It never slows the engine down. The iteration ends after `unsubscribe`,
    after the end of the batch it was limited to, and when the engine is closed.
    A context manager, sync and async: left, nothing more comes, and what came until then can still be read, or is
    still told. One that is dropped ends, too; with a callback it stays until told.
    """

    def __init__(self, bus: Bus, box: Mailbox, epoch_ms: float) -> None:
        self._bus = bus
        self._box = box
        self._epoch_ms = epoch_ms
        self._pid = os.getpid()
        self._breath = 0

    def __repr__(self) -> str:
        return f"<Subscription {'closed' if self._box.closed else 'open'}, {self.pending} events to be read>"

    @property
    def pending(self) -> int:
        """How many events can be had without waiting."""
        return len(self._box)

    @property
    def active(self) -> bool:
        """Whether more may come."""
        return not self._box.closed

    def get(self, timeout: Duration = None) -> Event | None:
        """The next event; None when no more will come.

        timeout: how long to wait for it, milliseconds or text such as "5s" (0: not at all); then `TimeoutError`.
        """
        limit = parse_duration(timeout, "timeout", zero=True)
        self._check_readable()
        until = None if limit is None else time.monotonic() + limit / 1000.0
        while (event := self._box.take()) is None:
            if self._box.closed and not len(self._box):
                return None
            if not self._box.wait(until):
                raise TimeoutError(f"no event within {limit:g} ms")
        return self._seen(event)

    def unsubscribe(self) -> None:
        """Nothing more comes. What is there already can still be read; a callback is not called any more, but for a
        call that is under way. Safe to call twice.
        """
        if self._is_ours and self._box.callback is not None:
            self._box.discard()
        self._end()

    def _end(self) -> None:
        if self._is_ours:
            self._bus.remove(self._box)

    @property
    def _is_ours(self) -> bool:
        """False in the child of a fork."""
        return self._pid == os.getpid()

    def _seen(self, event: Emit) -> Event:
        return Event(event, self._epoch_ms)

    def _check_readable(self) -> None:
        if not self._is_ours:
            raise EngineStopped("this subscription belongs to the process that forked this one")
        if self._box.callback is not None:
            raise UsageError(
                "the events of this subscription go to its callback: subscribe without one to read them"
            )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self._check_readable()
        await self._breathe()  # before the event is taken: a cancellation here must not lose it
        event = self._box.take() or await self._await_next()
        if event is None:
            raise StopAsyncIteration
        return self._seen(event)

    async def _await_next(self) -> Emit | None:
        from arrea._app.loops import Waiter

        box = self._box
        with Waiter(box.abandon, box.watchers) as waiter:
            while (event := box.take()) is None and not box.closed:
                await waiter.wait_for(lambda: len(box) or box.closed)
        return event or box.take()

    async def _breathe(self) -> None:
        """Others on the loop have their turn now and then, however many events there are."""
        from arrea._app.loops import BREATHE_AFTER

        self._breath += 1
        if self._breath % BREATHE_AFTER == 0:
            from asyncio import sleep

            await sleep(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def __del__(self) -> None:
        if self._box.callback is None:
            self._box.abandon()
