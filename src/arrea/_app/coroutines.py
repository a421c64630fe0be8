"""The same calls for coroutines: the event loop goes on while the engine works.

Cancelling whoever awaits cancels the batch, and waits until nothing of it runs: `kill_grace` and a second at most; a
second cancellation kills at once. A coroutine that is closed, or whose loop is, can't wait: its batch is only told.
"""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from itertools import count

from arrea._app.feed import AsyncFeed
from arrea._app.loops import Shield, Waiter
from arrea._model.errors import EngineStopped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from arrea._app.batch import Batch
    from arrea._model.result import BatchResult, Result

STOP_WITHIN_S = 3.0
KILLED_WITHIN_S = 1.0


class Feeder:
    """Pulls an asynchronous source: a task of its own, so that results aren't held up while the source is slow.

    When no more is wanted, or `stop` was called, it closes the source.
    """

    def __init__(self, batch: Batch, feed: AsyncFeed) -> None:
        self._batch = batch
        self._feed = feed
        self._begun = self._stopped = self._closing = False
        self._loop = asyncio.get_running_loop()
        self._coroutine = self._feed_all()
        self._task = self._loop.create_task(self._coroutine, name=f"arrea feeds {batch.id}")
        # Whoever closes a loop is told of his own tasks that were pending, not of ours.
        self._task._log_destroy_pending = False  # type: ignore[attr-defined]

    def done(self) -> bool:
        return self._task.done()

    def notify(self, waiter: Waiter) -> None:
        self._task.add_done_callback(lambda _: waiter.ring())

    def stop(self) -> None:
        """Interrupts the source, once: then it may clean up. From any thread, and also after the end of the loop."""
        if self._stopped:
            return
        self._stopped = True
        try:
            self._loop.call_soon_threadsafe(self._interrupt)
        except RuntimeError:  # the loop is closed
            if not self._begun:
                self._coroutine.close()  # or it would complain that it was never awaited

    def _interrupt(self) -> None:
        if not self._closing:
            self._task.cancel()

    async def _feed_all(self) -> None:
        self._begun = True
        try:
            await self._pull_while_wanted()
        except GeneratorExit as error:  # the coroutine is being closed, and can await nothing more
            self._tell(error)
            return
        except BaseException as error:  # noqa: BLE001 - SystemExit of the source: whoever waits gets it
            self._tell(error)
        self._closing = True
        try:
            await self._feed.close()
        except BaseException as error:  # noqa: BLE001
            self._tell(error)

    async def _pull_while_wanted(self) -> None:
        batch, feed = self._batch, self._feed
        with Waiter(watchers=batch._inbox.watchers) as waiter:
            while feed.open and not (batch.done or self._stopped):
                await waiter.wait_for(lambda: batch._wants_feeding or batch.done)
                if batch._wants_feeding:
                    batch._inbox.used(await feed.pull_async())
                    batch._hand_on(feed)

    def _tell(self, error: BaseException) -> None:
        """Whoever waits for the batch gets what the source raised, if there is still somebody."""
        if not self._stopped:
            self._batch._break_off(self._feed, error)
        elif not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            told = f"the source of batch {self._batch.id} raised when it was closed"
            self._loop.call_exception_handler({"message": told, "exception": error})


class Hold:
    """A coroutine's hold on a batch: what interrupts it ends the batch. To be left with `leave`, or `async with`."""

    def __init__(self, batch: Batch, begun: bool = False) -> None:
        self.batch = batch
        self.begun = begun
        self._waiter: Waiter | None = None
        self._feeder: Feeder | None = None

    def begin(self) -> None:
        """Hands the batch to the engine, and sees to its source."""
        batch = self.batch
        batch._check_ours()
        waiter = self._grasp()
        if batch.home is not None:
            batch.home.loop = waiter.loop
        batch.begin()
        self.begun = True
        if isinstance(batch._feed, AsyncFeed):
            self._feeder = Feeder(batch, batch._feed)
            self._feeder.notify(waiter)
        else:
            batch.feed_in_background()

    def _grasp(self) -> Waiter:
        """From now on the batch ends with the running loop."""
        if self._waiter is None or self._waiter.loop is not asyncio.get_running_loop():
            self._let_go()
            self._waiter = Waiter(self._orphaned, self.batch._inbox.watchers).__enter__()
        return self._waiter

    def _let_go(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.__exit__()

    def _orphaned(self) -> None:
        self.batch.cancel()
        if self._feeder is not None:
            self._feeder.stop()

    async def until(self, happened: Callable[[], object], seconds: float | None = None) -> bool:
        self.batch._check_ours()
        return await self._grasp().wait_for(happened, seconds)

    async def until_over(self) -> None:
        """Until every task has its result, and the source is closed."""
        await self.until(lambda: self.batch.done)
        if self._feeder is not None and not self._is_over():
            self._feeder.stop()
            await self.until(self._is_over, self.batch.ends_within_s)

    def _is_over(self) -> bool:
        return self.batch.done and (self._feeder is None or self._feeder.done())

    async def leave(self, error: BaseException | None) -> None:
        """After this error, or None. Nothing of the batch is left running."""
        try:
            if isinstance(error, GeneratorExit):
                self.tell_to_end()
            elif error is not None and not isinstance(error, EngineStopped):
                await self.end()
        finally:
            self.release()

    def tell_to_end(self) -> None:
        """What can be done where nothing can be awaited."""
        if self.begun and not self.batch.done:
            self.batch.cancel()

    async def end(self) -> None:
        """Cancels the batch and waits until nothing of it is left."""
        batch = self.batch
        if not self.begun or not batch._is_ours or self._is_over():
            return
        batch.cancel()
        if self._feeder is not None:
            self._feeder.stop()
        with Shield():
            try:
                await self.until(self._is_over, batch.ends_within_s)
            except BaseException as error:
                batch.kill()
                if not isinstance(error, GeneratorExit):
                    await _wait_through_cancellations(self._grasp(), self._is_over, KILLED_WITHIN_S)
                raise

    def release(self) -> None:
        """Lets go of the batch. From any thread: of a stream that nobody holds the collector may find the end."""
        self._let_go()
        if self._feeder is not None and not self._feeder.done():
            self._feeder.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        await self.leave(error)


async def finish(batch: Batch) -> BatchResult:
    """Begins the batch and waits for all of it."""
    async with Hold(batch) as hold:
        hold.begin()
        await hold.until_over()
    batch._account_for_the_late()
    return batch._result()


async def wait(batch: Batch, limit_ms: float | None) -> BatchResult:
    """Waits for a batch that was begun. Raises `TimeoutError` when the time is over; the batch runs on then."""
    batch._check_ours()  # who may not wait ends nothing either
    async with Hold(batch, begun=True) as hold:
        over = await hold.until(lambda: batch.done, None if limit_ms is None else limit_ms / 1000.0)
    if not over:
        raise TimeoutError(f"batch {batch.id} is still running")
    batch._account_for_the_late()
    return batch._result()


class AsyncStream:
    """Results as they finish, for `async for`. Leaving it early (`break`, `aclose()`, an exception) cancels the rest.

    It begins when the first result is asked for. An asynchronous iterator and context manager; `batch_id` names
    the batch.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._hold = Hold(batch)
        batch.ahead = batch.window
        self._asked = False
        self._seen = 0
        self.batch_id = batch.id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        self._batch._check_ours()
        try:
            self._begin_once()
            result = await self._next() if self._hold.begun else None
        except BaseException as error:
            await self._hold.leave(error)
            raise
        if result is None:
            raise StopAsyncIteration
        return result

    def _begin_once(self) -> None:
        if not self._asked:
            self._asked = True
            self._hold.begin()

    async def _next(self) -> Result | None:
        """The next result; None at the end."""
        batch = self._batch
        await self._hold.until(lambda: batch._has_more(self._seen))
        if batch.arrived <= self._seen:
            await self._hold.until_over()
            self._hold.release()
        outcome = batch._take()
        self._seen += outcome is not None
        return None if outcome is None else batch.result_of(outcome)

    async def aclose(self) -> None:
        """Cancels what is left of the batch and waits until nothing of it runs."""
        self._asked = True
        try:
            await self._hold.end()
        finally:
            self._hold.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(
            error, GeneratorExit
        ):  # the coroutine around it is being closed, and can await nothing more
            self._drop()
        else:
            await self.aclose()

    def __del__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        """Nothing can be awaited here, so the batch is only told to end."""
        self._hold.tell_to_end()
        self._hold.release()


async def results(batch: Batch) -> AsyncIterator[Result]:
    """Results of a batch that was begun, as they finish; leaving early changes nothing."""
    with Waiter(watchers=batch._inbox.watchers) as waiter:
        for seen in count():
            batch._check_ours()
            await waiter.wait_for(partial(batch._has_more, seen))
            if batch.done:
                batch._account_for_the_late()
            if batch.arrived <= seen:
                break
            yield batch.result_of(batch._inbox.arrived[seen])
    batch._raise_problems()


async def aside(work: Callable[[], object], hurry: Callable[[], object]) -> None:
    """Does something that blocks, on a thread of its own. An interruption hurries it, and waits for it all the same."""
    over = threading.Event()
    watchers: list[Callable[[], object]] = []

    def do() -> None:
        try:
            work()
        finally:
            over.set()
            for watcher in list(watchers):
                watcher()

    with Waiter(hurry, watchers) as waiter, Shield():
        threading.Thread(target=do, name="arrea-closing", daemon=True).start()
        try:
            await waiter.wait_for(over.is_set)
        except BaseException as error:
            hurry()
            if not isinstance(error, GeneratorExit):
                await _wait_through_cancellations(waiter, over.is_set, STOP_WITHIN_S)
            raise


async def _wait_through_cancellations(waiter: Waiter, happened: Callable[[], object], seconds: float) -> None:
    """For what was hurried already. More of them could only leave it half done; the one that came first is raised."""
    until = time.monotonic() + seconds
    while not happened() and (left := until - time.monotonic()) > 0.0:
        try:
            await waiter.wait_for(happened, left)
        except asyncio.CancelledError:
            continue
