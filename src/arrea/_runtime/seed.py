"""The host's side of the seed: the clean process that forks the worker processes, and says how they ended.

Given orders to fork, with the descriptors that the new process is to have, and to reap. Hands back reports. Decides
which interpreter it runs in, and with which flags: the host's.

Why not from the host: a fork copies only the thread that calls it, and whatever lock another one holds stays shut
in the copy for ever. A process that was exec'd has no such past, and to fork it takes a millisecond.

Source: pthread_atfork(3), unix(7), waitid(2).
"""

from __future__ import annotations

import errno
import os
import select
import sys
from _socket import (
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_SEQPACKET,
    SOL_SOCKET,
)
from collections import deque
from struct import pack
from time import monotonic

from arrea._runtime import stamp
from arrea._runtime.environment import MARKS, Environment
from arrea._runtime.interpreter import find_interpreter, home
from arrea._runtime.seed_child import FORK, ORDER, REAP, REPORT, STARTED
from arrea._runtime.sockets import blocking_pair
from arrea._runtime.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# This very Arrea, whichever else may be installed. Its place is the last one in the path: what lies beside it shall not
# stand in for the standard library.
CODE = """
import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder
spec = PathFinder.find_spec("arrea", [sys.argv[1]])
sys.modules["arrea"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["arrea"])
sys.path.append(sys.argv[1])
from arrea._runtime.seed_child import seed
seed()
"""
END_WITHIN_MS = 500.0
LONGEST_VALUE = (
    100_000  # the kernel takes no longer entry than 128 KiB (execve(2)); calls get theirs in another way
)
# One that owes a report and says nothing for so long may have been stopped, and is made to go on; or it is given up.
SILENT_S, LOST_S = 1.0, 30.0
SIGCONT, SIGKILL = 18, 9
NO_ROOM = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)
# Are told in another way, or print what nobody asked the seed for.
OWN_XOPTIONS = ("dev", "utf8", "importtime", "showrefcount")
# The host's own; there is something in these places (see `standard`).
OUTPUTS = (1, 2)


class Seed:
    """One seed, started here; raises `OSError` if it can't be. fd: readable when it has something to say.

    starter: the pidfd of the process that forks it and ends, -1 when that is over.
    owes: how many reports are still to come.
    """

    __slots__ = (
        "_backlog",
        "_control",
        "_looked_at",
        "_pid",
        "_silent_s",
        "_starter",
        "fd",
        "owes",
        "starter",
    )

    def __init__(self) -> None:
        ours, its = blocking_pair(SOCK_SEQPACKET)
        try:
            self._starter = _start(its.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._control = ours
        self._backlog: deque[tuple[bytes, Sequence[int]]] = deque()  # orders that it had no room for
        self._pid = 0
        self._looked_at, self._silent_s = monotonic(), 0.0
        self.owes = 1
        self.fd = ours.fileno()
        self.starter = _open(self._starter)

    def started(self, pid: int) -> None:
        """It has reported its pid."""
        self._pid = pid

    def reap_starter(self) -> None:
        """It has ended, or will in a moment."""
        if self.starter >= 0:
            _is_ready(self.starter, END_WITHIN_MS)
            os.close(self.starter)
            self.starter = -1
        _wait_for(self._starter)

    def fork(self, number: int, mark: bytes, descriptors: Sequence[int]) -> None:
        """A new worker process. Its report is `FORKED` with its pid, or `NO_FORK` with an errno; both name `number`."""
        self._send(ORDER.pack(FORK, 0, number) + mark, descriptors)

    def reap(self, pid: int, number: int) -> None:
        """Of a process that has ended. Until then its number is nobody else's. Its report is `REAPED`."""
        self._send(ORDER.pack(REAP, pid, number), ())

    def _send(self, order: bytes, descriptors: Sequence[int]) -> None:
        """Never waits: it may wait for us to read its reports."""
        if not self.owes:
            self._looked_at, self._silent_s = monotonic(), 0.0
        self.owes += 1
        self._backlog.append((order, descriptors))
        self.send_rest()

    def send_rest(self) -> None:
        """As many orders as it takes now."""
        while self._backlog:
            order, descriptors = self._backlog[0]
            rights = (
                [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(descriptors)}i", *descriptors))] if descriptors else []
            )
            try:
                self._control.sendmsg([order], rights, MSG_NOSIGNAL | MSG_DONTWAIT)
            except OSError as error:
                if error.errno in NO_ROOM:
                    return
                # It is gone, which its end will tell; or whom the order is for is, and so are the descriptors.
                self.owes -= 1
            self._backlog.popleft()

    @property
    def waits(self) -> bool:
        """Whether there are orders that it had no room for."""
        return bool(self._backlog)

    def report(self) -> tuple[int, int, int, int] | None:
        """The next one: what, pid, wait status or errno, number; None: nothing yet. Raises `EOFError` at its end."""
        try:
            data = self._control.recv(REPORT.size, MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        self.owes -= 1
        self._looked_at, self._silent_s = monotonic(), 0.0
        return REPORT.unpack(data)

    def wait_for_report(self, seconds: float) -> bool:
        return _is_ready(self.fd, seconds * 1000.0)

    def wake(self) -> None:
        """If it should have said something long ago. Its end is told like any other."""
        now = monotonic()
        self._silent_s += min(now - self._looked_at, 2 * SILENT_S)  # more than that we were stopped ourselves
        self._looked_at = now
        if not self.owes or self._silent_s < SILENT_S or self.wait_for_report(0):
            return
        number = SIGCONT if self._silent_s < LOST_S else SIGKILL
        for pid in (self._pid, self._starter if self.starter >= 0 else 0):
            if pid:
                _signal(pid, number)

    def close(self) -> None:
        """Its end: it goes when it sees the end of its connection, and that of its own end tells that it is gone."""
        self._control.shutdown(1)  # it still may report
        if not self._hears_end() and self._pid:
            _signal(self._pid, SIGKILL)
        self._control.close()
        self.reap_starter()
        if self._pid:
            _wait_for(self._pid)  # a host that is process 1, or a subreaper, has become its parent

    def _hears_end(self) -> bool:
        until = monotonic() + END_WITHIN_MS / 1000.0
        try:
            while self.wait_for_report(max(0.0, until - monotonic())):
                report = self.report()
                if report is not None and report[0] == STARTED:
                    self._pid = report[1]
        except EOFError:
            return True
        return False


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # it is gone already, or no descriptor is left
        return -1


def _signal(pid: int, number: int) -> None:
    """It is there: it holds its connection open."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait_for(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # it is another's, or the host reaped it


def _is_ready(fd: int, milliseconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _start(control: int) -> int:
    interpreter = find_interpreter()
    argv = [interpreter, *_flags(), "-c", CODE, home(), "arrea-seed"]
    variables = {name: value for name, value in os.environ.items() if len(value) < LONGEST_VALUE}
    block = Environment(variables).block(_outer_marks() + stamp.entries())
    return spawn(interpreter, [os.fsencode(word) for word in argv], block, "/", control, *OUTPUTS)


def _outer_marks() -> list[bytes]:
    """Of an Arrea that this program is a task of: it shall find the seed and all that come of it."""
    if not all(name in os.environb for name in stamp.NAMES):
        return []  # somebody's own variable, which names no attempt
    return [mark + b"=" + os.environb[mark] for mark in MARKS if mark in os.environb]


def _flags() -> list[str]:
    """Of the interpreter, as the host's, so that functions run there as they would here. `-P`: nothing of `cwd`."""
    on = sys.flags
    short = {
        "-I": on.isolated, "-E": on.ignore_environment and not on.isolated, "-s": on.no_user_site and not on.isolated,
        "-S": on.no_site, "-B": on.dont_write_bytecode, "-O": on.optimize == 1, "-OO": on.optimize > 1,
        "-b": on.bytes_warning == 1, "-bb": on.bytes_warning > 1, "-P": not on.isolated,
    }  # fmt: skip
    long = [f"-W{option}" for option in sys.warnoptions]
    long += ["-Xdev"] if on.dev_mode else []
    long += ["-Xutf8=1"] if on.utf8_mode else []
    long += [
        f"-X{name}" if value is True else f"-X{name}={value}"
        for name, value in sys._xoptions.items()
        if name not in OWN_XOPTIONS
    ]
    return [flag for flag, is_on in short.items() if is_on] + long
