"""What callers get back: `Result`, `BatchResult`, `Output`, `Usage`.

They are views: read-only properties over the engine's records, computed when someone looks, because most
fields of most results are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from arrea._model.ending import Ending, Return
from arrea._model.errors import TaskError, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any, overload

    from arrea._model.ending import AnyEnding, Outcome, Rusage


class ReadOnly:
    """What callers get can't be changed by one of them under the eyes of another."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} can't be set: results are read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} can't be deleted: results are read-only")


class View(ReadOnly):
    """A read-only look at a record; two are equal when they look at the same one."""

    __slots__ = ("_of",)
    _fields: tuple[str, ...] = ()
    _of: Any

    def __init__(self, of: Any) -> None:
        object.__setattr__(self, "_of", of)

    def __eq__(self, other: object) -> bool:
        return self._of is other._of if isinstance(other, type(self)) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), id(self._of)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={_short(repr(getattr(self, name)))}" for name in self._fields)
        return f"{type(self).__name__}({fields})"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:190]}... ({len(text)} characters)"


class Output(View):
    """What a command printed and how it ended: the `data` of its result.

    `stdout` and `stderr` are text (UTF-8; what isn't is shown as \\ufffd), `stdout_bytes` and
    `stderr_bytes` are raw. Kept are `max_output_bytes` of each stream, half from its beginning and half from its
    end: `truncated` says that something is missing, `stdout_total_bytes` and `stderr_total_bytes` how much came in all.
    `exit_code` is None when a `signal` (its number) ended it. `pipe_left_open`: something that the command left in
    the background still held its output when Arrea stopped reading. `pid` and `duration_ms` are of the last attempt.
    """

    __slots__ = ()
    _fields = ("exit_code", "signal", "stdout", "stderr", "truncated")
    _of: Ending

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def stdout_bytes(self) -> bytes:
        return b"" if self._of.stdout is None else self._of.stdout.read()

    @property
    def stderr_bytes(self) -> bytes:
        return b"" if self._of.stderr is None else self._of.stderr.read()

    def stdout_chunks(self) -> Iterator[bytes]:
        """The kept bytes of stdout in pieces of at most 1 MiB, for what is too big to hold at once."""
        return iter(()) if self._of.stdout is None else self._of.stdout.chunks()

    def stderr_chunks(self) -> Iterator[bytes]:
        """The same for stderr."""
        return iter(()) if self._of.stderr is None else self._of.stderr.chunks()

    @property
    def stdout_total_bytes(self) -> int:
        return 0 if self._of.stdout is None else self._of.stdout.total_bytes

    @property
    def stderr_total_bytes(self) -> int:
        return 0 if self._of.stderr is None else self._of.stderr.total_bytes

    @property
    def truncated(self) -> bool:
        return any(stream is not None and stream.truncated for stream in (self._of.stdout, self._of.stderr))

    @property
    def exit_code(self) -> int | None:
        return self._of.exit_code

    @property
    def signal(self) -> int | None:
        return self._of.signal

    @property
    def signal_name(self) -> str | None:
        """Such as "SIGSEGV"; None if no signal ended it."""
        return None if self._of.signal is None else signal_name(self._of.signal)

    @property
    def pid(self) -> int:
        return self._of.pid

    @property
    def pipe_left_open(self) -> bool:
        return self._of.pipe_left_open

    @property
    def duration_ms(self) -> float:
        return self._of.duration_ms


class Usage(View):
    """The kernel's account of the last attempt's process and the children that it waited for (getrusage(2)).

    Of a function it is the difference over the call, and nothing is counted for calls that take less than 0.1 ms.
    `max_rss_kib` is the peak of the process that it ran in, earlier calls included.

    `user_ms` and `system_ms` are CPU time. `max_rss_kib` is None where the kernel's figure isn't above the
    host's own peak: a child starts in its parent's memory, and Linux counts that as the child's.
    `rusage` is the whole record.
    """

    __slots__ = ()
    _fields = ("user_ms", "system_ms", "max_rss_kib")
    _of: Ending

    @property
    def rusage(self) -> Rusage:
        assert self._of.rusage is not None
        return self._of.rusage

    @property
    def user_ms(self) -> float:
        return self.rusage.ru_utime * 1000.0

    @property
    def system_ms(self) -> float:
        return self.rusage.ru_stime * 1000.0

    @property
    def max_rss_kib(self) -> int | None:
        peak = self.rusage.ru_maxrss
        return peak if peak > self._of.host_peak_kib else None


def data_of(ending: AnyEnding | None) -> Any:
    """What callers get of an ending: what a command printed, what a function returned."""
    if isinstance(ending, Ending):
        return Output(ending)
    return ending.value if isinstance(ending, Return) else None


class Result(ReadOnly):
    """How one task ended. Truthy on success. A failed task is a value: nothing was raised.

    success, error (None on success), failures ([] or [error]).
    data: of a function what it returned, None if it failed; of a command its `Output`, also of a failed one, as far
    as it ran; None if it never started.
    label, index (place in the batch, from 0), worker_id ("<batch_id>:<index>"), batch_id.
    attempts: how often it was started. duration_ms: from the first start to the end, waits between included.
    queued_ms: from submission to the first start. started_at: wall clock of the first start (aware datetime, UTC).
    warnings: lines of stderr that warn, of a command that exited 0; what a function warned (`arrea.warn`).
    usage: what the kernel counted; None where it can't (coroutines).
    """

    __slots__ = ("_epoch_ms", "_of", "batch_id")

    def __init__(self, batch_id: str, outcome: Outcome, epoch_ms: float) -> None:
        put = object.__setattr__
        put(self, "batch_id", batch_id)
        put(self, "_of", outcome)
        put(self, "_epoch_ms", epoch_ms)

    _of: Outcome
    _epoch_ms: float
    batch_id: str

    def __bool__(self) -> bool:
        return self._of.error is None

    def __repr__(self) -> str:
        told = "success" if self.success else f"error={self._of.error!s}"
        return f"<Result {self.worker_id} {told}>"

    @property
    def success(self) -> bool:
        return self._of.error is None

    @property
    def error(self) -> TaskError | None:
        return self._of.error

    @property
    def failures(self) -> list[TaskError]:
        return [] if self._of.error is None else [self._of.error]

    @property
    def data(self) -> Any:
        return data_of(self._of.ending)

    @property
    def command(self) -> str:
        """The command as it was written."""
        return self._of.command.text

    @property
    def label(self) -> Any:
        return self._of.command.label

    @property
    def index(self) -> int:
        return self._of.index

    @property
    def worker_id(self) -> str:
        return f"{self.batch_id}:{self._of.index}"

    @property
    def attempts(self) -> int:
        return self._of.attempts

    @property
    def duration_ms(self) -> float:
        started = self._of.started_at
        return 0.0 if started is None else self._of.ended_at - started

    @property
    def queued_ms(self) -> float:
        return self._of.queued_ms

    @property
    def started_at(self) -> datetime | None:
        if self._of.started_at is None:
            return None
        from datetime import UTC, datetime

        return datetime.fromtimestamp((self._epoch_ms + self._of.started_at) / 1000.0, UTC)

    @property
    def warnings(self) -> tuple[str, ...]:
        return self._of.warnings

    @property
    def usage(self) -> Usage | None:
        ending = self._of.ending
        return None if ending is None or ending.rusage is None else Usage(ending)

    def unwrap(self) -> Any:
        """The `data` of a success; raises the error of a failure."""
        if self._of.error is not None:
            raise self._of.error
        return self.data


class BatchStats(ReadOnly):
    """Counts of one batch: tasks (not attempts), and `retried` attempts. `duration_ms` is wall time."""

    __slots__ = ("duration_ms", "failed", "not_started", "retried", "succeeded", "total")

    def __init__(
        self, total: int, succeeded: int, not_started: int, retried: int, duration_ms: float
    ) -> None:
        put = object.__setattr__
        put(self, "total", total)
        put(self, "succeeded", succeeded)
        put(self, "not_started", not_started)
        put(self, "failed", total - succeeded - not_started)
        put(self, "retried", retried)
        put(self, "duration_ms", duration_ms)

    total: int
    succeeded: int
    failed: int
    not_started: int
    retried: int
    duration_ms: float

    def __repr__(self) -> str:
        return (
            f"BatchStats(total={self.total}, succeeded={self.succeeded}, failed={self.failed}, "
            f"not_started={self.not_started}, retried={self.retried}, duration_ms={self.duration_ms:.1f})"
        )


class BatchResult(ReadOnly, Sequence[Result]):
    """How a batch ended: a sequence of its results in input order. Truthy only if every task succeeded.

    success; results; failures (the failed results, never-started ones included); not_started (those results);
    data (list of each result's data); stats (`BatchStats`); batch_id.
    stopped_by: None, or why the batch ended early: "stop", "max_failures", "deadline" or "cancelled".
    """

    __slots__ = ("batch_id", "results", "stats", "stopped_by")

    def __init__(
        self, batch_id: str, results: list[Result], retried: int, duration_ms: float, stopped_by: str | None
    ) -> None:
        put = object.__setattr__
        put(self, "batch_id", batch_id)
        put(self, "results", results)
        put(self, "stopped_by", stopped_by)
        succeeded = sum(1 for result in results if result.success)
        stats = BatchStats(len(results), succeeded, len(self.not_started), retried, duration_ms)
        put(self, "stats", stats)

    batch_id: str
    results: list[Result]
    stats: BatchStats
    stopped_by: str | None

    @property
    def success(self) -> bool:
        return self.stats.succeeded == self.stats.total

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if not result.success]

    @property
    def not_started(self) -> list[Result]:
        return [r for r in self.results if r.error is not None and r.error.code == "not_started"]

    @property
    def data(self) -> list[Any]:
        return [result.data for result in self.results]

    def unwrap(self) -> list[Any]:
        """The data of all, in input order; raises an `ExceptionGroup` with every failed task's error."""
        self.raise_failures()
        return [result.unwrap() for result in self.results]

    def raise_failures(self) -> None:
        """Raises an `ExceptionGroup` of the failed tasks' errors, if there are any."""
        errors = [result.error for result in self.results if result.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self.results)} tasks failed", errors)

    def __bool__(self) -> bool:
        return self.success

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, index: int) -> Result: ...
        @overload
        def __getitem__(self, index: slice) -> Sequence[Result]: ...

    def __getitem__(self, index: int | slice) -> Result | Sequence[Result]:
        return self.results[index]

    def __repr__(self) -> str:
        return f"<BatchResult {self.batch_id} {self.stats!r}>"
