"""Where the commands of an open batch come from: an iterator, pulled as far as the engine has room."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Self

    from arrea._model.call import Work
    from arrea._prepare.functions import Mapper
    from arrea._prepare.plan import Preparer


# Pulled at once: no longer than this, for others shall not wait for those that come later.
BULK_S = 0.001


class AtHand:
    """An iterator that nobody has to wait for, such as the lines of a file that was read."""

    __slots__ = ("iterator",)

    def __init__(self, iterator: Iterator[object]) -> None:
        self.iterator = iterator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        return next(self.iterator)


class Feed:
    """The source of an open batch; `source` is None for one that is pulled by coroutines only (`AsyncFeed`).

    error: what the iterator raised. open: more may come. pulled: how many came. large: the last one was.
    """

    __slots__ = (
        "_held", "_holding", "_prepare", "_recent", "_source", "_window", "error", "large", "open",
        "pulled",
    )  # fmt: skip

    def __init__(self, preparer: Preparer | Mapper, source: Iterator[object] | None) -> None:
        self._prepare = preparer.command_or_refusal
        self._window = preparer.window
        self._source = source
        self._held: deque[Work] = deque()  # pulled, and not handed on yet
        self._holding = threading.Lock()
        self.pulled = 0
        self.large = False
        # What the engine may not have taken when its batch stops: never more than it had wanted at once.
        self._recent: deque[tuple[int, Work]] = deque(maxlen=preparer.window)
        self.error: BaseException | None = None
        self.open = True

    def pull(self, most: int, hold: Callable[[], object]) -> int:
        """Pulls up to so many, for a millisecond, and says how many. They are for `hand_on`.

        hold: is called before a second one is pulled that may be long in coming: somebody else will hand on the first.
        What the iterator raises ends the source; it is kept in `error`.
        """
        source, before, until = self._source, self.pulled, monotonic() + BULK_S
        assert source is not None
        if isinstance(source, AtHand):
            self._pull(source.iterator, most, until)
            return self.pulled - before
        self._pull(source, 1, until)
        if most > 1 and self.open and monotonic() < until - BULK_S / 2:
            hold()
            self._pull(source, most - 1, until)
        return self.pulled - before

    def pull_first(self) -> list[Work]:
        """What is there already, so that it begins before anybody waits for it."""
        if isinstance(self._source, AtHand):
            self._pull(self._source.iterator, self._window, monotonic() + BULK_S)
        return self._take()

    def _pull(self, source: Iterator[object], count: int, until: float) -> None:
        prepare, keep, wanted = self._prepare, self._keep, self.pulled + count
        try:
            for element in islice(source, count):
                keep(prepare(self.pulled, element))
                if monotonic() > until:
                    break
            else:
                self.open = self.pulled == wanted
        except Exception as error:  # noqa: BLE001 - the user's iterator: raised again when what runs has finished
            self.fail(error)

    def _keep(self, work: Work) -> None:
        self.large = work.large
        self._recent.append((self.pulled, work.without_arguments() if work.large else work))
        self._held.append(work)
        self.pulled += 1

    def hand_on(self, give: Callable[[list[Work]], object]) -> None:
        """Gives what was pulled since the last time, which may be nothing; for whoever pulls.

        One at a time gives what he took, and only then the next one takes: in the order in which they were pulled.
        """
        with self._holding:
            give(self._take())

    def hand_on_meanwhile(self, give: Callable[[list[Work]], object]) -> None:
        """The same for the reactor, which waits for nobody: a signal handler may hold up the one who is just at it."""
        if self._holding.acquire(blocking=False):
            try:
                if self._held:
                    give(self._take())
            finally:
                self._holding.release()

    def _take(self) -> list[Work]:
        held = []
        while self._held:  # meanwhile more may come
            held.append(self._held.popleft())
        return held

    def untaken(self, total: int) -> list[tuple[int, Work]]:
        """What was pulled after the first `total`; handed back once."""
        # Copied in one step: a feeder's thread may pull at the moment. What it gets after this nobody waits for.
        recent = list(self._recent)
        self._recent.clear()
        return [pulled for pulled in recent if pulled[0] >= total]

    def fail(self, error: BaseException) -> None:
        """No more comes; the error is for whoever waits for the batch."""
        self.open, self.error = False, error


class AsyncFeed(Feed):
    """The same for an asynchronous iterator, which is pulled on the event loop of whoever awaits the batch."""

    __slots__ = ("_async_source",)

    def __init__(self, preparer: Preparer, source: AsyncIterator[object]) -> None:
        super().__init__(preparer, None)
        self._async_source = source

    async def pull_async(self) -> int:
        """One, if there is one more; what the iterator raises is raised."""
        try:
            element = await anext(self._async_source)
        except StopAsyncIteration:
            self.open = False
            return 0
        command = self._prepare(self.pulled, element)
        self._keep(command)
        return 1

    async def close(self) -> None:
        """Lets a generator clean up. Any other source is its owner's, who may go on reading it."""
        from collections.abc import AsyncGenerator

        if isinstance(self._async_source, AsyncGenerator):
            await self._async_source.aclose()
