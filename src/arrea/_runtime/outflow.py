"""Output on its way to a function of the caller's (`on_output`): whole, in order, on one thread of its batch.

Given pieces of output and results on the reactor's thread, hands them on in that order: so whoever has a result has
been shown all of its output before. Nothing is dropped: while more waits than `MOST_BYTES` the reactor reads no more
of this batch's commands, whose pipes fill, and who wait as they would for a slow pipe.
"""

from __future__ import annotations

import threading
from _queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.step import AttemptId

MOST_BYTES = 2**20
# A function that hasn't come back for so long lets go of the commands that have exited, and of as many again each
# time it goes on so long: then their slots are free for others, and what piles up does so slowly.
STUCK_MS = 5_000.0


class Outflow:
    """Of one batch. `show` gets each piece; `resume` is called when there is room again, from the thread.

    full: no more should be read for now. Closed by `finish`; what was put before is still handed on.
    """

    def __init__(
        self,
        show: Callable[[AttemptId, str, bytes, float], object],
        resume: Callable[[Outflow], None],
        report: Callable[[BaseException], None],
    ) -> None:
        self._show = show
        self._resume = resume
        self._report = report
        self._queue: SimpleQueue[tuple[Callable[..., object], tuple[object, ...], int] | None] = SimpleQueue()
        self._counting = threading.Lock()  # never held while anything else is done
        self._waiting_bytes = 0
        self._broken = self._released = False
        self.full = False
        self._shown = self._seen = 0  # pieces, all of them and when the reactor looked
        self._stuck_since = self._let_go_at = 0.0
        self._thread = threading.Thread(target=self._run, name="arrea-output", daemon=True)

    def start(self) -> None:
        """Raises RuntimeError if the machine has no room for the thread."""
        self._thread.start()

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is the function, or was called by it."""
        return threading.current_thread() is self._thread

    # ── on the reactor's thread ───────────────────────────────────────────────────────────────────

    def put(self, attempt: AttemptId, stream: str, chunk: bytes, now: float) -> None:
        if self._broken:
            return
        with self._counting:
            self._waiting_bytes += len(chunk)
            if self._waiting_bytes > MOST_BYTES and not (self.full or self._released):
                self.full, self._stuck_since = True, now
        self._queue.put((self._show_one, (attempt, stream, chunk, now), len(chunk)))

    def after(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls this when all that was put before has been handed on."""
        self._queue.put((function, arguments, 0))

    def stuck(self, now: float) -> bool:
        """Whether commands that have exited should wait for it no longer: in one turn of each `STUCK_MS`."""
        if self._shown != self._seen:
            self._seen, self._stuck_since = self._shown, now
        if now >= self.stuck_at:
            self._let_go_at = self._stuck_since = now
        return self.full and now == self._let_go_at

    @property
    def stuck_at(self) -> float:
        """When to ask again."""
        return self._stuck_since + STUCK_MS

    def finish(self) -> None:
        self._queue.put(None)

    # ── on others ─────────────────────────────────────────────────────────────────────────────────

    def release(self) -> None:
        """The batch is being ended: its commands wait for nobody any more."""
        self._released = True
        self._make_room()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            function, arguments, size = item
            function(*arguments)
            if size:
                self._took(size)

    def _show_one(self, attempt: AttemptId, stream: str, chunk: bytes, now: float) -> None:
        if self._broken:
            return
        try:
            self._show(attempt, stream, chunk, now)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it ends the function, not Arrea
            self._broken = True
            self._report(error)

    def _took(self, size: int) -> None:
        self._shown += 1
        with self._counting:
            self._waiting_bytes -= size
        if self.full and (self._waiting_bytes <= MOST_BYTES // 2 or self._broken):
            self._make_room()

    def _make_room(self) -> None:
        if self.full:
            self.full = False
            self._resume(self)
