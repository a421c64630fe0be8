"""Where the commands of an open batch come from: an iterator, pulled as far as the engine has room."""

from __future__ import annotations

from collections import deque
from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from arrea._model.task import Command
    from arrea._prepare.plan import Preparer


class AtHand:
    """An iterator that nobody has to wait for, such as the lines of a file that was read: it is pulled in bulk."""

    __slots__ = ("_iterator",)

    def __init__(self, iterator: Iterator[object]) -> None:
        self._iterator = iterator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> object:
        return next(self._iterator)


class Feed:
    """The source of an open batch; `source` is None for one that is pulled by coroutines only (`AsyncFeed`).

    error: what the iterator raised. open: more may come.
    """

    __slots__ = ("_preparer", "_pulled", "_recent", "_source", "error", "open")

    def __init__(self, preparer: Preparer, source: Iterator[object] | None) -> None:
        self._preparer = preparer
        self._source = source
        self._pulled = 0
        # What the engine may not have taken when its batch stops: never more than it had wanted at once.
        self._recent: deque[tuple[int, Command]] = deque(maxlen=preparer.window)
        self.error: BaseException | None = None
        self.open = True

    def pull(self, most: int) -> list[Command]:
        """The next command, and it alone: the one after it may be long in coming; of `AtHand` up to so many.

        Fewer at the end. What the iterator raises ends the source; it is kept in `error`.
        """
        commands: list[Command] = []
        try:
            assert self._source is not None
            for element in islice(self._source, most if isinstance(self._source, AtHand) else 1):
                self._take(element, commands)
            self.open = bool(commands)
        except Exception as error:  # noqa: BLE001 - the user's iterator: raised again when what runs has finished
            self.fail(error)
        return commands

    def _take(self, element: object, commands: list[Command]) -> None:
        command = self._preparer.command_or_refusal(self._pulled, element)
        self._recent.append((self._pulled, command))
        self._pulled += 1
        commands.append(command)

    def untaken(self, total: int) -> list[tuple[int, Command]]:
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

    async def pull_async(self) -> list[Command]:
        """The same; what the iterator raises is raised."""
        commands: list[Command] = []
        try:
            element = await anext(self._async_source)
        except StopAsyncIteration:
            self.open = False
        else:
            self._take(element, commands)
        return commands

    async def close(self) -> None:
        """Lets a generator clean up. Any other source is its owner's, who may go on reading it."""
        from collections.abc import AsyncGenerator

        if isinstance(self._async_source, AsyncGenerator):
            await self._async_source.aclose()
