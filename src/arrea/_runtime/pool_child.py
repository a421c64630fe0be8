"""What a worker process of the pool does: it gets calls over its connection, and runs one after the other.

It sends each one's result before the next one begins. Runs outside of the host, and imports little. Whatever a
function does to its process (forks, closes descriptors, changes directory) is met here: a call begins in the
surroundings of its batch, and only the process that was forked by the seed ever writes to its connection.

Source: fork(2), unix(7), getrusage(2).
"""

from __future__ import annotations

import os
import sys
from _pickle import dumps, loads
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from operator import sub
from os import getpid
from resource import RUSAGE_SELF, getrusage
from struct import Struct
from time import monotonic

from arrea._model.ending import ACCOUNT, TIMES
from arrea._model.pickled import LARGE_BYTES, Unpicklable, dump, fetch, store
from arrea._model.text import type_name
from arrea._runtime import frames
from arrea._runtime.frames import Reader, descriptors_in, frame
from arrea._runtime.raising import describe
from arrea._runtime.surroundings import Surroundings, close_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PROGRAM_BYTES = frames.PROGRAM_NUMBER.size
result_header = frames.RESULT_HEADER.pack
# To ask for the account takes as long as a short call: nothing is counted for those, and the others begin with a
# figure that is hardly older than that.
SHORT_S, FRESH_S = 0.0001, 0.0002
MAX_RSS = 2  # its place in the account, and the only figure that is no difference
NONE = dumps(None, 5)
ATOMS = frozenset((int, float, bool, str))
# Opcodes of protocol 5 without which a pickle runs nobody's code: STACK_GLOBAL, and the extension codes.
OPENING = (b"\x93", b"\x82", b"\x83", b"\x84")


class Worker:
    """A worker process, from its fork to its end."""

    def __init__(self, connection: socket, page: memoryview) -> None:
        self._connection = connection
        self._page = page
        self._pid = os.getpid()
        self._programs: dict[
            bytes, bytes | int
        ] = {}  # functions, pickled, or the descriptor of where they are
        self._functions: dict[bytes, Any] = {}  # those that were called
        self._surroundings = Surroundings()
        self._reader = Reader()
        self._descriptors: list[int] = []
        self._halted = -1  # the generation in which a call failed: what was sent behind it doesn't begin
        self._skipping = -1
        self._warnings: list[str] = []
        self._measured_at, self._measured = monotonic(), getrusage(RUSAGE_SELF)

    def run(self) -> None:
        """Until the host closes the connection."""
        self._collect_warnings()
        self._send(frame(frames.READY, self._pid, frames.NO_BODY))
        receive = self._connection.recvmsg
        while True:
            try:
                data, ancillary, _, _ = receive(frames.READ_BYTES, frames.ANCILLARY_BYTES)
            except ConnectionResetError:  # it went before it had read what we sent
                data, ancillary = b"", []
            if not data:
                self._leave()
            if ancillary:
                self._descriptors += descriptors_in(ancillary)
            for kind, flags, number, generation, body in self._reader.feed(data):
                if kind == frames.CALL:
                    self._call(flags, number, generation, body)
                elif kind == frames.PROGRAM:
                    self._learn(frames.PROGRAM_NUMBER.pack(number), flags, body)
                elif kind == frames.FORGET:
                    self._forget()
                elif kind == frames.SURROUNDINGS:
                    outputs = [self._descriptors.pop(0) for _ in range(flags)]
                    self._surroundings.change(loads(body), outputs)

    def _leave(self) -> NoReturn:
        """The host has no more for us. Non-daemon threads of some function are not waited for."""
        import atexit

        try:
            atexit._run_exitfuncs()
            _flush()
        finally:
            os._exit(0)

    def _send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def _collect_warnings(self) -> None:
        import warnings

        from arrea._model.warned import Collected, collected

        around = Collected(0)
        collected.set(around)
        self._warnings = around.warnings

        def showwarning(message: Any, category: type, *_: Any) -> None:
            self._warnings.append(f"{category.__name__}: {message}")

        warnings.showwarning = showwarning  # type: ignore[assignment]

    # ── a call ────────────────────────────────────────────────────────────────────────────────────

    def _call(self, flags: int, number: int, generation: int, body: bytes) -> None:
        page = self._page
        page[frames.STARTED] = number  # first this, then the look: see `frames`
        if page[frames.GENERATION] != generation or generation == self._halted:
            self._skip(flags, number, generation)
            return
        began = monotonic()
        if began - self._measured_at > FRESH_S:
            self._measured_at, self._measured = began, getrusage(RUSAGE_SELF)
        value: Any = None
        problem: BaseException | None = None
        try:
            self._surroundings.restore()
            function = self._functions.get(body[:PROGRAM_BYTES]) or self._find(body)
            value = function(*self._arguments(flags, body))
            _flush()
        except BaseException as error:  # noqa: BLE001 - SystemExit too ends the call, not the process
            problem = error
        if getpid() != self._pid:
            _end_copy(problem)
        if problem is None:
            out, pickled, buffers = _pickled(value)
            value = None
        else:
            out, pickled, buffers = frames.FAILED, _told(problem), []
        ended = monotonic()
        if (
            out == frames.PLAIN
            and ended - began < SHORT_S
            and not self._warnings
            and len(pickled) < LARGE_BYTES
        ):
            length = TIMES.size + len(pickled)
            header = result_header(
                frames.VERSION, frames.RESULT, out, length, number, generation, 1000.0 * began, 1000.0 * ended
            )
            self._connection.sendall(header + pickled)
        else:
            self._reply(number, generation, out, TIMES.pack(1000.0 * began, 1000.0 * ended), pickled, buffers)

    def _reply(
        self, number: int, generation: int, flags: int, head: bytes, pickled: bytes, buffers: list[memoryview]
    ) -> None:
        """With all that a call may have besides a plain value."""
        head += self._account()
        flags |= frames.ACCOUNTED
        if self._warnings:
            flags |= frames.WARNED
            head += self._told_warnings()
        if flags & (frames.FAILED | frames.WARNED):
            self._halted = generation
        if not buffers and len(pickled) < LARGE_BYTES:
            self._send(frame(frames.RESULT, number, head + pickled, flags, generation))
            return
        fd = store(pickled, buffers)
        data = frame(frames.RESULT, number, head, flags | frames.IN_MEMORY, generation)
        sent = self._connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, Struct("i").pack(fd))])
        os.close(fd)
        self._send(data[sent:])

    def _account(self) -> bytes:
        """What the kernel counted since the last time: that is this call, and short ones right before it."""
        before, after = self._measured, getrusage(RUSAGE_SELF)
        self._measured_at, self._measured = monotonic(), after
        account = [*map(sub, after, before)]
        account[MAX_RSS] = after.ru_maxrss
        return ACCOUNT.pack(*account)

    def _skip(self, flags: int, number: int, generation: int) -> None:
        """It was taken back. The first of a row is told, for nobody can know whether that one began."""
        if flags & frames.IN_MEMORY:
            os.close(self._take_descriptor())
        if self._skipping != generation:
            self._skipping = generation
            self._send(frame(frames.SKIPPED, number, frames.NO_BODY, generation=generation))

    def _take_descriptor(self) -> int:
        return self._descriptors.pop(0)

    def _find(self, body: bytes) -> Any:
        """The function, when it is called for the first time: what goes wrong with it is that call's failure."""
        number = body[:PROGRAM_BYTES]
        pickled = self._programs[number]
        function: Any = fetch(os.dup(pickled)) if isinstance(pickled, int) else loads(pickled)
        self._functions[number] = function
        return function

    def _arguments(self, flags: int, body: bytes) -> Any:
        if flags & frames.IN_MEMORY:
            return fetch(self._take_descriptor())
        return loads(body[PROGRAM_BYTES:]) if len(body) > PROGRAM_BYTES else ()

    def _learn(self, number: bytes, flags: int, body: bytes) -> None:
        """A function that may be called from now on."""
        self._programs[number] = self._take_descriptor() if flags else body

    def _forget(self) -> None:
        """All functions."""
        close_all([pickled for pickled in self._programs.values() if isinstance(pickled, int)])
        self._programs.clear()
        self._functions.clear()

    def _told_warnings(self) -> bytes:
        import warnings

        told = dumps(self._warnings, 5)
        self._warnings.clear()
        warnings.simplefilter("default", append=True)  # the same place may warn again, in another call
        return frames.SIZE.pack(len(told)) + told


# ── what goes back ────────────────────────────────────────────────────────────────────────────────


def _flush() -> None:
    """What the function printed is out before its result is. A stream that it closed is its own affair."""
    out, err = sys.stdout, sys.stderr
    if out is not None and not out.closed:
        out.flush()
    if err is not None and not err.closed:
        err.flush()


def _end_copy(problem: BaseException | None) -> NoReturn:
    """The function forked, and this is the copy: it must not talk to the host."""
    code = getattr(problem, "code", 1) if problem is not None else 0
    os._exit(code if isinstance(code, int) else 1 if code else 0)


def _pickled(value: Any) -> tuple[int, bytes, list[memoryview]]:
    """Flags, the pickle, and what stays outside of it."""
    if value is None:
        return frames.PLAIN, NONE, []
    if type(value) in ATOMS:
        return frames.PLAIN, dumps(value, 5), []
    try:
        pickled, buffers = dump(value)
    except (Unpicklable, KeyboardInterrupt) as error:
        return frames.STUCK, dumps(f"a value of the type {type_name(type(value))}: {error}", 5), []
    is_plain = not buffers and not any(opcode in pickled for opcode in OPENING)
    return (frames.PLAIN if is_plain else 0), pickled, buffers


def _told(error: BaseException) -> bytes:
    """What was raised: its texts, and the exception itself, pickled, if that can be read again."""
    return dumps((*describe(error), _pickled_error(error)), 5)


def _pickled_error(error: BaseException) -> bytes | None:
    try:
        pickled, _ = dump(error, large=False)
        loads(pickled)
    except BaseException:  # noqa: BLE001 - one whose class can't be made again from its arguments, or worse
        return None
    return pickled
