"""The thread that shows results, and the main thread, which waits for it and for signals.

The main thread only waits: so a signal is heard at once, also while the output can't be written because its reader
is slow, and nothing that it does is interrupted halfway.
"""

from __future__ import annotations

import threading
import time

from arrea._app.batch import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._app.batch import Batch
    from arrea._app.engine import Engine
    from arrea.cli.render.plain import Plain
    from arrea.cli.signals import Signals

SHOWN_TOGETHER_S = 0.004
# For what was there when the batch was ended; a reader that takes longer for anything isn't waited for.
SHOW_THE_REST_S = 0.5
SHOW_AT_MOST_S = 1.5  # also where it gets on: who interrupts us wants an end


class Screen:
    """Shows one batch. `problem`: what the results raised, or the `OSError` of writing; None if all is shown."""

    def __init__(self, signals: Signals, engine: Engine) -> None:
        self._signals = signals
        self._engine = engine
        self.problem: BaseException | None = None
        self._over = False
        self._answering: threading.Thread | None = None

    def show(self, batch: Batch, display: Plain, last: Callable[[], None]) -> None:
        """Returns when all is over. A signal ends the batch first, and so does output that can't be written.

        `last`: called when there are no more results, before the summary.
        """
        threading.Thread(
            target=self._run, args=(Stream(batch), display, last), name="arrea-screen", daemon=True
        ).start()
        while not (self._over or self._signals.first or self.problem):
            self._signals.wait()
            self._heed(display)
        if self._signals.first or self.problem is not None:
            self._signals.end(batch)
            self._wait_for_the_rest(display)

    def fail(self, problem: BaseException) -> None:
        """Nothing more can be shown: the batch is ended. From any thread."""
        self.problem = self.problem or problem
        self._signals.wake()

    def _wait_for_the_rest(self, display: Plain) -> None:
        """As long as it gets on, and nobody is in a hurry."""
        count, done, until = self._signals.count, -1, 0.0
        last = time.monotonic() + SHOW_AT_MOST_S
        while not self._over and count == self._signals.count:
            if display.done != done:
                done, until = display.done, min(last, time.monotonic() + SHOW_THE_REST_S)
            if until < time.monotonic():
                return
            self._signals.wait(until - time.monotonic())

    # ── signals that don't end it ─────────────────────────────────────────────────────────────────

    def _heed(self, display: Plain) -> None:
        if self._signals.asked:
            self._signals.asked = False
            self._answer(display)
        if self._signals.stopping:
            self._signals.stopping = False
            self._stop()

    def _answer(self, display: Plain) -> None:
        """On a thread of its own: it may have to wait for who reads it."""
        if self._answering is None or not self._answering.is_alive():
            from arrea.cli.state import tell_state

            arguments = (self._engine, display.total)
            self._answering = threading.Thread(target=tell_state, args=arguments, daemon=True)
            self._answering.start()

    def _stop(self) -> None:
        """Ctrl-Z: what runs is stopped with us, and its time stands still until we are continued."""
        self._engine.suspend()
        try:
            if not self._signals.first:
                self._signals.stop()
        finally:
            self._engine.resume()

    # ── on its own thread ─────────────────────────────────────────────────────────────────────────

    def _run(self, results: Stream, display: Plain, last: Callable[[], None]) -> None:
        try:
            self._show(results, display)
            last()
            display.summary(interrupted=bool(self._signals.first))
        except BaseException as error:  # noqa: BLE001 - the main thread says what it means
            self.problem = self.problem or error
        self._over = True
        self._signals.wake()

    def _show(self, results: Stream, display: Plain) -> None:
        """A few milliseconds' worth at a time: to wake up for each result costs more than it."""
        for result in results:
            if self.problem is not None:
                raise self.problem
            display.finished(result)
            if not results.ready:
                self._rest(display)

    def _rest(self, display: Plain) -> None:
        display.flush()
        if not display.complete:
            time.sleep(SHOWN_TOGETHER_S)
