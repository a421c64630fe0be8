"""The observer thread: the only one on which subscribers' callbacks run.

Given mailboxes with a callback each, empties them in turn. A callback that is slow holds up the other callbacks of
this engine and nothing else; one that raises is reported once and dropped.
"""

from __future__ import annotations

import threading
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


class Served:
    """A mailbox and the callback that gets what is in it. `waits`: it stands in the queue already."""

    __slots__ = ("box", "callback", "dispatcher", "name", "waits")

    def __init__(
        self, box: Mailbox, callback: Callable[[Emit], object], name: str, dispatcher: Dispatcher
    ) -> None:
        self.box = box
        self.callback = callback
        self.name = name
        self.dispatcher = dispatcher
        self.waits = False

    def stand_in_line(self) -> None:
        """From the reactor's thread: something came."""
        if not self.waits:
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
        try:
            self.callback(event)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it ends the callback, not Arrea
            self.box.close()
            while self.box.take() is not None:
                continue
            _report(self.name, error)


class Dispatcher:
    """One thread, started when the first callback subscribes or the first line is logged."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Served | None] = SimpleQueue()
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque(maxlen=MOST_CALLS)
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._stopped = self._busy = False

    def serve(self, box: Mailbox, callback: Callable[[Emit], object], name: str) -> None:
        box.watchers.append(Served(box, callback, name, self).stand_in_line)
        self._ensure_thread()

    def enqueue(self, served: Served | None) -> None:
        self._ensure_thread()
        self._queue.put(served)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Runs something slow of ours there. From the reactor's thread."""
        self._calls.append((function, arguments))
        self.enqueue(None)

    @property
    def idle(self) -> bool:
        return self._thread is None or (self._queue.empty() and not self._busy)

    def stop(self) -> None:
        with self._starting:
            self._stopped = True
        self._queue.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_WITHIN_S)

    def _ensure_thread(self) -> None:
        if self._thread is None:
            with self._starting:
                self._start_thread()

    def _start_thread(self) -> None:
        if self._thread is not None or self._stopped:
            return
        thread = threading.Thread(target=self._run, name="arrea-observer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no room for a thread: the next event tries again
            return
        self._thread = thread

    def _run(self) -> None:
        while True:
            self._busy = False
            served = self._queue.get()
            self._busy = True
            if served is not None:
                served.tell_some()
            self._run_calls()
            if self._stopped and self._queue.empty():
                return

    def _run_calls(self) -> None:
        while self._calls:
            function, arguments = self._calls.popleft()
            function(*arguments)


def _report(name: str, error: BaseException) -> None:
    import logging

    logging.getLogger("arrea").error(
        "the event callback %s raised %s and is not called again", name, type(error).__name__, exc_info=error
    )
