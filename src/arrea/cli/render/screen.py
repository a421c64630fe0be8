"""The thread that shows results, and the main thread, which waits for it and for signals.

The main thread only waits: so a signal is heard at once, also while the output can't be written because its reader
is slow, and nothing that it does is interrupted halfway.
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from arrea._batch import Stream
    from arrea.cli.render.plain import Plain
    from arrea.cli.signals import Signals

SHOWN_TOGETHER_S = 0.004
# For what was there when the batch was ended; a reader that takes longer isn't waited for.
SHOW_THE_REST_S = 0.5


class Screen:
    """Shows one batch. `problem`: what the results raised, or the `OSError` of writing; None if all is shown."""

    def __init__(self, display: Plain, signals: Signals) -> None:
        self._display = display
        self._signals = signals
        self.problem: BaseException | None = None
        self._over = False

    def show(self, results: Stream) -> None:
        """Returns when all is over. A signal ends the batch first, and so does output that can't be written."""
        threading.Thread(target=self._run, args=(results,), name="arrea-screen", daemon=True).start()
        while not (self._over or self._signals.first):
            self._signals.wait()
        if self._signals.first or self.problem is not None:
            self._signals.end(results)
            self._wait_for_the_rest()

    def _wait_for_the_rest(self) -> None:
        until = time.monotonic() + SHOW_THE_REST_S
        while not self._over and (left := until - time.monotonic()) > 0:
            self._signals.wait(left)

    # ── on its own thread ─────────────────────────────────────────────────────────────────────────

    def _run(self, results: Stream) -> None:
        try:
            self._show(results)
        except BaseException as error:  # noqa: BLE001 - the main thread says what it means
            self.problem = error
        self._over = True
        self._signals.wake()

    def _show(self, results: Stream) -> None:
        """A few milliseconds' worth at a time: to wake up for each result costs more than it."""
        for result in results:
            self._display.finished(result)
            if not results.ready:
                self._rest()
        self._display.summary(interrupted=bool(self._signals.first))

    def _rest(self) -> None:
        self._display.flush()
        if not self._display.complete:
            time.sleep(SHOWN_TOGETHER_S)
