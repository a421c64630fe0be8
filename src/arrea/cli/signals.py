"""Ctrl-C, SIGTERM and SIGHUP: they end the batch by the kill ladder, and then this program by the same signal.

Dying by the signal, instead of exiting with a code, is what tells a shell or a supervisor what happened
(https://www.cons.org/cracauer/sigint.html).
"""

from __future__ import annotations

# The C half of `signal`; the other half only gives its numbers names, which takes 4 ms at every start.
import _signal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

SIGHUP, SIGINT, SIGTERM = 1, 2, 15


class Interrupted(BaseException):
    """One of the signals came. Not an `Exception`: nothing on the way may take it for an error of its own."""

    def __init__(self, signal: int) -> None:
        super().__init__(f"signal {signal}")
        self.signal = signal


class interruptible:
    """While it lasts, the signals raise `Interrupted` in the main thread. What was ignored (nohup) stays so."""

    def __enter__(self) -> None:
        for number in (SIGHUP, SIGINT, SIGTERM):
            if _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _interrupt)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (SIGHUP, SIGINT, SIGTERM):
            if _signal.getsignal(number) is _interrupt:
                _signal.signal(number, _signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def die_by(number: int) -> int:
    """Ends this process by the signal. Hands back the code for a shell, should the signal be blocked."""
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
