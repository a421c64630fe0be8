"""A submitted batch, seen from its caller: `Batch` and `Stream` are what callers hold.

The `Inbox` has what the reactor told of it. The `Feed` of an open batch is pulled by whoever waits, by a thread of its
own, or, with coroutines, on their event loop (`_async`).
"""

from __future__ import annotations

import os
import threading
import time

from arrea._app.inbox import Inbox, Relay
from arrea._model.duration import parse_duration
from arrea._model.errors import FROM_OUTSIDE, Ended, EngineStopped, UsageError, source_left
from arrea._model.result import BatchResult, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from arrea._app.feed import Feed
    from arrea._model.call import Home
    from arrea._model.duration import Duration
    from arrea._model.ending import Outcome
    from arrea._model.plan import Plan
    from arrea._runtime.outflow import Outflow
    from arrea._runtime.reactor import Reactor


OWN_THREAD = "nobody can wait on Arrea's own thread"


class TimeIsUp(TimeoutError):
    """Of `Batch.wait`: not a `TimeoutError` that the host's own signal handler raised meanwhile."""


class Batch:
    """A batch that was submitted. Dropping it changes nothing: it runs on.

    `id` names it. Iterating (`for` or `async for`) gives results as they finish; `wait`, or `await wait_async()`, gives
    all of them in input order.
    """

    def __init__(
        self,
        plan: Plan,
        epoch_ms: float,
        reactor: Reactor,
        feed: Feed | None = None,
        outflow: Outflow | None = None,
        home: Home | None = None,
    ) -> None:
        self.home = home
        self.id = plan.batch_id
        self._plan = plan
        self._feed = feed
        self._feeds_itself = False
        self._pulling = threading.Lock()
        # How many outcomes their reader took, and how far the source may run ahead of that; None: to its end.
        self.taken = 0
        self.ahead: int | None = None
        self._outflow = outflow
        self._epoch_ms = epoch_ms
        self._inbox = Inbox(self.id) if outflow is None else Relay(self.id, outflow)
        self._pid = os.getpid()
        self._reactor = reactor
        self._number = next(reactor.numbers)

    def __repr__(self) -> str:
        return f"<Batch {self.id} {'over' if self.done else f'{self.arrived} results so far'}>"

    def begin(self) -> Self:
        """Hands it to the engine."""
        if self._outflow is not None:
            self._outflow.start()
        try:
            self._reactor.submit(self._number, self._plan, self._inbox, self._outflow)
        except EngineStopped:
            if self._outflow is not None:
                self._outflow.finish()
            raise
        return self

    def begin_and_wait(self) -> BatchResult:
        """Both in one, so that no interrupt finds a batch that runs and nobody who waits for it."""
        self._check_ours()
        try:
            self.begin()
            self._wait_until_over(None)
        except EngineStopped:
            raise
        except BaseException:
            self._end()
            raise
        return self._result()

    @property
    def done(self) -> bool:
        """Whether every task has its result."""
        return self._inbox.over

    @property
    def settled(self) -> bool:
        """Whether nothing of it runs any more, though output and results may still be on their way to whoever reads."""
        return self._inbox.ending or self._inbox.over

    @property
    def arrived(self) -> int:
        """How many tasks have their result."""
        return self._inbox.count

    def wait(self, timeout: Duration = None) -> BatchResult:
        """All results, in input order.

        timeout: how long to wait, milliseconds or text such as "5s"; then `TimeoutError` is raised, and the batch
        runs on.
        An exception in the waiting thread (KeyboardInterrupt) cancels the batch, waits for the end of what ran
        and is raised again; so is what the source iterator of the batch raised.
        """
        limit = parse_duration(timeout, "timeout", zero=True)
        until = None if limit is None else time.monotonic() + limit / 1000.0
        self._check_ours()  # who may not wait ends nothing either
        try:
            self._wait_until_over(until)
        except TimeIsUp:
            raise
        except BaseException:
            self._end()
            raise
        return self._result()

    def cancel(self) -> None:
        """Ends the batch: what runs is killed (SIGTERM, `kill_grace`, SIGKILL), nothing more starts.

        Returns at once.
        """
        if self._is_ours:
            self._reactor.cancel(self._number)
            self._let_go()

    def kill(self) -> None:
        """The same without the grace: SIGKILL at once."""
        if self._is_ours:
            self._reactor.cancel(self._number, hard=True)
            self._let_go()

    def _let_go(self) -> None:
        """Nothing that ends waits for the reader of its output."""
        if self._outflow is not None:
            self._outflow.release()

    async def wait_async(self, timeout: Duration = None) -> BatchResult:
        """`wait` for coroutines: the event loop goes on meanwhile. Cancelling whoever awaits it cancels the batch."""
        from arrea._app.coroutines import wait

        return await wait(self, parse_duration(timeout, "timeout", zero=True))

    def __aiter__(self) -> AsyncIterator[Result]:
        from arrea._app.coroutines import results

        return results(self)

    def __iter__(self) -> Iterator[Result]:
        """Results as they finish, those that came before included."""
        seen = 0
        while self._await(seen, None):
            outcome = self._inbox.arrived[seen]
            seen += 1
            yield self.result_of(outcome)
        self._raise_problems()

    def result_of(self, outcome: Outcome) -> Result:
        """As callers get it."""
        return Result(self.id, outcome, self._epoch_ms)

    def _take(self) -> Outcome | None:
        """The next outcome, kept no longer; None when there are no more."""
        while self._await(self._inbox.taken, None):
            outcome = self._inbox.take()
            if outcome is not None:  # else another thread was quicker
                self.took()
                return outcome
        self._raise_problems()
        return None

    def took(self) -> None:
        """One more was taken by whoever reads: a source that was held back for that goes on."""
        self.taken += 1
        if self.ahead is not None and self._feed is not None:
            behind = self._feed.pulled - self.taken + 1
            if behind == self.ahead or (self._feed.large and behind == 2 * self._plan.workers):
                self._inbox.flush()

    def _take_all(self) -> list[Outcome]:
        """All outcomes that are there, at least one, kept no longer; none when there are no more."""
        while self._await(self._inbox.taken, None):
            outcomes = self._inbox.take_all()
            if outcomes:  # else they were taken before they were counted
                return outcomes
        self._raise_problems()
        return []

    def _end(self) -> None:
        """Cancels the batch and waits until nothing of it is left: `kill_grace` and a second at most.

        Another exception meanwhile (a second Ctrl-C) kills at once.
        """
        if self.done or not self._is_ours:
            return
        try:
            self.cancel()
            self._wait_for_end(self.ends_within_s)
        except BaseException:
            self.kill()
            self._wait_for_end(1.0)
            raise

    def _wait_for_end(self, seconds: float) -> None:
        if not self._reactor.is_own_thread:
            self._inbox.bell.wait_for(lambda: self.done, time.monotonic() + seconds)

    @property
    def window(self) -> int:
        """How many may be held waiting."""
        return self._plan.window + self._plan.workers

    @property
    def ends_within_s(self) -> float:
        """How long the end takes at most, once the batch is cancelled."""
        return self._plan.kill_grace_ms / 1000.0 + 1.0

    # ── waiting ───────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_ours(self) -> bool:
        """False in the child of a fork: the reactor runs in the parent only."""
        return self._pid == os.getpid()

    def _check_ours(self) -> None:
        """Whether this caller may wait."""
        if self.done:
            return
        if not self._is_ours:
            raise EngineStopped(f"batch {self.id} belongs to the process that forked this one")
        if self._reactor.is_own_thread:
            raise UsageError(f"{OWN_THREAD}, where a finalizer ran: batch {self.id} would wait for itself")
        if self._outflow is not None and self._outflow.is_own_thread:
            raise UsageError(f"{OWN_THREAD}, in its on_output: batch {self.id} would wait for itself")

    def _wait_until_over(self, until: float | None) -> None:
        self._check_ours()
        while not self.done and self._feed is not None and not self._feeds_itself:
            self._await(self.arrived, until)
        if not self._inbox.bell.wait_for(lambda: self.done, until):
            raise TimeIsUp(f"batch {self.id} is still running")
        self._account_for_the_late()

    def _await(self, seen: int, until: float | None) -> bool:
        """Waits for a result after the first `seen`, pulling the source meanwhile. False: there will be none."""
        self._check_ours()
        while self.arrived <= seen and not self.done:
            if self._may_feed:
                self._feed_once()
            elif not self._inbox.bell.wait_for(lambda: self._has_more(seen) or self._may_feed, until):
                raise TimeIsUp(f"batch {self.id} is still running")
        if self.done:
            self._account_for_the_late()
        return self.arrived > seen

    # ── the source of an open batch ───────────────────────────────────────────────────────────────

    def feed_in_background(self) -> None:
        """A thread of its own pulls the source, and nobody else does.

        Where nobody may ever wait for the batch, or whoever waits mustn't block.
        """
        if self._feed is not None:
            self._feeds_itself = True
            threading.Thread(
                target=self._feed_all, args=(self._feed,), name="arrea-feeder", daemon=True
            ).start()

    def _feed_all(self, feed: Feed) -> None:
        try:
            while feed.open and not self.done:
                self._inbox.bell.wait_for(lambda: self._wants_feeding or self.done)
                if self._wants_feeding:
                    self._feed_once()
        except BaseException as error:  # noqa: BLE001 - SystemExit of the source: whoever waits gets it
            self._break_off(feed, error)

    def _break_off(self, feed: Feed, error: BaseException) -> None:
        """The source raised: no more comes. What runs finishes, unless it was an interrupt, which ends the batch."""
        feed.fail(error)
        self._hand_on(feed)
        if not isinstance(error, Exception):
            self.cancel()

    @property
    def _may_feed(self) -> bool:
        """Whether a waiting caller should pull the source."""
        return self._wants_feeding and not self._feeds_itself and not self._pulling.locked()

    @property
    def _wants_feeding(self) -> bool:
        return self._feed is not None and self._feed.open and self._room > 0

    @property
    def _room(self) -> int:
        """How many more the source may give."""
        feed, room = self._feed, self._inbox.room
        assert feed is not None
        if self.ahead is not None:
            room = min(room, self.ahead + self.taken - feed.pulled)
        if feed.large:
            over = self.arrived if self.ahead is None else self.taken
            room = min(room, 2 * self._plan.workers + over - feed.pulled)
        return room

    def _feed_once(self) -> None:
        feed = self._feed
        assert feed is not None
        if not self._pulling.acquire(blocking=False):
            return  # another thread does, and a generator can't be asked twice at once
        try:
            self._inbox.used(feed.pull(self._room, self._hold))
            self._hand_on(feed)
        finally:
            self._pulling.release()
            self._inbox.bell.ring()

    def _hold(self) -> None:
        """The source may be long in giving the next one: what it gave before shall not wait for that."""
        assert self._feed is not None
        self._reactor.look_for(self._number, self._feed)

    def _hand_on(self, feed: Feed) -> None:
        feed.hand_on(lambda pulled: self._reactor.feed(self._number, pulled, last=not feed.open))

    def _has_more(self, seen: int) -> bool:
        """Whether there is a result after the first `seen`, or will never be one."""
        return self.arrived > seen or self.done

    def _account_for_the_late(self) -> None:
        """Commands that were pulled while the batch stopped: the engine took them no longer."""
        close = self._inbox.close
        if self._feed is None or close is None:
            return
        self._inbox.add_late(self._feed.untaken(close.total), close.stopped_by or "stop")

    # ── results ───────────────────────────────────────────────────────────────────────────────────

    def _raise_problems(self) -> None:
        if self._inbox.failure is not None:
            raise self._inbox.failure
        if self._feed is not None and self._feed.error is not None:
            raise self._feed.error

    @property
    def broken_off(self) -> Ended | None:
        """What ended it while its source may have had more, if it wasn't a failure; whoever only reads can't know."""
        close, feed = self._inbox.close, self._feed
        if close is None or feed is None or not feed.open or close.stopped_by not in FROM_OUTSIDE:
            return None
        return source_left(close.stopped_by, feed.pulled)

    def _result(self) -> BatchResult:
        self._raise_problems()
        close = self._inbox.close
        assert close is not None
        arrived = sorted(self._inbox.arrived, key=lambda outcome: outcome.index)
        results = [self.result_of(outcome) for outcome in arrived]
        return BatchResult(self.id, results, close.retried, close.duration_ms, close.stopped_by)


class Stream:
    """Results as they finish. Leaving it early (`break`, `close()`, an exception) cancels the rest.

    An iterator and a context manager; `batch_id` names the batch.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self.batch_id = batch.id
        batch.ahead = batch.window

    def begin(self) -> Self:
        """Hands the batch to the engine; an interrupt meanwhile ends it."""
        try:
            self._batch.begin()
        except EngineStopped:
            raise
        except BaseException:
            self._batch._end()
            raise
        return self

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Result:
        self._batch._check_ours()
        try:
            outcome = self._batch._take()
        except BaseException:
            self._batch._end()
            raise
        if outcome is None:
            raise StopIteration
        return self._batch.result_of(outcome)

    @property
    def ready(self) -> int:
        """How many results can be had without waiting."""
        return len(self._batch._inbox.arrived)

    def close(self) -> None:
        """Cancels what is left of the batch and waits until nothing of it runs."""
        self._batch._end()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A `for` loop that was left: nothing may wait here, so the batch is only told to end.
        if not self._batch.done:
            self._batch.cancel()
