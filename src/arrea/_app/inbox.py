"""What the reactor tells of a batch, until its caller looks: `Inbox` is the port that `Reactor.submit` takes.

Its methods for the reactor only append. `Relay` is the same for a batch whose output goes to a function of the
caller's: whatever is told comes after the output before it.
"""

from __future__ import annotations

from arrea._model.bell import Bell
from arrea._model.ending import Outcome
from arrea._model.errors import EngineStopped, not_started
from arrea._model.text import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from arrea._model.call import Work
    from arrea._model.step import Close
    from arrea._runtime.outflow import Outflow


class Inbox:
    """What the reactor told of a batch: the port that `Reactor.submit` takes.

    count: how many outcomes came. arrived: they, in that order, but for those that were taken.
    bell: rings after each turn that told something. close, failure: how it ended; one of them is set when it is `over`.
    ending: its end is about to be told. watchers: are called after each such turn.
    """

    __slots__ = (
        "_used", "_wanted", "arrived", "batch_id", "bell", "close", "count", "ending", "failure", "over",
        "watchers",
    )  # fmt: skip

    def __init__(self, batch_id: str) -> None:
        self.batch_id = batch_id
        self.bell = Bell()
        self.arrived: list[Outcome] = []
        self.count = 0
        self._wanted = 0  # counted by the reactor alone
        self._used = 0  # and this by whoever feeds
        self.ending = False
        self.close: Close | None = None
        self.failure: EngineStopped | None = None
        self.over = False
        self.watchers: list[Callable[[], object]] = []

    # ── on the reactor's thread ───────────────────────────────────────────────────────────────────

    def resolved(self, outcomes: Sequence[Outcome]) -> None:
        self.arrived += outcomes
        self.count += len(outcomes)

    def abandoned(self, tasks: Iterable[tuple[int, Work]], reason: str) -> None:
        self.resolved([_never_started(index, command, reason) for index, command in tasks])

    def wanted(self, count: int) -> None:
        self._wanted += count

    def closed(self, close: Close) -> None:
        self.close = close
        self.over = True

    def failed(self, error: EngineStopped) -> None:
        self.failure = error
        self.over = True

    def flush(self) -> None:
        """Wakes who waits. Who doesn't count yet looks at all of it before he waits."""
        self.bell.ring()
        for watcher in list(self.watchers):
            watcher()

    # ── on callers' threads ───────────────────────────────────────────────────────────────────────

    @property
    def taken(self) -> int:
        """How many were taken, or fewer while some come."""
        return self.count - len(self.arrived)

    def take(self) -> Outcome | None:
        """The first one, which nobody else gets; None if somebody else was quicker."""
        try:
            return self.arrived.pop(0)
        except IndexError:
            return None

    def take_all(self) -> list[Outcome]:
        """All that are there; for a single reader."""
        taken = self.arrived[:]
        del self.arrived[: len(taken)]  # more may have come meanwhile
        return taken

    def add_late(self, tasks: Iterable[tuple[int, Work]], reason: str) -> None:
        """After the end: tasks that the reactor never came to know."""
        Inbox.resolved(self, [_never_started(index, command, reason) for index, command in tasks])

    @property
    def room(self) -> int:
        """How many commands an open batch wants."""
        return self._wanted - self._used

    def used(self, count: int) -> None:
        """So many commands were fed."""
        self._used += count


def _never_started(index: int, command: Work, reason: str) -> Outcome:
    error = not_started(describe(index, command.name), reason)
    return Outcome(index, command, error, None, 0, 0.0, None, 0.0)


class Relay(Inbox):
    """An inbox behind an outflow: results, and the end, come after all output that was there before them."""

    __slots__ = ("_ends", "_outflow")

    def __init__(self, batch_id: str, outflow: Outflow) -> None:
        super().__init__(batch_id)
        self._outflow = outflow
        self._ends = False

    def resolved(self, outcomes: Sequence[Outcome]) -> None:
        self._outflow.after(super().resolved, outcomes)

    def closed(self, close: Close) -> None:
        self._outflow.after(super().closed, close)
        self._ends = True

    def failed(self, error: EngineStopped) -> None:
        self._outflow.after(super().failed, error)
        self._ends = True

    def flush(self) -> None:
        self._outflow.after(super().flush)
        if self._ends:
            self._outflow.finish()
