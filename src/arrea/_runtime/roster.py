"""The roster: which attempts run, in memory that outlives the program that writes it.

The host (the program that uses Arrea) notes each attempt before it starts the process, adds the pid when it has
one, and strikes it out when the attempt is over. The guardian, which has the same memory as a file, reads it when
the host is dead. A pipe between the two could fill, and a second guardian would have to be told everything again.

Decides who is meant by a row: the process with that pid whose start time lies between the note and the pid's
coming. That window may be long without harm: until the process is reaped nobody else gets its number.

The memory is mapped, not written to with `pwrite`: that lets go of the interpreter lock, and to get it back from
two spawner threads takes 30 µs. So a host may die between any two stores here. A row's state is one byte, stored
last: what is only half there isn't read.

Source: memfd_create(2), mmap(2), fallocate(2), proc_pid_stat(5), clock_gettime(2).
"""

from __future__ import annotations

import os
from mmap import mmap
from struct import Struct
from time import CLOCK_BOOTTIME, clock_gettime

from arrea._runtime.tree import look_at

__all__ = [
    "NO_ROW", "Roster", "Row", "is_closed", "is_roster", "note_swept", "open_process", "read_rows", "sign_in",
    "signed_in",
]  # fmt: skip

# ── The file ─────────────────────────────────────────────────────────────────────────────────────
# First a header: what it is, whether the guardians are dismissed, and who they are. Then rows, a cache line each;
# a row's number is its place in the file, so that no row has the number 0.

MAGIC = b"arrea 1\n"  # a guardian is started anew from the disk, where a newer Arrea may lie meanwhile
CLOSED_AT, GUARDIANS_AT = 8, 16
GUARDIANS = 2
HEADER_BYTES = ROW_BYTES = 64
FIRST_BYTES = 4096
NO_ROW = 0

FREE, INTENDED, STARTED = 0, 1, 2
START_AT, TASK_BYTES = 16, 32
_ROW = Struct(f"=BBxxIQQI4x{TASK_BYTES}s")  # state, length of task, number, opened, started, pid, task
_INTENT = Struct(f"=BxxIQ16x{TASK_BYTES}s")  # its second byte and all after that
_START = Struct("=QI")  # from START_AT on
_GUARDIAN = Struct("=I4xQ")

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _ticks() -> int:
    """Now, as /proc/PID/stat gives the start time of a process: in clock ticks since boot."""
    return int(clock_gettime(CLOCK_BOOTTIME) * _TICKS_PER_S)


# ── The host's side ──────────────────────────────────────────────────────────────────────────────


class Roster:
    """The table, for its writer. fd: its file, for the guardian; -1 if there is none.

    Nothing here raises: where the kernel has no room (ENOSPC, EMFILE, ENOMEM), an attempt has no row.
    """

    __slots__ = ("_free", "_map", "fd")

    def __init__(self) -> None:
        self._free: list[int] = []
        self._map: mmap | bytearray = bytearray(HEADER_BYTES)
        self.fd = _make_file()
        self._grow()

    def open(self, task: bytes, number: int) -> int:
        """An attempt that is going to be started: hands back its row, or `NO_ROW`. Reactor's thread only.

        `task` is what its process will have as ARREA_TASK, 32 bytes at most, `number` what it will have as
        ARREA_ATTEMPT.
        """
        if len(task) > TASK_BYTES or not (self._free or self._grow()):
            return NO_ROW
        row = self._free.pop()
        table = self._map
        _INTENT.pack_into(table, row + 1, len(task), number, _ticks(), task)
        table[row] = INTENDED
        return row

    def started(self, row: int, pid: int) -> None:
        """Its process exists, and isn't reaped yet. From any thread."""
        if row:
            table = self._map
            _START.pack_into(table, row + START_AT, _ticks(), pid)
            table[row] = STARTED

    def close(self, row: int) -> None:
        """It is over: whatever it left running is left so on purpose. Reactor's thread only; once is enough."""
        if row and self._map[row]:
            self._map[row] = FREE
            self._free.append(row)

    def dismiss(self) -> None:
        """From here on a guardian that looks goes, and starts no other one."""
        self._map[CLOSED_AT] = 1

    def shut(self) -> None:
        """Lets go of the descriptors. What is noted after that is noted nowhere."""
        if self.fd >= 0:
            table, self._map = self._map, bytearray(len(self._map))
            if isinstance(table, mmap):
                table.close()
            os.close(self.fd)
            self.fd = -1

    def _grow(self) -> bool:
        """Twice as many rows; whether it worked. They are taken from the first on."""
        before = len(self._map)
        size = max(FIRST_BYTES, 2 * before)
        try:
            # Allocated now: a store into a page that the kernel then has no room for would be a SIGBUS.
            os.posix_fallocate(self.fd, 0, size)
            # The old map goes with its last user: another thread may be in `started`.
            self._map = mmap(self.fd, size)
        except OSError:  # also EBADF, for want of a file
            return False
        self._free.extend(range(size - ROW_BYTES, before - ROW_BYTES, -ROW_BYTES))
        return True


def _make_file() -> int:
    try:
        fd = os.memfd_create("arrea-roster", os.MFD_CLOEXEC)
    except OSError:
        return -1
    try:
        fd = _lifted(fd)
        os.pwrite(fd, MAGIC, 0)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _lifted(fd: int) -> int:
    """Above 2: in a host without standard descriptors whatever it prints would be written into the table."""
    if fd > 2:
        return fd
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return lifted


# ── The guardian's side ──────────────────────────────────────────────────────────────────────────


class Row:
    """An attempt that ran, or was being started. pid: 0 if it isn't known; opened, started: when, in clock ticks."""

    __slots__ = ("number", "opened", "pid", "started", "task")

    def __init__(self, task: bytes, number: int, pid: int, opened: int, started: int) -> None:
        self.task = task
        self.number = number
        self.pid = pid
        self.opened = opened
        self.started = started

    def __repr__(self) -> str:
        return f"Row({self.task!r}, {self.number}, pid={self.pid}, {self.opened}..{self.started})"

    def is_leader(self, start_time: int) -> bool:
        """Whether the process with this row's pid is the one that was started, told by its start time.

        One tick more on both sides: the kernel and we round down, each on its own clock's reading.
        """
        return self.opened - 1 <= start_time <= self.started + 1


def read_rows(fd: int) -> list[Row]:
    """What the host left: the rows that are in use."""
    table = os.pread(fd, os.fstat(fd).st_size, 0)
    table = table[HEADER_BYTES : len(table) - len(table) % ROW_BYTES]
    return [_read_row(*fields) for fields in _ROW.iter_unpack(table) if fields[0] in (INTENDED, STARTED)]


def _read_row(state: int, length: int, number: int, opened: int, started: int, pid: int, task: bytes) -> Row:
    if state == INTENDED:  # the pid may be half there
        pid = started = 0
    return Row(task[:length], number, pid, opened, started)


def is_roster(fd: int) -> bool:
    """Whether it is one, and laid out as we know it."""
    return os.pread(fd, len(MAGIC), 0) == MAGIC


def is_closed(fd: int) -> bool:
    """Whether no guardian is needed any more: they are dismissed, or one of them has done it all."""
    return os.pread(fd, 1, CLOSED_AT) != b"\0"


def note_swept(fd: int) -> None:
    """The host is dead and nobody is left of what it ran: the other guardian has nothing to do."""
    os.pwrite(fd, b"\1", CLOSED_AT)


def sign_in(fd: int, place: int, pid: int, start_time: int) -> None:
    """A guardian (`place` 0 or 1) notes who it is. Whether it is dismissed it has to look at after that."""
    os.pwrite(fd, _GUARDIAN.pack(pid, start_time), GUARDIANS_AT + place * _GUARDIAN.size)


def signed_in(fd: int) -> list[tuple[int, int]]:
    """The guardians that have signed in: pid and start time, for each place the last one."""
    header = os.pread(fd, GUARDIANS * _GUARDIAN.size, GUARDIANS_AT)
    return [(pid, started) for pid, started in _GUARDIAN.iter_unpack(header) if pid]


def open_process(pid: int, start_time: int) -> int:
    """The pidfd of exactly this process; -1 if it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    process = look_at(pid)
    if process is not None and process.start_time == start_time:
        return pidfd
    os.close(pidfd)
    return -1
