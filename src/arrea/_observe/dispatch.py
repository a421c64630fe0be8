"""The observer thread: the only one on which subscribers' callbacks run.

Given mailboxes with a function each, empties them in turn. A callback that is slow holds up the other callbacks of
this engine and nothing else; one that raises is reported once and dropped.
"""

from __future__ import annotations

import threading
import time
from _queue import SimpleQueue
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.step import Emit
    from arrea._observe.mailbox import Mailbox

AT_ONCE = 64  # events of one mailbox before the next one has its turn
MOST_CALLS = 1000  # log lines that wait; of more, the oldest go
STOP_WITHIN_S = 1.0
NEVER = float("inf")


class Served:
    """A mailbox, the function that is told what is in it, and the one that gets what that raises.

    `waits`: it stands in the queue already.
    """

    __slots__ = ("box", "dispatcher", "report", "tell", "waits")

    def __init__(
        self,
        box: Mailbox,
        tell: Callable[[Emit], object],
        report: Callable[[BaseException], None],
        dispatcher: Dispatcher,
    ) -> None:
        self.box = box
        self.tell = tell
        self.report = report
        self.dispatcher = dispatcher
        self.waits = False

    def stand_in_line(self) -> None:
        """From the reactor's thread: something came."""
        if self.waits:
            self.dispatcher.ensure_thread()  # when it was enqueued there may have been no room for one
        else:
            self.waits = True
            self.dispatcher.enqueue(self)

    def tell_some(self) -> None:
        self.waits = False  # first: what comes from now on calls again
        for _ in range(AT_ONCE):
            event = self.box.take()
            if event is None:
                return
            self._tell(event)
        self.stand_in_line()

    def _tell(self, event: Emit) -> None:
        if self.dispatcher.too_late:
            self.box.discard()
            return
        try:
            self.tell(event)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it ends the callback, not Arrea
            self.box.discard()
            self.report(error)


class Dispatcher:
    """One thread, started when the first callback subscribes or the first line is logged."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Served | None] = SimpleQueue()
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque(maxlen=MOST_CALLS)
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._stop_by = NEVER

    def serve(
        self, box: Mailbox, tell: Callable[[Emit], object], report: Callable[[BaseException], None]
    ) -> None:
        box.watchers.append(Served(box, tell, report, self).stand_in_line)
        self.ensure_thread()

    def enqueue(self, served: Served | None) -> None:
        self.ensure_thread()
        self._queue.put(served)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Runs something slow of ours there, which never raises. From the reactor's thread."""
        self._calls.append((function, arguments))
        self.enqueue(None)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def begin_stop(self) -> None:
        """What waits is told within `STOP_WITHIN_S`, the rest never."""
        with self._starting:
            self._stop_by = min(self._stop_by, time.monotonic() + STOP_WITHIN_S)
        self._queue.put(None)

    def stop(self) -> None:
        """The same, and waits for that."""
        self.begin_stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, self._stop_by - time.monotonic()))

    @property
    def ended(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    @property
    def _stopping(self) -> bool:
        return self._stop_by < NEVER

    @property
    def too_late(self) -> bool:
        return time.monotonic() > self._stop_by

    # ── the thread ────────────────────────────────────────────────────────────────────────────────

    def ensure_thread(self) -> None:
        if self._thread is None:
            with self._starting:
                self._start_thread()

    def _start_thread(self) -> None:
        if self._thread is not None or self._stopping:
            return
        thread = threading.Thread(target=self._run, name="arrea-observer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread: the next event tries again
            return
        self._thread = thread

    def _run(self) -> None:
        while True:
            served = self._queue.get()
            if served is not None:
                served.tell_some()
            self._run_calls()
            if self._stopping and self._queue.empty():
                return

    def _run_calls(self) -> None:
        while self._calls:
            function, arguments = self._calls.popleft()
            function(*arguments)
