"""What a worker process of the pool does: it gets calls over its connection, and runs one after the other.

It sends each one's result before the next one begins. Runs outside of the host, and imports little. Whatever a
function does to its process (forks, closes descriptors, changes directory) is met here: a call begins in the
surroundings of its batch, and only the process that was forked by the seed ever writes to its connection.

Source: fork(2), unix(7), getrusage(2).
"""

from __future__ import annotations

import os
from _pickle import dumps, loads
from _socket import SCM_RIGHTS, SOL_SOCKET, socket
from os import getpid
from resource import RUSAGE_SELF, getrusage
from struct import Struct
from time import monotonic

from arrea._model.ending import ACCOUNT, TIMES
from arrea._model.parcel import Parcel
from arrea._model.pickled import LARGE_BYTES, Unpicklable, dump, fetch, opened, pack, parcelled, take
from arrea._model.text import type_name
from arrea._model.warned import Collected, FirstWarnings, collected
from arrea._runtime import frames
from arrea._runtime.classes import MARK, load
from arrea._runtime.frames import Reader, frame
from arrea._runtime.held import Held, are_there, received
from arrea._runtime.raising import describe
from arrea._runtime.surroundings import Surroundings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SHORTEST_WITH_CLASS = 64  # a pickle that makes one names more than that
PROGRAM_BYTES = frames.PROGRAM_NUMBER.size
result_header = frames.RESULT_HEADER.pack
# To ask for the account takes as long as a short call: nothing is counted for those, and the others begin with a
# figure that is hardly older than that.
SHORT_S, FRESH_S = 0.0001, 0.0002
NONE = dumps(None, 5)
# Opcodes of protocol 5 without which a pickle runs nobody's code: STACK_GLOBAL, and the extension codes.
OPENING = (b"\x93", b"\x82", b"\x83", b"\x84")
# Functions that came in a file, and so are large: so many are kept unpickled.
MOST_LARGE = 4
ROBBED = 71  # exit code


class Worker:
    """A worker process, from its fork to its end."""

    def __init__(self, connection: socket, page: memoryview) -> None:
        self._connection = connection
        self._page = page
        self._pid = os.getpid()
        self._programs: dict[bytes, bytes | Held] = {}  # functions, pickled, or the file that they are in
        self._functions: dict[bytes, Any] = {}  # those that were called
        self._large: list[bytes] = []  # of these, what came in files, the oldest first
        self._surroundings = Surroundings()
        self._restore, self._leave_call = self._surroundings.restore, self._surroundings.leave
        self._reader = Reader()
        self._held: list[Held] = []
        self._halted = -1  # the generation in which a call failed: what was sent behind it doesn't begin
        self._skipping = -1
        self._warnings = self._collect_warnings()
        self._measured_at, self._measured = monotonic(), ACCOUNT.pack(*getrusage(RUSAGE_SELF))

    def run(self) -> None:
        """Until the host closes the connection."""
        os.register_at_fork(after_in_child=self._be_copy)
        self._send(frame(frames.READY, self._pid, frames.NO_BODY))
        receive = self._connection.recvmsg
        while True:
            try:
                data, ancillary, said, _ = receive(frames.READ_BYTES, frames.ANCILLARY_BYTES)
            except ConnectionResetError:  # it went before it had read what we sent
                data, ancillary, said = b"", [], 0
            if not data:
                self._leave()
            if ancillary or said:
                self._held += received(ancillary, said)
            for kind, flags, number, generation, body in self._reader.feed(data):
                if kind == frames.CALL:
                    self._call(flags, number, generation, body)
                elif kind == frames.PROGRAM:
                    self._learn(frames.PROGRAM_NUMBER.pack(number), flags, body)
                elif kind == frames.FORGET:
                    self._forget()
                elif kind == frames.SURROUNDINGS:
                    self._change_surroundings(flags, body)

    def _leave(self) -> NoReturn:
        """The host has no more for us. Non-daemon threads of some function are not waited for."""
        import atexit

        try:
            atexit._run_exitfuncs()
            self._leave_call()
        finally:
            os._exit(0)

    def _send(self, data: bytes) -> None:
        self._end_if_copy()
        self._connection.sendall(data)

    def _be_copy(self) -> None:
        """After a fork in Python code, at once; of others `_end_if_copy` finds out."""
        self._pid = -1

    def _end_if_copy(self, problem: BaseException | None = None) -> None:
        """Somebody's code forked, and this is the copy: it must not talk to the host."""
        if getpid() == self._pid:
            return
        code = getattr(problem, "code", 1) if problem is not None else 0
        os._exit(code if isinstance(code, int) else 1 if code else 0)

    def _change_surroundings(self, count: int, body: bytes) -> None:
        outputs, self._held = self._held[:count], self._held[count:]
        if len(outputs) < count or not are_there(outputs):
            self._end_robbed()
        self._surroundings.change(loads(body), [held.fd for held in outputs])

    def _collect_warnings(self) -> FirstWarnings:
        """From now on, those of whatever call runs."""
        import warnings

        around = Collected(0)
        collected.set(around)

        def showwarning(message: Any, category: type, *_: Any) -> None:
            around.warnings.append(f"{category.__name__}: {message}")

        warnings.showwarning = showwarning  # type: ignore[assignment]
        return around.warnings

    # ── a call ────────────────────────────────────────────────────────────────────────────────────

    def _call(self, flags: int, number: int, generation: int, body: bytes) -> None:
        page = self._page
        function = self._functions.get(body[:PROGRAM_BYTES])
        if flags or function is None:
            self._look_after_files(flags, body)
        page[frames.STARTED] = number  # first this, then the look: see `frames`
        if page[frames.GENERATION] != generation or generation == self._halted:
            self._skip(flags, number, generation)
            return
        began = monotonic()
        if began - self._measured_at > FRESH_S:
            self._measured_at, self._measured = began, ACCOUNT.pack(*getrusage(RUSAGE_SELF))
        value: Any = None
        problem: BaseException | None = None
        try:
            self._restore()
            if function is None:
                function = self._find(body)
            value = function(*self._arguments(flags, body))
            self._leave_call()
        except BaseException as error:  # noqa: BLE001 - SystemExit too ends the call, not the process
            problem = error
        packed: Any
        out, packed = self._packed(value) if problem is None else self._told(problem)
        value = None
        ended = monotonic()
        if getpid() != self._pid:  # a fork in the function, in what pickled its value, or at the end of that
            self._end_if_copy()
        if out == frames.PLAIN and ended - began < SHORT_S and not self._warnings:
            length = TIMES.size + len(packed)
            header = result_header(
                frames.VERSION, frames.RESULT, out, length, number, generation, 1000.0 * began, 1000.0 * ended
            )
            self._connection.sendall(header + packed)
        else:
            head = TIMES.pack(1000.0 * began, 1000.0 * ended) + self._account(ended)
            self._reply(number, generation, out | frames.ACCOUNTED, head, packed)

    def _account(self, ended: float) -> bytes:
        """What the kernel counted before the call, and after it; short calls right before it are counted with it."""
        before, self._measured = self._measured, ACCOUNT.pack(*getrusage(RUSAGE_SELF))
        self._measured_at = ended
        return before + self._measured

    def _reply(self, number: int, generation: int, flags: int, head: bytes, packed: bytes | Parcel) -> None:
        """With all that a call may have besides a plain value."""
        if self._warnings:
            flags |= frames.WARNED
            head += self._told_warnings()
        if flags & (frames.FAILED | frames.WARNED):
            self._halted = generation
        if isinstance(packed, bytes):
            self._send(frame(frames.RESULT, number, head + packed, flags, generation))
            return
        data = frame(frames.RESULT, number, head, flags | frames.IN_MEMORY, generation)
        sent = self._connection.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, Struct("i").pack(packed.fd))])
        self._send(data[sent:])

    def _skip(self, flags: int, number: int, generation: int) -> None:
        """It was taken back. The first of a row is told, for nobody can know whether that one began."""
        if flags & frames.IN_MEMORY:
            self._held.pop(0).close()
        if self._skipping != generation:
            self._skipping = generation
            self._send(frame(frames.SKIPPED, number, frames.NO_BODY, generation=generation))

    def _look_after_files(self, flags: int, body: bytes) -> None:
        """Before a call begins that needs some: where they are gone it never does, and runs in another process."""
        program = self._programs.get(body[:PROGRAM_BYTES])
        needed = [program] if isinstance(program, Held) else []
        if flags & frames.IN_MEMORY:
            needed.append(self._held[0])
        if not are_there(needed):
            self._end_robbed()

    def _end_robbed(self) -> NoReturn:
        """No call has begun that hasn't ended: nothing is lost."""
        told = (
            f"arrea: worker process {self._pid} ends: a function that it ran closed descriptors that weren't its own, "
            f"or left none to be had; the calls behind it run in another process\n"
        )
        try:
            os.write(2, told.encode())
        finally:
            os._exit(ROBBED)

    def _find(self, body: bytes) -> Any:
        """The function, when it is called for the first time: what goes wrong with it is that call's failure."""
        number = body[:PROGRAM_BYTES]
        pickled = self._programs[number]
        if isinstance(pickled, bytes):
            function = load(pickled)
        else:
            self._make_room()
            function = fetch(pickled.fd, load)
            self._large.append(number)
        self._functions[number] = function
        return function

    def _make_room(self) -> None:
        """For another large function. The oldest is unpickled once more if it is called once more."""
        if len(self._large) >= MOST_LARGE:
            self._functions.pop(self._large.pop(0), None)

    def _arguments(self, flags: int, body: bytes) -> Any:
        if flags & frames.IN_MEMORY:
            arguments: Any = opened(take(self._held.pop(0).fd), load)
        elif len(body) > SHORTEST_WITH_CLASS and MARK in body:
            arguments = load(body[PROGRAM_BYTES:])
        else:
            arguments = loads(body[PROGRAM_BYTES:]) if len(body) > PROGRAM_BYTES else ()
        if self._pid < 0:  # to unpickle them has forked
            self._end_if_copy()
        return arguments

    def _learn(self, number: bytes, flags: int, body: bytes) -> None:
        """A function that may be called from now on."""
        self._programs[number] = self._held.pop(0) if flags else body

    def _forget(self) -> None:
        """All functions."""
        for pickled in self._programs.values():
            if isinstance(pickled, Held):
                pickled.close()
        self._programs.clear()
        self._functions.clear()
        self._large.clear()

    # ── what goes back ────────────────────────────────────────────────────────────────────────────

    def _packed(self, value: Any) -> tuple[int, Any]:
        """Flags, and the value's pickle or a parcel with it."""
        if value is None:
            return frames.PLAIN, NONE
        kind = type(value)  # which isn't compared by "==": a metaclass may have one of its own
        if kind is int or kind is float or kind is bool or kind is str:
            pickled = dumps(value, 5)
            if len(pickled) < LARGE_BYTES:
                return frames.PLAIN, pickled
        self._end_if_copy()
        try:
            packed = pack(value)
        except (Unpicklable, KeyboardInterrupt) as error:
            return frames.STUCK, dumps(f"a value of the type {type_name(kind)}: {error}", 5)
        is_plain = isinstance(packed, bytes) and not any(opcode in packed for opcode in OPENING)
        return (frames.PLAIN if is_plain else 0), packed

    def _told(self, error: BaseException) -> tuple[int, bytes | Parcel]:
        """What was raised: its texts, and the exception itself, pickled, if that can be read again."""
        self._leave_call()
        self._end_if_copy(error)
        return frames.FAILED, parcelled(dumps((*describe(error), _pickled_error(error)), 5))

    def _told_warnings(self) -> bytes:
        import warnings

        told = dumps(self._warnings.take(), 5)
        warnings.simplefilter("default", append=True)  # the same place may warn again, in another call
        return frames.SIZE.pack(len(told)) + told


def _pickled_error(error: BaseException) -> bytes | None:
    try:
        pickled, _ = dump(error, large=False)
        loads(pickled)
    except BaseException:  # noqa: BLE001 - one whose class can't be made again from its arguments, or worse
        return None
    return pickled
