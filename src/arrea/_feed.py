"""Where the commands of an open batch come from: an iterator, pulled as far as the engine has room."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from arrea._model.task import Command
    from arrea._prepare.plan import Preparer


class Feed:
    """The source of an open batch; `source` is None for one that is pulled by coroutines only (`AsyncFeed`).

    last: what was pulled last, with its first index. error: what the iterator raised. open: more may come.
    """

    __slots__ = ("_preparer", "_pulled", "_source", "error", "last", "open")

    def __init__(self, preparer: Preparer, source: Iterator[object] | None) -> None:
        self._preparer = preparer
        self._source = source
        self._pulled = 0
        self.last: tuple[int, list[Command]] = (0, [])
        self.error: BaseException | None = None
        self.open = True

    def pull(self) -> list[Command]:
        """The next command, and it alone: the one after it may be long in coming. Empty at the end.

        What the iterator raises ends the source; it is kept in `error`.
        """
        commands: list[Command] = []
        self.last = (self._pulled, commands)
        try:
            assert self._source is not None
            element = next(self._source)
        except StopIteration:
            self.open = False
        except Exception as error:  # noqa: BLE001 - the user's iterator: raised again when what runs has finished
            self.fail(error)
        else:
            self._take(element, commands)
        return commands

    def _take(self, element: object, commands: list[Command]) -> None:
        commands.append(self._preparer.command_or_refusal(self._pulled, element))
        self._pulled += 1

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
        self.last = (self._pulled, commands)
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
