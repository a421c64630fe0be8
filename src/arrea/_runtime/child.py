"""A running attempt: its process, its pipes, its output.

Decides nothing about when to start or to kill: it is told. It reads, counts, and says when the
attempt is over: when its process has exited and the pipes are read to their end or, if something in the
background still holds them, for 250 ms; and, if it was killed, when all of its family is dead.
"""

from __future__ import annotations

import os

from arrea._model.ending import Ending
from arrea._runtime.capture import Capture
from arrea._runtime.family import Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from arrea._model.ending import Rusage
    from arrea._model.stats import Running
    from arrea._model.step import Spawn
    from arrea._runtime.capture import Budget
    from arrea._runtime.outflow import Outflow
    from arrea._runtime.spool import Spool

# 64 KiB on a pipe of the default size is the quickest way to read: larger reads fall out of the cache.
READ_BYTES = 65_536
READS_PER_TURN = 4
DRAIN_MS = 250.0
# What is searched for warnings in stderr at most, from its end.
WARNINGS_BYTES = 262_144
# What is read for that: the default `max_output_bytes`. More may be a whole disk, and everybody would wait for it.
WARNINGS_MOST_BYTES = 8 * 2**20


def task_of(spawn: Spawn) -> bytes:
    """What its process has as ARREA_TASK."""
    return b"%b:%d" % (spawn.batch_id.encode(), spawn.attempt[1])


class Child(Family):
    """One process that Arrea started, from its start to its wait status.

    out_fd, err_fd, pidfd: -1 when closed. exited_at, drain_until: engine time, None before the exit.
    outflow: where its output goes as it comes, None for nowhere; held_at: since when we don't read for its sake.
    """

    __slots__ = (
        "bytes_read", "drain_until", "err_fd", "exited_at", "held_at", "host_peak_kib", "out_fd", "outflow", "pidfd",
        "spawn", "started_at", "stderr", "stdout", "tried", "watched",
    )  # fmt: skip

    def __init__(
        self,
        spawn: Spawn,
        pid: int,
        pidfd: int,
        out_fd: int,
        err_fd: int,
        marks: tuple[bytes, ...],
        started_at: float,
        host_peak_kib: int,
    ) -> None:
        super().__init__(pid, marks)
        self.spawn = spawn
        self.pidfd = pidfd
        self.out_fd = out_fd
        self.err_fd = err_fd
        self.started_at = started_at
        self.host_peak_kib = host_peak_kib
        self.stdout: Capture | None = None
        self.stderr: Capture | None = None
        self.exited_at: float | None = None
        self.drain_until: float | None = None
        self.watched = self.tried = False
        self.bytes_read = 0
        self.outflow: Outflow | None = None
        self.held_at: float | None = None

    # ── output ────────────────────────────────────────────────────────────────────────────────────

    def read(
        self, fd: int, budget: Budget, spool: Spool, to_end: bool, tell: Callable[[str, bytes], None] | None
    ) -> bool:
        """Reads what is there, 256 KiB at most; whether the stream is at its end.

        `to_end`: the writers are gone, so a short read doesn't mean that it is empty for now.
        `tell`: gets the stream's name and each piece, for whoever listens.
        """
        for _ in range(READS_PER_TURN):
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                return False
            if not data:
                return True
            self.bytes_read += len(data)
            self._capture(fd, budget, spool).feed(data)
            if tell is not None:
                tell("stdout" if fd == self.out_fd else "stderr", data)
            if len(data) < READ_BYTES and not to_end:
                return False
        return False

    def _capture(self, fd: int, budget: Budget, spool: Spool) -> Capture:
        limit = self.spawn.command.settings.max_output_bytes
        if fd == self.out_fd:
            if self.stdout is None:
                self.stdout = Capture(limit, budget, spool)
            return self.stdout
        if self.stderr is None:
            self.stderr = Capture(limit, budget, spool)
        return self.stderr

    @property
    def streams_open(self) -> bool:
        return self.out_fd >= 0 or self.err_fd >= 0

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def note_exit(self, now: float) -> None:
        """The process is a zombie: nothing of its own will come any more."""
        if self.exited_at is None:
            self.exited_at = now
            self.drain_until = now + DRAIN_MS

    def drained(self, now: float) -> bool:
        assert self.drain_until is not None
        return not self.streams_open or now >= self.drain_until

    def reap(self, now: float, forgotten: bool = False) -> Ending:
        """The end: takes the wait status, which frees the pid, so no signal may be sent after this."""
        left_open = self.streams_open and not forgotten
        status, rusage = (None, None) if forgotten else self._wait()
        for capture in (self.stdout, self.stderr):
            if capture is not None:
                capture.finish()
        duration = (now if self.exited_at is None else self.exited_at) - self.started_at
        warnings = () if status != 0 or self.stderr is None else find_warnings(self.stderr)
        return Ending(
            self.pid,
            status,
            duration,
            self.stdout,
            self.stderr,
            left_open,
            rusage,
            self.host_peak_kib,
            warnings,
            forgotten,
        )

    def _wait(self) -> tuple[int | None, Rusage | None]:
        try:
            pid, status, rusage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            # The kernel reaped it (SIGCHLD is ignored) or the host did (waitpid(-1)): wait(2), NOTES.
            return None, None
        return (status, rusage) if pid else (None, None)

    # ── how it stands ─────────────────────────────────────────────────────────────────────────────

    def running(self, now: float) -> Running:
        """How it stands, for people."""
        from arrea._model.stats import Running  # few ask

        command, (_, index, number) = self.spawn.command, self.spawn.attempt
        return Running(self.spawn.batch_id, index, command.name, number, now - self.started_at)

    def is_ours(self) -> bool:
        """Whether the kernel still holds the pid for us: running, or a zombie that nobody reaped."""
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


def find_warnings(stderr: Capture) -> tuple[str, ...]:
    """The lines that warn: "warning" at their beginning, optionally after a program's name."""
    if stderr.kept_bytes > WARNINGS_MOST_BYTES:
        return ()
    text = b""
    for piece in stderr.chunks():  # it may be all of the disk, so never in one piece
        text = (text + piece)[-WARNINGS_BYTES:]
    if b"arning" not in text and b"ARNING" not in text:
        return ()
    lines = text.decode("utf-8", "replace").splitlines()
    return tuple(line for line in lines if _warns(line))


def _warns(line: str) -> bool:
    head = line.lstrip().lower()
    program, colon, rest = head.partition(": ")
    return head.startswith("warning") or bool(
        colon and " " not in program and rest.lstrip().startswith("warning")
    )
