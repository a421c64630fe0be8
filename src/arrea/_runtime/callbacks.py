"""Where users' functions run: on threads of their own, never in a turn of the engine.

Given an `Ask`, hands back an `Answered`. A function that never returns costs its thread; others are asked on
another one.
"""

from __future__ import annotations

import threading
from _queue import SimpleQueue

from arrea._model.step import Answered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.step import Ask

MOST_THREADS = 32


class Callbacks:
    """Threads that call users' functions, one more whenever all are busy. Methods: reactor's thread only."""

    def __init__(self, deliver: Callable[[Answered], None]) -> None:
        self._deliver = deliver
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = 0
        self._idle = threading.Semaphore(0)

    def ask(self, ask: Ask) -> None:
        self._add(lambda: self._deliver(_answer(ask)))

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Runs a function of ours that may be slow; nobody waits for it."""
        self._add(lambda: function(*arguments))

    def _add(self, call: Callable[[], object]) -> None:
        if not self._idle.acquire(blocking=False) and self._threads < MOST_THREADS:
            self._threads += 1
            self._start_thread()
        self._calls.put(call)

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._run, name="arrea-callback", daemon=True).start()
        except (
            RuntimeError
        ):  # the machine has no room: another thread takes the call, or nobody answers in time
            self._threads -= 1

    def stop(self) -> None:
        for _ in range(self._threads):
            self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            self._idle.release()


def _answer(ask: Ask) -> Answered:
    try:
        return Answered(ask.attempt, ask.function(*ask.arguments))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it ends the function, not Arrea
        return Answered(ask.attempt, None, error, _text(error))


def _text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - an exception whose own text raises
        return f"{type(error).__name__} (its text can't be had)"
