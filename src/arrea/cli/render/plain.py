"""Progress and summary, as lines on stderr; the commands' own output is left to what shows it.

Given results as they finish. Hands each on to be shown, at once or in the order of input, and counts.
"""

from __future__ import annotations

import time

from arrea._model.text import describe, printable
from arrea.cli.streams import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Protocol

    from arrea._model.errors import TaskError
    from arrea._model.result import Result
    from arrea.cli.options import Look
    from arrea.cli.sources import Element

    class Shown(Protocol):
        """How the commands' output is shown.

        options: those of the batch that it needs. wants_all: also the results of what never began.
        """

        @property
        def options(self) -> Mapping[str, Any]: ...
        @property
        def wants_all(self) -> bool: ...

        def fed(self, commands: list[Element] | Iterator[Element]) -> list[Element] | Iterator[Element]:
            """What the engine gets; whoever has to know the commands' names looks at them here."""
            ...

        def show(self, result: Result) -> bool:
            """The output of one command; whether all of it could be had."""
            ...

        def flush(self) -> None:
            """Writes what was held back to be written together."""
            ...


# Up to so many commands each gets a line; of more, counts once a second, and the failures.
LINES_FOR = 50
COUNTS_EVERY_S = 1.0
NEVER_BEGUN_S = 1.0
FAILURES_LISTED = 20


class Plain:
    """Shows a batch. `total` is None while nobody knows it."""

    def __init__(self, shown: Shown, total: int | None, look: Look) -> None:
        self._shown = shown
        self.total = total
        self._ordered = look.output == "ordered"
        self._quiet = look.quiet
        self._direct = look.is_direct(total)
        self._held: dict[int, Result] = {}
        self._next = 0
        self._told_at = self._began = time.monotonic()
        self.done = self.failed = self.not_started = self.incomplete = 0
        self.last_error: TaskError | None = None
        self._failures: list[TaskError] = []  # the first ones, to be listed at the end

    @property
    def complete(self) -> bool:
        """Every command has its result."""
        return self.done == self.total

    def finished(self, result: Result) -> None:
        """The next result, in the order in which they finish."""
        self._count(result)
        for one in self._showable_now(result):
            self._show(one)
        self._progress(result)

    def _count(self, result: Result) -> None:
        self.done += 1
        if result.error is not None:
            self._count_failure(result.error)

    def _count_failure(self, error: TaskError) -> None:
        self.failed += 1
        self.last_error = error
        if error.code == "not_started":
            self.not_started += 1
        elif len(self._failures) < FAILURES_LISTED:
            self._failures.append(error)

    def _showable_now(self, result: Result) -> Iterator[Result]:
        if not self._ordered:
            yield result
            return
        self._held[result.index] = result
        while self._next in self._held:
            yield self._held.pop(self._next)
            self._next += 1

    def _show(self, result: Result) -> None:
        """All output was asked for, so only the disk can be the reason if there isn't all."""
        if not self._shown.show(result):
            self.incomplete += 1
            name = describe(result.index, result.command)
            self._tell(f"arrea: {name}: not all of its output could be kept: no room in $TMPDIR")

    def flush(self) -> None:
        """Writes what was held back to be written together."""
        self._shown.flush()

    def never_begun(self, results: Iterator[Result], hurried: Callable[[], bool]) -> None:
        """What a stopped batch left in a file: the engine never saw it, so it has no results of its own.

        hurried: a signal wants an end, so it is shown for `NEVER_BEGUN_S` at most. Judged here: a thread that writes
        all the time may starve the one that waits for it of the interpreter's lock.
        """
        if self.total is None or self.done >= self.total:
            return
        if not self._shown.wants_all:
            self._count_never_begun(self.total - self.done)
            return
        until = time.monotonic() + NEVER_BEGUN_S
        for result in results:
            if hurried() and time.monotonic() > until:
                break
            self._shown.show(result)
            self._count_never_begun(1)

    def _count_never_begun(self, count: int) -> None:
        self.done += count
        self.failed += count
        self.not_started += count

    # ── progress and summary ──────────────────────────────────────────────────────────────────────

    def _progress(self, result: Result) -> None:
        if self._quiet or self._direct:
            return
        error = result.error
        if error is not None and error.code == "not_started":
            return
        if error is not None or (self.total is not None and self.total <= LINES_FOR):
            self._tell(f"[{self._counted()}] {_told(result)}")
        elif time.monotonic() - self._told_at >= COUNTS_EVERY_S:
            self._tell(f"[{self._counted()}] {self.failed} failed")

    def _tell(self, line: str) -> None:
        self.flush()
        self._told_at = time.monotonic()
        tell(line)

    def _counted(self) -> str:
        return str(self.done) if self.total is None else f"{self.done}/{self.total}"

    def summary(self, interrupted: bool = False) -> None:
        """How many did what, and the failures once more where they may have scrolled away."""
        for held in sorted(self._held):  # the batch was cut short: what is there is shown
            self._show(self._held.pop(held))
        self.flush()
        if self._quiet:
            return
        if self._direct or self.done > LINES_FOR:
            self._list_failures()
        succeeded = self.done - self.failed
        parts = [f"{succeeded} succeeded", f"{self.failed - self.not_started} failed"]
        if self.not_started:
            parts.append(f"{self.not_started} not started")
        took = time.monotonic() - self._began
        noun = "command" if self.done == 1 else "commands"
        stopped = "interrupted: " if interrupted else ""
        tell(f"arrea: {stopped}{self.done} {noun}, {', '.join(parts)}, in {took:.1f} s")

    def _list_failures(self) -> None:
        for error in self._failures:
            tell(f"arrea: {printable(str(error))}")
        more = self.failed - self.not_started - len(self._failures)
        if more:
            tell(f"arrea: ... and {more} more")


def _told(result: Result) -> str:
    if result.error is not None:
        return printable(str(result.error))
    return f"{describe(result.index, result.command)}: done in {result.duration_ms:.0f} ms"
