"""A subscriber's queue: bounded, so that one who never reads costs a fixed amount of memory and no time.

Given events on the reactor's thread, hands them out on any other, in order. When it is full the oldest event of a
`LOSSY` type goes first, then the oldest of any; the reader is told once, by a `lag` event with the count, before
what comes next.
"""

from __future__ import annotations

import threading
from collections import deque

from arrea._model.bell import Bell
from arrea._model.event import LOSSY
from arrea._model.step import Emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Watcher = Callable[[], object]

MOST_EVENTS = 10_000
# Of output that waits: a piece of it may have 64 KiB.
MOST_BYTES = 8 * 2**20


class Mailbox:
    """Events of `types` (None: all) and of one batch (None: all), at most `most` of them, and of output `MOST_BYTES`.

    It closes itself after the end of its batch. watchers: called, on the reactor's thread, when something came or
    it closed. callback: whose it is, None for one that is read.
    """

    __slots__ = (
        "_arrivals", "_bell", "_bytes", "_kept", "_lock", "_lossy", "_lost", "_lost_at", "_types", "batch_id",
        "callback", "closed", "most", "watchers",
    )  # fmt: skip

    def __init__(
        self,
        batch_id: str | None,
        types: frozenset[str] | None,
        callback: Callable[..., object] | None = None,
        most: int = MOST_EVENTS,
    ) -> None:
        self.batch_id = batch_id
        self.callback = callback
        self.most = most
        self._types = types
        # Two queues, so that what is lost first is found at once; the number of its arrival keeps the order.
        self._kept: deque[tuple[int, Emit]] = deque()
        self._lossy: deque[tuple[int, Emit]] = deque()
        self._bytes = 0
        self._arrivals = 0
        self._lost = 0
        self._lost_at = 0.0
        self._lock = threading.RLock()  # may be taken twice: a signal handler may read, too
        self._bell = Bell()
        self.closed = False
        self.watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._kept) + len(self._lossy) + bool(self._lost)

    # ── on the reactor's thread ───────────────────────────────────────────────────────────────────

    def wants(self, type: str) -> bool:
        return not self.closed and (self._types is None or type in self._types)

    def put(self, events: Sequence[Emit]) -> None:
        """The events of a turn, of which it takes what is meant for it."""
        wanted = self.batch_id
        mine = events if wanted is None else [event for event in events if event.batch_id == wanted]
        if mine and self._take_in(mine):
            self._tell()

    def _take_in(self, events: Sequence[Emit]) -> bool:
        """Whether there is anything new to be seen."""
        with self._lock:
            if self.closed:
                return False
            before, types = self._arrivals, self._types
            for event in events:
                if types is None or event.type in types:
                    self._append(event)
            self.closed = self.batch_id is not None and events[-1].type == "batch_finished"
            return self.closed or self._arrivals != before

    def _append(self, event: Emit) -> None:
        queue = self._lossy if event.type in LOSSY else self._kept
        queue.append((self._arrivals, event))
        self._arrivals += 1
        self._bytes += _size(event)
        while len(self._kept) + len(self._lossy) > self.most or self._bytes > MOST_BYTES:
            self._lost_at = self._pop(self._lossy or self._kept).at
            self._lost += 1

    # ── on any thread ─────────────────────────────────────────────────────────────────────────────

    def take(self) -> Emit | None:
        """The next event; None if there is none now."""
        with self._lock:
            if self._lost:
                return self._lag()
            kept, lossy = self._kept, self._lossy
            if not (kept or lossy):
                return None
            return self._pop(kept if _earlier(kept, lossy) else lossy)

    def _pop(self, queue: deque[tuple[int, Emit]]) -> Emit:
        event = queue.popleft()[1]
        self._bytes -= _size(event)
        return event

    def _lag(self) -> Emit:
        count, self._lost = self._lost, 0
        return Emit("lag", 0, self.batch_id or "", None, self._lost_at, 0, {"count": count})

    def wait(self, until: float | None) -> bool:
        """Until there is an event, or none will come; False when it is that time of `time.monotonic` before."""
        return self._bell.wait_for(lambda: len(self) > 0 or self.closed, until)

    def close(self) -> None:
        """Nothing more comes in; what is in it can still be taken."""
        with self._lock:
            self.closed = True
        self._tell()

    def discard(self) -> None:
        """The same, and what is in it is gone."""
        with self._lock:
            self._kept.clear()
            self._lossy.clear()
            self._bytes = self._lost = 0
        self.close()

    def abandon(self) -> None:
        """From a finalizer, which may run in the middle of anything, so it takes no lock: whoever puts sees it."""
        self.closed = True

    def _tell(self) -> None:
        self._bell.ring()
        for watcher in list(self.watchers):
            watcher()


def _size(event: Emit) -> int:
    return len(event.fields["chunk"]) if event.type == "output" else 0


def _earlier(one: deque[tuple[int, Emit]], other: deque[tuple[int, Emit]]) -> bool:
    """Whether the first of one came before the first of the other; one of them has any."""
    return bool(one) and (not other or one[0][0] < other[0][0])
