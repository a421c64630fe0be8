"""Ctrl-C, SIGTERM and their like: they end the batch by the kill ladder, and then this program by the same signal.

Dying by the signal, instead of exiting with a code, is what tells a shell or a supervisor what happened
(https://www.cons.org/cracauer/sigint.html).

A signal raises nothing: an exception in the middle of anything could leave a lock of the engine held, and then
commands would be left running. It writes to the pipe on which the main thread waits; a lock would not do, for a
signal that comes just before the wait begins doesn't end it, nor does one that the kernel hands to another thread,
as it does with the second of two that come together.

Two more are only noted: SIGUSR1 asks how things stand, SIGTSTP (Ctrl-Z) stops us and what runs until SIGCONT.
"""

from __future__ import annotations

# The C half of `signal`; the other half only gives its numbers names, which takes 4 ms at every start.
import _signal
import _thread
import os
import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from arrea._app.batch import Batch

SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGPIPE, SIGTERM, SIGTSTP = 1, 2, 3, 10, 13, 15, 20
ENDING = (SIGHUP, SIGINT, SIGQUIT, SIGTERM)

LOOK_EVERY_S = 0.01
KILLED_WITHIN_S = 1.0


class Signals:
    """A context manager, for the main thread. While it lasts, the signals end `wait`.

    first: the first that came and ends, 0 if none did; count: how many. asked, stopping: SIGUSR1 or SIGTSTP came
    since these were last set to False. What was ignored (nohup) stays so, but for SIGUSR1: who sends that one wants
    an answer.
    """

    def __init__(self) -> None:
        self.first = self.count = 0
        self.asked = self.stopping = False
        self._before: dict[int, Any] = {}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._poll = select.poll()
        self._poll.register(self._reading, select.POLLIN)

    def __enter__(self) -> Signals:
        self._woken_before = _signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in (*ENDING, SIGTSTP, SIGUSR1):
            before = _signal.getsignal(number)
            if before != _signal.SIG_IGN or number == SIGUSR1:
                self._before[number] = before
                _signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            _signal.signal(number, before)
        _signal.set_wakeup_fd(self._woken_before)
        os.close(self._reading)
        os.close(self._writing)

    def _note(self, number: int, frame: object) -> None:
        if number == SIGUSR1:
            self.asked = True
        elif number == SIGTSTP:
            self.stopping = True
        else:
            self._note_end(number)

    def _note_end(self, number: int) -> None:
        self.first = self.first or number
        self.count += 1

    def wait(self, seconds: float | None = None) -> None:
        """Until a signal comes, or `wake` is called."""
        if self._poll.poll(None if seconds is None else max(0.0, seconds * 1000.0)):
            os.read(self._reading, 4096)

    def wake(self) -> None:
        """Ends `wait`, from another thread."""
        try:
            os.write(self._writing, b"\0")
        except OSError:
            return  # so many signals came that nothing more fits, or nobody waits any longer

    def stop(self) -> None:
        """Stops this process, as SIGTSTP does where nobody handles it. Returns when SIGCONT came.

        At once where nobody could send that: in an orphaned process group the kernel ignores the signal.
        """
        _signal.signal(SIGTSTP, _signal.SIG_DFL)
        # To this thread, which it stops on its way out of the call: another one would take its time.
        _signal.pthread_kill(_thread.get_ident(), SIGTSTP)
        _signal.signal(SIGTSTP, self._note)

    def end(self, batch: Batch) -> None:
        """Ends what runs: SIGTERM, a grace, SIGKILL; or SIGKILL at once if another signal comes meanwhile."""
        enough = 2 if self.first else 1  # not a signal began it, but output that can't be written
        batch.cancel()
        self._wait_for(lambda: batch.settled or self.count >= enough, batch.ends_within_s)
        if not batch.settled:
            batch.kill()
            self._wait_for(lambda: batch.settled, KILLED_WITHIN_S)

    def _wait_for(self, happened: Callable[[], bool], seconds: float) -> None:
        until = monotonic() + seconds
        while not happened() and monotonic() < until:
            self.wait(LOOK_EVERY_S)


def die_by(number: int) -> int:
    """Ends this process by the signal. Hands back the code for a shell, should the signal be blocked."""
    _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
