"""The host's side of the seed: the clean process that forks the worker processes, and says how they ended.

Given orders to fork, with the descriptors that the new process is to have, and to reap. Hands back reports. Decides
which interpreter it runs in, and with which flags: the host's.

Why not from the host: a fork copies only the thread that calls it, and whatever lock another one holds stays shut
in the copy for ever. A process that was exec'd has no such past, and to fork it takes a millisecond.

Source: pthread_atfork(3), unix(7), waitid(2).
"""

from __future__ import annotations

import os
import select
import sys
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)
from struct import pack

from arrea._runtime.environment import MARKS, Environment
from arrea._runtime.interpreter import find_interpreter, home
from arrea._runtime.pool_child import FORK, ORDER, REAP, REPORT
from arrea._runtime.spawn import spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Last in the path: what lies beside Arrea shall not stand in for the standard library.
CODE = "import sys; sys.path.append(sys.argv[1]); from arrea._runtime.pool_child import seed; seed()"
END_WITHIN_MS = 500.0
# The host's own; there is something in these places (see `standard`).
OUTPUTS = (1, 2)


class Seed:
    """One seed, started here; raises `OSError` if it can't be. pid; fd: readable when it has something to say."""

    __slots__ = ("_control", "_pidfd", "fd", "pid")

    def __init__(self) -> None:
        ours, its = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            self.pid = _start(its.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            its.close()
        self._control = ours
        self.fd = ours.fileno()
        self._pidfd = _open(self.pid)

    def fork(self, number: int, mark: bytes, descriptors: Sequence[int]) -> None:
        """A new worker process. Its report is `FORKED` with its pid, or `NO_FORK` with an errno; both name `number`."""
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(descriptors)}i", *descriptors))]
        self._control.sendmsg([ORDER.pack(FORK, 0, 0, number) + mark], rights, MSG_NOSIGNAL)

    def reap(self, pid: int, number: int) -> None:
        """Of a process that has ended. Until then its number is nobody else's. Its report is `REAPED`."""
        self._control.send(ORDER.pack(REAP, 0, pid, number), MSG_NOSIGNAL)

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
        return REPORT.unpack(data)

    def wait_for_report(self, seconds: float) -> bool:
        return _is_ready(self.fd, seconds * 1000.0)

    def close(self) -> None:
        """Its end: it goes when nobody holds the other end of its connection."""
        self._control.shutdown(1)  # it still may report, and nobody reads that
        if self._pidfd >= 0:
            if not _is_ready(self._pidfd, END_WITHIN_MS):
                os.kill(self.pid, 9)  # it is our child, and nobody reaped it yet
            os.close(self._pidfd)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # the host did
        self._control.close()


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # it is gone already, or no descriptor is left
        return -1


def _is_ready(fd: int, milliseconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _start(control: int) -> int:
    interpreter = find_interpreter()
    argv = [interpreter, *_flags(), "-c", CODE, home(), "arrea-seed"]
    block = Environment(dict(os.environ)).block(_outer_marks())
    return spawn(interpreter, [os.fsencode(word) for word in argv], block, "/", control, *OUTPUTS)


def _outer_marks() -> list[bytes]:
    """Of an Arrea that this program is a task of: it shall find the seed and all that come of it."""
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
    return [flag for flag, is_on in short.items() if is_on] + long
