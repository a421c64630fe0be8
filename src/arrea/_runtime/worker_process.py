"""A worker process, seen from the host: its connection, the calls that it was sent, and what comes back.

Given calls, sends them as frames; hands back what ended, in the order in which it ran. What was sent ahead can be
taken back at any time, and then never runs there (see `frames`). Decides nothing about when to start, kill or call.
"""

from __future__ import annotations

import errno
import os
from _pickle import dumps, loads
from _signal import pidfd_send_signal
from _socket import (
    MSG_CTRUNC,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_STREAM,
    SOL_SOCKET,
)
from collections import deque
from mmap import mmap
from struct import pack
from time import sleep

from arrea._model.ending import ACCOUNT_BYTES, NO_ACCOUNT, TIMES, Raised, Return, Stuck
from arrea._model.parcel import Parcel
from arrea._model.pickled import opened, take
from arrea._runtime import frames
from arrea._runtime.family import Family
from arrea._runtime.frames import descriptors_in, frame
from arrea._runtime.seed import OUTPUTS
from arrea._runtime.sockets import blocking_pair
from arrea._runtime.standard import is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from arrea._model.call import Call, Program, Surroundings, Target
    from arrea._model.step import AttemptId

call_header = frames.CALL_HEADER.pack
PROGRAM_BYTES = frames.PROGRAM_NUMBER.size
NO_ROOM = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
NO_DESCRIPTOR = -2  # one came, and there was no number left for it
READS_PER_TURN, TO_END = 8, 1_000_000
SETTLE_S = 0.0001
# Of functions that a process knows. One that forgets them all is sent those that it needs again.
MOST_PROGRAMS, MOST_PROGRAM_BYTES = 256, 8 << 20
MOST_LARGE = 8  # and of these in files in memory


class Sealed:
    """The value of a call that ended, or what it raised, before it is unpickled where user's code may run.

    pickled: or `memory`, that of a file from which its buffers are used where they lie.
    """

    __slots__ = ("ending", "memory", "pickled")

    def __init__(self, ending: Return, pickled: bytes | None, memory: memoryview | None = None) -> None:
        self.ending = ending
        self.pickled = pickled
        self.memory = memory


class Told:
    """What a process told at once. attempts, returns: calls that ended, in order; the last one is also in `last`.

    sealed: of these. skipped: after them, an attempt that was taken back in time.
    """

    __slots__ = ("attempts", "last", "returns", "sealed", "skipped")

    def __init__(self) -> None:
        self.attempts: list[AttemptId] = []
        self.returns: list[Return] = []
        self.sealed: list[Sealed] = []
        self.skipped: AttemptId | None = None
        self.last: tuple[int, AttemptId, Call] | None = None


class WorkerProcess(Family):
    """One of the pool. `number` names it to its seed; `pid` is 0 and `pidfd` -1 until it is there.

    lane: whom it works for, None for nobody. sent: the calls that haven't ended, with their numbers, in order.
    ready: it runs, and has told its pid (`own_pid`). closed: its end of the connection is. stalled: there is no room to
    send to it, and nobody tells when there is.
    since: when it ended something last, or was sent the first. idle_since: when it had nothing more to do.
    """

    __slots__ = (
        "_backlog", "_connection", "_descriptors", "_generation", "_large_programs", "_last", "_memory", "_missing",
        "_outputs", "_page", "_program_bytes", "_programs", "_rest", "_surroundings", "batch_id", "child_end",
        "closed", "exited_at", "fd", "idle_since", "lane", "number", "own_pid", "page_fd", "pidfd", "ready", "row",
        "seed", "sent", "signal_wanted", "since", "stalled", "told",
    )  # fmt: skip

    def __init__(self, number: int, mark: bytes, row: int, seed: object = None) -> None:
        super().__init__(0, (b"ARREA_TASK=%b" % mark, b"ARREA_ATTEMPT=%d" % number))
        self.number = number
        self.row = row
        self.seed = seed
        self.pidfd = -1
        self._connection, self.child_end = blocking_pair(SOCK_STREAM)
        try:
            self.page_fd = os.memfd_create("arrea-page", os.MFD_CLOEXEC)
            os.ftruncate(self.page_fd, frames.PAGE_BYTES)
            self._memory = mmap(self.page_fd, frames.PAGE_BYTES)
        except BaseException:
            self._connection.close()
            self.child_end.close()
            raise
        self._page = memoryview(self._memory).cast("Q")
        self._connection.setblocking(False)
        self.fd = self._connection.fileno()
        self._rest: list[bytes] = []  # of a frame that isn't complete
        self._missing = 0  # so many bytes, at least
        self._backlog: deque[tuple[bytes | memoryview, Sequence[int | Parcel]]] = deque()
        self._descriptors: list[int] = []
        self._generation = self._last = 0
        self._programs: set[int] = set()
        self._large_programs = self._program_bytes = 0
        self._surroundings: Surroundings | None = None
        self._outputs: object = None
        self.lane: int | None = None
        self.sent: deque[tuple[int, AttemptId, Call]] = deque()
        self.since = 0.0
        self.batch_id = ""
        self.signal_wanted = 0
        self.exited_at: float | None = None
        self.idle_since = 0.0
        self.ready = self.closed = self.stalled = False
        self.own_pid = 0
        self.told = ""

    def came(self, pid: int) -> None:
        """The seed forked it."""
        self.pid = pid
        self.let_go_of_its_ends()

    def let_go_of_its_ends(self) -> None:
        """What was for the process itself."""
        self.child_end.close()
        if self.page_fd >= 0:
            os.close(self.page_fd)
            self.page_fd = -1

    def descriptors(self) -> list[int]:
        """All that is open for it, -1 among them."""
        return [self.fd, self.pidfd, self.page_fd, self.child_end.fileno()]

    def is_ours(self) -> bool:
        """Whether the kernel still holds the pid: running, or a zombie that the seed didn't reap."""
        if self.pidfd < 0:  # there was no descriptor for it yet; nobody has told the seed to reap it
            return self.pid > 0
        try:
            pidfd_send_signal(self.pidfd, 0)
        except ProcessLookupError:
            return False
        except OSError:  # EPERM: it is somebody else now, and still it
            return True
        return True

    # ── sending ───────────────────────────────────────────────────────────────────────────────────

    def send(self, calls: Sequence[tuple[AttemptId, Call]]) -> bool:
        """Whether all of it is on its way; if not, `send_rest` is to be called when the connection has room."""
        parts: list[bytes] = []
        target: Target | None = None
        number, generation, program = self._last, self._generation, 0
        for attempt, call in calls:
            if call.target is not target:
                target = call.target
                program = self._introduce(target, parts)
            number += 1
            self.sent.append((number, attempt, call))
            arguments = call.arguments
            if arguments.__class__ is bytes:
                length = len(arguments) + PROGRAM_BYTES
                parts.append(call_header(frames.VERSION, frames.CALL, 0, length, number, generation, program))
                parts.append(arguments)
            else:
                self._queue(parts)
                body = frames.PROGRAM_NUMBER.pack(program)
                told = frame(frames.CALL, number, body, frames.IN_MEMORY, generation)
                self._backlog.append((told, (arguments,)))
        self._last = number
        self._queue(parts)
        return self.send_rest()

    def _introduce(self, target: Target, parts: list[bytes]) -> int:
        """What it has to know before it can call that; the function's number."""
        if target.surroundings is not self._surroundings:
            self._send_surroundings(target.surroundings, parts)
        program = target.program
        assert program is not None
        if program.number not in self._programs:
            self._send_program(program, parts)
        return program.number

    def _queue(self, parts: list[bytes]) -> None:
        if parts:
            self._backlog.append((b"".join(parts), ()))
            parts.clear()

    def _send_program(self, program: Program, parts: list[bytes]) -> None:
        if self._knows_enough():
            self._programs.clear()
            self._large_programs = self._program_bytes = 0
            parts.append(frame(frames.FORGET, 0))
        self._programs.add(program.number)
        if isinstance(program.pickled, Parcel):
            self._large_programs += 1
            self._queue(parts)
            told = frame(frames.PROGRAM, program.number, flags=frames.IN_MEMORY)
            self._backlog.append((told, (program.pickled,)))
        else:
            self._program_bytes += len(program.pickled)
            parts.append(frame(frames.PROGRAM, program.number, program.pickled))

    def _knows_enough(self) -> bool:
        many, much = len(self._programs) >= MOST_PROGRAMS, self._program_bytes >= MOST_PROGRAM_BYTES
        return many or much or self._large_programs >= MOST_LARGE

    def _send_surroundings(self, surroundings: Surroundings | None, parts: list[bytes]) -> None:
        """Unless they are the same as the last ones, which were another object."""
        assert surroundings is not None
        before, self._surroundings = self._surroundings, surroundings
        outputs = [fd for fd in OUTPUTS if is_open(fd)]  # the program may have closed them since
        these = [(status.st_dev, status.st_ino) for status in map(os.fstat, outputs)]
        if before is not None and before.is_like(surroundings) and these == self._outputs:
            return
        self._outputs = these
        self._queue(parts)
        body = dumps(surroundings.told, 5)
        outputs = outputs if len(outputs) == len(OUTPUTS) else []
        self._backlog.append((frame(frames.SURROUNDINGS, 0, body, flags=len(outputs)), outputs))

    def send_rest(self) -> bool:
        """As much as the connection takes now; whether that is all."""
        self.stalled = False
        while self._backlog:
            data, rights = self._backlog.popleft()
            try:
                sent = self._send(data, rights)
            except OSError as error:
                if error.errno not in NO_ROOM:  # it is gone: its end is told by its pidfd
                    self._backlog.clear()
                    return True
                self._backlog.appendleft((data, rights))
                self.stalled = error.errno != errno.EAGAIN  # nobody tells when there is room again
                return False
            if sent < len(data):
                self._backlog.appendleft((memoryview(data)[sent:], ()))
        return True

    def _send(self, data: bytes | memoryview, rights: Sequence[int | Parcel]) -> int:
        if not rights:
            return self._connection.send(data, MSG_NOSIGNAL)
        fds = [item.fd if isinstance(item, Parcel) else item for item in rights]
        rights_sent = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))]
        return self._connection.sendmsg([data], rights_sent, MSG_NOSIGNAL)

    # ── taking back ───────────────────────────────────────────────────────────────────────────────

    def take_all_back(self) -> None:
        """It stopped by itself, for a call failed: it begins nothing of what it was sent behind that."""
        self._generation += 1
        self._page[frames.GENERATION] = self._generation
        self.sent.clear()

    def take_back(self) -> None:
        """From now on it begins nothing of what it was sent; to be followed by `read`, then `keep_begun`."""
        self._generation += 1
        self._page[frames.GENERATION] = self._generation
        # Both sides store, then look. What it stored before its look is here when its processor's buffer is empty,
        # which takes nanoseconds.
        sleep(SETTLE_S)

    def put_back(self, attempt: AttemptId, call: Call) -> None:
        """It ended, and counts as if it hadn't: it was to be killed."""
        self.sent.appendleft((0, attempt, call))

    def keep_begun(self) -> AttemptId | None:
        """After `take_back`: the call that it began, or was just about to; the others are no longer its."""
        started = self._page[frames.STARTED]
        while self.sent and self.sent[-1][0] > started:
            self.sent.pop()
        return self.sent[0][1] if self.sent else None

    @property
    def running(self) -> AttemptId | None:
        """After its death: the call that it ran."""
        if self.sent and self.sent[0][0] <= self._page[frames.STARTED]:
            return self.sent[0][1]
        return None

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def read(self, offset_ms: float, to_end: bool = False) -> list[Told]:
        """What it told meanwhile, one after the other. to_end: all that is there.

        offset_ms: from its clock to the engine's time. Raises `OSError` if it speaks another language.
        """
        told = [Told()]
        for _ in range(TO_END if to_end else READS_PER_TURN):
            try:
                data, ancillary, flags, _ = self._connection.recvmsg(
                    frames.READ_BYTES, frames.ANCILLARY_BYTES
                )
            except BlockingIOError:
                break
            except OSError:  # it is gone
                data, ancillary, flags = b"", [], 0
            if not data:
                self.closed = True
                break
            if ancillary or flags & MSG_CTRUNC:
                self._descriptors += descriptors_in(ancillary) or [NO_DESCRIPTOR]
            self._parse(data, offset_ms, told)
            if len(data) < frames.READ_BYTES and not to_end:
                break
        return told

    def _parse(self, data: bytes, offset_ms: float, told: list[Told]) -> None:
        """Most of it are results of plain values, so these are looked at here, and no more is done than has to be."""
        if self._rest:
            self._rest.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._rest)
        self._missing = 0
        at, end, sent, pid = 0, len(data), self.sent, self.pid
        unpack, size, head = frames.RESULT_HEADER.unpack_from, frames.RESULT_HEADER.size, frames.HEADER.size
        attempts, returns = told[-1].attempts, told[-1].returns
        while at + size <= end:
            version, kind, flags, length, number, _, began, ended = unpack(data, at)
            until = at + head + length
            if until > end:
                self._missing = until - end
                break
            if kind == frames.RESULT and flags == frames.PLAIN and sent and sent[0][0] == number:
                told[-1].last = last = sent.popleft()
                attempts.append(last[1])
                pickled = data[at + size : until]
                ending = Return(
                    began - offset_ms, ended - offset_ms, pid, pickled, None, None, (), NO_ACCOUNT
                )
                returns.append(ending)
            else:
                self._take_other(version, kind, flags, number, data[at + head : until], offset_ms, told)
                attempts, returns = told[-1].attempts, told[-1].returns
            at = until
        self._rest = [data[at:]] if at < end else []

    def _take_other(
        self,
        version: int,
        kind: int,
        flags: int,
        number: int,
        body: bytes,
        offset_ms: float,
        told: list[Told],
    ) -> None:
        if version != frames.VERSION:
            raise OSError(
                f"a frame of version {version}, not {frames.VERSION}: Arrea was replaced while it ran"
            )
        is_next = bool(self.sent) and self.sent[0][0] == number
        if kind == frames.RESULT:
            fd = self._descriptors.pop(0) if flags & frames.IN_MEMORY else -1
            if is_next:
                self._ended(flags, body, fd, offset_ms, told[-1])
            elif fd >= 0:
                os.close(fd)  # nobody waits for it any more
        elif kind == frames.SKIPPED and is_next:
            told[-1].skipped = self.sent.popleft()[1]
            told.append(Told())
        elif kind == frames.READY:
            self.ready, self.own_pid = True, number

    def _ended(self, flags: int, body: bytes, fd: int, offset_ms: float, told: Told) -> None:
        told.last = last = self.sent.popleft()
        began, ended = TIMES.unpack_from(body)
        ending = Return(began - offset_ms, ended - offset_ms, self.pid, None, account=NO_ACCOUNT)
        at = TIMES.size
        if flags & frames.ACCOUNTED:
            at += ACCOUNT_BYTES
            ending.account = body[TIMES.size : at]
        told.attempts.append(last[1])
        told.returns.append(ending)
        if flags & frames.IN_MEMORY and fd == NO_DESCRIPTOR:
            ending.problem = Stuck("this program had no descriptor left to take it (EMFILE)")
            return
        try:
            memory = take(fd) if fd >= 0 else None
        except OSError as error:
            ending.problem = Stuck(f"this program had no room to take it ({error})")
            return
        sealed = _sealed(ending, flags, memoryview(body)[at:], memory)
        if sealed is not None:
            told.sealed.append(sealed)

    def hang_up(self) -> None:
        """It sees that there is no more, also where a copy of this program holds a copy of our end."""
        if self.fd >= 0:
            self.fd = -1
            try:
                self._connection.shutdown(2)
            except OSError:
                return  # it is gone

    def close(self) -> None:
        """All that is open for it."""
        self.hang_up()
        self.let_go_of_its_ends()
        self._connection.close()
        self._backlog.clear()
        pidfd, self.pidfd = self.pidfd, -1
        _close(fd for fd in (*self._descriptors, pidfd) if fd >= 0)
        self._descriptors.clear()


def _sealed(ending: Return, flags: int, rest: memoryview, memory: memoryview | None) -> Sealed | None:
    """With its warnings, and with what went wrong; what is left to be unpickled."""
    if flags & frames.WARNED:
        (size,) = frames.SIZE.unpack_from(rest)
        ending.warnings = tuple(loads(rest[frames.SIZE.size : frames.SIZE.size + size]))
        rest = rest[frames.SIZE.size + size :]
    if flags & frames.PLAIN and memory is None:
        ending.pickled = bytes(rest)
        return None
    if not flags & (frames.STUCK | frames.FAILED):
        return Sealed(ending, bytes(rest) if memory is None else None, memory)
    told: Any = loads(rest) if memory is None else opened(memory)
    if flags & frames.STUCK:
        ending.problem = Stuck(told)
        return None
    name, text, trace, notes, pickled = told
    ending.problem = Raised(None, name, text, trace, tuple(notes))
    return None if pickled is None else Sealed(ending, pickled)


def _close(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        os.close(fd)
