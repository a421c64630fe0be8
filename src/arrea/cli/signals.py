"""Ctrl-C, SIGTERM and their like: they end the batch by the kill ladder, and then this program by the same signal.

Dying by the signal, instead of exiting with a code, is what tells a shell or a supervisor what happened
(https://www.cons.org/cracauer/sigint.html).

A signal raises nothing: an exception in the middle of anything could leave a lock of the engine held, and then
commands would be left running. It becomes an item of the queue on which the main thread waits. Only while that
thread does nothing but wait for the end of what runs (`hurried`), another one raises `Interrupted` there.
"""

from __future__ import annotations

# The C half of `signal`; the other half only gives its numbers names, which takes 4 ms at every start.
import _signal
import os
from _queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from arrea._batch import Stream

SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM = 1, 2, 3, 13, 15
ENDING = (SIGHUP, SIGINT, SIGQUIT, SIGTERM)


class Interrupted(BaseException):
    """Another signal came while the commands were being ended: they have to die at once."""


class Signals:
    """A context manager. While it lasts, the signals are put into `events`; `first` is the first, 0 if none came.

    What was ignored (nohup) stays so.
    """

    def __init__(self) -> None:
        self.events: SimpleQueue[object] = SimpleQueue()
        self.first = 0
        self._before: dict[int, Any] = {}
        self._hurried = False

    def __enter__(self) -> Signals:
        for number in ENDING:
            before = _signal.getsignal(number)
            if before != _signal.SIG_IGN:
                self._before[number] = before
                _signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            _signal.signal(number, before)

    def _note(self, number: int, frame: object) -> None:
        self.first = self.first or number
        if self._hurried:
            self._hurried = False  # only once: more of them could only stop the killing
            raise Interrupted
        self.events.put(number)

    def end(self, results: Stream) -> None:
        """Ends what runs: SIGTERM, a grace, SIGKILL; or SIGKILL at once if another signal comes meanwhile."""
        try:
            self._hurried = True
            results.close()
            self._hurried = False
        except Interrupted:
            results.close()  # they are being killed: waits for the end of that


def die_by(number: int) -> int:
    """Ends this process by the signal. Hands back the code for a shell, should the signal be blocked."""
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
