"""How attempts end, as the runtime saw it (`Ending`, of a call `Return` and `Crash`), and how tasks do (`Outcome`)."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from arrea._model.call import Work
    from arrea._model.errors import TaskError

    class Captured(Protocol):
        """One stream's output, as the runtime keeps it."""

        @property
        def total_bytes(self) -> int: ...
        @property
        def truncated(self) -> bool: ...
        def read(self) -> bytes: ...
        def chunks(self) -> Iterator[bytes]: ...

    class Rusage(Protocol):
        """The kernel's account of a child: `resource.struct_rusage`."""

        @property
        def ru_utime(self) -> float: ...
        @property
        def ru_stime(self) -> float: ...
        @property
        def ru_maxrss(self) -> int: ...


class Waited:
    """What a wait status says, None if it is lost. Source for the bits: wait(2), as glibc defines them."""

    __slots__ = ()
    status: int | None

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended it."""
        return None if self.status is None else (self.status & 0x7F) or None

    @property
    def exit_code(self) -> int | None:
        return None if self.status is None or self.status & 0x7F else self.status >> 8 & 0xFF


class Ending(Waited):
    """How one process ended, as the runtime saw it.

    status: the wait status, None if it is lost. stdout, stderr: None where nothing came.
    host_peak_kib: the host's own peak memory when the process was started.
    forgotten: it wouldn't die, not even of SIGKILL.
    """

    __slots__ = (
        "duration_ms", "forgotten", "host_peak_kib", "pid", "pipe_left_open", "rusage", "status", "stderr",
        "stdout", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        pid: int,
        status: int | None,
        duration_ms: float,
        stdout: Captured | None = None,
        stderr: Captured | None = None,
        pipe_left_open: bool = False,
        rusage: Rusage | None = None,
        host_peak_kib: int = 0,
        warnings: tuple[str, ...] = (),
        forgotten: bool = False,
    ) -> None:
        self.pid = pid
        self.status = status
        self.duration_ms = duration_ms
        self.stdout = stdout
        self.stderr = stderr
        self.pipe_left_open = pipe_left_open
        self.rusage = rusage
        self.host_peak_kib = host_peak_kib
        self.warnings = warnings
        self.forgotten = forgotten


class Raised:
    """What a function raised: the exception, or None where it can't be had here; and its texts, which always can.

    type_name: such as "ValueError" or "package.module.Oops". traceback: as Python would print it.
    """

    __slots__ = ("exception", "notes", "text", "traceback", "type_name")

    def __init__(
        self,
        exception: BaseException | None,
        type_name: str,
        text: str,
        traceback: str,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.exception = exception
        self.type_name = type_name
        self.text = text
        self.traceback = traceback
        self.notes = notes


class Stuck:
    """The function returned, but its value can't leave its process; `told` says why."""

    __slots__ = ("told",)

    def __init__(self, told: str) -> None:
        self.told = told


TIMES = Struct("<dd")  # began, ended: milliseconds of the monotonic clock
ACCOUNT = Struct("<dd14q")  # getrusage(2), in the order of `resource.struct_rusage`
ACCOUNT_BYTES = 2 * ACCOUNT.size  # of a call: before it, and after it
NO_ACCOUNT = bytes(ACCOUNT_BYTES)
MAX_RSS = 2  # its place, and the only figure that is no difference


def _import_loads(pickled: bytes) -> object:
    """Who runs commands doesn't need `_pickle`, which brings others along: it is imported at the first value."""
    global _loads
    from _pickle import loads

    _loads = loads
    return loads(pickled)


_loads: Callable[[bytes], object] = _import_loads


class Return:
    """How a call ended that came to an end by itself.

    began, ended: engine time. pid: of its process. problem: why it has no value; None if it has one.
    pickled: the value, which is unpickled when somebody looks: only such that runs nobody's code; None for another.
    account: `ACCOUNT` before the call, and after it; None where nobody knows it.
    """

    __slots__ = ("_value", "account", "began", "ended", "pickled", "pid", "problem", "warnings")
    forgotten = False
    host_peak_kib = 0

    def __init__(
        self,
        began: float,
        ended: float,
        pid: int,
        pickled: bytes | None,
        value: object = None,
        problem: Raised | Stuck | None = None,
        warnings: tuple[str, ...] = (),
        account: bytes | None = None,
    ) -> None:
        self.began = began
        self.ended = ended
        self.pid = pid
        self.pickled = pickled
        self._value = value
        self.problem = problem
        self.warnings = warnings
        self.account = account

    @property
    def value(self) -> object:
        """What the function returned."""
        pickled = self.pickled
        if pickled is not None:
            # In this order: another thread may look at the same time.
            self._value = _loads(pickled)
            self.pickled = None
        return self._value

    def open(self, value: object) -> None:
        """It was unpickled. In this order: another thread may look at the same time."""
        self._value = value
        self.pickled = None

    @property
    def duration_ms(self) -> float:
        return self.ended - self.began

    @property
    def rusage(self) -> Rusage | None:
        if self.account is None:
            return None
        from resource import struct_rusage

        before, after = ACCOUNT.iter_unpack(self.account)
        figures = [late - early for early, late in zip(before, after, strict=True)]
        figures[MAX_RSS] = after[MAX_RSS]
        return struct_rusage(figures)


class Crash(Waited):
    """How a call ended whose process died under it, or was killed.

    status: the wait status, None if it is lost. told: what is known besides.
    """

    __slots__ = ("duration_ms", "forgotten", "pid", "status", "told")
    host_peak_kib = 0
    rusage = None
    warnings: tuple[str, ...] = ()

    def __init__(
        self, pid: int, status: int | None, duration_ms: float, told: str = "", forgotten: bool = False
    ) -> None:
        self.pid = pid
        self.status = status
        self.duration_ms = duration_ms
        self.told = told
        self.forgotten = forgotten


AnyEnding = Ending | Return | Crash


class Outcome:
    """How a task ended, after its last attempt. `Result` is the view of it that callers get.

    error: None on success. ending: of the last attempt that ran. failures of earlier attempts are not kept.
    queued_ms: from submission to the first start. started_at, ended_at: engine time, None if it never started.
    """

    __slots__ = (
        "attempts", "command", "ended_at", "ending", "error", "index", "queued_ms", "started_at", "warnings",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        command: Work,
        error: TaskError | None,
        ending: AnyEnding | None,
        attempts: int,
        queued_ms: float,
        started_at: float | None,
        ended_at: float,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.index = index
        self.command = command
        self.error = error
        self.ending = ending
        self.attempts = attempts
        self.queued_ms = queued_ms
        self.started_at = started_at
        self.ended_at = ended_at
        self.warnings = warnings
