"""What an engine tells: counts, events, output, and its log. It is the reactor's observer; nothing depends on it."""

from __future__ import annotations

import os

from arrea._model.checks import check_callback, shown
from arrea._model.errors import InvalidOption, MonitorUnavailable
from arrea._observe.bus import Bus

# What only who subscribes needs is imported then: it would cost each start of the command line 2 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from arrea._app.subscription import Subscription
    from arrea._engine.monitor import Monitor
    from arrea._model.event import Event
    from arrea._model.stats import Stats
    from arrea._model.step import AttemptId, Effect, Emit, Log
    from arrea._prepare.config import Configuration
    from arrea._runtime.outflow import Outflow


class Telling:
    """Of one engine. `monitor` counts; `configuration` says what is logged."""

    def __init__(self, monitor: Monitor, configuration: Configuration, epoch_ms: float) -> None:
        self._monitor: Monitor | None = monitor
        self._configuration = configuration
        self._epoch_ms = epoch_ms
        self._bus = Bus(self._log)
        self._pid = os.getpid()

    # ── on the reactor's thread ───────────────────────────────────────────────────────────────────

    @property
    def wants_events(self) -> bool:
        return self._bus.heard

    @property
    def wants_output(self) -> bool:
        return self._bus.wants_output

    def observe(self, effects: Sequence[Effect]) -> None:
        if self._monitor is not None:
            try:
                self._monitor.observe(effects)
            except Exception:  # noqa: BLE001 - a fault of the counting: work goes on without it, and `stats` says so
                self._monitor = None
        self._bus.publish(effects)

    # ── from any thread ───────────────────────────────────────────────────────────────────────────

    def stats(self) -> Stats:
        if self._monitor is None:
            raise MonitorUnavailable("the counters of this engine have failed, which is a fault of Arrea")
        return self._monitor.stats()

    def subscribe(
        self,
        callback: Callable[[Event], object] | None,
        batch_id: str | None,
        types: Iterable[str] | None,
    ) -> Subscription:
        from arrea._app.subscription import Subscription
        from arrea._model.event import check_types
        from arrea._observe.mailbox import Mailbox

        box = Mailbox(_checked_id(batch_id), check_types(types), callback)
        if callback is None:
            self._bus.add(box)
        else:
            self._bus.serve(box, self._teller(callback), self._reporter("the event callback", callback))
        return Subscription(self._bus, box, self._epoch_ms)

    def _teller(self, callback: Callable[[Event], object]) -> Callable[[Emit], object]:
        from arrea._model.event import Event

        return lambda emitted: callback(Event(emitted, self._epoch_ms))

    def unsubscribe(self, subscription: Subscription | Callable[[Event], object]) -> None:
        from arrea._app.subscription import Subscription

        if isinstance(subscription, Subscription):
            subscription.unsubscribe()
        elif self._pid == os.getpid():
            self._bus.remove_callback(check_callback(subscription, "subscription"))

    def outflow(
        self, on_output: Callable[[Event], object], batch_id: str, resume: Callable[[Outflow], None]
    ) -> Outflow:
        """The way of a batch's output to its own function."""
        from arrea._model.event import Event
        from arrea._model.step import Emit
        from arrea._runtime.outflow import Outflow

        def show(attempt: AttemptId, stream: str, chunk: bytes, at: float) -> None:
            fields = {"attempt": attempt[2], "stream": stream, "chunk": chunk}
            on_output(Event(Emit("output", attempt[0], batch_id, attempt[1], at, 0, fields), self._epoch_ms))

        return Outflow(show, resume, self._reporter("on_output", on_output))

    def close(self) -> None:
        self._bus.close()

    def end(self) -> None:
        """The engine has ended, by itself perhaps: nobody is told anything any more, but for what is on its way."""
        self._bus.begin_close()

    # ── the log ───────────────────────────────────────────────────────────────────────────────────

    def _log(self, warned: Log) -> None:
        """On the observer thread."""
        for line in warned.lines:
            self._write("warning", "%s: %s", warned.task, line)

    def _reporter(self, what: str, function: Callable[..., object]) -> Callable[[BaseException], None]:
        """Says of a user's function that it raised."""

        def report(error: BaseException) -> None:
            told = "%s %s raised %s and is not called again"
            self._write("error", told, what, shown(function), type(error).__name__, error=error)

        return report

    def _write(self, level: str, told: str, *words: str, error: BaseException | None = None) -> None:
        """A line of the log. The host's own handlers run here: what they raise ends no thread of ours."""
        from arrea._prepare.keys import LOG_LEVELS

        if LOG_LEVELS.index(level) < LOG_LEVELS.index(self._configuration.effective().log_level):
            return
        import logging

        try:
            logging.getLogger("arrea").log(getattr(logging, level.upper()), told, *words, exc_info=error)
        except BaseException as raised:  # noqa: BLE001 - SystemExit too
            _complain(raised)


def _complain(error: BaseException) -> None:
    """As Python does for a thread that ends with an error."""
    import threading

    thread = threading.current_thread()
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))


def _checked_id(batch_id: object) -> str | None:
    if batch_id is None or isinstance(batch_id, str):
        return batch_id
    raise InvalidOption("batch_id", f"batch_id must be text, the id of a batch, not {shown(batch_id)}")
