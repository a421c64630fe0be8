"""The same calls for coroutines: the event loop goes on while the engine works.

Cancelling whoever awaits cancels the batch, and waits until nothing of it runs: `kill_grace` and a second at most; a
second cancellation kills at once. A coroutine that is closed, or whose loop is, can't wait: its batch is only told.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count

from arrea._feed import AsyncFeed
from arrea._loops import Waiter, shielded
from arrea._model.errors import EngineStopped
from arrea._subscription import BREATHE_AFTER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self, TypeVar

    from arrea._batch import Batch
    from arrea._model.result import BatchResult, Result
    from arrea._runtime.reactor import Reactor

    T = TypeVar("T")

STOP_WITHIN_S = 3.0


class Hold:
    """A coroutine's hold on a batch: from `grasp` to `release`, what the reactor tells of it wakes the coroutine."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self._ending = False
        self._waiter: Waiter | None = None
        self._feeder: asyncio.Task[None] | None = None

    def grasp(self) -> None:
        if self._waiter is None:
            self._waiter = Waiter(self.batch.cancel).__enter__()
            self.batch._inbox.watchers.append(self._waiter)

    def begin(self) -> None:
        """Hands the batch to the engine, and sees to its source."""
        self.grasp()
        batch = self.batch.begin()
        if isinstance(batch._feed, AsyncFeed):
            self._feeder = asyncio.create_task(self._feed_all(batch._feed), name=f"arrea feeds {batch.id}")
        else:
            batch.feed_in_background()

    async def until(self, happened: Callable[[], object]) -> None:
        assert self._waiter is not None
        self.batch._check_ours()
        await self._waiter.wait_for(happened)

    async def until_within(self, happened: Callable[[], object], seconds: float) -> bool:
        assert self._waiter is not None
        return await self._waiter.wait_at_most(happened, seconds)

    async def end(self) -> None:
        """Cancels the batch and waits until nothing of it is left."""
        batch = self.batch
        self._stop_feeding()
        if batch.done or not batch._is_ours or self._waiter is None:
            return
        batch.cancel()
        with shielded():
            await self._wait_for_the_end(batch)

    async def _wait_for_the_end(self, batch: Batch) -> None:
        try:
            await self.until_within(lambda: batch.done, batch._end_within_s)
        except GeneratorExit:
            batch.kill()
            raise
        except BaseException:
            batch.kill()
            await self.until_within(lambda: batch.done, 1.0)
            raise

    def release(self) -> None:
        if self._waiter is not None:
            self.batch._inbox.watchers.remove(self._waiter)
            self._waiter.__exit__()
            self._waiter = None
        self._stop_feeding()

    def _stop_feeding(self) -> None:
        self._ending = True
        if self._feeder is not None:
            self._feeder.cancel()

    async def _feed_all(self, feed: AsyncFeed) -> None:
        """A task of its own, so that results aren't held up while the source is slow."""
        batch = self.batch
        try:
            while feed.open and not batch.done:
                await self.until(lambda: batch._wants_feeding or batch.done)
                if batch._wants_feeding:
                    batch._hand_on(await feed.pull_async(), feed)
        except BaseException as error:  # noqa: BLE001 - SystemExit of the source: whoever waits gets it
            if not self._ending:
                feed.fail(error)
                batch._hand_on([], feed)


async def finish(batch: Batch) -> BatchResult:
    """Begins the batch and waits for all of it."""
    hold = Hold(batch)

    async def begin_and_wait() -> None:
        hold.begin()
        await hold.until(lambda: batch.done)

    try:
        await _guarded(hold, begin_and_wait)
    finally:
        hold.release()
    batch._account_for_the_late()
    return batch._result()


async def wait(batch: Batch, limit_ms: float | None) -> BatchResult:
    """Waits for a batch that was begun. Raises `TimeoutError` when the time is over; the batch runs on then."""
    hold = Hold(batch)

    async def wait_within() -> bool:
        hold.grasp()
        if limit_ms is not None:
            return await hold.until_within(lambda: batch.done, limit_ms / 1000.0)
        await hold.until(lambda: batch.done)
        return True

    try:
        over = await _guarded(hold, wait_within)
    finally:
        hold.release()
    if not over:
        raise TimeoutError(f"batch {batch.id} is still running")
    batch._account_for_the_late()
    return batch._result()


async def _guarded(hold: Hold, work: Callable[[], Awaitable[T]]) -> T:
    """Does it. Whatever comes between, nothing of the batch is left running."""
    try:
        return await work()
    except EngineStopped:
        raise
    except GeneratorExit:
        hold.batch.cancel()
        raise
    except BaseException:
        await hold.end()
        raise


class AsyncStream:
    """Results as they finish, for `async for`. Leaving it early (`break`, `aclose()`, an exception) cancels the rest.

    It begins when the first result is asked for. An asynchronous iterator and context manager; `batch_id` names
    the batch.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._hold = Hold(batch)
        self._begun = False
        self._seen = 0
        self.batch_id = batch.id

    def _begin_once(self) -> None:
        if not self._begun:
            self._begun = True
            self._hold.begin()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        if self._seen % BREATHE_AFTER == BREATHE_AFTER - 1:
            await asyncio.sleep(0)  # a long row of results that are there already must not hold the loop up
        try:
            await _guarded(self._hold, self._wait_for_next)
        except BaseException:
            self._hold.release()
            raise
        return self._take()

    async def _wait_for_next(self) -> None:
        self._begin_once()
        if not self._batch._has_more(self._seen):
            await self._hold.until(lambda: self._batch._has_more(self._seen))

    def _take(self) -> Result:
        if self._batch.done:
            self._hold.release()
        result = self._batch._take(self._seen)
        if result is None:
            raise StopAsyncIteration
        self._seen += 1
        return result

    async def aclose(self) -> None:
        """Cancels what is left of the batch and waits until nothing of it runs."""
        self._begun = True
        try:
            await self._hold.end()
        finally:
            self._hold.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if self._begun and not self._batch.done:
            self._batch.cancel()


async def results(batch: Batch) -> AsyncIterator[Result]:
    """Results of a batch that was begun, as they finish; leaving early changes nothing."""
    hold = Hold(batch)
    hold.grasp()
    try:
        for seen in count():
            await hold.until(partial(batch._has_more, seen))
            if batch.done:
                batch._account_for_the_late()
            if batch.arrived <= seen:
                break
            result = batch._inbox.arrived[seen]
            if result is not None:
                yield result
    finally:
        hold.release()
    batch._raise_problems()


async def stop(reactor: Reactor, grace_s: float) -> None:
    """Ends an engine's work without holding up the event loop."""
    reactor.begin_stop()
    with Waiter(reactor.kill_all) as waiter, shielded():
        reactor.when_ended(waiter)
        try:
            await waiter.wait_at_most(lambda: reactor.ended, grace_s)
        finally:
            reactor.kill_all()
        await waiter.wait_at_most(lambda: reactor.ended, STOP_WITHIN_S)
